//! The state machine of one end.

mod keys;
mod receive;
mod send;
mod stream;

use crate::control::Message;
use crate::key::{Incoming, KeyMessage, Table};
use crate::lanes::{Lanes, Phase};
use crate::pulse::Pulse;
use crate::reader::{Limits, Reader, Step};
use crate::streams::Streams;
use crate::{
    CloseReason, Config, Event, GoodbyeReason, Hello, Kind, Lane, LaneStats, OpenError, Refused, SipFull,
    Stats, Why,
};
use causeway_node::Time;
use std::collections::VecDeque;
use std::sync::Arc;

/// The longest payload of a SIP frame that we send, so that no long message holds up what is urgent.
const SIP_CHUNK: usize = 4096;
/// SIP frames shorter than this are not begun when the room is that small.
const SIP_LEAST: usize = 64;
/// Control bytes waiting; a peer that does not read while it makes us answer is given up.
const MAX_CONTROL_OUT: usize = 64 << 10;
/// Pings waiting for their answer; further ones are dropped, the newest answer is enough.
const MAX_PONGS: usize = 4;
/// A buffer that has grown larger than this is given back when it is empty.
const KEEP: usize = 4096;

/// One end of one tunnel, from the first byte on its connection to the last.
///
/// See the [crate's page](crate) for how to drive it.
#[derive(Debug)]
pub struct Tunnel {
    config: Arc<Config>,
    started: Time,
    peer: Option<Box<Hello>>,
    over: bool,
    reader: Reader,
    /// Payload of the last control frame, and how much of it is done.
    control_in: Vec<u8>,
    control_done: usize,
    /// Whole control frames to be sent.
    control_out: Vec<u8>,
    pongs: VecDeque<[u8; 8]>,
    sip_out: VecDeque<u8>,
    lanes: Lanes,
    streams: Streams,
    keys: Table,
    /// What the last sealed frame held.
    opened: Vec<u8>,
    pulse: Pulse,
    /// Control messages that may still come at once, and when that was counted.
    allowance: u32,
    counted: Time,
    /// The rest of a frame that did not fit into the room.
    tail: Vec<u8>,
    tail_done: usize,
    sip_sent: u64,
    sip_received: u64,
    stream_sent: u64,
    stream_received: u64,
}

/// What a control message means to the owner, without what it borrows.
enum Outcome {
    Quiet,
    Up,
    Opened { lane: Lane, kind: Kind, token: (usize, usize) },
    Closed { lane: Lane, reason: CloseReason },
    Begun { lane: Lane },
    Key(KeyMessage),
    Dead(Why),
}

impl Tunnel {
    /// A tunnel on a connection that has just been opened. Its Hello waits to be sent.
    pub fn new(config: Arc<Config>, now: Time) -> Self {
        let hello = config.hello();
        let mut tunnel = Self {
            allowance: config.control_burst,
            config,
            started: now,
            peer: None,
            over: false,
            reader: Reader::default(),
            control_in: Vec::new(),
            control_done: 0,
            control_out: Vec::new(),
            pongs: VecDeque::new(),
            sip_out: VecDeque::new(),
            lanes: Lanes::default(),
            streams: Streams::default(),
            keys: Table::default(),
            opened: Vec::new(),
            pulse: Pulse::new(now),
            counted: now,
            tail: Vec::new(),
            tail_done: 0,
            sip_sent: 0,
            sip_received: 0,
            stream_sent: 0,
            stream_received: 0,
        };
        tunnel.say(&Message::Hello(hello));
        tunnel
    }

    /// The peer's Hello, once the tunnel is up.
    pub fn peer(&self) -> Option<&Hello> {
        self.peer.as_deref()
    }

    /// Whether both Hellos are exchanged and the tunnel is not over.
    pub fn is_up(&self) -> bool {
        self.peer.is_some() && !self.over
    }

    /// Whether a lane is open.
    pub fn is_open(&self, lane: Lane) -> bool {
        self.lanes.get(lane).is_some_and(|state| state.phase == Phase::Open)
    }

    /// What a lane that is open or closing carries.
    pub fn lane_kind(&self, lane: Lane) -> Option<Kind> {
        self.lanes.get(lane).map(|state| state.kind)
    }

    /// Takes received bytes: call it again and again with the same `input` until it returns `None`; then all
    /// of `input` is consumed. After [`Event::Dead`] everything is swallowed.
    pub fn next<'s, 'i: 's>(&'s mut self, now: Time, input: &mut &'i [u8]) -> Option<Event<'s>> {
        if !input.is_empty() {
            self.pulse.last_heard = now;
        }
        loop {
            if self.over {
                *input = &[];
                return None;
            }
            if self.control_done < self.control_in.len() {
                match self.control(now) {
                    Outcome::Quiet => continue,
                    outcome => return Some(self.event(outcome)),
                }
            }
            let limits = Limits { up: self.peer.is_some(), max_frame: usize::from(self.config.max_frame) };
            let before = input.len();
            let step = self.reader.step(input, limits);
            self.stream_received += (before - input.len()) as u64;
            let assembled = match step {
                Step::More => return None,
                Step::Bad(fault) => return Some(self.fault(fault)),
                Step::Sip(bytes) => {
                    self.sip_received += bytes.len() as u64;
                    return Some(Event::Sip(bytes));
                }
                Step::Whole(Lane::CONTROL, payload) => {
                    self.take_control(payload.len(), Some(payload));
                    continue;
                }
                Step::Assembled(Lane::CONTROL) => {
                    self.take_control(self.reader.assembled().len(), None);
                    continue;
                }
                Step::Whole(lane, payload) => (lane, Some(payload)),
                Step::Assembled(lane) => (lane, None),
            };
            let (lane, whole) = assembled;
            let len = whole.map_or_else(|| self.reader.assembled().len(), <[u8]>::len);
            match self.count_received(lane, len) {
                Ok(true) if self.is_stream(lane) => match self.streams.received(lane, len) {
                    Ok(()) if len == 0 => return Some(Event::StreamEnded { lane }),
                    Ok(()) => {
                        let bytes = whole.unwrap_or_else(|| self.reader.assembled());
                        return Some(Event::Stream { lane, bytes });
                    }
                    Err(fault) => return Some(self.fault(fault)),
                },
                Ok(true) => {
                    let payload = match self.unseal(lane, whole) {
                        Incoming::Plain => whole.unwrap_or_else(|| self.reader.assembled()),
                        Incoming::Opened => &self.opened,
                        Incoming::Refused => continue,
                    };
                    return Some(Event::Datagram { lane, payload });
                }
                Ok(false) => {}
                Err(fault) => return Some(self.fault(fault)),
            }
        }
    }

    /// Queues bytes of SIP messages: whole messages one after the other, no matter how they are cut.
    /// Before the tunnel is up they wait.
    pub fn sip(&mut self, bytes: &[u8]) -> Result<(), SipFull> {
        if self.over || self.sip_out.len() + bytes.len() > self.config.sip_bytes {
            return Err(SipFull);
        }
        self.sip_out.extend(bytes);
        Ok(())
    }

    /// Queues a datagram that has arrived at `now`. It may give way later to newer or more urgent ones, and
    /// is dropped if its deadline passes while it waits.
    pub fn datagram(&mut self, now: Time, lane: Lane, bytes: &[u8]) -> Result<(), Refused> {
        let max_frame = self.peer.as_ref().map_or(0, |peer| usize::from(peer.max_frame));
        self.lanes.push(&self.config, max_frame, now, lane, bytes)
    }

    /// Opens a lane for datagrams in both directions. The peer learns of it before it sees any SIP or
    /// datagram queued after this call. `token` (at most 64 bytes) tells it what the lane belongs to.
    pub fn open_lane(&mut self, kind: Kind, token: &[u8]) -> Result<Lane, OpenError> {
        let Some(peer) = self.peer.as_ref().filter(|_| !self.over) else { return Err(OpenError::NotUp) };
        let max = self.config.max_lanes.min(peer.max_lanes).min(Config::MAX_LANES);
        if self.lanes.open_count() >= usize::from(max) {
            return Err(OpenError::TooMany);
        }
        let end = number_end(max);
        let lane = self.lanes.free_number(self.config.role, end).ok_or(OpenError::TooMany)?;
        self.lanes.insert(lane, kind, Phase::Open);
        self.say(&Message::LaneOpen { lane, kind: Ok(kind), token });
        Ok(lane)
    }

    /// Closes a lane. What waits on it is dropped, what still arrives on it is ignored; its number is used
    /// again only after the peer has confirmed.
    pub fn close_lane(&mut self, lane: Lane) {
        if self.is_open(lane) {
            self.lanes.start_closing(lane);
            self.streams.remove(lane);
            self.say(&Message::LaneClose { lane, reason: CloseReason::Ended });
        }
    }

    /// Says goodbye and is over: [`Tunnel::fill`] gives what remains to be sent.
    pub fn goodbye(&mut self, reason: GoodbyeReason, text: &str) {
        if !self.over {
            self.say(&Message::Goodbye { reason, text });
            self.over = true;
        }
    }

    /// Whether [`Tunnel::fill`] has something to give.
    pub fn wants_write(&self) -> bool {
        self.tail_done < self.tail.len()
            || !self.control_out.is_empty()
            || (self.is_up()
                && (!self.pongs.is_empty()
                    || self.pulse.wanted()
                    || !self.sip_out.is_empty()
                    || self.lanes.has_waiting()
                    || self.streams.has_work()))
    }

    /// Appends at most `room` bytes for the connection: control and SIP first, then RTCP, audio, video and
    /// the rest; media past its deadline is dropped instead. A frame is cut only if it would not fit alone.
    pub fn fill(&mut self, now: Time, room: usize, buf: &mut Vec<u8>) {
        let start = buf.len();
        let end = start + room;
        self.fill_tail(end, buf);
        if self.tail.is_empty() {
            self.fill_frames(now, start, end, buf);
        }
        let sent = buf.len() - start;
        if sent > 0 {
            self.pulse.last_sent = now;
            self.stream_sent += sent as u64;
        }
    }

    /// When [`Tunnel::timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        if self.over {
            None
        } else if self.peer.is_none() {
            Some(self.started + self.config.handshake)
        } else {
            let pulse = self.pulse.deadline(&self.config, self.lanes.open_count() > 0);
            Some(self.streams.deadline().map_or(pulse, |again| again.min(pulse)))
        }
    }

    /// Does what the time demands: afterwards a ping may wait to be sent ([`Tunnel::wants_write`]), or the
    /// tunnel is dead. Harmless before the deadline.
    pub fn timeout(&mut self, now: Time) -> Option<Event<'static>> {
        if self.over {
            return None;
        }
        self.streams.timeout(now);
        let alive = match self.peer {
            None => now < self.started + self.config.handshake,
            Some(_) => self.pulse.check(now, &self.config, self.lanes.open_count() > 0),
        };
        if alive {
            return None;
        }
        let why = if self.peer.is_none() { Why::Handshake } else { Why::Silent };
        self.over = true;
        Some(Event::Dead(why))
    }

    /// Counters of the whole tunnel.
    pub fn stats(&self) -> Stats {
        Stats {
            lanes: self.lanes.open_count(),
            datagrams: self.lanes.totals(),
            waiting_bytes: self.lanes.waiting() + self.streams.waiting() + self.sip_out.len(),
            sip_sent_bytes: self.sip_sent,
            sip_received_bytes: self.sip_received,
            stream_sent_bytes: self.stream_sent,
            stream_received_bytes: self.stream_received,
            rtt: self.pulse.rtt,
            started: self.started,
            last_heard: self.pulse.last_heard,
            last_sent: self.pulse.last_sent,
        }
    }

    /// Counters of a lane that is open or closing.
    pub fn lane_stats(&self, lane: Lane) -> Option<LaneStats> {
        self.lanes.get(lane).map(|state| state.stats)
    }

    /// The open lanes with their kinds and counters.
    pub fn lanes(&self) -> impl Iterator<Item = (Lane, Kind, LaneStats)> {
        let open = self.lanes.iter().filter(|(_, state)| state.phase == Phase::Open);
        open.map(|(lane, state)| (lane, state.kind, state.stats))
    }

    /// Bytes of memory that the tunnel holds in buffers and tables.
    pub fn memory(&self) -> usize {
        let buffers = self.control_in.capacity() + self.control_out.capacity() + self.tail.capacity();
        let peer = self.peer.as_ref().map_or(0, |hello| size_of::<Hello>() + hello.software.len());
        size_of::<Self>()
            + buffers
            + self.sip_out.capacity()
            + self.reader.memory()
            + self.lanes.memory()
            + self.streams.memory()
            + self.keys.memory()
            + self.opened.capacity()
            + peer
    }
}

/// Lane numbers lie below this where `max` lanes may be open.
fn number_end(max: u16) -> u32 {
    u32::from(Lane::FIRST.0) + 2 * u32::from(max)
}
