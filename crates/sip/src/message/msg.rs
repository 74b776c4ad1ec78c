//! The borrowed view of a message.

use super::addr::list_has;
use super::{Contact, Entry, Index, Message, NameAddr, Params, Start, Values, Via};
use crate::bytes::{number, same, skip_lws, span, tail, trim};
use crate::headers::HeaderId;
use crate::method::Method;
use std::fmt;

/// One header line of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Which one it is.
    pub id: HeaderId,
    /// The name as written.
    pub name: &'a [u8],
    /// The value without white space at its ends; folds inside remain.
    pub value: &'a [u8],
    /// The whole line from the name to after the line end, folds included.
    pub line: &'a [u8],
}

/// A CSeq (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// The sequence number. RFC 3261 allows less than 2^31, which [`crate::validate`] looks at.
    pub number: u32,
    /// The method.
    pub method: Method<'a>,
}

impl<'a> CSeq<'a> {
    /// Reads a value: digits, white space, a method. `None` when one is missing or the number exceeds 32 bits.
    #[inline]
    pub fn parse(value: &'a [u8]) -> Option<CSeq<'a>> {
        let value = trim(value);
        let digits = span(value, crate::bytes::DIGIT);
        let number = number(crate::bytes::head(value, digits))?;
        let rest = tail(value, digits);
        let method = skip_lws(rest);
        if method.is_empty() || method.len() == rest.len() {
            return None;
        }
        Some(CSeq { number, method: Method::of(method) })
    }
}

/// A message, borrowed: its bytes and their index. Views of its parts are made when they are asked for.
///
/// The index must have been made from these bytes; with any others the answers are meaningless, but nothing
/// panics.
#[derive(Clone, Copy)]
pub struct Msg<'a> {
    bytes: &'a [u8],
    index: &'a Index,
}

impl<'a> Msg<'a> {
    /// A view of `bytes` by the index that was made from them.
    #[inline]
    pub fn new(bytes: &'a [u8], index: &'a Index) -> Msg<'a> {
        Msg { bytes, index }
    }

    /// All bytes of the message, without what may follow it in the buffer.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        crate::bytes::head(self.bytes, self.index.end())
    }

    /// The index.
    #[inline]
    pub fn index(&self) -> &'a Index {
        self.index
    }

    /// The buffer, what follows the message included.
    #[inline]
    pub(crate) fn buffer(&self) -> &'a [u8] {
        self.bytes
    }

    /// The start line.
    #[inline]
    pub fn start(&self) -> Start<'a> {
        self.index.start.view(self.bytes)
    }

    /// Whether it is a request.
    #[inline]
    pub fn is_request(&self) -> bool {
        self.index.start.status.is_none()
    }

    /// The method of a request; of a response, that of its CSeq (`Other` and empty when that is missing).
    #[inline]
    pub fn method(&self) -> Method<'a> {
        match self.index.start.status {
            None => Method::of(self.index.start.first.of(self.bytes)),
            Some(_) => self.cseq().map_or(Method::Other(b""), |cseq| cseq.method),
        }
    }

    /// The Request-URI; empty for a response.
    #[inline]
    pub fn request_uri(&self) -> &'a [u8] {
        match self.index.start.status {
            None => self.index.start.middle.of(self.bytes),
            Some(_) => b"",
        }
    }

    /// The status code of a response: 100 to 699, 0 when it is no such number; `None` of a request.
    #[inline]
    pub fn status(&self) -> Option<u16> {
        self.index.start.status
    }

    /// The reason phrase; empty for a request.
    pub fn reason(&self) -> &'a [u8] {
        match self.index.start.status {
            None => b"",
            Some(_) => self.index.start.last.of(self.bytes),
        }
    }

    /// Everything before the body, the empty line included.
    pub fn head(&self) -> &'a [u8] {
        crate::bytes::head(self.bytes, self.index.body.start as usize)
    }

    /// The body: as long as Content-Length says, if that can be.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.index.body.of(self.bytes)
    }

    pub(crate) fn view(&self, entry: &Entry) -> Header<'a> {
        let line = entry.line.of(self.bytes);
        Header {
            id: entry.id,
            name: crate::bytes::head(line, entry.name_len as usize),
            value: entry.value.of(self.bytes),
            line,
        }
    }

    /// All header lines in their order.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let msg = *self;
        self.index.entries.iter().map(move |entry| msg.view(entry))
    }

    /// The value of the first line with this id. Of [`HeaderId::Other`], the first unknown one.
    #[inline]
    pub fn header(&self, id: HeaderId) -> Option<&'a [u8]> {
        self.index.first_of(id).map(|entry| entry.value.of(self.bytes))
    }

    /// Whether there is a line with this id.
    #[inline]
    pub fn has(&self, id: HeaderId) -> bool {
        self.index.position(id).is_some()
    }

    /// The values of all lines with this id, each as it stands in its line.
    #[inline]
    pub fn all(&self, id: HeaderId) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let bytes = self.bytes;
        self.index.entries_of(id).map(move |entry| entry.value.of(bytes))
    }

    /// The values of all lines with this id, comma-separated lists taken apart.
    #[inline]
    pub fn values(&self, id: HeaderId) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.all(id).flat_map(Values::new)
    }

    /// The values of all lines of this name, in any case: for names that have no [`HeaderId`].
    pub fn header_named(&self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.headers().filter(move |header| same(name, header.name)).map(|header| header.value)
    }

    /// Whether one of the lists of this id holds the token, without case: `has_token(Supported, b"path")`.
    pub fn has_token(&self, id: HeaderId, token: &[u8]) -> bool {
        self.all(id).any(|value| list_has(value, token))
    }

    /// The first Via value: the hop that the message came from.
    #[inline]
    pub fn top_via(&self) -> Option<Via<'a>> {
        Some(self.index.via.as_ref()?.of_bytes(self.bytes))
    }

    /// All Via values from the top; `None` for one that cannot be read.
    pub fn vias(&self) -> impl Iterator<Item = Option<Via<'a>>> + use<'a> {
        let top = self.top_via();
        self.values(HeaderId::Via).map(move |value| match top {
            Some(via) if std::ptr::eq(via.raw, value) => top,
            _ => Via::parse(value),
        })
    }

    /// From.
    #[inline]
    pub fn from(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.header(HeaderId::From)?)
    }

    /// To.
    #[inline]
    pub fn to(&self) -> Option<NameAddr<'a>> {
        NameAddr::parse(self.header(HeaderId::To)?)
    }

    /// The tag of From; an empty one counts as none.
    #[inline]
    pub fn from_tag(&self) -> Option<&'a [u8]> {
        Some(self.index.tags[0].of(self.bytes)).filter(|tag| !tag.is_empty())
    }

    /// The tag of To; an empty one counts as none.
    #[inline]
    pub fn to_tag(&self) -> Option<&'a [u8]> {
        Some(self.index.tags[1].of(self.bytes)).filter(|tag| !tag.is_empty())
    }

    /// CSeq.
    #[inline]
    pub fn cseq(&self) -> Option<CSeq<'a>> {
        CSeq::parse(self.header(HeaderId::CSeq)?)
    }

    /// Call-ID; an empty one counts as none.
    #[inline]
    pub fn call_id(&self) -> Option<&'a [u8]> {
        self.header(HeaderId::CallId).filter(|id| !id.is_empty())
    }

    /// All values of Contact; `None` for one that cannot be read.
    pub fn contacts(&self) -> impl Iterator<Item = Option<Contact<'a>>> + use<'a> {
        self.values(HeaderId::Contact).map(Contact::parse)
    }

    /// The first Contact that is an address.
    pub fn contact(&self) -> Option<NameAddr<'a>> {
        self.contacts().find_map(|contact| match contact {
            Some(Contact::Addr(addr)) => Some(addr),
            _ => None,
        })
    }

    /// All addresses of a header field that is a list of them (Route, Record-Route, Path,
    /// P-Asserted-Identity …); `None` for one that cannot be read.
    pub fn addrs(&self, id: HeaderId) -> impl Iterator<Item = Option<NameAddr<'a>>> + use<'a> {
        self.values(id).map(NameAddr::parse)
    }

    /// All values of Route; `None` for one that cannot be read.
    pub fn routes(&self) -> impl Iterator<Item = Option<NameAddr<'a>>> + use<'a> {
        self.addrs(HeaderId::Route)
    }

    /// A header value that is one number of 32 bits.
    #[inline]
    pub fn number(&self, id: HeaderId) -> Option<u32> {
        number(self.header(id)?)
    }

    /// Max-Forwards; `None` when missing or unreadable. RFC 3261 §20.22 allows 0 to 255, other numbers are
    /// returned as they are.
    #[inline]
    pub fn max_forwards(&self) -> Option<u32> {
        self.number(HeaderId::MaxForwards)
    }

    /// Content-Length; `None` when missing or unreadable.
    #[inline]
    pub fn content_length(&self) -> Option<u32> {
        self.number(HeaderId::ContentLength)
    }

    /// Content-Type without its parameters, and those.
    pub fn content_type(&self) -> Option<(&'a [u8], Params<'a>)> {
        let value = self.header(HeaderId::ContentType)?;
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        Some((trim(crate::bytes::head(value, end)), Params::new(tail(value, end))))
    }

    /// Expires, in seconds; `None` when missing or unreadable, which counts as missing (RFC 3261 §10.3).
    pub fn expires(&self) -> Option<u32> {
        self.number(HeaderId::Expires)
    }

    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> Message {
        Message::from_parts(self.bytes().to_vec(), self.index.clone())
    }
}

/// As text, bytes that are no UTF-8 replaced, credentials left out.
impl fmt::Debug for Msg<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.index.entries.iter().filter(|entry| entry.id.is_secret());
        let mut at = 0;
        for entry in secret {
            let span = entry.value.range();
            f.write_str(&lossy(self.bytes.get(at..span.start)))?;
            f.write_str("(redacted)")?;
            at = span.end;
        }
        f.write_str(&lossy(self.bytes().get(at..)))
    }
}

fn lossy(bytes: Option<&[u8]>) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes.unwrap_or_default())
}
