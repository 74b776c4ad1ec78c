//! Authorization and Proxy-Authorization, at the server.

use super::hash::Facts;
use super::params::AuthParams;
use super::{Algorithm, DigestError, Ha1, constant_time_eq};
use crate::bytes::same;
use crate::method::Method;
use causeway_node::CredentialParts;
use std::borrow::Cow;
use std::fmt;

/// Credentials that were received. What they claim is true only once [`Credentials::prove`] says so; that the
/// nonce is one's own and fresh, the count new, the URI the one of the request, is for the caller to check.
pub struct Credentials<'a> {
    /// The user.
    pub username: Cow<'a, [u8]>,
    /// The protection space.
    pub realm: Cow<'a, [u8]>,
    /// The server's nonce.
    pub nonce: Cow<'a, [u8]>,
    /// What the client says that the Request-URI is.
    pub uri: Cow<'a, [u8]>,
    /// As the challenge had it.
    pub opaque: Option<Cow<'a, [u8]>>,
    /// MD5 when none is named.
    pub algorithm: Algorithm,
    /// The nonce count when `qop=auth` is in use; `None` for a client of RFC 2069, whose credentials can be
    /// replayed as long as the nonce is taken.
    pub count: Option<u32>,
    response: Cow<'a, [u8]>,
    count_digits: Cow<'a, [u8]>,
    cnonce: Cow<'a, [u8]>,
    whole: &'a [u8],
}

impl<'a> Credentials<'a> {
    /// Reads a header value.
    ///
    /// # Errors
    /// [`DigestError`]: another scheme, no list of parameters, a missing one, an unknown algorithm or qop.
    pub fn parse(value: &'a [u8]) -> Result<Credentials<'a>, DigestError> {
        let params = AuthParams::parse(value)?;
        let algorithm = match params.get(b"algorithm") {
            Some(name) => Algorithm::of(&name).ok_or(DigestError::Algorithm)?,
            None => Algorithm::MD5,
        };
        let mut cnonce = params.get(b"cnonce");
        let (mut count, mut count_digits) = (None, Cow::Borrowed(&b""[..]));
        match params.get(b"qop") {
            Some(qop) if same(b"auth", &qop) => {
                count_digits = params.need("nc")?;
                count = Some(hex_count(&count_digits).ok_or(DigestError::Malformed)?);
                cnonce = Some(params.need("cnonce")?);
            }
            Some(_) => return Err(DigestError::Qop),
            None if algorithm.session => cnonce = Some(params.need("cnonce")?),
            None => {}
        }
        Ok(Credentials {
            username: params.need("username")?,
            realm: params.need("realm")?,
            nonce: params.need("nonce")?,
            uri: params.need("uri")?,
            opaque: params.get(b"opaque"),
            algorithm,
            count,
            response: params.need("response")?,
            count_digits,
            cnonce: cnonce.unwrap_or_default(),
            whole: value,
        })
    }

    /// Whether the response was made with the password behind HA1, for this method and the claimed URI. The
    /// comparison takes the same time wherever they differ.
    pub fn prove(&self, ha1: &Ha1, method: Method<'_>) -> bool {
        if ha1.hash() != self.algorithm.hash {
            return false;
        }
        let facts = Facts {
            algorithm: self.algorithm,
            nonce: &self.nonce,
            method: method.as_bytes(),
            uri: &self.uri,
            qop: self.count.map(|_| (&*self.count_digits, &*self.cnonce)),
            cnonce: &self.cnonce,
        };
        let expected = facts.response(ha1);
        constant_time_eq(expected.as_bytes(), &self.response.to_ascii_lowercase())
    }

    /// The same as a question to whoever keeps HA1; it is answered with [`prove`].
    pub fn question(&self, method: Method<'_>) -> causeway_node::Credential {
        causeway_node::Credential::new(CredentialParts {
            username: &self.username,
            realm: &self.realm,
            method: method.as_bytes(),
            uri: &self.uri,
            nonce: &self.nonce,
            nc: &self.count_digits,
            cnonce: &self.cnonce,
            qop: if self.count.is_some() { b"auth" } else { b"" },
            algorithm: self.algorithm.name().as_bytes(),
            response: &self.response,
        })
    }

    /// The client's nonce; empty when there is none.
    pub fn cnonce(&self) -> &[u8] {
        &self.cnonce
    }

    /// The response as received. Not for logs.
    pub fn response(&self) -> &[u8] {
        &self.response
    }

    /// Any other parameter, without its quotes.
    pub fn param(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        AuthParams::parse(self.whole).ok()?.get(name)
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &String::from_utf8_lossy(&self.username))
            .field("realm", &String::from_utf8_lossy(&self.realm))
            .field("algorithm", &self.algorithm)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

/// Whether a response that was passed on as a question was made with the password behind HA1. An algorithm
/// that is unknown or has another hash than HA1 is a no.
pub fn prove(credential: &causeway_node::Credential, ha1: &Ha1) -> bool {
    let credential = credential.parts();
    let Some(algorithm) = Algorithm::of(credential.algorithm).filter(|known| known.hash == ha1.hash()) else {
        return false;
    };
    let facts = Facts {
        algorithm,
        nonce: credential.nonce,
        method: credential.method,
        uri: credential.uri,
        qop: (!credential.qop.is_empty()).then_some((credential.nc, credential.cnonce)),
        cnonce: credential.cnonce,
    };
    constant_time_eq(facts.response(ha1).as_bytes(), &credential.response.to_ascii_lowercase())
}

/// `nc-value`: eight hexadecimal digits.
fn hex_count(digits: &[u8]) -> Option<u32> {
    if digits.len() != 8 {
        return None;
    }
    digits.iter().try_fold(0, |value, &b| Some(value << 4 | (b as char).to_digit(16)?))
}
