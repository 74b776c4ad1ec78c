//! Sessions: tunnels that go on on another connection, also after a restart.

use super::ContactPoint;
use super::admission::Gauge;
use crate::links::Link;
use crate::records::{hex, put, read_session, remove, session, unhex, value_of};
use causeway_node::{Ctx, Flow, Level, Outbox, Record, Time};
use causeway_tunnel::{Instance, Resume, Saved, SessionId, Tunnel};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

/// The record space of sessions.
const SPACE: &str = "contact.session";

/// The links of sessions, and what is on its way to the disk for them.
#[derive(Default)]
pub(super) struct Sessions {
    by_id: HashMap<SessionId, usize>,
    /// Tickets that wait for their record; with the name of their link.
    tickets: VecDeque<(u64, Flow)>,
}

/// A session as it is on disk.
struct Stored {
    saved: Saved,
    instance: Instance,
    peer: SocketAddr,
    since_ms: u64,
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

    /// Every connection gets a ticket for the next; it leaves once the session is on disk. An agent without an
    /// identity of its own has nothing there.
    pub(super) fn make_ticket(&mut self, ctx: &mut Ctx<'_>, id: usize, out: &mut Outbox) {
        let grace = u16::try_from(self.config.grace.as_secs()).unwrap_or(u16::MAX);
        let (session, seed) = (SessionId(ctx.random()), ctx.random());
        let Some(link) = self.half.links.get_mut(id).filter(|_| grace > 0) else { return };
        if !link.tunnel.make_ticket(session, seed, grace) {
            return;
        }
        self.sessions.by_id.extend(link.tunnel.session().map(|session| (session, id)));
        let name = link.name;
        match self.keep_session(id, out) {
            Some(seq) => self.sessions.tickets.push_back((seq, name)),
            None => self.send_ticket(name, out),
        }
    }

    /// The agent has its ticket: the one before is void, also after a restart.
    pub(super) fn ticket_kept(&mut self, id: usize, out: &mut Outbox) {
        self.keep_session(id, out);
    }

    /// Writes what the session of a link needs to go on after a restart; the number of the record.
    fn keep_session(&mut self, id: usize, out: &mut Outbox) -> Option<u64> {
        let link = self.half.links.get_mut(id)?;
        let instance = self.owners.get(link.owner)?.instance?;
        let saved = link.tunnel.saved()?;
        let mut value = session(&saved);
        value["instance"] = hex(&instance.0).into();
        value["peer"] = link.peer.to_string().into();
        value["since_ms"] = link.since_ms.into();
        let seq = put(SPACE, &saved.session.0, &value, out);
        if !std::mem::replace(&mut link.durable, true) {
            self.half.calls.keep_link(id);
        }
        Some(seq)
    }

    fn send_ticket(&mut self, name: Flow, out: &mut Outbox) {
        let link = self.half.links.named(name).and_then(|id| self.half.links.get_mut(id));
        if let Some(link) = link {
            link.tunnel.send_ticket();
            link.wake(out);
        }
    }

    /// Records are on disk: what waited for them goes.
    pub(super) fn persisted(&mut self, seq: u64, out: &mut Outbox) {
        while self.sessions.tickets.front().is_some_and(|(awaited, _)| *awaited <= seq) {
            let Some((_, name)) = self.sessions.tickets.pop_front() else { return };
            self.send_ticket(name, out);
        }
    }

    /// The session of a link is over.
    pub(super) fn end_session(&mut self, id: usize, out: &mut Outbox) {
        let Some(link) = self.half.links.get(id) else { return };
        if let Some(session) = link.tunnel.session() {
            self.sessions.by_id.remove(&session);
            if link.durable {
                remove(SPACE, &session.0, out);
            }
        }
    }

    /// Takes up the sessions that were open, with their calls: each waits for its agent.
    pub(super) fn restore_sessions(&mut self, ctx: &Ctx<'_>, records: &[Record], out: &mut Outbox) {
        for record in records.iter().filter(|record| record.space == SPACE) {
            match read(record).filter(|stored| {
                self.sessions.by_id.len() < self.config.limits.tunnels
                    && stored.saved.session.0 == *record.key
            }) {
                Some(stored) => self.restore_session(ctx.now, stored),
                None => drop(remove(SPACE, &record.key, out)),
            }
        }
        let (half, sessions) = (&mut self.half, &self.sessions.by_id);
        half.calls.restore(records, sessions, ctx.now, &mut half.links, out);
    }

    fn restore_session(&mut self, now: Time, stored: Stored) {
        let session = stored.saved.session;
        let owner = self.owners.of(Some(stored.instance));
        let tunnel = Tunnel::restore(self.half.tunnel_config(), now, stored.saved);
        let mut link = Link::new(None, stored.peer, tunnel, stored.since_ms);
        (link.owner, link.durable, link.lost) = (owner, true, Some(now));
        link.until = Some(now + self.config.grace);
        let id = self.half.links.insert(link);
        self.sessions.by_id.insert(session, id);
        self.gauges.insert(id, Gauge::new(&self.config.limits, now));
        *self.per_address.entry(stored.peer.ip()).or_default() += 1;
        if let Some(owner) = self.owners.get_mut(owner) {
            owner.link = Some(id);
        }
    }
}

fn read(record: &Record) -> Option<Stored> {
    let value: Value = value_of(record, SPACE)?;
    Some(Stored {
        saved: read_session(&value)?,
        instance: Instance(unhex(value.get("instance")?.as_str()?)?),
        peer: value.get("peer")?.as_str()?.parse().ok()?,
        since_ms: value.get("since_ms")?.as_u64()?,
    })
}
