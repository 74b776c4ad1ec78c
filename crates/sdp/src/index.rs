//! The line index of one session description.

use memchr::memchr;

/// The longest description that is indexed, in bytes.
pub const MAX_LEN: usize = 64 * 1024;
/// The most lines.
pub const MAX_LINES: usize = 2048;
/// The most media sections.
pub const MAX_MEDIA: usize = 64;

/// Why bytes are not indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Longer than [`MAX_LEN`].
    #[error("the session description is longer than {MAX_LEN} bytes")]
    TooLong,
    /// More than [`MAX_LINES`] lines.
    #[error("the session description has more than {MAX_LINES} lines")]
    TooManyLines,
    /// More than [`MAX_MEDIA`] media sections.
    #[error("the session description has more than {MAX_MEDIA} media sections")]
    TooManyMedia,
    /// Not one line of the form `x=…`.
    #[error("no session description: not one line of the form x=…")]
    NotSdp,
}

/// A range of byte positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The span of `part`, which must be a slice of `bytes`.
    pub(crate) fn locate(bytes: &[u8], part: &[u8]) -> Span {
        let start = (part.as_ptr() as usize).wrapping_sub(bytes.as_ptr() as usize);
        Span::new(start, start + part.len())
    }
}

/// One line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// The letter before the `=`; 0 when the line has not that form.
    pub(crate) kind: u8,
    /// With its line end.
    pub(crate) line: Span,
    /// After the `=`, without blanks at its end.
    pub(crate) value: Span,
}

/// Where everything lies in one session description, made in one pass without judging it: any line letters,
/// any order, any bytes, line ends of CRLF or LF. An index is meant to be used again and then allocates
/// nothing. Bounds: [`MAX_LEN`], [`MAX_LINES`], [`MAX_MEDIA`].
#[derive(Clone, Debug)]
pub struct Index {
    pub(crate) lines: Vec<Line>,
    /// Of each media section, the position of its `m=` in `lines`.
    pub(crate) media: Vec<u16>,
    pub(crate) end: u32,
}

impl Default for Index {
    fn default() -> Index {
        Index { lines: Vec::with_capacity(64), media: Vec::with_capacity(8), end: 0 }
    }
}

impl Index {
    /// An index with room for 64 lines.
    pub fn new() -> Index {
        Index::default()
    }

    /// Indexes a description.
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
        self.lines.clear();
        self.media.clear();
        self.end = 0;
    }

    fn scan(&mut self, bytes: &[u8]) -> Result<(), ParseError> {
        if bytes.len() > MAX_LEN {
            return Err(ParseError::TooLong);
        }
        let mut at = 0;
        while at < bytes.len() {
            let rest = bytes.get(at..).unwrap_or_default();
            let next = at + memchr(b'\n', rest).map_or(rest.len(), |lf| lf + 1);
            let line = self.line(bytes, Span::new(at, next));
            at = next;
            if self.lines.len() == MAX_LINES {
                return Err(ParseError::TooManyLines);
            }
            if line.kind == b'm' {
                if self.media.len() == MAX_MEDIA {
                    return Err(ParseError::TooManyMedia);
                }
                self.media.push(self.lines.len() as u16);
            }
            self.lines.push(line);
        }
        self.end = bytes.len() as u32;
        if self.lines.iter().all(|line| line.kind == 0) { Err(ParseError::NotSdp) } else { Ok(()) }
    }

    /// Reads one line. Blanks before the `=` are wrong, but a reader that took `m =` for media while we did
    /// not would escape every rewriting; so they are tolerated.
    fn line(&self, bytes: &[u8], line: Span) -> Line {
        let text = line.of(bytes).trim_ascii_end();
        let value = match text {
            [_, b'=', value @ ..] => Some(value),
            [_, b' ' | b'\t', rest @ ..] => rest.trim_ascii_start().strip_prefix(b"="),
            _ => None,
        };
        match (text.first(), value) {
            (Some(&kind), Some(value)) if kind.is_ascii_alphabetic() => {
                Line { kind, line, value: Span::locate(bytes, value) }
            }
            _ => Line { kind: 0, line, value: Span::new(line.end as usize, line.end as usize) },
        }
    }

    /// The positions in `lines` of a section: 0 is the session, `n + 1` the media section `n`.
    pub(crate) fn section(&self, section: usize) -> std::ops::Range<usize> {
        let begin = |n: usize| self.media.get(n).map_or(self.lines.len(), |&line| line as usize);
        match section.checked_sub(1) {
            None => 0..begin(0),
            Some(n) => begin(n)..begin(n + 1),
        }
    }
}
