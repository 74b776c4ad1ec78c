//! Forwarding: a list of cuts and inserts, applied in one pass. What no edit names stays as it is, byte by
//! byte.

use super::index::{Entry, Span};
use super::{Msg, Values, Via};
use crate::bytes::{push_ip, push_number, same};
use crate::headers::HeaderId;
use std::net::SocketAddr;

/// One edit: cut `at..end` of the message and put `text` of the arena there.
#[derive(Clone, Copy, Debug)]
struct Op {
    at: u32,
    end: u32,
    /// Edits of one place are applied in the order in which they were made.
    turn: u32,
    text: Span,
}

/// Edits of one message, to be applied in one pass into a buffer. Both are meant to be used again: after the
/// first messages nothing is allocated.
///
/// Every method reads the message as it was received; edits do not see one another. Each place should be
/// edited once. Inserted lines end with CRLF.
///
/// ```
/// use causeway_sip::{Edit, HeaderId, Message};
/// let request = Message::parse(*b"OPTIONS sip:a@b SIP/2.0\r\nv : SIP/2.0/UDP one;branch=z9hG4bK1\r\n\
///     Max-Forwards: 70\r\n\r\n").unwrap();
/// let (mut edit, mut out) = (Edit::new(), Vec::new());
/// edit.push_via(request.msg(), &[b"SIP/2.0/UDP two;branch=", b"z9hG4bK2"]);
/// edit.set_max_forwards(request.msg(), 69);
/// edit.apply(request.msg(), &mut out);
/// assert_eq!(out, *b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP two;branch=z9hG4bK2\r\n\
///     v : SIP/2.0/UDP one;branch=z9hG4bK1\r\nMax-Forwards: 69\r\n\r\n");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Edit {
    ops: Vec<Op>,
    arena: Vec<u8>,
    /// The ops are already in order of place.
    sorted: bool,
}

impl Edit {
    /// No edits.
    pub fn new() -> Edit {
        Edit { ops: Vec::with_capacity(16), arena: Vec::with_capacity(512), sorted: true }
    }

    /// Forgets all edits, keeps the memory.
    #[inline]
    pub fn clear(&mut self) {
        self.ops.clear();
        self.arena.clear();
        self.sorted = true;
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Cuts `at..end` and puts what `write` appends there.
    #[inline]
    fn op(&mut self, at: usize, end: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.arena.len();
        write(&mut self.arena);
        let turn = self.ops.len() as u32;
        self.sorted &= self.ops.last().is_none_or(|last| last.at as usize <= at);
        self.ops.push(Op { at: at as u32, end: end as u32, turn, text: Span::new(from, self.arena.len()) });
    }

    #[inline]
    fn span(&mut self, span: Span, write: impl FnOnce(&mut Vec<u8>)) {
        self.op(span.start as usize, span.end as usize, write);
    }

    /// Replaces a slice of the message: a header value, one of its parameters, a part of the start line.
    /// Does nothing when `part` is no slice of the message's own bytes.
    pub fn replace(&mut self, msg: Msg<'_>, part: &[u8], text: &[&[u8]]) {
        self.rewrite(msg, part, |out| concat(out, text));
    }

    fn rewrite(&mut self, msg: Msg<'_>, part: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let base = msg.buffer().as_ptr() as usize;
        let Some(at) = (part.as_ptr() as usize).checked_sub(base) else { return };
        if at + part.len() <= msg.buffer().len() {
            self.op(at, at + part.len(), write);
        }
    }

    /// Inserts text right after a slice of the message, for instance a parameter after a value.
    pub fn insert_after(&mut self, msg: Msg<'_>, part: &[u8], text: &[&[u8]]) {
        let (_, end) = part.split_at(part.len());
        self.replace(msg, end, text);
    }

    /// Replaces the Request-URI.
    pub fn set_request_uri(&mut self, msg: Msg<'_>, uri: &[&[u8]]) {
        if msg.is_request() {
            self.span(msg.index().start.middle, |out| concat(out, uri));
        }
    }

    /// Puts a Via above all others. The value is given in pieces.
    #[inline]
    pub fn push_via(&mut self, msg: Msg<'_>, value: &[&[u8]]) {
        self.insert_above(msg, HeaderId::Via, b"Via", value);
    }

    /// Puts a header line above the first one with this id; where there is none, below the Vias. So a
    /// Record-Route or Path comes before those of earlier hops (§16.6 step 4).
    pub fn insert_above(&mut self, msg: Msg<'_>, id: HeaderId, name: &[u8], value: &[&[u8]]) {
        let at = match msg.index().first_of(id) {
            Some(entry) if id != HeaderId::Other => entry.line.start as usize,
            _ if id == HeaderId::Via => first_line(msg),
            _ => below_vias(msg),
        };
        self.op(at, at, |out| line(out, name, value));
    }

    /// Adds a header line below all others.
    pub fn append(&mut self, msg: Msg<'_>, name: &[u8], value: &[&[u8]]) {
        let at = msg.index().headers_end as usize;
        self.op(at, at, |out| line(out, name, value));
    }

    /// Replaces the value of the first line with this id, and removes any further ones; adds a line below the
    /// Vias when there is none.
    pub fn set(&mut self, msg: Msg<'_>, id: HeaderId, value: &[&[u8]]) {
        let mut entries = msg.index().entries_of(id);
        match entries.next() {
            Some(first) => self.value(*first, value),
            None => self.insert_above(msg, id, id.name().as_bytes(), value),
        }
        for entry in entries {
            self.span(entry.line, |_| {});
        }
    }

    /// A value that was empty may follow its colon directly.
    fn value(&mut self, entry: Entry, value: &[&[u8]]) {
        self.span(entry.value, |out| concat(out, value));
    }

    /// Removes all lines with this id.
    pub fn remove(&mut self, msg: Msg<'_>, id: HeaderId) {
        for entry in msg.index().entries_of(id) {
            self.span(entry.line, |_| {});
        }
    }

    /// Removes all lines of this name, in any case.
    pub fn remove_named(&mut self, msg: Msg<'_>, name: &[u8]) {
        for entry in &msg.index().entries {
            if same(name, msg.view(entry).name) {
                self.span(entry.line, |_| {});
            }
        }
    }

    /// Removes the first `count` values of a header that is a list, such as one's own Via of a response or
    /// one's own Route of a request: in their own lines, inside a comma list, or in folded lines.
    pub fn remove_top(&mut self, msg: Msg<'_>, id: HeaderId, count: usize) {
        let mut left = count;
        self.remove_values(msg, id, |_| {
            let remove = left > 0;
            left = left.saturating_sub(1);
            remove
        });
    }

    /// Removes those values of a list that the test picks; a line of which nothing is left goes too.
    pub fn remove_values(&mut self, msg: Msg<'_>, id: HeaderId, mut test: impl FnMut(&[u8]) -> bool) {
        for entry in msg.index().entries_of(id) {
            let value = entry.value.of(msg.buffer());
            let first_op = self.ops.len();
            // What is cut runs from a removed value to the next kept one, or from the last kept one to the end.
            let mut cut_from: Option<u32> = None;
            let mut kept_end: Option<u32> = None;
            for part in Values::new(value) {
                let span = entry.value.locate(msg.buffer(), part);
                if test(part) {
                    cut_from.get_or_insert(span.start);
                    continue;
                }
                if let Some(start) = cut_from.take() {
                    self.op(start as usize, span.start as usize, |_| {});
                }
                kept_end = Some(span.end);
            }
            match (cut_from, kept_end) {
                (None, _) => {}
                (Some(_), Some(end)) => self.op(end as usize, entry.value.end as usize, |_| {}),
                (Some(_), None) => {
                    self.ops.truncate(first_op);
                    self.span(entry.line, |_| {});
                }
            }
        }
    }

    /// Sets Max-Forwards; adds it below the Vias when it is missing (§16.6 step 3).
    #[inline]
    pub fn set_max_forwards(&mut self, msg: Msg<'_>, value: u32) {
        match msg.index().first_of(HeaderId::MaxForwards) {
            Some(entry) => self.span(entry.value, |out| push_number(out, value.into())),
            None => {
                let at = below_vias(msg);
                self.op(at, at, |out| {
                    out.extend_from_slice(b"Max-Forwards: ");
                    push_number(out, value.into());
                    out.extend_from_slice(b"\r\n");
                });
            }
        }
    }

    /// Notes in the top Via where the request came from: `received` when it differs from the host of sent-by
    /// or `rport` was asked for (§18.2.1, RFC 3581 §4), `rport` filled in. An older `received` is replaced.
    pub fn mark_received(&mut self, msg: Msg<'_>, from: SocketAddr) {
        let Some(via) = msg.top_via() else { return };
        let rport = via.rport_param();
        if let Some(param) = rport {
            let port = u64::from(from.port());
            match param.value {
                Some(old) => self.rewrite(msg, old, |out| push_number(out, port)),
                None => self.rewrite(msg, param.name.split_at(param.name.len()).1, |out| {
                    out.push(b'=');
                    push_number(out, port);
                }),
            }
        }
        match via.received() {
            Some(old) => self.rewrite(msg, old, |out| push_ip(out, from.ip())),
            None if rport.is_some() || via.host_ip() != Some(from.ip()) => {
                self.rewrite(msg, via.raw.split_at(via.raw.len()).1, |out| {
                    out.extend_from_slice(b";received=");
                    push_ip(out, from.ip());
                });
            }
            None => {}
        }
    }

    /// Adds a tag to To where there is none.
    pub fn add_to_tag(&mut self, msg: Msg<'_>, tag: &[u8]) {
        if msg.to().is_some_and(|to| to.tag().is_none())
            && let Some(value) = msg.header(HeaderId::To)
        {
            self.insert_after(msg, value, &[b";tag=", tag]);
        }
    }

    /// Replaces the body, and sets Content-Length or adds it.
    pub fn set_body(&mut self, msg: Msg<'_>, body: &[u8]) {
        let index = msg.index();
        match index.first_of(HeaderId::ContentLength) {
            Some(entry) => self.span(entry.value, |out| push_number(out, body.len() as u64)),
            None => self.declare_length(msg, body.len()),
        }
        self.span(index.body, |out| {
            if !index.terminated {
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(body);
        });
    }

    /// Adds Content-Length where there is none. Not together with [`Edit::set_body`], which does it itself.
    pub fn add_content_length(&mut self, msg: Msg<'_>) {
        if !msg.has(HeaderId::ContentLength) {
            self.declare_length(msg, msg.body().len());
        }
    }

    fn declare_length(&mut self, msg: Msg<'_>, length: usize) {
        let at = msg.index().headers_end as usize;
        self.op(at, at, |out| {
            out.extend_from_slice(b"Content-Length: ");
            push_number(out, length as u64);
            out.extend_from_slice(b"\r\n");
        });
    }

    /// Appends the edited message to `out`. Bytes after the end of the message are left out; so are CRLFs
    /// before its start line.
    #[inline]
    pub fn apply(&mut self, msg: Msg<'_>, out: &mut Vec<u8>) {
        if !self.sorted {
            self.ops.sort_unstable_by_key(|op| (op.at, op.turn));
            self.sorted = true;
        }
        let bytes = msg.bytes();
        let mut at = msg.index().start.line.start as usize;
        out.reserve(bytes.len() + self.arena.len());
        for op in &self.ops {
            if let Some(kept) = bytes.get(at..op.at as usize) {
                out.extend_from_slice(kept);
            }
            out.extend_from_slice(op.text.of(&self.arena));
            at = at.max(op.end as usize);
        }
        out.extend_from_slice(bytes.get(at..).unwrap_or_default());
    }
}

fn concat(out: &mut Vec<u8>, pieces: &[&[u8]]) {
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[&[u8]]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    concat(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Where the first header line begins, or would. Lines that continue nothing are passed over: what is put
/// above them they would continue.
fn first_line(msg: Msg<'_>) -> usize {
    let index = msg.index();
    let continues = |entry: &&Entry| matches!(entry.line.of(msg.buffer()).first(), Some(b' ' | b'\t'));
    let first = index.entries.iter().find(|entry| !continues(entry));
    first.map_or(index.headers_end, |entry| entry.line.start) as usize
}

/// After the last Via line.
fn below_vias(msg: Msg<'_>) -> usize {
    match msg.index().entries_of(HeaderId::Via).last() {
        Some(entry) => entry.line.end as usize,
        None => first_line(msg),
    }
}

impl Via<'_> {
    /// Whether this is the hop with that sent-by (host and port as they are written in its Via) and branch.
    pub fn is(&self, sent_by: &[u8], branch: &[u8]) -> bool {
        let ours = crate::uri::split_port(sent_by);
        ours.is_some_and(|(host, port)| same(host, self.host) && port == self.port)
            && self.branch() == Some(branch)
    }
}
