//! The customer's half: an outbound proxy for the phones of a LAN, and the tunnel that it keeps.

mod config;
mod demand;
mod handover;
mod keys;
mod metrics;
mod phones;
mod places;
mod routing;
mod sessions;
mod status;
mod uplink;

pub use config::{AgentConfig, ContactAddress, HttpProxy};
pub use sessions::SPACES;

use crate::half::{Half, Lost, from_tunnel};
use crate::keys::Registrations;
use causeway_node::{Ctx, Flow, Input, Level, Metrics, Node, Outbox, Record, Status, Time};
use causeway_sip::Edit;
use causeway_sip::proxy::Event;
use causeway_sip::transaction::{BranchKey, ServerId};
use causeway_tunnel::{GoodbyeReason, Instance};
use demand::Demand;
use phones::Phones;
use std::collections::VecDeque;
use std::net::SocketAddr;
use uplink::{State, Uplink};

/// The customer's half of the split proxy; see the [crate's page](crate).
pub struct Agent {
    config: AgentConfig,
    half: Half,
    uplink: Uplink,
    /// The link of the session, with a connection or without.
    session: Option<usize>,
    /// The tunnel to a contact point that is going, while calls end there and the rest moves.
    handover: Option<handover::Handover>,
    /// Tickets on their way to the disk: the record, and the name of their link.
    tickets: VecDeque<(u64, Flow)>,
    /// What was on disk, until the start.
    restored: Vec<Record>,
    key: Option<BranchKey>,
    phones: Phones,
    /// What the keys of users are inherited from.
    registrations: Registrations,
    /// Requests from phones that wait for the tunnel, and until when.
    waiting: VecDeque<(ServerId, Time)>,
    demand: Demand,
    sweep: Time,
    draining: bool,
    /// `host:port` of the LAN side, as it stands in Via and Record-Route.
    name: String,
    edit: Edit,
}

impl Agent {
    /// An agent that has not started yet. `records` are those of the spaces [`crate::AGENT_SPACES`] that it has put
    /// out before; others are passed over.
    pub fn new(config: AgentConfig, records: impl IntoIterator<Item = Record>) -> Self {
        let half = Half::new(
            config.listen,
            config.timing,
            config.tunnel.clone(),
            config.media,
            config.limits,
            config.marks,
        );
        Self {
            name: config.listen.to_string(),
            half,
            uplink: Uplink::new(),
            session: None,
            handover: None,
            tickets: VecDeque::new(),
            restored: records.into_iter().collect(),
            key: None,
            phones: Phones::default(),
            registrations: Registrations::default(),
            waiting: VecDeque::new(),
            demand: Demand::default(),
            sweep: Time::ZERO,
            draining: false,
            edit: Edit::new(),
            config,
        }
    }

    /// Whether the tunnel is up.
    pub fn is_up(&self) -> bool {
        self.uplink.link().is_some()
    }

    fn start(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        if self.config.tunnel.instance.is_none() {
            let instance = self.config.instance.unwrap_or_else(|| Instance(ctx.random()));
            self.config.tunnel.instance = Some(instance);
            let c = &self.config;
            self.half = Half::new(c.listen, c.timing, c.tunnel.clone(), c.media, c.limits, c.marks);
        }
        self.half.calls.local_media = self.config.local_media;
        // Before any port is bound for whoever calls next.
        self.restore(ctx, out);
        self.half.start(ctx.now, out);
        self.sweep = ctx.now + crate::half::SWEEP;
        match self.config.on_demand {
            Some(_) if self.session.is_none() => self.uplink.state = State::Idle,
            _ => self.uplink.begin(ctx, &self.config, out),
        }
    }

    /// The link that takes requests: the tunnel is up, or will be soon.
    fn link(&self) -> Option<usize> {
        let lives = |id: &usize| self.half.links.get(*id).is_some_and(|link| link.tunnel.lives());
        self.session.filter(lives).or_else(|| self.leaving().filter(lives))
    }

    fn opened(
        &mut self,
        ctx: &mut Ctx<'_>,
        flow: Flow,
        peer: SocketAddr,
        exporter: Option<[u8; 32]>,
        out: &mut Outbox,
    ) {
        // A tunnel that is being left stays where it is.
        self.set_aside();
        let again = self.session.filter(|id| self.half.ask_again(ctx.now, *id, (flow, peer), exporter, out));
        let link = match again {
            Some(link) => {
                self.keep_epoch(link, out);
                link
            }
            None => {
                if let Some(old) = self.session.take() {
                    self.forget_session(old, out);
                    self.half.drop_link(ctx.now, old, false, out);
                }
                self.half.new_link(ctx, flow, peer, exporter, out)
            }
        };
        self.session = Some(link);
        self.uplink.opened(ctx.now, link);
    }

    fn stream(&mut self, ctx: &mut Ctx<'_>, flow: Flow, bytes: &[u8], out: &mut Outbox) {
        let Some(id) = self.half.links.id(flow) else { return };
        let mut input = bytes;
        loop {
            let heard = self.half.tunnel_bytes(ctx.now, id, &mut input, out);
            if let Some(why) = heard.fresh {
                let host = self.contact();
                out.notice(Level::Warn, format!("the session with {host} is gone, its calls end: {why}"));
                self.forget_session(id, out);
                self.half.begin_anew(ctx.now, id, out);
                self.events(ctx, out);
                continue;
            }
            if let Some(peer_lost) = heard.resumed {
                self.uplink.up();
                out.notice(Level::Info, format!("tunnel to {} goes on", self.contact()));
                self.half.resumed(id, peer_lost, out);
                self.offer_keys(ctx, id, out);
            }
            if heard.up {
                self.uplink.up();
                out.notice(Level::Info, format!("tunnel to {} is up", self.contact()));
                self.offer_keys(ctx, id, out);
                self.offer_again(ctx, out);
                self.move_registrations(ctx, out);
            }
            if heard.ticket {
                self.keep_ticket(id, out);
            }
            if let Some(grace) = heard.leaving {
                self.contact_leaves(ctx, id, grace, out);
            }
            self.receive(ctx, out);
            let intercepted = self.told_of_keys(ctx, id, heard.keys, out).map(Lost::intercepted);
            if let Some(lost) = heard.dead.or(intercepted) {
                self.lose_tunnel(ctx, id, lost, out);
            }
            return;
        }
    }

    /// The tunnel has lost its connection: what is on it waits for another one, or ends.
    fn lose_tunnel(&mut self, ctx: &mut Ctx<'_>, id: usize, lost: Lost, out: &mut Outbox) {
        if self.leaving() == Some(id) {
            return self.left(ctx, id, &lost, out);
        }
        if lost.unwanted {
            self.uplink.be_patient();
        }
        if lost.leaving {
            self.uplink.turn_away(&self.config);
        }
        let theirs = self.half.links.get(id).and_then(|link| link.tunnel.grace());
        let grace = theirs.map_or(self.config.grace, |theirs| theirs.min(self.config.grace));
        if self.half.park(ctx.now, id, &lost, grace, out) {
            self.uplink.hurry = self.half.links.get(id).and_then(|link| link.until);
        } else {
            self.forget_session(id, out);
            self.half.drop_link(ctx.now, id, lost.open, out);
            self.session = self.session.filter(|session| *session != id);
            self.uplink.hurry = None;
        }
        if self.uplink.is_on(id) {
            self.uplink.fail(ctx, &self.config, format!("the tunnel is lost: {}", lost.why), out);
        }
        self.events(ctx, out);
    }

    /// Hands what has arrived to the core.
    fn receive(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        for (hop, message) in std::mem::take(&mut self.half.arrived) {
            let (core, mut wire) = self.half.split(out);
            core.receive(ctx, hop, message, &mut wire);
        }
        self.events(ctx, out);
        for id in self.half.links.take_stuck() {
            self.lose_tunnel(ctx, id, Lost::deaf("the contact point does not read"), out);
        }
    }

    fn events(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        while let Some(event) = self.half.core.poll() {
            match event {
                Event::Request { id, message, from } if from_tunnel(&from) => {
                    self.on_tunnel_request(ctx, id, &message, from, out);
                }
                Event::Request { id, message, from } => self.on_phone_request(ctx, id, &message, from, out),
                Event::Response { id, message, .. } => self.response(ctx, id, &message, out),
                Event::Stray { message, from } => drop(self.stray(ctx, &message, from, out)),
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
            self.lose_tunnel(ctx, id, lost, out);
        }
        self.uplink.timeout(ctx, &self.config, out);
        self.move_more(ctx, out);
        while self.waiting.front().is_some_and(|(_, until)| *until <= ctx.now) {
            if let Some((id, _)) = self.waiting.pop_front() {
                self.reply(ctx, id, 503, Some("No Tunnel To The Operator"), out);
            }
        }
        self.look_for_need(ctx, out);
        self.end_keys(ctx.now, out);
        if ctx.now >= self.sweep {
            self.sweep = ctx.now + crate::half::SWEEP;
            self.phones.sweep(ctx.now, out);
        }
        self.events(ctx, out);
    }

    /// The contact point that the tunnel leads to, or the next attempt begins with.
    fn contact(&self) -> String {
        self.config.contacts.get(self.uplink.contact).map(ToString::to_string).unwrap_or_default()
    }

    /// On demand: ends the tunnel when nothing has needed it for long enough, and opens it when something does.
    fn look_for_need(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        let Some(linger) = self.config.on_demand else { return };
        let (half, phones, waiting) = (&self.half, &self.phones, &self.waiting);
        let needed = || {
            !waiting.is_empty()
                || half.calls.len() > 0
                || !half.core.is_settled()
                || phones.iter().any(|(_, phone)| phone.is_registered(ctx.now))
        };
        match (self.demand.is_over(ctx.now, linger, needed), &self.uplink.state) {
            (Some(false), State::Idle) if needed() => self.uplink.begin(ctx, &self.config, out),
            (Some(true), State::Open { link, .. }) => {
                let link = *link;
                if let Some(entry) = self.half.links.get_mut(link) {
                    entry.tunnel.goodbye(GoodbyeReason::Idle, "nothing needs the tunnel");
                }
                self.half.drop_link(ctx.now, link, true, out);
                self.uplink.state = State::Idle;
                out.notice(Level::Info, "nothing needs the tunnel; it is closed until something does");
            }
            (Some(true), State::Waiting { .. }) => self.uplink.state = State::Idle,
            _ => {}
        }
    }

    fn closed(&mut self, ctx: &mut Ctx<'_>, flow: Flow, why: &str, out: &mut Outbox) {
        if self.uplink.awaits(flow) {
            self.uplink.refused(ctx, &self.config, why, out);
        } else if let Some(id) = self.half.links.id(flow) {
            self.lose_tunnel(ctx, id, Lost::closed(why), out);
        }
    }

    /// Says goodbye once no call and no request is left.
    fn drain(&mut self, out: &mut Outbox) {
        if !self.drained() {
            return;
        }
        let open = match self.uplink.state {
            State::Open { link, .. } => Some(link),
            _ => None,
        };
        for id in [open, self.leaving()].into_iter().flatten() {
            if let Some(link) = self.half.links.get_mut(id) {
                link.tunnel.goodbye(GoodbyeReason::ShuttingDown, "the agent stops");
                link.wake(out);
            }
        }
        self.uplink.state = State::Stopped;
    }
}

impl Agent {
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
            Input::Opened { flow, peer, exporter, .. } if self.uplink.awaits(flow) => {
                self.opened(ctx, flow, peer, exporter, out);
            }
            Input::Closed { flow, why } => self.closed(ctx, flow, why, out),
            Input::Answer { question, answer } => {
                self.uplink.answer(ctx, &self.config, question, answer, out);
            }
            Input::Persisted { seq } => self.persisted(seq, out),
            Input::Timeout => self.timeout(ctx, out),
            Input::Drain => self.draining = true,
            _ => {}
        }
    }
}

impl Node for Agent {
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        self.take(ctx, input, out);
        self.half.serve(ctx.now, out);
        self.let_go(ctx, out);
        if self.draining && self.uplink.state != State::Stopped {
            self.drain(out);
        }
        self.half.keep(out);
    }

    fn deadline(&self) -> Option<Time> {
        let queue = self.waiting.front().map(|(_, until)| *until);
        let demand = self.config.on_demand.map(|_| self.demand.deadline());
        let keys = self.registrations.deadline();
        let handover = self.handover.as_ref().and_then(handover::Handover::deadline);
        [self.half.deadline(), self.uplink.deadline(), queue, keys, demand, handover, Some(self.sweep)]
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

    fn metrics(&self, now: Time, metrics: &mut Metrics) {
        metrics::measure(self, now, metrics);
    }

    fn drained(&self) -> bool {
        self.half.calls.len() == 0 && self.half.core.is_settled()
    }
}
