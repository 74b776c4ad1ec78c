//! From bytes to messages, and which of them are valid.

use super::Hub;
use crate::transaction::{Hop, Transport};
use crate::{FrameError, Framed, HeaderId, Message, Msg, response_to, validate};
use causeway_node::{Flow, Outbox};
use std::net::SocketAddr;

impl Hub {
    pub(super) fn datagram(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        out: &mut Outbox,
        arrived: &mut Vec<(Hop, Message)>,
    ) {
        // Keep-alives of every fashion: CRLFCRLF, a single CRLF, a NUL (RFC 5626 §4.4, and habit).
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0 | b' ')) {
            return;
        }
        let hop = Hop { flow: self.udp(), peer: from, transport: Transport::Udp };
        self.message(hop, bytes, out, arrived);
    }

    /// A whole message, if it is one; says whether it was.
    fn message(
        &mut self,
        hop: Hop,
        bytes: &[u8],
        out: &mut Outbox,
        arrived: &mut Vec<(Hop, Message)>,
    ) -> bool {
        if self.tags.as_ref().is_some_and(|tags| tags.acknowledges(bytes)) {
            self.note(&hop, bytes, out);
            return true;
        }
        let Ok(message) = Message::parse_in(&mut self.spare, bytes) else {
            self.refused.garbage += 1;
            return false;
        };
        self.note(&hop, message.msg().bytes(), out);
        arrived.push((hop, message));
        true
    }

    /// Takes back a message that has been dealt with: if nobody has kept a copy, the next one needs no new buffers.
    pub fn recycle(&mut self, message: Message) {
        if message.is_small() {
            self.spare = Some(message);
        }
    }

    fn note(&mut self, hop: &Hop, message: &[u8], out: &mut Outbox) {
        self.ledger.entry(hop.transport).received += 1;
        if self.capture.is_some() {
            let local = self.table.get(hop.flow).map_or(self.local, |connection| connection.local);
            self.copy(hop.peer, local, hop.transport, message, out);
        }
    }

    /// Whether a message that was taken is valid; a request that is not is answered.
    pub fn judge(&mut self, from: &Hop, message: &Message, out: &mut Outbox) -> bool {
        let Err(verdict) = validate::verdict_as(message.msg(), self.role) else { return true };
        self.refused.invalid += 1;
        if let Some(answer) = refusal(message.msg(), verdict.status, verdict.reason) {
            self.send_on(out, from, &answer);
        }
        false
    }

    pub(super) fn stream(
        &mut self,
        flow: Flow,
        bytes: &[u8],
        out: &mut Outbox,
        arrived: &mut Vec<(Hop, Message)>,
    ) {
        // Out of the table while its framer lends messages.
        let Some(mut framer) = self.table.lend_framer(flow, self.now) else { return };
        framer.push(bytes);
        let Some((peer, transport)) = self.table.get(flow).map(|c| (c.peer, c.transport)) else { return };
        let hop = Hop { flow, peer, transport };
        let broken = loop {
            match framer.next() {
                Ok(None) => break None,
                Ok(Some(Framed::Ping)) => out.stream(flow, b"\r\n"),
                Ok(Some(Framed::Pong)) => {}
                Ok(Some(Framed::Message(bytes))) => {
                    if self.message(hop, bytes, out, arrived) {
                        self.table.spoke(flow);
                    }
                }
                Err(error) => break Some(error),
            }
        };
        self.table.return_framer(flow, framer);
        if let Some(error) = broken {
            self.break_off(hop, &error, out);
        }
    }

    /// Where one message ends is where the next begins: after a framing error nothing on the stream can be
    /// trusted (RFC 3261 §18.3), so it is answered where that is possible, and closed.
    fn break_off(&mut self, hop: Hop, error: &FrameError, out: &mut Outbox) {
        self.refused.broken_streams += 1;
        let answer = Message::parse(error.head.as_slice())
            .ok()
            .and_then(|message| refusal(message.msg(), error.kind.status(), "Bad Framing"));
        if let Some(answer) = answer {
            self.send_on(out, &hop, &answer);
        }
        self.table.close(hop.flow, out);
    }
}

/// The answer to a request that cannot be accepted; none to an ACK, to a response, or where the header
/// fields are missing that an answer is made of.
fn refusal(msg: Msg<'_>, status: u16, reason: &str) -> Option<Vec<u8>> {
    let answerable = msg.is_request()
        && msg.method() != crate::Method::Ack
        && msg.top_via().is_some()
        && msg.call_id().is_some()
        && msg.header(HeaderId::CSeq).is_some();
    answerable.then(|| response_to(msg, status, Some(reason), Some(b"cw-refused")).finish())
}
