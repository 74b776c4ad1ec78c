//! SUBSCRIBE (RFC 6665 §4.2.1).

use super::answers::{self, Refusal, token};
use super::subscription::{Package, Reason, Subscription};
use super::{Action, Asked, Decision, Due, Events, RegInfo, bound, later};
use causeway_node::{Ctx, Time};
use causeway_sip::transaction::Transport;
use causeway_sip::ua::Dialog;
use causeway_sip::{Uri, response_to};
use std::time::Duration;

impl Events {
    pub(super) fn subscribe(
        &mut self,
        ctx: &mut Ctx<'_>,
        asked: &Asked<'_>,
        bindings: &dyn Fn(&[u8]) -> Vec<RegInfo>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let msg = asked.msg;
        let (package, event_id) = answers::package(msg)?;
        if msg.to_tag().is_some() {
            return self.resubscribe(ctx, asked, package, event_id, actions);
        }
        answers::nothing_required(msg)?;
        if !answers::accepts(msg, package.media_type()) {
            return Err(not_acceptable(package));
        }
        let expires = self.subscription_time(asked, package)?;
        let decision = self.decide(package, asked.resource, asked.who);
        if decision == Decision::Block {
            return Err(Refusal::new(403));
        }
        self.room_for(asked)?;
        let dialog = Dialog::of_callee(msg, &token(ctx))
            .filter(|dialog| is_sip(&dialog.target))
            .ok_or_else(|| Refusal::new(400).because("no Contact of the SIP scheme"))?;
        // Who watches already has been told; for the first watcher they are news.
        let contacts = bound(&bindings(asked.resource));
        self.change(ctx, asked.resource, |resource| resource.contacts.clone_from(&contacts), actions);
        let id = self.insert(Subscription {
            dialog,
            package,
            event_id: event_id.map(<[u8]>::to_vec),
            resource: asked.resource.to_vec(),
            watcher: asked.who.to_vec(),
            contact: contact(asked),
            decision,
            expires: ctx.unix_ms + expires * 1000,
            reserved: Subscription::BLOCK,
            received: Some(asked.from),
            changed: true,
            under_way: None,
            not_before: Time::ZERO,
            end: None,
            final_sent: false,
            ended: Vec::new(),
        });
        if let Some(resource) = self.resources.get_mut(asked.resource) {
            resource.change(|resource| resource.contacts = contacts);
        }
        self.granted(ctx, asked, id, expires, actions);
        Ok(())
    }

    /// A SUBSCRIBE within a dialog: it refreshes the subscription, or ends it.
    fn resubscribe(
        &mut self,
        ctx: &mut Ctx<'_>,
        asked: &Asked<'_>,
        package: Package,
        event_id: Option<&[u8]>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let msg = asked.msg;
        let id = msg.to_tag().and_then(|tag| self.by_tag.get(tag)).copied();
        let subscription = id
            .and_then(|id| self.subscriptions.get_mut(&id).map(|subscription| (id, subscription)))
            .filter(|(_, subscription)| subscription.matches(msg, package, event_id))
            .filter(|(_, subscription)| subscription.end.is_none());
        let Some((id, subscription)) = subscription else { return Err(Refusal::new(481)) };
        if subscription.watcher != asked.who {
            return Err(Refusal::new(403));
        }
        let cseq = msg.cseq().map(|cseq| cseq.number);
        if cseq <= subscription.dialog.remote_cseq {
            // RFC 3261 §12.2.2: out of order.
            return Err(Refusal::new(500).because("CSeq not higher than that of an earlier request"));
        }
        subscription.dialog.remote_cseq = cseq;
        answers::nothing_required(msg)?;
        if !answers::accepts(msg, package.media_type()) {
            return Err(not_acceptable(package));
        }
        let expires = self.subscription_time(asked, package)?;
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return Err(Refusal::new(481)) };
        if msg.contact().is_some_and(|contact| is_sip(contact.uri)) {
            subscription.dialog.refresh(msg);
        }
        subscription.received = Some(asked.from);
        subscription.expires = ctx.unix_ms + expires * 1000;
        self.granted(ctx, asked, id, expires, actions);
        Ok(())
    }

    /// The 200 with its record before it, and the NOTIFY that follows at once (§4.2.1.2). Without time, it is
    /// the last one: a fetch, or the end.
    fn granted(
        &mut self,
        ctx: &mut Ctx<'_>,
        asked: &Asked<'_>,
        id: u64,
        expires: u64,
        actions: &mut Vec<Action>,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        let fetch = expires == 0 && asked.msg.to_tag().is_none();
        if expires > 0 {
            actions.push(Action::Persist(subscription.record()));
            self.timers.set(Due::Expiry(id), later(ctx, subscription.expires));
        } else if !fetch {
            actions.push(Action::Persist(subscription.removal()));
        }
        let response = response_to(asked.msg, 200, None, Some(&subscription.dialog.local_tag))
            .record_routes()
            .header("Contact", &subscription.contact)
            .header("Expires", expires.to_string())
            .finish();
        actions.push(Action::Reply { id: asked.id, status: 200, response });
        if expires == 0 {
            subscription.end = Some(Reason::Timeout);
            self.timers.cancel(Due::Expiry(id));
        }
        self.tell_at_once(ctx, id, actions);
    }

    fn subscription_time(&self, asked: &Asked<'_>, package: Package) -> Result<u64, Refusal> {
        let (min, max) = (seconds(self.config.min_expires), seconds(self.config.max_expires));
        answers::granted(asked.msg, package.default_expires(), min, max)
    }

    /// What a watcher is granted.
    pub(super) fn decide(&self, package: Package, resource: &[u8], watcher: &[u8]) -> Decision {
        if resource == watcher {
            return Decision::Allow;
        }
        if package == Package::Reg {
            return Decision::Block;
        }
        let policy = self.resources.get(resource).and_then(|resource| resource.policy.as_ref());
        let named = |policy: &super::Policy| {
            let name = std::str::from_utf8(watcher).ok()?;
            policy.watchers.get(name).copied()
        };
        match policy {
            Some(policy) => named(policy).unwrap_or(policy.others),
            None if is_of(watcher, &self.config.domain) => Decision::Allow,
            None => Decision::Block,
        }
    }

    /// Applies a changed policy to a present subscription.
    pub(super) fn decide_again(&mut self, ctx: &mut Ctx<'_>, id: u64, actions: &mut Vec<Action>) {
        let Some(subscription) = self.subscriptions.get(&id).filter(|s| s.end.is_none()) else { return };
        let decision = self.decide(subscription.package, &subscription.resource, &subscription.watcher);
        if decision == subscription.decision {
            return;
        }
        if decision == Decision::Block {
            return self.end(ctx, id, Reason::Rejected, actions);
        }
        let Some(subscription) = self.subscriptions.get_mut(&id) else { return };
        subscription.decision = decision;
        subscription.changed = true;
        actions.push(Action::Persist(subscription.record()));
        self.tell(ctx, id, actions);
    }

    fn room_for(&self, asked: &Asked<'_>) -> Result<(), Refusal> {
        let of_resource = self.resources.get(asked.resource).map_or(0, |resource| resource.watchers.len());
        if self.watchers.get(asked.who).is_some_and(|count| *count >= Self::PER_WATCHER) {
            return Err(Refusal::new(403).because("too many subscriptions of this watcher"));
        }
        if of_resource >= Self::PER_RESOURCE || self.subscriptions.len() >= Self::SUBSCRIPTIONS {
            return Err(Refusal::full("too many subscriptions"));
        }
        Ok(())
    }
}

fn not_acceptable(package: Package) -> Refusal {
    Refusal::new(406).because(&format!("{} is told as {}", package.name(), package.media_type()))
}

/// Our own Contact of a dialog: the exchange, with the user's name, by the transport that the watcher uses.
fn contact(asked: &Asked<'_>) -> Vec<u8> {
    let user = Uri::parse(asked.resource).and_then(|uri| uri.user);
    let transport = match asked.from.transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls | Transport::Tunnel => ";transport=tls",
    };
    let mut value = b"<sip:".to_vec();
    if let Some(user) = user {
        value.extend_from_slice(user);
        value.push(b'@');
    }
    value.extend_from_slice(asked.local.as_bytes());
    value.extend_from_slice(transport.as_bytes());
    value.push(b'>');
    value
}

/// Whether a Contact URI is one that a NOTIFY can be sent to, and that cannot break out of its line.
pub(super) fn is_sip(target: &[u8]) -> bool {
    let plain = target.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"'));
    plain && Uri::parse(target).is_some_and(|uri| uri.scheme.is_sip())
}

fn is_of(aor: &[u8], domain: &str) -> bool {
    Uri::parse(aor).is_some_and(|uri| uri.host.eq_ignore_ascii_case(domain.as_bytes()))
}

/// Whole seconds.
pub(super) fn seconds(duration: Duration) -> u64 {
    duration.as_secs()
}
