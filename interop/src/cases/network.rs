//! What the customers' networks see of it.

use crate::baresip::{Account, Baresip};
use crate::kamailio::PathSupport;
use crate::lab::{self, AGENT, Host, TUNNEL};
use crate::process::{PATIENCE, signal, until};
use crate::scene::{Bench, Operator, Scene, Side, hang_up, talk};
use crate::sipp::{self, Part};
use anyhow::{Result, ensure};
use std::time::Duration;

/// The NATs, from the first customer's to the second's.
const NATS: [Host; 3] = [Host::NatA, Host::Carrier, Host::NatB];

/// One entry per NAT, whatever goes on inside.
pub fn one_mapping(bench: &Bench<'_>) -> Result<String> {
    for nat in NATS {
        lab::conntrack_flush(bench.lab, nat)?;
    }
    let scene = Scene::new(bench, Operator::Kamailio(PathSupport::Off))?;
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut alice, &mut bob, 3)?;
    // A datagram that the firewall refuses must not show up either; it is the control of `refused`.
    let before = lab::refused_packets(bench.lab, Host::NatA)?;
    bench.lab.output(Host::PhoneA, "bash", &["-c", "echo ping > /dev/udp/203.0.113.10/5060"])?;
    until(PATIENCE, || {
        ensure!(lab::refused_packets(bench.lab, Host::NatA)? > before, "the firewall saw no datagram");
        Ok(())
    })?;
    one_entry_each(bench)?;
    hang_up(&mut alice, &bob)?;
    Ok("1 entry in each of 3 NATs".to_owned())
}

/// The NATs forget everything.
pub fn forget_connections(bench: &Bench<'_>) -> Result<()> {
    NATS.iter().try_for_each(|&nat| lab::conntrack_flush(bench.lab, nat))
}

/// For how long the NATs remember an idle TCP connection, and UDP.
pub fn remember(bench: &Bench<'_>, tcp: u32, udp: u32) -> Result<()> {
    NATS.iter().try_for_each(|&nat| {
        let settings = [
            format!("net.netfilter.nf_conntrack_tcp_timeout_established={tcp}"),
            format!("net.netfilter.nf_conntrack_udp_timeout={udp}"),
        ];
        let args: Vec<&str> = ["-q", "-w"].into_iter().chain(settings.iter().map(String::as_str)).collect();
        bench.lab.output(nat, "sysctl", &args).map(drop)
    })
}

/// Each NAT holds one entry: an established connection to port 443.
pub fn one_entry_each(bench: &Bench<'_>) -> Result<()> {
    for nat in NATS {
        let entries = lab::conntrack(bench.lab, nat)?;
        let ours = |entry: &&String| {
            entry.starts_with("tcp") && entry.contains("ESTABLISHED") && entry.contains("dport=443")
        };
        let (tunnels, all) = (entries.iter().filter(ours).count(), entries.len());
        ensure!(
            tunnels == 1 && all == 1,
            "{} holds {all} entries, {tunnels} of tunnels:\n{}",
            nat.name(),
            entries.join("\n")
        );
    }
    Ok(())
}

/// Four phones behind two agents, two calls at once, still one entry per NAT; nobody hears the other call.
pub fn two_calls(bench: &Bench<'_>) -> Result<String> {
    for nat in NATS {
        lab::conntrack_flush(bench.lab, nat)?;
    }
    let scene = Scene::new(bench, Operator::Kamailio(PathSupport::Off))?;
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    // The voices are crossed, so that a packet in the wrong call would be heard as such.
    let (carol_says, dave_says, proxy) =
        (bench.voice(Side::B)?, bench.voice(Side::A)?, format!("{AGENT}:5060"));
    let second = |user, says, host| {
        let account = Account { port: 5080, ..Account::new(user, &proxy, says) };
        Baresip::registered(bench.lab, bench.dir, host, &account)
    };
    let mut carol = second("carol", &carol_says, Host::PhoneA)?;
    let mut dave = second("dave", &dave_says, Host::PhoneB)?;
    talk(&mut alice, &mut bob, 1)?;
    talk(&mut dave, &mut carol, 3)?;
    one_entry_each(bench)?;
    hang_up(&mut carol, &dave)?;
    hang_up(&mut alice, &bob)?;
    scene.no_calls()?;
    let (first, second) = (bench.both_understood(&alice, &bob)?, bench.both_understood(&dave, &carol)?);
    Ok(format!("{first}; {second}; 1 entry in each of 3 NATs"))
}

/// Another SIP stack, and many calls at once.
pub fn many_calls(bench: &Bench<'_>) -> Result<String> {
    const CALLS: u32 = 100;
    let Bench { lab, dir, .. } = *bench;
    for nat in NATS {
        lab::conntrack_flush(lab, nat)?;
    }
    let scene = Scene::new(bench, Operator::Kamailio(PathSupport::Off))?;
    sipp::register(lab, dir, Host::PhoneA, "alice")?;
    sipp::register(lab, dir, Host::PhoneB, "bob")?;
    let callee = sipp::start(lab, dir, Host::PhoneB, Part::Callee, "bob", CALLS)?;
    let caller = sipp::start(lab, dir, Host::PhoneA, Part::Caller, "alice", CALLS)?;
    let most = until(PATIENCE, || {
        let status = scene.operator.status("contact")?;
        // A call between two tunnels crosses the contact point twice.
        let now = status["calls"].as_array().map_or(0, Vec::len) / 2;
        ensure!(now >= 10, "{now} calls at once");
        Ok(now)
    })?;
    one_entry_each(bench)?;
    sipp::finished(caller, Duration::from_secs(60))?;
    sipp::finished(callee, PATIENCE)?;
    scene.no_calls()?;
    Ok(format!("{CALLS} calls, {most} and more at once; 1 entry in each of 3 NATs"))
}

/// Nothing is said for longer than the NATs remember a connection; then a call comes in.
pub fn silence(bench: &Bench<'_>) -> Result<String> {
    const MEMORY: &str = "net.netfilter.nf_conntrack_tcp_timeout_established";
    let short = |seconds: u32| {
        NATS.iter().try_for_each(|&nat| {
            bench.lab.output(nat, "sysctl", &["-q", "-w", &format!("{MEMORY}={seconds}")]).map(drop)
        })
    };
    for nat in NATS {
        lab::conntrack_flush(bench.lab, nat)?;
    }
    short(20)?;
    let result = silent(bench);
    short(432_000)?;
    result
}

fn silent(bench: &Bench<'_>) -> Result<String> {
    let silence = Duration::from_secs(30);
    let mut scene = Scene::new(bench, Operator::Kamailio(PathSupport::Off))?;
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    std::thread::sleep(silence);
    one_entry_each(bench)?;
    talk(&mut bob, &mut alice, 3)?;
    hang_up(&mut bob, &alice)?;
    let heard = bench.both_understood(&alice, &bob)?;
    // The control: when neither half keeps the connection alive, the same silence loses the entries.
    let mut stopped = scene.pids();
    stopped.iter().for_each(|pid| signal(*pid, "-STOP"));
    std::thread::sleep(silence);
    let entries = NATS.iter().map(|&nat| lab::conntrack(bench.lab, nat)).collect::<Result<Vec<_>>>();
    stopped.drain(..).for_each(|pid| signal(pid, "-CONT"));
    let left: usize = entries?.iter().map(Vec::len).sum();
    ensure!(left == 0, "the control: {left} entries have outlived a silence without keep-alive");
    Ok(format!("{heard}; control: without keep-alive the entries were lost"))
}

/// The tunnel comes with the agent and goes with it.
pub fn life_cycle(bench: &Bench<'_>) -> Result<String> {
    for nat in NATS {
        lab::conntrack_flush(bench.lab, nat)?;
    }
    let mut scene = Scene::new(bench, Operator::Kamailio(PathSupport::Off))?;
    let tunnels = |scene: &Scene<'_>| -> Result<usize> {
        Ok(scene.operator.status("contact")?["tunnels"].as_array().map_or(0, Vec::len))
    };
    ensure!(tunnels(&scene)? == 2, "two agents run, and the contact point has {} tunnels", tunnels(&scene)?);
    for (side, left) in [(Side::A, 1), (Side::B, 0)] {
        let status = scene.agent_mut(side).process().terminate(PATIENCE)?;
        ensure!(status.success(), "the agent {side:?} ended with {status}");
        // Its session is kept for half a minute, in case the agent is being restarted.
        until(2 * PATIENCE, || {
            let now = tunnels(&scene)?;
            ensure!(now == left, "{now} tunnels are left instead of {left}");
            Ok(())
        })?;
    }
    for nat in NATS {
        let entries = lab::conntrack(bench.lab, nat)?;
        ensure!(
            !entries.iter().any(|entry| entry.contains("ESTABLISHED")),
            "{} still holds {entries:?}",
            nat.name()
        );
    }
    Ok("2, 1, 0 tunnels; no connection left in any NAT".to_owned())
}

/// One connection out, nothing that listens on any other address than the LAN's.
pub fn sockets(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, Operator::Kamailio(PathSupport::Off))?;
    let (mut alice, mut bob) = (scene.phone(Side::A)?, scene.phone(Side::B)?);
    talk(&mut alice, &mut bob, 3)?;
    let mut counts = Vec::new();
    for side in [Side::A, Side::B] {
        let found = agent_sockets(bench, side)?;
        ensure!(
            found.out == 1,
            "{} connections leave the agent {side:?}, one must:\n{}",
            found.out,
            found.text
        );
        ensure!(
            found.foreign == 0,
            "the agent {side:?} is open on another address than {AGENT}:\n{}",
            found.text
        );
        ensure!(found.local >= 4, "SIP over UDP and TCP and media must be there:\n{}", found.text);
        counts.push(format!("{:?}: 1 out, {} on {AGENT}", side, found.local));
    }
    hang_up(&mut alice, &bob)?;
    Ok(counts.join("; "))
}

struct Sockets {
    out: usize,
    local: usize,
    foreign: usize,
    text: String,
}

/// All Internet sockets of an agent: each is the tunnel, or stands on the LAN address.
fn agent_sockets(bench: &Bench<'_>, side: Side) -> Result<Sockets> {
    let text = bench.lab.output(side.agent(), "ss", &["-H", "-a", "-n", "-p", "-t", "-u", "-w"])?;
    let (mut out, mut local, mut foreign) = (0, 0, 0);
    for line in text.lines().filter(|line| line.contains("causeway")) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (own, peer) = (columns.get(4).copied().unwrap_or(""), columns.get(5).copied().unwrap_or(""));
        match () {
            () if peer == TUNNEL => out += 1,
            () if own.rsplit_once(':').is_some_and(|(ip, _)| ip == AGENT) && !leaves(peer) => local += 1,
            () => foreign += 1,
        }
    }
    Ok(Sockets { out, local, foreign, text })
}

/// Whether a peer's address lies outside the LAN.
fn leaves(peer: &str) -> bool {
    !(peer.starts_with("0.0.0.0:") || peer.starts_with("192.168.1."))
}
