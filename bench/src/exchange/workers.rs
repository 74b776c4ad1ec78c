//! What a second worker adds: capacity with each worker confined to the same share of a core, and CPU per call.
//!
//! The machine has two cores, of which the load generator needs its part; so each worker gets a small share of one (a
//! CPU control group for its thread), and what is compared is what two such shares serve and what one does.

use crate::confined::Group;
use crate::server::{Kind, Server};
use crate::sipp::{self, CALLEES, Part, Sipp};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Share of one core that each worker gets, in percent: a millisecond in ten, the least that the kernel deals out.
const SHARE: u64 = 10;
/// Users that call one another.
const USERS: (usize, usize) = (1000, 1);
/// Calls open at once for each worker: as many as keep it busy without a queue.
const OPEN: usize = 60;
/// Calls per second where CPU per call is measured.
const RATE: usize = 600;
const SECONDS: usize = 10;

#[derive(Clone, Copy)]
struct Figure {
    capacity: f64,
    /// CPU per call then: with the capacity it tells whether the workers had the shares that they were allowed.
    confined: f64,
    micros: f64,
    failed: u64,
    /// Messages that went from worker to worker, of those received.
    handed: f64,
}

/// One and two workers in turn, the median counts.
///
/// # Errors
/// If the workers cannot be confined, or SIPp does not run.
pub fn table(rounds: usize, json: bool) -> Result<Vec<Value>> {
    let mut figures = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (workers, figures) in (1..).zip(&mut figures) {
            figures.push(measure(workers).with_context(|| format!("{workers} workers"))?);
        }
    }
    // The ratios of each round, both of whose runs had the same neighbours on this machine.
    let of_rounds = |value: fn(&Figure) -> f64| {
        let ratios = figures[1].iter().zip(&figures[0]).map(|(two, one)| value(two) / value(one));
        median(ratios.collect())
    };
    let (capacity, cost) = (of_rounds(|figure| figure.capacity), of_rounds(|figure| figure.micros));
    let mut rows = Vec::new();
    if !json {
        println!("workers, each confined to {SHARE} % of a core; calls with digest");
        println!(
            "  {:<8} {:>14} {:>10} {:>10} {:>22} {:>8} {:>8}",
            "workers", "capacity", "CPU each", "CPU used", "CPU each at 600/s", "failed", "handed"
        );
    }
    for (workers, figures) in (1..).zip(&figures) {
        let of = |value: fn(&Figure) -> f64| median(figures.iter().map(value).collect());
        let row = (of(|f| f.capacity), of(|f| f.micros), of(|f| f.failed as f64), of(|f| f.handed));
        let (confined, used) = (of(|f| f.confined), of(|f| f.capacity * f.confined / 1e4));
        if !json {
            println!(
                "  {workers:<8} {:>6.0} calls/s {confined:>7.1} µs {used:>8.1} % {:>19.1} µs {:>8.0} {:>6.0} %",
                row.0,
                row.1,
                row.2,
                row.3 * 100.0
            );
        }
        rows.push(json!({
            "workers": workers, "share_percent": SHARE, "capacity": row.0, "micros": row.1, "failed": row.2,
            "handed": row.3, "confined_micros": confined, "used_percent": used,
        }));
    }
    if !json {
        println!("  two beside one: capacity {capacity:.2} x, CPU per call {cost:.2} x");
    }
    rows.push(json!({ "capacity_ratio": capacity, "cost_ratio": cost }));
    Ok(rows)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn measure(workers: u16) -> Result<Figure> {
    let server = Server::start(Kind::Workers(workers), USERS.0)?;
    let folder = tempfile::tempdir()?;
    sipp::run(folder.path(), Part::RegisterSpread, USERS, USERS.0, 500)?;
    let callee = |number| sipp::start(folder.path(), Part::CalleeAt(number), USERS, 0, 0);
    let _callees: Vec<Sipp> = (0..CALLEES).map(callee).collect::<Result<_>>()?;

    let before = server.nanos()?;
    let counted = sipp::run(folder.path(), Part::Callers, USERS, RATE * SECONDS, RATE)?;
    let micros = (server.nanos()? - before) as f64 / 1e3 / counted.successful as f64;
    let handed = server.share_handed()?;

    let groups = Group::confine_threads(server.id(), "exchange", SHARE)?;
    let (capacity, confined) = capacity(&server, folder.path(), usize::from(workers) * OPEN)?;
    drop(server);
    drop(groups);
    Ok(Figure { capacity, confined, micros, failed: counted.failed, handed })
}

/// Calls per second with so many open at once, and CPU for each of them in microseconds.
fn capacity(server: &Server, folder: &Path, open: usize) -> Result<(f64, f64)> {
    let closed = sipp::start_open(folder, Part::Callers, USERS, 1_000_000, 5000, open)?;
    sleep(Duration::from_secs(3));
    let (before, spent, begun) = (closed.successful_now()?, server.nanos()?, Instant::now());
    sleep(Duration::from_secs(10));
    let calls = (closed.successful_now()? - before) as f64;
    let (capacity, spent) = (calls / begun.elapsed().as_secs_f64(), server.nanos()? - spent);
    closed.stop()?;
    ensure!(capacity > 10.0, "the server serves {capacity:.0} calls per second");
    Ok((capacity, spent as f64 / 1e3 / calls))
}
