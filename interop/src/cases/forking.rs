//! One address of record, several contacts: every branch of forking, played by SIPp.

use crate::causeway::Causeway;
use crate::kamailio::DOMAIN;
use crate::lab::{CORE, Host};
use crate::process::{PATIENCE, Process};
use crate::scene::Bench;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::Duration;

pub(super) const REGISTER: &str = include_str!("../../scenarios/forking/register.xml");
pub(super) const PICK_UP: &str = include_str!("../../scenarios/forking/pick-up.xml");
const RING: &str = include_str!("../../scenarios/forking/ring.xml");
const BUSY: &str = include_str!("../../scenarios/forking/busy.xml");
pub(super) const ANSWERED: &str = include_str!("../../scenarios/forking/caller-200.xml");
const REFUSED: &str = include_str!("../../scenarios/forking/caller-486.xml");
const GIVES_UP: &str = include_str!("../../scenarios/forking/caller-487.xml");
const REDIRECTED: &str = include_str!("../../scenarios/forking/caller-302.xml");

/// Three places that may be registered: host, port, and how the contact is written.
const PLACES: [(Host, &str, &str); 3] = [
    (Host::InsideA, "5071", "<sip:a@10.9.0.21:5071>"),
    (Host::InsideA, "5072", "<sip:b@10.9.0.21:5072>"),
    (Host::InsideB, "5073", "<sip:c@10.9.0.22:5073>"),
];

/// What the callees do, with their q, and what the caller sees.
struct Branch {
    user: &'static str,
    callees: &'static [(&'static str, &'static str)],
    caller: &'static str,
}

const BRANCHES: &[Branch] = &[
    // One picks up, the others are cancelled; each 180 has a To tag of its own.
    Branch { user: "first", callees: &[(RING, "1.0"), (PICK_UP, "1.0"), (RING, "1.0")], caller: ANSWERED },
    Branch { user: "busy", callees: &[(BUSY, "1.0"), (BUSY, "1.0"), (BUSY, "1.0")], caller: REFUSED },
    Branch { user: "given-up", callees: &[(RING, "1.0"), (RING, "1.0"), (RING, "1.0")], caller: GIVES_UP },
    Branch { user: "next", callees: &[(BUSY, "1.0"), (PICK_UP, "0.5")], caller: ANSWERED },
    // The first rings longer than the exchange waits.
    Branch { user: "patient", callees: &[(RING, "1.0"), (BUSY, "0.7"), (PICK_UP, "0.2")], caller: ANSWERED },
];

/// Parallel and sequential forking.
pub fn forking(bench: &Bench<'_>) -> Result<String> {
    let exchange = exchange(bench, "ring = 2")?;
    for branch in BRANCHES {
        play(bench, branch).with_context(|| format!("the branch `{}`", branch.user))?;
    }
    let waiting = exchange.status("exchange")?["transactions"].clone();
    Ok(format!("{} branches: {}; {waiting} transactions still wait", BRANCHES.len(), names()))
}

fn names() -> String {
    BRANCHES.iter().map(|branch| branch.user).collect::<Vec<_>>().join(", ")
}

/// The exchange tells the contacts instead of trying them.
pub fn redirect(bench: &Bench<'_>) -> Result<String> {
    let _exchange = exchange(bench, "delivery = \"redirect\"")?;
    register(bench, "moved", &["0.2", "0.3", "0.1"]).context("registration")?;
    // The scenario wants the second, then the first, then the last.
    finished(sipp(bench, Host::InsideB, "5080", "caller-moved", REDIRECTED, "moved", None, "1")?)?;
    Ok("302 with three contacts, the best first".to_owned())
}

fn exchange(bench: &Bench<'_>, policy: &str) -> Result<Causeway> {
    let exchange = bench.binary.exchange(bench.lab, bench.dir, &format!("[policy]\n{policy}\n"), &[])?;
    for user in BRANCHES.iter().map(|branch| branch.user).chain(["moved", "caller"]) {
        bench.binary.subscriber(exchange.data(), user, "secret")?;
    }
    Ok(exchange)
}

fn play(bench: &Bench<'_>, branch: &Branch) -> Result<()> {
    let q: Vec<&str> = branch.callees.iter().map(|(_, q)| *q).collect();
    register(bench, branch.user, &q)?;
    let mut callees = Vec::new();
    for ((host, port, _), (scenario, _)) in PLACES.iter().zip(branch.callees) {
        let name = format!("{}-{port}", branch.user);
        callees.push(sipp(bench, *host, port, &name, scenario, branch.user, None, "1")?);
    }
    let name = format!("{}-caller", branch.user);
    finished(sipp(bench, Host::InsideB, "5080", &name, branch.caller, branch.user, None, "1")?)
        .context("the caller")?;
    for (callee, number) in callees.into_iter().zip(1..) {
        finished(callee).with_context(|| format!("callee {number}"))?;
    }
    Ok(())
}

pub(super) fn register(bench: &Bench<'_>, user: &str, q: &[&str]) -> Result<()> {
    let contacts = PLACES.iter().zip(q).map(|((_, _, contact), q)| format!("{contact};q={q}"));
    let contacts = contacts.collect::<Vec<_>>().join(", ");
    let name = format!("{user}-register");
    finished(sipp(bench, Host::InsideA, "5070", &name, REGISTER, user, Some(&contacts), "1")?)
}

/// SIPp in a role, for so many calls at once. A registrant acts for `user`; a caller is `caller` and calls `user`.
#[allow(clippy::too_many_arguments, reason = "each is one option of SIPp")]
pub(super) fn sipp(
    bench: &Bench<'_>,
    host: Host,
    port: &str,
    name: &str,
    scenario: &str,
    user: &str,
    contacts: Option<&str>,
    calls: &str,
) -> Result<Process> {
    let (file, table) = (bench.dir.join(format!("{name}.xml")), bench.dir.join(format!("{name}.csv")));
    fs::write(&file, scenario)?;
    let own = if contacts.is_some() { user } else { "caller" };
    fs::write(&table, format!("SEQUENTIAL\n{own};[authentication username={own} password=secret];{user}\n"))?;
    let (file, table, server) = (file.to_string_lossy(), table.to_string_lossy(), format!("{CORE}:5060"));
    let errors = bench.dir.join(format!("{name}-errors.log"));
    let errors = errors.to_string_lossy();
    let args = [
        &*server,
        "-sf",
        &*file,
        "-inf",
        &*table,
        "-i",
        host.address(),
        "-p",
        port,
        "-m",
        calls,
        "-r",
        "20",
        "-nostdin",
        "-trace_err",
        "-error_file",
        &*errors,
        // A semicolon would end a field of the table.
        "-key",
        "contacts",
        contacts.unwrap_or_default(),
    ];
    let process = Process::start(bench.lab, host, bench.dir, name, "sipp", &args)?;
    let address = format!("{}:{port}", host.address());
    crate::process::until(PATIENCE, || {
        let sockets = bench.lab.output(host, "ss", &["-H", "-a", "-n", "-u"])?;
        ensure!(sockets.contains(&address) || contacts.is_some() || port == "5080", "{name} has not started");
        Ok(())
    })?;
    Ok(process)
}

pub(super) fn finished(mut process: Process) -> Result<()> {
    let status = process.exit(Duration::from_secs(15))?;
    ensure!(status.success(), "SIPp counts a failed call ({status}) at {DOMAIN}; its log says why");
    Ok(())
}
