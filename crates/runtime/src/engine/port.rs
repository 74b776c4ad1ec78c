//! A datagram port, and its short way to the address that it sends to all the time.
//!
//! For each datagram that leaves an unconnected socket the kernel looks up the way anew. A media port sends fifty a second to
//! one address for minutes; so it gets a second socket, bound to the same port and connected there, which remembers the
//! way. The first one stays: the kernel gives it what others send, so that the node hears exactly what it would have
//! heard, each datagram with its source.

use crate::sys::Sent;
use causeway_node::Class;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Datagrams to one address in a row that make the short way worth its socket: half a second of speech.
const ENOUGH: u32 = 25;

/// A bound port.
pub(super) struct Port {
    pub socket: UdpSocket,
    pub media: bool,
    /// Connected to where datagrams have been going for long, at last or until a moment ago.
    pub direct: Option<Direct>,
    /// Where the last datagram went, and how many have in a row.
    to: Option<SocketAddr>,
    row: u32,
}

/// The connected socket of a port.
pub(super) struct Direct {
    pub socket: UdpSocket,
    peer: SocketAddr,
}

/// What has become of a datagram of a media port.
pub(super) enum Left {
    /// It is gone, or refused for good; nothing else is to be done.
    Done(Sent),
    /// The same, and the port has been sending there for so long that it is worth a short way.
    Often(Sent),
}

impl Port {
    pub fn new(socket: UdpSocket, class: Class) -> Self {
        Self { socket, media: class == Class::Media, direct: None, to: None, row: 0 }
    }

    /// Sends a datagram of a media port. At once: a batch would hold those of one port alone, and there is one per tick.
    pub fn send_media(&mut self, to: SocketAddr, bytes: &[u8]) -> Left {
        if let Some(direct) = &self.direct
            && direct.peer == to
            && self.to == Some(to)
        {
            return Left::Done(self.send_directly(to, bytes));
        }
        let sent = outcome(1, &self.socket.send_to(bytes, to));
        if self.to != Some(to) {
            (self.to, self.row) = (Some(to), 0);
        }
        self.row = self.row.saturating_add(1);
        if self.row == ENOUGH { Left::Often(sent) } else { Left::Done(sent) }
    }

    fn send_directly(&self, to: SocketAddr, bytes: &[u8]) -> Sent {
        let Some(direct) = &self.direct else { return Sent::default() };
        match direct.socket.send(bytes) {
            Ok(_) => Sent { sent: 1, failed: 0, calls: 1 },
            // What ICMP has said of an earlier datagram, as a rule. It must not cost this one.
            Err(_) => outcome(2, &self.socket.send_to(bytes, to)),
        }
    }

    /// Opens the short way to where the last datagrams went, or turns the one there is; whether there is a new socket. What
    /// fails leaves everything as it was: the long way always works.
    pub fn shorten(&mut self) -> bool {
        let Some(peer) = self.to else { return false };
        if let Some(direct) = &mut self.direct {
            // What has come from the old peer stays in its queue, with its source.
            if direct.socket.connect(peer).is_ok() {
                direct.peer = peer;
            }
            return false;
        }
        match open_beside(&self.socket, peer) {
            Ok(socket) => self.direct = Some(Direct { socket, peer }),
            Err(error) => tracing::debug!(%peer, "a media port stays unconnected: {error}"),
        }
        self.direct.is_some()
    }

    /// Both sockets, for what concerns what they send.
    pub fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        std::iter::once(&self.socket).chain(self.direct.as_ref().map(|direct| &direct.socket))
    }
}

fn outcome(calls: u64, result: &io::Result<usize>) -> Sent {
    let sent = u64::from(result.is_ok());
    Sent { sent, failed: 1 - sent, calls }
}

/// A socket on the same port as `beside`, connected to `peer`.
fn open_beside(beside: &UdpSocket, peer: SocketAddr) -> io::Result<UdpSocket> {
    let local = beside.local_addr()?;
    if local.ip().is_unspecified() || local.is_ipv4() != peer.is_ipv4() {
        // Connecting would choose one of several addresses for good.
        return Err(io::ErrorKind::Unsupported.into());
    }
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    // The system gives out the lowest numbers: beyond half of the limit, descriptors are kept for new calls.
    if socket.as_raw_fd() as u64 >= crate::sys::descriptor_limit() / 2 {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(SockRef::from(beside).tclass_v6()?)?;
    } else {
        socket.set_tos_v4(SockRef::from(beside).tos_v4()?)?;
    }
    // Both must allow it, and only while the second one is bound: nobody else shall have the port as well.
    SockRef::from(beside).set_reuse_address(true)?;
    let bound = socket.set_reuse_address(true).and_then(|()| socket.bind(&local.into()));
    let closed = SockRef::from(beside).set_reuse_address(false);
    bound.and(closed)?;
    socket.set_reuse_address(false)?;
    socket.connect(&peer.into())?;
    Ok(socket.into())
}
