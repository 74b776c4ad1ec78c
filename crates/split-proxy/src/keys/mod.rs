//! Keys that users inherit from their registration, at both ends.
//!
//! The agent and the contact point both see a REGISTER and its 2xx pass; each remembers the Authorization of the
//! latest one per address of record ([`Registrations`]). The agent then offers a key for that user on its tunnel,
//! and the two ends' [`Book`]s agree on it. What that is worth, and what the bytes are, is told by
//! [`causeway_tunnel::key`].

mod book;
mod policy;
mod registrations;

pub(crate) use book::{Book, Told, first_number};
pub use policy::{KeyLine, KeyPolicy, LineSecret};
pub(crate) use policy::{Secrets, header_secret};
pub(crate) use registrations::{Registrations, credential};

use causeway_sip::{Scheme, Uri};
use causeway_tunnel::key::Assurance;

/// What the lanes of a call need: a user whose key seals them, and what that key must be worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneKeys {
    /// His number on the tunnel; 0 for nobody.
    pub user: u32,
    /// Without a key that is worth this much, nothing passes.
    pub least: Assurance,
}

/// What a Goodbye says when somebody stands between the ends.
pub(crate) const INTERCEPTED: &str =
    "the tunnel is intercepted: the two ends do not share one TLS connection";

/// What makes two URIs the same user, and an address of record canonical: `sips` and `sip` name the same one.
pub(crate) fn identity(uri: &[u8]) -> Option<Vec<u8>> {
    let uri = Uri::parse(uri)?;
    let aor = uri.aor();
    Some(match uri.scheme {
        Scheme::Sips => [b"sip", aor.get(4..).unwrap_or_default()].concat(),
        _ => aor,
    })
}
