//! One request, several places: groups of targets one after the other, and for each target the ways to it.

use super::routing::{BREADTH, Change, grant_session};
use super::{Exchange, Waiting, log};
use crate::identity::Sender;
use crate::resolver::{Location, Pending};
use crate::route;
use causeway_node::{Ctx, DnsRecord, Outbox, Question, Time};
use causeway_sip::locate::{Candidate, Unreachable};
use causeway_sip::proxy::{Identity, Manner};
use causeway_sip::transaction::{Hop, ServerId, Transport};
use causeway_sip::{Edit, HeaderId, Message, Method, Msg, Uri, hex16};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// A request above this size goes over a transport that can take it (RFC 3261 §18.1.1), our own Via and
/// Record-Route counted in.
const LARGE: usize = 1300 - 200;

/// One way in which a request may be sent.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// The Request-URI it will carry; `None` leaves it.
    pub(super) uri: Option<Vec<u8>>,
    /// Routes to put above it.
    pub(super) routes: Vec<String>,
    /// How it gets there.
    pub(super) next: Next,
    /// It goes to a user of this domain.
    pub(super) to_user: bool,
}

impl Way {
    /// Onwards to where a URI leads, the request itself unchanged.
    pub(super) fn onward(next: Vec<u8>) -> Self {
        Self { uri: None, routes: Vec::new(), next: Next::Uri(next), to_user: false }
    }

    /// Notes what the way changes in a request: `own` routes of ours go, the target and the routes to it come.
    pub(super) fn lead(&self, edit: &mut Edit, msg: Msg<'_>, own: usize) {
        edit.remove_top(msg, HeaderId::Route, own);
        if let Some(uri) = &self.uri {
            edit.set_request_uri(msg, &[uri]);
        }
        for path in &self.routes {
            edit.insert_above(msg, HeaderId::Route, b"Route", &[path.as_bytes()]);
        }
    }
}

/// The next hop of a way.
#[derive(Clone, Debug)]
pub(super) enum Next {
    /// Where this URI leads.
    Uri(Vec<u8>),
    /// The flow that the user registered on; once that is gone, where `instead` leads.
    Flow { peer: SocketAddr, transport: Transport, instead: Option<Vec<u8>> },
    /// This place.
    Place(Candidate),
}

/// The ways to one target: each is tried only when those before it have reached nobody.
pub(super) type Target = VecDeque<Way>;
/// Targets that are tried at once.
pub(super) type Group = Vec<Target>;

/// What is still to be done with a request.
#[derive(Default)]
pub(super) struct Plan {
    groups: VecDeque<Group>,
    /// What each branch went to, and the ways left to its target.
    trying: HashMap<usize, (SocketAddr, Transport, Target)>,
    /// Targets that wait for DNS.
    unlocated: usize,
    sender: Sender,
    /// How many of the Routes at its top are ours.
    own: usize,
    breadth: u32,
    session: Option<u32>,
    /// The answer if nothing was reached at all.
    fault: u16,
    /// A group has rung long enough.
    rung_out: bool,
    /// That is the present group: none of its targets is tried any more.
    over_time: bool,
}

/// A target whose next hop is being asked for.
pub(super) struct Unlocated {
    id: ServerId,
    way: Way,
    rest: Target,
    pending: Pending,
}

impl Exchange {
    /// Sends a request to its targets; of the Routes at its top so many are ours.
    pub(super) fn fork(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        groups: VecDeque<Group>,
        (sender, own): (Sender, usize),
        out: &mut Outbox,
    ) {
        let Some(request) = self.core.request(id) else { return };
        let breadth =
            request.msg().number(HeaderId::MaxBreadth).map_or(BREADTH, |breadth| breadth.min(BREADTH));
        if breadth == 0 {
            return self.reply(ctx, id, 440, out);
        }
        let session = self.session_for(request);
        let plan = Plan { groups, sender, own, breadth, session, fault: 480, ..Plan::default() };
        self.plans.insert(id, plan);
        self.next_group(ctx, id, out);
    }

    /// Tries the next group, or says that there is none; not before all of the present one have failed (§16.6).
    pub(super) fn next_group(&mut self, ctx: &mut Ctx<'_>, id: ServerId, out: &mut Outbox) {
        // Whoever is still being located or asked brings us here again.
        if self.plans.get(id).is_none_or(|plan| plan.unlocated > 0) || self.core.has_pending(id) {
            return;
        }
        self.ringing.cancel(id);
        loop {
            let Some(plan) = self.plans.get_mut(id) else { return };
            let Some(mut group) = plan.groups.pop_front() else { break };
            plan.over_time = false;
            // RFC 5393 §5.3.3: what is too wide for one wave goes in several.
            let wave = usize::try_from(plan.breadth).unwrap_or(usize::MAX);
            if group.len() > wave {
                let later = group.split_off(wave);
                plan.groups.push_front(later);
            }
            let (width, more) = (group.len(), !plan.groups.is_empty());
            if more {
                self.core.keep_open(id);
            }
            let mut under_way = false;
            for target in group {
                under_way |= self.launch(ctx, id, target, width, out);
            }
            if under_way {
                if more && self.is_invite(id) {
                    let ring = Duration::from_secs(u64::from(self.config.policy.ring.max(1)));
                    self.ringing.set(id, ctx.now + ring);
                }
                return;
            }
        }
        self.finish(ctx, id, out);
    }

    /// Nothing is left to try: the best response goes back once the branches have ended.
    fn finish(&mut self, ctx: &mut Ctx<'_>, id: ServerId, out: &mut Outbox) {
        let Some(plan) = self.plans.get(id).filter(|plan| plan.unlocated == 0) else { return };
        match self.core.branches(id) {
            0 => self.reply(ctx, id, plan.fault, out),
            _ => self.core.conclude(ctx.now, id, &mut self.hub.sink(out)),
        }
    }

    /// Sends to the first way of a target that exists; says whether something is under way.
    fn launch(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        mut target: Target,
        width: usize,
        out: &mut Outbox,
    ) -> bool {
        while let Some(mut way) = target.pop_front() {
            let fault = match &way.next {
                Next::Place(candidate) => {
                    let hop = self.hop(ctx.now, candidate, out);
                    let trusted = self.is_trusted(&hop, &candidate.domain);
                    let confined = self.plans.get(id).is_some_and(|plan| plan.sender.confined);
                    if !trusted || !confined {
                        return self.send(ctx, id, &way, (hop, trusted), target, width, out);
                    }
                    403
                }
                Next::Flow { peer, transport, instead } => {
                    if let Some(hop) = self.hub.existing(*peer, *transport) {
                        return self.send(ctx, id, &way, (hop, false), target, width, out);
                    }
                    if let Some(uri) = instead.clone() {
                        way.next = Next::Uri(uri);
                        target.push_front(way);
                    }
                    // RFC 5626 §5.3: the flow is gone.
                    430
                }
                Next::Uri(uri) => match self.find(ctx, uri) {
                    Ok(Location::Found(candidates)) => {
                        self.expand(id, &way, candidates, &mut target);
                        continue;
                    }
                    Ok(Location::Asks(question, pending)) => {
                        let unlocated = Unlocated { id, way, rest: target, pending: *pending };
                        return self.await_place(unlocated, question, out);
                    }
                    Ok(Location::NotFound) => 404,
                    Err(Unreachable::Scheme) => 416,
                    Err(Unreachable::Transport) => 502,
                },
            };
            if let Some(plan) = self.plans.get_mut(id) {
                plan.fault = fault;
            }
        }
        false
    }

    fn find(&mut self, ctx: &mut Ctx<'_>, uri: &[u8]) -> Result<Location, Unreachable> {
        let uri = Uri::parse(uri).ok_or(Unreachable::Scheme)?;
        self.resolver.locate(ctx.now, &uri, ctx.rng)
    }

    /// A target waits for DNS; false if too much has been asked already.
    fn await_place(&mut self, unlocated: Unlocated, question: Question, out: &mut Outbox) -> bool {
        let id = unlocated.id;
        let asked = self.ask(Waiting::Place(Box::new(unlocated)), question, out).is_some();
        if asked && let Some(plan) = self.plans.get_mut(id) {
            plan.unlocated += 1;
            self.core.keep_open(id);
        }
        asked
    }

    /// The places found become the ways to try first; for a large request each UDP place is tried by TCP before.
    fn expand(&self, id: ServerId, way: &Way, places: Vec<Candidate>, target: &mut Target) {
        let size = self.core.request(id).map_or(0, |request| request.msg().bytes().len());
        let large = self.config.policy.large_over_tcp && size > LARGE;
        for place in places.into_iter().rev() {
            let by_tcp = (large && place.transport == Transport::Udp)
                .then(|| Candidate { transport: Transport::Tcp, ..place.clone() });
            for next in std::iter::once(place).chain(by_tcp) {
                target.push_front(Way { next: Next::Place(next), ..way.clone() });
            }
        }
    }

    /// DNS has answered for a target.
    pub(super) fn located(
        &mut self,
        ctx: &mut Ctx<'_>,
        unlocated: Unlocated,
        records: Vec<DnsRecord>,
        ttl: u32,
        out: &mut Outbox,
    ) {
        let Unlocated { id, way, rest: mut target, pending } = unlocated;
        let location = self.resolver.go_on(ctx.now, pending, records, ttl, ctx.rng);
        // The plan of one that is over does not count any more.
        let Some(plan) = self.plans.get_mut(id).filter(|_| !self.core.is_over(id)) else { return };
        plan.unlocated -= 1;
        if plan.over_time {
            return self.next_group(ctx, id, out);
        }
        match location {
            Location::Asks(question, pending) => {
                let unlocated = Unlocated { id, way, rest: target, pending: *pending };
                if self.await_place(unlocated, question, out) {
                    return;
                }
            }
            Location::Found(candidates) => {
                self.expand(id, &way, candidates, &mut target);
                if self.launch(ctx, id, target, 1, out) {
                    return;
                }
            }
            Location::NotFound => {
                plan.fault = 404;
                if self.launch(ctx, id, target, 1, out) {
                    return;
                }
            }
        }
        self.next_group(ctx, id, out);
    }

    #[allow(clippy::too_many_arguments)]
    fn send(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        way: &Way,
        (hop, trusted): (Hop, bool),
        rest: Target,
        width: usize,
        out: &mut Outbox,
    ) -> bool {
        let Some((request, from)) = self.core.request(id).cloned().zip(self.core.from(id)) else {
            return false;
        };
        let Some(plan) = self.plans.get_mut(id) else { return false };
        let sender = std::mem::take(&mut plan.sender);
        let share = plan.breadth / u32::try_from(width.max(1)).unwrap_or(u32::MAX);
        let change = Change {
            way,
            to: hop,
            from,
            breadth: share.max(1),
            own: plan.own,
            sender: &sender,
            session: plan.session,
            trusted,
        };
        self.edit_request(&request, &change);
        let hash = hex16(route::loop_hash(self.loop_seed, request.msg()));
        let suffix = self.config.shard.suffix(&hash);
        let sent_by = if hop.transport == Transport::Tls { &self.sent_by_tls } else { &self.sent_by };
        let identity = Identity { sent_by, branch_suffix: &suffix, key: None };
        let manner = Manner { has_alternative: !rest.is_empty(), patience: Some(self.config.patience) };
        let sink = &mut self.hub.sink(out);
        let branch = self.core.forward_as(ctx, id, hop, identity, &mut self.edit, manner, sink);
        let Some(plan) = self.plans.get_mut(id) else { return false };
        plan.sender = sender;
        let Some(branch) = branch else { return false };
        self.counters.forwarded += 1;
        log::sent(out, request.msg(), &hop, way.uri.as_deref().unwrap_or_default());
        self.calls.branch(id, way.uri.as_deref().unwrap_or(request.msg().request_uri()));
        if !rest.is_empty() {
            plan.trying.insert(branch, (hop.peer, hop.transport, rest));
        }
        true
    }

    /// A branch has reached nobody: the next way to its target is tried.
    pub(super) fn unreachable(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        branch: usize,
        status: u16,
        out: &mut Outbox,
    ) {
        let tried = self.plans.get_mut(id).and_then(|plan| plan.trying.remove(&branch));
        let late = self.core.is_over(id) || self.plans.get(id).is_none_or(|plan| plan.over_time);
        let launched = tried.is_some_and(|(peer, transport, rest)| {
            // Who answers 430 is alive, only the flow behind it is not.
            if status != 430 {
                self.resolver.mark_dead(ctx.now, peer, transport);
            }
            !late && self.launch(ctx, id, rest, 1, out)
        });
        match launched {
            true => self.core.supersede(id, branch),
            false => self.core.give_up(ctx.now, id, branch, &mut self.hub.sink(out)),
        }
    }

    /// A response on its way to the caller.
    pub(super) fn response(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        branch: usize,
        message: &Message,
        out: &mut Outbox,
    ) {
        let status = message.msg().status().unwrap_or(0);
        self.counters.relayed(status);
        log::outcome(out, message.msg(), format_args!("branch={branch}"));
        let plan = self.plans.get(id);
        if status == 487 && plan.is_some_and(|plan| plan.rung_out) && !self.core.is_over(id) {
            // Nobody has cancelled but us, so that somebody else could have been tried.
            return self.reply(ctx, id, 480, out);
        }
        let session = plan.and_then(|plan| plan.session);
        self.calls.response(ctx, (id, branch), message.msg(), session, out);
        self.edit.clear();
        grant_session(&mut self.edit, message, session);
        self.core.relay(ctx.now, id, message, &mut self.edit, &mut self.hub.sink(out));
        if status >= 200 {
            self.drop_plan(id);
        }
    }

    /// Nothing is tried any more. A 2xx that is repeated is to be granted the session of the first.
    fn drop_plan(&mut self, id: ServerId) {
        match self.plans.remove(id).and_then(|plan| plan.session) {
            Some(session) => {
                self.plans.insert(id, Plan { session: Some(session), ..Plan::default() });
            }
            None => self.core.release(id),
        }
    }

    /// The caller has given up: nothing further is tried.
    pub(super) fn cancelled(&mut self, id: ServerId) {
        self.ringing.cancel(id);
        if let Some(plan) = self.plans.get_mut(id) {
            plan.groups.clear();
        }
    }

    /// A group has rung long enough; its 487s bring the next one.
    pub(super) fn stop_ringing(&mut self, now: Time, id: ServerId, out: &mut Outbox) {
        if let Some(plan) = self.plans.get_mut(id) {
            (plan.rung_out, plan.over_time) = (true, true);
            self.core.cancel_branches(now, id, &mut self.hub.sink(out));
        }
    }

    /// The hop to a place; where TLS runs, its certificate must name the domain that led there.
    pub(super) fn hop(&mut self, now: Time, candidate: &Candidate, out: &mut Outbox) -> Hop {
        self.hub.hop_to(now, candidate.peer, candidate.transport, &candidate.domain, out)
    }

    /// Whether whoever is at the other end belongs to the trust domain: by address, or by the domain that its
    /// certificate has to prove.
    pub(super) fn is_trusted(&self, hop: &Hop, domain: &str) -> bool {
        self.trust.has(hop.peer.ip(), self.names(hop))
            || hop.transport == Transport::Tls && self.trust.has_domain(domain)
    }

    fn is_invite(&self, id: ServerId) -> bool {
        self.core.request(id).is_some_and(|request| request.msg().method() == Method::Invite)
    }
}
