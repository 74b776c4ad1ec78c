//! Transactions that only wait to be forgotten: by far the most at any time.

use super::machine::Timer;
use causeway_node::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// One queue per timer that only forgets: each of these runs for one duration, so that whoever comes first goes
/// first. Nothing is ever cancelled: an entry whose transaction is gone already does nothing when its time comes.
#[derive(Debug)]
pub(super) struct Forgetting<T> {
    queues: [VecDeque<(Time, T)>; TIMERS.len()],
}

/// Those of client transactions, then those of server transactions.
const TIMERS: [Timer; 6] = [Timer::D, Timer::K, Timer::M, Timer::I, Timer::J, Timer::L];
const OF_CLIENTS: usize = 3;

impl<T> Default for Forgetting<T> {
    fn default() -> Self {
        Self { queues: Default::default() }
    }
}

impl<T> Forgetting<T> {
    /// How much later than its timer a transaction is forgotten at most: many go at a time, so that a busy element
    /// does not wake up for each.
    const LATE: Duration = Duration::from_millis(100);

    /// Whether nothing happens at the end of a timer but that the transaction is forgotten.
    pub fn takes(timer: Timer) -> bool {
        TIMERS.contains(&timer)
    }

    /// Starts a timer that runs out at `at`.
    pub fn push(&mut self, timer: Timer, at: Time, whose: T) {
        let period = u64::try_from(Self::LATE.as_nanos()).unwrap_or(u64::MAX);
        let at = Time::from_nanos(at.as_nanos().div_ceil(period).saturating_mul(period));
        let queue = TIMERS.iter().zip(&mut self.queues).find(|(known, _)| **known == timer);
        if let Some((_, queue)) = queue {
            queue.push_back((at, whose));
        }
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Time> {
        self.queues.iter().filter_map(|queue| queue.front()).map(|(at, _)| *at).min()
    }

    /// Takes out one that is due.
    pub fn pop(&mut self, now: Time) -> Option<(T, Timer)> {
        TIMERS.iter().zip(&mut self.queues).find_map(|(timer, queue)| {
            let (_, whose) = queue.pop_front_if(|(at, _)| *at <= now)?;
            Some((whose, *timer))
        })
    }

    /// Those that are due, in the order in which [`Forgetting::pop`] takes them out.
    pub fn due(&self, now: Time) -> impl Iterator<Item = &T> {
        let due = move |queue| VecDeque::iter(queue).take_while(move |(at, _)| *at <= now);
        self.queues.iter().flat_map(due).map(|(_, whose)| whose)
    }

    /// Takes out the one that is due next, though it is not yet, if there are more than `most`.
    pub fn pop_beyond(&mut self, most: usize) -> Option<(T, Timer)> {
        let (clients, servers) = self.counts();
        if clients + servers <= most {
            return None;
        }
        self.next().and_then(|due| self.pop(due))
    }

    /// How many client and server transactions wait.
    pub fn counts(&self) -> (usize, usize) {
        let (clients, servers) = self.queues.split_at(OF_CLIENTS);
        let count = |queues: &[VecDeque<_>]| queues.iter().map(VecDeque::len).sum();
        (count(clients), count(servers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn never_early_and_many_at_a_time() {
        let mut waiting = Forgetting::default();
        waiting.push(Timer::J, at(32_001), 'a');
        waiting.push(Timer::J, at(32_100), 'b');
        waiting.push(Timer::J, at(32_101), 'c');
        waiting.push(Timer::K, at(5_000), 'd');
        assert_eq!(waiting.next(), Some(at(5_000)));
        assert_eq!(waiting.pop(at(4_999)), None);
        assert_eq!(waiting.pop(at(5_000)), Some(('d', Timer::K)));
        assert_eq!((waiting.next(), waiting.pop(at(32_099))), (Some(at(32_100)), None));
        assert_eq!(waiting.pop(at(32_100)), Some(('a', Timer::J)));
        assert_eq!(waiting.pop(at(32_100)), Some(('b', Timer::J)));
        assert_eq!((waiting.pop(at(32_100)), waiting.next()), (None, Some(at(32_200))));
    }

    #[test]
    fn beyond_the_limit_who_is_due_next_goes_first() {
        let mut waiting = Forgetting::default();
        waiting.push(Timer::J, at(32_000), 'a');
        waiting.push(Timer::M, at(31_000), 'b');
        waiting.push(Timer::K, at(40_000), 'c');
        assert_eq!((waiting.pop_beyond(3), waiting.counts()), (None, (2, 1)));
        assert_eq!(waiting.pop_beyond(1), Some(('b', Timer::M)));
        assert_eq!(waiting.pop_beyond(1), Some(('a', Timer::J)));
        assert_eq!((waiting.pop_beyond(1), waiting.counts()), (None, (1, 0)));
    }
}
