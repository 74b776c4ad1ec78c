//! REGISTER, and what ends by itself.

use super::Exchange;
use crate::registrar::Registration;
use crate::route;
use causeway_node::{Ctx, Outbox, Time};
use causeway_sip::transaction::ServerId;
use causeway_sip::{Message, Uri};
use std::time::Duration;

/// A response that waits for its records.
pub(super) struct Promise {
    pub(super) seq: u64,
    pub(super) id: ServerId,
    pub(super) status: u16,
    pub(super) response: Vec<u8>,
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
        let registration = Registration { config: &self.config, keys: &self.keys, aor: &aor, msg, from };
        let outcome = registration.carry_out(ctx, &mut self.location);
        self.counters.registered += u64::from(outcome.status == 200);
        let seq = outcome.records.into_iter().map(|record| out.persist(record)).last();
        self.plan_expiry(ctx);
        let (status, response) = (outcome.status, outcome.response);
        match seq {
            Some(seq) => self.promises.push_back(Promise { seq, id, status, response }),
            None => self.core.answer(ctx.now, id, status, &response, &mut self.hub.sink(out)),
        }
    }

    /// What has been promised up to this record may leave.
    pub(super) fn persisted(&mut self, now: Time, seq: u64, out: &mut Outbox) {
        while let Some(promise) = self.promises.pop_front_if(|promise| promise.seq <= seq) {
            let sink = &mut self.hub.sink(out);
            self.core.answer(now, promise.id, promise.status, &promise.response, sink);
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
        let (records, _concerned) = self.location.expire(ctx.unix_ms);
        for record in records {
            out.persist(record);
        }
        self.plan_expiry(ctx);
    }
}
