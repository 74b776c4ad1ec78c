//! Other operators: Kamailio with Path, and Causeway itself.

use super::calls;
use crate::baresip::{Account, Baresip};
use crate::kamailio::PathSupport;
use crate::lab::AGENT;
use crate::process::Mark;
use crate::scene::{Bench, Operator, Scene, Side};
use anyhow::{Context, Result, ensure};

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
    let refused = intruder.wait("503 Service Unavailable", Mark::default()).context("a wrong password")?;
    drop(intruder);
    let heard = calls::both_ways(bench, &scene, scene.phone(Side::A)?, scene.phone(Side::B)?)?;
    let answer = refused.rsplit(": ").next().unwrap_or_default();
    Ok(format!("{heard}; wrong password: {answer}"))
}
