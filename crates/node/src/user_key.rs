//! What a key of the tunnel is asked for with, and the key that comes back.

use std::fmt;
use zeroize::Zeroizing;

/// Everything but the secret that the key of a user is derived from; `docs/tunnel.md` says how.
#[derive(Clone, PartialEq, Eq)]
pub struct UserKey {
    /// Keying material exported from the TLS connection.
    pub exporter: [u8; 32],
    /// The address of record in its canonical form.
    pub aor: Vec<u8>,
    /// The value of the Authorization header field of the accepted REGISTER.
    pub authorization: Vec<u8>,
    /// Fresh bytes of the agent.
    pub agent_fresh: [u8; 32],
    /// Fresh bytes of the contact point.
    pub contact_fresh: [u8; 32],
    /// Which connection of the tunnel it is.
    pub connection_epoch: u32,
    /// Which key of this user on the tunnel it is.
    pub registration_epoch: u32,
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aor = String::from_utf8_lossy(&self.aor);
        write!(f, "UserKey {{ aor: {aor}, registration_epoch: {}, .. }}", self.registration_epoch)
    }
}

/// A derived key: not printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct DerivedKey(Zeroizing<[u8; 32]>);

impl DerivedKey {
    /// Takes the key.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key itself.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for DerivedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKey(redacted)")
    }
}
