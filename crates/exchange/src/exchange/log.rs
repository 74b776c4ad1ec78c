//! One line per decision, all of a call with its Call-ID first, for who looks for a fault (`--log debug`).

use causeway_node::{Level, Outbox};
use causeway_sip::Msg;
use causeway_sip::transaction::Hop;
use std::fmt::Display;

/// A request has come and is being looked at.
pub(super) fn request(out: &mut Outbox, msg: Msg<'_>, from: &Hop) {
    note(out, msg, |text| format!("{text} from={} via={}", from.peer, from.transport.via()));
}

/// A copy of a request leaves.
pub(super) fn sent(out: &mut Outbox, msg: Msg<'_>, to: &Hop, target: &[u8]) {
    note(out, msg, |text| {
        let target = String::from_utf8_lossy(target);
        format!("{text} to={} via={} target={target}", to.peer, to.transport.via())
    });
}

/// A request or a response has come to this.
pub(super) fn outcome(out: &mut Outbox, msg: Msg<'_>, what: impl Display) {
    note(out, msg, |text| format!("{text} {what}"));
}

/// Bytes of outsiders stand in a log only as printable text.
fn note(out: &mut Outbox, msg: Msg<'_>, more: impl FnOnce(String) -> String) {
    if !out.hears(Level::Debug) {
        return;
    }
    let clean = |bytes: &[u8]| {
        bytes
            .iter()
            .take(200)
            .copied()
            .flat_map(std::ascii::escape_default)
            .map(char::from)
            .collect::<String>()
    };
    let call = clean(msg.call_id().unwrap_or_default());
    let method = msg.cseq().map_or(String::new(), |cseq| clean(cseq.method.as_bytes()));
    let cseq = msg.cseq().map_or(0, |cseq| cseq.number);
    let subject = match msg.status() {
        Some(status) => format!("status={status}"),
        None => format!("uri={}", clean(msg.request_uri())),
    };
    let text = more(format!("call={call} cseq={cseq} method={method} {subject}"));
    out.notice(Level::Debug, text);
}
