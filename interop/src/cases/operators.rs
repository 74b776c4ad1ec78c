//! Other operators: Kamailio with Path, and Causeway itself.

use super::Outcome;
use crate::baresip::{Account, Baresip};
use crate::kamailio::PathSupport;
use crate::lab::AGENT;
use crate::process::Mark;
use crate::scene::{Bench, Operator, Scene, Side, hang_up, talk};
use anyhow::{Context, Result, ensure};

/// The registrar keeps Path and refuses those who do not support it.
pub fn path(bench: &Bench<'_>) -> Result<Outcome> {
    let scene = Scene::new(bench, Operator::Kamailio(PathSupport::Strict))?;
    let mode = scene.operator.status("contact")?["mode"].clone();
    ensure!(mode == "path", "the contact point is in mode {mode}");
    both_ways(bench, &scene)
}

/// Registrar, digest and proxy of our own.
pub fn up(bench: &Bench<'_>) -> Result<Outcome> {
    let scene = Scene::new(bench, Operator::Up)?;
    let says = bench.voice(Side::A)?;
    let proxy = format!("{AGENT}:5060");
    let account = Account { password: "wrong", ..Account::new("alice", &proxy, &says) };
    let intruder = Baresip::start(bench.lab, bench.dir, Side::A.phone(), &account)?;
    let refused = intruder.wait("401 Unauthorized", Mark::default()).context("a wrong password")?;
    drop(intruder);
    let Outcome::Passed(heard) = both_ways(bench, &scene)? else { unreachable!("it has no way to skip") };
    let answer = refused.rsplit(": ").next().unwrap_or_default();
    Ok(Outcome::Passed(format!("{heard}; wrong password: {answer}")))
}

/// A call each way; what is heard in the second one is compared.
fn both_ways(bench: &Bench<'_>, scene: &Scene<'_>) -> Result<Outcome> {
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut alice, &mut bob, 3)?;
    hang_up(&mut bob, &alice)?;
    let heard = bench.both_understood(&alice, &bob)?;
    talk(&mut bob, &mut alice, 3)?;
    hang_up(&mut bob, &alice)?;
    bench.both_understood(&alice, &bob)?;
    scene.no_calls()?;
    Ok(Outcome::Passed(heard))
}
