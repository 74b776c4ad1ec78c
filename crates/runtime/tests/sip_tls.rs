//! TLS as SIP uses it, with certificates from a root of the test's own and with OpenSSL at the other end.

mod common;

use causeway_node::{Class, Connect, Ctx, Flow, Input, Node, Outbox, Time, Transport};
use causeway_runtime::tls::{Client, Clients, Server, Trust};
use causeway_runtime::{Handle, Setup, Worker};
use common::{LONG, Thread, end};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LISTENER: Flow = Flow(1);
const OUT: Flow = Flow(5);

/// Remembers the names of its connections, their ends, and what came on them.
#[derive(Default)]
struct Names {
    local: Option<SocketAddr>,
    opened: Vec<(Flow, Vec<String>)>,
    closed: Vec<String>,
    heard: Vec<u8>,
}

impl Node for Names {
    fn handle(&mut self, _: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Start => {
                out.listen(LISTENER, "127.0.0.1:0".parse().unwrap(), Transport::Tls, Class::Signalling)
            }
            Input::Opened { flow: LISTENER, local, .. } => self.local = Some(local),
            Input::Opened { flow, names, .. } => self.opened.push((flow, names.to_vec())),
            Input::Closed { why, .. } => self.closed.push(why.to_owned()),
            Input::Stream { bytes, .. } => self.heard.extend_from_slice(bytes),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

fn start(server: &Server, client: Option<Client>) -> (Handle, Thread, SocketAddr) {
    let mut setup = Setup::new("names", Names::default()).server(server.clone());
    if let Some(client) = client {
        setup = setup.client(client);
    }
    let (handle, thread) = Worker::new("test").node(setup).spawn().unwrap();
    let to = handle.ready(LONG).unwrap()[0].local;
    (handle, thread, to)
}

#[track_caller]
fn wait<R: Send + 'static>(
    handle: &Handle,
    view: impl Fn(&Names) -> Option<R> + Clone + Send + 'static,
) -> R {
    let start = Instant::now();
    while start.elapsed() < LONG {
        let view = view.clone();
        if let Some(found) = handle.with::<Names, _>("names", move |node, _, _| view(node)).unwrap() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let closed = handle.with::<Names, _>("names", |node, _, _| node.closed.clone());
    panic!("never came about; closed: {closed:?}");
}

fn connect(handle: &Handle, to: SocketAddr, name: &str) {
    let connect = Connect {
        to,
        through: None,
        transport: Transport::Tls,
        server_name: name.to_owned(),
        class: Class::Signalling,
    };
    handle.with::<Names, _>("names", move |_, _, out| out.connect(OUT, connect)).unwrap();
}

/// The names of the connection opened last, or why it was not.
fn outcome(handle: &Handle) -> Result<Vec<String>, String> {
    wait(handle, |node| match (node.opened.last(), node.closed.last()) {
        (Some((_, names)), _) => Some(Ok(names.clone())),
        (_, Some(why)) => Some(Err(why.clone())),
        _ => None,
    })
}

/// A root, and what it certifies.
struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(dir: &Path) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut root = CertificateParams::new(vec![]).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(dir.join("roots.pem"), root.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir: dir.to_owned(), issuer: Issuer::new(root, key) }
    }

    fn roots(&self) -> PathBuf {
        self.dir.join("roots.pem")
    }

    /// Certificate and key for DNS names and URIs; what holds a colon is a URI.
    fn certify(&self, file: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "cn.example.net");
        for name in names {
            let name = rcgen::string::Ia5String::try_from(*name).unwrap();
            let uri = name.as_str().contains(':');
            params.subject_alt_names.push(if uri { SanType::URI(name) } else { SanType::DnsName(name) });
        }
        let (cert, path) = (self.dir.join(format!("{file}.pem")), self.dir.join(format!("{file}.key")));
        std::fs::write(&cert, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        std::fs::write(&path, key.serialize_pem()).unwrap();
        (cert, path)
    }

    fn server(&self, file: &str, names: &[&str], clients: Clients) -> Server {
        let (cert, key) = self.certify(file, names);
        Server::sip(&cert, &key, clients).unwrap()
    }
}

#[test]
fn both_ends_learn_the_names_that_the_other_has_proven() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path());
    let names = ["example.com", "sip.example.com", "sip:example.com"];
    let server = ca.server("a", &names, Clients::Required(ca.roots()));
    let own = ca.server("b", &["example.org", "sip:example.org"], Clients::Unasked);
    let (there, there_thread, to) = start(&server, None);
    let client = Client::sip(&Trust::Roots(ca.roots()), Some(&own)).unwrap();
    let (here, here_thread, _) = start(&own, Some(client));
    connect(&here, to, "example.com");
    let mut proven = outcome(&here).unwrap();
    proven.sort();
    assert_eq!(proven, names, "the subject's common name is not among them");
    let mut proven = wait(&there, |node| node.opened.first().map(|(_, names)| names.clone()));
    proven.sort();
    assert_eq!(proven, ["example.org", "sip:example.org"]);
    end(&here, here_thread);
    end(&there, there_thread);
}

/// Connects to `server` in the name of `domain`.
fn attempt(ca: &Authority, server: &Server, domain: &str) -> Result<Vec<String>, String> {
    let (there, there_thread, to) = start(server, None);
    let client = Client::sip(&Trust::Roots(ca.roots()), None).unwrap();
    let (here, here_thread, _) = start(server, Some(client));
    connect(&here, to, domain);
    let result = outcome(&here);
    end(&here, here_thread);
    end(&there, there_thread);
    result
}

#[test]
fn a_certificate_must_prove_the_domain_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path());
    let plain = ca.server("plain", &["*.example.com", "sip.example.org"], Clients::Unasked);
    assert!(attempt(&ca, &plain, "sip.example.org").is_ok());
    let why = attempt(&ca, &plain, "sip.example.com").unwrap_err();
    assert!(why.contains("*.example.com") && why.contains("RFC 5922"), "{why}");
    let by_uri = ca.server("uri", &["host7.example.net", "sip:example.com"], Clients::Unasked);
    assert!(attempt(&ca, &by_uri, "example.com").is_ok());
    assert!(attempt(&ca, &by_uri, "host7.example.net").is_err());
}

#[test]
fn a_client_without_a_certificate_is_let_in_where_one_is_optional() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path());
    let server = ca.server("a", &["example.com"], Clients::Optional(ca.roots()));
    let (there, there_thread, to) = start(&server, None);
    let client = Client::sip(&Trust::Roots(ca.roots()), None).unwrap();
    let (here, here_thread, _) = start(&server, Some(client));
    connect(&here, to, "example.com");
    assert_eq!(outcome(&here).unwrap(), ["example.com"]);
    assert_eq!(wait(&there, |node| node.opened.first().map(|(_, names)| names.clone())), [""; 0]);
    end(&here, here_thread);
    end(&there, there_thread);
}

#[test]
fn a_client_without_a_good_certificate_is_refused_where_one_is_required() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = Authority::new(elsewhere.path()).server("f", &["example.org"], Clients::Unasked);
    for (clients, own) in [
        (Clients::Required(ca.roots()), None),
        (Clients::Required(ca.roots()), Some(&foreign)),
        (Clients::Optional(ca.roots()), Some(&foreign)),
    ] {
        let server = ca.server("a", &["example.com"], clients);
        let (there, there_thread, to) = start(&server, None);
        let client = Client::sip(&Trust::Roots(ca.roots()), own).unwrap();
        let (here, here_thread, _) = start(&server, Some(client));
        connect(&here, to, "example.com");
        let why = wait(&here, |node| node.closed.last().cloned());
        assert!(why.contains("alert"), "{why}");
        assert!(wait(&there, |node| Some(node.opened.is_empty())), "the node never heard of it");
        end(&here, here_thread);
        end(&there, there_thread);
    }
}

/// What OpenSSL's client says of a server, after sending it `PING`.
fn openssl(to: SocketAddr, roots: &Path, options: &[&str]) -> Option<(bool, String)> {
    let (to, roots) = (to.to_string(), roots.to_str().unwrap().to_owned());
    let spawned = Command::new("openssl")
        .args(["s_client", "-brief", "-verify_return_error", "-CAfile", &roots, "-connect", &to])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        eprintln!("skipped: openssl is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(b"PING");
    // Long enough for the handshake; the end of input ends it.
    std::thread::sleep(Duration::from_millis(500));
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    Some((output.status.success(), text))
}

#[test]
fn openssl_comes_in_with_both_versions_and_with_or_without_a_protocol_name() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path());
    let server = ca.server("a", &["example.com"], Clients::Unasked);
    let (there, there_thread, to) = start(&server, None);
    let name = ["-servername", "example.com", "-verify_hostname", "example.com"];
    for (n, extra) in
        [&["-tls1_2"][..], &["-tls1_3"], &["-tls1_2", "-alpn", "sip"], &["-alpn", "sip/2"]].iter().enumerate()
    {
        let Some((good, text)) = openssl(to, &ca.roots(), &[&name, *extra].concat()) else { return };
        assert!(good, "{extra:?}: {text}");
        wait(&there, move |node| (node.heard == b"PING".repeat(n + 1)).then_some(()));
    }
    for refused in [&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"][..], &["-alpn", "h2"]] {
        let (good, text) = openssl(to, &ca.roots(), &[&name, refused].concat()).unwrap();
        assert!(!good, "{refused:?}: {text}");
    }
    end(&there, there_thread);
}

#[test]
fn reloading_changes_the_certificate_and_the_roots_and_an_error_changes_nothing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ca = Authority::new(dir.path());
    let later = Authority::new(other.path());
    let server = ca.server("a", &["example.com"], Clients::Required(ca.roots()));
    let own = ca.server("b", &["old.example.org"], Clients::Unasked);
    let client = Client::sip(&Trust::Roots(ca.roots()), Some(&own)).unwrap();
    let (there, there_thread, to) = start(&server, None);
    let meet = |client: &Client, domain: &str| {
        let (here, here_thread, _) = start(&own, Some(client.clone()));
        connect(&here, to, domain);
        let result = outcome(&here);
        end(&here, here_thread);
        result
    };
    assert!(meet(&client, "example.com").is_ok());
    let before = server.pin();

    std::fs::write(dir.path().join("a.key"), "no key").unwrap();
    assert!(server.reload().is_err());
    assert_eq!(server.pin(), before);
    assert!(meet(&client, "example.com").is_ok(), "the old one stays in use");

    // Everything comes from the other root now, under new names.
    let (cert, key) = later.certify("a", &["new.example.com"]);
    std::fs::copy(cert, dir.path().join("a.pem")).unwrap();
    std::fs::copy(key, dir.path().join("a.key")).unwrap();
    let (cert, key) = later.certify("b", &["new.example.org"]);
    std::fs::copy(cert, dir.path().join("b.pem")).unwrap();
    std::fs::copy(key, dir.path().join("b.key")).unwrap();
    std::fs::copy(later.roots(), ca.roots()).unwrap();
    server.reload().unwrap();
    assert_ne!(server.pin(), before);
    assert!(meet(&client, "new.example.com").is_err(), "the client still believes the old root alone");
    own.reload().unwrap();
    client.reload().unwrap();
    assert_eq!(meet(&client, "new.example.com").unwrap(), ["new.example.com"]);
    let shown = wait(&there, |node| {
        node.opened.last().map(|(_, names)| names.clone()).filter(|names| names == &["new.example.org"])
    });
    assert_eq!(shown, ["new.example.org"]);
    end(&there, there_thread);
}

#[test]
fn a_tunnels_certificate_is_read_again_too() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path());
    let (cert, key) = ca.certify("t", &["contact.example.com"]);
    let server = Server::from_pem(&cert, &key).unwrap();
    let (there, there_thread, to) = start(&server, None);
    let before = server.pin();
    ca.certify("t", &["contact.example.com"]);
    server.reload().unwrap();
    assert_ne!(server.pin(), before);
    for (pin, good) in [(server.pin(), true), (before, false)] {
        let (here, here_thread, _) = start(&server, Some(Client::new(&Trust::Pin(pin)).unwrap()));
        connect(&here, to, "");
        let result = outcome(&here);
        assert_eq!(result.is_ok(), good, "{result:?}");
        assert!(!good || result == Ok(vec![]), "a pin proves no name");
        end(&here, here_thread);
    }
    end(&there, there_thread);
}

#[test]
fn a_worker_holds_nodes_of_both_manners() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path());
    let (cert, key) = ca.certify("t", &["example.com"]);
    let (tunnel, sip) =
        (Server::from_pem(&cert, &key).unwrap(), Server::sip(&cert, &key, Clients::Unasked).unwrap());
    let (handle, thread) = Worker::new("both")
        .node(Setup::new("tunnel", Names::default()).server(tunnel))
        .node(Setup::new("sip", Names::default()).server(sip))
        .spawn()
        .unwrap();
    let bound = handle.ready(LONG).unwrap();
    let of = |name: &str| bound.iter().find(|b| b.node == name).unwrap().local;
    let sip_client = Client::sip(&Trust::Roots(ca.roots()), None).unwrap();
    let own = Server::sip(&cert, &key, Clients::Unasked).unwrap();
    for (to, good) in [(of("sip"), true), (of("tunnel"), false)] {
        let (here, here_thread, _) = start(&own, Some(sip_client.clone()));
        connect(&here, to, "example.com");
        assert_eq!(outcome(&here).is_ok(), good);
        end(&here, here_thread);
    }
    end(&handle, thread);
}

#[test]
fn a_plain_byte_at_a_tls_port_hurts_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path());
    let server = ca.server("a", &["example.com"], Clients::Unasked);
    let (there, there_thread, to) = start(&server, None);
    let mut stranger = std::net::TcpStream::connect(to).unwrap();
    stranger.set_read_timeout(Some(LONG)).unwrap();
    stranger.write_all(b"REGISTER sip:example.com SIP/2.0\r\n\r\n").unwrap();
    let mut alert = Vec::new();
    let _ = stranger.read_to_end(&mut alert);
    assert_eq!(alert.first(), Some(&21), "a TLS alert, then the end");
    assert!(wait(&there, |node| Some(node.opened.is_empty())));
    end(&there, there_thread);
}
