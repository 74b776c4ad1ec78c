//! The keys of the users of one tunnel, at one end of it.

use super::{INTERCEPTED, Secrets, identity};
use causeway_node::{Ctx, Status, Time};
use causeway_tunnel::key::{
    Accept, Assurance, Confirm, DropReason, Facts, KeyMessage, Master, Modes, Offer, Schedule, credential_id,
    derive,
};
use causeway_tunnel::{GoodbyeReason, Role, Tunnel};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use zeroize::Zeroizing;

/// Users that one tunnel keeps keys for; who comes later goes without.
const MAX_USERS: usize = 1000;

/// What an owner learns of a message about keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The agent offers a key: to be answered.
    Offer(Box<Offer>),
    /// A key is in force in both directions.
    InForce { aor: Box<[u8]>, mode: Assurance },
    /// The other end has ended a key, or will not agree on one. `crossed`: what it has ended may be an older one than
    /// that which was just being offered.
    Ended { aor: Box<[u8]>, reason: DropReason, crossed: bool },
    /// There is somebody between the two ends; the tunnel is over.
    Intercepted { aor: Box<[u8]> },
}

/// A key that the two ends are agreeing on.
struct Pending {
    offer: Box<Offer>,
    accept: Option<Box<Accept>>,
    schedule: Option<Schedule>,
    credential: Zeroizing<Vec<u8>>,
    /// The agent's.
    secrets: Secrets,
}

struct Current {
    mode: Assurance,
    epoch: u32,
    since: Time,
}

struct User {
    aor: Box<[u8]>,
    /// The registration epoch of the last offer.
    epoch: u32,
    pending: Option<Pending>,
    current: Option<Current>,
    /// We have sent a KeyDrop that the other end has not answered yet.
    dropping: bool,
    /// Why there is no key.
    why: Option<DropReason>,
}

/// The keys of one tunnel.
#[derive(Default)]
pub(crate) struct Book {
    exporter: Option<Zeroizing<[u8; 32]>>,
    connection: u32,
    users: BTreeMap<u32, User>,
    by_aor: HashMap<Box<[u8]>, u32>,
}

impl Book {
    /// The tunnel has a new connection: keys of an older one are worth nothing, and its owner offers anew. `epoch`
    /// is 0 for the first, one more for each resume.
    pub(crate) fn connected(&mut self, exporter: Option<[u8; 32]>, epoch: u32, tunnel: &mut Tunnel) {
        self.exporter = exporter.map(Zeroizing::new);
        self.connection = epoch;
        tunnel.fence_keys();
        for user in self.users.values_mut() {
            (user.pending, user.current, user.dropping) = (None, None, false);
        }
    }

    /// The session is new to one of the ends: there are no users yet.
    pub(crate) fn forget(&mut self) {
        let (exporter, connection) = (self.exporter.take(), self.connection);
        *self = Self { exporter, connection, ..Self::default() };
    }

    /// The addresses of record that have a number.
    pub(crate) fn aors(&self) -> Vec<Box<[u8]>> {
        self.users.values().map(|user| user.aor.clone()).collect()
    }

    /// The exporter of the connection that there is.
    pub(crate) fn exporter(&self) -> Option<[u8; 32]> {
        self.exporter.as_deref().copied()
    }

    /// The number of a user; 0 for one that has none.
    pub(crate) fn number(&self, aor: &[u8]) -> u32 {
        self.by_aor.get(aor).copied().unwrap_or(0)
    }

    /// What the key in force for a user is worth.
    pub(crate) fn assurance(&self, user: u32) -> Assurance {
        let current = self.users.get(&user).and_then(|user| user.current.as_ref());
        current.map_or(Assurance::None, |current| current.mode)
    }

    /// The same of the key that is in force or, while one is being agreed on, of the best that may come of that. A
    /// call may begin with this: what its lanes demand passes only once it is true.
    pub(crate) fn prospect(&self, user: u32) -> Assurance {
        let Some(user) = self.users.get(&user) else { return Assurance::None };
        let offered = user.pending.as_ref().and_then(|pending| pending.offer.modes.best_first().next());
        user.current.as_ref().map(|current| current.mode).max(offered).unwrap_or_default()
    }

    fn enter(&mut self, number: u32, aor: &[u8]) {
        self.by_aor.insert(aor.into(), number);
        self.users.entry(number).or_insert_with(|| User {
            aor: aor.into(),
            epoch: 0,
            pending: None,
            current: None,
            dropping: false,
            why: None,
        });
    }

    /// Makes room by forgetting somebody who has no key and asks for none; says whether there is room.
    fn make_room(&mut self, tunnel: &mut Tunnel) -> bool {
        if self.users.len() < MAX_USERS {
            return true;
        }
        let idle = |user: &User| user.current.is_none() && user.pending.is_none() && !user.dropping;
        let Some(number) = self.users.iter().find(|(_, user)| idle(user)).map(|(number, _)| *number) else {
            return false;
        };
        if let Some(user) = self.users.remove(&number)
            && self.by_aor.get(&user.aor) == Some(&number)
        {
            self.by_aor.remove(&user.aor);
        }
        tunnel.forget_key(number);
        true
    }

    /// The agent offers a key for a registration. Without a mode to offer, the user's key ends.
    pub(crate) fn offer(
        &mut self,
        ctx: &mut Ctx<'_>,
        tunnel: &mut Tunnel,
        aor: &[u8],
        credential: &[u8],
        secrets: Secrets,
    ) {
        // On a session that waits for a connection, keys are offered when it has one.
        if !tunnel.is_up() {
            return;
        }
        let modes = secrets.modes();
        let usable = self.exporter.is_some() && tunnel.peer_has_keys();
        if modes.is_empty() || !usable || aor.len() > causeway_tunnel::key::MAX_AOR {
            return self.end(tunnel, aor, DropReason::Mode);
        }
        let mut number = self.number(aor);
        if number == 0 {
            if !self.make_room(tunnel) {
                return;
            }
            number = first_number(aor);
            while number == 0 || self.users.contains_key(&number) {
                number = number.wrapping_add(1);
            }
            self.enter(number, aor);
        }
        let Some(user) = self.users.get_mut(&number) else { return };
        user.epoch = user.epoch.saturating_add(1);
        let offer = Box::new(Offer {
            user: number,
            epoch: user.epoch,
            modes,
            fresh: ctx.random(),
            credential: credential_id(credential),
            aor: aor.into(),
        });
        tunnel.say_key(KeyMessage::Offer(offer.clone()));
        let credential = Zeroizing::new(credential.to_vec());
        user.pending = Some(Pending { offer, accept: None, schedule: None, credential, secrets });
    }

    /// The contact point begins to answer an offer; `None` where it is out of turn, or there is no room. Then
    /// [`Book::facts`] say what is to be derived, and [`Book::accept`] goes on.
    pub(crate) fn begin(
        &mut self,
        ctx: &mut Ctx<'_>,
        tunnel: &mut Tunnel,
        offer: Box<Offer>,
        credential: &[u8],
    ) -> Option<()> {
        self.exporter.as_ref()?;
        let number = offer.user;
        // A name in the canonical form, or it would not be told from another's.
        if identity(&offer.aor).is_none_or(|aor| *aor != *offer.aor) {
            return None;
        }
        if !self.users.contains_key(&number) {
            if !self.make_room(tunnel) {
                self.refuse(tunnel, number, DropReason::TooMany);
                return None;
            }
            self.enter(number, &offer.aor);
        }
        let user = self.users.get_mut(&number)?;
        if user.aor != offer.aor || offer.epoch <= user.epoch {
            return None;
        }
        user.epoch = offer.epoch;
        let accept = Accept {
            user: number,
            epoch: offer.epoch,
            mode: Assurance::None,
            fresh: ctx.random(),
            mac: [0; 32],
        };
        user.pending = Some(Pending {
            offer,
            accept: Some(Box::new(accept)),
            schedule: None,
            credential: Zeroizing::new(credential.to_vec()),
            secrets: Secrets::default(),
        });
        Some(())
    }

    /// The exporter, and what is to be derived for the key that is being agreed on.
    pub(crate) fn facts(&self, user: u32, mode: Assurance) -> Option<(&[u8; 32], Facts<'_>)> {
        let exporter = self.exporter.as_deref()?;
        let pending = self.users.get(&user)?.pending.as_ref()?;
        Some((exporter, facts(pending, mode, pending.accept.as_ref()?, self.connection)))
    }

    /// The modes of an offer that waits for its answer.
    pub(crate) fn offered(&self, user: u32, epoch: u32) -> Option<Modes> {
        let offer = &self.users.get(&user)?.pending.as_ref()?.offer;
        (offer.epoch == epoch).then_some(offer.modes)
    }

    /// The contact point has the key that it was asked for.
    pub(crate) fn accept(&mut self, tunnel: &mut Tunnel, user: u32, mode: Assurance, master: &Master) {
        let Some(exporter) = self.exporter.as_deref() else { return };
        let pending = self.users.get_mut(&user).and_then(|user| user.pending.as_mut());
        let Some(Pending { offer, accept: Some(accept), schedule: place @ None, .. }) = pending else {
            return;
        };
        let schedule = master.schedule();
        accept.mode = mode;
        accept.mac = schedule.accept_mac(exporter, offer, accept);
        tunnel.say_key(KeyMessage::Accept(accept.clone()));
        *place = Some(schedule);
    }

    /// The contact point has no key to give.
    pub(crate) fn refuse(&mut self, tunnel: &mut Tunnel, user: u32, reason: DropReason) {
        if !self.users.contains_key(&user) {
            return tunnel.say_key(KeyMessage::Drop { user, reason });
        }
        self.drop_key(tunnel, user, reason);
    }

    /// The key of a user ends here.
    pub(crate) fn end(&mut self, tunnel: &mut Tunnel, aor: &[u8], reason: DropReason) {
        let number = self.number(aor);
        let Some(user) = self.users.get_mut(&number) else { return };
        user.why = Some(reason);
        let any = user.pending.is_some() || user.current.is_some() || tunnel.has_key(number);
        // A session that waits for a connection has no keys; the agent says so when it has one.
        if any && tunnel.is_up() {
            self.drop_key(tunnel, number, reason);
        }
    }

    fn drop_key(&mut self, tunnel: &mut Tunnel, number: u32, reason: DropReason) {
        let Some(user) = self.users.get_mut(&number) else { return };
        (user.pending, user.current, user.why) = (None, None, Some(reason));
        if !std::mem::replace(&mut user.dropping, true) {
            tunnel.say_key(KeyMessage::Drop { user: number, reason });
            tunnel.stop_sealing(number);
        }
    }

    /// Acts upon a message, before anything that follows it is read.
    pub(crate) fn heard(
        &mut self,
        now: Time,
        role: Role,
        tunnel: &mut Tunnel,
        message: KeyMessage,
    ) -> Option<Told> {
        match (message, role) {
            (KeyMessage::Offer(offer), Role::ContactPoint) => Some(Told::Offer(offer)),
            (KeyMessage::Accept(accept), Role::Agent) => self.heard_accept(tunnel, accept),
            (KeyMessage::Confirm(confirm), _) => self.heard_confirm(now, role, tunnel, &confirm),
            (KeyMessage::Drop { user, reason }, _) => self.heard_drop(tunnel, user, reason),
            // Nothing that this end could be told.
            (KeyMessage::Offer(_) | KeyMessage::Accept(_) | KeyMessage::Bind { .. }, _) => None,
        }
    }

    fn heard_accept(&mut self, tunnel: &mut Tunnel, accept: Box<Accept>) -> Option<Told> {
        let exporter = self.exporter.as_deref()?;
        let pending = self.users.get_mut(&accept.user)?.pending.as_mut()?;
        let (mode, offer) = (accept.mode, &pending.offer);
        if accept.epoch != offer.epoch || !offer.modes.has(mode) || pending.schedule.is_some() {
            return None;
        }
        let facts = facts(pending, mode, &accept, self.connection);
        let schedule = derive(exporter, pending.secrets.of(mode)?, &facts)?.schedule();
        if !schedule.is_accepted(exporter, offer, &accept) {
            return self.unconfirmed(tunnel, accept.user, mode);
        }
        let (user, epoch) = (accept.user, accept.epoch);
        let mac = schedule.confirm_mac(Role::Agent, exporter, offer, &accept);
        tunnel.say_key(KeyMessage::Confirm(Confirm { user, epoch, mac }));
        tunnel.seal_for(user, mode, schedule.sealer(Role::Agent, epoch));
        (pending.accept, pending.schedule) = (Some(accept), Some(schedule));
        None
    }

    fn heard_confirm(
        &mut self,
        now: Time,
        role: Role,
        tunnel: &mut Tunnel,
        confirm: &Confirm,
    ) -> Option<Told> {
        let exporter = self.exporter.as_deref()?;
        let user = self.users.get_mut(&confirm.user)?;
        let Some(Pending { offer, accept: Some(accept), schedule: Some(schedule), .. }) = &user.pending
        else {
            return None;
        };
        if confirm.epoch != offer.epoch {
            return None;
        }
        let mode = accept.mode;
        if !schedule.is_confirmed(role.other(), exporter, offer, accept, &confirm.mac) {
            return self.unconfirmed(tunnel, confirm.user, mode);
        }
        let (number, epoch) = (confirm.user, confirm.epoch);
        tunnel.open_for(number, mode, schedule.opener(role.other(), epoch));
        if role == Role::ContactPoint {
            let mac = schedule.confirm_mac(role, exporter, offer, accept);
            tunnel.say_key(KeyMessage::Confirm(Confirm { user: number, epoch, mac }));
            tunnel.seal_for(number, mode, schedule.sealer(role, epoch));
        }
        user.pending = None;
        user.current = Some(Current { mode, epoch, since: now });
        user.why = None;
        Some(Told::InForce { aor: user.aor.clone(), mode })
    }

    /// A confirmation is wrong. Both ends have seen the credential made with the HA1 that they use, so that in
    /// digest mode the exporters differ: there is somebody in between. The header proves nothing of that kind.
    fn unconfirmed(&mut self, tunnel: &mut Tunnel, number: u32, mode: Assurance) -> Option<Told> {
        let aor = self.users.get(&number)?.aor.clone();
        self.drop_key(tunnel, number, DropReason::Unconfirmed);
        if mode >= Assurance::Digest {
            tunnel.goodbye(GoodbyeReason::Intercepted, INTERCEPTED);
            return Some(Told::Intercepted { aor });
        }
        Some(Told::Ended { aor, reason: DropReason::Unconfirmed, crossed: false })
    }

    fn heard_drop(&mut self, tunnel: &mut Tunnel, number: u32, reason: DropReason) -> Option<Told> {
        tunnel.stop_opening(number);
        let user = self.users.get_mut(&number)?;
        // The answer to our own, behind which another key may already be agreed on.
        if std::mem::take(&mut user.dropping) {
            return None;
        }
        let crossed = user.pending.is_some() && reason == DropReason::Ended;
        (user.pending, user.current, user.why) = (None, None, Some(reason));
        let aor = user.aor.clone();
        tunnel.say_key(KeyMessage::Drop { user: number, reason });
        tunnel.stop_sealing(number);
        Some(Told::Ended { aor, reason, crossed })
    }

    /// The users of the tunnel, for people.
    pub(crate) fn status(&self, now: Time, tunnel: &Tunnel) -> Vec<Status> {
        let users = self.users.iter().map(|(number, user)| {
            let stats = tunnel.key_stats(*number);
            let current = user.current.as_ref();
            let mode = current.map_or(Assurance::None, |current| current.mode);
            json!({
                "aor": String::from_utf8_lossy(&user.aor),
                "user": number,
                "mode": mode.name(),
                "epoch": current.map(|current| current.epoch),
                "age_ms": current.map(|current| now.since(current.since).as_millis() as u64),
                "protection": mode.in_words(),
                "why_none": user.why.filter(|_| current.is_none()).map(DropReason::in_words),
                "agreeing": user.pending.is_some(),
                "sealed": stats.sealed,
                "opened": stats.opened,
                "refused": stats.refused,
                "withheld": stats.withheld,
            })
        });
        users.collect()
    }
}

/// The number that a user is given if it is free: a restarted agent gives it again, so that the lanes of calls that
/// have survived still have their user.
pub(crate) fn first_number(aor: &[u8]) -> u32 {
    let [a, b, c, d, ..] = credential_id(aor);
    u32::from_be_bytes([a, b, c, d])
}

fn facts<'a>(pending: &'a Pending, mode: Assurance, accept: &'a Accept, connection: u32) -> Facts<'a> {
    Facts {
        mode,
        aor: &pending.offer.aor,
        authorization: &pending.credential,
        agent_fresh: &pending.offer.fresh,
        contact_fresh: &accept.fresh,
        connection_epoch: connection,
        registration_epoch: pending.offer.epoch,
    }
}
