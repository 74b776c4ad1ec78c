//! What the demo has measured.

use super::stage::{Customer, Stage};
use crate::exit::Failure;
use causeway_phone::Talk;
use serde_json::json;
use std::fmt;
use std::time::Duration;

/// Samples of one packet.
const PACKET: usize = 160;

/// One direction of the call.
pub struct Direction {
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub delay: Duration,
    pub mos: f64,
    identical: bool,
    tunnel_bytes: u64,
}

impl Direction {
    /// What `hearer` heard of `speaker`, who should have said `speech`.
    pub fn measure(speaker: &Talk, hearer: &Talk, speech: Option<&[u8]>) -> Self {
        let (sent, received) = hearer.heard_of(speaker);
        // Numbers count on from the first one heard; the wrap is undone by the distance to the first one sent.
        let index = |number: u64| usize::from((number as u16).wrapping_sub(speaker.first_sequence()));
        let mut delays: Vec<Duration> = hearer
            .heard
            .iter()
            .filter_map(|(number, at, _)| Some(at.since(speaker.sent(*number, *at)?)))
            .collect();
        delays.sort_unstable();
        let delay = delays.get(delays.len() / 2).copied().unwrap_or_default();
        let identical = speech.is_none_or(|speech| {
            received > 0
                && hearer.heard.iter().all(|(number, _, heard)| is_packet(speech, index(*number), heard))
        });
        Self {
            sent,
            received,
            lost: sent.saturating_sub(received),
            delay,
            mos: hearer.line(delay).mos(),
            identical,
            tunnel_bytes: 0,
        }
    }
}

/// Whether these are the samples of the packet with this index, the speech being said over and over.
fn is_packet(speech: &[u8], index: usize, heard: &[u8]) -> bool {
    let start = index * PACKET % speech.len();
    let expected = speech.iter().cycle().skip(start).take(PACKET);
    heard.len() == PACKET && heard.iter().eq(expected)
}

/// The report at the end.
pub struct Report {
    setup: Duration,
    tcp_connections: usize,
    late_dropped: u64,
    to_bob: Direction,
    to_alice: Direction,
}

impl Report {
    /// Collects everything.
    ///
    /// # Errors
    /// If a worker has died.
    pub fn new(
        stage: &Stage,
        setup: Duration,
        tcp_connections: usize,
        speech: [&[u8]; 2],
    ) -> Result<Self, Failure> {
        let (alice, bob) = (talk(stage.alice())?, talk(stage.bob())?);
        let mut late_dropped = 0;
        for tunnel in stage.contact()?["tunnels"].as_array().into_iter().flatten() {
            late_dropped += tunnel["datagrams"]["late_dropped"].as_u64().unwrap_or(0);
        }
        let mut measure = |speaker: &Customer, said: &Talk, heard: &Talk, speech: &[u8]| {
            let tunnel = speaker.tunnel()?;
            late_dropped += tunnel["datagrams"]["late_dropped"].as_u64().unwrap_or(0);
            let mut direction = Direction::measure(said, heard, Some(speech));
            direction.tunnel_bytes = tunnel["bytes_sent"].as_u64().unwrap_or(0);
            Ok::<_, Failure>(direction)
        };
        let to_bob = measure(stage.alice(), &alice, &bob, speech[0])?;
        let to_alice = measure(stage.bob(), &bob, &alice, speech[1])?;
        Ok(Self { setup, tcp_connections, late_dropped, to_bob, to_alice })
    }

    fn mos(&self) -> f64 {
        self.to_bob.mos.min(self.to_alice.mos)
    }

    fn identical(&self) -> bool {
        self.to_bob.identical && self.to_alice.identical
    }

    fn sent(&self) -> u64 {
        self.to_bob.sent + self.to_alice.sent
    }

    fn received(&self) -> u64 {
        self.to_bob.received + self.to_alice.received
    }

    fn lost(&self) -> u64 {
        self.to_bob.lost + self.to_alice.lost
    }

    /// What is not as it should be.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.identical() {
            faults.push("what was heard is not what was spoken".to_owned());
        }
        if self.tcp_connections != 2 {
            faults.push(format!("{} TCP connections where two tunnels need two", self.tcp_connections));
        }
        if self.lost() * 100 > self.sent() {
            faults.push(format!("{} of {} packets lost", self.lost(), self.sent()));
        }
        if self.mos() < 4.0 {
            faults.push(format!("a mean opinion score of {:.2}", self.mos()));
        }
        faults
    }

    /// For programs.
    pub fn json(&self) -> serde_json::Value {
        let mos = (self.mos() * 100.0).round() / 100.0;
        json!({
            "calls": 1,
            "setup_ms": self.setup.as_millis() as u64,
            "sent": self.sent(),
            "received": self.received(),
            "lost": self.lost(),
            "late_dropped": self.late_dropped,
            "mos": mos,
            "audio_identical": self.identical(),
            "tcp_connections": self.tcp_connections,
        })
    }
}

fn talk(customer: &Customer) -> Result<Talk, Failure> {
    customer
        .finished()?
        .ok_or_else(|| Failure::unreachable(format!("{} has no record of the call", customer.name)))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.identical() { "identical to what was spoken" } else { "NOT what was spoken" };
        writeln!(f, "\nOne call through two tunnels, answered after {} ms", self.setup.as_millis())?;
        writeln!(f, "                    sent  received  lost  one-way delay   MOS  bytes into the tunnel")?;
        for (name, d) in [("alice to bob", &self.to_bob), ("bob to alice", &self.to_alice)] {
            let delay = d.delay.as_secs_f64() * 1e3;
            writeln!(
                f,
                "  {name:<14} {:>7}  {:>8}  {:>4}  {delay:>10.1} ms  {:>4.2}  {:>21}",
                d.sent, d.received, d.lost, d.mos, d.tunnel_bytes
            )?;
        }
        writeln!(f, "  late packets dropped before they entered a tunnel: {}", self.late_dropped)?;
        writeln!(f, "  audio heard: {verdict}")?;
        write!(
            f,
            "  TCP connections from the customers' side: {}, listening sockets there: none",
            self.tcp_connections
        )
    }
}
