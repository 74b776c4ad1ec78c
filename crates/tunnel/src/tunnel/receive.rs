//! What received control messages do.

use super::conn::Stage;
use super::{MAX_CONTROL_OUT, MAX_PONGS, Outcome, Tunnel, number_end};
use crate::control::Message;
use crate::key::KeyMessage;
use crate::lanes::Phase;
use crate::{CloseReason, Config, Event, Fault, Hello, Kind, Lane, Role, Why};
use causeway_node::Time;
use std::time::Duration;

impl Tunnel {
    pub(super) fn take_control(&mut self, len: usize, whole: Option<&[u8]>) {
        self.conn.control_in.clear();
        self.conn.control_in.extend_from_slice(whole.unwrap_or_else(|| self.conn.reader.assembled()));
        self.conn.control_in.truncate(len);
        self.conn.control_done = 0;
    }

    /// Counts a frame; what its lane carries, `None` if that is one that we have closed.
    pub(super) fn count_received(&mut self, lane: Lane, len: usize) -> Result<Option<Kind>, Fault> {
        let state = self.lanes.get_mut(lane).ok_or(Fault::UnknownLane(lane))?;
        match state.phase {
            Phase::Open => {}
            Phase::Closing => return Ok(None),
            Phase::Stale => return Err(Fault::UnknownLane(lane)),
        }
        state.stats.received_packets += 1;
        state.stats.received_bytes += len as u64;
        Ok(Some(state.kind))
    }

    /// Does the next control message of the frame at hand.
    pub(super) fn control(&mut self, now: Time) -> Outcome {
        let Config { control_rate, control_burst, .. } = *self.config;
        if !self.conn.control.take(now, 1, control_rate, control_burst) {
            return Outcome::Dead(Why::Fault(Fault::Flood));
        }
        let payload = std::mem::take(&mut self.conn.control_in);
        let mut rest = payload.get(self.conn.control_done..).unwrap_or_default();
        let message = Message::decode(&mut rest);
        self.conn.control_done = payload.len() - rest.len();
        let outcome = match message {
            Ok(Some(message)) => self.obey(now, message, &payload),
            Ok(None) if self.conn.stage == Stage::Greeting => Outcome::Dead(Why::Fault(Fault::NotHello)),
            Ok(None) => Outcome::Quiet,
            Err(error) => Outcome::Dead(Why::Fault(Fault::Control(error))),
        };
        self.conn.control_in = payload;
        outcome
    }

    fn obey(&mut self, now: Time, message: Message<'_>, payload: &[u8]) -> Outcome {
        let dead = |fault| Outcome::Dead(Why::Fault(fault));
        match message {
            Message::Hello(_) if self.conn.stage != Stage::Greeting => dead(Fault::HelloTwice),
            Message::Hello(hello) if hello.role != self.config.role.other() => dead(Fault::SameRole),
            Message::Hello(hello) => self.greet(hello),
            // A peer that refuses us may do so in place of its Hello.
            Message::Goodbye { reason, text } => {
                Outcome::Dead(Why::Goodbye { reason, text: text.to_owned() })
            }
            Message::Error { code, text } => Outcome::Dead(Why::PeerError { code, text: text.to_owned() }),
            _ if self.conn.stage == Stage::Greeting => dead(Fault::NotHello),
            Message::Resumed { era, received, proof } if self.conn.stage == Stage::Asked => {
                self.resumed(now, era, received, &proof)
            }
            Message::Fresh(why) if self.conn.stage == Stage::Asked => self.fresh(why),
            Message::Resumed { .. } | Message::Fresh(_) => dead(Fault::NotAsked),
            _ if self.conn.stage != Stage::Up => dead(Fault::NotAsked),
            Message::SipAck(offset) => match self.sip.acknowledged(offset) {
                Ok(()) => Outcome::Quiet,
                Err(fault) => dead(fault),
            },
            Message::Ticket { session, epoch, grace, seed } => self.ticket(session, epoch, grace, seed),
            Message::TicketTaken(epoch) => self.ticket_taken(epoch),
            Message::Leaving(grace) => Outcome::Leaving(grace),
            Message::LanesDone => {
                self.lanes_done();
                Outcome::Quiet
            }
            Message::LaneOpen { lane, kind, token } => self.peer_opens(lane, kind, token, payload),
            Message::LaneClose { lane, reason } => self.peer_closes(lane, reason),
            Message::Key(KeyMessage::Bind { lane, user }) => self.peer_binds(lane, user),
            Message::Key(message) => Outcome::Key(message),
            Message::StreamCredit { lane, bytes } => self.stream_message(lane, Some(bytes)),
            Message::StreamBegin { lane } => self.stream_message(lane, None),
            Message::Ping(opaque) => {
                if self.conn.pongs.len() < MAX_PONGS {
                    self.conn.pongs.push_back(opaque);
                }
                Outcome::Quiet
            }
            Message::Pong(opaque) => {
                self.conn.pulse.pong(now, opaque);
                Outcome::Quiet
            }
        }
    }

    fn greet(&mut self, mut hello: Hello) -> Outcome {
        let ask = hello.resume.take();
        self.peer = Some(Box::new(hello));
        match ask {
            Some(_) if self.config.role == Role::Agent => Outcome::Dead(Why::Fault(Fault::NotAsked)),
            Some(ask) => {
                self.conn.ask = Some(ask);
                self.conn.stage = Stage::Deciding;
                Outcome::Asked(ask)
            }
            None if self.conn.ask.is_some() => {
                self.conn.stage = Stage::Asked;
                Outcome::Quiet
            }
            None => {
                self.conn.stage = Stage::Up;
                Outcome::Up
            }
        }
    }

    fn peer_opens(&mut self, lane: Lane, kind: Result<Kind, u8>, token: &[u8], payload: &[u8]) -> Outcome {
        let in_range = u32::from(lane.0) < number_end(self.config.max_lanes.min(Config::MAX_LANES));
        let known = self.lanes.get(lane).map(|state| (state.phase, state.kind));
        let free = known.is_none_or(|(phase, _)| phase == Phase::Stale);
        if !in_range || !self.config.role.other().opens(lane) || !free {
            return Outcome::Dead(Why::Fault(Fault::LaneNumber(lane)));
        }
        if let Some((_, before)) = known {
            if kind == Ok(before) {
                self.lanes.reopen(lane);
                return Outcome::Quiet;
            }
            self.lanes.remove(lane);
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
            Some(Phase::Stale) => Outcome::Dead(Why::Fault(Fault::UnknownLane(lane))),
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
        if self.conn.control_out.len() > MAX_CONTROL_OUT { Outcome::Dead(Why::Deaf) } else { Outcome::Quiet }
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
            Outcome::Opened { lane, kind, token: (start, end) } => Event::LaneOpened {
                lane,
                kind,
                token: self.conn.control_in.get(start..end).unwrap_or_default(),
            },
            Outcome::Closed { lane, reason } => Event::LaneClosed { lane, reason },
            Outcome::Begun { lane } => Event::StreamBegun { lane },
            Outcome::Key(message) => Event::Key(message),
            Outcome::Asked(ask) => Event::Asked(ask),
            Outcome::Resumed { peer_lost } => Event::Resumed { peer_lost },
            Outcome::Fresh(why) => Event::Fresh(why),
            Outcome::Ticket => Event::Ticket,
            Outcome::TicketKept => Event::TicketKept,
            Outcome::Leaving(grace) => Event::Leaving { grace: Duration::from_secs(grace.into()) },
            Outcome::Dead(why) => {
                if let Why::Fault(fault) = &why {
                    let text = fault.to_string();
                    self.say(&Message::Error { code: fault.code(), text: &text });
                }
                self.conn.stage = Stage::Over;
                Event::Dead(why)
            }
        }
    }
}
