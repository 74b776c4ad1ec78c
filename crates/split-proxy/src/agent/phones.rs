//! The phones on the LAN: where each of the contacts that they have named can be reached.

use crate::keys::identity;
use crate::records::{put, remove, value_of};
use causeway_node::{Ctx, Outbox, Record, Time};
use causeway_sip::transaction::{Hop, Transport};
use causeway_sip::{Contact, Message, Method, Msg, Uri};
use serde_json::json;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// The record space of registered phones, by contact.
pub(super) const SPACE: &str = "agent.phone";
/// Contacts remembered at most; the one unused for longest gives way.
const MAX_PHONES: usize = 10_000;
/// A longer REGISTER is not kept, and its phone registers anew by itself.
const MAX_REGISTER: usize = 4096;
/// A contact that is neither registered nor seen for this long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(super) struct Phone {
    pub hop: Hop,
    /// What it is registered as, until when.
    pub registered: Option<(String, Time)>,
    seen: Time,
    /// The REGISTER that was accepted last, and where it came from.
    register: Option<(Message, Hop)>,
    /// It has a record.
    kept: bool,
}

impl Phone {
    pub(super) fn is_registered(&self, now: Time) -> bool {
        self.registered.as_ref().is_some_and(|(_, until)| *until > now)
    }
}

#[derive(Debug, Default)]
pub(super) struct Phones {
    by_contact: HashMap<Box<[u8]>, Phone>,
}

impl Phones {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Phone)> {
        self.by_contact.iter().map(|(contact, phone)| (&**contact, phone))
    }

    /// Notes the contacts in a message from the LAN.
    pub(super) fn learn(&mut self, now: Time, msg: Msg<'_>, from: Hop) {
        for contact in msg.contacts().flatten().take(8) {
            let Contact::Addr(addr) = contact else { continue };
            let hop = return_hop(msg, addr.uri, from);
            match self.by_contact.get_mut(addr.uri) {
                Some(phone) => (phone.hop, phone.seen) = (hop, now),
                None => {
                    self.make_room();
                    let phone = Phone { hop, registered: None, seen: now, register: None, kept: false };
                    self.by_contact.insert(addr.uri.into(), phone);
                }
            }
        }
    }

    /// Where requests for a contact go, if it is known.
    pub(super) fn find(&self, contact: &[u8]) -> Option<Hop> {
        self.by_contact.get(contact).map(|phone| phone.hop)
    }

    /// Takes up the registered phones that spoke over UDP; one that had a connection opens another. `hop` gives the
    /// way to an address.
    pub(super) fn restore(
        &mut self,
        records: &[Record],
        now: Time,
        unix_ms: u64,
        mut hop: impl FnMut(SocketAddr, &mut Outbox) -> Hop,
        out: &mut Outbox,
    ) {
        for record in records {
            let Some((peer, aor, until)) = read(record).filter(|(_, _, until)| *until > unix_ms) else {
                if record.space == SPACE {
                    remove(SPACE, &record.key, out);
                }
                continue;
            };
            let until = now + Duration::from_millis(until - unix_ms);
            let hop = hop(peer, out);
            let registered = Some((aor, until));
            let phone = Phone { hop, registered, seen: now, register: None, kept: true };
            self.by_contact.insert(record.key.clone().into(), phone);
        }
    }

    /// Notes what a 2xx to a REGISTER says of the contacts here.
    pub(super) fn registered(&mut self, ctx: &Ctx<'_>, response: Msg<'_>, out: &mut Outbox) {
        let now = ctx.now;
        if response.cseq().is_none_or(|cseq| cseq.method != Method::Register) {
            return;
        }
        let aor = response.to().map(|to| String::from_utf8_lossy(to.uri).into_owned()).unwrap_or_default();
        let overall = response.expires().unwrap_or(3600);
        for phone in self.by_contact.values_mut() {
            if phone.registered.as_ref().is_some_and(|(known, _)| *known == aor) {
                phone.registered = None;
            }
        }
        for contact in response.contacts().flatten() {
            let Contact::Addr(addr) = contact else { continue };
            let seconds = addr.expires().unwrap_or(overall);
            if let Some(phone) = self.by_contact.get_mut(addr.uri)
                && seconds > 0
            {
                phone.registered = Some((aor.clone(), now + Duration::from_secs(seconds.into())));
                if phone.hop.transport == Transport::Udp {
                    let value = json!({
                        "phone": phone.hop.peer.to_string(),
                        "aor": aor,
                        "until_ms": ctx.unix_ms + u64::from(seconds) * 1000,
                    });
                    put(SPACE, addr.uri, &value, out);
                    phone.kept = true;
                }
            }
        }
        for (contact, phone) in &mut self.by_contact {
            if phone.registered.is_none() && std::mem::take(&mut phone.kept) {
                remove(SPACE, contact, out);
            }
        }
    }

    /// Keeps a REGISTER that was accepted, to say it again to another contact point.
    pub(super) fn keep_register(&mut self, request: &Message, from: Hop) {
        if request.msg().bytes().len() > MAX_REGISTER {
            return;
        }
        for contact in request.msg().contacts().flatten() {
            let Contact::Addr(addr) = contact else { continue };
            if let Some(phone) = self.by_contact.get_mut(addr.uri) {
                phone.register = Some((request.clone(), from));
            }
        }
    }

    /// The REGISTERs of all who are registered, with where they came from.
    pub(super) fn registers(&self, now: Time) -> Vec<(Message, Hop)> {
        let registered = self.by_contact.values().filter(|phone| phone.is_registered(now));
        registered.filter_map(|phone| phone.register.clone()).collect()
    }

    /// What a contact is registered as.
    pub(super) fn aor(&self, contact: &[u8]) -> Option<Vec<u8>> {
        let (aor, _) = self.by_contact.get(contact)?.registered.as_ref()?;
        identity(aor.as_bytes())
    }

    /// Until when an address of record is registered by a phone here, if it is.
    pub(super) fn registered_until(&self, aor: &[u8]) -> Option<Time> {
        let registered = self.by_contact.values().filter_map(|phone| phone.registered.as_ref());
        let own =
            registered.filter(|(known, _)| identity(known.as_bytes()).is_some_and(|known| known == aor));
        own.map(|(_, until)| *until).max()
    }

    pub(super) fn sweep(&mut self, now: Time, out: &mut Outbox) {
        self.by_contact.retain(|contact, phone| {
            if phone.registered.as_ref().is_some_and(|(_, until)| *until < now) {
                phone.registered = None;
                if std::mem::take(&mut phone.kept) {
                    remove(SPACE, contact, out);
                }
            }
            phone.registered.is_some() || now.since(phone.seen) < FORGOTTEN
        });
    }

    fn make_room(&mut self) {
        if self.by_contact.len() < MAX_PHONES {
            return;
        }
        let oldest = self.by_contact.iter().min_by_key(|(_, phone)| (phone.registered.is_some(), phone.seen));
        if let Some(contact) = oldest.map(|(contact, _)| contact.clone()) {
            self.by_contact.remove(&contact);
        }
    }
}

/// Where a phone is, what it is registered as, and until when (unix milliseconds).
fn read(record: &Record) -> Option<(SocketAddr, String, u64)> {
    let value = value_of(record, SPACE)?;
    let text = |name: &str| value.get(name)?.as_str();
    Some((text("phone")?.parse().ok()?, text("aor")?.to_owned(), value.get("until_ms")?.as_u64()?))
}

/// Requests for a phone go where its own came from. A phone that does not ask for `rport` over UDP may listen
/// elsewhere than it sends from; then its contact says where (RFC 3261 §18.2.2, RFC 3581 §4).
fn return_hop(msg: Msg<'_>, contact: &[u8], from: Hop) -> Hop {
    if from.transport != Transport::Udp || msg.top_via().is_none_or(|via| via.rport().is_some()) {
        return from;
    }
    match address(contact) {
        Some((peer, Transport::Udp)) if peer.ip() == from.peer.ip() => Hop { peer, ..from },
        _ => from,
    }
}

/// The address that a contact itself names.
pub(super) fn address(contact: &[u8]) -> Option<(SocketAddr, Transport)> {
    let uri = Uri::parse(contact).filter(|uri| uri.scheme.is_sip())?;
    let ip = uri.host_ip().filter(|ip| !ip.is_unspecified() && !ip.is_multicast())?;
    let transport = match uri.transport() {
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(name) if !name.eq_ignore_ascii_case(b"udp") => return None,
        _ => Transport::Udp,
    };
    Some((SocketAddr::new(ip, uri.port.unwrap_or(5060)), transport))
}
