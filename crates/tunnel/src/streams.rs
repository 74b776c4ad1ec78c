//! Lanes that carry a stream of bytes: what waits, what may be sent, whose turn it is.
//!
//! Each direction of a stream has a credit: the bytes that its receiver has room for. It begins at [`WINDOW`] and
//! grows as the receiver hands bytes on, so that a slow reader costs its own stream, and nobody else, their time.

use crate::frame::{HEADER, put_header};
use crate::lanes::append;
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

    /// Appends frames, lanes in turn, until `buf` is `end` long or this call has given its share. `room` is what
    /// the connection had before anything was appended. Reports each frame.
    pub(crate) fn fill(
        &mut self,
        now: Time,
        room: usize,
        end: usize,
        max_frame: usize,
        buf: &mut Vec<u8>,
        mut sent: impl FnMut(Lane, usize),
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
        while let Some(number) = self.turns.front().copied() {
            let space = end.saturating_sub(buf.len() + HEADER);
            let Some(stream) = self.all.get_mut(&number) else {
                self.turns.pop_front();
                continue;
            };
            let most = CHUNK.min(max_frame).min(stream.credit as usize).min(share).min(space);
            let len = stream.out.len().min(most);
            if end < buf.len() + HEADER || (len == 0 && !stream.out.is_empty() && stream.credit > 0) {
                return;
            }
            if len > 0 || (stream.ending && !stream.ended && stream.out.is_empty()) {
                put_header(buf, Lane(number), len as u16);
                append(&mut stream.out, len, buf);
                stream.credit -= len as u32;
                stream.ended = len == 0;
                share -= len;
                sent(Lane(number), len);
            }
            self.turns.pop_front();
            if stream.has_work() {
                self.turns.push_back(number);
            } else {
                stream.listed = false;
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
