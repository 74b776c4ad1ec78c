//! Session descriptions as a half of the split proxy sees them: where media goes, and the same body with
//! other addresses and ports, every other byte kept (RFC 8866, RFC 3264).

use memchr::memchr;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// More `m=` lines than this are not carried.
pub(crate) const MAX_LINES: usize = 16;

/// The address that stands for "this tunnel" in a description inside it (RFC 7600 §4.8: the dummy address).
pub(crate) const PLACEHOLDER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));

/// How an `m=` line is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// RTP and RTCP, of audio.
    Audio,
    /// RTP and RTCP, of video.
    Video,
    /// RTP and RTCP, of anything else.
    OtherRtp,
    /// Other datagrams: T.38 over UDPTL, data channels.
    Datagrams,
    /// Over TCP, or of a kind unknown here: cannot be carried.
    None,
}

impl Carriage {
    fn of(media: &[u8], proto: &[u8]) -> Self {
        let upper = proto.to_ascii_uppercase();
        let has = |part: &[u8]| upper.windows(part.len()).any(|window| window == part);
        if upper.starts_with(b"TCP") {
            Self::None
        } else if has(b"RTP/") {
            match media {
                b"audio" => Self::Audio,
                b"video" => Self::Video,
                _ => Self::OtherRtp,
            }
        } else if upper.starts_with(b"UDP") || upper.starts_with(b"DTLS/SCTP") {
            Self::Datagrams
        } else {
            Self::None
        }
    }

    pub(crate) fn has_rtcp(self) -> bool {
        matches!(self, Self::Audio | Self::Video | Self::OtherRtp)
    }
}

/// The address of a `c=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// A unicast address.
    At(IpAddr),
    /// 0.0.0.0 or ::, media held in the manner of RFC 2543 (RFC 3264 §8.4).
    Held,
    /// A name, a multicast group, or something unreadable: nothing is sent there.
    Unknown,
}

/// What one `m=` line says of transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub carriage: Carriage,
    /// 0 for a medium that is rejected or disabled.
    pub port: u16,
    pub connection: Connection,
    /// The port of `a=rtcp` (RFC 3605).
    pub rtcp_port: Option<u16>,
    /// The address of `a=rtcp`, if it names one.
    pub rtcp_address: Option<IpAddr>,
    /// `a=rtcp-mux-only` (RFC 8858).
    pub mux_only: bool,
}

impl Line {
    /// Where RTCP goes: what `a=rtcp` says, else the next port (RFC 3605 §2).
    pub(crate) fn rtcp(&self) -> Option<u16> {
        if self.mux_only { Some(self.port) } else { self.rtcp_port.or(self.port.checked_add(1)) }
    }
}

/// What a half puts in the place of one `m=` line's port: `None` disables the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    pub port: u16,
    /// Written as `a=rtcp` if given.
    pub rtcp: Option<u16>,
}

/// Reads the `m=` lines; `None` if this is no session description, or one with too many.
pub(crate) fn read(body: &[u8]) -> Option<Vec<Line>> {
    if !body.starts_with(b"v=") {
        return None;
    }
    let mut session = None;
    let mut media: Vec<(Line, bool)> = Vec::new();
    for line in lines(body) {
        match (line.field, media.last_mut()) {
            (b'm', _) => {
                if media.len() == MAX_LINES {
                    return None;
                }
                let connection = session.unwrap_or(Connection::Unknown);
                media.push((read_media(line.value, connection), false));
            }
            (b'c', None) => session = Some(read_connection(line.value)),
            // Of several c= lines of one medium (layered encodings, §5.7) the first counts.
            (b'c', Some((media, seen @ false))) => {
                *seen = true;
                media.connection = read_connection(line.value);
            }
            (b'a', Some((media, _))) => read_attribute(line.value, media),
            _ => {}
        }
    }
    Some(media.into_iter().map(|(line, _)| line).collect())
}

/// Appends the body with `address` in its `c=` lines and `ports` in its `m=` lines. ICE attributes and
/// `a=rtcp` go; the latter comes again where [`Ports::rtcp`] says so.
pub(crate) fn rewrite(body: &[u8], address: IpAddr, ports: &[Option<Ports>], out: &mut Vec<u8>) {
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let connection = format!("IN {family} {address}");
    let mut media: Option<&Option<Ports>> = None;
    let mut ports = ports.iter();
    let mut end: &[u8] = b"\r\n";
    for line in lines(body) {
        match line.field {
            b'm' => {
                put_rtcp(media, end, out);
                media = ports.next();
                put_media(&line, media.copied().flatten(), out);
            }
            b'c' if read_connection(line.value) != Connection::Held => {
                out.extend_from_slice(b"c=");
                out.extend_from_slice(connection.as_bytes());
                out.extend_from_slice(line.end);
            }
            b'a' if is_dropped(line.value) => {}
            _ => out.extend_from_slice(line.whole),
        }
        end = if line.end.is_empty() { end } else { line.end };
        if line.end.is_empty() && media.is_some_and(|m| m.is_some_and(|m| m.rtcp.is_some())) {
            out.extend_from_slice(end);
        }
    }
    put_rtcp(media, end, out);
}

fn put_rtcp(media: Option<&Option<Ports>>, end: &[u8], out: &mut Vec<u8>) {
    if let Some(Some(Ports { rtcp: Some(port), .. })) = media {
        out.extend_from_slice(format!("a=rtcp:{port}").as_bytes());
        out.extend_from_slice(end);
    }
}

/// `m=<media> <port>[/<count>] <rest>` with another port and no count.
fn put_media(line: &RawLine<'_>, ports: Option<Ports>, out: &mut Vec<u8>) {
    let mut parts = line.value.splitn(3, |byte| *byte == b' ');
    let (Some(media), Some(_), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return out.extend_from_slice(line.whole);
    };
    let mut port = String::new();
    let _ = write!(port, " {} ", ports.map_or(0, |ports| ports.port));
    out.extend_from_slice(b"m=");
    out.extend_from_slice(media);
    out.extend_from_slice(port.as_bytes());
    out.extend_from_slice(rest);
    out.extend_from_slice(line.end);
}

/// ICE (RFC 8839) between phones cannot work through relayed addresses; `a=rtcp` is written anew.
fn is_dropped(value: &[u8]) -> bool {
    let name = value.get(..memchr(b':', value).unwrap_or(value.len())).unwrap_or_default();
    matches!(
        name.trim_ascii(),
        b"candidate"
            | b"remote-candidates"
            | b"end-of-candidates"
            | b"ice-ufrag"
            | b"ice-pwd"
            | b"ice-options"
            | b"ice-lite"
            | b"ice-mismatch"
            | b"ice-pacing"
            | b"rtcp"
    )
}

fn read_media(value: &[u8], connection: Connection) -> Line {
    let mut parts = value.split(|byte| *byte == b' ').filter(|part| !part.is_empty());
    let media = parts.next().unwrap_or_default();
    let port = parts.next().unwrap_or_default();
    let port = port.split(|byte| *byte == b'/').next().and_then(number).unwrap_or(0);
    let carriage = Carriage::of(media, parts.next().unwrap_or_default());
    Line { carriage, port, connection, rtcp_port: None, rtcp_address: None, mux_only: false }
}

fn read_attribute(value: &[u8], media: &mut Line) {
    if let Some(rtcp) = value.strip_prefix(b"rtcp:") {
        let mut parts = rtcp.split(|byte| *byte == b' ').filter(|part| !part.is_empty());
        media.rtcp_port = parts.next().and_then(number);
        media.rtcp_address = parts.nth(2).and_then(address);
    } else if value == b"rtcp-mux-only" {
        media.mux_only = true;
    }
}

/// `IN IP4 192.0.2.1` or `IN IP6 2001:db8::1`, with `/ttl` only for multicast.
fn read_connection(value: &[u8]) -> Connection {
    let mut parts = value.split(|byte| *byte == b' ').filter(|part| !part.is_empty());
    let (Some(_), Some(_), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
        return Connection::Unknown;
    };
    match address(text) {
        Some(ip) if ip.is_unspecified() => Connection::Held,
        Some(ip) if !ip.is_multicast() => Connection::At(ip),
        _ => Connection::Unknown,
    }
}

fn number(digits: &[u8]) -> Option<u16> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let v4 = || text.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    v4().or_else(|| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6))
}

struct RawLine<'a> {
    field: u8,
    /// After the `=`, without line end.
    value: &'a [u8],
    end: &'a [u8],
    whole: &'a [u8],
}

fn lines(body: &[u8]) -> impl Iterator<Item = RawLine<'_>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (whole, after) = rest.split_at(len);
        rest = after;
        let text = whole.strip_suffix(b"\n").map_or(whole, |line| line.strip_suffix(b"\r").unwrap_or(line));
        let (content, end) = whole.split_at(text.len());
        let (field, value) = match content {
            [field, b'=', value @ ..] => (*field, value),
            _ => (0, content),
        };
        Some(RawLine { field, value, end, whole })
    })
}

/// The session description in a body: all of it, or the part of that type of a multipart body (RFC 5621),
/// as a range of the body.
pub(crate) fn find(content_type: &[u8], body: &[u8]) -> Option<std::ops::Range<usize>> {
    let kind = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if kind.eq_ignore_ascii_case(b"application/sdp") {
        return (!body.is_empty()).then_some(0..body.len());
    }
    if !kind.get(..10).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"multipart/")) {
        return None;
    }
    let boundary = boundary(content_type)?;
    let mut delimiter = b"--".to_vec();
    delimiter.extend_from_slice(boundary);
    let finder = memchr::memmem::Finder::new(&delimiter);
    let mut starts = finder.find_iter(body).filter(|at| *at == 0 || body.get(at - 1) == Some(&b'\n'));
    let mut part = starts.next()?;
    for next in starts {
        let head = memchr(b'\n', body.get(part..)?)? + part + 1;
        if let Some(range) = sdp_part(body, head, next) {
            return Some(range);
        }
        part = next;
    }
    None
}

/// The content of one part if it is a session description.
fn sdp_part(body: &[u8], start: usize, end: usize) -> Option<std::ops::Range<usize>> {
    let part = body.get(start..end)?;
    let (head_len, content) = match memchr::memmem::find(part, b"\r\n\r\n") {
        Some(at) => (at, at + 4),
        None => memchr::memmem::find(part, b"\n\n").map(|at| (at, at + 2))?,
    };
    let is_sdp = part.get(..head_len)?.split(|byte| *byte == b'\n').any(|line| {
        let Some(colon) = memchr(b':', line) else { return false };
        let (name, value) = line.split_at(colon);
        let kind = value[1..].split(|byte| *byte == b';').next().unwrap_or_default();
        (name.trim_ascii().eq_ignore_ascii_case(b"content-type")
            || name.trim_ascii().eq_ignore_ascii_case(b"c"))
            && kind.trim_ascii().eq_ignore_ascii_case(b"application/sdp")
    });
    if !is_sdp {
        return None;
    }
    // The line end before the delimiter belongs to the delimiter (RFC 2046 §5.1.1).
    let text = part.strip_suffix(b"\n").map_or(part, |p| p.strip_suffix(b"\r").unwrap_or(p));
    (content <= text.len()).then_some(start + content..start + text.len())
}

fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let mut params = content_type.split(|byte| *byte == b';').skip(1);
    let value = params.find_map(|param| {
        let eq = memchr(b'=', param)?;
        let (name, value) = param.split_at(eq);
        name.trim_ascii().eq_ignore_ascii_case(b"boundary").then_some(value[1..].trim_ascii())
    })?;
    let bare = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
    (!bare.is_empty() && bare.len() <= 70).then_some(bare)
}

#[cfg(test)]
#[path = "description_tests.rs"]
mod tests;
