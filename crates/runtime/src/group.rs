//! Groups of nodes ([`causeway_node`], "Groups"), one to a worker: shared ports, and lanes between any two of them.
//!
//! Nothing is shared but the lanes, and a lane is shared by two. Who gives something collects it while he works through
//! his batch, and puts all of it into the lane at once; the other is rung for only if he sleeps.

use crate::engine::Mail;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Bytes that a lane holds; parcels beyond are lost and counted.
pub(crate) const LANE: usize = 4 * 1024 * 1024;

/// A node's place in a group; see [`Membership::group`].
pub struct Membership {
    shared: Arc<Shared>,
    own: u16,
    /// What is collected for each member.
    outgoing: Vec<Parcels>,
    taken: Parcels,
}

struct Shared {
    seats: Vec<Seat>,
}

/// One member, as the others see him.
struct Seat {
    /// From each member to this one.
    lanes: Vec<Lane>,
    asleep: AtomicBool,
    bell: OnceLock<Mail>,
    drained: AtomicBool,
    lost: AtomicU64,
}

#[derive(Default)]
struct Lane {
    /// Whether there is something in it, so that nobody locks it to find nothing.
    some: AtomicBool,
    parcels: Mutex<Parcels>,
}

/// Parcels one after the other.
#[derive(Default)]
pub(crate) struct Parcels {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Parcels {
    /// Adds one; false if there is no room for it.
    fn push(&mut self, parcel: &[u8]) -> bool {
        if self.bytes.len() + parcel.len() > LANE {
            return false;
        }
        self.bytes.extend_from_slice(parcel);
        self.ends.push(self.bytes.len());
        true
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.bytes.get(start..*end).unwrap_or_default())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

impl Membership {
    /// The places of a group of so many members, in the order of their numbers. Each goes to the [`crate::Setup`] of a
    /// node in a worker of its own. The worker of the first is to be started first, and the others when it is ready:
    /// it sees to it that no other process has the ports.
    pub fn group(members: u16) -> Vec<Self> {
        let seat = |_| Seat {
            lanes: (0..members).map(|_| Lane::default()).collect(),
            asleep: AtomicBool::new(false),
            bell: OnceLock::new(),
            drained: AtomicBool::new(false),
            lost: AtomicU64::new(0),
        };
        let shared = Arc::new(Shared { seats: (0..members).map(seat).collect() });
        let place = |own| Self {
            shared: Arc::clone(&shared),
            own,
            outgoing: (0..members).map(|_| Parcels::default()).collect(),
            taken: Parcels::default(),
        };
        (0..members).map(place).collect()
    }

    /// Its number.
    pub(crate) fn own(&self) -> u16 {
        self.own
    }

    /// Where the member is rung from now on.
    pub(crate) fn sit(&self, mail: Mail) {
        if let Some(seat) = self.seat() {
            // A place is used once; a second bell would be a fault of ours that costs latency and no more.
            let _ = seat.bell.set(mail);
        }
    }

    /// Where another member is reached, once he has a worker.
    pub(crate) fn mail(&self, of: u16) -> Option<&Mail> {
        self.shared.seats.get(usize::from(of)).filter(|_| of != self.own)?.bell.get()
    }

    /// What this member has given and nobody has got, so far.
    pub(crate) fn lost(&self) -> u64 {
        self.seat().map_or(0, |seat| seat.lost.load(Ordering::Relaxed))
    }

    fn seat(&self) -> Option<&Seat> {
        self.shared.seats.get(usize::from(self.own))
    }

    /// Collects a parcel for a member.
    pub(crate) fn hand(&mut self, to: u16, parcel: &[u8]) {
        let kept = self.outgoing.get_mut(usize::from(to)).is_some_and(|outgoing| outgoing.push(parcel));
        if !kept {
            self.lose(1);
        }
    }

    fn lose(&self, parcels: u64) {
        if let Some(seat) = self.seat() {
            seat.lost.fetch_add(parcels, Ordering::Relaxed);
        }
    }

    /// Puts what has been collected into the lanes, and rings for those who sleep.
    pub(crate) fn post(&mut self) {
        let own = usize::from(self.own);
        let mut lost = 0;
        for (outgoing, seat) in self.outgoing.iter_mut().zip(&self.shared.seats) {
            if outgoing.ends.is_empty() {
                continue;
            }
            let Some(lane) = seat.lanes.get(own) else { continue };
            let mut parcels = lane.parcels.lock().unwrap_or_else(PoisonError::into_inner);
            if parcels.ends.is_empty() {
                std::mem::swap(&mut *parcels, outgoing);
            } else {
                lost += outgoing.iter().filter(|parcel| !parcels.push(parcel)).count() as u64;
            }
            // Before the question whether he sleeps; he says that he sleeps before he looks here.
            lane.some.store(true, Ordering::SeqCst);
            drop(parcels);
            outgoing.clear();
            if seat.asleep.swap(false, Ordering::SeqCst)
                && let Some(bell) = seat.bell.get()
            {
                bell.ring();
            }
        }
        self.lose(lost);
    }

    /// Takes what one member has given, if anything; it is lent to `act`. Returns how full the lane was, in percent.
    pub(crate) fn take(&mut self, from: u16, act: impl FnOnce(&Parcels)) -> Option<u8> {
        let seat = self.shared.seats.get(usize::from(self.own))?;
        let lane = seat.lanes.get(usize::from(from))?;
        if !lane.some.load(Ordering::SeqCst) {
            return None;
        }
        let mut parcels = lane.parcels.lock().unwrap_or_else(PoisonError::into_inner);
        lane.some.store(false, Ordering::SeqCst);
        std::mem::swap(&mut *parcels, &mut self.taken);
        drop(parcels);
        let full = self.taken.bytes.len() * 100 / LANE;
        act(&self.taken);
        self.taken.clear();
        Some(u8::try_from(full).unwrap_or(100))
    }

    /// Numbers of all members.
    pub(crate) fn members(&self) -> std::ops::Range<u16> {
        0..u16::try_from(self.shared.seats.len()).unwrap_or(u16::MAX)
    }

    /// Says that the member goes to sleep; false if something has come for him, so that he must not.
    pub(crate) fn doze(&self) -> bool {
        let Some(seat) = self.seat() else { return true };
        seat.asleep.store(true, Ordering::SeqCst);
        let quiet = !seat.lanes.iter().any(|lane| lane.some.load(Ordering::SeqCst));
        if !quiet {
            self.wake();
        }
        quiet
    }

    /// The member is awake: nobody needs to ring.
    pub(crate) fn wake(&self) {
        if let Some(seat) = self.seat() {
            seat.asleep.store(false, Ordering::SeqCst);
        }
    }

    /// Says whether nothing is under way here any more, and hears whether that is so of everybody. The last one wakes
    /// the others to hear it as well.
    pub(crate) fn all_drained(&self, own: bool) -> bool {
        let Some(seat) = self.seat() else { return own };
        let before = seat.drained.swap(own, Ordering::SeqCst);
        let all = self.shared.seats.iter().all(|seat| seat.drained.load(Ordering::SeqCst));
        if all && !before {
            self.shared.seats.iter().filter_map(|seat| seat.bell.get()).for_each(Mail::ring);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(member: &mut Membership, from: u16) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        member.take(from, |parcels| got.extend(parcels.iter().map(<[u8]>::to_vec)));
        got
    }

    #[test]
    fn parcels_arrive_in_order_and_once() {
        let mut group = Membership::group(3);
        group[0].hand(2, b"one");
        group[0].hand(2, b"");
        group[1].hand(2, b"two");
        assert_eq!(all(&mut group[2], 0), Vec::<Vec<u8>>::new(), "nothing is posted yet");
        group[0].post();
        group[0].hand(2, b"three");
        group[0].post();
        group[1].post();
        assert_eq!(all(&mut group[2], 0), [b"one".to_vec(), vec![], b"three".to_vec()]);
        assert_eq!(all(&mut group[2], 1), [b"two".to_vec()]);
        assert_eq!(all(&mut group[2], 0), Vec::<Vec<u8>>::new());
        assert_eq!(group[0].lost(), 0);
        group[0].hand(9, b"to nobody");
        assert_eq!(group[0].lost(), 1);
    }

    #[test]
    fn a_full_lane_loses_what_comes_and_says_how_full_it_was() {
        let mut group = Membership::group(2);
        let half = vec![7; LANE / 2];
        for _ in 0..3 {
            group[0].hand(1, &half);
            group[0].post();
        }
        assert_eq!(group[0].lost(), 1);
        let mut count = 0;
        assert_eq!(group[1].take(0, |parcels| count = parcels.iter().count()), Some(100));
        assert_eq!(count, 2);
        group[0].hand(1, b"again");
        group[0].post();
        assert_eq!(group[1].take(0, |_| {}), Some(0));
    }

    #[test]
    fn nobody_falls_asleep_over_a_parcel() {
        let mut group = Membership::group(2);
        assert!(group[1].doze());
        group[1].wake();
        group[0].hand(1, b"x");
        group[0].post();
        assert!(!group[1].doze());
        all(&mut group[1], 0);
        assert!(group[1].doze());
    }

    #[test]
    fn all_have_drained_when_the_last_has() {
        let group = Membership::group(2);
        assert!(!group[0].all_drained(true));
        assert!(group[1].all_drained(true));
        assert!(group[0].all_drained(true));
        assert!(!group[1].all_drained(false), "something has come");
    }
}
