//! What relaying RTP costs, in CPU and in delay: the contact point, beside rtpengine in user space and coturn with
//! TURN over TLS, under the same load in the same run.
//!
//! `relay [plain|alone|tunnels|delay|keys|workers|many] [CALLS…] [--workers N]`: CPU per packet beside the peers (default, 200 and
//! 1,000 calls), and without them; from tunnel to tunnel (500); delay that the contact point adds (100 and 1,000); with user
//! keys in force and without (200); by two threads and by one (1,000); so many calls through one contact point in a network
//! namespace of its own, by so many threads (5,000 and 1; needs root).
//!
//! CPU is the scheduler's exact run time of all threads of the relaying process, so that it does not matter what else
//! the machine does, as long as no packet is lost.
#![allow(clippy::print_stdout, reason = "a benchmark answers on standard output")]

mod agents;
mod connection;
mod load;
mod operator;
mod ours;
mod rtpengine;
mod space;
mod tunnel;
mod turn;
mod udp;
mod wire;

use anyhow::{Context, Result, bail};
use causeway_bench::cpu;
use load::{Counted, Manner, Set};
use ours::Place;
use std::time::Duration;

/// Rounds of each relay and number of calls; the median counts.
const ROUNDS: usize = 3;
/// Before the measured time: latching, warm caches.
const WARM_UP: Duration = Duration::from_secs(1);
/// The measured time of one round.
const WINDOW: Duration = Duration::from_secs(5);

/// What one round has shown.
#[derive(Clone, Debug)]
struct Figure {
    /// CPU of the relay per packet relayed.
    micros: f64,
    /// The same as a share of one core.
    core: f64,
    lost: f64,
    /// Of what should have left the generator, what did not: then it was too slow, and there were not so many calls.
    unsent: f64,
    /// Of what came out of the left side, and of the right: half of the packets, and 99 %, took no longer.
    delays: [[Duration; 2]; 2],
}

type Start<'a> = (&'a str, Box<dyn Fn(usize) -> Result<Set> + 'a>);

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    let what = args.next_if(|arg| arg.parse::<usize>().is_err()).unwrap_or_else(|| "plain".to_owned());
    let (mut numbers, mut workers): (Vec<usize>, usize) = (Vec::new(), 1);
    while let Some(arg) = args.next() {
        if arg == "--workers" {
            workers = args.next().context("--workers N")?.parse()?;
        } else {
            numbers.push(arg.parse().with_context(|| format!("`{arg}` is no number of calls"))?);
        }
    }
    let or = |default: &[usize]| if numbers.is_empty() { default.to_vec() } else { numbers.clone() };
    let place = Place::loopback();
    match what.as_str() {
        "plain" => compare(
            &or(&[200, 1000]),
            &[
                ("contact point", Box::new(|calls| ours::to_udp(&place, calls, &[]))),
                ("rtpengine", Box::new(rtpengine::to_udp)),
                ("coturn, one connection", Box::new(|calls| turn::to_udp(calls, 200, Manner::Looks))),
                ("coturn, one each", Box::new(|calls| turn::to_udp(calls, 1, Manner::Looks))),
                ("coturn, clients apart", Box::new(|calls| turn::to_udp(calls, 1, Manner::Apart))),
            ],
        ),
        "alone" => compare(
            &or(&[200, 1000]),
            &[("contact point", Box::new(|calls| ours::to_udp(&place, calls, &[])))],
        ),
        "tunnels" => {
            compare(&or(&[500]), &[("tunnel to tunnel", Box::new(|calls| ours::to_tunnels(&place, calls)))])
        }
        "delay" => delay(&or(&[100, 1000]), &place),
        "keys" => compare(
            &or(&[200]),
            &[
                ("keys in force", Box::new(|calls| agents::to_udp(calls, true))),
                ("no keys", Box::new(|calls| agents::to_udp(calls, false))),
            ],
        ),
        "workers" => compare(
            &or(&[1000]),
            &[
                ("two threads", Box::new(|calls| ours::to_udp(&place, calls, &["--workers", "2"]))),
                ("one thread", Box::new(|calls| ours::to_udp(&place, calls, &[]))),
            ],
        ),
        "many" => space::many(&or(&[5000]), workers),
        "wired" => space::wired(*numbers.first().context("`many` starts this")?, workers),
        other => bail!("`{other}`: plain, alone, tunnels, delay, keys, workers or many?"),
    }
}

/// All relays in turn, several rounds; how much more each costs than the first.
fn compare(numbers: &[usize], relays: &[Start<'_>]) -> Result<()> {
    println!("calls  relay                      CPU per packet  of the first        lost      unsent");
    for calls in numbers {
        let mut figures: Vec<Vec<Figure>> = relays.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for ((name, start), figures) in relays.iter().zip(&mut figures) {
                figures.push(measure(&mut start(*calls).with_context(|| (*name).to_owned())?)?);
            }
        }
        let mut first = None;
        for ((name, _), figures) in relays.iter().zip(figures) {
            let figure = median(figures)?;
            let ratio = figure.micros / *first.get_or_insert(figure.micros);
            let (micros, lost, unsent) = (figure.micros, figure.lost * 100.0, figure.unsent * 100.0);
            println!(
                "{calls:>5}  {name:<24} {micros:>12.2} µs  {ratio:>12.2}  {lost:>8.3} %  {unsent:>8.3} %"
            );
        }
    }
    Ok(())
}

/// How long packets take through the contact point alone; the generator looks every 0.2 ms, which is included.
fn delay(numbers: &[usize], place: &Place) -> Result<()> {
    println!("calls  direction             p50         p99        lost");
    for calls in numbers {
        let mut figures = Vec::new();
        for _ in 0..ROUNDS {
            figures.push(measure(&mut ours::to_udp(place, *calls, &[])?)?);
        }
        for (side, name) in ["network to tunnel", "tunnel to network"].into_iter().enumerate() {
            let of = |which: usize| -> Result<f64> {
                let mut all: Vec<Duration> = figures.iter().map(|f| f.delays[side][which]).collect();
                all.sort();
                Ok(all.get(all.len() / 2).context("no round was run")?.as_secs_f64() * 1e3)
            };
            let lost = figures.iter().map(|figure| figure.lost).fold(0.0, f64::max) * 100.0;
            println!("{calls:>5}  {name:<17} {:>7.2} ms  {:>7.2} ms  {lost:>8.3} %", of(0)?, of(1)?);
        }
    }
    Ok(())
}

fn median(mut figures: Vec<Figure>) -> Result<Figure> {
    figures.sort_by(|a, b| a.micros.total_cmp(&b.micros));
    figures.get(figures.len() / 2).cloned().context("no round was run")
}

fn measure(set: &mut Set) -> Result<Figure> {
    load::run(set, WARM_UP)?;
    let before = cpu::nanos(set.pid)?;
    let mut counted: Counted = load::run(set, WINDOW)?;
    let spent = (cpu::nanos(set.pid)? - before) as f64;
    let received = counted.received();
    if received == 0 {
        bail!("no packet came through");
    }
    Ok(Figure {
        micros: spent / 1e3 / received as f64,
        core: spent / WINDOW.as_nanos() as f64,
        lost: 1.0 - (received as f64 / counted.sent as f64).min(1.0),
        unsent: 1.0 - (counted.sent as f64 / counted.due as f64).min(1.0),
        delays: [0, 1].map(|side| [0.5, 0.99].map(|share| counted.quantile(side, share))),
    })
}
