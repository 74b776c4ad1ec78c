//! Nodes side by side: shared listeners, connections that go from one to another.

use crate::driver::Socket;
use crate::{NodeId, World};
use causeway_node::{Flow, Input};
use std::net::SocketAddr;

impl World {
    /// These nodes of one host stand for one another, in the order of their numbers: they may listen on one address,
    /// where each connection comes to any of them, and hand connections over
    /// ([`causeway_node::Outbox::hand_over`]). To be said before they start.
    pub fn siblings(&mut self, nodes: &[NodeId]) {
        self.siblings.push(nodes.to_vec());
    }

    pub(crate) fn siblings_of(&self, id: NodeId) -> &[NodeId] {
        self.siblings.iter().find(|group| group.contains(&id)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn listens_no_more(&mut self, id: NodeId, host: usize, local: SocketAddr) {
        let listeners = &mut self.hosts[host].listeners;
        if let Some(who) = listeners.get_mut(&local) {
            who.retain(|(node, _)| *node != id);
            if who.is_empty() {
                listeners.remove(&local);
            }
        }
    }

    pub(crate) fn hand_over(&mut self, id: NodeId, flow: Flow, to: u16, unread: &[u8]) {
        let Some(at) = self.end_of(id, flow) else { return };
        let to = self.siblings_of(id).get(usize::from(to)).copied();
        let to = to.filter(|to| *to != id && self.slots[to.0].node.is_some());
        self.slots[id.0].flows.remove(&flow);
        let Some(to) = to else { return self.abandon(at, true) };
        let serial = self.serial_id();
        let slot = &mut self.slots[to.0];
        let new = Flow(slot.next_accepted);
        slot.next_accepted = slot.next_accepted.checked_add(1).unwrap_or(Flow::ACCEPTED);
        slot.flows.insert(new, (serial, Socket::Stream(at)));
        let exporter = self.conns.get(&at.conn).and_then(|conn| conn.exporter);
        let Some(end) = self.end(at) else { return };
        (end.node, end.flow, end.asking) = (to, new, false);
        let (listener, local, peer) = (end.listener, end.local, end.peer);
        self.deliver(to, Input::Opened { flow: new, listener, local, peer, exporter, names: &[] });
        if !unread.is_empty() {
            self.deliver(to, Input::Stream { flow: new, bytes: unread });
        }
    }
}
