//! The exchange's own secret, and what is proved by it: nonces, record routes, temporary GRUUs.

use aes::Aes128;
use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
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
        hex(&self.derive(purpose, text)[..8])
    }

    fn derive(&self, purpose: &str, text: &[u8]) -> [u8; 32] {
        let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(&*self.secret) else { return [0; 32] };
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    /// The changing part of a temporary GRUU: one AES block over the registration's seed, a number that differs
    /// at every registration, and four zero bytes by which it is known again.
    pub fn seal_gruu(&self, seed: u64, number: u32) -> String {
        let mut block = [0; 16];
        block[..8].copy_from_slice(&seed.to_be_bytes());
        block[8..12].copy_from_slice(&number.to_be_bytes());
        self.gruu_cipher().encrypt_block((&mut block).into());
        hex(&block)
    }

    /// The seed in a temporary GRUU, if it is one of ours.
    pub fn open_gruu(&self, sealed: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(sealed).ok().filter(|text| text.len() == 32 && text.is_ascii())?;
        let mut block = u128::from_str_radix(text, 16).ok()?.to_be_bytes();
        self.gruu_cipher().decrypt_block((&mut block).into());
        let (seed, rest) = block.split_first_chunk::<8>()?;
        rest.ends_with(&[0; 4]).then(|| u64::from_be_bytes(*seed))
    }

    fn gruu_cipher(&self) -> Aes128 {
        let (mut key, derived) = ([0; 16], self.derive("gruu", b""));
        key.copy_from_slice(&derived[..16]);
        Aes128::new(&key.into())
    }

    /// What loop detection hashes with, so that nobody outside can aim at a value.
    pub fn loop_seed(&self) -> u64 {
        let derived = self.derive("loop", b"");
        derived.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// A nonce for a challenge given at `unix_ms`: the time, and its proof.
    pub fn nonce(&self, unix_ms: u64, random: u32) -> String {
        let stamp = format!("{unix_ms:x}.{random:08x}");
        let proof = self.mac("nonce", stamp.as_bytes());
        format!("{stamp}.{proof}")
    }

    /// When a nonce was given, if it is one of ours, and a number that no other nonce has.
    pub fn read_nonce(&self, nonce: &[u8]) -> Option<(u64, u64)> {
        let nonce = std::str::from_utf8(nonce).ok()?;
        let (stamp, proof) = nonce.rsplit_once('.')?;
        if self.mac("nonce", stamp.as_bytes()) != proof {
            return None;
        }
        let (time, random) = stamp.split_once('.')?;
        let time = u64::from_str_radix(time, 16).ok()?;
        Some((time, time << 32 | u64::from(u32::from_str_radix(random, 16).ok()?)))
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
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
        assert_eq!(keys.read_nonce(nonce.as_bytes()).map(|(time, _)| time), Some(1_700_000_000_000));
        assert_eq!(Keys::new([8; 32]).read_nonce(nonce.as_bytes()), None);
        let later = nonce.replacen("18", "19", 1);
        assert_eq!(keys.read_nonce(later.as_bytes()), None);
    }
}
