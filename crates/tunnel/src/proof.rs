//! What makes a session its owners': secrets that come from two connections' exporters, and proofs of them.
//!
//! Ticket and exporter of one connection give the **resumption secret**; the **proof** on the next is a MAC over
//! that connection's own exporter. So a proof is of no use on any other connection, and a ticket is of no use to
//! who has only read it from a log or a memory of one end.

use crate::Role;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroize;

type HmacSha256 = Hmac<Sha256>;

/// Names a session: 16 random bytes, no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub [u8; 16]);

/// A resumption secret, 32 bytes; zeroed when dropped, not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// A MAC that proves the knowledge of a resumption secret on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof(pub [u8; 32]);

/// What a proof speaks of.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// Whose it is.
    pub role: Role,
    pub session: SessionId,
    pub epoch: u32,
    pub era: u32,
    pub received: u64,
    /// Of the connection that it is made for.
    pub exporter: &'a [u8; 32],
}

impl Secret {
    /// HKDF-SHA256 (RFC 5869), 32 bytes: salt is the exporter of the connection that carries the ticket, input
    /// keying material its seed.
    pub(crate) fn derive(exporter: &[u8; 32], seed: &[u8; 32], session: SessionId) -> Self {
        let mut extracted = mac(exporter, &[seed]).into_bytes();
        let expanded = mac(&extracted, &[b"causeway resume v1", &session.0, &[1]]).into_bytes();
        extracted.as_mut_slice().zeroize();
        Self(expanded.into())
    }

    pub(crate) fn prove(&self, claim: Claim<'_>) -> Proof {
        Proof(self.mac_of(claim).finalize().into_bytes().into())
    }

    /// In constant time.
    pub(crate) fn verify(&self, claim: Claim<'_>, proof: &Proof) -> bool {
        self.mac_of(claim).verify_slice(&proof.0).is_ok()
    }

    fn mac_of(&self, claim: Claim<'_>) -> HmacSha256 {
        let whose: &[u8] = match claim.role {
            Role::Agent => b"causeway resume agent",
            Role::ContactPoint => b"causeway resume contact point",
        };
        let mut mac = keyed(&self.0);
        mac.update(whose);
        mac.update(&claim.session.0);
        mac.update(&claim.epoch.to_be_bytes());
        mac.update(&claim.era.to_be_bytes());
        mac.update(&claim.received.to_be_bytes());
        mac.update(claim.exporter);
        mac
    }
}

#[allow(clippy::expect_used, reason = "HMAC takes keys of any length (RFC 2104)")]
fn keyed(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("any length")
}

fn mac(key: &[u8], parts: &[&[u8]]) -> hmac::digest::CtOutput<HmacSha256> {
    let mut mac = keyed(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: [u8; 32]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The vectors of docs/tunnel.md, which were computed by another program.
    #[test]
    fn vectors_of_the_documentation() {
        let session = SessionId([0x22; 16]);
        let secret = Secret::derive(&[0x01; 32], &[0x33; 32], session);
        assert_eq!(hex(secret.0), "9517550a903f48104ca13733bc3372f1b7f09cb249217072d1724fb3442466bc");
        let agent =
            Claim { role: Role::Agent, session, epoch: 1, era: 0, received: 5, exporter: &[0x44; 32] };
        let contact = Claim { role: Role::ContactPoint, received: 7, ..agent };
        let of_agent = secret.prove(agent);
        assert_eq!(hex(of_agent.0), "ea0f19f8ffc2d336dbd23531194f6f65cdee29d3a3f2785c6b1c704ad8e656a6");
        let of_contact = secret.prove(contact);
        assert_eq!(hex(of_contact.0), "1d0f78946323dd034df1a9dc75225fde7db07cead0e1fcd7a5df3455552b69d2");
        assert!(secret.verify(agent, &of_agent) && !secret.verify(contact, &of_agent));
        assert_eq!(format!("{secret:?}"), "Secret(redacted)");
    }
}
