//! The transports of one SIP element: a UDP port, a TCP listener on the same address, a TLS listener on one of
//! its own, and connections in both directions (RFC 3261 §18).
//!
//! A [`Hub`] turns inputs into whole, valid messages with the [`Hop`] they came from, and hops into outputs.
//! What no server may accept is answered here (400, 505, 513 …) and never reaches the element. Keep-alives
//! are answered (RFC 5626 §4.4.1).
//!
//! # Connections
//! TCP connections are reused by peer address, and opened when a hop needs one. TLS connections are reused for
//! the server name they were opened for; one that the peer has opened carries requests of ours only where its
//! certificate proves that name (RFC 5923 §9), or where the element asks for that very connection
//! ([`Hub::existing`]).
//!
//! A connection that the peer has opened and that brings no message within [`Hub::SILENT`], and any that sees no
//! byte for the time of [`Hub::idle_after`], is closed, if the element passes the hub's [`Hub::deadline`] and
//! [`Hub::timeout`] on.
//!
//! # Groups
//! Hubs of a group of nodes share their addresses. What one of them receives and another shall serve, the element
//! hands on by [`Hub::hand`]; it arrives there with its hop, on which answers find their way back.
//!
//! Bounds: [`Hub::CONNECTIONS`] connections, the one idle for longest giving way to a new one, those first that
//! peers have opened and that have never brought a message; 256 KiB wait for a
//! connection that is being opened, what exceeds them is dropped and counted.

mod capture;
mod connections;
mod group;
mod names;
mod receive;
mod send;
mod traffic;

pub use capture::{Copies, HepConfig};
pub use names::proves;
pub use send::HubSink;
pub use traffic::{Refused, Traffic};

use crate::transaction::{Hop, StatelessTags, Transport};
use crate::{Message, validate};
use capture::Capture;
use causeway_node::{Class, Ctx, Dscp, Flow, Input, Metrics, Outbox, Time, Transport as Wire};
use connections::{Connection, Table};
use std::net::SocketAddr;
use std::time::Duration;
use traffic::Ledger;

/// The transports of one element.
pub struct Hub {
    first: u32,
    local: SocketAddr,
    tls: Option<SocketAddr>,
    role: validate::Role,
    tags: Option<StatelessTags>,
    /// A message that is not needed any more: the next one is parsed in its buffers.
    spare: Option<Message>,
    table: Table,
    ledger: Ledger,
    capture: Option<Box<Capture>>,
    now: Time,
    /// Milliseconds since 1970 at a time, both of the last input.
    clock: (u64, Time),
    /// What was kept from the element.
    pub refused: Refused,
    /// Messages that were given to other members of the group ([`Hub::hand`]).
    pub handed: u64,
    /// One of those in the making.
    parcel: Vec<u8>,
}

impl Hub {
    /// Connections held at most.
    pub const CONNECTIONS: usize = 10_000;
    /// Flow ids that a hub may use from its first on.
    pub const FLOWS: u32 = 1 << 20;
    /// How long a connection that the peer has opened may take to bring its first message.
    pub const SILENT: Duration = Duration::from_secs(32);
    /// How long a connection may be idle, unless [`Hub::idle_after`] says otherwise.
    pub const IDLE: Duration = Duration::from_secs(600);

    /// A hub on `local`, using the flow ids `first .. first + Hub::FLOWS`.
    pub fn new(first: u32, local: SocketAddr) -> Self {
        Self {
            first,
            local,
            tls: None,
            role: validate::Role::Server,
            tags: None,
            spare: None,
            table: Table::new(first + RESERVED, Self::FLOWS - RESERVED, Self::IDLE),
            ledger: Ledger::default(),
            capture: None,
            now: Time::ZERO,
            clock: (0, Time::ZERO),
            refused: Refused::default(),
            handed: 0,
            parcel: Vec::new(),
        }
    }

    /// As whom it judges messages: a server unless told, so that a relay passes schemes it does not know.
    pub fn judging_as(mut self, role: validate::Role) -> Self {
        self.role = role;
        self
    }

    /// Whether and with which tags the element answers without a transaction: the ACKs for such answers are taken no
    /// notice of.
    pub fn answering_with(mut self, tags: StatelessTags) -> Self {
        self.tags = Some(tags);
        self
    }

    /// Listens for TLS connections as well, on an address of its own.
    pub fn tls(mut self, local: SocketAddr) -> Self {
        self.tls = Some(local);
        self
    }

    /// Closes connections on which no byte came or went for so long; [`Hub::IDLE`] unless told.
    pub fn idle_after(mut self, idle: Duration) -> Self {
        self.table.idle = idle;
        self
    }

    /// Marks what it sends, over all transports.
    pub fn marked(mut self, dscp: Dscp) -> Self {
        self.table.dscp = dscp;
        self
    }

    /// Copies every message received and sent to a capture server (HEP version 3). Over TCP and TLS the element
    /// must pass [`causeway_node::Node::fill`] on to [`Hub::fill`], and in any case deadline and timeout. A
    /// server that is slow or gone holds nothing up: what it does not take is dropped and counted.
    pub fn capture(mut self, config: HepConfig) -> Self {
        self.capture = Some(Box::new(Capture::new(config, Flow(self.first + 3))));
        self
    }

    /// How copying to a capture server fares, if there is one.
    pub fn copies(&self) -> Option<Copies> {
        self.capture.as_ref().map(|capture| capture.copies())
    }

    fn udp(&self) -> Flow {
        Flow(self.first)
    }

    fn listener(&self) -> Flow {
        Flow(self.first + 1)
    }

    fn tls_listener(&self) -> Flow {
        Flow(self.first + 2)
    }

    /// Binds the UDP port and listens on the TCP port, and on the TLS port if there is one.
    pub fn start(&self, out: &mut Outbox) {
        out.bind(self.udp(), self.local, Class::Signalling);
        out.listen(self.listener(), self.local, Wire::Tcp, Class::Signalling);
        if let Some(local) = self.tls {
            out.listen(self.tls_listener(), local, Wire::Tls, Class::Signalling);
        }
        if self.table.dscp != Dscp::DEFAULT {
            // Connections that a listener accepts inherit its mark.
            let tls = self.tls.map(|_| self.tls_listener());
            [Some(self.udp()), Some(self.listener()), tls]
                .into_iter()
                .flatten()
                .for_each(|flow| out.mark(flow, self.table.dscp));
        }
        if let Some(capture) = &self.capture {
            capture.start(out);
        }
    }

    /// The address it is bound to: with the real port once it is open.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The address on which it listens for TLS, if it does: with the real port once it is open.
    pub fn tls_local(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.table.len()
    }

    /// What has gone over one transport so far; nothing for one that a hub does not have.
    pub fn traffic(&self, transport: Transport) -> Traffic {
        Traffic { connections: self.table.count(transport), ..self.ledger.of(transport) }
    }

    /// The figures of all transports, for a monitoring system.
    pub fn metrics(&self, metrics: &mut Metrics) {
        traffic::metrics(self, metrics);
    }

    /// The hop to `peer`: a connection is reused or opened. One with TLS is to prove the address itself; for one
    /// that is to prove a domain there is [`Hub::hop_to`].
    pub fn hop(&mut self, now: Time, peer: SocketAddr, transport: Transport, out: &mut Outbox) -> Hop {
        match transport {
            Transport::Tls => self.hop_to(now, peer, transport, &peer.ip().to_string(), out),
            _ => self.hop_to(now, peer, transport, "", out),
        }
    }

    /// The hop to `peer`, whose certificate must prove `server_name` where TLS runs: the domain that was asked
    /// for, and not what a name server made of it (RFC 5922 §7.3).
    pub fn hop_to(
        &mut self,
        now: Time,
        peer: SocketAddr,
        transport: Transport,
        server_name: &str,
        out: &mut Outbox,
    ) -> Hop {
        self.now = self.now.max(now);
        if transport == Transport::Udp {
            return Hop { flow: self.udp(), peer, transport };
        }
        let flow = match self.table.reusable(peer, transport, server_name) {
            Some(flow) => flow,
            None => {
                self.make_room(out);
                self.ledger.entry(transport).opened += 1;
                self.table.connect(self.now, peer, transport, server_name, out)
            }
        };
        Hop { flow, peer, transport }
    }

    /// The connection of this very peer address, whoever has opened it: the way back to who registered over it
    /// (RFC 5626 §5.3). `None` if it is gone; for UDP there is always one.
    pub fn existing(&self, peer: SocketAddr, transport: Transport) -> Option<Hop> {
        let flow = match transport {
            Transport::Udp => self.udp(),
            _ => self.table.newest(peer, transport)?,
        };
        Some(Hop { flow, peer, transport })
    }

    /// Whether there is a connection to this address.
    pub fn has_connection(&self, peer: SocketAddr) -> bool {
        [Transport::Tcp, Transport::Tls].iter().any(|transport| self.table.newest(peer, *transport).is_some())
    }

    /// Whether a connection still exists; a UDP port always does.
    pub fn is_alive(&self, hop: &Hop) -> bool {
        hop.flow == self.udp() || self.table.get(hop.flow).is_some()
    }

    /// What the verified certificate of a connection's peer names: DNS names and URIs (RFC 5922 §7.1). Whether
    /// they prove a domain, [`proves`] says.
    pub fn names(&self, flow: Flow) -> &[String] {
        self.table.get(flow).map_or(&[], |connection| &connection.names)
    }

    /// When [`Hub::timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        let capture = self.capture.as_ref().and_then(|capture| capture.deadline());
        [self.table.deadline(), capture].into_iter().flatten().min()
    }

    /// Closes what has been idle for too long. Returns the connections that the hub itself has closed since the
    /// last call, for whatever reason: the element should tell its transactions.
    pub fn timeout(&mut self, now: Time, out: &mut Outbox) -> Vec<Flow> {
        self.now = self.now.max(now);
        if let Some(capture) = &mut self.capture {
            capture.timeout(self.now, out);
        }
        self.table.close_idle(self.now, out)
    }

    /// Takes an input if its flow is one of this hub's, and appends the valid messages in it to `arrived`. Says
    /// whether it was; [`Input::Closed`] is taken, and the element should tell its transactions.
    pub fn input(
        &mut self,
        ctx: &Ctx<'_>,
        input: &Input<'_>,
        out: &mut Outbox,
        arrived: &mut Vec<(Hop, Message)>,
    ) -> bool {
        let mut at = arrived.len();
        let taken = self.take(ctx, input, out, arrived);
        while let Some((from, message)) = arrived.get(at) {
            match self.judge(from, message, out) {
                true => at += 1,
                false => drop(arrived.remove(at)),
            }
        }
        taken
    }

    /// As [`Hub::input`], but the messages are not judged yet: for who turns some of them away unseen.
    pub fn take(
        &mut self,
        ctx: &Ctx<'_>,
        input: &Input<'_>,
        out: &mut Outbox,
        arrived: &mut Vec<(Hop, Message)>,
    ) -> bool {
        self.now = self.now.max(ctx.now);
        self.clock = (ctx.unix_ms, ctx.now);
        match *input {
            Input::Datagram { flow, from, bytes } if flow == self.udp() => {
                self.datagram(from, bytes, out, arrived);
                true
            }
            Input::Stream { flow, bytes } if self.table.get(flow).is_some() => {
                self.stream(flow, bytes, out, arrived);
                true
            }
            Input::Opened { flow, listener, local, peer, names, .. } => {
                self.opened(flow, listener, local, peer, names, out)
            }
            Input::Closed { flow, why } => match self.capture.as_deref_mut() {
                Some(capture) if flow.0 == self.first + 3 => {
                    capture.closed(self.now, why, out);
                    true
                }
                _ => self.table.remove(flow, out).is_some(),
            },
            Input::Handed { from, bytes } => self.handed(from, bytes, out, arrived),
            _ => false,
        }
    }

    fn opened(
        &mut self,
        flow: Flow,
        listener: Option<Flow>,
        local: SocketAddr,
        peer: SocketAddr,
        names: &[String],
        out: &mut Outbox,
    ) -> bool {
        if flow == self.udp() || flow == self.listener() {
            if flow == self.udp() && self.local.port() == 0 {
                self.local = local;
            }
            return true;
        }
        if flow == self.tls_listener() && self.tls.is_some() {
            self.tls = Some(local);
            return true;
        }
        if let Some(capture) = self.capture_on(flow) {
            capture.opened(out);
            return true;
        }
        if let Some(transport) = listener.and_then(|listener| self.accepts(listener)) {
            self.make_room(out);
            self.ledger.entry(transport).accepted += 1;
            self.table.accepted(self.now, flow, Connection::accepted(peer, local, transport, names));
            return true;
        }
        let Some((transport, waiting)) = self.table.opened(flow, local, names) else { return false };
        for message in waiting {
            out.stream(flow, &message);
            self.copy(local, peer, transport, &message, out);
        }
        true
    }

    fn accepts(&self, listener: Flow) -> Option<Transport> {
        match listener {
            flow if flow == self.listener() => Some(Transport::Tcp),
            flow if flow == self.tls_listener() && self.tls.is_some() => Some(Transport::Tls),
            _ => None,
        }
    }

    fn make_room(&mut self, out: &mut Outbox) {
        if self.table.len() >= Self::CONNECTIONS {
            self.table.close_oldest(out);
        }
    }
}

/// Flows that are no connections: a port, two listeners, the way to a capture server, and one kept
/// for later.
const RESERVED: u32 = 5;
