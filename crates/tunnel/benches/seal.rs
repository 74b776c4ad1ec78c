//! What a user key costs: CPU per packet of G.711 through one end of a tunnel, sealed and not.
//!
//! `cargo bench -p causeway-tunnel`. A contact point seals or opens each packet once.
#![allow(missing_docs, clippy::print_stdout, reason = "a benchmark")]

use causeway_node::Time;
use causeway_tunnel::key::{Assurance, Facts, derive};
use causeway_tunnel::{Config, Event, Kind, Lane, Role, Tunnel};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Packets per batch: what a tick of 2 ms of 200 calls collects.
const BATCH: usize = 20;
const BATCHES: usize = 4000;
const ROUNDS: usize = 15;
const PACKET: [u8; 172] = [0x80; 172];

fn pass(from: &mut Tunnel, to: &mut Tunnel) {
    let mut wire = Vec::new();
    from.fill(Time::ZERO, usize::MAX >> 1, &mut wire);
    let mut input = wire.as_slice();
    while to.next(Time::ZERO, &mut input).is_some() {}
}

fn pair(sealed: bool) -> (Tunnel, Tunnel, Vec<Lane>) {
    let make = |role| Tunnel::new(Arc::new(Config::new(role)), Time::ZERO);
    let (mut agent, mut contact) = (make(Role::Agent), make(Role::ContactPoint));
    pass(&mut contact, &mut agent);
    pass(&mut agent, &mut contact);
    let lanes: Vec<Lane> = (0..BATCH).filter_map(|_| agent.open_lane(Kind::Audio, b"").ok()).collect();
    if sealed {
        let facts = Facts {
            mode: Assurance::Header,
            aor: b"sip:alice@example.com",
            authorization: b"Digest",
            agent_fresh: &[1; 32],
            contact_fresh: &[2; 32],
            connection_epoch: 0,
            registration_epoch: 1,
        };
        let Some(master) = derive(&[3; 32], b"secret", &facts) else { return (agent, contact, lanes) };
        for (index, lane) in lanes.iter().enumerate() {
            let user = index as u32 + 1;
            agent.bind_lane(*lane, user);
            let keys = master.schedule();
            agent.seal_for(user, Assurance::Header, keys.sealer(Role::Agent, 1));
            contact.open_for(user, Assurance::Header, keys.opener(Role::Agent, 1));
        }
    }
    pass(&mut agent, &mut contact);
    (agent, contact, lanes)
}

/// The time per packet, lower quartile of all rounds: queued and taken for sending, and received.
fn measure(sealed: bool) -> [f64; 2] {
    let (mut agent, mut contact, lanes) = pair(sealed);
    let mut wire = Vec::new();
    let mut rounds: [Vec<f64>; 2] = Default::default();
    for _ in 0..ROUNDS {
        let mut spent = [0.0; 2];
        for _ in 0..BATCHES {
            wire.clear();
            let start = Instant::now();
            for lane in &lanes {
                let _ = agent.datagram(Time::ZERO, *lane, &PACKET);
            }
            agent.fill(Time::ZERO, usize::MAX >> 1, &mut wire);
            spent[0] += start.elapsed().as_secs_f64();
            let start = Instant::now();
            let mut input = wire.as_slice();
            while let Some(event) = contact.next(Time::ZERO, &mut input) {
                if let Event::Datagram { payload, .. } = event {
                    black_box(payload);
                }
            }
            spent[1] += start.elapsed().as_secs_f64();
        }
        let packets = (BATCH * BATCHES) as f64;
        rounds.iter_mut().zip(spent).for_each(|(all, spent)| all.push(spent / packets * 1e9));
    }
    rounds.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 4]
    })
}

fn main() {
    let [plain, sealed] = [measure(false), measure(true)];
    println!("ns per packet of {} bytes, lower quartile of {ROUNDS} rounds", PACKET.len());
    println!("         plain  sealed  more");
    for (name, index) in [("sent", 0), ("received", 1)] {
        let (plain, sealed) = (plain[index], sealed[index]);
        println!("{name:<9}{plain:>5.0}{sealed:>8.0}{:>6.0}", sealed - plain);
    }
}
