//! What a node wants to happen.

use crate::{Dscp, Flow, Question};
use std::net::SocketAddr;

/// How a driver may collect what arrives on a datagram port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Delivered at once.
    Signalling,
    /// May be collected for one media tick while [`crate::Node::media_active`].
    Media,
}

/// What runs on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// TLS over TCP, with the certificates, pin and ALPN that the driver was given for this node.
    Tls,
}

/// A connection to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Where to; with `through`, where the HTTP proxy is.
    pub to: SocketAddr,
    /// An HTTP proxy that is asked to connect to somebody else (RFC 9110 §9.3.6); what runs on the connection
    /// begins behind it.
    pub through: Option<Box<Through>>,
    /// What runs on it.
    pub transport: Transport,
    /// The name that the peer's certificate must carry, where it is not pinned.
    pub server_name: String,
    /// Whether it carries media, so that its socket is tuned for a short queue and may be read by the tick.
    pub class: Class,
}

/// What an HTTP proxy is asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct Through {
    /// The host to connect to, a name or an address, and its port: the proxy resolves the name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password for the Basic scheme (RFC 7617), if the proxy wants any. The user holds no colon.
    pub credentials: Option<(String, String)>,
}

impl std::fmt::Debug for Through {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        f.debug_struct("Through")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &user)
            .finish()
    }
}

/// How loud a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// Ordinary life: a tunnel came up, a call ended.
    Info,
    /// Something is amiss that its own means will mend, or that somebody else causes.
    Warn,
    /// The operator must do something.
    Error,
}

/// A change of stored state: a value under a key, or its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The kind of record, a constant of the crate that owns it.
    pub space: &'static str,
    /// Its key within the space.
    pub key: Vec<u8>,
    /// Its new value; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// The record number that an output waits for, if any.
pub type Gate = Option<u64>;

/// One thing that shall happen, as a driver sees it.
#[derive(Debug)]
pub enum Output<'a> {
    /// Bind a datagram port; [`crate::Input::Opened`] or [`crate::Input::Closed`] follows.
    Bind {
        /// Its id from now on.
        flow: Flow,
        /// Address and port; port 0 lets the system choose.
        local: SocketAddr,
        /// How it is read.
        class: Class,
    },
    /// Listen for connections.
    Listen {
        /// The listener's id.
        flow: Flow,
        /// Address and port.
        local: SocketAddr,
        /// What runs on accepted connections.
        transport: Transport,
        /// Whether they carry media.
        class: Class,
    },
    /// Open a connection; [`crate::Input::Opened`] or [`crate::Input::Closed`] follows.
    Connect {
        /// Its id from now on.
        flow: Flow,
        /// Where to and how.
        connect: &'a Connect,
    },
    /// Close a flow. What was queued on a connection by [`Outbox::stream`] before is still sent.
    Close {
        /// Which.
        flow: Flow,
    },
    /// Send a datagram.
    Datagram {
        /// From this port.
        flow: Flow,
        /// To this address.
        to: SocketAddr,
        /// Its payload.
        bytes: &'a [u8],
        /// Its place among the datagrams for this address does not matter: it may leave together with others like it.
        loose: bool,
    },
    /// Queue bytes on a connection. The driver's queue is bounded: a connection whose peer does not read is
    /// closed when it is full.
    Stream {
        /// Which connection.
        flow: Flow,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Call [`crate::Node::fill`] for this flow as soon as its socket takes more.
    Wake {
        /// Which connection.
        flow: Flow,
    },
    /// Mark what leaves on a flow from now on, best effort: a datagram port, a connection, or a listener, whose
    /// accepted connections inherit it.
    Mark {
        /// Which.
        flow: Flow,
        /// As what.
        dscp: Dscp,
    },
    /// Read no more from a connection for the time being, so that its sender has to wait; or go on. What was read
    /// before still arrives.
    Pause {
        /// Which connection.
        flow: Flow,
        /// Whether to pause.
        paused: bool,
    },
    /// Give bytes to another member of the node's group; see [the front page](crate#groups).
    Hand {
        /// Which member.
        to: u16,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Give a connection that a listener has accepted to another member of the node's group ([`Outbox::hand_over`]).
    HandOver {
        /// Which connection; it is not this node's any more.
        flow: Flow,
        /// Which member.
        to: u16,
        /// Bytes that came on it and are the other node's to take.
        bytes: &'a [u8],
    },
    /// Write a record.
    Persist {
        /// Its number.
        seq: u64,
        /// What to write.
        record: &'a Record,
    },
    /// Answer a question by [`crate::Input::Answer`].
    Ask {
        /// The node's number for it.
        id: u64,
        /// The question.
        question: &'a Question,
    },
    /// Append a line to a journal that others read: call records. It is written in the order given, by a thread of
    /// its own; a journal that the driver was not given drops it.
    Line {
        /// Which journal, a constant of the crate that writes it.
        journal: &'static str,
        /// The line without its end, UTF-8.
        line: &'a str,
    },
    /// Tell the operator.
    Notice {
        /// How loud.
        level: Level,
        /// What, in one line, secrets left out.
        text: &'a str,
    },
}

/// The list of what shall happen, reused from batch to batch: payloads lie in one arena, so that in the
/// steady state a packet costs no allocation.
#[derive(Debug, Default)]
pub struct Outbox {
    arena: Vec<u8>,
    items: Vec<(Gate, Item)>,
    gate: Gate,
    last_seq: u64,
    deaf_below: Option<Level>,
    journals: Option<Vec<&'static str>>,
    /// A connection is to be handed over: that cannot wait.
    moving: bool,
}

#[derive(Debug)]
enum Item {
    Bind { flow: Flow, local: SocketAddr, class: Class },
    Listen { flow: Flow, local: SocketAddr, transport: Transport, class: Class },
    Connect { flow: Flow, connect: Box<Connect> },
    Close { flow: Flow },
    Datagram { flow: Flow, to: SocketAddr, start: usize, end: usize, loose: bool },
    Stream { flow: Flow, start: usize, end: usize },
    Wake { flow: Flow },
    Mark { flow: Flow, dscp: Dscp },
    Pause { flow: Flow, paused: bool },
    Hand { to: u16, start: usize, end: usize },
    HandOver { flow: Flow, to: u16, start: usize, end: usize },
    Persist { seq: u64, record: Box<Record> },
    Ask { id: u64, question: Box<Question> },
    Line { journal: &'static str, line: String },
    Notice { level: Level, text: String },
}

impl Outbox {
    /// Binds a datagram port.
    pub fn bind(&mut self, flow: Flow, local: SocketAddr, class: Class) {
        self.push(Item::Bind { flow, local, class });
    }

    /// Listens for connections.
    pub fn listen(&mut self, flow: Flow, local: SocketAddr, transport: Transport, class: Class) {
        self.push(Item::Listen { flow, local, transport, class });
    }

    /// Opens a connection.
    pub fn connect(&mut self, flow: Flow, connect: Connect) {
        self.push(Item::Connect { flow, connect: Box::new(connect) });
    }

    /// Closes a flow.
    pub fn close(&mut self, flow: Flow) {
        self.push(Item::Close { flow });
    }

    /// Sends a datagram.
    pub fn datagram(&mut self, flow: Flow, to: SocketAddr, bytes: &[u8]) {
        let (start, end) = self.keep(bytes);
        self.push(Item::Datagram { flow, to, start, end, loose: false });
    }

    /// Sends a datagram whose place among those for the same address does not matter; see [`Output::Datagram`].
    pub fn loose_datagram(&mut self, flow: Flow, to: SocketAddr, bytes: &[u8]) {
        let (start, end) = self.keep(bytes);
        self.push(Item::Datagram { flow, to, start, end, loose: true });
    }

    /// Queues bytes on a connection.
    pub fn stream(&mut self, flow: Flow, bytes: &[u8]) {
        let (start, end) = self.keep(bytes);
        self.push(Item::Stream { flow, start, end });
    }

    /// Asks to be called for more bytes when the connection takes them. Asking twice in a batch is asking once.
    pub fn wake(&mut self, flow: Flow) {
        if !matches!(self.items.last(), Some((_, Item::Wake { flow: last })) if *last == flow) {
            self.push(Item::Wake { flow });
        }
    }

    /// Marks what leaves on a flow from now on; see [`Output::Mark`].
    pub fn mark(&mut self, flow: Flow, dscp: Dscp) {
        self.push(Item::Mark { flow, dscp });
    }

    /// Stops or resumes reading from a connection; see [`Output::Pause`].
    pub fn pause(&mut self, flow: Flow, paused: bool) {
        self.push(Item::Pause { flow, paused });
    }

    /// Gives bytes to another member of the node's group; see [`Output::Hand`].
    pub fn hand(&mut self, to: u16, bytes: &[u8]) {
        let (start, end) = self.keep(bytes);
        self.push(Item::Hand { to, start, end });
    }

    /// Gives an accepted connection to another member of the node's group. `bytes` are what has come on it and was not used: the other node gets
    /// [`crate::Input::Opened`] with the same listener, addresses and exporter, then these bytes, then all that
    /// follow, in order and complete. Here the flow is gone, without [`crate::Input::Closed`]. Where there is no such
    /// member, or it takes no more connections, the connection ends.
    pub fn hand_over(&mut self, flow: Flow, to: u16, bytes: &[u8]) {
        let (start, end) = self.keep(bytes);
        self.moving = true;
        self.items.push((None, Item::HandOver { flow, to, start, end }));
    }

    /// For the driver: whether a connection is to be handed over, so that nothing more may be read from it first.
    pub fn hands_over(&self) -> bool {
        self.moving
    }

    /// Writes a record; its number goes into [`Outbox::gated`].
    pub fn persist(&mut self, record: Record) -> u64 {
        self.last_seq += 1;
        let seq = self.last_seq;
        self.items.push((None, Item::Persist { seq, record: Box::new(record) }));
        seq
    }

    /// Everything that `promise` puts out leaves only once record `seq` and all before it are on disk.
    pub fn gated(&mut self, seq: u64, promise: impl FnOnce(&mut Self)) {
        let outer = self.gate;
        self.gate = Some(outer.map_or(seq, |o| o.max(seq)));
        promise(self);
        self.gate = outer;
    }

    /// Asks a question under the node's own number.
    pub fn ask(&mut self, id: u64, question: Question) {
        self.push(Item::Ask { id, question: Box::new(question) });
    }

    /// Appends a line to a journal; see [`Output::Line`].
    pub fn line(&mut self, journal: &'static str, line: String) {
        self.push(Item::Line { journal, line });
    }

    /// Whether somebody keeps this journal: asked before a line is put together. A driver says by [`Outbox::keep_journals`]
    /// which are kept; all, unless it does.
    pub fn keeps(&self, journal: &str) -> bool {
        self.journals.as_ref().is_none_or(|kept| kept.contains(&journal))
    }

    /// For the driver: lines of other journals would be thrown away.
    pub fn keep_journals(&mut self, kept: Vec<&'static str>) {
        self.journals = Some(kept);
    }

    /// Whether notices of this level reach anybody: asked before one is put together for every message. A driver
    /// says by [`Outbox::listen_from`] what it wants; all, unless it does.
    pub fn hears(&self, level: Level) -> bool {
        self.deaf_below.is_none_or(|least| level >= least)
    }

    /// For the driver: notices below this level would be thrown away.
    pub fn listen_from(&mut self, least: Level) {
        self.deaf_below = Some(least);
    }

    /// Tells the operator.
    pub fn notice(&mut self, level: Level, text: impl Into<String>) {
        self.items.push((None, Item::Notice { level, text: text.into() }));
    }

    /// Puts in again, under the same gate, what a drained box gave out: for drivers that hold outputs back and
    /// for nodes that wrap another. Records keep the number they have.
    pub fn repeat(&mut self, gate: Gate, output: Output<'_>) {
        let item = match output {
            Output::Bind { flow, local, class } => Item::Bind { flow, local, class },
            Output::Listen { flow, local, transport, class } => {
                Item::Listen { flow, local, transport, class }
            }
            Output::Connect { flow, connect } => Item::Connect { flow, connect: Box::new(connect.clone()) },
            Output::Close { flow } => Item::Close { flow },
            Output::Datagram { flow, to, bytes, loose } => {
                let (start, end) = self.keep(bytes);
                Item::Datagram { flow, to, start, end, loose }
            }
            Output::Stream { flow, bytes } => {
                let (start, end) = self.keep(bytes);
                Item::Stream { flow, start, end }
            }
            Output::Wake { flow } => Item::Wake { flow },
            Output::Mark { flow, dscp } => Item::Mark { flow, dscp },
            Output::Pause { flow, paused } => Item::Pause { flow, paused },
            Output::Hand { to, bytes } => {
                let (start, end) = self.keep(bytes);
                Item::Hand { to, start, end }
            }
            Output::HandOver { flow, to, bytes } => {
                let (start, end) = self.keep(bytes);
                self.moving = true;
                Item::HandOver { flow, to, start, end }
            }
            Output::Persist { seq, record } => {
                self.last_seq = self.last_seq.max(seq);
                Item::Persist { seq, record: Box::new(record.clone()) }
            }
            Output::Ask { id, question } => Item::Ask { id, question: Box::new(question.clone()) },
            Output::Line { journal, line } => Item::Line { journal, line: line.to_owned() },
            Output::Notice { level, text } => Item::Notice { level, text: text.to_owned() },
        };
        self.items.push((gate, item));
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of payload in it: a driver drains before this grows large.
    pub fn weight(&self) -> usize {
        self.arena.len()
    }

    /// Hands every output, in order, to `act`, and empties the box. Record numbers go on counting.
    pub fn drain(&mut self, mut act: impl FnMut(Gate, Output<'_>)) {
        for (gate, item) in &self.items {
            act(*gate, item.view(&self.arena));
        }
        self.items.clear();
        self.arena.clear();
        self.moving = false;
    }

    fn keep(&mut self, bytes: &[u8]) -> (usize, usize) {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        (start, self.arena.len())
    }

    fn push(&mut self, item: Item) {
        self.items.push((self.gate, item));
    }
}

impl Item {
    fn view<'a>(&'a self, arena: &'a [u8]) -> Output<'a> {
        match self {
            Self::Bind { flow, local, class } => Output::Bind { flow: *flow, local: *local, class: *class },
            Self::Listen { flow, local, transport, class } => {
                Output::Listen { flow: *flow, local: *local, transport: *transport, class: *class }
            }
            Self::Connect { flow, connect } => Output::Connect { flow: *flow, connect },
            Self::Close { flow } => Output::Close { flow: *flow },
            Self::Datagram { flow, to, start, end, loose } => {
                Output::Datagram { flow: *flow, to: *to, bytes: &arena[*start..*end], loose: *loose }
            }
            Self::Stream { flow, start, end } => Output::Stream { flow: *flow, bytes: &arena[*start..*end] },
            Self::Wake { flow } => Output::Wake { flow: *flow },
            Self::Mark { flow, dscp } => Output::Mark { flow: *flow, dscp: *dscp },
            Self::Pause { flow, paused } => Output::Pause { flow: *flow, paused: *paused },
            Self::Hand { to, start, end } => Output::Hand { to: *to, bytes: &arena[*start..*end] },
            Self::HandOver { flow, to, start, end } => {
                Output::HandOver { flow: *flow, to: *to, bytes: &arena[*start..*end] }
            }
            Self::Persist { seq, record } => Output::Persist { seq: *seq, record },
            Self::Ask { id, question } => Output::Ask { id: *id, question },
            Self::Line { journal, line } => Output::Line { journal, line },
            Self::Notice { level, text } => Output::Notice { level: *level, text },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_keep_their_order_and_their_gates() {
        let mut out = Outbox::default();
        let to = "192.0.2.1:5060".parse().unwrap();
        out.datagram(Flow(1), to, b"now");
        let seq = out.persist(Record { space: "binding", key: b"k".to_vec(), value: None });
        out.gated(seq, |out| out.datagram(Flow(1), to, b"later"));
        out.wake(Flow(2));
        out.wake(Flow(2));
        let mut seen = Vec::new();
        out.drain(|gate, output| match output {
            Output::Datagram { bytes, .. } => seen.push((gate, String::from_utf8_lossy(bytes).into_owned())),
            Output::Persist { seq, .. } => seen.push((gate, format!("persist {seq}"))),
            Output::Wake { .. } => seen.push((gate, "wake".into())),
            other => panic!("{other:?}"),
        });
        let expected = [(None, "now"), (None, "persist 1"), (Some(1), "later"), (None, "wake")];
        assert_eq!(seen, expected.map(|(gate, text)| (gate, text.to_owned())));
        assert!(out.is_empty());
        assert_eq!(out.persist(Record { space: "binding", key: vec![], value: None }), 2);
    }
}
