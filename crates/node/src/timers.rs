//! Many timers behind one deadline.

use crate::{NumberMap, Time};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::Hash;

/// Timers by key: at most one per key, the earliest first. Keys are numbers of one's own ([`crate::NumberHasher`]).
///
/// Setting and cancelling cost O(log n) and O(1); setting one that is due after all others, as timers of one duration are,
/// O(1) as well. Cancelled entries leave when it would be their turn, or all at once when they outnumber the live ones.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    live: NumberMap<K, (Time, u64)>,
    /// Entries that were due after all others here when they were set.
    queue: VecDeque<(Time, u64, K)>,
    /// The others.
    heap: BinaryHeap<Reverse<(Time, u64, K)>>,
    serial: u64,
}

impl<K> Default for Timers<K>
where
    K: Ord,
{
    fn default() -> Self {
        Self { live: NumberMap::default(), queue: VecDeque::new(), heap: BinaryHeap::new(), serial: 0 }
    }
}

impl<K: Copy + Eq + Hash + Ord> Timers<K> {
    /// Sets (or moves) the timer of `key`. Timers due at the same time fire in the order in which they were set.
    pub fn set(&mut self, key: K, at: Time) {
        self.serial += 1;
        let moved = self.live.insert(key, (at, self.serial)).is_some() && self.leads(key);
        match self.queue.back() {
            Some((last, ..)) if *last > at => self.heap.push(Reverse((at, self.serial, key))),
            _ => self.queue.push_back((at, self.serial, key)),
        }
        if self.entries() > 64 && self.entries() > 4 * self.live.len() {
            let is_live = |serial: u64, key: &K| self.live.get(key).is_some_and(|l| l.1 == serial);
            self.queue.retain(|(_, serial, key)| is_live(*serial, key));
            self.heap.retain(|Reverse((_, serial, key))| is_live(*serial, key));
        } else if moved {
            self.settle();
        }
    }

    /// Removes the timer of `key`; says whether there was one.
    pub fn cancel(&mut self, key: K) -> bool {
        let was = self.live.remove(&key).is_some();
        if was && self.leads(key) {
            self.settle();
        }
        was
    }

    /// When the timer of `key` is due.
    pub fn get(&self, key: K) -> Option<Time> {
        self.live.get(&key).map(|l| l.0)
    }

    /// The earliest due time.
    pub fn next(&self) -> Option<Time> {
        self.first().map(|(at, _, _)| *at)
    }

    /// Removes and returns a timer that is due at `now`.
    pub fn pop(&mut self, now: Time) -> Option<K> {
        let &(at, _, key) = self.first()?;
        if at > now {
            return None;
        }
        self.drop_first();
        self.live.remove(&key);
        self.settle();
        Some(key)
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether no timer is set.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    fn entries(&self) -> usize {
        self.queue.len() + self.heap.len()
    }

    /// The entry that is due first.
    fn first(&self) -> Option<&(Time, u64, K)> {
        match (self.queue.front(), self.heap.peek()) {
            (Some(queued), Some(Reverse(heaped))) => Some(queued.min(heaped)),
            (queued, heaped) => queued.or(heaped.map(|Reverse(heaped)| heaped)),
        }
    }

    fn drop_first(&mut self) {
        match (self.queue.front(), self.heap.peek()) {
            (Some(queued), Some(Reverse(heaped))) if heaped < queued => drop(self.heap.pop()),
            (Some(_), _) => drop(self.queue.pop_front()),
            (None, _) => drop(self.heap.pop()),
        }
    }

    /// Whether the first entry is of this key: only then may changing its timer touch the invariant.
    fn leads(&self, key: K) -> bool {
        self.first().is_some_and(|(_, _, first)| *first == key)
    }

    /// Keeps the invariant that the first entry is live, so that [`Timers::next`] is exact.
    fn settle(&mut self) {
        while let Some((_, serial, key)) = self.first() {
            if self.live.get(key).is_some_and(|l| l.1 == *serial) {
                break;
            }
            self.drop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(ms: u64) -> Time {
        Time::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn fires_in_order_and_only_the_last_setting_counts() {
        let mut timers = Timers::default();
        timers.set('a', t(30));
        timers.set('b', t(10));
        timers.set('c', t(20));
        timers.set('b', t(40));
        assert!(timers.cancel('c') && !timers.cancel('c'));
        assert_eq!(timers.next(), Some(t(30)));
        assert_eq!(timers.pop(t(29)), None);
        assert_eq!(timers.pop(t(100)), Some('a'));
        assert_eq!(timers.pop(t(100)), Some('b'));
        assert_eq!(timers.pop(t(100)), None);
        assert!(timers.is_empty() && timers.next().is_none());
    }

    /// Against a plain list, with times that come in order and others.
    #[test]
    fn agrees_with_a_list() {
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut timers, mut list) = (Timers::default(), Vec::<(Time, u64, u64)>::new());
        for (now, step) in (0..20_000).enumerate() {
            let now = now as u64;
            let key = random(50);
            match random(4) {
                0 => {
                    let was = list.iter().position(|(_, _, other)| *other == key).map(|at| list.remove(at));
                    assert_eq!(timers.cancel(key), was.is_some());
                }
                1 => {
                    list.sort_unstable();
                    let due = list.first().copied().filter(|(at, ..)| *at <= t(now));
                    assert_eq!(
                        (timers.next(), timers.pop(t(now))),
                        (list.first().map(|l| l.0), due.map(|l| l.2))
                    );
                    list.retain(|entry| Some(*entry) != due);
                }
                kind => {
                    let at = if kind == 2 { t(now + 30) } else { t(now + random(100)) };
                    timers.set(key, at);
                    list.retain(|(_, _, other)| *other != key);
                    list.push((at, step, key));
                }
            }
            assert_eq!(timers.len(), list.len());
        }
    }

    #[test]
    fn moving_one_timer_for_ever_needs_no_more_memory() {
        let mut timers = Timers::default();
        for i in 0..10_000 {
            timers.set(1, t(1_000_000 - i));
        }
        assert!(timers.entries() <= 65);
    }
}
