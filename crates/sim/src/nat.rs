//! Address translation (RFC 4787 for UDP, RFC 5382 for TCP), with a firewall.

use crate::world::{NatId, Realm};
use causeway_node::Time;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What a NAT or a firewall tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proto {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

/// How a NAT behaves. [`Nat::new`] is the strict common kind of a home router: one mapping per inner
/// address and remote address ("symmetric"), inbound refused, no hairpinning.
#[derive(Clone, Debug)]
pub struct Nat {
    /// Its address on the outer side.
    pub outer: IpAddr,
    /// A UDP mapping without outbound packets for this long is forgotten.
    pub udp_timeout: Duration,
    /// A TCP mapping without segments for this long is forgotten; what is sent then is swallowed silently.
    pub tcp_timeout: Duration,
    /// Whether one mapping serves all remote addresses (RFC 4787 §4.1, endpoint-independent mapping).
    pub cone: bool,
    /// Whether a packet from any remote address may come in by a mapping (RFC 4787 §5).
    pub open: bool,
    /// Whether two hosts inside may meet by their outer addresses (RFC 4787 §6).
    pub hairpin: bool,
    /// What the firewall lets out: protocol and remote port. `None` is everything.
    pub allow: Option<Vec<(Proto, u16)>>,
}

impl Nat {
    /// A strict NAT with 30 s for UDP and 300 s for TCP, all ports open outwards.
    ///
    /// # Panics
    /// If `outer` is no IP address.
    pub fn new(outer: &str) -> Self {
        Self {
            outer: outer.parse().unwrap_or_else(|_| panic!("{outer} is not an IP address")),
            udp_timeout: Duration::from_secs(30),
            tcp_timeout: Duration::from_secs(300),
            cone: false,
            open: false,
            hairpin: false,
            allow: None,
        }
    }

    /// The same, with a firewall that lets only TCP to port 443 out.
    pub fn only_443(outer: &str) -> Self {
        Self { allow: Some(vec![(Proto::Tcp, 443)]), ..Self::new(outer) }
    }
}

/// A mapping, as a test may look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The protocol.
    pub proto: Proto,
    /// The inner address.
    pub inner: SocketAddr,
    /// The port on the outer side.
    pub port: u16,
    /// The remote address for which it was made first.
    pub remote: SocketAddr,
}

#[derive(Debug)]
struct Entry {
    proto: Proto,
    inner: SocketAddr,
    remote: SocketAddr,
    met: Vec<SocketAddr>,
    last: Time,
}

/// The box itself.
#[derive(Debug)]
pub(crate) struct NatBox {
    pub nat: Nat,
    /// The realm on its outer side.
    pub outside: Realm,
    entries: BTreeMap<(Proto, u16), Entry>,
    next_port: u16,
}

impl NatBox {
    pub fn new(nat: Nat, outside: Realm, id: NatId) -> Self {
        let next_port = 20_000 + (id.0 as u16 % 64) * 512;
        Self { nat, outside, entries: BTreeMap::new(), next_port }
    }

    /// Translates an outbound packet's source; `None` if the firewall says no.
    pub fn outbound(
        &mut self,
        now: Time,
        proto: Proto,
        inner: SocketAddr,
        remote: SocketAddr,
    ) -> Option<SocketAddr> {
        if self.nat.allow.as_ref().is_some_and(|allow| !allow.contains(&(proto, remote.port()))) {
            return None;
        }
        self.forget(now);
        // Each connection has a mapping of its own: its source port is its own as well.
        let wide = self.nat.cone;
        let found = self
            .entries
            .iter_mut()
            .find(|(_, e)| e.proto == proto && e.inner == inner && (wide || e.remote == remote));
        if let Some((&(_, port), entry)) = found {
            entry.last = now;
            if !entry.met.contains(&remote) {
                entry.met.push(remote);
            }
            return Some(SocketAddr::new(self.nat.outer, port));
        }
        let port = self.free_port(proto);
        self.entries.insert((proto, port), Entry { proto, inner, remote, met: vec![remote], last: now });
        Some(SocketAddr::new(self.nat.outer, port))
    }

    /// The inner address behind an outer port, for a datagram from `remote`.
    pub fn inbound(&mut self, now: Time, proto: Proto, port: u16, remote: SocketAddr) -> Option<SocketAddr> {
        self.forget(now);
        let entry = self.entries.get(&(proto, port))?;
        (self.nat.open || entry.met.contains(&remote)).then_some(entry.inner)
    }

    /// Whether the mapping of a connection is still there; being used keeps it.
    pub fn touch(&mut self, now: Time, port: u16) -> bool {
        self.forget(now);
        match self.entries.get_mut(&(Proto::Tcp, port)) {
            Some(entry) => {
                entry.last = now;
                true
            }
            None => false,
        }
    }

    /// Forgets a connection that both ends have closed.
    pub fn release(&mut self, port: u16) {
        self.entries.remove(&(Proto::Tcp, port));
    }

    /// Forgets everything, as after a power cut.
    pub fn reboot(&mut self) {
        self.entries.clear();
        self.next_port = self.next_port.wrapping_add(1000).max(20_000);
    }

    /// All mappings at `now`.
    pub fn mappings(&mut self, now: Time) -> Vec<Mapping> {
        self.forget(now);
        let show = |(&(proto, port), e): (&(Proto, u16), &Entry)| Mapping {
            proto,
            inner: e.inner,
            port,
            remote: e.remote,
        };
        self.entries.iter().map(show).collect()
    }

    fn forget(&mut self, now: Time) {
        let (udp, tcp) = (self.nat.udp_timeout, self.nat.tcp_timeout);
        self.entries.retain(|_, e| now.since(e.last) <= if e.proto == Proto::Udp { udp } else { tcp });
    }

    fn free_port(&mut self, proto: Proto) -> u16 {
        while self.entries.contains_key(&(proto, self.next_port)) {
            self.next_port = self.next_port.checked_add(1).unwrap_or(20_000);
        }
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(20_000);
        port
    }
}
