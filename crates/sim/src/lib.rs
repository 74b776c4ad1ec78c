//! A network and a clock that exist only in memory, for tests.
//!
//! A [`World`] holds hosts, the [`Node`](causeway_node::Node)s that run on them, the links between their
//! addresses, NATs, a name service and the time. Nothing in it is real: a thousand hours of timers pass in
//! milliseconds, and **the same seed gives the same run**, down to the last lost packet. A node cannot tell a
//! `World` from the sockets of crate `runtime`.
//!
//! ```
//! use causeway_node::{Class, Flow};
//! use causeway_sim::{Link, Peer, World, for_each_seed};
//! use std::time::Duration;
//!
//! for_each_seed(20, |seed| {
//!     let mut world = World::new(seed);
//!     world.set_default_link(Link { delay: Duration::from_millis(30), loss: 0.2, ..Link::default() });
//!     let (here, there) = (world.host(&["192.0.2.1"]), world.host(&["198.51.100.1"]));
//!     let alice = world.add(here, "alice", Peer::new());
//!     let bob = world.add(there, "bob", Peer::new());
//!     for id in [alice, bob] {
//!         world.with::<Peer, _>(id, |_, _, out| out.bind(Flow(0), "0.0.0.0:5060".parse().unwrap(), Class::Signalling));
//!     }
//!     let to = "198.51.100.1:5060".parse().unwrap();
//!     // One packet in five is lost: say it until it is heard.
//!     let heard = world.run_until(Duration::from_secs(10), |world| {
//!         if world.now().as_millis() % 500 == 0 {
//!             world.with::<Peer, _>(alice, |_, _, out| out.datagram(Flow(0), to, b"hello"));
//!         }
//!         !world.node::<Peer>(bob).datagrams().is_empty()
//!     });
//!     assert!(heard);
//! });
//! ```
//!
//! # Seeds
//! When a test fails, the seed is printed (`sim: seed=17 …`). `CAUSEWAY_SEED=17 cargo test NAME` runs that
//! one again, `CAUSEWAY_SIM_TRACE=1` prints what happened, `CAUSEWAY_SEEDS=5000` tries more of them.
//!
//! # What is modelled
//! * Datagrams ([`Link`]): delay, jitter, loss, duplication, reordering, limited bandwidth, per direction.
//! * Connections: ordered byte streams, cut into chunks of random size, with a window: a peer that does not
//!   read makes its sender wait, and the bounded queue behind [`Outbox::stream`](causeway_node::Outbox::stream)
//!   overflow. Loss delays, a cut path stalls and in the end times out. A TLS connection takes a round trip
//!   more and has an exporter; certificates do not exist here (see [`World::refuse_tls`]).
//! * [`Nat`]: mappings with time limits, filtering, firewalls, reboots, one behind another.
//! * The driver's duties: commits that take time or fail, gates, questions, [`Node::fill`](causeway_node::Node::fill).
//! * Bad company: [`Cheat`] wraps a node and spoils what it sends, [`Peer`] says anything a test wants,
//!   [`World::stall`] stops a node from reading.
//!
//! # Panics
//! The methods of this crate panic when a test misuses them: that is how a test fails.

mod cheat;
mod connect;
mod driver;
mod event;
mod group;
mod link;
mod nat;
mod network;
mod packet;
mod peer;
mod seeds;
mod stream;
mod world;

pub use cheat::{Cheat, Habit};
pub use link::Link;
pub use nat::{Mapping, Nat, Proto};
pub use peer::{Heard, Peer};
pub use seeds::for_each_seed;
pub use world::{HostId, NatId, NodeId, World};
