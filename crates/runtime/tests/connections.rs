//! TCP and TLS over real sockets.

mod common;

use causeway_node::{Flow, Transport};
use causeway_runtime::tls::{Client, Pin, Server, Trust};
use causeway_runtime::{Options, Setup, Worker};
use causeway_sim::Peer;
use common::{LONG, connect, counter, end, listen, look, peer, stream, wait};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

const OUT: Flow = Flow(5);

fn client(trust: &Trust) -> Client {
    Client::new(trust).unwrap()
}

fn closed(handle: &causeway_runtime::Handle, flow: Flow) -> String {
    wait(handle, "closed", move |p| p.closed(flow).map(str::to_owned))
}

/// A proxy for one connection; it checks the request, and passes everything on.
fn http_proxy(expected: &'static [&'static str], to: std::net::SocketAddr) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut here, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            here.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        if !expected.iter().all(|line| head.contains(line)) {
            return here.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").unwrap();
        }
        let mut there = TcpStream::connect(to).unwrap();
        here.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        let (mut from, mut into) = (here.try_clone().unwrap(), there.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut into));
        let _ = std::io::copy(&mut there, &mut here);
    });
    at
}

#[test]
fn a_connection_leads_through_an_http_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::self_made(dir.path()).unwrap();
    let pin = server.pin();
    let (there, there_thread) = peer(|s| s.server(server));
    let to = listen(&there, Flow(1), Transport::Tls);
    let (here, here_thread) = peer(|s| s.client(client(&Trust::Pin(pin))));
    let lines = &["CONNECT contact.example.com:443 HTTP/1.1\r\n", "Proxy-Authorization: Basic dTpwYXNz\r\n"];
    let open = |flow: Flow, password: &str| {
        let credentials = Some(("u".to_owned(), password.to_owned()));
        let through =
            causeway_node::Through { host: "contact.example.com".to_owned(), port: 443, credentials };
        let connect = causeway_node::Connect {
            to: http_proxy(lines, to),
            through: Some(Box::new(through)),
            transport: Transport::Tls,
            server_name: String::new(),
            class: causeway_node::Class::Media,
        };
        here.with::<Peer, _>("peer", move |_, _, out| out.connect(flow, connect)).unwrap();
    };
    open(OUT, "pass");
    stream(&here, OUT, b"through".to_vec());
    let accepted = wait(&there, "accepted", |p| p.accepted().first().copied());
    wait(&there, "the bytes", move |p| (p.stream(accepted) == b"through").then_some(()));
    stream(&there, accepted, b"and back".to_vec());
    wait(&here, "the answer", |p| (p.stream(OUT) == b"and back").then_some(()));
    let exporter = look(&here, |p| p.exporter(OUT));
    assert_eq!(exporter, look(&there, move |p| p.exporter(accepted)), "nobody stands in between");

    open(Flow(6), "wrong");
    assert!(closed(&here, Flow(6)).contains("407"));
    end(&here, here_thread);
    end(&there, there_thread);
}

#[test]
fn a_pinned_tls_connection_carries_both_ways_and_its_ends_share_an_exporter() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::self_made(dir.path()).unwrap();
    let pin = server.pin();
    let (there, there_thread) = peer(|s| s.server(server));
    let to = listen(&there, Flow(1), Transport::Tls);
    let (here, here_thread) = peer(|s| s.client(client(&Trust::Pin(pin))));
    connect(&here, OUT, to, Transport::Tls, "");
    // Said before the connection is up: it waits.
    let long: Vec<u8> = (0..300_000u32).map(|i| (i / 7) as u8).collect();
    stream(&here, OUT, long.clone());
    let accepted = wait(&there, "accepted", |p| p.accepted().first().copied());
    let expected = long.clone();
    wait(&there, "all bytes", move |p| (p.stream(accepted) == expected).then_some(()));
    stream(&there, accepted, b"and back".to_vec());
    wait(&here, "the answer", |p| (p.stream(OUT) == b"and back").then_some(()));
    let exporter = look(&here, |p| p.exporter(OUT)).unwrap();
    assert_eq!(Some(exporter), look(&there, move |p| p.exporter(accepted)));

    // A second connection has another one, as nothing is resumed.
    connect(&here, Flow(6), to, Transport::Tls, "");
    let second = wait(&here, "the second", |p| p.exporter(Flow(6)));
    assert_ne!(second, exporter);

    here.with::<Peer, _>("peer", |_, _, out| {
        out.stream(OUT, b"the last words");
        out.close(OUT);
    })
    .unwrap();
    assert!(closed(&there, accepted).contains("closed by the peer"));
    assert!(look(&there, move |p| p.stream(accepted).ends_with(b"the last words")));
    end(&here, here_thread);
    end(&there, there_thread);
}

#[test]
fn the_self_made_certificate_stays_and_nobody_else_reads_its_key() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let pin = Server::self_made(&data).unwrap().pin();
    assert_eq!(Server::self_made(&data).unwrap().pin(), pin);
    for (path, mode) in
        [(data.join("tunnel-key.pem"), 0o600), (data.join("tunnel-cert.pem"), 0o600), (data, 0o700)]
    {
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            mode,
            "{}",
            path.display()
        );
    }
    let other = tempfile::tempdir().unwrap();
    assert_ne!(Server::self_made(other.path()).unwrap().pin(), pin);
}

/// A certificate by a root of our own: the root's file, the certificate's and the key's.
fn certified(dir: &Path, name: &str, expired: bool) -> (std::path::PathBuf, Server) {
    let root_key = rcgen::KeyPair::generate().unwrap();
    let mut root = rcgen::CertificateParams::new(vec![]).unwrap();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_cert = root.self_signed(&root_key).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let issuer = rcgen::Issuer::new(root, root_key);
    let cert = params.signed_by(&key, &issuer).unwrap();
    let file = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let roots = file("roots.pem", root_cert.pem());
    let server =
        Server::from_pem(&file("cert.pem", cert.pem()), &file("key.pem", key.serialize_pem())).unwrap();
    (roots, server)
}

/// How a connection to a server with this certificate ends, or `None` if it stands.
fn attempt(server: Server, trust: &Trust, name: &str) -> Option<String> {
    let (there, there_thread) = peer(|s| s.server(server));
    let to = listen(&there, Flow(1), Transport::Tls);
    let (here, here_thread) = peer(|s| s.client(client(trust)));
    connect(&here, OUT, to, Transport::Tls, name);
    let result = wait(&here, "opened or closed", |p| match p.closed(OUT) {
        Some(why) => Some(Some(why.to_owned())),
        None => p.exporter(OUT).map(|_| None),
    });
    if result.is_some() {
        assert!(look(&there, |p| p.accepted().is_empty()), "the server's node never heard of it");
    }
    end(&here, here_thread);
    end(&there, there_thread);
    result
}

#[test]
fn trust_is_given_to_the_right_certificates_only_and_the_reason_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (roots, server) = certified(dir.path(), "contact.example.com", false);
    let by_roots = Trust::Roots(roots);
    assert_eq!(attempt(server.clone(), &by_roots, "contact.example.com"), None);
    assert_eq!(attempt(server.clone(), &Trust::Pin(server.pin()), "any.example.org"), None);
    let why = attempt(server.clone(), &by_roots, "other.example.com").unwrap();
    assert!(why.contains("not valid for name") && why.contains("other.example.com"), "{why}");

    let wrong: Pin = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    let why = attempt(server.clone(), &Trust::Pin(wrong), "contact.example.com").unwrap();
    assert!(why.contains("wrong pin") && why.contains(&wrong.to_string()), "{why}");
    assert!(why.contains(&server.pin().to_string()), "{why}");

    let other = tempfile::tempdir().unwrap();
    let (foreign, expired) = certified(other.path(), "contact.example.com", true);
    let why = attempt(server, &Trust::Roots(foreign.clone()), "contact.example.com").unwrap();
    assert!(
        why.contains("UnknownIssuer") || why.contains("unknown issuer") || why.contains("invalid peer"),
        "{why}"
    );
    let why = attempt(expired, &Trust::Roots(foreign), "contact.example.com").unwrap();
    assert!(why.contains("expired"), "{why}");
}

#[test]
fn a_server_that_speaks_no_tls_a_closed_port_and_a_stranger_at_the_listener() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::self_made(dir.path()).unwrap();
    let trust = Trust::Pin(server.pin());
    let (there, there_thread) = peer(|s| s.server(server));
    let plain = listen(&there, Flow(1), Transport::Tcp);
    let tls = listen(&there, Flow(2), Transport::Tls);
    let (here, here_thread) = peer(|s| s.client(client(&trust)));
    connect(&here, OUT, plain, Transport::Tls, "");
    let accepted = wait(&there, "accepted", |p| p.accepted().first().copied());
    stream(&there, accepted, b"220 mail.example.com ESMTP\r\n".to_vec());
    assert!(closed(&here, OUT).contains("does not speak TLS"), "{}", closed(&here, OUT));

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    connect(&here, Flow(8), nobody, Transport::Tcp, "");
    assert_eq!(closed(&here, Flow(8)), format!("{nobody}: connection refused"));

    let mut stranger = TcpStream::connect(tls).unwrap();
    stranger.set_read_timeout(Some(LONG)).unwrap();
    stranger.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut alert = Vec::new();
    let _ = stranger.read_to_end(&mut alert);
    assert_eq!(alert.first(), Some(&21), "a TLS alert, then the end");
    assert_eq!(look(&there, |p| p.accepted().len()), 1, "no node heard of it");
    end(&here, here_thread);
    end(&there, there_thread);
}

#[test]
fn a_handshake_that_does_not_move_gives_way_to_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::self_made(dir.path()).unwrap();
    let trust = Trust::Pin(server.pin());
    let options = Options { max_handshakes_per_address: 2, ..Options::default() };
    let setup = Setup::new("peer", Peer::new()).server(server).client(client(&trust));
    let (handle, thread) = Worker::new("test").options(options).node(setup).spawn().unwrap();
    let to = listen(&handle, Flow(1), Transport::Tls);
    let mut silent = Vec::new();
    for n in 1..=2 {
        silent.push(TcpStream::connect(to).unwrap());
        while counter(&handle, "accepted") < n {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    connect(&handle, OUT, to, Transport::Tls, "");
    wait(&handle, "the third is served", |p| p.exporter(OUT));
    assert_eq!((counter(&handle, "handshakes_displaced"), counter(&handle, "accept_refused")), (1, 0));
    silent[0].set_read_timeout(Some(LONG)).unwrap();
    assert!(matches!(silent[0].read(&mut [0]), Ok(0) | Err(_)), "the oldest has gone");
    silent[1].set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let waits = silent[1].read(&mut [0]).unwrap_err().kind();
    assert_eq!(waits, std::io::ErrorKind::WouldBlock, "the other has not");
    end(&handle, thread);
}

#[test]
fn a_handshake_that_takes_too_long_is_given_up_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::self_made(dir.path()).unwrap();
    let trust = Trust::Pin(server.pin());
    let options = Options { handshake_timeout: Duration::from_millis(100), ..Options::default() };
    let setup = Setup::new("peer", Peer::new()).server(server).client(client(&trust));
    let (handle, thread) = Worker::new("test").options(options).node(setup).spawn().unwrap();
    let to = listen(&handle, Flow(1), Transport::Tls);
    let mut silent = TcpStream::connect(to).unwrap();
    silent.set_read_timeout(Some(LONG)).unwrap();
    assert!(matches!(silent.read(&mut [0]), Ok(0)));
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    connect(&handle, OUT, mute.local_addr().unwrap(), Transport::Tls, "");
    assert!(closed(&handle, OUT).contains("handshake timed out"));
    end(&handle, thread);
}

#[test]
fn a_peer_that_does_not_read_is_cut_off_at_the_limit() {
    let (handle, thread) = peer(|s| s);
    let to = listen(&handle, Flow(1), Transport::Tcp);
    let mut reader = TcpStream::connect(to).unwrap();
    let flow = wait(&handle, "accepted", |p| p.accepted().first().copied());
    let mut said = 0u64;
    while look(&handle, move |p| p.closed(flow).is_none()) {
        said += 64 * 1024;
        assert!(said < 256 * 1024 * 1024, "never closed");
        stream(&handle, flow, vec![1; 64 * 1024]);
    }
    assert!(closed(&handle, flow).contains("does not read"));
    let mut rest = Vec::new();
    let end_of_it = reader.read_to_end(&mut rest);
    assert!(end_of_it.is_err(), "a reset, not a clean end");
    end(&handle, thread);
}

#[test]
fn a_slow_reader_leaves_the_rest_in_the_node_and_loses_nothing() {
    const ALL: usize = 40_000_000;
    let (handle, thread) = peer(|s| s);
    let to = listen(&handle, Flow(1), Transport::Tcp);
    let mut reader = TcpStream::connect(to).unwrap();
    let flow = wait(&handle, "accepted", |p| p.accepted().first().copied());
    handle
        .with::<Peer, _>("peer", move |p, _, out| {
            p.supply.insert(flow, (0..ALL).map(|i| (i / 1000) as u8).collect());
            out.wake(flow);
        })
        .unwrap();
    let left = move |p: &Peer| p.supply[&flow].len();
    // Until nothing moves any more.
    let mut before = ALL + 1;
    loop {
        let now = look(&handle, left);
        if now == before {
            break;
        }
        before = now;
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(before > ALL / 2, "most of it still waits where it can be dropped: {before} of {ALL}");
    let mut got = vec![0; ALL];
    reader.read_exact(&mut got).unwrap();
    assert!(got.iter().enumerate().all(|(i, b)| *b == (i / 1000) as u8));
    end(&handle, thread);
}

#[test]
fn a_node_that_pauses_makes_the_sender_wait_and_misses_nothing() {
    const ALL: usize = 40_000_000;
    let (handle, thread) = peer(|s| s);
    let to = listen(&handle, Flow(1), Transport::Tcp);
    let mut writer = TcpStream::connect(to).unwrap();
    let flow = wait(&handle, "accepted", |p| p.accepted().first().copied());
    let pause = |paused| handle.with::<Peer, _>("peer", move |_, _, out| out.pause(flow, paused)).unwrap();
    let data: Vec<u8> = (0..ALL).map(|i| (i / 1000) as u8).collect();
    pause(true);
    let expected = data.clone();
    let sender = std::thread::spawn(move || {
        writer.write_all(&data).unwrap();
        // Closed with everything unread: the end comes after all of it.
        drop(writer);
    });
    std::thread::sleep(Duration::from_millis(500));
    assert!(!sender.is_finished(), "the sender waits");
    assert_eq!(look(&handle, move |p| p.stream(flow).len()), 0);
    pause(false);
    assert_eq!(closed(&handle, flow).rsplit(": ").next(), Some("closed by the peer"));
    sender.join().unwrap();
    assert!(look(&handle, move |p| p.stream(flow)) == expected);
    end(&handle, thread);
}

#[test]
fn an_id_may_be_used_again_by_a_node_that_closed_it() {
    let (there, there_thread) = peer(|s| s);
    let to = listen(&there, Flow(1), Transport::Tcp);
    let (here, here_thread) = peer(|s| s);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let to_tcp = |to| causeway_node::Connect {
        to,
        through: None,
        transport: Transport::Tcp,
        server_name: String::new(),
        class: causeway_node::Class::Signalling,
    };
    here.with::<Peer, _>("peer", move |_, _, out| {
        out.connect(OUT, to_tcp(nobody));
        out.close(OUT);
        out.connect(OUT, to_tcp(to));
    })
    .unwrap();
    wait(&here, "opened", |p| p.local(OUT));
    assert_eq!(look(&here, |p| p.closed(OUT).map(str::to_owned)), None, "nothing is heard of the first");
    end(&here, here_thread);
    end(&there, there_thread);
}
