//! What is refused under load before it costs anything ([`crate::overload`]).

use super::Exchange;
use crate::overload::{self, Shed};
use causeway_node::{Ctx, Outbox};
use causeway_sip::transaction::{Hop, respond_statelessly};
use causeway_sip::{HeaderId, Msg, response_to};

/// Answers without a transaction have lengths that are multiples of this, so that those for one peer can leave together.
pub(super) const EVEN: usize = 128;

/// Whether a request, valid or not, has what its answer is made of.
fn is_answerable(msg: Msg<'_>) -> bool {
    let needed = [HeaderId::Via, HeaderId::From, HeaderId::To, HeaderId::CallId, HeaderId::CSeq];
    needed.into_iter().all(|id| msg.has(id))
}

impl Exchange {
    /// Looks at a message before it is judged. Says whether it was refused or left unanswered.
    pub(super) fn shed(&mut self, ctx: &mut Ctx<'_>, from: Hop, msg: Msg<'_>, out: &mut Outbox) -> bool {
        self.load.pass(ctx.now);
        let transactions = self.core.under_way();
        if !self.load.is_high(transactions) || !overload::begins(msg) || !is_answerable(msg) {
            return false;
        }
        let shed = self.load.shed(transactions, self.gatekeeper.is_given(msg));
        if shed == Shed::No || self.core.knows(msg) {
            return false;
        }
        self.counters.shed += 1;
        if shed == Shed::Refuse {
            // Not all at the same moment again.
            let seconds = 5 + ctx.rng.next_u32() % 10;
            let answer = |msg: Msg<'_>| {
                let response = response_to(msg, 503, None, Some(&self.tags.tag(msg)));
                response.header("Retry-After", seconds.to_string()).finish_even(EVEN)
            };
            respond_statelessly(from, msg, answer, &mut self.hub.sink(out));
        }
        true
    }
}
