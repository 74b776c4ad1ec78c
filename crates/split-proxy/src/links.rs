//! The tunnels of one half and what belongs to each of them.

use crate::keys::Book;
use crate::media::Receipt;
use crate::metrics::TunnelTotals;
use crate::rate::Bucket;
use causeway_node::{Flow, Outbox, Time, Timers};
use causeway_sip::Framer;
use causeway_sip::hub::Hub;
use causeway_sip::transaction::{Hop, Sink, Transport};
use causeway_tunnel::{Lane, Tunnel};
use slab::Slab;
use std::collections::HashMap;
use std::net::SocketAddr;

/// SIP messages of one tunnel that may be refused per second in the long run, and at once: an agent that has more phones
/// than it may speak for is told so again and again, but not for a share of the processor that others need.
const REFUSALS: u32 = 500;
const REFUSALS_AT_ONCE: u32 = 10_000;

const NO_SLOT: u32 = u32::MAX;

/// Media slot by lane number: bounded, since the tunnel bounds the numbers.
#[derive(Default)]
pub(crate) struct LaneTable(Vec<u32>);

impl LaneTable {
    /// The media slot that a lane is joined to.
    #[inline]
    pub(crate) fn get(&self, lane: Lane) -> Option<usize> {
        let index = usize::from(lane.0.checked_sub(Lane::FIRST.0)?);
        self.0.get(index).filter(|slot| **slot != NO_SLOT).map(|slot| *slot as usize)
    }

    fn set(&mut self, lane: Lane, slot: Option<usize>) {
        let Some(index) = lane.0.checked_sub(Lane::FIRST.0).map(usize::from) else { return };
        if self.0.len() <= index {
            self.0.resize(index + 1, NO_SLOT);
        }
        self.0[index] = slot.map_or(NO_SLOT, |slot| slot as u32);
    }
}

/// Names of links in hops: no driver knows these flows, and each is used once in a very long while.
const NAMES: std::ops::Range<u32> = 1 << 22..1 << 24;

/// One tunnel: a session, over all its connections.
pub(crate) struct Link {
    /// What stands for it in [`Hop`]s, whatever connection it has.
    pub name: Flow,
    /// Its connection, if it has one.
    pub flow: Option<Flow>,
    /// The other end of that, or of the last.
    pub peer: SocketAddr,
    pub tunnel: Tunnel,
    pub framer: Framer,
    pub lanes: LaneTable,
    /// The keys of its users.
    pub keys: Book,
    /// Legs and port pairs in use on it.
    pub calls: usize,
    pub pairs: usize,
    /// Whom it belongs to, in the contact point's books.
    pub owner: usize,
    /// When it was opened, for people.
    pub since_ms: u64,
    /// Its agent has another tunnel, which it will take the place of once it is known to be alive.
    pub claims: bool,
    /// At a contact point that is going: the agent has no other, and stays.
    pub stays: bool,
    /// Its session is on disk, and goes on after a restart.
    pub durable: bool,
    /// Since when it has no connection on which SIP passes, if it had one before.
    pub lost: Option<Time>,
    /// Until when it waits for another connection.
    pub until: Option<Time>,
    /// Datagrams that it has brought of late.
    pub pace: Receipt,
    /// What of its SIP may still be refused before it is not worth the while.
    pub patience: Bucket,
    /// When its timer fires; never later than the tunnel's deadline.
    armed: Time,
}

impl Link {
    pub(crate) fn new(flow: Option<Flow>, peer: SocketAddr, tunnel: Tunnel, since_ms: u64) -> Self {
        Self {
            name: Flow(0),
            flow,
            peer,
            tunnel,
            framer: Framer::new(),
            lanes: LaneTable::default(),
            keys: Book::default(),
            calls: 0,
            pairs: 0,
            owner: usize::MAX,
            since_ms,
            claims: false,
            stays: false,
            durable: false,
            lost: None,
            until: None,
            pace: Receipt::default(),
            patience: Bucket::full(REFUSALS_AT_ONCE, Time::ZERO),
            armed: Time::NEVER,
        }
    }

    /// A message of its SIP is refused; `false` if that has been so too often.
    pub(crate) fn bears(&mut self, now: Time) -> bool {
        self.patience.take(now, REFUSALS, REFUSALS_AT_ONCE)
    }

    /// The media slot that a lane is joined to.
    #[inline]
    pub(crate) fn slot(&self, lane: Lane) -> Option<usize> {
        self.lanes.get(lane)
    }

    /// Something waits to be sent.
    #[inline]
    pub(crate) fn wake(&self, out: &mut Outbox) {
        if let Some(flow) = self.flow {
            out.wake(flow);
        }
    }

    pub(crate) fn hop(&self) -> Hop {
        Hop { flow: self.name, peer: self.peer, transport: Transport::Tunnel }
    }
}

/// All tunnels of one half.
#[derive(Default)]
pub(crate) struct Links {
    slab: Slab<Link>,
    /// By connection.
    by_flow: HashMap<Flow, usize>,
    by_name: HashMap<Flow, usize>,
    names: u32,
    timers: Timers<usize>,
    /// Tunnels whose peers do not take the SIP that is for them: they must be closed.
    stuck: Vec<usize>,
    /// What tunnels that are no more have counted.
    ended: TunnelTotals,
}

impl Links {
    pub(crate) fn insert(&mut self, mut link: Link) -> usize {
        link.name = self.new_name();
        let (name, flow) = (link.name, link.flow);
        let id = self.slab.insert(link);
        self.by_name.insert(name, id);
        self.by_flow.extend(flow.map(|flow| (flow, id)));
        self.touch(id);
        id
    }

    pub(crate) fn remove(&mut self, id: usize) -> Option<Link> {
        let link = self.slab.try_remove(id)?;
        self.by_name.remove(&link.name);
        link.flow.map(|flow| self.by_flow.remove(&flow));
        self.timers.cancel(id);
        self.ended.add(&link.tunnel);
        Some(link)
    }

    /// What all tunnels have counted since the start.
    pub(crate) fn totals(&self) -> TunnelTotals {
        let mut sum = self.ended;
        self.slab.iter().for_each(|(_, link)| sum.add(&link.tunnel));
        sum
    }

    /// Gives a link a connection, or takes it; the one it had before.
    pub(crate) fn set_flow(&mut self, id: usize, flow: Option<Flow>) -> Option<Flow> {
        let link = self.slab.get_mut(id)?;
        let old = std::mem::replace(&mut link.flow, flow);
        old.map(|old| self.by_flow.remove(&old));
        self.by_flow.extend(flow.map(|flow| (flow, id)));
        old
    }

    /// The link begins anew: what was sent under its old name is no concern of it any more. That name.
    pub(crate) fn rename(&mut self, id: usize) -> Option<Flow> {
        let name = self.new_name();
        let link = self.slab.get_mut(id)?;
        let old = std::mem::replace(&mut link.name, name);
        (link.framer, link.lanes) = Default::default();
        self.by_name.remove(&old);
        self.by_name.insert(name, id);
        Some(old)
    }

    fn new_name(&mut self) -> Flow {
        loop {
            let name = Flow(NAMES.start + self.names % (NAMES.end - NAMES.start));
            self.names = self.names.wrapping_add(1);
            if !self.by_name.contains_key(&name) {
                return name;
            }
        }
    }

    #[inline]
    pub(crate) fn id(&self, flow: Flow) -> Option<usize> {
        self.by_flow.get(&flow).copied()
    }

    #[inline]
    pub(crate) fn get(&self, id: usize) -> Option<&Link> {
        self.slab.get(id)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: usize) -> Option<&mut Link> {
        self.slab.get_mut(id)
    }

    /// The link with this name.
    pub(crate) fn named(&self, name: Flow) -> Option<usize> {
        self.by_name.get(&name).copied()
    }

    /// Two different links at once.
    pub(crate) fn pair_mut(&mut self, a: usize, b: usize) -> Option<(&mut Link, &mut Link)> {
        let both = a != b && self.slab.contains(a) && self.slab.contains(b);
        if both { self.slab.get2_mut(a, b) } else { None }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Link)> {
        self.slab.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn set_lane(&mut self, id: usize, lane: Lane, slot: Option<usize>) {
        if let Some(link) = self.slab.get_mut(id) {
            link.lanes.set(lane, slot);
            self.touch(id);
        }
    }

    /// Sees to it that the timer of a tunnel fires at its deadline or before. Deadlines mostly move away, so
    /// that this costs a comparison, and a tunnel in use wakes us once in a while for nothing.
    pub(crate) fn touch(&mut self, id: usize) {
        let Some(link) = self.slab.get_mut(id) else { return };
        if let Some(due) = link.tunnel.deadline().or(link.until)
            && due < link.armed
        {
            link.armed = due;
            self.timers.set(id, due);
        }
    }

    /// Not after the earliest deadline of all tunnels.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// The next tunnel whose timer has fired; call [`Links::touch`] after its timeout.
    pub(crate) fn due(&mut self, now: Time) -> Option<usize> {
        let id = self.timers.pop(now)?;
        if let Some(link) = self.slab.get_mut(id) {
            link.armed = Time::NEVER;
        }
        Some(id)
    }

    /// The tunnel that a message came from, if it is still there.
    pub(crate) fn of(&self, hop: &Hop) -> Option<usize> {
        self.by_name.get(&hop.flow).copied()
    }

    /// A whole SIP message into a tunnel.
    pub(crate) fn send(&mut self, hop: &Hop, message: &[u8], out: &mut Outbox) {
        if let Some(id) = self.of(hop) {
            self.queue(id, message);
            self.slab[id].wake(out);
        }
    }

    /// The same, by somebody who wakes the flow later.
    pub(crate) fn queue(&mut self, id: usize, message: &[u8]) {
        if self.slab.get_mut(id).is_some_and(|link| link.tunnel.sip(message).is_err()) {
            self.stuck.push(id);
        }
    }

    /// The tunnels that have become stuck since the last time.
    pub(crate) fn take_stuck(&mut self) -> Vec<usize> {
        let mut stuck = std::mem::take(&mut self.stuck);
        stuck.retain(|id| self.slab.contains(*id));
        stuck.sort_unstable();
        stuck.dedup();
        stuck
    }
}

/// Sends whole messages wherever they go: through the hub of the network side, or into a tunnel.
pub(crate) struct Wire<'a> {
    pub hub: &'a mut Hub,
    pub links: &'a mut Links,
    pub out: &'a mut Outbox,
}

impl Sink for Wire<'_> {
    fn send(&mut self, hop: &Hop, message: &[u8]) {
        match hop.transport {
            Transport::Tunnel => self.links.send(hop, message, self.out),
            _ => self.hub.sink(self.out).send(hop, message),
        }
    }
}
