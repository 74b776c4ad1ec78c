//! What a node may ask and wait for.

use std::net::SocketAddr;

/// Something that only the world outside the node can answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The addresses of a host name, for a connection to `port`; asked anew at every attempt, so that a
    /// changed address is found.
    Resolve {
        /// A host name or an address literal.
        host: String,
        /// The port to put into the answers.
        port: u16,
    },
    /// Is this digest response right? Only the subscriber database knows HA1, so it is the one to compare.
    Credential(Box<Credential>),
}

/// A digest response with everything needed to check it (RFC 7616 §3.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// User name as sent, unquoted.
    pub username: Vec<u8>,
    /// Realm of the challenge, which the asker has checked to be its own.
    pub realm: Vec<u8>,
    /// Method of the request.
    pub method: Vec<u8>,
    /// `uri` parameter as sent.
    pub uri: Vec<u8>,
    /// Nonce, which the asker has checked.
    pub nonce: Vec<u8>,
    /// Nonce count as sent; empty without qop.
    pub nc: Vec<u8>,
    /// Client nonce as sent; empty without qop.
    pub cnonce: Vec<u8>,
    /// `auth`, or empty for a response in the manner of RFC 2069.
    pub qop: Vec<u8>,
    /// `MD5` or `SHA-256`.
    pub algorithm: Vec<u8>,
    /// The response, in hexadecimal as sent.
    pub response: Vec<u8>,
}

/// An answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Addresses in the order in which to try them; empty if the name has none or cannot be resolved, with
    /// the reason.
    Addresses(Vec<SocketAddr>, String),
    /// The verdict on a credential.
    Credential(Credentials),
}

/// What the subscriber database says of a digest response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Right; these are the addresses of record (canonical URIs) that this user may use.
    Accepted(Vec<String>),
    /// A known user, a wrong response.
    Wrong,
    /// No such user in this realm.
    Unknown,
    /// The database cannot be asked just now.
    Unavailable,
}
