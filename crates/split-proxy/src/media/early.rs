//! Packets that have overtaken the description which says whether they may pass: who answers a call may send at once
//! (RFC 3264 §5.1), and over UDP, or on a shorter way, what he sends comes before his answer. Without them the first
//! syllable is missing.

use super::{Media, flow_of};
use crate::links::Links;
use causeway_node::{Outbox, Time};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// Packets kept for one port, the latest: a third of a second of speech.
const PER_SLOT: usize = 16;
/// Packets kept for all ports together. Beyond, the oldest go: calls are answered all the time, so that those have waited
/// long enough.
const MOST: usize = 1024;
/// How long they are kept.
const KEPT: Duration = Duration::from_secs(1);
/// The longest packet kept: what passes an Ethernet in one piece.
const LONGEST: usize = 1500;

/// Packets for ports of which no other end is known yet, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Early {
    packets: VecDeque<Packet>,
    /// A description has come since.
    pub described: bool,
}

#[derive(Debug)]
struct Packet {
    at: Time,
    slot: usize,
    from: SocketAddr,
    bytes: Box<[u8]>,
}

impl Early {
    /// Keeps a packet. Until it is handed over it counts among those that nobody has negotiated.
    #[cold]
    pub fn keep(&mut self, at: Time, slot: usize, from: SocketAddr, bytes: &[u8]) {
        if bytes.len() > LONGEST {
            return;
        }
        self.forget_old(at);
        let of_slot = || self.packets.iter().enumerate().filter(|(_, packet)| packet.slot == slot);
        let oldest =
            if of_slot().count() < PER_SLOT { None } else { of_slot().next().map(|(place, _)| place) };
        if let Some(place) = oldest.or((self.packets.len() >= MOST).then_some(0)) {
            self.packets.remove(place);
        }
        self.packets.push_back(Packet { at, slot, from, bytes: bytes.into() });
    }

    /// Drops what waits for a port that belongs to another call from now on, or to none.
    pub fn forget(&mut self, slot: usize) {
        if !self.packets.is_empty() {
            self.packets.retain(|packet| packet.slot != slot);
        }
    }

    fn forget_old(&mut self, now: Time) {
        while self.packets.pop_front_if(|packet| now.since(packet.at) > KEPT).is_some() {}
    }
}

impl Media {
    /// Hands over what has waited for a description that has come now; cheap where there is none.
    #[inline]
    pub(crate) fn admit_early(&mut self, now: Time, links: &mut Links, out: &mut Outbox) {
        if std::mem::take(&mut self.early.described) && !self.early.packets.is_empty() {
            self.admit_all(now, links, out);
        }
    }

    fn admit_all(&mut self, now: Time, links: &mut Links, out: &mut Outbox) {
        self.early.forget_old(now);
        for packet in std::mem::take(&mut self.early.packets) {
            let Some(joined) = self.joined_mut(packet.slot) else { continue };
            if joined.aim.is_open() {
                self.early.packets.push_back(packet);
                continue;
            }
            joined.foreign = joined.foreign.saturating_sub(1);
            self.packet_from_net(now, flow_of(packet.slot), packet.from, &packet.bytes, links, out);
        }
    }
}
