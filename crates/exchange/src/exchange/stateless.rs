//! Forwarding without a transaction (RFC 3261 §16.11), in the mode for it: what needs no credentials, goes to one
//! place only and waits for no name server. All else is served with a transaction in this mode too.

use super::Exchange;
use super::forking::{Next, Way};
use super::gate::Demand;
use super::routing::{BREADTH, Change};
use crate::config::Mode;
use crate::dialog::Inside;
use crate::events::Events;
use crate::identity::Sender;
use crate::route;
use causeway_node::{Ctx, Outbox};
use causeway_sip::digest::constant_time_eq;
use causeway_sip::locate::Candidate;
use causeway_sip::transaction::{Hop, Sink, Transport, respond_statelessly, stamped};
use causeway_sip::{HeaderId, Message, Method, Msg, Uri, Via, parse_ip, response_to};
use std::net::SocketAddr;

/// Branches of requests forwarded so; those of the proxy core begin otherwise.
const PREFIX: &[u8] = b"z9hG4bK-cs";

impl Exchange {
    /// Forwards a message without keeping anything of it; says whether it did.
    pub(super) fn pass_statelessly(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: Hop,
        message: &Message,
        out: &mut Outbox,
    ) -> bool {
        match (self.config.mode, message.msg().is_request()) {
            (Mode::Stateless, true) => self.pass_request(ctx, from, message, out),
            (Mode::Stateless, false) => self.pass_response(message, out),
            _ => false,
        }
    }

    fn pass_request(&mut self, ctx: &mut Ctx<'_>, from: Hop, message: &Message, out: &mut Outbox) -> bool {
        let msg = message.msg();
        let Some(uri) = Uri::parse(msg.request_uri()) else { return false };
        let for_us = route::is_local(&self.config, &uri) && uri.user.is_none();
        let event = msg.header(HeaderId::Event).unwrap_or_default();
        let served = match msg.method() {
            Method::Register | Method::Publish => true,
            Method::Subscribe => Events::handles(event),
            _ => for_us,
        };
        if served || self.core.knows(msg) || msg.has(HeaderId::ProxyRequire) || !finds_back(msg, from) {
            return false;
        }
        let Demand::Nothing(sender) = self.demand(msg, from) else { return false };
        let routes = route::own_routes(&self.config, &self.keys, msg);
        if !self.is_welcome(msg, &sender, routes) {
            return false;
        }
        let Some((way, place)) = self.only_way(ctx, msg, &uri, routes) else { return false };
        if msg.max_forwards() == Some(0) {
            if msg.method() != Method::Ack {
                let answer = |msg: Msg<'_>| response_to(msg, 483, None, Some(&self.tags.tag(msg))).finish();
                respond_statelessly(from, msg, answer, &mut self.hub.sink(out));
            }
            return true;
        }
        let hop = self.hop(ctx.now, &place, out);
        if sender.confined && self.is_trusted(&hop, &place.domain) {
            return false;
        }
        // Our own Via goes above what the request came with, once that says where it really came from.
        let request = stamped(message.clone(), from);
        self.send_on(&request, (from, hop), &way, (&sender, routes.0), out);
        true
    }

    fn send_on(
        &mut self,
        request: &Message,
        (from, hop): (Hop, Hop),
        way: &Way,
        (sender, own): (&Sender, usize),
        out: &mut Outbox,
    ) {
        let msg = request.msg();
        let breadth = msg.number(HeaderId::MaxBreadth).map_or(BREADTH, |breadth| breadth.min(BREADTH));
        let change = Change {
            way,
            to: hop,
            from,
            breadth,
            own,
            sender,
            session: None,
            trusted: self.trust.has(hop.peer.ip(), self.names(&hop)),
        };
        self.edit_request(request, &change);
        let sent_by = if hop.transport == Transport::Tls { &self.sent_by_tls } else { &self.sent_by };
        let via = [
            b"SIP/2.0/",
            hop.transport.via().as_bytes(),
            b" ",
            sent_by,
            b";branch=",
            &self.branch(msg.top_via(), msg),
        ]
        .concat();
        self.edit.push_via(msg, &[&via]);
        self.edit.set_max_forwards(msg, msg.max_forwards().map_or(70, |hops| hops.saturating_sub(1)));
        let mut bytes = Vec::with_capacity(msg.bytes().len() + 300);
        self.edit.apply(msg, &mut bytes);
        self.counters.forwarded += 1;
        self.hub.sink(out).send(&hop, &bytes);
    }

    /// Where a request goes if there is one place only, known at once: a stateless proxy chooses the same for each
    /// repetition, ACK and CANCEL.
    fn only_way(
        &mut self,
        ctx: &mut Ctx<'_>,
        msg: Msg<'_>,
        uri: &Uri<'_>,
        (own, inside): (usize, Option<Inside>),
    ) -> Option<(Way, Candidate)> {
        if inside.is_some_and(|inside| inside.flow.is_some()) {
            return None;
        }
        let next = match route::route_after(msg, own) {
            Some(next) => next,
            None if route::is_local(&self.config, uri) => {
                let aor = route::aor(&self.config, uri).filter(|_| !uri.params.has(b"gr"))?;
                let [binding] = self.location.get(&aor) else { return None };
                let way = super::routing::way_to(binding);
                let Next::Uri(next) = way.next.clone() else { return None };
                return Some((way, self.place_in_hand(ctx, &next)?));
            }
            None => msg.request_uri().to_vec(),
        };
        let way = Way::onward(next.clone());
        Some((way, self.place_in_hand(ctx, &next)?))
    }

    /// §16.11: the response goes where the next Via says.
    fn pass_response(&mut self, message: &Message, out: &mut Outbox) -> bool {
        let msg = message.msg();
        let top = msg.top_via();
        let branch = top.as_ref().and_then(|via| via.branch()).filter(|branch| branch.starts_with(PREFIX));
        let Some(branch) = branch else { return false };
        let Some(via) = msg.vias().nth(1).flatten() else { return true };
        // What was not forwarded here is not passed back: the next Via may be anybody's idea.
        if !constant_time_eq(branch, &self.branch(Some(via), msg)) {
            return true;
        }
        let Some(ip) = via.received().and_then(parse_ip).or_else(|| via.host_ip()) else { return true };
        let secure = via.transport.eq_ignore_ascii_case(b"TLS");
        let port = via.rport().flatten().or(via.port).unwrap_or(if secure { 5061 } else { 5060 });
        let transport = match via.transport {
            _ if secure => Transport::Tls,
            name if name.eq_ignore_ascii_case(b"TCP") => Transport::Tcp,
            _ => Transport::Udp,
        };
        let Some(hop) = self.hub.existing(SocketAddr::new(ip, port), transport) else { return true };
        self.edit.clear();
        self.edit.remove_top(msg, HeaderId::Via, 1);
        let mut bytes = Vec::with_capacity(msg.bytes().len());
        self.edit.apply(msg, &mut bytes);
        self.counters.relayed(msg.status().unwrap_or(0));
        self.hub.sink(out).send(&hop, &bytes);
        true
    }

    /// The same branch for an INVITE, its repetitions, its CANCEL and the ACK for its failure, which all carry the
    /// client's own Via (§16.11); and a proof that a response with that Via below ours answers one of them.
    fn branch(&self, client: Option<Via<'_>>, msg: Msg<'_>) -> Vec<u8> {
        let port = client.and_then(|via| via.port).unwrap_or(0).to_be_bytes();
        let rport = client.and_then(|via| via.rport()?).unwrap_or(0).to_be_bytes();
        let parts = [
            client.and_then(|via| via.branch()),
            client.map(|via| via.host),
            client.and_then(|via| via.received()),
            Some(&port[..]),
            Some(&rport[..]),
            msg.call_id(),
            msg.from_tag(),
        ];
        let parts = parts.map(Option::unwrap_or_default);
        let (mac, member) = (self.keys.mac("stateless", &parts.join(&0)), self.config.shard.mark());
        let hyphen: &[u8] = if member.is_empty() { b"" } else { b"-" };
        [PREFIX, mac.as_bytes(), hyphen, member.as_bytes()].concat()
    }
}

/// Whether a response finds its way by the Via alone: over a connection it must come back on that very one (§18.2.2),
/// and who has opened it from another port than he listens on names the latter.
fn finds_back(msg: Msg<'_>, from: Hop) -> bool {
    let via = msg.top_via();
    let default = if from.transport == Transport::Tls { 5061 } else { 5060 };
    let port = via.and_then(|via| via.rport().flatten().or(via.port)).unwrap_or(default);
    from.transport == Transport::Udp || port == from.peer.port()
}
