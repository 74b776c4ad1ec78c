//! Messages out of a byte stream: TCP, TLS and tunnel (RFC 3261 §18.3, §20.14).

use crate::bytes::{LWS, head, is, number, same, tail, trim};
use crate::message::{MAX_BODY, MAX_HEAD};
use memchr::memchr;

/// What a stream holds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed<'a> {
    /// One whole message.
    Message(&'a [u8]),
    /// A second CRLF in a row between messages: with the one before, the keep-alive that a client sends. The
    /// server answers with one CRLF (RFC 5626 §4.4.1).
    Ping,
    /// A CRLF between messages: a server's answer to a keep-alive, or the first half of a client's. Both are
    /// surfaced as they come, so that what is reported does not depend on how the stream was cut.
    Pong,
}

/// Why a stream cannot be cut any further. Where the next message begins is unknown from here on: after
/// answering, if there is a head, the connection has to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct FrameError {
    /// What is wrong.
    pub kind: FrameErrorKind,
    /// The header section with its empty line, if it was complete; a request in it can be answered with
    /// [`FrameErrorKind::status`].
    pub head: Vec<u8>,
}

/// What is wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameErrorKind {
    /// The header section exceeds [`MAX_HEAD`].
    #[error("the header section is longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    /// The body exceeds the limit, [`MAX_BODY`] unless set otherwise.
    #[error("the body is longer than is accepted here")]
    BodyTooLong,
    /// No Content-Length, which a stream cannot do without (§20.14).
    #[error("Content-Length is missing on a stream transport")]
    NoContentLength,
    /// A Content-Length that is no plain number, for instance a negative one.
    #[error("Content-Length is not a number")]
    BadContentLength,
    /// More than one Content-Length line, be their values equal or not.
    #[error("more than one Content-Length")]
    SeveralContentLengths,
    /// Bytes that begin no message.
    #[error("the stream does not carry SIP")]
    NotSip,
}

impl FrameErrorKind {
    /// The status that a server answers with.
    pub fn status(self) -> u16 {
        match self {
            FrameErrorKind::HeadTooLong | FrameErrorKind::BodyTooLong => 513,
            _ => 400,
        }
    }
}

/// Cuts a byte stream into messages.
///
/// Content-Length is understood in every spelling that the grammar allows: in full or as `l`, in any case,
/// with blanks before the colon, folded. Anything that two implementations could read differently is refused
/// rather than guessed at, because a wrong guess makes a body into the next message: a missing, repeated
/// (even if equal), negative, signed, huge or otherwise non-numeric one. Lines may end with LF alone, as for
/// [`crate::Index`].
///
/// Bounds: a head of [`MAX_HEAD`], a body of the limit, plus what one [`Framer::push`] brought; take all
/// messages out ([`Framer::next`] until `None`) after each push. Every byte is looked at once, however the
/// stream is cut.
///
/// ```
/// use causeway_sip::{Framed, Framer};
/// let mut framer = Framer::new();
/// framer.push(b"\r\nOPTIONS sip:a SIP/2.0\r\nContent-Length : 2\r\n\r\nhiBYE");
/// assert_eq!(framer.next().unwrap(), Some(Framed::Pong));
/// let message = &b"OPTIONS sip:a SIP/2.0\r\nContent-Length : 2\r\n\r\nhi"[..];
/// assert_eq!(framer.next().unwrap(), Some(Framed::Message(message)));
/// assert_eq!(framer.next().unwrap(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Where the current message begins.
    start: usize,
    /// How far it has been looked at.
    scanned: usize,
    /// Where the line at `scanned` begins.
    line: usize,
    /// Where its Content-Length line begins.
    length_line: Option<usize>,
    several: bool,
    /// Known once the head is complete: where body and message end.
    ends: Option<(usize, usize)>,
    /// The last thing was a single CRLF.
    after_crlf: bool,
    limit: usize,
    failed: Option<FrameErrorKind>,
}

impl Default for Framer {
    fn default() -> Framer {
        Framer::with_limit(MAX_BODY)
    }
}

impl Framer {
    /// A framer at the beginning of a stream.
    pub fn new() -> Framer {
        Framer::default()
    }

    /// One that accepts bodies of `limit` bytes at most (and of [`MAX_BODY`] at most).
    pub fn with_limit(limit: usize) -> Framer {
        Framer {
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            line: 0,
            length_line: None,
            several: false,
            ends: None,
            after_crlf: false,
            limit: limit.min(MAX_BODY),
            failed: None,
        }
    }

    /// Takes the next bytes of the stream. After an error they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        // Moving the rest to the front costs no more than what has been consumed since the last time.
        if self.start > 0 && self.start >= self.buffer.len() - self.start {
            self.buffer.drain(..self.start);
            // One long message shall not cost its memory for the rest of the connection.
            if self.buffer.is_empty() && self.buffer.capacity() > MAX_HEAD {
                self.buffer = Vec::new();
            }
            self.scanned -= self.start;
            self.line -= self.start;
            self.length_line = self.length_line.map(|at| at - self.start);
            self.ends = self.ends.map(|(body, end)| (body - self.start, end - self.start));
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes wait for the rest of their message.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The next thing that is complete; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`], once and for all: every later call returns it again, without the head.
    #[allow(clippy::should_implement_trait, reason = "it lends from the framer, which an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Framed<'_>>, FrameError> {
        if let Some(kind) = self.failed {
            return Err(FrameError { kind, head: Vec::new() });
        }
        match self.advance() {
            Ok(Some(Cut::Message(from, to))) => {
                Ok(Some(Framed::Message(self.buffer.get(from..to).unwrap_or_default())))
            }
            Ok(Some(Cut::Crlf(second))) => Ok(Some(if second { Framed::Ping } else { Framed::Pong })),
            Ok(None) => Ok(None),
            Err(kind) => {
                let head = match self.ends {
                    Some((body, _)) => self.buffer.get(self.start..body).unwrap_or_default().to_vec(),
                    None => Vec::new(),
                };
                self.failed = Some(kind);
                self.buffer = Vec::new();
                self.start = 0;
                Err(FrameError { kind, head })
            }
        }
    }

    fn advance(&mut self) -> Result<Option<Cut>, FrameErrorKind> {
        if self.scanned == self.start {
            if let Some(crlf) = self.between()? {
                return Ok(Some(crlf));
            }
            if self.start == self.buffer.len() || self.buffer.get(self.start) == Some(&b'\r') {
                return Ok(None);
            }
        }
        if self.ends.is_none() && !self.scan_head()? {
            return Ok(None);
        }
        match self.ends {
            Some((_, end)) if end <= self.buffer.len() => {
                let from = self.start;
                self.begin(end);
                Ok(Some(Cut::Message(from, end)))
            }
            _ => Ok(None),
        }
    }

    fn begin(&mut self, at: usize) {
        self.start = at;
        self.scanned = at;
        self.line = at;
        self.length_line = None;
        self.several = false;
        self.ends = None;
        self.after_crlf = false;
    }

    /// Line ends between messages.
    fn between(&mut self) -> Result<Option<Cut>, FrameErrorKind> {
        loop {
            match tail(&self.buffer, self.start) {
                [b'\r', b'\n', ..] => {
                    let second = self.after_crlf;
                    self.begin(self.start + 2);
                    self.after_crlf = !second;
                    return Ok(Some(Cut::Crlf(second)));
                }
                [b'\r', _, ..] => return Err(FrameErrorKind::NotSip),
                [b'\n', ..] => self.begin(self.start + 1),
                _ => return Ok(None),
            }
        }
    }

    /// Looks for the empty line; `true` when `ends` is known.
    fn scan_head(&mut self) -> Result<bool, FrameErrorKind> {
        loop {
            let unseen = self.buffer.get(self.scanned..).unwrap_or_default();
            let Some(lf) = memchr(b'\n', unseen) else {
                self.scanned = self.buffer.len();
                let too_long = self.scanned - self.start >= MAX_HEAD;
                return if too_long { Err(FrameErrorKind::HeadTooLong) } else { Ok(false) };
            };
            let next = self.scanned + lf + 1;
            if next - self.start > MAX_HEAD {
                return Err(FrameErrorKind::HeadTooLong);
            }
            let line = self.buffer.get(self.line..next).unwrap_or_default();
            match line {
                [b'\n'] | [b'\r', b'\n'] => {
                    self.scanned = next;
                    self.ends = Some((next, next));
                    self.ends = Some((next, next + self.body_length()?));
                    return Ok(true);
                }
                [b'c' | b'C' | b'l' | b'L', ..] if self.line > self.start && is_length(line) => {
                    self.several |= self.length_line.is_some();
                    self.length_line = Some(self.line);
                }
                _ if self.line == self.start && !is_start(line) => return Err(FrameErrorKind::NotSip),
                _ => {}
            }
            self.line = next;
            self.scanned = next;
        }
    }

    fn body_length(&self) -> Result<usize, FrameErrorKind> {
        if self.several {
            return Err(FrameErrorKind::SeveralContentLengths);
        }
        let line = tail(&self.buffer, self.length_line.ok_or(FrameErrorKind::NoContentLength)?);
        let value = tail(line, memchr(b':', line).map_or(line.len(), |colon| colon + 1));
        let value = trim(head(value, unfolded_end(value)));
        match number::<usize>(value) {
            Some(length) if length <= self.limit => Ok(length),
            Some(_) => Err(FrameErrorKind::BodyTooLong),
            None if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                Err(FrameErrorKind::BodyTooLong)
            }
            None => Err(FrameErrorKind::BadContentLength),
        }
    }
}

enum Cut {
    Message(usize, usize),
    Crlf(bool),
}

/// Whether a first line can begin a message: some text, a blank, more text.
fn is_start(line: &[u8]) -> bool {
    let line = trim(line);
    memchr(b' ', line).is_some_and(|at| at > 0)
}

/// Whether a header line is a Content-Length.
fn is_length(line: &[u8]) -> bool {
    let Some(colon) = memchr(b':', line) else { return false };
    let mut name = head(line, colon);
    while let [rest @ .., b' ' | b'\t'] = name {
        name = rest;
    }
    same(b"Content-Length", name) || same(b"l", name)
}

/// Where a header value ends, its continuation lines included.
fn unfolded_end(value: &[u8]) -> usize {
    let mut at = 0;
    while let Some(lf) = memchr(b'\n', tail(value, at)) {
        at += lf + 1;
        match value.get(at) {
            Some(&b) if is(b, LWS) && b != b'\r' && b != b'\n' => {}
            _ => break,
        }
    }
    at
}
