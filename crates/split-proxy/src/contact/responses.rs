//! Responses, and what the contact point learns from them.

use super::owners::DialogKey;
use super::{ContactPoint, admission};
use crate::calls::Passing;
use crate::half::{begins_dialog, from_tunnel, is_at};
use crate::keys::{LaneKeys, identity};
use causeway_node::{Ctx, Outbox};
use causeway_sip::transaction::{Hop, ServerId};
use causeway_sip::{Contact, HeaderId, Message, Method, Msg};

/// Names that are taken from one P-Associated-URI.
const MAX_ASSOCIATED: usize = 16;

impl ContactPoint {
    /// A response, on its way back to whoever has asked.
    pub(super) fn response(&mut self, ctx: &mut Ctx<'_>, id: ServerId, message: &Message, out: &mut Outbox) {
        let msg = message.msg();
        let Some(asker) = self.half.core.from(id) else { return };
        let from_phone = from_tunnel(&asker);
        self.edit.clear();
        let (link, seq) = match from_phone {
            true => (self.half.links.of(&asker), self.edit_operators_response(ctx, asker, msg, out)),
            false => self.edit_agents_response(ctx, id, msg, out),
        };
        if from_phone && let Some(link) = link {
            self.registration_answered(ctx, id, link, msg, out);
        }
        if let Some(link) = link {
            let config = &self.config;
            let allowed = |to| config.media_allowed(to);
            let passing = Passing {
                now: ctx.now,
                link,
                msg,
                from_phone,
                near: None,
                nonce: ctx.random(),
                allowed: &allowed,
                keys: LaneKeys::default(),
            };
            if let Some(body) = self.half.calls.response(id, &passing, &mut self.half.links, out) {
                self.edit.set_body(msg, &body);
            }
        } else if msg.status().is_some_and(|status| status >= 200) {
            self.half.calls.ended(ctx.now, id, &mut self.half.links, out);
        }
        let (half, edit, now) = (&mut self.half, &mut self.edit, ctx.now);
        let mut relay = |out: &mut Outbox| {
            let (core, mut wire) = half.split(out);
            core.relay(now, id, message, edit, &mut wire);
        };
        match seq {
            Some(seq) => out.gated(seq, relay),
            None => relay(out),
        }
    }

    /// The operator has answered an agent.
    pub(super) fn edit_operators_response(
        &mut self,
        ctx: &mut Ctx<'_>,
        asker: Hop,
        msg: Msg<'_>,
        out: &mut Outbox,
    ) -> Option<u64> {
        let link = self.half.links.of(&asker)?;
        let owner_id = self.half.links.get(link)?.owner;
        admission::drop_auth_int(msg, &mut self.edit);
        let status = msg.status()?;
        let method = msg.cseq()?.method;
        if method == Method::Register && (200..300).contains(&status) {
            self.register_accepted(ctx, owner_id, msg, out);
        }
        let key = DialogKey::of(msg, true)?;
        if begins_dialog(msg) && (101..300).contains(&status) {
            self.note_dialog(ctx, owner_id, key, msg, out);
        } else if method == Method::Bye && status >= 200 {
            self.end_dialog(owner_id, &key, out);
        }
        None
    }

    /// Notes a dialog that a response has made, with the route set that `routes` has.
    fn note_dialog(
        &mut self,
        ctx: &Ctx<'_>,
        owner: usize,
        key: DialogKey,
        routes: Msg<'_>,
        out: &mut Outbox,
    ) {
        let routes = routes.addrs(HeaderId::RecordRoute).flatten().map(|route| route.uri.into()).collect();
        self.note_dialog_with(ctx, owner, key, routes, out);
    }

    pub(super) fn note_dialog_with(
        &mut self,
        ctx: &Ctx<'_>,
        owner: usize,
        key: DialogKey,
        routes: Vec<Box<[u8]>>,
        out: &mut Outbox,
    ) {
        let most = self.config.limits.contacts;
        if let Some(owner) = self.owners.get_mut(owner) {
            owner.note_dialog(key, routes, ctx.now, most, out);
        }
    }

    pub(super) fn end_dialog(&mut self, owner: usize, key: &DialogKey, out: &mut Outbox) {
        if let Some(owner) = self.owners.get_mut(owner) {
            owner.end_dialog(key, out);
        }
    }

    /// A phone has answered the operator: the link that it has answered on, and the record to wait for.
    fn edit_agents_response(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        msg: Msg<'_>,
        out: &mut Outbox,
    ) -> (Option<usize>, Option<u64>) {
        admission::strip_response(msg, &mut self.edit);
        let Some(request) = self.half.core.request(id) else { return (None, None) };
        let request = request.clone();
        let Some(owner_id) = self.owner_of(request.msg()) else { return (None, None) };
        // A callee echoes Record-Route (RFC 3261 §12.1.1); what it adds would lead the caller astray.
        let echoed = |value: &[u8]| request.msg().values(HeaderId::RecordRoute).any(|known| known == value);
        self.edit.remove_values(msg, HeaderId::RecordRoute, |value| !echoed(value));
        let status = msg.status().unwrap_or(500);
        let mut seq = None;
        if (101..300).contains(&status) {
            seq = self.contacts_to_tokens(ctx, owner_id, msg, out).unwrap_or_default();
        }
        if let Some(key) = DialogKey::of(msg, false) {
            if begins_dialog(msg) && (101..300).contains(&status) {
                self.note_dialog(ctx, owner_id, key, request.msg(), out);
            } else if request.msg().method() == Method::Bye && status >= 200 {
                self.end_dialog(owner_id, &key, out);
            }
        }
        (self.owners.get(owner_id).and_then(|owner| owner.link), seq)
    }

    /// A 2xx to a REGISTER: says who the agent may be from now on; its contacts become its own again.
    fn register_accepted(&mut self, ctx: &Ctx<'_>, owner_id: usize, msg: Msg<'_>, out: &mut Outbox) {
        let Some(aor) = msg.to().and_then(|to| identity(to.uri)) else { return };
        let overall = msg.expires().unwrap_or(3600);
        let mut bound: Vec<(Box<[u8]>, u64)> = Vec::new();
        for contact in msg.contacts().flatten() {
            let Contact::Addr(addr) = contact else { continue };
            let Some(uri) = addr.uri().filter(|uri| is_at(uri, self.config.sip)) else { continue };
            let Some(token) = uri.user.and_then(|user| self.tokens.get(user)) else { continue };
            if token.owner != owner_id {
                continue;
            }
            match addr.bracketed {
                true => self.edit.replace(msg, addr.uri, &[&token.contact]),
                false => self.edit.replace(msg, addr.uri, &[b"<", &token.contact, b">"]),
            }
            let seconds = addr.expires().unwrap_or(overall);
            if seconds > 0 {
                let until = ctx.unix_ms + u64::from(seconds) * 1000;
                bound.push((uri.user.unwrap_or_default().into(), until));
            }
        }
        let Some(owner) = self.owners.get_mut(owner_id) else { return };
        let associated: Vec<_> = msg.addrs(HeaderId::PAssociatedUri).flatten().take(MAX_ASSOCIATED).collect();
        let associated = associated.into_iter().filter_map(|a| identity(a.uri)).map(Into::into).collect();
        self.tokens.bind(owner_id, owner.instance, &aor, &bound, out);
        owner.admit(&aor, self.tokens.registered_until(owner_id, &aor), associated);
        owner.set_service_routes(msg);
        owner.keep(out);
    }
}
