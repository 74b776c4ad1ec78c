//! The frame: what every byte of the tunnel lies in.

use std::fmt;

/// Bytes of a frame header: lane (u16, big endian), payload length (u16, big endian).
pub const HEADER: usize = 4;

/// Names a lane of one tunnel.
///
/// | numbers | use |
/// |---|---|
/// | 0 | control messages |
/// | 1 | SIP |
/// | 2–15 | reserved |
/// | 16– | opened and closed by control messages: odd numbers by the agent, even ones by the contact point |
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane(pub u16);

impl Lane {
    /// The lane of control messages.
    pub const CONTROL: Self = Self(0);
    /// The lane of SIP messages.
    pub const SIP: Self = Self(1);
    /// The lowest number that can be opened.
    pub const FIRST: Self = Self(16);
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}", self.0)
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a lane carries; it decides when a waiting packet is sent and when it is too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// RTP of an audio stream.
    Audio,
    /// RTP of a video stream.
    Video,
    /// RTCP of any stream.
    Rtcp,
    /// Any other datagrams.
    Other,
    /// No datagrams: a stream of bytes, after all of them.
    Stream,
}

impl Kind {
    /// All kinds of datagrams, in the order in which they are sent.
    pub const BY_PRIORITY: [Self; 4] = [Self::Rtcp, Self::Audio, Self::Video, Self::Other];

    /// 0 is sent first.
    pub(crate) const fn priority(self) -> usize {
        match self {
            Self::Rtcp => 0,
            Self::Audio => 1,
            Self::Video => 2,
            Self::Other => 3,
            Self::Stream => 4,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Audio => 1,
            Self::Video => 2,
            Self::Rtcp => 3,
            Self::Other => 4,
            Self::Stream => 0x80,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Audio),
            2 => Some(Self::Video),
            3 => Some(Self::Rtcp),
            4 => Some(Self::Other),
            0x80 => Some(Self::Stream),
            _ => None,
        }
    }
}

/// Which half of the split proxy an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The customer's half, which opened the connection.
    Agent,
    /// The operator's half, which accepted it.
    ContactPoint,
}

impl Role {
    /// The role that the other end must have.
    pub const fn other(self) -> Self {
        match self {
            Self::Agent => Self::ContactPoint,
            Self::ContactPoint => Self::Agent,
        }
    }

    /// Whether this role gives out `lane`.
    pub const fn opens(self, lane: Lane) -> bool {
        lane.0 >= Lane::FIRST.0 && (lane.0 % 2 == 1) == matches!(self, Self::Agent)
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Agent => 1,
            Self::ContactPoint => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Agent),
            2 => Some(Self::ContactPoint),
            _ => None,
        }
    }
}

/// Appends a frame header.
pub(crate) fn put_header(buf: &mut Vec<u8>, lane: Lane, len: u16) {
    buf.extend_from_slice(&lane.0.to_be_bytes());
    buf.extend_from_slice(&len.to_be_bytes());
}

/// Splits a frame header into lane and payload length.
pub(crate) fn header(bytes: [u8; HEADER]) -> (Lane, usize) {
    let [a, b, c, d] = bytes;
    (Lane(u16::from_be_bytes([a, b])), usize::from(u16::from_be_bytes([c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_one_owner() {
        for n in 0..=u16::MAX {
            let lane = Lane(n);
            let owners = usize::from(Role::Agent.opens(lane)) + usize::from(Role::ContactPoint.opens(lane));
            assert_eq!(owners, usize::from(n >= 16));
        }
    }

    #[test]
    fn codes_and_priorities_agree_with_the_tables_in_the_documentation() {
        for (priority, kind) in Kind::BY_PRIORITY.into_iter().enumerate() {
            assert_eq!(kind.priority(), priority);
            assert_eq!(Kind::from_code(kind.code()), Some(kind));
        }
        assert_eq!(Kind::from_code(0), None);
        assert_eq!(Kind::from_code(0x80), Some(Kind::Stream));
        assert_eq!(Kind::from_code(0x81), None);
        assert_eq!((Role::from_code(1), Role::from_code(3)), (Some(Role::Agent), None));
    }
}
