//! What a user agent is told when it is made.

use crate::transaction::{Timing, Transport};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use zeroize::Zeroizing;

/// A password: not shown, zeroed when it is dropped.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a password.
    pub fn new(password: impl Into<String>) -> Self {
        Self(Zeroizing::new(password.into()))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// The settings of a user agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its address of record, as a URI: `sip:alice@example.com`.
    pub aor: String,
    /// Digest user name.
    pub username: String,
    /// Digest password.
    pub password: Password,
    /// Its own address, on UDP and TCP.
    pub local: SocketAddr,
    /// The first hop of all its requests: the outbound proxy.
    pub proxy: SocketAddr,
    /// How it reaches that.
    pub transport: Transport,
    /// How long a registration shall last.
    pub expires: Duration,
    /// How long a call rings here before it is refused by 480. A caller whose CANCEL cannot reach us (RFC 3261 §9.1
    /// forbids one before our first response has arrived) would let it ring for ever.
    pub ring: Duration,
    /// Durations of the transaction timers.
    pub timing: Timing,
}

impl Config {
    /// The defaults: UDP, a registration of ten minutes.
    pub fn new(aor: impl Into<String>, password: Password, local: SocketAddr, proxy: SocketAddr) -> Self {
        let aor = aor.into();
        let username = crate::Uri::parse(aor.as_bytes())
            .and_then(|uri| uri.user)
            .map_or_else(String::new, |user| String::from_utf8_lossy(user).into_owned());
        Self {
            aor,
            username,
            password,
            local,
            proxy,
            transport: Transport::Udp,
            expires: Duration::from_secs(600),
            ring: Duration::from_secs(180),
            timing: Timing::default(),
        }
    }

    /// The user part of the Contact.
    pub(super) fn user(&self) -> &str {
        &self.username
    }
}
