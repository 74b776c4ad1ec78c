//! Calls that we make, and the end of any call (RFC 3261 §13.2, §15).

use super::agent::{CallId, End, Event, Purpose, UserAgent};
use super::call::{Call, State};
use super::dialog::Dialog;
use crate::transaction::{Branch, ClientId, Sink};
use crate::{HeaderId, Message, Method, RequestBuilder};
use causeway_node::{Ctx, Outbox};

impl UserAgent {
    /// Calls `uri` with this session description.
    pub fn call(&mut self, ctx: &mut Ctx<'_>, uri: &str, offer: Vec<u8>, out: &mut Outbox) -> Option<CallId> {
        let call_id = Self::random_token(ctx);
        let tag = Self::random_token(ctx);
        let request = RequestBuilder::new(Method::Invite, uri.as_bytes())
            .max_forwards(70)
            .header("From", [format!("<{}>;tag=", self.config.aor).as_bytes(), &tag].concat())
            .header("To", format!("<{uri}>"))
            .header("Call-ID", call_id)
            .cseq(1, Method::Invite)
            .header("Contact", self.contact())
            .header("Allow", super::agent::ALLOW)
            .body("application/sdp", offer.clone());
        let next = CallId(u64::MAX);
        let (client, invite) = self.send(ctx, request, Purpose::Invite(next), out)?;
        let state = State::Calling { client, invite, cancelled: false, challenged: false };
        let id = self.new_call(Call { state, offer });
        self.purposes.insert(client, Purpose::Invite(id));
        Some(id)
    }

    /// Ends a call, whatever state it is in: CANCEL, BYE, or 486 while it rings here.
    pub fn hang_up(&mut self, ctx: &mut Ctx<'_>, id: CallId, out: &mut Outbox) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match &mut call.state {
            State::Calling { client, cancelled, .. } => {
                *cancelled = true;
                let client = *client;
                self.layer.cancel(ctx.now, client, &mut self.hub.sink(out));
            }
            State::Ringing { .. } => self.reject(ctx, id, 486, out),
            State::Answered { dialog, .. } | State::Established { dialog, .. } => {
                let bye = dialog.request(Method::Bye);
                self.leave(ctx, id, bye, out);
            }
            State::Leaving => {}
        }
    }

    pub(super) fn leave(&mut self, ctx: &mut Ctx<'_>, id: CallId, bye: RequestBuilder, out: &mut Outbox) {
        self.send(ctx, bye, Purpose::Bye(id), out);
        if let Some(call) = self.calls.get_mut(&id) {
            call.state = State::Leaving;
        }
    }

    pub(super) fn on_invite_response(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: CallId,
        client: ClientId,
        response: &Message,
        out: &mut Outbox,
    ) {
        let msg = response.msg();
        let status = msg.status().unwrap_or(0);
        match status {
            ..=100 => {}
            101..200 => {
                let answer = msg.body().to_vec();
                self.events.push_back(Event::Ringing { call: id, answer });
            }
            200..300 => self.accepted(ctx, id, client, response, out),
            401 | 407 => self.challenged(ctx, id, response, out),
            _ => self.refused(id, status),
        }
    }

    fn refused(&mut self, id: CallId, status: u16) {
        let Some(call) = self.calls.get(&id) else { return };
        let why = match call.state {
            State::Calling { cancelled: true, .. } => End::ByUs,
            _ => End::Refused(status),
        };
        self.end(id, why);
    }

    /// Every 2xx is acknowledged, a repeated one with the same ACK (§13.2.2.4); that of a call which we have
    /// given up, or of a second fork, is ended by BYE at once.
    fn accepted(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: CallId,
        client: ClientId,
        response: &Message,
        out: &mut Outbox,
    ) {
        let msg = response.msg();
        let hop = self.hop(ctx.now, out);
        match self.calls.get(&id).map(|call| &call.state) {
            Some(State::Established { dialog, ack: Some(ack) })
                if msg.to_tag() == Some(dialog.remote_tag.as_slice()) =>
            {
                let ack = ack.clone();
                self.hub.sink(out).send(&hop, &ack)
            }
            Some(State::Calling { client: ours, invite, cancelled, .. }) if *ours == client => {
                let (invite, cancelled) = (invite.clone(), *cancelled);
                let Some((mut dialog, ack)) = self.acknowledge(ctx, &invite, response, out) else { return };
                if cancelled {
                    let bye = dialog.request(Method::Bye);
                    return self.leave(ctx, id, bye, out);
                }
                if let Some(call) = self.calls.get_mut(&id) {
                    call.state = State::Established { dialog, ack: Some(ack) };
                }
                let answer = msg.body().to_vec();
                self.events.push_back(Event::Answered { call: id, answer });
            }
            _ => self.decline_fork(ctx, response, out),
        }
    }

    fn acknowledge(
        &mut self,
        ctx: &mut Ctx<'_>,
        invite: &Message,
        response: &Message,
        out: &mut Outbox,
    ) -> Option<(Dialog, Vec<u8>)> {
        let dialog = Dialog::of_caller(invite.msg(), response.msg())?;
        let branch = Branch::new(ctx);
        let mut ack = dialog.request_with(Method::Ack, dialog.local_cseq).header("Via", self.via(branch));
        // §22.1: an ACK carries the credentials of its INVITE.
        for value in invite.msg().all(HeaderId::ProxyAuthorization) {
            ack = ack.header("Proxy-Authorization", value);
        }
        let ack = ack.finish();
        let hop = self.hop(ctx.now, out);
        self.hub.sink(out).send(&hop, &ack);
        Some((dialog, ack))
    }

    /// A 2xx that nobody wants: from another fork, or repeated after we left. Its dialog is built from the
    /// response alone, which repeats From, Call-ID and CSeq of our INVITE.
    fn decline_fork(&mut self, ctx: &mut Ctx<'_>, response: &Message, out: &mut Outbox) {
        let Some((mut dialog, _)) = self.acknowledge(ctx, response, response, out) else { return };
        let bye = dialog.request(Method::Bye);
        self.send(ctx, bye, Purpose::Bye(CallId(u64::MAX)), out);
    }

    /// Repeats the INVITE with credentials: same Call-ID, tag and To, next CSeq (§22.2).
    fn challenged(&mut self, ctx: &mut Ctx<'_>, id: CallId, response: &Message, out: &mut Outbox) {
        let status = response.msg().status().unwrap_or(401);
        let Some(Call { state: State::Calling { invite, cancelled, challenged, .. }, offer }) =
            self.calls.get(&id)
        else {
            return;
        };
        if *challenged || *cancelled {
            return self.refused(id, status);
        }
        let (invite, offer) = (invite.clone(), offer.clone());
        let old = invite.msg();
        let answer = self.authorization(ctx, response.msg(), Method::Invite, old.request_uri());
        let Some((name, value)) = answer else { return self.refused(id, status) };
        let cseq = old.cseq().map_or(1, |cseq| cseq.number) + 1;
        let mut request = RequestBuilder::new(Method::Invite, old.request_uri()).max_forwards(70);
        for header in [HeaderId::From, HeaderId::To, HeaderId::CallId] {
            request = request.header(header.name(), old.header(header).unwrap_or_default());
        }
        let request = request
            .cseq(cseq, Method::Invite)
            .header("Contact", self.contact())
            .header("Allow", super::agent::ALLOW)
            .header(name, value)
            .body("application/sdp", offer);
        let sent = self.send(ctx, request, Purpose::Invite(id), out);
        if let (Some((client, invite)), Some(call)) = (sent, self.calls.get_mut(&id)) {
            call.state = State::Calling { client, invite, cancelled: false, challenged: true };
        }
    }
}
