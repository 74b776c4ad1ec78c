//! The event server of the exchange: who is told what, and when (RFC 6665, RFC 3903).
//!
//! [`Events`] answers SUBSCRIBE for the packages `presence` (RFC 3856) and `reg` (RFC 3680) and PUBLISH for
//! `presence`, keeps subscriptions and publications, and sends NOTIFY when something has changed. It is a plain
//! value: no sockets, no transactions. Whoever drives it
//! 1. makes it with [`Events::restore`] from the records of [`Events::SPACES`], and calls [`Events::resume`] once;
//! 2. hands over requests ([`Events::request`]), changed registrations ([`Events::registered`]) and the answers
//!    to what it sent ([`Events::outcome`]);
//! 3. calls [`Events::timeout`] at [`Events::deadline`];
//! 4. carries out the [`Action`]s **in order**: what stands behind a record leaves once that record is on disk.
//!
//! Packages other than these two pass through: a phone that serves `dialog`, a server that serves
//! `message-summary` ([`Events::handles`]).
//!
//! # A watcher's view
//! NOTIFY carries the full state always. At most one per [`Config::min_interval`] and one at a time; what
//! changes meanwhile is told by the next, and the latest state wins. A watcher that asks (SUBSCRIBE) is told at
//! once. A NOTIFY that fails ends the subscription (RFC 6665 §4.2.2), unless its answer names a time to wait.
//! Its CSeq numbers are reserved on disk in blocks, so that they never go back, without a write for each.
//!
//! # Who may watch
//! `presence`: by the user's [`Policy`]; without one, the users of the domain. `reg`: the user himself
//! (RFC 3680 §5.1 names nobody else by default).

mod answers;
mod config;
#[doc(hidden)]
pub mod fuzzing;
mod notify;
mod pidf;
mod publish;
mod reginfo;
mod resource;
mod show;
mod subscribe;
mod subscription;
pub(crate) mod text;
mod xml;

#[cfg(test)]
mod tests;

pub use causeway_store::record::{Decision, PresencePolicy as Policy};
pub use config::{Config, Derived};
pub use reginfo::{RegEvent, RegInfo};

use answers::Refusal;
use causeway_node::{Ctx, Record, Time, Timers};
use causeway_sip::transaction::{Hop, ServerId};
use causeway_sip::{Method, Msg};
use causeway_store::record::{self, Kind};
use resource::Resource;
use std::collections::HashMap;
use std::time::Duration;
use subscription::Subscription;

/// A request for the event server, already authenticated and routed here.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The transaction that waits for the answer.
    pub id: ServerId,
    /// The request.
    pub msg: Msg<'a>,
    /// The canonical address of record of its Request-URI; within a dialog it does not matter.
    pub resource: &'a [u8],
    /// The canonical address of record of its sender: as authenticated, else its From.
    pub who: &'a [u8],
    /// Where it came from.
    pub from: Hop,
    /// Host and port of the exchange on the transport of this request, for Contact.
    pub local: &'a str,
}

/// What shall happen. Actions are carried out in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Answer the request, once the records before it are on disk.
    Reply {
        /// The transaction.
        id: ServerId,
        /// The status.
        status: u16,
        /// The whole response.
        response: Vec<u8>,
    },
    /// Write this.
    Persist(Record),
    /// Send a request of our own, once the records before it are on disk. It is complete but for Via, which
    /// whoever sends adds. It goes to the first Route if there is one, else to the Request-URI.
    Send {
        /// Comes back with the outcome; every request gets exactly one.
        token: u64,
        /// The request.
        request: Vec<u8>,
        /// Where the user was last seen, if that is known: the way to somebody behind a NAT.
        received: Option<Hop>,
    },
}

/// What a timer is for. The number is that of a subscription or of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Due {
    Notify(u64),
    Expiry(u64),
    Publication(u64),
}

/// Counters for the status.
#[derive(Default)]
struct Counters {
    notified: u64,
    failed: u64,
    refused: u64,
    evicted: u64,
    unreadable: u64,
}

/// The event server.
pub struct Events {
    config: Config,
    subscriptions: HashMap<u64, Subscription>,
    /// By the tag that we gave.
    by_tag: HashMap<Vec<u8>, u64>,
    /// How many subscriptions each watcher has.
    watchers: HashMap<Vec<u8>, usize>,
    resources: HashMap<Vec<u8>, Resource>,
    /// Whose publication it is, by its number.
    publishers: HashMap<u64, Vec<u8>>,
    /// The bytes of all publications.
    published: usize,
    /// The subscription whose NOTIFY has this token.
    under_way: HashMap<u64, u64>,
    timers: Timers<Due>,
    serial: u64,
    /// Records of what had ended when it was read; removed by [`Events::resume`].
    stale: Vec<Record>,
    counters: Counters,
}

impl Events {
    /// The spaces whose records [`Events::restore`] takes.
    pub const SPACES: [&'static str; 3] =
        [record::Subscription::SPACE, record::Publication::SPACE, Policy::SPACE];
    /// Tokens are below this.
    pub const TOKENS: u64 = 1 << 62;
    /// Subscriptions of one watcher at most; a further one is refused with 403.
    pub const PER_WATCHER: usize = 500;
    /// Subscriptions to one user at most; a further one is refused with 503 and a time to wait.
    pub const PER_RESOURCE: usize = 500;
    /// Subscriptions in all at most; a further one is refused with 503 and a time to wait.
    pub const SUBSCRIPTIONS: usize = 200_000;
    /// Bytes of one publication at most; a longer body is refused with 413.
    pub const BODY: usize = 64 * 1024;
    /// Publications of one user at most; at a further one, that which would end first gives way.
    pub const PUBLICATIONS: usize = 16;
    /// Bytes of all publications at most; a further one is refused with 503 and a time to wait.
    pub const PUBLISHED: usize = 256 * 1024 * 1024;
    /// The longest wait that a watcher may ask for by Retry-After; longer ones are cut to it.
    pub const LONGEST_WAIT: Duration = Duration::from_secs(600);

    /// An event server with nothing to remember.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            subscriptions: HashMap::new(),
            by_tag: HashMap::new(),
            watchers: HashMap::new(),
            resources: HashMap::new(),
            publishers: HashMap::new(),
            published: 0,
            under_way: HashMap::new(),
            timers: Timers::default(),
            serial: 0,
            stale: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// An event server with what was stored, as (space, key, value), leaving out what has ended meanwhile.
    /// What cannot be read stays on disk and is counted in [`Events::status`].
    pub fn restore<S: AsRef<str>>(
        config: Config,
        stored: impl IntoIterator<Item = (S, Vec<u8>, Vec<u8>)>,
        unix_ms: u64,
    ) -> Self {
        let mut events = Self::new(config);
        for (space, key, value) in stored {
            let known = match space.as_ref() {
                record::Subscription::SPACE => events.restore_subscription(&key, &value, unix_ms),
                record::Publication::SPACE => events.restore_publication(&key, &value, unix_ms),
                Policy::SPACE => Policy::read(&value).ok().map(|policy| {
                    events.resources.entry(key).or_default().policy = Some(policy);
                }),
                _ => Some(()),
            };
            events.counters.unreadable += u64::from(known.is_none());
        }
        for resource in events.resources.values_mut() {
            resource.publications.sort_by(|a, b| (a.changed, &a.name).cmp(&(b.changed, &b.name)));
        }
        events
    }

    /// The user whom a stored record is about; `None` if it cannot be read, or is of no space of ours.
    pub(crate) fn resource_of(space: &str, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        match space {
            record::Subscription::SPACE => text::bytes(&record::Subscription::read(value).ok()?.resource),
            record::Publication::SPACE => Some(key.split(|byte| *byte == 0).next()?.to_vec()),
            Policy::SPACE => Some(key.to_vec()),
            _ => None,
        }
    }

    /// The beginning of a run: sets the timers, and tells every watcher the present state, spread over time.
    /// `bindings` knows the present contacts of an address of record.
    pub fn resume(
        &mut self,
        ctx: &mut Ctx<'_>,
        bindings: &dyn Fn(&[u8]) -> Vec<RegInfo>,
        actions: &mut Vec<Action>,
    ) {
        actions.extend(self.stale.drain(..).map(Action::Persist));
        for (aor, resource) in self.resources.iter_mut().filter(|(_, r)| !r.watchers.is_empty()) {
            let contacts = bound(&bindings(aor));
            resource.change(|resource| resource.contacts = contacts);
        }
        let mut ids: Vec<u64> = self.subscriptions.keys().copied().collect();
        ids.sort_unstable();
        let gap = Duration::from_secs(1) / self.config.restart_rate.max(1);
        for (turn, id) in (0u32..).zip(ids) {
            let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
            subscription.not_before = ctx.now + gap.saturating_mul(turn);
            self.timers.set(Due::Notify(id), subscription.not_before);
            let ends = later(ctx, subscription.expires);
            self.timers.set(Due::Expiry(id), ends);
        }
        for publication in self.resources.values().flat_map(|resource| &resource.publications) {
            self.timers.set(Due::Publication(publication.id), later(ctx, publication.expires));
        }
    }

    /// Whether SUBSCRIBE and PUBLISH with this Event value are served here; others are for somebody behind
    /// the exchange. What no such package can be, a template such as `presence.winfo` (RFC 6665 §7.2), is
    /// served here too, by a refusal.
    pub fn handles(event: &[u8]) -> bool {
        let end = event.iter().position(|byte| *byte == b';').unwrap_or(event.len());
        let name = event.get(..end).unwrap_or_default().trim_ascii();
        let base = name.split(|byte| *byte == b'.').next().unwrap_or_default();
        subscription::Package::of(base).is_some()
    }

    /// Takes a SUBSCRIBE or a PUBLISH. `bindings` knows the present contacts of an address of record.
    pub fn request(
        &mut self,
        ctx: &mut Ctx<'_>,
        asked: Asked<'_>,
        bindings: &dyn Fn(&[u8]) -> Vec<RegInfo>,
        actions: &mut Vec<Action>,
    ) {
        let done = match asked.msg.method() {
            Method::Subscribe => self.subscribe(ctx, &asked, bindings, actions),
            Method::Publish => self.publish(ctx, &asked, actions),
            _ => Err(Refusal::new(405).with("Allow", "SUBSCRIBE, PUBLISH")),
        };
        if let Err(refusal) = done {
            self.counters.refused += 1;
            let (id, status) = (asked.id, refusal.status);
            let response = refusal.response(ctx, asked.msg);
            actions.push(Action::Reply { id, status, response });
        }
    }

    /// The registration of an address of record has changed: `contacts` are those bound now, and those that
    /// have ended by this change ([`RegEvent::ends`]).
    pub fn registered(
        &mut self,
        ctx: &mut Ctx<'_>,
        aor: &[u8],
        contacts: &[RegInfo],
        actions: &mut Vec<Action>,
    ) {
        let Some(resource) = self.resources.get(aor).filter(|resource| !resource.watchers.is_empty()) else {
            return;
        };
        let watchers: Vec<u64> = resource.watchers.iter().copied().collect();
        let present = bound(contacts);
        self.change(ctx, aor, |resource| resource.contacts = present, actions);
        for id in watchers {
            let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
            if subscription.package == subscription::Package::Reg {
                subscription.note_ended(contacts);
                subscription.changed = true;
                self.tell(ctx, id, actions);
            }
        }
    }

    /// Whether anybody watches this address of record, so that changes of its registration are of interest.
    pub fn is_watched(&self, aor: &[u8]) -> bool {
        self.resources.get(aor).is_some_and(|resource| !resource.watchers.is_empty())
    }

    /// When [`Events::timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Does what is due.
    pub fn timeout(&mut self, ctx: &mut Ctx<'_>, actions: &mut Vec<Action>) {
        while let Some(due) = self.timers.pop(ctx.now) {
            match due {
                Due::Notify(id) => self.tell(ctx, id, actions),
                Due::Expiry(id) => self.end(ctx, id, subscription::Reason::Timeout, actions),
                Due::Publication(id) => self.publication_expired(ctx, id, actions),
            }
        }
    }

    /// Sets who may watch a user's presence; `None` goes back to the default. Present watchers are told what
    /// they are granted now: who waited for confirmation gets the state, who is refused is sent away.
    pub fn set_policy(
        &mut self,
        ctx: &mut Ctx<'_>,
        aor: &[u8],
        policy: Option<Policy>,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Persist(match &policy {
            Some(policy) => policy.record(aor),
            None => Policy::removal(aor),
        }));
        let resource = self.resources.entry(aor.to_vec()).or_default();
        resource.policy = policy;
        let watchers: Vec<u64> = resource.watchers.iter().copied().collect();
        for id in watchers {
            self.decide_again(ctx, id, actions);
        }
        self.prune(aor);
    }

    /// Changes the state of a user, and tells who watches if that makes a difference for presence.
    fn change(
        &mut self,
        ctx: &mut Ctx<'_>,
        aor: &[u8],
        change: impl FnOnce(&mut Resource),
        actions: &mut Vec<Action>,
    ) {
        let derived = self.config.derived;
        let resource = self.resources.entry(aor.to_vec()).or_default();
        if resource.watchers.is_empty() {
            resource.change(change);
            return self.prune(aor);
        }
        let before = resource.presence(aor, derived).to_vec();
        resource.change(change);
        if resource.presence(aor, derived) == before {
            return;
        }
        let watchers: Vec<u64> = resource.watchers.iter().copied().collect();
        for id in watchers {
            let Some(subscription) = self.subscriptions.get_mut(&id) else { continue };
            let told = subscription.decision == Decision::Allow;
            if told && subscription.package == subscription::Package::Presence {
                subscription.changed = true;
                self.tell(ctx, id, actions);
            }
        }
    }

    /// Forgets a user of whom there is nothing to remember.
    fn prune(&mut self, aor: &[u8]) {
        if self.resources.get(aor).is_some_and(Resource::is_empty) {
            self.resources.remove(aor);
        }
    }

    fn next_id(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn restore_subscription(&mut self, tag: &[u8], value: &[u8], unix_ms: u64) -> Option<()> {
        let subscription = Subscription::restore(tag, value, self.config.udp)?;
        if subscription.expires > unix_ms {
            self.insert(subscription);
        } else {
            self.stale.push(subscription.removal());
        }
        Some(())
    }

    /// Adds a subscription to all tables.
    fn insert(&mut self, subscription: Subscription) -> u64 {
        let id = self.next_id();
        self.by_tag.insert(subscription.dialog.local_tag.clone(), id);
        *self.watchers.entry(subscription.watcher.clone()).or_default() += 1;
        self.resources.entry(subscription.resource.clone()).or_default().watchers.insert(id);
        self.subscriptions.insert(id, subscription);
        id
    }

    /// Removes a subscription from all tables.
    fn forget(&mut self, id: u64) {
        let Some(subscription) = self.subscriptions.remove(&id) else { return };
        self.by_tag.remove(&subscription.dialog.local_tag);
        if let Some(token) = subscription.under_way {
            self.under_way.remove(&token);
        }
        self.timers.cancel(Due::Notify(id));
        self.timers.cancel(Due::Expiry(id));
        if let Some(count) = self.watchers.get_mut(&subscription.watcher) {
            *count -= 1;
            if *count == 0 {
                self.watchers.remove(&subscription.watcher);
            }
        }
        if let Some(resource) = self.resources.get_mut(&subscription.resource) {
            resource.watchers.remove(&id);
            self.prune(&subscription.resource);
        }
    }
}

/// The moment of a time in milliseconds since 1970.
fn later(ctx: &Ctx<'_>, unix_ms: u64) -> Time {
    ctx.now + Duration::from_millis(unix_ms.saturating_sub(ctx.unix_ms))
}

/// Those contacts that are bound.
fn bound(contacts: &[RegInfo]) -> Vec<RegInfo> {
    contacts.iter().filter(|contact| !contact.event.ends()).cloned().collect()
}
