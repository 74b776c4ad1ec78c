//! Session descriptions as a half of the split proxy sees them: where media goes, and the same body with
//! other addresses and ports, every other byte kept (RFC 8866, RFC 3264).

use crate::media::Content;
use causeway_sdp::{Attribute, Edit, Index, Media, Sdp, find_sdp};
use causeway_tunnel::{Kind, Lane};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// More `m=` lines than this are not carried.
pub(crate) const MAX_LINES: usize = 16;

/// The port of who only connects himself (RFC 4145 §4.1).
const DISCARD: u16 = 9;

/// The address that stands for "this tunnel" in a description inside it (RFC 7600 §4.8: the dummy address).
pub(crate) const PLACEHOLDER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));

/// Of the session, at the operator's: which leg of the contact point a description has passed through.
const LEG_TOKEN: &[u8] = b"x-causeway-leg";
/// Of a line, inside the tunnel: what it leads to is behind this lane of the same tunnel.
const FAR_LANE: &[u8] = b"x-causeway-lane";

/// How an `m=` line is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// RTP and RTCP, of audio.
    Audio,
    /// RTP and RTCP, of video.
    Video,
    /// RTP and RTCP, of anything else.
    OtherRtp,
    /// Fax over UDP (T.38).
    Fax,
    /// Other datagrams: data channels.
    Datagrams,
    /// A TCP connection (RFC 4145).
    Stream,
    /// The same with MSRP on it (RFC 4975), in the clear: its paths name the transport's addresses.
    Msrp,
    /// Of a kind unknown here: cannot be carried.
    None,
}

impl Carriage {
    fn of(media: &Media<'_>) -> Self {
        let starts =
            |text: &[u8]| media.proto.get(..text.len()).is_some_and(|p| p.eq_ignore_ascii_case(text));
        if media.proto.eq_ignore_ascii_case(b"TCP/MSRP") {
            Self::Msrp
        } else if media.is_tcp() {
            Self::Stream
        } else if media.is_rtp() {
            match media.kind {
                b"audio" => Self::Audio,
                b"video" => Self::Video,
                _ => Self::OtherRtp,
            }
        } else if media.proto.eq_ignore_ascii_case(b"udptl") {
            Self::Fax
        } else if starts(b"UDP") || starts(b"DTLS/SCTP") {
            Self::Datagrams
        } else {
            Self::None
        }
    }

    /// The kind of lane for its packets, RTCP excepted.
    pub(crate) fn lane_kind(self) -> Kind {
        match self {
            Self::Audio => Kind::Audio,
            Self::Video => Kind::Video,
            Self::Stream | Self::Msrp => Kind::Stream,
            Self::OtherRtp | Self::Fax | Self::Datagrams | Self::None => Kind::Other,
        }
    }

    /// Whether it is a connection.
    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Self::Stream | Self::Msrp)
    }

    /// Its name on disk.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::OtherRtp => "rtp",
            Self::Fax => "fax",
            Self::Datagrams => "datagrams",
            Self::Stream => "stream",
            Self::Msrp => "msrp",
            Self::None => "none",
        }
    }

    /// Connections do not survive, and are not found again.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [Self::Audio, Self::Video, Self::OtherRtp, Self::Fax, Self::Datagrams];
        all.into_iter().find(|carriage| carriage.name() == name)
    }

    /// What the packets of its two ports are.
    pub(crate) fn contents(self) -> [Content; 2] {
        let first = match self {
            Self::Audio => Content::Audio,
            Self::Video | Self::OtherRtp => Content::Video,
            Self::Fax => Content::Fax,
            Self::Datagrams | Self::Stream | Self::Msrp | Self::None => Content::Other,
        };
        [first, Content::Rtcp]
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
    /// The lane of the same tunnel that leads to the other phone ([`FAR_LANE`]).
    pub far_lane: Option<Lane>,
    /// Where this party takes connections: not where it connects itself, nor where there are none (RFC 4145 §4).
    pub takes_connections: bool,
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
    /// Where this port is, if not at the address of all.
    pub address: Option<IpAddr>,
    /// Written as [`FAR_LANE`].
    pub far_lane: Option<Lane>,
}

impl Ports {
    /// A port at the address of all.
    pub(crate) fn new(port: u16, rtcp: Option<u16>) -> Self {
        Self { port, rtcp, address: None, far_lane: None }
    }
}

/// What is written into a description.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writing<'a> {
    /// The address of all lines.
    pub address: IpAddr,
    /// Of each line.
    pub ports: &'a [Option<Ports>],
    /// Written as [`LEG_TOKEN`].
    pub token: Option<&'a str>,
}

/// The token that a description bears.
pub(crate) fn token(body: &[u8]) -> Option<Vec<u8>> {
    let mut index = Index::new();
    index.parse(body).ok()?;
    Sdp::new(body, &index).session().attribute_value(LEG_TOKEN).map(<[u8]>::to_vec)
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
        far_lane: media
            .section()
            .attribute_value(FAR_LANE)
            .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok())
            .map(Lane),
        takes_connections: media.port != DISCARD
            && !media.setup().is_some_and(|setup| setup == b"active" || setup == b"holdconn"),
    }
}

/// The authority of each line's MSRP path: what its party is called in the messages.
pub(crate) fn path_authorities(body: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut index = Index::new();
    if index.parse(body).is_err() {
        return Vec::new();
    }
    let sdp = Sdp::new(body, &index);
    sdp.media().map(|media| media?.path_authority().map(<[u8]>::to_vec)).collect()
}

/// Whether an attribute asks for several media over one transport (RFC 9143 §5, §6). Removed, every medium keeps a
/// transport of its own, as the answer to an offer without it (§7.3), and with that its own lane, priority,
/// deadline and DSCP; `a=mid` stays for other groups (RFC 5888).
fn is_bundle(media: Option<usize>, attribute: Attribute<'_>) -> bool {
    match media {
        None => {
            let value = attribute.value.unwrap_or_default().trim_ascii_start();
            attribute.name == b"group" && value.split(|byte| *byte == b' ').next() == Some(b"BUNDLE")
        }
        Some(_) => attribute.name == b"bundle-only",
    }
}

/// Appends the body with `address` in its `c=` lines and `ports` in its `m=` lines. ICE attributes go, since
/// they cannot work through relayed addresses, and so does `a=rtcp` where [`Ports::rtcp`] does not say
/// otherwise.
pub(crate) fn rewrite(body: &[u8], writing: Writing<'_>, out: &mut Vec<u8>) {
    let mut index = Index::new();
    if index.parse(body).is_err() {
        return out.extend_from_slice(body);
    }
    let sdp = Sdp::new(body, &index);
    let lines: Vec<Carriage> =
        sdp.media().map(|media| media.map_or(Carriage::None, |media| Carriage::of(&media))).collect();
    let mut edit = Edit::new();
    edit.set_addresses_by(sdp, writing.address, |media| writing.ports.get(media).copied().flatten()?.address);
    edit.remove_ice(sdp);
    edit.remove_attributes(sdp, |media, attribute| {
        is_bundle(media, attribute) || [LEG_TOKEN, FAR_LANE].contains(&attribute.name)
    });
    for media in 0..sdp.media_count() {
        let given = writing.ports.get(media).copied().flatten();
        edit.set_port(sdp, media, given.map_or(0, |given| given.port));
        edit.set_rtcp(sdp, media, given.and_then(|given| given.rtcp));
        if let Some(given) = given
            && lines.get(media).copied() == Some(Carriage::Msrp)
        {
            let ip = given.address.unwrap_or(writing.address);
            edit.set_path_authority(sdp, media, SocketAddr::new(ip, given.port));
        }
        if let Some(lane) = given.and_then(|given| given.far_lane) {
            let text = [FAR_LANE, format!(":{lane}").as_bytes()].concat();
            edit.add_attribute(sdp, Some(media), &text);
        }
    }
    if let Some(token) = writing.token {
        edit.add_attribute(sdp, None, &[LEG_TOKEN, b":", token.as_bytes()].concat());
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
