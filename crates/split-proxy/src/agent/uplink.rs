//! How the agent comes to its contact point: resolve, connect, wait, again.

use super::AgentConfig;
use super::places::{Place, Places, Step};
use crate::half::TUNNEL_FLOW;
use causeway_node::{Answer, Class, Connect, Ctx, Flow, Level, Outbox, Time, Transport};
use std::time::Duration;

/// Flow ids are used in turn, so that a late word about an old connection is told from one about the new.
const FLOWS: u32 = 1 << 16;
/// A tunnel that was up for this long makes the next attempt begin with the least delay again.
const STEADY: Duration = Duration::from_secs(10);
/// While calls wait for the tunnel, attempts begin so far apart …
const HURRY: Duration = Duration::from_secs(1);
/// … and may take so long: a SYN that was lost is repeated after a second, and the next attempt comes soon.
const HURRIED: Duration = Duration::from_millis(1500);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not started, or told to stop.
    Stopped,
    /// Nothing needs the tunnel.
    Idle,
    /// Waiting for DNS.
    Resolving,
    /// Waiting for a connection.
    Connecting { flow: Flow, place: Place, until: Time },
    /// A connection is open; the id of its link. `up` once the tunnel is.
    Open { link: usize, since: Time, up: bool },
    /// Waiting for the next attempt.
    Waiting { until: Time },
}

#[derive(Debug)]
pub(super) struct Uplink {
    pub state: State,
    places: Places,
    /// The contact point that the next attempt begins with, and that an open tunnel leads to.
    pub contact: usize,
    question: u64,
    flows: u32,
    failures: u32,
    /// The next attempt need not wait.
    at_once: bool,
    /// When the last attempt began.
    began: Time,
    /// Until when calls wait for the tunnel.
    pub hurry: Option<Time>,
    /// Why the last attempt or the last tunnel ended.
    pub why: String,
    pub attempts: u64,
}

impl Uplink {
    pub(super) fn new() -> Self {
        Self {
            state: State::Stopped,
            places: Places::default(),
            contact: 0,
            question: 0,
            flows: 0,
            failures: 0,
            at_once: false,
            began: Time::ZERO,
            hurry: None,
            why: String::new(),
            attempts: 0,
        }
    }

    /// The link of a tunnel that can carry requests.
    pub(super) fn link(&self) -> Option<usize> {
        match self.state {
            State::Open { link, up: true, .. } => Some(link),
            _ => None,
        }
    }

    /// Whether the connection of this link is the one that there is.
    pub(super) fn is_on(&self, id: usize) -> bool {
        matches!(self.state, State::Open { link, .. } if link == id)
    }

    pub(super) fn begin(&mut self, ctx: &mut Ctx<'_>, config: &AgentConfig, out: &mut Outbox) {
        self.began = ctx.now;
        self.attempts += 1;
        self.places = Places::from(config, self.contact);
        self.advance(ctx, config, None, out);
    }

    /// Goes on to the next place. Why the last one was none is for the operator, at the end of the attempt in any
    /// case.
    fn advance(&mut self, ctx: &mut Ctx<'_>, config: &AgentConfig, why: Option<String>, out: &mut Outbox) {
        let step = self.places.next(config);
        match (step, why) {
            (Step::Over, why) => {
                let why = why.unwrap_or_else(|| "no contact point is known".to_owned());
                self.fail(ctx, config, why, out);
            }
            (Step::Ask(question), why) => {
                note(why, out);
                self.question += 1;
                self.state = State::Resolving;
                out.ask(self.question, question);
            }
            (Step::Try(place), why) => {
                note(why, out);
                self.connect(ctx, config, place, out);
            }
        }
    }

    pub(super) fn answer(
        &mut self,
        ctx: &mut Ctx<'_>,
        config: &AgentConfig,
        question: u64,
        answer: Answer,
        out: &mut Outbox,
    ) {
        if self.state == State::Resolving && question == self.question {
            let why = self.places.answer(ctx, config, answer);
            self.advance(ctx, config, why, out);
        }
    }

    fn connect(&mut self, ctx: &mut Ctx<'_>, config: &AgentConfig, place: Place, out: &mut Outbox) {
        let flow = Flow(TUNNEL_FLOW + self.flows % FLOWS);
        self.flows = self.flows.wrapping_add(1);
        let (to, server_name, through) = (place.to, place.name.clone(), place.through.clone());
        let connect = Connect { to, through, transport: Transport::Tls, server_name, class: Class::Media };
        out.connect(flow, connect);
        let hurried = self.hurry.is_some_and(|until| ctx.now < until);
        let patience = if hurried { config.connect_timeout.min(HURRIED) } else { config.connect_timeout };
        self.state = State::Connecting { flow, place, until: ctx.now + patience };
    }

    /// Whether this is the connection that is being opened.
    pub(super) fn awaits(&self, flow: Flow) -> bool {
        matches!(self.state, State::Connecting { flow: awaited, .. } if awaited == flow)
    }

    /// The connection could not be opened: the next place, or the next attempt.
    pub(super) fn refused(&mut self, ctx: &mut Ctx<'_>, config: &AgentConfig, why: &str, out: &mut Outbox) {
        let State::Connecting { place, .. } = &self.state else { return };
        let to = match &place.through {
            Some(through) => {
                format!("{} port {} through the proxy at {}", through.host, through.port, place.to)
            }
            None => place.to.to_string(),
        };
        self.advance(ctx, config, Some(format!("no connection to the contact point at {to}: {why}")), out);
    }

    pub(super) fn opened(&mut self, now: Time, link: usize) {
        if let State::Connecting { place, .. } = &self.state {
            self.contact = place.contact;
        }
        self.state = State::Open { link, since: now, up: false };
    }

    pub(super) fn up(&mut self) {
        if let State::Open { up, .. } = &mut self.state {
            *up = true;
        }
        self.hurry = None;
    }

    /// The contact point does not want us now: the next attempt waits for as long as attempts ever do.
    pub(super) fn be_patient(&mut self) {
        if let State::Open { up, .. } = &mut self.state {
            *up = false;
        }
        self.failures = u32::MAX;
    }

    /// The contact point is going: the next attempt begins with another, if there is one, and at once.
    pub(super) fn turn_away(&mut self, config: &AgentConfig) {
        if config.contacts.len() > 1 {
            self.contact = (self.contact + 1) % config.contacts.len();
            self.at_once = true;
        }
    }

    /// The attempt has failed, or the tunnel is gone.
    pub(super) fn fail(&mut self, ctx: &mut Ctx<'_>, config: &AgentConfig, why: String, out: &mut Outbox) {
        if self.state == State::Stopped {
            return;
        }
        if let State::Open { since, up: true, .. } = self.state
            && ctx.now.since(since) >= STEADY
        {
            self.failures = 0;
        }
        let at_once = std::mem::take(&mut self.at_once);
        if self.hurry.is_some_and(|until| ctx.now < until) {
            let until = if at_once { ctx.now } else { ctx.now.max(self.began + HURRY) };
            let wait = until.since(ctx.now).as_secs_f64();
            out.notice(Level::Warn, format!("{why}; its calls wait, next attempt in {wait:.1} s"));
            self.why = why;
            self.state = State::Waiting { until };
            return;
        }
        let longest = config.retry_least.saturating_mul(1 << self.failures.min(16)).min(config.retry_most);
        self.failures = self.failures.saturating_add(1);
        // Between half and all of it, so that agents cut off together do not come back together.
        let half = longest / 2;
        let share = f64::from(ctx.rng.next_u32()) / f64::from(u32::MAX);
        let wait = if at_once { Duration::ZERO } else { half + half.mul_f64(share) };
        out.notice(Level::Warn, format!("{why}; next attempt in {:.1} s", wait.as_secs_f64()));
        self.why = why;
        self.state = State::Waiting { until: ctx.now + wait };
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Connecting { until, .. } | State::Waiting { until } => Some(until),
            _ => None,
        }
    }

    pub(super) fn timeout(&mut self, ctx: &mut Ctx<'_>, config: &AgentConfig, out: &mut Outbox) {
        match self.state {
            State::Waiting { until } if ctx.now >= until => self.begin(ctx, config, out),
            State::Connecting { flow, until, .. } if ctx.now >= until => {
                out.close(flow);
                self.refused(ctx, config, "it takes too long", out);
            }
            _ => {}
        }
    }
}

fn note(why: Option<String>, out: &mut Outbox) {
    if let Some(why) = why {
        out.notice(Level::Info, why);
    }
}
