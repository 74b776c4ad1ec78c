//! The demo while it runs: steps, and a line that is always up to date.

use super::report::Direction;
use super::stage::Stage;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Writes to standard error, so that standard output holds the report alone.
pub struct Table {
    live: bool,
    quiet: bool,
}

impl Table {
    /// Live on a terminal; silent but for the report when that is for a program.
    pub fn new(quiet: bool) -> Self {
        Self { live: std::io::stderr().is_terminal() && !quiet, quiet }
    }

    /// A step of the demo.
    pub fn step(&self, text: &str) {
        if !self.quiet {
            eprintln!("· {text}");
        }
    }

    /// Something that the user must know, whatever is asked for.
    pub fn say(&self, text: &str) {
        eprintln!("{text}");
    }

    /// The call as it stands.
    pub fn show(&self, stage: &Stage, elapsed: Duration, whole: Duration) {
        if self.quiet || (!self.live && elapsed.as_millis() % 2000 > 250) {
            return;
        }
        let (Ok(Some(alice)), Ok(Some(bob))) = (stage.alice().talk(), stage.bob().talk()) else { return };
        let line = |name: &str, direction: &Direction, bytes: u64| {
            format!(
                "{name}  {:>5} packets  {:>3} lost  {:>5.1} ms  MOS {:.2}  {:>7} bytes",
                direction.received,
                direction.sent.saturating_sub(direction.received + 1),
                direction.delay.as_secs_f64() * 1e3,
                direction.mos,
                bytes,
            )
        };
        let bytes = |customer: &super::stage::Customer| {
            customer.tunnel().ok().and_then(|tunnel| tunnel["bytes_sent"].as_u64()).unwrap_or(0)
        };
        let right = line("alice → bob", &Direction::measure(&alice, &bob, None), bytes(stage.alice()));
        let left = line("bob → alice", &Direction::measure(&bob, &alice, None), bytes(stage.bob()));
        let clock = format!("1 call  {:>3.0} of {} s", elapsed.as_secs_f64(), whole.as_secs());
        let shown = if self.live {
            write!(std::io::stderr(), "\r\x1b[K  {clock}\n\x1b[K  {right}\n\x1b[K  {left}\x1b[2A\r")
        } else {
            writeln!(std::io::stderr(), "  {clock} | {right} | {left}")
        };
        // Nobody watches a closed terminal.
        drop(shown);
    }

    /// Leaves the live lines behind.
    pub fn finish(&self) {
        if self.live {
            eprint!("\n\n\n");
        }
    }
}
