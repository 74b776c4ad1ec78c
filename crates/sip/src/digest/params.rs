//! The `name=value` lists of challenges and credentials (RFC 7616 §3.3, §3.4; RFC 3261 §25.1).

use super::DigestError;
use crate::bytes::{TOKEN, head, quoted_end, same, skip_lws, span, split_comma, tail, trim, unquote};
use std::borrow::Cow;

/// The parameters after a scheme.
#[derive(Clone, Copy)]
pub(super) struct AuthParams<'a> {
    rest: &'a [u8],
}

impl<'a> AuthParams<'a> {
    /// The parameters of a header value that begins with `Digest`.
    ///
    /// # Errors
    /// Another scheme; a part that is no `name=value`; a name that occurs twice, which two implementations
    /// could read differently.
    pub(super) fn parse(value: &'a [u8]) -> Result<AuthParams<'a>, DigestError> {
        let value = trim(value);
        let scheme = span(value, TOKEN);
        if !same(b"Digest", head(value, scheme)) {
            return Err(DigestError::Scheme);
        }
        let params = AuthParams { rest: tail(value, scheme) };
        let mut count = 0;
        for param in params {
            let (name, _) = param?;
            // Thirty-two are more than all RFCs together define; the bound keeps this from being quadratic.
            count += 1;
            if count > 32 || params.take(count - 1).any(|seen| seen.is_ok_and(|(seen, _)| same(seen, name))) {
                return Err(DigestError::Malformed);
            }
        }
        Ok(params)
    }

    /// The value of a name, without its quotes.
    pub(super) fn get(self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.filter_map(Result::ok).find(|(found, _)| same(name, found)).map(|(_, value)| unquote(value))
    }

    pub(super) fn need(self, name: &'static str) -> Result<Cow<'a, [u8]>, DigestError> {
        self.get(name.as_bytes()).ok_or(DigestError::Missing(name))
    }
}

impl<'a> Iterator for AuthParams<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), DigestError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (part, rest) = split_comma(self.rest);
            self.rest = rest.unwrap_or_default();
            let part = trim(part);
            if !part.is_empty() {
                return Some(split(part).ok_or(DigestError::Malformed));
            }
        }
        None
    }
}

fn split(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = span(part, TOKEN);
    let value = skip_lws(skip_lws(tail(part, length)).strip_prefix(b"=")?);
    let whole = match value.first() {
        Some(b'"') => quoted_end(value, 0)? == value.len(),
        _ => !value.iter().any(|&b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'"')),
    };
    (length > 0 && whole).then_some((head(part, length), value))
}

/// Appends `name="value"`, quotes and back-slashes escaped, line ends made blanks.
pub(super) fn push_quoted(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    for &b in value {
        match b {
            b'"' | b'\\' => out.extend([b'\\', b]),
            b'\r' | b'\n' => out.push(b' '),
            _ => out.push(b),
        }
    }
    out.push(b'"');
}
