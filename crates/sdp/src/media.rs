//! One media section.

use crate::attributes::{Direction, Rtcp, Rtpmap, rtcp};
use crate::view::{Connection, Section, number, words};
use std::net::{IpAddr, SocketAddr};

/// One media section: its `m=` line taken apart (RFC 8866 §5.14), the rest on demand.
#[derive(Clone, Copy)]
pub struct Media<'a> {
    /// Its position among the media sections, from 0.
    pub number: usize,
    /// `audio`, `video`, `image`, `message` …
    pub kind: &'a [u8],
    /// The port; 0 means that the media is rejected or not used.
    pub port: u16,
    /// How many consecutive ports (pairs, for RTP) are meant; 1 when not written.
    pub count: u16,
    /// `RTP/AVP`, `RTP/SAVP`, `udptl`, `TCP/MSRP` …
    pub proto: &'a [u8],
    formats: &'a [u8],
    section: Section<'a>,
}

impl<'a> Media<'a> {
    pub(crate) fn read(section: Section<'a>, at: usize) -> Option<Media<'a>> {
        let line = section.value(b'm')?;
        let mut parts = words(line);
        let (kind, port, proto) = (parts.next()?, parts.next()?, parts.next()?);
        let after = (proto.as_ptr() as usize - line.as_ptr() as usize) + proto.len();
        let mut ports = port.splitn(2, |&b| b == b'/');
        let port = number(ports.next()?)?;
        let count = match ports.next() {
            Some(count) => number(count)?,
            None => 1,
        };
        let formats = line.get(after..).unwrap_or_default();
        Some(Media { number: at, kind, port, count, proto, formats, section })
    }

    /// Its lines and attributes.
    pub fn section(&self) -> Section<'a> {
        self.section
    }

    /// The formats: payload types for RTP.
    pub fn formats(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        words(self.formats)
    }

    /// Whether the transport is RTP, secured or not.
    pub fn is_rtp(&self) -> bool {
        self.proto.split(|&b| b == b'/').any(|part| {
            [&b"RTP"[..], b"AVP", b"SAVP", b"AVPF", b"SAVPF"].iter().any(|rtp| part.eq_ignore_ascii_case(rtp))
        })
    }

    /// Whether the transport runs over TCP (RFC 4145).
    pub fn is_tcp(&self) -> bool {
        self.proto.split(|&b| b == b'/').any(|part| part.eq_ignore_ascii_case(b"TCP"))
    }

    /// Port 0 without `a=bundle-only`: not wanted (RFC 3264 §6, RFC 9143 §6).
    pub fn rejected(&self) -> bool {
        self.port == 0 && !self.section.has_attribute(b"bundle-only")
    }

    /// Its `c=` line, or the session's.
    pub fn connection(&self) -> Option<Connection<'a>> {
        self.section.own_connection().or_else(|| self.section.sdp.session().own_connection())
    }

    /// Whether the address is 0.0.0.0 or `::`: on hold as RFC 2543 did it (RFC 3264 §8.4).
    pub fn held(&self) -> bool {
        self.connection().and_then(|connection| connection.ip).is_some_and(|ip| ip.is_unspecified())
    }

    /// Where to send media to: `None` when it is rejected, held, or has a name instead of an address.
    pub fn target(&self) -> Option<SocketAddr> {
        let ip = self.connection()?.ip.filter(|ip| !ip.is_unspecified())?;
        (self.port != 0).then_some(SocketAddr::new(ip, self.port))
    }

    /// Where RTCP goes.
    pub fn rtcp(&self) -> Rtcp {
        if self.section.has_attribute(b"rtcp-mux") {
            return Rtcp::Mux;
        }
        self.section.attribute_value(b"rtcp").and_then(rtcp).unwrap_or(Rtcp::Next)
    }

    /// Where to send RTCP to, as [`Media::target`].
    pub fn rtcp_target(&self) -> Option<SocketAddr> {
        let rtp = self.target()?;
        match self.rtcp() {
            Rtcp::Mux => Some(rtp),
            Rtcp::Next => Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?)),
            Rtcp::At(port, other) => {
                let ip: IpAddr = other.unwrap_or(rtp.ip());
                (port != 0 && !ip.is_unspecified()).then_some(SocketAddr::new(ip, port))
            }
        }
    }

    /// Which way media flows: its own attribute, the session's, else both ways.
    pub fn direction(&self) -> Direction {
        let of =
            |section: Section<'a>| section.attributes().find_map(|attribute| Direction::of(attribute.name));
        of(self.section).or_else(|| of(self.section.sdp.session())).unwrap_or_default()
    }

    /// All `rtpmap`s that can be read.
    pub fn rtpmaps(&self) -> impl Iterator<Item = Rtpmap<'a>> + use<'a> {
        let values = self.section.attributes().filter(|attribute| attribute.name == b"rtpmap");
        values.filter_map(|attribute| Rtpmap::parse(attribute.value?))
    }

    /// What a payload type means: its `rtpmap`, or one of the static types for telephony of RFC 3551 §6.
    pub fn encoding(&self, payload: u8) -> Option<Rtpmap<'a>> {
        let fixed = |encoding| Some(Rtpmap { payload, encoding, clock: 8000, channels: 1 });
        self.rtpmaps().find(|map| map.payload == payload).or_else(|| match payload {
            0 => fixed(b"PCMU"),
            3 => fixed(b"GSM"),
            8 => fixed(b"PCMA"),
            9 => fixed(b"G722"),
            13 => fixed(b"CN"),
            18 => fixed(b"G729"),
            _ => None,
        })
    }

    /// The parameters of a payload type (`a=fmtp`).
    pub fn fmtp(&self, payload: u8) -> Option<&'a [u8]> {
        self.section.attributes().filter(|attribute| attribute.name == b"fmtp").find_map(|attribute| {
            let value = attribute.value?;
            let blank = memchr::memchr(b' ', value)?;
            (number::<u8>(&value[..blank])? == payload).then(|| value[blank..].trim_ascii_start())
        })
    }

    /// The packet time in milliseconds.
    pub fn ptime(&self) -> Option<u16> {
        number(self.section.attribute_value(b"ptime")?)
    }

    /// The identification tag (`a=mid`, RFC 5888).
    pub fn mid(&self) -> Option<&'a [u8]> {
        self.section.attribute_value(b"mid")
    }

    /// The label (RFC 4574).
    pub fn label(&self) -> Option<&'a [u8]> {
        self.section.attribute_value(b"label")
    }

    /// The authority, `host:port`, of the first URI of an MSRP path (`a=path`, RFC 4975 §8): whom to connect to.
    pub fn path_authority(&self) -> Option<&'a [u8]> {
        let path = self.section.attribute_value(b"path")?;
        let start = memchr::memmem::find(path, b"://")? + 3;
        let rest = path.get(start..)?;
        let end = rest.iter().position(|byte| b"/; ".contains(byte)).unwrap_or(rest.len());
        let user = rest.get(..end)?.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
        rest.get(user..end).filter(|authority| !authority.is_empty())
    }

    /// `active`, `passive`, `actpass` or `holdconn`: its own, or the session's (RFC 4145 §4).
    pub fn setup(&self) -> Option<&'a [u8]> {
        let of = |section: Section<'a>| section.attribute_value(b"setup");
        of(self.section).or_else(|| of(self.section.sdp.session()))
    }
}

impl std::fmt::Debug for Media<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let line = self.section.value(b'm').unwrap_or_default();
        write!(f, "m={}", String::from_utf8_lossy(line))
    }
}
