//! Keys that users inherit from their SIP registration, and what is sealed with them.
//!
//! A user registers through the tunnel; his accepted `Authorization` leaves both ends with something in common:
//! its response ([`Assurance::Header`]), or HA1, which it was made with ([`Assurance::Digest`]). From that, from
//! the exporter of the TLS connection and from fresh bytes of both ends [`derive`] makes a [`Master`], whose
//! [`Schedule`] gives a key for either direction and one for either end's confirmation. Nobody configures a key
//! for the tunnel.
//!
//! Because the exporter enters, the two ends come to the same key only if they are the two ends of **one** TLS
//! connection: an inspector in between, which has one connection to each, makes the confirmation fail. That
//! holds where it does not know the secret; the header it does see.
//!
//! All here is pure: secrets, time and randomness come in by argument. `docs/tunnel.md` has the bytes, with
//! vectors.

mod assurance;
mod message;
mod schedule;
mod seal;
mod table;

pub use assurance::{Assurance, Modes, UnknownAssurance};
pub use message::{Accept, Confirm, DropReason, KeyMessage, MAX_AOR, Offer};
pub use schedule::{Facts, Master, Schedule, credential_id, derive};
pub use seal::{OVERHEAD, Opener, Sealer};
pub use table::KeyStats;
pub(crate) use table::{Incoming, Outgoing, Table};

/// Set in [`crate::Hello::offered`] by an end that understands the messages of user keys.
pub const FEATURE: u32 = 1;
