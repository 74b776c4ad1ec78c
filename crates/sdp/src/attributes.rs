//! Attributes (RFC 8866 §5.13, §6).

use crate::view::{ip, number, words};
use std::net::IpAddr;

/// One `a=` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Before the colon.
    pub name: &'a [u8],
    /// After the colon; `None` for a flag.
    pub value: Option<&'a [u8]>,
}

impl<'a> Attribute<'a> {
    /// Takes the value of an `a=` line apart.
    pub fn parse(text: &'a [u8]) -> Attribute<'a> {
        match memchr::memchr(b':', text) {
            Some(colon) => {
                Attribute { name: &text[..colon], value: Some(text[colon + 1..].trim_ascii_start()) }
            }
            None => Attribute { name: text, value: None },
        }
    }

    /// Whether it belongs to ICE (RFC 8839 §5, RFC 8840): a middlebox that rewrites addresses has to remove
    /// these, or the ends go round it.
    pub fn is_ice(&self) -> bool {
        const ICE: [&[u8]; 9] = [
            b"candidate",
            b"remote-candidates",
            b"end-of-candidates",
            b"ice-ufrag",
            b"ice-pwd",
            b"ice-options",
            b"ice-lite",
            b"ice-mismatch",
            b"ice-pacing",
        ];
        ICE.contains(&self.name)
    }
}

/// `a=rtpmap:<payload> <encoding>/<clock>[/<channels>]` (RFC 8866 §6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtpmap<'a> {
    /// The payload type, 0 to 127.
    pub payload: u8,
    /// The encoding; compare without case.
    pub encoding: &'a [u8],
    /// The clock rate in Hz.
    pub clock: u32,
    /// The channels, 1 when not written.
    pub channels: u8,
}

impl<'a> Rtpmap<'a> {
    /// Reads the value of an `rtpmap`.
    pub fn parse(value: &'a [u8]) -> Option<Rtpmap<'a>> {
        let mut parts = words(value);
        let payload = number(parts.next()?).filter(|&payload: &u8| payload < 128)?;
        let mut codec = parts.next()?.split(|&b| b == b'/');
        let (encoding, clock) = (codec.next()?, number(codec.next()?)?);
        let channels = codec.next().and_then(number).unwrap_or(1);
        Some(Rtpmap { payload, encoding, clock, channels })
    }
}

/// Which way media flows, seen from whoever wrote the description (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// From the writer only.
    SendOnly,
    /// To the writer only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The direction of an attribute of that name.
    pub fn of(name: &[u8]) -> Option<Direction> {
        match name {
            b"sendrecv" => Some(Direction::SendRecv),
            b"sendonly" => Some(Direction::SendOnly),
            b"recvonly" => Some(Direction::RecvOnly),
            b"inactive" => Some(Direction::Inactive),
            _ => None,
        }
    }

    /// The attribute's name.
    pub fn name(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// Whether the writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The one that sends and receives so.
    pub fn from_flags(sends: bool, receives: bool) -> Direction {
        match (sends, receives) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// What the other end may answer who would like `wanted` (RFC 3264 §6.1).
    pub fn answer(self, wanted: Direction) -> Direction {
        Direction::from_flags(self.receives() && wanted.sends(), self.sends() && wanted.receives())
    }
}

/// Where RTCP goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rtcp {
    /// To the port of RTP: `a=rtcp-mux` (RFC 5761).
    Mux,
    /// To the port above (RFC 3550 §11).
    Next,
    /// Where `a=rtcp` says (RFC 3605): a port, and an address if it differs from the connection's.
    At(u16, Option<IpAddr>),
}

/// Reads the value of `a=rtcp`: `<port> [IN IP4 <address>]`.
pub(crate) fn rtcp(value: &[u8]) -> Option<Rtcp> {
    let mut parts = words(value);
    let port = number(parts.next()?)?;
    Some(Rtcp::At(port, parts.nth(2).and_then(ip)))
}
