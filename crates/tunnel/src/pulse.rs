//! Keep-alive: holding the mapping of NATs through silence, and finding out that the peer is gone.

use crate::Config;
use causeway_node::Time;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ping {
    None,
    /// To be sent with the next bytes.
    Wanted {
        since: Time,
    },
    /// Not answered yet.
    Sent {
        since: Time,
        at: Time,
    },
}

#[derive(Debug)]
pub(crate) struct Pulse {
    ping: Ping,
    measured: Time,
    pub last_sent: Time,
    pub last_heard: Time,
    pub rtt: Option<Duration>,
}

impl Pulse {
    pub(crate) fn new(now: Time) -> Self {
        Self { ping: Ping::None, measured: now, last_sent: now, last_heard: now, rtt: None }
    }

    /// When something is to be done: a ping to be sent, or the peer to be given up.
    pub(crate) fn deadline(&self, config: &Config, active: bool) -> Time {
        match self.ping {
            Ping::None => self.due(config, active),
            Ping::Wanted { since } | Ping::Sent { since, .. } => since + patience(config, active),
        }
    }

    fn due(&self, config: &Config, active: bool) -> Time {
        let silence = self.last_sent + config.keep_alive;
        if !active {
            return silence;
        }
        silence.min(self.last_heard + config.probe).min(self.measured + config.measure)
    }

    /// Asks for a ping if one is due; `false` if the peer must be given up.
    pub(crate) fn check(&mut self, now: Time, config: &Config, active: bool) -> bool {
        if let Ping::Wanted { since } | Ping::Sent { since, .. } = self.ping {
            if now < since + patience(config, active) {
                return true;
            }
            // Other bytes prove as well that the peer lives; whoever does not answer is asked again.
            if self.last_heard <= since {
                return false;
            }
            if matches!(self.ping, Ping::Sent { .. }) {
                self.ping = Ping::None;
            } else {
                self.ping = Ping::Wanted { since: now };
            }
        }
        if self.ping == Ping::None && now >= self.due(config, active) {
            self.ping = Ping::Wanted { since: now };
        }
        true
    }

    pub(crate) fn wanted(&self) -> bool {
        matches!(self.ping, Ping::Wanted { .. })
    }

    /// The ping that is to be sent now, if any.
    pub(crate) fn take(&mut self, now: Time) -> Option<[u8; 8]> {
        let Ping::Wanted { since } = self.ping else { return None };
        self.ping = Ping::Sent { since, at: now };
        self.measured = now;
        Some(now.as_nanos().to_be_bytes())
    }

    pub(crate) fn pong(&mut self, now: Time, opaque: [u8; 8]) {
        if let Ping::Sent { at, .. } = self.ping
            && at.as_nanos().to_be_bytes() == opaque
        {
            self.rtt = Some(now.since(at));
            self.ping = Ping::None;
        }
    }
}

fn patience(config: &Config, active: bool) -> Duration {
    if active { config.dead_active } else { config.dead_idle }
}
