//! Other domains, found as RFC 3263 says.

use super::forking::{ANSWERED, PICK_UP, finished, sipp};
use crate::lab::{CORE, Host};
use crate::process::{Process, until};
use crate::scene::Bench;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const CALLS: u32 = 30;

/// UDP before TCP; a dead host before two that share the calls.
const RECORDS: &[&str] = &[
    "--naptr-record=far.example,20,10,s,SIP+D2T,,_sip._tcp.far.example",
    "--naptr-record=far.example,10,10,s,SIP+D2U,,_sip._udp.far.example",
    "--srv-host=_sip._udp.far.example,dead.far.example,5060,1,0",
    "--srv-host=_sip._udp.far.example,seventy.far.example,5071,2,70",
    "--srv-host=_sip._udp.far.example,thirty.far.example,5073,2,30",
    "--host-record=dead.far.example,10.9.0.99",
    "--host-record=seventy.far.example,10.9.0.21",
    "--host-record=thirty.far.example,10.9.0.22",
];

/// The core's own resolver settings, as `ip netns exec` gives them to what it starts.
pub(super) struct Resolver(PathBuf);

impl Resolver {
    pub(super) fn new(namespace: &str, server: &str) -> Result<Self> {
        let folder = PathBuf::from("/etc/netns").join(namespace);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("resolv.conf"), format!("nameserver {server}\noptions timeout:1\n"))?;
        Ok(Self(folder))
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("could not remove {}: {error}", self.0.display());
        }
    }
}

/// NAPTR, SRV with priorities and weights, and a first host that does not answer.
pub fn dns(bench: &Bench<'_>) -> Result<String> {
    let _resolver = Resolver::new(&bench.lab.namespace(Host::Core), CORE)?;
    let _dnsmasq = dnsmasq(bench, RECORDS)?;
    let exchange = bench.binary.exchange(bench.lab, bench.dir, "", &[])?;
    bench.binary.subscriber(exchange.data(), "caller", "secret")?;
    let callee = |host, port, name| sipp(bench, host, port, name, PICK_UP, "far", None, "1000");
    let one = callee(Host::InsideA, "5071", "seventy")?;
    let other = callee(Host::InsideB, "5073", "thirty")?;
    let caller = ANSWERED.replace("[field2]@op.example", "[field2]@far.example");
    finished(sipp(bench, Host::InsideB, "5080", "caller", &caller, "far", None, &CALLS.to_string())?)?;
    let (one, other) = (answered(one)?, answered(other)?);
    ensure!(one + other == CALLS, "{one} and {other} of {CALLS} calls have arrived");
    // 30 calls at 70 to 30: fewer than two on either side has a probability below one in two thousand.
    ensure!(one >= 2 && other >= 2, "the weights are not heeded: {one} and {other} calls");
    Ok(format!("{CALLS} calls past a dead host, {one} and {other} by weights of 70 and 30"))
}

/// A name server in the core.
pub(super) fn dnsmasq(bench: &Bench<'_>, records: &[&str]) -> Result<Process> {
    let listen = format!("--listen-address={CORE}");
    let mut args = vec![
        "--no-daemon",
        "--no-resolv",
        "--no-hosts",
        "--bind-interfaces",
        "--log-queries",
        "--pid-file=",
        &listen,
    ];
    args.extend(records);
    let process = Process::start(bench.lab, Host::Core, bench.dir, "dnsmasq", "dnsmasq", &args)?;
    until(crate::process::PATIENCE, || {
        let sockets = bench.lab.output(Host::Core, "ss", &["-H", "-l", "-n", "-u"])?;
        ensure!(sockets.contains(&format!("{CORE}:53")), "dnsmasq does not listen; its log says why");
        Ok(())
    })?;
    Ok(process)
}

/// Ends a callee and asks how many calls it has had; SIPp says so at its end.
fn answered(mut callee: Process) -> Result<u32> {
    // Its last call may just be ending.
    std::thread::sleep(Duration::from_millis(500));
    crate::process::signal(callee.pid(), "-USR1");
    callee.exit(crate::process::PATIENCE).context("a callee")?;
    let printed = callee.printed();
    let line =
        printed.iter().rev().find(|line| line.contains("Successful call")).context("SIPp counts nothing")?;
    line.rsplit('|').next().and_then(|word| word.trim().parse().ok()).context("SIPp counts nothing")
}
