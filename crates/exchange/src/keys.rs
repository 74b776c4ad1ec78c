//! The exchange's own secret, and what is proved by it: nonces, record routes, temporary GRUUs.

use crate::siphash::siphash24;
use aes::Aes128;
use aes::cipher::{BlockDecrypt, BlockEncrypt, KeyInit};
use causeway_sip::digest::constant_time_eq;
use causeway_sip::write_hex;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// 32 random bytes that outlive a restart, so that nonces and dialogs do.
#[derive(Clone)]
pub struct Keys {
    secret: Zeroizing<[u8; 32]>,
    /// What proofs are made with, derived from the secret once.
    proving: Zeroizing<[u64; 2]>,
    /// The key that temporary GRUUs are sealed with.
    gruu: Zeroizing<[u8; 16]>,
    /// The key that flows in Routes are sealed with.
    flow: Zeroizing<[u8; 16]>,
}

impl Keys {
    /// Where they are stored.
    pub const SPACE: &'static str = "exchange-keys";

    /// Keys with this secret.
    pub fn new(secret: [u8; 32]) -> Self {
        let secret = Zeroizing::new(secret);
        let (proving, gruu) = (derive(&secret, "proof"), derive(&secret, "gruu"));
        let word = |at: usize| proving[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let half = |derived: &[u8; 32]| {
            let mut key = Zeroizing::new([0; 16]);
            key.copy_from_slice(&derived[..16]);
            key
        };
        let (gruu, flow) = (half(&gruu), half(&derive(&secret, "flow")));
        Self { proving: Zeroizing::new([word(0), word(8)]), gruu, flow, secret }
    }

    /// The secret, for storing it.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// SipHash-2-4 over `purpose` and `text`, as 16 hexadecimal digits: long enough for something that can only be
    /// tried online.
    pub fn mac(&self, purpose: &str, text: &[u8]) -> String {
        hex(&self.proof(purpose, text))
    }

    /// Whether `proof` is what [`Keys::mac`] makes; the comparison takes the same time wherever they differ.
    pub fn proves(&self, proof: &[u8], purpose: &str, text: &[u8]) -> bool {
        let mut digits = [0; 16];
        write_hex(&self.proof(purpose, text), &mut digits);
        constant_time_eq(&digits, proof)
    }

    /// How the To tags of answers without a transaction begin: the same for all members of a group, and after a restart.
    pub(crate) fn tag_prefix(&self) -> [u8; 8] {
        let mut digits = [0; 16];
        write_hex(&self.proof("to-tag", b""), &mut digits);
        let [a, b, c, d, e, f, g, h, ..] = digits;
        [a, b, c, d, e, f, g, h]
    }

    /// 16 bits that stand for a text, for who knows the secret.
    pub(crate) fn tag(&self, purpose: &str, text: &[u8]) -> u16 {
        let [high, low, ..] = self.proof(purpose, text);
        u16::from_be_bytes([high, low])
    }

    fn proof(&self, purpose: &str, text: &[u8]) -> [u8; 8] {
        self.proof_of(purpose, &[text])
    }

    /// The same over several parts, of which the last alone may contain NUL.
    pub(crate) fn proof_of(&self, purpose: &str, parts: &[&[u8]]) -> [u8; 8] {
        // Purpose and parts, a NUL between any two: on the stack where they are short, as all but hostile ones are.
        let mut short = [0; 192];
        let length = purpose.len() + parts.iter().map(|part| 1 + part.len()).sum::<usize>();
        let tag = match short.get_mut(..length) {
            Some(input) => {
                let (head, mut rest) = input.split_at_mut(purpose.len());
                head.copy_from_slice(purpose.as_bytes());
                for part in parts {
                    let (this, after) = rest[1..].split_at_mut(part.len());
                    this.copy_from_slice(part);
                    rest = after;
                }
                siphash24(*self.proving, input)
            }
            None => siphash24(*self.proving, &[purpose.as_bytes(), &[0], &parts.join(&0)].concat()),
        };
        tag.to_be_bytes()
    }

    /// Hides a short text and proves it, for whoever knows `about`: the proof over both is what the text is encrypted
    /// with (a synthetic initialization vector, as in RFC 5297), so that one text looks the same only beside the same
    /// `about`. In hexadecimal digits.
    pub(crate) fn seal(&self, about: &[&[u8]], text: &[u8]) -> String {
        let proof = self.proof_of("seal", &[about, &[text]].concat());
        let mut hidden = text.to_vec();
        self.mask(proof, &mut hidden);
        hex(&proof) + &hex(&hidden)
    }

    /// The text that [`Keys::seal`] has hidden, if it was this one beside the same `about`.
    pub(crate) fn unseal(&self, about: &[&[u8]], sealed: &[u8]) -> Option<Vec<u8>> {
        let bytes = unhex(sealed)?;
        let (proof, hidden) = bytes.split_first_chunk::<8>()?;
        let mut text = hidden.to_vec();
        self.mask(*proof, &mut text);
        let right = self.proof_of("seal", &[about, &[&text]].concat());
        constant_time_eq(&right, proof).then_some(text)
    }

    /// AES in counter mode, from this start.
    fn mask(&self, start: [u8; 8], text: &mut [u8]) {
        let cipher = Aes128::new((&*self.flow).into());
        for (number, chunk) in (0u64..).zip(text.chunks_mut(16)) {
            let mut block = [0; 16];
            block[..8].copy_from_slice(&start);
            block[8..].copy_from_slice(&number.to_be_bytes());
            cipher.encrypt_block((&mut block).into());
            chunk.iter_mut().zip(block).for_each(|(byte, mask)| *byte ^= mask);
        }
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
        Aes128::new((&*self.gruu).into())
    }

    /// What loop detection hashes with, so that nobody outside can aim at a value.
    pub fn loop_seed(&self) -> u64 {
        let derived = derive(&self.secret, "loop");
        derived.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// A nonce for a challenge given to a client at `unix_ms`: the time, and its proof.
    pub fn nonce(&self, unix_ms: u64, random: u32, client: IpAddr) -> String {
        let mut nonce = vec![0; 36];
        write_hex(&unix_ms.to_be_bytes()[2..], &mut nonce[..12]);
        write_hex(&random.to_be_bytes(), &mut nonce[12..20]);
        let proof = self.of_nonce(&nonce[..20], client);
        write_hex(&proof, &mut nonce[20..]);
        String::from_utf8(nonce).unwrap_or_default()
    }

    fn of_nonce(&self, stamp: &[u8], client: IpAddr) -> [u8; 8] {
        match client {
            IpAddr::V4(ip) => self.proof_of("nonce", &[stamp, &ip.octets()]),
            IpAddr::V6(ip) => self.proof_of("nonce", &[stamp, &ip.octets()]),
        }
    }

    /// The random part of a nonce that a member of a group gives: its number, and 26 bits of chance.
    pub(crate) fn random_of(member: u16, random: u32) -> u32 {
        u32::from(member) << 26 | random >> 6
    }

    /// The member that a nonce with this number comes from.
    pub(crate) fn giver(nonce: u64) -> u16 {
        (nonce >> 26 & 0x3f) as u16
    }

    /// When a nonce was given, if it is one of ours and was given to this client, and a number that no other nonce has.
    pub fn read_nonce(&self, nonce: &[u8], client: IpAddr) -> Option<(u64, u64)> {
        let (stamp, proof) = nonce.split_at_checked(20)?;
        let mut right = [0; 16];
        write_hex(&self.of_nonce(stamp, client), &mut right);
        if !constant_time_eq(&right, proof) {
            return None;
        }
        let stamp = std::str::from_utf8(stamp).ok()?;
        let (time, random) = stamp.split_at_checked(12)?;
        let time = u64::from_str_radix(time, 16).ok()?;
        Some((time, time << 32 | u64::from(u32::from_str_radix(random, 16).ok()?)))
    }
}

/// HMAC-SHA-256 of a purpose under the secret.
fn derive(secret: &[u8; 32], purpose: &str) -> Zeroizing<[u8; 32]> {
    let Ok(mut mac) = <Hmac<Sha256> as Mac>::new_from_slice(secret) else { return Zeroizing::new([0; 32]) };
    mac.update(purpose.as_bytes());
    mac.update(&[0]);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = vec![0; 2 * bytes.len()];
    write_hex(bytes, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// What [`hex`] has written; nothing longer than 64 bytes is.
fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| match pair.iter().all(u8::is_ascii_hexdigit) {
        true => u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok(),
        false => None,
    };
    (rest.is_empty() && pairs.len() <= 64).then(|| pairs.iter().map(byte).collect())?
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::{IpAddr, Keys};

    #[test]
    fn a_nonce_is_known_by_its_maker_only() {
        let keys = Keys::new([7; 32]);
        let [client, other] = [IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2])];
        let nonce = keys.nonce(1_700_000_000_000, 42, client);
        assert_eq!(keys.read_nonce(nonce.as_bytes(), client).map(|(time, _)| time), Some(1_700_000_000_000));
        assert_eq!(keys.read_nonce(nonce.as_bytes(), other), None, "and good from where it was sent to");
        assert_eq!(Keys::new([8; 32]).read_nonce(nonce.as_bytes(), client), None);
        let mut later = nonce.into_bytes();
        later[11] ^= 1;
        assert_eq!(keys.read_nonce(&later, client), None);
        assert_eq!(keys.read_nonce(b"short", client), None);
    }

    #[test]
    fn what_is_sealed_is_hidden_and_bound_to_what_it_was_sealed_beside() {
        let keys = Keys::new([7; 32]);
        for text in [&b"\x01\x13\xc4\xcb\x00\x71\x01"[..], &[0x20; 19], b""] {
            let sealed = keys.seal(&[b"call", b"tag"], text);
            assert_eq!(keys.unseal(&[b"call", b"tag"], sealed.as_bytes()).as_deref(), Some(text));
            assert_eq!(keys.unseal(&[b"call", b"gat"], sealed.as_bytes()), None);
            assert_eq!(Keys::new([8; 32]).unseal(&[b"call", b"tag"], sealed.as_bytes()), None);
            let mut other = sealed.clone().into_bytes();
            for at in 0..other.len() {
                other[at] ^= 1;
                assert_eq!(keys.unseal(&[b"call", b"tag"], &other), None, "digit {at}");
                other[at] ^= 1;
            }
            let elsewhere = keys.seal(&[b"call", b"gat"], text);
            assert!(
                text.is_empty() || elsewhere[16..] != sealed[16..],
                "one text looks different in two calls"
            );
        }
        for wrong in [&b""[..], b"00", b"0123456789abcde", b"+123456789abcdef", &[b'0'; 1000]] {
            assert_eq!(keys.unseal(&[b"call", b"tag"], wrong), None);
        }
    }

    #[test]
    fn parts_are_told_apart() {
        let keys = Keys::new([7; 32]);
        assert_ne!(keys.proof_of("x", &[b"ab", b"c"]), keys.proof_of("x", &[b"a", b"bc"]));
        let long = [b'a'; 300];
        assert_ne!(keys.proof_of("x", &[&long, b"c"]), keys.proof_of("x", &[&long[1..], b"ac"]));
        assert_eq!(keys.proof("x", b"a\0b"), keys.proof_of("x", &[b"a", b"b"]), "whatever the length");
        let with_nul = [&long[..], b"\0b"].concat();
        assert_eq!(keys.proof("x", &with_nul), keys.proof_of("x", &[&long, b"b"]));
    }
}
