//! The location service: which contacts an address of record has now (RFC 3261 §10, RFC 5626 §6).

use crate::keys::Keys;
use crate::shard::{self, Shard};
use causeway_node::Record;
use causeway_sip::Uri;
use causeway_store::record::{Binding, Kind};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bindings by address of record, the best first, those of equal preference in the order of registration.
#[derive(Debug, Default)]
pub struct Location {
    table: HashMap<Arc<[u8]>, Entry>,
    /// Who must be looked at in which second, milliseconds since 1970 rounded up: a binding ends then unless it
    /// has been refreshed meanwhile. Each is here once, however often he refreshes.
    expiry: BTreeMap<u64, Vec<Arc<[u8]>>>,
    /// The registrations that have temporary GRUUs, by their seed.
    seeds: HashMap<u64, Arc<[u8]>>,
    bindings: usize,
    /// Stored bindings that had ended when they were read.
    stale: Vec<Record>,
}

#[derive(Debug)]
struct Entry {
    bindings: Vec<Binding>,
    /// The second of [`Location::expiry`] in which it is looked at: not after the end of its first binding.
    look_at: u64,
}

impl Default for Entry {
    fn default() -> Self {
        Self { bindings: Vec::new(), look_at: u64::MAX }
    }
}

/// Which binding of an address of record is meant.
#[derive(Clone, Copy, Debug)]
pub struct Which<'a> {
    /// The contact URI.
    pub contact: &'a [u8],
    /// Instance id and flow number, where it is registered for outbound: then the URI does not matter.
    pub flow: Option<(&'a str, u32)>,
}

impl Which<'_> {
    /// The one among these.
    pub fn among(self, bindings: &[Binding]) -> Option<&Binding> {
        bindings.iter().find(|binding| self.is(binding))
    }

    fn is(&self, binding: &Binding) -> bool {
        match self.flow {
            Some((instance, reg_id)) => binding.reg_id == reg_id && *binding.instance == *instance,
            None => binding.reg_id == 0 && same_contact(binding.contact.as_bytes(), self.contact),
        }
    }

    fn of(binding: &Binding) -> Which<'_> {
        let flow = (binding.reg_id != 0).then_some((&*binding.instance, binding.reg_id));
        Which { contact: binding.contact.as_bytes(), flow }
    }
}

impl Location {
    /// Contacts that one address of record may have; what is beyond is refused.
    pub const CONTACTS: usize = 16;

    /// Takes what was stored, leaving out what has ended meanwhile.
    pub fn restore(stored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>, unix_ms: u64) -> Self {
        let mut location = Self::default();
        stored.into_iter().for_each(|(key, value)| location.take_back(&key, &value, unix_ms));
        location
    }

    /// The same for each of the `members` of a group: the bindings of the users that are its own. `secret` is that of
    /// their keys.
    pub fn restore_for(
        members: u16,
        secret: [u8; 32],
        stored: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        unix_ms: u64,
    ) -> Vec<Self> {
        let (keys, shard) = (Keys::new(secret), Shard { own: 0, of: members });
        let mut all: Vec<Self> = (0..members.max(1)).map(|_| Self::default()).collect();
        for (key, value) in stored {
            let owner = shard.of_tag(shard::of_aor(&keys, aor_of(&key)));
            if let Some(location) = all.get_mut(usize::from(owner)) {
                location.take_back(&key, &value, unix_ms);
            }
        }
        all
    }

    fn take_back(&mut self, key: &[u8], value: &[u8], unix_ms: u64) {
        match Binding::read(value) {
            Ok(binding) if binding.expires > unix_ms => self.put(aor_of(key), binding),
            Ok(_) => self.stale.push(Binding::removal(key)),
            Err(_) => {}
        }
    }

    /// What is still stored although it has ended, to be removed.
    pub fn take_stale(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.stale)
    }

    /// The bindings of an address of record.
    pub fn get(&self, aor: &[u8]) -> &[Binding] {
        self.table.get(aor).map_or(&[], |entry| &entry.bindings)
    }

    /// The address of record whose device has this seed in its temporary GRUUs.
    pub fn of_seed(&self, seed: u64) -> Option<&[u8]> {
        self.seeds.get(&seed).map(|aor| &**aor)
    }

    /// Addresses of record with at least one binding, and bindings in all.
    pub fn count(&self) -> (usize, usize) {
        (self.table.len(), self.bindings)
    }

    /// Every address of record with its bindings.
    pub fn all(&self) -> impl Iterator<Item = (&[u8], &[Binding])> {
        self.table.iter().map(|(aor, entry)| (&**aor, entry.bindings.as_slice()))
    }

    /// Adds a binding, in place of that which it replaces, and returns what to store.
    pub fn set(&mut self, aor: &[u8], binding: Binding) -> Vec<Record> {
        let which = Which::of(&binding);
        let mut records = Vec::with_capacity(1);
        for old in self.extract(aor, |old| which.is(old)) {
            // The new value overwrites the old one; a removal is only needed under another key.
            if !has_key_of(&old, &binding) {
                records.push(Self::removal(aor, &old));
            }
        }
        records.push(binding.record(key(aor, &binding)));
        self.put(aor, binding);
        records
    }

    /// Removes a binding, and returns what to store.
    pub fn remove(&mut self, aor: &[u8], which: Which<'_>) -> Vec<Record> {
        self.remove_where(aor, |binding| which.is(binding))
    }

    /// Removes all bindings of an address of record that meet a condition, and returns what to store.
    pub fn remove_where(&mut self, aor: &[u8], ends: impl FnMut(&mut Binding) -> bool) -> Vec<Record> {
        self.take_where(aor, ends).iter().map(|binding| Self::removal(aor, binding)).collect()
    }

    /// The record that removes a stored binding.
    pub fn removal(aor: &[u8], binding: &Binding) -> Record {
        Binding::removal(&key(aor, binding))
    }

    fn take_where(&mut self, aor: &[u8], ends: impl FnMut(&mut Binding) -> bool) -> Vec<Binding> {
        let gone = self.extract(aor, ends);
        if !gone.is_empty() && self.get(aor).is_empty() {
            self.table.remove(aor);
        }
        gone
    }

    /// As [`Location::take_where`], but an address of record without bindings keeps its place, for another to come.
    fn extract(&mut self, aor: &[u8], ends: impl FnMut(&mut Binding) -> bool) -> Vec<Binding> {
        let Some(Entry { bindings, .. }) = self.table.get_mut(aor) else { return Vec::new() };
        let gone: Vec<Binding> = bindings.extract_if(.., ends).collect();
        self.bindings -= gone.len();
        for binding in gone.iter().filter(|binding| !binding.instance.is_empty()) {
            if !bindings.iter().any(|other| other.gruu == binding.gruu) {
                self.seeds.remove(&binding.gruu);
            }
        }
        gone
    }

    /// When somebody must be looked at next, in milliseconds since 1970.
    pub fn next_expiry(&self) -> Option<u64> {
        self.expiry.first_key_value().map(|(at, _)| *at)
    }

    /// Removes what has ended, and returns it by address of record.
    pub fn expire(&mut self, unix_ms: u64) -> Vec<(Arc<[u8]>, Vec<Binding>)> {
        let mut expired = Vec::new();
        while let Some(due) = self.expiry.first_entry().filter(|entry| *entry.key() <= unix_ms) {
            let (second, all) = due.remove_entry();
            for aor in all {
                let ended = self.take_where(&aor, |binding| binding.expires <= unix_ms);
                if let Some(entry) = self.table.get_mut(&aor).filter(|entry| entry.look_at == second)
                    && let Some(next) = entry.bindings.iter().map(last_second).min()
                {
                    entry.look_at = next;
                    self.expiry.entry(next).or_default().push(Arc::clone(&aor));
                }
                if !ended.is_empty() {
                    expired.push((aor, ended));
                }
            }
        }
        expired
    }

    fn put(&mut self, aor: &[u8], mut binding: Binding) {
        binding.unite();
        let known = self.table.get_key_value(aor).map(|(aor, _)| Arc::clone(aor));
        let aor = known.unwrap_or_else(|| Arc::from(aor));
        if !binding.instance.is_empty() {
            self.seeds.insert(binding.gruu, Arc::clone(&aor));
        }
        let entry = self.table.entry(Arc::clone(&aor)).or_default();
        let second = last_second(&binding);
        if second < entry.look_at {
            entry.look_at = second;
            self.expiry.entry(second).or_default().push(aor);
        }
        // By itself a list would make room for four, where nearly everybody has one.
        entry.bindings.reserve_exact(1);
        let at = entry.bindings.partition_point(|other| other.q >= binding.q);
        entry.bindings.insert(at, binding);
        self.bindings += 1;
    }
}

/// The second at whose end a binding is over.
fn last_second(binding: &Binding) -> u64 {
    binding.expires.div_ceil(1000).saturating_mul(1000)
}

/// The address of record in the key of a stored binding.
fn aor_of(key: &[u8]) -> &[u8] {
    key.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn key(aor: &[u8], binding: &Binding) -> Vec<u8> {
    match binding.reg_id {
        0 => [aor, &[0], binding.contact.as_bytes()].concat(),
        reg_id => [aor, &[0], binding.instance.as_bytes(), b";", reg_id.to_string().as_bytes()].concat(),
    }
}

/// Whether two bindings of one address of record are stored under the same key.
fn has_key_of(one: &Binding, other: &Binding) -> bool {
    one.reg_id == other.reg_id
        && match one.reg_id {
            0 => one.contact == other.contact,
            _ => one.instance == other.instance,
        }
}

fn same_contact(a: &[u8], b: &[u8]) -> bool {
    a == b || matches!((Uri::parse(a), Uri::parse(b)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: &[u8] = b"sip:bob@example.com";

    fn binding(contact: &str, q: u16, expires: u64) -> Binding {
        Binding { contact: contact.into(), q, expires, call_id: "c".into(), cseq: 1, ..Binding::default() }
    }

    fn contacts(location: &Location) -> Vec<&str> {
        location.get(BOB).iter().map(|binding| &*binding.contact).collect()
    }

    #[test]
    fn keeps_order_replaces_equals_and_expires() {
        let mut location = Location::default();
        location.set(BOB, binding("sip:bob@192.0.2.1", 500, 10_000));
        location.set(BOB, binding("sip:bob@192.0.2.2", 1000, 20_000));
        let records = location.set(BOB, binding("sip:%62ob@192.0.2.1", 500, 30_000));
        assert_eq!(records.len(), 2, "the old spelling is removed, the new one stored");
        assert_eq!(location.set(BOB, binding("sip:%62ob@192.0.2.1", 500, 30_000)).len(), 1, "overwritten");
        assert_eq!(contacts(&location), ["sip:bob@192.0.2.2", "sip:%62ob@192.0.2.1"]);
        assert!(location.expire(10_000).is_empty(), "it was refreshed");
        let expired = location.expire(20_000);
        assert_eq!((expired.len(), &*expired[0].0, expired[0].1.len()), (1, BOB, 1));
        assert_eq!(location.count(), (1, 1));
        assert_eq!(location.next_expiry(), Some(30_000));
        assert_eq!(location.expire(100_000).len(), 1);
        assert_eq!((location.count(), location.next_expiry()), ((0, 0), None));
    }

    #[test]
    fn who_refreshes_often_is_looked_at_once() {
        let mut location = Location::default();
        for second in 1..=3_000 {
            location.set(BOB, binding("sip:bob@192.0.2.1", 1000, 3_600_000 + second * 1000));
        }
        let waiting = |location: &Location| location.expiry.values().map(Vec::len).sum::<usize>();
        assert_eq!((waiting(&location), location.next_expiry()), (1, Some(3_601_000)));
        assert!(location.expire(3_601_000).is_empty());
        assert_eq!((waiting(&location), location.next_expiry()), (1, Some(6_600_000)));
        location.set(BOB, binding("sip:bob@192.0.2.1", 1000, 5_000_500));
        assert_eq!(location.next_expiry(), Some(5_001_000), "for a shorter time this once");
        assert_eq!(location.expire(5_001_000).len(), 1);
        assert!(location.expire(6_600_000).is_empty());
        assert_eq!((waiting(&location), location.count()), (0, (0, 0)));
    }

    /// RFC 5626 §6: instance and reg-id name a binding, whatever its URI.
    #[test]
    fn flows_are_told_by_instance_and_number() {
        let flow = |contact: &str, instance: &str, reg_id, gruu| Binding {
            instance: instance.into(),
            reg_id,
            gruu,
            ..binding(contact, 1000, 10_000)
        };
        let mut location = Location::default();
        location.set(BOB, flow("sip:bob@192.0.2.1", "\"<urn:a>\"", 1, 11));
        location.set(BOB, flow("sip:bob@192.0.2.1", "\"<urn:a>\"", 2, 11));
        location.set(BOB, flow("sip:bob@192.0.2.1", "\"<urn:b>\"", 1, 12));
        location.set(BOB, binding("sip:bob@192.0.2.1", 1000, 10_000));
        assert_eq!(location.count(), (1, 4));
        location.set(BOB, flow("sip:bob@192.0.2.77", "\"<urn:a>\"", 2, 11));
        assert_eq!(location.count(), (1, 4), "the same flow from elsewhere");
        assert_eq!((location.of_seed(11), location.of_seed(12)), (Some(BOB), Some(BOB)));
        location.remove(BOB, Which { contact: b"sip:x@y", flow: Some(("\"<urn:a>\"", 1)) });
        assert_eq!(location.of_seed(11), Some(BOB), "its other flow is still there");
        location.remove(BOB, Which { contact: b"sip:x@y", flow: Some(("\"<urn:a>\"", 2)) });
        assert_eq!(location.of_seed(11), None);
        assert_eq!(location.count(), (1, 2));
    }

    #[test]
    fn what_was_stored_comes_back_but_not_what_has_ended() {
        let mut location = Location::default();
        let mut stored = Vec::new();
        for (n, expires) in [(1, 100), (2, 200)] {
            for record in location.set(BOB, binding(&format!("sip:b@h{n}"), 1000, expires)) {
                stored.push((record.key, record.value.unwrap()));
            }
        }
        let mut again = Location::restore(stored, 150);
        assert_eq!(again.take_stale().len(), 1);
        assert_eq!(contacts(&again), ["sip:b@h2"]);
    }
}
