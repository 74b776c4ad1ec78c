//! From a contact point that is going to another: the new tunnel comes first, the old one ends when nothing is left on it.
//!
//! Calls end where they are, since their ports and routes are the old contact point's. Registrations are said again
//! through the new tunnel, in the phone's own words: a server without authentication, or one that takes the same
//! credentials twice, accepts them at once; else the phone does it when its time comes. What begins anew goes where its
//! user is registered.

use super::Agent;
use super::phones::Phone;
use super::uplink::State;
use crate::half::Lost;
use crate::keys::identity;
use causeway_node::{Ctx, Level, Outbox, Time};
use causeway_sip::transaction::{Hop, ServerId};
use causeway_sip::{Edit, Message, Method, Msg};
use causeway_tunnel::GoodbyeReason;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

/// REGISTERs said again at once, and how soon as many more: a contact point takes a hundred at once of who has nothing
/// registered yet.
const AT_ONCE: usize = 50;
const NEXT: Duration = Duration::from_secs(1);

/// A server that has accepted a REGISTER so long ago has no call under way that it began without it.
const KNOWN: Duration = Duration::from_secs(2);

/// A tunnel that is being left.
#[derive(Debug)]
pub(super) struct Handover {
    link: usize,
    /// Users who are registered through the new tunnel, and since when.
    moved: HashMap<Box<[u8]>, Time>,
    /// REGISTERs on their way through it.
    moving: HashSet<ServerId>,
    /// Those that are still to be said again.
    waiting: VecDeque<(Message, Hop)>,
    next: Option<Time>,
}

impl Handover {
    /// When more is to be said.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.next
    }
}

impl Agent {
    /// The link of the contact point that is going.
    pub(super) fn leaving(&self) -> Option<usize> {
        self.handover.as_ref().map(|handover| handover.link)
    }

    /// The contact point says that it is going.
    pub(super) fn contact_leaves(&mut self, ctx: &mut Ctx<'_>, id: usize, grace: Duration, out: &mut Outbox) {
        if self.handover.is_some() || !self.uplink.is_on(id) || self.draining {
            return;
        }
        let seconds = grace.as_secs();
        if self.config.contacts.len() < 2 {
            let text = format!("{} is going and there is no other: calls have {seconds} s", self.contact());
            out.notice(Level::Warn, text);
            if let Some(link) = self.half.links.get_mut(id) {
                link.tunnel.say_leaving(Duration::ZERO);
                link.wake(out);
            }
            return;
        }
        let text =
            format!("{} is going: its calls have {seconds} s, all else goes elsewhere", self.contact());
        out.notice(Level::Info, text);
        let (moved, moving, waiting) = Default::default();
        self.handover = Some(Handover { link: id, moved, moving, waiting, next: None });
        self.uplink.turn_away(&self.config);
        self.uplink.begin(ctx, &self.config, out);
    }

    /// There is another connection: the session that is being left does not go on on it.
    pub(super) fn set_aside(&mut self) {
        let Some(old) = self.leaving().filter(|old| self.session == Some(*old)) else { return };
        self.session = None;
        if let Some(link) = self.half.links.get_mut(old) {
            // The record of a session is that of the new one from now on.
            link.durable = false;
        }
    }

    /// The new tunnel is up.
    pub(super) fn move_registrations(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        let registers = self.phones.registers(ctx.now);
        let Some(handover) = &mut self.handover else { return };
        handover.waiting = registers.into();
        handover.next = Some(ctx.now);
        self.move_more(ctx, out);
    }

    /// Says some more REGISTERs again, as if their phones did.
    pub(super) fn move_more(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        let Some(handover) = self.handover.as_mut().filter(|handover| {
            handover.next.is_some_and(|next| next <= ctx.now) && self.uplink.link().is_some()
        }) else {
            return;
        };
        let some: Vec<_> = (0..AT_ONCE).map_while(|_| handover.waiting.pop_front()).collect();
        handover.next = (!handover.waiting.is_empty()).then_some(ctx.now + NEXT);
        for (register, from) in some {
            let Some(again) = with_branch(register.msg(), ctx.random()) else { continue };
            let (core, mut wire) = self.half.split(out);
            core.receive(ctx, from, again, &mut wire);
        }
        self.events(ctx, out);
    }

    /// The tunnel for what a phone sends: that of its call, that which its user is registered through, the new one.
    pub(super) fn link_for(&self, msg: Msg<'_>, from_phone: bool) -> Option<usize> {
        let old = self
            .handover
            .as_ref()
            .filter(|handover| self.half.links.get(handover.link).is_some_and(|link| link.tunnel.is_up()));
        let Some(old) = old else { return self.link() };
        let known = self.half.calls.knows(old.link, msg, from_phone);
        let begins = msg.method() != Method::Register && msg.to_tag().is_none();
        let user = msg.from().and_then(|from| identity(from.uri)).unwrap_or_default();
        if known || (begins && !old.moved.contains_key(&*user)) { Some(old.link) } else { self.link() }
    }

    /// Whether a call that begins for this contact comes by the old way although the server has known the new one for
    /// long enough to have taken that as well.
    pub(super) fn comes_late(&self, now: Time, link: usize, msg: Msg<'_>) -> bool {
        let Some(handover) = self.handover.as_ref().filter(|handover| handover.link == link) else {
            return false;
        };
        let aor = self.phones.aor(msg.request_uri()).unwrap_or_default();
        let moved = handover.moved.get(&*aor).is_some_and(|since| now.since(*since) >= KNOWN);
        moved && msg.method() == Method::Invite && msg.to_tag().is_none()
    }

    /// A request goes into a tunnel: a REGISTER into the new one moves its user, once it is accepted.
    pub(super) fn note_moving(&mut self, id: ServerId, msg: Msg<'_>, link: usize) {
        if let Some(handover) = self.handover.as_mut().filter(|handover| handover.link != link)
            && msg.method() == Method::Register
        {
            handover.moving.insert(id);
        }
    }

    /// A REGISTER of this user is accepted.
    pub(super) fn registered_there(&mut self, now: Time, id: ServerId, aor: &[u8]) {
        if let Some(handover) = &mut self.handover
            && handover.moving.remove(&id)
        {
            handover.moved.insert(aor.into(), now);
        }
    }

    /// The old tunnel ends once no call is on it and everybody is registered through the new one. Else the contact
    /// point ends it, when it must.
    pub(super) fn let_go(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        let Some(handover) = &self.handover else { return };
        let old = handover.link;
        let moved =
            |aor: &str| identity(aor.as_bytes()).is_some_and(|aor| handover.moved.contains_key(&*aor));
        let new = self.uplink.link().filter(|new| *new != old);
        let idle = self.half.links.get(old).is_some_and(|link| link.calls == 0);
        if new.is_none() || !idle || !self.half.core.is_settled() {
            return;
        }
        let unmoved = |phone: &Phone| {
            phone.registered.as_ref().is_some_and(|(aor, until)| *until > ctx.now && !moved(aor))
        };
        if self.phones.iter().any(|(_, phone)| unmoved(phone)) {
            return;
        }
        if let Some(link) = self.half.links.get_mut(old) {
            link.tunnel.goodbye(GoodbyeReason::Idle, "everything has gone elsewhere");
        }
        self.left(ctx, old, &Lost::replaced("nothing is left on it"), out);
    }

    /// The tunnel that was being left is gone, with what was still on it.
    pub(super) fn left(&mut self, ctx: &mut Ctx<'_>, id: usize, lost: &Lost, out: &mut Outbox) {
        self.handover = None;
        out.notice(
            Level::Info,
            format!("the tunnel to the contact point that is going has ended: {}", lost.why),
        );
        if self.session == Some(id) {
            self.forget_session(id, out);
            self.session = None;
        }
        if matches!(self.uplink.state, State::Open { link, .. } if link == id) {
            self.uplink.fail(ctx, &self.config, lost.why.clone(), out);
        }
        self.half.drop_link(ctx.now, id, lost.open, out);
        self.events(ctx, out);
    }
}

/// The same request in a transaction of its own (RFC 3261 §17.2.3): its phone knows nothing of it, and passes over the
/// response (§18.1.2).
fn with_branch(msg: Msg<'_>, random: [u8; 8]) -> Option<Message> {
    let via = msg.top_via()?;
    let branch = format!("z9hG4bK-again-{:016x}", u64::from_be_bytes(random));
    let mut edit = Edit::new();
    edit.replace(msg, via.branch()?, &[branch.as_bytes()]);
    let mut bytes = Vec::new();
    edit.apply(msg, &mut bytes);
    Message::parse(bytes).ok()
}
