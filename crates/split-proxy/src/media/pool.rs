//! Ports, bound ahead of their use: a description can then be rewritten at once.

use super::receipt::Totals;
use super::slot::{Bound, Slot};
use super::{MediaConfig, flow_of};
use causeway_node::{Class, Dscp, Flow, Level, Outbox};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Pairs in a row that may be somebody else's, before it is put down to a wrong address or range.
const PATIENCE: usize = 512;

/// Pairs of ports: an even one for RTP, the next for RTCP (RFC 3550 §11). Pair `n` has the slots 2n, 2n+1.
#[derive(Debug)]
pub(crate) struct Pool {
    config: MediaConfig,
    pub slots: Vec<Slot>,
    /// Bound and unused.
    ready: VecDeque<usize>,
    /// Being bound, not wanted yet.
    opening: VecDeque<usize>,
    /// Pair numbers without ports.
    spare: Vec<usize>,
    /// Which pairs of the range are ours, by half their distance from its start.
    taken: Vec<bool>,
    /// The number of the pair at each place that is taken.
    pair_at: Vec<u32>,
    cursor: usize,
    used: usize,
    /// What has passed the ports that are joined to nothing any more: from the network, from tunnels.
    pub ended: [Totals; 2],
    /// Binds that failed since the last one that did not.
    failures: usize,
}

impl Pool {
    pub(crate) fn new(config: MediaConfig) -> Self {
        let first = config.first_even();
        let pairs = usize::from(config.high.saturating_sub(first).saturating_add(1)) / 2;
        Self {
            config,
            slots: Vec::new(),
            ready: VecDeque::new(),
            opening: VecDeque::new(),
            spare: Vec::new(),
            taken: vec![false; if config.high > first { pairs } else { 0 }],
            pair_at: vec![0; if config.high > first { pairs } else { 0 }],
            cursor: 0,
            used: 0,
            ended: Default::default(),
            failures: 0,
        }
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.config.ip
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Pairs that the range has.
    pub(crate) fn capacity(&self) -> usize {
        self.taken.len()
    }

    /// Binds ports until enough are ready.
    pub(crate) fn refill(&mut self, out: &mut Outbox) {
        while self.ready.len() + self.opening.len() < self.config.ahead && self.failures <= PATIENCE {
            let Some(pair) = self.open_pair(out) else { break };
            self.opening.push_back(pair);
        }
    }

    /// Takes a pair into use. With none ready one that is being bound is taken, in the belief that it will
    /// succeed.
    pub(crate) fn take(&mut self, out: &mut Outbox) -> Option<usize> {
        self.failures = 0;
        let pair = match self.ready.pop_front().or_else(|| self.opening.pop_front()) {
            Some(pair) => pair,
            None => self.open_pair(out)?,
        };
        self.used += 1;
        self.refill(out);
        Some(pair)
    }

    /// Gives a pair back: its ports are closed, and the same numbers come again last.
    pub(crate) fn release(&mut self, pair: usize, out: &mut Outbox) {
        self.used -= 1;
        self.close_pair(pair, out);
        self.refill(out);
    }

    /// Takes the pair with this even port into use, as it was before a restart. `None` if it lies outside the range,
    /// or is taken.
    pub(crate) fn claim(&mut self, port: u16, out: &mut Outbox) -> Option<usize> {
        let offset = port.checked_sub(self.config.first_even()).filter(|offset| offset % 2 == 0)?;
        let place = usize::from(offset) / 2;
        if self.taken.get(place).copied().unwrap_or(true) {
            return None;
        }
        self.used += 1;
        Some(self.open_place(place, out))
    }

    fn open_pair(&mut self, out: &mut Outbox) -> Option<usize> {
        let count = self.taken.len();
        let place = (0..count).map(|i| (self.cursor + i) % count).find(|place| !self.taken[*place])?;
        self.cursor = (place + 1) % count;
        Some(self.open_place(place, out))
    }

    fn open_place(&mut self, place: usize, out: &mut Outbox) -> usize {
        self.taken[place] = true;
        let port = self.config.first_even() + 2 * place as u16;
        let pair = self.spare.pop().unwrap_or(self.slots.len() / 2);
        self.pair_at[place] = pair as u32;
        for half in 0..2u16 {
            let slot = Slot { port: port + half, dscp: Dscp::DEFAULT, bound: Bound::Opening, joined: None };
            let index = 2 * pair + usize::from(half);
            match self.slots.get_mut(index) {
                Some(old) => *old = slot,
                None => self.slots.push(slot),
            }
            out.bind(flow_of(index), SocketAddr::new(self.config.ip, port + half), Class::Media);
        }
        pair
    }

    /// What is open is closed; what is still being opened is closed once it is known what became of it: only
    /// then can its flow be used again.
    fn close_pair(&mut self, pair: usize, out: &mut Outbox) {
        for index in [2 * pair, 2 * pair + 1] {
            let slot = &mut self.slots[index];
            slot.leave(&mut self.ended);
            slot.bound = match slot.bound {
                Bound::Opening | Bound::Doomed => Bound::Doomed,
                Bound::Open => {
                    out.close(flow_of(index));
                    Bound::No
                }
                Bound::Failed | Bound::No => Bound::No,
            };
        }
        self.settle(pair);
    }

    /// A pair that is closed for good may be opened again.
    fn settle(&mut self, pair: usize) {
        if self.slots[2 * pair].bound == Bound::No && self.slots[2 * pair + 1].bound == Bound::No {
            let place = usize::from(self.slots[2 * pair].port - self.config.first_even()) / 2;
            self.taken[place] = false;
            self.spare.push(pair);
        }
    }

    /// A port is bound.
    pub(crate) fn opened(&mut self, index: usize, out: &mut Outbox) {
        let Some(slot) = self.slots.get_mut(index) else { return };
        let pair = index / 2;
        match slot.bound {
            Bound::Opening => slot.bound = Bound::Open,
            Bound::Doomed => {
                out.close(flow_of(index));
                slot.bound = Bound::No;
                return self.settle(pair);
            }
            Bound::Open | Bound::Failed | Bound::No => return,
        }
        let idle = [2 * pair, 2 * pair + 1]
            .into_iter()
            .all(|index| self.slots[index].bound == Bound::Open && self.slots[index].joined.is_none());
        if idle && let Some(at) = self.opening.iter().position(|opening| *opening == pair) {
            self.opening.remove(at);
            self.failures = 0;
            self.ready.push_back(pair);
        }
    }

    /// A port could not be bound, or was lost.
    pub(crate) fn closed(&mut self, index: usize, why: &str, out: &mut Outbox) {
        let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.bound != Bound::No) else { return };
        let address = SocketAddr::new(self.config.ip, slot.port);
        let pair = index / 2;
        if slot.bound == Bound::Doomed {
            slot.bound = Bound::No;
            return self.settle(pair);
        }
        slot.bound = Bound::Failed;
        let in_use = [2 * pair, 2 * pair + 1].into_iter().any(|index| self.slots[index].joined.is_some());
        if in_use {
            return out.notice(Level::Warn, format!("media port {address} of a call was lost: {why}"));
        }
        self.ready.retain(|ready| *ready != pair);
        self.opening.retain(|opening| *opening != pair);
        self.failures += 1;
        if self.failures == PATIENCE + 1 {
            let text =
                format!("media ports cannot be bound ({address}: {why}); check the media address and range");
            out.notice(Level::Error, text);
        }
        self.close_pair(pair, out);
        self.refill(out);
    }

    /// The slot of an even port in use.
    pub(crate) fn slot_of_port(&self, port: u16) -> Option<usize> {
        let offset = usize::from(port.checked_sub(self.config.first_even())?);
        let place = offset / 2;
        (offset % 2 == 0 && *self.taken.get(place)?).then(|| 2 * self.pair_at[place] as usize)
    }

    /// The slot that an address leads to: one of our own ports, and open.
    #[inline]
    pub(crate) fn slot_at(&self, address: SocketAddr) -> Option<usize> {
        if address.ip() != self.config.ip {
            return None;
        }
        let offset = usize::from(address.port().checked_sub(self.config.first_even())?);
        let place = offset / 2;
        let slot = 2 * *self.pair_at.get(place)? as usize + offset % 2;
        (self.taken[place] && self.slots.get(slot)?.bound == Bound::Open).then_some(slot)
    }

    /// Whether a slot's port is open.
    #[inline]
    pub(crate) fn is_open(&self, slot: usize) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.bound == Bound::Open)
    }

    /// The address of a slot's port.
    #[inline]
    pub(crate) fn address(&self, slot: usize) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.config.ip, self.slots.get(slot)?.port))
    }

    /// The slot of a flow.
    #[inline]
    pub(crate) fn index(flow: Flow) -> Option<usize> {
        flow.0.checked_sub(super::FIRST_FLOW).map(|index| index as usize)
    }
}
