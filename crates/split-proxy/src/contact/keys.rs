//! The contact point's side of user keys: it answers offers, with what it or the subscriber database can derive.

use super::ContactPoint;
use super::owners::Owner;
use crate::keys::{INTERCEPTED, LaneKeys, Registrations, Told, credential, header_secret, identity};
use crate::records::{hex, put, remove, unhex, value_of};
use causeway_node::{Ctx, DerivedKey, Level, Outbox, Question, Record, UserKey};
use causeway_node::{Time, UserKey as Asked};
use causeway_sip::transaction::ServerId;
use causeway_sip::{Method, Msg, Uri};
use causeway_tunnel::Instance;
use causeway_tunnel::key::{Assurance, DropReason, Master, Modes, Offer, credential_id, derive};
use std::collections::HashMap;
use std::time::Duration;

/// The record space of what keys are inherited from.
pub(super) const SPACE: &str = "contact.registration";
/// Numbers of questions about keys begin here.
const FIRST_QUESTION: u64 = 1 << 32;

/// An offer that waits for the subscriber database.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    link: usize,
    user: u32,
    epoch: u32,
}

/// What keys are made of.
#[derive(Default)]
pub(super) struct Keys {
    /// By the agent's number in the books.
    pub registrations: Registrations,
    asked: HashMap<u64, Waiting>,
    questions: u64,
}

impl ContactPoint {
    /// After a restart: users inherit their keys as before.
    pub(super) fn restore_registrations(&mut self, ctx: &Ctx<'_>, records: &[Record], out: &mut Outbox) {
        for record in records.iter().filter(|record| record.space == SPACE) {
            let value = value_of(record, SPACE);
            let instance = value.as_ref().and_then(|value| unhex(value.get("instance")?.as_str()?));
            let owner = instance.map(|instance| self.owners.of(Some(Instance(instance))));
            let known = owner.zip(value.as_ref());
            if !known.is_some_and(|(owner, value)| self.keys.registrations.restore(owner, value, ctx)) {
                remove(SPACE, &record.key, out);
            }
        }
    }

    /// The operator has answered an agent: a REGISTER that was accepted is remembered, or ends a key.
    pub(super) fn registration_answered(
        &mut self,
        ctx: &Ctx<'_>,
        id: ServerId,
        link: usize,
        answer: Msg<'_>,
        out: &mut Outbox,
    ) {
        let accepted = answer.status().is_some_and(|status| (200..300).contains(&status));
        let Some(request) = self.half.core.request(id).filter(|_| accepted).cloned() else { return };
        let request = request.msg();
        if request.method() != Method::Register {
            return;
        }
        let Some(owner) = self.half.links.get(link).map(|link| link.owner) else { return };
        let Some(aor) = request.to().and_then(|to| identity(to.uri)) else { return };
        match self.tokens.registered_until(owner, &aor) {
            Some(until) => {
                let until = ctx.now + Duration::from_millis(until.saturating_sub(ctx.unix_ms));
                self.keys.registrations.accept(owner, &aor, credential(request), until);
                let instance = self.owners.get(owner).and_then(|owner| owner.instance);
                let value = self.keys.registrations.value(owner, &aor, ctx);
                if let Some((instance, mut value)) = instance.zip(value) {
                    value["instance"] = hex(&instance.0).into();
                    put(SPACE, &[&instance.0, &aor[..]].concat(), &value, out);
                }
            }
            None => self.end_key(owner, &aor, out),
        }
    }

    fn end_key(&mut self, owner: usize, aor: &[u8], out: &mut Outbox) {
        let known = self.keys.registrations.end(owner, aor);
        let instance = self.owners.get(owner).and_then(|owner| owner.instance);
        if let Some(instance) = instance.filter(|_| known) {
            remove(SPACE, &[&instance.0, aor].concat(), out);
        }
        let link = self.owners.get(owner).and_then(|owner: &Owner| owner.link);
        if let Some(link) = link.and_then(|link| self.half.links.get_mut(link)) {
            link.keys.end(&mut link.tunnel, aor, DropReason::Ended);
            link.wake(out);
        }
    }

    /// Ends the keys of registrations that have run out.
    pub(super) fn end_keys(&mut self, now: Time, out: &mut Outbox) {
        while let Some((owner, aor)) = self.keys.registrations.pop_ended(now) {
            self.end_key(owner, &aor, out);
        }
    }

    /// A tunnel is gone, and with it a nameless agent.
    pub(super) fn forget_keys(&mut self, link: usize, owner: usize) {
        self.keys.asked.retain(|_, waiting| waiting.link != link);
        if self.owners.get(owner).is_none() {
            self.keys.registrations.forget(owner);
        }
    }

    /// What an agent has said; if somebody stands in between, why the tunnel must end.
    pub(super) fn told_of_keys(
        &mut self,
        ctx: &mut Ctx<'_>,
        link: usize,
        told: Vec<Told>,
        out: &mut Outbox,
    ) -> Option<String> {
        let mut intercepted = None;
        for told in told {
            match told {
                Told::Offer(offer) => self.on_offer(ctx, link, offer, out),
                Told::Intercepted { aor } => {
                    let aor = String::from_utf8_lossy(&aor);
                    out.notice(Level::Error, format!("{INTERCEPTED} (shown by the key of {aor})"));
                    intercepted = Some(INTERCEPTED.to_owned());
                }
                Told::InForce { .. } | Told::Ended { .. } => {}
            }
        }
        intercepted
    }

    fn on_offer(&mut self, ctx: &mut Ctx<'_>, link_id: usize, offer: Box<Offer>, out: &mut Outbox) {
        let Some(link) = self.half.links.get_mut(link_id) else { return };
        link.wake(out);
        let (user, epoch) = (offer.user, offer.epoch);
        let Some(credential) = self.keys.registrations.credential(link.owner, &offer.aor) else {
            return link.keys.refuse(&mut link.tunnel, user, DropReason::Unknown);
        };
        // Of an older registration: an offer for the latest is on its way.
        if credential_id(credential) != offer.credential {
            return;
        }
        if link.keys.begin(ctx, &mut link.tunnel, offer, credential).is_none() {
            return;
        }
        let Some(modes) = link.keys.offered(user, epoch).map(|modes| self.usable(modes)) else { return };
        match modes.best_first().next() {
            Some(Assurance::Digest) => self.ask_for_key(link_id, user, epoch, out),
            _ => self.answer_by_header(link_id, user, epoch),
        }
    }

    /// Those of the modes offered that can be had here, and are good enough.
    fn usable(&self, offered: Modes) -> Modes {
        let mut usable = Modes::NONE;
        if offered.has(Assurance::Header) {
            usable = usable.with(Assurance::Header);
        }
        if offered.has(Assurance::Digest) && self.config.digest_keys {
            usable = usable.with(Assurance::Digest);
        }
        usable.at_least(self.config.min_assurance)
    }

    fn ask_for_key(&mut self, link: usize, user: u32, epoch: u32, out: &mut Outbox) {
        let Some((exporter, facts)) =
            self.half.links.get(link).and_then(|link| link.keys.facts(user, Assurance::Digest))
        else {
            return;
        };
        let asked = Asked {
            exporter: *exporter,
            aor: facts.aor.to_vec(),
            authorization: facts.authorization.to_vec(),
            agent_fresh: *facts.agent_fresh,
            contact_fresh: *facts.contact_fresh,
            connection_epoch: facts.connection_epoch,
            registration_epoch: facts.registration_epoch,
        };
        let question = FIRST_QUESTION + self.keys.questions;
        self.keys.questions += 1;
        // A newer offer of the same user takes the place of the older one.
        self.keys.asked.retain(|_, waiting| (waiting.link, waiting.user) != (link, user));
        self.keys.asked.insert(question, Waiting { link, user, epoch });
        out.ask(question, Question::UserKey(Box::<UserKey>::new(asked)));
    }

    /// The subscriber database has answered.
    pub(super) fn key_derived(&mut self, question: u64, key: Option<DerivedKey>, out: &mut Outbox) {
        let Some(Waiting { link: id, user, epoch }) = self.keys.asked.remove(&question) else { return };
        let Some(link) = self.half.links.get_mut(id) else { return };
        link.wake(out);
        if link.keys.offered(user, epoch).is_none() {
            return;
        }
        match key {
            Some(key) => {
                let master = Master::from_bytes(*key.expose());
                link.keys.accept(&mut link.tunnel, user, Assurance::Digest, &master);
            }
            None => self.answer_by_header(id, user, epoch),
        }
    }

    /// The next best: what the registration itself has shown.
    fn answer_by_header(&mut self, link: usize, user: u32, epoch: u32) {
        let min = self.config.min_assurance;
        let Some(link) = self.half.links.get_mut(link) else { return };
        let offered = link.keys.offered(user, epoch).is_some_and(|modes| modes.has(Assurance::Header));
        let master = link.keys.facts(user, Assurance::Header).filter(|_| offered && min <= Assurance::Header);
        let master = master
            .and_then(|(exporter, facts)| derive(exporter, &header_secret(facts.authorization)?, &facts));
        match master {
            Some(master) => link.keys.accept(&mut link.tunnel, user, Assurance::Header, &master),
            None => link.keys.refuse(&mut link.tunnel, user, DropReason::Mode),
        }
    }

    /// Whose key is to seal the lanes of a call that begins with this request, and what it must be worth.
    pub(super) fn lane_keys(&self, link: usize, msg: Msg<'_>, from_phone: bool) -> LaneKeys {
        let least = self.config.min_assurance;
        let Some(link) = self.half.links.get(link).filter(|_| msg.method() == Method::Invite) else {
            return LaneKeys { user: 0, least };
        };
        let from = msg.from().filter(|_| from_phone).and_then(|from| identity(from.uri));
        let own = |token: &[u8]| {
            let bindings = &self.tokens.get(token)?.bindings;
            bindings.iter().map(|(aor, _)| link.keys.number(aor)).find(|number| *number != 0)
        };
        let token = match from_phone {
            true => msg.contact().and_then(|contact| self.tokens.name(link.owner, contact.uri)),
            false => Uri::parse(msg.request_uri()).and_then(|uri| uri.user),
        };
        let user = from.map(|aor| link.keys.number(&aor)).filter(|number| *number != 0);
        LaneKeys { user: user.or_else(|| own(token?)).unwrap_or(0), least }
    }

    /// Whether a new call must not begin, since its media would not pass.
    pub(super) fn lacks_key(&self, link: usize, msg: Msg<'_>, keys: LaneKeys) -> bool {
        let begins = msg.method() == Method::Invite && msg.to_tag().is_none();
        let has = self.half.links.get(link).map_or(Assurance::None, |link| link.keys.prospect(keys.user));
        begins && has < keys.least
    }
}
