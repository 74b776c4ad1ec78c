//! Lanes that carry a stream of bytes, as their owner sees them.

use super::{Outcome, Tunnel};
use crate::control::Message;
use crate::key::Incoming;
use crate::lanes::Phase;
use crate::streams::STREAM_QUEUE;
use crate::{CloseReason, Event, Fault, Kind, Lane, OpenError, Refused, Why};

impl Tunnel {
    /// Opens a lane for a stream of bytes in both directions. Nothing runs on it before one end says
    /// [`Tunnel::begin_stream`].
    ///
    /// # Errors
    /// As for [`Tunnel::open_lane`]; besides, [`crate::Config::max_streams`] of them may be open at once.
    pub fn open_stream(&mut self, token: &[u8]) -> Result<Lane, OpenError> {
        if self.streams.len() >= self.config.max_streams {
            return Err(OpenError::TooMany);
        }
        let lane = self.open_lane(Kind::Stream, token)?;
        self.streams.insert(lane);
        Ok(lane)
    }

    /// Tells the peer that somebody has connected here, so that it connects there.
    pub fn begin_stream(&mut self, lane: Lane) {
        if self.is_stream(lane) {
            self.say(&Message::StreamBegin { lane });
        }
    }

    /// Queues bytes of a stream.
    ///
    /// # Errors
    /// [`Refused::Full`] if more wait than may: the owner has not paused its source at
    /// [`Tunnel::stream_is_full`], and must give the stream up, since bytes are missing from it now.
    pub fn stream(&mut self, lane: Lane, bytes: &[u8]) -> Result<(), Refused> {
        if !self.is_stream(lane) {
            return Err(Refused::NotOpen);
        }
        if self.streams.push(lane, bytes) { Ok(()) } else { Err(Refused::Full) }
    }

    /// Whether the source of a stream should pause for now.
    pub fn stream_is_full(&self, lane: Lane) -> bool {
        self.streams.queued(lane) >= STREAM_QUEUE
    }

    /// Whether it may go on: half of the queue is gone.
    pub fn stream_has_room(&self, lane: Lane) -> bool {
        self.streams.queued(lane) <= STREAM_QUEUE / 2
    }

    /// No bytes will follow in this direction; the other goes on.
    pub fn end_stream(&mut self, lane: Lane) {
        if self.is_stream(lane) {
            self.streams.end(lane);
        }
    }

    /// Whether everything queued on a stream is given to the connection, its end included.
    pub fn stream_is_sent(&self, lane: Lane) -> bool {
        self.streams.is_sent(lane)
    }

    /// So many bytes of a stream have been handed on: the peer may send as many more.
    pub fn consumed(&mut self, lane: Lane, bytes: usize) {
        if self.is_stream(lane)
            && let Some(bytes) = self.streams.consumed(lane, bytes)
        {
            self.say(&Message::StreamCredit { lane, bytes });
        }
    }

    fn is_stream(&self, lane: Lane) -> bool {
        self.lanes.get(lane).is_some_and(|state| state.phase == Phase::Open && state.kind == Kind::Stream)
    }

    /// A frame on a stream. One that does not open as it must leaves a gap: the stream is broken off.
    pub(super) fn stream_frame<'s, 'i: 's>(&'s mut self, lane: Lane, whole: Option<&'i [u8]>) -> Event<'s> {
        let incoming = self.unseal(lane, whole);
        let len = match incoming {
            Incoming::Plain => whole.map_or_else(|| self.conn.reader.assembled().len(), <[u8]>::len),
            Incoming::Opened => self.opened.len(),
            Incoming::Refused => {
                self.close_lane(lane);
                return Event::LaneClosed { lane, reason: CloseReason::Ended };
            }
        };
        match self.streams.received(lane, len) {
            Err(fault) => self.fault(fault),
            Ok(()) if len == 0 => Event::StreamEnded { lane },
            Ok(()) => {
                let bytes = match incoming {
                    Incoming::Opened => self.opened.as_slice(),
                    _ => whole.unwrap_or_else(|| self.conn.reader.assembled()),
                };
                Event::Stream { lane, bytes }
            }
        }
    }

    /// What a message about a stream does; on a lane that we are closing, nothing.
    pub(super) fn stream_message(&mut self, lane: Lane, credit: Option<u32>) -> Outcome {
        match self.lanes.get(lane).map(|state| (state.kind, state.phase)) {
            Some((_, Phase::Closing)) => Outcome::Quiet,
            Some((Kind::Stream, Phase::Open)) => match credit {
                Some(bytes) => {
                    self.streams.credited(lane, bytes);
                    Outcome::Quiet
                }
                None => Outcome::Begun { lane },
            },
            _ => Outcome::Dead(Why::Fault(Fault::UnknownLane(lane))),
        }
    }
}
