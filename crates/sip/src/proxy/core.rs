//! The machinery of a stateful proxy.

use super::context::{Branch as Copy, BranchState, Context};
use super::event::Event;
use super::wire::{declare_length, refusal, write_forwarded, write_via};
use crate::transaction::{
    self as tx, Branch, BranchKey, ClientId, Hop, Layer, Purpose, ServerId, Sink, Timing,
};
use crate::{Edit, HeaderId, Message, Method, Msg, response_to};
use causeway_node::{Ctx, Flow, SerialMap, Time, Timers};
use std::collections::VecDeque;
use std::time::Duration;

/// How this element names itself on one hop: the sent-by of its Via.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// `host[:port]` of the Via.
    pub sent_by: &'a [u8],
    /// Appended to the branch after a `-`: what loop detection needs (RFC 5393); may be empty.
    pub branch_suffix: &'a [u8],
    /// Makes the branch of a request's first copy the same whenever that request comes; random without.
    pub key: Option<&'a BranchKey>,
}

/// What shall happen when the place that a branch goes to cannot be reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// The element has another place to try: it is told by [`Event::Unreachable`].
    pub has_alternative: bool,
    /// Then, how long it waits for any response before the place counts as dead; `None`: timer B or F.
    pub patience: Option<Duration>,
}

/// All that a stateful proxy has under way.
#[derive(Default)]
pub struct Core {
    pub(super) layer: Layer,
    pub(super) contexts: SerialMap<ServerId, Context>,
    pub(super) timer_c: Timers<(ServerId, usize)>,
    pub(super) patience: Timers<(ServerId, usize)>,
    trying: Timers<ServerId>,
    pub(super) events: VecDeque<Event>,
    strays: bool,
    /// Whether nobody asks for the request of an INVITE that has been answered.
    drops_answered: bool,
    scratch: Vec<u8>,
    via: Vec<u8>,
}

impl Core {
    /// A proxy with these timers.
    pub fn new(timing: Timing) -> Self {
        Self { layer: Layer::new(timing), ..Self::default() }
    }

    /// Tells the element of responses without a transaction, and of CANCEL without an INVITE as of other requests:
    /// for who may have lost its memory of them (RFC 3261 §16.7, §16.10).
    pub fn taking_strays(mut self) -> Self {
        self.strays = true;
        self.layer.pass_cancels = true;
        self
    }

    /// Keeps no request that has been answered: for who does not need an INVITE for 2xx responses that come after the first,
    /// as repetitions do. Most of what a busy proxy keeps would be these.
    pub fn dropping_answered(mut self) -> Self {
        self.drops_answered = true;
        self
    }

    /// How many requests are under way, or were answered and are remembered for their repetitions.
    pub fn len(&self) -> usize {
        self.contexts.len().max(self.layer.count().1)
    }

    /// How many transactions are under way, on the side that has more: those that only wait for repetitions do not count.
    pub fn under_way(&self) -> usize {
        let (clients, servers) = self.layer.under_way();
        clients.max(servers)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether every request has had its final response: what is left only waits for retransmissions.
    pub fn is_settled(&self) -> bool {
        self.contexts.values().all(|context| context.answered)
    }

    /// The request of a context, as it was received, until it has been answered; of an INVITE as long as there are its
    /// transactions, but for [`Core::dropping_answered`].
    pub fn request(&self, id: ServerId) -> Option<&Message> {
        self.contexts.get(id)?.request.as_ref()
    }

    /// Where the request of a context came from.
    pub fn from(&self, id: ServerId) -> Option<Hop> {
        self.contexts.get(id).map(|context| context.from)
    }

    /// How many branches the request of a context has had.
    pub fn branches(&self, id: ServerId) -> usize {
        self.contexts.get(id).map_or(0, |context| context.branches.len())
    }

    /// Whether some branch of a context has neither answered nor failed.
    pub fn has_pending(&self, id: ServerId) -> bool {
        self.contexts.get(id).is_some_and(Context::under_way)
    }

    /// Whether the caller has cancelled or a final response has gone.
    pub fn is_over(&self, id: ServerId) -> bool {
        self.contexts.get(id).is_none_or(|context| context.answered || context.cancelled)
    }

    /// Whether a request belongs to a transaction that exists: it is a repetition, an ACK, or a CANCEL of one.
    pub fn knows(&mut self, request: Msg<'_>) -> bool {
        self.layer.knows(request)
    }

    /// The next thing for the element.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Core::timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        [self.layer.deadline(), self.timer_c.next(), self.patience.next(), self.trying.next()]
            .into_iter()
            .flatten()
            .min()
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
            let client = self.contexts.get(id).and_then(|c| c.branches.get(branch)).map(|b| b.client);
            if let Some(client) = client {
                self.layer.cancel(now, client, sink);
            }
        }
        self.try_on(now, sink);
        while let Some((id, branch)) = self.patience.pop(now) {
            self.lose_patience(now, id, branch, sink);
        }
        self.digest(now, sink);
    }

    /// A connection is gone.
    pub fn closed(&mut self, now: Time, flow: Flow, sink: &mut impl Sink) {
        self.layer.closed(flow);
        self.digest(now, sink);
    }

    /// The peer on this flow has lost its memory: requests without a final answer go to it again.
    pub fn resend(&mut self, flow: Flow, sink: &mut impl Sink) {
        self.layer.resend(flow, sink);
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
        self.forward_as(ctx, id, to, identity, edit, Manner::default(), sink)
    }

    /// As [`Core::forward`], with a say in what happens when nobody is reached.
    #[allow(clippy::too_many_arguments)]
    pub fn forward_as(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        to: Hop,
        identity: Identity<'_>,
        edit: &mut Edit,
        manner: Manner,
        sink: &mut impl Sink,
    ) -> Option<usize> {
        let branch = self.branch(ctx, id, identity.key, sink);
        let context = self.contexts.get_mut(id).filter(|c| !c.answered && !c.cancelled && !c.declined)?;
        let request = context.request.as_ref()?;
        write_via(&mut self.via, to.transport, identity, branch);
        write_forwarded(&mut self.scratch, request, &self.via, edit);
        declare_length(&mut self.scratch, request.msg(), to.transport);
        let method = request.msg().method();
        let purpose = Purpose::Copy { of: id, branch: u32::try_from(context.branches.len()).ok()? };
        let client = self.layer.request_as(ctx.now, branch, to, purpose, method, &self.scratch, sink);
        let index = context.add(Copy::new(client, manner.has_alternative));
        if let Some(patience) = manner.patience.filter(|_| manner.has_alternative) {
            self.patience.set((id, index), ctx.now + patience);
        }
        if context.is_invite() {
            self.timer_c.set((id, index), ctx.now + self.layer.timing().timer_c);
        }
        Some(index)
    }

    /// The branch of the next copy of a request. One that was repeated after it had been answered may have a
    /// transaction with the same branch that waits for nothing more.
    fn branch(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        key: Option<&BranchKey>,
        sink: &mut impl Sink,
    ) -> Branch {
        let first = self.contexts.get(id).filter(|context| context.branches.is_empty());
        let request = first.and_then(|context| context.request.as_ref()).map(Message::msg);
        let derived = key.zip(request).and_then(|(key, request)| {
            Some((Branch::derive(key, &request.top_via()?, request)?, request.method()))
        });
        let Some((branch, method)) = derived else { return Branch::new(ctx) };
        self.layer.make_way(branch, method);
        self.digest(ctx.now, sink);
        branch
    }

    /// Sends a response without a transaction to `to`, edited by `edit`; its top Via, our own, is popped here.
    pub fn forward_stray(&mut self, response: &Message, to: Hop, edit: &mut Edit, sink: &mut impl Sink) {
        let msg = response.msg();
        edit.remove_top(msg, HeaderId::Via, 1);
        self.scratch.clear();
        edit.apply(msg, &mut self.scratch);
        declare_length(&mut self.scratch, msg, to.transport);
        sink.send(&to, &self.scratch);
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
        if let Some(transport) = self.layer.transport(id) {
            declare_length(&mut self.scratch, msg, transport);
        }
        self.trying.cancel(id);
        if self.layer.respond(now, id, &self.scratch, status, sink) && status >= 200 {
            self.set_answered(now, id, sink);
        }
        self.digest(now, sink);
    }

    /// The element needs to know nothing more of a request, if it has been answered and no branch but those that answered it
    /// can answer yet: most of what a busy proxy keeps would be these. A 2xx that comes again, or that somebody else behind
    /// such a branch gives, is told and can be relayed all the same.
    pub fn release(&mut self, id: ServerId) {
        let Some(context) = self.contexts.get(id) else { return };
        let over = |branch: &Copy| branch.ended || matches!(branch.state, BranchState::Accepted);
        if context.answered && context.branches.iter().all(over) {
            self.contexts.remove(id);
            self.events.push_back(Event::Ended { id });
        }
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
        let Some(context) = self.contexts.get(id) else { return };
        let tag = format!("cw{:08x}", ctx.rng.next_u32());
        let Some(request) = &context.request else { return };
        let mut response = response_to(request.msg(), status, reason, Some(tag.as_bytes()));
        for (name, value) in headers {
            response = response.header(name, value);
        }
        self.answer(ctx.now, id, status, &response.finish(), sink);
        self.digest(ctx.now, sink);
    }

    /// Answers a request with a whole response that the element has built.
    pub fn answer(&mut self, now: Time, id: ServerId, status: u16, response: &[u8], sink: &mut impl Sink) {
        self.trying.cancel(id);
        if self.layer.respond(now, id, response, status, sink) && status >= 200 {
            self.set_answered(now, id, sink);
        }
    }

    /// The element may add branches after the present ones have failed: sequential forking (§16.6).
    pub fn keep_open(&mut self, id: ServerId) {
        if let Some(context) = self.contexts.get_mut(id) {
            context.open = true;
        }
    }

    /// No more branches: the best final response so far goes upstream.
    pub fn conclude(&mut self, now: Time, id: ServerId, sink: &mut impl Sink) {
        if let Some(context) = self.contexts.get_mut(id) {
            context.open = false;
        }
        self.settle(now, id, sink);
        self.digest(now, sink);
    }

    /// Cancels all branches that are still pending, as after another branch has answered.
    pub fn cancel_branches(&mut self, now: Time, id: ServerId, sink: &mut impl Sink) {
        let Some(context) = self.contexts.get(id) else { return };
        for branch in context.branches.iter().filter(|b| matches!(b.state, BranchState::Pending)) {
            self.layer.cancel(now, branch.client, sink);
        }
    }

    /// Sends a request of the element's own: `request` is complete but for its Via. `None` if it is no message.
    pub fn send_own(
        &mut self,
        ctx: &mut Ctx<'_>,
        to: Hop,
        identity: Identity<'_>,
        request: &[u8],
        sink: &mut impl Sink,
    ) -> Option<ClientId> {
        let bare = Message::parse(request).ok()?;
        let branch = Branch::new(ctx);
        write_via(&mut self.via, to.transport, identity, branch);
        let mut edit = Edit::new();
        edit.push_via(bare.msg(), &[&self.via]);
        self.scratch.clear();
        edit.apply(bare.msg(), &mut self.scratch);
        let method = bare.msg().method();
        Some(self.layer.request_as(ctx.now, branch, to, Purpose::Own, method, &self.scratch, sink))
    }

    /// Another branch has taken the place of this unreachable one, or will. Should nothing come of any other, what
    /// came of this one is the answer.
    pub fn supersede(&mut self, id: ServerId, branch: usize) {
        if let Some(copy) = self.contexts.get_mut(id).and_then(|c| c.branches.get_mut(branch))
            && let BranchState::Deferred(message, status) = &mut copy.state
        {
            let status = *status;
            copy.state = BranchState::Superseded(message.take(), status);
            self.events.push_back(Event::Refused { id, branch, status });
        }
    }

    /// Nothing takes the place of this unreachable branch: its failure counts.
    pub fn give_up(&mut self, now: Time, id: ServerId, branch: usize, sink: &mut impl Sink) {
        if let Some(copy) = self.contexts.get_mut(id).and_then(|c| c.branches.get_mut(branch))
            && let BranchState::Deferred(message, status) = &mut copy.state
        {
            let status = *status;
            copy.state = BranchState::Final(message.take(), status);
            self.events.push_back(Event::Refused { id, branch, status });
        }
        self.settle(now, id, sink);
        self.digest(now, sink);
    }

    /// Answers 100 to those who have waited long enough.
    fn try_on(&mut self, now: Time, sink: &mut impl Sink) {
        while let Some(id) = self.trying.pop(now) {
            let Some(context) = self.contexts.get(id).filter(|context| !context.answered) else { continue };
            let Some(request) = &context.request else { continue };
            let trying = response_to(request.msg(), 100, None, None).finish();
            self.layer.respond(now, id, &trying, 100, sink);
        }
    }

    fn lose_patience(&mut self, now: Time, id: ServerId, branch: usize, sink: &mut impl Sink) {
        let Some(context) = self.contexts.get_mut(id).filter(|c| !c.answered && !c.cancelled) else {
            return;
        };
        let Some(copy) = context.branches.get_mut(branch) else { return };
        if copy.heard || !matches!(copy.state, BranchState::Pending) {
            return;
        }
        let client = copy.client;
        copy.state = BranchState::Deferred(None, 408);
        self.timer_c.cancel((id, branch));
        self.events.push_back(Event::Unreachable { id, branch, status: 408 });
        // Should it wake up after all, it is told that it is not wanted any more.
        self.layer.cancel(now, client, sink);
    }

    pub(super) fn set_answered(&mut self, now: Time, id: ServerId, sink: &mut impl Sink) {
        if let Some(context) = self.contexts.get_mut(id) {
            context.set_answered();
            context.request.take_if(|_| self.drops_answered);
        }
        self.cancel_branches(now, id, sink);
        self.forget(id);
    }

    /// Turns the layer's events into the element's.
    fn digest(&mut self, now: Time, sink: &mut impl Sink) {
        while let Some(event) = self.layer.poll() {
            match event {
                tx::Event::Request { id, message, from } => self.on_request(now, id, message, from, sink),
                tx::Event::Ack { message, from } => self.events.push_back(Event::Ack { message, from }),
                tx::Event::Cancel { id, .. } => self.on_cancel(now, id, sink),
                tx::Event::Response { id, purpose, message } => match purpose {
                    Purpose::Copy { of, branch } => {
                        self.on_response(now, (of, branch as usize), message, sink);
                    }
                    Purpose::Own => self.events.push_back(Event::Own { client: id, outcome: Ok(message) }),
                    Purpose::Cancel => {}
                },
                tx::Event::Failed { id, purpose, why } => match purpose {
                    Purpose::Copy { of, branch } => self.on_failed(now, (of, branch as usize), why, sink),
                    Purpose::Own => self.events.push_back(Event::Own { client: id, outcome: Err(why) }),
                    Purpose::Cancel => {}
                },
                tx::Event::ClientEnded { purpose: Purpose::Copy { of, branch }, .. } => {
                    self.on_client_ended(of, branch as usize);
                }
                tx::Event::ClientEnded { .. } => {}
                tx::Event::ServerEnded { id } => self.on_server_ended(id),
                tx::Event::Stray { message, from } if self.strays => {
                    self.events.push_back(Event::Stray { message, from });
                }
                tx::Event::Stray { .. } | tx::Event::Unacknowledged { .. } => {}
            }
        }
    }

    fn on_request(&mut self, now: Time, id: ServerId, message: Message, from: Hop, sink: &mut impl Sink) {
        let msg = message.msg();
        let refusal = refusal(msg);
        if refusal.is_none() && msg.method() == Method::Invite {
            self.trying.set(id, now + self.layer.timing().trying_after);
        }
        self.contexts.insert(id, Context::new(message.clone(), from));
        self.try_on(now, sink);
        match refusal {
            None => self.events.push_back(Event::Request { id, message, from }),
            Some((status, response)) => {
                self.events.push_back(Event::Answered { id, status });
                self.answer(now, id, status, &response, sink);
            }
        }
    }

    fn on_cancel(&mut self, now: Time, id: ServerId, sink: &mut impl Sink) {
        let Some(context) = self.contexts.get_mut(id) else { return };
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

    fn on_client_ended(&mut self, id: ServerId, branch: usize) {
        self.timer_c.cancel((id, branch));
        if let Some(copy) = self.contexts.get_mut(id).and_then(|context| context.branches.get_mut(branch)) {
            copy.ended = true;
            self.forget(id);
        }
    }

    fn on_server_ended(&mut self, id: ServerId) {
        if let Some(context) = self.contexts.get_mut(id) {
            context.server_ended = true;
            self.forget(id);
        }
    }

    /// Drops a context of which nothing more can come: its server transaction and all its client transactions are gone,
    /// or it is none of an INVITE, has been answered, and waits for no branch; repetitions are the transactions' affair.
    pub(super) fn forget(&mut self, id: ServerId) {
        let Some(context) = self.contexts.get(id) else { return };
        let ended = || context.branches.iter().all(|branch| branch.ended);
        let settled = !context.is_invite() && context.answered && !context.under_way();
        if settled || context.server_ended && ended() {
            self.contexts.remove(id);
            self.events.push_back(Event::Ended { id });
        }
    }
}
