//! Transactions: requests and their responses, over transports that lose and repeat (RFC 3261 §17, RFC 6026).
//!
//! A [`Layer`] holds all transactions of one element. What arrives goes into [`Layer::receive`]; what the
//! element should know comes out of [`Layer::poll`]; what must be sent goes through a [`Sink`] at once.
//! The element starts client transactions by [`Layer::request`] and answers server transactions by
//! [`Layer::respond`].
//!
//! Bounds: at most [`Layer::LIMIT`] transactions on either side. A request beyond it is not answered (its
//! sender repeats it, which is the congestion control that UDP has), and counted.

mod branch;
mod forgetting;
mod layer;
mod machine;
mod matching;
mod response_path;
mod timing;

#[cfg(test)]
mod tests;

pub use branch::{Branch, BranchKey};
pub use layer::{ClientId, Event, Failure, Layer, ServerId};
pub use machine::{Client, Server, Step, Timer};
pub use timing::Timing;

use crate::{Message, Msg};
use causeway_node::{Flow, Outbox};
use std::net::SocketAddr;

/// What carries a message on one hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP: messages may be lost, repeated and reordered.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// The SIP lane of a tunnel.
    Tunnel,
}

impl Transport {
    /// Whether messages arrive once and in order as long as the connection lives.
    pub fn reliable(self) -> bool {
        self != Self::Udp
    }

    /// The name in a Via header field (RFC 3261 §20.42). A tunnel says TLS, which it is.
    pub fn via(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls | Self::Tunnel => "TLS",
        }
    }
}

/// One end of a hop: where a message came from, or where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The socket of ours.
    pub flow: Flow,
    /// The address at the other end.
    pub peer: SocketAddr,
    /// What runs between.
    pub transport: Transport,
}

/// Answers a request without a transaction (RFC 3261 §8.2.7): as a challenge or a refusal is best given, since it
/// costs nothing to keep. `answer` makes the response; `received` and `rport` of the request are filled in. The To
/// tag must be the same for each retransmission: [`stateless_tag`] is one.
pub fn respond_statelessly(
    from: Hop,
    request: Message,
    answer: impl FnOnce(Msg<'_>) -> Vec<u8>,
    sink: &mut impl Sink,
) {
    let (request, hop) = response_path::stamp(request, from);
    sink.send(&hop, &answer(request.msg()));
}

/// A request as a server takes it: with `received` and `rport` of its top Via filled in (RFC 3261 §18.2.1,
/// RFC 3581 §4), for who forwards it without a transaction.
pub fn stamped(request: Message, from: Hop) -> Message {
    response_path::stamp(request, from).0
}

/// A To tag that depends on the request alone, hence is the same for its retransmissions (RFC 3261 §8.2.7).
pub fn stateless_tag(request: Msg<'_>) -> [u8; 10] {
    let parts = [request.top_via().and_then(|via| via.branch()), request.from_tag(), request.call_id()];
    let bytes = parts.into_iter().flatten().flatten();
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let mut tag = *b"cw00000000";
    for (at, digit) in tag[2..].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(hash >> (28 - 4 * at)) as usize & 15];
    }
    tag
}

/// Takes messages that are to be sent now.
pub trait Sink {
    /// Sends one message to one hop.
    fn send(&mut self, hop: &Hop, message: &[u8]);
}

/// An outbox sends on datagram ports and plain connections. A hop through a tunnel needs an element that
/// knows its tunnels; given one, an outbox queues the message on the tunnel's own connection, unframed.
impl Sink for Outbox {
    fn send(&mut self, hop: &Hop, message: &[u8]) {
        match hop.transport {
            Transport::Udp => self.datagram(hop.flow, hop.peer, message),
            Transport::Tcp | Transport::Tls | Transport::Tunnel => self.stream(hop.flow, message),
        }
    }
}
