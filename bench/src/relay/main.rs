//! CPU per relayed RTP packet: the contact point (UDP on one side, tunnel on the other) beside rtpengine in
//! user space (UDP on both), under the same load in the same run.
//!
//! `relay [CALLS…]` (default 200): for each number of calls, both relays in turn, several rounds; CPU is the
//! scheduler's exact run time of all threads of the relaying process, so that it does not matter what else
//! the machine does, as long as no packet is lost.
#![allow(clippy::print_stdout, reason = "a benchmark answers on standard output")]

mod load;
mod ours;
mod peer;

use anyhow::{Context, Result, bail};
use causeway_bench::cpu;
use load::{Call, Load};
use std::time::Duration;

/// Rounds per relay and number of calls; the median counts.
const ROUNDS: usize = 3;
/// Before the measured time: latching, warm caches.
const WARM_UP: Duration = Duration::from_secs(1);
/// The measured time of one round.
const WINDOW: Duration = Duration::from_secs(5);

/// What one round has shown.
#[derive(Clone, Copy)]
struct Figure {
    micros: f64,
    lost: f64,
}

fn main() -> Result<()> {
    let mut numbers: Vec<usize> = Vec::new();
    for arg in std::env::args().skip(1) {
        numbers.push(arg.parse().with_context(|| format!("`{arg}` is no number of calls"))?);
    }
    if numbers.is_empty() {
        numbers.push(200);
    }
    println!("calls  relay           CPU per packet      lost");
    for calls in numbers {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(measure_ours(calls)?);
            peer.push(measure_peer(calls)?);
        }
        let (ours, peer) = (median(ours)?, median(peer)?);
        for (name, figure) in [("contact point", ours), ("rtpengine", peer)] {
            println!("{calls:>5}  {name:<14} {:>8.2} µs  {:>11.3} %", figure.micros, figure.lost * 100.0);
        }
        println!("{calls:>5}  ratio          {:>8.2}", peer.micros / ours.micros);
    }
    Ok(())
}

fn median(mut figures: Vec<Figure>) -> Result<Figure> {
    figures.sort_by(|a, b| a.micros.total_cmp(&b.micros));
    figures.get(figures.len() / 2).copied().context("no round was run")
}

fn measure_ours(calls: usize) -> Result<Figure> {
    let mut load = Load::new()?;
    let relay = ours::Relay::start(calls, &load)?;
    measure(&mut load, relay.calls(), relay.pid())
}

fn measure_peer(calls: usize) -> Result<Figure> {
    let mut load = Load::new()?;
    let relay = peer::Relay::start(calls, &load)?;
    measure(&mut load, relay.calls(), relay.pid())
}

fn measure(load: &mut Load, calls: &[Call], pid: u32) -> Result<Figure> {
    load.run(calls, WARM_UP);
    let before = cpu::nanos(pid)?;
    let counted = load.run(calls, WINDOW);
    let spent = cpu::nanos(pid)? - before;
    if counted.received == 0 {
        bail!("no packet came through");
    }
    Ok(Figure {
        micros: spent as f64 / 1e3 / counted.received as f64,
        lost: 1.0 - (counted.received as f64 / counted.sent as f64).min(1.0),
    })
}
