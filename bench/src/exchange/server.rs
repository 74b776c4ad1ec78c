//! The servers under the same load: Causeway's exchange and Kamailio.

use anyhow::{Context, Result, bail};
use causeway_bench::cpu;
use causeway_bench::process::{Process, program};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Where both listen, one after the other.
pub const ADDRESS: &str = "127.0.5.1:5060";
/// The domain that they serve.
pub const DOMAIN: &str = "bench.example";

/// Which server, and how it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The release build of `causeway up`: digest, every binding on disk before its 200 leaves.
    Shipped,
    /// The same with so many workers of the exchange.
    Workers(u16),
    /// The same exchange on the same driver, set up by this benchmark.
    Bare {
        /// Whether REGISTER and INVITE need credentials.
        digest: bool,
        /// Whether bindings are kept on disk.
        durable: bool,
    },
    /// Kamailio with two UDP workers, bindings in memory alone.
    Kamailio {
        /// Whether REGISTER and INVITE need credentials.
        digest: bool,
    },
}

impl Kind {
    /// As the tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shipped | Self::Workers(_) => "causeway up",
            Self::Bare { digest: true, durable: true } => "exchange",
            Self::Bare { digest: true, durable: false } => "exchange, nothing on disk",
            Self::Bare { digest: false, .. } => "exchange",
            Self::Kamailio { .. } => "Kamailio",
        }
    }
}

/// A running server.
pub struct Server {
    process: Process,
    data: TempDir,
}

impl Server {
    /// Starts one whose subscribers are `u0` to `u<users-1>`, all with the password `secret`.
    ///
    /// # Errors
    /// If it does not answer within two minutes.
    pub fn start(kind: Kind, users: usize) -> Result<Self> {
        let data = tempfile::tempdir()?;
        if !matches!(kind, Kind::Kamailio { .. }) {
            crate::subscribers::write(data.path(), users)?;
        }
        Self::start_in(kind, data)
    }

    /// The same over a folder of databases that is there already.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub fn start_in(kind: Kind, data: TempDir) -> Result<Self> {
        let mut command = command(kind, data.path())?;
        let process = Process::start(command.stdin(Stdio::null()))?;
        let mut server = Self { process, data };
        if let Some(out) = server.process.child().stdout.take() {
            ready(out)?;
        }
        answers()?;
        Ok(server)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Nanoseconds run so far.
    ///
    /// # Errors
    /// If it has ended.
    pub fn nanos(&self) -> Result<u64> {
        cpu::family_nanos(self.process.id()).context("the server has ended")
    }

    /// Messages that went from one worker to another, of those received; 0 with one worker.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn share_handed(&self) -> Result<f64> {
        let status =
            Command::new(program()?).args(["status", "--json", "--data"]).arg(self.data.path()).output()?;
        let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        let workers = status["workers"].as_array().context("no workers")?;
        let exchange = workers.iter().find(|worker| !worker["nodes"]["exchange"].is_null());
        let exchange = exchange.context("no exchange")?;
        let handed = exchange["nodes"]["exchange"]["handed"].as_f64().unwrap_or(0.0);
        Ok(handed / exchange["counters"]["datagrams_in"].as_f64().context("no count of datagrams")?)
    }

    /// Resident bytes.
    ///
    /// # Errors
    /// If it has ended.
    pub fn memory(&self) -> Result<u64> {
        cpu::family_memory(self.process.id()).context("the server has ended")
    }
}

fn command(kind: Kind, data: &Path) -> Result<Command> {
    match kind {
        Kind::Shipped | Kind::Workers(_) => {
            let mut command = Command::new(program()?);
            command.args(["up", "--domain", DOMAIN, "--sip", ADDRESS, "--tunnel", "127.0.5.1:24431"]);
            command.args(["--media", "127.0.5.1:20000-20099", "--log", "warn", "--ready-fd", "1", "--data"]);
            command.arg(data).stdout(Stdio::piped());
            if let Kind::Workers(workers) = kind {
                command.args(["--workers", &workers.to_string()]);
            }
            Ok(command)
        }
        Kind::Bare { digest, durable } => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["serve", &digest.to_string(), &durable.to_string()]);
            command.arg(data).stdout(Stdio::piped());
            Ok(command)
        }
        Kind::Kamailio { digest } => {
            let file = data.join("kamailio.cfg");
            fs::write(&file, crate::kamailio::config(digest))?;
            let mut command = Command::new("kamailio");
            command.args(["-DD", "-E", "-m", "1024", "-M", "16", "-x", "fm", "-X", "fm", "-f"]).arg(file);
            // What it says at start is of no use here, and its warnings come at debug level 1.
            command.arg("-Y").arg(data).stdout(Stdio::null()).stderr(Stdio::null());
            Ok(command)
        }
    }
}

fn ready(out: impl std::io::Read) -> Result<()> {
    for line in BufReader::new(out).lines() {
        if line? == "READY=1" {
            return Ok(());
        }
    }
    bail!("the server has ended before it was ready")
}

/// Asks by OPTIONS until an answer comes.
fn answers() -> Result<()> {
    let socket = UdpSocket::bind("127.0.6.9:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let local = socket.local_addr()?;
    for attempt in 0..1000 {
        let options = format!(
            "OPTIONS sip:{ADDRESS} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKw{attempt}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:w@{DOMAIN}>;tag=w\r\nTo: <sip:{ADDRESS}>\r\n\
             Call-ID: w{attempt}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        // Refused until it listens.
        let _ = socket.send_to(options.as_bytes(), ADDRESS);
        if socket.recv(&mut [0; 4096]).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("no server answers on {ADDRESS}")
}
