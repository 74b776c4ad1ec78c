//! Sessions: tunnels that go on on another connection.

use super::ContactPoint;
use causeway_node::{Ctx, Flow, Level, Outbox};
use causeway_tunnel::{Resume, SessionId};
use std::collections::{HashMap, VecDeque};

/// The links of sessions, and what is on its way to the disk for them.
#[derive(Default)]
pub(super) struct Sessions {
    by_id: HashMap<SessionId, usize>,
    /// Tickets that wait for their record; with the name of their link.
    tickets: VecDeque<(u64, Flow)>,
}

impl ContactPoint {
    /// An agent wants to go on with a session: the link that it continues on.
    pub(super) fn asked(&mut self, ctx: &mut Ctx<'_>, new: usize, ask: &Resume, out: &mut Outbox) -> usize {
        let old = self.sessions.by_id.get(&ask.session).copied().unwrap_or(usize::MAX);
        let before = self.half.links.get(old).map(|link| link.peer);
        if let Err(why) = self.half.adopt(ctx.now, old, new, out) {
            self.counters.tickets_refused += 1;
            if let Some(link) = self.half.links.get_mut(new) {
                out.notice(Level::Info, format!("tunnel from {} cannot go on: {why}", link.peer));
                link.tunnel.begin_afresh(why);
            }
            return new;
        }
        // The new connection was counted when it came, the old one is no more.
        self.gauges.remove(&new);
        if let Some(before) = before {
            self.leave_address(before.ip());
        }
        if let Some(link) = self.half.links.get(old) {
            out.notice(Level::Info, format!("tunnel from {} goes on", link.peer));
        }
        self.make_ticket(ctx, old, out);
        old
    }

    /// Every connection gets a ticket for the next.
    pub(super) fn make_ticket(&mut self, ctx: &mut Ctx<'_>, id: usize, out: &mut Outbox) {
        let grace = u16::try_from(self.config.grace.as_secs()).unwrap_or(u16::MAX);
        let (session, seed) = (SessionId(ctx.random()), ctx.random());
        let Some(link) = self.half.links.get_mut(id).filter(|_| grace > 0) else { return };
        if !link.tunnel.make_ticket(session, seed, grace) {
            return;
        }
        self.sessions.by_id.extend(link.tunnel.session().map(|session| (session, id)));
        link.tunnel.send_ticket();
        link.wake(out);
    }

    /// The agent has its ticket.
    pub(super) fn ticket_kept(&mut self, _id: usize, _out: &mut Outbox) {}

    /// Records are on disk: what waited for them goes.
    pub(super) fn persisted(&mut self, seq: u64, out: &mut Outbox) {
        while self.sessions.tickets.front().is_some_and(|(awaited, _)| *awaited <= seq) {
            let Some((_, name)) = self.sessions.tickets.pop_front() else { return };
            let link = self.half.links.named(name).and_then(|id| self.half.links.get_mut(id));
            if let Some(link) = link {
                link.tunnel.send_ticket();
                link.wake(out);
            }
        }
    }

    /// The session of a link is over.
    pub(super) fn end_session(&mut self, id: usize, _out: &mut Outbox) {
        if let Some(session) = self.half.links.get(id).and_then(|link| link.tunnel.session()) {
            self.sessions.by_id.remove(&session);
        }
    }
}
