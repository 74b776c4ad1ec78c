//! Calls that reach us, and requests inside any call (RFC 3261 §8.2, §13.3, §15.1.2).

use super::agent::{ALLOW, CallId, End, Event, UserAgent};
use super::call::{Call, State};
use super::dialog::Dialog;
use crate::transaction::ServerId;
use crate::{Message, Method, Msg, response_to};
use causeway_node::{Ctx, Outbox};

impl UserAgent {
    /// Tells the caller that it rings.
    pub fn ring(&mut self, ctx: &mut Ctx<'_>, id: CallId, out: &mut Outbox) {
        let Some(State::Ringing { server, invite, tag, .. }) = self.calls.get(&id).map(|call| &call.state)
        else {
            return;
        };
        let (server, invite, tag) = (*server, invite.clone(), tag.clone());
        let ringing = response_to(invite.msg(), 180, None, Some(&tag))
            .record_routes()
            .header("Contact", self.contact())
            .finish();
        self.layer.respond(ctx.now, server, &ringing, 180, &mut self.hub.sink(out));
    }

    /// Answers a call with this session description.
    pub fn answer(&mut self, ctx: &mut Ctx<'_>, id: CallId, answer: Vec<u8>, out: &mut Outbox) {
        let Some(State::Ringing { server, invite, tag, .. }) = self.calls.get(&id).map(|call| &call.state)
        else {
            return;
        };
        let (server, invite, tag) = (*server, invite.clone(), tag.clone());
        let Some(dialog) = Dialog::of_callee(invite.msg(), &tag) else {
            return self.reject(ctx, id, 400, out);
        };
        let ok = self.ok(invite.msg(), &tag, &answer);
        self.layer.respond(ctx.now, server, &ok, 200, &mut self.hub.sink(out));
        self.ringing.remove(&server);
        let interval = self.config.timing.t1;
        if let Some(call) = self.calls.get_mut(&id) {
            let (again, give_up) = (ctx.now + interval, ctx.now + self.layer.ack_wait());
            call.offer = answer;
            call.state = State::Answered { server, dialog, ok, invite, again, interval, give_up };
        }
    }

    /// Refuses a call.
    pub fn reject(&mut self, ctx: &mut Ctx<'_>, id: CallId, status: u16, out: &mut Outbox) {
        let Some(State::Ringing { server, invite, tag, .. }) = self.calls.get(&id).map(|call| &call.state)
        else {
            return;
        };
        let (server, invite, tag) = (*server, invite.clone(), tag.clone());
        self.reply(ctx, server, invite.msg(), status, &tag, out);
        self.ringing.remove(&server);
        self.end(id, End::ByUs);
    }

    /// Refuses what has rung for too long.
    pub(super) fn stop_ringing(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        let calls = self.calls.iter();
        let over = |call: &Call| matches!(call.state, State::Ringing { until, .. } if until <= ctx.now);
        let due: Vec<CallId> = calls.filter(|(_, call)| over(call)).map(|(id, _)| *id).collect();
        for id in due {
            self.reject(ctx, id, 480, out);
        }
    }

    fn ok(&self, invite: Msg<'_>, tag: &[u8], body: &[u8]) -> Vec<u8> {
        response_to(invite, 200, None, Some(tag))
            .record_routes()
            .header("Contact", self.contact())
            .header("Allow", ALLOW)
            .body("application/sdp", body)
            .finish()
    }

    pub(super) fn on_request(&mut self, ctx: &mut Ctx<'_>, id: ServerId, message: Message, out: &mut Outbox) {
        let msg = message.msg();
        let tag = Self::random_token(ctx);
        if msg.to_tag().is_some() {
            return self.on_dialog_request(ctx, id, &message, out);
        }
        match msg.method() {
            Method::Invite if self.is_merged(msg) => self.reply(ctx, id, msg, 482, &tag, out),
            Method::Invite if self.calls.len() >= Self::CALLS => self.reply(ctx, id, msg, 486, &tag, out),
            Method::Invite => self.on_invite(ctx, id, message, tag),
            Method::Options => {
                let response = response_to(msg, 200, None, Some(&tag)).header("Allow", ALLOW).finish();
                self.layer.respond(ctx.now, id, &response, 200, &mut self.hub.sink(out));
            }
            Method::Bye | Method::Update => self.reply(ctx, id, msg, 481, &tag, out),
            _ => self.reply(ctx, id, msg, 405, &tag, out),
        }
    }

    fn on_invite(&mut self, ctx: &Ctx<'_>, server: ServerId, invite: Message, tag: Vec<u8>) {
        let from = invite.msg().header(crate::HeaderId::From).unwrap_or_default().to_vec();
        let offer = invite.msg().body().to_vec();
        let until = ctx.now + self.config.ring;
        let call =
            self.new_call(Call { state: State::Ringing { server, invite, tag, until }, offer: Vec::new() });
        self.ringing.insert(server, call);
        self.events.push_back(Event::Incoming { call, from, offer });
    }

    /// The same request by two ways (§8.2.2.2).
    fn is_merged(&self, msg: Msg<'_>) -> bool {
        self.calls.values().any(|call| match &call.state {
            State::Ringing { invite, .. } | State::Answered { invite, .. } => {
                let other = invite.msg();
                other.call_id() == msg.call_id()
                    && other.from_tag() == msg.from_tag()
                    && other.cseq() == msg.cseq()
            }
            _ => false,
        })
    }

    fn find(&self, msg: Msg<'_>) -> Option<CallId> {
        let mut calls = self.calls.iter();
        calls.find(|(_, call)| call.dialog().is_some_and(|dialog| dialog.matches(msg))).map(|(id, _)| *id)
    }

    fn on_dialog_request(&mut self, ctx: &mut Ctx<'_>, id: ServerId, message: &Message, out: &mut Outbox) {
        let msg = message.msg();
        let Some(call) = self.find(msg) else { return self.reply(ctx, id, msg, 481, b"", out) };
        if !self.in_order(call, msg) {
            return self.reply(ctx, id, msg, 500, b"", out);
        }
        match msg.method() {
            Method::Bye => {
                self.reply(ctx, id, msg, 200, b"", out);
                self.end(call, End::ByThem);
            }
            Method::Invite => self.on_reinvite(ctx, id, call, message, out),
            Method::Options => self.reply(ctx, id, msg, 200, b"", out),
            _ => self.reply(ctx, id, msg, 405, b"", out),
        }
    }

    /// Notes the CSeq of a request in a dialog; false if it is lower than one heard before (§12.2.2).
    fn in_order(&mut self, call: CallId, msg: Msg<'_>) -> bool {
        let cseq = msg.cseq().map_or(0, |cseq| cseq.number);
        match self.calls.get_mut(&call).map(|call| &mut call.state) {
            Some(State::Established { dialog, .. } | State::Answered { dialog, .. }) => {
                let in_order = dialog.remote_cseq.is_none_or(|last| cseq > last);
                dialog.remote_cseq = dialog.remote_cseq.max(Some(cseq));
                in_order
            }
            _ => false,
        }
    }

    fn on_reinvite(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        call_id: CallId,
        message: &Message,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        let Some(call) = self.calls.get_mut(&call_id) else { return };
        let State::Established { dialog, .. } = &mut call.state else {
            return self.reply(ctx, id, msg, 491, b"", out);
        };
        dialog.refresh(msg);
        let (dialog, body) = (dialog.clone(), call.offer.clone());
        let ok = self.ok(msg, b"", &body);
        self.layer.respond(ctx.now, id, &ok, 200, &mut self.hub.sink(out));
        let interval = self.config.timing.t1;
        if let Some(call) = self.calls.get_mut(&call_id) {
            let (again, give_up) = (ctx.now + interval, ctx.now + self.layer.ack_wait());
            let invite = message.clone();
            call.state = State::Answered { server: id, dialog, ok, invite, again, interval, give_up };
        }
        let offer = msg.body().to_vec();
        self.events.push_back(Event::Changed { call: call_id, offer });
    }

    pub(super) fn on_ack(&mut self, msg: Msg<'_>) {
        let Some(id) = self.find(msg) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        if let State::Answered { dialog, invite, .. } = &call.state
            && invite.msg().cseq().map(|cseq| cseq.number) == msg.cseq().map(|cseq| cseq.number)
        {
            call.state = State::Established { dialog: dialog.clone(), ack: None };
            self.events.push_back(Event::Confirmed { call: id });
        }
    }

    pub(super) fn on_cancel(&mut self, ctx: &mut Ctx<'_>, server: ServerId, out: &mut Outbox) {
        let Some(id) = self.ringing.remove(&server) else { return };
        if let Some(State::Ringing { invite, tag, .. }) = self.calls.get(&id).map(|call| &call.state) {
            let (invite, tag) = (invite.clone(), tag.clone());
            self.reply(ctx, server, invite.msg(), 487, &tag, out);
            self.end(id, End::ByThem);
        }
    }

    /// Repeats our 2xx until the ACK comes; after 64*T1 the call is ended by BYE (§13.3.1.4).
    pub(super) fn repeat_answers(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        let due: Vec<CallId> = self
            .calls
            .iter()
            .filter(|(_, call)| {
                matches!(&call.state, State::Answered { again, give_up, .. } if (*again).min(*give_up) <= ctx.now)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.repeat_answer(ctx, id, out);
        }
    }

    fn repeat_answer(&mut self, ctx: &mut Ctx<'_>, id: CallId, out: &mut Outbox) {
        let t2 = self.config.timing.t2;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let State::Answered { server, dialog, ok, again, interval, give_up, .. } = &mut call.state else {
            return;
        };
        if *give_up <= ctx.now {
            let bye = dialog.request(Method::Bye);
            return self.leave(ctx, id, bye, out);
        }
        *interval = (*interval * 2).min(t2);
        *again = ctx.now + *interval;
        let (server, ok) = (*server, ok.clone());
        self.layer.respond(ctx.now, server, &ok, 200, &mut self.hub.sink(out));
    }
}
