//! The connections of a hub.

use super::{Hub, group, proves};
use crate::Framer;
use crate::transaction::Transport;
use causeway_node::{Class, Connect, Dscp, Flow, Outbox, Time, Timers, Transport as Wire};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes that wait for a connection that is being opened.
const WAITING: usize = 256 * 1024;

/// One connection.
pub(super) struct Connection {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub transport: Transport,
    /// What the peer's certificate names.
    pub names: Vec<String>,
    /// The name that it was opened for; `None` where the peer has opened it.
    server_name: Option<String>,
    framer: Framer,
    open: bool,
    spoke: bool,
    waiting: Vec<Vec<u8>>,
    waiting_bytes: usize,
    since: Time,
    last_used: Time,
    /// The member of the group whose socket it is, and its id there; `None` for one's own.
    owner: Option<(u16, Flow)>,
    /// The members that have been told of it, one bit each.
    told: u64,
}

impl Connection {
    fn new(peer: SocketAddr, local: SocketAddr, transport: Transport) -> Self {
        Self {
            peer,
            local,
            transport,
            names: Vec::new(),
            server_name: None,
            framer: Framer::new(),
            open: false,
            spoke: false,
            waiting: Vec::new(),
            waiting_bytes: 0,
            since: Time::ZERO,
            last_used: Time::ZERO,
            owner: None,
            told: 0,
        }
    }

    /// One that another member of the group has told of; `owner` is that member, and the connection's id there.
    pub fn of_member(
        owner: (u16, Flow),
        peer: SocketAddr,
        local: SocketAddr,
        transport: Transport,
        names: &[String],
        server_name: Option<&str>,
    ) -> Self {
        let server_name = server_name.map(str::to_owned);
        Self { owner: Some(owner), server_name, ..Self::accepted(peer, local, transport, names) }
    }

    /// The name that it was opened for; `None` where the peer has opened it.
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Whether a member of the group knows of it.
    pub fn is_told(&self, member: u16) -> bool {
        self.owner.is_some_and(|(owner, _)| owner == member) || self.told & bit(member) != 0
    }

    /// One that the peer has opened.
    pub fn accepted(peer: SocketAddr, local: SocketAddr, transport: Transport, names: &[String]) -> Self {
        Self { open: true, names: names.to_vec(), ..Self::new(peer, local, transport) }
    }

    /// Whether requests for this server name may go over it.
    fn serves(&self, server_name: &str) -> bool {
        match (&self.server_name, self.transport) {
            (Some(name), Transport::Tls) => name.eq_ignore_ascii_case(server_name),
            (None, Transport::Tls) => proves(&self.names, server_name),
            _ => true,
        }
    }

    /// When it has been of no use for too long.
    fn due(&self, idle: Duration) -> Time {
        let idle = self.last_used + idle;
        match self.server_name.is_none() && !self.spoke {
            true => idle.min(self.since + Hub::SILENT),
            false => idle,
        }
    }
}

fn bit(member: u16) -> u64 {
    1u64.checked_shl(u32::from(member)).unwrap_or(0)
}

/// What has become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It left from this address.
    From(SocketAddr),
    /// It leaves when the connection is open.
    Waits,
    /// The connection is gone, or too much waits for it.
    Dropped,
}

/// All connections, by flow and by peer.
pub(super) struct Table {
    first: u32,
    span: u32,
    next: u32,
    pub idle: Duration,
    all: HashMap<Flow, Connection>,
    by_peer: HashMap<(SocketAddr, Transport), Vec<Flow>>,
    tls: usize,
    /// How the connections that we open are marked.
    pub dscp: Dscp,
    timers: Timers<Flow>,
    /// What was closed here and not yet reported; as many as there are connections at most.
    ended: Vec<Flow>,
    /// The connections of other members of the group, as many as those have, by owner and id there.
    foreign: HashMap<(u16, Flow), Flow>,
    next_foreign: u32,
}

/// Ids of other members' connections here: between those that a hub opens and those that a driver accepts.
const FOREIGN: std::ops::Range<u32> = 1 << 30..Flow::ACCEPTED;

impl Table {
    pub fn new(first: u32, span: u32, idle: Duration) -> Self {
        Self {
            first,
            span,
            next: first,
            idle,
            all: HashMap::new(),
            by_peer: HashMap::new(),
            tls: 0,
            dscp: Dscp::DEFAULT,
            timers: Timers::default(),
            ended: Vec::new(),
            foreign: HashMap::new(),
            next_foreign: FOREIGN.start,
        }
    }

    /// Connections of one's own.
    pub fn len(&self) -> usize {
        self.all.len() - self.foreign.len()
    }

    pub fn count(&self, transport: Transport) -> usize {
        match transport {
            Transport::Tcp => self.len() - self.tls,
            Transport::Tls => self.tls,
            Transport::Udp | Transport::Tunnel => 0,
        }
    }

    pub fn get(&self, flow: Flow) -> Option<&Connection> {
        self.all.get(&flow)
    }

    /// The newest connection with this address.
    pub fn newest(&self, peer: SocketAddr, transport: Transport) -> Option<Flow> {
        self.by_peer.get(&(peer, transport))?.last().copied()
    }

    /// The newest connection with this address that may carry requests for this server name.
    pub fn reusable(&self, peer: SocketAddr, transport: Transport, server_name: &str) -> Option<Flow> {
        let flows = self.by_peer.get(&(peer, transport))?;
        let serves = |flow: &&Flow| self.all.get(flow).is_some_and(|c| c.serves(server_name));
        flows.iter().rev().find(serves).copied()
    }

    pub fn connect(
        &mut self,
        now: Time,
        peer: SocketAddr,
        transport: Transport,
        server_name: &str,
        out: &mut Outbox,
    ) -> Flow {
        let step = |next: u32| self.first + (next - self.first + 1) % self.span;
        let mut free = self.next;
        while self.all.contains_key(&Flow(free)) {
            free = step(free);
        }
        self.next = step(free);
        let flow = Flow(free);
        let wire = if transport == Transport::Tls { Wire::Tls } else { Wire::Tcp };
        let name = if server_name.is_empty() { peer.ip().to_string() } else { server_name.to_owned() };
        out.connect(
            flow,
            Connect { to: peer, through: None, transport: wire, server_name: name, class: Class::Signalling },
        );
        if self.dscp != Dscp::DEFAULT {
            out.mark(flow, self.dscp);
        }
        // Its own address is known once it is open.
        let unknown = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        let server_name = Some(server_name.to_owned());
        self.insert(now, flow, Connection { server_name, ..Connection::new(peer, unknown, transport) });
        flow
    }

    /// Enters a connection that a listener has accepted.
    pub fn accepted(&mut self, now: Time, flow: Flow, connection: Connection) {
        self.insert(now, flow, connection);
    }

    fn insert(&mut self, now: Time, flow: Flow, mut connection: Connection) {
        (connection.since, connection.last_used) = (now, now);
        self.timers.set(flow, connection.due(self.idle));
        self.tls += usize::from(connection.transport == Transport::Tls);
        self.by_peer.entry((connection.peer, connection.transport)).or_default().push(flow);
        self.all.insert(flow, connection);
    }

    /// Another member has told of a connection of its own. One that it had under the same id is gone then.
    pub fn learn(&mut self, connection: Connection) {
        let Some((owner, flow)) = connection.owner else { return };
        self.lose(owner, flow);
        let mut free = self.next_foreign;
        while self.all.contains_key(&Flow(free)) {
            free = after(free);
        }
        self.next_foreign = after(free);
        self.foreign.insert((owner, flow), Flow(free));
        self.by_peer.entry((connection.peer, connection.transport)).or_default().push(Flow(free));
        self.all.insert(Flow(free), connection);
    }

    /// Another member's connection is gone: reported by the next [`Table::close_idle`].
    pub fn lose(&mut self, owner: u16, flow: Flow) {
        if let Some(flow) = self.foreign.remove(&(owner, flow)) {
            self.all.remove(&flow).inspect(|connection| self.forget_peer(flow, connection));
            self.ended.push(flow);
        }
    }

    /// The id here of another member's connection.
    pub fn of_member(&self, owner: u16, flow: Flow) -> Option<Flow> {
        self.foreign.get(&(owner, flow)).copied()
    }

    /// A member knows of a connection from now on.
    pub fn tell(&mut self, flow: Flow, member: u16) {
        if let Some(connection) = self.all.get_mut(&flow) {
            connection.told |= bit(member);
        }
    }

    /// A connection asked for is open: the messages that have waited for it, or `None` if nobody asked.
    pub fn opened(
        &mut self,
        flow: Flow,
        local: SocketAddr,
        names: &[String],
    ) -> Option<(Transport, Vec<Vec<u8>>)> {
        let connection = self.all.get_mut(&flow)?;
        connection.open = true;
        connection.local = local;
        connection.names = names.to_vec();
        Some((connection.transport, std::mem::take(&mut connection.waiting)))
    }

    /// Bytes have come: lends out the framer that cuts them.
    pub fn lend_framer(&mut self, flow: Flow, now: Time) -> Option<Framer> {
        let connection = self.all.get_mut(&flow)?;
        connection.last_used = now;
        Some(std::mem::take(&mut connection.framer))
    }

    pub fn return_framer(&mut self, flow: Flow, framer: Framer) {
        if let Some(connection) = self.all.get_mut(&flow) {
            connection.framer = framer;
        }
    }

    /// A message has come on it.
    pub fn spoke(&mut self, flow: Flow) {
        if let Some(connection) = self.all.get_mut(&flow) {
            connection.spoke = true;
        }
    }

    /// Sends a message, or keeps it until the connection is open.
    pub fn send(&mut self, now: Time, flow: Flow, message: &[u8], out: &mut Outbox) -> Sent {
        let Some(connection) = self.all.get_mut(&flow) else { return Sent::Dropped };
        connection.last_used = now;
        if let Some((owner, flow)) = connection.owner {
            group::send(owner, flow, message, out);
            return Sent::From(connection.local);
        }
        if connection.open {
            out.stream(flow, message);
            return Sent::From(connection.local);
        }
        if connection.waiting_bytes + message.len() > WAITING {
            return Sent::Dropped;
        }
        connection.waiting_bytes += message.len();
        connection.waiting.push(message.to_vec());
        Sent::Waits
    }

    pub fn deadline(&self) -> Option<Time> {
        if self.ended.is_empty() { self.timers.next() } else { Some(Time::ZERO) }
    }

    /// Closes what has been idle for too long, and returns what was closed here since the last call.
    pub fn close_idle(&mut self, now: Time, out: &mut Outbox) -> Vec<Flow> {
        while let Some(flow) = self.timers.pop(now) {
            // Set once and looked at again only when it fires: a message must not cost a timer.
            match self.all.get(&flow).map(|connection| connection.due(self.idle)) {
                Some(due) if due > now => self.timers.set(flow, due),
                Some(_) => self.close(flow, out),
                None => {}
            }
        }
        std::mem::take(&mut self.ended)
    }

    /// Makes room: first go those that others have opened and that have never brought a message, so that whoever
    /// opens many does not drive out those that are in use.
    pub fn close_oldest(&mut self, out: &mut Outbox) {
        let worth = |c: &Connection| c.spoke || c.server_name.is_some();
        let own = self.all.iter().filter(|(_, connection)| connection.owner.is_none());
        let oldest = own.min_by_key(|(flow, c)| (worth(c), c.last_used, **flow));
        let oldest = oldest.map(|(flow, _)| *flow);
        if let Some(flow) = oldest {
            self.close(flow, out);
        }
    }

    /// Closes a connection, to be reported by the next [`Table::close_idle`].
    pub fn close(&mut self, flow: Flow, out: &mut Outbox) {
        out.close(flow);
        self.remove(flow, out);
        // An element that never asks gets no list that grows.
        if self.ended.len() < Hub::CONNECTIONS {
            self.ended.push(flow);
        }
    }

    /// Removes a connection of one's own, and tells those members of the group who know of it.
    pub fn remove(&mut self, flow: Flow, out: &mut Outbox) -> Option<Connection> {
        let connection = self.all.remove(&flow)?;
        self.timers.cancel(flow);
        self.tls -= usize::from(connection.transport == Transport::Tls);
        self.forget_peer(flow, &connection);
        (0..Hub::MEMBERS)
            .filter(|member| connection.told & bit(*member) != 0)
            .for_each(|to| group::gone(to, flow, out));
        Some(connection)
    }

    fn forget_peer(&mut self, flow: Flow, connection: &Connection) {
        let key = (connection.peer, connection.transport);
        if let Some(flows) = self.by_peer.get_mut(&key) {
            flows.retain(|other| *other != flow);
            if flows.is_empty() {
                self.by_peer.remove(&key);
            }
        }
    }
}

fn after(foreign: u32) -> u32 {
    if foreign + 1 < FOREIGN.end { foreign + 1 } else { FOREIGN.start }
}
