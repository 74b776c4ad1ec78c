//! Addresses in From, To, Contact, Route and their like: `name-addr` and `addr-spec` (RFC 3261 §20.10).

use super::params::Params;
use crate::bytes::{find, head, number, quoted_end, same, skip_lws, tail, trim, unquote};
use crate::uri::Uri;
use std::borrow::Cow;

/// A URI with a display name and header parameters around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as written, with quotes if it has them; empty when there is none.
    pub display: &'a [u8],
    /// The URI without angle brackets.
    pub uri: &'a [u8],
    /// The header parameters. Without angle brackets all parameters are the header's, none the URI's (§20.10).
    pub params: Params<'a>,
    /// Whether the URI stands in angle brackets.
    pub bracketed: bool,
}

impl<'a> NameAddr<'a> {
    /// Reads one value. `None` when a quote or a bracket is not closed, or when there is no URI.
    #[inline]
    pub fn parse(value: &'a [u8]) -> Option<NameAddr<'a>> {
        let value = skip_lws(value);
        let (display, open) = match value.first()? {
            b'"' => {
                let end = quoted_end(value, 0)?;
                let gap = tail(value, end).len() - skip_lws(tail(value, end)).len();
                (head(value, end), end + gap)
            }
            b'<' => (head(value, 0), 0),
            // A parameter's value may hold a bracket, a display name can hold no semicolon.
            _ => match memchr::memchr3(b'<', b';', b'"', value) {
                Some(at) if value.get(at) == Some(&b'<') => (trim(head(value, at)), at),
                Some(at) if value.get(at) == Some(&b'"') => return None,
                at => {
                    let at = at.unwrap_or(value.len());
                    let uri = trim(head(value, at));
                    let params = Params::new(tail(value, at));
                    return (!uri.is_empty()).then_some(NameAddr {
                        display: b"",
                        uri,
                        params,
                        bracketed: false,
                    });
                }
            },
        };
        let inner = tail(value, open).strip_prefix(b"<")?;
        let close = find(inner, b'>')?;
        let uri = trim(head(inner, close));
        if uri.is_empty() {
            return None;
        }
        Some(NameAddr { display, uri, params: Params::new(tail(inner, close + 1)), bracketed: true })
    }

    /// The parsed URI.
    pub fn uri(&self) -> Option<Uri<'a>> {
        Uri::parse(self.uri)
    }

    /// The tag of From or To; an empty one counts as none.
    #[inline]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value(b"tag").filter(|tag| !tag.is_empty())
    }

    /// The display name without quotes and back-slashes.
    pub fn display_name(&self) -> Cow<'a, [u8]> {
        unquote(self.display)
    }

    /// The `expires` parameter of a Contact, in seconds; `None` when missing or unreadable, which counts as
    /// missing (RFC 3261 §20.10, §10.3).
    pub fn expires(&self) -> Option<u32> {
        number(self.params.value(b"expires")?)
    }

    /// The `q` parameter in thousandths; 1000 when it is missing or unreadable.
    pub fn q(&self) -> u16 {
        self.params.value(b"q").and_then(qvalue).unwrap_or(1000)
    }
}

/// `qvalue` of §25.1 in thousandths: `0`, `0.5`, `1`, `1.000`.
fn qvalue(text: &[u8]) -> Option<u16> {
    let (whole, fraction) = match memchr::memchr(b'.', text) {
        Some(dot) => (head(text, dot), tail(text, dot + 1)),
        None => (text, &b""[..]),
    };
    if fraction.len() > 3 || !(whole == b"0" || whole == b"1" || whole.is_empty()) {
        return None;
    }
    let mut value = u16::from(whole == b"1");
    for i in 0..3 {
        value = value * 10 + number::<u16>(&[*fraction.get(i).unwrap_or(&b'0')])?;
    }
    (value <= 1000).then_some(value)
}

/// One value of a Contact header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact<'a> {
    /// `*`: all bindings (RFC 3261 §10.2.2).
    Star,
    /// An address.
    Addr(NameAddr<'a>),
}

impl<'a> Contact<'a> {
    /// Reads one value.
    pub fn parse(value: &'a [u8]) -> Option<Contact<'a>> {
        match trim(value) {
            b"*" => Some(Contact::Star),
            value => NameAddr::parse(value).map(Contact::Addr),
        }
    }
}

/// Whether `list` (a header value such as Supported) holds the option tag, without case.
pub(crate) fn list_has(list: &[u8], tag: &[u8]) -> bool {
    super::Values::new(list).any(|value| same(tag, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let plain = NameAddr::parse(b"sip:+19725552222@gw1.example.net;unknownparam;tag = x1").unwrap();
        assert_eq!(plain.uri, b"sip:+19725552222@gw1.example.net");
        assert_eq!((plain.tag(), plain.bracketed), (Some(&b"x1"[..]), false));
        let named = NameAddr::parse(b"\"J \\\"R\\\\\"\r\n <sip:a@b;x?y=%20>;\r\n tag=98").unwrap();
        assert_eq!(&*named.display_name(), br#"J "R\"#);
        assert_eq!((named.uri, named.tag()), (&b"sip:a@b;x?y=%20"[..], Some(&b"98"[..])));
        let tokens = NameAddr::parse(b"caller<sip:c@d>;tag=323").unwrap();
        assert_eq!((tokens.display, tokens.uri), (&b"caller"[..], &b"sip:c@d"[..]));
        let quoted = NameAddr::parse(b"sip:a@b;x=\"<\";tag=1").unwrap();
        assert_eq!((quoted.uri, quoted.tag()), (&b"sip:a@b"[..], Some(&b"1"[..])));
    }

    #[test]
    fn what_is_none() {
        for text in
            [&b""[..], b"\"open <sip:a@b>", b"<sip:a@b", b"<>", b"\"x\" sip:a@b", b";tag=1", b"a\"b <sip:c>"]
        {
            assert_eq!(NameAddr::parse(text), None, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn contact_values() {
        assert_eq!(Contact::parse(b" * "), Some(Contact::Star));
        let Some(Contact::Addr(addr)) = Contact::parse(b"<sip:a@b>;q=0.33;expires=10") else { panic!() };
        assert_eq!((addr.q(), addr.expires()), (330, Some(10)));
        assert_eq!(qvalue(b"1.000"), Some(1000));
        assert_eq!(qvalue(b".5"), Some(500));
        assert_eq!(qvalue(b"1.1"), None);
        assert_eq!(qvalue(b"0.3333"), None);
    }
}
