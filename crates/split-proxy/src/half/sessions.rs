//! Tunnels lose connections and get others: what becomes of their sessions.

use super::{Half, is_leaving, is_unwanted};
use causeway_node::{Flow, Outbox, Time};
use causeway_sip::Framer;
use causeway_tunnel::{GoodbyeReason, Stale, Why};
use std::net::SocketAddr;
use std::time::Duration;

/// Why a tunnel has lost its connection, as figures tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The connection was closed or reset.
    Closed,
    /// The peer has said goodbye.
    Goodbye,
    /// The peer has said that we break the protocol.
    Error,
    /// No Hello came in time.
    Hello,
    /// The peer was not heard any more.
    Silent,
    /// The peer does not read what is for it.
    Deaf,
    /// The peer breaks the protocol.
    Protocol,
    /// The peer sends more than it may.
    Limit,
    /// Somebody stands in between.
    Intercepted,
    /// It has waited for another connection in vain.
    Expired,
    /// The same agent has come again.
    Replaced,
}

impl Ending {
    /// All, with their names in figures.
    pub(crate) const ALL: [(Self, &'static str); 11] = [
        (Self::Closed, "closed"),
        (Self::Goodbye, "goodbye"),
        (Self::Error, "error"),
        (Self::Hello, "hello"),
        (Self::Silent, "silent"),
        (Self::Deaf, "deaf"),
        (Self::Protocol, "protocol"),
        (Self::Limit, "limit"),
        (Self::Intercepted, "intercepted"),
        (Self::Expired, "expired"),
        (Self::Replaced, "replaced"),
    ];

    fn of(why: &Why) -> Self {
        /// Of [`causeway_tunnel::Fault::code`].
        const LIMIT: u8 = 5;
        match why {
            Why::Goodbye { reason: GoodbyeReason::Intercepted, .. } => Self::Intercepted,
            Why::Goodbye { .. } => Self::Goodbye,
            Why::PeerError { .. } => Self::Error,
            Why::Fault(fault) if fault.code() == LIMIT => Self::Limit,
            Why::Fault(_) => Self::Protocol,
            Why::Handshake => Self::Hello,
            Why::Silent => Self::Silent,
            Why::Deaf => Self::Deaf,
        }
    }
}

/// How a tunnel has lost its connection.
#[derive(Debug)]
pub(crate) struct Lost {
    pub why: String,
    pub ending: Ending,
    /// The session has ended with it.
    pub ends: bool,
    /// The peer would rather not see us again soon.
    pub unwanted: bool,
    /// The peer is going for good.
    pub leaving: bool,
    /// The connection still exists, and must be closed. An id that the driver has taken back may be another's.
    pub open: bool,
}

impl Lost {
    fn new(why: &str, ending: Ending) -> Self {
        Self { why: why.to_owned(), ending, ends: true, unwanted: false, leaving: false, open: true }
    }

    /// The connection is gone.
    pub(crate) fn closed(why: &str) -> Self {
        Self { ends: false, open: false, ..Self::new(why, Ending::Closed) }
    }

    /// The peer does what it must not.
    pub(crate) fn broken(why: impl Into<String>) -> Self {
        Self::new(&why.into(), Ending::Protocol)
    }

    /// The peer does not take the SIP that is for it.
    pub(crate) fn deaf(why: &str) -> Self {
        Self::new(why, Ending::Deaf)
    }

    /// Somebody stands in between, as a key has shown.
    pub(crate) fn intercepted(why: String) -> Self {
        Self::new(&why, Ending::Intercepted)
    }

    /// It has not said Hello yet, and others want its place.
    pub(crate) fn displaced() -> Self {
        Self::new("it has not said hello, and others want its place", Ending::Hello)
    }

    /// The same agent has come again.
    pub(crate) fn replaced(why: &str) -> Self {
        Self::new(why, Ending::Replaced)
    }

    /// The connection was lost before, and there was no other in time.
    pub(crate) fn expired() -> Self {
        Self { open: false, ..Self::new("it has not come back in time", Ending::Expired) }
    }
}

impl From<Why> for Lost {
    fn from(why: Why) -> Self {
        let (ends, unwanted, leaving) = (why.ends_session(), is_unwanted(&why), is_leaving(&why));
        Self { ends, unwanted, leaving, ..Self::new(&why.to_string(), Ending::of(&why)) }
    }
}

impl Half {
    /// A link that has lost its connection waits for another; `false` if it cannot, or has waited for `grace`.
    pub(crate) fn park(
        &mut self,
        now: Time,
        id: usize,
        lost: &Lost,
        grace: Duration,
        out: &mut Outbox,
    ) -> bool {
        let Some(link) = self.links.get_mut(id).filter(|link| !lost.ends && link.tunnel.can_resume()) else {
            return false;
        };
        let until = *link.lost.get_or_insert(now) + grace;
        if until <= now {
            return false;
        }
        link.until = Some(until);
        self.hang_up(now, id, lost.open, out);
        if let Some(link) = self.links.get_mut(id) {
            link.tunnel.park(now);
        }
        self.calls.media.cut_pipes(id, out);
        self.links.touch(id);
        true
    }

    /// At the agent: a link that waits for a connection asks to go on on this one. Says whether it can.
    pub(crate) fn ask_again(
        &mut self,
        now: Time,
        id: usize,
        (flow, peer): (Flow, SocketAddr),
        exporter: Option<[u8; 32]>,
        out: &mut Outbox,
    ) -> bool {
        let Some(link) = self.links.get_mut(id) else { return false };
        if !link.tunnel.resume(now, exporter) {
            return false;
        }
        link.peer = peer;
        link.keys.connected(exporter, link.tunnel.epoch(), &mut link.tunnel);
        self.links.set_flow(id, Some(flow));
        self.links.touch(id);
        self.calls.media.cut_pipes(id, out);
        out.mark(flow, self.calls.marks.tunnel);
        out.wake(flow);
        true
    }

    /// A session goes on; if its peer has lost its memory, it hears again what it has not answered.
    pub(crate) fn resumed(&mut self, id: usize, peer_lost: bool, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(id) else { return };
        (link.lost, link.until) = (None, None);
        let name = link.name;
        if peer_lost {
            link.keys.forget();
            let (core, mut wire) = self.split(out);
            core.resend(name, &mut wire);
        }
        if let Some(link) = self.links.get(id) {
            link.wake(out);
        }
    }

    /// At the contact point: the link `old` goes on with the connection of the link `new`, which is no more.
    pub(crate) fn adopt(&mut self, now: Time, old: usize, new: usize, out: &mut Outbox) -> Result<(), Stale> {
        let Some((link, other)) = self.links.pair_mut(old, new) else { return Err(Stale::Unknown) };
        let adopted = link.tunnel.adopt(now, &mut other.tunnel)?;
        let Some(fresh) = self.links.remove(new) else { return Err(Stale::Unknown) };
        if let Some(flow) = self.links.set_flow(old, fresh.flow) {
            if !adopted.last_words.is_empty() {
                out.stream(flow, &adopted.last_words);
            }
            out.close(flow);
        }
        if let Some(link) = self.links.get_mut(old) {
            link.peer = fresh.peer;
            link.keys.connected(fresh.keys.exporter(), link.tunnel.epoch(), &mut link.tunnel);
            if adopted.peer_lost {
                link.framer = Framer::new();
            }
        }
        self.calls.media.cut_pipes(old, out);
        self.resumed(old, adopted.peer_lost, out);
        self.links.touch(old);
        Ok(())
    }

    /// The session of a link is gone, and a new one has begun on its connection.
    pub(crate) fn begin_anew(&mut self, now: Time, id: usize, out: &mut Outbox) {
        self.calls.drop_link(id, &mut self.links, out);
        let Some(name) = self.links.rename(id) else { return };
        if let Some(link) = self.links.get_mut(id) {
            (link.lost, link.until) = (None, None);
            link.keys.connected(link.keys.exporter(), link.tunnel.epoch(), &mut link.tunnel);
            link.keys.forget();
        }
        let (core, mut wire) = self.split(out);
        core.closed(now, name, &mut wire);
    }

    /// Forgets a tunnel: its legs end, what waited for an answer from it fails.
    /// `open` says whether its connection still exists.
    pub(crate) fn drop_link(&mut self, now: Time, id: usize, open: bool, out: &mut Outbox) {
        self.calls.drop_link(id, &mut self.links, out);
        self.hang_up(now, id, open, out);
        let Some(link) = self.links.remove(id) else { return };
        let (core, mut wire) = self.split(out);
        core.closed(now, link.name, &mut wire);
    }

    /// Says what is left to say on a connection, and closes it.
    fn hang_up(&mut self, now: Time, id: usize, open: bool, out: &mut Outbox) {
        let Some(flow) = self.links.set_flow(id, None) else { return };
        if let Some(link) = self.links.get_mut(id).filter(|_| open) {
            let mut last = Vec::new();
            link.tunnel.fill(now, 1 << 16, &mut last);
            if !last.is_empty() {
                out.stream(flow, &last);
            }
            out.close(flow);
        }
    }
}
