//! What a node may ask and wait for.

use crate::{DerivedKey, UserKey};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

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
    /// The DNS records of one kind under a name (RFC 1035, RFC 2782, RFC 3403), CNAMEs followed: what the server
    /// location of RFC 3263 is made of.
    Records {
        /// The owner name, without a dot at its end.
        name: String,
        /// Which records.
        kind: RecordKind,
    },
    /// Does the subscriber database know this address of record?
    Subscriber {
        /// The canonical URI.
        aor: Vec<u8>,
    },
    /// Is this digest response right? Only the subscriber database knows HA1, so it is the one to compare.
    Credential(Box<Credential>),
    /// The key that a user inherits from a registration of his, for the tunnel: the subscriber database derives it,
    /// since HA1 does not leave it.
    UserKey(Box<UserKey>),
}

/// A digest response with everything needed to check it, in a single piece of memory.
///
/// ```
/// use causeway_node::{Credential, CredentialParts};
///
/// let parts = CredentialParts { username: b"bob", realm: b"example.com", ..CredentialParts::default() };
/// assert_eq!(Credential::new(parts).parts(), parts);
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credential {
    text: Box<[u8]>,
    /// Where each part ends.
    ends: [usize; 10],
}

/// What a [`Credential`] says (RFC 7616 §3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CredentialParts<'a> {
    /// User name as sent, unquoted.
    pub username: &'a [u8],
    /// Realm of the challenge, which the asker has checked to be its own.
    pub realm: &'a [u8],
    /// Method of the request.
    pub method: &'a [u8],
    /// `uri` parameter as sent.
    pub uri: &'a [u8],
    /// Nonce, which the asker has checked.
    pub nonce: &'a [u8],
    /// Nonce count as sent; empty without qop.
    pub nc: &'a [u8],
    /// Client nonce as sent; empty without qop.
    pub cnonce: &'a [u8],
    /// `auth`, or empty for a response in the manner of RFC 2069.
    pub qop: &'a [u8],
    /// `MD5` or `SHA-256`.
    pub algorithm: &'a [u8],
    /// The response, in hexadecimal as sent.
    pub response: &'a [u8],
}

impl Credential {
    /// Puts them together.
    pub fn new(parts: CredentialParts<'_>) -> Self {
        let CredentialParts { username, realm, method, uri, nonce, nc, cnonce, qop, algorithm, response } =
            parts;
        let parts = [username, realm, method, uri, nonce, nc, cnonce, qop, algorithm, response];
        let mut end = 0;
        let ends = parts.map(|part| {
            end += part.len();
            end
        });
        Self { text: parts.concat().into(), ends }
    }

    /// What it says.
    pub fn parts(&self) -> CredentialParts<'_> {
        let mut start = 0;
        let [username, realm, method, uri, nonce, nc, cnonce, qop, algorithm, response] =
            self.ends.map(|end| {
                let part = self.text.get(start..end).unwrap_or_default();
                start = end;
                part
            });
        CredentialParts { username, realm, method, uri, nonce, nc, cnonce, qop, algorithm, response }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().fmt(f)
    }
}

/// An answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Addresses in the order in which to try them; empty if the name has none or cannot be resolved, with
    /// the reason.
    Addresses(Vec<SocketAddr>, String),
    /// The records found, with the seconds for which they may be kept. None at all, with the reason, where the
    /// name does not exist, has no such record, or cannot be asked for.
    Records {
        /// The records.
        records: Vec<DnsRecord>,
        /// How long they are good for; of a negative answer, how long that is.
        ttl: u32,
        /// Why there are none, for a log line.
        why: String,
    },
    /// Whether the address of record is known.
    Subscriber(Lookup),
    /// The verdict on a credential.
    Credential(Credentials),
    /// The derived key; `None` where the registration was not made with the user's password, or the database cannot
    /// be asked.
    UserKey(Option<DerivedKey>),
}

/// Which DNS records are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// NAPTR.
    Naptr,
    /// SRV.
    Srv,
    /// A and AAAA, the system's hosts file included; the family preferred by the system comes first.
    Address,
}

/// One DNS record, as far as server location uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsRecord {
    /// NAPTR (RFC 3403 §4.1); only those without a regular expression are of use here.
    Naptr {
        /// Lower ones first.
        order: u16,
        /// Within an order, lower ones first.
        preference: u16,
        /// `s`: the replacement has SRV records; `a`: it has addresses.
        flags: String,
        /// `SIP+D2U`, `SIPS+D2T` …
        service: String,
        /// Substitution expression; empty where `replacement` counts.
        regexp: String,
        /// The next name to ask for.
        replacement: String,
    },
    /// SRV (RFC 2782).
    Srv {
        /// Lower ones first.
        priority: u16,
        /// Share among those of equal priority.
        weight: u16,
        /// Port of the service.
        port: u16,
        /// Host that offers it.
        target: String,
    },
    /// A or AAAA.
    Address(IpAddr),
}

/// What the subscriber database says of an address of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// There is such a subscriber.
    Known,
    /// There is none.
    Unknown,
    /// The database cannot be asked just now.
    Unavailable,
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
