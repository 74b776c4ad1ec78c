//! REGISTER, and what ends by itself.

use super::Exchange;
use crate::events::RegEvent;
use crate::location::Location;
use crate::registrar::Registration;
use crate::route;
use causeway_node::{Ctx, Outbox};
use causeway_sip::transaction::{Hop, ServerId};
use causeway_sip::{Message, Uri};
use causeway_store::record::Binding;
use std::time::Duration;

/// What waits for its records.
pub(super) struct Promise {
    /// The number of the last of them.
    pub(super) seq: u64,
    pub(super) promised: Promised,
}

/// What leaves once its records are on disk.
pub(super) enum Promised {
    /// A response.
    Answer { id: ServerId, status: u16, response: Vec<u8> },
    /// A request of our own.
    Send { token: u64, request: Vec<u8>, received: Option<Hop> },
}

impl Exchange {
    /// A REGISTER that may change the bindings of whom it names.
    pub(super) fn register(&mut self, ctx: &mut Ctx<'_>, id: ServerId, message: &Message, out: &mut Outbox) {
        let msg = message.msg();
        let to_us = Uri::parse(msg.request_uri()).is_some_and(|uri| route::is_local(&self.config, &uri));
        let aor = msg.to().and_then(|to| to.uri()).and_then(|uri| route::aor(&self.config, &uri));
        let (Some(aor), Some(from), true) = (aor, self.core.from(id), to_us) else {
            return self.reply(ctx, id, 404, out);
        };
        let watched = self.events.is_watched(&aor);
        let before = if watched { self.location.get(&aor).to_vec() } else { Vec::new() };
        let registration = Registration { config: &self.config, keys: &self.keys, aor: &aor, msg, from };
        let outcome = registration.carry_out(ctx, &mut self.location);
        self.counters.registered += u64::from(outcome.status == 200);
        let seq = outcome.records.into_iter().map(|record| out.persist(record)).last();
        self.plan_expiry(ctx);
        let (status, response) = (outcome.status, outcome.response);
        let promised = Promised::Answer { id, status, response };
        match seq {
            Some(seq) => self.promises.push_back(Promise { seq, promised }),
            None => self.keep_promise(ctx, promised, out),
        }
        if status == 200 {
            if watched {
                self.tell_registration(ctx, &aor, &before, RegEvent::Unregistered, out);
            }
            self.deliver_kept(ctx, &aor, out);
        }
    }

    /// What has been promised up to this record may leave.
    pub(super) fn persisted(&mut self, ctx: &mut Ctx<'_>, seq: u64, out: &mut Outbox) {
        self.unwritten.take_if(|last| *last <= seq);
        while let Some(promise) = self.promises.pop_front_if(|promise| promise.seq <= seq) {
            self.keep_promise(ctx, promise.promised, out);
        }
    }

    pub(super) fn keep_promise(&mut self, ctx: &mut Ctx<'_>, promised: Promised, out: &mut Outbox) {
        match promised {
            Promised::Answer { id, status, response } => {
                self.counters.answered_here(status);
                self.core.answer(ctx.now, id, status, &response, &mut self.hub.sink(out));
            }
            Promised::Send { token, request, received } => self.send_own(ctx, token, request, received, out),
        }
    }

    pub(super) fn plan_expiry(&mut self, ctx: &Ctx<'_>) {
        self.expiry = self
            .location
            .next_expiry()
            .map(|at| ctx.now + Duration::from_millis(at.saturating_sub(ctx.unix_ms)));
    }

    /// Removes the bindings that nobody has refreshed.
    pub(super) fn expire(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        let expired = self.location.expire(ctx.unix_ms);
        self.plan_expiry(ctx);
        for (aor, ended) in expired {
            for binding in &ended {
                out.persist(Location::removal(&aor, binding));
            }
            if self.events.is_watched(&aor) {
                let before: Vec<Binding> =
                    ended.into_iter().chain(self.location.get(&aor).to_vec()).collect();
                self.tell_registration(ctx, &aor, &before, RegEvent::Expired, out);
            }
        }
    }
}
