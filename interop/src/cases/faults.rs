//! Faults while two phones speak: connections cut, paths that swallow everything, an address that changes, processes
//! that are killed and come back.

use crate::audio::{self, Speaker};
use crate::baresip::Baresip;
use crate::causeway::Causeway;
use crate::kamailio::PathSupport;
use crate::lab::{self, AGENT, Host};
use crate::process::{PATIENCE, signal, until};
use crate::scene::{Bench, Operator, Scene, Side, hang_up, talk};
use anyhow::{Context, Result, ensure};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What the phones speak, once and again.
const VOICE: u32 = 12;
/// How soon after the path is back speech must be, …
const BACK: Duration = Duration::from_secs(2);
/// … and how much later where nobody is told that the path has changed: silence for 1 s, then a ping's 2 s.
const NOTICED: Duration = Duration::from_millis(3500);

/// The carrier's, and another.
const ADDRESSES: [&str; 2] = ["203.0.113.2/24", "203.0.113.22/24"];

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The kernel ends the connection of an agent (`ss -K`).
    Reset(Side),
    /// The NATs forget the connection, and for so many seconds nothing passes and nobody is told.
    Blackhole(u64),
    /// The first customer's carrier gets another address.
    Moved,
    /// The contact point is killed; so many milliseconds later there is another.
    Contact(u64),
    /// The same with an agent.
    Agent(Side, u64),
}

const ALL: [Fault; 6] = [
    Fault::Reset(Side::A),
    Fault::Blackhole(20),
    Fault::Moved,
    Fault::Contact(3000),
    Fault::Agent(Side::A, 1000),
    Fault::Reset(Side::B),
];

/// Each fault once, and twenty more in random order where there is time.
pub fn faults(bench: &Bench<'_>) -> Result<String> {
    // Else the second address would go with the first.
    bench.lab.output(Host::Carrier, "sysctl", &["-q", "-w", "net.ipv4.conf.wan.promote_secondaries=1"])?;
    let result = survived(bench);
    // The network is as it was for the next case.
    let whole = bench.lab.output(Host::Carrier, "ip", &["addr", "show", "dev", "wan"])?;
    if !whole.contains(&format!("inet {}", ADDRESSES[0])) {
        move_to(bench, 0)?;
    }
    if result.is_err() {
        drop(swallow(bench, false));
    }
    result
}

fn survived(bench: &Bench<'_>) -> Result<String> {
    for side in [Side::A, Side::B] {
        let speaker = if side == Side::A { Speaker::Alice } else { Speaker::Bob };
        let once = audio::speak(speaker, VOICE);
        let times = if bench.thorough { 40 } else { 12 };
        audio::write(&bench.dir.join(format!("{}-says.wav", side.user())), &once.repeat(times))?;
    }
    let mut scene = Scene::new(bench, Operator::Kamailio(PathSupport::Off))?;
    let pin = scene.operator.pin()?;
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut alice, &mut bob, 2)?;
    let ports = ports(&scene)?;
    let mut worst = Vec::new();
    let mut chosen = ALL.to_vec();
    if bench.thorough {
        chosen.extend((0..20).map(random));
    }
    for fault in chosen {
        let took = one(bench, &mut scene, &pin, fault).with_context(|| format!("{fault:?}"))?;
        worst.push((fault, took));
        // What is heard must be the voice, not just packets.
        let (a, b) = (alice.heard_so_far()?.len(), bob.heard_so_far()?.len());
        until(PATIENCE, || {
            let more = 3 * audio::RATE as usize;
            ensure!(
                alice.heard_so_far()?.len() > a + more && bob.heard_so_far()?.len() > b + more,
                "nothing is heard"
            );
            Ok(())
        })
        .with_context(|| format!("after {fault:?}"))?;
        understood(bench, &alice, Side::B).with_context(|| format!("after {fault:?}"))?;
        understood(bench, &bob, Side::A).with_context(|| format!("after {fault:?}"))?;
    }
    ensure!(self::ports(&scene)? == ports, "the ports are other ones: {ports:?}, {:?}", self::ports(&scene)?);
    hang_up(&mut bob, &alice)?;
    scene.no_calls()?;
    let kamailio = scene.kamailio.as_ref().context("no Kamailio")?;
    for (method, once) in [("INVITE", 1), ("BYE", 1)] {
        let times = kamailio.times(&format!("lab: {method}"));
        ensure!(times == once, "Kamailio has seen {times} {method}");
    }
    let slowest = |(fault, took): &(Fault, Duration)| format!("{fault:?} {:.1} s", took.as_secs_f64());
    Ok(worst.iter().map(slowest).collect::<Vec<_>>().join(", "))
}

/// Lets something go wrong; how long after the end of its cause packets flow again both ways.
fn one(bench: &Bench<'_>, scene: &mut Scene<'_>, pin: &str, fault: Fault) -> Result<Duration> {
    let lab = bench.lab;
    let mut allowed = BACK;
    match fault {
        Fault::Reset(side) => {
            lab.output(side.agent(), "ss", &["-K", "-t", "dport", "=", "443"])?;
        }
        Fault::Blackhole(seconds) => {
            swallow(bench, true)?;
            lab::conntrack_flush(lab, Host::NatA)?;
            lab::conntrack_flush(lab, Host::Carrier)?;
            sleep(Duration::from_secs(seconds));
            swallow(bench, false)?;
        }
        Fault::Moved => {
            move_to(bench, 1)?;
            allowed += NOTICED;
        }
        Fault::Contact(millis) => {
            kill(&mut scene.operator)?;
            sleep(Duration::from_millis(millis));
            scene.operator = bench.binary.contact(lab, bench.dir, false)?;
        }
        Fault::Agent(side, millis) => {
            kill(scene.agent_mut(side))?;
            sleep(Duration::from_millis(millis));
            let listen = format!("{AGENT}:5060");
            *scene.agent_mut(side) = bench.binary.agent(lab, bench.dir, side.agent(), &listen, pin)?;
        }
    }
    let since = Instant::now();
    // What was under way before does not count.
    sleep(Duration::from_millis(100));
    let before = [heard(scene, Side::A)?, heard(scene, Side::B)?];
    loop {
        let now = [heard(scene, Side::A)?, heard(scene, Side::B)?];
        let took = since.elapsed();
        if (0..2).all(|n| now[n] > before[n]) {
            return Ok(took);
        }
        ensure!(took < allowed + Duration::from_millis(300), "no speech after {:.1} s", took.as_secs_f64());
        sleep(Duration::from_millis(20));
    }
}

/// Gives the carrier one of its two addresses instead of the other.
fn move_to(bench: &Bench<'_>, which: usize) -> Result<()> {
    let (new, old) = (ADDRESSES[which], ADDRESSES[1 - which]);
    bench.lab.output(Host::Carrier, "ip", &["addr", "add", new, "dev", "wan"])?;
    bench.lab.output(Host::Carrier, "ip", &["addr", "del", old, "dev", "wan"])?;
    lab::conntrack_flush(bench.lab, Host::Carrier)
}

fn kill(process: &mut Causeway) -> Result<()> {
    signal(process.process().pid(), "-KILL");
    process.process().exit(PATIENCE).map(drop)
}

/// Whether the carrier drops everything that it forwards, silently.
fn swallow(bench: &Bench<'_>, on: bool) -> Result<()> {
    let script = match on {
        true => {
            "add table inet fault; add chain inet fault forward { type filter hook forward priority -10; policy drop; }"
        }
        false => "delete table inet fault",
    };
    bench.lab.output(Host::Carrier, "nft", &[script]).map(drop)
}

/// Packets that an agent has given to its phone.
fn heard(scene: &Scene<'_>, side: Side) -> Result<u64> {
    let status = scene.agent(side).status("agent")?;
    let packets = |call: &serde_json::Value| call["media"][0]["to_network"]["packets"].as_u64();
    Ok(status["calls"].as_array().into_iter().flatten().filter_map(packets).sum())
}

/// The media ports of all parts.
fn ports(scene: &Scene<'_>) -> Result<Vec<String>> {
    let mut ports = Vec::new();
    for (process, node) in
        [(&scene.operator, "contact"), (&scene.agents[0], "agent"), (&scene.agents[1], "agent")]
    {
        let status = process.status(node)?;
        for call in status["calls"].as_array().into_iter().flatten() {
            ports.extend(
                call["media"].as_array().into_iter().flatten().map(|line| {
                    format!("{node} {} {} lane {}", call["direction"], line["port"], line["lane"])
                }),
            );
        }
    }
    ports.sort();
    Ok(ports)
}

/// Whether the last seconds that a phone has heard are the other's voice.
pub(super) fn understood(bench: &Bench<'_>, listener: &Baresip, speaker: Side) -> Result<String> {
    let heard = listener.heard_so_far()?;
    let last = heard.len().saturating_sub(3 * audio::RATE as usize);
    let spoken = audio::read(&bench.dir.join(format!("{}-says.wav", speaker.user())))?;
    // What is spoken comes again and again; a little more than once has every piece whole.
    let spoken = &spoken[..((VOICE + 1) * audio::RATE) as usize];
    let right = audio::compare(&heard[last..], spoken);
    ensure!(right.seconds >= 1.0 && right.median >= 0.9, "{} is heard as {right}", speaker.user());
    Ok(right.to_string())
}

/// A fault by number, the same in every run.
fn random(n: u32) -> Fault {
    let dice = n.wrapping_mul(2_654_435_761) >> 16;
    let side = if dice & 1 == 0 { Side::A } else { Side::B };
    let millis = u64::from(dice >> 4) % 4000;
    match (dice >> 1) % 5 {
        0 => Fault::Reset(side),
        1 => Fault::Blackhole(1 + millis / 500),
        2 => Fault::Contact(millis),
        _ => Fault::Agent(side, millis),
    }
}
