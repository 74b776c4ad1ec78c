//! What happens to each message on its way between tunnel and operator.

use super::admission::{self, Denied};
use super::owners::{DialogKey, identity};
use super::{ContactPoint, Mode, loops};
use crate::calls::Passing;
use crate::half::{begins_dialog, from_tunnel, is_at, own_routes};
use crate::links::Link;
use causeway_node::{Ctx, Outbox};
use causeway_sip::proxy::Identity;
use causeway_sip::transaction::{Hop, ServerId, Transport};
use causeway_sip::{Contact, HeaderId, Message, Method, Msg, Uri};

/// The contact that is the path of an agent's requests: it has none of its own.
const PATH_CONTACT: &[u8] = b"";
/// Contacts of one message that are looked at.
const MAX_CONTACTS: usize = 16;

impl ContactPoint {
    pub(super) fn reply(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        status: u16,
        reason: &str,
        out: &mut Outbox,
    ) {
        let retry: &[(&str, &[u8])] = if status == 503 { &[("Retry-After", b"5")] } else { &[] };
        let (core, mut wire) = self.half.split(out);
        core.reply(ctx, id, status, Some(reason), retry, &mut wire);
    }

    fn deny(&mut self, ctx: &mut Ctx<'_>, id: ServerId, link: usize, denied: Denied, out: &mut Outbox) {
        self.counters.denied += 1;
        if let Some(gauge) = self.gauges.get_mut(&link) {
            gauge.denied += 1;
        }
        self.reply(ctx, id, denied.status(), &denied.to_string(), out);
    }

    /// The hop to the operator. A dialog between two phones here whose proxies do not record-route leads from
    /// one token straight to the other: then it is this contact point itself.
    fn upstream(
        &mut self,
        ctx: &Ctx<'_>,
        msg: Msg<'_>,
        in_dialog: bool,
        routed: bool,
        out: &mut Outbox,
    ) -> Hop {
        let uri = Uri::parse(msg.request_uri());
        let to_token = uri.is_some_and(|uri| {
            is_at(&uri, self.config.sip) && uri.user.is_some_and(|user| self.tokens.get(user).is_some())
        });
        let (peer, transport) = match in_dialog && to_token && !routed {
            true => (self.config.sip, Transport::Udp),
            false => (self.config.upstream, self.config.upstream_transport),
        };
        self.half.hub.hop(ctx.now, peer, transport, out)
    }

    /// A request from an agent: checked, stripped, its contacts replaced by tokens, sent to the operator.
    pub(super) fn on_agent_request(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        from: Hop,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        let Some(link) = self.half.links.of(&from) else { return };
        let owner_id = self.half.links.get(link).map_or(usize::MAX, |link| link.owner);
        let mark = loops::mark(msg, true);
        if loops::is_loop(msg, &self.name, &mark) {
            return self.reply(ctx, id, 482, "Loop Detected", out);
        }
        let Some(owner) = self.owners.get_mut(owner_id) else { return };
        let dialog = match admission::check(owner, msg, ctx.unix_ms) {
            Ok(dialog) => dialog,
            Err(denied) => return self.deny(ctx, id, link, denied, out),
        };
        self.edit.clear();
        admission::strip_request(owner, msg, dialog.as_ref(), ctx.unix_ms, &mut self.edit);
        let routed = msg.values(HeaderId::Route).any(|value| owner.may_route(value, dialog.as_ref()));
        if let Some(dialog) = &dialog {
            owner.touch(dialog, ctx.now);
        }
        let seq = match self.contacts_to_tokens(ctx, owner_id, msg, out) {
            Ok(seq) => seq,
            Err(denied) => return self.deny(ctx, id, link, denied, out),
        };
        if msg.method() == Method::Register && self.config.mode == Mode::Path {
            self.add_path(ctx, owner_id, msg, out);
        }
        match self.pass_request(Some(id), ctx, link, msg, true, out) {
            Ok(Some(body)) => self.edit.set_body(msg, &body),
            Ok(None) => {}
            Err((status, reason)) => return self.reply(ctx, id, status, &reason, out),
        }
        let hop = self.upstream(ctx, msg, dialog.is_some(), routed, out);
        let identity = Identity { sent_by: self.name.as_bytes(), branch_suffix: mark.as_bytes() };
        let (half, edit) = (&mut self.half, &mut self.edit);
        let mut forward = |out: &mut Outbox| {
            let (core, mut wire) = half.split(out);
            core.forward(ctx, id, hop, identity, edit, &mut wire);
        };
        // The operator must not learn of a token that a restart would forget.
        match seq {
            Some(seq) => out.gated(seq, forward),
            None => forward(out),
        }
    }

    /// A request from the operator: a token says for which agent and which of its phones.
    pub(super) fn on_operator_request(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        from: Hop,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        if !self.is_trusted(&from, msg) {
            self.counters.foreign += 1;
            return self.reply(ctx, id, 403, "Not From The Operator", out);
        }
        let uri = Uri::parse(msg.request_uri());
        if uri.is_some_and(|uri| uri.user.is_none() && is_at(&uri, self.config.sip)) {
            let status = if msg.method() == Method::Options { 200 } else { 405 };
            return self.reply(ctx, id, status, causeway_sip::reason_phrase(status), out);
        }
        let mark = loops::mark(msg, false);
        if loops::is_loop(msg, &self.name, &mark) {
            return self.reply(ctx, id, 482, "Loop Detected", out);
        }
        let Some((hop, link)) = self.route_to_phone(msg) else {
            let known = self.token_of(msg).is_some();
            let (status, reason) =
                if known { (480, "Agent Not Connected") } else { (404, "No Such Contact") };
            return self.reply(ctx, id, status, reason, out);
        };
        self.edit_for_phone(msg);
        match self.pass_request(Some(id), ctx, link, msg, false, out) {
            Ok(Some(body)) => self.edit.set_body(msg, &body),
            Ok(None) => {}
            Err((status, reason)) => return self.reply(ctx, id, status, &reason, out),
        }
        let identity = Identity { sent_by: self.name.as_bytes(), branch_suffix: mark.as_bytes() };
        let (core, mut wire) = self.half.split(out);
        core.forward(ctx, id, hop, identity, &mut self.edit, &mut wire);
    }

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
        if let Some(link) = link {
            let config = &self.config;
            let allowed = |to| config.media_allowed(to);
            let passing = Passing { now: ctx.now, link, msg, from_phone, near: None, allowed: &allowed };
            if let Some(body) = self.half.calls.response(id, &passing, &mut self.half.links, out) {
                self.edit.set_body(msg, &body);
            }
        } else if msg.status().is_some_and(|status| status >= 200) {
            self.half.calls.ended(id, &mut self.half.links, out);
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
    fn edit_operators_response(
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
        let most = self.config.limits.contacts;
        let owner = self.owners.get_mut(owner_id)?;
        let key = DialogKey::of(msg, true)?;
        if begins_dialog(msg) && (101..300).contains(&status) {
            owner.note_dialog(key, msg, ctx.now, most);
        } else if method == Method::Bye && status >= 200 {
            owner.end_dialog(&key);
        }
        None
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
        let most = self.config.limits.contacts;
        let Some(owner) = self.owners.get_mut(owner_id) else { return (None, seq) };
        if let Some(key) = DialogKey::of(msg, false) {
            if begins_dialog(msg) && (101..300).contains(&status) {
                owner.note_dialog(key, request.msg(), ctx.now, most);
            } else if request.msg().method() == Method::Bye && status >= 200 {
                owner.end_dialog(&key);
            }
        }
        (owner.link, seq)
    }

    /// An ACK for a 2xx, in a dialog that both sides know.
    pub(super) fn ack(&mut self, ctx: &mut Ctx<'_>, message: &Message, from: Hop, out: &mut Outbox) {
        let msg = message.msg();
        let identity_name = self.name.clone();
        let identity = Identity { sent_by: identity_name.as_bytes(), branch_suffix: b"" };
        self.edit.clear();
        let hop = if from_tunnel(&from) {
            let Some(link) = self.half.links.of(&from) else { return };
            let owner_id = self.half.links.get(link).map_or(usize::MAX, |link| link.owner);
            let Some(owner) = self.owners.get(owner_id) else { return };
            let Some(dialog) = DialogKey::of(msg, true).filter(|key| owner.knows(key)) else { return };
            admission::strip_request(owner, msg, Some(&dialog), ctx.unix_ms, &mut self.edit);
            let routed = msg.values(HeaderId::Route).any(|value| owner.may_route(value, Some(&dialog)));
            if self.contacts_to_tokens(ctx, owner_id, msg, out).is_err() {
                return;
            }
            if let Ok(Some(body)) = self.pass_request(None, ctx, link, msg, true, out) {
                self.edit.set_body(msg, &body);
            }
            self.upstream(ctx, msg, true, routed, out)
        } else {
            if !self.is_trusted(&from, msg) {
                self.counters.foreign += 1;
                return;
            }
            let Some((hop, link)) = self.route_to_phone(msg) else { return };
            self.edit_for_phone(msg);
            if let Ok(Some(body)) = self.pass_request(None, ctx, link, msg, false, out) {
                self.edit.set_body(msg, &body);
            }
            hop
        };
        let (core, mut wire) = self.half.split(out);
        core.forward_ack(ctx, message, hop, identity, &mut self.edit, &mut wire);
    }

    /// Whether a request from the network side is the operator's, or our own in a dialog between two phones.
    fn is_trusted(&self, from: &Hop, msg: Msg<'_>) -> bool {
        let ip = from.peer.ip();
        ip == self.config.upstream.ip()
            || self.config.sip_allow.iter().any(|cidr| cidr.contains(ip))
            || (from.peer == self.config.sip && msg.to_tag().is_some())
    }

    fn pass_request(
        &mut self,
        id: Option<ServerId>,
        ctx: &Ctx<'_>,
        link: usize,
        msg: Msg<'_>,
        from_phone: bool,
        out: &mut Outbox,
    ) -> Result<Option<Vec<u8>>, (u16, String)> {
        let config = &self.config;
        let allowed = |to| config.media_allowed(to);
        let passing = Passing { now: ctx.now, link, msg, from_phone, near: None, allowed: &allowed };
        let body = self.half.calls.request(id, &passing, &mut self.half.links, out);
        body.map_err(|refusal| (refusal.status(), refusal.to_string()))
    }

    /// The token that a request from the operator is for: in the Request-URI, else in a Route of ours.
    fn token_of<'a>(&self, msg: Msg<'a>) -> Option<&'a [u8]> {
        let user = |uri: Uri<'a>| uri.user.filter(|user| self.tokens.get(user).is_some());
        let uri = Uri::parse(msg.request_uri()).and_then(user);
        uri.or_else(|| {
            let own = own_routes(msg, self.config.sip);
            msg.routes().flatten().take(own).find_map(|route| user(Uri::parse(route.uri)?))
        })
    }

    fn owner_of(&self, request: Msg<'_>) -> Option<usize> {
        Some(self.tokens.get(self.token_of(request)?)?.owner)
    }

    /// The tunnel that a request from the operator goes into.
    fn route_to_phone(&self, msg: Msg<'_>) -> Option<(Hop, usize)> {
        let link = self.owners.get(self.owner_of(msg)?)?.link?;
        let hop = self.half.links.get(link).filter(|link| link.tunnel.is_up()).map(Link::hop)?;
        Some((hop, link))
    }

    /// The phone sees its own contact, and none of our routes.
    fn edit_for_phone(&mut self, msg: Msg<'_>) {
        self.edit.clear();
        self.edit.remove_top(msg, HeaderId::Route, own_routes(msg, self.config.sip));
        let user = Uri::parse(msg.request_uri()).and_then(|uri| uri.user);
        if let Some(token) = user.and_then(|user| self.tokens.get(user))
            && &*token.contact != PATH_CONTACT
        {
            self.edit.set_request_uri(msg, &[&token.contact]);
        }
    }

    /// Replaces the contacts of a message from an agent by their tokens; the record to wait for, if any is new.
    fn contacts_to_tokens(
        &mut self,
        ctx: &mut Ctx<'_>,
        owner_id: usize,
        msg: Msg<'_>,
        out: &mut Outbox,
    ) -> Result<Option<u64>, Denied> {
        let Some(owner) = self.owners.get(owner_id) else { return Ok(None) };
        let limits = &self.config.limits;
        let most = match owner.is_admitted(ctx.unix_ms) {
            true => limits.contacts,
            false => limits.contacts.min(limits.unregistered_burst as usize),
        };
        let mut last = None;
        for contact in msg.contacts().take(MAX_CONTACTS).flatten() {
            let Contact::Addr(addr) = contact else { continue };
            if !addr.uri().is_some_and(|uri| uri.scheme.is_sip()) {
                continue;
            }
            if self.tokens.count(owner_id) >= most && !self.tokens.has(owner_id, addr.uri) {
                return Err(Denied::Contacts);
            }
            let (name, seq) = self.tokens.of(ctx, owner_id, owner.instance, addr.uri, out);
            last = seq.or(last);
            let uri = self.token_uri(&name);
            match addr.bracketed {
                true => self.edit.replace(msg, addr.uri, &[&uri]),
                false => self.edit.replace(msg, addr.uri, &[b"<", &uri, b">"]),
            }
        }
        Ok(last)
    }

    fn token_uri(&self, name: &[u8]) -> Vec<u8> {
        let transport: &[u8] = match self.config.upstream_transport {
            Transport::Tcp => b";transport=tcp",
            _ => b"",
        };
        [b"sip:", name, b"@", self.name.as_bytes(), transport].concat()
    }

    /// RFC 3327 §5.1: requests for what is registered shall visit this contact point, with the agent's token.
    fn add_path(&mut self, ctx: &mut Ctx<'_>, owner_id: usize, msg: Msg<'_>, out: &mut Outbox) {
        let Some(owner) = self.owners.get(owner_id) else { return };
        let (name, _) = self.tokens.of(ctx, owner_id, owner.instance, PATH_CONTACT, out);
        let uri = self.token_uri(&name);
        self.edit.append(msg, b"Path", &[b"<", &uri, b";lr>"]);
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
        let associated: Vec<_> = msg.addrs(HeaderId::PAssociatedUri).flatten().take(MAX_CONTACTS).collect();
        let associated = associated.into_iter().filter_map(|a| identity(a.uri)).map(Into::into).collect();
        self.tokens.bind(owner_id, owner.instance, &aor, &bound, out);
        owner.admit(&aor, self.tokens.registered_until(owner_id, &aor), associated);
        owner.set_service_routes(msg);
    }
}
