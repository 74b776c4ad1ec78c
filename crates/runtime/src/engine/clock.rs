//! What time it is, whose time has come, and the media tick.

use super::{Engine, Token};
use crate::sys::IN;
use crate::worker::Error;
use causeway_node::{Input, Time};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Passes over the media sockets per tick; each takes one datagram of each ready port, 256 ports at most.
const PASSES: usize = 64;

/// Where all workers of a process count from, so that their times can be compared.
pub(super) fn start_of_time() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

impl Engine {
    pub(super) fn read_clock(&mut self) {
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.now = Time::from_nanos(nanos).max(self.now);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        if self.busy {
            return Some(Duration::ZERO);
        }
        let nodes = self.nodes.iter().filter_map(|m| m.node.deadline()).min();
        let commits = self.nodes.iter().filter_map(|m| m.journal.due()).min();
        let next = [nodes, commits, self.timers.next(), self.next_tick].into_iter().flatten().min()?;
        if next == Time::NEVER {
            return None;
        }
        let nanos = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Some(next.since(Time::from_nanos(nanos)))
    }

    /// Tells those whose time has come.
    pub(super) fn expire(&mut self) {
        while let Some(token) = self.timers.pop(self.now) {
            self.stream_timeout(token);
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].node.deadline().is_some_and(|due| due <= self.now) {
                self.hand(node, Input::Timeout);
            }
        }
    }

    /// While a node says that media flows, its sockets are read by the tick and wake nobody.
    pub(super) fn choose_tick(&mut self) {
        let active = self.nodes.iter().any(|m| m.node.media_active());
        if active == self.next_tick.is_some() {
            return;
        }
        let changed = if active {
            self.next_tick = Some(self.tick_after(self.now));
            self.main.remove(self.media.as_fd())
        } else {
            self.next_tick = None;
            self.main.add(self.media.as_fd(), Token::MEDIA.0, IN)
        };
        if let Err(error) = changed {
            self.failure = Some(Error::System("epoll", error.to_string()));
        }
    }

    /// The next tick after `time`, on a grid that does not drift.
    pub(super) fn tick_after(&self, time: Time) -> Time {
        let period = self.options.tick_nanos();
        Time::from_nanos((time.as_nanos() / period + 1) * period)
    }

    pub(super) fn tick(&mut self) {
        let Some(due) = self.next_tick.filter(|due| *due <= self.now) else { return };
        let late = self.now.since(due);
        let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.counters.ticks += 1;
        self.counters.tick_late_us = self.counters.tick_late_us.saturating_add(micros);
        self.counters.tick_late_max_us = self.counters.tick_late_max_us.max(micros);
        self.counters.ticks_missed += u64::try_from(late.as_nanos()).unwrap_or(0) / self.options.tick_nanos();
        self.read_media();
        self.next_tick = Some(self.tick_after(self.now));
    }

    /// Takes in everything that waits on media sockets.
    pub(super) fn read_media(&mut self) {
        let mut events = std::mem::take(&mut self.media_events);
        for _ in 0..PASSES {
            events.clear();
            if let Err(error) = self.media.wait(Some(Duration::ZERO), &mut events) {
                self.failure = Some(Error::System("epoll", error.to_string()));
                break;
            }
            for event in &events {
                self.event(*event);
            }
            if events.is_empty() {
                break;
            }
        }
        self.media_events = events;
    }
}
