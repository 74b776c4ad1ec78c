//! Addresses that exist only inside a worker: what goes between its nodes there never reaches the kernel.

use super::stream::Secured;
use super::{Engine, Kind, Later, Opening, Token};
use causeway_node::{Connect, Ctx, Flow, Input, Transport};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Bytes under way between nodes at once; datagrams beyond are dropped, connections beyond closed.
const LIMIT: usize = 8 * 1024 * 1024;
/// What a node is asked for at once.
const ROOM: usize = 32 * 1024;

/// A port, listener or connection end on an inside address.
pub(super) struct Socket {
    local: SocketAddr,
    role: Role,
    pub asking: bool,
    pub listed: bool,
}

#[derive(Clone, Copy)]
enum Role {
    Datagrams,
    Listener,
    Stream { other: Token },
}

enum What {
    Datagram { from: SocketAddr },
    Stream,
    End,
}

struct Parcel {
    to: Token,
    what: What,
    start: usize,
    end: usize,
}

/// The inside network.
pub(super) struct Inside {
    addresses: Vec<IpAddr>,
    ports: HashMap<(bool, SocketAddr), Token>,
    parcels: Vec<Parcel>,
    bytes: Vec<u8>,
    next_port: u16,
}

impl Inside {
    pub fn new(addresses: &[IpAddr]) -> Self {
        let addresses = addresses.to_vec();
        Self { addresses, ports: HashMap::new(), parcels: Vec::new(), bytes: Vec::new(), next_port: 49_152 }
    }

    pub fn has(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&ip)
    }

    pub fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    fn put(&mut self, to: Token, what: What, bytes: &[u8]) -> bool {
        if self.bytes.len() + bytes.len() > LIMIT {
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.parcels.push(Parcel { to, what, start, end: self.bytes.len() });
        true
    }

    /// The full address for a bind (`stream` false) or listen, if it is free.
    fn claim(&mut self, stream: bool, local: SocketAddr) -> io::Result<SocketAddr> {
        if local.port() != 0 {
            let taken = self.ports.contains_key(&(stream, local));
            return if taken { Err(io::ErrorKind::AddrInUse.into()) } else { Ok(local) };
        }
        for _ in 0..16_384 {
            let local = SocketAddr::new(local.ip(), self.next_port);
            self.next_port = self.next_port.checked_add(1).unwrap_or(49_152);
            if !self.ports.contains_key(&(stream, local)) {
                return Ok(local);
            }
        }
        Err(io::ErrorKind::AddrNotAvailable.into())
    }
}

impl Engine {
    pub(super) fn bind_inside(&mut self, node: usize, flow: Flow, local: SocketAddr) {
        match self.inside.claim(false, local) {
            Ok(local) => {
                let token = self.insert_inside(node, flow, local, Role::Datagrams);
                self.inside.ports.insert((false, local), token);
                self.bound(token, local, "inside udp");
            }
            Err(error) => self.not_bound(node, flow, local, "inside udp", &error),
        }
    }

    pub(super) fn listen_inside(&mut self, node: usize, flow: Flow, local: SocketAddr, transport: Transport) {
        let claimed = match transport {
            Transport::Tcp => self.inside.claim(true, local),
            Transport::Tls => Err(io::Error::other("there is no TLS on inside addresses")),
        };
        match claimed {
            Ok(local) => {
                let token = self.insert_inside(node, flow, local, Role::Listener);
                self.inside.ports.insert((true, local), token);
                self.bound(token, local, "inside tcp");
            }
            Err(error) => self.not_bound(node, flow, local, "inside tcp", &error),
        }
    }

    fn insert_inside(&mut self, node: usize, flow: Flow, local: SocketAddr, role: Role) -> Token {
        self.insert(node, flow, Kind::Inside(Socket { local, role, asking: false, listed: false }))
    }

    pub(super) fn connect_inside(&mut self, node: usize, flow: Flow, connect: &Connect) {
        let to = connect.to;
        let listener = self.inside.ports.get(&(true, to)).and_then(|token| self.sock(*token));
        let Some((server, listener)) = listener.map(|sock| (sock.node, sock.flow)) else {
            return self.tell_closed(node, flow, format!("{to}: connection refused"));
        };
        if connect.transport == Transport::Tls {
            return self.tell_closed(node, flow, format!("{to}: there is no TLS on inside addresses"));
        }
        let local = match self.inside.claim(true, SocketAddr::new(to.ip(), 0)) {
            Ok(local) => local,
            Err(error) => return self.tell_closed(node, flow, format!("{to}: {error}")),
        };
        let accepted = self.nodes[server].accepted_flow();
        let here = self.insert_inside(node, flow, local, Role::Datagrams);
        let there = self.insert_inside(server, accepted, to, Role::Stream { other: here });
        if let Some(Kind::Inside(socket)) = self.sock_mut(here).map(|s| &mut s.kind) {
            socket.role = Role::Stream { other: there };
        }
        self.inside.ports.insert((true, local), here);
        let mut opened = |node, token, flow, listener, local, peer| {
            let opening = Opening { flow, listener, local, peer, secured: Secured::default() };
            self.later.push_back((node, Later::Opened(token, Box::new(opening))));
        };
        opened(server, there, accepted, Some(listener), to, local);
        opened(node, here, flow, None, local, to);
    }

    pub(super) fn send_inside(&mut self, from: Token, to: SocketAddr, bytes: &[u8]) {
        let Some(Kind::Inside(Socket { local, role: Role::Datagrams, .. })) =
            self.sock(from).map(|s| &s.kind)
        else {
            return;
        };
        let local = *local;
        let there = self.inside.ports.get(&(false, to)).copied();
        if !there.is_some_and(|there| self.inside.put(there, What::Datagram { from: local }, bytes)) {
            self.counters.unroutable += 1;
        }
    }

    pub(super) fn stream_inside(&mut self, from: Token, bytes: &[u8]) {
        let Some(Kind::Inside(Socket { role: Role::Stream { other }, .. })) =
            self.sock(from).map(|s| &s.kind)
        else {
            return;
        };
        let other = *other;
        if !self.inside.put(other, What::Stream, bytes) {
            self.end_inside(from, "the peer does not read");
            self.end_inside(other, "reset by the peer");
        }
    }

    pub(super) fn flush_inside(&mut self, token: Token) {
        let (now, unix_ms) = (self.now, self.unix_ms);
        let Some(sock) = self.socks.get_mut(token.place()) else { return };
        let (flow, Some(member)) = (sock.flow, self.nodes.get_mut(sock.node)) else { return };
        let Kind::Inside(socket) = &mut sock.kind else { return };
        socket.listed = false;
        if !socket.asking {
            return;
        }
        let mut buf = std::mem::take(&mut self.fill);
        buf.clear();
        member.node.fill(&mut Ctx { now, unix_ms, rng: &mut member.rng }, flow, ROOM, &mut buf);
        socket.asking = !buf.is_empty();
        if !buf.is_empty() {
            self.stream_inside(token, &buf);
            self.list(token);
        }
        self.fill = buf;
    }

    pub(super) fn close_inside(&mut self, token: Token) {
        if let Some(Kind::Inside(Socket { role: Role::Stream { other }, .. })) =
            self.sock(token).map(|s| &s.kind)
        {
            let other = *other;
            self.inside.put(other, What::End, &[]);
        }
        self.forget_inside(token);
    }

    fn end_inside(&mut self, token: Token, why: &str) {
        let Some(sock) = self.sock(token) else { return };
        let (node, flow) = (sock.node, sock.flow);
        self.forget_inside(token);
        self.tell_closed(node, flow, why.to_owned());
    }

    fn forget_inside(&mut self, token: Token) {
        if let Some(Kind::Inside(socket)) = self.sock(token).map(|s| &s.kind) {
            let key = (!matches!(socket.role, Role::Datagrams), socket.local);
            // An accepted end shares its listener's address, whose entry is not its own.
            if self.inside.ports.get(&key) == Some(&token) {
                self.inside.ports.remove(&key);
            }
        }
        self.forget(token);
    }

    /// Hands over what the nodes have sent each other in the last round.
    pub(super) fn deliver_inside(&mut self) {
        let mut parcels = std::mem::take(&mut self.inside.parcels);
        let mut bytes = std::mem::take(&mut self.inside.bytes);
        for parcel in parcels.drain(..) {
            let Some(sock) = self.sock(parcel.to) else { continue };
            let (node, flow) = (sock.node, sock.flow);
            let bytes = bytes.get(parcel.start..parcel.end).unwrap_or_default();
            self.counters.inside += 1;
            match parcel.what {
                What::Datagram { from } => self.hand(node, Input::Datagram { flow, from, bytes }),
                What::Stream => self.hand(node, Input::Stream { flow, bytes }),
                What::End => {
                    self.forget_inside(parcel.to);
                    self.hand(node, Input::Closed { flow, why: "closed by the peer" });
                }
            }
        }
        bytes.clear();
        self.inside.parcels = parcels;
        self.inside.bytes = bytes;
    }
}
