//! What the exchange serves itself beside registrations: events and kept messages; and the requests of its own
//! that come of it.

use super::registering::{Promise, Promised};
use super::{Exchange, Waiting};
use crate::config::Config;
use crate::events::{Action, Asked, Events, RegEvent, RegInfo};
use crate::gruu;
use crate::identity::Sender;
use crate::keys::Keys;
use crate::location::Location as Bindings;
use crate::messages::{Messages, Target};
use crate::resolver::{Location, Pending};
use crate::route;
use causeway_node::{Ctx, DnsRecord, Outbox};
use causeway_sip::proxy::Identity;
use causeway_sip::transaction::{ClientId, Failure, Hop, ServerId, Transport};
use causeway_sip::{HeaderId, Message, Method, NameAddr, Uri};
use causeway_store::record::Binding;

/// A request of our own whose next hop is being asked for.
pub(super) struct Unsent {
    token: u64,
    request: Vec<u8>,
    pending: Pending,
}

impl Exchange {
    /// Serves a SUBSCRIBE or PUBLISH of a package of ours; says whether it was one.
    pub(super) fn serve(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        sender: &Sender,
        out: &mut Outbox,
    ) -> bool {
        let msg = message.msg();
        let event = msg.header(HeaderId::Event).unwrap_or_default();
        let Some(uri) = Uri::parse(msg.request_uri()).filter(|uri| route::is_local(&self.config, uri)) else {
            return false;
        };
        let ours = match msg.method() {
            Method::Subscribe => Events::handles(event),
            Method::Publish => true,
            _ => false,
        };
        let Some(from) = self.core.from(id).filter(|_| ours) else { return false };
        let named = msg.from().and_then(|addr| addr.uri()).map(|uri| uri.aor()).unwrap_or_default();
        let who = sender.aors.first().map_or(named, |own| own.clone().into_bytes());
        let resource = route::aor(&self.config, &uri).unwrap_or_default();
        let local = match (from.transport, self.config.tls) {
            (Transport::Tls, Some(tls)) => format!("{tls};transport=tls"),
            (Transport::Tcp, _) => format!("{};transport=tcp", self.config.sip),
            _ => self.config.sip.to_string(),
        };
        let asked = Asked { id, msg, resource: &resource, who: &who, from, local: &local };
        let (config, keys, location) = (&self.config, &self.keys, &self.location);
        let bindings = |aor: &[u8]| present(config, keys, location, aor);
        self.events.request(ctx, asked, &bindings, &mut self.actions);
        self.act(ctx, out);
        true
    }

    /// The beginning of a run: what was stored is taken up again.
    pub(super) fn resume(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        let (config, keys, location) = (&self.config, &self.keys, &self.location);
        self.events.resume(ctx, &|aor| present(config, keys, location, aor), &mut self.actions);
        self.messages.resume(ctx, &mut self.actions);
        self.act(ctx, out);
    }

    /// The contacts of a user have changed: those bound now, after those of `before`.
    pub(super) fn tell_registration(
        &mut self,
        ctx: &mut Ctx<'_>,
        aor: &[u8],
        before: &[Binding],
        why: RegEvent,
        out: &mut Outbox,
    ) {
        let now = self.location.get(aor);
        let same = |a: &Binding, b: &Binding| a.contact == b.contact && a.reg_id == b.reg_id;
        let mut told: Vec<RegInfo> = now
            .iter()
            .map(|binding| {
                let old = before.iter().find(|old| same(old, binding));
                let event = match old {
                    None => RegEvent::Created,
                    Some(_) => RegEvent::Refreshed,
                };
                info(&self.config, &self.keys, aor, binding, event)
            })
            .collect();
        let ended = before.iter().filter(|old| !now.iter().any(|binding| same(old, binding)));
        told.extend(ended.map(|binding| info(&self.config, &self.keys, aor, binding, why)));
        self.events.registered(ctx, aor, &told, &mut self.actions);
        self.act(ctx, out);
    }

    /// What waits for a user is delivered now that he is there.
    pub(super) fn deliver_kept(&mut self, ctx: &mut Ctx<'_>, aor: &[u8], out: &mut Outbox) {
        if self.messages.waiting(aor) == 0 {
            return;
        }
        let Some(binding) = self.location.get(aor).iter().max_by_key(|binding| binding.since) else { return };
        let target = Target {
            uri: binding.contact.as_bytes().to_vec(),
            routes: binding.path.iter().map(|path| path.clone().into_bytes()).collect(),
            received: super::routing::flow_of(binding)
                .and_then(|(peer, transport)| self.hub.existing(peer, transport)),
        };
        self.messages.registered(ctx, aor, target, &mut self.actions);
        self.act(ctx, out);
    }

    /// Keeps a MESSAGE for a user who is not there, if the policy says so; says whether it took it.
    pub(super) fn keep_message(&mut self, ctx: &mut Ctx<'_>, id: ServerId, out: &mut Outbox) -> bool {
        let Some(message) = self.core.request(id).cloned() else { return false };
        let msg = message.msg();
        let aor = Uri::parse(msg.request_uri()).and_then(|uri| route::aor(&self.config, &uri));
        // One inside a dialog has shown no credentials, and is nothing without its dialog.
        let begins = msg.method() == Method::Message && msg.to_tag().is_none();
        let wanted = self.config.policy.keep_messages && begins;
        let Some(aor) = aor.filter(|_| wanted) else { return false };
        self.messages.keep(ctx, id, msg, &aor, &mut self.actions);
        self.act(ctx, out);
        true
    }

    /// What is due at the event server and the message store.
    pub(super) fn serve_timeouts(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        self.events.timeout(ctx, &mut self.actions);
        self.messages.timeout(ctx, &mut self.actions);
        self.act(ctx, out);
    }

    /// Carries out what has been decided, in order: what stands behind a record waits for it.
    fn act(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        while !self.actions.is_empty() {
            let mut actions = std::mem::take(&mut self.actions);
            for action in actions.drain(..) {
                let promised = match action {
                    Action::Persist(record) => {
                        self.unwritten = Some(out.persist(record));
                        continue;
                    }
                    Action::Reply { id, status, response } => Promised::Answer { id, status, response },
                    Action::Send { token, request, received } => Promised::Send { token, request, received },
                };
                match self.unwritten {
                    Some(seq) => self.promises.push_back(Promise { seq, promised }),
                    None => self.keep_promise(ctx, promised, out),
                }
            }
            if self.actions.is_empty() {
                self.actions = actions;
            }
        }
    }

    /// Sends a request of our own.
    pub(super) fn send_own(
        &mut self,
        ctx: &mut Ctx<'_>,
        token: u64,
        request: Vec<u8>,
        received: Option<Hop>,
        out: &mut Outbox,
    ) {
        let Ok(message) = Message::parse(request.as_slice()) else {
            return self.outcome(ctx, token, None, out);
        };
        let route = message.msg().values(HeaderId::Route).next();
        let flow = received.filter(|hop| route.is_none() && self.hub.is_alive(hop));
        if let Some(hop) = flow {
            return self.send_own_to(ctx, token, &request, hop, out);
        }
        let next = route.and_then(NameAddr::parse).map_or(message.msg().request_uri(), |addr| addr.uri);
        let location = match Uri::parse(next) {
            Some(uri) => self.resolver.locate(ctx.now, &uri, ctx.rng).ok(),
            None => None,
        };
        self.own_located(ctx, token, request, location, out);
    }

    /// DNS has answered for a request of our own.
    pub(super) fn own_answered(
        &mut self,
        ctx: &mut Ctx<'_>,
        unsent: Unsent,
        records: Vec<DnsRecord>,
        ttl: u32,
        out: &mut Outbox,
    ) {
        let location = self.resolver.go_on(ctx.now, unsent.pending, records, ttl, ctx.rng);
        self.own_located(ctx, unsent.token, unsent.request, Some(location), out);
    }

    fn own_located(
        &mut self,
        ctx: &mut Ctx<'_>,
        token: u64,
        request: Vec<u8>,
        location: Option<Location>,
        out: &mut Outbox,
    ) {
        match location {
            Some(Location::Found(candidates)) if !candidates.is_empty() => {
                let hop = self.hop(ctx.now, &candidates[0], out);
                self.send_own_to(ctx, token, &request, hop, out);
            }
            Some(Location::Asks(question, pending)) => {
                let unsent = Unsent { token, request, pending: *pending };
                if self.ask(Waiting::Own(Box::new(unsent)), question, out).is_none() {
                    self.outcome(ctx, token, None, out);
                }
            }
            _ => self.outcome(ctx, token, None, out),
        }
    }

    fn send_own_to(&mut self, ctx: &mut Ctx<'_>, token: u64, request: &[u8], hop: Hop, out: &mut Outbox) {
        let sent_by = if hop.transport == Transport::Tls { &self.sent_by_tls } else { &self.sent_by };
        let suffix = self.config.shard.mark();
        let identity = Identity { sent_by, branch_suffix: suffix.as_bytes(), key: None };
        let sent = self.core.send_own(ctx, hop, identity, request, &mut self.hub.sink(out));
        match sent {
            Some(client) => drop(self.own.insert(client, token)),
            None => self.outcome(ctx, token, None, out),
        }
    }

    /// A request of our own has been answered, or will not be.
    pub(super) fn own_outcome(
        &mut self,
        ctx: &mut Ctx<'_>,
        client: ClientId,
        outcome: Result<Message, Failure>,
        out: &mut Outbox,
    ) {
        let provisional = outcome.as_ref().is_ok_and(|m| m.msg().status().is_some_and(|status| status < 200));
        if provisional {
            return;
        }
        if let Some(token) = self.own.remove(&client) {
            self.outcome(ctx, token, outcome.ok().as_ref(), out);
        }
    }

    fn outcome(&mut self, ctx: &mut Ctx<'_>, token: u64, answer: Option<&Message>, out: &mut Outbox) {
        let answer = answer.map(Message::msg);
        match token {
            Messages::FIRST_TOKEN.. => self.messages.outcome(ctx, token, answer, &mut self.actions),
            _ => self.events.outcome(ctx, token, answer, &mut self.actions),
        }
        self.act(ctx, out);
    }
}

/// The present contacts of a user, as the event server tells them.
fn present(config: &Config, keys: &Keys, location: &Bindings, aor: &[u8]) -> Vec<RegInfo> {
    let bindings = location.get(aor).iter();
    bindings.map(|binding| info(config, keys, aor, binding, RegEvent::Registered)).collect()
}

fn info(config: &Config, keys: &Keys, aor: &[u8], binding: &Binding, event: RegEvent) -> RegInfo {
    let (public, temporary) = gruu::of(config, keys, aor, binding).unzip();
    RegInfo {
        pub_gruu: public.map(String::into_bytes),
        temp_gruu: temporary.map(|gruu| (gruu.into_bytes(), binding.cseq)),
        ..RegInfo::of(binding, event)
    }
}
