//! Agents as the contact point knows them: who they are allowed to be, and which dialogs they are in.

use super::tokens::Tokens;
use crate::keys::identity;
use crate::records::{bytes, hex, latin1, put, read_texts, remove, texts, unhex, value_of};
use causeway_node::{Outbox, Record, Time};
use causeway_sip::{HeaderId, Msg, NameAddr};
use causeway_tunnel::Instance;
use serde_json::{Value, json};
use slab::Slab;
use std::collections::HashMap;
use std::time::Duration;

/// The record space of dialogs.
pub(super) const DIALOGS: &str = "contact.dialog";
/// The record space of what registrars say of agents beside bindings.
pub(super) const OWNERS: &str = "contact.owner";
/// A dialog in which nothing has happened for this long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(12 * 3600);
/// Routes remembered of one dialog or registration.
const MAX_ROUTES: usize = 16;

type Routes = Vec<Box<[u8]>>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct DialogKey {
    pub call_id: Box<[u8]>,
    pub phone_tag: Box<[u8]>,
    pub far_tag: Box<[u8]>,
}

impl DialogKey {
    /// The dialog of a message whose request goes from or to the phone.
    pub(super) fn of(msg: Msg<'_>, from_phone: bool) -> Option<Self> {
        let (from, to) = (msg.from_tag()?, msg.to_tag()?);
        let (phone_tag, far_tag) = if from_phone { (from, to) } else { (to, from) };
        Some(Self { call_id: msg.call_id()?.into(), phone_tag: phone_tag.into(), far_tag: far_tag.into() })
    }

    /// The name of its record. No part may hold a NUL byte (RFC 3261 §25.1).
    fn name(&self, instance: Instance) -> Vec<u8> {
        [&instance.0[..], &self.call_id, b"\0", &self.phone_tag, b"\0", &self.far_tag].concat()
    }

    fn value(&self, instance: Instance, routes: &[Box<[u8]>]) -> Value {
        json!({
            "instance": hex(&instance.0),
            "call_id": latin1(&self.call_id),
            "phone_tag": latin1(&self.phone_tag),
            "far_tag": latin1(&self.far_tag),
            "routes": texts(routes),
        })
    }

    /// With the agent, and the routes.
    fn read(record: &Record) -> Option<(Self, Instance, Routes)> {
        let value = value_of(record, DIALOGS)?;
        let text = |name: &str| value.get(name)?.as_str().map(bytes);
        let instance = Instance(unhex(value.get("instance")?.as_str()?)?);
        let key =
            Self { call_id: text("call_id")?, phone_tag: text("phone_tag")?, far_tag: text("far_tag")? };
        Some((key, instance, read_texts(value.get("routes")?)?))
    }
}

#[derive(Debug)]
struct Dialog {
    /// The URIs that the operator's elements want requests of the dialog to visit.
    routes: Vec<Box<[u8]>>,
    used: Time,
}

/// One agent, over all its tunnels.
#[derive(Debug, Default)]
pub(super) struct Owner {
    pub instance: Option<Instance>,
    /// Its tunnel, if it has one.
    pub link: Option<usize>,
    /// What it has registered, until when (unix milliseconds).
    aors: HashMap<Box<[u8]>, u64>,
    /// Further names that the registrar has tied to a registration (RFC 3455 §4.1).
    associated: HashMap<Box<[u8]>, Vec<Box<[u8]>>>,
    /// Routes that the registrar wants requests to visit (RFC 3608).
    service_routes: Vec<Box<[u8]>>,
    dialogs: HashMap<DialogKey, Dialog>,
    /// Whether the registrar's routes and names are on disk.
    kept: bool,
}

impl Owner {
    pub(super) fn is_admitted(&self, unix_ms: u64) -> bool {
        self.aors.values().any(|until| *until > unix_ms)
    }

    /// Whether a URI is one that this agent has registered.
    pub(super) fn may_be(&self, uri: &[u8], unix_ms: u64) -> bool {
        let Some(name) = identity(uri) else { return false };
        let is_live = |aor: &[u8]| self.aors.get(aor).is_some_and(|until| *until > unix_ms);
        is_live(&name)
            || self.associated.iter().any(|(aor, names)| is_live(aor) && names.iter().any(|n| **n == *name))
    }

    /// The registrar has said until when an address of record is registered (unix milliseconds), if at all.
    pub(super) fn admit(&mut self, aor: &[u8], until: Option<u64>, associated: Vec<Box<[u8]>>) {
        match until {
            Some(until) => {
                self.aors.insert(aor.into(), until);
                self.associated.insert(aor.into(), associated);
            }
            None => {
                self.aors.remove(aor);
                self.associated.remove(aor);
            }
        }
    }

    pub(super) fn registrations(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.aors.iter().map(|(aor, until)| (&**aor, *until))
    }

    pub(super) fn set_service_routes(&mut self, response: Msg<'_>) {
        let routes = response.addrs(HeaderId::ServiceRoute).flatten();
        self.service_routes = routes.take(MAX_ROUTES).map(|route| route.uri.into()).collect();
    }

    pub(super) fn dialogs(&self) -> usize {
        self.dialogs.len()
    }

    pub(super) fn knows(&self, key: &DialogKey) -> bool {
        self.dialogs.contains_key(key)
    }

    /// Notes a dialog that a response has made, with its route set. At most `most` are kept.
    pub(super) fn note_dialog(
        &mut self,
        key: DialogKey,
        routes: Vec<Box<[u8]>>,
        now: Time,
        most: usize,
        out: &mut Outbox,
    ) {
        if let Some(dialog) = self.dialogs.get_mut(&key) {
            dialog.used = now;
        } else if self.dialogs.len() < most {
            let routes: Vec<_> = routes.into_iter().take(MAX_ROUTES).collect();
            if let Some(instance) = self.instance {
                put(DIALOGS, &key.name(instance), &key.value(instance, &routes), out);
            }
            self.dialogs.insert(key, Dialog { routes, used: now });
        }
    }

    /// Writes what the registrar has said beside the bindings.
    pub(super) fn keep(&mut self, out: &mut Outbox) {
        let Some(instance) = self.instance else { return };
        let empty = self.service_routes.is_empty() && self.associated.values().all(Vec::is_empty);
        if empty && !self.kept {
            return;
        }
        self.kept = true;
        let associated = self.associated.iter().map(|(aor, names)| json!([latin1(aor), texts(names)]));
        let value = json!({
            "service_routes": texts(&self.service_routes),
            "associated": associated.collect::<Vec<_>>(),
        });
        put(OWNERS, &instance.0, &value, out);
    }

    pub(super) fn touch(&mut self, key: &DialogKey, now: Time) {
        if let Some(dialog) = self.dialogs.get_mut(key) {
            dialog.used = now;
        }
    }

    pub(super) fn end_dialog(&mut self, key: &DialogKey, out: &mut Outbox) {
        let was = self.dialogs.remove(key).is_some();
        if let Some(instance) = self.instance.filter(|_| was) {
            remove(DIALOGS, &key.name(instance), out);
        }
    }

    /// Whether a Route value may stay in a request of this agent: the operator itself has named it, in this
    /// dialog or at registration.
    pub(super) fn may_route(&self, value: &[u8], dialog: Option<&DialogKey>) -> bool {
        let Some(route) = NameAddr::parse(value) else { return false };
        let routes = dialog.and_then(|key| self.dialogs.get(key)).map_or(&self.service_routes, |d| &d.routes);
        routes.iter().any(|known| &**known == route.uri)
    }

    fn sweep(&mut self, now: Time, unix_ms: u64, out: &mut Outbox) {
        self.aors.retain(|_, until| *until > unix_ms);
        let aors = &self.aors;
        self.associated.retain(|aor, _| aors.contains_key(aor));
        let instance = self.instance;
        self.dialogs.retain(|key, dialog| {
            let keep = now.since(dialog.used) < FORGOTTEN;
            if let Some(instance) = instance.filter(|_| !keep) {
                remove(DIALOGS, &key.name(instance), out);
            }
            keep
        });
    }
}

/// All agents.
#[derive(Debug, Default)]
pub(super) struct Owners {
    slab: Slab<Owner>,
    by_instance: HashMap<Instance, usize>,
}

impl Owners {
    pub(super) fn get(&self, id: usize) -> Option<&Owner> {
        self.slab.get(id)
    }

    pub(super) fn get_mut(&mut self, id: usize) -> Option<&mut Owner> {
        self.slab.get_mut(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Owner> {
        self.slab.iter().map(|(_, owner)| owner)
    }

    /// The agent with this identity; a nameless one is new each time.
    pub(super) fn of(&mut self, instance: Option<Instance>) -> usize {
        if let Some(known) = instance.and_then(|instance| self.by_instance.get(&instance)) {
            return *known;
        }
        let id = self.slab.insert(Owner { instance, ..Owner::default() });
        if let Some(instance) = instance {
            self.by_instance.insert(instance, id);
        }
        id
    }

    /// What registrars have said of agents that are known.
    pub(super) fn restore(&mut self, records: &[Record]) {
        for record in records {
            let Some(value) = value_of(record, OWNERS) else { continue };
            let instance = record.key.as_slice().try_into().map(Instance);
            let known = instance.ok().and_then(|instance| self.by_instance.get(&instance));
            let Some(owner) = known.and_then(|id| self.slab.get_mut(*id)) else { continue };
            owner.kept = true;
            owner.service_routes = value.get("service_routes").and_then(read_texts).unwrap_or_default();
            for pair in value.get("associated").and_then(Value::as_array).into_iter().flatten() {
                let aor = pair.get(0).and_then(Value::as_str).map(bytes);
                let Some((aor, names)) = aor.zip(pair.get(1).and_then(read_texts)) else { continue };
                owner.associated.insert(aor, names);
            }
        }
    }

    /// The dialogs of agents.
    pub(super) fn restore_dialogs(&mut self, records: &[Record], now: Time) {
        for (key, instance, routes) in records.iter().filter_map(DialogKey::read) {
            let owner = self.of(Some(instance));
            if let Some(owner) = self.slab.get_mut(owner) {
                owner.dialogs.insert(key, Dialog { routes, used: now });
            }
        }
    }

    /// Forgets a nameless agent at the end of its tunnel.
    pub(super) fn end_nameless(&mut self, id: usize, tokens: &mut Tokens) {
        if self.slab.get(id).is_some_and(|owner| owner.instance.is_none()) {
            self.slab.remove(id);
            tokens.forget_owner(id);
        }
    }

    pub(super) fn sweep(&mut self, now: Time, unix_ms: u64, tokens: &Tokens, out: &mut Outbox) {
        let by_instance = &mut self.by_instance;
        self.slab.retain(|id, owner| {
            owner.sweep(now, unix_ms, out);
            let keep = owner.link.is_some() || !owner.dialogs.is_empty() || tokens.count(id) > 0;
            if !keep && let Some(instance) = owner.instance {
                by_instance.remove(&instance);
                if owner.kept {
                    remove(OWNERS, &instance.0, out);
                }
            }
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities() {
        let same = |a: &str, b: &str| identity(a.as_bytes()) == identity(b.as_bytes());
        assert!(same("sip:Alice@Example.COM;x=y", "sips:Alice@example.com:5061"));
        assert!(same("sip:%61lice@example.com", "sip:alice@example.com"));
        assert!(!same("sip:alice@example.com", "sip:Alice@example.com"), "users have case");
        assert!(!same("sip:alice@example.com", "sip:alice@example.org"));
        assert_eq!(identity(b"nonsense"), None);
    }

    #[test]
    fn admission_ends_with_the_registration() {
        let mut owner = Owner::default();
        assert!(!owner.is_admitted(0));
        owner.admit(b"sip:a@b", Some(1000), vec![b"sip:d@b".as_slice().into()]);
        assert!(owner.may_be(b"sip:d@b", 999) && !owner.may_be(b"sip:d@b", 1000));
        assert!(owner.is_admitted(999) && owner.may_be(b"sips:a@B", 999) && !owner.may_be(b"sip:c@b", 999));
        assert!(!owner.is_admitted(1000) && !owner.may_be(b"sip:a@b", 1000));
        owner.admit(b"sip:a@b", None, vec![]);
        assert!(!owner.is_admitted(0));
    }
}
