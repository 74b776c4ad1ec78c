//! The world as a test sees it.

use crate::driver::{Hosted, Slot, Socket};
use crate::event::{Entry, Event, Own};
use crate::link::Links;
use crate::nat::{Nat, NatBox};
use crate::stream::Conn;
use causeway_node::{
    Credential, Credentials, Ctx, DerivedKey, DnsRecord, Dscp, Flow, Lookup, Node, Outbox, RecordKind,
    Status, Time, UserKey,
};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use std::any::Any;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub(crate) usize);
/// A NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatId(pub(crate) usize);
/// A node on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub(crate) usize);

/// Which NAT a part of the network lies behind; `None` is the public network.
pub(crate) type Realm = Option<NatId>;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner {
    Host(usize),
    Nat(NatId),
}

#[derive(Debug, Default)]
pub(crate) struct Host {
    pub realm: Realm,
    pub addresses: Vec<IpAddr>,
    pub private: Vec<IpAddr>,
    pub udp: BTreeMap<SocketAddr, (NodeId, Flow)>,
    pub listeners: BTreeMap<SocketAddr, (NodeId, Flow)>,
    pub next_port: u16,
    pub off: bool,
}

pub(crate) type Authority = Box<dyn FnMut(&Credential) -> Credentials>;
pub(crate) type Knows = Box<dyn FnMut(&[u8]) -> Lookup>;
pub(crate) type UserKeys = Box<dyn FnMut(&UserKey) -> Option<DerivedKey>>;

/// Hosts, nodes, network and time. See the crate's front page.
pub struct World {
    seed: u64,
    pub(crate) now: Time,
    pub(crate) rng: StdRng,
    serial: u64,
    pub(crate) queue: BinaryHeap<Entry>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) nats: Vec<NatBox>,
    pub(crate) places: BTreeMap<(Realm, IpAddr), Owner>,
    pub(crate) links: Links,
    pub(crate) conns: BTreeMap<u64, Conn>,
    pub(crate) next_id: u64,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) zone: BTreeMap<(String, RecordKind), (Vec<DnsRecord>, u32)>,
    pub(crate) name_delay: Duration,
    pub(crate) authority: Authority,
    pub(crate) knows: Knows,
    pub(crate) user_keys: UserKeys,
    pub(crate) lines: Vec<(NodeId, &'static str, String)>,
    pub(crate) refuse_tls: BTreeMap<SocketAddr, String>,
    pub(crate) window: usize,
    pub(crate) patience: Duration,
    digest: u64,
    tracing: bool,
    trace: VecDeque<String>,
}

impl World {
    /// An empty world. Two worlds with the same seed, built by the same steps, do the same.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Time::from_nanos(1_000_000_000),
            rng: StdRng::seed_from_u64(seed),
            serial: 0,
            queue: BinaryHeap::new(),
            slots: Vec::new(),
            hosts: Vec::new(),
            nats: Vec::new(),
            places: BTreeMap::new(),
            links: Links::default(),
            conns: BTreeMap::new(),
            next_id: 1,
            names: BTreeMap::new(),
            zone: BTreeMap::new(),
            name_delay: Duration::from_millis(5),
            authority: Box::new(|_| Credentials::Unavailable),
            knows: Box::new(|_| Lookup::Known),
            user_keys: Box::new(|_| None),
            lines: Vec::new(),
            refuse_tls: BTreeMap::new(),
            window: 64 * 1024,
            patience: Duration::from_secs(60),
            digest: 0xcbf2_9ce4_8422_2325,
            tracing: std::env::var_os("CAUSEWAY_SIM_TRACE").is_some(),
            trace: VecDeque::new(),
        }
    }

    // ---- building ----

    /// A host in the public network with these addresses; 127.0.0.0/8 and ::1 it has by itself.
    pub fn host(&mut self, addresses: &[&str]) -> HostId {
        self.new_host(None, addresses)
    }

    /// A host behind a NAT.
    pub fn host_behind(&mut self, nat: NatId, addresses: &[&str]) -> HostId {
        self.new_host(Some(nat), addresses)
    }

    /// An address that only the nodes of this host see, such as 192.0.0.8: an address of the runtime's inside.
    pub fn private_address(&mut self, host: HostId, address: &str) {
        self.hosts[host.0].private.push(ip(address));
    }

    /// A NAT between the public network and whatever is put behind it.
    pub fn nat(&mut self, nat: Nat) -> NatId {
        self.new_nat(None, nat)
    }

    /// A NAT that itself lies behind another, as with a carrier's.
    pub fn nat_behind(&mut self, outer: NatId, nat: Nat) -> NatId {
        self.new_nat(Some(outer), nat)
    }

    /// Puts a node on a host; it gets [`causeway_node::Input::Start`] when the world runs next.
    pub fn add<N: Node + 'static>(&mut self, host: HostId, name: &str, node: N) -> NodeId {
        let id = NodeId(self.slots.len());
        let rng = StdRng::seed_from_u64(self.seed ^ (id.0 as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.slots.push(Slot::new(name, host.0, Box::new(node), rng));
        self.own(id, self.now, Own::Start);
        id
    }

    // ---- nodes ----

    /// A node, to look at.
    pub fn node<N: Node + 'static>(&self, id: NodeId) -> &N {
        let node: &dyn Any = self.slots[id.0].node.as_deref().expect("the node runs");
        node.downcast_ref().expect("the node is of this type")
    }

    /// A node, to change without its noticing.
    pub fn node_mut<N: Node + 'static>(&mut self, id: NodeId) -> &mut N {
        let node: &mut dyn Any = self.slots[id.0].node.as_deref_mut().expect("the node runs");
        node.downcast_mut().expect("the node is of this type")
    }

    /// Calls a node's own methods from outside, as the application that embeds it would; what they put out
    /// is carried out.
    pub fn with<N: Node + 'static, R>(
        &mut self,
        id: NodeId,
        act: impl FnOnce(&mut N, &mut Ctx<'_>, &mut Outbox) -> R,
    ) -> R {
        let (now, unix_ms) = (self.now, self.unix_ms());
        self.start_if_new(id);
        let slot = &mut self.slots[id.0];
        let node: &mut dyn Any = slot.node.as_deref_mut().expect("the node runs");
        let node = node.downcast_mut().expect("the node is of this type");
        let result = act(node, &mut Ctx { now, unix_ms, rng: &mut slot.rng }, &mut slot.out);
        self.flush(id);
        result
    }

    /// Whether the node is there and was not stopped.
    pub fn runs(&self, id: NodeId) -> bool {
        self.slots[id.0].node.is_some()
    }

    /// What the node reports of itself.
    pub fn status(&self, id: NodeId) -> Status {
        self.slots[id.0].node.as_ref().map_or(Status::Null, |node| node.status(self.now))
    }

    /// Asks the node for a clean end.
    pub fn drain(&mut self, id: NodeId) {
        self.own(id, self.now, Own::Drain);
    }

    /// The process ends at once: its connections are reset, what was not on disk is lost.
    pub fn kill(&mut self, id: NodeId) {
        self.stop(id, true);
    }

    /// The host falls silent: nobody is told anything. Its nodes are gone.
    pub fn power_off(&mut self, host: HostId) {
        self.hosts[host.0].off = true;
        for i in 0..self.slots.len() {
            if self.slots[i].host == host.0 {
                self.stop(NodeId(i), false);
            }
        }
    }

    /// A new process in the place of one that was killed or powered off, on the same disk
    /// ([`World::records`], which the caller has given it as its kind of node wants them).
    pub fn restart<N: Node + 'static>(&mut self, id: NodeId, node: N) {
        self.stop(id, true);
        self.hosts[self.slots[id.0].host].off = false;
        self.slots[id.0].renew(Box::new(node) as Box<dyn Hosted>);
        self.own(id, self.now, Own::Start);
    }

    /// Whether the node reads its connections; what is not read fills the window of whoever sends.
    pub fn stall(&mut self, id: NodeId, stalled: bool) {
        self.set_stalled(id, stalled);
    }

    /// Resets a connection: both ends are told.
    pub fn reset(&mut self, id: NodeId, flow: Flow) {
        self.reset_flow(id, flow);
    }

    /// How the datagrams that a node sends from a local port are marked; `None` if it has no such port. What goes
    /// through the world bears no mark of its own.
    pub fn dscp(&self, id: NodeId, port: u16) -> Option<Dscp> {
        let slot = &self.slots[id.0];
        let of_port = |(flow, (_, socket)): (&Flow, &(u64, Socket))| match socket {
            Socket::Udp(local) if local.port() == port => Some(*flow),
            _ => None,
        };
        let flow = slot.flows.iter().find_map(of_port)?;
        Some(slot.marks.get(&flow).copied().unwrap_or_default())
    }

    /// How a flow of a node is marked: a connection or a listener, which hands it on to what it accepts.
    pub fn flow_dscp(&self, id: NodeId, flow: Flow) -> Dscp {
        self.slots[id.0].marks.get(&flow).copied().unwrap_or_default()
    }

    /// How many connections of this node are open.
    pub fn connections(&self, id: NodeId) -> usize {
        self.conns.values().flat_map(|c| &c.ends).filter(|e| e.node == id && e.lives()).count()
    }

    // ---- time ----

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The world's own dice, for what a test wants to leave to chance.
    pub fn rng(&mut self) -> &mut impl RngCore {
        &mut self.rng
    }

    /// Calls `act` after `delay`.
    pub fn after(&mut self, delay: Duration, act: impl FnOnce(&mut Self) + 'static) {
        self.at(self.now + delay, Event::Call(Box::new(act)));
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Lets time pass until `done`, asked after each event and at least every 10 ms, but at most for
    /// `limit`; says whether it came about.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            let step = (self.now + Duration::from_millis(10)).min(end);
            match self.queue.peek() {
                Some(entry) if entry.at <= step => self.step(),
                _ => self.now = step,
            }
        }
    }

    /// [`World::run_until`] that fails the test when `what` does not come about.
    ///
    /// # Panics
    /// Then.
    #[track_caller]
    pub fn must(&mut self, limit: Duration, what: &str, done: impl FnMut(&mut Self) -> bool) {
        let start = self.now;
        if !self.run_until(limit, done) {
            panic!("not within {limit:?} of {start}: {what}");
        }
    }

    // ---- trace ----

    /// Whether to keep a log of events; off unless told or `CAUSEWAY_SIM_TRACE` is set.
    pub fn set_trace(&mut self, on: bool) {
        self.tracing = on;
    }

    /// The last 20,000 lines of the log.
    pub fn trace(&self) -> String {
        self.trace.iter().map(|line| format!("{line}\n")).collect()
    }

    /// A number that sums up everything that happened so far: equal for equal runs.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn note(&mut self, id: NodeId, what: &str, flow: Option<Flow>, bytes: &[u8]) {
        let mut mix = |byte: u8| self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        self.now.as_nanos().to_be_bytes().into_iter().for_each(&mut mix);
        mix(id.0 as u8);
        what.bytes().for_each(&mut mix);
        flow.map_or(0, |f| f.0).to_be_bytes().into_iter().for_each(&mut mix);
        bytes.iter().copied().for_each(&mut mix);
        if self.tracing {
            if self.trace.len() == 20_000 {
                self.trace.pop_front();
            }
            let name = &self.slots[id.0].name;
            let flow = flow.map_or(String::new(), |f| format!(" #{}", f.0));
            let head = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).escape_debug().to_string();
            self.trace.push_back(format!("{} {name}{flow} {what} {}B {head}", self.now, bytes.len()));
        }
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.serial += 1;
        let at = at.max(self.now);
        self.queue.push(Entry { at, serial: self.serial, event });
    }

    pub(crate) fn own(&mut self, node: NodeId, at: Time, what: Own) {
        let epoch = self.slots[node.0].epoch;
        self.at(at, Event::Own { node, epoch, what });
    }

    pub(crate) fn unix_ms(&self) -> u64 {
        1_763_600_000_000 + self.now.as_millis()
    }

    fn new_host(&mut self, realm: Realm, addresses: &[&str]) -> HostId {
        let id = self.hosts.len();
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| ip(a)).collect();
        for address in &addresses {
            let before = self.places.insert((realm, *address), Owner::Host(id));
            assert!(before.is_none(), "{address} is taken");
        }
        self.hosts.push(Host { realm, addresses, next_port: 32_768, ..Host::default() });
        HostId(id)
    }

    fn new_nat(&mut self, outside: Realm, nat: Nat) -> NatId {
        let id = NatId(self.nats.len());
        let before = self.places.insert((outside, nat.outer), Owner::Nat(id));
        assert!(before.is_none(), "{} is taken", nat.outer);
        self.nats.push(NatBox::new(nat, outside, id));
        id
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.seed;
            eprintln!("sim: seed={seed} at {}; CAUSEWAY_SEED={seed} runs it again", self.now);
            for line in &self.trace {
                eprintln!("sim: {line}");
            }
        }
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is not an IP address"))
}
