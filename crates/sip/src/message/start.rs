//! The start line: a request line or a status line (RFC 3261 §7.1, §7.2).

use super::index::{ParseError, Span};
use crate::bytes::{head, number, same, tail, trim};
use crate::method::Method;
use memchr::{memchr, memrchr};

/// The first line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<'a> {
    /// A request line.
    Request {
        /// What is asked for.
        method: Method<'a>,
        /// The Request-URI, without blanks at its ends.
        uri: &'a [u8],
        /// What stands after it, usually `SIP/2.0`; empty when there is nothing.
        version: &'a [u8],
    },
    /// A status line.
    Response {
        /// Usually `SIP/2.0`.
        version: &'a [u8],
        /// 100 to 699; 0 when what stands there is no such number.
        status: u16,
        /// The reason phrase, any bytes, possibly none.
        reason: &'a [u8],
    },
}

/// Where the parts of the start line lie.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StartSpans {
    /// The whole line without its line end.
    pub(crate) line: Span,
    /// The method of a request; the version of a response.
    pub(crate) first: Span,
    /// The Request-URI; the status code.
    pub(crate) middle: Span,
    /// The version of a request; the reason phrase of a response.
    pub(crate) last: Span,
    /// Of a response, 100 to 699 or 0; `None` of a request.
    pub(crate) status: Option<u16>,
}

impl StartSpans {
    /// Reads a start line, tolerating more or other blanks than §7.1 allows.
    pub(crate) fn parse(bytes: &[u8], line: Span) -> Result<StartSpans, ParseError> {
        let text = line.of(bytes);
        let blank = memchr(b' ', text).ok_or(ParseError::NoStartLine)?;
        let first = head(text, blank);
        if first.is_empty() {
            return Err(ParseError::NoStartLine);
        }
        let rest = tail(text, blank);
        let span = |part: &[u8]| line.locate(bytes, part);
        if first.len() >= 4 && same(b"SIP/", head(first, 4)) {
            let rest = rest.trim_ascii_start();
            let end = memchr(b' ', rest).unwrap_or(rest.len());
            let code = head(rest, end);
            let status = match number::<u16>(code) {
                Some(status @ 100..=699) if code.len() == 3 => status,
                _ => 0,
            };
            let reason = tail(rest, end + 1);
            return Ok(StartSpans {
                line,
                first: span(first),
                middle: span(code),
                last: span(reason),
                status: Some(status),
            });
        }
        let rest = trim(rest);
        let (uri, version) = match memrchr(b' ', rest) {
            Some(at) => (trim(head(rest, at)), tail(rest, at + 1)),
            None => (rest, tail(rest, rest.len())),
        };
        if uri.is_empty() {
            return Err(ParseError::NoStartLine);
        }
        Ok(StartSpans { line, first: span(first), middle: span(uri), last: span(version), status: None })
    }

    pub(crate) fn view<'a>(&self, bytes: &'a [u8]) -> Start<'a> {
        match self.status {
            None => Start::Request {
                method: Method::of(self.first.of(bytes)),
                uri: self.middle.of(bytes),
                version: self.last.of(bytes),
            },
            Some(status) => {
                Start::Response { version: self.first.of(bytes), status, reason: self.last.of(bytes) }
            }
        }
    }
}
