//! The contract between a role and the world.
//!
//! A role (an agent, a contact point, an exchange, a phone …) is a [`Node`]: a value that is told what
//! happened ([`Input`]) and says what shall happen ([`Outbox`]). **A node does no I/O, reads no clock and
//! draws no randomness of its own**: time, entropy and bytes come in by argument, bytes to send and records
//! to keep go out. That is the one invariant; everything else follows from it. The same value runs on real
//! sockets (crate `runtime`) and on virtual time with loss and NATs (crate `sim`).
//!
//! # Driving a node
//! Whoever owns the sockets repeats four steps:
//! 1. wait until something arrives or [`Node::deadline`] has come;
//! 2. hand over all that is there, one [`Node::handle`] each, with the time it arrived;
//! 3. drain the [`Outbox`] once: commit the records, then carry out the outputs in order;
//! 4. for every stream flow that asked ([`Outbox::wake`]) and whose socket is writable, call [`Node::fill`].
//!
//! ```
//! use causeway_node::{Ctx, Flow, Input, Node, Outbox, Output, Time};
//!
//! /// Sends every datagram back to where it came from.
//! struct Echo;
//! impl Node for Echo {
//!     fn handle(&mut self, _ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
//!         match input {
//!             Input::Start => out.bind(Flow(0), "127.0.0.1:7".parse().unwrap(), causeway_node::Class::Signalling),
//!             Input::Datagram { flow, from, bytes } => out.datagram(flow, from, bytes),
//!             _ => {}
//!         }
//!     }
//!     fn deadline(&self) -> Option<Time> { None }
//! }
//!
//! let mut rng = causeway_node::testing::CountingRng::default();
//! let mut ctx = Ctx { now: Time::ZERO, unix_ms: 0, rng: &mut rng };
//! let mut out = Outbox::default();
//! let mut echo = Echo;
//! echo.handle(&mut ctx, Input::Start, &mut out);
//! let from = "127.0.0.1:9".parse().unwrap();
//! echo.handle(&mut ctx, Input::Datagram { flow: Flow(0), from, bytes: b"hello" }, &mut out);
//! let mut sent = Vec::new();
//! out.drain(|_gate, output| {
//!     if let Output::Datagram { to, bytes, .. } = output { sent.push((to, bytes.to_vec())) }
//! });
//! assert_eq!(sent, [(from, b"hello".to_vec())]);
//! ```
//!
//! # What waits, and what does not
//! * **Questions** ([`Outbox::ask`]) are the only waiting: name resolution, a credential held elsewhere. The
//!   answer comes back as [`Input::Answer`] with the node's own number for it. Everything else is answered
//!   from memory.
//! * **Persist before transmit**: what promises something (a granted binding, a used sequence number) is put
//!   inside [`Outbox::gated`] with the number that [`Outbox::persist`] returned. The driver holds those
//!   outputs back until the record is on disk, and drops them if it cannot be written; then it stops the
//!   node rather than let it promise. All other outputs leave at once.
//! * **Media is not queued here**: a node that carries media over a stream keeps its own bounded lanes and
//!   is asked for the next bytes only when the socket takes them ([`Node::fill`]), so that what has become
//!   late can still be dropped.
//!
//! # Groups
//! One role may be served by several nodes of one process, each on a thread of its own: a group, whose members are
//! numbered from 0. They share ports: the driver lets all of them bind and listen on one address, and the system
//! chooses who receives what; a datagram that holds the [`Mark`] of a member goes to that one where the driver can see to
//! it, which saves handing it on and is no promise. A member gives bytes to another by [`Outbox::hand`], which hears them as
//! [`Input::Handed`]. Between any two members order is kept; what goes from one to another is bounded by the driver
//! (4 MiB in crate `runtime`), what exceeds that is lost and counted, as on a network. What the bytes mean, the nodes
//! agree on; they come from the same program, so they may be believed. Connections are their owner's: a member that
//! wants to send on another's asks it to.
//!
//! # Panics
//! A node that panics has a bug: nothing that arrives from outside may cause one.

mod dscp;
mod held;
mod mark;
mod metrics;
mod newcomers;
mod numbers;
mod outbox;
mod question;
mod serials;
mod time;
mod timers;
mod user_key;

pub mod testing;

pub use dscp::{Dscp, DscpError};
pub use held::Held;
pub use mark::Mark;
pub use metrics::{Metric, Metrics};
pub use newcomers::Newcomers;
pub use numbers::{NumberHasher, NumberMap};
pub use outbox::{Class, Connect, Gate, Level, Outbox, Output, Record, Through, Transport};
pub use question::{
    Answer, Credential, CredentialParts, Credentials, DnsRecord, Lookup, Question, RecordKind,
};
pub use rand_core::RngCore;
pub use serde_json::Value as Status;
pub use serials::SerialMap;
pub use time::Time;
pub use timers::Timers;
pub use user_key::{DerivedKey, UserKey};

use std::net::SocketAddr;

/// Names one socket of one node: a bound datagram port, a listener or a connection.
///
/// The node chooses the ids of what it binds, listens on and connects, below [`Flow::ACCEPTED`]; the driver
/// chooses those of accepted connections, from [`Flow::ACCEPTED`] up. An id may be used again once
/// [`Input::Closed`] has come for it, or after the node itself has closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow(pub u32);

impl Flow {
    /// The first id that a driver gives to an accepted connection.
    pub const ACCEPTED: u32 = 1 << 31;
}

/// The least room, in bytes, that a driver offers to [`Node::fill`]: who never has more than this to say at
/// once never has to split it.
pub const MIN_ROOM: usize = 4096;

/// What a node is lent for one call: the time, and a source of random bytes.
pub struct Ctx<'a> {
    /// Now, on a clock that never goes back and has no meaning outside this process.
    pub now: Time,
    /// Now, as milliseconds since 1970-01-01 UTC: for what is stored, shown or compared with certificates.
    pub unix_ms: u64,
    /// Cryptographically strong in a deployment, seeded in the simulator.
    pub rng: &'a mut dyn RngCore,
}

impl Ctx<'_> {
    /// `N` random bytes.
    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

/// Something that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The first input, once: bind, listen, load.
    Start,
    /// A datagram arrived on a bound port.
    Datagram {
        /// The port it arrived on.
        flow: Flow,
        /// Its source.
        from: SocketAddr,
        /// Its payload.
        bytes: &'a [u8],
    },
    /// Bytes arrived on a connection: any number, cut anywhere. Of a TLS connection, the plain text.
    Stream {
        /// The connection.
        flow: Flow,
        /// The next bytes.
        bytes: &'a [u8],
    },
    /// A bind, listen or connect has succeeded, or a listener has accepted a connection.
    Opened {
        /// What is open now.
        flow: Flow,
        /// The listener that accepted it; `None` for what the node itself asked for.
        listener: Option<Flow>,
        /// The local address; its port is the real one where the node asked for port 0.
        local: SocketAddr,
        /// The other end; of a bound port or a listener, the local address again.
        peer: SocketAddr,
        /// Of a TLS connection: 32 bytes known to its two ends alone (RFC 5705, RFC 8446 §7.5), label
        /// `EXPORTER-causeway`, no context.
        exporter: Option<[u8; 32]>,
        /// Of a TLS connection: the DNS names and URIs (subjectAltName, RFC 5922 §7.1) of the certificate that
        /// the peer has shown and that the driver has verified; empty where it showed none.
        names: &'a [String],
    },
    /// A flow is gone: refused, reset, closed by the peer, or it could not be bound. Not sent for a flow
    /// that the node closed itself.
    Closed {
        /// The flow; unknown to the driver from now on.
        flow: Flow,
        /// Why, for a log line.
        why: &'a str,
    },
    /// All records up to and including this number are on disk.
    Persisted {
        /// As returned by [`Outbox::persist`].
        seq: u64,
    },
    /// A record could not be written; the driver stops the node after this input.
    Failed {
        /// As returned by [`Outbox::persist`].
        seq: u64,
    },
    /// The answer to a question.
    Answer {
        /// The node's own number for the question.
        question: u64,
        /// The answer; every question gets exactly one.
        answer: Answer,
    },
    /// Another member of the node's group has given something; see [the front page](crate#groups).
    Handed {
        /// Which member.
        from: u16,
        /// What it gave to [`Outbox::hand`].
        bytes: &'a [u8],
    },
    /// The deadline has come.
    Timeout,
    /// The operator asks for a clean end: finish what is under way, accept nothing new.
    Drain,
}

/// A role: told what happened, says what shall happen.
pub trait Node {
    /// Takes one input. Outputs are appended to `out` in the order in which they shall happen.
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox);

    /// When [`Input::Timeout`] is due, if nothing else happens before. Called after every batch, so it must
    /// be cheap; a time in the past means at once.
    fn deadline(&self) -> Option<Time>;

    /// Appends at most `room` further bytes for the stream `flow` to `buf`. Called when the flow has asked
    /// by [`Outbox::wake`] and its socket takes more; a node that has more to send than `room` is called
    /// again when there is room. Appending nothing ends the asking. `room` is never below [`MIN_ROOM`].
    fn fill(&mut self, ctx: &mut Ctx<'_>, flow: Flow, room: usize, buf: &mut Vec<u8>) {
        let _ = (ctx, flow, room, buf);
    }

    /// Whether media is flowing: while it is, a driver may collect datagrams of [`Class::Media`] for a short
    /// tick instead of waking for each, which is what makes the media path cheap.
    fn media_active(&self) -> bool {
        false
    }

    /// The state as a person or a program wants to see it: counts, tables, addresses; no secrets.
    fn status(&self, now: Time) -> Status {
        let _ = now;
        Status::Null
    }

    /// How full the system's queue of signalling datagrams was found, in percent, told before what was taken from it
    /// whenever the figure changes. 0 is the normal state; who sees it grow sheds what is new, so that what is
    /// under way does not get lost.
    fn pressure(&mut self, percent: u8) {
        let _ = percent;
    }

    /// One of the node's tables in full, for a person who looks for something: `table` is a name that the node's
    /// documentation lists (`aors`, `calls` …), `filter` a part of the key, empty for all. The node bounds the
    /// answer; [`Status::Null`] means that there is no such table.
    fn table(&self, now: Time, table: &str, filter: &str) -> Status {
        let _ = (now, table, filter);
        Status::Null
    }

    /// What is counted and measured, for a monitoring system.
    fn metrics(&self, now: Time, metrics: &mut Metrics) {
        let _ = (now, metrics);
    }

    /// The operator has changed what the node may read again: access lists, policies. What that is, the node's
    /// own type says; the driver only carries it.
    fn reload(&mut self, settings: &Status) -> Result<(), String> {
        let _ = settings;
        Ok(())
    }

    /// Whether nothing is under way any more after [`Input::Drain`].
    fn drained(&self) -> bool {
        true
    }
}
