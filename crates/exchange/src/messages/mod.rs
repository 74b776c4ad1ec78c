//! Messages for users who are not there (RFC 3428): kept, and delivered when they come back.
//!
//! [`Messages::keep`] takes a MESSAGE that nobody could be found for, and answers 202 once it is on disk.
//! [`Messages::registered`] begins to deliver: in the order in which they came, the next after the answer to the
//! one before. What a 2xx has answered is removed; what was not answered, or by 408, 480 or 5xx, waits for the
//! next registration, and so do those behind it. What the user's own phone refuses is tried
//! [`Messages::TRIES`] times, and does not hold up the others.
//!
//! Whoever drives it sees to it that `keep` is asked only for users that exist, and for senders that may send to
//! them. It calls [`Messages::resume`] once, [`Messages::timeout`] at [`Messages::deadline`], and carries out the
//! [`Action`]s in order. Tokens are [`Messages::FIRST_TOKEN`] and above, apart from those of the event server.
//!
//! A delivered message is a new request with what the sender wrote: From, To, body and all header fields that
//! are not about the way it took. Its Date says when it was sent, or when it came here.

mod queue;

#[cfg(test)]
mod tests;

use crate::events::{Action, text};
use causeway_node::{Ctx, Metrics, Record, Status, Time, Timers};
use causeway_sip::transaction::{Hop, ServerId};
use causeway_sip::{HeaderId, Msg, response_to};
use causeway_store::record::{Kind, StoredMessage};
use queue::{Kept, Queue};
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;

/// The settings of a message store.
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest time that a message is kept; its Expires may say less.
    pub max_age: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(7 * 24 * 3600) }
    }
}

/// Where a user is now: a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The contact URI.
    pub uri: Vec<u8>,
    /// Route values on the way to it (RFC 3327), first hop first.
    pub routes: Vec<Vec<u8>>,
    /// The flow or address by which it registered, if that is how it is reached.
    pub received: Option<Hop>,
}

/// Counters for the status.
#[derive(Default)]
struct Counters {
    kept: u64,
    delivered: u64,
    expired: u64,
    undeliverable: u64,
    refused: u64,
    unreadable: u64,
}

/// The message store.
pub struct Messages {
    config: Config,
    queues: HashMap<Vec<u8>, Queue>,
    /// For whom a message is, by its number.
    owners: HashMap<u64, Vec<u8>>,
    /// For whom the message with this token is.
    under_way: HashMap<u64, Vec<u8>>,
    bytes: usize,
    /// The number of the last message.
    number: u64,
    token: u64,
    timers: Timers<u64>,
    stale: Vec<Record>,
    counters: Counters,
}

/// Why a message is not kept.
struct Refusal(u16, &'static str);

impl Messages {
    /// The spaces whose records [`Messages::restore`] takes.
    pub const SPACES: [&'static str; 1] = [StoredMessage::SPACE];
    /// Tokens are this and above.
    pub const FIRST_TOKEN: u64 = 1 << 62;
    /// Bytes of one message at most, header fields included; a longer one is refused with 413.
    pub const MESSAGE: usize = 32 * 1024;
    /// Messages kept for one user at most; a further one is refused with 480.
    pub const PER_USER: usize = 100;
    /// Bytes kept for one user at most; what does not fit is refused with 480.
    pub const BYTES_PER_USER: usize = 256 * 1024;
    /// Bytes kept in all at most; what does not fit is refused with 503 and a time to wait.
    pub const BYTES: usize = 256 * 1024 * 1024;
    /// How often a message is offered to a phone that refuses it; then it is given up, and counted.
    pub const TRIES: u32 = 5;

    /// A store with nothing in it.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            queues: HashMap::new(),
            owners: HashMap::new(),
            under_way: HashMap::new(),
            bytes: 0,
            number: 0,
            token: Self::FIRST_TOKEN,
            timers: Timers::default(),
            stale: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// A store with what was stored, as (space, key, value), leaving out what is too old. What cannot be read
    /// stays on disk and is counted in [`Messages::status`].
    pub fn restore<S: AsRef<str>>(
        config: Config,
        stored: impl IntoIterator<Item = (S, Vec<u8>, Vec<u8>)>,
        unix_ms: u64,
    ) -> Self {
        let mut messages = Self::new(config);
        for (space, key, value) in stored {
            if space.as_ref() == StoredMessage::SPACE && messages.take_back(&key, &value, unix_ms).is_none() {
                messages.counters.unreadable += 1;
            }
        }
        for queue in messages.queues.values_mut() {
            queue.sort();
        }
        messages
    }

    /// The user for whom a stored message is kept; `None` if it cannot be read, or is of no space of ours.
    pub(crate) fn aor_of(space: &str, key: &[u8]) -> Option<Vec<u8>> {
        (space == StoredMessage::SPACE).then(|| queue::read_key(key)).flatten().map(|(aor, _)| aor.to_vec())
    }

    fn take_back(&mut self, key: &[u8], value: &[u8], unix_ms: u64) -> Option<()> {
        let (aor, number) = queue::read_key(key)?;
        let kept = Kept::read(number, value)?;
        self.number = self.number.max(number);
        match kept.expires > unix_ms {
            true => self.add(aor, kept),
            false => self.stale.push(StoredMessage::removal(key)),
        }
        Some(())
    }

    /// The beginning of a run: sets the timers, removes what was too old.
    pub fn resume(&mut self, ctx: &mut Ctx<'_>, actions: &mut Vec<Action>) {
        actions.extend(self.stale.drain(..).map(Action::Persist));
        for kept in self.queues.values().flat_map(Queue::all) {
            self.timers.set(kept.number, later(ctx, kept.expires));
        }
    }

    /// Keeps a MESSAGE for a user: 202 once it is on disk, or a refusal.
    pub fn keep(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        request: Msg<'_>,
        aor: &[u8],
        actions: &mut Vec<Action>,
    ) {
        let tag: String = ctx.random::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
        let (status, response) = match self.accept(ctx, request, aor, actions) {
            Ok(()) => (202, response_to(request, 202, None, Some(tag.as_bytes()))),
            Err(Refusal(status, why)) => {
                self.counters.refused += 1;
                let response = response_to(request, status, None, Some(tag.as_bytes()));
                let response = response.header("Warning", format!("399 causeway \"{why}\""));
                (status, if status == 503 { response.header("Retry-After", "600") } else { response })
            }
        };
        actions.push(Action::Reply { id, status, response: response.finish() });
    }

    fn accept(
        &mut self,
        ctx: &Ctx<'_>,
        request: Msg<'_>,
        aor: &[u8],
        actions: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let max_age = u64::try_from(self.config.max_age.as_millis()).unwrap_or(u64::MAX);
        let age = request.expires().map_or(max_age, |seconds| max_age.min(u64::from(seconds) * 1000));
        let typing = request.content_type().is_some_and(|(kind, _)| {
            // That somebody was typing (RFC 3994) is no news later.
            kind.eq_ignore_ascii_case(b"application/im-iscomposing+xml")
        });
        if age == 0 || typing {
            return Err(Refusal(480, "this message is not worth keeping"));
        }
        let kept = Kept::of(request, self.number + 1, ctx.unix_ms, ctx.unix_ms.saturating_add(age));
        if kept.size > Self::MESSAGE {
            return Err(Refusal(413, "too long to be kept"));
        }
        let (count, bytes) = self.queues.get(aor).map_or((0, 0), |queue| (queue.len(), queue.bytes));
        if count >= Self::PER_USER || bytes + kept.size > Self::BYTES_PER_USER {
            return Err(Refusal(480, "too many messages are waiting for this user"));
        }
        if self.bytes + kept.size > Self::BYTES {
            return Err(Refusal(503, "too many messages are waiting"));
        }
        self.number += 1;
        self.counters.kept += 1;
        self.timers.set(kept.number, later(ctx, kept.expires));
        actions.push(Action::Persist(kept.record(aor)));
        self.add(aor, kept);
        Ok(())
    }

    fn add(&mut self, aor: &[u8], kept: Kept) {
        self.bytes += kept.size;
        self.owners.insert(kept.number, aor.to_vec());
        self.queues.entry(aor.to_vec()).or_default().push(kept);
    }

    /// A user is there: has registered, or refreshed a registration. What waits is delivered to `target`.
    pub fn registered(&mut self, ctx: &mut Ctx<'_>, aor: &[u8], target: Target, actions: &mut Vec<Action>) {
        let Some(queue) = self.queues.get_mut(aor) else { return };
        queue.target = Some(target);
        if queue.under_way.is_none() {
            self.send(ctx, aor, 0, actions);
        }
    }

    /// Sends the first message whose number is at least `from`.
    fn send(&mut self, ctx: &mut Ctx<'_>, aor: &[u8], from: u64, actions: &mut Vec<Action>) {
        let Some(queue) = self.queues.get_mut(aor) else { return };
        queue.under_way = None;
        let Some(target) = queue.target.clone() else { return };
        let Some(kept) = queue.first_from(from) else { return };
        let number = kept.number;
        let request = kept.request(ctx, &target);
        self.token += 1;
        queue.under_way = Some((self.token, number));
        self.under_way.insert(self.token, aor.to_vec());
        actions.push(Action::Send { token: self.token, request, received: target.received });
    }

    /// The answer to a message that was sent: the final one, or none if there was none in time or it could not
    /// be sent.
    pub fn outcome(
        &mut self,
        ctx: &mut Ctx<'_>,
        token: u64,
        answer: Option<Msg<'_>>,
        actions: &mut Vec<Action>,
    ) {
        let Some(aor) = self.under_way.remove(&token) else { return };
        let Some(queue) = self.queues.get_mut(&aor) else { return };
        let Some((_, number)) = queue.under_way.take_if(|(known, _)| *known == token) else { return };
        match answer.and_then(|msg| msg.status()).unwrap_or(408) {
            200..=299 => {
                self.counters.delivered += 1;
                self.remove(&aor, number, actions);
                self.send(ctx, &aor, number, actions);
            }
            408 | 480 | 500..=599 => self.remove_if_old(ctx, &aor, number, actions),
            _ => {
                if queue.refused(number) >= Self::TRIES {
                    self.counters.undeliverable += 1;
                    self.remove(&aor, number, actions);
                } else {
                    self.remove_if_old(ctx, &aor, number, actions);
                }
                self.send(ctx, &aor, number + 1, actions);
            }
        }
    }

    fn remove(&mut self, aor: &[u8], number: u64, actions: &mut Vec<Action>) {
        let Some(queue) = self.queues.get_mut(aor) else { return };
        let Some(kept) = queue.remove(number) else { return };
        self.bytes -= kept.size;
        self.owners.remove(&number);
        self.timers.cancel(number);
        actions.push(Action::Persist(StoredMessage::removal(&queue::key(aor, number))));
        if queue.len() == 0 {
            self.queues.remove(aor);
        }
    }

    /// Removes a message whose time was over while it was on its way.
    fn remove_if_old(&mut self, ctx: &Ctx<'_>, aor: &[u8], number: u64, actions: &mut Vec<Action>) {
        let old = self.queues.get(aor).and_then(|queue| queue.get(number));
        if old.is_some_and(|kept| kept.expires <= ctx.unix_ms) {
            self.counters.expired += 1;
            self.remove(aor, number, actions);
        }
    }

    /// When [`Messages::timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Removes what is too old; what is on its way just now is removed if it does not arrive.
    pub fn timeout(&mut self, ctx: &mut Ctx<'_>, actions: &mut Vec<Action>) {
        while let Some(number) = self.timers.pop(ctx.now) {
            let Some(aor) = self.owners.get(&number).cloned() else { continue };
            let on_its_way = self.queues.get(&aor).and_then(|queue| queue.under_way);
            if on_its_way.is_none_or(|(_, sent)| sent != number) {
                self.counters.expired += 1;
                self.remove(&aor, number, actions);
            }
        }
    }

    /// How many messages wait for a user.
    pub fn waiting(&self, aor: &[u8]) -> usize {
        self.queues.get(aor).map_or(0, Queue::len)
    }

    /// Figures for a monitoring system.
    pub fn metrics(&self, metrics: &mut Metrics) {
        let counters = &self.counters;
        metrics.gauge(
            "messages_waiting",
            "Messages that wait for their users.",
            &[],
            self.owners.len() as f64,
        );
        metrics.counter("messages_kept_total", "Messages taken for absent users.", &[], counters.kept);
        metrics.counter("messages_delivered_total", "Kept messages delivered.", &[], counters.delivered);
        metrics.counter("messages_expired_total", "Kept messages that grew too old.", &[], counters.expired);
        metrics.counter(
            "messages_undeliverable_total",
            "Kept messages given up since the user's phone refuses them.",
            &[],
            counters.undeliverable,
        );
    }

    /// Counts.
    pub fn status(&self) -> Status {
        let counters = &self.counters;
        json!({
            "users": self.queues.len(),
            "messages": self.owners.len(),
            "bytes": self.bytes,
            "under_way": self.under_way.len(),
            "kept": counters.kept,
            "delivered": counters.delivered,
            "expired": counters.expired,
            "undeliverable": counters.undeliverable,
            "refused": counters.refused,
            "unreadable_records": counters.unreadable,
        })
    }
}

/// The moment of a time in milliseconds since 1970.
fn later(ctx: &Ctx<'_>, unix_ms: u64) -> Time {
    ctx.now + Duration::from_millis(unix_ms.saturating_sub(ctx.unix_ms))
}

/// Whether a header field goes with a kept message: what its sender said, not the way it took, nor proofs for
/// those on that way.
fn goes_along(id: HeaderId) -> bool {
    use HeaderId::*;
    !matches!(
        id,
        Via | Route
            | RecordRoute
            | MaxForwards
            | MaxBreadth
            | From
            | To
            | CallId
            | CSeq
            | Contact
            | ContentLength
            | ContentType
            | Authorization
            | ProxyAuthorization
            | ProxyRequire
            | PPreferredIdentity
            | PAssertedIdentity
            | Path
            | Timestamp
    )
}
