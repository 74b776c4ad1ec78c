//! Whether what a worker's nodes want at their start could be had.

use crate::worker::Bound;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Filled by the worker, waited for by whoever started it.
#[derive(Default)]
pub(crate) struct Ready {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    closed: bool,
    bound: Vec<Bound>,
    failed: Vec<String>,
}

impl Ready {
    /// Notes a bind or listen of the start; later ones do not count.
    pub fn note(&self, result: Result<Bound, String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.closed {
            match result {
                Ok(bound) => state.bound.push(bound),
                Err(why) => state.failed.push(why),
            }
        }
    }

    /// The start is over.
    pub fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }

    /// Waits for the end of the start.
    pub fn wait(&self, timeout: Duration) -> Result<Vec<Bound>, String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, timeout, |state| !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if !state.closed {
            return Err(format!("not ready after {timeout:?}"));
        }
        if state.failed.is_empty() { Ok(state.bound.clone()) } else { Err(state.failed.join("; ")) }
    }
}
