//! Groups of nodes ([`causeway_node`], "Groups"): shared ports, and what one member gives to another.

use crate::driver::Socket;
use crate::event::Own;
use crate::{NodeId, World};
use causeway_node::{Flow, Input};
use std::net::SocketAddr;
use std::time::Duration;

/// How long it takes from one member to another.
const ACROSS: Duration = Duration::from_micros(50);

/// A node's place in its group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The group: the id of its first member.
    group: NodeId,
    /// Its number there.
    pub number: u16,
}

impl World {
    /// Makes a group of nodes of one host, before they run: they may bind and listen on the same addresses, each by
    /// the same flow ids. Who receives what is settled by the sender's address, as a system does.
    ///
    /// # Panics
    /// If there are none, or they are on several hosts.
    pub fn group(&mut self, members: &[NodeId]) {
        let first = members[0];
        for (number, id) in (0..).zip(members) {
            assert_eq!(self.slots[id.0].host, self.slots[first.0].host, "a group is of one host");
            self.slots[id.0].place = Some(Place { group: first, number });
        }
    }

    /// The member with this number of the group that a node belongs to.
    fn member(&self, id: NodeId, number: u16) -> Option<NodeId> {
        let group = self.slots[id.0].place?.group;
        let is = |place: Place| place.group == group && place.number == number;
        self.slots.iter().position(|slot| slot.place.is_some_and(is)).map(NodeId)
    }

    /// Whether two nodes may have the same address.
    pub(crate) fn share(&self, a: NodeId, b: NodeId) -> bool {
        let group = |id: NodeId| self.slots[id.0].place.map(|place| place.group);
        a != b && group(a).is_some() && group(a) == group(b)
    }

    /// Who of those that share a port gets what comes from an address: `found` has it.
    pub(crate) fn choose(&self, found: (NodeId, Flow), from: SocketAddr) -> (NodeId, Flow) {
        let Some(own) = self.slots[found.0.0].place else { return found };
        let of_group = |slot: &crate::driver::Slot| slot.place.is_some_and(|place| place.group == own.group);
        let bound = |socket| match socket {
            Some(Socket::Udp(local) | Socket::Listener(local, _)) => Some(local),
            _ => None,
        };
        let shared = bound(self.slots[found.0.0].flows.get(&found.1).map(|flow| flow.1));
        let wants = |id: &NodeId| {
            let slot = &self.slots[id.0];
            let socket = slot.flows.get(&found.1).map(|flow| flow.1);
            of_group(slot) && bound(socket).is_some() && bound(socket) == shared
        };
        let members: Vec<NodeId> = (0..self.slots.len()).map(NodeId).filter(wants).collect();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        from.to_string().bytes().for_each(|b| hash = (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let chosen = members.get((hash >> 32) as usize % members.len().max(1));
        (chosen.copied().unwrap_or(found.0), found.1)
    }

    /// A connection goes to another member ([`causeway_node::Outbox::hand_over`]).
    pub(crate) fn hand_over(&mut self, id: NodeId, flow: Flow, to: u16, unread: &[u8]) {
        let Some(at) = self.end_of(id, flow) else { return };
        let to = self.member(id, to).filter(|to| *to != id && self.slots[to.0].node.is_some());
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

    pub(crate) fn give(&mut self, id: NodeId, to: u16, bytes: &[u8]) {
        let Some(place) = self.slots[id.0].place else { return };
        if let Some(member) = self.member(id, to) {
            let handed = Own::Handed { from: place.number, bytes: bytes.to_vec() };
            self.own(member, self.now + ACROSS, handed);
        }
    }
}
