//! Calls between stock phones behind NATs, through a Kamailio that knows nothing of us.

use crate::baresip::{Account, Baresip};
use crate::kamailio::PathSupport;
use crate::lab::AGENT;
use crate::scene::{Bench, Operator, Scene, Side, hang_up, talk};
use anyhow::{Context, Result, ensure};

/// A plain Kamailio.
const PLAIN: Operator = Operator::Kamailio(PathSupport::Off);

/// The caller hangs up.
pub fn a_calls_b(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut alice, &mut bob, 4)?;
    hang_up(&mut alice, &bob)?;
    scene.no_calls()?;
    bench.both_understood(&alice, &bob)
}

/// The callee hangs up.
pub fn b_calls_a(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut bob, &mut alice, 4)?;
    hang_up(&mut alice, &bob)?;
    scene.no_calls()?;
    bench.both_understood(&alice, &bob)
}

/// The caller hangs up while it rings.
pub fn cancel(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let mut alice = scene.phone(Side::A)?;
    let bob = scene.phone_with(Side::B, |account| account.picks_up = false)?;
    let rings = bob.mark();
    let dialled = alice.dial(&bob.uri())?;
    bob.wait("Incoming call from", rings)?;
    alice.wait("180 Ringing", dialled)?;
    alice.hang_up()?;
    bob.wait("session closed", rings)?;
    ensure!(!bob.has("Call established", rings), "the callee has a call that was cancelled");
    scene.no_calls()?;
    Ok("the callee has stopped ringing".to_owned())
}

/// A phone that has not registered calls: the contact point lets nothing through.
pub fn unregistered(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let bob = scene.phone(Side::B)?;
    let says = bench.voice(Side::A)?;
    let proxy = format!("{AGENT}:5060");
    let account = Account { registers: false, ..Account::new("alice", &proxy, &says) };
    let mut alice = Baresip::start(bench.lab, bench.dir, Side::A.phone(), &account)?;
    let (dialled, rings) = (alice.dial(&bob.uri())?, bob.mark());
    let closed = alice.wait("session closed", dialled)?;
    ensure!(closed.contains("403"), "the caller was told `{closed}` instead of 403");
    let kamailio = scene.kamailio.as_ref().context("no Kamailio")?;
    ensure!(kamailio.logged("lab: REGISTER"), "the control is missing: Kamailio logs requests");
    ensure!(!kamailio.logged("lab: INVITE") && !bob.has("call", rings), "the INVITE has come through");
    let denied = scene.operator.status("contact")?["denied"].clone();
    ensure!(denied.as_u64().is_some_and(|denied| denied >= 1), "the contact point has counted {denied}");
    Ok(closed.rsplit("session closed: ").next().unwrap_or_default().to_owned())
}

/// The callee refuses.
pub fn busy(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let mut alice = scene.phone(Side::A)?;
    let mut bob = scene.phone_with(Side::B, |account| account.picks_up = false)?;
    let rings = bob.mark();
    let dialled = alice.dial(&bob.uri())?;
    bob.wait("Incoming call from", rings)?;
    bob.hang_up()?;
    let closed = alice.wait("session closed", dialled)?;
    ensure!(closed.contains("486"), "the caller was told `{closed}` instead of 486");
    scene.no_calls()?;
    Ok(closed.rsplit("session closed: ").next().unwrap_or_default().to_owned())
}

/// A call each way, both ended by Bob; what either hears in each is compared.
pub fn both_ways(
    bench: &Bench<'_>,
    scene: &Scene<'_>,
    mut alice: Baresip,
    mut bob: Baresip,
) -> Result<String> {
    talk(&mut alice, &mut bob, 3)?;
    hang_up(&mut bob, &alice)?;
    let heard = bench.both_understood(&alice, &bob)?;
    talk(&mut bob, &mut alice, 3)?;
    hang_up(&mut bob, &alice)?;
    bench.both_understood(&alice, &bob)?;
    scene.no_calls()?;
    Ok(heard)
}
