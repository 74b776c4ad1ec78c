//! The location service: which contacts an address of record has now (RFC 3261 §10).

use causeway_node::Record;
use causeway_sip::Uri;
use causeway_store::record::{Binding, Kind};
use std::collections::{BTreeSet, HashMap};

/// Bindings by address of record, the best first, those of equal preference in the order of registration.
#[derive(Debug, Default)]
pub struct Location {
    table: HashMap<Vec<u8>, Vec<Binding>>,
    /// (expires, AoR, contact) of every binding: what ends next.
    expiry: BTreeSet<(u64, Vec<u8>, String)>,
}

impl Location {
    /// Contacts that one address of record may have.
    pub const CONTACTS: usize = 16;

    /// Takes what was stored, leaving out what has ended meanwhile.
    pub fn restore(stored: Vec<(Vec<u8>, Vec<u8>)>, unix_ms: u64) -> Self {
        let mut location = Self::default();
        for (key, value) in stored {
            let aor = key.split(|byte| *byte == 0).next().unwrap_or_default();
            match Binding::read(&value) {
                Ok(binding) if binding.expires > unix_ms => location.put(aor, binding),
                _ => {}
            }
        }
        location
    }

    /// The bindings of an address of record.
    pub fn get(&self, aor: &[u8]) -> &[Binding] {
        self.table.get(aor).map_or(&[], Vec::as_slice)
    }

    /// The binding of the contact that equals `contact` (§19.1.4).
    pub fn find(&self, aor: &[u8], contact: &[u8]) -> Option<&Binding> {
        self.get(aor).iter().find(|binding| same_contact(binding.contact.as_bytes(), contact))
    }

    /// Addresses of record with at least one binding, and bindings in all.
    pub fn count(&self) -> (usize, usize) {
        (self.table.len(), self.expiry.len())
    }

    /// Every address of record with its bindings.
    pub fn all(&self) -> impl Iterator<Item = (&[u8], &[Binding])> {
        self.table.iter().map(|(aor, bindings)| (aor.as_slice(), bindings.as_slice()))
    }

    /// Adds a binding, in place of that of an equal contact, and returns what to store.
    pub fn set(&mut self, aor: &[u8], binding: Binding) -> Vec<Record> {
        let mut records = self.remove(aor, binding.contact.as_bytes());
        records.push(binding.record(&key(aor, &binding.contact)));
        self.put(aor, binding);
        records
    }

    /// Removes the binding of a contact, and returns what to store.
    pub fn remove(&mut self, aor: &[u8], contact: &[u8]) -> Vec<Record> {
        let Some(bindings) = self.table.get_mut(aor) else { return Vec::new() };
        let mut records = Vec::new();
        bindings.retain(|binding| {
            let same = same_contact(binding.contact.as_bytes(), contact);
            if same {
                self.expiry.remove(&(binding.expires, aor.to_vec(), binding.contact.clone()));
                records.push(Binding::removal(&key(aor, &binding.contact)));
            }
            !same
        });
        if bindings.is_empty() {
            self.table.remove(aor);
        }
        records
    }

    /// When the next binding ends, in milliseconds since 1970.
    pub fn next_expiry(&self) -> Option<u64> {
        self.expiry.first().map(|(expires, _, _)| *expires)
    }

    /// Removes what has ended, and returns what to store.
    pub fn expire(&mut self, unix_ms: u64) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some((_, aor, contact)) = self.expiry.first().filter(|(at, _, _)| *at <= unix_ms).cloned() {
            records.extend(self.remove(&aor, contact.as_bytes()));
        }
        records
    }

    fn put(&mut self, aor: &[u8], binding: Binding) {
        self.expiry.insert((binding.expires, aor.to_vec(), binding.contact.clone()));
        let bindings = self.table.entry(aor.to_vec()).or_default();
        let at = bindings.partition_point(|other| other.q >= binding.q);
        bindings.insert(at, binding);
    }
}

fn key(aor: &[u8], contact: &str) -> Vec<u8> {
    [aor, &[0], contact.as_bytes()].concat()
}

fn same_contact(a: &[u8], b: &[u8]) -> bool {
    match (Uri::parse(a), Uri::parse(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(contact: &str, q: u16, expires: u64) -> Binding {
        Binding {
            contact: contact.into(),
            params: String::new(),
            q,
            expires,
            call_id: "c".into(),
            cseq: 1,
            path: Vec::new(),
            received: String::new(),
        }
    }

    #[test]
    fn keeps_order_replaces_equals_and_expires() {
        let mut location = Location::default();
        location.set(b"sip:bob@example.com", binding("sip:bob@192.0.2.1", 500, 100));
        location.set(b"sip:bob@example.com", binding("sip:bob@192.0.2.2", 1000, 200));
        let records = location.set(b"sip:bob@example.com", binding("sip:%62ob@192.0.2.1", 500, 300));
        assert_eq!(records.len(), 2, "the old spelling is removed, the new one stored");
        let contacts: Vec<_> =
            location.get(b"sip:bob@example.com").iter().map(|b| b.contact.as_str()).collect();
        assert_eq!(contacts, ["sip:bob@192.0.2.2", "sip:%62ob@192.0.2.1"]);
        assert_eq!(location.next_expiry(), Some(200));
        assert_eq!(location.expire(200).len(), 1);
        assert_eq!(location.count(), (1, 1));
        assert_eq!(location.expire(1000).len(), 1);
        assert_eq!(location.count(), (0, 0));
    }

    #[test]
    fn what_was_stored_comes_back_but_not_what_has_ended() {
        let mut location = Location::default();
        let mut stored = Vec::new();
        for (n, expires) in [(1, 100), (2, 200)] {
            for record in location.set(b"sip:bob@example.com", binding(&format!("sip:b@h{n}"), 1000, expires))
            {
                stored.push((record.key, record.value.unwrap()));
            }
        }
        let again = Location::restore(stored, 150);
        assert_eq!(again.get(b"sip:bob@example.com").len(), 1);
        assert_eq!(again.get(b"sip:bob@example.com")[0].contact, "sip:b@h2");
    }
}
