//! Other phones, and phones in other places.

use super::calls;
use crate::baresip::{Account, Baresip};
use crate::kamailio::PathSupport;
use crate::lab::{AGENT, CORE, Host, TUNNEL};
use crate::linphone::Linphone;
use crate::process::{PATIENCE, until};
use crate::scene::{Bench, Operator, Scene, Side, hang_up, talk};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

const PLAIN: Operator = Operator::Kamailio(PathSupport::Off);

/// linphonec in Alice's place: it calls, and is called.
pub fn linphone(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let mut bob = scene.phone(Side::B)?;
    let says = bench.voice(Side::A)?;
    let proxy = format!("{AGENT}:5060");
    let mut alice = Linphone::registered(bench.lab, bench.dir, Host::PhoneA, "alice", &proxy, &says)?;
    let mut results = Vec::new();
    for calls in [true, false] {
        let (mark, bobs) = (alice.mark(), bob.mark());
        if calls {
            alice.command(&format!("call {}", bob.uri()))?;
        } else {
            bob.dial(&alice.uri())?;
            alice.wait("incoming call", mark)?;
            alice.command("answer")?;
        }
        bob.established(bobs)?;
        alice.wait("connected", mark)?;
        bob.hears(4)?;
        if calls {
            alice.command("terminate")?;
        } else {
            bob.hang_up()?;
        }
        alice.wait("ended (No error)", mark)?;
        bob.terminated(bobs)?;
        results.push(bench.understood(&bob, Side::A)?);
        // It goes on in its file where the last call ended, and records over the last recording.
        results.push(until(PATIENCE, || bench.recognised(&alice.heard()?, Side::B, Side::A))?);
    }
    scene.no_calls()?;
    Ok(results.join("; "))
}

/// Phones that speak SIP over TCP to their agents.
pub fn tcp_phones(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let alice = scene.phone_with(Side::A, |account| account.transport = "tcp")?;
    let bob = scene.phone_with(Side::B, |account| account.transport = "tcp")?;
    calls::both_ways(bench, &scene, alice, bob)
}

/// Hold and resume: two re-INVITEs.
pub fn hold(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut alice, &mut bob, 3)?;
    // baresip does not go on recording after a re-INVITE, so from here on Bob's agent counts.
    let sent_to_bob = || -> Result<u64> {
        let status = scene.agent(Side::B).status("agent")?;
        let packets = &status["calls"][0]["media"][0]["to_network"]["packets"];
        packets.as_u64().with_context(|| format!("no call with media in {status}"))
    };
    alice.key("x")?;
    until(PATIENCE, || {
        let before = sent_to_bob()?;
        std::thread::sleep(Duration::from_millis(400));
        let sent = sent_to_bob()? - before;
        ensure!(sent == 0, "on hold, and still {sent} packets in 0.4 s");
        Ok(())
    })?;
    let before = sent_to_bob()?;
    alice.key("X")?;
    until(PATIENCE, || {
        let sent = sent_to_bob()? - before;
        ensure!(sent >= 50, "only {sent} packets since the call was resumed");
        Ok(())
    })?;
    hang_up(&mut alice, &bob)?;
    scene.no_calls()?;
    let heard = bench.both_understood(&alice, &bob)?;
    Ok(format!("{heard}; then 0 packets, then voice again"))
}

/// Agents on the phones' own hosts, on loopback addresses.
pub fn beside(bench: &Bench<'_>) -> Result<String> {
    let loopback = "127.0.0.1:5070";
    let scene = Scene::with_agents(bench, PLAIN, [loopback; 2], [Host::PhoneA, Host::PhoneB])?;
    let mut alice = scene.phone_with(Side::A, |account| account.proxy = loopback)?;
    let mut bob = scene.phone_with(Side::B, |account| account.proxy = loopback)?;
    talk(&mut alice, &mut bob, 3)?;
    let sockets = bench.lab.output(Host::PhoneA, "ss", &["-H", "-a", "-n", "-p", "-t", "-u"])?;
    for line in sockets.lines().filter(|line| line.contains("causeway")) {
        let mut addresses = line.split_whitespace().skip(4);
        let (own, peer) = (addresses.next().unwrap_or_default(), addresses.next().unwrap_or_default());
        ensure!(
            own.starts_with("127.0.0.1:") || peer == TUNNEL,
            "a socket of the agent is elsewhere: {line}"
        );
    }
    hang_up(&mut alice, &bob)?;
    scene.no_calls()?;
    bench.both_understood(&alice, &bob)
}

/// One phone behind an agent, the other beside the server: its media meet the contact point's ports.
pub fn to_inside(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let mut alice = scene.phone(Side::A)?;
    let (says, proxy) = (bench.voice(Side::B)?, format!("{CORE}:5060"));
    let account = Account::new("bob", &proxy, &says);
    let mut bob = Baresip::registered(bench.lab, bench.dir, Host::InsideB, &account)?;
    talk(&mut alice, &mut bob, 3)?;
    hang_up(&mut alice, &bob)?;
    let heard = bench.both_understood(&alice, &bob)?;
    talk(&mut bob, &mut alice, 3)?;
    hang_up(&mut bob, &alice)?;
    bench.both_understood(&alice, &bob)?;
    scene.no_calls()?;
    Ok(heard)
}

/// Two phones behind one agent call one another.
pub fn same_lan(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let mut alice = scene.phone(Side::A)?;
    let (says, proxy) = (bench.voice(Side::B)?, format!("{AGENT}:5060"));
    let account = Account { port: 5080, ..Account::new("carol", &proxy, &says) };
    let mut carol = Baresip::registered(bench.lab, bench.dir, Host::PhoneA, &account)?;
    talk(&mut alice, &mut carol, 3)?;
    hang_up(&mut carol, &alice)?;
    scene.no_calls()?;
    bench.both_understood(&alice, &carol)
}
