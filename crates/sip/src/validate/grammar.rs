//! Strict readers of the parts of a header value. Each says where it stumbled.

use super::rules::Rule;
use crate::bytes::{
    DIGIT, HEX, HOST, LWS, TOKEN, URI, URIISH, VALUE, all, find, head, is, quoted_end, skip_lws, span, tail,
};

/// What is left of a value where it does not follow the grammar.
pub(super) type Stumble<'a> = &'a [u8];

/// `*( SEMI generic-param )` to the end.
#[inline]
pub(super) fn params(bytes: &[u8]) -> Result<(), Stumble<'_>> {
    let mut rest = skip_lws(bytes);
    while let [first, after @ ..] = rest {
        if *first != b';' {
            return Err(rest);
        }
        let name = skip_lws(after);
        let length = span(name, TOKEN);
        if length == 0 {
            return Err(name);
        }
        rest = skip_lws(tail(name, length));
        if let [b'=', after @ ..] = rest {
            let value = skip_lws(after);
            let length = match value.first() {
                Some(b'"') => quoted_end(value, 0).ok_or(value)?,
                _ => span(value, VALUE),
            };
            if length == 0 {
                return Err(value);
            }
            rest = skip_lws(tail(value, length));
        }
    }
    Ok(())
}

/// One Via value: `SIP / 2.0 / transport sent-by params`.
#[inline]
pub(super) fn via(value: &[u8]) -> Result<(), Stumble<'_>> {
    let rest = match value.strip_prefix(b"SIP/2.0/") {
        Some(rest) => rest,
        None => {
            let rest = word(value, b"SIP")?;
            let rest = skip_lws(skip_lws(rest).strip_prefix(b"/").ok_or(rest)?);
            let rest = word(rest, b"2.0")?;
            skip_lws(rest).strip_prefix(b"/").ok_or(rest)?
        }
    };
    let transport = skip_lws(rest);
    let length = span(transport, TOKEN);
    let rest = tail(transport, length);
    let sent_by = skip_lws(rest);
    if length == 0 || sent_by.len() == rest.len() {
        return Err(transport);
    }
    let length = host(sent_by)?;
    let mut rest = skip_lws(tail(sent_by, length));
    if let [b':', after @ ..] = rest {
        let port = skip_lws(after);
        let digits = span(port, DIGIT);
        crate::bytes::number::<u16>(head(port, digits)).ok_or(port)?;
        rest = tail(port, digits);
    }
    params(rest)
}

fn word<'a>(bytes: &'a [u8], expected: &[u8]) -> Result<&'a [u8], Stumble<'a>> {
    if crate::bytes::same(expected, head(bytes, expected.len())) {
        Ok(tail(bytes, expected.len()))
    } else {
        Err(bytes)
    }
}

/// The length of a host at the front.
#[inline]
fn host(bytes: &[u8]) -> Result<usize, Stumble<'_>> {
    let length = match bytes {
        [b'[', inner @ ..] => {
            let inside = inner.iter().position(|&b| !(is(b, HEX) || matches!(b, b':' | b'.'))).unwrap_or(0);
            if inner.get(inside) == Some(&b']') { inside + 2 } else { 0 }
        }
        _ => span(bytes, HOST),
    };
    if length == 0 { Err(bytes) } else { Ok(length) }
}

/// What was found out about an address on the way.
pub(super) struct Address<'a> {
    pub(super) uri: &'a [u8],
    pub(super) bracketed: bool,
}

/// `( name-addr / addr-spec ) *( SEMI generic-param )`.
#[inline]
pub(super) fn address(value: &[u8]) -> Result<Address<'_>, Stumble<'_>> {
    let open = match value.first() {
        Some(b'<') => value,
        Some(b'"') => skip_lws(tail(value, quoted_end(value, 0).ok_or(value)?)),
        _ => {
            let rest = display_tokens(value);
            if rest.first() != Some(&b'<') {
                return plain_address(value);
            }
            rest
        }
    };
    let inner = open.strip_prefix(b"<").ok_or(open)?;
    let length = span(inner, URIISH);
    if inner.get(length) != Some(&b'>') {
        return Err(tail(inner, length));
    }
    let address = head(inner, length);
    uri(address)?;
    params(tail(inner, length + 1))?;
    Ok(Address { uri: address, bracketed: true })
}

/// `addr-spec`, whose parameters are the header's.
fn plain_address(value: &[u8]) -> Result<Address<'_>, Stumble<'_>> {
    let length = span(value, VALUE);
    let address = head(value, length);
    uri(address)?;
    params(tail(value, length))?;
    Ok(Address { uri: address, bracketed: false })
}

/// What follows `*( token LWS )`. Letters beyond ASCII are met here without the quotes that they need, and can
/// be mistaken for nothing else.
#[inline]
fn display_tokens(mut bytes: &[u8]) -> &[u8] {
    while bytes.first().is_some_and(|&b| is(b, TOKEN) || b >= 128) {
        let length = bytes.iter().position(|&b| !is(b, TOKEN) && b < 128).unwrap_or(bytes.len());
        bytes = skip_lws(tail(bytes, length));
    }
    bytes
}

/// A URI that comes apart.
pub(super) struct UriParts<'a> {
    /// Neither SIP nor telephone.
    pub(super) foreign: bool,
    /// Parameters and headers of a SIP URI.
    pub(super) rest: &'a [u8],
}

/// A URI made of characters that have been looked at. The same as [`crate::Uri::parse`] would say, with a
/// stricter look at the host, in half the time.
#[inline]
pub(super) fn uri(text: &[u8]) -> Result<UriParts<'_>, Stumble<'_>> {
    let after = match text {
        [b's', b'i', b'p', b':', rest @ ..] => rest,
        _ => {
            let uri = crate::uri::Uri::parse(text).ok_or(text)?;
            if !uri.scheme.is_sip() {
                let foreign = uri.scheme != crate::uri::Scheme::Tel;
                return if uri.host.is_empty() { Err(text) } else { Ok(UriParts { foreign, rest: b"" }) };
            }
            tail(text, memchr::memchr(b':', text).map_or(text.len(), |colon| colon + 1))
        }
    };
    let at = find(after, b'@');
    let hostport = match at {
        Some(0) => return Err(text),
        Some(_) if after.first() == Some(&b':') => return Err(text),
        Some(at) => tail(after, at + 1),
        None => after,
    };
    let length = host(hostport)?;
    let mut rest = tail(hostport, length);
    if let [b':', port @ ..] = rest {
        let digits = span(port, DIGIT);
        crate::bytes::number::<u16>(head(port, digits)).ok_or(rest)?;
        rest = tail(port, digits);
    }
    match rest.first() {
        None | Some(b';' | b'?') => Ok(UriParts { foreign: false, rest }),
        Some(_) => Err(rest),
    }
}

/// What is untidy in a URI without making it ambiguous.
pub(super) fn untidy_uri(text: &[u8]) -> Option<(Rule, &[u8])> {
    if let Some(at) = text.iter().position(|&b| !is(b, URI)) {
        return Some((Rule::UriCharacters, tail(text, at)));
    }
    let bad = |&at: &usize| !(text.len() >= at + 3 && all(tail(head(text, at + 3), at + 1), HEX));
    memchr::memchr_iter(b'%', text).find(bad).map(|at| (Rule::UriEscape, tail(text, at)))
}

/// `rfc1123-date`: `Sat, 13 Nov 2010 23:29:00 GMT`.
pub(super) fn date(value: &[u8]) -> bool {
    const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    const MONTHS: [&[u8]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    if value.len() != 29 {
        return false;
    }
    let part = |from: usize, to: usize| tail(head(value, to), from);
    let number = |from, to, max: u16| crate::bytes::number::<u16>(part(from, to)).is_some_and(|n| n <= max);
    DAYS.contains(&part(0, 3))
        && part(3, 5) == b", "
        && number(5, 7, 31)
        && part(7, 8) == b" "
        && MONTHS.contains(&part(8, 11))
        && part(11, 12) == b" "
        && number(12, 16, 9999)
        && part(16, 17) == b" "
        && number(17, 19, 23)
        && part(19, 20) == b":"
        && number(20, 22, 59)
        && part(22, 23) == b":"
        && number(23, 25, 60)
        && part(25, 29) == b" GMT"
}

/// Whether a value has the form `type/subtype` and parameters.
pub(super) fn media_type(value: &[u8]) -> bool {
    let kind = span(value, TOKEN);
    let rest = skip_lws(tail(value, kind));
    let Some(rest) = rest.strip_prefix(b"/") else { return false };
    let rest = skip_lws(rest);
    let sub = span(rest, TOKEN);
    kind > 0 && sub > 0 && params(tail(rest, sub)).is_ok()
}

/// Whether blanks or controls stand in the value.
pub(super) fn has_blank(value: &[u8]) -> bool {
    value.iter().any(|&b| is(b, LWS) || b < b' ' || b == 127)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert!(date(b"Sat, 13 Nov 2010 23:29:00 GMT"));
        for bad in [
            &b"Fri, 01 Jan 2010 16:00:00 EST"[..],
            b"Sat, 13 Nov 2010 24:29:00 GMT",
            b"",
            b"Sat, 13 nov 2010 23:29:00 GMT",
        ] {
            assert!(!date(bad));
        }
    }

    #[test]
    fn addresses() {
        for good in [
            &b"<sip:a@b>"[..],
            b"sip:a@[::1]:5060;tag=1",
            b"Mr. T <sips:b>;tag=x;y",
            b"\"\" <sip:a@b>",
            b"<tel:+1;x=y>",
            b"<urn:service:sos>",
        ] {
            assert!(address(good).is_ok(), "{:?}", String::from_utf8_lossy(good));
        }
        for bad in [
            &b"Bell, A <sip:a@b>"[..],
            b"<sip:a@b >",
            b"<sip:a@b",
            b"\"x <sip:a@b>",
            b"<sip:a@b>;",
            b"<sip:a@b>;;x",
            b"<sip:a@b>x",
            b"<>",
            b"sip:",
            b"<sip:a@b:x>",
            b"<sip:a@b c>",
            b"<sip:a@b!>",
            b"alice",
        ] {
            assert!(address(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
