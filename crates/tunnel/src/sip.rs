//! The stream of SIP: what was sent is kept until the peer has handled it, so that another connection can go on.

use crate::lanes::append_range;
use crate::{Fault, SipFull, Stale};
use causeway_node::Time;
use std::collections::VecDeque;

/// This much is acknowledged without waiting for anything else to be sent.
const ACK_BYTES: u64 = 16 << 10;
/// A buffer that has grown larger than this is given back when it is empty.
const KEEP: usize = 4096;

/// Both directions. Offsets count bytes from the beginning of the session, or from where an end has lost its
/// memory.
#[derive(Debug, Default)]
pub(crate) struct SipStream {
    era: u32,
    /// The bytes from `acked` on.
    out: VecDeque<u8>,
    acked: u64,
    /// Of the byte that is sent next.
    next: u64,
    /// Of the byte after the last that was ever sent.
    highest: u64,
    received: u64,
    /// Handled by the owner, and what of it the peer has been told.
    handled: u64,
    told: u64,
    /// Since when something handled has not been told.
    since: Option<Time>,
}

impl SipStream {
    pub(crate) fn push(&mut self, bytes: &[u8], most: usize) -> Result<(), SipFull> {
        if self.out.len() + bytes.len() > most {
            return Err(SipFull);
        }
        self.out.extend(bytes);
        Ok(())
    }

    fn sent(&self) -> usize {
        (self.next - self.acked) as usize
    }

    /// Bytes that wait to be sent on this connection.
    pub(crate) fn waiting(&self) -> usize {
        self.out.len() - self.sent()
    }

    pub(crate) fn unacknowledged(&self) -> u64 {
        self.highest - self.acked
    }

    /// Appends the next `len` bytes, which must be waiting.
    pub(crate) fn take(&mut self, len: usize, buf: &mut Vec<u8>) {
        let start = self.sent();
        append_range(&self.out, start..start + len, buf);
        self.next += len as u64;
        self.highest = self.highest.max(self.next);
    }

    /// The peer has handled everything before `offset`.
    pub(crate) fn acknowledged(&mut self, offset: u64) -> Result<(), Fault> {
        if offset < self.acked || offset > self.next {
            return Err(Fault::Ack);
        }
        self.out.drain(..(offset - self.acked) as usize);
        self.acked = offset;
        if self.out.is_empty() {
            self.out.shrink_to(KEEP);
        }
        Ok(())
    }

    pub(crate) fn receive(&mut self, len: usize) {
        self.received += len as u64;
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The owner has handled all that was received but for the last `held` bytes.
    pub(crate) fn handled(&mut self, now: Time, held: usize) {
        self.handled = self.handled.max(self.received.saturating_sub(held as u64));
        if self.handled > self.told && self.since.is_none() {
            self.since = Some(now);
        }
    }

    /// Since when the peer waits to be told, and whether so much waits that it should be told at once.
    pub(crate) fn owed(&self) -> Option<(Time, bool)> {
        self.since.map(|since| (since, self.handled - self.told >= ACK_BYTES))
    }

    /// What to tell the peer, if it does not know it yet.
    pub(crate) fn tell(&mut self) -> Option<u64> {
        self.since.take()?;
        self.told = self.handled;
        Some(self.told)
    }

    /// Whether a peer can have received this much.
    pub(crate) fn check(&self, peer_received: u64) -> Result<(), Stale> {
        let known = (self.acked..=self.highest).contains(&peer_received);
        if known { Ok(()) } else { Err(Stale::Offsets) }
    }

    /// Goes on on another connection, from what the peer has received. Returns how many bytes are sent once more.
    pub(crate) fn resume(&mut self, now: Time, peer_received: u64) -> u64 {
        self.next = peer_received.clamp(self.acked, self.highest);
        // The last word about it may have been lost.
        self.since = (self.handled > 0).then_some(now);
        self.highest - self.next
    }

    /// One of the ends has lost its memory: both directions count from 0 again, and everything that was not
    /// handled is sent again. What is kept begins with a whole message, because messages are handled whole.
    /// Returns how many bytes are sent once more.
    pub(crate) fn restart(&mut self, era: u32) -> u64 {
        let again = self.highest - self.acked;
        *self = Self { era, out: std::mem::take(&mut self.out), ..Self::default() };
        again
    }

    /// See [`crate::Resume::era`].
    pub(crate) fn era(&self) -> u32 {
        self.era
    }

    pub(crate) fn memory(&self) -> usize {
        self.out.capacity()
    }
}
