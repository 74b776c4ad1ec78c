//! TCP media: a port that takes a connection, or a connection to where the party takes one, and a stream lane.
//!
//! Roles (`a=setup`, RFC 4145) pass unchanged: whoever shall connect finds a port of ours, and when he does, the other
//! half connects to whom he meant. One connection per line and lane; when it is over, the next description makes a new
//! one.

use super::Media;
use crate::links::Links;
use crate::msrp::{Editor, Swap, Swaps};
use causeway_node::{Class, Connect, Dscp, Flow, Outbox, Time, Transport};
use causeway_tunnel::Lane;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

/// Flows of the listeners: beyond those of the datagram ports, in the same order.
pub(crate) const LISTENERS: u32 = 1 << 25;
/// Flows of connections that we open, in turn, up to [`Flow::ACCEPTED`].
const CONNECTIONS: u32 = 1 << 26;
const CONNECTION_IDS: u32 = 1 << 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nobody has connected yet.
    Waiting,
    Connecting(Flow),
    Open(Flow),
    /// The connection is over; what is left goes into the tunnel.
    Over,
}

/// What belongs to one line.
#[derive(Debug)]
pub(crate) struct Pipe {
    link: usize,
    lane: Lane,
    listener: Flow,
    state: State,
    /// Whether reading from the connection is paused.
    paused: bool,
    /// Whether the party takes connections.
    may_connect: bool,
    /// Bytes from the tunnel that the connection has not taken: no more than the lane's credit.
    inbound: VecDeque<u8>,
    /// Bytes of the lane for which the far end has no new credit yet.
    owed: usize,
    inbound_ended: bool,
    /// The lane is gone; what is in `inbound` is still wanted.
    lane_gone: bool,
    msrp: Option<Box<Paths>>,
    pub bytes: (u64, u64),
}

/// How MSRP messages on this connection name the ends.
#[derive(Debug, Default)]
struct Paths {
    /// What we are called on the network side; what stands for both inside the tunnel; the party.
    own: Vec<u8>,
    inside: Vec<u8>,
    party: Vec<u8>,
    into_tunnel: Editor,
    to_network: Editor,
}

impl Paths {
    fn edit_in(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let to = Swap { old: &self.own, new: &self.inside };
        let from = Swap { old: &self.party, new: &self.inside };
        self.into_tunnel.push(bytes, Swaps { to, from }, out);
    }

    fn edit_out(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let to = Swap { old: &self.inside, new: &self.party };
        let from = Swap { old: &self.inside, new: &self.own };
        self.to_network.push(bytes, Swaps { to, from }, out);
    }
}

/// All of them, by the slot of their port.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    all: HashMap<usize, Pipe>,
    by_flow: HashMap<Flow, usize>,
    next: u32,
    /// Something must be done that takes an outbox: see [`Media::serve_pipes`].
    pub nudged: bool,
    edited: Vec<u8>,
}

impl Pipes {
    /// Whether a flow is a connection of a line.
    pub(crate) fn has(&self, flow: Flow) -> bool {
        self.by_flow.contains_key(&flow)
    }

    pub(crate) fn get(&self, slot: usize) -> Option<&Pipe> {
        self.all.get(&slot)
    }

    /// Gives the connection what waits for it.
    pub(crate) fn fill(&mut self, flow: Flow, room: usize, buf: &mut Vec<u8>) {
        let Some(pipe) = self.by_flow.get(&flow).and_then(|slot| self.all.get_mut(slot)) else { return };
        let len = pipe.inbound.len().min(room);
        buf.extend(pipe.inbound.drain(..len));
        self.nudged |= len > 0;
    }

    /// Flows are used in turn, so that a late word about an old connection is told from one about a new one.
    fn next_flow(&mut self) -> Flow {
        loop {
            let flow = Flow(CONNECTIONS + self.next % CONNECTION_IDS);
            self.next = self.next.wrapping_add(1);
            if !self.by_flow.contains_key(&flow) {
                return flow;
            }
        }
    }
}

impl Pipe {
    /// The lane that its bytes take.
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    /// Whether a connection can still be made or stands.
    pub(crate) fn is_live(&self) -> bool {
        self.state != State::Over
    }

    /// How it is, for people.
    pub(crate) fn state(&self) -> &'static str {
        match self.state {
            State::Waiting => "waiting",
            State::Connecting(_) => "connecting",
            State::Open(_) => "open",
            State::Over => "over",
        }
    }
}

/// The slot whose listener a flow is.
pub(crate) fn slot_of_listener(flow: Flow) -> Option<usize> {
    (LISTENERS..CONNECTIONS).contains(&flow.0).then(|| (flow.0 - LISTENERS) as usize)
}

impl Media {
    /// A line is to be a stream: its port takes connections from now on.
    pub(crate) fn open_pipe(
        &mut self,
        slot: usize,
        (link, lane): (usize, Lane),
        dscp: Dscp,
        out: &mut Outbox,
    ) {
        self.close_pipe(slot, out);
        let listener = Flow(LISTENERS + slot as u32);
        let local = SocketAddr::new(self.pool.ip(), self.port(slot));
        out.listen(listener, local, Transport::Tcp, Class::Signalling);
        out.mark(listener, dscp);
        let pipe = Pipe {
            link,
            lane,
            listener,
            state: State::Waiting,
            paused: false,
            may_connect: false,
            inbound: VecDeque::new(),
            owed: 0,
            inbound_ended: false,
            lane_gone: false,
            msrp: None,
            bytes: (0, 0),
        };
        self.pipes.all.insert(slot, pipe);
    }

    /// The line has ended, or is no stream any more; its lane is closed by whoever says so.
    pub(crate) fn close_pipe(&mut self, slot: usize, out: &mut Outbox) {
        let Some(pipe) = self.pipes.all.remove(&slot) else { return };
        out.close(pipe.listener);
        if let State::Connecting(flow) | State::Open(flow) = pipe.state {
            self.pipes.by_flow.remove(&flow);
            out.close(flow);
        }
    }

    /// Whether the party takes connections.
    pub(crate) fn connect_pipe(&mut self, slot: usize, takes_connections: bool) {
        if let Some(pipe) = self.pipes.all.get_mut(&slot) {
            pipe.may_connect = takes_connections;
        }
    }

    /// What MSRP on this line calls us on the network side, both ends inside the tunnel, and the party.
    pub(crate) fn name_pipe(&mut self, slot: usize, inside: String, party: Option<Vec<u8>>) {
        let own = SocketAddr::new(self.pool.ip(), self.port(slot)).to_string();
        if let Some(pipe) = self.pipes.all.get_mut(&slot) {
            let paths = pipe.msrp.get_or_insert_default();
            (paths.own, paths.inside) = (own.into_bytes(), inside.into_bytes());
            if let Some(party) = party {
                paths.party = party;
            }
        }
    }

    /// Somebody has connected to a port.
    pub(crate) fn pipe_accepted(
        &mut self,
        slot: usize,
        flow: Flow,
        peer: SocketAddr,
        links: &mut Links,
        out: &mut Outbox,
    ) {
        let known = self.joined(slot).is_some_and(|joined| joined.aim.expects(peer.ip()));
        let pipe = self.pipes.all.get_mut(&slot).filter(|pipe| !pipe.lane_gone);
        let Some(pipe) = pipe.filter(|pipe| matches!(pipe.state, State::Waiting | State::Connecting(_)))
        else {
            return out.close(flow);
        };
        if !known {
            if let Some(joined) = self.joined_mut(slot) {
                joined.foreign += 1;
            }
            return out.close(flow);
        }
        if let State::Connecting(ours) = pipe.state {
            self.pipes.by_flow.remove(&ours);
            out.close(ours);
        }
        pipe.state = State::Open(flow);
        self.pipes.by_flow.insert(flow, slot);
        if let Some(link) = links.get_mut(pipe.link) {
            link.tunnel.begin_stream(pipe.lane);
            link.wake(out);
        }
        out.wake(flow);
    }

    /// Somebody has connected at the other half: so must we, unless somebody has here.
    pub(crate) fn pipe_begun(&mut self, slot: usize, dscp: Dscp, links: &mut Links, out: &mut Outbox) {
        let target = self.joined(slot).and_then(|joined| joined.aim.target);
        let Some(pipe) = self.pipes.all.get_mut(&slot).filter(|pipe| pipe.state == State::Waiting) else {
            return;
        };
        let Some(to) = target.filter(|_| pipe.may_connect) else {
            return self.break_pipe(slot, links, out);
        };
        let flow = self.pipes.next_flow();
        if let Some(pipe) = self.pipes.all.get_mut(&slot) {
            pipe.state = State::Connecting(flow);
        }
        self.pipes.by_flow.insert(flow, slot);
        let server_name = String::new();
        out.connect(
            flow,
            Connect { to, transport: Transport::Tcp, server_name, class: Class::Signalling, through: None },
        );
        out.mark(flow, dscp);
    }

    /// A connection that we have opened stands.
    pub(crate) fn pipe_opened(&mut self, flow: Flow, out: &mut Outbox) {
        let pipe = self.pipes.by_flow.get(&flow).and_then(|slot| self.pipes.all.get_mut(slot));
        if let Some(pipe) = pipe.filter(|pipe| pipe.state == State::Connecting(flow)) {
            pipe.state = State::Open(flow);
            out.wake(flow);
        }
        self.pipes.nudged = true;
    }

    /// Bytes from the network.
    pub(crate) fn pipe_bytes(
        &mut self,
        now: Time,
        flow: Flow,
        bytes: &[u8],
        links: &mut Links,
        out: &mut Outbox,
    ) {
        let Some(&slot) = self.pipes.by_flow.get(&flow) else { return };
        let mut edited = std::mem::take(&mut self.pipes.edited);
        edited.clear();
        if let Some(joined) = self.joined_mut(slot) {
            joined.last = now;
        }
        let mut broken = false;
        if let Some(pipe) = self.pipes.all.get_mut(&slot) {
            pipe.bytes.0 += bytes.len() as u64;
            let bytes = match &mut pipe.msrp {
                Some(paths) => {
                    paths.edit_in(bytes, &mut edited);
                    &edited
                }
                None => bytes,
            };
            if let Some(link) = links.get_mut(pipe.link) {
                broken = link.tunnel.stream(pipe.lane, bytes).is_err();
                link.wake(out);
                if !pipe.paused && link.tunnel.stream_is_full(pipe.lane) {
                    pipe.paused = true;
                    out.pause(flow, true);
                }
            }
        }
        self.pipes.edited = edited;
        if broken {
            self.break_pipe(slot, links, out);
        }
    }

    /// A connection is gone, or could not be opened.
    pub(crate) fn pipe_closed(&mut self, flow: Flow, links: &mut Links, out: &mut Outbox) {
        let Some(slot) = self.pipes.by_flow.remove(&flow) else { return };
        let Some(pipe) = self.pipes.all.get_mut(&slot) else { return };
        if pipe.state == State::Connecting(flow) {
            return self.break_pipe(slot, links, out);
        }
        pipe.end_ours(links, out);
        self.pipes.nudged = true;
    }

    /// Bytes from the tunnel.
    pub(crate) fn pipe_to_net(&mut self, now: Time, slot: usize, bytes: &[u8], out: &mut Outbox) {
        if let Some(joined) = self.joined_mut(slot) {
            joined.last = now;
        }
        let Some(pipe) = self.pipes.all.get_mut(&slot) else { return };
        pipe.owed += bytes.len();
        if pipe.state == State::Over {
            self.pipes.nudged = true;
            return;
        }
        pipe.bytes.1 += bytes.len() as u64;
        match &mut pipe.msrp {
            Some(paths) => {
                self.pipes.edited.clear();
                paths.edit_out(bytes, &mut self.pipes.edited);
                pipe.inbound.extend(&self.pipes.edited);
            }
            None => pipe.inbound.extend(bytes),
        }
        if let State::Open(flow) = pipe.state {
            out.wake(flow);
        }
    }

    /// The far end sends no more.
    pub(crate) fn pipe_ended(&mut self, slot: usize, out: &mut Outbox) {
        let Some(pipe) = self.pipes.all.get_mut(&slot) else { return };
        pipe.finish_inbound();
        if let State::Open(flow) = pipe.state {
            out.wake(flow);
        }
        self.pipes.nudged = true;
    }

    /// The far half has closed the lane: after its end that is the end, before it the connection is broken off.
    pub(crate) fn pipe_lane_closed(&mut self, slot: usize, links: &mut Links, out: &mut Outbox) {
        let Some(pipe) = self.pipes.all.get_mut(&slot) else { return };
        pipe.lane_gone = true;
        self.pipes.nudged = true;
        if !pipe.inbound_ended {
            self.break_pipe(slot, links, out);
        }
    }

    /// The tunnel has lost its connection, and with it whatever was under way on streams.
    pub(crate) fn cut_pipes(&mut self, link: usize, out: &mut Outbox) {
        for pipe in self.pipes.all.values_mut().filter(|pipe| pipe.link == link) {
            if let State::Connecting(flow) | State::Open(flow) = pipe.state {
                self.pipes.by_flow.remove(&flow);
                out.close(flow);
            }
            (pipe.state, pipe.inbound, pipe.lane_gone) = (State::Over, VecDeque::new(), true);
        }
    }

    /// Ends a line's connection at once, on both sides; a new description begins anew.
    fn break_pipe(&mut self, slot: usize, links: &mut Links, out: &mut Outbox) {
        let Some(pipe) = self.pipes.all.get_mut(&slot) else { return };
        if let State::Connecting(flow) | State::Open(flow) = pipe.state {
            self.pipes.by_flow.remove(&flow);
            out.close(flow);
        }
        (pipe.state, pipe.inbound) = (State::Over, VecDeque::new());
        if let Some(link) = links.get_mut(pipe.link) {
            link.tunnel.close_lane(pipe.lane);
            link.wake(out);
        }
    }

    /// Does what a fill has made possible: grants credit, resumes reading, closes what is at its end.
    pub(crate) fn serve_pipes(&mut self, links: &mut Links, out: &mut Outbox) {
        self.pipes.nudged = false;
        let mut gone = Vec::new();
        for pipe in self.pipes.all.values_mut() {
            if let State::Open(flow) = pipe.state
                && pipe.inbound_ended
                && pipe.inbound.is_empty()
            {
                gone.push(flow);
                out.close(flow);
                pipe.end_ours(links, out);
            }
            pipe.settle(links, out);
        }
        for flow in gone {
            self.pipes.by_flow.remove(&flow);
        }
    }

    /// Whether a connection waits for the tunnel, or its lane for its end: then [`Media::serve_pipes`] is due after
    /// the tunnel has taken something.
    pub(crate) fn pipes_wait(&self) -> bool {
        self.pipes.all.values().any(|pipe| pipe.paused || (pipe.state == State::Over && !pipe.lane_gone))
    }
}

impl Pipe {
    /// The connection gives no more.
    fn end_ours(&mut self, links: &mut Links, out: &mut Outbox) {
        let Some(link) = links.get_mut(self.link) else { return };
        if let Some(paths) = &mut self.msrp {
            let mut rest = Vec::new();
            paths.into_tunnel.finish(&mut rest);
            let _ = link.tunnel.stream(self.lane, &rest);
        }
        link.tunnel.end_stream(self.lane);
        link.wake(out);
        (self.state, self.inbound, self.paused) = (State::Over, VecDeque::new(), false);
    }

    fn finish_inbound(&mut self) {
        self.inbound_ended = true;
        if let Some(paths) = &mut self.msrp {
            let mut rest = Vec::new();
            paths.to_network.finish(&mut rest);
            self.inbound.extend(rest);
        }
    }

    fn settle(&mut self, links: &mut Links, out: &mut Outbox) {
        let Some(link) = links.get_mut(self.link) else { return };
        // Edited bytes are not as many as those of the lane: the last ones settle the account.
        let free =
            if self.inbound.is_empty() { self.owed } else { self.owed.saturating_sub(self.inbound.len()) };
        if free > 0 && !self.lane_gone {
            self.owed -= free;
            link.tunnel.consumed(self.lane, free);
            link.wake(out);
        }
        if let State::Open(flow) = self.state
            && self.paused
            && link.tunnel.stream_has_room(self.lane)
        {
            self.paused = false;
            out.pause(flow, false);
        }
        if self.state == State::Over && !self.lane_gone && link.tunnel.stream_is_sent(self.lane) {
            self.lane_gone = true;
            link.tunnel.close_lane(self.lane);
            link.wake(out);
        }
    }
}
