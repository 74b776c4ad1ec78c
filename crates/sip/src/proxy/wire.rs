//! What a proxy writes: Via, the forwarded request, refusals, merged challenges.

use super::Identity;
use super::context::{BranchState, Context};
use crate::transaction::{Branch, Transport};
use crate::{Edit, HeaderId, Message, Msg, response_to};

/// What every proxy must refuse (§16.3): no hops left, or an extension that the proxy must know.
pub(super) fn refusal(msg: Msg<'_>) -> Option<(u16, Vec<u8>)> {
    if msg.max_forwards() == Some(0) {
        return Some((483, response_to(msg, 483, None, Some(b"cw-proxy")).finish()));
    }
    let required = msg.header(HeaderId::ProxyRequire).filter(|value| !value.is_empty())?;
    let response = response_to(msg, 420, None, Some(b"cw-proxy"));
    Some((420, response.header("Unsupported", required).finish()))
}

pub(super) fn write_via(via: &mut Vec<u8>, transport: Transport, identity: Identity<'_>, branch: Branch) {
    via.clear();
    via.extend_from_slice(b"SIP/2.0/");
    via.extend_from_slice(transport.via().as_bytes());
    via.push(b' ');
    via.extend_from_slice(identity.sent_by);
    via.extend_from_slice(b";branch=");
    branch.write(via);
    if !identity.branch_suffix.is_empty() {
        via.push(b'-');
        via.extend_from_slice(identity.branch_suffix);
    }
    if transport == Transport::Udp {
        via.extend_from_slice(b";rport");
    }
}

pub(super) fn write_forwarded(to: &mut Vec<u8>, request: &Message, via: &[u8], edit: &mut Edit) {
    let msg = request.msg();
    let hops = msg.max_forwards().map_or(70, |hops| hops.saturating_sub(1));
    edit.push_via(msg, &[via]);
    edit.set_max_forwards(msg, hops);
    to.clear();
    edit.apply(msg, to);
}

/// Adds Content-Length where `original` had none and the next hop is a stream (§16.6 item 9, §20.14): over UDP
/// it may be missing, and stock phones leave it out.
pub(super) fn declare_length(message: &mut Vec<u8>, original: Msg<'_>, to: Transport) {
    if !to.reliable() || original.index().first_of(HeaderId::ContentLength).is_some() {
        return;
    }
    let Ok(parsed) = Message::parse(message.as_slice()) else { return };
    let mut edit = Edit::new();
    edit.add_content_length(parsed.msg());
    message.clear();
    edit.apply(parsed.msg(), message);
}

/// The best response, with the challenges of all branches if it is a challenge (§16.7 item 7).
pub(super) fn with_all_challenges(best: Message, context: &Context, chosen: usize) -> Message {
    if !matches!(best.msg().status(), Some(401 | 407)) {
        return best;
    }
    let mut edit = Edit::new();
    for (index, branch) in context.branches.iter().enumerate() {
        let BranchState::Final(Some(other), 401 | 407) = &branch.state else { continue };
        if index == chosen {
            continue;
        }
        for id in [HeaderId::WwwAuthenticate, HeaderId::ProxyAuthenticate] {
            for value in other.msg().all(id) {
                edit.append(best.msg(), id.name().as_bytes(), &[value]);
            }
        }
    }
    let mut bytes = Vec::new();
    edit.apply(best.msg(), &mut bytes);
    Message::parse(bytes).unwrap_or(best)
}
