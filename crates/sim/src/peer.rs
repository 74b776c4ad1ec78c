//! A peer that does exactly what a test tells it.

use causeway_node::{Answer, Ctx, Flow, Input, Node, Outbox, Time};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// An input as a [`Peer`] remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of causeway_node::Input")]
pub enum Heard {
    /// [`Input::Datagram`].
    Datagram { flow: Flow, from: SocketAddr, bytes: Vec<u8> },
    /// [`Input::Stream`].
    Stream { flow: Flow, bytes: Vec<u8> },
    /// [`Input::Opened`].
    Opened {
        flow: Flow,
        listener: Option<Flow>,
        local: SocketAddr,
        peer: SocketAddr,
        exporter: Option<[u8; 32]>,
    },
    /// [`Input::Closed`].
    Closed { flow: Flow, why: String },
    /// [`Input::Persisted`].
    Persisted { seq: u64 },
    /// [`Input::Failed`].
    Failed { seq: u64 },
    /// [`Input::Answer`].
    Answer { question: u64, answer: Answer },
    /// [`Input::Handed`].
    Handed { from: u16, bytes: Vec<u8> },
    /// [`Input::Start`].
    Start,
    /// [`Input::Timeout`].
    Timeout,
    /// [`Input::Drain`].
    Drain,
}

impl From<Input<'_>> for Heard {
    fn from(input: Input<'_>) -> Self {
        match input {
            Input::Start => Self::Start,
            Input::Datagram { flow, from, bytes } => Self::Datagram { flow, from, bytes: bytes.to_vec() },
            Input::Stream { flow, bytes } => Self::Stream { flow, bytes: bytes.to_vec() },
            Input::Opened { flow, listener, local, peer, exporter, .. } => {
                Self::Opened { flow, listener, local, peer, exporter }
            }
            Input::Closed { flow, why } => Self::Closed { flow, why: why.to_owned() },
            Input::Persisted { seq } => Self::Persisted { seq },
            Input::Failed { seq } => Self::Failed { seq },
            Input::Answer { question, answer } => Self::Answer { question, answer },
            Input::Handed { from, bytes } => Self::Handed { from, bytes: bytes.to_vec() },
            Input::Timeout => Self::Timeout,
            Input::Drain => Self::Drain,
        }
    }
}

type Script = Box<dyn FnMut(&mut Ctx<'_>, &Heard, &mut Outbox) + Send>;

/// A node without a will of its own: it remembers what it hears, answers by a script if it has one, and is
/// otherwise driven from outside by [`crate::World::with`].
#[derive(Default)]
pub struct Peer {
    /// Everything heard, with the time.
    pub heard: Vec<(Time, Heard)>,
    /// When to wake up next; the wake-up clears it.
    pub alarm: Option<Time>,
    /// What [`Node::fill`] gives out, per flow.
    pub supply: BTreeMap<Flow, Vec<u8>>,
    script: Option<Script>,
}

impl Peer {
    /// Says nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers every input, the first ([`Heard::Start`]) included, by `script`.
    pub fn scripted(script: impl FnMut(&mut Ctx<'_>, &Heard, &mut Outbox) + Send + 'static) -> Self {
        Self { script: Some(Box::new(script)), ..Self::default() }
    }

    /// The payloads of all datagrams heard, in order.
    pub fn datagrams(&self) -> Vec<&[u8]> {
        self.each(|heard| match heard {
            Heard::Datagram { bytes, .. } => Some(bytes.as_slice()),
            _ => None,
        })
    }

    /// The source and payload of the last datagram heard.
    pub fn last_datagram(&self) -> Option<(SocketAddr, &[u8])> {
        self.each(|heard| match heard {
            Heard::Datagram { from, bytes, .. } => Some((*from, bytes.as_slice())),
            _ => None,
        })
        .pop()
    }

    /// All bytes heard on a connection since it was opened last.
    pub fn stream(&self, flow: Flow) -> Vec<u8> {
        let mut all = Vec::new();
        for (_, heard) in &self.heard {
            match heard {
                Heard::Opened { flow: f, .. } if *f == flow => all.clear(),
                Heard::Stream { flow: f, bytes } if *f == flow => all.extend_from_slice(bytes),
                _ => {}
            }
        }
        all
    }

    /// The flows that were opened, in order, accepted ones included.
    pub fn opened(&self) -> Vec<Flow> {
        self.each(|heard| match heard {
            Heard::Opened { flow, .. } => Some(*flow),
            _ => None,
        })
    }

    /// The connections that listeners have accepted, in order.
    pub fn accepted(&self) -> Vec<Flow> {
        self.each(|heard| match heard {
            Heard::Opened { flow, listener: Some(_), .. } => Some(*flow),
            _ => None,
        })
    }

    /// The local address of a flow.
    pub fn local(&self, flow: Flow) -> Option<SocketAddr> {
        self.each(|heard| match heard {
            Heard::Opened { flow: f, local, .. } if *f == flow => Some(*local),
            _ => None,
        })
        .pop()
    }

    /// The other end of a flow.
    pub fn peer(&self, flow: Flow) -> Option<SocketAddr> {
        self.each(|heard| match heard {
            Heard::Opened { flow: f, peer, .. } if *f == flow => Some(*peer),
            _ => None,
        })
        .pop()
    }

    /// The exporter of a TLS connection.
    pub fn exporter(&self, flow: Flow) -> Option<[u8; 32]> {
        self.each(|heard| match heard {
            Heard::Opened { flow: f, exporter, .. } if *f == flow => Some(*exporter),
            _ => None,
        })
        .pop()?
    }

    /// Why a flow was closed, if it was.
    pub fn closed(&self, flow: Flow) -> Option<&str> {
        self.each(|heard| match heard {
            Heard::Closed { flow: f, why } if *f == flow => Some(why.as_str()),
            _ => None,
        })
        .pop()
    }

    fn each<'a, T>(&'a self, pick: impl FnMut(&'a Heard) -> Option<T>) -> Vec<T> {
        self.heard.iter().map(|(_, heard)| heard).filter_map(pick).collect()
    }
}

impl Node for Peer {
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        let heard = Heard::from(input);
        if heard == Heard::Timeout {
            self.alarm = None;
        }
        if let Some(script) = &mut self.script {
            script(ctx, &heard, out);
        }
        self.heard.push((ctx.now, heard));
    }

    fn deadline(&self) -> Option<Time> {
        self.alarm
    }

    fn fill(&mut self, _ctx: &mut Ctx<'_>, flow: Flow, room: usize, buf: &mut Vec<u8>) {
        if let Some(supply) = self.supply.get_mut(&flow) {
            let n = room.min(supply.len());
            buf.extend(supply.drain(..n));
        }
    }
}
