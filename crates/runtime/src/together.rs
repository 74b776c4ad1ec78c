//! One disk for several nodes.

use crate::Persister;
use causeway_node::Record;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A persister for the members of a group: its clones write to the same disk. What several of them want written while
/// a commit is under way goes into the next one together, so that they share its sync as well.
#[derive(Clone)]
pub struct Together {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Mutex<Box<dyn Persister>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What the next commit writes: as much as the members have at once, each of which waits for it.
    pending: Vec<Record>,
    /// The number of the next commit.
    next: u64,
    /// Commits below this number are over.
    done: u64,
    /// Somebody is writing.
    busy: bool,
    /// Why a commit has failed: nothing is written after it.
    failed: Option<String>,
}

impl Together {
    /// Around the persister that writes.
    pub fn new(disk: impl Persister + 'static) -> Self {
        let (disk, state) = (Mutex::new(Box::new(disk) as Box<dyn Persister>), Mutex::default());
        Self { shared: Arc::new(Shared { disk, state, changed: Condvar::new() }) }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Persister for Together {
    fn commit(&mut self, records: &[Record]) -> Result<(), String> {
        let shared = &self.shared;
        let mut state = shared.state();
        state.pending.extend_from_slice(records);
        let own = state.next;
        loop {
            if let Some(why) = &state.failed {
                return Err(why.clone());
            }
            if state.done > own {
                return Ok(());
            }
            if state.busy {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let batch = std::mem::take(&mut state.pending);
            state.busy = true;
            state.next += 1;
            drop(state);
            let result = shared.disk.lock().unwrap_or_else(PoisonError::into_inner).commit(&batch);
            state = shared.state();
            state.busy = false;
            match result {
                Ok(()) => state.done = state.next,
                Err(why) => state.failed = Some(why),
            }
            // Of those who came while it was written, one writes the next.
            shared.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;
    use std::time::Duration;

    /// Tells of each commit, and waits to be let go on.
    struct Slow(Sender<usize>, Receiver<Result<(), String>>);

    impl Persister for Slow {
        fn commit(&mut self, records: &[Record]) -> Result<(), String> {
            self.0.send(records.len()).unwrap();
            self.1.recv().unwrap()
        }
    }

    fn record(n: u8) -> Record {
        Record { space: "t", key: vec![n], value: None }
    }

    #[test]
    fn who_waits_is_written_with_the_others() {
        let ((said, commits), (go, wait)) = (channel(), channel());
        let together = Together::new(Slow(said, wait));
        let write = |n| {
            let mut together = together.clone();
            thread::spawn(move || together.commit(&[record(n)]))
        };
        let patience = Duration::from_secs(10);
        let first = write(0);
        assert_eq!(commits.recv_timeout(patience), Ok(1));
        let others = [write(1), write(2), write(3)];
        while together.shared.state().pending.len() < 3 {
            thread::yield_now();
        }
        assert!(!first.is_finished(), "no promise before its commit");
        go.send(Ok(())).unwrap();
        assert_eq!(first.join().unwrap(), Ok(()));
        assert_eq!(commits.recv_timeout(patience), Ok(3), "together");
        assert!(others.iter().all(|other| !other.is_finished()));
        go.send(Err("full".to_owned())).unwrap();
        for other in others {
            assert_eq!(other.join().unwrap(), Err("full".to_owned()));
        }
        assert_eq!(together.clone().commit(&[record(4)]), Err("full".to_owned()), "nothing after a failure");
    }
}
