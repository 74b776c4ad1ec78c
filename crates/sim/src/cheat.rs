//! A node that means well, and a hand that spoils what it sends.

use causeway_node::{Ctx, Flow, Input, Node, Outbox, Output, Status, Time};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// A bad habit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Changes one byte.
    Flip,
    /// Sends only a beginning.
    Truncate,
    /// Sends it twice.
    Repeat,
    /// Sends up to 2,000 random bytes before it.
    Garbage,
    /// Sends up to 200 copies.
    Flood,
    /// Does not send it.
    Swallow,
    /// Closes the flow instead, without telling the node.
    HangUp,
}

/// Wraps a node and now and then spoils a datagram or a piece of a stream. Everything else passes untouched,
/// so that the wrapped node's own state machine goes on as if it behaved well.
pub struct Cheat<N> {
    /// The wrapped node.
    pub inner: N,
    /// Which habits it has; empty is none.
    pub habits: Vec<Habit>,
    /// Probability (0 to 1) that one payload is spoiled.
    pub often: f64,
    /// How many payloads have been spoiled.
    pub spoiled: u64,
    rng: StdRng,
    own: Outbox,
}

impl<N: Node> Cheat<N> {
    /// Wraps `inner`; `seed` decides what is spoiled, and how.
    pub fn new(inner: N, habits: &[Habit], often: f64, seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0xc4ea_7000);
        Self { inner, habits: habits.to_vec(), often, spoiled: 0, rng, own: Outbox::default() }
    }

    /// What is sent instead of `bytes`; `None` hangs up.
    fn spoil(&mut self, bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
        if self.habits.is_empty() || !self.rng.random_bool(self.often) {
            return Some(vec![bytes.to_vec()]);
        }
        self.spoiled += 1;
        let habit = self.habits[self.rng.random_range(0..self.habits.len())];
        let mut copy = bytes.to_vec();
        Some(match habit {
            Habit::Flip => {
                if !copy.is_empty() {
                    let at = self.rng.random_range(0..copy.len());
                    copy[at] ^= self.rng.random_range(1..=255u8);
                }
                vec![copy]
            }
            Habit::Truncate => {
                copy.truncate(self.rng.random_range(0..=bytes.len()));
                vec![copy]
            }
            Habit::Repeat => vec![copy.clone(), copy],
            Habit::Garbage => {
                let mut junk = vec![0; self.rng.random_range(1..2000)];
                self.rng.fill_bytes(&mut junk);
                vec![junk, copy]
            }
            Habit::Flood => vec![copy; self.rng.random_range(2..200)],
            Habit::Swallow => vec![],
            Habit::HangUp => return None,
        })
    }

    fn repeat(&mut self, out: &mut Outbox) {
        let mut own = std::mem::take(&mut self.own);
        own.drain(|gate, output| match output {
            Output::Datagram { flow, to, bytes, loose } => {
                for bytes in self.spoil(bytes).unwrap_or_default() {
                    out.repeat(gate, Output::Datagram { flow, to, bytes: &bytes, loose });
                }
            }
            Output::Stream { flow, bytes } => match self.spoil(bytes) {
                Some(pieces) => {
                    for bytes in pieces {
                        out.repeat(gate, Output::Stream { flow, bytes: &bytes });
                    }
                }
                None => out.repeat(gate, Output::Close { flow }),
            },
            other => out.repeat(gate, other),
        });
        self.own = own;
    }
}

impl<N: Node> Node for Cheat<N> {
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        self.inner.handle(ctx, input, &mut self.own);
        self.repeat(out);
    }

    fn deadline(&self) -> Option<Time> {
        self.inner.deadline()
    }

    fn fill(&mut self, ctx: &mut Ctx<'_>, flow: Flow, room: usize, buf: &mut Vec<u8>) {
        let start = buf.len();
        self.inner.fill(ctx, flow, room, buf);
        if buf.len() == start {
            return;
        }
        let spoiled = self.spoil(&buf[start..]).unwrap_or_default().concat();
        buf.truncate(start);
        buf.extend_from_slice(&spoiled[..spoiled.len().min(room)]);
    }

    fn media_active(&self) -> bool {
        self.inner.media_active()
    }

    fn status(&self, now: Time) -> Status {
        self.inner.status(now)
    }

    fn drained(&self) -> bool {
        self.inner.drained()
    }
}
