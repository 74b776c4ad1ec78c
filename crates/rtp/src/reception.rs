//! What a receiver knows of a stream (RFC 3550 §6.4.1, appendices A.1, A.3 and A.8).

use crate::Header;
use causeway_node::Time;

/// Statistics of one received stream; a new SSRC starts a new one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reception {
    started: bool,
    ssrc: u32,
    base: u64,
    highest: u64,
    /// Packets received, repeated ones included.
    pub received: u64,
    jitter: f64,
    transit: f64,
}

impl Reception {
    /// Notes a packet that arrived at `now`; `rate` is the payload's clock in Hz. Returns its extended
    /// sequence number, which counts on across wraps.
    pub fn note(&mut self, header: &Header, now: Time, rate: u32) -> u64 {
        if !self.started || self.ssrc != header.ssrc {
            let first = (1 << 16) + u64::from(header.sequence);
            *self = Self { started: true, ssrc: header.ssrc, base: first, highest: first, ..Self::default() };
        }
        let step = i64::from(header.sequence.wrapping_sub(self.highest as u16) as i16);
        let extended = self.highest.saturating_add_signed(step);
        self.highest = self.highest.max(extended);
        self.base = self.base.min(extended);
        self.received += 1;
        let arrival = now.as_nanos() as f64 / 1e9 * f64::from(rate);
        let transit = arrival - f64::from(header.timestamp);
        if self.received > 1 {
            let difference = (transit - self.transit).abs();
            self.jitter += (difference - self.jitter) / 16.0;
        }
        self.transit = transit;
        extended
    }

    /// Packets that should have come, by their numbers.
    pub fn expected(&self) -> u64 {
        if self.started { self.highest - self.base + 1 } else { 0 }
    }

    /// Packets that have not come (yet); repeated ones hide others, as in RFC 3550.
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    /// Interarrival jitter, in units of the payload's clock.
    pub fn jitter(&self) -> f64 {
        self.jitter
    }

    /// The highest extended sequence number seen.
    pub fn highest(&self) -> u64 {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn header(sequence: u16, timestamp: u32) -> Header {
        Header { payload_type: 0, marker: false, sequence, timestamp, ssrc: 1 }
    }

    #[test]
    fn counts_across_the_wrap_and_out_of_order() {
        let mut r = Reception::default();
        for (i, sequence) in [65533u16, 65534, 0, 65535, 2].into_iter().enumerate() {
            r.note(
                &header(sequence, 160 * i as u32),
                Time::ZERO + Duration::from_millis(20 * i as u64),
                8000,
            );
        }
        assert_eq!((r.expected(), r.received, r.lost()), (6, 5, 1));
        assert!(r.jitter() < 1e-6, "evenly spaced packets have no jitter: {}", r.jitter());
    }

    #[test]
    fn jitter_follows_the_rfc() {
        // One packet 10 ms late: |D| = 80 units, J = 80/16 = 5; the next on time: |D| = 80 again,
        // J = 5 + (80 - 5)/16.
        let mut r = Reception::default();
        for (i, ms) in [0u64, 30, 40].into_iter().enumerate() {
            r.note(&header(i as u16, 160 * i as u32), Time::ZERO + Duration::from_millis(ms), 8000);
        }
        assert!((r.jitter() - (5.0 + 75.0 / 16.0)).abs() < 1e-6);
    }
}
