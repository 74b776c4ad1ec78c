//! How many calls a second each server gets done with the same part of a core at the same time, always busy: what a call costs
//! where nobody falls asleep and wakes up again, which at some hundred calls a second is much of it.

use crate::overload::{Loaded, OPEN, PERIODS, SHARE, side_by_side};
use crate::server::Kind;
use crate::twin::Twin;
use anyhow::Result;
use serde_json::{Value, json};
use std::time::Duration;

/// How long calls are counted.
const COUNTED: Duration = Duration::from_secs(30);
const OTHER: Kind = Kind::Kamailio { digest: true };

/// The exchange and Kamailio side by side, each confined to the same share, in rounds.
///
/// # Errors
/// If a server cannot be confined, or SIPp does not run.
pub fn table(rounds: usize, json: bool) -> Result<Vec<Value>> {
    if !json {
        println!("calls with digest, {OPEN} open all the time, {SHARE} % of a core for each server");
        println!(
            "  {:<14} {:>12} {:>10}   {:<10} {:>12} {:>10}   times",
            "server", "calls/s", "CPU each", "beside", "calls/s", "CPU each"
        );
    }
    (0..rounds).map(|_| round(json)).collect()
}

fn round(json: bool) -> Result<Value> {
    let twin = Twin::start(OTHER)?;
    let loaded = Loaded::start(Kind::Shipped, PERIODS[0])?;
    let [ours, theirs] = side_by_side(&loaded, &twin, COUNTED)?;
    let micros = |rate: f64| SHARE as f64 * 1e4 / rate;
    if !json {
        println!(
            "  {:<14} {ours:>12.0} {:>7.1} µs   {:<10} {theirs:>12.0} {:>7.1} µs   {:.2}",
            Kind::Shipped.name(),
            micros(ours),
            OTHER.name(),
            micros(theirs),
            ours / theirs
        );
    }
    Ok(json!({ "share_percent": SHARE, "calls": ours, "kamailio_calls": theirs, "times": ours / theirs }))
}
