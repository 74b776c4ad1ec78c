//! What a user key protects against.

use std::fmt;
use std::str::FromStr;

/// Where a user's secret comes from, and so what a key made of it is worth. Ordered: the later the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Assurance {
    /// No key: what the user sends and receives is protected by TLS alone.
    #[default]
    None,
    /// From the response in his Authorization, which whoever sees the REGISTER knows: separates users from one
    /// another, and gives nothing beyond TLS against an active attacker.
    Header,
    /// From HA1: excludes and shows whoever stands between the two ends of the tunnel, as far as the password
    /// cannot be guessed from a recorded registration.
    Digest,
    /// From CK and IK of Digest AKA: the same, without a password to be guessed.
    Aka,
}

impl Assurance {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::None, Self::Header, Self::Digest, Self::Aka];

    /// The number in messages and derivations.
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Header => 1,
            Self::Digest => 2,
            Self::Aka => 3,
        }
    }

    /// The assurance with a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::None,
            1 => Self::Header,
            2 => Self::Digest,
            3 => Self::Aka,
            _ => return None,
        })
    }

    /// The name in settings and status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Header => "header",
            Self::Digest => "digest",
            Self::Aka => "aka",
        }
    }

    /// What it is worth, in words for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::None => "TLS alone: not protected against interception of the tunnel",
            Self::Header => "not protected against interception of the tunnel",
            Self::Digest => {
                "protected: an interceptor of the tunnel is excluded, unless it has guessed the password"
            }
            Self::Aka => "protected: an interceptor of the tunnel is excluded",
        }
    }
}

impl fmt::Display for Assurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no [`Assurance`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no assurance: it must be none, header, digest or aka")]
pub struct UnknownAssurance(String);

impl FromStr for Assurance {
    type Err = UnknownAssurance;

    fn from_str(text: &str) -> Result<Self, UnknownAssurance> {
        let found = Self::ALL.into_iter().find(|known| known.name() == text);
        found.ok_or_else(|| UnknownAssurance(text.to_owned()))
    }
}

/// A set of modes that an end is ready to use; [`Assurance::None`] is never in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes(u8);

impl Modes {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// From the bits of an offer: bit n is the mode with the number n. Unknown ones and bit 0 are left out.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & 0b1110)
    }

    /// As bits of an offer.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// With one mode more.
    #[must_use]
    pub const fn with(self, mode: Assurance) -> Self {
        Self::from_bits(self.0 | 1 << mode.code())
    }

    /// Without the modes below `least`.
    #[must_use]
    pub const fn at_least(self, least: Assurance) -> Self {
        Self(self.0 & (0xff << least.code()))
    }

    /// Whether a mode is in it.
    pub const fn has(self, mode: Assurance) -> bool {
        self.0 & (1 << mode.code()) != 0 && mode.code() != 0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its modes, the best first.
    pub fn best_first(self) -> impl Iterator<Item = Assurance> {
        Assurance::ALL.into_iter().rev().filter(move |mode| self.has(*mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_codes_and_order() {
        for assurance in Assurance::ALL {
            assert_eq!(assurance.name().parse(), Ok(assurance));
            assert_eq!(Assurance::from_code(assurance.code()), Some(assurance));
        }
        assert!(Assurance::ALL.is_sorted());
        assert!("Digest".parse::<Assurance>().is_err() && Assurance::from_code(4).is_none());
    }

    #[test]
    fn sets_of_modes() {
        let modes = Modes::NONE.with(Assurance::Header).with(Assurance::Digest).with(Assurance::None);
        assert_eq!(modes.bits(), 0b110);
        assert_eq!(modes.best_first().collect::<Vec<_>>(), [Assurance::Digest, Assurance::Header]);
        assert_eq!(modes.at_least(Assurance::Digest).bits(), 0b100);
        assert!(modes.at_least(Assurance::Aka).is_empty());
        assert!(!Modes::from_bits(0xff).has(Assurance::None));
    }
}
