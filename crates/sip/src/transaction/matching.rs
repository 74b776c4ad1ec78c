//! Which messages belong together (RFC 3261 §17.1.3, §17.2.3).

use super::{Hop, Transport};
use crate::{Method, Msg};

/// Whether a response from there may be meant for a request that went here: what went into a tunnel is
/// answered by that tunnel alone, whoever else may have guessed the branch.
pub(super) fn may_answer(sent_to: &Hop, from: &Hop) -> bool {
    let tunnel = |hop: &Hop| hop.transport == Transport::Tunnel;
    match (tunnel(sent_to), tunnel(from)) {
        (true, true) => sent_to.flow == from.flow,
        (sent, came) => sent == came,
    }
}

/// What makes two requests the same (RFC 3261 §17.2.3): branch, sent-by and method; of a client from before
/// RFC 3261 its whole top Via, with Request-URI, From, Call-ID and CSeq.
pub(super) fn write_key(key: &mut Vec<u8>, msg: Msg<'_>, method: Method<'_>) {
    fn part(key: &mut Vec<u8>, bytes: &[u8]) {
        key.push(0);
        key.extend_from_slice(bytes);
    }
    key.clear();
    key.extend_from_slice(method.as_bytes());
    let via = msg.top_via();
    let branch = via.as_ref().and_then(|via| via.branch()).unwrap_or_default();
    part(key, branch);
    if let Some(via) = &via {
        let start = key.len() + 1;
        part(key, via.host);
        key[start..].make_ascii_lowercase();
        part(key, &via.port.unwrap_or(0).to_be_bytes());
    }
    if !branch.starts_with(b"z9hG4bK") {
        part(key, msg.request_uri());
        part(key, msg.call_id().unwrap_or_default());
        part(key, msg.from_tag().unwrap_or_default());
        part(key, &msg.cseq().map_or(0, |cseq| cseq.number).to_be_bytes());
    }
}
