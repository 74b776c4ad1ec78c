//! Connections that go from one worker to another: the socket, the state of TLS, and what was read and not used.

use super::stream::{State, Stream};
use super::{Command, Engine, Kind, Later, Opening, Token};
use crate::sys::IN;
use causeway_node::{Class, Flow};
use socket2::SockRef;
use std::os::fd::AsFd;
use std::time::Duration;

/// A connection between two workers.
pub(crate) struct Moving {
    /// The name of the node that it is for.
    node: String,
    stream: Box<Stream>,
    unread: Vec<u8>,
}

impl Engine {
    /// Gives a connection to another member of the node's group. Nothing is read from it in between: what arrives waits in the socket.
    pub(super) fn hand_over(&mut self, node: usize, flow: Flow, to: u16, unread: &[u8]) {
        let Some(token) = self.flow_token(node, flow) else { return };
        let Some(stream) = self.take_stream(token) else { return };
        let name = self.nodes[node].name.clone();
        let moving = Moving { node: name, stream, unread: unread.to_vec() };
        let mail = self.nodes[node].group.as_ref().and_then(|group| group.mail(to));
        if mail.is_some_and(|mail| mail.send(Command::Adopt(Box::new(moving)))) {
            self.counters.handed_over += 1;
        } else {
            let node = &self.nodes[node].name;
            tracing::warn!(node, "a connection for worker {to}, which does not run, is closed");
        }
    }

    /// Takes an open connection out of everything that knows it.
    fn take_stream(&mut self, token: Token) -> Option<Box<Stream>> {
        let sock = self.socks.get_mut(token.place()).filter(|sock| sock.token == token)?;
        let Kind::Stream(stream) = &sock.kind else { return None };
        if stream.state != State::Open {
            return None;
        }
        let epoll = if stream.class == Class::Media { &self.media } else { &self.main };
        // It stays open, so that it would go on waking this worker.
        let _ = epoll.remove(stream.socket.as_fd());
        let (node, flow) = (sock.node, sock.flow);
        self.timers.cancel(token);
        self.connections = self.connections.saturating_sub(1);
        if let Some(member) = self.nodes.get_mut(node) {
            member.flows.remove(&flow);
        }
        match self.socks.remove(token.place()).kind {
            Kind::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// Takes a connection from another member.
    pub(super) fn adopt(&mut self, moving: Moving) {
        let Moving { node, mut stream, unread } = moving;
        let node = self.nodes.iter().position(|member| member.name == node);
        let secured = stream.secured();
        let crowded = self.connections >= self.options.max_connections;
        let (Some(node), Ok(secured), false) = (node, secured, crowded || self.draining) else {
            self.counters.accept_refused += 1;
            // A reset: its peer is to try again, and may find another worker.
            let _ = SockRef::from(&stream.socket).set_linger(Some(Duration::ZERO));
            return;
        };
        (stream.listed, stream.asking, stream.paused, stream.interest) = (false, false, false, IN);
        let (listener, local, peer, class) = (stream.listener, stream.local, stream.peer, stream.class);
        let flow = self.nodes[node].accepted_flow();
        let token = self.insert(node, flow, Kind::Stream(stream));
        self.connections += 1;
        let epoll = if class == Class::Media { &self.media } else { &self.main };
        let added = match self.socks.get(token.place()).map(|sock| &sock.kind) {
            Some(Kind::Stream(stream)) => epoll.add(stream.socket.as_fd(), token.0, IN),
            _ => Ok(()),
        };
        if let Err(error) = added {
            tracing::warn!(%peer, "a connection cannot be taken over: {error}");
            return self.forget(token);
        }
        let opening = Opening { flow, listener, local, peer, secured };
        self.later.push_back((node, Later::Opened(token, Box::new(opening))));
        self.hand_stream(token, &unread);
        self.list(token);
    }
}
