//! Everybody who speaks over the path, each way of speaking with phones of its own.

use crate::path::{Path, Side, ready};
use crate::score::{Record, Score, judge};
use anyhow::{Context, Result, bail};
use causeway_bench::process::{Process, program};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

const DOMAIN: &str = "op.example";

/// What a call goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Nothing: RTP over UDP.
    Udp,
    /// The tunnel as it is by default.
    Tunnel,
    /// The tunnel, which sends what is late as well.
    NoLateDrop,
    /// The tunnel over CUBIC.
    Cubic,
    /// TURN over TLS.
    Coturn,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Udp, Self::Tunnel, Self::NoLateDrop, Self::Cubic, Self::Coturn];

    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "plain UDP",
            Self::Tunnel => "tunnel",
            Self::NoLateDrop => "tunnel, no late drop",
            Self::Cubic => "tunnel, CUBIC",
            Self::Coturn => "coturn, TURN over TLS",
        }
    }

    /// The last part of its addresses.
    fn number(self) -> u8 {
        self as u8 + 1
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::NoLateDrop => &["--late-after", "0"],
            Self::Cubic => &["--congestion", "cubic"],
            _ => &[],
        }
    }
}

/// Everybody, ready to speak.
pub struct Parties<'a> {
    path: &'a Path,
    /// Servers and agents, which end with this.
    _servers: Vec<Process>,
    folder: tempfile::TempDir,
}

impl<'a> Parties<'a> {
    /// Starts operators, agents and coturn.
    ///
    /// # Errors
    /// If one does not start.
    pub fn start(path: &'a Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut parties = Self { path, _servers: Vec::new(), folder };
        for method in [Method::Tunnel, Method::NoLateDrop, Method::Cubic] {
            let [operator, agent] = parties.tunnel(method)?;
            parties._servers.extend([operator, agent]);
        }
        let coturn = parties.coturn()?;
        parties._servers.push(coturn);
        Ok(parties)
    }

    fn tunnel(&self, method: Method) -> Result<[Process; 2]> {
        let n = method.number();
        let data = |role: &str| self.folder.path().join(format!("{role}{n}"));
        for user in ["alice", "bob"] {
            subscriber(&data("up"), user)?;
        }
        let causeway = program()?.to_string_lossy().into_owned();
        let mut up = self.path.on(Side::Operator, &causeway);
        up.args(["--log", "warn", "up", "--domain", DOMAIN, "--ready-fd", "1"]);
        up.args(["--sip", &format!("10.7.1.{n}:5060"), "--tunnel", &format!("10.7.1.{n}:443")]);
        up.args(["--media", &format!("10.7.1.{n}:20000-20999"), "--data"]).arg(data("up"));
        let mut up = Process::start(up.args(method.options()).stdout(Stdio::piped()))?;
        let pin = pin(&mut up)?;
        let mut agent = self.path.on(Side::Customer, &causeway);
        agent.args([
            "--log",
            "warn",
            "agent",
            "--ready-fd",
            "1",
            "--contact",
            &format!("10.7.1.{n}"),
            "--pin",
            &pin,
        ]);
        agent.args(["--listen", &format!("10.8.0.{n}:5060"), "--data"]).arg(data("agent"));
        let mut agent = Process::start(agent.args(method.options()).stdout(Stdio::piped()))?;
        ready(&mut agent)?;
        Ok([up, agent])
    }

    fn coturn(&self) -> Result<Process> {
        let at = |name: &str| self.folder.path().join(name).to_string_lossy().into_owned();
        let (key, cert) = (at("turn.key"), at("turn.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=turn"])
            .args(["-keyout", &key, "-out", &cert])
            .output()?;
        if !made.status.success() {
            bail!("openssl: {}", String::from_utf8_lossy(&made.stderr));
        }
        let mut command = self.path.on(Side::Operator, "turnserver");
        let ip = format!("10.7.1.{}", Method::Coturn.number());
        command.args(["-n", "-L", &ip, "--tls-listening-port", "5349", "--cert", &cert, "--pkey", &key]);
        command.args([
            "-u",
            "a:b",
            "-r",
            "t",
            "--lt-cred-mech",
            "--no-cli",
            "--log-file",
            "/dev/null",
            "--pidfile",
        ]);
        command.arg(at("turn.pid")).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::start(&mut command)?;
        std::thread::sleep(Duration::from_millis(1500));
        Ok(process)
    }

    /// All speak for so long, at once.
    ///
    /// # Errors
    /// If a call does not come about.
    pub fn talk(self, seconds: u32) -> Result<Vec<(Method, Score)>> {
        let mut calls = Vec::new();
        for method in Method::ALL {
            let callee = self.callee(method, seconds)?;
            calls.push((method, callee, None));
        }
        for (method, _, caller) in &mut calls {
            *caller = Some(self.caller(*method, seconds)?);
        }
        let mut scores = Vec::new();
        for (method, mut callee, caller) in calls {
            let mut caller = caller.context("no caller")?;
            let one = record(&mut caller).with_context(|| format!("{}: who calls", method.name()))?;
            drop(callee.child().stdin.take());
            let other = record(&mut callee).with_context(|| format!("{}: who is called", method.name()))?;
            let (there, back) = (judge(&one, &other), judge(&other, &one));
            scores.push((method, if there.mos < back.mos { there } else { back }));
        }
        Ok(scores)
    }

    fn callee(&self, method: Method, seconds: u32) -> Result<Process> {
        let n = method.number();
        let listen = format!("10.9.1.{n}:5060");
        match method {
            Method::Coturn => {
                self.turn(Side::Operator, &["peer", &format!("10.9.1.{n}"), "6000", &seconds.to_string()])
            }
            Method::Udp => {
                let proxy = format!("10.8.1.{n}:5060");
                self.phone(Side::Operator, &[&listen, &proxy, "sip:bob@op.example", "secret", "direct"])
            }
            _ => {
                let proxy = format!("10.7.1.{n}:5060");
                self.phone(Side::Operator, &[&listen, &proxy, "sip:bob@op.example", "secret", "register"])
            }
        }
    }

    fn caller(&self, method: Method, seconds: u32) -> Result<Process> {
        let n = method.number();
        let (listen, seconds) = (format!("10.8.1.{n}:5060"), seconds.to_string());
        let (alice, bob) = ("sip:alice@op.example", "sip:bob@op.example");
        match method {
            Method::Coturn => {
                let (server, peer) = (format!("10.7.1.{n}"), format!("10.9.1.{n}"));
                self.turn(Side::Customer, &["client", &server, "5349", "a", "b", &peer, "6000", &seconds])
            }
            Method::Udp => {
                let proxy = format!("10.9.1.{n}:5060");
                self.phone(Side::Customer, &[&listen, &proxy, alice, "secret", "direct", bob, &seconds])
            }
            _ => {
                let proxy = format!("10.8.0.{n}:5060");
                self.phone(Side::Customer, &[&listen, &proxy, alice, "secret", "register", bob, &seconds])
            }
        }
    }

    fn phone(&self, side: Side, args: &[&str]) -> Result<Process> {
        let own = std::env::current_exe()?.to_string_lossy().into_owned();
        self.party(self.path.on(side, &own).arg("phone").args(args)).context("a phone")
    }

    fn turn(&self, side: Side, args: &[&str]) -> Result<Process> {
        let script = self.folder.path().join("turn.py");
        std::fs::write(&script, include_str!("turn.py"))?;
        self.party(self.path.on(side, "python3").arg(&script).args(args)).context("TURN")
    }

    fn party(&self, command: &mut Command) -> Result<Process> {
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        ready(&mut process)?;
        Ok(process)
    }
}

fn subscriber(data: &std::path::Path, user: &str) -> Result<()> {
    let mut command = Command::new(program()?);
    command
        .args(["subscriber", "add", &format!("sip:{user}@{DOMAIN}"), "--password-stdin", "--data"])
        .arg(data);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    child.stdin.take().context("no standard input")?.write_all(b"secret\n")?;
    if !child.wait()?.success() {
        bail!("subscriber add failed");
    }
    Ok(())
}

/// The pin that an operator prints, once it is ready.
fn pin(up: &mut Process) -> Result<String> {
    let output = up.child().stdout.as_mut().context("no standard output")?;
    let (mut pin, mut ready) = (None, false);
    for line in BufReader::with_capacity(1, output).lines() {
        let line = line?;
        ready |= line.contains("READY=1");
        if let Some(text) = line.strip_prefix("pin: ") {
            pin = Some(text.to_owned());
        }
        if let (Some(pin), true) = (&pin, ready) {
            return Ok(pin.clone());
        }
    }
    bail!("an operator has ended before it was ready")
}

/// The last line that a party prints.
fn record(party: &mut Process) -> Result<Record> {
    let mut text = String::new();
    party.child().stdout.take().context("no standard output")?.read_to_string(&mut text)?;
    Record::read(text.lines().last().context("it has said nothing")?)
}
