//! `causeway exchange` as its operator and its peers see it.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

const OPTIONS: &str = "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\nFrom: <sip:alice@example.org>;tag=1\r\nTo: <sip:example.com>\r\n\
    Call-ID: watched\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

fn causeway(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.args(args).env("NO_COLOR", "1");
    command
}

fn run(args: &[&str]) -> Output {
    causeway(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A free port for UDP and TCP.
fn free() -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    UdpSocket::bind(address).unwrap();
    address
}

/// An exchange that runs until it is dropped.
struct Exchange(Child);

impl Exchange {
    /// Starts it, and waits until all its ports are open.
    fn start(args: &[&str]) -> Self {
        let all = [&["exchange", "--ready-fd", "1"], args].concat();
        let mut child = causeway(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "READY=1\n" {
            panic!("{}", text(&child.wait_with_output().unwrap().stderr));
        }
        Self(child)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn wait(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "never came about: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn certificate(dir: &Path) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
    let (cert, path) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&path, key.serialize_pem()).unwrap();
    (cert.to_str().unwrap().to_owned(), path.to_str().unwrap().to_owned())
}

/// What is answered over TLS; `None` without OpenSSL.
fn over_tls(to: SocketAddr, roots: &str) -> Option<String> {
    let spawned = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", roots])
        .args(["-verify_hostname", "example.com", "-connect", &to.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = spawned else {
        eprintln!("skipped: openssl is not installed");
        return None;
    };
    let message = OPTIONS.replace("SIP/2.0/UDP", "SIP/2.0/TLS").replace("watched", "sealed");
    // Another transaction than the one over UDP.
    let message = message.replace("z9hG4bK1", "z9hG4bK2");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(message.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    drop(stdin);
    child.kill().unwrap();
    child.wait().unwrap();
    Some(line)
}

fn page(metrics: SocketAddr) -> String {
    let mut stream = TcpStream::connect(metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

#[test]
fn it_is_heard_copied_measured_and_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = certificate(dir.path());
    let (sip, tls, metrics) = (free(), free(), free());
    let homer = UdpSocket::bind("127.0.0.1:0").unwrap();
    homer.set_read_timeout(Some(LONG)).unwrap();
    let (config, cdr) = (dir.path().join("exchange.toml"), dir.path().join("cdr.jsonl"));
    let data = dir.path().join("data");
    let settings = format!(
        "domain = \"example.com\"\nsip = \"{sip}\"\nhep = \"udp:{}\"\nhep-key = \"hush\"\ncdr = \"{}\"\n",
        homer.local_addr().unwrap(),
        cdr.display()
    );
    std::fs::write(&config, format!("{settings}[policy]\nring = 7\n")).unwrap();
    let [data, config, tls_text, metrics_text] =
        [data.to_str().unwrap(), config.to_str().unwrap(), &tls.to_string(), &metrics.to_string()];
    let exchange = Exchange::start(&[
        "--config",
        config,
        "--data",
        data,
        "--tls",
        tls_text,
        "--cert",
        &cert,
        "--key",
        &key,
        "--metrics",
        metrics_text,
        "--durability",
        "off",
        "--log",
        "info",
    ]);

    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(LONG)).unwrap();
    phone.send_to(OPTIONS.as_bytes(), sip).unwrap();
    let mut buf = [0; 4096];
    let n = phone.recv(&mut buf).unwrap();
    assert!(buf[..n].starts_with(b"SIP/2.0 "), "{}", text(&buf[..n]));
    for begins in ["OPTIONS sip:example.com", "SIP/2.0 "] {
        let n = homer.recv(&mut buf).unwrap();
        let copy = text(&buf[..n]);
        assert!(copy.starts_with("HEP3") && copy.contains("watched") && copy.contains("hush"), "{copy}");
        assert!(copy.contains(begins), "{copy}");
    }
    if let Some(answer) = over_tls(tls, &cert) {
        assert!(answer.starts_with("SIP/2.0 "), "{answer}");
        let line = "causeway_sip_messages_total{node=\"exchange\",transport=\"tls\",direction=\"in\"} 1\n";
        assert!(page(metrics).contains(line), "{}", page(metrics));
    }
    let line = "causeway_sip_messages_total{node=\"exchange\",transport=\"udp\",direction=\"in\"} 1\n";
    assert!(page(metrics).contains(line), "{}", page(metrics));

    let shown = run(&["status", "--data", data, "--table", "transports", "--filter", "udp", "--json"]);
    let json: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let row = &json["tables"]["exchange"][0];
    assert_eq!((row["transport"].as_str(), row["received"].as_u64()), (Some("udp"), Some(1)), "{json}");
    let shown = run(&["status", "--data", data, "--table", "transports"]);
    assert!(text(&shown.stdout).contains("TRANSPORT"), "{}", text(&shown.stdout));
    let shown = run(&["status", "--data", data, "--table", "tea"]);
    assert_eq!(shown.status.code(), Some(4));
    assert!(text(&shown.stderr).contains("tea"), "{}", text(&shown.stderr));
    assert!(text(&run(&["status", "--data", data]).stdout).contains("cdr.jsonl: 0 lines written, 0 lost"));

    // A journal that was moved away and a certificate that was renewed.
    std::fs::rename(&cdr, dir.path().join("cdr.1")).unwrap();
    certificate(dir.path());
    exchange.signal("-HUP");
    wait("a new journal", || cdr.exists());
    if let Some(answer) = over_tls(tls, &cert) {
        assert!(answer.starts_with("SIP/2.0 "), "the new certificate: {answer}");
    }
    exchange.signal("-TERM");
    let mut exchange = exchange;
    assert!(exchange.0.wait().unwrap().success());
    let mut log = String::new();
    exchange.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("have been read again") && !log.contains("ERROR"), "{log}");
    assert!(!log.contains("hush"));
}

#[test]
fn a_policy_is_read_again_or_the_old_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let sip = free();
    let (config, data) = (dir.path().join("exchange.toml"), dir.path().join("data"));
    let settings = format!("domain = \"example.com\"\nsip = \"{sip}\"\n");
    let write = |rest: &str| std::fs::write(&config, format!("{settings}{rest}")).unwrap();
    write("[policy]\ncontacts = 3\n");
    let args = ["--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()];
    let mut exchange = Exchange::start(&args);
    let stderr = exchange.0.stderr.take().unwrap();
    let mut log = BufReader::new(stderr).lines().map(Result::unwrap);
    let mut hears = |word: &str| log.by_ref().any(|line| line.contains(word));
    write("[policy]\ncontacts = 99\n");
    exchange.signal("-HUP");
    assert!(hears("contacts: 99"), "the fault is named");
    write("metrics = \"127.0.0.1:1\"\n[policy]\ncontacts = 5\n");
    exchange.signal("-HUP");
    assert!(hears("count after a restart"), "what does not change is said");
    assert!(hears("have been read again"));
    drop(exchange);
    write("[policy]\ncontact = 5\n");
    let output = run(&[&["exchange"], &args[..], &["--check-config"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("contact"), "{}", text(&output.stderr));
}

#[test]
fn copies_go_over_a_connection_and_wait_for_a_server_that_is_late() {
    let dir = tempfile::tempdir().unwrap();
    let (sip, homer) = (free(), free());
    let (hep, sip_text) = (format!("tcp:{homer}"), sip.to_string());
    let _exchange = Exchange::start(&[
        "--domain",
        "example.com",
        "--sip",
        &sip_text,
        "--hep",
        &hep,
        "--data",
        dir.path().to_str().unwrap(),
    ]);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(LONG)).unwrap();
    phone.send_to(OPTIONS.as_bytes(), sip).unwrap();
    phone.recv(&mut [0; 4096]).unwrap();
    // Nobody has listened so far: the connection was refused, and is tried again.
    let listener = TcpListener::bind(homer).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    for begins in ["OPTIONS sip:example.com", "SIP/2.0 "] {
        let mut head = [0; 6];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head[..4], b"HEP3");
        let mut rest = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) - 6];
        stream.read_exact(&mut rest).unwrap();
        assert!(text(&rest).contains(begins), "{}", text(&rest));
    }
}
