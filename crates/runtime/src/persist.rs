//! Records on disk before promises on the wire.

use crate::engine::{Command, Mail};
use causeway_node::{Held, Record};
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Where the records of one node are kept. It runs on a thread of its own, so it may take its time.
pub trait Persister: Send {
    /// Makes all of these changes durable, in this order, or none of them. When it returns `Ok`, they survive
    /// a power cut. An error stops the worker: nothing that rests on the records has left.
    fn commit(&mut self, records: &[Record]) -> Result<(), String>;
}

/// The driver's side of one node's disk.
#[derive(Default)]
pub(crate) struct Journal {
    pub held: Held,
    pending: Vec<(u64, Record)>,
    writing: bool,
    disk: Option<Sender<Batch>>,
}

struct Batch {
    last: u64,
    records: Vec<Record>,
}

impl Journal {
    /// A journal that commits through `persister`, or at once and to nowhere without one.
    pub fn new(
        node: usize,
        name: &str,
        persister: Option<Box<dyn Persister>>,
        mail: Mail,
    ) -> std::io::Result<Self> {
        let Some(mut persister) = persister else { return Ok(Self::default()) };
        let (disk, batches) = channel::<Batch>();
        thread::Builder::new().name(format!("{name}-disk")).spawn(move || {
            for batch in batches {
                let result = persister.commit(&batch.records);
                let failed = result.is_err();
                mail.send(Command::Committed { node, seq: batch.last, result });
                if failed {
                    break;
                }
            }
        })?;
        Ok(Self { disk: Some(disk), ..Self::default() })
    }

    pub fn write(&mut self, seq: u64, record: Record) {
        self.pending.push((seq, record));
    }

    /// Starts a commit of everything pending, unless one is under way. Returns the number up to which the
    /// records count as written at once, which is so without a persister.
    pub fn start(&mut self) -> Option<u64> {
        let last = self.pending.last()?.0;
        if self.writing {
            return None;
        }
        let Some(disk) = &self.disk else {
            self.pending.clear();
            return Some(last);
        };
        let records = self.pending.drain(..).map(|(_, record)| record).collect();
        // A thread that is gone has said why before.
        self.writing = disk.send(Batch { last, records }).is_ok();
        None
    }

    pub fn done(&mut self) {
        self.writing = false;
    }

    /// Whether everything given to it is on disk.
    pub fn is_idle(&self) -> bool {
        !self.writing && self.pending.is_empty()
    }
}
