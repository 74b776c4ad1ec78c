//! One Via value (RFC 3261 §20.42).

use super::index::Span;
use super::params::{Param, Params};
use crate::bytes::{LWS, head, is, number, same, skip_lws, span, tail, trim};
use std::net::{IpAddr, Ipv4Addr};

/// One hop that a message has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The whole value as written.
    pub raw: &'a [u8],
    /// `SIP`.
    pub protocol: &'a [u8],
    /// `2.0`.
    pub version: &'a [u8],
    /// `UDP`, `TCP`, `TLS`, `SCTP`, `WS`, `WSS` or any other token; compare without case.
    pub transport: &'a [u8],
    /// The host of sent-by: a name, an IPv4 address, or an IPv6 address in brackets.
    pub host: &'a [u8],
    /// The port of sent-by; `None` when it is not written or no number up to 65535.
    pub port: Option<u16>,
    /// Everything after sent-by.
    pub params: Params<'a>,
    marks: Marks<'a>,
}

/// The parameters that are asked for again and again, found in one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks<'a> {
    branch: Option<&'a [u8]>,
    received: Option<&'a [u8]>,
    rport: Option<Param<'a>>,
}

impl<'a> Marks<'a> {
    #[inline]
    fn of(params: Params<'a>) -> Self {
        let (mut branch, mut received, mut rport) = (None, None, None);
        for param in params {
            let (name, first) = match param.name.len() {
                6 => (&b"branch"[..], &mut branch),
                8 => (&b"received"[..], &mut received),
                5 => (&b"rport"[..], &mut rport),
                _ => continue,
            };
            if first.is_none() && same(name, param.name) {
                *first = Some(param);
            }
        }
        let value = |param: Option<Param<'a>>| param.and_then(|param| param.value);
        Self { branch: value(branch), received: value(received), rport }
    }
}

/// Where the parts of a Via value lie in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ViaSpans {
    raw: Span,
    protocol: Span,
    version: Span,
    transport: Span,
    host: Span,
    port: Option<u16>,
    params: Span,
    branch: Option<Span>,
    received: Option<Span>,
    /// Name and value.
    rport: Option<(Span, Option<Span>)>,
}

impl ViaSpans {
    /// Of a value in the message, with what tells where a part of it lies.
    pub(crate) fn of(via: Via<'_>, place: impl Fn(&[u8]) -> Span) -> Self {
        Self {
            raw: place(via.raw),
            protocol: place(via.protocol),
            version: place(via.version),
            transport: place(via.transport),
            host: place(via.host),
            port: via.port,
            params: place(via.params.as_bytes()),
            branch: via.marks.branch.map(&place),
            received: via.marks.received.map(&place),
            rport: via.marks.rport.map(|param| (place(param.name), param.value.map(&place))),
        }
    }

    /// The value again.
    #[inline]
    pub(crate) fn of_bytes(self, bytes: &[u8]) -> Via<'_> {
        Via {
            raw: self.raw.of(bytes),
            protocol: self.protocol.of(bytes),
            version: self.version.of(bytes),
            transport: self.transport.of(bytes),
            host: self.host.of(bytes),
            port: self.port,
            params: Params::new(self.params.of(bytes)),
            marks: Marks {
                branch: self.branch.map(|span| span.of(bytes)),
                received: self.received.map(|span| span.of(bytes)),
                rport: self.rport.map(|(name, value)| Param {
                    name: name.of(bytes),
                    value: value.map(|span| span.of(bytes)),
                }),
            },
        }
    }
}

impl<'a> Via<'a> {
    /// Reads one value, with white space and folds wherever §25.1 has SLASH, COLON, SEMI or EQUAL. `None`
    /// when it has not three parts before sent-by, or no host.
    #[inline]
    pub fn parse(value: &'a [u8]) -> Option<Via<'a>> {
        let raw = trim(value);
        let (protocol, version, rest) = match raw {
            [b'S', b'I', b'P', b'/', b'2', b'.', b'0', b'/', rest @ ..] => (head(raw, 3), &raw[4..7], rest),
            _ => Self::protocol(raw)?,
        };
        let rest = skip_lws(rest);
        let length = rest.iter().position(|&b| is(b, LWS)).unwrap_or(rest.len());
        let transport = head(rest, length);
        let rest = skip_lws(tail(rest, length));
        let host_len = match rest.first() {
            Some(b'[') => memchr::memchr(b']', rest)? + 1,
            _ => rest.iter().position(|&b| b == b':' || b == b';' || is(b, LWS)).unwrap_or(rest.len()),
        };
        let host = head(rest, host_len);
        if transport.is_empty() || host.is_empty() {
            return None;
        }
        let mut rest = skip_lws(tail(rest, host_len));
        let mut port = None;
        if let [b':', after @ ..] = rest {
            let after = skip_lws(after);
            let digits = span(after, crate::bytes::DIGIT);
            port = number(head(after, digits));
            rest = tail(after, digits);
        }
        let params = Params::new(rest);
        Some(Via { raw, protocol, version, transport, host, port, params, marks: Marks::of(params) })
    }

    /// `SIP / 2.0 /` with blanks or another protocol; the rest begins after the second slash.
    fn protocol(raw: &'a [u8]) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
        let slash = memchr::memchr(b'/', raw)?;
        let rest = tail(raw, slash + 1);
        let second = memchr::memchr(b'/', rest)?;
        Some((trim(head(raw, slash)), trim(head(rest, second)), tail(rest, second + 1)))
    }

    /// The transaction identifier of the hop.
    #[inline]
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.marks.branch.filter(|branch| !branch.is_empty())
    }

    /// Whether the branch is one of RFC 3261 (§8.1.1.7): begins with the magic cookie and has something
    /// after it. Otherwise transactions are matched as RFC 2543 did (§17.2.3).
    #[inline]
    pub fn has_cookie(&self) -> bool {
        self.branch().is_some_and(|branch| branch.len() > 7 && branch.starts_with(b"z9hG4bK"))
    }

    /// Where the message really came from, as the next hop saw it (§18.2.1).
    pub fn received(&self) -> Option<&'a [u8]> {
        self.marks.received
    }

    /// RFC 3581: `None` without `rport`, `Some(None)` for a request for it, `Some(Some(port))` when filled in.
    pub fn rport(&self) -> Option<Option<u16>> {
        Some(self.marks.rport?.value.and_then(number))
    }

    /// The `rport` parameter as it is written.
    pub(crate) fn rport_param(&self) -> Option<Param<'a>> {
        self.marks.rport
    }

    /// The multicast address that the response is to be sent to (§18.1.1).
    pub fn maddr(&self) -> Option<&'a [u8]> {
        self.params.value(b"maddr")
    }

    /// The host as an address, when it is one.
    pub fn host_ip(&self) -> Option<IpAddr> {
        parse_ip(self.host)
    }

    /// Whether both parts of sent-by are equal, hosts without case.
    pub fn same_sent_by(&self, other: &Via<'_>) -> bool {
        same(self.host, other.host) && self.port == other.port
    }
}

/// An address as it is written in a message: IPv4, or IPv6 with or without brackets.
pub fn parse_ip(host: &[u8]) -> Option<IpAddr> {
    let bare = match host {
        [b'[', inner @ .., b']'] => inner,
        _ => host,
    };
    if let Some(address) = ipv4(bare) {
        return Some(address.into());
    }
    if bare.len() > 45 || !bare.contains(&b':') {
        return None;
    }
    std::str::from_utf8(bare).ok()?.parse().ok()
}

/// Four numbers of at most 255 without leading zeros.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0_u8; 4];
    let (mut at, mut value) = (0, None);
    for &b in text {
        value = match (b, value) {
            (b'0'..=b'9', None) => Some(b - b'0'),
            (b'0'..=b'9', Some(1..)) => Some(value?.checked_mul(10)?.checked_add(b - b'0')?),
            (b'.', Some(number)) => {
                *octets.get_mut(at)? = number;
                at += 1;
                None
            }
            _ => return None,
        };
    }
    *octets.get_mut(at)? = value?;
    (at == 3).then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_wherever_the_grammar_has_them() {
        let via = Via::parse(b"SIP  / 2.0\r\n /UDP\r\n    192.0.2.2 : 5070 ;branch = 390skdjuw").unwrap();
        assert_eq!((via.protocol, via.version, via.transport), (&b"SIP"[..], &b"2.0"[..], &b"UDP"[..]));
        assert_eq!((via.host, via.port), (&b"192.0.2.2"[..], Some(5070)));
        assert_eq!(via.branch(), Some(&b"390skdjuw"[..]));
        assert!(!via.has_cookie());
    }

    #[test]
    fn addresses_and_rport() {
        let via =
            Via::parse(b"SIP/2.0/TLS [2001:db8::9:1]:5061;rport=9;received=[::1];branch=z9hG4bK1").unwrap();
        assert_eq!(via.host_ip(), "2001:db8::9:1".parse().ok());
        assert_eq!(via.port, Some(5061));
        assert_eq!(via.rport(), Some(Some(9)));
        assert_eq!(via.received().and_then(parse_ip), "::1".parse().ok());
        assert!(via.has_cookie());
        assert_eq!(Via::parse(b"SIP/2.0/UDP h;rport").unwrap().rport(), Some(None));
        assert_eq!(Via::parse(b"SIP/2.0/UDP h").unwrap().rport(), None);
        let twice =
            Via::parse(b"SIP/2.0/UDP h;Branch=a;received;rport=1;BRANCH=b;received=c;rport=2").unwrap();
        assert_eq!((twice.branch(), twice.received()), (Some(&b"a"[..]), None), "the first counts");
        assert_eq!(twice.rport(), Some(Some(1)));
    }

    /// Against the standard library.
    #[test]
    fn addresses_are_read_as_others_read_them() {
        let texts = [
            "192.0.2.1",
            "0.0.0.0",
            "255.255.255.255",
            "256.0.0.1",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.",
            ".1.2.3",
            "01.2.3.4",
            "1.2.3.04",
            "1.2.3.0004",
            "1..3.4",
            "+1.2.3.4",
            "a.b.c.d",
            "",
            "2001:db8::1",
            "::1",
            "::",
            "::ffff:192.0.2.1",
            "1:2",
            "example.com",
        ];
        for text in texts {
            assert_eq!(parse_ip(text.as_bytes()), text.parse().ok(), "{text}");
        }
        assert_eq!(parse_ip(b"[::1]"), "::1".parse().ok());
    }

    #[test]
    fn what_is_no_via() {
        for text in
            [&b""[..], b"SIP/2.0/UDP", b"SIP/2.0/UDP ", b"SIP/2.0 UDP x", b"SIP/2.0/UDP ;branch=1", b"h"]
        {
            assert_eq!(Via::parse(text), None, "{:?}", String::from_utf8_lossy(text));
        }
    }
}
