//! Records on disk before promises on the wire.

use crate::engine::{Command, Mail};
use causeway_node::{Held, Record, Time};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

/// Commits of one node begin at least so far apart: under load several promises share a sync and the wake-ups of
/// two threads, and each waits for 25 ms on average, a twentieth of the time after which SIP repeats anything (T1);
/// a lone one does not wait.
const PACE: Duration = Duration::from_millis(50);

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
    /// When the next commit may begin.
    not_before: Time,
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

    /// Starts a commit of everything pending, unless one is under way or it is too early. Returns the number up to
    /// which the records count as written at once, which is so without a persister.
    pub fn start(&mut self, now: Time) -> Option<u64> {
        let last = self.pending.last()?.0;
        let Some(disk) = &self.disk else {
            self.pending.clear();
            return Some(last);
        };
        if self.writing || now < self.not_before {
            return None;
        }
        self.not_before = now + PACE;
        let records = self.pending.drain(..).map(|(_, record)| record).collect();
        // A thread that is gone has said why before.
        self.writing = disk.send(Batch { last, records }).is_ok();
        None
    }

    /// When [`Journal::start`] has something to do that it could not do yet.
    pub fn due(&self) -> Option<Time> {
        (!self.writing && !self.pending.is_empty()).then_some(self.not_before)
    }

    pub fn done(&mut self) {
        self.writing = false;
    }

    /// Whether everything given to it is on disk.
    pub fn is_idle(&self) -> bool {
        !self.writing && self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_record_is_written_at_once_and_many_together() {
        let (disk, batches) = channel();
        let mut journal = Journal { disk: Some(disk), ..Journal::default() };
        let record = || Record { space: "t", key: vec![], value: None };
        let at = |micros: u64| Time::from_nanos(micros * 1000);
        let written =
            || batches.try_iter().map(|batch| (batch.last, batch.records.len())).collect::<Vec<_>>();
        journal.write(1, record());
        assert_eq!(journal.start(at(5000)), None);
        assert_eq!(written(), [(1, 1)]);
        journal.write(2, record());
        assert_eq!(journal.due(), None, "the end of the commit wakes the worker");
        journal.done();
        assert_eq!(journal.due(), Some(at(55_000)));
        journal.start(at(54_999));
        journal.write(3, record());
        assert_eq!(written(), []);
        journal.start(at(55_000));
        assert_eq!(written(), [(3, 2)]);
        journal.done();
        assert_eq!(journal.due(), None);
        journal.write(4, record());
        journal.start(at(200_000));
        assert_eq!(written(), [(4, 1)]);
    }
}
