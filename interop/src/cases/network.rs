//! What the customers' networks see of it.

use super::Outcome;
use crate::kamailio::PathSupport;
use crate::lab::{self, AGENT, Host, TUNNEL};
use crate::process::{PATIENCE, until};
use crate::scene::{Bench, Operator, Scene, Side, hang_up, talk};
use anyhow::{Result, ensure};

/// The NATs, from the first customer's to the second's.
const NATS: [Host; 3] = [Host::NatA, Host::Carrier, Host::NatB];

/// One entry per NAT, whatever goes on inside.
pub fn one_mapping(bench: &Bench<'_>) -> Result<Outcome> {
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
    hang_up(&mut alice, &bob)?;
    Ok(Outcome::Passed("1 entry in each of 3 NATs".to_owned()))
}

/// One connection out, nothing that listens on any other address than the LAN's.
pub fn sockets(bench: &Bench<'_>) -> Result<Outcome> {
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
    Ok(Outcome::Passed(counts.join("; ")))
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
