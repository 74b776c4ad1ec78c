//! The index of one message in one buffer.

use super::start::StartSpans;
use super::via::ViaSpans;
use super::{NameAddr, Values, Via};
use crate::bytes::{LWS, find, is, number, tail, trim};
use crate::headers::HeaderId;
use memchr::memchr;
use std::ops::Range;

/// The longest start line and header section that is indexed, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// The longest body, in bytes.
pub const MAX_BODY: usize = 1024 * 1024;
/// The most header lines of one message.
pub const MAX_HEADERS: usize = 512;

/// Why bytes are no message that could be worked on, not even to refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing but line ends: a keep-alive.
    #[error("no message: nothing but line ends")]
    Empty,
    /// The first line has not the form of a request or status line.
    #[error("the first line is neither a request line nor a status line")]
    NoStartLine,
    /// The head is longer than [`MAX_HEAD`].
    #[error("the header section is longer than {MAX_HEAD} bytes")]
    HeadTooLong,
    /// More than [`MAX_HEADERS`] header lines.
    #[error("more than {MAX_HEADERS} header lines")]
    TooManyHeaders,
    /// The body is longer than [`MAX_BODY`].
    #[error("the body is longer than {MAX_BODY} bytes")]
    BodyTooLong,
}

/// A range of byte positions in a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    /// The bytes; nothing if the span belongs to another, longer buffer.
    #[inline]
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The span of `part`, which must be a slice of this span of `bytes`.
    #[inline]
    pub(crate) fn locate(self, bytes: &[u8], part: &[u8]) -> Span {
        let start = (part.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
        Span::new(start, start + part.len())
    }

    #[inline]
    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One header line, folds included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) id: HeaderId,
    /// No colon, or a continuation of nothing.
    pub(crate) malformed: bool,
    pub(crate) name_len: u16,
    /// From the first byte of the name to after the line end.
    pub(crate) line: Span,
    /// Without white space at its ends; folds inside remain.
    pub(crate) value: Span,
}

/// Where everything lies in one message: made by one pass over the header section, without judging what it
/// says. It accepts whatever can be told apart: any method, scheme and header name, any bytes in values,
/// blanks before the colon, folded lines, empty values, header lines without a colon, a missing empty line,
/// line ends of LF alone (a mixture of both is refused by [`crate::validate`]), and CRLFs before the start
/// line (RFC 3261 §7.5).
///
/// An index is meant to be used again: [`Index::parse`] forgets the last message and allocates nothing once
/// it has seen one with as many headers. Bounds: [`MAX_HEAD`], [`MAX_HEADERS`], [`MAX_BODY`].
#[derive(Clone, Debug)]
pub struct Index {
    pub(crate) start: StartSpans,
    pub(crate) entries: Vec<Entry>,
    first: [u16; HeaderId::COUNT],
    /// After the last header line: where the empty line begins.
    pub(crate) headers_end: u32,
    pub(crate) body: Span,
    /// The empty line was there.
    pub(crate) terminated: bool,
    /// How many lines of the head ended with LF alone.
    pub(crate) bare_lf: u32,
    /// How many ended with CRLF.
    pub(crate) crlf: u32,
    /// There is at least one malformed entry.
    pub(crate) malformed: bool,
    /// The tags of From and To, which every element asks for many times; empty where there is none.
    pub(crate) tags: [Span; 2],
    /// The first Via value, likewise.
    pub(crate) via: Option<ViaSpans>,
}

const ABSENT: u16 = u16::MAX;

impl Default for Index {
    fn default() -> Index {
        Index::with_room(64)
    }
}

impl Index {
    /// An index for one message alone: most have no more header lines.
    pub(crate) fn for_one() -> Index {
        Index::with_room(16)
    }

    fn with_room(lines: usize) -> Index {
        Index {
            start: StartSpans::default(),
            entries: Vec::with_capacity(lines),
            first: [ABSENT; HeaderId::COUNT],
            headers_end: 0,
            body: Span::default(),
            terminated: false,
            bare_lf: 0,
            crlf: 0,
            malformed: false,
            tags: [Span::default(); 2],
            via: None,
        }
    }

    /// An index with room for 64 header lines.
    pub fn new() -> Index {
        Index::default()
    }

    /// Indexes the message that `bytes` hold from their beginning: a datagram, or what a
    /// [`crate::Framer`] cut out. The body is as long as Content-Length says (RFC 3261 §18.3), what follows
    /// it is not part of the message; it takes all the rest where that number is missing, unreadable or
    /// greater than what is there.
    ///
    /// # Errors
    /// See [`ParseError`]; the index is empty then.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        self.clear();
        let done = self.scan(bytes);
        if done.is_err() {
            self.clear();
        }
        done
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.first = [ABSENT; HeaderId::COUNT];
        self.start = StartSpans::default();
        self.headers_end = 0;
        self.body = Span::default();
        self.terminated = false;
        self.bare_lf = 0;
        self.crlf = 0;
        self.malformed = false;
        self.tags = [Span::default(); 2];
        self.via = None;
    }

    fn scan(&mut self, all: &[u8]) -> Result<(), ParseError> {
        let head = all.get(..MAX_HEAD).unwrap_or(all);
        let begin = head.iter().position(|&b| b != b'\r' && b != b'\n').ok_or(ParseError::Empty)?;
        let (end, mut at) = self.line_end(head, begin);
        self.start = StartSpans::parse(head, Span::new(begin, end))?;
        loop {
            match tail(head, at) {
                [b'\r', b'\n', ..] => {
                    self.crlf += 1;
                    self.finish(all, at, at + 2, true);
                    break;
                }
                [b'\n', ..] => {
                    self.bare_lf += 1;
                    self.finish(all, at, at + 1, true);
                    break;
                }
                [] if all.len() > MAX_HEAD => return Err(ParseError::HeadTooLong),
                [] => {
                    self.finish(all, at, at, false);
                    break;
                }
                _ if self.entries.len() == MAX_HEADERS => return Err(ParseError::TooManyHeaders),
                _ => at = self.header(head, at),
            }
        }
        if self.body.end - self.body.start > MAX_BODY as u32 {
            return Err(ParseError::BodyTooLong);
        }
        Ok(())
    }

    /// The end of the line's text and the position after its line end.
    #[inline]
    fn line_end(&mut self, head: &[u8], from: usize) -> (usize, usize) {
        let Some(length) = memchr(b'\n', tail(head, from)) else { return (head.len(), head.len()) };
        let lf = from + length;
        if length > 0 && head.get(lf - 1) == Some(&b'\r') {
            self.crlf += 1;
            (lf - 1, lf + 1)
        } else {
            self.bare_lf += 1;
            (lf, lf + 1)
        }
    }

    /// Indexes the header line at `at`; returns where the next one begins.
    #[inline]
    fn header(&mut self, head: &[u8], at: usize) -> usize {
        let (mut value_end, mut next) = self.line_end(head, at);
        let text = crate::bytes::head(tail(head, at), value_end - at);
        let colon = find(text, b':').unwrap_or_default();
        if colon == 0 || matches!(text.first(), Some(b' ' | b'\t')) {
            return self.malformed_line(at, value_end, next);
        }
        let mut name_len = colon;
        while name_len > 1 && matches!(text.get(name_len - 1), Some(b' ' | b'\t')) {
            name_len -= 1;
        }
        let id = HeaderId::of(crate::bytes::head(text, name_len));
        while let Some(b' ' | b'\t') = head.get(next) {
            (value_end, next) = self.line_end(head, next);
        }
        let mut value_start = at + colon + 1;
        while value_start < value_end && head.get(value_start).is_some_and(|&b| is(b, LWS)) {
            value_start += 1;
        }
        while value_end > value_start && head.get(value_end - 1).is_some_and(|&b| is(b, LWS)) {
            value_end -= 1;
        }
        self.push(Entry {
            id,
            malformed: false,
            name_len: name_len as u16,
            line: Span::new(at, next),
            value: Span::new(value_start, value_end),
        });
        next
    }

    /// A line without a colon, or a continuation with nothing to continue: kept as it is, for the validation
    /// to refuse.
    #[cold]
    fn malformed_line(&mut self, at: usize, end: usize, next: usize) -> usize {
        self.malformed = true;
        self.push(Entry {
            id: HeaderId::Other,
            malformed: true,
            name_len: (end - at) as u16,
            line: Span::new(at, next),
            value: Span::new(end, end),
        });
        next
    }

    #[inline]
    fn push(&mut self, entry: Entry) {
        if let Some(first) = self.first.get_mut(entry.id as usize)
            && *first == ABSENT
        {
            *first = self.entries.len() as u16;
        }
        self.entries.push(entry);
    }

    fn finish(&mut self, all: &[u8], headers_end: usize, body: usize, terminated: bool) {
        self.headers_end = headers_end as u32;
        self.terminated = terminated;
        let there = all.len() - body;
        let declared = self
            .first_of(HeaderId::ContentLength)
            .and_then(|entry| number::<usize>(trim(entry.value.of(all))))
            .filter(|&length| length <= there);
        // The cap keeps the position within 32 bits; a body this long is refused.
        let end = body + declared.unwrap_or(there).min(MAX_BODY + 1);
        self.body = Span::new(body, end);
        self.tags = [HeaderId::From, HeaderId::To].map(|id| self.tag_of(all, id));
        self.via = self.first_of(HeaderId::Via).and_then(|entry| {
            let via = Via::parse(Values::new(entry.value.of(all)).next()?)?;
            Some(ViaSpans::of(via, |part| entry.value.locate(all, part)))
        });
    }

    #[inline]
    fn tag_of(&self, all: &[u8], id: HeaderId) -> Span {
        let found = self.first_of(id).and_then(|entry| {
            let tag = NameAddr::parse(entry.value.of(all))?.tag()?;
            Some(entry.value.locate(all, tag))
        });
        found.unwrap_or_default()
    }

    /// The position in `entries` of the first line with this id.
    #[inline]
    pub(crate) fn position(&self, id: HeaderId) -> Option<usize> {
        match self.first.get(id as usize) {
            Some(&at) if at != ABSENT => Some(at as usize),
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn first_of(&self, id: HeaderId) -> Option<&Entry> {
        self.entries.get(self.position(id)?)
    }

    /// The lines with this id, from the first on.
    #[inline]
    pub(crate) fn entries_of(&self, id: HeaderId) -> impl Iterator<Item = &Entry> + Clone + use<'_> {
        let from = self.position(id).unwrap_or(self.entries.len());
        self.entries.get(from..).unwrap_or_default().iter().filter(move |entry| entry.id == id)
    }

    /// Where the message ends: bytes after it (another message in one datagram) do not belong to it.
    pub fn end(&self) -> usize {
        self.body.end as usize
    }
}
