//! Datagrams, ports and routes.

use crate::driver::Socket;
use crate::event::{Event, Own, Way};
use crate::link::Fate;
use crate::nat::Proto;
use crate::world::Owner;
use crate::{NodeId, World};
use causeway_node::{Flow, Input};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What a packet takes from one node to another on the same host.
pub(crate) const LOCAL_DELAY: Duration = Duration::from_micros(20);

/// Where the next hop of a packet leads.
pub(crate) enum Next {
    /// To a node on the host it comes from.
    Here,
    /// On along this link, and then from there.
    Hop(IpAddr, IpAddr, Way),
    /// Nowhere.
    Nowhere,
}

impl World {
    pub(crate) fn bind(&mut self, id: NodeId, flow: Flow, local: SocketAddr) {
        let taken = |world: &Self, host: usize, at: SocketAddr| {
            let others = world.hosts[host].udp.iter().filter(|(_, (other, _))| !world.share(id, *other));
            clashes(others.map(|(at, _)| at), at)
        };
        match self.claim(id, flow, local, taken) {
            Ok((host, local)) => {
                self.hosts[host].udp.insert(local, (id, flow));
                self.settle(id, flow, Socket::Udp(local), local);
            }
            Err(why) => self.refuse(id, flow, local, &why),
        }
    }

    /// The host and the full address for a bind or listen, if it may be had.
    pub(crate) fn claim(
        &mut self,
        id: NodeId,
        flow: Flow,
        local: SocketAddr,
        taken: impl Fn(&Self, usize, SocketAddr) -> bool,
    ) -> Result<(usize, SocketAddr), String> {
        let host = self.slots[id.0].host;
        let used = self.slots[id.0].flows.contains_key(&flow);
        assert!(!used, "{}: flow {} is in use", self.slots[id.0].name, flow.0);
        if !local.ip().is_unspecified() && !self.is_own(host, local.ip()) {
            return Err(format!("{local}: not an address of this host"));
        }
        if local.port() != 0 {
            return if taken(self, host, local) {
                Err(format!("{local}: address in use"))
            } else {
                Ok((host, local))
            };
        }
        for _ in 0..20_000 {
            let port = self.free_port(host);
            let local = SocketAddr::new(local.ip(), port);
            if !taken(self, host, local) {
                return Ok((host, local));
            }
        }
        Err(format!("{local}: no free port"))
    }

    pub(crate) fn settle(&mut self, id: NodeId, flow: Flow, socket: Socket, local: SocketAddr) {
        let serial = self.serial_id();
        self.slots[id.0].flows.insert(flow, (serial, socket));
        self.own(id, self.now, Own::Bound { flow, socket: serial, local });
    }

    pub(crate) fn refuse(&mut self, id: NodeId, flow: Flow, local: SocketAddr, why: &str) {
        let serial = self.serial_id();
        self.slots[id.0].flows.insert(flow, (serial, Socket::Udp(local)));
        self.own(id, self.now, Own::Refused { flow, socket: serial, why: why.to_owned() });
    }

    pub(crate) fn serial_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn free_port(&mut self, host: usize) -> u16 {
        let host = &mut self.hosts[host];
        let port = host.next_port;
        host.next_port = port.checked_add(1).unwrap_or(32_768);
        port
    }

    pub(crate) fn is_own(&self, host: usize, ip: IpAddr) -> bool {
        let host = &self.hosts[host];
        ip.is_loopback() || host.addresses.contains(&ip) || host.private.contains(&ip)
    }

    /// The source address for what is sent from `local` to `to`.
    pub(crate) fn source(&self, host: usize, local: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        if !local.ip().is_unspecified() {
            return Some(local);
        }
        let ip = if self.is_own(host, to.ip()) {
            to.ip()
        } else {
            *self.hosts[host].addresses.iter().find(|a| a.is_ipv4() == to.is_ipv4())?
        };
        Some(SocketAddr::new(ip, local.port()))
    }

    pub(crate) fn send_datagram(&mut self, id: NodeId, flow: Flow, to: SocketAddr, bytes: &[u8]) {
        let host = self.slots[id.0].host;
        let Some((_, Socket::Udp(local))) = self.slots[id.0].flows.get(&flow).copied() else { return };
        let Some(from) = self.source(host, local, to) else { return };
        if bytes.len() > 65_507 {
            return;
        }
        let way = Way { origin: host, realm: self.hosts[host].realm, hop: from.ip(), from, to };
        self.forward_datagram(way, bytes.to_vec());
    }

    fn forward_datagram(&mut self, way: Way, bytes: Vec<u8>) {
        match self.next_hop(Proto::Udp, way) {
            Next::Here => self.at(self.now + LOCAL_DELAY, Event::Datagram { way, bytes }),
            Next::Hop(from, to, way) => {
                match self.links.fate(&mut self.rng, self.now, from, to, bytes.len() + 28) {
                    Fate::Passes(delay, again) => {
                        if let Some(again) = again {
                            self.at(self.now + again, Event::Datagram { way, bytes: bytes.clone() });
                        }
                        self.at(self.now + delay, Event::Datagram { way, bytes });
                    }
                    Fate::Lost | Fate::Cut => {}
                }
            }
            Next::Nowhere => {}
        }
    }

    pub(crate) fn datagram_arrives(&mut self, way: Way, bytes: Vec<u8>) {
        let Some((host, way)) = self.arrival(way) else {
            // Not the end of its way yet, unless nobody is there.
            if let Some(way) = self.inside(Proto::Udp, way) {
                self.forward_datagram(way, bytes);
            }
            return;
        };
        let udp = &self.hosts[host].udp;
        let wildcard: IpAddr =
            if way.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let found = udp.get(&way.to).or_else(|| udp.get(&SocketAddr::new(wildcard, way.to.port())));
        if let Some(&found) = found {
            let (id, flow) = self.choose(found, way.from);
            self.deliver(id, Input::Datagram { flow, from: way.from, bytes: &bytes });
        }
    }

    /// The host at which a packet that has come along its hop is at its end.
    pub(crate) fn arrival(&self, way: Way) -> Option<(usize, Way)> {
        if self.is_own(way.origin, way.to.ip()) && self.hosts[way.origin].realm == way.realm {
            return (!self.hosts[way.origin].off).then_some((way.origin, way));
        }
        match self.places.get(&(way.realm, way.to.ip()))? {
            Owner::Host(host) => (way.hop == way.to.ip() && !self.hosts[*host].off).then_some((*host, way)),
            Owner::Nat(_) => None,
        }
    }

    /// Takes a packet that has reached a box on its way through it.
    pub(crate) fn inside(&mut self, proto: Proto, way: Way) -> Option<Way> {
        match self.places.get(&(way.realm, way.to.ip())).copied() {
            Some(Owner::Nat(nat)) if way.hop == way.to.ip() => {
                let inner = self.nats[nat.0].inbound(self.now, proto, way.to.port(), way.from)?;
                let hairpin = way.from.ip() == self.nats[nat.0].nat.outer;
                if hairpin && !self.nats[nat.0].nat.hairpin {
                    return None;
                }
                Some(Way { realm: Some(nat), to: inner, ..way })
            }
            _ => (way.hop != way.to.ip()).then_some(way),
        }
    }

    /// One step of a packet's way; going out through a NAT changes its source.
    pub(crate) fn next_hop(&mut self, proto: Proto, way: Way) -> Next {
        if self.is_own(way.origin, way.to.ip()) && self.hosts[way.origin].realm == way.realm {
            return Next::Here;
        }
        if self.places.contains_key(&(way.realm, way.to.ip())) {
            let to = way.to.ip();
            return Next::Hop(way.hop, to, Way { hop: to, ..way });
        }
        let Some(nat) = way.realm else { return Next::Nowhere };
        let boxed = &mut self.nats[nat.0];
        match boxed.outbound(self.now, proto, way.from, way.to) {
            Some(from) => {
                let outer = boxed.nat.outer;
                Next::Hop(way.hop, outer, Way { realm: boxed.outside, hop: outer, from, ..way })
            }
            None => Next::Nowhere,
        }
    }
}

/// Whether `at` is taken by one of `used`, wildcards considered.
pub(crate) fn clashes<'a>(mut used: impl Iterator<Item = &'a SocketAddr>, at: SocketAddr) -> bool {
    used.any(|u| {
        u.port() == at.port()
            && u.is_ipv4() == at.is_ipv4()
            && (u.ip() == at.ip() || u.ip().is_unspecified() || at.ip().is_unspecified())
    })
}
