//! What received control messages do.

use super::{MAX_CONTROL_OUT, MAX_PONGS, Outcome, Tunnel, number_end};
use crate::control::Message;
use crate::key::KeyMessage;
use crate::lanes::Phase;
use crate::{CloseReason, Config, Event, Fault, Kind, Lane, Why};
use causeway_node::Time;

impl Tunnel {
    pub(super) fn take_control(&mut self, len: usize, whole: Option<&[u8]>) {
        self.control_in.clear();
        self.control_in.extend_from_slice(whole.unwrap_or_else(|| self.reader.assembled()));
        self.control_in.truncate(len);
        self.control_done = 0;
    }

    /// Counts a datagram; `false` if it comes on a lane that we have closed.
    pub(super) fn count_received(&mut self, lane: Lane, len: usize) -> Result<bool, Fault> {
        let state = self.lanes.get_mut(lane).ok_or(Fault::UnknownLane(lane))?;
        if state.phase != Phase::Open {
            return Ok(false);
        }
        state.stats.received_packets += 1;
        state.stats.received_bytes += len as u64;
        Ok(true)
    }

    /// Does the next control message of the frame at hand.
    pub(super) fn control(&mut self, now: Time) -> Outcome {
        if !self.allow(now) {
            return Outcome::Dead(Why::Fault(Fault::Flood));
        }
        let payload = std::mem::take(&mut self.control_in);
        let mut rest = payload.get(self.control_done..).unwrap_or_default();
        let message = Message::decode(&mut rest);
        self.control_done = payload.len() - rest.len();
        let outcome = match message {
            Ok(Some(message)) => self.obey(now, message, &payload),
            Ok(None) if self.peer.is_none() => Outcome::Dead(Why::Fault(Fault::NotHello)),
            Ok(None) => Outcome::Quiet,
            Err(error) => Outcome::Dead(Why::Fault(Fault::Control(error))),
        };
        self.control_in = payload;
        outcome
    }

    fn obey(&mut self, now: Time, message: Message<'_>, payload: &[u8]) -> Outcome {
        let dead = |fault| Outcome::Dead(Why::Fault(fault));
        match message {
            Message::Hello(_) if self.peer.is_some() => dead(Fault::HelloTwice),
            Message::Hello(hello) if hello.role != self.config.role.other() => dead(Fault::SameRole),
            Message::Hello(hello) => {
                self.peer = Some(Box::new(hello));
                Outcome::Up
            }
            // A peer that refuses us may do so in place of its Hello.
            Message::Goodbye { reason, text } => {
                Outcome::Dead(Why::Goodbye { reason, text: text.to_owned() })
            }
            Message::Error { code, text } => Outcome::Dead(Why::PeerError { code, text: text.to_owned() }),
            _ if self.peer.is_none() => dead(Fault::NotHello),
            Message::LaneOpen { lane, kind, token } => self.peer_opens(lane, kind, token, payload),
            Message::LaneClose { lane, reason } => self.peer_closes(lane, reason),
            Message::Key(KeyMessage::Bind { lane, user }) => self.peer_binds(lane, user),
            Message::Key(message) => Outcome::Key(message),
            Message::StreamCredit { lane, bytes } => self.stream_message(lane, Some(bytes)),
            Message::StreamBegin { lane } => self.stream_message(lane, None),
            Message::Ping(opaque) => {
                if self.pongs.len() < MAX_PONGS {
                    self.pongs.push_back(opaque);
                }
                Outcome::Quiet
            }
            Message::Pong(opaque) => {
                self.pulse.pong(now, opaque);
                Outcome::Quiet
            }
        }
    }

    fn peer_opens(&mut self, lane: Lane, kind: Result<Kind, u8>, token: &[u8], payload: &[u8]) -> Outcome {
        let in_range = u32::from(lane.0) < number_end(self.config.max_lanes.min(Config::MAX_LANES));
        if !in_range || !self.config.role.other().opens(lane) || self.lanes.get(lane).is_some() {
            return Outcome::Dead(Why::Fault(Fault::LaneNumber(lane)));
        }
        let refusal = match kind {
            Err(_) => Some(CloseReason::UnknownKind),
            Ok(_) if self.lanes.open_count() >= usize::from(self.config.max_lanes) => {
                Some(CloseReason::TooMany)
            }
            Ok(Kind::Stream) if self.streams.len() >= self.config.max_streams => Some(CloseReason::TooMany),
            Ok(_) => None,
        };
        if let Some(reason) = refusal {
            self.lanes.insert(lane, kind.unwrap_or(Kind::Other), Phase::Closing);
            self.say(&Message::LaneClose { lane, reason });
            return self.quiet_unless_deaf();
        }
        let kind = kind.unwrap_or(Kind::Other);
        self.lanes.insert(lane, kind, Phase::Open);
        if kind == Kind::Stream {
            self.streams.insert(lane);
        }
        // `token` lies within `payload`, which the event borrows again.
        let start = (token.as_ptr() as usize).saturating_sub(payload.as_ptr() as usize);
        Outcome::Opened { lane, kind, token: (start, start + token.len()) }
    }

    fn peer_closes(&mut self, lane: Lane, reason: CloseReason) -> Outcome {
        match self.lanes.get(lane).map(|state| state.phase) {
            None => Outcome::Dead(Why::Fault(Fault::UnknownLane(lane))),
            Some(Phase::Closing) => {
                self.lanes.remove(lane);
                Outcome::Quiet
            }
            Some(Phase::Open) => {
                self.lanes.remove(lane);
                self.streams.remove(lane);
                self.say(&Message::LaneClose { lane, reason: CloseReason::Ended });
                match self.quiet_unless_deaf() {
                    Outcome::Quiet => Outcome::Closed { lane, reason },
                    dead => dead,
                }
            }
        }
    }

    fn quiet_unless_deaf(&self) -> Outcome {
        if self.control_out.len() > MAX_CONTROL_OUT { Outcome::Dead(Why::Deaf) } else { Outcome::Quiet }
    }

    /// Counts one control message against the peer's allowance.
    fn allow(&mut self, now: Time) -> bool {
        let gained =
            now.since(self.counted).as_nanos() * u128::from(self.config.control_rate) / 1_000_000_000;
        if gained > 0 {
            self.counted = now;
            let gained = u32::try_from(gained).unwrap_or(u32::MAX);
            self.allowance = self.allowance.saturating_add(gained).min(self.config.control_burst);
        }
        self.allowance.checked_sub(1).map(|left| self.allowance = left).is_some()
    }

    pub(super) fn fault(&mut self, fault: Fault) -> Event<'_> {
        self.event(Outcome::Dead(Why::Fault(fault)))
    }

    pub(super) fn event(&mut self, outcome: Outcome) -> Event<'_> {
        match outcome {
            Outcome::Up | Outcome::Quiet => match &self.peer {
                Some(hello) => Event::Up(hello),
                None => Event::Dead(Why::Handshake),
            },
            Outcome::Opened { lane, kind, token: (start, end) } => {
                Event::LaneOpened { lane, kind, token: self.control_in.get(start..end).unwrap_or_default() }
            }
            Outcome::Closed { lane, reason } => Event::LaneClosed { lane, reason },
            Outcome::Begun { lane } => Event::StreamBegun { lane },
            Outcome::Key(message) => Event::Key(message),
            Outcome::Dead(why) => {
                if let Why::Fault(fault) = &why {
                    let text = fault.to_string();
                    self.say(&Message::Error { code: fault.code(), text: &text });
                }
                self.over = true;
                Event::Dead(why)
            }
        }
    }
}
