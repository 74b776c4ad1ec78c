//! Hubs of one group ([`causeway_node`], "Groups"): messages that one has received and another shall serve, and
//! connections that belong to another.
//!
//! A hub that hands a message on tells the connection it came on first. The other hub then has that connection as if
//! it were its own: it is found by its peer, names what its certificate proves, and takes messages, which go back to
//! the hub that owns the socket. When it is gone, all who have been told of it are told that.

use super::Hub;
use super::connections::Connection;
use crate::Message;
use crate::transaction::{Hop, Transport};
use causeway_node::{Flow, Outbox};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// What one hub gives to another. Each begins with its number; numbers are in network order.
#[derive(Debug, PartialEq)]
enum Parcel<'a> {
    /// A message that has come by datagram.
    Datagram { peer: SocketAddr, message: &'a [u8] },
    /// A connection of the sender's.
    Connection {
        flow: Flow,
        transport: Transport,
        peer: SocketAddr,
        local: SocketAddr,
        server_name: Option<&'a str>,
        names: Vec<String>,
    },
    /// A message that has come on it.
    Message { flow: Flow, message: &'a [u8] },
    /// It is gone.
    Gone { flow: Flow },
    /// A message to be sent on a connection of the receiver's.
    Send { flow: Flow, message: &'a [u8] },
}

const DATAGRAM: u8 = 1;
const CONNECTION: u8 = 2;
const MESSAGE: u8 = 3;
const GONE: u8 = 4;
const SEND: u8 = 5;

impl Hub {
    /// Members that a group of hubs may have.
    pub const MEMBERS: u16 = 64;

    /// Gives a message to another member of the group, with where it came from. It was judged here; there it counts as
    /// arrived, and is handed on no further.
    pub fn hand(&mut self, to: u16, from: &Hop, message: &[u8], out: &mut Outbox) {
        self.handed += 1;
        let mut parcel = std::mem::take(&mut self.parcel);
        parcel.clear();
        if from.transport == Transport::Udp {
            parcel.push(DATAGRAM);
            put_address(&mut parcel, from.peer);
        } else {
            let Some(connection) = self.table.get(from.flow) else {
                self.parcel = parcel;
                return;
            };
            if !connection.is_told(to) {
                put_connection(&mut parcel, from.flow, connection);
                out.hand(to, &parcel);
                self.table.tell(from.flow, to);
                parcel.clear();
            }
            parcel.push(MESSAGE);
            parcel.extend_from_slice(&from.flow.0.to_be_bytes());
        }
        parcel.extend_from_slice(message);
        out.hand(to, &parcel);
        self.parcel = parcel;
    }

    /// What another member has given.
    pub(super) fn handed(
        &mut self,
        from: u16,
        bytes: &[u8],
        out: &mut Outbox,
        arrived: &mut Vec<(Hop, Message)>,
    ) -> bool {
        match Parcel::read(bytes) {
            Some(Parcel::Datagram { peer, message }) => {
                let hop = Hop { flow: self.udp(), peer, transport: Transport::Udp };
                arrived
                    .extend(Message::parse_in(&mut self.spare, message).ok().map(|message| (hop, message)));
            }
            Some(Parcel::Connection { flow, transport, peer, local, server_name, names }) => {
                let names = names.as_slice();
                let connection =
                    Connection::of_member((from, flow), peer, local, transport, names, server_name);
                self.table.learn(connection);
            }
            Some(Parcel::Message { flow, message }) => {
                let known = self.table.of_member(from, flow);
                let hop = known.and_then(|flow| {
                    let connection = self.table.get(flow)?;
                    Some(Hop { flow, peer: connection.peer, transport: connection.transport })
                });
                arrived.extend(hop.zip(Message::parse_in(&mut self.spare, message).ok()));
            }
            Some(Parcel::Gone { flow }) => self.table.lose(from, flow),
            Some(Parcel::Send { flow, message }) => {
                // A connection that is gone is reported on its own.
                self.table.send(self.now, flow, message, out);
            }
            None => return false,
        }
        true
    }
}

/// Tells the member that owns a connection to send on it.
pub(super) fn send(to: u16, flow: Flow, message: &[u8], out: &mut Outbox) {
    let mut parcel = Vec::with_capacity(5 + message.len());
    parcel.push(SEND);
    parcel.extend_from_slice(&flow.0.to_be_bytes());
    parcel.extend_from_slice(message);
    out.hand(to, &parcel);
}

/// Tells a member that a connection is gone.
pub(super) fn gone(to: u16, flow: Flow, out: &mut Outbox) {
    let [a, b, c, d] = flow.0.to_be_bytes();
    out.hand(to, &[GONE, a, b, c, d]);
}

fn put_connection(parcel: &mut Vec<u8>, flow: Flow, connection: &Connection) {
    parcel.push(CONNECTION);
    parcel.extend_from_slice(&flow.0.to_be_bytes());
    parcel.push(u8::from(connection.transport == Transport::Tls));
    put_address(parcel, connection.peer);
    put_address(parcel, connection.local);
    let opened_for = connection.server_name();
    parcel.push(u8::from(opened_for.is_some()));
    put_text(parcel, opened_for.unwrap_or_default());
    // What is beyond 65,535 names or bytes proves nothing then.
    let count = u16::try_from(connection.names.len()).unwrap_or(u16::MAX);
    parcel.extend_from_slice(&count.to_be_bytes());
    connection.names.iter().take(usize::from(count)).for_each(|name| put_text(parcel, name));
}

fn put_text(parcel: &mut Vec<u8>, text: &str) {
    let text = if text.len() > usize::from(u16::MAX) { "" } else { text };
    parcel.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    parcel.extend_from_slice(text.as_bytes());
}

fn put_address(parcel: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            parcel.push(4);
            parcel.extend_from_slice(&v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            parcel.push(6);
            parcel.extend_from_slice(&v6.ip().octets());
            parcel.extend_from_slice(&v6.scope_id().to_be_bytes());
        }
    }
    parcel.extend_from_slice(&address.port().to_be_bytes());
}

impl<'a> Parcel<'a> {
    /// `None` if it is none: that would be a fault of ours, and must not become a panic.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let mut rest = Reader(rest);
        if *kind == DATAGRAM {
            return Some(Self::Datagram { peer: rest.address()?, message: rest.0 });
        }
        let flow = Flow(u32::from_be_bytes(rest.take()?));
        Some(match *kind {
            MESSAGE => Self::Message { flow, message: rest.0 },
            SEND => Self::Send { flow, message: rest.0 },
            GONE => Self::Gone { flow },
            CONNECTION => {
                let transport = if rest.take()? == [1] { Transport::Tls } else { Transport::Tcp };
                let (peer, local) = (rest.address()?, rest.address()?);
                let opened = rest.take()? == [1];
                let server_name = Some(rest.text()?).filter(|_| opened);
                let count = u16::from_be_bytes(rest.take()?);
                let names = (0..count).map(|_| rest.text().map(str::to_owned)).collect::<Option<_>>()?;
                Self::Connection { flow, transport, peer, local, server_name, names }
            }
            _ => return None,
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn address(&mut self) -> Option<SocketAddr> {
        match self.take()? {
            [4u8] => {
                let ip = IpAddr::from(self.take::<4>()?);
                Some(SocketAddr::new(ip, u16::from_be_bytes(self.take()?)))
            }
            [6] => {
                let ip = self.take::<16>()?.into();
                let scope = u32::from_be_bytes(self.take()?);
                Some(SocketAddrV6::new(ip, u16::from_be_bytes(self.take()?), 0, scope).into())
            }
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::from(u16::from_be_bytes(self.take()?));
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parcels_are_read_as_they_were_written_and_nothing_else_panics() {
        let (v4, v6): (SocketAddr, SocketAddr) =
            ("192.0.2.1:5060".parse().unwrap(), "[2001:db8::1%3]:5061".parse().unwrap());
        let names = ["example.com".to_owned(), String::new()];
        let connection =
            Connection::of_member((0, Flow(9)), v4, v6, Transport::Tls, &names, Some("peer.example"));
        let mut parcel = Vec::new();
        put_connection(&mut parcel, Flow(9), &connection);
        let expected = Parcel::Connection {
            flow: Flow(9),
            transport: Transport::Tls,
            peer: v4,
            local: v6,
            server_name: Some("peer.example"),
            names: names.to_vec(),
        };
        assert_eq!(Parcel::read(&parcel), Some(expected));
        for cut in 0..parcel.len() {
            assert_eq!(Parcel::read(&parcel[..cut]), None, "cut at {cut}");
        }
        let mut parcel = vec![DATAGRAM];
        put_address(&mut parcel, v6);
        parcel.extend_from_slice(b"OPTIONS");
        assert_eq!(Parcel::read(&parcel), Some(Parcel::Datagram { peer: v6, message: b"OPTIONS" }));
        for kind in 0..=u8::MAX {
            let _ = Parcel::read(&[kind, 6, 0xff, 0xff, 0xff, 0xff]);
        }
    }
}
