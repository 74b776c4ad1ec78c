//! A contact point that is told to end: agents that have another go there, with all that is new, before their tunnels
//! here end.

use super::{ContactPoint, LISTENER};
use crate::links::Link;
use causeway_node::{Level, Outbox, Time};
use causeway_tunnel::GoodbyeReason;
use std::time::Duration;

/// How long agents have to bring their registrations elsewhere, before tunnels without calls are ended. Until then this
/// contact point does for them what it always did.
const HANDOVER: Duration = Duration::from_secs(5);

/// Since when, and how far.
#[derive(Debug)]
pub(super) struct Drain {
    pub began: Time,
    /// All agents that have another contact point have gone there, or have had the time to.
    pub handed_over: bool,
}

impl Drain {
    /// When there is something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        (!self.handed_over).then_some(self.began + HANDOVER)
    }
}

impl ContactPoint {
    pub(super) fn begin_drain(&mut self, now: Time, out: &mut Outbox) {
        out.close(LISTENER);
        self.drain = Some(Drain { began: now, handed_over: false });
        let up = self.half.links.iter().filter(|(_, link)| link.tunnel.is_up());
        let up: Vec<usize> = up.map(|(id, _)| id).collect();
        out.notice(Level::Info, format!("{} tunnels are told to go elsewhere", up.len()));
        for id in up {
            if let Some(link) = self.half.links.get_mut(id) {
                link.tunnel.say_leaving(self.config.drain_grace);
                link.wake(out);
            }
        }
    }

    /// Ends the tunnels, each once no call is left on it.
    pub(super) fn drain(&mut self, now: Time, out: &mut Outbox) {
        let Some(drain) = &mut self.drain else { return };
        let waits = |link: &Link| link.flow.is_some() && link.tunnel.is_up() && !link.stays;
        let overdue = drain.began + HANDOVER <= now;
        drain.handed_over |= overdue || !self.half.links.iter().any(|(_, link)| waits(link));
        let handed_over = drain.handed_over;
        let idle = |link: &Link| link.calls == 0 && link.tunnel.is_up() && (handed_over || link.stays);
        let idle = self.half.links.iter().filter(|(_, link)| idle(link));
        for id in idle.map(|(id, _)| id).collect::<Vec<_>>() {
            if let Some(link) = self.half.links.get_mut(id) {
                link.tunnel.goodbye(GoodbyeReason::ShuttingDown, "the contact point stops");
                link.wake(out);
            }
        }
    }
}
