//! Many timers behind one deadline.

use crate::{NumberMap, Time};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::Hash;

/// Timers by key: at most one per key, the earliest first. Keys are numbers of one's own ([`crate::NumberHasher`]).
///
/// Setting and cancelling cost O(log n) and O(1); cancelled entries leave the heap when they come to its
/// top, or all at once when they outnumber the live ones.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    live: NumberMap<K, (Time, u64)>,
    heap: BinaryHeap<Reverse<(Time, u64, K)>>,
    serial: u64,
}

impl<K> Default for Timers<K>
where
    K: Ord,
{
    fn default() -> Self {
        Self { live: NumberMap::default(), heap: BinaryHeap::new(), serial: 0 }
    }
}

impl<K: Copy + Eq + Hash + Ord> Timers<K> {
    /// Sets (or moves) the timer of `key`. Timers due at the same time fire in the order in which they were set.
    pub fn set(&mut self, key: K, at: Time) {
        self.serial += 1;
        let moved = self.live.insert(key, (at, self.serial)).is_some() && self.leads(key);
        self.heap.push(Reverse((at, self.serial, key)));
        if self.heap.len() > 64 && self.heap.len() > 4 * self.live.len() {
            let live = &self.live;
            self.heap.retain(|Reverse((_, serial, key))| live.get(key).is_some_and(|l| l.1 == *serial));
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
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Removes and returns a timer that is due at `now`.
    pub fn pop(&mut self, now: Time) -> Option<K> {
        let &Reverse((at, _, key)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
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

    /// Whether the top of the heap is an entry of this key: only then may changing its timer touch the invariant.
    fn leads(&self, key: K) -> bool {
        self.heap.peek().is_some_and(|Reverse((_, _, top))| *top == key)
    }

    /// Keeps the invariant that the top of the heap is live, so that [`Timers::next`] is exact.
    fn settle(&mut self) {
        while let Some(Reverse((_, serial, key))) = self.heap.peek() {
            if self.live.get(key).is_some_and(|l| l.1 == *serial) {
                break;
            }
            self.heap.pop();
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

    #[test]
    fn moving_one_timer_for_ever_needs_no_more_memory() {
        let mut timers = Timers::default();
        for i in 0..10_000 {
            timers.set(1, t(1_000_000 - i));
        }
        assert!(timers.heap.len() <= 65);
    }
}
