//! The network: two customers, a carrier, the Internet and an operator, in network namespaces.
//!
//! ```text
//!  phone 192.168.1.10 ┐                                                        ┌ inside phone 10.9.0.21
//!  agent 192.168.1.2 ─┴─ NAT A ── 100.64.0.0/24 ── carrier NAT ┐               ├ inside phone 10.9.0.22
//!                                                              ├ 203.0.113.0/24 ─ edge .10 │ 10.9.0.1 ─ core 10.9.0.2
//!  phone 192.168.1.10 ┬─ NAT B ────────────────────────────────┘
//!  agent 192.168.1.2 ─┘    (the same addresses as at A, on purpose)
//! ```
//!
//! The customers' firewalls let TCP port 443 out and nothing in.

mod firewall;
mod host;

pub use firewall::{Firewall, conntrack, conntrack_flush, refused_packets};
pub use host::Host;

use anyhow::{Context, Result, bail, ensure};
use std::io::Write;
use std::process::{Command, Stdio};

/// How names of our namespaces begin; the process id and the host follow.
const PREFIX: &str = "cw-";

/// The operator's public address, where the tunnel ends.
pub const TUNNEL: &str = "203.0.113.10:443";
/// The edge towards the operator's network.
pub const EDGE_INSIDE: &str = "10.9.0.1";
/// The operator's SIP server.
pub const CORE: &str = "10.9.0.2";
/// The agent in either customer's LAN.
pub const AGENT: &str = "192.168.1.2";

/// The network; it goes away when this is dropped.
pub struct Lab {
    pid: u32,
}

impl Lab {
    /// Builds the network, after removing what a dead run has left.
    ///
    /// # Errors
    /// If a tool is missing or the kernel refuses, which it does to anybody but root.
    pub fn up() -> Result<Self> {
        remove_leftovers()?;
        let lab = Self { pid: std::process::id() };
        lab.namespaces()?;
        lab.wires()?;
        for host in Host::ALL {
            lab.configure(host).with_context(|| format!("host {}", host.name()))?;
        }
        for host in [Host::NatA, Host::NatB] {
            lab.firewall(host, Firewall::OnlyHttps)?;
        }
        lab.firewall(Host::Carrier, Firewall::Open)?;
        Ok(lab)
    }

    /// The namespace of a host.
    pub fn namespace(&self, host: Host) -> String {
        namespace(self.pid, host)
    }

    /// A command that will run on a host.
    pub fn on(&self, host: Host, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host), program]);
        command
    }

    /// Runs a command on a host and returns what it printed.
    ///
    /// # Errors
    /// If it cannot be run, or fails.
    pub fn output(&self, host: Host, program: &str, args: &[&str]) -> Result<String> {
        let mut command = self.on(host, program);
        command.args(args).stdin(Stdio::null());
        output(&mut command).with_context(|| format!("{program} {} on {}", args.join(" "), host.name()))
    }

    fn namespaces(&self) -> Result<()> {
        let script: String =
            Host::ALL.iter().map(|&host| format!("netns add {}\n", self.namespace(host))).collect();
        ip(&[], &script)
    }

    /// Bridges and cables. No interface ever stands in the namespace of the machine itself.
    fn wires(&self) -> Result<()> {
        let mut script = String::new();
        for (host, bridge) in host::BRIDGES {
            let ns = self.namespace(*host);
            script.push_str(&format!(
                "link add name {bridge} netns {ns} type bridge forward_delay 0 mcast_snooping 0\n"
            ));
        }
        for (one, its, other, others) in host::CABLES {
            let (one, other) = (self.namespace(*one), self.namespace(*other));
            script.push_str(&format!(
                "link add name {its} netns {one} type veth peer name {others} netns {other}\n"
            ));
        }
        ip(&[], &script)
    }

    fn configure(&self, host: Host) -> Result<()> {
        let ns = self.namespace(host);
        // Without IPv6 no phone waits for an address or picks one that leads nowhere.
        let mut sysctl = self.on(host, "sysctl");
        sysctl.args(["-q", "-e", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv4.conf.all.rp_filter=0"]);
        // What is switched within a LAN is none of the router's firewall's business.
        sysctl.arg("net.bridge.bridge-nf-call-iptables=0");
        if host.forwards() {
            sysctl.arg("net.ipv4.ip_forward=1");
        }
        output(&mut sysctl)?;
        ip(&["-n", &ns], &host.setup())
    }

    /// Gives a NAT this firewall, instead of the one that it has.
    ///
    /// # Errors
    /// If `nft` fails.
    pub fn firewall(&self, host: Host, firewall: Firewall) -> Result<()> {
        let mut nft = self.on(host, "nft");
        feed(nft.args(["-f", "-"]), &firewall.script(host))
            .with_context(|| format!("firewall of {}", host.name()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        remove(self.pid);
    }
}

fn namespace(pid: u32, host: Host) -> String {
    format!("{PREFIX}{pid}-{}", host.name())
}

/// Ends whatever runs in the namespaces of one run, and removes them. Never fails: it runs when all else has.
pub fn remove(pid: u32) {
    let names = existing().unwrap_or_default();
    for name in names.iter().filter(|name| owner(name) == Some(pid)) {
        let inside = output(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
        for process in inside.split_whitespace() {
            let killed = output(Command::new("kill").args(["-KILL", process]));
            if let Err(error) = killed {
                // It may have ended by itself just now.
                eprintln!("note: {error:#}");
            }
        }
        if let Err(error) = output(Command::new("ip").args(["netns", "del", name])) {
            eprintln!("could not remove the namespace {name}: {error:#}");
        }
    }
}

/// Removes namespaces whose run is dead.
fn remove_leftovers() -> Result<()> {
    let mut dead: Vec<u32> =
        existing()?.iter().filter_map(|name| owner(name)).filter(|pid| !alive(*pid)).collect();
    dead.sort_unstable();
    dead.dedup();
    dead.into_iter().for_each(remove);
    Ok(())
}

fn existing() -> Result<Vec<String>> {
    let list = output(Command::new("ip").args(["netns", "list"]))?;
    Ok(list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
}

/// The process that made a namespace of ours.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

/// Whether a process of this program still has that id.
fn alive(pid: u32) -> bool {
    let ours = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == ours)
}

fn ip(args: &[&str], script: &str) -> Result<()> {
    feed(Command::new("ip").args(args).args(["-batch", "-"]), script)
}

/// Runs a command with a script on its standard input.
///
/// # Errors
/// If it cannot be run, or fails.
pub fn feed(command: &mut Command, script: &str) -> Result<()> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no standard input")?.write_all(script.as_bytes())?;
    let done = child.wait_with_output()?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}

/// Runs a command and returns what it printed.
///
/// # Errors
/// If it cannot be run, or fails.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("{command:?}"))?;
    if !done.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_namespaces_are_ours() {
        assert_eq!(owner("cw-123-nat-a"), Some(123));
        assert_eq!(owner("cw-x"), None);
        assert_eq!(owner("docker-123"), None);
    }

    #[test]
    fn a_live_process_of_another_program_is_no_run_of_ours() {
        assert!(alive(std::process::id()));
        assert!(!alive(1));
    }
}
