//! What a contact point is told.

use super::home::Seat;
use crate::{CallLimits, Marks, MediaConfig};
use causeway_sip::transaction::{Timing, Transport};
use causeway_tunnel::key::Assurance;
use causeway_tunnel::{Config, Role};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

/// Settings of a [`crate::ContactPoint`].
#[derive(Clone, Debug)]
pub struct ContactConfig {
    /// Where agents connect.
    pub tunnel_listen: SocketAddr,
    /// The address towards the operator's SIP server, UDP and TCP: a concrete one, since it stands in Contact.
    pub sip: SocketAddr,
    /// The operator's SIP server: all that comes out of tunnels goes there and nowhere else.
    pub upstream: SocketAddr,
    /// How it is spoken to.
    pub upstream_transport: Transport,
    /// Further addresses that may send requests for phones; the upstream's always may.
    pub sip_allow: Vec<Cidr>,
    /// The media ports on the operator's side.
    pub media: MediaConfig,
    /// Where media may be sent. Empty: anywhere that a dialog has negotiated, but for `services`.
    pub media_allow: Vec<Cidr>,
    /// Addresses of services at which no media may be aimed, beside `sip`, `tunnel_listen` and `upstream`.
    /// A network of one address in `media_allow` overrules this.
    pub services: Vec<SocketAddr>,
    /// Whether calls between phones behind one agent keep their media on that LAN: one policy for the domain.
    /// Default true.
    pub local_media: bool,
    /// How requests for phones find their way.
    pub mode: Mode,
    /// For how long a tunnel that has lost its connection keeps its calls, ports and what waits for it; whole
    /// seconds. 0 ends them at once. Default 30 s.
    pub grace: Duration,
    /// How long calls have once it is told to end; told to agents and shown, kept by whoever drives it. Default 30 s.
    pub drain_grace: Duration,
    /// Its place among contact points that share `tunnel_listen`; `sip` and `media` are each one's own. Default: alone.
    pub seat: Seat,
    /// What agents may do.
    pub limits: Limits,
    /// What the keys of users must be worth: calls without one that good are refused. Default none.
    pub min_assurance: Assurance,
    /// Whether a subscriber database answers for HA1 ([`causeway_node::Question::UserKey`]), so that keys of the
    /// assurance `digest` can be agreed on. Default false.
    pub digest_keys: bool,
    /// Limits and intervals of the tunnels.
    pub tunnel: Config,
    /// How what it sends is marked for routers.
    pub marks: Marks,
    /// SIP timers.
    pub timing: Timing,
}

impl ContactConfig {
    /// A contact point with 10,000 media ports on the address of `sip` from 20,000 up, before a server that
    /// is spoken to over UDP.
    pub fn new(tunnel_listen: SocketAddr, sip: SocketAddr, upstream: SocketAddr) -> Self {
        Self {
            tunnel_listen,
            sip,
            upstream,
            upstream_transport: Transport::Udp,
            sip_allow: Vec::new(),
            media: MediaConfig { ip: sip.ip(), low: 20_000, high: 29_999, ahead: 32 },
            media_allow: Vec::new(),
            services: Vec::new(),
            local_media: true,
            mode: Mode::Plain,
            grace: Duration::from_secs(30),
            drain_grace: Duration::from_secs(30),
            seat: Seat::default(),
            limits: Limits::default(),
            min_assurance: Assurance::None,
            digest_keys: false,
            tunnel: Config::new(Role::ContactPoint),
            marks: Marks::default(),
            timing: Timing::default(),
        }
    }

    /// Whether media may be sent to an address.
    pub(crate) fn media_allowed(&self, to: SocketAddr) -> bool {
        let own = [self.sip, self.tunnel_listen, self.upstream];
        let mut services = own.iter().chain(&self.services);
        let hits = |service: &SocketAddr| {
            service.port() == to.port() && (service.ip() == to.ip() || service.ip().is_unspecified())
        };
        let ip = to.ip();
        let nobody = ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::from([255, 255, 255, 255]);
        if nobody || to.port() == 0 {
            return false;
        }
        if services.any(hits) {
            return self.media_allow.iter().any(|cidr| cidr.is_single() && cidr.contains(ip));
        }
        self.media_allow.is_empty() || self.media_allow.iter().any(|cidr| cidr.contains(ip))
    }
}

/// How the operator's server finds the tunnel of a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// By the Contact alone, which names the contact point: any registrar can do it.
    #[default]
    Plain,
    /// By a Path header field as well (RFC 3327).
    Path,
}

/// What one agent, and all agents of one address, may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tunnels altogether. Default 20,000.
    pub tunnels: usize,
    /// Tunnels from one client address; customers may share one behind a carrier's NAT. Default 256.
    pub tunnels_per_address: usize,
    /// Of all of them, those whose Hello has not come. A further one takes the place of the oldest, of the address that
    /// has most. Default 1,000.
    pub silent: usize,
    /// The same for one client address, whose own oldest gives way. Default 64.
    pub silent_per_address: usize,
    /// Requests per second of an agent with nothing registered. Default 10.
    pub unregistered_rate: u32,
    /// Requests at once of such an agent. Default 100.
    pub unregistered_burst: u32,
    /// Bytes of a message of such an agent. Default 16 KiB.
    pub unregistered_size: usize,
    /// Requests per second of an agent with something registered. Default 100.
    pub rate: u32,
    /// Requests at once of such an agent. Default 1,000.
    pub burst: u32,
    /// Contacts and dialogs of one agent. Default 5,000.
    pub contacts: usize,
    /// Calls and media ports of one tunnel.
    pub calls: CallLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tunnels: 20_000,
            tunnels_per_address: 256,
            silent: 1000,
            silent_per_address: 64,
            unregistered_rate: 10,
            unregistered_burst: 100,
            unregistered_size: 16 << 10,
            rate: 100,
            burst: 1000,
            contacts: 5000,
            calls: CallLimits::default(),
        }
    }
}

/// A network: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    ip: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Whether an address lies in it; an IPv4 address in IPv6 clothes counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                u32::from(net) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                u128::from(net) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }

    fn is_single(&self) -> bool {
        self.bits == if self.ip.is_ipv4() { 32 } else { 128 }
    }
}

/// What is wrong with the text of a [`Cidr`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no network such as 192.0.2.0/24, 192.0.2.1 or 2001:db8::/32")]
pub struct CidrError(String);

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let ip: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > most { Err(wrong()) } else { Ok(Self { ip, bits }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let net: Cidr = "192.0.2.128/25".parse().unwrap();
        assert!(
            net.contains("192.0.2.200".parse().unwrap()) && !net.contains("192.0.2.100".parse().unwrap())
        );
        assert!(net.contains("::ffff:192.0.2.129".parse().unwrap()));
        let all: Cidr = "::/0".parse().unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()) && !all.contains("192.0.2.1".parse().unwrap()));
        let any: Cidr = "0.0.0.0/0".parse().unwrap();
        assert!(any.contains("203.0.113.9".parse().unwrap()));
        for bad in ["", "192.0.2.1/33", "192.0.2/24", "x/8", "192.0.2.1/", "::/129"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn media_goes_to_no_service_unless_allowed_by_name() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mut config =
            ContactConfig::new(at("0.0.0.0:443"), at("198.51.100.1:5060"), at("198.51.100.2:5060"));
        config.services.push(at("198.51.100.1:22"));
        for bad in ["198.51.100.1:5060", "198.51.100.1:443", "203.0.113.7:443", "198.51.100.2:5060"] {
            assert!(!config.media_allowed(at(bad)), "{bad}");
        }
        for bad in ["198.51.100.1:22", "0.0.0.0:4000", "224.0.0.1:4000", "255.255.255.255:9", "203.0.113.7:0"]
        {
            assert!(!config.media_allowed(at(bad)), "{bad}");
        }
        assert!(config.media_allowed(at("198.51.100.1:20000")), "calls between two tunnels pass here twice");
        assert!(config.media_allowed(at("203.0.113.7:4000")));
        config.media_allow.push("198.51.100.0/24".parse().unwrap());
        assert!(!config.media_allowed(at("203.0.113.7:4000")));
        assert!(!config.media_allowed(at("198.51.100.1:5060")), "a wide network is no permission");
        config.media_allow.push("198.51.100.1".parse().unwrap());
        assert!(config.media_allowed(at("198.51.100.1:22")));
    }
}
