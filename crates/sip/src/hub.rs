//! The transports of one SIP element: a UDP port, a TCP listener on the same address, and TCP connections
//! in both directions (RFC 3261 §18).
//!
//! A [`Hub`] turns inputs into whole, valid messages with the [`Hop`] they came from, and hops into outputs.
//! What no server may accept is answered here (400, 505, 513 …) and never reaches the element. Keep-alives
//! are answered (RFC 5626 §4.4.1). Connections are reused by peer address, and opened when a hop needs one.
//!
//! Bounds: [`Hub::CONNECTIONS`] connections, the oldest idle one giving way to a new one; 256 KiB wait for a
//! connection that is being opened.

use crate::transaction::{Hop, Sink, Transport};
use crate::{FrameError, Framed, Framer, Message, Msg, response_to, validate};
use causeway_node::{Class, Connect, Ctx, Flow, Input, Outbox, Time, Transport as Wire};
use std::collections::HashMap;
use std::net::SocketAddr;

/// What an element did not get to see, for its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Datagrams that are no SIP message at all.
    pub garbage: u64,
    /// Messages answered with an error, or dropped since they were responses.
    pub invalid: u64,
    /// Connections closed because of what came on them.
    pub broken_streams: u64,
}

struct Connection {
    peer: SocketAddr,
    framer: Framer,
    open: bool,
    waiting: Vec<u8>,
    last_used: Time,
}

/// The transports of one element.
pub struct Hub {
    udp: Flow,
    listener: Flow,
    next: u32,
    local: SocketAddr,
    role: validate::Role,
    connections: HashMap<Flow, Connection>,
    by_peer: HashMap<SocketAddr, Flow>,
    /// What was kept from the element.
    pub refused: Refused,
}

impl Hub {
    /// Connections held at most.
    pub const CONNECTIONS: usize = 10_000;
    /// Flow ids that a hub may use from its first on.
    pub const FLOWS: u32 = 1 << 20;
    const WAITING: usize = 256 * 1024;

    /// A hub on `local`, using the flow ids `first .. first + Hub::FLOWS`.
    pub fn new(first: u32, local: SocketAddr) -> Self {
        Self {
            udp: Flow(first),
            listener: Flow(first + 1),
            next: first + 2,
            local,
            role: validate::Role::Server,
            connections: HashMap::new(),
            by_peer: HashMap::new(),
            refused: Refused::default(),
        }
    }

    /// As whom it judges messages: a server unless told, so that a relay passes schemes it does not know.
    pub fn judging_as(mut self, role: validate::Role) -> Self {
        self.role = role;
        self
    }

    /// Binds the UDP port and listens on the TCP port.
    pub fn start(&self, out: &mut Outbox) {
        out.bind(self.udp, self.local, Class::Signalling);
        out.listen(self.listener, self.local, Wire::Tcp, Class::Signalling);
    }

    /// The address it is bound to: with the real port once it is open.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The hop to `peer`; a TCP connection is reused or opened.
    pub fn hop(&mut self, now: Time, peer: SocketAddr, transport: Transport, out: &mut Outbox) -> Hop {
        let flow = match transport {
            Transport::Udp => self.udp,
            _ => self.by_peer.get(&peer).copied().unwrap_or_else(|| self.connect(now, peer, out)),
        };
        Hop { flow, peer, transport }
    }

    /// Whether there is a connection to this address.
    pub fn has_connection(&self, peer: SocketAddr) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// Whether a connection still exists; a UDP port always does.
    pub fn is_alive(&self, hop: &Hop) -> bool {
        hop.flow == self.udp || self.connections.contains_key(&hop.flow)
    }

    /// Takes an input if its flow is one of this hub's, and appends the messages in it to `arrived`. Says
    /// whether it was; [`Input::Closed`] is taken, and the element should tell its transactions.
    pub fn input(
        &mut self,
        ctx: &Ctx<'_>,
        input: &Input<'_>,
        out: &mut Outbox,
        arrived: &mut Vec<(Hop, Message)>,
    ) -> bool {
        match *input {
            Input::Datagram { flow, from, bytes } if flow == self.udp => {
                self.datagram(from, bytes, out, arrived);
                true
            }
            Input::Stream { flow, bytes } if self.connections.contains_key(&flow) => {
                self.stream(ctx.now, flow, bytes, out, arrived);
                true
            }
            Input::Opened { flow, listener, local, peer, .. } => {
                self.opened(ctx.now, flow, listener, local, peer, out)
            }
            Input::Closed { flow, .. } => self.forget(flow),
            _ => false,
        }
    }

    fn datagram(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        out: &mut Outbox,
        arrived: &mut Vec<(Hop, Message)>,
    ) {
        // Keep-alives of every fashion: CRLFCRLF, a single CRLF, a NUL (RFC 5626 §4.4, and habit).
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0 | b' ')) {
            return;
        }
        let hop = Hop { flow: self.udp, peer: from, transport: Transport::Udp };
        match Message::parse(bytes) {
            Ok(message) => self.accept(hop, message, out, arrived),
            Err(_) => self.refused.garbage += 1,
        }
    }

    fn accept(&mut self, hop: Hop, message: Message, out: &mut Outbox, arrived: &mut Vec<(Hop, Message)>) {
        match validate::verdict_as(message.msg(), self.role) {
            Ok(()) => arrived.push((hop, message)),
            Err(verdict) => {
                self.refused.invalid += 1;
                if let Some(answer) = refusal(message.msg(), verdict.status, verdict.reason) {
                    self.send_on(out, &hop, &answer);
                }
            }
        }
    }

    fn stream(
        &mut self,
        now: Time,
        flow: Flow,
        bytes: &[u8],
        out: &mut Outbox,
        arrived: &mut Vec<(Hop, Message)>,
    ) {
        let Some(mut connection) = self.connections.remove(&flow) else { return };
        connection.last_used = now;
        connection.framer.push(bytes);
        let hop = Hop { flow, peer: connection.peer, transport: Transport::Tcp };
        let broken = loop {
            match connection.framer.next() {
                Ok(None) => break None,
                Ok(Some(Framed::Ping)) => out.stream(flow, b"\r\n"),
                Ok(Some(Framed::Pong)) => {}
                Ok(Some(Framed::Message(bytes))) => match Message::parse(bytes) {
                    Ok(message) => self.accept(hop, message, out, arrived),
                    Err(_) => self.refused.garbage += 1,
                },
                Err(error) => break Some(error),
            }
        };
        self.connections.insert(flow, connection);
        if let Some(error) = broken {
            self.break_off(flow, &error, out);
        }
    }

    /// Where one message ends is where the next begins: after a framing error nothing on the stream can be
    /// trusted (RFC 3261 §18.3), so it is answered where that is possible, and closed.
    fn break_off(&mut self, flow: Flow, error: &FrameError, out: &mut Outbox) {
        self.refused.broken_streams += 1;
        let answer = Message::parse(error.head.as_slice())
            .ok()
            .and_then(|message| refusal(message.msg(), error.kind.status(), "Bad Framing"));
        if let Some(answer) = answer {
            out.stream(flow, &answer);
        }
        out.close(flow);
        self.forget(flow);
    }

    fn opened(
        &mut self,
        now: Time,
        flow: Flow,
        listener: Option<Flow>,
        local: SocketAddr,
        peer: SocketAddr,
        out: &mut Outbox,
    ) -> bool {
        if flow == self.udp || flow == self.listener {
            if flow == self.udp && self.local.port() == 0 {
                self.local = local;
            }
            return true;
        }
        if listener == Some(self.listener) {
            self.make_room(out);
            self.insert(now, flow, peer, true);
            return true;
        }
        let Some(connection) = self.connections.get_mut(&flow) else { return false };
        connection.open = true;
        let waiting = std::mem::take(&mut connection.waiting);
        if !waiting.is_empty() {
            out.stream(flow, &waiting);
        }
        true
    }

    fn connect(&mut self, now: Time, peer: SocketAddr, out: &mut Outbox) -> Flow {
        self.make_room(out);
        let first = self.udp.0 + 2;
        let span = Self::FLOWS - 2;
        while self.connections.contains_key(&Flow(self.next)) {
            self.next = first + (self.next - first + 1) % span;
        }
        let flow = Flow(self.next);
        self.next = first + (self.next - first + 1) % span;
        let server_name = peer.ip().to_string();
        out.connect(flow, Connect { to: peer, transport: Wire::Tcp, server_name, class: Class::Signalling });
        self.insert(now, flow, peer, false);
        flow
    }

    fn insert(&mut self, now: Time, flow: Flow, peer: SocketAddr, open: bool) {
        let connection =
            Connection { peer, framer: Framer::new(), open, waiting: Vec::new(), last_used: now };
        self.connections.insert(flow, connection);
        self.by_peer.insert(peer, flow);
    }

    fn make_room(&mut self, out: &mut Outbox) {
        if self.connections.len() < Self::CONNECTIONS {
            return;
        }
        let oldest =
            self.connections.iter().min_by_key(|(flow, c)| (c.last_used, **flow)).map(|(flow, _)| *flow);
        if let Some(flow) = oldest {
            out.close(flow);
            self.forget(flow);
        }
    }

    fn forget(&mut self, flow: Flow) -> bool {
        let Some(connection) = self.connections.remove(&flow) else { return false };
        if self.by_peer.get(&connection.peer) == Some(&flow) {
            self.by_peer.remove(&connection.peer);
        }
        true
    }

    fn send_on(&mut self, out: &mut Outbox, hop: &Hop, message: &[u8]) {
        if hop.transport == Transport::Udp {
            return out.datagram(hop.flow, hop.peer, message);
        }
        let Some(connection) = self.connections.get_mut(&hop.flow) else { return };
        if connection.open {
            out.stream(hop.flow, message);
        } else if connection.waiting.len() + message.len() <= Self::WAITING {
            connection.waiting.extend_from_slice(message);
        }
    }

    /// A sink that sends through this hub.
    pub fn sink<'a>(&'a mut self, out: &'a mut Outbox) -> HubSink<'a> {
        HubSink { hub: self, out }
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
}

/// The answer to a request that cannot be accepted; none to an ACK, to a response, or where the header
/// fields are missing that an answer is made of.
fn refusal(msg: Msg<'_>, status: u16, reason: &str) -> Option<Vec<u8>> {
    let answerable = msg.is_request()
        && msg.method() != crate::Method::Ack
        && msg.top_via().is_some()
        && msg.call_id().is_some()
        && msg.cseq().is_some();
    answerable.then(|| response_to(msg, status, Some(reason), Some(b"cw-refused")).finish())
}
