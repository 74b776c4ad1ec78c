//! What a listener thinks of a call over a bad path: through the tunnel (with late drop and without, with BBR and with
//! CUBIC), over plain UDP, and through coturn (TURN over TLS), all at once over the same path.
//!
//! `voice [SECONDS]` (default 40) needs root: it makes two network namespaces with a path between them that takes 40 ms
//! each way and loses packets, independently or in bursts, by a seed. `voice phone …` is what it starts within them.
#![allow(clippy::print_stdout, reason = "a benchmark answers on standard output")]

mod parties;
mod path;
mod phone;
mod plot;
mod score;

use anyhow::{Context, Result};
use parties::{Method, Parties};
use path::{Loss, Path};
use score::Score;

/// Loss in percent of all packets, each way.
const LOSSES: [f64; 5] = [0.0, 1.0, 2.0, 5.0, 10.0];
/// Mean length of bursts, in packets; 1 is independent loss.
const BURSTS: [f64; 2] = [1.0, 3.0];

/// One cell of the table.
pub struct Cell {
    /// How many packets the path loses.
    pub loss: Loss,
    /// What the call went through.
    pub method: Method,
    /// The worse of its two directions.
    pub score: Score,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "phone") {
        return phone::run(&args[1..]);
    }
    let seconds = args.first().map_or(Ok(40), |text| text.parse()).context("how many seconds?")?;
    let mut cells = Vec::new();
    println!("{:<22} {:<24} {:>5} {:>10} {:>10}", "loss each way", "path", "MOS", "mouth-ear", "not played");
    for burst in BURSTS {
        for percent in LOSSES {
            if percent == 0.0 && burst > 1.0 {
                continue;
            }
            let loss = Loss { percent, burst };
            let path = Path::new(loss)?;
            for (method, score) in Parties::start(&path)?.talk(seconds)? {
                println!(
                    "{:<22} {:<24} {:>5.2} {:>7.0} ms {:>9.2} %",
                    loss.to_string(),
                    method.name(),
                    score.mos,
                    score.delay_ms,
                    score.unplayed * 100.0
                );
                cells.push(Cell { loss, method, score });
            }
        }
    }
    let file = "docs/voice.svg";
    std::fs::write(file, plot::svg(&cells))
        .with_context(|| format!("{file}: run this where the project lies"))?;
    println!("the plot is in {file}");
    Ok(())
}
