//! Transactions: requests and their responses, over transports that lose and repeat (RFC 3261 §17, RFC 6026).
//!
//! A [`Layer`] holds all transactions of one element. What arrives goes into [`Layer::receive`]; what the
//! element should know comes out of [`Layer::poll`]; what must be sent goes through a [`Sink`] at once.
//! The element starts client transactions by [`Layer::request`] and answers server transactions by
//! [`Layer::respond`].
//!
//! Bounds: at most [`Layer::LIMIT`] server transactions under way. A request beyond it is not answered (its
//! sender repeats it, which is the congestion control that UDP has), and counted. Transactions that have ended
//! are remembered for what may be repeated, at most [`Layer::REMEMBERED`]; beyond that the oldest goes before
//! its time, and a repetition that comes later still is taken for a request of its own.

mod branch;
mod event;
mod forgetting;
mod layer;
mod machine;
mod matching;
mod response_path;
mod running;
mod shelf;
mod stateless;
mod timing;

#[cfg(test)]
mod tests;

pub use branch::{Branch, BranchKey};
pub use event::{ClientId, Event, Failure, Purpose, ServerId};
pub use layer::Layer;
pub use machine::{Client, Server, Step, Timer};
pub use stateless::{StatelessTags, respond_statelessly, stamped};
pub use timing::Timing;

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

/// Takes messages that are to be sent now.
pub trait Sink {
    /// Sends one message to one hop.
    fn send(&mut self, hop: &Hop, message: &[u8]);

    /// The same for a message whose place among those for the hop does not matter, as that of an answer without a
    /// transaction.
    fn send_loose(&mut self, hop: &Hop, message: &[u8]) {
        self.send(hop, message);
    }
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
