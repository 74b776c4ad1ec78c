//! Many calls through a contact point that has a network namespace of its own. Tunnels reach it over a pair of virtual
//! interfaces; media leave and enter it over a wire whose other end is the generator itself ([`crate::wire`]).

use crate::ours::{self, Place};
use crate::wire::Wire;
use crate::{Figure, WARM_UP, WINDOW, measure};
use anyhow::{Result, bail};
use causeway_bench::cpu;
use causeway_bench::space::{Space, ip};
use std::net::Ipv4Addr;
use std::process::Command;

/// Names the namespace to the generator's own process.
const SPACE: &str = "CAUSEWAY_BENCH_SPACE";

/// A namespace joined to ours by a pair of interfaces.
fn joined() -> Result<Space> {
    let space = Space::new("cwr")?;
    let name = space.name();
    ip(&["link", "add", name, "type", "veth", "peer", "name", "contact", "netns", name])?;
    ip(&["addr", "add", "10.77.0.2/24", "dev", name])?;
    ip(&["link", "set", name, "up"])?;
    space.ip(&["addr", "add", "10.77.0.1/24", "dev", "contact"])?;
    space.ip(&["link", "set", "contact", "up"])?;
    Ok(space)
}

/// How each number of calls fares. The generator is a process of its own for each, with the wire as its standard input.
pub fn many(numbers: &[usize], workers: usize) -> Result<()> {
    let space = joined()?;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("wire.py");
    std::fs::write(&script, include_str!("wire.py"))?;
    println!(
        "calls  threads  CPU per packet   of a core   generator        lost      unsent   p99 to the tunnel, to the network"
    );
    for calls in numbers {
        let mut command = Command::new("python3");
        command.arg(&script).args([space.name(), "10.78.0.1/24"]).arg(std::env::current_exe()?);
        command
            .args(["wired", &calls.to_string(), "--workers", &workers.to_string()])
            .env(SPACE, space.name());
        if !command.status()?.success() {
            bail!("{calls} calls: the generator has failed");
        }
    }
    Ok(())
}

/// One number of calls, by a generator that has the wire as its standard input.
pub fn wired(calls: usize, workers: usize) -> Result<()> {
    let place = Place {
        contact: [10, 77, 0, 1].into(),
        namespace: Some(std::env::var(SPACE)?),
        media: [10, 78, 0, 1].into(),
        ports: "10000-59999",
        operator: [10, 77, 0, 2].into(),
    };
    let wire = Box::new(Wire::new(Ipv4Addr::new(10, 78, 0, 2))?);
    let threads = workers.to_string();
    let mut set = ours::to_parties(&place, calls, &["--workers", &threads], wire)?;
    let own = std::process::id();
    let before = cpu::nanos(own)?;
    let Figure { micros, core, lost, unsent, delays } = measure(&mut set)?;
    let generator = (cpu::nanos(own)? - before) as f64 / (WARM_UP + WINDOW).as_nanos() as f64;
    let [to_tunnel, to_network] = delays.map(|[_, p99]| p99.as_secs_f64() * 1e3);
    println!(
        "{calls:>5} {workers:>8} {micros:>12.2} µs  {:>8.0} %  {:>8.0} %  {:>8.3} %  {:>8.3} %   {to_tunnel:>8.2} ms {to_network:>8.2} ms",
        core * 100.0,
        generator * 100.0,
        lost * 100.0,
        unsent * 100.0
    );
    Ok(())
}
