//! Where responses go: what a server notes in the top Via when a request arrives (RFC 3261 §18.2, RFC 3581).

use super::{Hop, Transport};
use crate::{Edit, Message, Msg};
use std::net::SocketAddr;

/// The request with `received` and `rport` of its top Via filled in, where they are due; and where the responses go: over
/// the same connection, or to the source of the datagram.
pub(super) fn stamp(msg: Msg<'_>, from: Hop) -> (Option<Message>, Hop) {
    let Some(via) = msg.top_via() else { return (None, from) };
    let asks = via.rport().is_some();
    let hop = match from.transport {
        // A client that does not ask for rport listens on the port of its sent-by (§18.2.2).
        Transport::Udp if !asks => {
            Hop { peer: SocketAddr::new(from.peer.ip(), via.port.unwrap_or(5060)), ..from }
        }
        _ => from,
    };
    if !asks && via.received().is_none() && via.host_ip() == Some(from.peer.ip()) {
        return (None, hop);
    }
    let mut edit = Edit::default();
    edit.mark_received(msg, from.peer);
    if edit.is_empty() {
        return (None, hop);
    }
    let mut bytes = Vec::with_capacity(msg.bytes().len() + 64);
    edit.apply(msg, &mut bytes);
    (Message::parse(bytes).ok(), hop)
}
