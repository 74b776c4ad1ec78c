//! The keys in force on one tunnel, and what they decide for a frame.

use super::{Assurance, Opener, Sealer};
use crate::Lane;
use causeway_node::NumberMap;

/// What has passed under a user's keys, this tunnel long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyStats {
    /// Frames sealed.
    pub sealed: u64,
    /// Frames opened.
    pub opened: u64,
    /// Frames received that did not open, or came unsealed where they must not.
    pub refused: u64,
    /// Packets not sent because there was no key, or not a good enough one.
    pub withheld: u64,
}

/// One direction of one user.
#[derive(Debug, Default)]
enum Channel<K> {
    /// No key has been agreed on, or it was dropped by both.
    #[default]
    Plain,
    /// In force.
    Sealed(Assurance, K),
    /// The connection that the key belonged to is gone: nothing passes until there is a new one.
    Fenced,
}

#[derive(Debug, Default)]
struct User {
    out: Channel<Sealer>,
    into: Channel<Opener>,
    stats: KeyStats,
}

/// The users of one tunnel that have had keys.
#[derive(Debug, Default)]
pub(crate) struct Table {
    users: NumberMap<u32, Box<User>>,
    /// Of all users, forgotten ones included.
    total: KeyStats,
}

/// What is to be done with a packet that is about to be sent.
pub(crate) enum Outgoing<'a> {
    Plain,
    Seal(&'a mut Sealer),
    Withhold,
}

/// What a received frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// Its payload is what was sent.
    Plain,
    /// What was sent stands in the buffer given.
    Opened,
    Refused,
}

impl Table {
    pub(crate) fn seal(&mut self, user: u32, assurance: Assurance, sealer: Sealer) {
        self.users.entry(user).or_default().out = Channel::Sealed(assurance, sealer);
    }

    pub(crate) fn open(&mut self, user: u32, assurance: Assurance, opener: Opener) {
        self.users.entry(user).or_default().into = Channel::Sealed(assurance, opener);
    }

    pub(crate) fn stop_sealing(&mut self, user: u32) {
        if let Some(user) = self.users.get_mut(&user) {
            user.out = Channel::Plain;
        }
    }

    pub(crate) fn stop_opening(&mut self, user: u32) {
        if let Some(user) = self.users.get_mut(&user) {
            user.into = Channel::Plain;
        }
    }

    /// Forgets a user that has no keys any more, with its counters.
    pub(crate) fn forget(&mut self, user: u32) {
        self.users.remove(&user);
    }

    /// Forgets all users.
    pub(crate) fn clear(&mut self) {
        self.users = NumberMap::default();
    }

    pub(crate) fn total(&self) -> KeyStats {
        self.total
    }

    pub(crate) fn fence(&mut self) {
        for user in self.users.values_mut() {
            if matches!(user.out, Channel::Sealed(..)) {
                user.out = Channel::Fenced;
            }
            if matches!(user.into, Channel::Sealed(..)) {
                user.into = Channel::Fenced;
            }
        }
    }

    pub(crate) fn has(&self, user: u32) -> bool {
        let plain = |user: &User| matches!((&user.out, &user.into), (Channel::Plain, Channel::Plain));
        self.users.get(&user).is_some_and(|user| !plain(user))
    }

    pub(crate) fn stats(&self, user: u32) -> KeyStats {
        self.users.get(&user).map(|user| user.stats).unwrap_or_default()
    }

    pub(crate) fn memory(&self) -> usize {
        // A context of AES-GCM holds the key's schedule and its hash tables.
        const CONTEXT: usize = 600;
        self.users.len() * (size_of::<User>() + 2 * CONTEXT + 2 * size_of::<(u32, usize)>())
    }

    /// What becomes of a packet for a lane of `user` (0: of nobody) that demands at least `demand`.
    #[inline]
    pub(crate) fn outgoing(&mut self, user: u32, demand: Assurance) -> Outgoing<'_> {
        if user == 0 {
            return if demand == Assurance::None { Outgoing::Plain } else { Outgoing::Withhold };
        }
        let Some(user) = self.users.get_mut(&user) else {
            return if demand == Assurance::None { Outgoing::Plain } else { Outgoing::Withhold };
        };
        match &mut user.out {
            Channel::Sealed(assurance, sealer) if *assurance >= demand => {
                user.stats.sealed += 1;
                self.total.sealed += 1;
                Outgoing::Seal(sealer)
            }
            Channel::Plain if demand == Assurance::None => Outgoing::Plain,
            _ => {
                user.stats.withheld += 1;
                self.total.withheld += 1;
                Outgoing::Withhold
            }
        }
    }

    /// What a frame on a lane of `user` that demands at least `demand` is; opened into `out`.
    #[inline]
    pub(crate) fn incoming(
        &mut self,
        user: u32,
        demand: Assurance,
        lane: Lane,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Incoming {
        let user = if user == 0 { None } else { self.users.get_mut(&user) };
        let Some(user) = user else {
            return if demand == Assurance::None { Incoming::Plain } else { Incoming::Refused };
        };
        let opened = match &mut user.into {
            Channel::Plain if demand == Assurance::None => return Incoming::Plain,
            Channel::Sealed(assurance, opener) => *assurance >= demand && opener.open(lane, payload, out),
            Channel::Plain | Channel::Fenced => false,
        };
        if opened {
            user.stats.opened += 1;
            self.total.opened += 1;
            Incoming::Opened
        } else {
            user.stats.refused += 1;
            self.total.refused += 1;
            Incoming::Refused
        }
    }
}
