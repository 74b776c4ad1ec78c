//! What a driver owes to its nodes: inputs, outputs carried out, gates, commits, deadlines.

use crate::event::{Event, Own};
use crate::{NodeId, World};
use causeway_node::{
    Answer, Class, Connect, Ctx, DnsRecord, Dscp, Flow, Gate, Held, Input, Node, Outbox, Output, Question,
    Record, RecordKind, Time, Transport,
};
use rand::rngs::StdRng;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A node that can be looked into.
pub(crate) trait Hosted: Node + Any {}
impl<N: Node + Any> Hosted for N {}

/// What a flow of a node is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Socket {
    Udp(SocketAddr),
    Listener(SocketAddr, Transport),
    Stream(crate::event::EndId),
}

/// The disk of a node.
pub(crate) struct Journal {
    pub delay: Duration,
    pub fails: bool,
    pub records: BTreeMap<(&'static str, Vec<u8>), Vec<u8>>,
    pending: Vec<(u64, Record)>,
    writing: Vec<(u64, Record)>,
    held: Held,
}

/// A node and what belongs to it.
pub(crate) struct Slot {
    pub name: String,
    pub host: usize,
    pub node: Option<Box<dyn Hosted>>,
    pub out: Outbox,
    pub rng: StdRng,
    pub epoch: u64,
    pub flows: BTreeMap<Flow, (u64, Socket)>,
    pub next_accepted: u32,
    pub marks: BTreeMap<Flow, Dscp>,
    pub journal: Journal,
    pub touched: BTreeSet<Flow>,
    pub stalled: bool,
    pub place: Option<crate::group::Place>,
    started: bool,
    wake: Option<Time>,
    idle_wakes: (Time, u32),
}

impl Slot {
    pub fn new(name: &str, host: usize, node: Box<dyn Hosted>, rng: StdRng) -> Self {
        let journal = Journal {
            delay: Duration::from_millis(1),
            fails: false,
            records: BTreeMap::new(),
            pending: Vec::new(),
            writing: Vec::new(),
            held: Held::default(),
        };
        Self {
            name: name.to_owned(),
            host,
            node: Some(node),
            out: Outbox::default(),
            rng,
            epoch: 0,
            flows: BTreeMap::new(),
            next_accepted: Flow::ACCEPTED,
            marks: BTreeMap::new(),
            journal,
            touched: BTreeSet::new(),
            stalled: false,
            place: None,
            started: false,
            wake: None,
            idle_wakes: (Time::ZERO, 0),
        }
    }

    /// A new process on the same disk.
    pub fn renew(&mut self, node: Box<dyn Hosted>) {
        self.node = Some(node);
        self.out = Outbox::default();
        self.journal.held = Held::default();
        self.journal.fails = false;
        self.stalled = false;
        self.started = false;
        self.wake = None;
    }
}

impl World {
    /// Carries out the next event.
    pub(crate) fn step(&mut self) {
        let Some(entry) = self.queue.pop() else { return };
        self.now = self.now.max(entry.at);
        match entry.event {
            Event::Own { node, epoch, what } => {
                if self.slots[node.0].epoch == epoch && self.slots[node.0].node.is_some() {
                    self.own_event(node, what);
                }
            }
            Event::Datagram { way, bytes } => self.datagram_arrives(way, bytes),
            Event::Syn { conn, way } => self.syn_arrives(conn, way),
            Event::Opened { end } => self.end_opened(end),
            Event::Dead { end, why } => self.end_dead(end, &why),
            Event::Bytes { end, bytes } => self.bytes_arrive(end, bytes),
            Event::Fin { end } => self.fin_arrives(end),
            Event::Ack { end, bytes } => self.ack_arrives(end, bytes),
            Event::Retry { end } => self.retry(end),
            Event::Call(act) => act(self),
        }
    }

    fn own_event(&mut self, id: NodeId, what: Own) {
        match what {
            Own::Start => self.start_if_new(id),
            Own::Drain => self.deliver(id, Input::Drain),
            Own::Wake => self.wake(id),
            Own::Bound { flow, socket, local } => {
                if self.slots[id.0].flows.get(&flow).is_some_and(|s| s.0 == socket) {
                    let opened = Input::Opened {
                        flow,
                        listener: None,
                        local,
                        peer: local,
                        exporter: None,
                        names: &[],
                    };
                    self.deliver(id, opened);
                }
            }
            Own::Refused { flow, socket, why } => {
                if self.slots[id.0].flows.get(&flow).is_some_and(|s| s.0 == socket) {
                    self.slots[id.0].flows.remove(&flow);
                    self.deliver(id, Input::Closed { flow, why: &why });
                }
            }
            Own::Committed => self.committed(id),
            Own::Answer { question, answer } => self.deliver(id, Input::Answer { question, answer }),
            Own::Handed { from, bytes } => self.deliver(id, Input::Handed { from, bytes: &bytes }),
        }
    }

    pub(crate) fn start_if_new(&mut self, id: NodeId) {
        if !std::mem::replace(&mut self.slots[id.0].started, true) {
            self.deliver(id, Input::Start);
        }
    }

    /// Hands one input to a node and carries out what it puts out.
    pub(crate) fn deliver(&mut self, id: NodeId, input: Input<'_>) {
        match &input {
            Input::Datagram { flow, bytes, .. } => self.note(id, "datagram", Some(*flow), bytes),
            Input::Stream { flow, bytes } => self.note(id, "stream", Some(*flow), bytes),
            Input::Opened { flow, .. } => self.note(id, "opened", Some(*flow), b""),
            Input::Closed { flow, why } => self.note(id, "closed", Some(*flow), why.as_bytes()),
            Input::Persisted { .. } => self.note(id, "persisted", None, b""),
            Input::Failed { .. } => self.note(id, "failed", None, b""),
            Input::Answer { .. } => self.note(id, "answer", None, b""),
            Input::Handed { from, bytes } => self.note(id, &format!("handed by {from}"), None, bytes),
            Input::Timeout => self.note(id, "timeout", None, b""),
            Input::Start => self.note(id, "start", None, b""),
            Input::Drain => self.note(id, "drain", None, b""),
        }
        let (now, unix_ms) = (self.now, self.unix_ms());
        let slot = &mut self.slots[id.0];
        let Some(node) = &mut slot.node else { return };
        node.handle(&mut Ctx { now, unix_ms, rng: &mut slot.rng }, input, &mut slot.out);
        self.flush(id);
    }

    /// Carries out everything in a node's outbox.
    pub(crate) fn flush(&mut self, id: NodeId) {
        let mut out = std::mem::take(&mut self.slots[id.0].out);
        out.drain(|gate, output| self.take(id, gate, output));
        self.slots[id.0].out = out;
        self.begin_commit(id);
        for flow in std::mem::take(&mut self.slots[id.0].touched) {
            self.pump_flow(id, flow);
        }
        self.set_wake(id);
    }

    fn take(&mut self, id: NodeId, gate: Gate, output: Output<'_>) {
        if let Some(output) = self.slots[id.0].journal.held.pass(gate, output) {
            self.act(id, output);
        }
    }

    fn act(&mut self, id: NodeId, output: Output<'_>) {
        if let Output::Bind { flow, .. } | Output::Listen { flow, .. } | Output::Connect { flow, .. } = output
        {
            self.slots[id.0].marks.remove(&flow);
        }
        match output {
            Output::Bind { flow, local, class: Class::Signalling | Class::Media } => {
                self.bind(id, flow, local)
            }
            Output::Listen { flow, local, transport, .. } => self.listen(id, flow, local, transport),
            Output::Connect { flow, connect } => self.connect(id, flow, &Connect::clone(connect)),
            Output::Close { flow } => self.close(id, flow),
            Output::Datagram { flow, to, bytes, .. } => self.send_datagram(id, flow, to, bytes),
            Output::Stream { flow, bytes } => self.queue_bytes(id, flow, bytes),
            Output::Wake { flow } => self.ask_wake(id, flow),
            Output::Mark { flow, dscp } => drop(self.slots[id.0].marks.insert(flow, dscp)),
            Output::Pause { flow, paused } => self.pause(id, flow, paused),
            Output::Hand { to, bytes } => self.give(id, to, bytes),
            Output::HandOver { flow, to, bytes } => self.hand_over(id, flow, to, bytes),
            Output::Persist { seq, record } => self.slots[id.0].journal.pending.push((seq, record.clone())),
            Output::Ask { id: question, question: what } => self.ask(id, question, what),
            Output::Line { journal, line } => self.lines.push((id, journal, line.to_owned())),
            Output::Notice { level, text } => self.note(id, &format!("{level:?}"), None, text.as_bytes()),
        }
    }

    fn ask(&mut self, id: NodeId, question: u64, what: &Question) {
        let (delay, answer) = match what {
            Question::Resolve { host, port } => {
                let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
                let found = match literal {
                    Some(ip) => vec![ip],
                    None => self.names.get(&host.to_ascii_lowercase()).cloned().unwrap_or_default(),
                };
                let why = if found.is_empty() { format!("{host}: no such name") } else { String::new() };
                let found = found.into_iter().map(|ip| SocketAddr::new(ip, *port)).collect();
                let delay = if literal.is_some() { Duration::ZERO } else { self.name_delay };
                (delay, Answer::Addresses(found, why))
            }
            Question::Records { name, kind } => (self.name_delay, self.records_of(name, *kind)),
            Question::Subscriber { aor } => (Duration::ZERO, Answer::Subscriber((self.knows)(aor))),
            Question::Credential(credential) => {
                (Duration::ZERO, Answer::Credential((self.authority)(credential)))
            }
            Question::UserKey(asked) => (Duration::ZERO, Answer::UserKey((self.user_keys)(asked))),
        };
        self.own(id, self.now + delay, Own::Answer { question, answer });
    }

    fn records_of(&self, name: &str, kind: RecordKind) -> Answer {
        let name = name.to_ascii_lowercase();
        let (mut records, ttl) = self.zone.get(&(name.clone(), kind)).cloned().unwrap_or((Vec::new(), 60));
        if kind == RecordKind::Address && records.is_empty() {
            let known = self.names.get(&name).into_iter().flatten();
            records = known.map(|ip| DnsRecord::Address(*ip)).collect();
        }
        let why = if records.is_empty() { format!("{name}: no such record") } else { String::new() };
        Answer::Records { records, ttl, why }
    }

    fn begin_commit(&mut self, id: NodeId) {
        let journal = &mut self.slots[id.0].journal;
        if journal.writing.is_empty() && !journal.pending.is_empty() {
            std::mem::swap(&mut journal.writing, &mut journal.pending);
            let at = self.now + journal.delay;
            self.own(id, at, Own::Committed);
        }
    }

    fn committed(&mut self, id: NodeId) {
        let journal = &mut self.slots[id.0].journal;
        let batch = std::mem::take(&mut journal.writing);
        let Some(seq) = batch.last().map(|(seq, _)| *seq) else { return };
        if journal.fails {
            journal.held.clear();
            self.deliver(id, Input::Failed { seq });
            return self.stop(id, true);
        }
        for (_, record) in batch {
            let key = (record.space, record.key);
            match record.value {
                Some(value) => drop(journal.records.insert(key, value)),
                None => drop(journal.records.remove(&key)),
            }
        }
        let mut held = std::mem::take(&mut journal.held);
        held.persisted(seq, |output| self.act(id, output));
        self.slots[id.0].journal.held = held;
        self.deliver(id, Input::Persisted { seq });
    }

    pub(crate) fn set_wake(&mut self, id: NodeId) {
        let slot = &mut self.slots[id.0];
        let due = slot.node.as_ref().and_then(|node| node.deadline()).filter(|due| *due != Time::NEVER);
        if let Some(due) = due
            && slot.wake.is_none_or(|wake| due < wake)
        {
            let due = due.max(self.now);
            slot.wake = Some(due);
            self.own(id, due, Own::Wake);
        }
    }

    fn wake(&mut self, id: NodeId) {
        let now = self.now;
        let slot = &mut self.slots[id.0];
        if slot.wake.is_some_and(|wake| wake <= now) {
            slot.wake = None;
        }
        let due = slot.node.as_ref().and_then(|node| node.deadline());
        if due.is_none_or(|due| due > now) {
            return self.set_wake(id);
        }
        let (since, count) = &mut slot.idle_wakes;
        *count = if *since == now { *count + 1 } else { 0 };
        *since = now;
        assert!(*count < 1000, "{}: its deadline stays in the past ({due:?} at {now})", slot.name);
        self.deliver(id, Input::Timeout);
    }

    /// The node is gone; whether its peers are told depends on how.
    pub(crate) fn stop(&mut self, id: NodeId, tell: bool) {
        let slot = &mut self.slots[id.0];
        slot.node = None;
        slot.epoch += 1;
        slot.wake = None;
        slot.journal.pending.clear();
        slot.journal.writing.clear();
        let flows = std::mem::take(&mut slot.flows);
        let host = slot.host;
        for (_, socket) in flows.into_values() {
            match socket {
                Socket::Udp(local) => {
                    self.hosts[host].udp.retain(|at, (owner, _)| *at != local || *owner != id);
                }
                Socket::Listener(local, _) => {
                    self.hosts[host].listeners.retain(|at, (owner, _)| *at != local || *owner != id);
                }
                Socket::Stream(end) => self.abandon(end, tell),
            }
        }
    }
}
