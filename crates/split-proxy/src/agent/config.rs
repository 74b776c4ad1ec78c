//! What an agent is told.

use crate::{CallLimits, KeyPolicy, Marks, MediaConfig};
use causeway_sip::transaction::Timing;
use causeway_tunnel::{Config, Instance, Role};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Where a contact point is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactAddress {
    /// A name or an address.
    pub host: String,
    /// Its port. Without one, what the SRV records of `_causeway._tcp.` and the name say (RFC 2782), and where
    /// there are none [`ContactAddress::HTTPS`]; behind a proxy, which has the name servers to itself, always the
    /// latter.
    pub port: Option<u16>,
}

impl ContactAddress {
    /// The port that firewalls let out.
    pub const HTTPS: u16 = 443;
}

impl fmt::Display for ContactAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match (host.contains(':'), port) {
            (_, None) => f.write_str(host),
            (true, Some(port)) => write!(f, "[{host}]:{port}"),
            (false, Some(port)) => write!(f, "{host}:{port}"),
        }
    }
}

/// An HTTP proxy that connects for others (RFC 9110 §9.3.6).
#[derive(Clone, PartialEq, Eq)]
pub struct HttpProxy {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password for the Basic scheme (RFC 7617).
    pub credentials: Option<(String, String)>,
}

impl fmt::Debug for HttpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        f.debug_struct("HttpProxy")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &user)
            .finish()
    }
}

/// Settings of an [`crate::Agent`].
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// The contact points, at least one, in the order in which they are tried; their names are resolved anew at
    /// every attempt. An agent comes back to the one that it was connected to last.
    pub contacts: Vec<ContactAddress>,
    /// An HTTP proxy that all connections go through; it resolves the names of contact points.
    pub proxy: Option<HttpProxy>,
    /// Open the tunnel only when a phone asks for something, and close it once nothing has needed it for this
    /// long: no call, no registration, no subscription, no request under way. `None` keeps it always.
    pub on_demand: Option<Duration>,
    /// Where phones send SIP, over UDP and TCP: a concrete address of the LAN, of the host itself, or inside
    /// the process.
    pub listen: SocketAddr,
    /// The media ports on the LAN side.
    pub media: MediaConfig,
    /// Stable identity of this agent, 128 random bits that are **secret**: whoever presents them to the
    /// contact point takes over this agent's registrations. `None` draws new ones at every start.
    pub instance: Option<Instance>,
    /// What is known of the users, for the keys that seal their media, and what they demand.
    pub keys: KeyPolicy,
    /// Limits and intervals of the tunnel.
    pub tunnel: Config,
    /// Whether media between two phones here stay on the LAN where the contact point allows it. Default true.
    pub local_media: bool,
    /// How what it sends is marked for routers.
    pub marks: Marks,
    /// SIP timers.
    pub timing: Timing,
    /// Calls and ports at once.
    pub limits: CallLimits,
    /// Requests that wait while the tunnel is down. Default 64.
    pub queue: usize,
    /// For how long they do, before they are answered 503. Default 4 s.
    pub patience: Duration,
    /// The least time between two attempts to connect; it doubles up to `retry_most`, with jitter. Default 1 s.
    pub retry_least: Duration,
    /// Default 30 s.
    pub retry_most: Duration,
    /// For how long calls and requests wait for the tunnel to come back after a cut; the contact point's own
    /// such time counts where it is shorter. Meanwhile an attempt is made every second. 0 ends them at once.
    /// Default 30 s.
    pub grace: Duration,
    /// How long one attempt may take, until the connection is open. Default 10 s.
    pub connect_timeout: Duration,
}

impl AgentConfig {
    /// An agent that listens on `listen`, has 100 media ports on the same address from 40,000 up, and leads
    /// to a contact point.
    pub fn new(contact_host: impl Into<String>, contact_port: u16, listen: SocketAddr) -> Self {
        Self::leading_to(vec![ContactAddress { host: contact_host.into(), port: Some(contact_port) }], listen)
    }

    /// The same, with several contact points or one that DNS knows.
    pub fn leading_to(contacts: Vec<ContactAddress>, listen: SocketAddr) -> Self {
        Self {
            contacts,
            proxy: None,
            on_demand: None,
            listen,
            media: MediaConfig { ip: listen.ip(), low: 40_000, high: 40_999, ahead: 8 },
            instance: None,
            keys: KeyPolicy::default(),
            tunnel: Config::new(Role::Agent),
            local_media: true,
            marks: Marks::default(),
            timing: Timing::default(),
            limits: CallLimits::default(),
            queue: 64,
            patience: Duration::from_secs(4),
            retry_least: Duration::from_secs(1),
            retry_most: Duration::from_secs(30),
            grace: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
        }
    }
}
