//! SIP, SIPS and other URIs (RFC 3261 §19.1).

mod canonical;
mod compare;

pub use canonical::escape_user;

use crate::bytes::{DIGIT, all, find, head, number, same, tail};

/// The scheme of a URI: an open set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme<'a> {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:` (RFC 3966); its content stays opaque.
    Tel,
    /// Any other, as written, without its colon; the content stays opaque.
    Other(&'a [u8]),
}

impl Scheme<'_> {
    /// Whether it is `sip` or `sips`, whose parts are taken apart.
    pub fn is_sip(self) -> bool {
        matches!(self, Scheme::Sip | Scheme::Sips)
    }
}

/// A URI, taken apart where it is SIP or SIPS. Parts are as written; nothing is unescaped.
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    /// The whole URI.
    pub raw: &'a [u8],
    /// The scheme.
    pub scheme: Scheme<'a>,
    /// The user; `None` without an `@`.
    pub user: Option<&'a [u8]>,
    /// The password, which should never be there (§19.1.1).
    pub password: Option<&'a [u8]>,
    /// The host: a name, an IPv4 address, or an IPv6 address in brackets. For other schemes everything after
    /// the colon.
    pub host: &'a [u8],
    /// The port; `None` when it is not written.
    pub port: Option<u16>,
    /// The parameters.
    pub params: UriParams<'a>,
    /// What stands after the `?`, without it; empty when there is nothing.
    pub headers: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Takes a URI apart. `None` when it has no scheme, or is SIP without a host or with a port that is no
    /// number up to 65535. Characters are not judged here, see [`crate::validate`].
    #[inline]
    pub fn parse(raw: &'a [u8]) -> Option<Uri<'a>> {
        let (scheme, rest) = match raw {
            [b's', b'i', b'p', b':', rest @ ..] => (Scheme::Sip, rest),
            _ => Self::scheme(raw)?,
        };
        if !scheme.is_sip() {
            let params = UriParams { rest: b"" };
            let (user, password, port) = (None, None, None);
            return Some(Uri { raw, scheme, user, password, host: rest, port, params, headers: b"" });
        }
        // The parts are short: a plain loop is faster here than a vectorised search.
        let until =
            |text: &[u8], stop: fn(u8) -> bool| text.iter().position(|&b| stop(b)).unwrap_or(text.len());
        let at = find(rest, b'@').unwrap_or(rest.len());
        let (mut user, mut password, mut rest) = (None, None, rest);
        if at < rest.len() {
            let info = head(rest, at);
            let colon = until(info, |b| b == b':');
            user = Some(head(info, colon));
            password = info.get(colon + 1..);
            rest = tail(rest, at + 1);
        }
        let bracket = if rest.first() == Some(&b'[') { until(rest, |b| b == b']') } else { 0 };
        let end = bracket + until(tail(rest, bracket), |b| matches!(b, b';' | b'?'));
        let (host, port) = split_port(head(rest, end))?;
        let rest = tail(rest, end);
        let question = until(rest, |b| b == b'?');
        let (params, headers) = (UriParams { rest: head(rest, question) }, tail(rest, question + 1));
        if host.is_empty() || user.is_some_and(<[u8]>::is_empty) {
            return None;
        }
        Some(Uri { raw, scheme, user, password, host, port, params, headers })
    }

    fn scheme(raw: &'a [u8]) -> Option<(Scheme<'a>, &'a [u8])> {
        let colon = memchr::memchr(b':', raw)?;
        let scheme = match head(raw, colon) {
            name if same(b"sip", name) => Scheme::Sip,
            name if same(b"sips", name) => Scheme::Sips,
            name if same(b"tel", name) => Scheme::Tel,
            name if !is_scheme(name) => return None,
            name => Scheme::Other(name),
        };
        Some((scheme, tail(raw, colon + 1)))
    }

    /// The host and port that a request for this URI goes to before name resolution: `maddr` if there is one,
    /// else the host (§19.1.1, RFC 3263 §4).
    pub fn target_host(&self) -> &'a [u8] {
        self.params.value(b"maddr").unwrap_or(self.host)
    }

    /// The `transport` parameter.
    pub fn transport(&self) -> Option<&'a [u8]> {
        self.params.value(b"transport")
    }

    /// Whether it has the `lr` parameter: a loose router (§19.1.1).
    pub fn is_loose(&self) -> bool {
        self.params.has(b"lr")
    }

    /// The host as an address, when it is one.
    pub fn host_ip(&self) -> Option<std::net::IpAddr> {
        crate::message::parse_ip(self.host)
    }

    /// The headers after the `?` as pairs, still escaped.
    pub fn header_pairs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.headers.split(|&b| b == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
            let eq = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            (head(pair, eq), tail(pair, eq + 1))
        })
    }
}

fn is_scheme(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// Splits `host:port`; an IPv6 reference keeps its brackets.
#[inline]
pub(crate) fn split_port(text: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let host_len = match text.first() {
        Some(b'[') => memchr::memchr(b']', text)? + 1,
        _ => find(text, b':').unwrap_or(text.len()),
    };
    match tail(text, host_len) {
        [] => Some((text, None)),
        [b':', digits @ ..] if all(digits, DIGIT) => Some((head(text, host_len), Some(number(digits)?))),
        _ => None,
    }
}

/// The parameters of a URI: `;name` or `;name=value`, never quoted, without blanks.
#[derive(Clone, Copy, Debug)]
pub struct UriParams<'a> {
    rest: &'a [u8],
}

impl<'a> UriParams<'a> {
    /// All of them as written, from the first `;` on.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.rest
    }

    /// The value of the first parameter of this name, in any case; `None` too when it has no value.
    pub fn value(self, name: &[u8]) -> Option<&'a [u8]> {
        let mut params = self;
        params.find(|(found, _)| same(name, found))?.1
    }

    /// Whether there is a parameter of this name.
    pub fn has(self, name: &[u8]) -> bool {
        let mut params = self;
        params.any(|(found, _)| same(name, found))
    }
}

impl<'a> Iterator for UriParams<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest.strip_prefix(b";")?;
            let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
            let param = head(rest, end);
            self.rest = tail(rest, end);
            match memchr::memchr(b'=', param) {
                _ if param.is_empty() => continue,
                Some(eq) => return Some((head(param, eq), Some(tail(param, eq + 1)))),
                None => return Some((param, None)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let uri = Uri::parse(
            b"sips:alice:secret@[2001:db8::1]:5061;transport=tcp;lr;x=?Subject=a%20b&Priority=urgent",
        )
        .unwrap();
        assert_eq!(uri.scheme, Scheme::Sips);
        assert_eq!((uri.user, uri.password), (Some(&b"alice"[..]), Some(&b"secret"[..])));
        assert_eq!((uri.host, uri.port), (&b"[2001:db8::1]"[..], Some(5061)));
        assert_eq!(uri.transport(), Some(&b"tcp"[..]));
        assert!(uri.is_loose());
        assert_eq!(uri.header_pairs().count(), 2);
        assert_eq!(uri.params.value(b"X"), Some(&b""[..]));
    }

    #[test]
    fn users_with_semicolons_and_escapes() {
        let uri = Uri::parse(b"sip:user;par=u%40example.net@example.com").unwrap();
        assert_eq!(uri.user, Some(&b"user;par=u%40example.net"[..]));
        assert_eq!(uri.host, b"example.com");
        let wild = b"sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com";
        let uri = Uri::parse(wild).unwrap();
        assert_eq!(uri.user, Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..]));
        assert_eq!(uri.password, Some(&b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"[..]));
    }

    #[test]
    fn other_schemes_are_opaque() {
        let uri = Uri::parse(b"tel:+1-201-555-0123;phone-context=x").unwrap();
        assert_eq!((uri.scheme, uri.host), (Scheme::Tel, &b"+1-201-555-0123;phone-context=x"[..]));
        assert_eq!(Uri::parse(b"soap.beep://192.0.2.103:3002").unwrap().scheme, Scheme::Other(b"soap.beep"));
    }

    #[test]
    fn what_is_none() {
        for text in [
            &b"example.com"[..],
            b"sip:",
            b"sip:@example.com",
            b"sip:a@",
            b"sip:a@b:99999",
            b"sip:a@[::1",
            b":x",
            b"<sip:a@b>",
        ] {
            assert!(Uri::parse(text).is_none(), "{:?}", String::from_utf8_lossy(text));
        }
    }
}
