//! Calls between stock phones behind NATs, through a Kamailio that knows nothing of us.

use super::Outcome;
use crate::kamailio::PathSupport;
use crate::scene::{Bench, Operator, Scene, Side, hang_up, talk};
use anyhow::{Result, ensure};

/// A plain Kamailio.
const PLAIN: Operator = Operator::Kamailio(PathSupport::Off);

/// The caller hangs up.
pub fn a_calls_b(bench: &Bench<'_>) -> Result<Outcome> {
    let scene = Scene::new(bench, PLAIN)?;
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut alice, &mut bob, 4)?;
    hang_up(&mut alice, &bob)?;
    scene.no_calls()?;
    let (to_bob, to_alice) = (bench.understood(&bob, Side::A)?, bench.understood(&alice, Side::B)?);
    Ok(Outcome::Passed(format!("{to_bob}; {to_alice}")))
}

/// The callee hangs up.
pub fn b_calls_a(bench: &Bench<'_>) -> Result<Outcome> {
    let scene = Scene::new(bench, PLAIN)?;
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut bob, &mut alice, 4)?;
    hang_up(&mut alice, &bob)?;
    scene.no_calls()?;
    let (to_bob, to_alice) = (bench.understood(&bob, Side::A)?, bench.understood(&alice, Side::B)?);
    Ok(Outcome::Passed(format!("{to_bob}; {to_alice}")))
}

/// The caller hangs up while it rings.
pub fn cancel(bench: &Bench<'_>) -> Result<Outcome> {
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
    Ok(Outcome::Passed("the callee has stopped ringing".to_owned()))
}

/// The callee refuses.
pub fn busy(bench: &Bench<'_>) -> Result<Outcome> {
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
    Ok(Outcome::Passed(closed.rsplit("session closed: ").next().unwrap_or_default().to_owned()))
}
