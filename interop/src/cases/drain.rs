//! One of two contact points is told to end while a call is under way.

use super::faults::understood;
use crate::audio::{self, Speaker};
use crate::baresip::{Account, Baresip};
use crate::causeway::{Causeway, Way};
use crate::kamailio::{Kamailio, PathSupport};
use crate::lab::{AGENT, CORE, Host, TUNNEL};
use crate::process::{PATIENCE, signal, until};
use crate::scene::{Bench, Side, hang_up, talk};
use anyhow::{Result, ensure};
use std::fs;
use std::time::{Duration, Instant};

/// Where agents find the other one.
const OTHER: &str = "203.0.113.11:443";
/// How long calls have; longer than the case takes.
const GRACE: &str = "120";

/// Make before break.
pub fn drain(bench: &Bench<'_>) -> Result<String> {
    let edge = |what: &str| {
        let args = ["addr", what, "203.0.113.11/24", "dev", "wan"];
        bench.lab.output(Host::Edge, "ip", &args).map(drop)
    };
    edge("add")?;
    let result = handed_over(bench);
    edge("del")?;
    result
}

fn handed_over(bench: &Bench<'_>) -> Result<String> {
    let Bench { lab, dir, binary, .. } = *bench;
    for (side, speaker) in [(Side::A, Speaker::Alice), (Side::B, Speaker::Bob)] {
        audio::write(&dir.join(format!("{}-says.wav", side.user())), &audio::speak(speaker, 12).repeat(10))?;
    }
    let _kamailio = Kamailio::start(lab, dir, Host::Core, CORE, PathSupport::Off)?;
    let options = ["--drain-grace", GRACE];
    let mut first = binary.contact_more(lab, dir, &options)?;
    // The same key at both, so that one pin is enough.
    let other = dir.join("other");
    fs::create_dir_all(&other)?;
    for entry in fs::read_dir(first.data())?.flatten() {
        if entry.path().extension().is_some_and(|ext| ext == "pem" || ext == "key") {
            fs::copy(entry.path(), other.join(entry.file_name()))?;
        }
    }
    let second = binary.contact_named(lab, dir, "other", (OTHER, 5080, "21000-21999"), &options)?;
    let pin = first.pin()?;
    ensure!(second.pin()? == pin, "the two contact points have different keys");
    let (listen, both) = (format!("{AGENT}:5060"), ["--contact", OTHER]);
    let agent = |side: Side, name: &str| -> Result<Causeway> {
        let (host, contact) = (side.agent(), TUNNEL);
        let way = Way { name, host, listen: &listen, contact, pin: &pin, options: &both };
        let agent = binary.agent_by(lab, dir, &way)?;
        agent.up()?;
        Ok(agent)
    };
    let (agent_a, agent_b) = (agent(Side::A, "agent-a")?, agent(Side::B, "agent-b")?);
    let phone = |dir: &std::path::Path, side: Side, user: &str, port: u16| -> Result<Baresip> {
        let says = bench.voice(side)?;
        let account = Account { port, ..Account::new(user, &listen, &says) };
        Baresip::registered(lab, dir, side.phone(), &account)
    };
    let (mut alice, mut bob) = (phone(dir, Side::A, "alice", 5060)?, phone(dir, Side::B, "bob", 5060)?);
    let (mut carol, mut dave) = (phone(dir, Side::A, "carol", 5090)?, phone(dir, Side::B, "dave", 5090)?);
    talk(&mut alice, &mut bob, 3)?;

    let told = Instant::now();
    signal(first.process().pid(), "-TERM");
    // No waiting: a new call at once, and one as soon as the other contact point has both agents.
    talk(&mut carol, &mut dave, 3)?;
    let at_once = told.elapsed();
    hang_up(&mut carol, &dave)?;
    until(PATIENCE, || {
        let tunnels = second.status("contact")?["tunnels"].as_array().map_or(0, Vec::len);
        ensure!(tunnels == 2, "{tunnels} tunnels at the other contact point");
        let registered = second.status("contact")?["registrations"].as_array().map_or(0, Vec::len);
        ensure!(registered == 4, "{registered} of 4 registered there");
        Ok(())
    })?;
    let status = first.status("contact")?;
    ensure!(status["draining"]["left_s"].as_u64() > Some(60), "the grace is not shown: {status}");
    let leaving = agent_a.status("agent")?;
    let shown = leaving["tunnels"].as_array().is_some_and(|all| all.iter().any(|one| one["leaving"] == true));
    ensure!(shown, "two tunnels are not shown: {leaving}");
    // The server has both ways to each phone, and the old one serves a little longer.
    std::thread::sleep(Duration::from_secs(3));
    talk(&mut carol, &mut dave, 3)?;
    ensure!(
        second.status("contact")?["calls"].as_array().is_some_and(|calls| calls.len() == 2),
        "the new call is not at the other contact point"
    );
    std::thread::sleep(Duration::from_secs(3));
    for (listener, speaker) in [(&alice, Side::B), (&bob, Side::A)] {
        understood(bench, listener, speaker)?;
    }
    hang_up(&mut bob, &alice)?;
    let ended = Instant::now();
    let code = first.process().exit(PATIENCE)?;
    ensure!(code.success(), "the first contact point ends with {code}");
    let ended = ended.elapsed();
    for (listener, speaker) in [(&carol, Side::B), (&dave, Side::A)] {
        understood(bench, listener, speaker)?;
    }
    hang_up(&mut carol, &dave)?;
    for agent in [&agent_a, &agent_b] {
        until(PATIENCE, || {
            let status = agent.status("agent")?;
            let (tunnels, calls) = (&status["tunnels"], &status["calls"]);
            let one = tunnels.as_array().is_some_and(|all| all.len() == 1);
            ensure!(one && calls.as_array().is_some_and(Vec::is_empty), "left: {status}");
            Ok(())
        })?;
    }
    Ok(format!(
        "a new call was heard {:.1} s after SIGTERM; the old one went on, and the contact point ended {:.1} s after it",
        at_once.as_secs_f64(),
        ended.as_secs_f64()
    ))
}
