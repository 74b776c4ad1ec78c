//! Session descriptions as a half of the split proxy sees them: where media goes, and the same body with
//! other addresses and ports, every other byte kept (RFC 8866, RFC 3264).

use causeway_sdp::{Edit, Index, Media, Sdp, find_sdp};
use std::net::{IpAddr, Ipv4Addr};

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
    fn of(media: &Media<'_>) -> Self {
        let starts =
            |text: &[u8]| media.proto.get(..text.len()).is_some_and(|p| p.eq_ignore_ascii_case(text));
        if media.is_tcp() {
            Self::None
        } else if media.is_rtp() {
            match media.kind {
                b"audio" => Self::Audio,
                b"video" => Self::Video,
                _ => Self::OtherRtp,
            }
        } else if starts(b"UDP") || starts(b"DTLS/SCTP") {
            Self::Datagrams
        } else {
            Self::None
        }
    }

    /// Its name on disk.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::OtherRtp => "rtp",
            Self::Datagrams => "datagrams",
            Self::None => "none",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [Self::Audio, Self::Video, Self::OtherRtp, Self::Datagrams];
        all.into_iter().find(|carriage| carriage.name() == name)
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

/// Reads the `m=` lines; `None` if this is no session description, or one with too many lines, or with one
/// that cannot be read and so cannot be rewritten.
pub(crate) fn read(body: &[u8]) -> Option<Vec<Line>> {
    let mut index = Index::new();
    index.parse(body).ok()?;
    let sdp = Sdp::new(body, &index);
    if sdp.media_count() > MAX_LINES {
        return None;
    }
    sdp.media().map(|media| media.map(read_media)).collect()
}

fn read_media(media: Media<'_>) -> Line {
    let connection = match media.connection().and_then(|connection| connection.ip) {
        Some(ip) if ip.is_unspecified() => Connection::Held,
        Some(ip) if !ip.is_multicast() => Connection::At(ip),
        _ => Connection::Unknown,
    };
    // Read apart from a=rtcp-mux: whether that is agreed on is not known before the answer (RFC 5761 §5.1.1).
    let rtcp = media.section().attribute_value(b"rtcp").unwrap_or_default();
    let mut rtcp = rtcp.split(|byte| *byte == b' ').filter_map(|word| std::str::from_utf8(word).ok());
    Line {
        carriage: Carriage::of(&media),
        port: media.port,
        connection,
        rtcp_port: rtcp.next().and_then(|port| port.parse().ok()),
        rtcp_address: rtcp.nth(2).and_then(|address| address.parse().ok()),
        mux_only: media.section().has_attribute(b"rtcp-mux-only"),
    }
}

/// Appends the body with `address` in its `c=` lines and `ports` in its `m=` lines. ICE attributes go, since
/// they cannot work through relayed addresses, and so does `a=rtcp` where [`Ports::rtcp`] does not say
/// otherwise.
pub(crate) fn rewrite(body: &[u8], address: IpAddr, ports: &[Option<Ports>], out: &mut Vec<u8>) {
    let mut index = Index::new();
    if index.parse(body).is_err() {
        return out.extend_from_slice(body);
    }
    let sdp = Sdp::new(body, &index);
    let mut edit = Edit::new();
    edit.set_addresses(sdp, address);
    edit.remove_ice(sdp);
    for media in 0..sdp.media_count() {
        let given = ports.get(media).copied().flatten();
        edit.set_port(sdp, media, given.map_or(0, |given| given.port));
        edit.set_rtcp(sdp, media, given.and_then(|given| given.rtcp));
    }
    edit.apply(sdp, out);
}

/// The session description in a body, as a range of it.
pub(crate) fn find(content_type: &[u8], body: &[u8]) -> Option<std::ops::Range<usize>> {
    find_sdp(content_type, body).filter(|range| !range.is_empty())
}

#[cfg(test)]
#[path = "description_tests.rs"]
mod tests;
