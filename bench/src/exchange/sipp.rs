//! SIPp as the load, and what it counts.

use crate::server::ADDRESS;
use anyhow::{Context, Result, ensure};
use causeway_bench::process::Process;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Calls that one run may have open at once.
const OPEN: usize = 20_000;

/// What SIPp plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// REGISTER, with credentials where they are asked for.
    Register,
    /// The same, each user at one of the addresses of [`Part::CalleeAt`].
    RegisterSpread,
    /// A call that is answered and ended at once.
    Caller {
        /// Whether a 407 comes first.
        digest: bool,
    },
    /// With a 407, and each call from a port of its own, as many phones would do it.
    Callers,
    /// Picks up at once.
    Callee,
    /// The same at one of [`CALLEES`] addresses.
    CalleeAt(usize),
}

/// Addresses of callees, where there are several.
pub const CALLEES: usize = 8;

impl Part {
    fn scenario(self) -> (String, String) {
        let (name, scenario) = match self {
            Self::Register | Self::RegisterSpread => ("register", include_str!("scenarios/register.xml")),
            Self::Caller { digest: true } | Self::Callers => {
                ("caller", include_str!("scenarios/caller-digest.xml"))
            }
            Self::Caller { digest: false } => ("caller", include_str!("scenarios/caller.xml")),
            Self::Callee | Self::CalleeAt(_) => ("callee", include_str!("scenarios/callee.xml")),
        };
        match self {
            Self::RegisterSpread => (name.to_owned(), scenario.replace("127.0.6.2", "[field3]")),
            Self::CalleeAt(number) => (format!("{name}-{number}"), scenario.to_owned()),
            _ => (name.to_owned(), scenario.to_owned()),
        }
    }

    fn address(self) -> String {
        match self {
            Self::Callee => callee(0),
            Self::CalleeAt(number) => callee(number),
            _ => "127.0.6.1".to_owned(),
        }
    }

    /// The port on which it takes orders, another for each that runs at the same time.
    fn control(self) -> u16 {
        match self {
            Self::Callee => 8881,
            Self::CalleeAt(number) => 8882 + number as u16,
            _ => 8880,
        }
    }

    fn is_callee(self) -> bool {
        matches!(self, Self::Callee | Self::CalleeAt(_))
    }
}

fn callee(number: usize) -> String {
    format!("127.0.6.{}", 2 + number)
}

/// What SIPp has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub begun: u64,
    pub successful: u64,
    pub failed: u64,
    pub retransmissions: u64,
}

/// A running SIPp.
pub struct Sipp {
    process: Process,
    statistics: std::path::PathBuf,
    control: u16,
}

/// What each of SIPp's sockets may hold unread and unsent, as the servers' own; more than net.core.rmem_max is not granted.
const BUFFER: &str = "4194304";

/// Starts SIPp: `count` calls, `rate` begun per second; callees run until they are dropped.
pub fn start(folder: &Path, part: Part, users: (usize, usize), count: usize, rate: usize) -> Result<Sipp> {
    start_open(folder, part, users, count, rate, OPEN)
}

/// The same with at most so many calls open at once.
pub fn start_open(
    folder: &Path,
    part: Part,
    users: (usize, usize),
    count: usize,
    rate: usize,
    open: usize,
) -> Result<Sipp> {
    let (name, scenario) = part.scenario();
    let file = |suffix: &str| folder.join(format!("{name}{suffix}"));
    let (scenario_file, users_file, statistics) = (file(".xml"), file(".csv"), file(".stat"));
    fs::write(&scenario_file, scenario)?;
    fs::write(&users_file, table(users))?;
    let mut command = Command::new("sipp");
    command.arg(ADDRESS).arg("-sf").arg(scenario_file).arg("-inf").arg(users_file);
    command.args(["-i", &part.address(), "-p", "5060", "-nostdin", "-l", &open.to_string()]);
    if part == Part::Callers {
        // Beyond so many, ports are shared.
        command.args(["-t", "un", "-max_socket", "900"]);
    }
    command.args(["-cp", &part.control().to_string()]);
    // 64 KiB unless told, which a server that answers many messages at a stroke overruns.
    command.args(["-buff_size", BUFFER]);
    // A refused call ends at once, without a BYE for what never was.
    command.args(["-default_behaviors", "all,-bye"]);
    command.args(["-trace_stat", "-fd", "1", "-stf"]).arg(&statistics);
    if !part.is_callee() {
        command.args(["-m", &count.to_string(), "-r", &rate.to_string()]);
    }
    command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    Ok(Sipp { process: Process::start(&mut command)?, statistics, control: part.control() })
}

/// Runs SIPp to its end.
pub fn run(folder: &Path, part: Part, users: (usize, usize), count: usize, rate: usize) -> Result<Counted> {
    let mut sipp = start(folder, part, users, count, rate)?;
    let expected = Duration::from_secs((count / rate.max(1)) as u64);
    // It ends badly if a call has failed, which the counts say as well.
    sipp.process.wait(expected * 2 + Duration::from_secs(60))?;
    let counted = sipp.counted()?;
    ensure!(counted.successful > 0, "{part:?}: no call has succeeded");
    Ok(counted)
}

impl Sipp {
    /// Has it begin so many calls per second from now on.
    ///
    /// # Errors
    /// If there is no socket to be had.
    pub fn set_rate(&self, rate: usize) -> Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.send_to(format!("cset rate {rate}").as_bytes(), ("127.0.0.1", self.control))?;
        Ok(())
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Calls that have succeeded so far, at most a second ago.
    ///
    /// # Errors
    /// If SIPp has not counted anything yet.
    pub fn successful_now(&self) -> Result<u64> {
        Ok(self.counted()?.successful)
    }

    /// Calls that it has begun so far, at most a second ago.
    ///
    /// # Errors
    /// If SIPp has not counted anything yet.
    pub fn begun_now(&self) -> Result<u64> {
        Ok(self.counted()?.begun)
    }

    /// Ends it without waiting for its calls.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(mut self) -> Result<()> {
        self.process.child().kill()?;
        self.process.wait(Duration::from_secs(5)).map(drop)
    }

    fn counted(&self) -> Result<Counted> {
        let text = fs::read_to_string(&self.statistics).context("SIPp has counted nothing")?;
        let (head, row) = text.trim_end().split_once('\n').context("SIPp has counted nothing")?;
        let row = row.lines().last().unwrap_or_default();
        let value = |column: &str| -> Result<u64> {
            let at = head.split(';').position(|name| name == column).context("no such column")?;
            row.split(';').nth(at).and_then(|text| text.parse().ok()).context("no number")
        };
        Ok(Counted {
            begun: value("OutgoingCall(C)")?,
            successful: value("SuccessfulCall(C)")?,
            failed: value("FailedCall(C)")?,
            retransmissions: value("Retransmissions(C)")?,
        })
    }
}

/// User, credentials, whom they call: so many users, every so many-th of all.
fn table((users, step): (usize, usize)) -> String {
    let line = |number: usize| {
        let (n, other) = (number * step, (number + users / 2) % users.max(1) * step);
        let at = callee(number % CALLEES);
        format!("u{n};[authentication username=u{n} password=secret];u{other};{at}\n")
    };
    std::iter::once("SEQUENTIAL\n".to_owned()).chain((0..users).map(line)).collect()
}
