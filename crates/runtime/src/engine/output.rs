//! Outputs, carried out.

use super::{Engine, Kind, Later, Token};
use crate::authority::unavailable;
use crate::resolve::{Resolver, What};
use causeway_node::{Dscp, Flow, Level, Output, Question};
use socket2::SockRef;
use std::io;
use std::os::fd::AsFd;

impl Engine {
    /// Carries out what is in a node's outbox.
    pub(super) fn drain(&mut self, node: usize) {
        if self.nodes[node].out.is_empty() {
            return;
        }
        let mut out = std::mem::take(&mut self.nodes[node].out);
        out.drain(|gate, output| {
            if let Some(output) = self.nodes[node].journal.held.pass(gate, output) {
                self.act(node, output);
            }
        });
        self.nodes[node].out = out;
    }

    pub(super) fn act(&mut self, node: usize, output: Output<'_>) {
        match output {
            Output::Datagram { flow, to, bytes, loose } => self.send_datagram(node, flow, to, bytes, loose),
            Output::Stream { flow, bytes } => self.queue_bytes(node, flow, bytes),
            Output::Wake { flow } => self.ask_wake(node, flow),
            Output::Mark { flow, dscp } => self.mark(node, flow, dscp),
            Output::Pause { flow, paused } => self.pause(node, flow, paused),
            Output::Bind { flow, local, class } => self.bind(node, flow, local, class),
            Output::Listen { flow, local, transport, class } => {
                self.listen(node, flow, local, transport, class)
            }
            Output::Connect { flow, connect } => self.connect(node, flow, connect),
            Output::Close { flow } => self.close(node, flow),
            Output::Hand { to, bytes } => {
                if let Some(group) = &mut self.nodes[node].group {
                    group.hand(to, bytes);
                }
            }
            Output::HandOver { flow, to, bytes } => self.hand_over(node, flow, to, bytes),
            Output::Persist { seq, record } => self.nodes[node].journal.write(seq, record.clone()),
            Output::Ask { id, question } => self.ask(node, id, question),
            Output::Line { journal, line } => {
                if let Some((_, log)) = self.nodes[node].lines.iter().find(|(name, _)| *name == journal) {
                    log.append(line);
                }
            }
            Output::Notice { level, text } => self.notice(node, level, text),
        }
    }

    /// Best effort: a packet that goes out unmarked is better than none.
    fn mark(&mut self, node: usize, flow: Flow, dscp: Dscp) {
        // What is batched was meant to go out as it was.
        let sent = self.send.flush();
        self.counters.sent(sent);
        let Some(sock) = self.flow_token(node, flow).and_then(|token| self.sock(token)) else { return };
        let fd = match &sock.kind {
            Kind::Udp(port) => {
                return port.sockets().for_each(|socket| mark(SockRef::from(socket), flow, dscp));
            }
            Kind::Listener(listener) => listener.socket.as_fd(),
            Kind::Stream(stream) => stream.socket.as_fd(),
            Kind::Inside(_) => return,
        };
        mark(SockRef::from(&fd), flow, dscp);
    }

    fn close(&mut self, node: usize, flow: Flow) {
        let Some(token) = self.flow_token(node, flow) else { return };
        match self.sock(token).map(|sock| &sock.kind) {
            Some(Kind::Stream(_)) => self.leave(token),
            Some(Kind::Inside(_)) => self.close_inside(token),
            Some(Kind::Udp(_) | Kind::Listener(_)) => self.forget(token),
            None => drop(self.nodes[node].flows.remove(&flow)),
        }
    }

    /// Removes a socket; closing the descriptor takes it out of its epoll set as well.
    pub(super) fn forget(&mut self, token: Token) {
        let Some(sock) = self.sock(token) else { return };
        let (node, flow) = (sock.node, sock.flow);
        match &sock.kind {
            // Its last datagrams are still in the batch.
            Kind::Udp(_) => {
                let sent = self.send.flush();
                self.counters.sent(sent);
            }
            Kind::Stream(_) => self.connections = self.connections.saturating_sub(1),
            Kind::Listener(_) | Kind::Inside(_) => {}
        }
        self.timers.cancel(token);
        self.socks.remove(token.place());
        if let Some(member) = self.nodes.get_mut(node)
            && member.flows.get(&flow) == Some(&token)
        {
            member.flows.remove(&flow);
        }
    }

    fn ask(&mut self, node: usize, question: u64, what: &Question) {
        let answer = match what {
            Question::Resolve { host, port } => match Resolver::literal(host, *port) {
                Some(answer) => Some(answer),
                None => self.resolver.ask(node, question, What::Host(host.clone(), *port)),
            },
            Question::Records { name, kind } => {
                self.resolver.ask(node, question, What::Records(name.clone(), *kind))
            }
            Question::Subscriber { .. } | Question::Credential(_) | Question::UserKey(_) => {
                match &mut self.nodes[node].authority {
                    Some(authority) => authority.ask(question, what),
                    None => Some(unavailable(what)),
                }
            }
        };
        if let Some(answer) = answer {
            self.later.push_back((node, Later::Answer { question, answer }));
        }
    }

    fn notice(&self, node: usize, level: Level, text: &str) {
        let node = self.nodes[node].name.as_str();
        match level {
            Level::Debug => tracing::debug!(node, "{text}"),
            Level::Info => tracing::info!(node, "{text}"),
            Level::Warn => tracing::warn!(node, "{text}"),
            Level::Error => tracing::error!(node, "{text}"),
        }
    }
}

fn mark(socket: SockRef<'_>, flow: Flow, dscp: Dscp) {
    if let Err(error) = set_dscp(socket, dscp) {
        tracing::debug!(flow = flow.0, "packets cannot be marked: {error}");
    }
}

/// Sets the type of service or the traffic class (ip(7), ipv6(7)); an IPv6 socket that also takes IPv4 has both.
fn set_dscp(socket: SockRef<'_>, dscp: Dscp) -> io::Result<()> {
    let octet = u32::from(dscp.octet());
    match socket.local_addr()?.is_ipv6() {
        true => {
            let _ = socket.set_tos_v4(octet);
            socket.set_tclass_v6(octet)
        }
        false => socket.set_tos_v4(octet),
    }
}
