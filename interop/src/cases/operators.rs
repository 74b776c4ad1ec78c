//! Other operators: Kamailio with Path, and Causeway itself.

use super::calls;
use crate::baresip::{Account, Baresip};
use crate::kamailio::PathSupport;
use crate::lab::{AGENT, Host};
use crate::process::Mark;
use crate::scene::{Bench, Operator, Scene, Side, hang_up, talk};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// The registrar keeps Path and refuses those who do not support it.
pub fn path(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, Operator::Kamailio(PathSupport::Strict))?;
    let mode = scene.operator.status("contact")?["mode"].clone();
    ensure!(mode == "path", "the contact point is in mode {mode}");
    let heard = calls::both_ways(bench, &scene, scene.phone(Side::A)?, scene.phone(Side::B)?)?;
    let kamailio = scene.kamailio.as_ref().context("no Kamailio")?;
    ensure!(kamailio.logged(", path <sip:"), "no REGISTER carried Path");
    Ok(heard)
}

/// Registrar, digest and proxy of our own.
pub fn up(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, Operator::Up)?;
    let says = bench.voice(Side::A)?;
    let proxy = format!("{AGENT}:5060");
    let account = Account { password: "wrong", ..Account::new("alice", &proxy, &says) };
    let intruder = Baresip::start(bench.lab, bench.dir, Side::A.phone(), &account)?;
    // baresip tries again at once whenever it is challenged anew, until it is told to wait.
    let refused = intruder.wait("500 Server Internal Error", Mark::default()).context("a wrong password")?;
    drop(intruder);
    // Whoever comes from the same address within three seconds is slowed down with the guesser, and baresip then
    // takes half a minute to try again.
    std::thread::sleep(Duration::from_secs(4));
    let heard = calls::both_ways(bench, &scene, scene.phone(Side::A)?, scene.phone(Side::B)?)?;
    let answer = refused.rsplit(": ").next().unwrap_or_default();
    Ok(format!("{heard}; wrong password: {answer}"))
}

/// Alice hands Bob over to Carol (REFER, RFC 3515), and leaves.
pub fn transfer(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, Operator::Up)?;
    bench.binary.subscriber(scene.operator.data(), "carol", "secret")?;
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    let (says, proxy) = (bench.voice(Side::A)?, format!("{AGENT}:5060"));
    let account = Account { port: 5080, ..Account::new("carol", &proxy, &says) };
    let carol = Baresip::registered(bench.lab, bench.dir, Host::PhoneA, &account)?;
    talk(&mut alice, &mut bob, 3)?;
    let (alices, rings, bobs) = (alice.mark(), carol.mark(), bob.mark());
    alice.command(&format!("transfer {}", carol.uri()))?;
    carol.established(rings).context("Bob does not call Carol")?;
    bob.established(bobs)?;
    alice.wait("terminated (duration", alices).context("Alice's call does not end")?;
    carol.hears(3)?;
    bob.hears(3)?;
    hang_up(&mut bob, &carol)?;
    scene.no_calls()?;
    let heard = bench.both_understood(&carol, &bob)?;
    Ok(format!("Carol and Bob: {heard}"))
}
