//! Phones behind masquerading routers that speak to the exchange directly, with no agent and nothing configured for it.

use crate::baresip::{Account, Baresip};
use crate::causeway::Causeway;
use crate::kamailio::DOMAIN;
use crate::lab::{Firewall, Host};
use crate::process::{PATIENCE, until};
use crate::scene::{Bench, Side, hang_up};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Where the exchange is.
const SERVER: &str = "203.0.113.10:5060";

/// Calls between them, which are ended by either.
pub fn behind_nat(bench: &Bench<'_>) -> Result<String> {
    let routers = [Host::NatA, Host::NatB];
    routers.iter().try_for_each(|nat| bench.lab.firewall(*nat, Firewall::Open))?;
    let result = calls(bench);
    routers.iter().try_for_each(|nat| bench.lab.firewall(*nat, Firewall::OnlyHttps))?;
    result
}

fn calls(bench: &Bench<'_>) -> Result<String> {
    let records = bench.dir.join("cdr.jsonl");
    let _exchange = exchange(bench, &records)?;
    let mut done = 0;
    for (over_a, over_b) in [("udp", "udp"), ("tcp", "tcp"), ("udp", "tcp"), ("tcp", "udp")] {
        let (mut alice, mut bob) = (phone(bench, Side::A, over_a)?, phone(bench, Side::B, over_b)?);
        for by_caller in [true, false] {
            call(&mut alice, &mut bob, by_caller).with_context(|| format!("{over_a} to {over_b}"))?;
            done += 1;
            let who = if by_caller { "caller" } else { "callee" };
            until(PATIENCE, || {
                let ended = ends(&records)?;
                ensure!(
                    ended.len() == done && ended.last().is_some_and(|by| by == who),
                    "records: {ended:?}"
                );
                Ok(())
            })?;
        }
    }
    Ok(format!(
        "{done} calls over UDP and TCP between two phones that both are 192.168.1.10, ended by either"
    ))
}

fn exchange(bench: &Bench<'_>, records: &Path) -> Result<Causeway> {
    let data = bench.dir.join("exchange");
    fs::create_dir_all(&data)?;
    for side in [Side::A, Side::B] {
        bench.binary.subscriber(&data, side.user(), "secret")?;
    }
    let records = records.to_string_lossy();
    let mut args = vec!["exchange", "--domain", DOMAIN, "--sip", SERVER, "--cdr", &*records];
    args.extend(bench.binary.workers("--workers"));
    bench.binary.start(bench.lab, Host::Edge, bench.dir, "exchange", &args)
}

fn phone(bench: &Bench<'_>, side: Side, transport: &str) -> Result<Baresip> {
    let says = bench.voice(side)?;
    let account = Account { transport, ..Account::new(side.user(), SERVER, &says) };
    Baresip::registered(bench.lab, bench.dir, side.phone(), &account)
}

/// Their voices meet nobody, since nothing relays media here: what counts is the ACK, without which the callee's call
/// does not stand, and the BYE.
fn call(alice: &mut Baresip, bob: &mut Baresip, by_caller: bool) -> Result<()> {
    let rings = bob.mark();
    let dialled = alice.dial(&bob.uri())?;
    alice.established(dialled)?;
    bob.established(rings).context("no ACK")?;
    // Of calls shorter than a second baresip does not say that they have ended.
    thread::sleep(Duration::from_millis(1500));
    match by_caller {
        true => hang_up(alice, bob),
        false => hang_up(bob, alice),
    }
}

/// Who has ended the calls, by the exchange's records.
fn ends(records: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(records).with_context(|| records.display().to_string())?;
    let lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    let ended = lines.iter().filter(|line| line["event"] == "ended");
    Ok(ended.map(|line| line["ended_by"].as_str().unwrap_or_default().to_owned()).collect())
}
