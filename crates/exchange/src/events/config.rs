//! What the event server is told when it is made.

use causeway_node::Flow;
use std::time::Duration;

/// What a presence document says of the registration beside what was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derived {
    /// Whether the user is registered, as long as nothing was published that says how to reach him.
    WhenUnpublished,
    /// Always whether the user is registered.
    Always,
    /// Nothing.
    Never,
}

/// The settings of an event server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The domain: its users may watch one another's presence unless somebody has a policy of his own.
    pub domain: String,
    /// Shortest subscription and shortest publication granted; shorter ones are answered 423.
    pub min_expires: Duration,
    /// Longest ones granted.
    pub max_expires: Duration,
    /// Between two NOTIFYs of one subscription at least, unless the watcher asks; the latest state wins.
    pub min_interval: Duration,
    /// NOTIFYs per second after a restart, when every watcher is told the present state. At least 1.
    pub restart_rate: u32,
    /// What a presence document says of the registration.
    pub derived: Derived,
    /// The port by which a watcher is told after a restart who subscribed by a datagram; connections do not
    /// outlive one.
    pub udp: Flow,
}

impl Config {
    /// The defaults for a domain.
    pub fn new(domain: impl Into<String>) -> Self {
        Self {
            domain: domain.into().to_ascii_lowercase(),
            min_expires: Duration::from_secs(60),
            max_expires: Duration::from_secs(7200),
            min_interval: Duration::from_secs(1),
            restart_rate: 500,
            derived: Derived::WhenUnpublished,
            udp: Flow(0),
        }
    }
}
