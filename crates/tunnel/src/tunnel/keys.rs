//! User keys on a tunnel: which lane is whose, and what is in force.

use super::{Outcome, Tunnel};
use crate::control::Message;
use crate::key::{Assurance, FEATURE, Incoming, KeyMessage, KeyStats, Opener, Sealer};
use crate::lanes::Phase;
use crate::{Fault, Lane, Why};

impl Tunnel {
    /// Whether the peer understands the messages of user keys.
    pub fn peer_has_keys(&self) -> bool {
        self.is_up() && self.peer().is_some_and(|hello| hello.offered & FEATURE != 0)
    }

    /// Says something about the key of a user.
    pub fn say_key(&mut self, message: KeyMessage) {
        if self.peer_has_keys() {
            self.say(&Message::Key(message));
        }
    }

    /// From here on everything on the lanes of `user` is sealed with this key: to be called right after the
    /// KeyConfirm is said, which tells the peer.
    pub fn seal_for(&mut self, user: u32, assurance: Assurance, sealer: Sealer) {
        self.keys.seal(user, assurance, sealer);
    }

    /// From here on everything on the lanes of `user` must open with this key: to be called on the peer's
    /// KeyConfirm, before the next [`Tunnel::next`].
    pub fn open_for(&mut self, user: u32, assurance: Assurance, opener: Opener) {
        self.keys.open(user, assurance, opener);
    }

    /// From here on nothing is sealed for `user`: to be called right after the KeyDrop is said. Lanes that demand
    /// a key carry nothing any more.
    pub fn stop_sealing(&mut self, user: u32) {
        self.keys.stop_sealing(user);
    }

    /// The same for what is received: to be called on the peer's KeyDrop.
    pub fn stop_opening(&mut self, user: u32) {
        self.keys.stop_opening(user);
    }

    /// Forgets a user whose key was dropped by both ends, with its counters.
    pub fn forget_key(&mut self, user: u32) {
        self.keys.forget(user);
    }

    /// The connection that all keys were made for is gone: until a user has a new one, nothing passes on the
    /// lanes that a key was in force on.
    pub fn fence_keys(&mut self) {
        self.keys.fence();
    }

    /// One end of the session has lost its memory: no user has a key, or has had one. Lanes keep their users.
    pub(super) fn forget_keys(&mut self) {
        self.keys.clear();
    }

    /// Says whose an open lane is that this end has opened: his key seals it, as long as one is in force.
    pub fn bind_lane(&mut self, lane: Lane, user: u32) {
        let ours = self.config.role.opens(lane) && user != self.lane_user(lane);
        // Between two connections the peer learns of it with the lane.
        let may = ours && (self.peer_has_keys() || !self.is_up());
        if let Some(state) = self.lanes.get_mut(lane).filter(|state| may && state.phase == Phase::Open) {
            state.user = user;
            self.say_key(KeyMessage::Bind { lane, user });
        }
    }

    /// Lets nothing pass on a lane, in either direction, but under a key that is worth this much.
    pub fn demand(&mut self, lane: Lane, least: Assurance) {
        if let Some(state) = self.lanes.get_mut(lane) {
            state.demand = least;
        }
    }

    /// Whose a lane is; 0 for nobody's.
    pub fn lane_user(&self, lane: Lane) -> u32 {
        self.lanes.get(lane).map_or(0, |state| state.user)
    }

    /// Whether a user has a key in force in either direction, or had one on an earlier connection.
    pub fn has_key(&self, user: u32) -> bool {
        self.keys.has(user)
    }

    /// What has passed under the keys of a user.
    pub fn key_stats(&self, user: u32) -> KeyStats {
        self.keys.stats(user)
    }

    /// The peer says whose a lane is that it has opened; of one that is closing here already it does not matter.
    pub(super) fn peer_binds(&mut self, lane: Lane, user: u32) -> Outcome {
        if !self.config.role.other().opens(lane) {
            return Outcome::Dead(Why::Fault(Fault::LaneNumber(lane)));
        }
        match self.lanes.get_mut(lane) {
            Some(state) => {
                state.user = user;
                Outcome::Quiet
            }
            None => Outcome::Dead(Why::Fault(Fault::UnknownLane(lane))),
        }
    }

    /// What a frame that has been received is, `whole` in the input or else assembled; if sealed, it is opened
    /// into `self.opened`.
    #[inline]
    pub(super) fn unseal(&mut self, lane: Lane, whole: Option<&[u8]>) -> Incoming {
        let Some(state) = self.lanes.get_mut(lane) else { return Incoming::Refused };
        let payload = whole.unwrap_or_else(|| self.conn.reader.assembled());
        let incoming = self.keys.incoming(state.user, state.demand, lane, payload, &mut self.opened);
        state.stats.refused += u64::from(incoming == Incoming::Refused);
        incoming
    }
}
