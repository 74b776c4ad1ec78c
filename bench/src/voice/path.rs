//! Two networks and a bad path between them.

use anyhow::{Context, Result, bail};
use causeway_bench::process::Process;
use causeway_bench::space::Space;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Each way, in milliseconds.
const DELAY_MS: u32 = 40;
const SEED: u32 = 1;

/// How packets are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Percent of all packets, each way.
    pub percent: f64,
    /// Mean length of a burst.
    pub burst: f64,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.burst > 1.0 {
            true => write!(f, "{} %, bursts of {}", self.percent, self.burst),
            false => write!(f, "{} %", self.percent),
        }
    }
}

/// The customer's side of the path, and the operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// 10.8.*.*.
    Customer,
    /// 10.7.*.* and 10.9.*.*.
    Operator,
}

/// The path; it goes away when this is dropped.
pub struct Path {
    _ends: [Process; 2],
    sides: [Space; 2],
    _folder: tempfile::TempDir,
}

impl Path {
    /// # Errors
    /// If the kernel refuses, which it does to anybody but root.
    pub fn new(loss: Loss) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let sides = [Space::new("cwv-customer-")?, Space::new("cwv-operator-")?];
        // Whatever is in these networks is on this very host.
        for (side, nets) in [(&sides[0], &["10.8.0.0/16"][..]), (&sides[1], &["10.7.0.0/16", "10.9.0.0/16"])]
        {
            for net in nets {
                side.ip(&["route", "add", "local", net, "dev", "lo"])?;
            }
        }
        let script = folder.path().join("link.py");
        std::fs::write(&script, include_str!("link.py"))?;
        let socket = |side: &str| folder.path().join(side).to_string_lossy().into_owned();
        let (one, other) = (socket("one"), socket("other"));
        let numbers =
            [DELAY_MS.to_string(), loss.percent.to_string(), loss.burst.to_string(), SEED.to_string()];
        let end = |side: &Space, args: [&str; 5]| -> Result<Process> {
            let mut command = within(side, "python3");
            command.arg(&script).args(args).args(&numbers).stdout(Stdio::piped());
            Process::start(&mut command)
        };
        let mut ends = [
            end(&sides[0], ["path0", "10.6.0.1", "10.6.0.2", &one, &other])?,
            end(&sides[1], ["path1", "10.6.0.2", "10.6.0.1", &other, &one])?,
        ];
        ends.iter_mut().try_for_each(ready)?;
        for (side, device, nets) in [
            (&sides[0], "path0", &["10.7.0.0/16", "10.9.0.0/16"][..]),
            (&sides[1], "path1", &["10.8.0.0/16"]),
        ] {
            for net in nets {
                side.ip(&["route", "add", net, "dev", device])?;
            }
        }
        Ok(Self { _ends: ends, sides, _folder: folder })
    }

    /// A command that will run on one side.
    pub fn on(&self, side: Side, program: &str) -> Command {
        within(&self.sides[usize::from(side == Side::Operator)], program)
    }
}

fn within(space: &Space, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", space.name(), program]);
    command
}

/// Waits until a process says READY; what it says before is returned.
///
/// # Errors
/// If it ends first.
pub fn ready(process: &mut Process) -> Result<()> {
    let output = process.child().stdout.as_mut().context("no standard output")?;
    let mut reader = BufReader::with_capacity(1, output);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        if line.trim_end().ends_with("READY") || line.contains("READY=1") {
            return Ok(());
        }
        line.clear();
    }
    bail!("a process has ended before it was ready")
}
