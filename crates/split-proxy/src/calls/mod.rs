//! Which media belong to which call: legs, and the descriptions that pass through them.
//!
//! A leg is one crossing of one tunnel by one call. It is named by the tunnel, the Call-ID **and the tag of
//! the party behind the tunnel**: a call between two phones crosses a contact point twice, and an agent as
//! well if both are behind it, with the same Call-ID each time. All early dialogs that the far side of a fork
//! opens share the leg, its ports and its lanes.

mod leg;
mod local;
mod passage;
mod store;
mod undo;

use crate::keys::LaneKeys;
use crate::links::Links;
use crate::marks::Marks;
use crate::media::{Media, MediaConfig};
use causeway_node::{Outbox, Time};
use causeway_sip::transaction::ServerId;
use causeway_sip::{HeaderId, Method, Msg, Via};
use causeway_tunnel::{Lane, Role};
pub use leg::CallLimits;
use leg::{Dialog, Key};
pub(crate) use leg::{Leg, Refusal};
use slab::Slab;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use undo::Changes;

/// Parties that one leg keeps apart: beyond it further early dialogs share the last one's place.
const MAX_PARTIES: usize = 32;
/// Routes of one INVITE that are remembered.
const MAX_ROUTES: usize = 16;
/// A confirmed call without any packet or message for this long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(2 * 3600);

/// A request that a leg waits to see answered.
#[derive(Debug)]
struct Asked {
    leg: usize,
    from_phone: bool,
    /// An INVITE whose final answer has not come.
    pending: bool,
    /// What its description has changed, until it is answered.
    changes: Changes,
}

/// What passes, and in whose name.
pub(crate) struct Passing<'a> {
    pub now: Time,
    pub link: usize,
    pub msg: Msg<'a>,
    /// Whether the request (also of a response: its request) comes from the phone's side.
    pub from_phone: bool,
    /// Where the one on the network side is: whom a message comes from, or goes to.
    pub near: Option<IpAddr>,
    /// Random bytes, fresh for every message.
    pub nonce: [u8; 12],
    /// Whether media may be sent to an address.
    pub allowed: &'a dyn Fn(SocketAddr) -> bool,
    /// Whose key seals the lanes of a call that begins with this.
    pub keys: LaneKeys,
}

/// All legs of one half.
pub(crate) struct Calls {
    role: Role,
    limits: CallLimits,
    pub marks: Marks,
    /// Whether media between phones of one agent stay on their LAN; both halves must want it.
    pub local_media: bool,
    pub media: Media,
    ip: IpAddr,
    legs: Slab<Leg>,
    by_key: HashMap<Key, usize>,
    asked: HashMap<ServerId, Asked>,
    /// What the description at hand changes.
    changes: Changes,
    /// The record space of legs, the number of the newest, and those that have changed.
    space: &'static str,
    serial: u64,
    changed: BTreeSet<usize>,
    /// Some legs are older than this process.
    restored: bool,
    /// Descriptions from the tunnel that named lanes they must not, addresses that are not allowed.
    pub refused: u64,
    /// Legs begun by phones, and by the far side.
    pub begun: [u64; 2],
}

impl Calls {
    pub(crate) fn new(role: Role, media: MediaConfig, limits: CallLimits, marks: Marks) -> Self {
        Self {
            role,
            limits,
            marks,
            local_media: true,
            ip: media.ip,
            media: Media::new(media),
            legs: Slab::new(),
            by_key: HashMap::new(),
            asked: HashMap::new(),
            changes: Changes::default(),
            space: Self::space(role),
            serial: 0,
            changed: BTreeSet::new(),
            restored: false,
            refused: 0,
            begun: [0; 2],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.legs.len()
    }

    /// Whether a call of this tunnel is what a message belongs to.
    pub(crate) fn knows(&self, link: usize, msg: Msg<'_>, from_phone: bool) -> bool {
        let phone_tag = if from_phone { msg.from_tag() } else { msg.to_tag() };
        self.find(link, msg, phone_tag).is_some()
    }

    /// The tunnel of the call that a request belongs to.
    pub(crate) fn link_of(&self, id: ServerId) -> Option<usize> {
        self.legs.get(self.asked.get(&id)?.leg).map(|leg| leg.link)
    }

    /// Whose calls they are.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// How many datagrams a tunnel may bring in about a second.
    pub(crate) fn packets(&self) -> u32 {
        self.limits.packets
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Leg)> {
        self.legs.iter()
    }

    /// Takes note of a request on its way, and gives the body it goes on with if that changes. `id` is
    /// `None` for an ACK.
    pub(crate) fn request(
        &mut self,
        id: Option<ServerId>,
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let msg = passing.msg;
        let invite = msg.method() == Method::Invite;
        let phone_tag = if passing.from_phone { msg.from_tag() } else { msg.to_tag() };
        let known = self.find(passing.link, msg, phone_tag);
        let again = || {
            let may_be = invite && self.restored && !passing.from_phone;
            may_be.then(|| self.find_asked(passing.link, msg, branch_of(msg.top_via())))?
        };
        let leg = match known.or_else(again) {
            Some(leg) => leg,
            None if invite => self.new_leg(passing, phone_tag, links)?,
            None => return Ok(None),
        };
        let far_tag = if passing.from_phone { msg.to_tag() } else { msg.from_tag() };
        let body = self.pass(leg, far_tag, passing, passing.from_phone, links, out);
        let changes = std::mem::take(&mut self.changes);
        if let Err(refusal) = body {
            self.revert(passing.now, leg, changes, links, out);
            self.release_if_over(leg, links, out);
            return Err(refusal);
        }
        match (id, self.legs.get_mut(leg)) {
            (Some(id), Some(entry)) => {
                entry.active = passing.now;
                // A request that comes again is what was waited for.
                entry.orphan = entry.orphan.filter(|_| !invite);
                entry.pending += usize::from(invite);
                let asked = Asked { leg, from_phone: passing.from_phone, pending: invite, changes };
                self.asked.insert(id, asked);
            }
            _ => self.settle(leg, changes, links, out),
        }
        body
    }

    /// The same for a response.
    pub(crate) fn response(
        &mut self,
        id: ServerId,
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Option<Vec<u8>> {
        let &Asked { leg, from_phone, .. } = self.asked.get(&id)?;
        let msg = passing.msg;
        let status = msg.status()?;
        let (phone_tag, far_tag) = match from_phone {
            true => (msg.from_tag(), msg.to_tag()),
            false => (msg.to_tag(), msg.from_tag()),
        };
        if !from_phone
            && (101..300).contains(&status)
            && let Some(tag) = phone_tag
        {
            self.add_key(leg, tag);
        }
        // A response cannot be refused: one whose description cannot be read goes on without it.
        let body = self.pass(leg, far_tag, passing, !from_phone, links, out).unwrap_or_else(|_| {
            self.refused += 1;
            Some(Vec::new())
        });
        let changes = std::mem::take(&mut self.changes);
        self.settle(leg, changes, links, out);
        let method = msg.cseq().map(|cseq| cseq.method);
        if status >= 200 {
            match method {
                Some(Method::Invite) if status < 300 => self.confirm(leg, phone_tag, far_tag),
                Some(Method::Bye) => self.hang_up(leg, phone_tag, far_tag),
                _ => {}
            }
            self.answered(passing.now, id, status < 300, links, out);
        }
        body
    }

    /// The same for a response whose request is not known any more: this half has restarted since. `None` if there is
    /// no such leg; else the body that it goes on with if that changes.
    pub(crate) fn stray(
        &mut self,
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Option<Option<Vec<u8>>> {
        let msg = passing.msg;
        let leg = self.leg_of_stray(passing.link, msg, passing.from_phone)?;
        let (phone_tag, far_tag) = match passing.from_phone {
            true => (msg.from_tag(), msg.to_tag()),
            false => (msg.to_tag(), msg.from_tag()),
        };
        let body = self.pass(leg, far_tag, passing, !passing.from_phone, links, out).unwrap_or_else(|_| {
            self.refused += 1;
            Some(Vec::new())
        });
        let changes = std::mem::take(&mut self.changes);
        self.settle(leg, changes, links, out);
        let (status, method) = (msg.status()?, msg.cseq()?.method);
        if status >= 200 && matches!(method, Method::Invite | Method::Bye) {
            match method {
                Method::Bye => self.hang_up(leg, phone_tag, far_tag),
                _ if status < 300 => self.confirm(leg, phone_tag, far_tag),
                _ => {}
            }
            if let Some(entry) = self.legs.get_mut(leg) {
                (entry.active, entry.orphan) = (passing.now, None);
            }
            self.release_if_over(leg, links, out);
        }
        Some(body)
    }

    /// The Record-Route of the INVITE that a leg was set up for, which a callee echoes (RFC 3261 §12.1.1).
    pub(crate) fn routes_of_stray(&mut self, link: usize, msg: Msg<'_>) -> Vec<Box<[u8]>> {
        let leg = self.leg_of_stray(link, msg, false).and_then(|leg| self.legs.get(leg));
        leg.map(|leg| leg.routes.clone()).unwrap_or_default()
    }

    /// The tunnel that a response to a call from a phone goes into, when its request is not known any more.
    pub(crate) fn link_of_stray(&self, msg: Msg<'_>) -> Option<usize> {
        let (call_id, tag) = (msg.call_id()?, msg.from_tag()?);
        let asked = |leg: &Leg| *leg.call_id == *call_id && leg.keys.iter().any(|key| **key == *tag);
        self.legs.iter().find(|(_, leg)| leg.from_phone && asked(leg)).map(|(_, leg)| leg.link)
    }

    /// No (further) response to this request is to come.
    pub(crate) fn ended(&mut self, now: Time, id: ServerId, links: &mut Links, out: &mut Outbox) {
        self.answered(now, id, false, links, out);
        self.asked.remove(&id);
    }

    /// The first final answer to a request, or none at all, which counts as a refusal.
    fn answered(&mut self, now: Time, id: ServerId, accepted: bool, links: &mut Links, out: &mut Outbox) {
        let Some(asked) = self.asked.get_mut(&id) else { return };
        let leg = asked.leg;
        let changes = std::mem::take(&mut asked.changes);
        match accepted {
            true => self.settle(leg, changes, links, out),
            false => self.revert(now, leg, changes, links, out),
        }
        let Some(asked) = self.asked.get_mut(&id) else { return };
        if std::mem::take(&mut asked.pending)
            && let Some(entry) = self.legs.get_mut(leg)
        {
            entry.pending = entry.pending.saturating_sub(1);
        }
        self.release_if_over(leg, links, out);
    }

    /// Ends all legs of a tunnel that is gone.
    pub(crate) fn drop_link(&mut self, link: usize, links: &mut Links, out: &mut Outbox) {
        let gone: Vec<usize> =
            self.legs.iter().filter(|(_, leg)| leg.link == link).map(|(leg, _)| leg).collect();
        for leg in gone {
            self.release(leg, links, out);
        }
    }

    /// Ends legs that nobody has used for long.
    pub(crate) fn sweep(&mut self, now: Time, links: &mut Links, out: &mut Outbox) {
        let media = &self.media;
        let stale = |leg: &Leg| {
            let packets = leg.joints.iter().flatten().flat_map(|joint| [2 * joint.pair, 2 * joint.pair + 1]);
            let last = packets.filter_map(|index| Some(media.joined(index)?.last)).max();
            if let Some(until) = leg.orphan {
                return until <= now;
            }
            leg.pending == 0 && now.since(last.map_or(leg.active, |last| last.max(leg.active))) > FORGOTTEN
        };
        let stale: Vec<usize> = self.legs.iter().filter(|(_, leg)| stale(leg)).map(|(id, _)| id).collect();
        for leg in stale {
            self.release(leg, links, out);
        }
    }

    /// The peer has closed a lane: nothing passes on it any more.
    pub(crate) fn lane_closed(&mut self, link: usize, lane: Lane, links: &mut Links, out: &mut Outbox) {
        if let Some(slot) = links.get(link).and_then(|link| link.slot(lane))
            && self.media.pipes.get(slot).is_some_and(|pipe| pipe.lane() == lane)
        {
            self.media.pipe_lane_closed(slot, links, out);
        }
        links.set_lane(link, lane, None);
    }

    fn find(&self, link: usize, msg: Msg<'_>, phone_tag: Option<&[u8]>) -> Option<usize> {
        let key = Key { link, call_id: msg.call_id()?.into(), phone_tag: phone_tag?.into() };
        self.by_key.get(&key).copied()
    }

    /// The leg that this very INVITE to a phone has set up before: one that comes again after a restart, when no
    /// transaction knows it.
    fn find_asked(&self, link: usize, msg: Msg<'_>, branch: &[u8]) -> Option<usize> {
        let call_id = msg.call_id().filter(|_| !branch.is_empty())?;
        let same = |leg: &Leg| *leg.branch == *branch && *leg.call_id == *call_id && leg.link == link;
        let found = self.legs.iter().find(|(_, leg)| !leg.from_phone && same(leg));
        found.map(|(id, _)| id)
    }

    fn new_leg(
        &mut self,
        passing: &Passing<'_>,
        phone_tag: Option<&[u8]>,
        links: &mut Links,
    ) -> Result<usize, Refusal> {
        let link = links.get_mut(passing.link).ok_or(Refusal::Calls)?;
        if link.calls >= self.limits.calls {
            return Err(Refusal::Calls);
        }
        link.calls += 1;
        self.serial += 1;
        self.begun[usize::from(!passing.from_phone)] += 1;
        let routes = match passing.from_phone {
            true => Vec::new(),
            false => passing.msg.values(HeaderId::RecordRoute).take(MAX_ROUTES).map(Into::into).collect(),
        };
        let leg = self.legs.insert(Leg {
            serial: self.serial,
            kept: None,
            orphan: None,
            branch: branch_of(passing.msg.top_via()).into(),
            routes,
            link: passing.link,
            call_id: passing.msg.call_id().unwrap_or_default().into(),
            from_phone: passing.from_phone,
            lane_keys: passing.keys,
            joints: Vec::new(),
            since: passing.now,
            active: passing.now,
            keys: Vec::new(),
            token: None,
            parties: Vec::new(),
            pending: 0,
            confirmed: Vec::new(),
        });
        if let Some(tag) = phone_tag {
            self.add_key(leg, tag);
        }
        Ok(leg)
    }

    fn add_key(&mut self, leg: usize, tag: &[u8]) {
        let Some(entry) = self.legs.get_mut(leg) else { return };
        self.changed.insert(leg);
        if entry.keys.len() < MAX_PARTIES && !entry.keys.iter().any(|key| &**key == tag) {
            entry.keys.push(tag.into());
            let key = Key { link: entry.link, call_id: entry.call_id.clone(), phone_tag: tag.into() };
            self.by_key.entry(key).or_insert(leg);
        }
    }

    fn confirm(&mut self, leg: usize, phone_tag: Option<&[u8]>, far_tag: Option<&[u8]>) {
        let Some(entry) = self.legs.get_mut(leg) else { return };
        let (phone, far) = (phone_tag.unwrap_or_default(), far_tag.unwrap_or_default());
        self.changed.insert(leg);
        let known = entry.confirmed.iter().any(|d| &*d.phone_tag == phone && &*d.far_tag == far);
        if !known && entry.confirmed.len() < MAX_PARTIES {
            entry.confirmed.push(Dialog { phone_tag: phone.into(), far_tag: far.into() });
        }
        let net_tag = if self.role == Role::Agent { phone } else { far };
        let Some(party) = entry.parties.iter().position(|tag| &**tag == net_tag) else { return };
        for joint in entry.joints.iter().flatten() {
            for index in [2 * joint.pair, 2 * joint.pair + 1] {
                if let Some(joined) = self.media.joined_mut(index) {
                    joined.aim.choose(party as u32);
                }
            }
        }
    }

    fn hang_up(&mut self, leg: usize, phone_tag: Option<&[u8]>, far_tag: Option<&[u8]>) {
        let Some(entry) = self.legs.get_mut(leg) else { return };
        self.changed.insert(leg);
        let (phone, far) = (phone_tag.unwrap_or_default(), far_tag.unwrap_or_default());
        entry.confirmed.retain(|d| &*d.phone_tag != phone || &*d.far_tag != far);
    }

    fn release_if_over(&mut self, leg: usize, links: &mut Links, out: &mut Outbox) {
        if self.legs.get(leg).is_some_and(Leg::is_over) {
            self.release(leg, links, out);
        }
    }

    fn release(&mut self, leg: usize, links: &mut Links, out: &mut Outbox) {
        let Some(entry) = self.legs.try_remove(leg) else { return };
        self.forget(&entry, out);
        for tag in entry.keys {
            let key = Key { link: entry.link, call_id: entry.call_id.clone(), phone_tag: tag };
            if self.by_key.get(&key) == Some(&leg) {
                self.by_key.remove(&key);
            }
        }
        // Lanes that a pending offer has replaced are still open.
        let pending: Vec<ServerId> =
            self.asked.iter().filter(|(_, asked)| asked.leg == leg).map(|(id, _)| *id).collect();
        for asked in pending.into_iter().filter_map(|id| self.asked.remove(&id)) {
            undo::close_replaced(entry.link, asked.changes, links, out);
        }
        for joint in entry.joints.into_iter().flatten() {
            self.drop_joint(entry.link, joint, links, out);
        }
        if let Some(link) = links.get_mut(entry.link) {
            link.calls = link.calls.saturating_sub(1);
        }
    }
}

fn branch_of<'a>(via: Option<Via<'a>>) -> &'a [u8] {
    via.and_then(|via| via.branch()).unwrap_or_default()
}
