//! Equality of URIs (RFC 3261 §19.1.4).

use super::canonical::escaped;
use super::{Scheme, Uri};
use crate::bytes::same;

/// One character of a URI: an escape of a reserved character is not that character.
#[derive(PartialEq, Eq)]
enum Unit {
    Plain(u8),
    Escaped(u8),
}

/// Takes a text apart so that `%61` and `a` are one, `%3B` and `;` are two.
struct Units<'a>(&'a [u8]);

impl Iterator for Units<'_> {
    type Item = Unit;

    fn next(&mut self) -> Option<Unit> {
        if let Some(b) = escaped(self.0) {
            self.0 = self.0.get(3..).unwrap_or_default();
            let reserved = b";/?:@&=+$,".contains(&b);
            return Some(if reserved { Unit::Escaped(b) } else { Unit::Plain(b) });
        }
        let (&b, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(Unit::Plain(b))
    }
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    a == b || Units(a).eq(Units(b))
}

fn equal_any_case(a: &[u8], b: &[u8]) -> bool {
    let lower = |unit| match unit {
        Unit::Plain(b) => Unit::Plain(b.to_ascii_lowercase()),
        escaped => escaped,
    };
    same(a, b) || Units(a).map(lower).eq(Units(b).map(lower))
}

/// Parameters that make a difference even when only one URI has them. The RFC's rule names the first four;
/// its own examples add the transport.
const DECISIVE: [&[u8]; 5] = [b"user", b"ttl", b"method", b"maddr", b"transport"];

/// More parameters or headers than any honest URI has.
const MAX_PARTS: usize = 64;

impl Uri<'_> {
    /// Every parameter of this one is matched by one of the other, or may be missing there.
    fn same_params(&self, other: &Uri<'_>) -> bool {
        let (mut ours, theirs) = (self.params, other.params);
        ours.all(|(name, value)| {
            let mut named = false;
            let matched = { theirs }.any(|(found, theirs)| {
                let same_name = equal_any_case(found, name);
                named |= same_name;
                same_name && equal_any_case(value.unwrap_or_default(), theirs.unwrap_or_default())
            });
            matched || (!named && !DECISIVE.iter().any(|decisive| equal_any_case(decisive, name)))
        })
    }

    /// Whether comparing every part with every other stays cheap, whoever wrote them.
    fn is_short(&self) -> bool {
        self.params.count() <= MAX_PARTS && self.header_pairs().count() <= MAX_PARTS
    }

    /// Every header of this one is among those of the other: headers are never ignored.
    fn headers_within(&self, other: &Uri<'_>) -> bool {
        self.header_pairs().all(|(name, value)| {
            other.header_pairs().any(|(found, theirs)| equal_any_case(name, found) && equal(value, theirs))
        })
    }
}

/// Equality as RFC 3261 §19.1.4 defines it for SIP and SIPS; of other schemes, equal bytes after the scheme.
/// URIs of more than 64 parameters or headers are equal only byte by byte. Equality is not transitive (a parameter that only one URI has is ignored), so a `Uri` is no key of a map: use
/// [`Uri::aor`].
impl PartialEq<Uri<'_>> for Uri<'_> {
    fn eq(&self, other: &Uri<'_>) -> bool {
        if self.raw == other.raw {
            return true;
        }
        match (self.scheme, other.scheme) {
            (Scheme::Other(a), Scheme::Other(b)) if !same(a, b) => return false,
            (Scheme::Other(_), Scheme::Other(_)) | (Scheme::Tel, Scheme::Tel) => {
                return self.host == other.host;
            }
            (a, b) if a != b => return false,
            _ => {}
        }
        let part = |a: Option<&[u8]>, b: Option<&[u8]>| match (a, b) {
            (Some(a), Some(b)) => equal(a, b),
            (None, None) => true,
            _ => false,
        };
        part(self.user, other.user)
            && part(self.password, other.password)
            && same(self.host, other.host)
            && self.port == other.port
            && self.is_short()
            && other.is_short()
            && self.same_params(other)
            && other.same_params(self)
            && self.headers_within(other)
            && other.headers_within(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(a: &str, b: &str) -> bool {
        let (a, b) = (Uri::parse(a.as_bytes()).unwrap(), Uri::parse(b.as_bytes()).unwrap());
        let forth = a == b;
        assert_eq!(forth, b == a, "not symmetric: {a:?} {b:?}");
        forth
    }

    /// The lists of RFC 3261 §19.1.4.
    #[test]
    fn examples_of_the_rfc() {
        for (a, b) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(equal(a, b), "{a} = {b}");
        }
        for (a, b) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ] {
            assert!(!equal(a, b), "{a} != {b}");
        }
    }

    /// RFC 4475 §3.1.1.4: a NUL more is another user; a reserved character is not its escape.
    #[test]
    fn escapes() {
        assert!(!equal("sip:%00@host5.example.com", "sip:%00%00@host5.example.com"));
        assert!(!equal("sip:a%3Bb@h", "sip:a;b@h"));
        assert!(equal("sip:a%3Bb@h", "sip:a%3bb@h"));
        assert!(!equal("sip:a@h", "sips:a@h"));
        assert!(equal("tel:+1", "TEL:+1"));
        assert!(equal("sip:h;x=1;x=2", "sip:h;x=2;x=1"));
        assert!(!equal(&format!("sip:h{}", ";x".repeat(65)), &format!("sip:h{}", ";X".repeat(65))));
    }
}
