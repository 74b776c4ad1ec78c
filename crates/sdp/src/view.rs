//! The borrowed view of a session description.

use crate::attributes::Attribute;
use crate::index::{Index, Line, ParseError};
use crate::media::Media;
use std::net::IpAddr;

/// A session description, borrowed: its bytes and their index (RFC 8866).
///
/// The index must have been made from these bytes; with any others the answers are meaningless, but nothing
/// panics.
#[derive(Clone, Copy)]
pub struct Sdp<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) index: &'a Index,
}

/// The session's part, or one media section.
#[derive(Clone, Copy)]
pub struct Section<'a> {
    pub(crate) sdp: Sdp<'a>,
    /// 0 is the session, `n + 1` the media section `n`.
    pub(crate) number: usize,
}

/// A `c=` line (RFC 8866 §5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection<'a> {
    /// `IP4` or `IP6`.
    pub family: &'a [u8],
    /// The address without a multicast scope: a literal or a name.
    pub host: &'a [u8],
    /// The address when it is a literal.
    pub ip: Option<IpAddr>,
}

impl<'a> Connection<'a> {
    /// Reads the value of a `c=` line. `None` when it has not three parts beginning with `IN`.
    pub fn parse(value: &'a [u8]) -> Option<Connection<'a>> {
        let mut parts = words(value);
        parts.next().filter(|net| net.eq_ignore_ascii_case(b"IN"))?;
        let (family, address) = (parts.next()?, parts.next()?);
        let host = address.split(|&b| b == b'/').next()?;
        Some(Connection { family, host, ip: ip(host) })
    }
}

/// An `o=` line (RFC 8866 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Who made it.
    pub username: &'a [u8],
    /// The session's number, as written.
    pub session_id: &'a [u8],
    /// The version, as written: larger after each change.
    pub version: &'a [u8],
    /// `IP4` or `IP6`.
    pub family: &'a [u8],
    /// The address or name of its maker.
    pub host: &'a [u8],
}

impl<'a> Origin<'a> {
    /// Reads the value of an `o=` line: six parts, the fourth `IN`.
    pub fn parse(value: &'a [u8]) -> Option<Origin<'a>> {
        let mut parts = words(value);
        let (username, session_id, version) = (parts.next()?, parts.next()?, parts.next()?);
        parts.next().filter(|net| net.eq_ignore_ascii_case(b"IN"))?;
        Some(Origin { username, session_id, version, family: parts.next()?, host: parts.next()? })
    }
}

/// What stands between blanks.
pub(crate) fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b' ' || b == b'\t').filter(|word| !word.is_empty())
}

pub(crate) fn ip(host: &[u8]) -> Option<IpAddr> {
    if host.len() > 45 {
        return None;
    }
    std::str::from_utf8(host).ok()?.parse().ok()
}

pub(crate) fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl<'a> Sdp<'a> {
    /// A view of `bytes` by the index that was made from them.
    pub fn new(bytes: &'a [u8], index: &'a Index) -> Sdp<'a> {
        Sdp { bytes, index }
    }

    /// The whole description.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes.get(..self.index.end as usize).unwrap_or(self.bytes)
    }

    /// The part before the first `m=`.
    pub fn session(&self) -> Section<'a> {
        Section { sdp: *self, number: 0 }
    }

    /// How many media sections there are.
    pub fn media_count(&self) -> usize {
        self.index.media.len()
    }

    /// The media section `n`, from 0. `None` past the last one and where its `m=` line cannot be read.
    pub fn media_at(&self, n: usize) -> Option<Media<'a>> {
        (n < self.media_count()).then(|| Media::read(Section { sdp: *self, number: n + 1 }, n))?
    }

    /// All media sections in order; `None` for one whose `m=` line cannot be read.
    pub fn media(&self) -> impl Iterator<Item = Option<Media<'a>>> + use<'a> {
        let sdp = *self;
        (0..self.media_count()).map(move |n| sdp.media_at(n))
    }

    /// The `o=` line.
    pub fn origin(&self) -> Option<Origin<'a>> {
        Origin::parse(self.session().value(b'o')?)
    }

    /// The groups of media that share one transport: of each `a=group:BUNDLE`, the `mid`s (RFC 9143 §7).
    pub fn bundles(&self) -> impl Iterator<Item = impl Iterator<Item = &'a [u8]>> {
        self.session().attributes().filter(|attribute| attribute.name == b"group").filter_map(|group| {
            let mut mids = words(group.value?);
            (mids.next()? == b"BUNDLE").then_some(mids)
        })
    }
}

impl<'a> Section<'a> {
    pub(crate) fn lines(&self) -> impl Iterator<Item = &'a Line> + use<'a> {
        let range = self.sdp.index.section(self.number);
        self.sdp.index.lines.get(range).unwrap_or_default().iter()
    }

    /// The value of the first line with this letter.
    pub fn value(&self, kind: u8) -> Option<&'a [u8]> {
        self.values(kind).next()
    }

    /// The values of all lines with this letter.
    pub fn values(&self, kind: u8) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.sdp.bytes;
        self.lines().filter(move |line| line.kind == kind).map(move |line| line.value.of(bytes))
    }

    /// The section's own `c=` line; what a media section inherits is in [`Media::connection`].
    pub fn own_connection(&self) -> Option<Connection<'a>> {
        Connection::parse(self.value(b'c')?)
    }

    /// All attributes.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        self.values(b'a').map(Attribute::parse)
    }

    /// The first attribute of this name; attribute names are case-sensitive (RFC 8866 §5.13).
    pub fn attribute(&self, name: &[u8]) -> Option<Attribute<'a>> {
        self.attributes().find(|attribute| attribute.name == name)
    }

    /// The value of the first attribute of this name.
    pub fn attribute_value(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.attribute(name)?.value
    }

    /// Whether there is an attribute of this name.
    pub fn has_attribute(&self, name: &[u8]) -> bool {
        self.attribute(name).is_some()
    }
}

impl std::fmt::Debug for Sdp<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.bytes()))
    }
}

/// A session description that owns its bytes.
#[derive(Clone)]
pub struct Description {
    bytes: Vec<u8>,
    index: Index,
}

impl Description {
    /// Takes and indexes a description.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Description, ParseError> {
        let bytes = bytes.into();
        let mut index = Index::new();
        index.parse(&bytes)?;
        Ok(Description { bytes, index })
    }

    /// The borrowed view.
    pub fn sdp(&self) -> Sdp<'_> {
        Sdp::new(&self.bytes, &self.index)
    }
}

impl std::fmt::Debug for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.sdp(), f)
    }
}
