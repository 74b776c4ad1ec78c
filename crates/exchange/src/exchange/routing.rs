//! Requests on their way through the exchange (RFC 3261 §16.4 to §16.6, §16.10): whereto, and what changes.

use super::forking::{Group, Next, Target, Way};
use super::{Exchange, Waiting};
use crate::calls::session_expires;
use crate::config::Delivery;
use crate::dialog::{Inside, Trusted};
use crate::gruu::{self, Gruu};
use crate::identity::{Sender, assert_identity};
use crate::resolver::Location;
use crate::{auth, dialog, route, shard};
use causeway_node::{Ctx, Outbox, Question};
use causeway_sip::locate::Candidate;
use causeway_sip::proxy::Identity;
use causeway_sip::transaction::{Hop, ServerId, Transport};
use causeway_sip::{Edit, HeaderId, Message, Method, Msg, NameAddr, Scheme, Uri};
use causeway_store::record::Binding;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// What Max-Breadth is taken to be where a request has none (RFC 5393 §5.3.3).
pub(super) const BREADTH: u32 = 60;

/// How one copy of a request differs from the request.
pub(super) struct Change<'a> {
    pub(super) way: &'a Way,
    pub(super) to: Hop,
    pub(super) from: Hop,
    pub(super) breadth: u32,
    /// How many of the Routes at its top are ours.
    pub(super) own: usize,
    pub(super) sender: &'a Sender,
    /// Session interval to be asked for (RFC 4028 §8.1).
    pub(super) session: Option<u32>,
    /// Whether the next hop is a peer of the trust domain.
    pub(super) trusted: bool,
}

/// Where the ACK for a 2xx is led.
pub(super) struct AckLead {
    way: Way,
    /// How many of the Routes at its top are ours.
    own: usize,
    /// Whether it must not go to a peer of the trust domain.
    confined: bool,
}

impl Exchange {
    /// Routes a request: by its Route, by the location service, or by its Request-URI.
    pub(super) fn route(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        sender: Sender,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        let (own, inside) = route::own_routes(&self.config, &self.keys, msg);
        let alone = |way: Way| VecDeque::from([vec![VecDeque::from([way])]]);
        if let Some(way) = inside.and_then(|inside| way_inside(inside, msg, own)) {
            return self.fork(ctx, id, alone(way), (sender, own), out);
        }
        if let Some(next) = route::route_after(msg, own) {
            return match self.is_welcome(msg, &sender, (own, inside)) {
                true => self.fork(ctx, id, alone(Way::onward(next)), (sender, own), out),
                false => self.reply(ctx, id, 403, out),
            };
        }
        let Some(uri) = Uri::parse(msg.request_uri()) else { return self.reply(ctx, id, 400, out) };
        match route::is_local(&self.config, &uri) {
            true => self.locate(ctx, id, &uri, (sender, own), out),
            false => self.fork(ctx, id, alone(Way::onward(msg.request_uri().to_vec())), (sender, own), out),
        }
    }

    /// Whether a request may go where its Route leads: one beyond us that we did not give would make us a relay for
    /// whoever writes it. `own` and `proved` are of [`route::own_routes`].
    pub(super) fn is_welcome(
        &self,
        msg: Msg<'_>,
        sender: &Sender,
        (own, proved): (usize, Option<Inside>),
    ) -> bool {
        let known =
            proved.is_some() || !self.config.authenticate || sender.trusted || !sender.aors.is_empty();
        known || route::route_after(msg, own).is_none()
    }

    /// Whom a URI of this domain names, and his present contacts, or those of the one device that it means; `None`
    /// if it can be nobody.
    fn bindings_of(&self, uri: &Uri<'_>, unix_ms: u64) -> Option<(Vec<u8>, Vec<&Binding>)> {
        let named = gruu::read(&self.keys, uri);
        let aor = match named {
            Some(Gruu::Temporary(seed)) => self.location.of_seed(seed)?.to_vec(),
            Some(Gruu::Unknown) => return None,
            _ => route::aor(&self.config, uri)?,
        };
        let meant = |binding: &Binding| match &named {
            Some(Gruu::Temporary(seed)) => binding.gruu == *seed,
            Some(Gruu::Public(instance)) => binding.instance.eq_ignore_ascii_case(instance),
            _ => true,
        };
        let bindings = self.location.get(&aor).iter().filter(|b| b.expires > unix_ms && meant(b)).collect();
        Some((aor, bindings))
    }

    /// Brings a request to the contacts of a user of this domain, or of one device of his.
    fn locate(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        uri: &Uri<'_>,
        from: (Sender, usize),
        out: &mut Outbox,
    ) {
        let Some((aor, bindings)) = self.bindings_of(uri, ctx.unix_ms) else {
            return self.reply(ctx, id, 404, out);
        };
        if bindings.is_empty() {
            let asked = self.ask(Waiting::Subscriber(id), Question::Subscriber { aor }, out);
            if asked.is_none() {
                self.reply(ctx, id, 480, out);
            }
            return;
        }
        // RFC 5630 §5.3: who asks for TLS all the way is not brought to a contact that does not promise it.
        let secure =
            |binding: &&Binding| binding.contact.get(..5).is_some_and(|s| s.eq_ignore_ascii_case("sips:"));
        let bindings: Vec<&Binding> = match uri.scheme {
            Scheme::Sips => bindings.into_iter().filter(secure).collect(),
            _ => bindings,
        };
        if bindings.is_empty() {
            let warning: &[u8] = b"380 causeway \"SIPS Not Allowed\"";
            return self.reply_with(ctx, id, 480, &[("Warning", warning)], out);
        }
        match self.config.policy.delivery {
            Delivery::Redirect => {
                let contacts: Vec<Vec<u8>> = bindings.iter().map(|binding| redirection(binding)).collect();
                let headers: Vec<(&str, &[u8])> =
                    contacts.iter().map(|c| ("Contact", c.as_slice())).collect();
                self.reply_with(ctx, id, 302, &headers, out);
            }
            order => {
                let groups = groups(&bindings, order == Delivery::Parallel);
                self.fork(ctx, id, groups, from, out);
            }
        }
    }

    /// Nobody is there to take a request for a known user.
    pub(super) fn absent(&mut self, ctx: &mut Ctx<'_>, id: ServerId, out: &mut Outbox) {
        if !self.keep_message(ctx, id, out) {
            self.reply(ctx, id, 480, out);
        }
    }

    /// Writes what changes in a request: the exchange's own routes go, its Record-Route comes, the Request-URI
    /// becomes the target with the routes to it, and the credentials meant for this realm stay behind (§22.3).
    pub(super) fn edit_request(&mut self, request: &Message, change: &Change<'_>) {
        let (edit, msg) = (&mut self.edit, request.msg());
        edit.clear();
        change.way.lead(edit, msg, change.own);
        if route::begins_dialog(msg) {
            let trusted = Trusted { caller: change.sender.trusted, callee: change.trusted };
            let mut proof = dialog::proof(&self.keys, msg, trusted);
            if !self.config.shard.is_alone() {
                let tag = shard::of_request(&self.config, &self.keys, msg);
                let call_id = msg.call_id().unwrap_or_default();
                proof.push_str(&self.config.shard.param(&self.keys, tag, call_id));
            }
            let flow = |hop: Hop, needed: bool| match needed {
                true => dialog::flow(&self.keys, msg, hop.peer, hop.transport),
                false => String::new(),
            };
            let (from, to) = (change.from, change.to);
            let forth = flow(to, matches!(change.way.next, Next::Flow { .. }));
            let back = flow(from, !trusted.caller && dialog::needs_flow(msg, from.peer, from.transport));
            // Towards the callee first: RFC 5658 §5, two where the sides differ in how they are reached.
            let secure =
                msg.request_uri().get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"));
            let onward = route::record_route(&self.config, &proof, &forth, to.transport, secure);
            edit.insert_above(msg, HeaderId::RecordRoute, b"Record-Route", &[&onward]);
            if from.transport != to.transport || forth != back {
                let back = route::record_route(&self.config, &proof, &back, from.transport, secure);
                edit.insert_above(msg, HeaderId::RecordRoute, b"Record-Route", &[&back]);
            }
        }
        for header in msg.headers().filter(|header| header.id == HeaderId::ProxyAuthorization) {
            if auth::is_for_realm(header.value, &self.config.domain) {
                edit.replace(msg, header.line, &[]);
            }
        }
        edit.set(msg, HeaderId::MaxBreadth, &[change.breadth.to_string().as_bytes()]);
        let to_user = change.way.to_user;
        assert_identity(edit, msg, change.sender, change.trusted && !to_user, to_user);
        if let Some(seconds) = change.session {
            edit.append(msg, b"Session-Expires", &[seconds.to_string().as_bytes()]);
        }
    }

    /// The session interval to ask for: where the policy wants one, the caller knows session timers, and asks for
    /// none himself (RFC 4028 §8.1).
    pub(super) fn session_for(&self, message: &Message) -> Option<u32> {
        let (msg, seconds) = (message.msg(), self.config.policy.session_expires);
        let refreshable = matches!(msg.method(), Method::Invite | Method::Update);
        let wanted = seconds > 0 && refreshable && session_expires(msg).is_none();
        (wanted && msg.has_token(HeaderId::Supported, b"timer")).then_some(seconds)
    }

    /// An ACK for a 2xx goes where the dialog's other requests go; it cannot be refused, only dropped.
    pub(super) fn ack(&mut self, ctx: &mut Ctx<'_>, message: &Message, out: &mut Outbox) {
        let msg = message.msg();
        let (own, inside) = route::own_routes(&self.config, &self.keys, msg);
        if inside.is_none() && self.config.authenticate {
            return;
        }
        // Nobody refuses an ACK, so what goes in circles must end here (§16.3 item 3).
        if msg.max_forwards() == Some(0) {
            return;
        }
        let by_flow = inside.and_then(|inside| way_inside(inside, msg, own));
        let way = match (route::route_after(msg, own), Uri::parse(msg.request_uri())) {
            (Some(next), _) => Way::onward(next),
            // A GRUU as Contact (RFC 5627 §6.1): the device is known here.
            (None, Some(uri)) if route::is_local(&self.config, &uri) => {
                let found = self.bindings_of(&uri, ctx.unix_ms);
                let Some(way) = found.and_then(|(_, bindings)| Some(way_to(bindings.first()?))) else {
                    return;
                };
                way
            }
            (None, Some(_)) => Way::onward(msg.request_uri().to_vec()),
            (None, None) => return,
        };
        let confined = self.config.authenticate && inside.is_some_and(|inside| !inside.to_trusted);
        let lead = AckLead { way: by_flow.unwrap_or(way), own, confined };
        let next = match &lead.way.next {
            Next::Uri(next) => next.clone(),
            Next::Flow { peer, transport, instead } => {
                match (self.hub.existing(*peer, *transport), instead) {
                    (Some(hop), _) => return self.send_ack(ctx, message, &lead, hop, out),
                    (None, Some(uri)) => uri.clone(),
                    (None, None) => return,
                }
            }
            Next::Place(_) => return,
        };
        let Some(uri) = Uri::parse(&next) else { return };
        let Ok(location) = self.resolver.locate(ctx.now, &uri, ctx.rng) else { return };
        self.ack_located(ctx, message, lead, location, out);
    }

    /// Sends an ACK once its next hop is known: it is not repeated unless the 2xx is, so it waits for the answer.
    pub(super) fn ack_located(
        &mut self,
        ctx: &mut Ctx<'_>,
        message: &Message,
        lead: AckLead,
        location: Location,
        out: &mut Outbox,
    ) {
        match location {
            Location::Found(candidates) => {
                let Some(candidate) = candidates.first() else { return };
                let hop = self.hop(ctx.now, candidate, out);
                if lead.confined && self.is_trusted(&hop, &candidate.domain) {
                    return;
                }
                self.send_ack(ctx, message, &lead, hop, out);
            }
            Location::Asks(question, pending) => {
                // With too many questions under way it is lost, as on the network; the 2xx is repeated.
                let _ = self.ask(Waiting::Ack(Box::new((message.clone(), lead, *pending))), question, out);
            }
            Location::NotFound => {}
        }
    }

    fn send_ack(&mut self, ctx: &mut Ctx<'_>, message: &Message, lead: &AckLead, hop: Hop, out: &mut Outbox) {
        self.edit.clear();
        lead.way.lead(&mut self.edit, message.msg(), lead.own);
        let sent_by = if hop.transport == Transport::Tls { &self.sent_by_tls } else { &self.sent_by };
        let identity = Identity { sent_by, branch_suffix: b"", key: None };
        self.core.forward_ack(ctx, message, hop, identity, &mut self.edit, &mut self.hub.sink(out));
    }

    /// The best place that a URI names, as far as it is known without asking.
    pub(super) fn place_in_hand(&mut self, ctx: &mut Ctx<'_>, uri: &[u8]) -> Option<Candidate> {
        let uri = Uri::parse(uri)?;
        match self.resolver.locate(ctx.now, &uri, ctx.rng).ok()? {
            Location::Found(candidates) => candidates.into_iter().next(),
            _ => None,
        }
    }
}

/// The contacts of a user as targets, those of equal q together, the highest q first. Contacts of one device
/// (RFC 5626 §5.3) are ways to the same target: the latest flow first.
fn groups(bindings: &[&Binding], all_at_once: bool) -> VecDeque<Group> {
    let mut groups: VecDeque<Group> = VecDeque::new();
    let mut last = None;
    for (index, binding) in bindings.iter().enumerate() {
        let same_device = |other: &&&Binding| binding.reg_id != 0 && other.instance == binding.instance;
        if bindings[..index].iter().any(|other| same_device(&other)) {
            continue;
        }
        let mut flows: Vec<&Binding> = match binding.reg_id {
            0 => vec![binding],
            _ => bindings.iter().filter(|other| same_device(other)).copied().collect(),
        };
        flows.sort_by_key(|flow| std::cmp::Reverse(flow.since));
        let target: Target = flows.into_iter().map(way_to).collect();
        match groups.back_mut().filter(|_| all_at_once || last == Some(binding.q)) {
            Some(group) => group.push(target),
            None => groups.push_back(vec![target]),
        }
        last = Some(binding.q);
    }
    groups
}

/// How a contact is reached: by its Path; else on the flow that it registered on, where that is a connection, an
/// outbound flow, or the only way through a NAT; else as its URI says.
pub(super) fn way_to(binding: &Binding) -> Way {
    let first = binding.path.first().and_then(|path| NameAddr::parse(path.as_bytes()));
    let next = match (first, flow_of(binding)) {
        (Some(path), _) => Next::Uri(path.uri.to_vec()),
        (None, Some((peer, transport))) => {
            let instead = (binding.reg_id == 0).then(|| binding.contact.as_bytes().to_vec());
            Next::Flow { peer, transport, instead }
        }
        (None, None) => Next::Uri(binding.contact.as_bytes().to_vec()),
    };
    let uri = Some(binding.contact.as_bytes().to_vec());
    Way { uri, routes: binding.path.clone(), next, to_user: true }
}

/// The way to the side of a dialog that is reached by a flow; once that is gone, where the request itself leads.
pub(super) fn way_inside(inside: Inside, msg: Msg<'_>, own: usize) -> Option<Way> {
    let (peer, transport) = inside.flow?;
    let instead = Some(route::route_after(msg, own).unwrap_or_else(|| msg.request_uri().to_vec()));
    let next = Next::Flow { peer, transport, instead };
    Some(Way { uri: None, routes: Vec::new(), next, to_user: false })
}

/// The flow on which a contact without a Path registered, if it is to be reached by that.
pub(super) fn flow_of(binding: &Binding) -> Option<(SocketAddr, Transport)> {
    let transport = match &*binding.transport {
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        _ => Transport::Udp,
    };
    let by_flow = binding.reg_id != 0 || binding.behind_nat || transport != Transport::Udp;
    let peer = binding.received.parse().ok().filter(|_| by_flow && binding.path.is_empty())?;
    Some((peer, transport))
}

/// A contact as a 302 shows it.
fn redirection(binding: &Binding) -> Vec<u8> {
    let q = match binding.q {
        1000.. => String::new(),
        q => format!(";q=0.{q:03}"),
    };
    format!("<{}>{q}", binding.contact).into_bytes()
}

/// Session-Expires in a 2xx where the callee knows no session timers but the caller does (RFC 4028 §8.2).
pub(super) fn grant_session(edit: &mut Edit, message: &Message, asked: Option<u32>) {
    let msg = message.msg();
    let granted = msg.status().is_some_and(|status| (200..300).contains(&status));
    if let Some(seconds) = asked.filter(|_| granted && session_expires(msg).is_none()) {
        edit.append(msg, b"Session-Expires", &[seconds.to_string().as_bytes(), b";refresher=uac"]);
        edit.append(msg, b"Require", &[b"timer"]);
    }
}
