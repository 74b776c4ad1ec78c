//! Connections: bytes in order, a window, ends that close, reset or fall silent.

use crate::driver::Socket;
use crate::event::{EndId, Event};
use crate::link::Fate;
use crate::packet::LOCAL_DELAY;
use crate::{NatId, NodeId, World};
use causeway_node::{Ctx, Flow, Input, MIN_ROOM, Time, Transport};
use rand::Rng;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What a connection holds of what [`causeway_node::Outbox::stream`] gave it, as in crate `runtime`.
const QUEUE_LIMIT: usize = 1024 * 1024;
/// The most that [`causeway_node::Node::fill`] is asked for at once.
const MAX_ROOM: usize = 32 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Connecting,
    Open,
    Dead,
}

pub(crate) struct Conn {
    pub transport: Transport,
    pub ends: Vec<End>,
    pub legs: Vec<(IpAddr, IpAddr)>,
    pub nats: Vec<(NatId, u16)>,
    pub exporter: Option<[u8; 32]>,
    pub since: Time,
}

pub(crate) struct End {
    pub node: NodeId,
    pub flow: Flow,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// When the last thing this end has sent arrives: nothing overtakes it.
    pub arrives: Time,
    pub listener: Option<Flow>,
    state: State,
    queue: VecDeque<u8>,
    in_flight: usize,
    pub asking: bool,
    closing: bool,
    retrying: bool,
    paused: bool,
    failing: Option<Time>,
    unread: VecDeque<Vec<u8>>,
}

impl Conn {
    pub fn new(transport: Transport, opener: End, since: Time) -> Self {
        Self { transport, ends: vec![opener], legs: vec![], nats: vec![], exporter: None, since }
    }
}

impl End {
    pub fn new(
        node: NodeId,
        flow: Flow,
        local: SocketAddr,
        peer: SocketAddr,
        listener: Option<Flow>,
    ) -> Self {
        Self {
            node,
            flow,
            local,
            peer,
            arrives: Time::ZERO,
            listener,
            state: State::Connecting,
            queue: VecDeque::new(),
            in_flight: 0,
            asking: false,
            closing: false,
            retrying: false,
            paused: false,
            failing: None,
            unread: VecDeque::new(),
        }
    }

    pub fn lives(&self) -> bool {
        self.state != State::Dead
    }
}

impl World {
    pub(crate) fn end(&mut self, id: EndId) -> Option<&mut End> {
        self.conns.get_mut(&id.conn)?.ends.get_mut(id.side)
    }

    pub(crate) fn end_of(&self, id: NodeId, flow: Flow) -> Option<EndId> {
        match self.slots[id.0].flows.get(&flow)?.1 {
            Socket::Stream(end) => Some(end),
            _ => None,
        }
    }

    pub(crate) fn queue_bytes(&mut self, id: NodeId, flow: Flow, bytes: &[u8]) {
        let Some(at) = self.end_of(id, flow) else { return };
        let Some(end) = self.end(at) else { return };
        if end.queue.len() + bytes.len() > QUEUE_LIMIT {
            end.queue.clear();
            end.closing = true;
            let why = format!("{}: the peer does not read: {QUEUE_LIMIT} bytes are waiting", end.peer);
            self.reset_other(at);
            return self.at(self.now, Event::Dead { end: at, why });
        }
        if !end.closing {
            end.queue.extend(bytes);
            self.slots[id.0].touched.insert(flow);
        }
    }

    pub(crate) fn ask_wake(&mut self, id: NodeId, flow: Flow) {
        if let Some(end) = self.end_of(id, flow).and_then(|at| self.end(at)) {
            end.asking = true;
            self.slots[id.0].touched.insert(flow);
        }
    }

    pub(crate) fn pump_flow(&mut self, id: NodeId, flow: Flow) {
        if let Some(end) = self.end_of(id, flow) {
            self.pump(end);
        }
    }

    /// Sends what may be sent.
    fn pump(&mut self, at: EndId) {
        loop {
            let window = self.window;
            let Some(end) = self.end(at) else { return };
            if end.state != State::Open || end.retrying {
                return;
            }
            let free = window.saturating_sub(end.in_flight);
            let (fin, len) = (end.closing && end.queue.is_empty(), end.queue.len());
            if len == 0 && !fin {
                if !end.asking || free < MIN_ROOM || !self.ask_fill(at, free.min(MAX_ROOM)) {
                    return;
                }
                continue;
            }
            if free == 0 && !fin {
                return;
            }
            let most = len.min(free).min(if self.rng.random_bool(0.1) { 16 } else { 4096 });
            let size = if fin { 0 } else { self.rng.random_range(1..=most) };
            match self.path_fate(at, size + 60) {
                Fate::Passes(delay, _) => self.transmit(at, size, self.now + delay),
                Fate::Lost => self.try_later(at, Duration::from_millis(200)),
                Fate::Cut => self.try_later(at, Duration::from_millis(500)),
            }
            if fin {
                return;
            }
        }
    }

    /// Asks the node for more to send; says whether there was any.
    fn ask_fill(&mut self, at: EndId, room: usize) -> bool {
        let (now, unix_ms) = (self.now, self.unix_ms());
        let Some(end) = self.conns.get_mut(&at.conn).and_then(|c| c.ends.get_mut(at.side)) else {
            return false;
        };
        let slot = &mut self.slots[end.node.0];
        let Some(node) = &mut slot.node else { return false };
        let mut buf = Vec::new();
        node.fill(&mut Ctx { now, unix_ms, rng: &mut slot.rng }, end.flow, room, &mut buf);
        assert!(buf.len() <= room, "{}: fill gave {} bytes for a room of {room}", slot.name, buf.len());
        end.asking = !buf.is_empty();
        end.queue.extend(&buf);
        let (asking, id) = (end.asking, end.node);
        // What is due may have changed by what was taken.
        self.set_wake(id);
        asking
    }

    fn transmit(&mut self, at: EndId, size: usize, arrival: Time) {
        let Some(end) = self.end(at) else { return };
        end.failing = None;
        let arrival = end.arrives.max(arrival);
        end.arrives = arrival;
        if size == 0 {
            end.state = State::Dead;
            return self.at(arrival, Event::Fin { end: at.other() });
        }
        end.in_flight += size;
        let bytes = end.queue.drain(..size).collect();
        self.at(arrival, Event::Bytes { end: at.other(), bytes });
    }

    fn try_later(&mut self, at: EndId, after: Duration) {
        let (now, patience) = (self.now, self.patience);
        let Some(end) = self.end(at) else { return };
        end.retrying = true;
        let failing = *end.failing.get_or_insert(now);
        if now.since(failing) >= patience {
            let why = format!("{}: timed out", end.peer);
            return self.at(now, Event::Dead { end: at, why });
        }
        self.at(now + after, Event::Retry { end: at });
    }

    pub(crate) fn retry(&mut self, at: EndId) {
        if let Some(end) = self.end(at) {
            end.retrying = false;
            self.pump(at);
        }
    }

    /// What becomes of a segment from this end.
    pub(crate) fn path_fate(&mut self, from: EndId, size: usize) -> Fate {
        let Some(conn) = self.conns.get(&from.conn) else { return Fate::Cut };
        for end in &conn.ends {
            if self.hosts[self.slots[end.node.0].host].off {
                return Fate::Cut;
            }
        }
        for &(nat, port) in &conn.nats {
            if !self.nats[nat.0].touch(self.now, port) {
                return Fate::Cut;
            }
        }
        let mut total = if conn.legs.is_empty() { LOCAL_DELAY } else { Duration::ZERO };
        for &(a, b) in &conn.legs {
            let (a, b) = if from.side == 0 { (a, b) } else { (b, a) };
            match self.links.fate(&mut self.rng, self.now, a, b, size) {
                Fate::Passes(delay, _) => total += delay,
                other => return other,
            }
        }
        Fate::Passes(total, None)
    }

    pub(crate) fn end_opened(&mut self, at: EndId) {
        let Some(conn) = self.conns.get_mut(&at.conn) else { return };
        let exporter = conn.exporter;
        let Some(end) = conn.ends.get_mut(at.side) else { return };
        if end.state != State::Connecting {
            return;
        }
        end.state = State::Open;
        let (id, flow, listener, local, peer) = (end.node, end.flow, end.listener, end.local, end.peer);
        self.deliver(id, Input::Opened { flow, listener, local, peer, exporter, names: &[] });
        self.pump(at);
    }

    pub(crate) fn bytes_arrive(&mut self, at: EndId, bytes: Vec<u8>) {
        let Some(end) = self.end(at) else { return };
        if end.state == State::Dead {
            return self.reset_other(at);
        }
        let (id, flow, closing, paused) = (end.node, end.flow, end.closing, end.paused);
        let waiting = !end.unread.is_empty();
        if self.slots[id.0].stalled || (paused && !closing) || waiting {
            if let Some(end) = self.end(at) {
                end.unread.push_back(bytes);
            }
            return;
        }
        self.read(at, id, flow, &bytes);
    }

    fn read(&mut self, at: EndId, id: NodeId, flow: Flow, bytes: &[u8]) {
        self.acknowledge(at, bytes.len());
        if self.end(at).is_some_and(|end| !end.closing) {
            self.deliver(id, Input::Stream { flow, bytes });
        }
    }

    fn acknowledge(&mut self, reader: EndId, bytes: usize) {
        let delay = match self.path_fate(reader, 60) {
            Fate::Passes(delay, _) => delay,
            Fate::Lost | Fate::Cut => Duration::from_millis(200),
        };
        self.at(self.now + delay, Event::Ack { end: reader.other(), bytes });
    }

    pub(crate) fn ack_arrives(&mut self, at: EndId, bytes: usize) {
        if let Some(end) = self.end(at) {
            end.in_flight = end.in_flight.saturating_sub(bytes);
            self.pump(at);
        }
    }

    pub(crate) fn fin_arrives(&mut self, at: EndId) {
        let Some(end) = self.end(at) else { return };
        let waits = (end.paused && !end.closing) || !end.unread.is_empty();
        let (id, lives) = (end.node, end.lives());
        if lives && (self.slots[id.0].stalled || waits) {
            if let Some(end) = self.end(at) {
                end.unread.push_back(Vec::new());
            }
            return;
        }
        self.end_dead(at, "closed by the peer");
    }

    /// An end learns that its connection is gone.
    pub(crate) fn end_dead(&mut self, at: EndId, why: &str) {
        if let Some(end) = self.end(at)
            && end.lives()
        {
            let silent = end.listener.is_some() && end.state == State::Connecting;
            end.state = State::Dead;
            let (id, flow) = (end.node, end.flow);
            let known = self.end_of(id, flow) == Some(at);
            if known {
                self.slots[id.0].flows.remove(&flow);
            }
            if known && !silent {
                self.deliver(id, Input::Closed { flow, why });
            }
        }
        self.bury(at.conn);
    }

    fn bury(&mut self, conn: u64) {
        if self.conns.get(&conn).is_some_and(|c| c.ends.iter().all(|e| !e.lives()))
            && let Some(conn) = self.conns.remove(&conn)
        {
            for (nat, port) in conn.nats {
                self.nats[nat.0].release(port);
            }
        }
    }

    /// Lets the other end know, if there is a way, that this one has vanished.
    fn reset_other(&mut self, at: EndId) {
        let other = at.other();
        if self.end(other).is_none_or(|end| !end.lives()) {
            return;
        }
        if let Fate::Passes(delay, _) = self.path_fate(at, 60) {
            self.at(self.now + delay, Event::Dead { end: other, why: "reset by the peer".to_owned() });
        }
    }

    /// The node of this end is gone.
    pub(crate) fn abandon(&mut self, at: EndId, tell: bool) {
        if let Some(end) = self.end(at) {
            end.state = State::Dead;
        }
        if tell {
            self.reset_other(at);
        }
        self.bury(at.conn);
    }

    pub(crate) fn reset_flow(&mut self, id: NodeId, flow: Flow) {
        let Some(at) = self.end_of(id, flow) else { return };
        for end in [at, at.other()] {
            self.at(self.now, Event::Dead { end, why: "reset".to_owned() });
        }
    }

    pub(crate) fn close(&mut self, id: NodeId, flow: Flow) {
        let host = self.slots[id.0].host;
        let Some((_, socket)) = self.slots[id.0].flows.remove(&flow) else { return };
        match socket {
            Socket::Udp(local) => {
                if self.hosts[host].udp.get(&local) == Some(&(id, flow)) {
                    self.hosts[host].udp.retain(|at, (owner, _)| *at != local || *owner != id);
                }
            }
            Socket::Listener(local, _) => drop(self.hosts[host].listeners.remove(&local)),
            Socket::Stream(at) => {
                let Some(end) = self.end(at) else { return };
                end.closing = true;
                end.asking = false;
                if end.state == State::Connecting {
                    self.abandon(at, true);
                } else {
                    self.pump(at);
                }
            }
        }
    }

    pub(crate) fn set_stalled(&mut self, id: NodeId, stalled: bool) {
        self.slots[id.0].stalled = stalled;
        if stalled {
            return;
        }
        let ends: Vec<EndId> =
            self.slots[id.0].flows.keys().filter_map(|flow| self.end_of(id, *flow)).collect();
        for at in ends {
            self.read_unread(at);
        }
    }

    /// The node wants no more of a connection, or again.
    pub(crate) fn pause(&mut self, id: NodeId, flow: Flow, paused: bool) {
        let Some(at) = self.end_of(id, flow) else { return };
        if let Some(end) = self.end(at) {
            end.paused = paused;
        }
        if !paused {
            // Not at once: the node is in the middle of its outputs.
            self.after(Duration::ZERO, move |world| world.read_unread(at));
        }
    }

    fn read_unread(&mut self, at: EndId) {
        while let Some(end) = self.end(at).filter(|end| !end.paused) {
            let (id, flow) = (end.node, end.flow);
            if self.slots[id.0].stalled {
                return;
            }
            let Some(bytes) = self.end(at).and_then(|end| end.unread.pop_front()) else { return };
            if bytes.is_empty() {
                self.end_dead(at, "closed by the peer");
            } else {
                self.read(at, id, flow, &bytes);
            }
        }
    }
}
