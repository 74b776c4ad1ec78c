//! What happens to a packet between two addresses.

use causeway_node::Time;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// One direction between two addresses. The default is ideal: a tenth of a millisecond, nothing lost.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// One-way delay.
    pub delay: Duration,
    /// Up to this much more, evenly distributed.
    pub jitter: Duration,
    /// Probability (0 to 1) that a packet is lost. On a connection it costs a retransmission's time instead.
    pub loss: f64,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
    /// Probability that a datagram is held up for two to four further delays, so that later ones overtake it.
    pub reorder: f64,
    /// Bytes per second that pass; further packets queue up. `None` is unlimited.
    pub rate: Option<u64>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(100),
            jitter: Duration::ZERO,
            loss: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            rate: None,
        }
    }
}

impl Link {
    /// An ideal link with this one-way delay.
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// Twenty per cent loss, duplicates, reordering, jitter: what signalling must survive.
    pub fn bad() -> Self {
        Self {
            delay: Duration::from_millis(20),
            jitter: Duration::from_millis(30),
            loss: 0.2,
            duplicate: 0.05,
            reorder: 0.1,
            rate: None,
        }
    }
}

/// All links of a world.
#[derive(Debug, Default)]
pub(crate) struct Links {
    pub default: Link,
    pub between: BTreeMap<(IpAddr, IpAddr), Link>,
    pub cut: BTreeSet<(IpAddr, IpAddr)>,
    pub dead: BTreeSet<IpAddr>,
    busy: BTreeMap<(IpAddr, IpAddr), Time>,
}

/// What becomes of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Arrives after this, and once more after that.
    Passes(Duration, Option<Duration>),
    /// Lost by chance: trying again may help.
    Lost,
    /// There is no way at present.
    Cut,
}

impl Links {
    /// Whether nothing passes from `from` to `to`.
    pub fn is_cut(&self, from: IpAddr, to: IpAddr) -> bool {
        self.cut.contains(&(from, to)) || self.dead.contains(&from) || self.dead.contains(&to)
    }

    /// Decides for a packet of `size` bytes sent at `now`.
    pub fn fate(&mut self, rng: &mut StdRng, now: Time, from: IpAddr, to: IpAddr, size: usize) -> Fate {
        if self.is_cut(from, to) {
            return Fate::Cut;
        }
        let link = self.between.get(&(from, to)).unwrap_or(&self.default);
        if link.loss > 0.0 && rng.random_bool(link.loss) {
            return Fate::Lost;
        }
        let mut delay = link.delay;
        if !link.jitter.is_zero() {
            delay += Duration::from_nanos(rng.random_range(0..=link.jitter.as_nanos() as u64));
        }
        if let Some(rate) = link.rate {
            let busy = self.busy.entry((from, to)).or_default();
            *busy = (*busy).max(now) + Duration::from_nanos(size as u64 * 1_000_000_000 / rate.max(1));
            delay += busy.since(now);
        }
        if link.reorder > 0.0 && rng.random_bool(link.reorder) {
            delay += link.delay.mul_f64(rng.random_range(2.0..4.0));
        }
        let again = link.duplicate > 0.0 && rng.random_bool(link.duplicate);
        let second = again.then(|| delay + link.delay.mul_f64(rng.random_range(0.0..1.0)));
        Fate::Passes(delay, second)
    }
}
