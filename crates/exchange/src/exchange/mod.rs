//! The exchange as a node: requests in, decisions of registrar and proxy out.

mod routing;

use crate::auth::{Auth, Gatekeeper};
use crate::config::Config;
use crate::keys::Keys;
use crate::location::Location;
use crate::registrar;
use crate::route;
use causeway_node::{Answer, Credentials, Ctx, Input, Level, Node, Outbox, Question, Record, Status, Time};
use causeway_sip::hub::Hub;
use causeway_sip::proxy::{Core, Event};
use causeway_sip::transaction::{Hop, ServerId};
use causeway_sip::{Edit, Message, Method, Uri};
use routing::Target;
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// What a question was asked for.
enum Waiting {
    /// Whether the credentials of this request are right.
    Credential(ServerId),
    /// The address of a target of this request.
    Address(ServerId, Target),
}

/// A response that waits for its records.
struct Promise {
    seq: u64,
    id: ServerId,
    status: u16,
    response: Vec<u8>,
}

/// Counters for the status.
#[derive(Default)]
struct Counters {
    registered: u64,
    forwarded: u64,
    challenged: u64,
    refused: u64,
}

/// Registrar, location service and proxy of one domain.
pub struct Exchange {
    config: Config,
    sent_by: Vec<u8>,
    keys: Keys,
    keys_stored: bool,
    location: Location,
    gatekeeper: Gatekeeper,
    hub: Hub,
    core: Core,
    arrived: Vec<(Hop, Message)>,
    waiting: HashMap<u64, Waiting>,
    questions: u64,
    promises: VecDeque<Promise>,
    expiry: Option<Time>,
    edit: Edit,
    counters: Counters,
    draining: bool,
}

impl Exchange {
    /// Questions under way at most; requests that need a further one are answered 503.
    pub const QUESTIONS: usize = 100_000;

    /// An exchange with what was stored: its keys ([`Keys::SPACE`]), if there are any, and its bindings.
    /// `fresh` becomes the secret where none is stored.
    pub fn new(config: Config, stored_keys: Option<[u8; 32]>, fresh: [u8; 32], location: Location) -> Self {
        Self {
            sent_by: config.sip.to_string().into_bytes(),
            keys: Keys::new(stored_keys.unwrap_or(fresh)),
            keys_stored: stored_keys.is_some(),
            location,
            gatekeeper: Gatekeeper::new(&config),
            hub: Hub::new(0, config.sip),
            core: Core::new(config.timing),
            arrived: Vec::new(),
            waiting: HashMap::new(),
            questions: 0,
            promises: VecDeque::new(),
            expiry: None,
            edit: Edit::new(),
            counters: Counters::default(),
            draining: false,
            config,
        }
    }

    /// The bindings now.
    pub fn location(&self) -> &Location {
        &self.location
    }

    fn events(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        while let Some(event) = self.core.poll() {
            match event {
                Event::Request { id, message, .. } => self.request(ctx, id, &message, out),
                Event::Response { id, message, .. } => {
                    self.edit.clear();
                    self.core.relay(ctx.now, id, &message, &mut self.edit, &mut self.hub.sink(out));
                }
                Event::Ack { message, .. } => self.ack(ctx, &message, out),
                Event::Exhausted { id } => self.core.conclude(ctx.now, id, &mut self.hub.sink(out)),
                Event::Cancelled { .. } | Event::Answered { .. } | Event::Ended { .. } => {}
            }
        }
    }

    fn reply(&mut self, ctx: &mut Ctx<'_>, id: ServerId, status: u16, out: &mut Outbox) {
        self.reply_with(ctx, id, status, &[], out);
    }

    fn reply_with(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        status: u16,
        headers: &[(&str, &[u8])],
        out: &mut Outbox,
    ) {
        self.counters.refused += u64::from(status >= 400 && status != 401 && status != 407);
        self.core.reply(ctx, id, status, None, headers, &mut self.hub.sink(out));
    }

    fn request(&mut self, ctx: &mut Ctx<'_>, id: ServerId, message: &Message, out: &mut Outbox) {
        let msg = message.msg();
        if self.draining && route::begins_dialog(msg) {
            return self.reply_with(ctx, id, 503, &[("Retry-After", b"10")], out);
        }
        let Some(uri) = Uri::parse(msg.request_uri()).filter(|uri| uri.scheme.is_sip()) else {
            return self.reply(ctx, id, 416, out);
        };
        match msg.method() {
            Method::Register if route::is_local(&self.config, &uri) => self.authorize(ctx, id, message, out),
            Method::Options if route::is_local(&self.config, &uri) && uri.user.is_none() => {
                self.reply_with(ctx, id, 200, &[("Accept", b"application/sdp")], out);
            }
            Method::Invite if msg.to_tag().is_none() => self.authorize(ctx, id, message, out),
            _ => self.route(ctx, id, message, out),
        }
    }

    /// Asks for credentials, or whether those given are right.
    fn authorize(&mut self, ctx: &mut Ctx<'_>, id: ServerId, message: &Message, out: &mut Outbox) {
        if !self.config.authenticate {
            return self.authorized(ctx, id, None, out);
        }
        match self.gatekeeper.examine(ctx.unix_ms, &self.keys, message.msg()) {
            Auth::Challenge { stale } => self.challenge(ctx, id, message, stale, out),
            Auth::Malformed => self.reply(ctx, id, 400, out),
            Auth::Ask(credential) => {
                self.ask(ctx, Waiting::Credential(id), Question::Credential(credential), id, out);
            }
        }
    }

    fn ask(&mut self, ctx: &mut Ctx<'_>, why: Waiting, question: Question, id: ServerId, out: &mut Outbox) {
        if self.waiting.len() >= Self::QUESTIONS {
            return self.reply_with(ctx, id, 503, &[("Retry-After", b"5")], out);
        }
        self.questions += 1;
        self.waiting.insert(self.questions, why);
        out.ask(self.questions, question);
    }

    fn challenge(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        stale: bool,
        out: &mut Outbox,
    ) {
        self.counters.challenged += 1;
        let register = message.msg().method() == Method::Register;
        let (status, name) = if register { (401, "WWW-Authenticate") } else { (407, "Proxy-Authenticate") };
        let values = self.gatekeeper.challenges(ctx, &self.keys, stale);
        let headers: Vec<(&str, &[u8])> = values.iter().map(|value| (name, value.as_slice())).collect();
        self.reply_with(ctx, id, status, &headers, out);
    }

    /// The request may go on; `aors` are the addresses that its sender may use, if it was authenticated.
    fn authorized(&mut self, ctx: &mut Ctx<'_>, id: ServerId, aors: Option<&[String]>, out: &mut Outbox) {
        let Some((message, from)) = self.core.request(id).cloned().zip(self.core.from(id)) else { return };
        if self.core.is_over(id) {
            return;
        }
        let msg = message.msg();
        let register = msg.method() == Method::Register;
        let named = if register { msg.to() } else { msg.from() };
        let aor = named.and_then(|addr| addr.uri()).and_then(|uri| route::aor(&self.config, &uri));
        let allowed = match (&aor, aors) {
            (_, None) => true,
            (Some(aor), Some(aors)) => aors.iter().any(|own| own.as_bytes() == aor.as_slice()),
            (None, Some(_)) => false,
        };
        match (allowed, register, aor) {
            (false, ..) => self.reply(ctx, id, 403, out),
            (true, true, Some(aor)) => self.register(ctx, id, &aor, &message, from, out),
            (true, true, None) => self.reply(ctx, id, 404, out),
            (true, false, _) => self.route(ctx, id, &message, out),
        }
    }

    fn register(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        aor: &[u8],
        message: &Message,
        from: Hop,
        out: &mut Outbox,
    ) {
        let received = from.peer.to_string();
        let outcome =
            registrar::register(ctx, &self.config, &mut self.location, aor, message.msg(), &received);
        self.counters.registered += u64::from(outcome.status == 200);
        let seq = outcome.records.into_iter().map(|record| out.persist(record)).last();
        self.plan_expiry(ctx);
        let (status, response) = (outcome.status, outcome.response);
        match seq {
            Some(seq) => self.promises.push_back(Promise { seq, id, status, response }),
            None => self.core.answer(ctx.now, id, status, &response, &mut self.hub.sink(out)),
        }
    }

    fn plan_expiry(&mut self, ctx: &Ctx<'_>) {
        self.expiry = self
            .location
            .next_expiry()
            .map(|at| ctx.now + Duration::from_millis(at.saturating_sub(ctx.unix_ms)));
    }

    fn answer(&mut self, ctx: &mut Ctx<'_>, question: u64, answer: Answer, out: &mut Outbox) {
        match (self.waiting.remove(&question), answer) {
            (Some(Waiting::Credential(id)), Answer::Credential(verdict)) => match verdict {
                Credentials::Accepted(aors) => self.authorized(ctx, id, Some(&aors), out),
                // Neither says which of the two was wrong: names are not to be fished for.
                Credentials::Wrong | Credentials::Unknown => {
                    let Some(message) = self.core.request(id).cloned() else { return };
                    self.challenge(ctx, id, &message, false, out);
                }
                Credentials::Unavailable => self.reply_with(ctx, id, 503, &[("Retry-After", b"5")], out),
            },
            (Some(Waiting::Address(id, target)), Answer::Addresses(addresses, why)) => {
                match addresses.first() {
                    Some(peer) => self.send(ctx, id, *peer, target, out),
                    None => {
                        out.notice(Level::Info, format!("a request has nowhere to go: {why}"));
                        self.reply(ctx, id, 404, out);
                    }
                }
            }
            _ => {}
        }
    }

    fn persisted(&mut self, now: Time, seq: u64, out: &mut Outbox) {
        while let Some(promise) = self.promises.pop_front_if(|promise| promise.seq <= seq) {
            let sink = &mut self.hub.sink(out);
            self.core.answer(now, promise.id, promise.status, &promise.response, sink);
        }
    }

    fn timeout(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        self.core.timeout(ctx.now, &mut self.hub.sink(out));
        if self.expiry.is_some_and(|at| at <= ctx.now) {
            for record in self.location.expire(ctx.unix_ms) {
                out.persist(record);
            }
            self.plan_expiry(ctx);
        }
    }

    fn store_keys(&mut self, out: &mut Outbox) {
        if !self.keys_stored {
            let value = Some(self.keys.secret().to_vec());
            out.persist(Record { space: Keys::SPACE, key: Vec::new(), value });
            self.keys_stored = true;
        }
    }
}

impl Node for Exchange {
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        let mut arrived = std::mem::take(&mut self.arrived);
        let taken = self.hub.input(ctx, &input, out, &mut arrived);
        for (from, message) in arrived.drain(..) {
            self.core.receive(ctx, from, message, &mut self.hub.sink(out));
        }
        self.arrived = arrived;
        match input {
            Input::Start => {
                self.store_keys(out);
                self.hub.start(out);
                self.plan_expiry(ctx);
            }
            Input::Closed { flow, .. } if taken => self.core.closed(ctx.now, flow, &mut self.hub.sink(out)),
            Input::Answer { question, answer } => self.answer(ctx, question, answer, out),
            Input::Persisted { seq } => self.persisted(ctx.now, seq, out),
            Input::Failed { .. } => self.promises.clear(),
            Input::Timeout => self.timeout(ctx, out),
            Input::Drain => self.draining = true,
            _ => {}
        }
        self.events(ctx, out);
    }

    fn deadline(&self) -> Option<Time> {
        match (self.core.deadline(), self.expiry) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn status(&self, _now: Time) -> Status {
        let (aors, bindings) = self.location.count();
        let refused = &self.hub.refused;
        json!({
            "role": "exchange",
            "domain": self.config.domain,
            "sip": self.config.sip.to_string(),
            "aors": aors,
            "bindings": bindings,
            "under_way": self.core.len(),
            "connections": self.hub.connections(),
            "registered": self.counters.registered,
            "forwarded": self.counters.forwarded,
            "challenged": self.counters.challenged,
            "refused": self.counters.refused,
            "garbage": refused.garbage,
            "invalid": refused.invalid,
            "broken_streams": refused.broken_streams,
        })
    }

    fn drained(&self) -> bool {
        self.core.is_settled() && self.promises.is_empty()
    }
}
