//! A playout buffer of fixed delay: what came too late counts as lost, which is what the ear notices.

use causeway_node::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is to be played in one packet time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The payload that belongs here.
    Payload(Vec<u8>),
    /// Nothing came in time: conceal it.
    Missing,
}

/// Packets wait here until their time has come: that of the first packet plus the delay, then every packet
/// time. Holds at most [`Playout::LIMIT`] packets; further ones are dropped as if late.
#[derive(Clone, Debug)]
pub struct Playout {
    delay: Duration,
    spacing: Duration,
    next: Option<(u64, Time)>,
    waiting: BTreeMap<u64, Vec<u8>>,
    /// Packets that came after their time, or beyond the limit.
    pub late: u64,
    /// Packet times in which nothing was there to play, among those that were numbered.
    pub missing: u64,
    /// Packets played.
    pub played: u64,
}

impl Playout {
    /// Packets held at most: 10 s of 20 ms packets.
    pub const LIMIT: usize = 500;

    /// A buffer that delays by `delay` packets that come every `spacing`.
    pub fn new(delay: Duration, spacing: Duration) -> Self {
        Self { delay, spacing, next: None, waiting: BTreeMap::new(), late: 0, missing: 0, played: 0 }
    }

    /// The delay it adds.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Takes the payload with this extended sequence number.
    pub fn put(&mut self, number: u64, payload: &[u8], now: Time) {
        let (next, _) = *self.next.get_or_insert((number, now + self.delay));
        if number < next || self.waiting.len() >= Self::LIMIT {
            self.late += 1;
        } else {
            self.waiting.insert(number, payload.to_vec());
        }
    }

    /// When the next slot is due; `None` before the first packet and when nothing waits.
    pub fn due(&self) -> Option<Time> {
        self.next.filter(|_| !self.waiting.is_empty()).map(|(_, at)| at)
    }

    /// The next slot, if its time has come.
    pub fn take(&mut self, now: Time) -> Option<Slot> {
        let (number, at) = self.next.filter(|(_, at)| *at <= now && !self.waiting.is_empty())?;
        self.next = Some((number + 1, at + self.spacing));
        match self.waiting.remove(&number) {
            Some(payload) => {
                self.played += 1;
                Some(Slot::Payload(payload))
            }
            None => {
                self.missing += 1;
                Some(Slot::Missing)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn reorders_conceals_and_drops_what_is_late() {
        let mut playout = Playout::new(Duration::from_millis(40), Duration::from_millis(20));
        playout.put(5, b"5", ms(0));
        playout.put(7, b"7", ms(21));
        playout.put(6, b"6", ms(22));
        assert_eq!(playout.due(), Some(ms(40)));
        assert_eq!(playout.take(ms(39)), None);
        assert_eq!(playout.take(ms(40)), Some(Slot::Payload(b"5".to_vec())));
        assert_eq!(playout.take(ms(60)), Some(Slot::Payload(b"6".to_vec())));
        assert_eq!(playout.take(ms(80)), Some(Slot::Payload(b"7".to_vec())));
        playout.put(9, b"9", ms(90));
        assert_eq!(playout.take(ms(100)), Some(Slot::Missing));
        playout.put(8, b"8", ms(101));
        assert_eq!(playout.take(ms(120)), Some(Slot::Payload(b"9".to_vec())));
        assert_eq!((playout.played, playout.missing, playout.late), (4, 1, 1));
    }
}
