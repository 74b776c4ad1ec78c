//! The machinery of a stateful proxy.

use super::context::{Branch as Copy, BranchState, Context};
use crate::transaction::{
    self as tx, Branch, ClientId, Failure, Hop, Layer, ServerId, Sink, Timing, Transport,
};
use crate::{Edit, HeaderId, Message, Method, Msg, response_to};
use causeway_node::{Ctx, Flow, Time, Timers};
use std::collections::{HashMap, VecDeque};

/// What an element should decide or know.
#[derive(Debug)]
pub enum Event {
    /// A new request (neither ACK nor CANCEL): forward it or reply. An INVITE has been answered 100.
    Request {
        /// Names it from now on.
        id: ServerId,
        /// The request as received, `received` and `rport` filled in.
        message: Message,
        /// Where it came from.
        from: Hop,
    },
    /// A response to go upstream now: provisional, 2xx, or the best of the finals. Edit it and
    /// [`Core::relay`] it; its top Via is still this element's own.
    Response {
        /// The request it answers.
        id: ServerId,
        /// The index of the branch it came on, in the order of [`Core::forward`].
        branch: usize,
        /// The response.
        message: Message,
    },
    /// All branches of a context kept open by [`Core::keep_open`] have failed: forward another, or
    /// [`Core::conclude`].
    Exhausted {
        /// The request.
        id: ServerId,
    },
    /// An ACK for a 2xx: route it by [`Core::forward_ack`].
    Ack {
        /// The ACK.
        message: Message,
        /// Where it came from.
        from: Hop,
    },
    /// The caller has cancelled; the branches have been told. For the element's own books.
    Cancelled {
        /// The INVITE.
        id: ServerId,
    },
    /// A final response that the core itself made has gone upstream: a timeout, a failed connection, a
    /// request that no proxy may forward.
    Answered {
        /// The request.
        id: ServerId,
        /// Its status code.
        status: u16,
    },
    /// Nothing more will come of this request: forget it.
    Ended {
        /// The request.
        id: ServerId,
    },
}

/// How this element names itself on one hop: the sent-by of its Via.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// `host[:port]` of the Via.
    pub sent_by: &'a [u8],
    /// Appended to the branch after a `-`: what loop detection needs (RFC 5393); may be empty.
    pub branch_suffix: &'a [u8],
}

/// All that a stateful proxy has under way.
#[derive(Default)]
pub struct Core {
    layer: Layer,
    contexts: HashMap<ServerId, Context>,
    owner: HashMap<ClientId, (ServerId, usize)>,
    timer_c: Timers<(ServerId, usize)>,
    events: VecDeque<Event>,
    scratch: Vec<u8>,
    via: Vec<u8>,
}

impl Core {
    /// A proxy with these timers.
    pub fn new(timing: Timing) -> Self {
        Self { layer: Layer::new(timing), ..Self::default() }
    }

    /// How many requests are under way.
    pub fn len(&self) -> usize {
        self.contexts.len()
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.contexts.is_empty()
    }

    /// Whether every request has had its final response: what is left only waits for retransmissions.
    pub fn is_settled(&self) -> bool {
        self.contexts.values().all(|context| context.answered)
    }

    /// The request of a context, as it was received.
    pub fn request(&self, id: ServerId) -> Option<&Message> {
        self.contexts.get(&id).map(|context| &context.request)
    }

    /// Where the request of a context came from.
    pub fn from(&self, id: ServerId) -> Option<Hop> {
        self.contexts.get(&id).map(|context| context.from)
    }

    /// Whether the caller has cancelled or a final response has gone.
    pub fn is_over(&self, id: ServerId) -> bool {
        self.contexts.get(&id).is_none_or(|context| context.answered || context.cancelled)
    }

    /// The next thing for the element.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Core::timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        match (self.layer.deadline(), self.timer_c.next()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Takes a message that has passed validation.
    pub fn receive(&mut self, ctx: &mut Ctx<'_>, from: Hop, message: Message, sink: &mut impl Sink) {
        self.layer.receive(ctx.now, from, message, sink);
        self.digest(ctx.now, sink);
    }

    /// Fires what is due.
    pub fn timeout(&mut self, now: Time, sink: &mut impl Sink) {
        self.layer.timeout(now, sink);
        while let Some((id, branch)) = self.timer_c.pop(now) {
            let client = self.contexts.get(&id).and_then(|c| c.branches.get(branch)).map(|b| b.client);
            if let Some(client) = client {
                self.layer.cancel(now, client, sink);
            }
        }
        self.digest(now, sink);
    }

    /// A connection is gone.
    pub fn closed(&mut self, now: Time, flow: Flow, sink: &mut impl Sink) {
        self.layer.closed(flow);
        self.digest(now, sink);
    }

    /// The connection `old` has been replaced: responses that would have gone to it go to `new`.
    pub fn rehome(&mut self, old: Flow, new: Hop) {
        self.layer.rehome(old, new);
    }

    /// Sends the request of a context, edited by `edit`, to `to`; its Via is pushed and Max-Forwards
    /// counted down here. Returns the index of the new branch; `None` if the request is over already.
    pub fn forward(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        to: Hop,
        identity: Identity<'_>,
        edit: &mut Edit,
        sink: &mut impl Sink,
    ) -> Option<usize> {
        let context = self.contexts.get_mut(&id).filter(|c| !c.answered && !c.cancelled)?;
        let branch = Branch::new(ctx);
        write_via(&mut self.via, to.transport, identity, branch);
        write_forwarded(&mut self.scratch, &context.request, &self.via, edit);
        declare_length(&mut self.scratch, context.request.msg(), to.transport);
        let message = Message::parse(self.scratch.as_slice()).ok()?;
        let client = self.layer.request(ctx.now, branch, to, message, sink);
        let index = context.branches.len();
        context.branches.push(Copy { client, state: BranchState::Pending });
        if context.is_invite() {
            self.timer_c.set((id, index), ctx.now + self.layer.timing().timer_c);
        }
        self.owner.insert(client, (id, index));
        Some(index)
    }

    /// Sends an ACK for a 2xx onwards; it has no transaction.
    pub fn forward_ack(
        &mut self,
        ctx: &mut Ctx<'_>,
        ack: &Message,
        to: Hop,
        identity: Identity<'_>,
        edit: &mut Edit,
        sink: &mut impl Sink,
    ) {
        let branch = Branch::new(ctx);
        write_via(&mut self.via, to.transport, identity, branch);
        write_forwarded(&mut self.scratch, ack, &self.via, edit);
        declare_length(&mut self.scratch, ack.msg(), to.transport);
        sink.send(&to, &self.scratch);
    }

    /// Sends a response, edited by `edit`, to where the request came from; its top Via is popped here.
    pub fn relay(
        &mut self,
        now: Time,
        id: ServerId,
        response: &Message,
        edit: &mut Edit,
        sink: &mut impl Sink,
    ) {
        let msg = response.msg();
        let status = msg.status().unwrap_or(500);
        edit.remove_top(msg, HeaderId::Via, 1);
        self.scratch.clear();
        edit.apply(msg, &mut self.scratch);
        if let Some(context) = self.contexts.get(&id) {
            declare_length(&mut self.scratch, msg, context.from.transport);
        }
        if self.layer.respond(now, id, &self.scratch, status, sink) && status >= 200 {
            self.set_answered(now, id, sink);
        }
        self.digest(now, sink);
    }

    /// Answers a request from here, with a To tag of the element's own. `headers` are whole lines with CRLF.
    pub fn reply(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        status: u16,
        reason: Option<&str>,
        headers: &[(&str, &[u8])],
        sink: &mut impl Sink,
    ) {
        let Some(context) = self.contexts.get(&id) else { return };
        let tag = format!("cw{:08x}", ctx.rng.next_u32());
        let mut response = response_to(context.request.msg(), status, reason, Some(tag.as_bytes()));
        for (name, value) in headers {
            response = response.header(name, value);
        }
        self.answer(ctx.now, id, status, &response.finish(), sink);
        self.digest(ctx.now, sink);
    }

    /// Answers a request with a whole response that the element has built.
    pub fn answer(&mut self, now: Time, id: ServerId, status: u16, response: &[u8], sink: &mut impl Sink) {
        if self.layer.respond(now, id, response, status, sink) && status >= 200 {
            self.set_answered(now, id, sink);
        }
    }

    /// The element may add branches after the present ones have failed: sequential forking (§16.6).
    pub fn keep_open(&mut self, id: ServerId) {
        if let Some(context) = self.contexts.get_mut(&id) {
            context.open = true;
        }
    }

    /// No more branches: the best final response so far goes upstream.
    pub fn conclude(&mut self, now: Time, id: ServerId, sink: &mut impl Sink) {
        if let Some(context) = self.contexts.get_mut(&id) {
            context.open = false;
        }
        self.settle(now, id, sink);
        self.digest(now, sink);
    }

    /// Cancels all branches that are still pending, as after another branch has answered.
    pub fn cancel_branches(&mut self, now: Time, id: ServerId, sink: &mut impl Sink) {
        let Some(context) = self.contexts.get(&id) else { return };
        for branch in context.branches.iter().filter(|b| matches!(b.state, BranchState::Pending)) {
            self.layer.cancel(now, branch.client, sink);
        }
    }

    fn set_answered(&mut self, now: Time, id: ServerId, sink: &mut impl Sink) {
        if let Some(context) = self.contexts.get_mut(&id) {
            context.answered = true;
        }
        self.cancel_branches(now, id, sink);
    }

    /// Turns the layer's events into the element's.
    fn digest(&mut self, now: Time, sink: &mut impl Sink) {
        while let Some(event) = self.layer.poll() {
            match event {
                tx::Event::Request { id, message, from } => self.on_request(now, id, message, from, sink),
                tx::Event::Ack { message, from } => self.events.push_back(Event::Ack { message, from }),
                tx::Event::Cancel { id, .. } => self.on_cancel(now, id, sink),
                tx::Event::Response { id, message } => self.on_response(now, id, message, sink),
                tx::Event::Failed { id, why } => self.on_failed(now, id, why, sink),
                tx::Event::ClientEnded { id } => self.on_client_ended(id),
                tx::Event::ServerEnded { id } => self.on_server_ended(id),
                tx::Event::Stray { .. } | tx::Event::Unacknowledged { .. } => {}
            }
        }
    }

    fn on_request(&mut self, now: Time, id: ServerId, message: Message, from: Hop, sink: &mut impl Sink) {
        let msg = message.msg();
        let refusal = refusal(msg);
        if refusal.is_none() && msg.method() == Method::Invite {
            let trying = response_to(msg, 100, None, None).finish();
            self.layer.respond(now, id, &trying, 100, sink);
        }
        self.contexts.insert(id, Context::new(message.clone(), from));
        match refusal {
            None => self.events.push_back(Event::Request { id, message, from }),
            Some((status, response)) => {
                self.answer(now, id, status, &response, sink);
                self.events.push_back(Event::Answered { id, status });
            }
        }
    }

    fn on_cancel(&mut self, now: Time, id: ServerId, sink: &mut impl Sink) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if context.answered || context.cancelled {
            return;
        }
        context.cancelled = true;
        self.events.push_back(Event::Cancelled { id });
        if context.branches.is_empty() || context.exhausted() {
            self.answer_from_here(now, id, 487, sink);
        } else {
            self.cancel_branches(now, id, sink);
        }
    }

    fn on_response(&mut self, now: Time, client: ClientId, message: Message, sink: &mut impl Sink) {
        let Some(&(id, branch)) = self.owner.get(&client) else { return };
        let timer_c = self.layer.timing().timer_c;
        let Some(context) = self.contexts.get_mut(&id) else { return };
        let status = message.msg().status().unwrap_or(500);
        match status {
            ..=100 => {}
            101..=199 => {
                if context.is_invite() {
                    self.timer_c.set((id, branch), now + timer_c);
                }
                if !context.answered {
                    self.events.push_back(Event::Response { id, branch, message });
                }
            }
            200..=299 => {
                self.timer_c.cancel((id, branch));
                context.branches[branch].state = BranchState::Accepted;
                if context.is_invite() || !context.answered {
                    self.events.push_back(Event::Response { id, branch, message });
                }
            }
            _ => {
                self.timer_c.cancel((id, branch));
                context.branches[branch].state = BranchState::Final(Some(Box::new(message)), status);
                if status >= 600 {
                    context.open = false;
                    self.cancel_branches(now, id, sink);
                }
                self.settle(now, id, sink);
            }
        }
    }

    fn on_failed(&mut self, now: Time, client: ClientId, why: Failure, sink: &mut impl Sink) {
        let Some(&(id, branch)) = self.owner.get(&client) else { return };
        let Some(context) = self.contexts.get_mut(&id) else { return };
        self.timer_c.cancel((id, branch));
        let status = match why {
            Failure::Timeout => 408,
            Failure::Transport => 503,
        };
        context.branches[branch].state = BranchState::Final(None, status);
        self.settle(now, id, sink);
    }

    /// Chooses the best response once all branches have failed.
    fn settle(&mut self, now: Time, id: ServerId, sink: &mut impl Sink) {
        let Some(context) = self.contexts.get_mut(&id) else { return };
        if context.answered || !context.exhausted() {
            return;
        }
        if context.open && !context.cancelled {
            return self.events.push_back(Event::Exhausted { id });
        }
        let Some((branch, status)) = context.best() else { return };
        let message = match &mut context.branches[branch].state {
            BranchState::Final(message, _) => message.take(),
            _ => None,
        };
        match message {
            // A 503 would make the caller avoid this proxy, which is well (§16.7 item 6).
            Some(_) if status == 503 => self.answer_from_here(now, id, 500, sink),
            Some(message) => {
                let message = with_all_challenges(*message, context, branch);
                self.events.push_back(Event::Response { id, branch, message });
            }
            // Only INVITE may be answered 408: others have timed out at the client too (RFC 4320 §4.2).
            None if status == 408 && !context.is_invite() => {
                context.answered = true;
                self.layer.abandon(id);
                self.events.push_back(Event::Answered { id, status: 408 });
            }
            None if context.cancelled => self.answer_from_here(now, id, 487, sink),
            None => self.answer_from_here(now, id, if status == 503 { 500 } else { status }, sink),
        }
    }

    fn answer_from_here(&mut self, now: Time, id: ServerId, status: u16, sink: &mut impl Sink) {
        let Some(context) = self.contexts.get(&id) else { return };
        let response = response_to(context.request.msg(), status, None, Some(b"cw-proxy")).finish();
        self.answer(now, id, status, &response, sink);
        self.events.push_back(Event::Answered { id, status });
    }

    fn on_client_ended(&mut self, client: ClientId) {
        if let Some((id, branch)) = self.owner.remove(&client) {
            self.timer_c.cancel((id, branch));
            self.forget(id);
        }
    }

    fn on_server_ended(&mut self, id: ServerId) {
        if let Some(context) = self.contexts.get_mut(&id) {
            context.server_ended = true;
            self.forget(id);
        }
    }

    /// Drops a context when its server transaction and all its client transactions are gone.
    fn forget(&mut self, id: ServerId) {
        let Some(context) = self.contexts.get(&id) else { return };
        let idle = !context.branches.iter().any(|branch| self.owner.contains_key(&branch.client));
        if idle && context.server_ended {
            self.contexts.remove(&id);
            self.events.push_back(Event::Ended { id });
        }
    }
}

/// What every proxy must refuse (§16.3): no hops left, or an extension that the proxy must know.
fn refusal(msg: Msg<'_>) -> Option<(u16, Vec<u8>)> {
    if msg.max_forwards() == Some(0) {
        return Some((483, response_to(msg, 483, None, Some(b"cw-proxy")).finish()));
    }
    let required = msg.header(HeaderId::ProxyRequire).filter(|value| !value.is_empty())?;
    let response = response_to(msg, 420, None, Some(b"cw-proxy"));
    Some((420, response.header("Unsupported", required).finish()))
}

fn write_via(via: &mut Vec<u8>, transport: Transport, identity: Identity<'_>, branch: Branch) {
    via.clear();
    via.extend_from_slice(b"SIP/2.0/");
    via.extend_from_slice(transport.via().as_bytes());
    via.push(b' ');
    via.extend_from_slice(identity.sent_by);
    via.extend_from_slice(b";branch=");
    via.extend_from_slice(branch.to_string().as_bytes());
    if !identity.branch_suffix.is_empty() {
        via.push(b'-');
        via.extend_from_slice(identity.branch_suffix);
    }
    if transport == Transport::Udp {
        via.extend_from_slice(b";rport");
    }
}

fn write_forwarded(to: &mut Vec<u8>, request: &Message, via: &[u8], edit: &mut Edit) {
    let msg = request.msg();
    let hops = msg.max_forwards().map_or(70, |hops| hops.saturating_sub(1));
    edit.push_via(msg, &[via]);
    edit.set_max_forwards(msg, hops);
    to.clear();
    edit.apply(msg, to);
}

/// Adds Content-Length where `original` had none and the next hop is a stream (§16.6 item 9, §20.14): over UDP
/// it may be missing, and stock phones leave it out.
fn declare_length(message: &mut Vec<u8>, original: Msg<'_>, to: Transport) {
    if !to.reliable() || original.index().first_of(HeaderId::ContentLength).is_some() {
        return;
    }
    let Ok(parsed) = Message::parse(message.as_slice()) else { return };
    let mut edit = Edit::new();
    edit.add_content_length(parsed.msg());
    message.clear();
    edit.apply(parsed.msg(), message);
}

/// The best response, with the challenges of all branches if it is a challenge (§16.7 item 7).
fn with_all_challenges(best: Message, context: &Context, chosen: usize) -> Message {
    if !matches!(best.msg().status(), Some(401 | 407)) {
        return best;
    }
    let mut edit = Edit::new();
    for (index, branch) in context.branches.iter().enumerate() {
        let BranchState::Final(Some(other), 401 | 407) = &branch.state else { continue };
        if index == chosen {
            continue;
        }
        for id in [HeaderId::WwwAuthenticate, HeaderId::ProxyAuthenticate] {
            for value in other.msg().all(id) {
                edit.append(best.msg(), id.name().as_bytes(), &[value]);
            }
        }
    }
    let mut bytes = Vec::new();
    edit.apply(best.msg(), &mut bytes);
    Message::parse(bytes).unwrap_or(best)
}
