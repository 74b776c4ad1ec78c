//! Lanes that carry a stream of bytes: what waits, what may be sent, whose turn it is.
//!
//! Each direction of a stream has a credit: the bytes that its receiver has room for. It begins at [`WINDOW`] and
//! grows as the receiver hands bytes on, so that a slow reader costs its own stream, and nobody else, their time.

use crate::frame::{HEADER, put_header};
use crate::key::{OVERHEAD, Outgoing, Sealer, Table};
use crate::lanes::{Lanes, append};
use crate::{Fault, Lane};
use causeway_node::Time;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The credit that each end has on a lane that has just been opened, in bytes.
pub const WINDOW: u32 = 64 << 10;
/// What may wait on a lane before its source should pause; as much again is taken while that takes effect.
pub const STREAM_QUEUE: usize = 64 << 10;
/// The longest payload of one frame, and the most of all streams together in one call of
/// [`crate::Tunnel::fill`]: what is more urgent never waits for longer.
const CHUNK: usize = 4096;
/// Streams wait until the connection has at least this much room: with less, what is queued in it already would
/// hold up the next packet of speech.
const BULK_ROOM: usize = 24 << 10;
/// After so long they ask again.
const AGAIN: Duration = Duration::from_millis(5);

/// One stream.
#[derive(Debug)]
struct Stream {
    out: VecDeque<u8>,
    /// Bytes that the peer has room for.
    credit: u32,
    /// Nothing will be queued any more; and that has been sent.
    ending: bool,
    ended: bool,
    /// Bytes that we have told the peer we have room for, and it has not sent.
    granted: u32,
    /// Bytes handed on since it was told last.
    owed: u32,
    peer_ended: bool,
    /// Whether it stands in the list of those with something to send.
    listed: bool,
}

impl Stream {
    fn has_work(&self) -> bool {
        (self.credit > 0 && !self.out.is_empty()) || (self.ending && !self.ended && self.out.is_empty())
    }
}

/// All streams of one tunnel.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    all: BTreeMap<u16, Stream>,
    /// Those with something to send, next turn first.
    turns: VecDeque<u16>,
    /// When what was held back for want of room asks again.
    again: Option<Time>,
    /// Those that have lost bytes, to be closed.
    broken: Vec<Lane>,
}

impl Streams {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn insert(&mut self, lane: Lane) {
        let stream = Stream {
            out: VecDeque::new(),
            credit: WINDOW,
            ending: false,
            ended: false,
            granted: WINDOW,
            owed: 0,
            peer_ended: false,
            listed: false,
        };
        self.all.insert(lane.0, stream);
    }

    /// Their lanes.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = Lane> {
        self.all.keys().map(|lane| Lane(*lane))
    }

    pub(crate) fn remove(&mut self, lane: Lane) {
        self.all.remove(&lane.0);
        self.turns.retain(|turn| *turn != lane.0);
    }

    /// Queues bytes; `false` if they are more than may wait.
    pub(crate) fn push(&mut self, lane: Lane, bytes: &[u8]) -> bool {
        let Some(stream) = self.all.get_mut(&lane.0).filter(|stream| !stream.ending) else { return false };
        if stream.out.len() + bytes.len() > 2 * STREAM_QUEUE {
            return false;
        }
        stream.out.extend(bytes);
        self.list(lane);
        true
    }

    /// No bytes will follow.
    pub(crate) fn end(&mut self, lane: Lane) {
        if let Some(stream) = self.all.get_mut(&lane.0) {
            stream.ending = true;
            self.list(lane);
        }
    }

    /// Bytes that wait.
    pub(crate) fn queued(&self, lane: Lane) -> usize {
        self.all.get(&lane.0).map_or(0, |stream| stream.out.len())
    }

    /// Whether everything is sent, the end included.
    pub(crate) fn is_sent(&self, lane: Lane) -> bool {
        self.all.get(&lane.0).is_none_or(|stream| stream.ended)
    }

    /// The peer has room for more.
    pub(crate) fn credited(&mut self, lane: Lane, bytes: u32) {
        if let Some(stream) = self.all.get_mut(&lane.0) {
            stream.credit = stream.credit.saturating_add(bytes);
            self.list(lane);
        }
    }

    /// Bytes of the peer have been handed on: what to tell it, once it is worth a message.
    pub(crate) fn consumed(&mut self, lane: Lane, bytes: usize) -> Option<u32> {
        let stream = self.all.get_mut(&lane.0)?;
        stream.owed = stream.owed.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        if stream.owed < WINDOW / 4 || stream.peer_ended {
            return None;
        }
        let owed = std::mem::take(&mut stream.owed);
        stream.granted = stream.granted.saturating_add(owed);
        Some(owed)
    }

    /// A frame of the peer, by its length; 0 is the end of its stream.
    pub(crate) fn received(&mut self, lane: Lane, len: usize) -> Result<(), Fault> {
        let Some(stream) = self.all.get_mut(&lane.0) else { return Err(Fault::UnknownLane(lane)) };
        let granted = u32::try_from(len).ok().and_then(|len| stream.granted.checked_sub(len));
        match granted {
            Some(granted) if !stream.peer_ended => stream.granted = granted,
            _ => return Err(Fault::Window(lane)),
        }
        stream.peer_ended = len == 0;
        Ok(())
    }

    /// A stream that has lost bytes.
    pub(crate) fn take_broken(&mut self) -> Option<Lane> {
        self.broken.pop()
    }

    pub(crate) fn has_work(&self) -> bool {
        !self.turns.is_empty()
    }

    /// When [`Streams::timeout`] is due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.again
    }

    /// What was held back may ask again.
    pub(crate) fn timeout(&mut self, now: Time) {
        if self.again.is_some_and(|again| again <= now) {
            self.again = None;
        }
    }

    fn list(&mut self, lane: Lane) {
        if let Some(stream) = self.all.get_mut(&lane.0)
            && stream.has_work()
            && !std::mem::replace(&mut stream.listed, true)
        {
            self.turns.push_back(lane.0);
        }
    }

    /// Appends frames, a lane after the other, until `buf` is `end` long or this call has given its share. `room` is
    /// what the connection had before anything was appended. A lane whose user has no key that it demands waits.
    pub(crate) fn fill(
        &mut self,
        now: Time,
        (room, end): (usize, usize),
        max_frame: usize,
        (lanes, keys): (&mut Lanes, &mut Table),
        buf: &mut Vec<u8>,
    ) {
        if self.turns.is_empty() {
            return;
        }
        if room < BULK_ROOM {
            self.again = Some(now + AGAIN);
            return;
        }
        self.again = None;
        let mut share = CHUNK;
        for _ in 0..self.turns.len() {
            let Some(number) = self.turns.pop_front() else { return };
            let lane = Lane(number);
            let (Some(stream), Some(state)) = (self.all.get_mut(&number), lanes.get_mut(lane)) else {
                continue;
            };
            let space = end.saturating_sub(buf.len() + HEADER + OVERHEAD);
            let most = CHUNK.min(max_frame.saturating_sub(OVERHEAD)).min(stream.credit as usize).min(share);
            let len = stream.out.len().min(most).min(space);
            let ends = stream.ending && !stream.ended && stream.out.is_empty();
            if space == 0 || (len == 0 && !ends) {
                self.turns.push_front(number);
                return;
            }
            match keys.outgoing(state.user, state.demand) {
                Outgoing::Withhold => {
                    self.turns.push_back(number);
                    self.again = Some(now + AGAIN);
                    continue;
                }
                Outgoing::Plain => {
                    put_header(buf, lane, len as u16);
                    append(&mut stream.out, len, buf);
                }
                Outgoing::Seal(sealer) => {
                    let start = buf.len();
                    put_header(buf, lane, (len + OVERHEAD) as u16);
                    buf.resize(start + HEADER + Sealer::head_len(), 0);
                    append(&mut stream.out, len, buf);
                    if !sealer.seal(lane, buf, start + HEADER) {
                        // The key is used up: bytes are missing now, and the stream cannot go on.
                        buf.truncate(start);
                        self.broken.push(lane);
                        continue;
                    }
                }
            }
            state.stats.sent_packets += 1;
            state.stats.sent_bytes += len as u64;
            stream.credit -= len as u32;
            stream.ended |= ends;
            share -= len;
            stream.listed = stream.has_work();
            if stream.listed {
                self.turns.push_back(number);
            } else {
                stream.out.shrink_to(CHUNK);
            }
        }
    }

    /// Bytes that wait on all streams.
    pub(crate) fn waiting(&self) -> usize {
        self.all.values().map(|stream| stream.out.len()).sum()
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.all.values().map(|stream| size_of::<Stream>() + stream.out.capacity()).sum::<usize>()
            + self.turns.capacity() * size_of::<u16>()
    }
}
