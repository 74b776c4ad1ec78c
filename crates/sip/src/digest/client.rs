//! Answers to challenges, at the client.

use super::hash::Facts;
use super::params::push_quoted;
use super::{Algorithm, Challenge, Ha1};
use crate::method::Method;

/// The strongest challenge among the header values that can be answered, the first of equals: SHA-256 before
/// SHA-512/256 (which few have) before MD5, `auth` before none. RFC 8760 §2.4 leaves the order to local
/// policy; taking the strongest keeps someone on the way who reorders the list from choosing.
pub fn choose<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Option<Challenge<'a>> {
    let mut best: Option<Challenge<'a>> = None;
    for challenge in values.into_iter().filter_map(|value| Challenge::parse(value).ok()) {
        let rank = |challenge: &Challenge<'_>| (challenge.algorithm.hash, challenge.qop_auth);
        if best.as_ref().is_none_or(|best| rank(&challenge) > rank(best)) {
            best = Some(challenge);
        }
    }
    best
}

/// The answer to one challenge, and to the requests after it: the nonce is used on with a rising count.
/// `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Session {
    username: Vec<u8>,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    opaque: Option<Vec<u8>>,
    algorithm: Algorithm,
    qop_auth: bool,
    ha1: Ha1,
    count: u32,
}

impl Session {
    /// Begins to answer a challenge with a password.
    pub fn new(challenge: &Challenge<'_>, username: &[u8], password: &[u8]) -> Session {
        let ha1 = Ha1::new(challenge.algorithm, username, &challenge.realm, password);
        Session::begin(challenge, username, ha1)
    }

    /// Begins to answer a challenge with a stored HA1; `None` when that is of another hash. It must have
    /// been made for the realm of the challenge.
    pub fn with_ha1(challenge: &Challenge<'_>, username: &[u8], ha1: Ha1) -> Option<Session> {
        (ha1.hash() == challenge.algorithm.hash).then(|| Session::begin(challenge, username, ha1))
    }

    fn begin(challenge: &Challenge<'_>, username: &[u8], ha1: Ha1) -> Session {
        Session {
            username: username.to_vec(),
            realm: challenge.realm.to_vec(),
            nonce: challenge.nonce.to_vec(),
            opaque: challenge.opaque.as_ref().map(|opaque| opaque.to_vec()),
            algorithm: challenge.algorithm,
            qop_auth: challenge.qop_auth,
            ha1,
            count: 0,
        }
    }

    /// The realm that is answered.
    pub fn realm(&self) -> &[u8] {
        &self.realm
    }

    /// The nonce that is answered: a challenge with another one, and `stale`, asks for a new session.
    pub fn nonce(&self) -> &[u8] {
        &self.nonce
    }

    /// The header value for a request: Authorization after a 401, Proxy-Authorization after a 407.
    /// `cnonce` must be new and unpredictable, in printable characters without quotes.
    pub fn answer(&mut self, method: Method<'_>, uri: &[u8], cnonce: &[u8]) -> Vec<u8> {
        self.count = self.count.wrapping_add(1);
        let count = format!("{:08x}", self.count);
        let response = Facts {
            algorithm: self.algorithm,
            nonce: &self.nonce,
            method: method.as_bytes(),
            uri,
            qop: self.qop_auth.then_some((count.as_bytes(), cnonce)),
            cnonce,
        }
        .response(&self.ha1);
        let mut out = Vec::with_capacity(384);
        push_quoted(&mut out, "Digest username", &self.username);
        push_quoted(&mut out, ", realm", &self.realm);
        push_quoted(&mut out, ", nonce", &self.nonce);
        push_quoted(&mut out, ", uri", uri);
        push_quoted(&mut out, ", response", response.as_bytes());
        out.extend_from_slice(b", algorithm=");
        out.extend_from_slice(self.algorithm.name().as_bytes());
        if self.qop_auth {
            out.extend_from_slice(b", qop=auth, nc=");
            out.extend_from_slice(count.as_bytes());
        }
        if self.qop_auth || self.algorithm.session {
            push_quoted(&mut out, ", cnonce", cnonce);
        }
        if let Some(opaque) = &self.opaque {
            push_quoted(&mut out, ", opaque", opaque);
        }
        out
    }
}
