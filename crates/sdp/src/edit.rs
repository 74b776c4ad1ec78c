//! Rewriting a description by cuts and inserts. What no edit names stays as it is, byte by byte.

use crate::attributes::Attribute;
use crate::index::{Line, Span};
use crate::view::{Sdp, words};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Copy, Debug)]
struct Op {
    at: u32,
    end: u32,
    /// Edits of one place are applied in the order in which they were made.
    turn: u32,
    text: Span,
}

/// Edits of one description, applied in one pass into a buffer. Both are meant to be used again: after the
/// first descriptions nothing is allocated.
///
/// Sections are numbered as by [`Sdp::media_at`], `None` being the session. Every method reads the
/// description as it was received; edits do not see one another.
///
/// ```
/// use causeway_sdp::{Description, Edit};
/// let offer = Description::parse(*b"v=0\r\no=- 1 1 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\n\
///     m=audio 49170 RTP/AVP 0\r\na=rtcp:49171\r\n").unwrap();
/// let (mut edit, mut out) = (Edit::new(), Vec::new());
/// edit.set_addresses(offer.sdp(), "192.0.2.1".parse().unwrap());
/// edit.set_port(offer.sdp(), 0, 20000);
/// edit.set_rtcp(offer.sdp(), 0, Some(20001));
/// edit.apply(offer.sdp(), &mut out);
/// assert_eq!(out, *b"v=0\r\no=- 1 1 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
///     m=audio 20000 RTP/AVP 0\r\na=rtcp:20001\r\n");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Edit {
    ops: Vec<Op>,
    arena: Vec<u8>,
}

fn connection(out: &mut Vec<u8>, ip: IpAddr) {
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    // Writing to a Vec cannot fail.
    let _ = write!(out, "IN {family} {ip}");
}

impl Edit {
    /// No edits.
    pub fn new() -> Edit {
        Edit { ops: Vec::with_capacity(16), arena: Vec::with_capacity(256) }
    }

    /// Forgets all edits, keeps the memory.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.arena.clear();
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    fn op(&mut self, span: Span, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.arena.len();
        write(&mut self.arena);
        let turn = self.ops.len() as u32;
        self.ops.push(Op { at: span.start, end: span.end, turn, text: Span::new(from, self.arena.len()) });
    }

    fn cut(&mut self, line: &Line) {
        self.op(line.line, |_| {});
    }

    /// Gives every `c=` line, of the session and of all media, this address; adds one to each media section
    /// that has none to inherit. Addresses that mean "on hold" (0.0.0.0, `::`) stay.
    pub fn set_addresses(&mut self, sdp: Sdp<'_>, ip: IpAddr) {
        self.set_addresses_by(sdp, ip, |_| None);
    }

    /// The same, but that `other` may name another address for a media section.
    pub fn set_addresses_by(&mut self, sdp: Sdp<'_>, ip: IpAddr, other: impl Fn(usize) -> Option<IpAddr>) {
        let inherited = sdp.session().value(b'c').is_some();
        for section in 0..=sdp.media_count() {
            let own = section.checked_sub(1).and_then(&other);
            let written = self.replace_connections(sdp, section, own.unwrap_or(ip));
            let held =
                || section.checked_sub(1).and_then(|n| sdp.media_at(n)).is_some_and(|media| media.held());
            if section > 0 && !written && (!inherited || (own.is_some_and(|own| own != ip) && !held())) {
                self.insert_connection(sdp, section, own.unwrap_or(ip));
            }
        }
    }

    /// Gives one media section this address, whether it has its own `c=` line or inherits the session's. On
    /// hold it stays as it is.
    pub fn set_media_address(&mut self, sdp: Sdp<'_>, media: usize, ip: IpAddr) {
        if media >= sdp.media_count() || sdp.media_at(media).is_some_and(|media| media.held()) {
            return;
        }
        if !self.replace_connections(sdp, media + 1, ip) {
            self.insert_connection(sdp, media + 1, ip);
        }
    }

    /// Gives the session's own `c=` line this address, if there is one and it is not on hold.
    pub fn set_session_address(&mut self, sdp: Sdp<'_>, ip: IpAddr) {
        self.replace_connections(sdp, 0, ip);
    }

    fn replace_connections(&mut self, sdp: Sdp<'_>, section: usize, ip: IpAddr) -> bool {
        let mut any = false;
        let lines = sdp.index.section(section);
        for line in sdp.index.lines.get(lines).unwrap_or_default().iter().filter(|line| line.kind == b'c') {
            any = true;
            let old = crate::Connection::parse(line.value.of(sdp.bytes)).and_then(|connection| connection.ip);
            if !old.is_some_and(|ip| ip.is_unspecified()) {
                self.op(line.value, |out| connection(out, ip));
            }
        }
        any
    }

    /// Below `m=` and `i=`, where the grammar wants it (RFC 8866 §9).
    fn insert_connection(&mut self, sdp: Sdp<'_>, section: usize, ip: IpAddr) {
        let lines = sdp.index.lines.get(sdp.index.section(section)).unwrap_or_default();
        if let Some(above) = lines.iter().take_while(|line| matches!(line.kind, b'm' | b'i')).last() {
            self.insert_below(sdp, above, |out| {
                out.extend_from_slice(b"c=");
                connection(out, ip);
            });
        }
    }

    /// Adds a line; the one above may be the last and lack its line end.
    fn insert_below(&mut self, sdp: Sdp<'_>, above: &Line, write: impl FnOnce(&mut Vec<u8>)) {
        let ended = above.line.of(sdp.bytes).ends_with(b"\n");
        self.op(Span { start: above.line.end, end: above.line.end }, |out| {
            if !ended {
                out.extend_from_slice(b"\r\n");
            }
            write(out);
            if ended {
                out.extend_from_slice(b"\r\n");
            }
        });
    }

    /// Gives the `o=` line this address (RFC 8866 §5.2), the numbers staying.
    pub fn set_origin_address(&mut self, sdp: Sdp<'_>, ip: IpAddr) {
        let Some(value) = sdp.session().value(b'o') else { return };
        let mut parts = words(value).skip(3);
        if let (Some(net), Some(_), Some(host)) = (parts.next(), parts.next(), parts.next()) {
            let (from, to) = (Span::locate(sdp.bytes, net), Span::locate(sdp.bytes, host));
            self.op(Span { start: from.start, end: to.end }, |out| connection(out, ip));
        }
    }

    /// Sets the port of a media section; a count after it goes. Does nothing where the `m=` line cannot be
    /// read.
    pub fn set_port(&mut self, sdp: Sdp<'_>, media: usize, port: u16) {
        let Some(line) = sdp.media_at(media).and_then(|media| media.section().value(b'm')) else { return };
        if let Some(old) = words(line).nth(1) {
            self.op(Span::locate(sdp.bytes, old), |out| {
                let _ = write!(out, "{port}");
            });
        }
    }

    /// Sets `a=rtcp` of a media section to a port at the connection's address, or adds it; `None` removes it.
    pub fn set_rtcp(&mut self, sdp: Sdp<'_>, media: usize, port: Option<u16>) {
        let mut written = false;
        let lines = sdp.index.lines.get(sdp.index.section(media + 1)).unwrap_or_default();
        for line in lines.iter().filter(|line| line.kind == b'a') {
            if Attribute::parse(line.value.of(sdp.bytes)).name != b"rtcp" {
                continue;
            }
            match port {
                Some(port) if !written => self.op(line.value, |out| {
                    let _ = write!(out, "rtcp:{port}");
                }),
                _ => self.cut(line),
            }
            written = true;
        }
        if let (Some(port), false) = (port, written) {
            self.add_attribute(sdp, Some(media), format!("rtcp:{port}").as_bytes());
        }
    }

    /// Gives the first URI of an MSRP path (`a=path`, RFC 4975 §8) another authority: a literal address and a port.
    pub fn set_path_authority(&mut self, sdp: Sdp<'_>, media: usize, to: SocketAddr) {
        let Some(old) = sdp.media_at(media).and_then(|media| media.path_authority()) else { return };
        self.op(Span::locate(sdp.bytes, old), |out| {
            let _ = write!(out, "{to}");
        });
    }

    /// Adds an attribute at the end of a section: `rtcp-mux`, `label:1`. Line ends in it become blanks.
    pub fn add_attribute(&mut self, sdp: Sdp<'_>, media: Option<usize>, text: &[u8]) {
        let section = media.map_or(0, |media| media + 1);
        let lines = sdp.index.lines.get(sdp.index.section(section)).unwrap_or_default();
        // Empty lines at the end of the description do not count.
        if let Some(above) = lines.iter().rfind(|line| line.kind != 0) {
            self.insert_below(sdp, above, |out| {
                out.extend_from_slice(b"a=");
                out.extend(text.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
            });
        }
    }

    /// Removes those attributes that the test picks; it is told the media section, `None` for the session.
    pub fn remove_attributes(
        &mut self,
        sdp: Sdp<'_>,
        mut test: impl FnMut(Option<usize>, Attribute<'_>) -> bool,
    ) {
        for section in 0..=sdp.media_count() {
            let lines = sdp.index.lines.get(sdp.index.section(section)).unwrap_or_default();
            for line in lines.iter().filter(|line| line.kind == b'a') {
                if test(section.checked_sub(1), Attribute::parse(line.value.of(sdp.bytes))) {
                    self.cut(line);
                }
            }
        }
    }

    /// Removes everything of ICE from the session and all media.
    pub fn remove_ice(&mut self, sdp: Sdp<'_>) {
        self.remove_attributes(sdp, |_, attribute| attribute.is_ice());
    }

    /// Appends the edited description to `out`.
    pub fn apply(&mut self, sdp: Sdp<'_>, out: &mut Vec<u8>) {
        self.ops.sort_unstable_by_key(|op| (op.at, op.turn));
        let bytes = sdp.bytes();
        let mut at = 0;
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
