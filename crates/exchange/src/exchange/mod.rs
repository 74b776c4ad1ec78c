//! The exchange as a node: requests in, decisions of registrar and proxy out.

mod forking;
mod gate;
mod log;
mod registering;
mod report;
mod routing;
mod serving;
mod shedding;
mod stateless;

use crate::auth::{Gatekeeper, Ticket};
use crate::calls::Calls;
use crate::config::{Config, Mode, Network};
use crate::events::{Action, Config as EventConfig, Events};
use crate::identity::{Sender, TrustDomain};
use crate::keys::Keys;
use crate::location::Location;
use crate::messages::{Config as MessageConfig, Messages};
use crate::overload::Load;
use crate::resolver::{Pending, Resolver};
use crate::route;
use crate::throttle::Throttle;
use causeway_node::{
    Ctx, Flow, Input, Metrics, Node, Outbox, Question, Record, SerialMap, Status, Time, Timers,
};
use causeway_sip::hub::Hub;
use causeway_sip::locate::Transports;
use causeway_sip::proxy::{Core, Event};
use causeway_sip::transaction::{ClientId, Hop, ServerId, StatelessTags};
use causeway_sip::{Edit, Message, Method, Msg, Uri, addr_text};
use forking::{Plan, Unlocated};
use gate::Found;
use registering::Promise;
use report::Counters;
use routing::AckLead;
use serving::Unsent;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// What a question was asked for.
enum Waiting {
    /// Whether the credentials of this request are right, which name this account, from this client.
    Credential { id: ServerId, ticket: Ticket, account: Vec<u8>, client: IpAddr },
    /// Whether the user that this request is for exists, who has no contact.
    Subscriber(ServerId),
    /// The next hop of a target of this request.
    Place(Box<Unlocated>),
    /// The next hop of a request of our own.
    Own(Box<Unsent>),
    /// The next hop of an ACK for a 2xx.
    Ack(Box<(Message, AckLead, Pending)>),
}

fn hub(config: &Config, tags: &StatelessTags) -> Hub {
    let mut hub = Hub::new(0, config.sip).answering_with(tags.clone());
    if let Some(tls) = config.tls {
        hub = hub.tls(tls);
    }
    match config.capture.clone() {
        Some(capture) => hub.capture(capture),
        None => hub,
    }
}

/// Registrar, location service and proxy of one domain.
///
/// Its tables ([`Node::table`]) are `aors`, `calls`, `transports`, `subscriptions` and `publications`.
pub struct Exchange {
    config: Config,
    trust: TrustDomain,
    proxies: Vec<Network>,
    sent_by: Vec<u8>,
    sent_by_tls: Vec<u8>,
    keys: Keys,
    loop_seed: u64,
    keys_stored: bool,
    location: Location,
    gatekeeper: Gatekeeper,
    throttle: Throttle,
    resolver: Resolver,
    calls: Calls,
    hub: Hub,
    tags: StatelessTags,
    core: Core,
    plans: SerialMap<ServerId, Plan>,
    ringing: Timers<ServerId>,
    arrived: Vec<(Hop, Message)>,
    /// About the message at hand, before it got its transaction.
    found: Option<Found>,
    waiting: HashMap<u64, Waiting>,
    questions: u64,
    promises: VecDeque<Promise>,
    events: Events,
    messages: Messages,
    actions: Vec<Action>,
    /// The last record of event server and message store that is not on disk yet.
    unwritten: Option<u64>,
    /// Requests of our own, and whose they are.
    own: HashMap<ClientId, u64>,
    expiry: Option<Time>,
    edit: Edit,
    counters: Counters,
    draining: bool,
    load: Load,
    /// The time of the last input, for tables.
    unix_ms: u64,
}

impl Exchange {
    /// Questions under way at most; requests that need a further one are answered 503.
    pub const QUESTIONS: usize = 100_000;

    /// An exchange with what was stored: its keys ([`Keys::SPACE`]), if there are any, and its bindings.
    /// `fresh` becomes the secret where none is stored: one and the same for all members of a group.
    pub fn new(config: Config, stored_keys: Option<[u8; 32]>, fresh: [u8; 32], location: Location) -> Self {
        let keys = Keys::new(stored_keys.unwrap_or(fresh));
        let tags = StatelessTags::new(keys.tag_prefix());
        let mut exchange = Self {
            trust: TrustDomain::default(),
            proxies: Vec::new(),
            sent_by: config.sip.to_string().into_bytes(),
            sent_by_tls: config.tls.unwrap_or(config.sip).to_string().into_bytes(),
            loop_seed: keys.loop_seed(),
            keys,
            // Members of a group have one secret, which the first of them keeps.
            keys_stored: stored_keys.is_some() || config.shard.own != 0,
            location,
            gatekeeper: Gatekeeper::new(&config),
            throttle: Throttle::default(),
            resolver: Resolver::new(Transports { tls: config.tls.is_some() }),
            calls: Calls::default(),
            hub: hub(&config, &tags),
            tags,
            core: Core::new(config.timing).dropping_answered(),
            plans: SerialMap::default(),
            ringing: Timers::default(),
            arrived: Vec::new(),
            found: None,
            waiting: HashMap::new(),
            questions: 0,
            promises: VecDeque::new(),
            events: Events::new(EventConfig::new(&*config.domain)),
            messages: Messages::new(MessageConfig::default()),
            actions: Vec::new(),
            unwritten: None,
            own: HashMap::new(),
            expiry: None,
            edit: Edit::new(),
            counters: Counters::default(),
            draining: false,
            load: Load::default(),
            unix_ms: 0,
            config,
        };
        exchange.read_policy();
        exchange
    }

    /// The spaces whose records [`Exchange::restore`] takes, beside bindings and keys.
    pub fn spaces() -> impl Iterator<Item = &'static str> {
        Events::SPACES.into_iter().chain(Messages::SPACES)
    }

    /// Takes up subscriptions, publications and kept messages where they were left: (space, key, value) each. Of a
    /// group every member is given all of them, and takes those that are its own.
    pub fn restore(mut self, stored: Vec<(&'static str, Vec<u8>, Vec<u8>)>, unix_ms: u64) -> Self {
        let shard = self.config.shard;
        let own = |(space, key, value): &(&str, Vec<u8>, Vec<u8>)| {
            let of_events = || Events::resource_of(space, key, value);
            match Messages::aor_of(space, key).or_else(of_events) {
                Some(aor) => shard.serves(&self.keys, &aor),
                // What cannot be read is counted once.
                None => shard.own == 0,
            }
        };
        let stored = stored.into_iter().filter(|record| shard.is_alone() || own(record));
        let (messages, events) =
            stored.partition::<Vec<_>, _>(|(space, ..)| Messages::SPACES.contains(space));
        self.events = Events::restore(EventConfig::new(&*self.config.domain), events, unix_ms);
        self.messages = Messages::restore(MessageConfig::default(), messages, unix_ms);
        self
    }

    /// The bindings now.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// What follows from the policy, worked out once.
    fn read_policy(&mut self) {
        let policy = &self.config.policy;
        self.trust = TrustDomain::new(&policy.trusted);
        self.proxies = policy.proxies.iter().filter_map(|text| Network::parse(text)).collect();
    }

    fn events(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        while let Some(event) = self.core.poll() {
            match event {
                Event::Request { id, message, from } => self.request(ctx, id, &message, from, out),
                Event::Response { id, branch, message } => self.response(ctx, id, branch, &message, out),
                Event::Ack { message, .. } => self.ack(ctx, &message, out),
                Event::Stray { .. } => {}
                Event::Exhausted { id } => self.next_group(ctx, id, out),
                Event::Unreachable { id, branch, status } => self.unreachable(ctx, id, branch, status, out),
                Event::Refused { id, branch, status } => {
                    self.calls.refused(ctx.unix_ms, id, branch, status, out)
                }
                Event::Cancelled { id } => self.cancelled(id),
                Event::Answered { id, status } => self.calls.rejected(ctx.unix_ms, id, status, out),
                Event::Ended { id } => {
                    self.plans.remove(id);
                    self.ringing.cancel(id);
                    self.calls.ended(id, out);
                }
                Event::Own { client, outcome } => self.own_outcome(ctx, client, outcome, out),
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
        self.counters.answered_here(status);
        if let Some(request) = self.core.request(id) {
            log::outcome(out, request.msg(), format_args!("answered={status}"));
        }
        self.core.reply(ctx, id, status, None, headers, &mut self.hub.sink(out));
        self.calls.rejected(ctx.unix_ms, id, status, out);
    }

    fn request(&mut self, ctx: &mut Ctx<'_>, id: ServerId, message: &Message, from: Hop, out: &mut Outbox) {
        let msg = message.msg();
        self.counters.request(msg.method());
        log::request(out, msg, &from);
        if self.draining && route::begins_dialog(msg) {
            return self.reply_with(ctx, id, 503, &[("Retry-After", b"10")], out);
        }
        if !Uri::parse(msg.request_uri()).is_some_and(|uri| uri.scheme.is_sip()) {
            return self.reply(ctx, id, 416, out);
        }
        let hash = route::loop_hash(self.loop_seed, msg);
        if route::has_looped([&self.sent_by, &self.sent_by_tls], hash, msg) {
            return self.reply(ctx, id, 482, out);
        }
        match msg.method() {
            Method::Options if self.is_for_us(msg) => {
                let allow = b"INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, SUBSCRIBE, PUBLISH";
                let headers: [(&str, &[u8]); 3] = [
                    ("Accept", b"application/sdp"),
                    ("Allow", allow),
                    ("Supported", b"path, gruu, outbound"),
                ];
                self.reply_with(ctx, id, 200, &headers, out);
            }
            _ => self.admit(ctx, id, message, from, out),
        }
    }

    /// A request that may go on is served here or sent on.
    fn dispatch(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: ServerId,
        message: &Message,
        sender: Sender,
        out: &mut Outbox,
    ) {
        let msg = message.msg();
        if msg.method() == Method::Register {
            return self.register(ctx, id, message, out);
        }
        if self.serve(ctx, id, message, &sender, out) {
            return;
        }
        if self.config.mode == Mode::Call {
            match (msg.method(), msg.to_tag()) {
                (Method::Invite, None) if !self.calls.has_room() => {
                    return self.reply_with(ctx, id, 503, &[("Retry-After", b"30")], out);
                }
                (Method::Invite, None) => {
                    let account = sender.aors.first().map_or("", String::as_str);
                    let source = self.core.from(id).map(|hop| addr_text(hop.peer)).unwrap_or_default();
                    self.calls.begin(ctx.unix_ms, id, msg, account, &source);
                }
                (_, Some(_)) => self.calls.in_dialog(ctx.unix_ms, id, msg, out),
                _ => {}
            }
        }
        self.route(ctx, id, message, sender, out);
    }

    /// Asks the world; `None` if too much has been asked already.
    fn ask(&mut self, why: Waiting, question: Question, out: &mut Outbox) -> Option<u64> {
        if self.waiting.len() >= Self::QUESTIONS {
            return None;
        }
        self.questions += 1;
        self.waiting.insert(self.questions, why);
        out.ask(self.questions, question);
        Some(self.questions)
    }

    fn timeout(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        for flow in self.hub.timeout(ctx.now, out) {
            self.core.closed(ctx.now, flow, &mut self.hub.sink(out));
        }
        self.core.timeout(ctx.now, &mut self.hub.sink(out));
        while let Some(id) = self.ringing.pop(ctx.now) {
            self.stop_ringing(ctx.now, id, out);
        }
        self.calls.timeout(ctx, out);
        self.serve_timeouts(ctx, out);
        if self.expiry.is_some_and(|at| at <= ctx.now) {
            self.expire(ctx, out);
        }
    }

    /// The other member of the group whose message it is, if it is not one's own.
    fn owner_elsewhere(&self, msg: Msg<'_>) -> Option<u16> {
        let shard = self.config.shard;
        let owner = || shard.owner(&self.config, &self.keys, msg);
        (!shard.is_alone()).then(owner).filter(|owner| *owner != shard.own)
    }

    /// Looks at a message before it costs a transaction. Says whether it needs none: it is refused, or another's.
    fn is_done_with(
        &mut self,
        ctx: &mut Ctx<'_>,
        from: Hop,
        message: &Message,
        handed: bool,
        out: &mut Outbox,
    ) -> bool {
        let elsewhere = if handed { None } else { self.owner_elsewhere(message.msg()) };
        if elsewhere.is_none() && self.shed(ctx, from, message.msg(), out) {
            return true;
        }
        if !handed && !self.hub.judge(&from, message, out) {
            return true;
        }
        if let Some(owner) = elsewhere {
            self.hub.hand(owner, &from, message.msg().bytes(), out);
            return true;
        }
        self.turned_away_at_the_door(ctx, from, message, out)
            || self.pass_statelessly(ctx, from, message, out)
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
        self.unix_ms = ctx.unix_ms;
        let mut arrived = std::mem::take(&mut self.arrived);
        let taken = self.hub.take(ctx, &input, out, &mut arrived);
        // What was handed over was judged by who received it.
        let handed = matches!(input, Input::Handed { .. });
        for (from, message) in arrived.drain(..) {
            self.found = None;
            if self.is_done_with(ctx, from, &message, handed, out) {
                self.hub.recycle(message);
            } else {
                self.core.receive(ctx, from, message, &mut self.hub.sink(out));
                self.events(ctx, out);
            }
        }
        self.arrived = arrived;
        match input {
            Input::Start => {
                self.gatekeeper.start(ctx.unix_ms);
                self.store_keys(out);
                self.hub.start(out);
                self.plan_expiry(ctx);
                for record in self.location.take_stale() {
                    out.persist(record);
                }
                self.resume(ctx, out);
            }
            Input::Closed { flow, .. } if taken => self.core.closed(ctx.now, flow, &mut self.hub.sink(out)),
            Input::Answer { question, answer } => self.answer(ctx, question, answer, out),
            Input::Persisted { seq } => self.persisted(ctx, seq, out),
            Input::Failed { .. } => self.promises.clear(),
            Input::Timeout => self.timeout(ctx, out),
            Input::Drain => self.draining = true,
            _ => {}
        }
        self.events(ctx, out);
    }

    fn deadline(&self) -> Option<Time> {
        let served = [self.events.deadline(), self.messages.deadline()];
        let own = [self.expiry, self.ringing.next(), self.calls.deadline()];
        let below = [self.core.deadline(), self.hub.deadline()];
        own.into_iter().chain(served).chain(below).flatten().min()
    }

    fn fill(&mut self, _ctx: &mut Ctx<'_>, flow: Flow, room: usize, buf: &mut Vec<u8>) {
        self.hub.fill(flow, room, buf);
    }

    fn status(&self, _now: Time) -> Status {
        self.report()
    }

    fn pressure(&mut self, percent: u8) {
        self.load.pressure = percent;
    }

    fn table(&self, _now: Time, table: &str, filter: &str) -> Status {
        self.report_table(table, filter)
    }

    fn metrics(&self, _now: Time, metrics: &mut Metrics) {
        self.measure(metrics);
    }

    fn reload(&mut self, settings: &Status) -> Result<(), String> {
        self.reload_policy(settings)
    }

    fn drained(&self) -> bool {
        self.core.is_settled() && self.promises.is_empty()
    }
}
