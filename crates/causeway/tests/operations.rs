//! `causeway agent`, `contact` and `up` as those who operate them see them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

/// A program that runs until it is dropped, and what it printed before it was ready.
struct Running(Child, String);

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
        let command = command.args(args).args(["--ready-fd", "1"]).env("NO_COLOR", "1");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut said = String::new();
        for line in lines.by_ref() {
            if line == "READY=1" {
                return Self(child, said);
            }
            said += &line;
        }
        let output = child.wait_with_output().unwrap();
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A free port for UDP and TCP.
fn free() -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    UdpSocket::bind(address).unwrap();
    address
}

fn page(metrics: &str) -> String {
    let mut stream = TcpStream::connect(metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}

/// Waits until the figures have these lines.
#[track_caller]
fn wait_for(metrics: &str, lines: &[&str]) {
    let start = Instant::now();
    loop {
        let page = page(metrics);
        let missing = lines.iter().find(|line| !page.lines().any(|found| found == **line));
        let Some(missing) = missing else { return };
        assert!(start.elapsed() < LONG, "{missing} is not in\n{page}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn agent_and_contact_point_are_measured() {
    let dir = tempfile::tempdir().unwrap();
    let [sip, tunnel, listen, of_contact, of_agent] = [(); 5].map(|()| free().to_string());
    let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream = format!("sip:{}", upstream.local_addr().unwrap());
    let folder = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let contact = ["contact", "--tunnel", &tunnel, "--sip", &sip, "--upstream", &upstream];
    let more = ["--metrics", &of_contact, "--data", &folder("contact")];
    let contact = Running::start(&[&contact[..], &more].concat());
    let pin = contact.1.strip_prefix("pin: ").unwrap();
    let agent = ["agent", "--contact", &tunnel, "--pin", pin, "--listen", &listen];
    let _agent =
        Running::start(&[&agent[..], &["--metrics", &of_agent, "--data", &folder("agent")]].concat());
    wait_for(&of_contact, &["causeway_tunnels{node=\"contact\",state=\"up\"} 1"]);
    let up = ["causeway_tunnels{node=\"agent\",state=\"up\"} 1", "# TYPE causeway_tunnels gauge"];
    wait_for(&of_agent, &up);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let message = "MESSAGE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK1\r\n\
        Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n\
        Call-ID: early\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n";
    phone.send_to(message.as_bytes(), &*listen).unwrap();
    let denied = "causeway_requests_denied_total{node=\"contact\",reason=\"unregistered\"} 1";
    wait_for(&of_contact, &[denied, "# TYPE causeway_requests_denied_total counter"]);
    let heard = "causeway_sip_messages_total{node=\"agent\",transport=\"udp\",direction=\"in\"} 1";
    wait_for(&of_agent, &[heard]);
}

#[test]
fn the_figures_of_up_hold_those_of_its_contact_point() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = free().to_string();
    // The contact point's address is ten ports above this one.
    let sip = "127.0.0.1:15470";
    let args = ["up", "--domain", "example.com", "--sip", sip, "--tunnel", &free().to_string()];
    let data = dir.path().to_str().unwrap();
    let _up = Running::start(&[&args[..], &["--metrics", &metrics, "--data", data]].concat());
    let both =
        ["causeway_tunnels{node=\"contact\",state=\"up\"} 0", "causeway_bindings{node=\"exchange\"} 0"];
    wait_for(&metrics, &both);
}

#[test]
fn the_service_manager_is_told_of_readiness() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(LONG)).unwrap();
    let (listen, data) = (free().to_string(), dir.path().join("data"));
    let mut agent = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(["agent", "--contact", "192.0.2.1:443", "--listen", &listen, "--data", data.to_str().unwrap()])
        .env("NOTIFY_SOCKET", &socket)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = [0; 64];
    let told = manager.recv(&mut told).map(|n| told[..n].to_vec());
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!(told.unwrap(), b"READY=1");
}

/// Each unit, with this program and the settings in `folder` in the place of those installed.
fn units(folder: &Path) -> Vec<(String, String)> {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/systemd");
    let roles = ["agent", "contact", "up"].map(|role| format!("causeway-{role}.service"));
    let read = |name: String| {
        let unit = std::fs::read_to_string(shipped.join(&name)).unwrap();
        assert!(unit.contains("=/usr/bin/causeway ") && unit.contains(" /etc/causeway/"), "{name}");
        let unit = unit.replace("/usr/bin/causeway", env!("CARGO_BIN_EXE_causeway"));
        (name, unit.replace("/etc/causeway", folder.to_str().unwrap()))
    };
    roles.into_iter().map(read).collect()
}

#[test]
fn units_call_the_program_as_it_wants_to_be_called() {
    let dir = tempfile::tempdir().unwrap();
    for (role, settings) in [
        ("agent", "contact = \"contact.example.com\"\nlisten = \"127.0.0.1:5060\"\n"),
        ("contact", "tunnel = \"127.0.0.1:1\"\nsip = \"127.0.0.1:5060\"\nupstream = \"sip:127.0.0.1\"\n"),
        ("up", "domain = \"example.com\"\nsip = \"127.0.0.1:5060\"\ntunnel = \"127.0.0.1:1\"\n"),
    ] {
        std::fs::write(dir.path().join(format!("{role}.toml")), settings).unwrap();
    }
    for (name, unit) in units(dir.path()) {
        for key in ["ExecStartPre=", "ExecStart="] {
            let line = unit.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            let mut words = line.split(' ');
            let mut command = Command::new(words.next().unwrap());
            let check = (key == "ExecStart=").then_some("--check-config");
            let output = command.args(words).args(check).output().unwrap();
            assert!(output.status.success(), "{name}: {line}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn systemd_accepts_the_units() {
    let dir = tempfile::tempdir().unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify");
    for (name, unit) in units(dir.path()) {
        let path = dir.path().join(name);
        std::fs::write(&path, unit).unwrap();
        verify.arg(path);
    }
    let Ok(output) = verify.output() else {
        eprintln!("skipped: systemd-analyze is not installed");
        return;
    };
    // What it does not know it names, but accepts.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("causeway-"), "{said}");
}
