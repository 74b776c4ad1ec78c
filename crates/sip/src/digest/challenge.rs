//! WWW-Authenticate and Proxy-Authenticate.

use super::params::{AuthParams, push_quoted};
use super::{Algorithm, DigestError};
use crate::bytes::{same, trim};
use std::borrow::Cow;

/// A challenge that was received.
#[derive(Clone, Debug)]
pub struct Challenge<'a> {
    /// The protection space.
    pub realm: Cow<'a, [u8]>,
    /// The server's nonce.
    pub nonce: Cow<'a, [u8]>,
    /// To be returned unchanged.
    pub opaque: Option<Cow<'a, [u8]>>,
    /// MD5 when the challenge names none.
    pub algorithm: Algorithm,
    /// Whether `auth` is among the offered qualities of protection; without any, RFC 2069 applies.
    pub qop_auth: bool,
    /// The nonce was too old, the password may be right.
    pub stale: bool,
}

impl<'a> Challenge<'a> {
    /// Reads a header value.
    ///
    /// # Errors
    /// [`DigestError`]: another scheme, no list of parameters, no realm or nonce, an unknown algorithm, a qop
    /// without `auth`.
    pub fn parse(value: &'a [u8]) -> Result<Challenge<'a>, DigestError> {
        let params = AuthParams::parse(value)?;
        let algorithm = match params.get(b"algorithm") {
            Some(name) => Algorithm::of(&name).ok_or(DigestError::Algorithm)?,
            None => Algorithm::MD5,
        };
        let qop_auth = match params.get(b"qop") {
            Some(list) if list.split(|&b| b == b',').any(|qop| same(b"auth", trim(qop))) => true,
            Some(_) => return Err(DigestError::Qop),
            None => false,
        };
        Ok(Challenge {
            realm: params.need("realm")?,
            nonce: params.need("nonce")?,
            opaque: params.get(b"opaque"),
            algorithm,
            qop_auth,
            stale: params.get(b"stale").is_some_and(|stale| same(b"true", &stale)),
        })
    }
}

/// A challenge to be sent.
#[derive(Clone, Copy, Debug)]
pub struct NewChallenge<'a> {
    /// The protection space.
    pub realm: &'a [u8],
    /// Unpredictable and new, or a recent one; must not hold what a client may not see.
    pub nonce: &'a [u8],
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The client's nonce was too old.
    pub stale: bool,
    /// Returned by the client.
    pub opaque: Option<&'a [u8]>,
}

impl<'a> NewChallenge<'a> {
    /// A first challenge: not stale, nothing opaque.
    pub fn new(realm: &'a [u8], nonce: &'a [u8], algorithm: Algorithm) -> NewChallenge<'a> {
        NewChallenge { realm, nonce, algorithm, stale: false, opaque: None }
    }

    /// The header value. It offers `qop="auth"` alone: auth-int could not pass a proxy that changes bodies.
    pub fn value(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.realm.len() + self.nonce.len());
        push_quoted(&mut out, "Digest realm", self.realm);
        push_quoted(&mut out, ", nonce", self.nonce);
        if let Some(opaque) = self.opaque {
            push_quoted(&mut out, ", opaque", opaque);
        }
        if self.stale {
            out.extend_from_slice(b", stale=true");
        }
        out.extend_from_slice(b", algorithm=");
        out.extend_from_slice(self.algorithm.name().as_bytes());
        push_quoted(&mut out, ", qop", b"auth");
        out
    }
}
