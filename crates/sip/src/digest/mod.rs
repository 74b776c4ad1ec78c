//! Digest authentication (RFC 7616, RFC 8760), with RFC 2617 and RFC 2069 peers as fallback.
//!
//! A server makes a [`NewChallenge`] for each algorithm that it accepts, the strongest first, and checks what
//! comes back with [`Credentials::parse`] and [`Credentials::prove`]. A client picks one with [`choose`] and
//! keeps a [`Session`] for the following requests. Nonces, client nonces and their counting are the caller's:
//! nothing here draws randomness or remembers.
//!
//! ```
//! use causeway_sip::digest::{self, Algorithm, Credentials, Ha1, NewChallenge, Session};
//! use causeway_sip::Method;
//!
//! let ha1 = Ha1::new(Algorithm::SHA256, b"alice", b"example.com", b"secret");
//! let challenge = NewChallenge::new(b"example.com", b"7ypf/xlj9XXwfDPEoM4URrv", Algorithm::SHA256).value();
//!
//! let offered = digest::choose([&challenge[..]]).unwrap();
//! let mut session = Session::new(&offered, b"alice", b"secret");
//! let header = session.answer(Method::Register, b"sip:example.com", b"0a4f113b");
//!
//! let credentials = Credentials::parse(&header).unwrap();
//! assert_eq!(&*credentials.username, b"alice");
//! assert!(credentials.prove(&ha1, Method::Register));
//! assert!(!credentials.prove(&ha1, Method::Invite));
//! ```

mod challenge;
mod client;
mod credentials;
mod hash;
mod params;

pub use challenge::{Challenge, NewChallenge};
pub use client::{Session, choose};
pub use credentials::{Credentials, prove};
pub use hash::{Algorithm, Ha1, Hash, constant_time_eq};
pub use params::realm;

/// Why a challenge or credentials cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Another scheme than Digest.
    #[error("the authentication scheme is not Digest")]
    Scheme,
    /// No list of `name=value`, or one name twice.
    #[error("malformed authentication parameters")]
    Malformed,
    /// A parameter is missing that there must be.
    #[error("the authentication parameter {0:?} is missing")]
    Missing(&'static str),
    /// An algorithm that is not known here.
    #[error("unknown digest algorithm")]
    Algorithm,
    /// A quality of protection other than `auth`.
    #[error("unsupported quality of protection")]
    Qop,
}
