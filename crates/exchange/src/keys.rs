//! The exchange's own secret, and what is proved by it: nonces and record routes.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

/// 32 random bytes that outlive a restart, so that nonces and dialogs do.
#[derive(Clone)]
pub struct Keys {
    secret: Zeroizing<[u8; 32]>,
}

impl Keys {
    /// Where they are stored.
    pub const SPACE: &'static str = "exchange-keys";

    /// Keys with this secret.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret: Zeroizing::new(secret) }
    }

    /// The secret, for storing it.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The first 8 bytes of HMAC-SHA-256 over `purpose` and `text`, in hexadecimal: long enough for something
    /// that can only be tried online.
    pub fn mac(&self, purpose: &str, text: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&*self.secret) else { return String::new() };
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(text);
        mac.finalize().into_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A nonce for a challenge given at `unix_ms`: the time, and its proof.
    pub fn nonce(&self, unix_ms: u64, random: u32) -> String {
        let stamp = format!("{unix_ms:x}.{random:08x}");
        let proof = self.mac("nonce", stamp.as_bytes());
        format!("{stamp}.{proof}")
    }

    /// When a nonce was given, if it is one of ours.
    pub fn nonce_time(&self, nonce: &[u8]) -> Option<u64> {
        let nonce = std::str::from_utf8(nonce).ok()?;
        let (stamp, proof) = nonce.rsplit_once('.')?;
        if self.mac("nonce", stamp.as_bytes()) != proof {
            return None;
        }
        u64::from_str_radix(stamp.split_once('.')?.0, 16).ok()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn a_nonce_is_known_by_its_maker_only() {
        let keys = Keys::new([7; 32]);
        let nonce = keys.nonce(1_700_000_000_000, 42);
        assert_eq!(keys.nonce_time(nonce.as_bytes()), Some(1_700_000_000_000));
        assert_eq!(Keys::new([8; 32]).nonce_time(nonce.as_bytes()), None);
        let later = nonce.replacen("18", "19", 1);
        assert_eq!(keys.nonce_time(later.as_bytes()), None);
    }
}
