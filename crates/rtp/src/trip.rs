//! Round trips measured by somebody on the way, who sends nothing of his own.
//!
//! A receiver says which sender report it has heard last and how long ago (RFC 3550 §6.4.1). Whoever has seen that
//! report pass, and sees the receiver's answer pass, knows the round trip between himself and the receiver: the time
//! between the two, less the time for which the receiver has kept the first.

use crate::rtcp::{Block, SenderInfo};
use causeway_node::Time;
use std::time::Duration;

/// Sender reports that may wait for an answer at once: of several sources, or one after the other.
const MOST: usize = 8;
/// Clocks run apart, and both ends round: a delay that is longer than the time that has passed, by no more than this,
/// is a round trip of no length.
const SLACK: Duration = Duration::from_millis(10);
/// Clocks of payloads go in these steps, at these rates (Hz).
const STEP: u64 = 1000;
const RATES: std::ops::RangeInclusive<u64> = 8000..=192_000;

/// What passes towards one end, and what that end says of it.
#[derive(Clone, Debug, Default)]
pub struct Trip {
    /// Reports on their way: their middle 32 bits, and when they have passed.
    sent: [Option<(u32, Time)>; MOST],
    next: usize,
    last: Option<SenderInfo>,
    rate: Option<u32>,
    heard: Option<Block>,
    /// The last round trip between here and the end.
    pub round_trip: Option<Duration>,
    /// All of them together, and how many.
    pub sum: Duration,
    /// How many have been measured.
    pub count: u64,
}

impl Trip {
    /// A sender report passes towards the end.
    pub fn sent(&mut self, now: Time, report: SenderInfo) {
        let middle = report.middle();
        // The same once more would be answered by the delay since its last coming or its first: nobody knows.
        let known = self.sent.iter().flatten().any(|(sent, _)| *sent == middle);
        if middle == 0 || known {
            return;
        }
        if let Some(last) = self.last.filter(|last| last.ssrc == report.ssrc) {
            self.rate = clock_rate(last, report).or(self.rate);
        }
        self.last = Some(report);
        if let Some(place) = self.sent.get_mut(self.next % MOST) {
            *place = Some((middle, now));
        }
        self.next = (self.next + 1) % MOST;
    }

    /// The end says what it has heard: the round trip, if it names a report that has passed here.
    pub fn heard(&mut self, now: Time, block: Block) -> Option<Duration> {
        self.heard = Some(block);
        let sent = self.sent.iter().flatten().find(|(sent, _)| *sent == block.last_report);
        let passed = now.since(sent?.1);
        let kept = Duration::from_nanos((u64::from(block.delay) * 1_000_000_000) >> 16);
        let trip = match passed.checked_sub(kept) {
            Some(trip) => trip,
            None if kept - passed <= SLACK => Duration::ZERO,
            None => return None,
        };
        self.round_trip = Some(trip);
        self.sum += trip;
        self.count += 1;
        Some(trip)
    }

    /// Packets that the end has not got of all that were sent to it, wherever they were lost; `None` until it says so.
    pub fn lost(&self) -> Option<i32> {
        self.heard.map(|block| block.lost)
    }

    /// The jitter that the end sees, once two sender reports have told how fast the payload's clock runs.
    pub fn jitter(&self) -> Option<Duration> {
        let (block, rate) = (self.heard?, self.rate?);
        Some(Duration::from_nanos(u64::from(block.jitter) * 1_000_000_000 / u64::from(rate)))
    }
}

/// The rate of a payload's clock in Hz, by two reports of one source.
fn clock_rate(before: SenderInfo, after: SenderInfo) -> Option<u32> {
    let wall = after.ntp.checked_sub(before.ntp)?;
    // Below a quarter of a second the error is too large; beyond a minute a clock may have wrapped.
    if !((1 << 30)..=(60 << 32)).contains(&wall) {
        return None;
    }
    let ticks = u64::from(after.timestamp.wrapping_sub(before.timestamp));
    let exact = u64::try_from((u128::from(ticks) << 32) / u128::from(wall)).ok()?;
    let rate = (exact + STEP / 2) / STEP * STEP;
    let near = exact.abs_diff(rate) * 25 <= rate;
    u32::try_from(rate).ok().filter(|_| near && RATES.contains(&rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    /// A report of a source whose clock shows `ms`.
    fn report(ms: u64, rate: u64) -> SenderInfo {
        let ntp = (1u64 << 32) + (ms << 32) / 1000;
        SenderInfo { ssrc: 1, ntp, timestamp: (ms * rate / 1000) as u32 }
    }

    fn block(of: SenderInfo, kept_ms: u64) -> Block {
        let delay = (kept_ms * 65_536 / 1000) as u32;
        let last_report = of.middle();
        Block { ssrc: 1, fraction_lost: 0, lost: 3, highest: 0, jitter: 80, last_report, delay }
    }

    #[test]
    fn the_time_that_the_end_has_kept_a_report_is_no_part_of_the_round_trip() {
        let mut trip = Trip::default();
        trip.sent(at(1000), report(5000, 8000));
        let measured = trip.heard(at(3040), block(report(5000, 8000), 2000)).unwrap();
        assert!(measured.abs_diff(Duration::from_millis(40)) < Duration::from_micros(50), "{measured:?}");
        assert_eq!((trip.count, trip.lost()), (1, Some(3)));
        assert_eq!(
            trip.heard(at(3050), block(report(4000, 8000), 0)),
            None,
            "a report that has not passed here"
        );
        assert_eq!(
            trip.heard(at(3050), block(report(5000, 8000), 9000)),
            None,
            "kept for longer than has passed"
        );
        assert_eq!(trip.heard(at(3000), block(report(5000, 8000), 2004)), Some(Duration::ZERO));
    }

    #[test]
    fn several_sources_and_late_answers_are_told_apart() {
        let mut trip = Trip::default();
        for n in 0..20 {
            trip.sent(at(100 * n), report(100 * n + 1, 8000));
        }
        assert!(
            trip.heard(at(2000), block(report(1, 8000), 0)).is_none(),
            "only the last ones are remembered"
        );
        let late = trip.heard(at(2000), block(report(1801, 8000), 100)).unwrap();
        assert!(late.abs_diff(Duration::from_millis(100)) < Duration::from_micros(50), "{late:?}");
    }

    #[test]
    fn two_reports_tell_the_rate_of_the_clock() {
        for rate in [8000, 16_000, 48_000, 90_000] {
            let mut trip = Trip::default();
            trip.sent(at(0), report(700, rate));
            trip.heard(at(10), block(report(700, rate), 0));
            assert_eq!(trip.jitter(), None);
            trip.sent(at(5000), report(5703, rate));
            let expected = Duration::from_nanos(80 * 1_000_000_000 / rate);
            assert_eq!(trip.jitter(), Some(expected), "{rate} Hz");
        }
        assert_eq!(clock_rate(report(0, 8000), report(10, 8000)), None, "too close to one another");
        assert_eq!(clock_rate(report(0, 3000), report(5000, 3000)), None, "no clock of any payload");
    }
}
