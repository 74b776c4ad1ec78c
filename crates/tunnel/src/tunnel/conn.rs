//! What dies with a connection.

use crate::proof::Secret;
use crate::pulse::Pulse;
use crate::reader::Reader;
use crate::{Config, Lane, Resume};
use causeway_node::Time;
use std::collections::VecDeque;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The peer's Hello has not come.
    Greeting,
    /// At the contact point: the agent has named a session, the owner has not said what becomes of it.
    Deciding,
    /// At the agent: the contact point has not said whether the session goes on.
    Asked,
    /// SIP and datagrams pass.
    Up,
    /// It is over; what [`crate::Tunnel::fill`] still gives is sent.
    Over,
    /// There is none: the session waits for the next.
    Parked,
}

/// A ticket that is on its way.
#[derive(Debug)]
pub(super) struct TicketOut {
    pub seed: Secret,
    pub grace: u16,
}

/// How many of something may still come.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    counted: Time,
}

impl Allowance {
    /// Takes `count` of it, if there are so many left: `rate` come back per second, up to `burst`.
    pub(super) fn take(&mut self, now: Time, count: u32, rate: u32, burst: u32) -> bool {
        let gained = now.since(self.counted).as_nanos() * u128::from(rate) / 1_000_000_000;
        if gained > 0 {
            self.counted = now;
            let gained = u32::try_from(gained).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(gained).min(burst);
        }
        self.left.checked_sub(count).map(|left| self.left = left).is_some()
    }
}

/// One connection of a session.
#[derive(Debug)]
pub(super) struct Conn {
    pub stage: Stage,
    pub started: Time,
    pub exporter: Option<Secret>,
    /// The agent's wish, on both sides.
    pub ask: Option<Resume>,
    pub ticket: Option<TicketOut>,
    /// The owner is to be told that the tunnel is up.
    pub announce: bool,
    /// Lanes that the peer has not opened again, to be told as closed.
    pub closed: Vec<Lane>,
    pub reader: Reader,
    /// Payload of the last control frame, and how much of it is done.
    pub control_in: Vec<u8>,
    pub control_done: usize,
    /// Whole control frames to be sent.
    pub control_out: Vec<u8>,
    pub pongs: VecDeque<[u8; 8]>,
    pub pulse: Pulse,
    /// Control messages that may still come at once.
    pub control: Allowance,
    /// Frames on lanes that lead nowhere that may.
    pub strays: Allowance,
    /// The rest of a frame that did not fit into the room.
    pub tail: Vec<u8>,
    pub tail_done: usize,
}

impl Conn {
    pub(super) fn new(config: &Config, now: Time, exporter: Option<[u8; 32]>) -> Self {
        Self {
            stage: Stage::Greeting,
            started: now,
            exporter: exporter.map(Secret),
            ask: None,
            ticket: None,
            announce: false,
            closed: Vec::new(),
            reader: Reader::default(),
            control_in: Vec::new(),
            control_done: 0,
            control_out: Vec::new(),
            pongs: VecDeque::new(),
            pulse: Pulse::new(now),
            control: Allowance { left: config.control_burst, counted: now },
            strays: Allowance { left: config.stray_burst, counted: now },
            tail: Vec::new(),
            tail_done: 0,
        }
    }

    pub(super) fn parked(config: &Config, now: Time) -> Self {
        Self { stage: Stage::Parked, ..Self::new(config, now, None) }
    }

    /// Whether nothing comes in any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over | Stage::Parked)
    }

    pub(super) fn memory(&self) -> usize {
        self.control_in.capacity()
            + self.control_out.capacity()
            + self.tail.capacity()
            + self.reader.memory()
            + self.closed.capacity() * size_of::<Lane>()
    }
}
