//! How a packet asks routers to be treated.

use std::fmt;
use std::str::FromStr;

/// A differentiated services code point (RFC 2474 §3): the upper six bits of the IPv4 type of service and of the
/// IPv6 traffic class, 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dscp(u8);

impl Dscp {
    /// Like everything else.
    pub const DEFAULT: Self = Self(0);
    /// CS3: what most networks use for signalling; RFC 4594 §4.2 would have CS5.
    pub const CS3: Self = Self(24);
    /// AF41, video conferencing (RFC 4594 §4.3).
    pub const AF41: Self = Self(34);
    /// EF, speech (RFC 3246, RFC 4594 §4.1).
    pub const EF: Self = Self(46);

    /// A code point; `None` above 63.
    pub const fn new(code: u8) -> Option<Self> {
        if code < 64 { Some(Self(code)) } else { None }
    }

    /// The number.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// The octet of the header that holds it, the two bits of ECN clear.
    pub const fn octet(self) -> u8 {
        self.0 << 2
    }
}

impl fmt::Display for Dscp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// No number from 0 to 63.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DscpError(String);

impl fmt::Display for DscpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is no code point from 0 to 63", self.0)
    }
}

impl std::error::Error for DscpError {}

impl FromStr for Dscp {
    type Err = DscpError;

    fn from_str(text: &str) -> Result<Self, DscpError> {
        text.parse().ok().and_then(Self::new).ok_or_else(|| DscpError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::Dscp;

    #[test]
    fn code_points() {
        assert_eq!("46".parse(), Ok(Dscp::EF));
        assert_eq!((Dscp::EF.octet(), Dscp::AF41.octet(), Dscp::CS3.octet()), (0xb8, 0x88, 0x60));
        for wrong in ["64", "-1", "", "EF", "256"] {
            assert!(wrong.parse::<Dscp>().is_err(), "{wrong}");
        }
    }
}
