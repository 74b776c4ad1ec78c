//! Requests on their way through the exchange (RFC 3261 §16.4 to §16.6, §16.10).

use super::{Exchange, Waiting};
use crate::auth;
use crate::config::Config;
use crate::keys::Keys;
use crate::route::{self, NextHop};
use causeway_node::{Ctx, Outbox, Question};
use causeway_sip::proxy::Identity;
use causeway_sip::transaction::{ServerId, Transport};
use causeway_sip::{Edit, HeaderId, Message, Uri};
use std::net::SocketAddr;

/// One target of a request: the Request-URI it will carry, the routes to put above it, how to get there.
#[derive(Clone, Debug)]
pub(super) struct Target {
    uri: Option<Vec<u8>>,
    routes: Vec<String>,
    transport: Transport,
}

impl Exchange {
    /// Routes a request: by its Route, by the location service, or by its Request-URI.
    pub(super) fn route(&mut self, ctx: &mut Ctx<'_>, id: ServerId, message: &Message, out: &mut Outbox) {
        let msg = message.msg();
        let (own, proved) = route::own_routes(&self.config, &self.keys, msg);
        if let Some(next) = route::route_after(msg, own) {
            if !proved && self.config.authenticate {
                return self.reply(ctx, id, 403, out);
            }
            let target = Target { uri: None, routes: Vec::new(), transport: Transport::Udp };
            return self.send_to(ctx, id, &next, target, out);
        }
        let Some(uri) = Uri::parse(msg.request_uri()) else { return self.reply(ctx, id, 400, out) };
        if let Some(aor) = route::aor(&self.config, &uri) {
            return self.locate(ctx, id, &aor, out);
        }
        let in_dialog = msg.to_tag().is_some();
        if in_dialog && !proved && self.config.authenticate {
            return self.reply(ctx, id, 481, out);
        }
        let next = msg.request_uri().to_vec();
        let target = Target { uri: None, routes: Vec::new(), transport: Transport::Udp };
        self.send_to(ctx, id, &next, target, out);
    }

    /// Forwards to every contact of an address of record at once.
    fn locate(&mut self, ctx: &mut Ctx<'_>, id: ServerId, aor: &[u8], out: &mut Outbox) {
        let targets: Vec<(Vec<u8>, Target, Option<SocketAddr>)> = self
            .location
            .get(aor)
            .iter()
            .filter(|binding| binding.expires > ctx.unix_ms)
            .map(|binding| {
                let next = binding.path.first().map_or(binding.contact.as_str(), String::as_str);
                let next = causeway_sip::NameAddr::parse(next.as_bytes())
                    .map_or(next.as_bytes().to_vec(), |addr| addr.uri.to_vec());
                let uri = Some(binding.contact.clone().into_bytes());
                let target = Target { uri, routes: binding.path.clone(), transport: Transport::Udp };
                (next, target, binding.received.parse().ok())
            })
            .collect();
        if targets.is_empty() {
            return self.reply(ctx, id, 480, out);
        }
        for (next, target, received) in targets {
            self.send_to_registered(ctx, id, &next, target, received, out);
        }
    }

    /// A contact on TCP is reached over the connection that it registered on, while that lives.
    fn send_to_registered(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        next: &[u8],
        target: Target,
        received: Option<SocketAddr>,
        out: &mut Outbox,
    ) {
        if let (NextHop::Address(_, Transport::Tcp) | NextHop::Name(_, _, Transport::Tcp), Some(peer)) =
            (route::next_hop(next), received)
            && self.hub.has_connection(peer)
        {
            return self.send(ctx, id, peer, Target { transport: Transport::Tcp, ..target }, out);
        }
        self.send_to(ctx, id, next, target, out);
    }

    fn send_to(&mut self, ctx: &mut Ctx<'_>, id: ServerId, next: &[u8], target: Target, out: &mut Outbox) {
        match route::next_hop(next) {
            NextHop::Address(peer, transport) => {
                self.send(ctx, id, peer, Target { transport, ..target }, out);
            }
            NextHop::Name(host, port, transport) => {
                let waiting = Waiting::Address(id, Target { transport, ..target });
                self.ask(ctx, waiting, Question::Resolve { host, port }, id, out);
            }
            NextHop::Unreachable => self.reply(ctx, id, 416, out),
        }
    }

    pub(super) fn send(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        peer: SocketAddr,
        target: Target,
        out: &mut Outbox,
    ) {
        let Some((request, from)) = self.core.request(id).cloned().zip(self.core.from(id)) else { return };
        let hop = self.hub.hop(ctx.now, peer, target.transport, out);
        self.edit.clear();
        edit_request(&self.config, &self.keys, &mut self.edit, &request, from.transport, &target);
        let identity = Identity { sent_by: &self.sent_by, branch_suffix: b"" };
        let sink = &mut self.hub.sink(out);
        if self.core.forward(ctx, id, hop, identity, &mut self.edit, sink).is_some() {
            self.counters.forwarded += 1;
        }
    }

    /// An ACK for a 2xx goes where the dialog's other requests go; it cannot be refused, only dropped.
    pub(super) fn ack(&mut self, ctx: &mut Ctx<'_>, message: &Message, out: &mut Outbox) {
        let msg = message.msg();
        let (own, proved) = route::own_routes(&self.config, &self.keys, msg);
        if !proved && self.config.authenticate {
            return;
        }
        let next = route::route_after(msg, own).unwrap_or_else(|| msg.request_uri().to_vec());
        let NextHop::Address(peer, transport) = route::next_hop(&next) else { return };
        let hop = self.hub.hop(ctx.now, peer, transport, out);
        self.edit.clear();
        self.edit.remove_top(msg, HeaderId::Route, own);
        let identity = Identity { sent_by: &self.sent_by, branch_suffix: b"" };
        self.core.forward_ack(ctx, message, hop, identity, &mut self.edit, &mut self.hub.sink(out));
    }
}

/// What changes in a request: the exchange's own routes go, its Record-Route comes, the Request-URI becomes
/// the target with the routes to it, and the credentials meant for this realm stay behind (§22.3).
fn edit_request(
    config: &Config,
    keys: &Keys,
    edit: &mut Edit,
    request: &Message,
    from: Transport,
    target: &Target,
) {
    let msg = request.msg();
    let (own, _) = route::own_routes(config, keys, msg);
    edit.remove_top(msg, HeaderId::Route, own);
    if let Some(uri) = &target.uri {
        edit.set_request_uri(msg, &[uri]);
    }
    for path in &target.routes {
        edit.insert_above(msg, HeaderId::Route, b"Route", &[path.as_bytes()]);
    }
    if route::begins_dialog(msg) {
        // Towards the callee first: RFC 5658 §5, two where the transports differ.
        let onward = route::record_route(config, keys, msg, target.transport);
        edit.insert_above(msg, HeaderId::RecordRoute, b"Record-Route", &[&onward]);
        if from != target.transport {
            let back = route::record_route(config, keys, msg, from);
            edit.insert_above(msg, HeaderId::RecordRoute, b"Record-Route", &[&back]);
        }
    }
    for header in msg.headers().filter(|header| header.id == HeaderId::ProxyAuthorization) {
        if auth::is_for_realm(header.value, &config.domain) {
            edit.replace(msg, header.line, &[]);
        }
    }
}
