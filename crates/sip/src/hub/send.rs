//! Messages on their way out, and copies of them.

use super::Hub;
use super::capture::{Capture, Seen};
use super::connections::Sent;
use crate::transaction::{Hop, Sink, Transport};
use causeway_node::{Flow, Outbox};
use std::net::SocketAddr;

impl Hub {
    pub(super) fn send_on(&mut self, out: &mut Outbox, hop: &Hop, message: &[u8]) {
        let sent = match hop.transport {
            Transport::Udp => {
                out.datagram(hop.flow, hop.peer, message);
                Sent::From(self.local)
            }
            _ => self.table.send(self.now, hop.flow, message, out),
        };
        self.sent(sent, hop, message, out);
    }

    fn sent(&mut self, sent: Sent, hop: &Hop, message: &[u8], out: &mut Outbox) {
        let ledger = self.ledger.entry(hop.transport);
        *if sent == Sent::Dropped { &mut ledger.dropped } else { &mut ledger.sent } += 1;
        if let Sent::From(local) = sent {
            self.copy(local, hop.peer, hop.transport, message, out);
        }
    }

    /// Copies a message to the capture server.
    pub(super) fn copy(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        transport: Transport,
        bytes: &[u8],
        out: &mut Outbox,
    ) {
        let Some(capture) = &mut self.capture else { return };
        let (unix_ms, at) = self.clock;
        let later = u64::try_from(self.now.since(at).as_micros()).unwrap_or(0);
        let unix_us = unix_ms.saturating_mul(1000).saturating_add(later);
        capture.copy(&Seen { source, destination, transport, unix_us, bytes }, out);
    }

    /// A sink that sends through this hub.
    pub fn sink<'a>(&'a mut self, out: &'a mut Outbox) -> HubSink<'a> {
        HubSink { hub: self, out }
    }

    /// The next bytes of copies for a capture server; see [`causeway_node::Node::fill`]. Other flows get none.
    pub fn fill(&mut self, flow: Flow, room: usize, buf: &mut Vec<u8>) {
        if let Some(capture) = self.capture_on(flow) {
            capture.fill(room, buf);
        }
    }

    pub(super) fn capture_on(&mut self, flow: Flow) -> Option<&mut Capture> {
        self.capture.as_deref_mut().filter(|_| flow.0 == self.first + 3)
    }
}

/// Sends messages through a hub.
pub struct HubSink<'a> {
    hub: &'a mut Hub,
    out: &'a mut Outbox,
}

impl Sink for HubSink<'_> {
    fn send(&mut self, hop: &Hop, message: &[u8]) {
        self.hub.send_on(self.out, hop, message);
    }

    fn send_loose(&mut self, hop: &Hop, message: &[u8]) {
        if hop.transport != Transport::Udp {
            return self.send(hop, message);
        }
        self.out.loose_datagram(hop.flow, hop.peer, message);
        self.hub.sent(Sent::From(self.hub.local), hop, message, self.out);
    }
}
