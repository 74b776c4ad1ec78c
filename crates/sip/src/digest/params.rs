//! The `name=value` lists of challenges and credentials (RFC 7616 §3.3, §3.4; RFC 3261 §25.1).

use super::DigestError;
use crate::bytes::{TOKEN, head, quoted_end, same, skip_lws, span, split_comma, tail, trim, unquote};
use std::borrow::Cow;

/// More parameters than all RFCs together define; the bound keeps the search for names that occur twice short.
const MOST: usize = 32;

/// The parameters after a scheme, at most [`MOST`], taken apart once.
pub(super) struct AuthParams<'a> {
    list: [Pair<'a>; MOST],
    len: usize,
}

impl<'a> AuthParams<'a> {
    /// The parameters of a header value that begins with `Digest`.
    ///
    /// # Errors
    /// Another scheme; a part that is no `name=value`; a name that occurs twice, which two implementations
    /// could read differently.
    pub(super) fn parse(value: &'a [u8]) -> Result<AuthParams<'a>, DigestError> {
        let mut params = AuthParams { list: [(&[], &[]); MOST], len: 0 };
        let mut rest = after_scheme(value)?;
        while let Some((name, value)) = take(&mut rest)? {
            if params.known().any(|(seen, _)| same(seen, name)) {
                return Err(DigestError::Malformed);
            }
            *params.list.get_mut(params.len).ok_or(DigestError::Malformed)? = (name, value);
            params.len += 1;
        }
        Ok(params)
    }

    fn known(&self) -> impl Iterator<Item = Pair<'a>> {
        self.list.iter().take(self.len).copied()
    }

    /// The value of a name, without its quotes.
    pub(super) fn get(&self, name: &[u8]) -> Option<Cow<'a, [u8]>> {
        self.known().find(|(found, _)| same(name, found)).map(|(_, value)| unquote(value))
    }

    pub(super) fn need(&self, name: &'static str) -> Result<Cow<'a, [u8]>, DigestError> {
        self.get(name.as_bytes()).ok_or(DigestError::Missing(name))
    }
}

/// The realm that credentials are for, without a look at what follows it: enough to tell whose they are.
///
/// # Errors
/// Another scheme than `Digest`, a part that is no `name=value` before the realm, or no realm.
pub fn realm(value: &[u8]) -> Result<Cow<'_, [u8]>, DigestError> {
    let mut rest = after_scheme(value)?;
    while let Some((name, value)) = take(&mut rest)? {
        if same(b"realm", name) {
            return Ok(unquote(value));
        }
    }
    Err(DigestError::Missing("realm"))
}

/// What follows `Digest`.
fn after_scheme(value: &[u8]) -> Result<&[u8], DigestError> {
    let value = trim(value);
    let scheme = span(value, TOKEN);
    if !same(b"Digest", head(value, scheme)) {
        return Err(DigestError::Scheme);
    }
    Ok(skip_lws(tail(value, scheme)))
}

/// A name and its value, with quotes if it has any.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// Takes the next parameter off a list, empty elements passed over; none at its end.
fn take<'a>(rest: &mut &'a [u8]) -> Result<Option<Pair<'a>>, DigestError> {
    while let Some(after) = rest.strip_prefix(b",") {
        *rest = skip_lws(after);
    }
    if rest.is_empty() {
        return Ok(None);
    }
    let (name, value, after) = next(rest).ok_or(DigestError::Malformed)?;
    *rest = after;
    Ok(Some((name, value)))
}

/// The first parameter, its value with quotes if it has any, and what follows its comma.
fn next(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let length = span(text, TOKEN);
    let value = skip_lws(skip_lws(tail(text, length)).strip_prefix(b"=")?);
    let (value, rest) = match value.first() {
        Some(b'"') => {
            let end = quoted_end(value, 0)?;
            let rest = skip_lws(tail(value, end));
            (head(value, end), if rest.is_empty() { rest } else { rest.strip_prefix(b",")? })
        }
        _ => {
            let (value, rest) = split_comma(value);
            let value = trim(value);
            if value.iter().any(|&b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'"')) {
                return None;
            }
            (value, rest.unwrap_or_default())
        }
    };
    (length > 0).then_some((head(text, length), value, skip_lws(rest)))
}

/// Appends `name="value"`, quotes and back-slashes escaped, line ends made blanks.
pub(super) fn push_quoted(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    // Hardly any has something to be escaped.
    let plain = value.iter().position(|b| matches!(b, b'"' | b'\\' | b'\r' | b'\n')).unwrap_or(value.len());
    out.extend_from_slice(head(value, plain));
    for &b in tail(value, plain) {
        match b {
            b'"' | b'\\' => out.extend([b'\\', b]),
            b'\r' | b'\n' => out.push(b' '),
            _ => out.push(b),
        }
    }
    out.push(b'"');
}
