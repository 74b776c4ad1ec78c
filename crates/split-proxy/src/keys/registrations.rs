//! Registrations that were accepted, and what they were accepted with.

use crate::records::{bytes, latin1};
use causeway_node::{Ctx, Time};
use causeway_sip::digest::Credentials;
use causeway_sip::{HeaderId, Msg};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use zeroize::Zeroizing;

/// A credential that is longer is not remembered.
const MAX_CREDENTIAL: usize = 4096;

/// The credential of a REGISTER: its first Authorization of the scheme Digest, as it stands there. `None` where
/// there is none that can be read.
pub(crate) fn credential(register: Msg<'_>) -> Option<&[u8]> {
    let digest = |value: &&[u8]| value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"digest "));
    let value = register.all(HeaderId::Authorization).map(<[u8]>::trim_ascii).find(digest)?;
    (value.len() <= MAX_CREDENTIAL && Credentials::parse(value).is_ok()).then_some(value)
}

struct Registration {
    credential: Zeroizing<Box<[u8]>>,
    until: Time,
}

/// Per agent (0 where there is only one) and address of record, the latest accepted registration.
#[derive(Default)]
pub(crate) struct Registrations {
    of: HashMap<usize, HashMap<Box<[u8]>, Registration>>,
    ends: BTreeSet<(Time, usize, Box<[u8]>)>,
}

impl Registrations {
    /// A registration was accepted; without a credential of its own it prolongs the one that is known.
    pub(crate) fn accept(&mut self, owner: usize, aor: &[u8], credential: Option<&[u8]>, until: Time) {
        let all = self.of.entry(owner).or_default();
        let known = all.remove(aor);
        if let Some(known) = &known {
            self.ends.remove(&(known.until, owner, aor.into()));
        }
        let credential = match credential {
            Some(value) => Some(Zeroizing::new(Box::from(value))),
            None => known.map(|known| known.credential),
        };
        if let Some(credential) = credential {
            all.insert(aor.into(), Registration { credential, until });
            self.ends.insert((until, owner, aor.into()));
        }
    }

    /// What is kept of a registration: the credential and until when it holds.
    pub(crate) fn value(&self, owner: usize, aor: &[u8], ctx: &Ctx<'_>) -> Option<Value> {
        let known = self.of.get(&owner)?.get(aor)?;
        let left = known.until.since(ctx.now).as_millis() as u64;
        Some(json!({
            "aor": latin1(aor),
            "credential": latin1(&known.credential),
            "until_ms": ctx.unix_ms + left,
        }))
    }

    /// Takes up what was kept; `false` if it is over, or cannot be read.
    pub(crate) fn restore(&mut self, owner: usize, value: &Value, ctx: &Ctx<'_>) -> bool {
        let text = |name: &str| value.get(name)?.as_str().map(bytes);
        let until = value.get("until_ms").and_then(Value::as_u64).unwrap_or(0);
        let (Some(aor), Some(credential)) = (text("aor"), text("credential")) else { return false };
        if until <= ctx.unix_ms || credential.len() > MAX_CREDENTIAL {
            return false;
        }
        let until = ctx.now + Duration::from_millis(until - ctx.unix_ms);
        self.accept(owner, &aor, Some(&credential), until);
        true
    }

    /// A registration has ended; says whether it was known.
    pub(crate) fn end(&mut self, owner: usize, aor: &[u8]) -> bool {
        let Some(all) = self.of.get_mut(&owner) else { return false };
        let known = all.remove(aor);
        if all.is_empty() {
            self.of.remove(&owner);
        }
        known.is_some_and(|known| self.ends.remove(&(known.until, owner, aor.into())))
    }

    /// Forgets an agent.
    pub(crate) fn forget(&mut self, owner: usize) {
        for (aor, known) in self.of.remove(&owner).into_iter().flatten() {
            self.ends.remove(&(known.until, owner, aor));
        }
    }

    /// The credential of the latest registration.
    pub(crate) fn credential(&self, owner: usize, aor: &[u8]) -> Option<&[u8]> {
        self.of.get(&owner)?.get(aor).map(|known| &**known.credential)
    }

    /// The addresses of record of an agent.
    pub(crate) fn aors(&self, owner: usize) -> Vec<Box<[u8]>> {
        let mut aors: Vec<_> = self.of.get(&owner).into_iter().flat_map(HashMap::keys).cloned().collect();
        aors.sort_unstable();
        aors
    }

    /// When the next registration ends.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.ends.first().map(|(until, ..)| *until)
    }

    /// Takes the next registration that has ended by itself.
    pub(crate) fn pop_ended(&mut self, now: Time) -> Option<(usize, Box<[u8]>)> {
        let (until, owner, aor) = self.ends.first().cloned()?;
        if until > now {
            return None;
        }
        self.end(owner, &aor);
        Some((owner, aor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_sip::Message;

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn they_are_renewed_prolonged_and_end() {
        let mut all = Registrations::default();
        all.accept(1, b"sip:a@b", None, at(5));
        assert_eq!(all.credential(1, b"sip:a@b"), None, "there is nothing to inherit");
        all.accept(1, b"sip:a@b", Some(b"one"), at(5));
        all.accept(2, b"sip:a@b", Some(b"other"), at(7));
        all.accept(1, b"sip:a@b", Some(b"two"), at(9));
        assert_eq!((all.credential(1, b"sip:a@b"), all.deadline()), (Some(&b"two"[..]), Some(at(7))));
        assert_eq!(all.pop_ended(at(6)), None);
        assert_eq!(all.pop_ended(at(7)), Some((2, b"sip:a@b".as_slice().into())));
        all.accept(1, b"sip:a@b", None, at(20));
        assert_eq!((all.credential(1, b"sip:a@b"), all.deadline()), (Some(&b"two"[..]), Some(at(20))));
        all.accept(1, b"sip:c@b", Some(b"c"), at(30));
        assert_eq!(all.aors(1).len(), 2);
        assert!(all.end(1, b"sip:a@b") && !all.end(1, b"sip:a@b"));
        all.forget(1);
        assert_eq!((all.deadline(), all.of.len()), (None, 0));
    }

    #[test]
    fn the_first_digest_credential_counts() {
        let of = |lines: &str| {
            let text = format!("REGISTER sip:b SIP/2.0\r\n{lines}\r\n");
            credential(Message::parse(text).unwrap().msg()).map(<[u8]>::to_vec)
        };
        let good = "Digest username=\"a\", realm=\"b\", nonce=\"c\", uri=\"sip:b\", response=\"00\"";
        assert_eq!(
            of(&format!("Authorization: Basic x\r\nAuthorization:  {good} \r\n")).as_deref(),
            Some(good.as_bytes())
        );
        assert_eq!(of("Authorization: Digest x\r\n"), None);
        assert_eq!(of(""), None);
        assert_eq!(of(&format!("Authorization: {good}, opaque=\"{}\"\r\n", "x".repeat(5000))), None);
    }
}
