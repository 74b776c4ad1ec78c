//! A thousand against a million: memory per binding, time until it serves again, CPU per call.

use crate::server::{DOMAIN, Kind as Which, Server};
use crate::sipp::Part;
use crate::{measure_on, subscribers};
use anyhow::Result;
use causeway_store::Store;
use causeway_store::record::{Binding, Kind};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Subscribers, each with one binding.
const SIZES: [usize; 2] = [1_000, 1_000_000];
/// Of which so many call and are called, spread evenly over all.
const ACTIVE: usize = 1_000;
const RATE: usize = 600;

/// Measures both sizes, calls for so many seconds.
pub fn table(seconds: usize, quiet: bool) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    if !quiet {
        println!("subscribers and bindings, calls with digest, {RATE} per second");
        println!(
            "  {:>9} {:>10} {:>12} {:>12} {:>10} {:>7}",
            "bindings", "served in", "memory", "per binding", "CPU/call", "failed"
        );
    }
    let mut base = None;
    for size in SIZES {
        let folder = tempfile::tempdir()?;
        subscribers::write(folder.path(), size)?;
        bindings(folder.path(), size)?;
        let begun = Instant::now();
        let server = Server::start_in(Which::Shipped, folder)?;
        let served = begun.elapsed().as_secs_f64();
        let memory = server.memory()?;
        let figure =
            measure_on(&server, Part::Caller { digest: true }, (ACTIVE, size / ACTIVE), RATE, seconds)?;
        // Of a thousand bindings the program itself is the larger part.
        let (fewer, less) = *base.get_or_insert((0, 0));
        let each = (memory.saturating_sub(less)) as f64 / (size - fewer) as f64;
        base = Some((size, memory));
        if !quiet {
            println!(
                "  {size:>9} {served:>8.2} s {:>9.1} MB {each:>10.0} B {:>7.1} µs {:>7}",
                memory as f64 / 1e6,
                figure.micros,
                figure.counted.failed
            );
        }
        rows.push(json!({
            "bindings": size, "served_in": served, "memory": memory, "bytes_each": each,
            "micros": figure.micros, "failed": figure.counted.failed,
        }));
    }
    Ok(rows)
}

/// One binding for each subscriber, as a REGISTER leaves it.
fn bindings(folder: &Path, size: usize) -> Result<()> {
    let unix_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let record = |number: usize| {
        let contact = format!("sip:u{number}@127.0.6.2:5060");
        let binding = Binding {
            q: 1000,
            expires: unix_ms + 3_600_000 + (number as u64 % 3_600_000),
            call_id: format!("{number}-4711@127.0.6.2").into(),
            cseq: 1,
            received: "127.0.6.2:5060".into(),
            transport: "udp".into(),
            since: unix_ms,
            contact: contact.as_str().into(),
            ..Binding::default()
        };
        binding.record(format!("sip:u{number}@{DOMAIN}\0{contact}").as_bytes())
    };
    subscribers::commit(&mut Store::open(folder, "exchange.db")?, (0..size).map(record))
}
