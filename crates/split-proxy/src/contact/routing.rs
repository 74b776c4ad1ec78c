//! Requests on their way between tunnel and operator.

use super::admission::{self, Denied};
use super::contacts::PATH_CONTACT;
use super::owners::DialogKey;
use super::{ContactPoint, Mode, loops};
use crate::calls::Passing;
use crate::half::{from_tunnel, is_at, own_routes};
use crate::links::Link;
use causeway_node::{Ctx, Outbox};
use causeway_sip::proxy::Identity;
use causeway_sip::transaction::{Hop, ServerId, Transport};
use causeway_sip::{HeaderId, Message, Method, Msg, Uri};
use std::net::IpAddr;

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
        self.counters.deny(denied);
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
        if self.lacks_key(link, msg, self.lane_keys(link, msg, true)) {
            return self.reply(ctx, id, 403, "User Key Demanded But Not In Force", out);
        }
        match self.pass_request(Some(id), ctx, link, msg, true, out) {
            Ok(Some(body)) => self.edit.set_body(msg, &body),
            Ok(None) => {}
            Err((status, reason)) => return self.reply(ctx, id, status, &reason, out),
        }
        let hop = self.upstream(ctx, msg, dialog.is_some(), routed, out);
        let identity = Identity {
            sent_by: self.name.as_bytes(),
            branch_suffix: mark.as_bytes(),
            key: self.key.as_ref(),
        };
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
        if self.lacks_key(link, msg, self.lane_keys(link, msg, false)) {
            return self.reply(ctx, id, 480, "User Key Demanded But Not In Force", out);
        }
        match self.pass_request(Some(id), ctx, link, msg, false, out) {
            Ok(Some(body)) => self.edit.set_body(msg, &body),
            Ok(None) => {}
            Err((status, reason)) => return self.reply(ctx, id, status, &reason, out),
        }
        let identity = Identity {
            sent_by: self.name.as_bytes(),
            branch_suffix: mark.as_bytes(),
            key: self.key.as_ref(),
        };
        let (core, mut wire) = self.half.split(out);
        core.forward(ctx, id, hop, identity, &mut self.edit, &mut wire);
    }

    /// An ACK for a 2xx, in a dialog that both sides know.
    pub(super) fn ack(&mut self, ctx: &mut Ctx<'_>, message: &Message, from: Hop, out: &mut Outbox) {
        let msg = message.msg();
        let identity_name = self.name.clone();
        let identity = Identity { sent_by: identity_name.as_bytes(), branch_suffix: b"", key: None };
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
            match self.pass_request(None, ctx, link, msg, true, out) {
                Ok(Some(body)) => self.edit.set_body(msg, &body),
                Ok(None) => {}
                Err(_) => self.edit.set_body(msg, b""),
            }
            self.upstream(ctx, msg, true, routed, out)
        } else {
            if !self.is_trusted(&from, msg) {
                self.counters.foreign += 1;
                return;
            }
            let Some((hop, link)) = self.route_to_phone(msg) else { return };
            self.edit_for_phone(msg);
            match self.pass_request(None, ctx, link, msg, false, out) {
                Ok(Some(body)) => self.edit.set_body(msg, &body),
                Ok(None) => {}
                Err(_) => self.edit.set_body(msg, b""),
            }
            hop
        };
        let (core, mut wire) = self.half.split(out);
        core.forward_ack(ctx, message, hop, identity, &mut self.edit, &mut wire);
    }

    /// Whether a request from the network side is the operator's, or our own in a dialog between two phones.
    fn is_trusted(&self, from: &Hop, msg: Msg<'_>) -> bool {
        self.is_operator(from.peer.ip()) || (from.peer == self.config.sip && msg.to_tag().is_some())
    }

    /// Whether an address is one of the operator's elements.
    pub(super) fn is_operator(&self, ip: IpAddr) -> bool {
        ip == self.config.upstream.ip() || self.config.sip_allow.iter().any(|cidr| cidr.contains(ip))
    }

    fn pass_request(
        &mut self,
        id: Option<ServerId>,
        ctx: &mut Ctx<'_>,
        link: usize,
        msg: Msg<'_>,
        from_phone: bool,
        out: &mut Outbox,
    ) -> Result<Option<Vec<u8>>, (u16, String)> {
        let (config, keys) = (&self.config, self.lane_keys(link, msg, from_phone));
        let allowed = |to| config.media_allowed(to);
        let nonce = ctx.random();
        let passing =
            Passing { now: ctx.now, link, msg, from_phone, near: None, nonce, allowed: &allowed, keys };
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

    pub(super) fn owner_of(&self, request: Msg<'_>) -> Option<usize> {
        Some(self.tokens.get(self.token_of(request)?)?.owner)
    }

    /// The tunnel that a request from the operator goes into.
    fn route_to_phone(&self, msg: Msg<'_>) -> Option<(Hop, usize)> {
        let link = self.owners.get(self.owner_of(msg)?)?.link?;
        let hop = self.half.links.get(link).filter(|link| link.tunnel.lives()).map(Link::hop)?;
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
}
