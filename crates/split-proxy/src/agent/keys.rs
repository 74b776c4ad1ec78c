//! The agent's side of user keys: it offers them, for whoever has registered through it.

use super::Agent;
use crate::keys::{INTERCEPTED, LaneKeys, Told, credential, identity};
use crate::records::{put, remove, value_of};
use causeway_node::{Ctx, Level, Outbox, Record, Time};
use causeway_sip::transaction::ServerId;
use causeway_sip::{Method, Msg};
use causeway_tunnel::key::{Assurance, DropReason};

/// The only agent in its own [`crate::keys::Registrations`].
const SELF: usize = 0;
/// The record space of what keys are inherited from.
pub(super) const SPACE: &str = "agent.registration";

impl Agent {
    /// After a restart: users inherit their keys as before.
    pub(super) fn restore_registrations(&mut self, ctx: &Ctx<'_>, records: &[Record], out: &mut Outbox) {
        for record in records.iter().filter(|record| record.space == SPACE) {
            let value = value_of(record, SPACE);
            if !value.is_some_and(|value| self.registrations.restore(SELF, &value, ctx)) {
                remove(SPACE, &record.key, out);
            }
        }
    }

    /// A phone's request is answered: a REGISTER that was accepted gives its user a key, or ends the one he has.
    pub(super) fn registration_answered(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        answer: Msg<'_>,
        out: &mut Outbox,
    ) {
        let accepted = answer.status().is_some_and(|status| (200..300).contains(&status));
        let Some(stored) = self.half.core.request(id).filter(|_| accepted).cloned() else { return };
        let request = stored.msg();
        if request.method() != Method::Register {
            return;
        }
        if let Some(from) = self.half.core.from(id) {
            self.phones.keep_register(&stored, from);
        }
        let Some(aor) = request.to().and_then(|to| identity(to.uri)) else { return };
        self.registered_there(ctx.now, id, &aor);
        match self.phones.registered_until(&aor) {
            Some(until) => {
                let credential = credential(request);
                self.registrations.accept(SELF, &aor, credential, until);
                if let Some(value) = self.registrations.value(SELF, &aor, ctx) {
                    put(SPACE, &aor, &value, out);
                }
                if credential.is_some()
                    && let Some(link) = self.uplink.link()
                {
                    self.offer_key(ctx, link, &aor, out);
                }
            }
            None => self.end_key(&aor, out),
        }
    }

    fn offer_key(&mut self, ctx: &mut Ctx<'_>, link: usize, aor: &[u8], out: &mut Outbox) {
        let Some(credential) = self.registrations.credential(SELF, aor) else { return };
        let secrets = self.config.keys.secrets(aor, credential);
        if let Some(link) = self.half.links.get_mut(link) {
            link.keys.offer(ctx, &mut link.tunnel, aor, credential, secrets);
            link.wake(out);
        }
    }

    /// Offers keys for all who are registered: the tunnel is new, or has a new connection.
    pub(super) fn offer_keys(&mut self, ctx: &mut Ctx<'_>, link: usize, out: &mut Outbox) {
        for aor in self.registrations.aors(SELF) {
            self.offer_key(ctx, link, &aor, out);
        }
        // Who is registered no longer has had a key on an earlier connection of the session.
        let Some(link) = self.half.links.get_mut(link) else { return };
        for aor in link.keys.aors() {
            if self.registrations.credential(SELF, &aor).is_none() {
                link.keys.end(&mut link.tunnel, &aor, DropReason::Ended);
            }
        }
    }

    fn end_key(&mut self, aor: &[u8], out: &mut Outbox) {
        if self.registrations.end(SELF, aor) {
            remove(SPACE, aor, out);
        }
        if let Some(link) = self.uplink.link().and_then(|link| self.half.links.get_mut(link)) {
            link.keys.end(&mut link.tunnel, aor, DropReason::Ended);
            link.wake(out);
        }
    }

    /// Ends the keys of registrations that have run out.
    pub(super) fn end_keys(&mut self, now: Time, out: &mut Outbox) {
        while let Some((_, aor)) = self.registrations.pop_ended(now) {
            self.end_key(&aor, out);
        }
    }

    /// What the other end has said; if somebody stands in between, why the tunnel must end.
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
                Told::InForce { aor, mode } => {
                    let aor = String::from_utf8_lossy(&aor);
                    out.notice(Level::Debug, format!("{aor} has a key of assurance {mode}"));
                }
                Told::Ended { aor, reason, crossed } => {
                    let name = String::from_utf8_lossy(&aor);
                    // What the header cannot promise it may still show.
                    let level = if reason == DropReason::Unconfirmed { Level::Warn } else { Level::Info };
                    out.notice(level, format!("{name} has no key: {}", reason.in_words()));
                    if crossed {
                        self.offer_key(ctx, link, &aor, out);
                    }
                }
                Told::Intercepted { aor } => {
                    let aor = String::from_utf8_lossy(&aor);
                    out.notice(Level::Error, format!("{INTERCEPTED} (shown by the key of {aor})"));
                    self.uplink.be_patient();
                    intercepted = Some(INTERCEPTED.to_owned());
                }
                Told::Offer(_) => {}
            }
        }
        intercepted
    }

    /// Whose key is to seal the lanes of a call that begins with this request, and what it must be worth. A phone
    /// that calls under another name than it has registered demands no less.
    pub(super) fn lane_keys(&self, link: usize, msg: Msg<'_>, from_phone: bool) -> LaneKeys {
        if msg.method() != Method::Invite {
            return LaneKeys::default();
        }
        let contact = match from_phone {
            true => msg.contact().map(|contact| contact.uri).unwrap_or_default(),
            false => msg.request_uri(),
        };
        let from = msg.from().filter(|_| from_phone).and_then(|from| identity(from.uri));
        let names: Vec<Vec<u8>> = from.into_iter().chain(self.phones.aor(contact)).collect();
        let policy = &self.config.keys;
        let least = names.iter().map(|aor| policy.least(aor)).max().unwrap_or(policy.least);
        let keys = self.half.links.get(link).map(|link| &link.keys);
        let number = |aor: &Vec<u8>| keys.map(|keys| keys.number(aor)).filter(|number| *number != 0);
        LaneKeys { user: names.iter().find_map(number).unwrap_or(0), least }
    }

    /// What a user's key is worth, what he demands, and what stands in the way of more, for people.
    pub(super) fn key_state(&self, aor: &[u8]) -> (Assurance, Assurance, Option<&'static str>) {
        let policy = &self.config.keys;
        let link = self.uplink.link().and_then(|link| self.half.links.get(link));
        let has = link.map_or(Assurance::None, |link| link.keys.assurance(link.keys.number(aor)));
        let note = match self.registrations.credential(SELF, aor) {
            Some(credential) => policy.secrets(aor, credential).note,
            None => Some("it registers without a credential that a key could be inherited from"),
        };
        let note =
            note.or_else(|| (has > Assurance::None).then_some("the contact point has agreed to no more"));
        (has, policy.least(aor), note.filter(|_| has < Assurance::Digest))
    }

    /// Whether a new call must not begin, since its media would not pass.
    pub(super) fn lacks_key(&self, link: usize, msg: Msg<'_>, keys: LaneKeys) -> bool {
        let begins = msg.method() == Method::Invite && msg.to_tag().is_none();
        let has = self.half.links.get(link).map_or(Assurance::None, |link| link.keys.prospect(keys.user));
        begins && has < keys.least
    }
}
