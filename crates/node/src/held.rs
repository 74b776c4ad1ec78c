//! Outputs that wait for their record: what every driver does with [`Gate`]s, written once.

use crate::{Gate, Outbox, Output};

/// Holds gated outputs back until their records are on disk.
///
/// A driver passes every output of a drained [`Outbox`] to [`Held::pass`] and carries out what comes back;
/// after a commit it calls [`Held::persisted`] and carries out what that hands over; only then does the node
/// get [`crate::Input::Persisted`].
#[derive(Debug, Default)]
pub struct Held {
    waiting: Outbox,
    spare: Outbox,
    done: u64,
}

impl Held {
    /// Gives the output back if it may be carried out now; keeps it otherwise.
    pub fn pass<'a>(&mut self, gate: Gate, output: Output<'a>) -> Option<Output<'a>> {
        match gate {
            Some(seq) if seq > self.done => {
                self.waiting.repeat(gate, output);
                None
            }
            _ => Some(output),
        }
    }

    /// All records up to `seq` are on disk: hands over, in their order, the outputs that waited for nothing
    /// later.
    pub fn persisted(&mut self, seq: u64, mut act: impl FnMut(Output<'_>)) {
        self.done = self.done.max(seq);
        let done = self.done;
        std::mem::swap(&mut self.waiting, &mut self.spare);
        let waiting = &mut self.waiting;
        self.spare.drain(|gate, output| match gate {
            Some(seq) if seq > done => waiting.repeat(gate, output),
            _ => act(output),
        });
    }

    /// Drops everything: a record could not be written, so nothing that rests on it may leave.
    pub fn clear(&mut self) {
        self.waiting.drain(|_, _| {});
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes of payload that wait.
    pub fn weight(&self) -> usize {
        self.waiting.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Flow, Record};

    #[test]
    fn leaves_only_after_its_record() {
        let to = "192.0.2.1:9".parse().unwrap();
        let mut out = Outbox::default();
        let record = || Record { space: "t", key: vec![], value: None };
        let (first, second) = (out.persist(record()), out.persist(record()));
        out.gated(second, |out| out.datagram(Flow(1), to, b"two"));
        out.gated(first, |out| out.datagram(Flow(1), to, b"one"));
        out.datagram(Flow(1), to, b"free");
        let (mut held, mut seen) = (Held::default(), Vec::new());
        let mut see = |output: Output<'_>| {
            if let Output::Datagram { bytes, .. } = output {
                seen.push(String::from_utf8_lossy(bytes).into_owned());
            }
        };
        out.drain(|gate, output| {
            if let Some(output) = held.pass(gate, output) {
                see(output);
            }
        });
        held.persisted(first, &mut see);
        assert!(!held.is_empty());
        held.persisted(second, &mut see);
        assert!(held.is_empty());
        assert_eq!(seen, ["free", "one", "two"]);
    }
}
