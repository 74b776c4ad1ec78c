//! What an exchange is told when it is made.

use causeway_sip::digest::Algorithm;
use causeway_sip::transaction::Timing;
use std::net::SocketAddr;
use std::time::Duration;

/// The settings of an exchange.
#[derive(Clone, Debug)]
pub struct Config {
    /// The domain it is responsible for: also its digest realm.
    pub domain: String,
    /// Address and port for UDP and TCP.
    pub sip: SocketAddr,
    /// Whether REGISTER and INVITE must carry credentials.
    pub authenticate: bool,
    /// What challenges offer, the strongest first (RFC 8760 §2.4). MD5 alone by default: many phones in use
    /// refuse a 401 altogether if any one of its challenges names an algorithm that they do not know, in
    /// whatever order they come. Credentials of either algorithm are accepted in any case.
    pub algorithms: Vec<Algorithm>,
    /// Shortest registration granted; shorter ones are answered 423.
    pub min_expires: Duration,
    /// Longest registration granted.
    pub max_expires: Duration,
    /// Granted to a registration that names no time.
    pub default_expires: Duration,
    /// How long a nonce is good for.
    pub nonce_life: Duration,
    /// Durations of the transaction timers.
    pub timing: Timing,
}

impl Config {
    /// The defaults for a domain on an address.
    pub fn new(domain: impl Into<String>, sip: SocketAddr) -> Self {
        Self {
            domain: domain.into().to_ascii_lowercase(),
            sip,
            authenticate: true,
            algorithms: vec![Algorithm::MD5],
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(7200),
            default_expires: Duration::from_secs(3600),
            nonce_life: Duration::from_secs(300),
            timing: Timing::default(),
        }
    }
}
