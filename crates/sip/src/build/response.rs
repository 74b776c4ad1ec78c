//! Responses.

use super::{finish, header};
use crate::headers::HeaderId;
use crate::message::Msg;
use crate::status::reason_phrase;

/// Builds a response; see [`response_to`].
#[derive(Clone, Debug)]
pub struct ResponseBuilder {
    out: Vec<u8>,
    record_routes: Vec<u8>,
    body: Option<(Vec<u8>, Vec<u8>)>,
}

/// Begins the response to a request (RFC 3261 §8.2.6): Via, From, To, Call-ID and CSeq are copied as they
/// stand, and Timestamp into a 100 (§8.2.6.1). The tag is added to To where the request has none; give `None`
/// for a 100, and for a stateless answer a tag that is the same for each retransmission. Without a reason
/// the usual phrase is taken. What the request lacks is left out, so that a broken one can be refused.
pub fn response_to(
    request: Msg<'_>,
    status: u16,
    reason: Option<&str>,
    to_tag: Option<&[u8]>,
) -> ResponseBuilder {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"SIP/2.0 ");
    crate::bytes::push_number(&mut out, status.into());
    out.push(b' ');
    out.extend_from_slice(reason.unwrap_or_else(|| reason_phrase(status)).as_bytes());
    out.extend_from_slice(b"\r\n");
    copy(&mut out, request, HeaderId::Via);
    copy_first(&mut out, request, HeaderId::From);
    match (request.to(), to_tag) {
        (Some(to), Some(tag)) if to.tag().is_none() => {
            let value = request.header(HeaderId::To).unwrap_or_default();
            out.extend_from_slice(b"To: ");
            out.extend_from_slice(value);
            out.extend_from_slice(b";tag=");
            out.extend_from_slice(tag);
            out.extend_from_slice(b"\r\n");
        }
        _ => copy_first(&mut out, request, HeaderId::To),
    }
    copy_first(&mut out, request, HeaderId::CallId);
    copy_first(&mut out, request, HeaderId::CSeq);
    if status == 100 {
        copy_first(&mut out, request, HeaderId::Timestamp);
    }
    let mut record_routes = Vec::new();
    copy(&mut record_routes, request, HeaderId::RecordRoute);
    ResponseBuilder { out, record_routes, body: None }
}

/// Copies all lines with this id, folds and spelling as they are.
fn copy(out: &mut Vec<u8>, request: Msg<'_>, id: HeaderId) {
    for entry in request.index().entries_of(id) {
        push_line(out, entry.line.of(request.bytes()));
    }
}

/// Copies the first line only: a second one would make the answer as broken as the request.
fn copy_first(out: &mut Vec<u8>, request: Msg<'_>, id: HeaderId) {
    if let Some(entry) = request.index().first_of(id) {
        push_line(out, entry.line.of(request.bytes()));
    }
}

/// A line as it stands; the last one of a cut-off message may lack its line end.
fn push_line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(line);
    if !line.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
}

impl ResponseBuilder {
    /// Copies Record-Route, as every response that makes a dialog must have it (§12.1.1).
    pub fn record_routes(mut self) -> ResponseBuilder {
        let lines = std::mem::take(&mut self.record_routes);
        self.out.extend_from_slice(&lines);
        self
    }

    /// Adds a header line. Line ends in the value become blanks.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> ResponseBuilder {
        header(&mut self.out, name.as_ref(), value.as_ref());
        self
    }

    /// Adds one line for each value.
    pub fn headers<V: AsRef<[u8]>>(self, name: &str, values: impl IntoIterator<Item = V>) -> ResponseBuilder {
        values.into_iter().fold(self, |builder, value| builder.header(name, value))
    }

    /// Sets the body and its Content-Type.
    pub fn body(mut self, kind: impl Into<Vec<u8>>, body: impl Into<Vec<u8>>) -> ResponseBuilder {
        self.body = Some((kind.into(), body.into()));
        self
    }

    /// The whole message.
    pub fn finish(self) -> Vec<u8> {
        finish(self.out, &self.body, 1)
    }

    /// The whole message, its length a multiple of `step`, for which blanks stand before the value of Content-Length (RFC
    /// 3261 §7.3.1): datagrams of one length for one peer can be sent together.
    pub fn finish_even(self, step: usize) -> Vec<u8> {
        finish(self.out, &self.body, step.max(1))
    }
}
