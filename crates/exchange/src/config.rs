//! What an exchange is told when it is made, and what it can be told again while it runs.

use crate::shard::Shard;
use causeway_sip::digest::Algorithm;
use causeway_sip::hub::HepConfig;
use causeway_sip::transaction::Timing;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How much the exchange remembers of what it forwards (RFC 3261 §16).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing: each request goes to one place, its sender repeats it (§16.11).
    Stateless,
    /// Transactions: it forks, repeats, and chooses the best response.
    Transaction,
    /// Transactions and calls: it also supervises session timers (RFC 4028) and writes call records.
    Call,
}

/// What becomes of a request for an address of record with several contacts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Contacts of equal q at once, those of lower q when all of the higher have failed (RFC 3261 §16.6).
    #[default]
    Ordered,
    /// All contacts at once.
    Parallel,
    /// None: the caller is told them in a 302 (RFC 3261 §8.3).
    Redirect,
}

/// Which requests from outside the domain are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Foreign {
    /// Only those that a trusted peer brings.
    #[default]
    Trusted,
    /// Those for users of this domain, from anybody.
    Anybody,
}

/// What may change while the exchange runs.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// Methods outside dialogs that need no credentials although they come from a user of this domain, as long as
    /// they go to one.
    pub unauthenticated: Vec<String>,
    /// Peers inside the trust domain (RFC 3325): networks, and names in their TLS certificates. Their requests
    /// need no credentials, and their P-Asserted-Identity is believed.
    pub trusted: Vec<String>,
    /// Networks of proxies whose Via tells the client's address, beside this host itself: contact points.
    pub proxies: Vec<String>,
    /// Requests from other domains.
    pub foreign: Foreign,
    /// Several contacts.
    pub delivery: Delivery,
    /// How long, in seconds, the contacts of one q ring before those of the next are tried.
    pub ring: u32,
    /// Contacts per address of record; [`crate::Location::CONTACTS`] is the most.
    pub contacts: usize,
    /// Whether a MESSAGE for somebody who is not there is kept until he registers.
    pub keep_messages: bool,
    /// Whether requests above 1,300 bytes go over TCP where UDP was meant (RFC 3261 §18.1.1).
    pub large_over_tcp: bool,
    /// Session interval asked for on calls whose caller knows session timers, in seconds (RFC 4028 §8.1); 0: none.
    pub session_expires: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            unauthenticated: Vec::new(),
            trusted: Vec::new(),
            proxies: Vec::new(),
            foreign: Foreign::default(),
            delivery: Delivery::default(),
            ring: 20,
            contacts: 10,
            keep_messages: false,
            large_over_tcp: true,
            session_expires: 0,
        }
    }
}

impl Policy {
    /// Says what is wrong with it.
    ///
    /// # Errors
    /// With the entry that cannot be read.
    pub fn check(&self) -> Result<(), String> {
        for entry in &self.proxies {
            Network::parse(entry)
                .ok_or_else(|| format!("proxies: {entry} is neither an address nor a network"))?;
        }
        match self.contacts {
            1..=crate::Location::CONTACTS => Ok(()),
            other => Err(format!("contacts: {other} is not between 1 and {}", crate::Location::CONTACTS)),
        }
    }
}

/// A network in CIDR form, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `192.0.2.0/24`, `2001:db8::/32` or an address alone.
    pub fn parse(text: &str) -> Option<Self> {
        let (base, bits) = text.split_once('/').map_or((text, None), |(base, bits)| (base, Some(bits)));
        let base: IpAddr = base.parse().ok()?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most))?;
        Some(Self { base, bits })
    }

    /// Whether an address lies in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u32::from(a) ^ u32::from(b)).checked_shr(32 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (u128::from(a) ^ u128::from(b)).checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The settings of an exchange.
#[derive(Clone, Debug)]
pub struct Config {
    /// The domain it is responsible for: also its digest realm.
    pub domain: String,
    /// Address and port for UDP and TCP.
    pub sip: SocketAddr,
    /// Address and port for TLS, with the certificate that the driver was given; `None`: no TLS at all.
    pub tls: Option<SocketAddr>,
    /// Where copies of all messages go (HEP), if anywhere.
    pub capture: Option<HepConfig>,
    /// Whether credentials are asked for at all.
    pub authenticate: bool,
    /// How much it remembers.
    pub mode: Mode,
    /// What can be changed later.
    pub policy: Policy,
    /// Whether a 200 to REGISTER carries a Service-Route back to here (RFC 3608).
    pub service_route: bool,
    /// How long a place may be silent before the next one that DNS names is tried (RFC 3263 §4.3 leaves it to
    /// timers B and F, half a minute, which no caller waits for).
    pub patience: Duration,
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
    /// Which of how many exchanges it is that share these addresses, as members of a group.
    pub shard: Shard,
    /// Durations of the transaction timers.
    pub timing: Timing,
}

impl Config {
    /// The defaults for a domain on an address.
    pub fn new(domain: impl Into<String>, sip: SocketAddr) -> Self {
        Self {
            domain: domain.into().to_ascii_lowercase(),
            sip,
            tls: None,
            capture: None,
            authenticate: true,
            mode: Mode::Call,
            policy: Policy::default(),
            service_route: false,
            patience: Duration::from_secs(4),
            algorithms: vec![Algorithm::MD5],
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(7200),
            default_expires: Duration::from_secs(3600),
            nonce_life: Duration::from_secs(300),
            shard: Shard::ALONE,
            timing: Timing::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::/0", "2001:db9::1", "192.0.2.1"),
        ] {
            let network = Network::parse(network).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network:?}");
            assert!(!network.contains(outside.parse().unwrap()), "{network:?}");
        }
        for wrong in ["", "example.com", "192.0.2.0/33", "192.0.2.0/", "::/129", "1.2.3/8"] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_policy_is_read_and_its_faults_are_named() {
        let read = |text: &str| serde_json::from_str::<Policy>(text).map_err(|e| e.to_string());
        let policy = read(r#"{"delivery":"redirect","ring":5,"trusted":["peer.example"]}"#).unwrap();
        assert_eq!((policy.delivery, policy.ring, policy.contacts), (Delivery::Redirect, 5, 10));
        assert!(read(r#"{"rings":5}"#).unwrap_err().contains("rings"));
        assert!(read(r#"{"contacts":99}"#).unwrap().check().unwrap_err().contains("99"));
        assert!(read(r#"{"proxies":["x"]}"#).unwrap().check().unwrap_err().contains("x"));
    }
}
