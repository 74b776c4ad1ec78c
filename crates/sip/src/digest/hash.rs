//! The hashes, and HA1: the secret that a server keeps instead of the password.

use crate::bytes::same;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};
use std::fmt;
use zeroize::Zeroize;

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hash {
    /// MD5, which RFC 2617 peers need.
    Md5,
    /// SHA-512/256 (RFC 7616).
    Sha512t256,
    /// SHA-256 (RFC 7616, RFC 8760).
    Sha256,
}

/// A digest algorithm: a hash, and whether HA1 is bound to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Algorithm {
    /// The hash function.
    pub hash: Hash,
    /// The `-sess` variant: HA1 is hashed once more with the nonces (RFC 7616 §3.4.2).
    pub session: bool,
}

impl Algorithm {
    /// `MD5`.
    pub const MD5: Algorithm = Algorithm { hash: Hash::Md5, session: false };
    /// `SHA-256`.
    pub const SHA256: Algorithm = Algorithm { hash: Hash::Sha256, session: false };

    const NAMES: [(&'static str, Hash, bool); 6] = [
        ("MD5", Hash::Md5, false),
        ("MD5-sess", Hash::Md5, true),
        ("SHA-256", Hash::Sha256, false),
        ("SHA-256-sess", Hash::Sha256, true),
        ("SHA-512-256", Hash::Sha512t256, false),
        ("SHA-512-256-sess", Hash::Sha512t256, true),
    ];

    /// The algorithm of a name, in any case; `None` for one not known here (among them those of Digest AKA).
    pub fn of(name: &[u8]) -> Option<Algorithm> {
        let found = Self::NAMES.iter().find(|(known, ..)| same(known.as_bytes(), name));
        found.map(|&(_, hash, session)| Algorithm { hash, session })
    }

    /// The name in a header field.
    pub fn name(self) -> &'static str {
        let found =
            Self::NAMES.iter().find(|&&(_, hash, session)| (hash, session) == (self.hash, self.session));
        found.map_or("MD5", |(name, ..)| name)
    }
}

/// A hash value as lower-case hexadecimal digits, wiped when dropped: it may be as good as a password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hex {
    digits: [u8; 64],
    len: usize,
}

impl Drop for Hex {
    fn drop(&mut self) {
        self.digits.zeroize();
    }
}

impl Hex {
    pub(super) fn as_bytes(&self) -> &[u8] {
        crate::bytes::head(&self.digits, self.len)
    }

    fn of(hash: &mut [u8]) -> Hex {
        let mut digits = [0; 64];
        crate::bytes::write_hex(hash, &mut digits);
        let hex = Hex { digits, len: (hash.len() * 2).min(64) };
        hash.zeroize();
        hex
    }
}

impl Hash {
    /// How many hexadecimal digits it makes.
    pub const fn digits(self) -> usize {
        match self {
            Hash::Md5 => 32,
            Hash::Sha256 | Hash::Sha512t256 => 64,
        }
    }

    /// The hash of the parts with colons between them.
    pub(super) fn join(self, parts: &[&[u8]]) -> Hex {
        fn run<D: Digest>(parts: &[&[u8]]) -> Hex {
            let mut digest = D::new();
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    digest.update(b":");
                }
                digest.update(part);
            }
            Hex::of(&mut digest.finalize())
        }
        match self {
            Hash::Md5 => run::<Md5>(parts),
            Hash::Sha256 => run::<Sha256>(parts),
            Hash::Sha512t256 => run::<Sha512_256>(parts),
        }
    }
}

/// HA1: the hash of `user:realm:password` (RFC 7616 §3.4.2). Whoever has it can answer every challenge of
/// that realm and hash, so it is a secret: not printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    hash: Hash,
    hex: Hex,
}

impl Ha1 {
    /// Computes it from a password. The `-sess` variants share the one of their hash.
    pub fn new(algorithm: Algorithm, user: &[u8], realm: &[u8], password: &[u8]) -> Ha1 {
        Ha1 { hash: algorithm.hash, hex: algorithm.hash.join(&[user, realm, password]) }
    }

    /// Takes one that was stored: as many hexadecimal digits as the hash makes, in any case.
    pub fn from_hex(hash: Hash, text: &[u8]) -> Option<Ha1> {
        if text.len() != hash.digits() || !text.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut digits = [0; 64];
        for (digit, b) in digits.iter_mut().zip(text) {
            *digit = b.to_ascii_lowercase();
        }
        Some(Ha1 { hash, hex: Hex { digits, len: text.len() } })
    }

    /// The hash that made it.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The secret itself as hexadecimal digits, to be stored or derived from.
    pub fn expose_hex(&self) -> &[u8] {
        self.hex.as_bytes()
    }

    /// What enters the response: itself, or bound to a session.
    pub(super) fn in_session(&self, algorithm: Algorithm, nonce: &[u8], cnonce: &[u8]) -> Hex {
        match algorithm.session {
            false => self.hex.clone(),
            true => self.hash.join(&[self.hex.as_bytes(), nonce, cnonce]),
        }
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ha1({:?}, redacted)", self.hash)
    }
}

/// What both ends hash besides HA1.
pub(super) struct Facts<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) nonce: &'a [u8],
    pub(super) method: &'a [u8],
    pub(super) uri: &'a [u8],
    /// Nonce count (8 digits) and client nonce, when `qop=auth` is in use; RFC 2069 has neither.
    pub(super) qop: Option<(&'a [u8], &'a [u8])>,
    /// The client nonce for the `-sess` variants.
    pub(super) cnonce: &'a [u8],
}

impl Facts<'_> {
    /// The response (RFC 7616 §3.4.1).
    pub(super) fn response(&self, ha1: &Ha1) -> Hex {
        let hash = self.algorithm.hash;
        let ha1 = ha1.in_session(self.algorithm, self.nonce, self.cnonce);
        let ha2 = hash.join(&[self.method, self.uri]);
        match self.qop {
            Some((count, cnonce)) => {
                hash.join(&[ha1.as_bytes(), self.nonce, count, cnonce, b"auth", ha2.as_bytes()])
            }
            None => hash.join(&[ha1.as_bytes(), self.nonce, ha2.as_bytes()]),
        }
    }
}

/// Equality in a time that depends on the lengths alone.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |differing, (a, b)| std::hint::black_box(differing | (a ^ b)));
    a.len() == b.len() && differing == 0
}
