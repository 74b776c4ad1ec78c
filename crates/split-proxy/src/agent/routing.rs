//! What happens to each message on its way between phones and tunnel.

use super::{Agent, State, phones};
use crate::calls::Passing;
use crate::half::{begins_dialog, from_tunnel, is_at, own_routes};
use crate::keys::LaneKeys;
use crate::links::Link;
use causeway_node::{Ctx, Outbox, Time};
use causeway_sip::proxy::Identity;
use causeway_sip::transaction::{Hop, ServerId, Transport};
use causeway_sip::{HeaderId, Message, Method, Uri};
use std::net::SocketAddr;

impl Agent {
    pub(super) fn reply(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        status: u16,
        reason: Option<&str>,
        out: &mut Outbox,
    ) {
        let retry: &[(&str, &[u8])] = if status == 503 { &[("Retry-After", b"5")] } else { &[] };
        let (core, mut wire) = self.half.split(out);
        core.reply(ctx, id, status, reason, retry, &mut wire);
    }

    /// A request from the LAN: into the tunnel, or into the queue while there is none.
    pub(super) fn on_phone_request(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        from: Hop,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        self.phones.learn(ctx.now, msg, from);
        let uri = Uri::parse(msg.request_uri());
        let for_us = uri.is_some_and(|uri| uri.user.is_none() && is_at(&uri, self.config.listen));
        if for_us && msg.method() == Method::Options {
            return self.reply(ctx, id, 200, None, out);
        }
        if self.draining && msg.method() == Method::Invite && msg.to_tag().is_none() {
            return self.reply(ctx, id, 503, Some("Shutting Down"), out);
        }
        match self.link_for(msg, true) {
            Some(link) => self.forward_up(ctx, id, message, from, link, out),
            None if self.waiting.len() < self.config.queue => {
                self.waiting.push_back((id, ctx.now + self.config.patience));
                if self.uplink.state == State::Idle {
                    self.uplink.begin(ctx, &self.config, out);
                }
            }
            None => self.reply(ctx, id, 503, Some("No Tunnel To The Operator"), out),
        }
    }

    fn forward_up(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        from: Hop,
        link: usize,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        let Some(hop) = self.half.links.get(link).map(Link::hop) else { return };
        self.edit.clear();
        self.edit.remove_top(msg, HeaderId::Route, own_routes(msg, self.config.listen));
        if msg.method() == Method::Register && !msg.has_token(HeaderId::Supported, b"path") {
            self.edit.append(msg, b"Supported", &[b"path"]);
        }
        self.note_moving(id, msg, link);
        let mut passing = passing(ctx.now, link, message, true, Some(from.peer));
        passing.keys = self.lane_keys(link, msg, true);
        if self.lacks_key(link, msg, passing.keys) {
            return self.reply(ctx, id, 403, Some("User Key Demanded But Not In Force"), out);
        }
        self.forward(ctx, id, &passing, hop, out);
    }

    /// Offers what has waited to the new tunnel.
    pub(super) fn offer_again(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        let Some(link) = self.link() else { return };
        for (id, _) in std::mem::take(&mut self.waiting) {
            let request = self.half.core.request(id).cloned().zip(self.half.core.from(id));
            if let Some((message, from)) = request
                && !self.half.core.is_over(id)
            {
                self.forward_up(ctx, id, &message, from, link, out);
            }
        }
    }

    /// A request out of the tunnel, for a phone.
    pub(super) fn on_tunnel_request(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        from: Hop,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        let Some(link) = self.half.links.of(&from) else { return };
        if self.comes_late(ctx.now, link, msg) {
            return self.reply(ctx, id, 480, Some("Reached Another Way"), out);
        }
        let Some(hop) = self.phone_hop(ctx.now, msg.request_uri(), out) else {
            return self.reply(ctx, id, 480, Some("Phone Not Reachable"), out);
        };
        self.edit.clear();
        self.edit.remove_top(msg, HeaderId::Route, own_routes(msg, self.config.listen));
        if begins_dialog(msg) {
            let route = record_route(&self.name, hop.transport);
            self.edit.insert_above(msg, HeaderId::RecordRoute, b"Record-Route", &[route.as_bytes()]);
        }
        let mut passing = passing(ctx.now, link, message, false, Some(hop.peer));
        passing.keys = self.lane_keys(link, msg, false);
        // The caller is forbidden nothing, and may find it otherwise in a moment.
        if self.lacks_key(link, msg, passing.keys) {
            return self.reply(ctx, id, 480, Some("User Key Demanded But Not In Force"), out);
        }
        self.forward(ctx, id, &passing, hop, out);
    }

    /// Sends an edited request on, its description rewritten; refuses it where its media cannot pass.
    fn forward(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        passing: &Passing<'_>,
        hop: Hop,
        out: &mut Outbox,
    ) {
        match self.half.calls.request(Some(id), passing, &mut self.half.links, out) {
            Ok(Some(body)) => self.edit.set_body(passing.msg, &body),
            Ok(None) => {}
            Err(why) => return self.reply(ctx, id, why.status(), Some(&why.to_string()), out),
        }
        let identity = Identity { sent_by: self.name.as_bytes(), branch_suffix: b"", key: self.key.as_ref() };
        let (core, mut wire) = self.half.split(out);
        core.forward(ctx, id, hop, identity, &mut self.edit, &mut wire);
    }

    /// Where a contact of a phone is: where it has been heard from, else where it says.
    fn phone_hop(&mut self, now: Time, contact: &[u8], out: &mut Outbox) -> Option<Hop> {
        if let Some(hop) = self.phones.find(contact).filter(|hop| self.half.hub.is_alive(hop)) {
            return Some(hop);
        }
        let (peer, transport) = phones::address(contact)?;
        (peer != self.config.listen).then(|| self.half.hub.hop(now, peer, transport, out))
    }

    pub(super) fn response(&mut self, ctx: &mut Ctx<'_>, id: ServerId, message: &Message, out: &mut Outbox) {
        let msg = message.msg();
        let Some(asker) = self.half.core.from(id) else { return };
        let asked_in_dialog = self.half.core.request(id).is_some_and(|r| r.msg().to_tag().is_some());
        let from_phone = !from_tunnel(&asker);
        self.edit.clear();
        let status = msg.status().unwrap_or(500);
        if from_phone {
            self.phone_is_answered(ctx, message, asker, asked_in_dialog, out);
            self.registration_answered(ctx, id, msg, out);
        } else {
            if let Some(phone) = self.phone_of(ctx.now, id, out) {
                self.phones.learn(ctx.now, msg, phone);
            }
            let ours = |value: &[u8]| crate::half::leads_to(value, self.config.listen);
            self.edit.remove_values(msg, HeaderId::RecordRoute, ours);
        }
        let link = match from_phone {
            true => self.half.calls.link_of(id).or_else(|| self.link()),
            false => self.half.links.of(&asker),
        };
        if let Some(link) = link {
            let phone = if from_phone { Some(asker) } else { self.phone_of(ctx.now, id, out) };
            let near = phone.map(|hop| hop.peer);
            let passing = passing(ctx.now, link, message, from_phone, near);
            if let Some(body) = self.half.calls.response(id, &passing, &mut self.half.links, out) {
                self.edit.set_body(msg, &body);
            }
        } else if status >= 200 {
            self.half.calls.ended(ctx.now, id, &mut self.half.links, out);
        }
        let (core, mut wire) = self.half.split(out);
        core.relay(ctx.now, id, message, &mut self.edit, &mut wire);
    }

    /// The phone's own hop in a request that went to it.
    fn phone_of(&mut self, now: Time, id: ServerId, out: &mut Outbox) -> Option<Hop> {
        let uri = self.half.core.request(id)?.msg().request_uri().to_vec();
        self.phone_hop(now, &uri, out)
    }

    /// A phone must send further requests of a dialog through here: it takes its route set from the bottom
    /// of Record-Route up (RFC 3261 §12.1.2), so that ours stands there. Nobody else gets to see it.
    pub(super) fn phone_is_answered(
        &mut self,
        ctx: &Ctx<'_>,
        message: &Message,
        asker: Hop,
        asked_in_dialog: bool,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        let status = msg.status().unwrap_or(500);
        if (101..300).contains(&status) && begins_dialog(msg) && !asked_in_dialog {
            let route = record_route(&self.name, asker.transport);
            self.edit.append(msg, b"Record-Route", &[route.as_bytes()]);
        }
        if (200..300).contains(&status) {
            self.phones.registered(ctx, msg, out);
            self.demand.learn(ctx.now, msg);
        }
    }

    pub(super) fn ack(&mut self, ctx: &mut Ctx<'_>, message: &Message, from: Hop, out: &mut Outbox) {
        let msg = message.msg();
        let from_phone = !from_tunnel(&from);
        let link = if from_phone { self.link_for(msg, true) } else { self.half.links.of(&from) };
        let Some(link) = link else { return };
        let hop = match from_phone {
            true => self.half.links.get(link).map(Link::hop),
            false => self.phone_hop(ctx.now, msg.request_uri(), out),
        };
        let Some(hop) = hop else { return };
        self.edit.clear();
        self.edit.remove_top(msg, HeaderId::Route, own_routes(msg, self.config.listen));
        let passing =
            passing(ctx.now, link, message, from_phone, Some(if from_phone { from.peer } else { hop.peer }));
        match self.half.calls.request(None, &passing, &mut self.half.links, out) {
            Ok(Some(body)) => self.edit.set_body(msg, &body),
            Ok(None) => {}
            Err(_) => self.edit.set_body(msg, b""),
        }
        let identity = Identity { sent_by: self.name.as_bytes(), branch_suffix: b"", key: None };
        let (core, mut wire) = self.half.split(out);
        core.forward_ack(ctx, message, hop, identity, &mut self.edit, &mut wire);
    }
}

fn record_route(name: &str, transport: Transport) -> String {
    match transport {
        Transport::Tcp => format!("<sip:{name};transport=tcp;lr>"),
        _ => format!("<sip:{name};lr>"),
    }
}

fn passing<'a>(
    now: Time,
    link: usize,
    message: &'a Message,
    from_phone: bool,
    near: Option<SocketAddr>,
) -> Passing<'a> {
    // Phones may send their media wherever they like on their own LAN.
    let near = near.map(|address| address.ip());
    let (msg, keys) = (message.msg(), LaneKeys::default());
    Passing { now, link, msg, from_phone, near, nonce: [0; 12], allowed: &|_| true, keys }
}
