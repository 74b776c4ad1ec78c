//! The state machine of one end.

mod conn;
mod handover;
mod keys;
mod receive;
mod resume;
mod send;
mod stream;

use crate::control::Message;
use crate::key::{Incoming, KeyMessage, Table};
use crate::lanes::{Lanes, Phase};
use crate::reader::{Limits, Step};
use crate::sip::SipStream;
use crate::streams::Streams;
use crate::{
    CloseReason, Config, Dropped, Event, Fault, GoodbyeReason, Hello, Kind, Lane, LaneStats, OpenError,
    Refused, Resume, SipFull, Stale, Stats, Why,
};
use causeway_node::Time;
use conn::{Conn, Stage};
use resume::Session;
pub use resume::{Adopted, Saved};
use std::sync::Arc;
use std::time::Duration;

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
/// How long the contact point may take to say whether a session goes on: the next attempt may do better.
const VERDICT: Duration = Duration::from_secs(2);

/// One end of one tunnel: a session, and the connection that it has at present.
///
/// See the [crate's page](crate) for how to drive it.
#[derive(Debug)]
pub struct Tunnel {
    config: Arc<Config>,
    conn: Conn,
    /// The peer's Hello on the last connection.
    peer: Option<Box<Hello>>,
    session: Session,
    /// Seconds that the contact point keeps the session without a connection.
    grace: Option<u16>,
    sip: SipStream,
    lanes: Lanes,
    streams: Streams,
    keys: Table,
    /// What the last sealed frame held.
    opened: Vec<u8>,
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
    Asked(Resume),
    Resumed { peer_lost: bool },
    Fresh(Stale),
    Ticket,
    TicketKept,
    Leaving(u16),
    Dead(Why),
}

impl Tunnel {
    /// A tunnel on a connection that has just been opened, whose session ends with it. Its Hello waits to be
    /// sent.
    pub fn new(config: Arc<Config>, now: Time) -> Self {
        Self::on(config, now, None)
    }

    /// The same on a connection with this exporter (RFC 8446 §7.5): its session may go on on another.
    pub fn on(config: Arc<Config>, now: Time, exporter: Option<[u8; 32]>) -> Self {
        let hello = config.hello();
        let mut tunnel = Self::without_hello(config, now, exporter);
        tunnel.say(&Message::Hello(hello));
        tunnel
    }

    fn without_hello(config: Arc<Config>, now: Time, exporter: Option<[u8; 32]>) -> Self {
        Self {
            conn: Conn::new(&config, now, exporter),
            config,
            peer: None,
            session: Session::default(),
            grace: None,
            sip: SipStream::default(),
            lanes: Lanes::default(),
            streams: Streams::default(),
            keys: Table::default(),
            opened: Vec::new(),
            sip_sent: 0,
            sip_received: 0,
            stream_sent: 0,
            stream_received: 0,
        }
    }

    /// The peer's Hello, once it has come; between two connections the last.
    pub fn peer(&self) -> Option<&Hello> {
        self.peer.as_deref()
    }

    /// Whether both Hellos are exchanged and the tunnel is not over.
    pub fn is_up(&self) -> bool {
        self.conn.stage == Stage::Up
    }

    /// Whether there is a session, with a connection or waiting for one: lanes can be opened, SIP queued.
    pub fn lives(&self) -> bool {
        self.is_up() || (self.conn.stage != Stage::Over && self.can_resume())
    }

    /// Whether a lane is open.
    pub fn is_open(&self, lane: Lane) -> bool {
        self.lanes.get(lane).is_some_and(|state| state.phase != Phase::Closing)
    }

    /// What a lane that is open or closing carries.
    pub fn lane_kind(&self, lane: Lane) -> Option<Kind> {
        self.lanes.get(lane).map(|state| state.kind)
    }

    /// Takes received bytes: call it again and again with the same `input` until it returns `None`; then all
    /// of `input` is consumed. After [`Event::Dead`] everything is swallowed.
    pub fn next<'s, 'i: 's>(&'s mut self, now: Time, input: &mut &'i [u8]) -> Option<Event<'s>> {
        if !input.is_empty() {
            self.conn.pulse.last_heard = now;
        }
        loop {
            if self.conn.is_over() {
                *input = &[];
                return None;
            }
            self.begin_afresh(Stale::Unknown);
            if std::mem::take(&mut self.conn.announce) {
                return Some(self.event(Outcome::Up));
            }
            if let Some(lane) = self.conn.closed.pop() {
                return Some(Event::LaneClosed { lane, reason: CloseReason::Ended });
            }
            if self.conn.control_done < self.conn.control_in.len() {
                match self.control(now) {
                    Outcome::Quiet => continue,
                    outcome => return Some(self.event(outcome)),
                }
            }
            let limits = Limits { up: self.is_up(), max_frame: usize::from(self.config.max_frame) };
            let before = input.len();
            let step = self.conn.reader.step(input, limits);
            self.stream_received += (before - input.len()) as u64;
            let assembled = match step {
                Step::More => return None,
                Step::Bad(fault) => return Some(self.fault(fault)),
                Step::Sip(bytes) => {
                    self.sip_received += bytes.len() as u64;
                    self.sip.receive(bytes.len());
                    return Some(Event::Sip(bytes));
                }
                Step::Whole(Lane::CONTROL, payload) => {
                    self.take_control(payload.len(), Some(payload));
                    continue;
                }
                Step::Assembled(Lane::CONTROL) => {
                    self.take_control(self.conn.reader.assembled().len(), None);
                    continue;
                }
                Step::Whole(lane, payload) => (lane, Some(payload)),
                Step::Assembled(lane) => (lane, None),
            };
            let (lane, whole) = assembled;
            let len = whole.map_or_else(|| self.conn.reader.assembled().len(), <[u8]>::len);
            match self.count_received(lane, len) {
                Ok(Some(Kind::Stream)) => return Some(self.stream_frame(lane, whole)),
                Ok(Some(_)) => {
                    let payload = match self.unseal(lane, whole) {
                        Incoming::Plain => whole.unwrap_or_else(|| self.conn.reader.assembled()),
                        Incoming::Opened => &self.opened,
                        Incoming::Refused => continue,
                    };
                    return Some(Event::Datagram { lane, payload });
                }
                Ok(None) if self.tolerates(now, 1) => {}
                Ok(None) => return Some(self.fault(Fault::Strays)),
                Err(fault) => return Some(self.fault(fault)),
            }
        }
    }

    /// The owner has no use for so many datagrams of the last [`Tunnel::next`]: nobody is behind their lanes. Whoever
    /// sends too many of them ([`Config::stray_burst`]) has had his tunnel.
    pub fn strays(&mut self, now: Time, count: u32) -> Option<Event<'static>> {
        if count == 0 || self.tolerates(now, count) { None } else { self.expel(Fault::Strays) }
    }

    /// Ends the tunnel for a limit that its owner has set: the peer is told.
    pub fn expel(&mut self, fault: Fault) -> Option<Event<'static>> {
        if self.conn.is_over() {
            return None;
        }
        let _ = self.fault(fault);
        Some(Event::Dead(Why::Fault(fault)))
    }

    fn tolerates(&mut self, now: Time, count: u32) -> bool {
        let Config { stray_rate, stray_burst, .. } = *self.config;
        self.conn.strays.take(now, count, stray_rate, stray_burst)
    }

    /// Queues bytes of SIP messages: whole messages one after the other, no matter how they are cut.
    /// Before the tunnel is up, and while its session has no connection, they wait.
    pub fn sip(&mut self, bytes: &[u8]) -> Result<(), SipFull> {
        if self.conn.stage == Stage::Over || (self.is_parked() && !self.can_resume()) {
            return Err(SipFull);
        }
        self.sip.push(bytes, self.config.sip_bytes)
    }

    /// The owner has handled all SIP that it was given but for the last `held` bytes, which are no whole
    /// message yet: the peer need not keep it any more, and learns so with what is sent next, or after
    /// [`Config::ack_delay`].
    pub fn sip_handled(&mut self, now: Time, held: usize) {
        self.sip.handled(now, held);
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
        if !self.lives() {
            return Err(OpenError::NotUp);
        }
        // A peer that is not heard of since a restart took at least what was open.
        let theirs = self.peer.as_ref().map_or(u16::MAX, |peer| peer.max_lanes);
        let max = self.config.max_lanes.min(theirs).min(Config::MAX_LANES);
        if self.lanes.open_count() >= usize::from(max) {
            return Err(OpenError::TooMany);
        }
        let end = number_end(max);
        // Nor a number whose end its owner has not been told of yet.
        let untold = &self.conn.closed;
        let lane = self.lanes.free_number(self.config.role, end, untold).ok_or(OpenError::TooMany)?;
        self.lanes.insert(lane, kind, Phase::Open);
        // Between two connections it is opened with all others.
        if self.is_up() {
            self.say(&Message::LaneOpen { lane, kind: Ok(kind), token });
        }
        Ok(lane)
    }

    /// Closes a lane. What waits on it is dropped, what still arrives on it is ignored; its number is used
    /// again only after the peer has confirmed.
    pub fn close_lane(&mut self, lane: Lane) {
        let stale = self.lanes.get(lane).is_some_and(|state| state.phase == Phase::Stale);
        if !self.is_up() || stale {
            // The peer learns by its not being opened again.
            self.lanes.remove(lane);
        } else if self.is_open(lane) {
            self.lanes.start_closing(lane);
            self.streams.remove(lane);
            self.say(&Message::LaneClose { lane, reason: CloseReason::Ended });
        }
    }

    /// Tells the peer what [`Event::Leaving`] means; whole seconds of `grace`.
    pub fn say_leaving(&mut self, grace: Duration) {
        if self.is_up() {
            self.say(&Message::Leaving(u16::try_from(grace.as_secs()).unwrap_or(u16::MAX)));
        }
    }

    /// Says goodbye and is over: [`Tunnel::fill`] gives what remains to be sent. The session is over too,
    /// unless the reason is that this end restarts.
    pub fn goodbye(&mut self, reason: GoodbyeReason, text: &str) {
        if !self.conn.is_over() {
            self.say(&Message::Goodbye { reason, text });
            self.conn.stage = Stage::Over;
        }
    }

    /// Whether [`Tunnel::fill`] has something to give.
    pub fn wants_write(&self) -> bool {
        self.conn.tail_done < self.conn.tail.len()
            || !self.conn.control_out.is_empty()
            || (self.is_up()
                && (!self.conn.pongs.is_empty()
                    || self.conn.pulse.wanted()
                    || self.sip.waiting() > 0
                    || self.lanes.has_waiting()
                    || self.streams.has_work()
                    || self.sip.owed().is_some_and(|(_, at_once)| at_once)))
    }

    /// Appends at most `room` bytes for the connection: control and SIP first, then RTCP, audio, video and
    /// the rest; media past its deadline is dropped instead. A frame is cut only if it would not fit alone.
    pub fn fill(&mut self, now: Time, room: usize, buf: &mut Vec<u8>) {
        let start = buf.len();
        let end = start + room;
        self.fill_tail(end, buf);
        if self.conn.tail.is_empty() {
            self.fill_frames(now, start, end, buf);
        }
        let sent = buf.len() - start;
        if sent > 0 {
            self.conn.pulse.last_sent = now;
            self.stream_sent += sent as u64;
        }
    }

    /// When [`Tunnel::timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        match self.conn.stage {
            Stage::Over | Stage::Parked => None,
            Stage::Up => {
                let pulse = self.conn.pulse.deadline(&self.config, self.lanes.open_count() > 0);
                let ack = self.sip.owed().map(|(since, _)| since + self.config.ack_delay);
                [Some(pulse), ack, self.streams.deadline()].into_iter().flatten().min()
            }
            Stage::Greeting | Stage::Deciding | Stage::Asked => Some(self.handshake_ends()),
        }
    }

    fn handshake_ends(&self) -> Time {
        let asked = self.config.role == crate::Role::Agent && self.conn.ask.is_some();
        let patience = if asked { self.config.handshake.min(VERDICT) } else { self.config.handshake };
        self.conn.started + patience
    }

    /// Does what the time demands: afterwards something may wait to be sent ([`Tunnel::wants_write`]), or the
    /// tunnel is dead. Harmless before the deadline.
    pub fn timeout(&mut self, now: Time) -> Option<Event<'static>> {
        let why = match self.conn.stage {
            Stage::Over | Stage::Parked => return None,
            Stage::Up => {
                self.streams.timeout(now);
                if self.sip.owed().is_some_and(|(since, _)| since + self.config.ack_delay <= now) {
                    self.acknowledge();
                }
                let active = self.lanes.open_count() > 0;
                if self.conn.pulse.check(now, &self.config, active) {
                    return None;
                }
                Why::Silent
            }
            _ if now < self.handshake_ends() => return None,
            _ => Why::Handshake,
        };
        self.conn.stage = Stage::Over;
        Some(Event::Dead(why))
    }

    /// Counters of the whole tunnel.
    pub fn stats(&self) -> Stats {
        Stats {
            lanes: self.lanes.open_count(),
            datagrams: self.lanes.totals(),
            keys: self.keys.total(),
            waiting_bytes: self.lanes.waiting() + self.streams.waiting() + self.sip.waiting(),
            epoch: self.session.epoch,
            resumes: self.session.resumes,
            replayed_bytes: self.session.replayed,
            unacknowledged_bytes: self.sip.unacknowledged(),
            sip_sent_bytes: self.sip_sent,
            sip_received_bytes: self.sip_received,
            stream_sent_bytes: self.stream_sent,
            stream_received_bytes: self.stream_received,
            rtt: self.conn.pulse.rtt,
            started: self.conn.started,
            last_heard: self.conn.pulse.last_heard,
            last_sent: self.conn.pulse.last_sent,
        }
    }

    /// What was dropped on the lanes of each kind of datagrams, closed ones included.
    pub fn dropped(&self) -> [(Kind, Dropped); 4] {
        let sums = self.lanes.dropped();
        Kind::BY_PRIORITY.map(|kind| (kind, sums[kind.priority()]))
    }

    /// Counters of a lane that is open or closing.
    pub fn lane_stats(&self, lane: Lane) -> Option<LaneStats> {
        self.lanes.get(lane).map(|state| state.stats)
    }

    /// The open lanes with their kinds and counters.
    pub fn lanes(&self) -> impl Iterator<Item = (Lane, Kind, LaneStats)> {
        let open = self.lanes.iter().filter(|(_, state)| state.phase != Phase::Closing);
        open.map(|(lane, state)| (lane, state.kind, state.stats))
    }

    /// Bytes of memory that the tunnel holds in buffers and tables.
    pub fn memory(&self) -> usize {
        let peer = self.peer.as_ref().map_or(0, |hello| size_of::<Hello>() + hello.software.len());
        size_of::<Self>()
            + self.conn.memory()
            + self.sip.memory()
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
