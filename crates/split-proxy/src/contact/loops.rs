//! Loops: a request that comes back as it has left (RFC 3261 §16.3 item 4, RFC 5393 §4.2).
//!
//! Everything that a proxy looks at when it routes goes into a hash behind our branch. A request that passes
//! here a second time on its way from one tunnel to another has another Request-URI then, and is none.

use causeway_sip::transaction::Branch;
use causeway_sip::{HeaderId, Msg, Via};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What stands behind the branch of a request that left here in this form, on its way up from an agent or down
/// to one: a request may pass in both directions.
pub(super) fn mark(msg: Msg<'_>, up: bool) -> String {
    let mut hasher = DefaultHasher::new();
    up.hash(&mut hasher);
    msg.request_uri().hash(&mut hasher);
    msg.from_tag().hash(&mut hasher);
    msg.to_tag().hash(&mut hasher);
    msg.call_id().hash(&mut hasher);
    msg.cseq().map(|cseq| cseq.number).hash(&mut hasher);
    msg.values(HeaderId::Route).for_each(|route| route.hash(&mut hasher));
    format!("{:016x}", hasher.finish())
}

/// Whether a request has left here in the very form in which it now arrives.
pub(super) fn is_loop(msg: Msg<'_>, name: &str, mark: &str) -> bool {
    msg.vias()
        .flatten()
        .any(|via| is_ours(&via, name) && via.branch().is_some_and(|b| b.ends_with(mark.as_bytes())))
}

fn is_ours(via: &Via<'_>, name: &str) -> bool {
    let Some((host, port)) = name.rsplit_once(':') else { return false };
    via.host == host.as_bytes()
        && via.port.is_some_and(|p| port.parse() == Ok(p))
        && via.branch().is_some_and(|branch| Branch::read(branch).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_sip::Message;

    #[test]
    fn only_the_same_request_is_a_loop() {
        let text = |uri: &str, via: &str| {
            format!(
                "INVITE {uri} SIP/2.0\r\n{via}Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
                 To: <sip:c@d>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n"
            )
        };
        let first = Message::parse(text("sip:c@d", "")).unwrap();
        let left = mark(first.msg(), true);
        let via = format!("Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-cw0123456789abcdef-{left}\r\n");
        for (uri, name, expected) in [
            ("sip:c@d", "192.0.2.1:5060", true),
            ("sip:token@192.0.2.1", "192.0.2.1:5060", false),
            ("sip:c@d", "192.0.2.2:5060", false),
        ] {
            let again = Message::parse(text(uri, &via)).unwrap();
            assert_eq!(is_loop(again.msg(), name, &mark(again.msg(), true)), expected, "{uri} {name}");
        }
    }
}
