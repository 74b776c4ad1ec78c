//! The open lanes, what waits on them, and whose turn it is.

use crate::frame::{HEADER, put_header};
use crate::key::{Assurance, OVERHEAD, Outgoing, Sealer, Table};
use crate::{Config, Kind, Lane, Role};
use causeway_node::Time;
use std::collections::VecDeque;
use std::ops::{AddAssign, Range};

/// What a lane has carried and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Packets given to the connection.
    pub sent_packets: u64,
    /// Their payload bytes.
    pub sent_bytes: u64,
    /// Packets received.
    pub received_packets: u64,
    /// Their payload bytes.
    pub received_bytes: u64,
    /// Packets whose deadline had passed when their turn came.
    pub late_dropped: u64,
    /// Packets that gave way in a full queue, were too long, or waited when the lane closed.
    pub queue_dropped: u64,
    /// Packets not sent because the lane's user had no key, or not a good enough one.
    pub withheld: u64,
    /// Frames received that did not open under the user's key, or came unsealed where they must not.
    pub refused: u64,
}

impl AddAssign for LaneStats {
    fn add_assign(&mut self, other: Self) {
        self.sent_packets += other.sent_packets;
        self.sent_bytes += other.sent_bytes;
        self.received_packets += other.received_packets;
        self.received_bytes += other.received_bytes;
        self.late_dropped += other.late_dropped;
        self.queue_dropped += other.queue_dropped;
        self.withheld += other.withheld;
        self.refused += other.refused;
    }
}

/// What was to be sent on the lanes of one kind, and was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// As [`LaneStats::late_dropped`].
    pub late: u64,
    /// As [`LaneStats::queue_dropped`].
    pub queue: u64,
}

impl Dropped {
    fn add(&mut self, stats: &LaneStats) {
        self.late += stats.late_dropped;
        self.queue += stats.queue_dropped;
    }
}

impl AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.late += other.late;
        self.queue += other.queue;
    }
}

/// Why a datagram was not queued; it is counted as dropped where the lane exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such lane, or it is closing.
    #[error("the lane is not open")]
    NotOpen,
    /// The peer does not take frames of this length.
    #[error("the datagram is longer than the peer takes")]
    TooLong,
    /// More urgent packets fill the queue.
    #[error("the queue is full")]
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Open,
    /// We have sent a close and wait for the peer's; what still arrives is thrown away.
    Closing,
    /// The peer had opened it on the connection before, and has not said on this one whether it still wants it.
    Stale,
}

#[derive(Debug)]
pub(crate) struct State {
    pub kind: Kind,
    pub phase: Phase,
    pub stats: LaneStats,
    /// Whose key seals it; 0 is nobody's.
    pub user: u32,
    /// Without a key that is worth this much nothing passes.
    pub demand: Assurance,
    queue: Queue,
    /// Whether its number stands in the list of lanes with something to send.
    ready: bool,
}

/// Packets in the order of their arrival, payloads end to end in one ring.
#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<(Time, u16)>,
    bytes: VecDeque<u8>,
}

impl Queue {
    /// Removes the oldest packet; its length.
    fn drop_oldest(&mut self) -> Option<usize> {
        let (_, len) = self.entries.pop_front()?;
        self.bytes.drain(..usize::from(len));
        Some(usize::from(len))
    }

    /// Moves the oldest packet to the end of `buf` as a frame, sealed if there is something to seal it with;
    /// `false` if that cannot be: then the packet is gone and `buf` as before.
    fn send(&mut self, lane: Lane, sealer: Option<&mut Sealer>, buf: &mut Vec<u8>) -> bool {
        let Some((_, len)) = self.entries.pop_front() else { return false };
        let start = buf.len();
        let Some(sealer) = sealer else {
            put_header(buf, lane, len);
            append(&mut self.bytes, usize::from(len), buf);
            return true;
        };
        put_header(buf, lane, len + OVERHEAD as u16);
        buf.resize(start + HEADER + Sealer::head_len(), 0);
        append(&mut self.bytes, usize::from(len), buf);
        let sealed = sealer.seal(lane, buf, start + HEADER);
        if !sealed {
            buf.truncate(start);
        }
        sealed
    }
}

#[derive(Debug, Default)]
pub(crate) struct Lanes {
    /// By number, less [`Lane::FIRST`]. Its length is bounded by the range of numbers.
    table: Vec<Option<Box<State>>>,
    /// Per priority, the lanes that (may) have something to send, next turn first.
    ready: [VecDeque<u16>; 5],
    /// Payload bytes waiting on all lanes.
    waiting: usize,
    /// Lanes in phase open.
    open: usize,
    /// What closed lanes have carried.
    closed: LaneStats,
    /// What was dropped on them, per priority.
    closed_dropped: [Dropped; 5],
    /// Queues of closed lanes, kept for the next ones.
    spare: Vec<Queue>,
}

/// Queues kept for reuse.
const SPARES: usize = 16;

impl Lanes {
    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn has_waiting(&self) -> bool {
        self.ready.iter().any(|list| !list.is_empty())
    }

    pub(crate) fn get(&self, lane: Lane) -> Option<&State> {
        self.table.get(index(lane)?)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, lane: Lane) -> Option<&mut State> {
        self.table.get_mut(index(lane)?)?.as_deref_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Lane, &State)> {
        let number = |i: usize| Lane(i as u16 + Lane::FIRST.0);
        self.table.iter().enumerate().filter_map(move |(i, state)| Some((number(i), state.as_deref()?)))
    }

    pub(crate) fn totals(&self) -> LaneStats {
        let mut sum = self.closed;
        self.iter().for_each(|(_, state)| sum += state.stats);
        sum
    }

    /// What was dropped on the lanes of each kind, by priority.
    pub(crate) fn dropped(&self) -> [Dropped; 5] {
        let mut sums = self.closed_dropped;
        self.iter().for_each(|(_, state)| sums[state.kind.priority()].add(&state.stats));
        sums
    }

    /// The lowest number of `role` that is not in use and not `untold`, below `end`.
    pub(crate) fn free_number(&self, role: Role, end: u32, untold: &[Lane]) -> Option<Lane> {
        (Lane::FIRST.0..u16::try_from(end).unwrap_or(u16::MAX))
            .map(Lane)
            .find(|lane| role.opens(*lane) && self.get(*lane).is_none() && !untold.contains(lane))
    }

    /// Enters a lane whose number is not in use.
    pub(crate) fn insert(&mut self, lane: Lane, kind: Kind, phase: Phase) {
        let Some(i) = index(lane) else { return };
        if self.table.len() <= i {
            self.table.resize_with(i + 1, || None);
        }
        let queue = self.spare.pop().unwrap_or_default();
        let (stats, demand) = (LaneStats::default(), Assurance::None);
        self.table[i] = Some(Box::new(State { kind, phase, stats, user: 0, demand, queue, ready: false }));
        self.open += usize::from(phase == Phase::Open);
    }

    /// The connection is gone: what waits is too late for any other, and lanes that were closing are closed.
    pub(crate) fn cut(&mut self) {
        for i in 0..self.table.len() {
            let lane = Lane(i as u16 + Lane::FIRST.0);
            match self.get(lane).map(|state| state.phase) {
                Some(Phase::Closing) => self.remove(lane),
                Some(_) => self.empty(lane),
                None => {}
            }
        }
    }

    /// The open lanes of one role wait for being opened again by it.
    pub(crate) fn expect_again(&mut self, role: Role) {
        for state in self.of(role).filter(|state| state.phase == Phase::Open) {
            state.phase = Phase::Stale;
        }
        self.open = self.iter().filter(|(_, state)| state.phase == Phase::Open).count();
    }

    /// A stale lane is open again.
    pub(crate) fn reopen(&mut self, lane: Lane) {
        if let Some(state) = self.get_mut(lane).filter(|state| state.phase == Phase::Stale) {
            state.phase = Phase::Open;
            self.open += 1;
        }
    }

    /// The lanes in a phase.
    pub(crate) fn in_phase(&self, phase: Phase) -> impl Iterator<Item = (Lane, Kind)> {
        self.iter().filter(move |(_, state)| state.phase == phase).map(|(lane, state)| (lane, state.kind))
    }

    fn of(&mut self, role: Role) -> impl Iterator<Item = &mut State> {
        let all = self.table.iter_mut().enumerate();
        let own = all.filter(move |(i, _)| role.opens(Lane(*i as u16 + Lane::FIRST.0)));
        own.filter_map(|(_, state)| state.as_deref_mut())
    }

    /// Throws away what waits on a lane.
    fn empty(&mut self, lane: Lane) {
        let Some(state) = index(lane).and_then(|i| self.table.get_mut(i)?.as_deref_mut()) else { return };
        state.stats.queue_dropped += state.queue.entries.len() as u64;
        self.waiting -= state.queue.bytes.len();
        state.queue.entries.clear();
        state.queue.bytes.clear();
        if std::mem::take(&mut state.ready) {
            self.ready[state.kind.priority()].retain(|number| *number != lane.0);
        }
    }

    /// Stops sending on a lane and throws away what waits on it.
    pub(crate) fn start_closing(&mut self, lane: Lane) {
        let Some(state) =
            self.table.get_mut(index(lane).unwrap_or(usize::MAX)).and_then(Option::as_deref_mut)
        else {
            return;
        };
        self.open -= usize::from(state.phase == Phase::Open);
        state.phase = Phase::Closing;
        self.empty(lane);
    }

    /// Forgets a lane.
    pub(crate) fn remove(&mut self, lane: Lane) {
        self.start_closing(lane);
        let Some(slot) = index(lane).and_then(|i| self.table.get_mut(i)) else { return };
        let Some(state) = slot.take() else { return };
        self.closed += state.stats;
        self.closed_dropped[state.kind.priority()].add(&state.stats);
        if self.spare.len() < SPARES {
            self.spare.push(state.queue);
        }
        if self.open == 0 && self.iter().next().is_none() {
            self.table = Vec::new();
            self.spare = Vec::new();
            self.ready = Default::default();
        }
    }

    /// Queues a datagram; see [`Config::lane_packets`] and its neighbours for who gives way.
    pub(crate) fn push(
        &mut self,
        config: &Config,
        max_frame: usize,
        now: Time,
        lane: Lane,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        let slot = self.table.get_mut(index(lane).ok_or(Refused::NotOpen)?);
        let state = slot.and_then(Option::as_deref_mut).ok_or(Refused::NotOpen)?;
        if state.phase != Phase::Open || state.kind == Kind::Stream {
            return Err(Refused::NotOpen);
        }
        let len = bytes.len();
        let max_frame = if state.user == 0 { max_frame } else { max_frame.saturating_sub(OVERHEAD) };
        if len > max_frame || len > config.lane_bytes || len > config.total_bytes {
            state.stats.queue_dropped += 1;
            return Err(Refused::TooLong);
        }
        while state.queue.entries.len() >= config.lane_packets.max(1)
            || state.queue.bytes.len() + len > config.lane_bytes
        {
            let Some(len) = state.queue.drop_oldest() else { break };
            state.stats.queue_dropped += 1;
            self.waiting -= len;
        }
        let priority = state.kind.priority();
        while self.waiting + len > config.total_bytes {
            if !self.evict(priority) {
                if let Some(state) = self.get_mut(lane) {
                    state.stats.queue_dropped += 1;
                }
                return Err(Refused::Full);
            }
        }
        let Some(state) = self.get_mut(lane) else { return Err(Refused::NotOpen) };
        state.queue.entries.push_back((now, len as u16));
        state.queue.bytes.extend(bytes);
        let newly = !std::mem::replace(&mut state.ready, true);
        self.waiting += len;
        if newly {
            self.ready[priority].push_back(lane.0);
        }
        Ok(())
    }

    /// Drops the oldest packet of the lane whose turn is next among the least urgent, if no more urgent than
    /// `priority`.
    fn evict(&mut self, priority: usize) -> bool {
        for class in (priority..self.ready.len()).rev() {
            while let Some(number) = self.ready[class].front().copied() {
                if let Some(state) = self.get_mut(Lane(number)) {
                    if let Some(len) = state.queue.drop_oldest() {
                        state.stats.queue_dropped += 1;
                        self.waiting -= len;
                        return true;
                    }
                    state.ready = false;
                }
                self.ready[class].pop_front();
            }
        }
        false
    }

    /// Appends waiting packets as frames, the most urgent first and lanes of one kind in turn, until the next
    /// one would make `buf` longer than `end`; its length with header is returned then.
    pub(crate) fn fill(
        &mut self,
        config: &Config,
        keys: &mut Table,
        now: Time,
        end: usize,
        buf: &mut Vec<u8>,
    ) -> Option<usize> {
        for class in 0..self.ready.len() {
            while let Some(number) = self.ready[class].front().copied() {
                let lane = Lane(number);
                let Some(state) = index(lane).and_then(|i| self.table.get_mut(i)?.as_deref_mut()) else {
                    self.ready[class].pop_front();
                    continue;
                };
                let deadline = config.deadlines.of(state.kind);
                while let Some((arrived, _)) = state.queue.entries.front()
                    && deadline.is_some_and(|deadline| now.since(*arrived) > deadline)
                {
                    self.waiting -= state.queue.drop_oldest().unwrap_or(0);
                    state.stats.late_dropped += 1;
                }
                let Some((_, len)) = state.queue.entries.front().copied() else {
                    state.ready = false;
                    self.ready[class].pop_front();
                    continue;
                };
                let way = keys.outgoing(state.user, state.demand);
                let sealer = match way {
                    Outgoing::Plain => None,
                    Outgoing::Seal(sealer) => Some(sealer),
                    Outgoing::Withhold => {
                        self.waiting -= state.queue.drop_oldest().unwrap_or(0);
                        state.stats.withheld += 1;
                        continue;
                    }
                };
                let whole = HEADER + usize::from(len) + if sealer.is_some() { OVERHEAD } else { 0 };
                if buf.len() + whole > end {
                    return Some(whole);
                }
                if state.queue.send(lane, sealer, buf) {
                    state.stats.sent_packets += 1;
                    state.stats.sent_bytes += u64::from(len);
                } else {
                    state.stats.withheld += 1;
                }
                self.waiting -= usize::from(len);
                self.ready[class].rotate_left(1);
            }
        }
        None
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        let queue = |q: &Queue| q.bytes.capacity() + q.entries.capacity() * size_of::<(Time, u16)>();
        self.table.capacity() * size_of::<usize>()
            + self.iter().map(|(_, state)| size_of::<State>() + queue(&state.queue)).sum::<usize>()
            + self.spare.iter().map(queue).sum::<usize>()
    }
}

fn index(lane: Lane) -> Option<usize> {
    lane.0.checked_sub(Lane::FIRST.0).map(usize::from)
}

/// Moves the first `len` bytes of a ring to the end of `buf`.
pub(crate) fn append(ring: &mut VecDeque<u8>, len: usize, buf: &mut Vec<u8>) {
    append_range(ring, 0..len.min(ring.len()), buf);
    ring.drain(..len.min(ring.len()));
}

/// Copies a range of a ring to the end of `buf`.
pub(crate) fn append_range(ring: &VecDeque<u8>, range: Range<usize>, buf: &mut Vec<u8>) {
    let (front, back) = ring.as_slices();
    let in_front = range.start.min(front.len())..range.end.min(front.len());
    let behind = |at: usize| at.saturating_sub(front.len()).min(back.len());
    buf.extend_from_slice(&front[in_front]);
    buf.extend_from_slice(&back[behind(range.start)..behind(range.end)]);
}
