//! Workers side by side that run the same node, share its listeners, and hand connections to one another.

use crate::engine::Mail;
use std::sync::{Arc, OnceLock};

/// A worker's place among its siblings; see [`crate::Worker::sibling`].
#[derive(Clone)]
pub struct Sibling {
    seats: Arc<[OnceLock<Mail>]>,
    own: u16,
}

impl Sibling {
    /// So many places, in the order of their numbers. Start the worker of the first one first, and the others when it
    /// is ready: it sees to it that no other program has the ports.
    pub fn group(count: u16) -> Vec<Self> {
        let seats: Arc<[OnceLock<Mail>]> = (0..count).map(|_| OnceLock::new()).collect();
        (0..count).map(|own| Self { seats: Arc::clone(&seats), own }).collect()
    }

    /// Whether it is the first, to whom a port must be free.
    pub(crate) fn is_first(&self) -> bool {
        self.own == 0
    }

    /// Where this one is reached from now on.
    pub(crate) fn sit(&self, mail: Mail) {
        if let Some(seat) = self.seats.get(usize::from(self.own)) {
            // A place is taken once.
            let _ = seat.set(mail);
        }
    }

    /// Where another is reached, once it has been started.
    pub(crate) fn mail(&self, of: u16) -> Option<&Mail> {
        self.seats.get(usize::from(of)).filter(|_| of != self.own)?.get()
    }
}
