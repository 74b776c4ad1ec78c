//! How connections come about.

use crate::driver::Socket;
use crate::event::{EndId, Event, Way};
use crate::link::Fate;
use crate::nat::Proto;
use crate::packet::{LOCAL_DELAY, Next, clashes};
use crate::stream::{Conn, End};
use crate::world::Owner;
use crate::{NodeId, World};
use causeway_node::{Connect, Flow, Time, Transport};
use rand::Rng;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// After this an attempt counts as failed, as in crate `runtime`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// When a lost SYN is sent again.
const SYN_RETRY: Duration = Duration::from_secs(1);

impl World {
    pub(crate) fn listen(&mut self, id: NodeId, flow: Flow, local: SocketAddr, transport: Transport) {
        let taken = |world: &Self, host: usize, at: SocketAddr| {
            let listeners = world.hosts[host].listeners.iter();
            let others = listeners.filter(|(_, (other, _))| !world.share(id, *other));
            clashes(others.map(|(at, _)| at), at)
        };
        match self.claim(id, flow, local, taken) {
            Ok((host, local)) => {
                self.hosts[host].listeners.insert(local, (id, flow));
                self.settle(id, flow, Socket::Listener(local, transport), local);
            }
            Err(why) => self.refuse(id, flow, local, &why),
        }
    }

    pub(crate) fn connect(&mut self, id: NodeId, flow: Flow, connect: &Connect) {
        if connect.through.is_some() {
            return self.refuse(id, flow, connect.to, "the simulator has no HTTP proxies");
        }
        let host = self.slots[id.0].host;
        let wildcard: IpAddr = match connect.to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let port = self.free_port(host);
        let Some(from) = self.source(host, SocketAddr::new(wildcard, port), connect.to) else {
            return self.refuse(id, flow, connect.to, &format!("{}: no address of that family", connect.to));
        };
        let used = self.slots[id.0].flows.contains_key(&flow);
        assert!(!used, "{}: flow {} is in use", self.slots[id.0].name, flow.0);
        let conn = self.serial_id();
        let end = EndId { conn, side: 0 };
        let serial = self.serial_id();
        self.slots[id.0].flows.insert(flow, (serial, Socket::Stream(end)));
        let opener = End::new(id, flow, from, connect.to, None);
        self.conns.insert(conn, Conn::new(connect.transport, opener, self.now));
        let way = Way { origin: host, realm: self.hosts[host].realm, hop: from.ip(), from, to: connect.to };
        self.syn_hop(conn, way);
    }

    /// A SYN goes one hop further.
    fn syn_hop(&mut self, id: u64, way: Way) {
        match self.next_hop(Proto::Tcp, way) {
            Next::Here => self.at(self.now + LOCAL_DELAY, Event::Syn { conn: id, way }),
            Next::Hop(from, to, next) => match self.links.fate(&mut self.rng, self.now, from, to, 60) {
                Fate::Passes(delay, _) => {
                    let Some(conn) = self.conns.get_mut(&id) else { return };
                    conn.legs.push((from, to));
                    if let (true, Some(nat)) = (next.from != way.from, way.realm) {
                        conn.nats.push((nat, next.from.port()));
                    }
                    self.at(self.now + delay, Event::Syn { conn: id, way: next });
                }
                Fate::Lost | Fate::Cut => self.syn_again(id, way),
            },
            Next::Nowhere => self.syn_again(id, way),
        }
    }

    fn syn_again(&mut self, id: u64, way: Way) {
        let Some(conn) = self.conns.get(&id) else { return };
        let give_up = conn.since + CONNECT_TIMEOUT;
        if self.now + SYN_RETRY < give_up {
            self.at(self.now + SYN_RETRY, Event::Syn { conn: id, way });
        } else {
            let why = format!("{}: connecting timed out", conn.ends[0].peer);
            self.at(give_up, Event::Dead { end: EndId { conn: id, side: 0 }, why });
        }
    }

    pub(crate) fn syn_arrives(&mut self, id: u64, way: Way) {
        if !self.conns.get(&id).is_some_and(|c| c.ends.len() == 1 && c.ends[0].lives()) {
            return;
        }
        if let Some((host, way)) = self.arrival(way) {
            return self.accept(id, host, way);
        }
        let at_nat = way.hop == way.to.ip()
            && matches!(self.places.get(&(way.realm, way.to.ip())), Some(Owner::Nat(_)));
        if at_nat || way.hop == way.to.ip() {
            // Inbound connections are refused silently, and a dark host says nothing.
            return self.syn_again(id, way);
        }
        self.syn_hop(id, way);
    }

    fn accept(&mut self, id: u64, host: usize, way: Way) {
        let client = EndId { conn: id, side: 0 };
        let transport = self.conns[&id].transport;
        let (Some(forth), Some(back)) = (self.handshake(client), self.handshake(client.other())) else {
            return self.syn_again(id, way);
        };
        let round = back + forth;
        let peer = self.conns[&id].ends[0].peer;
        let wildcard: IpAddr =
            if way.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let listeners = &self.hosts[host].listeners;
        let found =
            listeners.get(&way.to).or_else(|| listeners.get(&SocketAddr::new(wildcard, way.to.port())));
        let Some((node, listener)) = found.map(|found| self.choose(*found, way.from)) else {
            let why = format!("{peer}: connection refused");
            return self.at(self.now + back, Event::Dead { end: client, why });
        };
        let speaks = self.slots[node.0].flows.get(&listener).map(|f| f.1);
        let speaks = matches!(speaks, Some(Socket::Listener(_, t)) if t == transport);
        let refusal = self.refuse_tls.get(&peer).filter(|_| transport == Transport::Tls).cloned();
        if let Some(why) =
            refusal.or_else(|| (!speaks).then(|| "the peer does not speak TLS here".to_owned()))
        {
            let why = format!("{peer}: {why}");
            return self.at(self.now + round + back, Event::Dead { end: client, why });
        }
        self.join(id, node, listener, way, forth, round, back);
    }

    #[allow(clippy::too_many_arguments, reason = "the tail of accept")]
    fn join(
        &mut self,
        id: u64,
        node: NodeId,
        listener: Flow,
        way: Way,
        forth: Duration,
        round: Duration,
        back: Duration,
    ) {
        let client = EndId { conn: id, side: 0 };
        let slot = &mut self.slots[node.0];
        let flow = Flow(slot.next_accepted);
        slot.next_accepted = slot.next_accepted.checked_add(1).unwrap_or(Flow::ACCEPTED);
        let serial = self.serial_id();
        self.slots[node.0].flows.insert(flow, (serial, Socket::Stream(client.other())));
        let exporter: [u8; 32] = self.rng.random();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let extra = if conn.transport == Transport::Tls { round } else { Duration::ZERO };
        conn.exporter = (conn.transport == Transport::Tls).then_some(exporter);
        let opened: Time = self.now + back + extra;
        let accepted = opened + forth;
        conn.ends[0].arrives = accepted;
        let mut end = End::new(node, flow, way.to, way.from, Some(listener));
        end.arrives = opened;
        conn.ends.push(end);
        self.at(opened, Event::Opened { end: client });
        self.at(accepted, Event::Opened { end: client.other() });
    }

    /// How long one message of a handshake takes from this end, retransmissions included.
    fn handshake(&mut self, from: EndId) -> Option<Duration> {
        let mut waited = Duration::ZERO;
        for _ in 0..5 {
            match self.path_fate(from, 60) {
                Fate::Passes(delay, _) => return Some(waited + delay),
                Fate::Lost => waited += Duration::from_millis(200),
                Fate::Cut => return None,
            }
        }
        None
    }
}
