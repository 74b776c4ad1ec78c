//! The canonical spelling of a URI's parts.

use super::{Scheme, Uri};
use crate::bytes::{UNRESERVED, is};

/// What may stand unescaped in a user (RFC 3261 §25.1: unreserved and user-unreserved).
fn in_user(b: u8) -> bool {
    is(b, UNRESERVED) || matches!(b, b'&' | b'=' | b'+' | b'$' | b',' | b';' | b'?' | b'/')
}

/// The value of `%` and two hexadecimal digits at the front.
#[inline]
pub(super) fn escaped(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |b: u8| (b as char).to_digit(16);
    Some((digit(*high)? * 16 + digit(*low)?) as u8)
}

/// Appends `text` as a user with every byte escaped that may not stand there, and no other.
pub fn escape_user(text: &[u8], out: &mut Vec<u8>) {
    text.iter().for_each(|&b| push_user(b, out));
}

fn push_user(b: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if in_user(b) {
        out.push(b);
    } else {
        out.extend([b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
    }
}

impl Uri<'_> {
    /// The canonical address-of-record: `scheme:user@host`, the scheme and host in lower case, every escape
    /// in the user that need not be one undone (RFC 3261 §10.3 step 5), without password, port, parameters
    /// and headers. Two URIs that name one account give the same bytes. Other schemes stay as they are but
    /// for the case of the scheme.
    pub fn aor(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.raw.len());
        self.write_aor(&mut out);
        out
    }

    /// Appends [`Uri::aor`] to a buffer that is used again.
    pub fn write_aor(&self, out: &mut Vec<u8>) {
        match self.scheme {
            Scheme::Sip => out.extend_from_slice(b"sip"),
            Scheme::Sips => out.extend_from_slice(b"sips"),
            Scheme::Tel => out.extend_from_slice(b"tel"),
            Scheme::Other(name) => out.extend(name.iter().map(u8::to_ascii_lowercase)),
        }
        out.push(b':');
        if !self.scheme.is_sip() {
            return out.extend_from_slice(self.host);
        }
        if let Some(mut user) = self.user {
            while let [first, rest @ ..] = user {
                match escaped(user) {
                    Some(b) => {
                        push_user(b, out);
                        user = rest.get(2..).unwrap_or_default();
                    }
                    None => {
                        push_user(*first, out);
                        user = rest;
                    }
                }
            }
            out.push(b'@');
        }
        out.extend(self.host.iter().map(u8::to_ascii_lowercase));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_one_spelling() {
        let aor = |text: &[u8]| String::from_utf8(Uri::parse(text).unwrap().aor()).unwrap();
        assert_eq!(aor(b"SIP:%61lice:pw@AtLanTa.CoM:5060;transport=tcp?x=y"), "sip:alice@atlanta.com");
        assert_eq!(aor(b"sip:I%20have%20spaces@example.net"), "sip:I%20have%20spaces@example.net");
        assert_eq!(
            aor(b"sip:sips%3auser%40example.com@example.net"),
            "sip:sips%3Auser%40example.com@example.net"
        );
        assert_eq!(aor(b"sip:null-%00-null@example.com"), "sip:null-%00-null@example.com");
        assert_eq!(aor(b"sip:example.COM"), "sip:example.com");
        assert_eq!(aor(b"ISBN:2983792873"), "isbn:2983792873");
    }

    #[test]
    fn escaping_a_user() {
        let mut out = Vec::new();
        escape_user("jürg @home".as_bytes(), &mut out);
        assert_eq!(out, b"j%C3%BCrg%20%40home");
    }
}
