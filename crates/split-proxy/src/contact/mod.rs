//! The operator's half: takes tunnels, lets through what is registered, and stands for every phone towards
//! the operator's SIP server.

mod admission;
mod config;
mod contacts;
mod drain;
mod home;
mod keys;
mod loops;
mod metrics;
mod owners;
mod responses;
mod routing;
mod sessions;
mod status;
mod strays;
mod tokens;

pub use config::{Cidr, CidrError, ContactConfig, Limits, Mode};
pub use home::Seat;
pub use tokens::SPACE;

use crate::half::{Ending, Half, Lost, TUNNEL_FLOW, from_tunnel, refusal};
use crate::records::{branch_key, put_branch_key};
use admission::{Denied, Gauge};
use causeway_node::{
    Answer, Class, Ctx, Flow, Input, Level, Metrics, Newcomers, Node, Outbox, Record, Status, Time,
    Transport as Wire,
};
use causeway_sip::proxy::Event;
use causeway_sip::transaction::{BranchKey, Hop};
use causeway_sip::{Edit, Message};
use causeway_tunnel::{Fault, GoodbyeReason, Instance};
use owners::Owners;
use sessions::Sessions;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use tokens::Tokens;

const LISTENER: Flow = Flow(TUNNEL_FLOW);
/// The record space of the key that branches are made from.
const KEY_SPACE: &str = "contact.key";
/// All record spaces of a contact point.
pub const SPACES: &[&str] =
    &[SPACE, KEY_SPACE, "contact.session", "contact.leg", owners::DIALOGS, owners::OWNERS, keys::SPACE];

/// The operator's half of the split proxy; see the [crate's page](crate).
pub struct ContactPoint {
    config: ContactConfig,
    half: Half,
    owners: Owners,
    tokens: Tokens,
    sessions: Sessions,
    /// What was on disk, until the start.
    restored: Vec<Record>,
    /// What was on disk of agents that belong elsewhere now, until the start.
    strange: Vec<Record>,
    key: Option<BranchKey>,
    started: Time,
    gauges: HashMap<usize, Gauge>,
    per_address: HashMap<IpAddr, usize>,
    /// Links whose agents have not said Hello.
    silent: Newcomers<usize>,
    sweep: Time,
    drain: Option<drain::Drain>,
    /// `host:port` towards the operator, as it stands in Via and Contact.
    name: String,
    edit: Edit,
    counters: Counters,
    keys: keys::Keys,
}

/// What did not pass.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    /// In the order of [`admission::Denied::ALL`].
    denied: [u64; 5],
    /// Connections of tunnels that were lost, in the order of [`Ending::ALL`].
    lost: [u64; 11],
    foreign: u64,
    tunnels_refused: u64,
    tickets_refused: u64,
    strays: u64,
    /// Connections that belonged to another contact point.
    handed_over: u64,
}

impl Counters {
    fn lose(&mut self, ending: Ending) {
        self.lost[ending as usize] += 1;
    }

    fn deny(&mut self, why: Denied) {
        self.denied[why as usize] += 1;
    }
}

impl ContactPoint {
    /// A contact point that has not started yet. `records` are those of the spaces [`SPACES`] that it has put
    /// out before; others are passed over.
    pub fn new(config: ContactConfig, records: impl IntoIterator<Item = Record>) -> Self {
        let calls = config.limits.calls;
        let mut half =
            Half::new(config.sip, config.timing, config.tunnel.clone(), config.media, calls, config.marks);
        half.calls.local_media = config.local_media;
        half.seat = config.seat;
        let mut contact = Self {
            name: config.sip.to_string(),
            half,
            owners: Owners::default(),
            tokens: Tokens::default(),
            sessions: Sessions::default(),
            restored: Vec::new(),
            strange: Vec::new(),
            key: None,
            started: Time::ZERO,
            gauges: HashMap::new(),
            per_address: HashMap::new(),
            silent: Newcomers::default(),
            sweep: Time::ZERO,
            drain: None,
            edit: Edit::new(),
            counters: Counters::default(),
            keys: keys::Keys::default(),
            config,
        };
        let mut records = records.into_iter().collect();
        contact.forget_strangers(&mut records);
        contact.restored = records;
        for stored in contact.restored.iter().filter_map(tokens::restore) {
            let owner = contact.owners.of(Some(stored.instance));
            let mut token = stored.token;
            token.owner = owner;
            for (aor, until) in &token.bindings {
                if let Some(owner) = contact.owners.get_mut(owner) {
                    owner.admit(aor, Some(*until), Vec::new());
                }
            }
            contact.tokens.insert(stored.name, token);
        }
        contact.owners.restore(&contact.restored);
        contact.key = branch_key(&contact.restored, KEY_SPACE);
        contact.restored.retain(|record| !matches!(record.space, SPACE | KEY_SPACE));
        contact
    }

    fn start(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        self.started = ctx.now;
        self.sweep = ctx.now + crate::half::SWEEP;
        if self.key.is_none() {
            let key = BranchKey(ctx.random());
            put_branch_key(KEY_SPACE, &key, out);
            self.key = Some(key);
        }
        self.remove_strangers(out);
        // Before any port is bound for whoever comes next.
        let records = std::mem::take(&mut self.restored);
        self.restore_sessions(ctx, &records, out);
        self.restore_registrations(ctx, &records, out);
        self.owners.restore_dialogs(&records, ctx.now);
        self.half.start(ctx.now, out);
        out.listen(LISTENER, self.config.tunnel_listen, Wire::Tls, Class::Media);
    }

    /// How many tunnels are open.
    pub fn tunnels(&self) -> usize {
        self.half.links.iter().filter(|(_, link)| link.flow.is_some()).count()
    }

    fn accept(
        &mut self,
        ctx: &mut Ctx<'_>,
        flow: Flow,
        peer: SocketAddr,
        exporter: Option<[u8; 32]>,
        out: &mut Outbox,
    ) {
        let limits = self.config.limits;
        let address = self.per_address.entry(peer.ip()).or_default();
        let full = self.half.links.len() >= limits.tunnels || *address >= limits.tunnels_per_address;
        if full || self.drain.is_some() {
            if *address == 0 {
                self.per_address.remove(&peer.ip());
            }
            self.counters.tunnels_refused += 1;
            return out.close(flow);
        }
        *address += 1;
        // One that says nothing holds its place for as long as nobody else wants it: an agent's Hello comes within a
        // round trip, long before it is the oldest.
        if let Some(old) = self.silent.gives_way(peer.ip(), limits.silent, limits.silent_per_address) {
            self.drop_tunnel(ctx, old, &Lost::displaced(), out);
        }
        let link = self.half.new_link(ctx, flow, peer, exporter, out);
        self.silent.enter(link, peer.ip());
        self.gauges.insert(link, Gauge::new(&limits, ctx.now));
    }

    fn stream(&mut self, ctx: &mut Ctx<'_>, flow: Flow, bytes: &[u8], out: &mut Outbox) {
        let Some(mut id) = self.half.links.id(flow) else { return };
        if self.half.links.get(id).is_some_and(|link| link.claims) {
            self.take_over(ctx, id, out);
        }
        let mut input = bytes;
        loop {
            let heard = self.half.tunnel_bytes(ctx.now, id, &mut input, out);
            if heard.up || heard.asked.is_some() || heard.elsewhere.is_some() {
                self.silent.leave(id);
            }
            if let Some(to) = heard.elsewhere
                && self.give_away(id, to, input, out)
            {
                return;
            }
            if let Some(ask) = heard.asked {
                id = self.asked(ctx, id, &ask, out);
                continue;
            }
            if heard.up {
                self.up(ctx, id, out);
            }
            if heard.ticket_kept {
                self.ticket_kept(id, out);
            }
            if let Some(link) = self.half.links.get_mut(id).filter(|_| heard.leaving.is_some()) {
                link.stays = true;
            }
            // What is offered comes before the calls that count on it.
            let intercepted = self.told_of_keys(ctx, id, heard.keys, out).map(Lost::intercepted);
            self.receive(ctx, out);
            if let Some(lost) = heard.dead.or(intercepted) {
                self.lose_tunnel(ctx, id, &lost, out);
            } else if heard.elsewhere.is_some() && !input.is_empty() {
                // It could not be given away, so that it is served here.
                continue;
            }
            return;
        }
    }

    /// The peer has said who it is. An agent that has another tunnel takes its place only once it has reacted to our
    /// Hello: one that was held up on the way, and given up by the agent long ago, must not end what came later.
    fn up(&mut self, ctx: &mut Ctx<'_>, id: usize, out: &mut Outbox) {
        let Some(link) = self.half.links.get_mut(id) else { return };
        let instance: Option<Instance> = link.tunnel.peer().and_then(|hello| hello.instance);
        let owner = self.owners.of(instance);
        link.claims = self.owners.get(owner).is_some_and(|owner| owner.link.is_some_and(|old| old != id));
        if !link.claims {
            link.owner = owner;
            let text = format!("tunnel from {} is up", link.peer);
            out.notice(Level::Info, text);
            if let Some(owner) = self.owners.get_mut(owner) {
                owner.link = Some(id);
            }
        }
        self.make_ticket(ctx, id, out);
    }

    /// An agent that comes again takes its registrations over, and its old tunnel ends.
    fn take_over(&mut self, ctx: &mut Ctx<'_>, id: usize, out: &mut Outbox) {
        let Some(link) = self.half.links.get_mut(id) else { return };
        link.claims = false;
        let instance: Option<Instance> = link.tunnel.peer().and_then(|hello| hello.instance);
        let owner = self.owners.of(instance);
        link.owner = owner;
        let text = format!("tunnel from {} is up", link.peer);
        out.notice(Level::Info, text);
        let old =
            self.owners.get_mut(owner).and_then(|owner| owner.link.replace(id)).filter(|old| *old != id);
        if let Some(old) = old {
            if let Some(link) = self.half.links.get_mut(old) {
                link.tunnel.goodbye(GoodbyeReason::Replaced, "the agent has come again");
            }
            self.drop_tunnel(ctx, old, &Lost::replaced("the agent has come again"), out);
            if let Some(owner) = self.owners.get_mut(owner) {
                owner.link = Some(id);
            }
        }
        self.ticket_kept(id, out);
    }

    /// A tunnel has lost its connection: what is on it waits for another one, or ends.
    fn lose_tunnel(&mut self, ctx: &mut Ctx<'_>, id: usize, lost: &Lost, out: &mut Outbox) {
        let claims = self.half.links.get(id).is_some_and(|link| link.claims);
        if claims || !self.half.park(ctx.now, id, lost, self.config.grace, out) {
            return self.drop_tunnel(ctx, id, lost, out);
        }
        self.counters.lose(lost.ending);
        if let Some(link) = self.half.links.get(id) {
            out.notice(Level::Info, format!("tunnel from {} waits to go on: {}", link.peer, lost.why));
        }
    }

    fn drop_tunnel(&mut self, ctx: &mut Ctx<'_>, id: usize, lost: &Lost, out: &mut Outbox) {
        self.end_session(id, out);
        let Some(link) = self.half.links.get(id) else { return };
        let (peer, owner) = (link.peer, link.owner);
        out.notice(Level::Info, format!("tunnel from {peer} ended: {}", lost.why));
        self.counters.lose(lost.ending);
        self.half.drop_link(ctx.now, id, lost.open, out);
        self.gauges.remove(&id);
        self.silent.leave(id);
        self.leave_address(peer.ip());
        if let Some(owner) = self.owners.get_mut(owner)
            && owner.link == Some(id)
        {
            owner.link = None;
        }
        self.owners.end_nameless(owner, &mut self.tokens);
        self.forget_keys(id, owner);
        self.events(ctx, out);
    }

    fn leave_address(&mut self, ip: IpAddr) {
        if let Some(count) = self.per_address.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&ip);
            }
        }
    }

    /// Hands what has arrived to the core, as far as it may enter.
    fn receive(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        for (hop, message) in std::mem::take(&mut self.half.arrived) {
            if from_tunnel(&hop) && !self.may_enter(ctx, &hop, &message, out) {
                continue;
            }
            let (core, mut wire) = self.half.split(out);
            core.receive(ctx, hop, message, &mut wire);
        }
        self.events(ctx, out);
        for id in self.half.links.take_stuck() {
            self.drop_tunnel(ctx, id, &Lost::deaf("it does not read"), out);
        }
    }

    /// Rate and size, before a message costs a transaction.
    fn may_enter(&mut self, ctx: &mut Ctx<'_>, hop: &Hop, message: &Message, out: &mut Outbox) -> bool {
        let Some(id) = self.half.links.of(hop) else { return false };
        let owner = self.half.links.get(id).map_or(usize::MAX, |link| link.owner);
        let admitted = self.owners.get(owner).is_some_and(|owner| owner.is_admitted(ctx.unix_ms));
        let Some(gauge) = self.gauges.get_mut(&id) else { return false };
        let Err(denied) = gauge.enter(&self.config.limits, ctx.now, message.msg(), admitted) else {
            return true;
        };
        gauge.denied += 1;
        self.counters.deny(denied);
        if self.half.links.get_mut(id).is_some_and(|link| !link.bears(ctx.now)) {
            return self.expel(ctx, id, Fault::Refusals, out);
        }
        if let Some(answer) = refusal(message.msg(), denied.status(), &denied.to_string()) {
            self.half.links.send(hop, &answer, out);
        }
        false
    }

    /// Ends a tunnel whose agent has passed a limit; whatever it has sent enters no more.
    fn expel(&mut self, ctx: &mut Ctx<'_>, id: usize, fault: Fault, out: &mut Outbox) -> bool {
        let over = self.half.links.get_mut(id).and_then(|link| link.tunnel.expel(fault));
        if let Some(causeway_tunnel::Event::Dead(why)) = over {
            self.lose_tunnel(ctx, id, &why.into(), out);
        }
        false
    }

    fn events(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        while let Some(event) = self.half.core.poll() {
            match event {
                Event::Request { id, message, from } if from_tunnel(&from) => {
                    self.on_agent_request(ctx, id, &message, from, out);
                }
                Event::Request { id, message, from } => {
                    self.on_operator_request(ctx, id, &message, from, out)
                }
                Event::Response { id, message, .. } => self.response(ctx, id, &message, out),
                Event::Stray { message, from } => self.stray(ctx, &message, from, out),
                Event::Ack { message, from } => self.ack(ctx, &message, from, out),
                Event::Answered { id, .. } | Event::Ended { id } => {
                    self.half.calls.ended(ctx.now, id, &mut self.half.links, out);
                }
                Event::Exhausted { id } => {
                    let (core, mut wire) = self.half.split(out);
                    core.conclude(ctx.now, id, &mut wire);
                }
                // Neither alternatives nor requests of their own: the halves only pass on.
                Event::Cancelled { .. }
                | Event::Refused { .. }
                | Event::Unreachable { .. }
                | Event::Own { .. } => {}
            }
        }
    }

    fn timeout(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        for (id, lost) in self.half.timeout(ctx.now, out) {
            self.lose_tunnel(ctx, id, &lost, out);
        }
        self.end_keys(ctx.now, out);
        if ctx.now >= self.sweep {
            self.sweep = ctx.now + crate::half::SWEEP;
            self.tokens.sweep(ctx.unix_ms, out);
            self.owners.sweep(ctx.now, ctx.unix_ms, &self.tokens, out);
        }
        self.events(ctx, out);
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>, flow: Flow, why: &str, out: &mut Outbox) {
        if flow == LISTENER {
            let address = self.config.tunnel_listen;
            out.notice(Level::Error, format!("tunnels cannot be accepted on {address}: {why}"));
        } else if let Some(id) = self.half.links.id(flow) {
            self.lose_tunnel(ctx, id, &Lost::closed(why), out);
        }
    }
}

impl ContactPoint {
    fn take(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        if self.half.input(ctx, &input, out) {
            if !self.half.arrived.is_empty() || matches!(input, Input::Closed { .. }) {
                self.receive(ctx, out);
            }
            return;
        }
        match input {
            Input::Start => self.start(ctx, out),
            Input::Stream { flow, bytes } => self.stream(ctx, flow, bytes, out),
            Input::Opened { flow, listener: Some(LISTENER), peer, exporter, .. } => {
                self.accept(ctx, flow, peer, exporter, out);
            }
            Input::Answer { question, answer: Answer::UserKey(key) } => self.key_derived(question, key, out),
            Input::Persisted { seq } => self.persisted(seq, out),
            Input::Closed { flow, why } => self.closed(ctx, flow, why, out),
            Input::Timeout => self.timeout(ctx, out),
            Input::Drain if self.drain.is_none() => self.begin_drain(ctx.now, out),
            _ => {}
        }
    }
}

impl Node for ContactPoint {
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        self.take(ctx, input, out);
        self.half.serve(ctx.now, out);
        self.drain(ctx.now, out);
        self.half.keep(out);
    }

    fn deadline(&self) -> Option<Time> {
        let drain = self.drain.as_ref().and_then(drain::Drain::deadline);
        [self.half.deadline(), self.keys.registrations.deadline(), Some(self.sweep), drain]
            .into_iter()
            .flatten()
            .min()
    }

    fn fill(&mut self, ctx: &mut Ctx<'_>, flow: Flow, room: usize, buf: &mut Vec<u8>) {
        self.half.fill(ctx.now, flow, room, buf);
    }

    fn media_active(&self) -> bool {
        self.half.calls.media.pool.used() > 0
    }

    fn status(&self, now: Time) -> Status {
        status::report(self, now)
    }

    fn metrics(&self, _now: Time, metrics: &mut Metrics) {
        metrics::measure(self, metrics);
    }

    fn drained(&self) -> bool {
        let handed_over = self.drain.as_ref().is_none_or(|drain| drain.handed_over);
        handed_over && self.half.calls.len() == 0 && self.half.core.is_settled()
    }
}
