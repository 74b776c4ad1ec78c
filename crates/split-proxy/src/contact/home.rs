//! Several contact points side by side: which of them an agent belongs to.

use super::{ContactPoint, owners};
use crate::records::{remove, unhex};
use causeway_node::{Level, Outbox, Record};
use causeway_tunnel::Instance;
use serde_json::Value;

/// The place of a contact point among several that share the address for tunnels, each with a worker, ports and
/// records of its own. An agent belongs to the one that its instance names, whichever its connections come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its number, from 0.
    pub own: u16,
    /// How many there are, at least 1.
    pub of: u16,
}

impl Default for Seat {
    fn default() -> Self {
        Self { own: 0, of: 1 }
    }
}

impl Seat {
    /// Whether there are no others.
    pub(crate) fn is_alone(self) -> bool {
        self.of <= 1
    }

    /// The contact point of this agent: highest random weight (Thaler, Ravishankar 1998), so that with one more of
    /// them no agent changes but to the new one. Instances are random.
    pub(crate) fn home(self, instance: &Instance) -> u16 {
        let seed = instance.0.chunks(8).fold(0u64, |sum, half| {
            let word = half.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
            mix(sum ^ word)
        });
        (0..self.of).max_by_key(|number| mix(seed ^ u64::from(*number).wrapping_mul(WEYL))).unwrap_or(0)
    }

    /// Who else an agent belongs to. One without an instance belongs to nobody else: it is served where it comes, and
    /// begins anew if it comes elsewhere.
    pub(crate) fn elsewhere(self, instance: Option<&Instance>) -> Option<u16> {
        if self.is_alone() {
            return None;
        }
        Some(self.home(instance?)).filter(|home| *home != self.own)
    }
}

const WEYL: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of splitmix64.
fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

impl ContactPoint {
    /// A connection belongs to another contact point. `rest` is what has come on it after the Hello. Says whether it
    /// could be given away.
    pub(super) fn give_away(&mut self, id: usize, to: u16, rest: &[u8], out: &mut Outbox) -> bool {
        let Some(link) = self.half.links.get_mut(id) else { return false };
        let (Some(flow), Some(mut bytes)) = (link.flow, link.tunnel.give_away()) else { return false };
        let peer = link.peer;
        bytes.extend_from_slice(rest);
        out.hand_over(flow, to, &bytes);
        self.half.links.remove(id);
        self.gauges.remove(&id);
        self.leave_address(peer.ip());
        self.counters.handed_over += 1;
        true
    }

    /// What belongs to agents of other contact points, since there are more or fewer of them than there were, is
    /// forgotten: their sessions are over, and they register anew.
    pub(super) fn forget_strangers(&mut self, records: &mut Vec<Record>) {
        let seat = self.config.seat;
        let (own, strange) = std::mem::take(records)
            .into_iter()
            .partition(|record| instance_of(record).is_none_or(|instance| seat.home(&instance) == seat.own));
        (*records, self.strange) = (own, strange);
    }

    pub(super) fn remove_strangers(&mut self, out: &mut Outbox) {
        let strange = std::mem::take(&mut self.strange);
        for record in &strange {
            remove(record.space, &record.key, out);
        }
        if !strange.is_empty() {
            let text =
                format!("{} records of agents that belong to other workers now are dropped", strange.len());
            out.notice(Level::Warn, text);
        }
    }
}

/// Whose a record is. Legs are known by their sessions.
fn instance_of(record: &Record) -> Option<Instance> {
    if record.space == owners::OWNERS {
        return record.key.as_slice().try_into().ok().map(Instance);
    }
    let value: Value = serde_json::from_slice(record.value.as_deref()?).ok()?;
    unhex(value.get("instance")?.as_str()?).map(Instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_dealt_out_evenly_and_stay_where_they_are() {
        let instance =
            |n: u64| Instance([mix(n).to_be_bytes(), mix(n + 1).to_be_bytes()].concat().try_into().unwrap());
        for of in 1..6u16 {
            let seat = Seat { own: 0, of };
            let mut count = vec![0usize; of.into()];
            for n in 0..6000 {
                let home = seat.home(&instance(n));
                count[usize::from(home)] += 1;
                let more = Seat { own: 0, of: of + 1 }.home(&instance(n));
                assert!(more == home || more == of, "nobody moves but to the new one");
            }
            let fair = 6000 / usize::from(of);
            assert!(count.iter().all(|n| n.abs_diff(fair) < fair / 5), "{count:?}");
        }
        let named = instance(1);
        let alone = Seat::default();
        assert_eq!((alone.elsewhere(Some(&named)), Seat { own: 0, of: 3 }.elsewhere(None)), (None, None));
    }
}
