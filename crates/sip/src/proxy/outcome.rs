//! What becomes of the branches: responses, failures, and the choice of the best (RFC 3261 §16.7).

use super::context::BranchState;
use super::wire::with_all_challenges;
use super::{Core, Event};
use crate::transaction::{Failure, ServerId, Sink};
use crate::{Message, Method, response_to};
use causeway_node::Time;

impl Core {
    pub(super) fn on_response(
        &mut self,
        now: Time,
        (id, branch): (ServerId, usize),
        message: Message,
        sink: &mut impl Sink,
    ) {
        let timer_c = self.layer.timing().timer_c;
        let status = message.msg().status().unwrap_or(500);
        let Some(context) = self.contexts.get_mut(id) else {
            // Of a request that was released: to an INVITE there may be several, and each goes on (§16.7 item 5).
            if (200..300).contains(&status)
                && message.msg().cseq().is_some_and(|c| c.method == Method::Invite)
            {
                self.events.push_back(Event::Response { id, branch, message });
            }
            return;
        };
        context.branches[branch].heard = true;
        self.patience.cancel((id, branch));
        match status {
            ..=100 => {}
            101..=199 => {
                if context.is_invite() {
                    self.timer_c.set((id, branch), now + timer_c);
                }
                if context.wants_199() {
                    context.branches[branch].note_early(message.msg());
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
                self.on_refused(now, id, branch, status, Some(Box::new(message)), sink);
            }
        }
    }

    pub(super) fn on_failed(
        &mut self,
        now: Time,
        (id, branch): (ServerId, usize),
        why: Failure,
        sink: &mut impl Sink,
    ) {
        self.timer_c.cancel((id, branch));
        self.patience.cancel((id, branch));
        let status = match why {
            Failure::Timeout => 408,
            Failure::Transport => 503,
        };
        self.on_refused(now, id, branch, status, None, sink);
    }

    /// A branch has ended without a 2xx.
    fn on_refused(
        &mut self,
        now: Time,
        id: ServerId,
        branch: usize,
        status: u16,
        message: Option<Box<Message>>,
        sink: &mut impl Sink,
    ) {
        let Some(context) = self.contexts.get_mut(id) else { return };
        let over = context.answered || context.cancelled;
        let Some(copy) = context.branches.get_mut(branch) else { return };
        if matches!(copy.state, BranchState::Superseded(..) | BranchState::Deferred(..)) {
            return;
        }
        let unreachable = message.is_none() || matches!(status, 430 | 503);
        if copy.has_alternative && unreachable && !over {
            copy.state = BranchState::Deferred(message, status);
            return self.events.push_back(Event::Unreachable { id, branch, status });
        }
        copy.state = BranchState::Final(message, status);
        self.events.push_back(Event::Refused { id, branch, status });
        if status >= 600 {
            (context.open, context.declined) = (false, true);
            self.cancel_branches(now, id, sink);
        }
        self.tell_early_ends(now, id, branch, status, sink);
        self.settle(now, id, sink);
    }

    /// The early dialogs of a branch are over while others go on: the caller hears of it where it asked to
    /// (RFC 6228 §5).
    fn tell_early_ends(&mut self, now: Time, id: ServerId, branch: usize, status: u16, sink: &mut impl Sink) {
        let Some(context) = self.contexts.get_mut(id) else { return };
        let early = std::mem::take(&mut context.branches[branch].early);
        let last = context.exhausted() && !context.open;
        if early.is_empty() || last || context.answered || context.cancelled {
            return;
        }
        let reason = format!("SIP;cause={status}");
        let Some(request) = &context.request else { return };
        for tag in early {
            let told = response_to(request.msg(), 199, None, Some(&tag)).header("Reason", &reason);
            self.layer.respond(now, id, &told.finish(), 199, sink);
        }
    }

    /// Chooses the best response once all branches have failed.
    pub(super) fn settle(&mut self, now: Time, id: ServerId, sink: &mut impl Sink) {
        let Some(context) = self.contexts.get_mut(id) else { return };
        if context.answered || !context.exhausted() {
            return;
        }
        if context.open && !context.cancelled {
            return self.events.push_back(Event::Exhausted { id });
        }
        let Some((branch, status)) = context.best() else { return };
        let message = match &mut context.branches[branch].state {
            BranchState::Final(message, _) | BranchState::Superseded(message, _) => message.take(),
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
                context.set_answered();
                self.layer.abandon(id);
                self.events.push_back(Event::Answered { id, status: 408 });
            }
            None if context.cancelled => self.answer_from_here(now, id, 487, sink),
            None => self.answer_from_here(now, id, if status == 503 { 500 } else { status }, sink),
        }
    }

    pub(super) fn answer_from_here(&mut self, now: Time, id: ServerId, status: u16, sink: &mut impl Sink) {
        let Some(request) = self.contexts.get(id).and_then(|context| context.request.as_ref()) else {
            return;
        };
        let response = response_to(request.msg(), status, None, Some(b"cw-proxy")).finish();
        self.events.push_back(Event::Answered { id, status });
        self.answer(now, id, status, &response, sink);
    }
}
