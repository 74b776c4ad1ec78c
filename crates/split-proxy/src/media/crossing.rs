//! Packets between two of our own ports: both ends of a call have their tunnels here, each leg with its port, and the
//! operator's proxy has left the media alone. They take the way of all others, source check, latching and statistics
//! included, but for the two sockets and the kernel in between.
//!
//! A call from a tunnel into itself keeps to the sockets: phones of one LAN could have spoken to one another, so such a
//! call is there to try the whole way (`causeway doctor --call`).

use super::{Media, flow_of};
use crate::links::Links;
use causeway_node::{Outbox, Time};

/// What has come out of a tunnel for other ports of ours; never more than one read of a connection gives, since it is
/// emptied after each.
#[derive(Debug, Default)]
pub(super) struct Crossing {
    /// From which slot, to which, how long.
    packets: Vec<(usize, usize, usize)>,
    bytes: Vec<u8>,
}

impl Crossing {
    #[inline]
    pub(super) fn push(&mut self, from: usize, to: usize, bytes: &[u8]) {
        self.packets.push((from, to, bytes.len()));
        self.bytes.extend_from_slice(bytes);
    }
}

impl Media {
    /// Hands over what has come for our own ports.
    #[inline]
    pub(crate) fn cross(&mut self, now: Time, links: &mut Links, out: &mut Outbox) {
        if !self.crossing.packets.is_empty() {
            self.cross_all(now, links, out);
        }
    }

    fn cross_all(&mut self, now: Time, links: &mut Links, out: &mut Outbox) {
        let mut crossing = std::mem::take(&mut self.crossing);
        let mut rest = crossing.bytes.as_slice();
        for (from, to, len) in crossing.packets.drain(..) {
            let Some((packet, next)) = rest.split_at_checked(len) else { break };
            rest = next;
            if let Some(from) = self.pool.address(from) {
                self.packet_from_net(now, flow_of(to), from, packet, links, out);
            }
        }
        crossing.bytes.clear();
        self.crossing = crossing;
    }
}
