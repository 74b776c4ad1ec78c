//! Three times as many calls as can be served, and how soon all is well afterwards.
//!
//! The load generator shares the machine, so that the server is confined to a part of one core (a CPU control
//! group): then three times its capacity can be offered.

use crate::confined::Group;
use crate::server::{Kind, Server};
use crate::sipp::{self, Part};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Share of one core that the server gets, in percent.
const SHARE: u64 = 10;
/// Users that call one another.
const USERS: (usize, usize) = (1000, 1);
/// Calls open at once while capacity is measured: their messages fill a few percent of the receive queue, so that none
/// is refused.
const OPEN: usize = 200;
/// How long too much is offered.
const STORM: Duration = Duration::from_secs(60);
/// How long recovery may take.
const RECOVERY: Duration = Duration::from_secs(5);

/// Measures capacity, storm and recovery.
///
/// # Errors
/// If the server cannot be confined, or SIPp does not run.
pub fn table(json: bool) -> Result<Vec<Value>> {
    let server = Server::start(Kind::Shipped, USERS.0)?;
    let folder = tempfile::tempdir()?;
    sipp::run(folder.path(), Part::Register, USERS, USERS.0, 500)?;
    let group = Group::confine(server.id(), SHARE)?;
    let _callee = sipp::start(folder.path(), Part::Callee, USERS, 0, 0)?;
    let caller = Part::Caller { digest: true };

    // So many at once that it always finds several messages waiting, as under overload: more at a time cost less each.
    let closed = sipp::start_open(folder.path(), caller, USERS, 1_000_000, 8000, OPEN)?;
    sleep(Duration::from_secs(4));
    let before = closed.successful_now()?;
    let begun = Instant::now();
    sleep(Duration::from_secs(10));
    let capacity = (closed.successful_now()? - before) as f64 / begun.elapsed().as_secs_f64();
    closed.stop()?;
    ensure!(capacity > 10.0, "the server serves {capacity:.0} calls per second");
    sleep(Duration::from_secs(2));

    let offered = (capacity * 3.0) as usize;
    let storm = sipp::start_open(folder.path(), caller, USERS, 10_000_000, offered, 20_000)?;
    let (mut first, mut memory) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < STORM {
        sleep(Duration::from_secs(1));
        memory = memory.max(server.memory()?);
        if first == 0 {
            first = storm.successful_now()?;
        }
    }
    let completed = (storm.successful_now()? - first) as f64 / (begun.elapsed().as_secs_f64() - 1.0);
    storm.stop()?;

    sleep(RECOVERY);
    let rate = (capacity / 2.0) as usize;
    let after = sipp::run(folder.path(), caller, USERS, rate * 10, rate)?;
    drop(server);
    drop(group);
    if !json {
        println!("overload, the server confined to {SHARE} % of a core");
        println!("  capacity                {capacity:>7.0} calls/s");
        println!("  offered for {} s        {offered:>7} calls/s", STORM.as_secs());
        println!(
            "  completed meanwhile     {completed:>7.0} calls/s ({:.0} %)",
            completed / capacity * 100.0
        );
        println!("  most memory             {:>7.1} MB", memory as f64 / 1e6);
        println!(
            "  {} s later, at half     {} succeeded, {} failed, {} repeated",
            RECOVERY.as_secs(),
            after.successful,
            after.failed,
            after.retransmissions
        );
    }
    Ok(vec![json!({
        "share_percent": SHARE, "capacity": capacity, "offered": offered, "completed": completed,
        "memory": memory, "after": {"successful": after.successful, "failed": after.failed,
        "retransmissions": after.retransmissions},
    })])
}
