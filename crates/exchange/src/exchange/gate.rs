//! Who may send what: credentials, trust, and whose name a request may bear.

use super::shedding::EVEN;
use super::{Exchange, Waiting, log};
use crate::auth::{Auth, Ticket};
use crate::config::Foreign;
use crate::identity::Sender;
use crate::{route, throttle};
use causeway_node::{Answer, Credential, Credentials, Ctx, Level, Lookup, Outbox, Question};
use causeway_sip::transaction::{Hop, ServerId, Transport, respond_statelessly};
use causeway_sip::{HeaderId, Message, Method, Msg, Uri, response_to};
use std::net::IpAddr;

/// What a request must show.
pub(super) enum Demand {
    /// Nothing: it goes on for this sender.
    Nothing(Sender),
    /// Credentials of this domain.
    Credentials,
    /// Nothing would help.
    Refuse(u16),
}

/// What was found at the door about a request that is let in, so that nobody looks again.
pub(super) enum Found {
    /// It needs no credentials: it goes on for this sender.
    Sender(Sender),
    /// Credentials that may be right.
    Credential(Box<Credential>, Ticket),
}

/// The registrar challenges as the server that it is, all else is challenged by the proxy (RFC 3261 §22.3).
fn challenge_kind(msg: Msg<'_>) -> (u16, &'static str) {
    match msg.method() {
        Method::Register => (401, "WWW-Authenticate"),
        _ => (407, "Proxy-Authenticate"),
    }
}

impl Exchange {
    /// Lets a request go on, asks for credentials, or refuses it.
    pub(super) fn admit(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        from: Hop,
        out: &mut Outbox,
    ) {
        match self.found.take() {
            Some(Found::Sender(sender)) => return self.dispatch(ctx, id, message, sender, out),
            Some(Found::Credential(credential, ticket)) => {
                let client = self.client(message.msg(), from);
                return self.prove(ctx, id, (credential, ticket), client, out);
            }
            None => {}
        }
        match self.demand(message.msg(), from) {
            Demand::Nothing(sender) => self.dispatch(ctx, id, message, sender, out),
            Demand::Refuse(status) => self.reply(ctx, id, status, out),
            Demand::Credentials => self.examine(ctx, id, message, from, out),
        }
    }

    pub(super) fn demand(&self, msg: Msg<'_>, from: Hop) -> Demand {
        let anybody = Sender::default();
        if !self.config.authenticate {
            return Demand::Nothing(anybody);
        }
        if msg.method() == Method::Register {
            return Demand::Credentials;
        }
        let (own, inside) = route::own_routes(&self.config, &self.keys, msg);
        if let Some(inside) = inside.filter(|inside| inside.flow.is_some() || !self.names_a_user(msg, own)) {
            return Demand::Nothing(Sender { confined: !inside.to_trusted, ..anybody });
        }
        let trusted = self.trust.has(from.peer.ip(), self.names(&from));
        if trusted {
            return Demand::Nothing(Sender { trusted, ..anybody });
        }
        let ours = |uri: Option<Uri<'_>>| uri.is_some_and(|uri| route::is_local(&self.config, &uri));
        let to_us = ours(Uri::parse(msg.request_uri()));
        if msg.to_tag().is_some() && !matches!(msg.method(), Method::Subscribe | Method::Publish) {
            // Inside a dialog that did not begin here, or whose route is not the one given by us.
            // A tag must open no door that is closed without it; a GRUU is a door of its own (RFC 5627 §6.1).
            let gruu = to_us && Uri::parse(msg.request_uri()).is_some_and(|uri| uri.params.has(b"gr"));
            return match (gruu, msg.has(HeaderId::Route) && !to_us) {
                (true, _) => Demand::Nothing(anybody),
                (false, true) => Demand::Refuse(403),
                (false, false) => Demand::Refuse(481),
            };
        }
        let method = msg.method();
        let free = &self.config.policy.unauthenticated;
        match ours(msg.from().and_then(|addr| addr.uri())) {
            // Free towards our own users: beyond them we vouch for nobody.
            true if to_us && free.iter().any(|name| name.as_bytes() == method.as_bytes()) => {
                Demand::Nothing(anybody)
            }
            true => Demand::Credentials,
            false if to_us && self.config.policy.foreign == Foreign::Anybody => Demand::Nothing(anybody),
            false => Demand::Refuse(403),
        }
    }

    /// Whether a request is for whoever an address of record means just now: that is nobody's remote target (RFC 3261
    /// §8.1.1.8), so that being inside a dialog does not lead there.
    fn names_a_user(&self, msg: Msg<'_>, own: usize) -> bool {
        let uri = Uri::parse(msg.request_uri()).filter(|uri| !uri.params.has(b"gr"));
        route::route_after(msg, own).is_none()
            && uri.is_some_and(|uri| route::aor(&self.config, &uri).is_some())
    }

    /// The names that the peer of a hop has proved by its certificate.
    pub(super) fn names(&self, hop: &Hop) -> &[String] {
        match hop.transport {
            Transport::Tls => self.hub.names(hop.flow),
            _ => &[],
        }
    }

    /// A request that cannot go on as it is, is challenged or refused before it costs a transaction (RFC 3261 §8.2.7,
    /// §26.3.2.4): whoever it claims to come from gets one answer, and not the eleven that a transaction would send.
    /// Says whether it was.
    pub(super) fn turned_away_at_the_door(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: Hop,
        message: &Message,
        out: &mut Outbox,
    ) -> bool {
        let msg = message.msg();
        let begins = msg.is_request() && !matches!(msg.method(), Method::Ack | Method::Cancel);
        if !begins || self.draining {
            return false;
        }
        let Some((status, stale)) = self.fault(ctx.unix_ms, msg, from) else { return false };
        self.counters.request(msg.method());
        self.counters.answered_here(status);
        log::outcome(out, msg, format_args!("answered={status} from={}", from.peer));
        let (name, values) = match status {
            401 | 407 => {
                self.counters.challenged += 1;
                let client = self.client(msg, from);
                (challenge_kind(msg).1, self.gatekeeper.challenges(ctx, &self.keys, client, stale))
            }
            _ => ("", Vec::new()),
        };
        let answer = |msg: Msg<'_>| {
            let response = response_to(msg, status, None, Some(&self.tags.tag(msg)));
            response.headers(name, &values).finish_even(EVEN)
        };
        respond_statelessly(from, msg, answer, &mut self.hub.sink(out));
        true
    }

    /// What a request is turned away with, everything else being right; and whether its nonce is at fault. Of one that is
    /// let in, `self.found` says why.
    fn fault(&mut self, unix_ms: u64, msg: Msg<'_>, from: Hop) -> Option<(u16, bool)> {
        if msg.max_forwards() == Some(0) || msg.method() == Method::Options && self.is_for_us(msg) {
            return None;
        }
        let fault = match self.demand(msg, from) {
            Demand::Nothing(sender) => {
                self.found = Some(Found::Sender(sender));
                return None;
            }
            Demand::Refuse(status) => (status, false),
            Demand::Credentials => {
                let client = self.client(msg, from);
                match self.gatekeeper.examine(unix_ms, &self.config, &self.keys, msg, client) {
                    Auth::Challenge { stale: false } => return Some((challenge_kind(msg).0, false)),
                    Auth::Challenge { stale: true } => (challenge_kind(msg).0, true),
                    Auth::Malformed => (400, false),
                    Auth::Ask(credential, ticket) => {
                        self.found = Some(Found::Credential(credential, ticket));
                        return None;
                    }
                }
            }
        };
        // The nonce of a request that is being served is used up by it.
        (!self.core.knows(msg)).then_some(fault)
    }

    /// Whether a request is for this server itself.
    pub(super) fn is_for_us(&self, msg: Msg<'_>) -> bool {
        let uri = Uri::parse(msg.request_uri()).filter(|uri| uri.scheme.is_sip() && uri.user.is_none());
        uri.is_some_and(|uri| route::is_local(&self.config, &uri))
    }

    /// Asks for credentials, or whether those given are right.
    fn examine(&mut self, ctx: &mut Ctx<'_>, id: ServerId, message: &Message, from: Hop, out: &mut Outbox) {
        let client = self.client(message.msg(), from);
        match self.gatekeeper.examine(ctx.unix_ms, &self.config, &self.keys, message.msg(), client) {
            Auth::Challenge { stale } => self.challenge(ctx, id, message, stale, out),
            Auth::Malformed => self.reply(ctx, id, 400, out),
            Auth::Ask(credential, ticket) => self.prove(ctx, id, (credential, ticket), client, out),
        }
    }

    /// Asks whether credentials are right that may be.
    fn prove(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        (credential, ticket): (Box<Credential>, Ticket),
        client: IpAddr,
        out: &mut Outbox,
    ) {
        if !self.throttle.admits(credential.parts().username, client, ctx.unix_ms) {
            let wait = throttle::PAUSE_MS.div_ceil(1000).to_string();
            let warning: &[u8] = b"399 causeway \"too many wrong passwords\"";
            let headers = [("Retry-After", wait.as_bytes()), ("Warning", warning)];
            // Not 503, which proxies on the way make a 500 without Retry-After of (RFC 3261 §16.7 item 6).
            return self.reply_with(ctx, id, 500, &headers, out);
        }
        let account = credential.parts().username.to_vec();
        let waiting = Waiting::Credential { id, ticket, account, client };
        if self.ask(waiting, Question::Credential(credential), out).is_none() {
            self.reply_with(ctx, id, 503, &[("Retry-After", b"5")], out);
        }
    }

    /// The address of whoever sent a request: behind a contact point of ours, what that has noted in its Via. Of IPv6 the
    /// network (RFC 4291 §2.5.4): within it everybody has as many addresses as he likes.
    fn client(&self, msg: Msg<'_>, from: Hop) -> IpAddr {
        let peer = from.peer.ip();
        let relayed =
            peer == self.config.sip.ip() || self.proxies.iter().any(|network| network.contains(peer));
        let before = if relayed { msg.vias().flatten().nth(1) } else { None };
        let noted = before.and_then(|via| causeway_sip::parse_ip(via.received().unwrap_or(via.host)));
        match noted.unwrap_or(peer) {
            IpAddr::V6(ip) if ip.to_ipv4_mapped().is_none() => {
                IpAddr::from((ip.to_bits() & (u128::MAX << 64)).to_be_bytes())
            }
            ip => ip,
        }
    }

    fn challenge(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        stale: bool,
        out: &mut Outbox,
    ) {
        self.counters.challenged += 1;
        let (status, name) = challenge_kind(message.msg());
        let client = self.core.from(id).map(|from| self.client(message.msg(), from));
        let client = client.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let values = self.gatekeeper.challenges(ctx, &self.keys, client, stale);
        let headers: Vec<(&str, &[u8])> = values.iter().map(|value| (name, value.as_slice())).collect();
        self.reply_with(ctx, id, status, &headers, out);
    }

    pub(super) fn answer(&mut self, ctx: &mut Ctx<'_>, question: u64, answer: Answer, out: &mut Outbox) {
        match (self.waiting.remove(&question), answer) {
            (Some(Waiting::Credential { id, ticket, account, client }), Answer::Credential(verdict)) => {
                self.judged(ctx, id, ticket, (&account, client), verdict, out);
            }
            (Some(Waiting::Subscriber(id)), Answer::Subscriber(lookup)) => match lookup {
                Lookup::Known => self.absent(ctx, id, out),
                Lookup::Unknown => self.reply(ctx, id, 404, out),
                Lookup::Unavailable => self.reply_with(ctx, id, 503, &[("Retry-After", b"5")], out),
            },
            (Some(Waiting::Place(unlocated)), Answer::Records { records, ttl, why }) => {
                if !why.is_empty() {
                    out.notice(Level::Debug, why);
                }
                self.located(ctx, *unlocated, records, ttl, out);
            }
            (Some(Waiting::Ack(ack)), Answer::Records { records, ttl, .. }) => {
                let (message, lead, pending) = *ack;
                let location = self.resolver.go_on(ctx.now, pending, records, ttl, ctx.rng);
                self.ack_located(ctx, &message, lead, location, out);
            }
            (Some(Waiting::Own(unsent)), Answer::Records { records, ttl, .. }) => {
                self.own_answered(ctx, *unsent, records, ttl, out);
            }
            _ => {}
        }
    }

    fn judged(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        ticket: Ticket,
        (account, client): (&[u8], IpAddr),
        verdict: Credentials,
        out: &mut Outbox,
    ) {
        let Some(message) = self.core.request(id).cloned() else { return };
        if self.core.is_over(id) {
            return;
        }
        match verdict {
            Credentials::Accepted(_) if !self.gatekeeper.take(ctx.unix_ms, ticket) => {
                self.challenge(ctx, id, &message, true, out);
            }
            Credentials::Accepted(aors) => {
                self.throttle.proved(account, client, ctx.unix_ms);
                self.authorized(ctx, id, &message, aors, out);
            }
            // Neither says which of the two was wrong: names are not to be fished for.
            Credentials::Wrong | Credentials::Unknown => {
                self.counters.wrong_credentials += 1;
                self.throttle.failed(account, client, ctx.unix_ms);
                self.challenge(ctx, id, &message, false, out);
            }
            Credentials::Unavailable => self.reply_with(ctx, id, 503, &[("Retry-After", b"5")], out),
        }
    }

    /// The credentials are right: but are they those of whom the request says it is from?
    fn authorized(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        mut aors: Vec<String>,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        let named = if msg.method() == Method::Register { msg.to() } else { msg.from() };
        let aor = named.and_then(|addr| addr.uri()).and_then(|uri| route::aor(&self.config, &uri));
        let own = aor.and_then(|aor| aors.iter().position(|own| own.as_bytes() == aor.as_slice()));
        let Some(own) = own else { return self.reply(ctx, id, 403, out) };
        // The name that he goes by here first: it is what others are told, and whose presence he may publish.
        aors.swap(0, own);
        self.dispatch(ctx, id, message, Sender { aors, ..Sender::default() }, out);
    }
}
