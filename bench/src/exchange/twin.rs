//! A second server of the same kind, under steady load in a network namespace of its own, to compare with: what a core of a
//! virtual machine gets done changes by half from one ten seconds to the next, and for both alike.

use crate::overload::{Loaded, PERIODS};
use crate::server::Kind;
use anyhow::{Context, Result, ensure};
use causeway_bench::process::Process;
use causeway_bench::space::Space;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::Duration;

/// What the twin is told to be, if it is not one of ours.
const KAMAILIO: &str = "kamailio";

/// The twin, which ends with this.
pub struct Twin {
    served: Arc<AtomicU64>,
    begun: Receiver<()>,
    /// It ends when this is closed.
    asks: Option<ChildStdin>,
    process: Process,
    _space: Space,
}

impl Twin {
    /// Starts it; until it serves, and all is well, takes as long as a server of one's own.
    ///
    /// # Errors
    /// If no namespace can be made: it takes root.
    pub fn start(kind: Kind) -> Result<Self> {
        let space = Space::new("cwx")?;
        // Not `ip netns exec`, which hides the control groups.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", space.name())).arg(std::env::current_exe()?).arg("twin");
        if matches!(kind, Kind::Kamailio { .. }) {
            command.arg(KAMAILIO);
        }
        let mut process = Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        let asks = process.child().stdin.take();
        let out = process.child().stdout.take().context("no pipe")?;
        let served = Arc::new(AtomicU64::new(0));
        let (tell, begun) = channel();
        let counted = served.clone();
        spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                counted.store(line.trim().parse().unwrap_or(0), Relaxed);
                // Nobody waits any more after the first.
                let _ = tell.send(());
            }
        });
        Ok(Self { served, begun, asks, process, _space: space })
    }

    /// Waits until it counts.
    ///
    /// # Errors
    /// If it has ended.
    pub fn wait(&self) -> Result<()> {
        self.begun.recv_timeout(Duration::from_secs(60)).context("the second server does not serve")
    }

    /// Calls that it has served so far, at most two seconds ago.
    pub fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        drop(self.asks.take());
        // What does not end by itself is ended by its owner.
        let _ = self.process.wait(Duration::from_secs(20));
    }
}

/// The twin's own part: serves, and tells how many calls, until its standard input ends.
///
/// # Errors
/// If its server cannot be started or confined.
pub fn run(args: &[String]) -> Result<()> {
    let kind = match args.first() {
        Some(arg) if arg == KAMAILIO => Kind::Kamailio { digest: true },
        _ => Kind::Shipped,
    };
    let loaded = Loaded::start(kind, PERIODS[1])?;
    let closed = loaded.closed_loop()?;
    let (tell, ended) = channel::<()>();
    spawn(move || {
        // An error ends it as well.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(tell);
    });
    let mut out = std::io::stdout();
    while ended.recv_timeout(Duration::from_millis(500)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        if let Ok(served) = closed.successful_now() {
            writeln!(out, "{served}")?;
        }
    }
    ensure!(closed.successful_now()? > 0, "no call was served");
    Ok(())
}
