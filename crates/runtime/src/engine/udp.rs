//! Datagrams of the kernel.

use super::group::Sharing;
use super::port::{Left, Port};
use super::stream::Secured;
use super::{Engine, HEAVY, Kind, Later, Opening, Token};
use crate::sys::{BATCH, IN, RecvBatch, force_receive_buffer, receive_queue};
use crate::worker::Bound;
use causeway_node::{Class, Flow, Input};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

/// Batches taken at most from a connected socket before it is closed.
const LAST_BATCHES: usize = 16;
/// Rounds of reading before what follows from them is carried out: many more would send hundreds of datagrams at a
/// stroke, for which peers have no room.
const ROUNDS_PER_WAKE: usize = 2;
/// Datagrams per call on a media port, which sees one per tick as a rule: asking for more would cost the kernel
/// a second look. What is left, the next pass over the ready ports finds.
const MEDIA_BATCH: usize = 1;
/// Datagrams per first call on a signalling port: as a rule there are fewer, and the room for each has to be made
/// ready.
const FIRST_BATCH: usize = 8;
/// What a signalling port may hold unread; the system may grant less.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

impl Engine {
    pub(super) fn bind(&mut self, node: usize, flow: Flow, local: SocketAddr, class: Class) {
        if self.in_use(node, flow) {
            return;
        }
        if self.inside.has(local.ip()) {
            return self.bind_inside(node, flow, local);
        }
        // Media ports are each member's own.
        let sharing = if class == Class::Media { Sharing::Alone } else { self.sharing(node, local) };
        let bound = open_udp(local, class, sharing).and_then(|socket| Ok((socket.local_addr()?, socket)));
        match bound {
            Ok((local, socket)) => {
                let media = class == Class::Media;
                let token = self.insert(node, flow, Kind::Udp(Port::new(socket, class)));
                let (epoll, sock) =
                    (if media { &self.media } else { &self.main }, self.socks.get(token.place()));
                if let Some(Kind::Udp(port)) = sock.map(|s| &s.kind)
                    && let Err(error) = epoll.add(port.socket.as_fd(), token.0, IN)
                {
                    self.forget(token);
                    return self.not_bound(node, flow, local, "udp", &error);
                }
                self.bound(token, local, "udp");
            }
            // A node that wants media ports takes others instead: its start does not fail for one.
            Err(error) if class == Class::Media => {
                self.tell_closed(node, flow, format!("udp {local}: {}", super::stream::reason(&error)));
            }
            Err(error) => self.not_bound(node, flow, local, "udp", &error),
        }
    }

    /// A flow that a node uses twice is a fault of the node; what is there stays as it is.
    pub(super) fn in_use(&self, node: usize, flow: Flow) -> bool {
        let used = self.flow_token(node, flow).is_some();
        if used {
            tracing::error!(node = self.nodes[node].name, flow = flow.0, "a flow in use was opened again");
            debug_assert!(false, "flow {} of {} is in use", flow.0, self.nodes[node].name);
        }
        used
    }

    pub(super) fn bound(&mut self, token: Token, local: SocketAddr, what: &'static str) {
        let Some(sock) = self.sock(token) else { return };
        let (node, flow) = (sock.node, sock.flow);
        self.ready.note(Ok(Bound { node: self.nodes[node].name.clone(), flow, local, what }));
        let opening = Opening { flow, listener: None, local, peer: local, secured: Secured::default() };
        self.later.push_back((node, Later::Opened(token, Box::new(opening))));
    }

    pub(super) fn not_bound(
        &mut self,
        node: usize,
        flow: Flow,
        local: SocketAddr,
        what: &str,
        error: &io::Error,
    ) {
        let why = format!("{what} {local}: {}", super::stream::reason(error));
        self.ready.note(Err(format!("{}: {why}", self.nodes[node].name)));
        self.tell_closed(node, flow, why);
    }

    /// Takes in what waits on a port.
    pub(super) fn read_udp(&mut self, token: Token, media: bool) {
        let Some(mut recv) = self.recv.take() else { return };
        for round in 0..ROUNDS_PER_WAKE {
            let limit = match (media, round) {
                (true, _) => MEDIA_BATCH,
                (false, 0) => FIRST_BATCH,
                (false, _) => BATCH,
            };
            let Some(sock) = self.sock(token) else { break };
            let node = sock.node;
            let Kind::Udp(Port { socket, .. }) = &sock.kind else { break };
            let n = match recv.receive(socket.as_fd(), limit) {
                Ok(n) => n,
                // What ICMP says of an earlier datagram; there may be good ones behind it.
                Err(_) => {
                    self.counters.receive_errors += 1;
                    continue;
                }
            };
            // A batch that is not full has emptied the queue: only a full one is worth the question, and of a small one
            // the answer would be that of the large one before.
            let waiting = match (n < limit, round) {
                (true, _) => Some(0),
                (false, 0) => None,
                (false, _) => receive_queue(socket.as_fd()).ok(),
            };
            if let Some(waiting) = waiting.filter(|_| !media) {
                self.nodes[node].press_by_ports(waiting);
            }
            self.take_in(token, &recv, n);
            if media || n < limit {
                break;
            }
        }
        self.recv = Some(recv);
    }

    /// Takes in a datagram that waits on the connected socket of a media port.
    pub(super) fn read_direct(&mut self, token: Token) {
        let Some(mut recv) = self.recv.take() else { return };
        let direct = match self.sock(token).map(|sock| &sock.kind) {
            Some(Kind::Udp(port)) => port.direct.as_ref(),
            _ => None,
        };
        match direct.map(|direct| recv.receive(direct.socket.as_fd(), MEDIA_BATCH)) {
            Some(Ok(n)) => self.take_in(token, &recv, n),
            // Only connected sockets hear what ICMP says. Whoever refuses is not worth one.
            Some(Err(_)) => self.give_up_direct(token, &mut recv),
            None => {}
        }
        self.recv = Some(recv);
    }

    fn take_in(&mut self, token: Token, recv: &RecvBatch, n: usize) {
        let Some(sock) = self.sock(token) else { return };
        let (node, flow) = (sock.node, sock.flow);
        self.counters.datagrams_in += n as u64;
        for got in (0..n).filter_map(|i| recv.get(i)) {
            self.hand(node, Input::Datagram { flow, from: got.from, bytes: got.bytes });
        }
        if self.nodes[node].out.weight() > HEAVY {
            self.drain(node);
        }
    }

    /// Closes the connected socket of a port; what it has received comes first.
    fn give_up_direct(&mut self, token: Token, recv: &mut RecvBatch) {
        let Some(Kind::Udp(port)) = self.sock_mut(token).map(|sock| &mut sock.kind) else { return };
        let Some(direct) = port.direct.take() else { return };
        for _ in 0..LAST_BATCHES {
            // There may be good ones behind an error.
            let Ok(n) = recv.receive(direct.socket.as_fd(), BATCH) else { continue };
            self.take_in(token, recv, n);
            if n < BATCH {
                break;
            }
        }
    }

    pub(super) fn send_datagram(
        &mut self,
        node: usize,
        flow: Flow,
        to: SocketAddr,
        bytes: &[u8],
        loose: bool,
    ) {
        let Some(token) = self.flow_token(node, flow) else { return };
        match self.socks.get_mut(token.place()).map(|sock| &mut sock.kind) {
            Some(Kind::Udp(_)) if self.inside.has(to.ip()) => self.counters.unroutable += 1,
            Some(Kind::Udp(port)) if port.media => match port.send_media(to, bytes) {
                Left::Done(sent) => self.counters.sent(sent),
                Left::Often(sent) => {
                    self.counters.sent(sent);
                    self.shorten(token);
                }
            },
            Some(Kind::Udp(port)) => {
                let sent = self.send.push(port.socket.as_fd(), to, bytes, loose);
                self.counters.sent(sent);
            }
            Some(Kind::Inside(_)) => self.send_inside(token, to, bytes),
            _ => {}
        }
    }

    /// A media port sends to one address for long.
    #[cold]
    fn shorten(&mut self, token: Token) {
        let Some(Kind::Udp(port)) = self.socks.get_mut(token.place()).map(|sock| &mut sock.kind) else {
            return;
        };
        if port.shorten()
            && let Some(direct) = &port.direct
            && let Err(error) = self.media.add(direct.socket.as_fd(), token.0 | Token::DIRECT, IN)
        {
            tracing::debug!("a media port stays unconnected: {error}");
            port.direct = None;
        }
    }
}

fn open_udp(local: SocketAddr, class: Class, sharing: Sharing) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    sharing.bind(&socket, local)?;
    if class == Class::Signalling {
        // Best effort: a burst of retransmissions shall not be lost because we were busy for a moment. Without
        // CAP_NET_ADMIN the system caps it at net.core.rmem_max.
        if force_receive_buffer(socket.as_fd(), RECEIVE_BUFFER).is_err() {
            let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
        }
    }
    Ok(socket.into())
}
