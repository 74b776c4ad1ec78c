//! Many calls through a contact point that has a network namespace of its own, so that what it receives and sends is
//! the kernel's work on either side of a wire and not within one socket call.

use crate::ours::{self, Place};
use crate::{Figure, measure};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// A namespace joined to ours by a pair of interfaces; it goes away when this is dropped.
struct Space(String);

impl Space {
    fn new() -> Result<Self> {
        let name = format!("cwr{}", std::process::id());
        let space = Self(name.clone());
        ip(&["netns", "add", &name])?;
        ip(&["link", "add", &name, "type", "veth", "peer", "name", "contact", "netns", &name])?;
        ip(&["addr", "add", "10.77.0.2/24", "dev", &name])?;
        ip(&["link", "set", &name, "up"])?;
        for args in
            [&["addr", "add", "10.77.0.1/24", "dev", "contact"][..], &["link", "set", "contact", "up"]]
        {
            ip(&[&["-n", &name], args].concat())?;
        }
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        Ok(space)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // The interfaces go with it.
        let _ = ip(&["netns", "del", &self.0]);
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let done = Command::new("ip").args(args).output().context("ip")?;
    if !done.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}

/// How each number of calls fares.
pub fn many(numbers: &[usize]) -> Result<()> {
    let space = Space::new()?;
    let place = Place {
        contact: [10, 77, 0, 1].into(),
        namespace: Some(space.0.clone()),
        operator: [10, 77, 0, 2].into(),
    };
    println!("calls  CPU per packet   of a core        lost   p99 to the tunnel, to the network");
    for calls in numbers {
        let Figure { micros, core, lost, delays } = measure(&mut ours::to_udp(&place, *calls, &[])?)?;
        let [to_tunnel, to_network] = delays.map(|[_, p99]| p99.as_secs_f64() * 1e3);
        println!(
            "{calls:>5} {micros:>12.2} µs  {:>8.0} %  {:>8.3} %   {to_tunnel:>8.2} ms {to_network:>8.2} ms",
            core * 100.0,
            lost * 100.0
        );
    }
    Ok(())
}
