//! How the agent comes to its contact point: resolve, connect, wait, again.

use super::AgentConfig;
use crate::half::TUNNEL_FLOW;
use causeway_node::{Class, Connect, Ctx, Flow, Level, Outbox, Question, Time, Transport};
use std::collections::VecDeque;
use std::net::SocketAddr;
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
    /// Waiting for the addresses.
    Resolving,
    /// Waiting for a connection, with further addresses to try.
    Connecting { flow: Flow, to: SocketAddr, rest: VecDeque<SocketAddr>, until: Time },
    /// A connection is open; the id of its link. `up` once the tunnel is.
    Open { link: usize, since: Time, up: bool },
    /// Waiting for the next attempt.
    Waiting { until: Time },
}

#[derive(Debug)]
pub(super) struct Uplink {
    pub state: State,
    question: u64,
    flows: u32,
    failures: u32,
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
            question: 0,
            flows: 0,
            failures: 0,
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

    pub(super) fn begin(&mut self, now: Time, config: &AgentConfig, out: &mut Outbox) {
        self.began = now;
        self.question += 1;
        self.attempts += 1;
        self.state = State::Resolving;
        let host = config.contact_host.clone();
        out.ask(self.question, Question::Resolve { host, port: config.contact_port });
    }

    pub(super) fn answer(
        &mut self,
        ctx: &mut Ctx<'_>,
        config: &AgentConfig,
        question: u64,
        addresses: Vec<SocketAddr>,
        why: String,
        out: &mut Outbox,
    ) {
        if self.state != State::Resolving || question != self.question {
            return;
        }
        if addresses.is_empty() {
            let text = format!("the contact point's name {} cannot be resolved: {why}", config.contact_host);
            return self.fail(ctx, config, text, out);
        }
        self.connect(ctx, config, addresses.into(), out);
    }

    fn connect(
        &mut self,
        ctx: &mut Ctx<'_>,
        config: &AgentConfig,
        mut rest: VecDeque<SocketAddr>,
        out: &mut Outbox,
    ) {
        let Some(to) = rest.pop_front() else { return };
        let flow = Flow(TUNNEL_FLOW + self.flows % FLOWS);
        self.flows = self.flows.wrapping_add(1);
        let server_name = config.contact_host.clone();
        out.connect(flow, Connect { to, transport: Transport::Tls, server_name, class: Class::Media });
        let hurried = self.hurry.is_some_and(|until| ctx.now < until);
        let patience = if hurried { config.connect_timeout.min(HURRIED) } else { config.connect_timeout };
        self.state = State::Connecting { flow, to, rest, until: ctx.now + patience };
    }

    /// Whether this is the connection that is being opened.
    pub(super) fn awaits(&self, flow: Flow) -> bool {
        matches!(self.state, State::Connecting { flow: awaited, .. } if awaited == flow)
    }

    /// The connection could not be opened: the next address, or the next attempt.
    pub(super) fn refused(&mut self, ctx: &mut Ctx<'_>, config: &AgentConfig, why: &str, out: &mut Outbox) {
        let State::Connecting { to, rest, .. } = &mut self.state else { return };
        let text = format!("no connection to the contact point at {to}: {why}");
        let rest = std::mem::take(rest);
        if rest.is_empty() {
            return self.fail(ctx, config, text, out);
        }
        out.notice(Level::Info, text);
        self.connect(ctx, config, rest, out);
    }

    pub(super) fn opened(&mut self, now: Time, link: usize) {
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
        if self.hurry.is_some_and(|until| ctx.now < until) {
            let until = ctx.now.max(self.began + HURRY);
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
        let wait = half + half.mul_f64(share);
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
            State::Waiting { until } if ctx.now >= until => self.begin(ctx.now, config, out),
            State::Connecting { flow, until, .. } if ctx.now >= until => {
                out.close(flow);
                self.refused(ctx, config, "it takes too long", out);
            }
            _ => {}
        }
    }
}
