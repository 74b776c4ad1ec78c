//! The customer's half: an outbound proxy for the phones of a LAN, and the tunnel that it keeps.

mod config;
mod phones;
mod status;
mod uplink;

pub use config::AgentConfig;

use crate::calls::Passing;
use crate::half::{Half, begins_dialog, from_tunnel, is_at, own_routes};
use causeway_node::{Answer, Ctx, Flow, Input, Level, Node, Outbox, Status, Time};
use causeway_sip::proxy::{Event, Identity};
use causeway_sip::transaction::{Hop, ServerId, Transport};
use causeway_sip::{Edit, HeaderId, Message, Method};
use causeway_tunnel::{GoodbyeReason, Instance};
use phones::Phones;
use std::collections::VecDeque;
use std::net::SocketAddr;
use uplink::{State, Uplink};

/// The customer's half of the split proxy; see the [crate's page](crate).
pub struct Agent {
    config: AgentConfig,
    half: Half,
    uplink: Uplink,
    phones: Phones,
    /// Requests from phones that wait for the tunnel, and until when.
    waiting: VecDeque<(ServerId, Time)>,
    sweep: Time,
    draining: bool,
    /// `host:port` of the LAN side, as it stands in Via and Record-Route.
    name: String,
    edit: Edit,
}

impl Agent {
    /// An agent that has not started yet.
    pub fn new(config: AgentConfig) -> Self {
        let half =
            Half::new(config.listen, config.timing, config.tunnel.clone(), config.media, config.limits);
        Self {
            name: config.listen.to_string(),
            half,
            uplink: Uplink::new(),
            phones: Phones::default(),
            waiting: VecDeque::new(),
            sweep: Time::ZERO,
            draining: false,
            edit: Edit::new(),
            config,
        }
    }

    /// Whether the tunnel is up.
    pub fn is_up(&self) -> bool {
        self.uplink.link().is_some()
    }

    fn start(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        if self.config.tunnel.instance.is_none() {
            let instance = self.config.instance.unwrap_or_else(|| Instance(ctx.random()));
            self.config.tunnel.instance = Some(instance);
            let c = &self.config;
            self.half = Half::new(c.listen, c.timing, c.tunnel.clone(), c.media, c.limits);
        }
        self.half.start(ctx.now, out);
        self.sweep = ctx.now + crate::half::SWEEP;
        self.uplink.begin(&self.config, out);
    }

    fn stream(&mut self, ctx: &mut Ctx<'_>, flow: Flow, bytes: &[u8], out: &mut Outbox) {
        let Some(id) = self.half.links.id(flow) else { return };
        let heard = self.half.tunnel_bytes(ctx.now, id, bytes, out);
        if heard.up {
            self.uplink.up();
            out.notice(Level::Info, format!("tunnel to {} is up", self.config.contact_host));
            self.offer_again(ctx, out);
        }
        self.receive(ctx, out);
        if let Some(why) = heard.dead {
            if heard.unwanted {
                self.uplink.be_patient();
            }
            self.lose_tunnel(ctx, id, why, true, out);
        }
    }

    fn lose_tunnel(&mut self, ctx: &mut Ctx<'_>, id: usize, why: String, open: bool, out: &mut Outbox) {
        self.half.drop_link(ctx.now, id, open, out);
        self.uplink.fail(ctx, &self.config, format!("the tunnel is lost: {why}"), out);
        self.events(ctx, out);
    }

    /// Hands what has arrived to the core.
    fn receive(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        for (hop, message) in std::mem::take(&mut self.half.arrived) {
            let (core, mut wire) = self.half.split(out);
            core.receive(ctx, hop, message, &mut wire);
        }
        self.events(ctx, out);
        for id in self.half.links.take_stuck() {
            self.lose_tunnel(ctx, id, "the contact point does not read".to_owned(), true, out);
        }
    }

    fn events(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        while let Some(event) = self.half.core.poll() {
            match event {
                Event::Request { id, message, from } if from_tunnel(&from) => {
                    self.on_tunnel_request(ctx, id, &message, from, out);
                }
                Event::Request { id, message, from } => self.on_phone_request(ctx, id, &message, from, out),
                Event::Response { id, message, .. } => self.response(ctx, id, &message, out),
                Event::Ack { message, from } => self.ack(ctx, &message, from, out),
                Event::Answered { id, .. } | Event::Ended { id } => {
                    self.half.calls.ended(id, &mut self.half.links, out);
                }
                Event::Exhausted { id } => {
                    let (core, mut wire) = self.half.split(out);
                    core.conclude(ctx.now, id, &mut wire);
                }
                Event::Cancelled { .. } => {}
            }
        }
    }

    fn reply(
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
    fn on_phone_request(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        from: Hop,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        self.phones.learn(ctx.now, msg, from);
        let uri = causeway_sip::Uri::parse(msg.request_uri());
        let for_us = uri.is_some_and(|uri| uri.user.is_none() && is_at(&uri, self.config.listen));
        if for_us && msg.method() == Method::Options {
            return self.reply(ctx, id, 200, None, out);
        }
        if self.draining && msg.method() == Method::Invite && msg.to_tag().is_none() {
            return self.reply(ctx, id, 503, Some("Shutting Down"), out);
        }
        match self.uplink.link() {
            Some(link) => self.forward_up(ctx, id, message, from, link, out),
            None if self.waiting.len() < self.config.queue => {
                self.waiting.push_back((id, ctx.now + self.config.patience));
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
        let Some(hop) = self.half.links.get(link).map(crate::links::Link::hop) else { return };
        self.edit.clear();
        self.edit.remove_top(msg, HeaderId::Route, own_routes(msg, self.config.listen));
        if msg.method() == Method::Register && !msg.has_token(HeaderId::Supported, b"path") {
            self.edit.append(msg, b"Supported", &[b"path"]);
        }
        let passing = passing(ctx.now, link, message, true, Some(from.peer));
        match self.half.calls.request(Some(id), &passing, &mut self.half.links, out) {
            Ok(Some(body)) => self.edit.set_body(msg, &body),
            Ok(None) => {}
            Err(why) => return self.reply(ctx, id, why.status(), Some(&why.to_string()), out),
        }
        let identity = Identity { sent_by: self.name.as_bytes(), branch_suffix: b"" };
        let (core, mut wire) = self.half.split(out);
        core.forward(ctx, id, hop, identity, &mut self.edit, &mut wire);
    }

    /// Offers what has waited to the new tunnel.
    fn offer_again(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        let Some(link) = self.uplink.link() else { return };
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
    fn on_tunnel_request(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        from: Hop,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        let Some(link) = self.half.links.of(&from) else { return };
        let Some(hop) = self.phone_hop(ctx.now, msg.request_uri(), out) else {
            return self.reply(ctx, id, 480, Some("Phone Not Reachable"), out);
        };
        self.edit.clear();
        self.edit.remove_top(msg, HeaderId::Route, own_routes(msg, self.config.listen));
        if begins_dialog(msg) {
            let route = record_route(&self.name, hop.transport);
            self.edit.insert_above(msg, HeaderId::RecordRoute, b"Record-Route", &[route.as_bytes()]);
        }
        let passing = passing(ctx.now, link, message, false, None);
        match self.half.calls.request(Some(id), &passing, &mut self.half.links, out) {
            Ok(Some(body)) => self.edit.set_body(msg, &body),
            Ok(None) => {}
            Err(why) => return self.reply(ctx, id, why.status(), Some(&why.to_string()), out),
        }
        let identity = Identity { sent_by: self.name.as_bytes(), branch_suffix: b"" };
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

    fn response(&mut self, ctx: &mut Ctx<'_>, id: ServerId, message: &Message, out: &mut Outbox) {
        let msg = message.msg();
        let Some(asker) = self.half.core.from(id) else { return };
        let asked_in_dialog = self.half.core.request(id).is_some_and(|r| r.msg().to_tag().is_some());
        let from_phone = !from_tunnel(&asker);
        self.edit.clear();
        let status = msg.status().unwrap_or(500);
        if from_phone {
            self.phone_is_answered(ctx.now, message, asker, asked_in_dialog);
        } else {
            if let Some(phone) = self.phone_of(ctx.now, id, out) {
                self.phones.learn(ctx.now, msg, phone);
            }
            let ours = |value: &[u8]| crate::half::leads_to(value, self.config.listen);
            self.edit.remove_values(msg, HeaderId::RecordRoute, ours);
        }
        let link = if from_phone { self.uplink.link() } else { self.half.links.of(&asker) };
        if let Some(link) = link {
            let near = self.phone_of(ctx.now, id, out).filter(|_| !from_phone).map(|hop| hop.peer);
            let passing = passing(ctx.now, link, message, from_phone, near);
            if let Some(body) = self.half.calls.response(id, &passing, &mut self.half.links, out) {
                self.edit.set_body(msg, &body);
            }
        } else if status >= 200 {
            self.half.calls.ended(id, &mut self.half.links, out);
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
    fn phone_is_answered(&mut self, now: Time, message: &Message, asker: Hop, asked_in_dialog: bool) {
        let msg = message.msg();
        let status = msg.status().unwrap_or(500);
        if (101..300).contains(&status) && begins_dialog(msg) && !asked_in_dialog {
            let route = record_route(&self.name, asker.transport);
            self.edit.append(msg, b"Record-Route", &[route.as_bytes()]);
        }
        if (200..300).contains(&status) {
            self.phones.registered(now, msg);
        }
    }

    fn ack(&mut self, ctx: &mut Ctx<'_>, message: &Message, from: Hop, out: &mut Outbox) {
        let msg = message.msg();
        let from_phone = !from_tunnel(&from);
        let link = if from_phone { self.uplink.link() } else { self.half.links.of(&from) };
        let Some(link) = link else { return };
        let hop = match from_phone {
            true => self.half.links.get(link).map(crate::links::Link::hop),
            false => self.phone_hop(ctx.now, msg.request_uri(), out),
        };
        let Some(hop) = hop else { return };
        self.edit.clear();
        self.edit.remove_top(msg, HeaderId::Route, own_routes(msg, self.config.listen));
        let passing = passing(ctx.now, link, message, from_phone, from_phone.then_some(from.peer));
        if let Ok(Some(body)) = self.half.calls.request(None, &passing, &mut self.half.links, out) {
            self.edit.set_body(msg, &body);
        }
        let identity = Identity { sent_by: self.name.as_bytes(), branch_suffix: b"" };
        let (core, mut wire) = self.half.split(out);
        core.forward_ack(ctx, message, hop, identity, &mut self.edit, &mut wire);
    }

    fn timeout(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        for (id, why) in self.half.timeout(ctx.now, out) {
            self.lose_tunnel(ctx, id, why.to_string(), true, out);
        }
        self.uplink.timeout(ctx, &self.config, out);
        while self.waiting.front().is_some_and(|(_, until)| *until <= ctx.now) {
            if let Some((id, _)) = self.waiting.pop_front() {
                self.reply(ctx, id, 503, Some("No Tunnel To The Operator"), out);
            }
        }
        if ctx.now >= self.sweep {
            self.sweep = ctx.now + crate::half::SWEEP;
            self.phones.sweep(ctx.now);
        }
        self.events(ctx, out);
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>, flow: Flow, why: &str, out: &mut Outbox) {
        if self.uplink.awaits(flow) {
            self.uplink.refused(ctx, &self.config, why, out);
        } else if let Some(id) = self.half.links.id(flow) {
            self.lose_tunnel(ctx, id, why.to_owned(), false, out);
        }
    }

    fn drain(&mut self, out: &mut Outbox) {
        self.draining = true;
        if !self.drained() {
            return;
        }
        if let State::Open { link, .. } = self.uplink.state
            && let Some(link) = self.half.links.get_mut(link)
        {
            link.tunnel.goodbye(GoodbyeReason::ShuttingDown, "the agent stops");
            out.wake(link.flow);
        }
        self.uplink.state = State::Stopped;
    }
}

impl Node for Agent {
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        if self.half.input(ctx, &input, out) {
            if !self.half.arrived.is_empty() || matches!(input, Input::Closed { .. }) {
                self.receive(ctx, out);
            }
            return;
        }
        match input {
            Input::Start => self.start(ctx, out),
            Input::Stream { flow, bytes } => self.stream(ctx, flow, bytes, out),
            Input::Opened { flow, peer, .. } if self.uplink.awaits(flow) => {
                let link = self.half.new_link(ctx, flow, peer, out);
                self.uplink.opened(ctx.now, link);
            }
            Input::Closed { flow, why } => self.closed(ctx, flow, why, out),
            Input::Answer { question, answer: Answer::Addresses(addresses, why) } => {
                self.uplink.answer(ctx, &self.config, question, addresses, why, out);
            }
            Input::Timeout => self.timeout(ctx, out),
            Input::Drain => self.drain(out),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        let queue = self.waiting.front().map(|(_, until)| *until);
        [self.half.deadline(), self.uplink.deadline(), queue, Some(self.sweep)].into_iter().flatten().min()
    }

    fn fill(&mut self, ctx: &mut Ctx<'_>, flow: Flow, room: usize, buf: &mut Vec<u8>) {
        self.half.fill(ctx.now, flow, room, buf);
    }

    fn media_active(&self) -> bool {
        self.half.calls.media.pool.used() > 0
    }

    fn status(&self, now: Time) -> Status {
        status::report(self, now)
    }

    fn drained(&self) -> bool {
        self.half.calls.len() == 0 && self.half.core.is_empty()
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
    Passing { now, link, msg: message.msg(), from_phone, near: near.map(|a| a.ip()), allowed: &|_| true }
}
