//! The branch parameter: what a response is matched by (RFC 3261 §17.1.3).

use causeway_node::Ctx;
use std::fmt;

/// The branch parameter of a client transaction of ours: `z9hG4bK-cw`, 16 hexadecimal digits, and whatever
/// the element appends after a further `-` (a loop-detection hash, RFC 5393 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Branch(u64);

impl Branch {
    const PREFIX: &'static str = "z9hG4bK-cw";

    /// A new one that nobody can guess.
    pub fn new(ctx: &mut Ctx<'_>) -> Self {
        Self(ctx.rng.next_u64())
    }

    /// Reads a branch parameter; `None` if it is not one of ours.
    pub fn read(branch: &[u8]) -> Option<Self> {
        let rest = branch.strip_prefix(Self::PREFIX.as_bytes())?;
        let (digits, after) = rest.split_at_checked(16)?;
        if !matches!(after.first(), None | Some(b'-')) || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok().map(Self)
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:016x}", Self::PREFIX, self.0)
    }
}
