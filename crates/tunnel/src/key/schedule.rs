//! The derivation: HKDF-SHA256 (RFC 5869) from a secret, an exporter and everything public, and what comes out.

use super::Assurance;
use super::message::{Accept, Offer};
use super::seal::{Opener, Sealer};
use crate::Role;
use aws_lc_rs::{digest, hmac};
use std::fmt;
use zeroize::Zeroizing;

const LABEL: &[u8] = b"causeway user key v1";

/// Everything public that a key is made of, beside the exporter. All ends fill it in alike.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Where the secret comes from.
    pub mode: Assurance,
    /// The address of record in its canonical form, `sip:user@domain`.
    pub aor: &'a [u8],
    /// The value of the Authorization header field of the accepted REGISTER, as it crossed the tunnel.
    pub authorization: &'a [u8],
    /// Fresh bytes of the agent.
    pub agent_fresh: &'a [u8; 32],
    /// Fresh bytes of the contact point.
    pub contact_fresh: &'a [u8; 32],
    /// Which connection of its tunnel this is: 0 the first, one more at each resume.
    pub connection_epoch: u32,
    /// Which key of this user on this tunnel, from 1.
    pub registration_epoch: u32,
}

impl Facts<'_> {
    /// `None` where a field is longer than its length can say.
    fn info(&self) -> Option<Vec<u8>> {
        let mut info = Vec::with_capacity(128 + self.aor.len() + self.authorization.len());
        let (connection, registration) =
            (self.connection_epoch.to_be_bytes(), self.registration_epoch.to_be_bytes());
        let mode = [self.mode.code()];
        let fields: [&[u8]; 8] = [
            LABEL,
            &mode,
            self.aor,
            self.authorization,
            self.agent_fresh,
            self.contact_fresh,
            &connection,
            &registration,
        ];
        for field in fields {
            info.extend_from_slice(&u16::try_from(field.len()).ok()?.to_be_bytes());
            info.extend_from_slice(field);
        }
        Some(info)
    }
}

/// The key of a user, of which those in use are made. Not printed, wiped when dropped.
#[derive(Clone)]
pub struct Master(Zeroizing<[u8; 32]>);

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Master(redacted)")
    }
}

/// Makes a user's key: HKDF with `exporter` as salt, `secret` as keying material and the length-prefixed facts
/// as info. `None` for a secret that is none, or facts that are too long (65,535 bytes each).
pub fn derive(exporter: &[u8; 32], secret: &[u8], facts: &Facts<'_>) -> Option<Master> {
    if secret.is_empty() || facts.mode == Assurance::None {
        return None;
    }
    let info = facts.info()?;
    // HKDF-Extract: the salt is the key of the HMAC.
    let prk = hmac_sha256(exporter, &[secret]);
    Some(Master(expand(&prk, &info)))
}

/// Names an Authorization without showing it: the first 16 bytes of its SHA-256.
pub fn credential_id(authorization: &[u8]) -> [u8; 16] {
    let hash = digest::digest(&digest::SHA256, authorization);
    hash.as_ref().first_chunk().copied().unwrap_or_default()
}

impl Master {
    /// One that somebody else has derived.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key itself, to be handed to the end that may not see the secret.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The keys in use.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            agent: expand(&self.0, b"agent seals"),
            contact: expand(&self.0, b"contact point seals"),
            agent_confirms: expand(&self.0, b"agent confirms"),
            contact_confirms: expand(&self.0, b"contact point confirms"),
        }
    }
}

/// The keys of one user and one epoch. Not printed, wiped when dropped.
pub struct Schedule {
    agent: Zeroizing<[u8; 32]>,
    contact: Zeroizing<[u8; 32]>,
    agent_confirms: Zeroizing<[u8; 32]>,
    contact_confirms: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schedule(redacted)")
    }
}

impl Schedule {
    /// Seals what `sender` sends.
    pub fn sealer(&self, sender: Role, epoch: u32) -> Sealer {
        Sealer::new(self.traffic(sender), epoch)
    }

    /// Opens what `sender` sends.
    pub fn opener(&self, sender: Role, epoch: u32) -> Opener {
        Opener::new(self.traffic(sender), epoch)
    }

    /// The confirmation in a KeyAccept.
    pub fn accept_mac(&self, exporter: &[u8; 32], offer: &Offer, accept: &Accept) -> [u8; 32] {
        self.mac(Role::ContactPoint, super::message::ACCEPT, exporter, offer, accept)
    }

    /// The confirmation in a KeyConfirm of `sender`.
    pub fn confirm_mac(&self, sender: Role, exporter: &[u8; 32], offer: &Offer, accept: &Accept) -> [u8; 32] {
        self.mac(sender, super::message::CONFIRM, exporter, offer, accept)
    }

    /// Whether a KeyAccept comes from a contact point that has the same key, on the same connection.
    pub fn is_accepted(&self, exporter: &[u8; 32], offer: &Offer, accept: &Accept) -> bool {
        same(&self.accept_mac(exporter, offer, accept), &accept.mac)
    }

    /// Whether a KeyConfirm of `sender` does.
    pub fn is_confirmed(
        &self,
        sender: Role,
        exporter: &[u8; 32],
        offer: &Offer,
        accept: &Accept,
        mac: &[u8; 32],
    ) -> bool {
        same(&self.confirm_mac(sender, exporter, offer, accept), mac)
    }

    fn traffic(&self, sender: Role) -> &[u8; 32] {
        match sender {
            Role::Agent => &self.agent,
            Role::ContactPoint => &self.contact,
        }
    }

    /// HMAC-SHA256 over the type of the message that carries it, the exporter, and both messages.
    fn mac(
        &self,
        sender: Role,
        message: u8,
        exporter: &[u8; 32],
        offer: &Offer,
        accept: &Accept,
    ) -> [u8; 32] {
        let key = match sender {
            Role::Agent => &self.agent_confirms,
            Role::ContactPoint => &self.contact_confirms,
        };
        let mut body = vec![message];
        body.extend_from_slice(exporter);
        offer.put_body(&mut body);
        accept.put_body_without_mac(&mut body);
        *hmac_sha256(key, &[&body])
    }
}

/// Compares confirmations in a time that depends on nothing.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// HKDF-Expand (RFC 5869 §2.3) to one block: all that is needed here.
fn expand(prk: &[u8; 32], info: &[u8]) -> Zeroizing<[u8; 32]> {
    hmac_sha256(prk, &[info, &[1]])
}

fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    let tag = context.sign();
    let mut out = Zeroizing::new([0; 32]);
    // An HMAC-SHA256 has exactly this many bytes.
    out.copy_from_slice(tag.as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5869 appendix A.1, first block of its output; PRK as computed there.
    #[test]
    fn expand_is_that_of_rfc_5869() {
        let prk = hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let okm = expand(&prk.try_into().unwrap(), &hex("f0f1f2f3f4f5f6f7f8f9"));
        assert_eq!(okm[..], hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf")[..]);
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    fn facts<'a>(aor: &'a [u8], fresh: &'a [u8; 32]) -> Facts<'a> {
        Facts {
            mode: Assurance::Digest,
            aor,
            authorization: b"Digest x",
            agent_fresh: fresh,
            contact_fresh: fresh,
            connection_epoch: 0,
            registration_epoch: 1,
        }
    }

    #[test]
    fn every_input_counts() {
        let (fresh, other, exporter) = ([1; 32], [2; 32], [3; 32]);
        let base = facts(b"sip:a@b", &fresh);
        let mut all = vec![
            derive(&exporter, b"s", &base),
            derive(&exporter, b"t", &base),
            derive(&other, b"s", &base),
            derive(&exporter, b"s", &Facts { mode: Assurance::Header, ..base }),
            derive(&exporter, b"s", &Facts { aor: b"sip:b@b", ..base }),
            derive(&exporter, b"s", &Facts { authorization: b"Digest y", ..base }),
            derive(&exporter, b"s", &Facts { agent_fresh: &other, ..base }),
            derive(&exporter, b"s", &Facts { contact_fresh: &other, ..base }),
            derive(&exporter, b"s", &Facts { connection_epoch: 1, ..base }),
            derive(&exporter, b"s", &Facts { registration_epoch: 2, ..base }),
            // Fields cannot flow into one another.
            derive(&exporter, b"s", &Facts { aor: b"sip:a@bD", authorization: b"igest x", ..base }),
        ];
        let count = all.len();
        let mut all: Vec<[u8; 32]> = all.drain(..).map(|master| *master.unwrap().expose()).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn no_secret_no_key_and_none_is_printed() {
        let fresh = [1; 32];
        let base = facts(b"sip:a@b", &fresh);
        assert!(derive(&[0; 32], b"", &base).is_none());
        assert!(derive(&[0; 32], b"s", &Facts { mode: Assurance::None, ..base }).is_none());
        let long = vec![0; 65_536];
        assert!(derive(&[0; 32], b"s", &Facts { authorization: &long, ..base }).is_none());
        let master = derive(&[0; 32], b"s", &base).unwrap();
        assert_eq!(format!("{master:?} {:?}", master.schedule()), "Master(redacted) Schedule(redacted)");
    }
}
