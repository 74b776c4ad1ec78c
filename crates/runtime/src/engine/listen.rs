//! Listeners, and how many they let in.

use super::group::Sharing;
use super::stream::{State, Stream, explain, reason};
use super::{Engine, Kind, Token};
use crate::sys::IN;
use crate::worker::Options;
use causeway_node::{Class, Flow, Transport};
use rustls::{Connection, ServerConnection};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

/// Connections accepted per wake and listener.
const ACCEPTS_PER_WAKE: usize = 64;
/// How long a listener rests when there are no descriptors at all.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel holds for us.
const BACKLOG: i32 = 1024;

pub(super) struct Listener {
    pub socket: TcpListener,
    pub transport: Transport,
    pub class: Class,
}

impl Engine {
    pub(super) fn listen(
        &mut self,
        node: usize,
        flow: Flow,
        local: SocketAddr,
        transport: Transport,
        class: Class,
    ) {
        if self.in_use(node, flow) {
            return;
        }
        if self.inside.has(local.ip()) {
            return self.listen_inside(node, flow, local, transport);
        }
        let what = if transport == Transport::Tls { "tls" } else { "tcp" };
        let sharing = self.sharing(node, local);
        let listener = open_listener(local, sharing).and_then(|socket| {
            if transport == Transport::Tls && self.nodes[node].server.is_none() {
                return Err(io::Error::other("no certificate was given for this node"));
            }
            Ok((socket.local_addr()?, socket))
        });
        match listener {
            Ok((local, socket)) => {
                let token = self.insert(node, flow, Kind::Listener(Listener { socket, transport, class }));
                if let Some(Kind::Listener(listener)) = self.socks.get(token.place()).map(|s| &s.kind)
                    && let Err(error) = self.main.add(listener.socket.as_fd(), token.0, IN)
                {
                    self.forget(token);
                    return self.not_bound(node, flow, local, what, &error);
                }
                self.bound(token, local, what);
            }
            Err(error) => self.not_bound(node, flow, local, what, &error),
        }
    }

    pub(super) fn accept(&mut self, token: Token) {
        for _ in 0..ACCEPTS_PER_WAKE {
            let Some(sock) = self.sock(token) else { return };
            let (node, flow) = (sock.node, sock.flow);
            let Kind::Listener(listener) = &sock.kind else { return };
            let (transport, class) = (listener.transport, listener.class);
            match listener.socket.accept() {
                Ok((socket, peer)) => self.admit(node, flow, transport, class, socket, peer),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    self.counters.accept_errors += 1;
                    if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
                        return self.refuse_for_want(token);
                    }
                    // Of others (ECONNABORTED …) accept(2) says: the next connection may be fine.
                }
            }
        }
    }

    /// No descriptors are left: the spare one is given up for a moment so that the next in the queue is
    /// refused, instead of waking this loop for ever.
    fn refuse_for_want(&mut self, token: Token) {
        let had_spare = self.spare.take().is_some();
        if let Some(Kind::Listener(listener)) = self.sock(token).map(|s| &s.kind) {
            if had_spare {
                drop(listener.socket.accept());
            } else {
                // Somebody else took it: all that is left is not to listen for a while.
                let _ = self.main.change(listener.socket.as_fd(), token.0, 0);
                self.timers.set(token, self.now + PAUSE);
            }
        }
        self.spare = File::open("/dev/null").ok();
        self.counters.accept_refused += 1;
        if self.counters.accept_refused.is_power_of_two() {
            tracing::error!(worker = self.name, "out of file descriptors: raise the limit of open files");
        }
    }

    /// Listens again after a pause.
    pub(super) fn resume_listening(&mut self, token: Token) {
        if let Some(Kind::Listener(listener)) = self.sock(token).map(|s| &s.kind) {
            let _ = self.main.change(listener.socket.as_fd(), token.0, IN);
        }
    }

    fn admit(
        &mut self,
        node: usize,
        listener: Flow,
        transport: Transport,
        class: Class,
        socket: TcpStream,
        peer: SocketAddr,
    ) {
        let tls = transport == Transport::Tls;
        if self.connections >= self.options.max_connections || self.draining {
            self.counters.accept_refused += 1;
            // A reset, so that nothing of it stays behind here.
            let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
            return;
        }
        if tls {
            self.make_way(peer);
        }
        match self.accepted_stream(node, transport, class, socket, peer) {
            Ok(stream) => self.enter(node, listener, stream),
            Err(why) => {
                self.counters.accept_errors += 1;
                tracing::debug!(node = self.nodes[node].name, %peer, "not accepted: {why}");
            }
        }
    }

    /// Where too many handshakes are under way, one of them ends for the one that begins.
    fn make_way(&mut self, peer: SocketAddr) {
        let Options { max_handshakes, max_handshakes_per_address, .. } = self.options;
        let gone = self.handshakes.gives_way(peer.ip(), max_handshakes, max_handshakes_per_address);
        let Some(token) = gone else { return };
        self.counters.handshakes_displaced += 1;
        if self.counters.handshakes_displaced.is_power_of_two() {
            let of = self.stream_mut(token).map(|stream| stream.peer.to_string()).unwrap_or_default();
            let many = self.counters.handshakes_displaced;
            tracing::warn!(
                worker = self.name,
                "too many TLS handshakes that do not end, {of} has most: {many} given up"
            );
        }
        if let Some(stream) = self.stream_mut(token) {
            // A reset, so that nothing of it stays behind here.
            let _ = SockRef::from(&stream.socket).set_linger(Some(Duration::ZERO));
        }
        self.end_stream(token, "it gives way to another");
    }

    fn accepted_stream(
        &self,
        node: usize,
        transport: Transport,
        class: Class,
        socket: TcpStream,
        peer: SocketAddr,
    ) -> Result<Stream, String> {
        let state = if transport == Transport::Tls { State::Handshake } else { State::Open };
        let stream = Stream::new(socket, class, peer, state).map_err(|e| reason(&e))?;
        let stream = stream.congestion(&self.options.congestion);
        match (&self.nodes[node].server, transport) {
            (Some(server), Transport::Tls) => {
                let tls = ServerConnection::new(server.config()).map_err(|e| explain(&e))?;
                Ok(stream.with_tls(Connection::Server(tls), server.terms()))
            }
            _ => Ok(stream),
        }
    }

    fn enter(&mut self, node: usize, listener: Flow, mut stream: Stream) {
        stream.listener = Some(listener);
        self.counters.accepted += 1;
        let flow = self.nodes[node].accepted_flow();
        self.add_stream(node, flow, stream);
    }
}

fn open_listener(local: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(local), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    sharing.bind(&socket, local)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
