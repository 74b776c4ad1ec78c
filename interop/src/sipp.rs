//! SIPp: many calls from scenarios, without media.

use crate::kamailio::DOMAIN;
use crate::lab::{AGENT, Host, Lab};
use crate::process::{PATIENCE, Process};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What SIPp plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One REGISTER.
    Register,
    /// Calls.
    Caller,
    /// Picks up.
    Callee,
}

impl Part {
    fn scenario(self) -> (&'static str, &'static str) {
        match self {
            Self::Register => ("register", include_str!("../scenarios/register.xml")),
            Self::Caller => ("caller", include_str!("../scenarios/caller.xml")),
            Self::Callee => ("callee", include_str!("../scenarios/callee.xml")),
        }
    }
}

/// Starts SIPp on a host, in the place of a phone; it ends after so many calls.
///
/// # Errors
/// If it cannot be started.
pub fn start(lab: &Lab, dir: &Path, host: Host, part: Part, user: &str, calls: u32) -> Result<Process> {
    let (name, scenario) = part.scenario();
    let file = dir.join(format!("{name}.xml"));
    fs::write(&file, scenario).with_context(|| file.display().to_string())?;
    let other = if user == "alice" { "bob" } else { "alice" };
    let (file, calls, agent) = (file.to_string_lossy(), calls.to_string(), format!("{AGENT}:5060"));
    let address = host.address();
    let args = [
        &*agent, "-sf", &file, "-i", address, "-p", "5060", "-mi", address, "-m", &calls, "-r", "20",
        "-nostdin", "-key", "user", user, "-key", "other", other, "-key", "domain", DOMAIN,
    ];
    Process::start(lab, host, dir, &format!("sipp-{user}-{name}"), "sipp", &args)
}

/// Waits until all calls of a run have ended well.
///
/// # Errors
/// If one has failed, or they take too long.
pub fn finished(mut process: Process, patience: Duration) -> Result<()> {
    let status = process.exit(patience)?;
    ensure!(status.success(), "SIPp counts failed calls ({status}); its log says which");
    Ok(())
}

/// Registers a user from a host.
///
/// # Errors
/// If it is refused.
pub fn register(lab: &Lab, dir: &Path, host: Host, user: &str) -> Result<()> {
    finished(start(lab, dir, host, Part::Register, user, 1)?, PATIENCE)
}

/// What `sipp -v` says of its version.
pub fn version() -> Option<String> {
    let out = std::process::Command::new("sipp").arg("-v").output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let word = text.split_whitespace().find(|word| word.starts_with("v3"))?;
    word.trim_start_matches('v').split('-').next().map(str::to_owned)
}
