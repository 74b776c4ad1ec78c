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
    live: NumberMap<K, Live>,
    /// Entries that were due after all others here when they were set; of cancelled ones the place is left.
    queue: VecDeque<(Time, u64, Option<K>)>,
    /// How many have left the queue at its front: the place of its first entry.
    passed: u64,
    /// The others. Whether one is live, the table says.
    heap: BinaryHeap<Reverse<(Time, u64, K)>>,
    serial: u64,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    at: Time,
    serial: u64,
    /// Its place in the queue, counted from the first entry ever; `None` for one of the heap.
    place: Option<u64>,
}

impl<K> Default for Timers<K>
where
    K: Ord,
{
    fn default() -> Self {
        let (queue, heap) = (VecDeque::new(), BinaryHeap::new());
        Self { live: NumberMap::default(), queue, passed: 0, heap, serial: 0 }
    }
}

impl<K: Copy + Eq + Hash + Ord> Timers<K> {
    /// Sets (or moves) the timer of `key`. Timers due at the same time fire in the order in which they were set.
    pub fn set(&mut self, key: K, at: Time) {
        self.serial += 1;
        let serial = self.serial;
        let queued = self.queue.back().is_none_or(|(last, ..)| *last <= at);
        let place = queued.then(|| self.passed + self.queue.len() as u64);
        match queued {
            true => self.queue.push_back((at, serial, Some(key))),
            false => self.heap.push(Reverse((at, serial, key))),
        }
        if let Some(old) = self.live.insert(key, Live { at, serial, place }) {
            self.drop_entry(key, old);
        }
        if self.entries() > 64 && self.entries() > 4 * self.live.len() {
            self.compact();
        }
    }

    /// Removes the timer of `key`; says whether there was one.
    pub fn cancel(&mut self, key: K) -> bool {
        let old = self.live.remove(&key);
        if let Some(old) = old {
            self.drop_entry(key, old);
        }
        old.is_some()
    }

    /// When the timer of `key` is due.
    pub fn get(&self, key: K) -> Option<Time> {
        self.live.get(&key).map(|live| live.at)
    }

    /// The earliest due time.
    pub fn next(&self) -> Option<Time> {
        self.first().map(|(at, ..)| at)
    }

    /// Removes and returns a timer that is due at `now`.
    pub fn pop(&mut self, now: Time) -> Option<K> {
        let (_, _, key) = self.first().filter(|(at, ..)| *at <= now)?;
        self.cancel(key);
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
    fn first(&self) -> Option<(Time, u64, K)> {
        let queued = self.queue.front().and_then(|(at, serial, key)| Some((*at, *serial, (*key)?)));
        let heaped = self.heap.peek().map(|Reverse(entry)| *entry);
        queued.into_iter().chain(heaped).min()
    }

    /// The entry of a timer that runs no more.
    fn drop_entry(&mut self, key: K, old: Live) {
        match old.place {
            Some(place) => {
                if let Some((_, _, key)) = self.queue.get_mut((place - self.passed) as usize) {
                    *key = None;
                }
                self.settle_queue();
            }
            // Only if it comes first may it touch the invariant.
            None if self.heap.peek().is_some_and(|Reverse((_, _, first))| *first == key) => {
                self.settle_heap()
            }
            None => {}
        }
    }

    /// Keeps the invariant that the first entry is live, so that [`Timers::next`] is exact.
    fn settle_queue(&mut self) {
        while self.queue.pop_front_if(|(_, _, key)| key.is_none()).is_some() {
            self.passed += 1;
        }
    }

    /// The same for the heap.
    fn settle_heap(&mut self) {
        while let Some(Reverse((_, serial, key))) = self.heap.peek() {
            if self.live.get(key).is_some_and(|live| live.serial == *serial) {
                break;
            }
            self.heap.pop();
        }
    }

    /// Drops all entries that are not live.
    fn compact(&mut self) {
        self.queue.retain(|(_, _, key)| key.is_some());
        for (place, (_, _, key)) in (self.passed..).zip(&self.queue) {
            if let Some(live) = key.and_then(|key| self.live.get_mut(&key)) {
                live.place = Some(place);
            }
        }
        self.heap.retain(|Reverse((_, serial, key))| self.live.get(key).is_some_and(|l| l.serial == *serial));
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

    /// With times that come in order and others; of few keys most entries are dead ones.
    #[test]
    fn agrees_with_a_list() {
        [2, 5, 50].into_iter().for_each(against_a_list);
    }

    fn against_a_list(keys: u64) {
        let mut seed = keys;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let (mut timers, mut list) = (Timers::default(), Vec::<(Time, u64, u64)>::new());
        for (now, step) in (0..20_000).enumerate() {
            let now = now as u64;
            let key = random(keys);
            match random(8) {
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
                    let at = if kind % 2 == 0 { t(now + 300) } else { t(now + random(100)) };
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
