//! The timers of all transactions.

use super::forgetting::Forgetting;
use super::machine::{Step, Timer};
use causeway_node::{Time, Timers};
use std::hash::Hash;
use std::time::Duration;

/// What runs for transactions that are named by `T`. Timers of one kind run for one duration as a rule, so that they are
/// due in the order in which they are set: cheap where kinds are kept apart.
#[derive(Debug)]
pub(super) struct Running<T> {
    /// A, E and G: when something is sent again.
    again: Timers<(T, Timer)>,
    /// B, F and H: when it is given up.
    limits: Timers<(T, Timer)>,
    /// The others: when the transaction is forgotten.
    forgetting: Forgetting<T>,
}

/// Which timers of a transaction run that can be cancelled.
#[derive(Clone, Copy, Default)]
pub(super) struct Armed(u16);

impl Armed {
    fn set(&mut self, timer: Timer) {
        self.0 |= 1 << timer as u16;
    }

    /// Notes that a timer does not run any more; says whether it did.
    pub fn take(&mut self, timer: Timer) -> bool {
        let did = self.0 >> timer as u16 & 1 == 1;
        self.0 &= !(1 << timer as u16);
        did
    }
}

impl<T: Ord> Default for Running<T> {
    fn default() -> Self {
        Self { again: Timers::default(), limits: Timers::default(), forgetting: Forgetting::default() }
    }
}

impl<T: Copy + Eq + Hash + Ord> Running<T> {
    /// Stops and sets what a step says.
    pub fn run(&mut self, now: Time, whose: T, armed: &mut Armed, step: &Step) {
        for timer in step.stop {
            self.stop(whose, armed, *timer);
        }
        for (timer, after) in step.set.iter().flatten() {
            self.set(now, whose, armed, *timer, *after);
        }
    }

    /// Sets one timer.
    pub fn set(&mut self, now: Time, whose: T, armed: &mut Armed, timer: Timer, after: Duration) {
        let at = now + after;
        if Forgetting::<T>::takes(timer) {
            return self.forgetting.push(timer, at, whose);
        }
        self.of(timer).set((whose, timer), at);
        armed.set(timer);
    }

    /// Stops all that can be stopped, of a transaction that is over.
    pub fn stop_all(&mut self, whose: T, mut armed: Armed) {
        use Timer::{A, B, E, F, G, H};
        for timer in [A, B, E, F, G, H] {
            self.stop(whose, &mut armed, timer);
        }
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Time> {
        [self.again.next(), self.limits.next(), self.forgetting.next()].into_iter().flatten().min()
    }

    /// Takes out one that is due.
    pub fn pop(&mut self, now: Time) -> Option<(T, Timer)> {
        let limits_first =
            self.limits.next().is_some_and(|at| self.again.next().is_none_or(|again| at < again));
        let timers = if limits_first { &mut self.limits } else { &mut self.again };
        timers.pop(now).or_else(|| self.forgetting.pop(now))
    }

    /// Those that are to be forgotten now, in that order.
    pub fn to_be_forgotten(&self, now: Time) -> impl Iterator<Item = &T> {
        self.forgetting.due(now)
    }

    /// Takes out one that is to be forgotten next, though it is not due yet, if there are more than `most`.
    pub fn pop_beyond(&mut self, most: usize) -> Option<(T, Timer)> {
        self.forgetting.pop_beyond(most)
    }

    /// How many client and server transactions wait to be forgotten.
    pub fn forgetting(&self) -> (usize, usize) {
        self.forgetting.counts()
    }

    fn stop(&mut self, whose: T, armed: &mut Armed, timer: Timer) {
        if armed.take(timer) {
            self.of(timer).cancel((whose, timer));
        }
    }

    fn of(&mut self, timer: Timer) -> &mut Timers<(T, Timer)> {
        match timer {
            Timer::B | Timer::F | Timer::H => &mut self.limits,
            _ => &mut self.again,
        }
    }
}
