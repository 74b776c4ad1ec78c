//! The life of connections.

use super::stream::{Flushed, Secured, State, Stream, explain, reason};
use super::{Engine, Kind, Later, Opening, Token};
use crate::sys::{Event, IN, OUT};
use crate::tls::Terms;
use causeway_node::{Class, Connect, Ctx, Flow, Input, Transport};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Duration;

/// After this an attempt to connect counts as failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a closed connection may take to send its queue.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long we wait for the peer's FIN after ours.
const SHUT_TIMEOUT: Duration = Duration::from_secs(2);
/// Reads per connection and wake: with 64 KiB each, 256 KiB.
const READS_PER_WAKE: usize = 4;

impl Engine {
    pub(super) fn connect(&mut self, node: usize, flow: Flow, connect: &Connect) {
        if self.in_use(node, flow) {
            return;
        }
        if self.inside.has(connect.to.ip()) {
            return self.connect_inside(node, flow, connect);
        }
        match self.opened_stream(node, connect) {
            Ok(stream) => drop(self.add_stream(node, flow, stream)),
            Err(why) => self.tell_closed(node, flow, format!("{}: {why}", connect.to)),
        }
    }

    fn opened_stream(&self, node: usize, connect: &Connect) -> Result<Stream, String> {
        if self.connections >= self.options.max_connections {
            return Err(format!("this worker has its limit of {} connections", self.options.max_connections));
        }
        let tls = match connect.transport {
            Transport::Tcp => None,
            Transport::Tls => Some(self.client_tls(node, connect)?),
        };
        let socket = start_connect(connect).map_err(|e| reason(&e))?;
        let stream =
            Stream::new(socket, connect.class, connect.to, State::Connecting).map_err(|e| reason(&e))?;
        let stream = stream.congestion(&self.options.congestion);
        let stream = match &connect.through {
            Some(through) => stream.through(through),
            None => stream,
        };
        Ok(match tls {
            Some((tls, terms)) => stream.with_tls(Connection::Client(tls), terms),
            None => stream,
        })
    }

    fn client_tls(&self, node: usize, connect: &Connect) -> Result<(ClientConnection, Terms), String> {
        let client = self.nodes[node].client.as_ref().ok_or("no pin or roots were given for this node")?;
        let name = match ServerName::try_from(connect.server_name.clone()) {
            Ok(name) => name,
            // With a pin the name does not matter.
            Err(_) if client.pinned() => ServerName::IpAddress(connect.to.ip().into()),
            Err(_) => {
                return Err(format!("TLS: {:?} is no name that a certificate bears", connect.server_name));
            }
        };
        let connection = ClientConnection::new(client.config(), name).map_err(|e| explain(&e))?;
        Ok((connection, client.terms()))
    }

    /// Enters a connection in the state it is in.
    pub(super) fn add_stream(&mut self, node: usize, flow: Flow, mut stream: Stream) -> Token {
        let (state, peer, class) = (stream.state, stream.peer, stream.class);
        stream.interest = if state == State::Connecting { OUT } else { IN };
        let interest = stream.interest;
        let token = self.insert(node, flow, Kind::Stream(Box::new(stream)));
        self.connections += 1;
        let timeout = match state {
            State::Connecting => Some(CONNECT_TIMEOUT),
            State::Handshake => Some(self.options.handshake_timeout),
            _ => None,
        };
        if let Some(timeout) = timeout {
            self.timers.set(token, self.now + timeout);
        }
        if state == State::Handshake {
            self.handshakes.enter(token, peer.ip());
        }
        let epoll = if class == Class::Media { &self.media } else { &self.main };
        let added = match self.socks.get(token.place()).map(|s| &s.kind) {
            Some(Kind::Stream(stream)) => epoll.add(stream.socket.as_fd(), token.0, interest),
            _ => Ok(()),
        };
        match added {
            Err(error) => self.end_stream(token, &reason(&error)),
            Ok(()) if state == State::Open => self.opened(token, Secured::default()),
            Ok(()) => {}
        }
        token
    }

    /// The node may use it from now on.
    fn opened(&mut self, token: Token, secured: Secured) {
        let Some(sock) = self.sock_mut(token) else { return };
        let (node, flow) = (sock.node, sock.flow);
        let Kind::Stream(stream) = &mut sock.kind else { return };
        stream.state = State::Open;
        let (listener, local, peer) = (stream.listener, stream.local, stream.peer);
        self.timers.cancel(token);
        // By the queue, and not at once: the node may be in the middle of an earlier output.
        let opening = Opening { flow, listener, local, peer, secured };
        self.later.push_back((node, Later::Opened(token, Box::new(opening))));
        self.list(token);
    }

    pub(super) fn stream_event(&mut self, token: Token, event: Event) {
        let Some(stream) = self.stream_mut(token) else { return };
        if stream.state == State::Connecting {
            return self.connected(token);
        }
        if event.writable && stream.interest & OUT != 0 {
            self.list(token);
        }
        if event.readable {
            self.read_stream(token);
        }
    }

    fn connected(&mut self, token: Token) {
        let Some(stream) = self.stream_mut(token) else { return };
        match stream.socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return self.end_stream(token, &reason(&error)),
        }
        if let Ok(local) = stream.socket.local_addr() {
            stream.local = local;
        }
        match stream.ask_proxy() {
            Ok(true) => {
                self.timers.set(token, self.now + self.options.handshake_timeout);
            }
            Ok(false) => self.leads_there(token),
            Err(error) => return self.end_stream(token, &reason(&error)),
        }
        self.set_interest(token, IN);
    }

    /// The connection has come to its end: what runs on it may begin.
    fn leads_there(&mut self, token: Token) {
        let Some(stream) = self.stream_mut(token) else { return };
        if stream.is_tls() {
            stream.state = State::Handshake;
            self.timers.set(token, self.now + self.options.handshake_timeout);
            self.list(token);
        } else {
            self.opened(token, Secured::default());
        }
    }

    fn read_stream(&mut self, token: Token) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut plain = std::mem::take(&mut self.plain);
        for _ in 0..READS_PER_WAKE {
            plain.clear();
            let Some(stream) = self.stream_mut(token).filter(|stream| !stream.paused) else { break };
            let plain_tcp = !stream.is_tls();
            let got = stream.receive(&mut scratch, &mut plain);
            if got.through {
                self.leads_there(token);
            }
            let Some(stream) = self.stream_mut(token) else { break };
            if let Some(done) = stream.handshake_done() {
                self.handshake_over(token);
                match done {
                    Ok(secured) => {
                        self.opened(token, secured);
                        // What came along with the handshake's end must not be heard before its opening.
                        self.deliver_later();
                    }
                    Err(why) => {
                        self.end_stream(token, &why);
                        break;
                    }
                }
            }
            self.hand_stream(token, &plain);
            if plain_tcp && got.more {
                // The node may want a pause.
                if let Some(node) = self.sock(token).map(|sock| sock.node) {
                    self.drain(node);
                }
            }
            if let Some(why) = got.end {
                self.end_stream(token, &why);
                break;
            }
            if !got.more {
                break;
            }
        }
        // A handshake's next flight, or an answer to a key update.
        self.list(token);
        self.scratch = scratch;
        self.plain = plain;
    }

    pub(super) fn hand_stream(&mut self, token: Token, plain: &[u8]) {
        let Some(sock) = self.sock(token) else { return };
        let (node, flow) = (sock.node, sock.flow);
        if plain.is_empty() || !matches!(&sock.kind, Kind::Stream(s) if s.state == State::Open) {
            return;
        }
        // An opening that still waits in the queue comes first.
        if !self.later.is_empty() {
            self.deliver_later();
        }
        self.hand(node, Input::Stream { flow, bytes: plain });
        let out = &self.nodes[node].out;
        // Of a connection that is handed over nothing more may be read here.
        if out.hands_over() || out.weight() > super::HEAVY {
            self.drain(node);
        }
    }

    fn handshake_over(&mut self, token: Token) {
        let Some(stream) = self.stream_mut(token) else { return };
        // Only those that others have begun are counted.
        if stream.state == State::Handshake && stream.listener.is_some() {
            self.handshakes.leave(token);
        }
    }

    /// The connection is gone; the node is told if it knew of it.
    pub(super) fn end_stream(&mut self, token: Token, why: &str) {
        self.handshake_over(token);
        let Some(sock) = self.sock(token) else { return };
        let (node, flow) = (sock.node, sock.flow);
        let Kind::Stream(stream) = &sock.kind else { return };
        let (state, peer, accepted) = (stream.state, stream.peer, stream.listener.is_some());
        self.forget(token);
        match state {
            State::Leaving | State::Shut => {}
            State::Handshake if accepted => {
                self.counters.handshakes_failed += 1;
                tracing::debug!(node = self.nodes[node].name, %peer, "handshake failed: {why}");
            }
            _ => self.tell_closed(node, flow, format!("{peer}: {why}")),
        }
    }

    pub(super) fn stream_timeout(&mut self, token: Token) {
        if let Some(Kind::Listener(_)) = self.sock(token).map(|s| &s.kind) {
            return self.resume_listening(token);
        }
        let why = match self.stream_mut(token).map(|stream| stream.state) {
            Some(State::Connecting) => "connecting timed out",
            Some(State::Asking) => "the HTTP proxy does not answer",
            Some(State::Handshake) => "the TLS handshake timed out",
            _ => "closing timed out",
        };
        self.end_stream(token, why);
    }

    /// The node has closed it: the queue still goes out, then our FIN.
    pub(super) fn leave(&mut self, token: Token) {
        let Some(sock) = self.sock_mut(token) else { return };
        let (node, flow) = (sock.node, sock.flow);
        let Kind::Stream(stream) = &mut sock.kind else { return };
        let state = stream.state;
        stream.asking = false;
        stream.paused = false;
        if matches!(state, State::Connecting | State::Asking | State::Handshake) {
            self.handshake_over(token);
            return self.forget(token);
        }
        stream.state = State::Leaving;
        self.nodes[node].flows.remove(&flow);
        self.timers.set(token, self.now + LEAVE_TIMEOUT);
        self.list(token);
    }

    pub(super) fn queue_bytes(&mut self, node: usize, flow: Flow, bytes: &[u8]) {
        let Some(token) = self.flow_token(node, flow) else { return };
        if let Some(Kind::Inside(_)) = self.sock(token).map(|s| &s.kind) {
            return self.stream_inside(token, bytes);
        }
        let Some(stream) = self.stream_mut(token) else { return };
        if stream.enqueue(bytes) {
            return self.list(token);
        }
        let limit = super::stream::QUEUE_LIMIT;
        // Nothing of it will be read: a reset tells the peer and frees the buffers at once.
        let _ = socket2::SockRef::from(&stream.socket).set_linger(Some(Duration::ZERO));
        self.end_stream(token, &format!("the peer does not read: {limit} bytes are waiting"));
    }

    pub(super) fn ask_wake(&mut self, node: usize, flow: Flow) {
        let Some(token) = self.flow_token(node, flow) else { return };
        match self.sock_mut(token).map(|s| &mut s.kind) {
            Some(Kind::Stream(stream)) => stream.asking = true,
            Some(Kind::Inside(socket)) => socket.asking = true,
            _ => return,
        }
        self.list(token);
    }

    /// What is not read fills the socket's queue, then the peer's window.
    pub(super) fn pause(&mut self, node: usize, flow: Flow, paused: bool) {
        let Some(token) = self.flow_token(node, flow) else { return };
        let Some(stream) = self.stream_mut(token) else { return };
        stream.paused = paused;
        if stream.state == State::Open {
            let interest = stream.interest | IN;
            self.set_interest(token, interest);
        }
    }

    /// Puts a connection on the list of those that the end of the round flushes.
    pub(super) fn list(&mut self, token: Token) {
        match self.sock_mut(token).map(|s| &mut s.kind) {
            Some(Kind::Stream(stream)) if !stream.listed => stream.listed = true,
            Some(Kind::Inside(socket)) if !socket.listed => socket.listed = true,
            _ => return,
        }
        self.unflushed.push(token);
    }

    pub(super) fn flush_streams(&mut self) {
        let mut list = std::mem::take(&mut self.unflushed);
        for token in list.drain(..) {
            match self.sock(token).map(|s| &s.kind) {
                Some(Kind::Stream(_)) => self.flush_stream(token),
                Some(Kind::Inside(_)) => self.flush_inside(token),
                _ => {}
            }
        }
        // What was listed meanwhile is flushed in the next round.
        if self.unflushed.is_empty() {
            self.unflushed = list;
        }
    }

    fn flush_stream(&mut self, token: Token) {
        let (now, unix_ms) = (self.now, self.unix_ms);
        let Some(sock) = self.socks.get_mut(token.place()) else { return };
        let (flow, Some(member)) = (sock.flow, self.nodes.get_mut(sock.node)) else { return };
        let Kind::Stream(stream) = &mut sock.kind else { return };
        stream.listed = false;
        let before = stream.state;
        let result = stream.flush(&mut self.fill, |room, buf| {
            member.node.fill(&mut Ctx { now, unix_ms, rng: &mut member.rng }, flow, room, buf);
            debug_assert!(buf.len() <= room, "{} filled more than its room", member.name);
        });
        let after = stream.state;
        match result {
            Err(why) => return self.end_stream(token, &why),
            Ok(_) if after == State::Connecting => {}
            Ok(Flushed::Idle) => self.set_interest(token, IN),
            Ok(Flushed::Waiting) => self.set_interest(token, IN | OUT),
        }
        if before == State::Leaving && after == State::Shut {
            self.timers.set(token, self.now + SHUT_TIMEOUT);
        }
    }

    fn set_interest(&mut self, token: Token, interest: u32) {
        let Some(sock) = self.socks.get_mut(token.place()).filter(|s| s.token == token) else { return };
        let Kind::Stream(stream) = &mut sock.kind else { return };
        let interest = if stream.paused { interest & !IN } else { interest };
        if stream.interest == interest {
            return;
        }
        stream.interest = interest;
        let epoll = if stream.class == Class::Media { &self.media } else { &self.main };
        if let Err(error) = epoll.change(stream.socket.as_fd(), token.0, interest) {
            self.end_stream(token, &reason(&error));
        }
    }
}

fn start_connect(connect: &Connect) -> io::Result<TcpStream> {
    let domain = Domain::for_address(connect.to);
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    match socket.connect(&connect.to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}
