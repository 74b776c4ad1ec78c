//! What an agent is told.

use crate::{CallLimits, MediaConfig};
use causeway_sip::transaction::Timing;
use causeway_tunnel::{Config, Instance, Role};
use std::net::SocketAddr;
use std::time::Duration;

/// Settings of an [`crate::Agent`].
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Host name or address of the contact point; resolved anew at every attempt.
    pub contact_host: String,
    /// Its port.
    pub contact_port: u16,
    /// Where phones send SIP, over UDP and TCP: a concrete address of the LAN, of the host itself, or inside
    /// the process.
    pub listen: SocketAddr,
    /// The media ports on the LAN side.
    pub media: MediaConfig,
    /// Stable identity of this agent, 128 random bits that are **secret**: whoever presents them to the
    /// contact point takes over this agent's registrations. `None` draws new ones at every start.
    pub instance: Option<Instance>,
    /// Limits and intervals of the tunnel.
    pub tunnel: Config,
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
        Self {
            contact_host: contact_host.into(),
            contact_port,
            listen,
            media: MediaConfig { ip: listen.ip(), low: 40_000, high: 40_999, ahead: 8 },
            instance: None,
            tunnel: Config::new(Role::Agent),
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
