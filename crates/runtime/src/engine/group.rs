//! A worker's part in the groups of its nodes.

use super::Engine;
use crate::sys::steer_by_mark;
use causeway_node::Input;
use socket2::{Domain, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

/// With whom an address is shared (SO_REUSEPORT, socket(7)): who may have a port that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Nobody.
    Alone,
    /// The other members of a group, and this is the first of them: no other process has it yet.
    First,
    /// A group whose first member has it.
    Further,
}

impl Sharing {
    pub fn bind(self, socket: &Socket, local: SocketAddr) -> io::Result<()> {
        if self == Self::First {
            // Sharing a port, we would not notice that another process of this user shares it as well.
            let alone = Socket::new(Domain::for_address(local), socket.r#type()?, socket.protocol()?)?;
            if local.is_ipv6() {
                alone.set_only_v6(true)?;
            }
            if socket.r#type()? == Type::STREAM {
                alone.set_reuse_address(true)?;
            }
            alone.bind(&local.into())?;
        }
        if self != Self::Alone {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&local.into())?;
        if self == Self::First
            && socket.r#type()? == Type::DGRAM
            && let Err(error) = steer_by_mark(socket.as_fd())
        {
            tracing::debug!(%local, "datagrams are dealt out without a look at them: {error}");
        }
        Ok(())
    }
}

impl Engine {
    /// Who shares an address that a node wants; one whose port the system chooses is nobody else's.
    pub(super) fn sharing(&self, node: usize, local: SocketAddr) -> Sharing {
        match self.nodes.get(node).and_then(|member| member.group.as_ref()) {
            Some(group) if local.port() != 0 && group.members().len() > 1 => match group.own() {
                0 => Sharing::First,
                _ => Sharing::Further,
            },
            _ => Sharing::Alone,
        }
    }

    /// Puts what the nodes have given to other members into their lanes.
    pub(super) fn post(&mut self) {
        self.nodes.iter_mut().filter_map(|member| member.group.as_mut()).for_each(|group| group.post());
    }

    /// Hands over what other members have given: what the lanes hold, and what came meanwhile in the next round.
    pub(super) fn take_handed(&mut self) {
        for node in 0..self.nodes.len() {
            let Some(mut group) = self.nodes[node].group.take() else { continue };
            let mut fullest = 0;
            for from in group.members() {
                let full = group.take(from, |parcels| {
                    for bytes in parcels.iter() {
                        self.hand(node, Input::Handed { from, bytes });
                    }
                });
                fullest = fullest.max(full.unwrap_or(0));
            }
            self.nodes[node].group = Some(group);
            self.nodes[node].press_by_group(fullest);
        }
    }

    /// How long to wait, now that the worker is about to: not at all if something has come from other members.
    pub(super) fn doze(&self, timeout: Option<Duration>) -> Option<Duration> {
        if timeout == Some(Duration::ZERO) {
            return timeout;
        }
        let quiet = self.nodes.iter().filter_map(|member| member.group.as_ref()).all(|group| group.doze());
        if quiet { timeout } else { Some(Duration::ZERO) }
    }

    pub(super) fn awake(&self) {
        self.nodes.iter().filter_map(|member| member.group.as_ref()).for_each(|group| group.wake());
    }

    /// Whether all members of the groups have drained; `own` says whether this worker has.
    pub(super) fn groups_drained(&self, own: bool) -> bool {
        let mut groups = self.nodes.iter().filter_map(|member| member.group.as_ref());
        groups.all(|group| group.all_drained(own)) && own
    }
}
