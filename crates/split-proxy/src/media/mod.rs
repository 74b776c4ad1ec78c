//! The path of media: a port on the network side, a lane in the tunnel, and nothing between them but a look
//! into a table.

mod crossing;
mod early;
mod pipes;
mod pool;
mod receipt;
mod reports;
mod slot;

use crate::links::Links;
use causeway_node::{Dscp, Flow, Outbox, Time};
use causeway_tunnel::Lane;
use crossing::Crossing;
use early::Early;
use pipes::Pipes;
pub(crate) use pipes::{LISTENERS, slot_of_listener};
pub(crate) use pool::Pool;
pub(crate) use receipt::{Receipt, Totals};
pub(crate) use reports::Reports;
pub(crate) use slot::{Aim, Content, Joined};
use std::net::{IpAddr, SocketAddr};

/// The flow of the first media port; below are those of signalling and tunnels, above only media ports.
pub(crate) const FIRST_FLOW: u32 = 1 << 24;

/// Where media ports are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaConfig {
    /// The address that is bound and written into descriptions: a concrete one.
    pub ip: IpAddr,
    /// The lowest port.
    pub low: u16,
    /// The highest port.
    pub high: u16,
    /// Pairs of ports that are bound before anybody needs them. Default 8 at the agent, 32 at the contact
    /// point.
    pub ahead: usize,
}

impl MediaConfig {
    /// The first even port of the range.
    pub(crate) fn first_even(&self) -> u16 {
        self.low.saturating_add(self.low % 2)
    }
}

pub(crate) fn flow_of(index: usize) -> Flow {
    Flow(FIRST_FLOW + index as u32)
}

/// All media ports of one half.
#[derive(Debug)]
pub(crate) struct Media {
    pub pool: Pool,
    pub pipes: Pipes,
    /// Datagrams on lanes that no port is joined to.
    pub stray: u64,
    /// Slots whose packets have just told where to send to.
    pub latched: Vec<usize>,
    /// Packets on their way from one of our ports to another.
    crossing: Crossing,
    /// Packets that came before the descriptions which say whether they may pass.
    early: Early,
}

impl Media {
    pub(crate) fn new(config: MediaConfig) -> Self {
        Self {
            pool: Pool::new(config),
            pipes: Pipes::default(),
            stray: 0,
            latched: Vec::new(),
            crossing: Crossing::default(),
            early: Early::default(),
        }
    }

    /// A packet has arrived on a media port: into the tunnel with it.
    #[inline]
    pub(crate) fn packet_from_net(
        &mut self,
        now: Time,
        flow: Flow,
        from: SocketAddr,
        bytes: &[u8],
        links: &mut Links,
        out: &mut Outbox,
    ) {
        let Some(index) = Pool::index(flow) else { return };
        let slot = self.pool.slots.get_mut(index).and_then(|slot| slot.joined.as_mut());
        let Some(joined) = slot else { return };
        if !joined.aim.admits(from) {
            joined.foreign += 1;
            if joined.aim.is_open() {
                self.early.keep(now, index, from, bytes);
            }
            return;
        }
        if joined.aim.has_just_latched() {
            self.latched.push(index);
        }
        if joined.from_net.exceeds(now, joined.content.most()) {
            joined.excess[0] += 1;
            return;
        }
        if joined.from_net.take(joined.content, bytes) {
            joined.reports.get_or_insert_default().pass(now, bytes, true);
        }
        joined.last = now;
        // Without a connection there is nobody to hear it in time.
        if let Some(link) = links.get_mut(joined.link)
            && let Some(flow) = link.flow
            && link.tunnel.datagram(now, joined.lane, bytes).is_ok()
        {
            out.wake(flow);
        }
    }

    /// A datagram has come out of a tunnel on a lane that is joined to the slot `index`.
    #[inline]
    pub(crate) fn packet_to_net(&mut self, now: Time, index: Option<usize>, bytes: &[u8], out: &mut Outbox) {
        let Some(index) = index else {
            self.stray += 1;
            return;
        };
        let Some(joined) = self.pool.slots.get_mut(index).and_then(|slot| slot.joined.as_mut()) else {
            self.stray += 1;
            return;
        };
        let Some(target) = joined.aim.target else {
            joined.homeless += 1;
            return;
        };
        if joined.to_net.exceeds(now, joined.content.most()) {
            joined.excess[1] += 1;
            return;
        }
        if joined.to_net.take(joined.content, bytes) {
            joined.reports.get_or_insert_default().pass(now, bytes, false);
        }
        joined.last = now;
        let link = joined.link;
        let there = self.pool.slot_at(target).filter(|_| self.pool.is_open(index));
        match there.filter(|there| self.joined(*there).is_some_and(|other| other.link != link)) {
            Some(there) => self.crossing.push(index, there, bytes),
            None => out.datagram(flow_of(index), target, bytes),
        }
    }

    pub(crate) fn joined_mut(&mut self, index: usize) -> Option<&mut Joined> {
        self.pool.slots.get_mut(index)?.joined.as_mut()
    }

    pub(crate) fn joined(&self, index: usize) -> Option<&Joined> {
        self.pool.slots.get(index)?.joined.as_ref()
    }

    /// Joins a port to a lane.
    pub(crate) fn join(&mut self, index: usize, joined: Joined, links: &mut Links) {
        let (link, lane) = (joined.link, joined.lane);
        self.early.forget(index);
        if let Some(slot) = self.pool.slots.get_mut(index) {
            slot.leave(&mut self.pool.ended);
            slot.joined = Some(joined);
            links.set_lane(link, lane, Some(index));
        }
    }

    /// Joins a port to another lane, its counters kept.
    pub(crate) fn rejoin(&mut self, index: usize, lane: Lane, content: Content, links: &mut Links) {
        if let Some(joined) = self.joined_mut(index) {
            let (link, old) = (joined.link, joined.lane);
            (joined.lane, joined.content) = (lane, content);
            links.set_lane(link, old, None);
            links.set_lane(link, lane, Some(index));
        }
    }

    /// Joins a port to nothing: it stays bound for its pair's sake.
    pub(crate) fn leave(&mut self, index: usize, links: &mut Links) {
        self.early.forget(index);
        let slot = self.pool.slots.get_mut(index);
        if let Some(joined) = slot.and_then(|slot| slot.leave(&mut self.pool.ended)) {
            links.set_lane(joined.link, joined.lane, None);
        }
    }

    /// A description has told of a port's other end.
    pub(crate) fn negotiate(
        &mut self,
        index: usize,
        party: u32,
        address: Option<SocketAddr>,
        near: Option<IpAddr>,
    ) {
        if let Some(joined) = self.joined_mut(index) {
            joined.aim.negotiate(party, address, near);
            self.early.described = true;
        }
    }

    /// Marks what leaves on a port.
    pub(crate) fn mark(&mut self, index: usize, dscp: Dscp, out: &mut Outbox) {
        if let Some(slot) = self.pool.slots.get_mut(index)
            && slot.dscp != dscp
        {
            slot.dscp = dscp;
            out.mark(flow_of(index), dscp);
        }
    }

    /// What has passed since the start, from the network and from tunnels.
    pub(crate) fn totals(&self) -> [Totals; 2] {
        let mut sums = self.pool.ended;
        for joined in self.pool.slots.iter().filter_map(|slot| slot.joined.as_ref()) {
            joined.add_to(&mut sums);
        }
        sums
    }

    pub(crate) fn port(&self, index: usize) -> u16 {
        self.pool.slots.get(index).map_or(0, |slot| slot.port)
    }
}

#[cfg(test)]
mod tests;
