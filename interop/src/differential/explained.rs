//! Why the two differ, and who is right: every difference must find its explanation here.

use super::compare::Difference;

/// Whose behaviour the RFCs ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Causeway's.
    Ours,
    /// Kamailio's.
    Theirs,
    /// Either is allowed.
    Both,
}

/// A class of differences.
pub struct Explained {
    pub id: &'static str,
    pub what: &'static str,
    pub right: Right,
    pub why: &'static str,
    pub is: fn(&Difference) -> bool,
}

/// All of them; the first that fits counts.
pub const ALL: &[Explained] = &[];
