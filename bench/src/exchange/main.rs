//! CPU per registration and per call, and the delay of a call: the exchange beside Kamailio under the same
//! load in the same run.
//!
//! `exchange [register] [call] [capacity] [delay] [scale] [overload] [overload-kamailio] [workers] [--json] [--rounds N]
//! [--seconds N]`: `register`, `call` and `delay` unless told. Both servers in turn, several rounds, the median counts; CPU is
//! the scheduler's exact run time of all threads and processes of the server, so that it does not matter what else the machine
//! does, as long as no call fails. Registrations and calls go on for ten seconds unless told, those of `scale` too; what is over
//! is forgotten after 32, at a cost that only longer rounds show.
#![allow(clippy::print_stdout, reason = "a benchmark answers on standard output")]

mod capacity;
mod confined;
mod delay;
mod kamailio;
mod overload;
mod scale;
mod serve;
mod server;
mod sipp;
mod subscribers;
mod twin;
mod workers;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use server::{Kind, Server};
use sipp::Part;

/// Subscribers, all of them registered; half of them call the other half.
const USERS: usize = 1000;

/// One row of the tables.
struct Load {
    title: &'static str,
    part: Part,
    rate: usize,
    servers: &'static [Kind],
}

const LOADS: &[(&str, Load)] = &[
    (
        "register",
        Load {
            title: "REGISTER with digest",
            part: Part::Register,
            rate: 2500,
            servers: &[
                Kind::Shipped,
                Kind::Bare { digest: true, durable: false },
                Kind::Kamailio { digest: true },
            ],
        },
    ),
    (
        "call",
        Load {
            title: "call with digest",
            part: Part::Caller { digest: true },
            rate: 600,
            servers: &[Kind::Shipped, Kind::Kamailio { digest: true }],
        },
    ),
    (
        "call",
        Load {
            title: "call without authentication",
            part: Part::Caller { digest: false },
            rate: 1500,
            servers: &[Kind::Bare { digest: false, durable: true }, Kind::Kamailio { digest: false }],
        },
    ),
];

/// What one round has shown.
#[derive(Clone, Copy)]
struct Figure {
    micros: f64,
    counted: sipp::Counted,
    memory: u64,
}

/// What is asked for.
struct Options {
    parts: Vec<String>,
    json: bool,
    rounds: usize,
    seconds: usize,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "serve") {
        return serve::run(&args[1..]);
    }
    if args.first().is_some_and(|arg| arg == "twin") {
        return twin::run(&args[1..]);
    }
    let options = options(&args)?;
    let mut results = Vec::new();
    for (name, load) in LOADS.iter().filter(|(name, _)| options.parts.iter().any(|part| part == name)) {
        results.push(
            json!({ "part": name, "load": load.title, "rate": load.rate, "rows": row(load, &options)? }),
        );
    }
    if options.parts.iter().any(|part| part == "capacity") {
        results.push(json!({ "part": "capacity", "rows": capacity::table(options.rounds, options.json)? }));
    }
    if options.parts.iter().any(|part| part == "delay") {
        results.push(json!({ "part": "delay", "rows": delay::table(options.rounds, options.json)? }));
    }
    if options.parts.iter().any(|part| part == "scale") {
        results.push(json!({ "part": "scale", "rows": scale::table(options.seconds, options.json)? }));
    }
    for (part, kind) in [("overload", Kind::Shipped), ("overload-kamailio", Kind::Kamailio { digest: true })]
    {
        if options.parts.iter().any(|asked| asked == part) {
            let rows = overload::table(kind, options.rounds, options.json)?;
            results.push(json!({ "part": part, "rows": rows }));
        }
    }
    if options.parts.iter().any(|part| part == "workers") {
        results.push(json!({ "part": "workers", "rows": workers::table(options.rounds, options.json)? }));
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    }
    Ok(())
}

fn options(args: &[String]) -> Result<Options> {
    let mut options = Options { parts: Vec::new(), json: false, rounds: 3, seconds: 10 };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = || {
            let number = args.next().and_then(|text| text.parse().ok()).filter(|n| *n > 0);
            number.with_context(|| format!("{arg} needs a number"))
        };
        match arg.as_str() {
            "--json" => options.json = true,
            "--rounds" => options.rounds = number()?,
            "--seconds" => options.seconds = number()?,
            "register" | "call" | "capacity" | "delay" | "scale" | "overload" | "overload-kamailio"
            | "workers" => options.parts.push(arg.clone()),
            other => {
                bail!(
                    "`{other}`: usage: [register] [call] [capacity] [delay] [scale] [overload] [overload-kamailio] [workers] [--json] \
                     [--rounds N] [--seconds N]"
                )
            }
        }
    }
    if options.parts.is_empty() {
        options.parts = ["register", "call", "delay"].map(str::to_owned).to_vec();
    }
    Ok(options)
}

fn row(load: &Load, options: &Options) -> Result<Vec<Value>> {
    let mut figures: Vec<Vec<Figure>> = load.servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (kind, figures) in load.servers.iter().zip(&mut figures) {
            figures.push(measure(*kind, load, options.seconds).with_context(|| kind.name())?);
        }
    }
    if !options.json {
        println!("{}, {} per second", load.title, load.rate);
        println!(
            "  {:<28} {:>9} {:>10} {:>7} {:>9} {:>9}",
            "server", "CPU each", "succeeded", "failed", "repeated", "memory"
        );
    }
    let mut rows = Vec::new();
    for (kind, figures) in load.servers.iter().zip(figures) {
        let figure = median(figures).context("no round was run")?;
        let sipp::Counted { successful, failed, retransmissions, .. } = figure.counted;
        let megabytes = figure.memory as f64 / 1e6;
        if !options.json {
            println!(
                "  {:<28} {:>6.1} µs {successful:>10} {failed:>7} {retransmissions:>9} {megabytes:>6.1} MB",
                kind.name(),
                figure.micros
            );
        }
        rows.push(json!({
            "server": kind.name(), "micros": figure.micros, "successful": successful, "failed": failed,
            "retransmissions": retransmissions, "memory": figure.memory,
        }));
    }
    Ok(rows)
}

fn median(mut figures: Vec<Figure>) -> Option<Figure> {
    figures.sort_by(|a, b| a.micros.total_cmp(&b.micros));
    figures.get(figures.len() / 2).copied()
}

fn measure(kind: Kind, load: &Load, seconds: usize) -> Result<Figure> {
    let server = Server::start(kind, USERS)?;
    measure_on(&server, load.part, (USERS, 1), load.rate, seconds)
}

/// Registers those who take part, which also warms the caches, then measures the load. `users`: how many, and
/// every how many-th of all.
fn measure_on(
    server: &Server,
    part: Part,
    users: (usize, usize),
    rate: usize,
    seconds: usize,
) -> Result<Figure> {
    let folder = tempfile::tempdir()?;
    sipp::run(folder.path(), Part::Register, users, users.0, 500)?;
    let callee = match part {
        Part::Caller { .. } => Some(sipp::start(folder.path(), Part::Callee, users, 0, 0)?),
        _ => None,
    };
    let before = server.nanos()?;
    let counted = sipp::run(folder.path(), part, users, rate * seconds, rate)?;
    let spent = server.nanos()? - before;
    drop(callee);
    Ok(Figure { micros: spent as f64 / 1e3 / counted.successful as f64, counted, memory: server.memory()? })
}
