//! What other threads want of a worker.

use super::handover::Moving;
use super::{Engine, Later, Member};
use crate::metrics::Figures;
use crate::sys::EventFd;
use crate::worker::Error;
use causeway_node::{Answer, Ctx, Flow, Input, Metrics, Outbox, Status};
use serde_json::{Map, json};
use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// What is done to a node from outside.
pub(crate) type Visit = Box<dyn FnOnce(&mut dyn Any, &mut Ctx<'_>, &mut Outbox) + Send>;

pub(crate) enum Command {
    Status(Sender<Status>),
    Table {
        table: String,
        filter: String,
        reply: Sender<Status>,
    },
    Metrics(Sender<Figures>),
    Reload {
        settings: Status,
        reply: Sender<Result<(), String>>,
    },
    Drain,
    Stop,
    Visit {
        node: String,
        visit: Visit,
    },
    Committed {
        node: usize,
        seq: u64,
        result: Result<(), String>,
    },
    Answer {
        node: usize,
        question: u64,
        answer: Answer,
    },
    /// A connection that a sibling hands over.
    Adopt(Box<Moving>),
}

/// The way into a worker from any thread.
#[derive(Clone)]
pub(crate) struct Mail {
    sender: Sender<Command>,
    bell: Arc<EventFd>,
}

impl Mail {
    pub fn new(sender: Sender<Command>) -> std::io::Result<Self> {
        Ok(Self { sender, bell: Arc::new(EventFd::new()?) })
    }

    /// Sends a command; false if the worker has ended.
    pub fn send(&self, command: Command) -> bool {
        let sent = self.sender.send(command).is_ok();
        self.bell.ring();
        sent
    }

    /// Wakes the worker for nothing in particular.
    pub fn ring(&self) {
        self.bell.ring();
    }

    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Engine {
    pub(super) fn read_mail(&mut self) {
        self.mail.bell.quiet();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Status(reply) => drop(reply.send(self.status())),
                Command::Table { table, filter, reply } => drop(reply.send(self.table(&table, &filter))),
                Command::Metrics(reply) => drop(reply.send(self.figures())),
                Command::Reload { settings, reply } => drop(reply.send(self.reload(&settings))),
                Command::Drain => {
                    self.draining = true;
                    for node in 0..self.nodes.len() {
                        self.hand(node, Input::Drain);
                    }
                }
                Command::Stop => self.stopping = true,
                Command::Visit { node, visit } => {
                    self.visit(&node, visit);
                    // So that the visitor's next command finds it done.
                    self.settle();
                }
                Command::Committed { node, seq, result } => self.committed(node, seq, result),
                Command::Adopt(moving) => self.adopt(*moving),
                Command::Answer { node, question, answer } => {
                    self.hand(node, Input::Answer { question, answer });
                }
            }
        }
    }

    fn visit(&mut self, name: &str, visit: Visit) {
        let (now, unix_ms) = (self.now, self.unix_ms);
        if let Some(member) = self.nodes.iter_mut().find(|m| m.name == name) {
            let node: &mut dyn Any = member.node.as_mut();
            visit(node, &mut Ctx { now, unix_ms, rng: &mut member.rng }, &mut member.out);
        }
    }

    fn status(&self) -> Status {
        let nodes: Map<String, Status> =
            self.nodes.iter().map(|m| (m.name.clone(), m.node.status(self.now))).collect();
        let journals: Vec<Status> =
            self.nodes.iter().flat_map(Member::journals).map(|(_, log)| log.status()).collect();
        let mut status = json!({
            "worker": self.name,
            "counters": self.counters.status(self.connections),
            "nodes": nodes,
        });
        if !journals.is_empty() {
            status["journals"] = journals.into();
        }
        status
    }

    fn table(&self, table: &str, filter: &str) -> Status {
        let tables = self.nodes.iter().map(|m| (m.name.clone(), m.node.table(self.now, table, filter)));
        Status::Object(tables.filter(|(_, rows)| !rows.is_null()).collect())
    }

    fn figures(&self) -> Figures {
        let mut worker = Metrics::default();
        self.counters.metrics(self.connections, &mut worker);
        let lost: u64 = self.nodes.iter().filter_map(|m| m.group.as_ref()).map(|group| group.lost()).sum();
        worker.counter("worker_handed_lost_total", "What other workers had no room for", &[], lost);
        for (journal, log) in self.nodes.iter().flat_map(Member::journals) {
            let labels = [("journal", *journal)];
            worker.counter("journal_lines_total", "Lines written to a journal", &labels, log.written());
        }
        for (journal, log) in self.nodes.iter().flat_map(Member::journals) {
            let help = "Lines that a journal has lost: no room, or a failed write";
            worker.counter("journal_lines_lost_total", help, &[("journal", *journal)], log.lost());
        }
        let of_node = |member: &Member| {
            let mut metrics = Metrics::default();
            member.node.metrics(self.now, &mut metrics);
            (member.name.clone(), metrics)
        };
        Figures {
            workers: vec![(self.name.clone(), worker)],
            nodes: self.nodes.iter().map(of_node).collect(),
        }
    }

    fn reload(&mut self, settings: &Status) -> Result<(), String> {
        let refused: Vec<String> = self
            .nodes
            .iter_mut()
            .filter_map(|m| m.node.reload(settings).err().map(|why| format!("{}: {why}", m.name)))
            .collect();
        if refused.is_empty() { Ok(()) } else { Err(refused.join("; ")) }
    }

    /// Sends what is pending to the disk; without one, it counts as written.
    pub(super) fn start_commit(&mut self, node: usize) {
        let now = self.now;
        if let Some(seq) = self.nodes[node].journal.start(now) {
            self.persisted(node, seq);
        }
    }

    fn committed(&mut self, node: usize, seq: u64, result: Result<(), String>) {
        let Some(member) = self.nodes.get_mut(node) else { return };
        member.journal.done();
        self.counters.commits += 1;
        match result {
            Ok(()) => self.persisted(node, seq),
            Err(why) => {
                member.journal.held.clear();
                let name = member.name.clone();
                tracing::error!(node = name, "records cannot be written: {why}");
                self.hand(node, Input::Failed { seq });
                self.failure.get_or_insert(Error::Commit { node: name, why });
            }
        }
    }

    /// Releases what has waited for record `seq`; the node hears of it after that.
    fn persisted(&mut self, node: usize, seq: u64) {
        let mut held = std::mem::take(&mut self.nodes[node].journal.held);
        held.persisted(seq, |output| self.act(node, output));
        self.nodes[node].journal.held = held;
        self.later.push_back((node, Later::Persisted { seq }));
    }

    /// The node is told that a flow is gone, or never came to be. Until it hears of that, or closes the flow
    /// itself, the id stands for a socket that does not exist.
    pub(super) fn tell_closed(&mut self, node: usize, flow: Flow, why: String) {
        let token = self.next_token();
        self.nodes[node].flows.insert(flow, token);
        self.later.push_back((node, Later::Closed { token, flow, why }));
    }
}
