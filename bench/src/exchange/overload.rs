//! Three times as many calls as can be served, and how soon all is well afterwards.
//!
//! The load generator shares the machine, so that the server is confined to a part of one core (a CPU control
//! group): then three times its capacity can be offered. A second one, confined likewise, gets as many calls as it can serve
//! meanwhile: what it serves is the capacity of that minute, and three times that is offered to the first.

use crate::confined::{Group, pin};
use crate::server::{Kind, Server};
use crate::sipp::{self, Part, Sipp};
use crate::twin::Twin;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Share of one core that the server gets, in percent.
pub const SHARE: u64 = 10;
/// How often server and twin get their shares. With equal periods one would follow the other at the same distance for
/// minutes, and who finds the core warm gets more done: 4 % and more.
pub const PERIODS: [Duration; 2] = [Duration::from_micros(10_000), Duration::from_micros(10_300)];
/// Users that call one another.
const USERS: (usize, usize) = (1000, 1);
/// Calls open at once while capacity is measured: their messages fill a few percent of the receive queue, so that none
/// is refused.
pub const OPEN: usize = 200;
/// After so long transactions and calls end as fast as they begin: what is over is remembered for 32 seconds (timers H
/// and J), and forgetting it costs something too.
const STEADY: Duration = Duration::from_secs(36);
/// How long capacity is measured beforehand, which only says how much to offer.
const BEFORE: Duration = Duration::from_secs(10);
/// How long too much is offered.
const STORM: Duration = Duration::from_secs(60);
/// How long recovery may take.
const RECOVERY: Duration = Duration::from_secs(5);
const CALLER: Part = Part::Caller { digest: true };

/// A confined server with its callees.
pub struct Loaded {
    // In the order in which they end.
    _callee: Sipp,
    server: Server,
    _group: Group,
    folder: TempDir,
    others: String,
}

impl Loaded {
    /// Starts both, a server of this kind on the first core, which it gets a share of in each `period`; what loads it on the
    /// others.
    ///
    /// # Errors
    /// If the server cannot be confined, or SIPp does not run.
    pub fn start(kind: Kind, period: Duration) -> Result<Self> {
        let cores = available_parallelism()?.get();
        ensure!(cores > 1, "the load generator needs a core of its own");
        let others = format!("1-{}", cores - 1);
        let server = Server::start(kind, USERS.0)?;
        let folder = tempfile::tempdir()?;
        sipp::run(folder.path(), Part::Register, USERS, USERS.0, 500)?;
        let group = Group::confine(server.id(), SHARE, period)?;
        pin(server.id(), "0")?;
        let callee = sipp::start(folder.path(), Part::Callee, USERS, 0, 0)?;
        pin(callee.id(), &others)?;
        Ok(Self { _callee: callee, server, _group: group, folder, others })
    }

    /// Callers that have so many calls open all the time that the server always finds several messages waiting, as under
    /// overload: more at a time cost less each.
    ///
    /// # Errors
    /// If SIPp does not run.
    pub fn closed_loop(&self) -> Result<Sipp> {
        self.callers(1_000_000, 8000, OPEN)
    }

    fn callers(&self, count: usize, rate: usize, open: usize) -> Result<Sipp> {
        let callers = sipp::start_open(self.folder.path(), CALLER, USERS, count, rate, open)?;
        pin(callers.id(), &self.others)?;
        Ok(callers)
    }
}

/// What one round has shown; calls per second.
struct Round {
    /// With calls always open, before the storm: the server, and its twin.
    before: [f64; 2],
    /// What the twin serves during the storm.
    capacity: f64,
    offered: f64,
    completed: f64,
    /// The most bytes resident meanwhile.
    memory: u64,
    /// At half of its capacity, some seconds later.
    after: sipp::Counted,
}

impl Round {
    fn share(&self) -> f64 {
        self.completed / self.capacity
    }

    fn print(&self) {
        println!(
            "  before, with {OPEN} calls open  {:>7.0} calls/s, its twin {:.0}",
            self.before[0], self.before[1]
        );
        println!("  for {} s its twin serves     {:>7.0} calls/s", STORM.as_secs(), self.capacity);
        println!("  offered                      {:>7.0} calls/s", self.offered);
        println!(
            "  completed                    {:>7.0} calls/s ({:.0} %)",
            self.completed,
            self.share() * 100.0
        );
        println!("  most memory                  {:>7.1} MB", self.memory as f64 / 1e6);
        println!(
            "  {} s later, at half          {} succeeded, {} failed, {} repeated",
            RECOVERY.as_secs(),
            self.after.successful,
            self.after.failed,
            self.after.retransmissions
        );
    }

    fn row(&self) -> Value {
        json!({
            "share_percent": SHARE, "before": self.before[0], "twin_before": self.before[1],
            "capacity": self.capacity, "offered": self.offered, "completed": self.completed, "memory": self.memory,
            "after": {"successful": self.after.successful, "failed": self.after.failed,
            "retransmissions": self.after.retransmissions},
        })
    }
}

/// Rounds of storm and recovery; the mean of what was completed counts.
///
/// # Errors
/// If a server cannot be confined, or SIPp does not run.
pub fn table(kind: Kind, rounds: usize, json: bool) -> Result<Vec<Value>> {
    if !json {
        println!("overload, {}, each server confined to {SHARE} % of a core", kind.name());
    }
    let mut done = Vec::new();
    for _ in 0..rounds {
        let round = measure(kind)?;
        if !json {
            round.print();
        }
        done.push(round);
    }
    let mean = done.iter().map(Round::share).sum::<f64>() / done.len() as f64;
    if !json {
        println!("  completed on average         {:>7.1} % of capacity", mean * 100.0);
    }
    let rows = done.iter().map(Round::row);
    Ok(rows.chain([json!({ "completed_share": mean })]).collect())
}

/// Calls per second that a server and its twin serve for so long, with calls always open at both.
///
/// # Errors
/// If the twin has ended, or SIPp does not run.
pub fn side_by_side(loaded: &Loaded, twin: &Twin, time: Duration) -> Result<[f64; 2]> {
    let closed = loaded.closed_loop()?;
    twin.wait()?;
    sleep(STEADY);
    let before = (closed.successful_now()?, twin.served());
    sleep(time);
    let served = [each(closed.successful_now()?, before.0, time), each(twin.served(), before.1, time)];
    closed.stop()?;
    Ok(served)
}

/// What one count says after another, per second.
fn each(now: u64, then: u64, time: Duration) -> f64 {
    (now - then) as f64 / time.as_secs_f64()
}

fn measure(kind: Kind) -> Result<Round> {
    let twin = Twin::start(kind)?;
    let loaded = Loaded::start(kind, PERIODS[0])?;
    let [alone, twins] = side_by_side(&loaded, &twin, BEFORE)?;
    ensure!(alone > 10.0 && twins > 10.0, "the servers serve {alone:.0} and {twins:.0} calls per second");
    sleep(Duration::from_secs(2));

    let storm = loaded.callers(10_000_000, (twins * 3.0) as usize, 20_000)?;
    // It counts once a second.
    sleep(Duration::from_secs(2));
    let (first, begun) = ((storm.begun_now()?, storm.successful_now()?, twin.served()), Instant::now());
    let (mut memory, mut last) = (0, VecDeque::from([(first.2, begun)]));
    while begun.elapsed() < STORM {
        sleep(Duration::from_secs(1));
        memory = memory.max(loaded.server.memory()?);
        last.push_back((twin.served(), Instant::now()));
        if let (Some(then), Some(now)) = (last.front(), last.back()) {
            storm.set_rate((each(now.0, then.0, now.1 - then.1) * 3.0) as usize)?;
        }
        last.drain(..last.len().saturating_sub(5));
    }
    let spent = begun.elapsed();
    let offered = each(storm.begun_now()?, first.0, spent);
    let completed = each(storm.successful_now()?, first.1, spent);
    let capacity = each(twin.served(), first.2, spent);
    storm.stop()?;

    sleep(RECOVERY);
    let rate = (alone / 2.0) as usize;
    let after = sipp::run(loaded.folder.path(), CALLER, USERS, rate * 10, rate)?;
    drop((loaded, twin));
    Ok(Round { before: [alone, twins], capacity, offered, completed, memory, after })
}
