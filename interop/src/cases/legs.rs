//! Delay of each part of a call's way, as both halves tell it from the RTCP of stock phones.

use crate::audio::{self, Speaker};
use crate::baresip::{Account, Baresip};
use crate::causeway::Causeway;
use crate::kamailio::PathSupport;
use crate::lab::{AGENT, CORE, EDGE_INSIDE, Host};
use crate::process::{Mark, PATIENCE, Process, until};
use crate::scene::{Bench, Operator, Scene, Side, hang_up, talk};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::time::Duration;

const SCRIPT: &str = include_str!("../../peers/late.py");
/// Milliseconds by which packets to the right are held up: on the LAN, in the tunnel, in the operator's network.
const LATE: [f64; 3] = [40.0, 80.0, 120.0];
/// What a busy machine, the media tick and the phones themselves may add.
const SLACK: f64 = 15.0;
/// baresip reports every five seconds or so, and a report is answered by the next but one.
const REPORTS: Duration = Duration::from_secs(40);

/// The round trips, in milliseconds: at the agent to its phone, through its tunnel, to the far end; at the contact point
/// to the operator's phone, to the far end.
fn round_trips(agent: &Causeway, contact: &Causeway) -> Result<[f64; 5]> {
    let legs = |process: &Causeway, node: &str| -> Result<Value> {
        Ok(process.status(node)?["calls"][0]["media"][0]["legs"].clone())
    };
    let (here, there) = (legs(agent, "agent")?, legs(contact, "contact")?);
    let rtt = |legs: &Value, part: &str| {
        legs[part]["rtt_ms"].as_f64().with_context(|| format!("no round trip of {part} in {legs}"))
    };
    Ok([
        rtt(&here, "lan")?,
        rtt(&here, "tunnel")?,
        rtt(&here, "far")?,
        rtt(&there, "operator")?,
        rtt(&there, "far")?,
    ])
}

/// Without delay, then with one on each part at once, each of another length.
pub fn legs(bench: &Bench<'_>) -> Result<String> {
    let Bench { lab, dir, .. } = *bench;
    for (side, speaker) in [(Side::A, Speaker::Alice), (Side::B, Speaker::Bob)] {
        audio::write(&dir.join(format!("{}-says.wav", side.user())), &audio::speak(speaker, 12).repeat(10))?;
    }
    let script = dir.join("late.py");
    fs::write(&script, SCRIPT)?;
    let scene = Scene::new(bench, Operator::Kamailio(PathSupport::Off))?;
    let mut alice = scene.phone(Side::A)?;
    let (says, proxy) = (bench.voice(Side::B)?, format!("{CORE}:5060"));
    let mut bob = Baresip::registered(lab, dir, Host::InsideA, &Account::new("bob", &proxy, &says))?;
    talk(&mut alice, &mut bob, 3)?;
    let (agent, contact) = (scene.agent(Side::A), &scene.operator);
    let control = until(REPORTS, || {
        let trips = round_trips(agent, contact)?;
        ensure!(trips.iter().all(|trip| *trip < SLACK), "round trips of {trips:?} ms without delay");
        Ok(trips)
    })?;
    let late = |host: Host, to: &str, source: &str, out: &str, ms: f64| {
        let (script, ms) = (script.to_string_lossy(), ms.to_string());
        let args = [&*script, "--to", to, "--source", source, "--out", out, "--ms", &ms];
        let process = Process::start(lab, host, dir, &format!("late-on-{}", host.name()), "python3", &args)?;
        process.wait("delaying", Mark::default(), PATIENCE).map(|_| process)
    };
    let _late = [
        late(Host::PhoneA, AGENT, Host::PhoneA.address(), "eth0", LATE[0])?,
        late(Host::AgentA, "203.0.113.10", AGENT, "eth0", LATE[1])?,
        late(Host::Edge, Host::InsideA.address(), EDGE_INSIDE, "inside", LATE[2])?,
    ];
    let expected = [LATE[0], LATE[1], LATE[1] + LATE[2], LATE[2], LATE[0] + LATE[1]];
    let measured = until(REPORTS, || {
        let trips = round_trips(agent, contact)?;
        let right = |(trip, late): (&f64, &f64)| (-3.0..SLACK).contains(&(trip - late));
        ensure!(
            trips.iter().zip(&expected).all(right),
            "round trips of {trips:?} ms instead of {expected:?}"
        );
        Ok(trips)
    })?;
    hang_up(&mut alice, &bob)?;
    let show = |trips: [f64; 5]| trips.map(|trip| format!("{trip:.0}")).join(", ");
    Ok(format!(
        "LAN, tunnel, far end of the agent; operator, far end of the contact point: {} ms without delay, {} with",
        show(control),
        show(measured)
    ))
}
