//! NOTIFY (RFC 6665 §4.2.2): when it is sent, what it says, and what its answer means.

use super::resource::absence;
use super::subscribe::is_sip;
use super::subscription::{Package, Reason, Subscription};
use super::{Action, Decision, Due, Events, reginfo};
use causeway_node::Ctx;
use causeway_sip::{HeaderId, Method, Msg};
use std::time::Duration;

/// What the answer to a NOTIFY means.
enum Verdict {
    Told,
    Wait(Duration),
    Gone,
}

impl Events {
    /// Tells a watcher now, however short ago it was told before.
    pub(super) fn tell_at_once(&mut self, ctx: &mut Ctx<'_>, id: u64, actions: &mut Vec<Action>) {
        if let Some(subscription) = self.subscriptions.get_mut(&id) {
            subscription.changed = true;
            subscription.not_before = ctx.now;
            self.tell(ctx, id, actions);
        }
    }

    /// Tells a watcher what has changed: now, or as soon as it may be told.
    pub(super) fn tell(&mut self, ctx: &mut Ctx<'_>, id: u64, actions: &mut Vec<Action>) {
        let Some(subscription) = self.subscriptions.get(&id) else { return };
        if !subscription.changed || subscription.under_way.is_some() {
            return;
        }
        if ctx.now < subscription.not_before {
            return self.timers.set(Due::Notify(id), subscription.not_before);
        }
        self.timers.cancel(Due::Notify(id));
        self.notify(ctx, id, actions);
    }

    fn notify(&mut self, ctx: &mut Ctx<'_>, id: u64, actions: &mut Vec<Action>) {
        let token = self.next_id();
        let interval = self.config.min_interval;
        let Some(body) = self.subscriptions.get(&id).map(Subscription::document_kind) else { return };
        let document = self.document(ctx, id, body);
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        if subscription.dialog.local_cseq >= subscription.reserved {
            subscription.reserved = subscription.dialog.local_cseq.saturating_add(Subscription::BLOCK);
            // Of one that has ended nothing is on disk any more: no later run can use its numbers again.
            if subscription.end.is_none() {
                actions.push(Action::Persist(subscription.record()));
            }
        }
        let mut request = subscription
            .dialog
            .request(Method::Notify)
            .header("Contact", &subscription.contact)
            .header("Event", subscription.event())
            .header("Subscription-State", subscription.state(ctx.unix_ms));
        if let Some(document) = document {
            request = request.body(subscription.package.media_type(), document);
        }
        subscription.changed = false;
        subscription.final_sent = subscription.end.is_some();
        subscription.under_way = Some(token);
        subscription.not_before = ctx.now + interval;
        subscription.ended.clear();
        let received = subscription.received;
        self.under_way.insert(token, id);
        self.counters.notified += 1;
        actions.push(Action::Send { token, request: request.finish(), received });
    }

    /// The state that a watcher may know.
    fn document(&mut self, ctx: &Ctx<'_>, id: u64, kind: DocumentKind) -> Option<Vec<u8>> {
        let subscription = self.subscriptions.get(&id)?;
        let resource = self.resources.get_mut(&subscription.resource)?;
        let aor = subscription.resource.as_slice();
        match kind {
            DocumentKind::None => None,
            DocumentKind::Absence => Some(absence(aor)),
            DocumentKind::Presence => Some(resource.presence(aor, self.config.derived).to_vec()),
            DocumentKind::Registration => {
                let contacts = resource.contacts.iter().chain(&subscription.ended);
                // Versions count from 0 by one for each NOTIFY (RFC 3680 §5.1): so does CSeq from 1.
                let version = subscription.dialog.local_cseq;
                Some(reginfo::document(aor, version, contacts, ctx.unix_ms))
            }
        }
    }

    /// Ends a subscription, and tells the watcher.
    pub(super) fn end(&mut self, ctx: &mut Ctx<'_>, id: u64, reason: Reason, actions: &mut Vec<Action>) {
        let Some(subscription) = self.subscriptions.get_mut(&id).filter(|s| s.end.is_none()) else { return };
        subscription.end = Some(reason);
        actions.push(Action::Persist(subscription.removal()));
        self.timers.cancel(Due::Expiry(id));
        self.tell_at_once(ctx, id, actions);
    }

    /// The answer to a request that was sent: the final one, or none if there was none in time or the request
    /// could not be sent.
    pub fn outcome(
        &mut self,
        ctx: &mut Ctx<'_>,
        token: u64,
        answer: Option<Msg<'_>>,
        actions: &mut Vec<Action>,
    ) {
        let Some(id) = self.under_way.remove(&token) else { return };
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        subscription.under_way = None;
        match verdict(answer) {
            _ if subscription.final_sent => self.forget(id),
            Verdict::Told => {
                // NOTIFY refreshes the target, and so does its answer (RFC 3261 §12.2.1.2).
                let target = answer.and_then(|msg| msg.contact()).map(|contact| contact.uri);
                if target.is_some_and(|uri| is_sip(uri) && uri != subscription.dialog.target) {
                    answer.into_iter().for_each(|msg| subscription.dialog.refresh(msg));
                    if subscription.end.is_none() {
                        actions.push(Action::Persist(subscription.record()));
                    }
                }
                self.tell(ctx, id, actions);
            }
            Verdict::Wait(wait) => {
                self.counters.failed += 1;
                subscription.changed = true;
                let wait = wait.clamp(self.config.min_interval.min(Self::LONGEST_WAIT), Self::LONGEST_WAIT);
                subscription.not_before = ctx.now + wait;
                self.tell(ctx, id, actions);
            }
            Verdict::Gone => {
                self.counters.failed += 1;
                if subscription.end.is_none() {
                    actions.push(Action::Persist(subscription.removal()));
                }
                self.forget(id);
            }
        }
    }
}

/// What a NOTIFY says.
#[derive(Clone, Copy)]
enum DocumentKind {
    None,
    Absence,
    Presence,
    Registration,
}

impl Subscription {
    fn document_kind(&self) -> DocumentKind {
        match (self.package, self.decision) {
            _ if self.end == Some(Reason::Rejected) => DocumentKind::None,
            (Package::Reg, _) => DocumentKind::Registration,
            (Package::Presence, Decision::Allow) => DocumentKind::Presence,
            (Package::Presence, _) => DocumentKind::Absence,
        }
    }
}

/// A NOTIFY has failed without an answer, and by any error that names no time to try again (RFC 6665 §4.2.2);
/// 481 says in any case that the watcher knows nothing of it.
fn verdict(answer: Option<Msg<'_>>) -> Verdict {
    let Some(msg) = answer else { return Verdict::Gone };
    match (msg.status().unwrap_or_default(), retry_after(msg)) {
        (200..=299, _) => Verdict::Told,
        (481, _) | (_, None) => Verdict::Gone,
        (_, Some(wait)) => Verdict::Wait(wait),
    }
}

/// Retry-After: seconds, with a comment or parameters after them (RFC 3261 §20.33).
fn retry_after(msg: Msg<'_>) -> Option<Duration> {
    let value = msg.header(HeaderId::RetryAfter)?.trim_ascii();
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(value.get(..digits)?).ok()?;
    number.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}
