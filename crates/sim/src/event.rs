//! What is going to happen, in the order of time.

use crate::world::Realm;
use crate::{NodeId, World};
use causeway_node::{Answer, Flow, Time};
use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

/// A packet on its way, at one hop of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// The host it started from.
    pub origin: usize,
    /// Where it is now: the realm whose addresses count.
    pub realm: Realm,
    /// The address that sent this hop.
    pub hop: IpAddr,
    /// Its source as seen here.
    pub from: SocketAddr,
    /// Its destination as seen here.
    pub to: SocketAddr,
}

/// One end of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EndId {
    pub conn: u64,
    /// 0 opened it, 1 accepted it.
    pub side: usize,
}

impl EndId {
    pub fn other(self) -> Self {
        Self { side: 1 - self.side, ..self }
    }
}

/// Events that a node's restart makes void.
pub(crate) enum Own {
    Start,
    Drain,
    Wake,
    Bound { flow: Flow, socket: u64, local: SocketAddr },
    Refused { flow: Flow, socket: u64, why: String },
    Committed,
    Answer { question: u64, answer: Answer },
    Handed { from: u16, bytes: Vec<u8> },
}

pub(crate) enum Event {
    Own { node: NodeId, epoch: u64, what: Own },
    Datagram { way: Way, bytes: Vec<u8> },
    Syn { conn: u64, way: Way },
    Opened { end: EndId },
    Dead { end: EndId, why: String },
    Bytes { end: EndId, bytes: Vec<u8> },
    Fin { end: EndId },
    Ack { end: EndId, bytes: usize },
    Retry { end: EndId },
    Call(Box<dyn FnOnce(&mut World)>),
}

pub(crate) struct Entry {
    pub at: Time,
    pub serial: u64,
    pub event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    /// Reversed: the heap's top is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}
