//! What a stored binding costs: processor time and wall time per record, by batch and durability.
//!
//! `cargo bench -p causeway-store`, with the folder to write to as its argument (a real disk, not a tmpfs).

#![allow(clippy::print_stdout, reason = "a benchmark answers on standard output")]

use causeway_node::Record;
use causeway_store::record::{Binding, Kind};
use causeway_store::{Logged, Store};
use std::path::PathBuf;
use std::time::Instant;

/// Addresses of record that register again and again, as in an exchange of that size.
const AORS: usize = 100_000;

fn main() {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
    println!(
        "{:>12} {:>6} {:>12} {:>12} {:>10}",
        "durability", "batch", "CPU us/rec", "wall us/rec", "records"
    );
    for (name, synced, log) in [
        ("full", true, true),
        ("off", false, true),
        ("full, no log", true, false),
        ("off, no log", false, false),
    ] {
        for batch in [1, 16, 256] {
            let dir = folder.join(format!("causeway-bench-{}-{name}-{batch}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            let mut store =
                if synced { Store::open(&dir, "b.db") } else { Store::open_unsynced(&dir, "b.db") }.unwrap();
            // The table is full, as after a day; what is measured replaces.
            for start in (0..AORS).step_by(10_000) {
                store.commit(&(start..start + 10_000).map(|n| record(n, 0)).collect::<Vec<_>>()).unwrap();
            }
            let records = if synced { (batch * 2000).min(100_000) } else { 100_000 };
            let batches: Vec<Vec<Record>> = (0..records / batch)
                .map(|b| (0..batch).map(|i| record((b * batch + i) * 7919 % AORS, b as u64 + 1)).collect())
                .collect();
            let mut commit: Box<dyn FnMut(&[Record]) -> _> = if log {
                let mut log = Logged::open(store).and_then(Logged::start).unwrap();
                Box::new(move |batch| log.commit(batch))
            } else {
                Box::new(move |batch| store.commit(batch))
            };
            let (cpu, wall) = (cpu_us(), Instant::now());
            for batch in &batches {
                commit(batch).unwrap();
            }
            // What has not been merged yet is part of the price.
            drop(commit);
            let (cpu, wall) = (cpu_us() - cpu, wall.elapsed().as_micros() as f64);
            let records = (records / batch * batch) as f64;
            println!("{name:>12} {batch:>6} {:>12.1} {:>12.1} {records:>10}", cpu / records, wall / records);
            std::fs::remove_dir_all(&dir).unwrap();
        }
    }
}

fn record(number: usize, round: u64) -> Record {
    let aor = format!("sip:user{number}@example.com");
    let contact = format!("sip:user{number}@192.0.2.17:5060;transport=udp");
    let key = [aor.as_bytes(), b"\0", contact.as_bytes()].concat();
    let json = format!(
        "{{\"contact\":\"{contact}\",\"q\":1000,\"expires\":{},\"call_id\":\"a84b4c76e66710{number}\",\
         \"cseq\":{round},\"received\":\"192.0.2.17:5060\",\"gruu\":{number},\"since\":{round}}}",
        1_700_000_000_000 + round
    );
    Binding::read(json.as_bytes()).unwrap().record(key)
}

/// Processor time of this process in microseconds, ended threads included.
fn cpu_us() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}
