//! The network and the services of a world, as a test arranges them.

use crate::world::ip;
use crate::{Link, Mapping, NatId, NodeId, World};
use causeway_node::{Credential, Credentials, DerivedKey, DnsRecord, Lookup, Record, RecordKind, UserKey};
use std::net::SocketAddr;
use std::time::Duration;

impl World {
    /// The link between any two addresses for which nothing else is said.
    pub fn set_default_link(&mut self, link: Link) {
        self.links.default = link;
    }

    /// The link between two addresses, both ways. A NAT's two sides are told apart: one link between the inner
    /// host and [`crate::Nat::outer`], one from there on.
    pub fn link(&mut self, a: &str, b: &str, link: Link) {
        self.link_one_way(a, b, link.clone());
        self.link_one_way(b, a, link);
    }

    /// The link in one direction.
    pub fn link_one_way(&mut self, from: &str, to: &str, link: Link) {
        self.links.between.insert((ip(from), ip(to)), link);
    }

    /// From now on nothing passes between two addresses, and nobody is told.
    pub fn cut(&mut self, a: &str, b: &str) {
        self.links.cut.extend([(ip(a), ip(b)), (ip(b), ip(a))]);
    }

    /// Ends [`World::cut`].
    pub fn heal(&mut self, a: &str, b: &str) {
        self.links.cut.remove(&(ip(a), ip(b)));
        self.links.cut.remove(&(ip(b), ip(a)));
    }

    /// From now on nothing passes to or from an address.
    pub fn isolate(&mut self, address: &str) {
        self.links.dead.insert(ip(address));
    }

    /// Ends [`World::isolate`].
    pub fn rejoin(&mut self, address: &str) {
        self.links.dead.remove(&ip(address));
    }

    /// The mappings of a NAT.
    pub fn mappings(&mut self, nat: NatId) -> Vec<Mapping> {
        let now = self.now;
        self.nats[nat.0].mappings(now)
    }

    /// Makes a NAT forget all its mappings.
    pub fn reboot_nat(&mut self, nat: NatId) {
        self.nats[nat.0].reboot();
    }

    /// The bytes that a connection may carry unread, 64 KiB unless told (at least
    /// [`causeway_node::MIN_ROOM`]).
    pub fn set_window(&mut self, bytes: usize) {
        self.window = bytes.max(causeway_node::MIN_ROOM);
    }

    /// After how long without any progress a connection counts as dead, 60 s unless told.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// TLS connections to this address end with this reason, as with a wrong certificate; `None` ends that.
    pub fn refuse_tls(&mut self, to: &str, why: Option<&str>) {
        let to: SocketAddr = to.parse().expect("an IP address and port");
        match why {
            Some(why) => drop(self.refuse_tls.insert(to, why.to_owned())),
            None => drop(self.refuse_tls.remove(&to)),
        }
    }

    /// What a name resolves to; an empty list makes it unknown again.
    pub fn name(&mut self, host: &str, addresses: &[&str]) {
        self.names.insert(host.to_ascii_lowercase(), addresses.iter().map(|a| ip(a)).collect());
    }

    /// The DNS records of one kind under a name, and for how many seconds they may be kept; NAPTR and SRV exist
    /// only so, addresses also by [`World::name`].
    pub fn zone(&mut self, name: &str, kind: RecordKind, records: &[DnsRecord], ttl: u32) {
        self.zone.insert((name.to_ascii_lowercase(), kind), (records.to_vec(), ttl));
    }

    /// How long a name takes to resolve, 5 ms unless told.
    pub fn set_name_delay(&mut self, delay: Duration) {
        self.name_delay = delay;
    }

    /// Who answers [`causeway_node::Question::Credential`]; nobody unless told.
    pub fn authority(&mut self, authority: impl FnMut(&Credential) -> Credentials + 'static) {
        self.authority = Box::new(authority);
    }

    /// Who answers [`causeway_node::Question::Subscriber`]; every address of record is known unless told.
    pub fn subscribers(&mut self, knows: impl FnMut(&[u8]) -> Lookup + 'static) {
        self.knows = Box::new(knows);
    }

    /// Who answers [`causeway_node::Question::UserKey`]; nobody unless told.
    pub fn user_keys(&mut self, derive: impl FnMut(&UserKey) -> Option<DerivedKey> + 'static) {
        self.user_keys = Box::new(derive);
    }

    /// The lines that this node has written to a journal.
    pub fn lines(&self, id: NodeId, journal: &str) -> Vec<&str> {
        let own = self.lines.iter().filter(|(node, name, _)| *node == id && *name == journal);
        own.map(|(_, _, line)| line.as_str()).collect()
    }

    /// How long a commit takes on this node's disk, 1 ms unless told.
    pub fn set_commit_delay(&mut self, id: NodeId, delay: Duration) {
        self.slots[id.0].journal.delay = delay;
    }

    /// Whether this node's commits fail from now on.
    pub fn fail_commits(&mut self, id: NodeId, fail: bool) {
        self.slots[id.0].journal.fails = fail;
    }

    /// What this node has on disk, sorted by space and key.
    pub fn records(&self, id: NodeId) -> Vec<Record> {
        let view = |((space, key), value): (&(&'static str, Vec<u8>), &Vec<u8>)| Record {
            space,
            key: key.clone(),
            value: Some(value.clone()),
        };
        self.slots[id.0].journal.records.iter().map(view).collect()
    }
}
