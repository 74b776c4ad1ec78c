//! The branch parameter: what a response is matched by (RFC 3261 §17.1.3).

use crate::{Method, Msg, Via};
use causeway_node::Ctx;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroize;

/// What an element makes the branches of the requests from that it passes on, so that they are the same again
/// after a restart: a repetition of a request that was under way is then one for the next element as well, and a
/// response that comes late proves by its Via fields that its request has passed here (as RFC 3261 §16.11 has it for
/// stateless proxies). 32 secret bytes, zeroed when dropped, not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct BranchKey(pub [u8; 32]);

impl Drop for BranchKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for BranchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BranchKey(redacted)")
    }
}

/// The branch parameter of a client transaction of ours: `z9hG4bK-cw`, 16 hexadecimal digits, and whatever
/// the element appends after a further `-` (a loop-detection hash, RFC 5393 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Branch(u64);

impl Branch {
    const PREFIX: &'static str = "z9hG4bK-cw";

    /// A new one that nobody can guess.
    pub fn new(ctx: &mut Ctx<'_>) -> Self {
        Self(ctx.rng.next_u64())
    }

    /// That of a request which came with the top Via `via`, `received` and `rport` filled in. `msg` is the request,
    /// or a response to it. An INVITE, its CANCEL and its ACK have the same.
    pub fn derive(key: &BranchKey, via: &Via<'_>, msg: Msg<'_>) -> Option<Self> {
        let cseq = msg.cseq()?;
        let method = match cseq.method {
            Method::Cancel | Method::Ack => Method::Invite,
            other => other,
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&key.0).ok()?;
        let mut part = |bytes: &[u8]| {
            mac.update(&(bytes.len() as u32).to_be_bytes());
            mac.update(bytes);
        };
        part(&via.host.to_ascii_lowercase());
        part(&via.port.unwrap_or(0).to_be_bytes());
        part(via.branch().unwrap_or_default());
        // Over UDP they say where responses go; a connection may be another by then.
        if via.transport.eq_ignore_ascii_case(b"UDP") {
            part(via.received().unwrap_or_default());
            part(&via.rport().flatten().unwrap_or(0).to_be_bytes());
        }
        part(msg.call_id()?);
        part(msg.from_tag().unwrap_or_default());
        part(&cseq.number.to_be_bytes());
        part(method.as_bytes());
        let bytes = mac.finalize().into_bytes();
        bytes.first_chunk().map(|bytes| Self(u64::from_be_bytes(*bytes)))
    }

    /// Whether a response answers a request that has passed an element with this key: its top Via is the one
    /// that was made for the Via below it. That one is returned.
    pub fn proves<'a>(key: &BranchKey, response: Msg<'a>) -> Option<Via<'a>> {
        let mut vias = response.vias();
        let own = Self::read(vias.next()??.branch()?)?;
        let next = vias.next()??;
        (Self::derive(key, &next, response) == Some(own)).then_some(next)
    }

    /// Reads a branch parameter; `None` if it is not one of ours.
    pub fn read(branch: &[u8]) -> Option<Self> {
        let rest = branch.strip_prefix(Self::PREFIX.as_bytes())?;
        let (digits, after) = rest.split_at_checked(16)?;
        if !matches!(after.first(), None | Some(b'-')) || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().map(Self)
    }
}

impl Branch {
    /// What a client transaction with this branch is found by: a CANCEL shares that of its INVITE. Branches are random, or
    /// MACs, so that the one is taken for the other as often as two branches are the same.
    pub(super) fn key(self, cancel: bool) -> u64 {
        if cancel { !self.0 } else { self.0 }
    }

    /// Appends it as it stands in a Via.
    pub(crate) fn write(self, to: &mut Vec<u8>) {
        to.extend_from_slice(Self::PREFIX.as_bytes());
        to.extend_from_slice(&crate::bytes::hex16(self.0));
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:016x}", Self::PREFIX, self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    const VIA: &str = "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKa;received=192.0.2.8;rport=4711";

    fn request(via: &str, method: &str, cseq: u32) -> Message {
        let text = format!(
            "{method} sip:a@b SIP/2.0\r\nVia: {via}\r\nFrom: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\n\
             Call-ID: x\r\nCSeq: {cseq} {method}\r\n\r\n"
        );
        Message::parse(text).unwrap()
    }

    fn derive(message: &Message) -> Branch {
        Branch::derive(&BranchKey([7; 32]), &message.msg().top_via().unwrap(), message.msg()).unwrap()
    }

    #[test]
    fn a_repetition_has_the_same_branch_and_nothing_else_has() {
        let first = derive(&request(VIA, "INVITE", 1));
        assert_eq!(first, derive(&request(VIA, "INVITE", 1)));
        assert_eq!(first, derive(&request(VIA, "CANCEL", 1)), "it shares the branch (RFC 3261 §9.1)");
        for other in [
            request(VIA, "INVITE", 2),
            request(VIA, "OPTIONS", 1),
            request(&VIA.replace("4bKa", "4bKb"), "INVITE", 1),
            request(&VIA.replace("4711", "4712"), "INVITE", 1),
            request(&VIA.replace("192.0.2.8", "192.0.2.7"), "INVITE", 1),
        ] {
            assert_ne!(first, derive(&other));
        }
        let over_tls = VIA.replace("UDP", "TLS");
        let moved = over_tls.replace("192.0.2.8", "203.0.113.1").replace("4711", "1");
        assert_eq!(
            derive(&request(&over_tls, "INVITE", 1)),
            derive(&request(&moved, "INVITE", 1)),
            "another connection of the same client"
        );
    }

    #[test]
    fn a_response_proves_that_its_request_has_passed() {
        let own = derive(&request(VIA, "OPTIONS", 1));
        let response = |branch: &str, next: &str| {
            let text = format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch={branch}\r\nVia: {next}\r\n\
                 From: <sip:c@d>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
            );
            Message::parse(text).unwrap()
        };
        let proves = |branch: &str, next: &str| {
            let message = response(branch, next);
            Branch::proves(&BranchKey([7; 32]), message.msg()).map(|via| via.raw.to_vec())
        };
        assert_eq!(proves(&own.to_string(), VIA), Some(VIA.as_bytes().to_vec()));
        assert_eq!(proves(&format!("{own}-mark"), VIA), Some(VIA.as_bytes().to_vec()));
        assert_eq!(proves(&own.to_string(), &VIA.replace("192.0.2.8", "203.0.113.66")), None, "a reflector");
        assert_eq!(proves("z9hG4bK-cw0123456789abcdef", VIA), None);
        assert_eq!(proves("z9hG4bKother", VIA), None);
    }
}
