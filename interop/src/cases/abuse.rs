//! Peers that mean harm, beside a call that goes on.

use super::faults::understood;
use crate::audio::{self, Speaker};
use crate::kamailio::{Kamailio, PathSupport};
use crate::lab::{AGENT, CORE, Host, TUNNEL};
use crate::process::{Mark, Process};
use crate::scene::{Bench, Scene, Side, hang_up, talk};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const SCRIPT: &str = include_str!("../../peers/rogue.py");
/// Where the contact point serves its figures.
const METRICS: &str = "127.0.0.1:9464";
/// The rogues' addresses, on the switch between all networks.
const ADDRESSES: [&str; 4] = ["203.0.113.66", "203.0.113.67", "203.0.113.68", "203.0.113.69"];
/// What the phones speak, and how often.
const VOICE: u32 = 12;
const TIMES: usize = 20;
/// What the contact point may cost while it is attacked: a share of one core, and memory beyond what it had.
const MOST_CPU: f64 = 0.7;
const MOST_MEMORY: u64 = 64 << 20;

/// One attack: its name in the script, how many, for how long; what must come of it.
struct Attack {
    name: &'static str,
    count: u32,
    seconds: u32,
    /// The reason in `causeway_tunnels_lost_total`, and how often at least; and a line of the log.
    lost: Option<(&'static str, u64)>,
    log: &'static str,
    /// What the report must say.
    right: fn(&Value) -> bool,
}

const ALL: &[Attack] = &[
    Attack {
        name: "half-open",
        count: 400,
        seconds: 13,
        lost: None,
        log: "handshake failed",
        right: |report| report["opened"] == 400 && report["ended"] == 400,
    },
    Attack {
        name: "no-hello",
        count: 300,
        seconds: 14,
        lost: Some(("hello", 300)),
        log: "did not say hello in time",
        right: |report| report["opened"] == 300 && report["ended"] == 300,
    },
    Attack {
        name: "slow-hello",
        count: 200,
        seconds: 14,
        lost: Some(("hello", 200)),
        log: "did not say hello in time",
        right: |report| report["ended"] == 200,
    },
    Attack {
        name: "unopened-lane",
        count: 1,
        seconds: 5,
        lost: Some(("protocol", 1)),
        log: "lane 4097 is not open",
        right: |report| report["errors"]["4"] == 1,
    },
    Attack {
        name: "stray-lane",
        count: 20,
        seconds: 5,
        lost: Some(("limit", 20)),
        log: "too many frames on lanes that lead nowhere",
        right: |report| report["ended"] == 20,
    },
    Attack {
        name: "closing-lane",
        count: 20,
        seconds: 5,
        lost: Some(("limit", 20)),
        log: "too many frames on lanes that lead nowhere",
        right: |report| report["ended"] == 20,
    },
    Attack {
        name: "control-flood",
        count: 20,
        seconds: 5,
        lost: Some(("limit", 20)),
        log: "too many control messages",
        right: |report| report["ended"] == 20,
    },
    Attack {
        name: "lane-open-flood",
        count: 20,
        seconds: 5,
        lost: None,
        log: "cannot be opened by the peer",
        right: |report| report["ended"] == 20,
    },
    Attack {
        name: "garbage",
        count: 20,
        seconds: 5,
        lost: None,
        log: "",
        right: |report| report["ended"] == 20,
    },
    Attack {
        name: "window",
        count: 1,
        seconds: 5,
        lost: Some(("limit", 2)),
        log: "more on lane 17 than it was given room for",
        right: |report| {
            report["errors"]["5"] == 2 && report["credit_capped"] == true && report["streams_refused"] == 36
        },
    },
    Attack {
        name: "unread",
        count: 3,
        seconds: 8,
        lost: Some(("deaf", 3)),
        log: "does not read",
        right: |report| report["ended"] == 3,
    },
    Attack {
        name: "replay",
        count: 1,
        seconds: 5,
        lost: None,
        log: "cannot go on",
        right: |report| {
            let expected = ["resumed", "fresh 1", "fresh 1", "fresh 2", "fresh 1"];
            report["answers"].as_array().is_some_and(|answers| answers.iter().eq(expected.iter()))
                && report["rightful"] == "lives"
        },
    },
];

/// All attacks, one after the other, while two stock phones speak.
pub fn abuse(bench: &Bench<'_>) -> Result<String> {
    let Bench { lab, binary, .. } = *bench;
    for (n, address) in ADDRESSES.iter().enumerate() {
        let result =
            lab.output(Host::Internet, "ip", &["addr", "add", &format!("{address}/24"), "dev", "net"]);
        result.with_context(|| format!("address {n} of the rogues"))?;
    }
    let result = survived(bench, binary);
    lab.output(Host::Internet, "ip", &["addr", "flush", "dev", "net"])?;
    result
}

fn survived(bench: &Bench<'_>, binary: &crate::causeway::Binary) -> Result<String> {
    let Bench { lab, dir, .. } = *bench;
    let script = dir.join("rogue.py");
    fs::write(&script, SCRIPT)?;
    for side in [Side::A, Side::B] {
        let speaker = if side == Side::A { Speaker::Alice } else { Speaker::Bob };
        let says = audio::speak(speaker, VOICE).repeat(TIMES);
        audio::write(&dir.join(format!("{}-says.wav", side.user())), &says)?;
    }
    let kamailio = Kamailio::start(lab, dir, Host::Core, CORE, PathSupport::Off)?;
    let contact = binary.contact_more(lab, dir, &["--metrics", METRICS])?;
    let pin = contact.pin()?;
    let agent = |host| binary.agent(lab, dir, host, &format!("{AGENT}:5060"), &pin);
    let agents = [agent(Host::AgentA)?, agent(Host::AgentB)?];
    agents.iter().try_for_each(|agent| agent.up())?;
    let mut scene = Scene::of(bench, contact, Some(kamailio), agents);
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut alice, &mut bob, 3)?;
    let pid = scene.operator.process().pid();
    let mut told = Vec::new();
    for attack in ALL {
        let one = one(bench, &mut scene, pid, &script, attack).with_context(|| attack.name)?;
        for (listener, speaker) in [(&alice, Side::B), (&bob, Side::A)] {
            understood(bench, listener, speaker).with_context(|| format!("during {}", attack.name))?;
        }
        told.push(one);
    }
    let status = scene.operator.status("contact")?;
    ensure!(status["tickets_refused"].as_u64() >= Some(4), "{status}");
    // Whoever has done no harm comes in as before.
    let late = binary.agent(lab, &sub(dir, "late")?, Host::PhoneB, "192.168.1.10:5070", &pin)?;
    late.up().context("a new agent after all that")?;
    hang_up(&mut bob, &alice)?;
    scene.no_calls()?;
    Ok(told.join(", "))
}

fn sub(dir: &Path, name: &str) -> Result<std::path::PathBuf> {
    let dir = dir.join(name);
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn one(bench: &Bench<'_>, scene: &mut Scene<'_>, pid: u32, script: &Path, attack: &Attack) -> Result<String> {
    let Bench { lab, dir, .. } = *bench;
    let (cpu, memory, start) = (processor(pid)?, resident(pid)?, Instant::now());
    let before = lost(bench, attack)?;
    let (mark, heard) = (scene.operator.process().mark(), packets(scene)?);
    let (script, sources) = (script.to_string_lossy(), ADDRESSES.join(","));
    let (count, seconds) = (attack.count.to_string(), attack.seconds.to_string());
    let args =
        [&*script, attack.name, "--to", TUNNEL, "--from", &sources, "--count", &count, "--seconds", &seconds];
    let rogue =
        Process::start(lab, Host::Internet, dir, &format!("rogue-{}", attack.name), "python3", &args)?;
    let line = rogue.wait("report ", Mark::default(), Duration::from_secs(120))?;
    let took = start.elapsed();
    let share = (processor(pid)? - cpu).as_secs_f64() / took.as_secs_f64();
    let grown = resident(pid)?.saturating_sub(memory);
    let report: Value = serde_json::from_str(line.trim_start_matches("report "))?;
    ensure!((attack.right)(&report), "what came of it: {report}");
    ensure!(
        attack.log.is_empty() || scene.operator.process().has(attack.log, mark),
        "the log does not say `{}`",
        attack.log
    );
    let after = lost(bench, attack)?;
    if let Some((reason, least)) = attack.lost {
        ensure!(after - before >= least, "{} tunnels lost by `{reason}` instead of {least}", after - before);
    }
    ensure!(share <= MOST_CPU, "the contact point took {share:.2} of a core for {took:.0?}");
    ensure!(grown <= MOST_MEMORY, "its memory has grown by {} KiB", grown >> 10);
    // Fifty packets a second each way and half, with a margin for what the machine has done meanwhile.
    let rate = (packets(scene)? - heard) as f64 / took.as_secs_f64();
    ensure!(took < Duration::from_secs(2) || rate > 95.0, "{rate:.0} packets of speech a second");
    Ok(format!("{} {:.0} % CPU, {} KiB", attack.name, share * 100.0, grown >> 10))
}

/// Packets that both agents have given to their phones.
fn packets(scene: &Scene<'_>) -> Result<u64> {
    let heard = [Side::A, Side::B].map(|side| {
        let status = scene.agent(side).status("agent")?;
        status["calls"][0]["media"][0]["to_network"]["packets"].as_u64().context("no call")
    });
    heard.into_iter().sum()
}

/// How many tunnels the contact point's figures count as lost for the reason that an attack shall have.
fn lost(bench: &Bench<'_>, attack: &Attack) -> Result<u64> {
    let Some((reason, _)) = attack.lost else { return Ok(0) };
    let program =
        format!("import urllib.request as u;print(u.urlopen('http://{METRICS}/metrics').read().decode())");
    let page = bench.lab.output(Host::Edge, "python3", &["-c", &program])?;
    let line = page.lines().find(|line| {
        line.starts_with("causeway_tunnels_lost_total") && line.contains(&format!("reason=\"{reason}\""))
    });
    let value = line.and_then(|line| line.rsplit(' ').next()).context("no such figure")?;
    Ok(value.parse::<f64>()? as u64)
}

/// Processor time of all threads (schedstat is exact, ticks are not).
fn processor(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += text.split_whitespace().next().context("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Bytes of memory in use.
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}
