//! Contact tokens: what the operator's server sees in the place of a phone's own address.
//!
//! A token stands for one contact of one agent and stays the same for as long as either side may use it: the
//! same contact registered again has the same token, also after a reconnection or a restart. Tokens are
//! records of the space [`SPACE`].

use crate::records::{bytes, hex, latin1, unhex, value_of};
use causeway_node::{Ctx, Outbox, Record};
use causeway_tunnel::Instance;
use serde_json::{Value, json};
use std::collections::HashMap;

/// The record space of tokens.
pub const SPACE: &str = "contact.token";
/// A token outside any registration is kept for this long after its last use, in milliseconds.
const KEEP_MS: u64 = 12 * 3600 * 1000;
/// A use is worth a record only this long after the last one.
const RENEW_MS: u64 = 3600 * 1000;

/// A name, a contact, an address of record.
type Bytes = Box<[u8]>;

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub owner: usize,
    /// The contact as the phone has written it.
    pub contact: Bytes,
    /// The addresses of record that are bound to it, until when (unix milliseconds).
    pub bindings: Vec<(Bytes, u64)>,
    used_ms: u64,
}

/// A binding as it is on disk.
pub(super) struct Stored {
    pub name: Bytes,
    pub instance: Instance,
    pub token: Token,
}

#[derive(Debug, Default)]
pub(super) struct Tokens {
    by_name: HashMap<Bytes, Token>,
    by_contact: HashMap<(usize, Bytes), Bytes>,
    by_owner: HashMap<usize, Vec<Bytes>>,
}

impl Tokens {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&Token> {
        self.by_name.get(name)
    }

    /// The token of a contact, if it has one.
    pub(super) fn name(&self, owner: usize, contact: &[u8]) -> Option<&[u8]> {
        self.by_contact.get(&(owner, contact.into())).map(|name| &**name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Token)> {
        self.by_name.iter().map(|(name, token)| (&**name, token))
    }

    pub(super) fn insert(&mut self, name: Bytes, token: Token) {
        self.by_contact.insert((token.owner, token.contact.clone()), name.clone());
        self.by_owner.entry(token.owner).or_default().push(name.clone());
        self.by_name.insert(name, token);
    }

    /// The token of a contact, made if there is none. `instance` is that of an agent whose tokens are stored.
    pub(super) fn of(
        &mut self,
        ctx: &mut Ctx<'_>,
        owner: usize,
        instance: Option<Instance>,
        contact: &[u8],
        out: &mut Outbox,
    ) -> (Bytes, Option<u64>) {
        if let Some(name) = self.by_contact.get(&(owner, contact.into())).cloned() {
            let mut seq = None;
            if let Some(token) = self.by_name.get_mut(&name)
                && ctx.unix_ms.saturating_sub(token.used_ms) > RENEW_MS
            {
                token.used_ms = ctx.unix_ms;
                seq = instance.map(|instance| store(&name, instance, token, out));
            }
            return (name, seq);
        }
        let random: [u8; 12] = ctx.random();
        let mut name = String::with_capacity(26);
        name.push_str("cw");
        random.iter().for_each(|byte| name.push_str(&format!("{byte:02x}")));
        let name: Bytes = name.into_bytes().into();
        let token = Token { owner, contact: contact.into(), bindings: Vec::new(), used_ms: ctx.unix_ms };
        let seq = instance.map(|instance| store(&name, instance, &token, out));
        self.insert(name.clone(), token);
        (name, seq)
    }

    /// What is bound to the tokens of `owner` for one address of record, as the registrar says: exactly this.
    pub(super) fn bind(
        &mut self,
        owner: usize,
        instance: Option<Instance>,
        aor: &[u8],
        bound: &[(Bytes, u64)],
        out: &mut Outbox,
    ) {
        for name in self.by_owner.get(&owner).into_iter().flatten() {
            let Some(token) = self.by_name.get_mut(name) else { continue };
            let until = bound.iter().find(|(bound, _)| bound == name).map(|(_, until)| *until);
            let before = token.bindings.iter().position(|(known, _)| &**known == aor);
            match (before, until) {
                (None, None) => continue,
                (Some(at), Some(until)) => token.bindings[at].1 = until,
                (Some(at), None) => drop(token.bindings.remove(at)),
                (None, Some(until)) => token.bindings.push((aor.into(), until)),
            }
            if let Some(instance) = instance {
                store(name, instance, token, out);
            }
        }
    }

    /// Until when an address of record is registered by `owner`.
    pub(super) fn registered_until(&self, owner: usize, aor: &[u8]) -> Option<u64> {
        let names = self.by_owner.get(&owner).into_iter().flatten();
        let tokens = names.filter_map(|name| self.by_name.get(name));
        tokens
            .flat_map(|token| &token.bindings)
            .filter(|(known, _)| &**known == aor)
            .map(|(_, until)| *until)
            .max()
    }

    /// Forgets tokens that no registration and no recent use keeps.
    pub(super) fn sweep(&mut self, unix_ms: u64, out: &mut Outbox) {
        let (by_contact, by_owner) = (&mut self.by_contact, &mut self.by_owner);
        self.by_name.retain(|name, token| {
            token.bindings.retain(|(_, until)| *until > unix_ms);
            let keep = !token.bindings.is_empty() || unix_ms.saturating_sub(token.used_ms) < KEEP_MS;
            if !keep {
                by_contact.remove(&(token.owner, token.contact.clone()));
                if let Some(names) = by_owner.get_mut(&token.owner) {
                    names.retain(|known| known != name);
                }
                out.persist(Record { space: SPACE, key: name.to_vec(), value: None });
            }
            keep
        });
    }

    /// Forgets all tokens of an owner that is gone for good; it has no records.
    pub(super) fn forget_owner(&mut self, owner: usize) {
        for name in self.by_owner.remove(&owner).into_iter().flatten() {
            if let Some(token) = self.by_name.remove(&name) {
                self.by_contact.remove(&(owner, token.contact));
            }
        }
    }

    /// Makes room for one more token of an owner that may have `most`: the oldest that is not bound to any
    /// registration goes. Says whether there is room.
    pub(super) fn make_room(&mut self, owner: usize, most: usize, out: &mut Outbox) -> bool {
        let Some(names) = self.by_owner.get_mut(&owner).filter(|names| names.len() >= most) else {
            return true;
        };
        let unbound = |name: &Bytes| self.by_name.get(name).is_none_or(|token| token.bindings.is_empty());
        let Some(at) = names.iter().position(unbound) else { return false };
        let name = names.remove(at);
        if let Some(token) = self.by_name.remove(&name) {
            self.by_contact.remove(&(owner, token.contact));
            out.persist(Record { space: SPACE, key: name.into(), value: None });
        }
        true
    }

    /// Whether a contact has a token already.
    pub(super) fn has(&self, owner: usize, contact: &[u8]) -> bool {
        self.by_contact.contains_key(&(owner, contact.into()))
    }

    /// How many tokens an owner has.
    pub(super) fn count(&self, owner: usize) -> usize {
        self.by_owner.get(&owner).map_or(0, Vec::len)
    }
}

fn store(name: &[u8], instance: Instance, token: &Token, out: &mut Outbox) -> u64 {
    let bindings: Vec<Value> =
        token.bindings.iter().map(|(aor, until)| json!({ "aor": latin1(aor), "until_ms": until })).collect();
    let value = json!({
        "instance": hex(&instance.0),
        "contact": latin1(&token.contact),
        "bindings": bindings,
        "used_ms": token.used_ms,
    });
    out.persist(Record { space: SPACE, key: name.to_vec(), value: Some(value.to_string().into_bytes()) })
}

/// Reads a record back; `None` if it is not one of ours. The owner is filled in by the caller.
pub(super) fn restore(record: &Record) -> Option<Stored> {
    let value = value_of(record, SPACE)?;
    let instance = unhex(value.get("instance")?.as_str()?)?;
    let bindings = value.get("bindings")?.as_array()?.iter();
    let bindings = bindings.map(|b| Some((bytes(b.get("aor")?.as_str()?), b.get("until_ms")?.as_u64()?)));
    let token = Token {
        owner: 0,
        contact: bytes(value.get("contact")?.as_str()?),
        bindings: bindings.collect::<Option<_>>()?,
        used_ms: value.get("used_ms")?.as_u64()?,
    };
    Some(Stored { name: record.key.clone().into(), instance: Instance(instance), token })
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_node::testing::CountingRng;
    use causeway_node::{Output, Time};

    fn records(out: &mut Outbox) -> Vec<Record> {
        let mut records = Vec::new();
        out.drain(|_, output| {
            if let Output::Persist { record, .. } = output {
                records.push(record.clone());
            }
        });
        records
    }

    #[test]
    fn a_token_is_stable_and_survives_on_disk() {
        let mut rng = CountingRng::default();
        let mut ctx = Ctx { now: Time::ZERO, unix_ms: 1_000_000, rng: &mut rng };
        let (mut tokens, mut out) = (Tokens::default(), Outbox::default());
        let instance = Instance([7; 16]);
        let contact = b"sip:\xe9lise@192.168.1.5:5060;transport=tcp";
        let (name, seq) = tokens.of(&mut ctx, 3, Some(instance), contact, &mut out);
        assert_eq!((name.len(), seq), (26, Some(1)));
        assert_eq!(tokens.of(&mut ctx, 3, Some(instance), contact, &mut out), (name.clone(), None));
        assert_ne!(tokens.of(&mut ctx, 4, None, contact, &mut out).0, name, "of another agent");
        tokens.bind(3, Some(instance), b"sip:a@b", &[(name.clone(), 5_000_000)], &mut out);
        let last = records(&mut out).pop().unwrap();
        let stored = restore(&last).unwrap();
        assert_eq!((stored.name, stored.instance), (name.clone(), instance));
        assert_eq!(&*stored.token.contact, contact);
        assert_eq!(stored.token.bindings, [(b"sip:a@b".as_slice().into(), 5_000_000)]);
        assert_eq!(tokens.registered_until(3, b"sip:a@b"), Some(5_000_000));

        tokens.bind(3, Some(instance), b"sip:a@b", &[], &mut out);
        assert_eq!(tokens.registered_until(3, b"sip:a@b"), None);
        tokens.sweep(ctx.unix_ms + KEEP_MS, &mut out);
        assert!(tokens.get(&name).is_none());
        assert!(records(&mut out).iter().any(|r| r.key == *name && r.value.is_none()));
    }

    #[test]
    fn the_oldest_unbound_token_gives_way() {
        let mut rng = CountingRng::default();
        let mut ctx = Ctx { now: Time::ZERO, unix_ms: 1, rng: &mut rng };
        let (mut tokens, mut out) = (Tokens::default(), Outbox::default());
        let [a, b] = [&b"sip:a@x"[..], b"sip:b@x"].map(|c| tokens.of(&mut ctx, 0, None, c, &mut out).0);
        tokens.bind(0, None, b"sip:a@y", &[(a.clone(), 9)], &mut out);
        assert!(tokens.make_room(0, 2, &mut out));
        assert!(tokens.get(&a).is_some() && tokens.get(&b).is_none());
        assert!(!tokens.make_room(0, 1, &mut out), "what is registered stays");
    }

    #[test]
    fn broken_records_are_passed_over() {
        for value in ["", "{}", r#"{"instance":"zz","contact":"","bindings":[],"used_ms":1}"#] {
            let record = Record { space: SPACE, key: b"x".to_vec(), value: Some(value.as_bytes().to_vec()) };
            assert!(restore(&record).is_none(), "{value}");
        }
    }
}
