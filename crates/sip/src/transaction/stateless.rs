//! Answers without a transaction (RFC 3261 §8.2.7), as a challenge or a refusal is best given, since they cost nothing to
//! keep.

use super::{Hop, Sink, response_path};
use crate::{Message, Msg};
use memchr::memmem::Finder;

/// Answers a request without a transaction. `answer` makes the response; `received` and `rport` of the request are filled
/// in. The To tag must be the same for each retransmission: [`StatelessTags`] are.
pub fn respond_statelessly(
    from: Hop,
    request: Msg<'_>,
    answer: impl FnOnce(Msg<'_>) -> Vec<u8>,
    sink: &mut impl Sink,
) {
    let (stamped, hop) = response_path::stamp(request, from);
    let response = match &stamped {
        Some(stamped) => answer(stamped.msg()),
        None => answer(request),
    };
    sink.send_loose(&hop, &response);
}

/// A request as a server takes it: with `received` and `rport` of its top Via filled in (RFC 3261 §18.2.1,
/// RFC 3581 §4), for who forwards it without a transaction.
pub fn stamped(request: Message, from: Hop) -> Message {
    response_path::stamp(request.msg(), from).0.unwrap_or(request)
}

/// To tags of such answers. All of one element begin alike, so that the ACK for one is known at sight: nothing is left
/// to be done about it.
#[derive(Clone, Debug)]
pub struct StatelessTags(Finder<'static>);

impl StatelessTags {
    const PARAM: &'static [u8] = b";tag=";

    /// Tags that begin so: letters and digits that nobody else's tags begin with.
    pub fn new(prefix: [u8; 8]) -> Self {
        Self(Finder::new(&[Self::PARAM, &prefix].concat()).into_owned())
    }

    /// The tag for the answer to a request. It depends on the request alone, hence is the same for its retransmissions.
    pub fn tag(&self, request: Msg<'_>) -> [u8; 16] {
        let parts = [request.top_via().and_then(|via| via.branch()), request.from_tag(), request.call_id()];
        let add = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        let hash = parts.into_iter().flatten().fold(0, |hash, part| {
            let (words, rest) = part.as_chunks::<8>();
            let hash = words.iter().fold(hash, |hash, word| add(hash, u64::from_le_bytes(*word)));
            add(hash, rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)))
        });
        let mut tag = [0; 16];
        let (prefix, digits) = tag.split_at_mut(8);
        prefix.copy_from_slice(&self.0.needle()[Self::PARAM.len()..]);
        for (at, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(hash >> (60 - 4 * at)) as usize & 15];
        }
        tag
    }

    /// Whether a message is an ACK for an answer with such a tag. Some may not be known, if somebody on the way has put
    /// blanks around the parameter.
    pub fn acknowledges(&self, message: &[u8]) -> bool {
        message.starts_with(b"ACK ") && self.0.find(message).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ack_for, response_to};

    fn invite(branch: &str, call_id: &str) -> Message {
        let text = format!(
            "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch={branch}\r\n\
             From: <sip:a@example.com>;tag=f\r\nTo: <sip:bob@example.com>\r\nCall-ID: {call_id}\r\n\
             CSeq: 1 INVITE\r\n\r\n"
        );
        Message::parse(text).unwrap()
    }

    #[test]
    fn one_request_has_one_tag_and_its_ack_is_known() {
        let tags = StatelessTags::new(*b"0123abcd");
        let request = invite("z9hG4bKa", "1");
        let tag = tags.tag(request.msg());
        assert!(tag.starts_with(b"0123abcd"));
        assert_eq!(tag, tags.tag(invite("z9hG4bKa", "1").msg()), "a retransmission");
        assert_ne!(tag, tags.tag(invite("z9hG4bKb", "1").msg()));
        assert_ne!(tag, tags.tag(invite("z9hG4bKa", "2").msg()));

        let acknowledges = |tags: &StatelessTags, tag: &[u8]| {
            let response = Message::parse(response_to(request.msg(), 503, None, Some(tag)).finish()).unwrap();
            tags.acknowledges(&ack_for(request.msg(), response.msg()).unwrap())
        };
        assert!(acknowledges(&tags, &tag));
        assert!(!acknowledges(&StatelessTags::new(*b"0123abce"), &tag));
        assert!(!acknowledges(&tags, b"another"));
        assert!(!tags.acknowledges(&response_to(request.msg(), 503, None, Some(&tag)).finish()));
    }
}
