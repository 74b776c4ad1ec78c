//! Real sockets, real time: what drives a [`Node`](causeway_node::Node) in a deployment.
//!
//! The only crate of the product that opens sockets or reads a clock. A [`Worker`] is one thread with one loop
//! for one or more nodes; a [`Handle`] speaks to it from other threads.
//!
//! ```
//! use causeway_node::{Class, Ctx, Flow, Input, Node, Outbox, Time};
//! use causeway_runtime::{Setup, Worker};
//! use std::net::UdpSocket;
//! use std::time::Duration;
//!
//! /// Sends every datagram back to where it came from.
//! struct Echo;
//! impl Node for Echo {
//!     fn handle(&mut self, _ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
//!         match input {
//!             Input::Start => out.bind(Flow(0), "127.0.0.1:0".parse().unwrap(), Class::Signalling),
//!             Input::Datagram { flow, from, bytes } => out.datagram(flow, from, bytes),
//!             _ => {}
//!         }
//!     }
//!     fn deadline(&self) -> Option<Time> { None }
//! }
//!
//! let (handle, thread) = Worker::new("demo").node(Setup::new("echo", Echo)).spawn()?;
//! let bound = handle.ready(Duration::from_secs(5))?;
//!
//! let client = UdpSocket::bind("127.0.0.1:0")?;
//! client.send_to(b"hello", bound[0].local)?;
//! let mut buf = [0; 16];
//! let (n, _) = client.recv_from(&mut buf)?;
//! assert_eq!(&buf[..n], b"hello");
//!
//! handle.drain();
//! thread.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The loop
//! Wait → take in all there is → let the nodes decide → carry out once → wait. Signalling wakes it at once, and
//! batches form by themselves under load: recvmmsg on the way in, sendmmsg on the way out.
//!
//! **Media is collected.** What costs on the media path is waking up, not system calls or ciphers. So while a
//! node says that media is flowing ([`Node::media_active`](causeway_node::Node::media_active)), its sockets of
//! [`Class::Media`](causeway_node::Class::Media) wake nobody: every 2 ms ([`Options::media_tick`]) all that
//! waits on them is taken in, and each connection gets one write, hence one TLS record for many packets. While
//! no media flows they wake at once, and an idle worker sleeps without a timer.
//!
//! # Connections
//! * TCP_NODELAY always; TCP_NOTSENT_LOWAT keeps the kernel's queue at some 32 KiB, so that what waits, waits
//!   in the node, which is asked for it ([`Node::fill`](causeway_node::Node::fill)) when it can go out.
//! * What a node queues by [`Outbox::stream`](causeway_node::Outbox::stream) is bounded: a connection whose peer
//!   leaves 1 MiB unread is reset.
//! * Connecting and the TLS handshake have 10 s each. How many connections and handshakes there may be is
//!   bounded in [`Options`]; beyond, new connections are reset, and new handshakes displace old ones.
//! * `Closed` says why in words that an operator can use: a wrong pin names both keys.
//!
//! TLS comes with the node's [`Setup`], see [`tls`].
//!
//! # Several cores
//! A role that several nodes serve together is a group ([`Membership`]): each has a worker of its own, all bind the same
//! ports, and what one receives for another goes through a lane between the two, 4 MiB at most. What another had no room
//! for is lost and counted; how full the lanes are, a node hears as it hears of its ports
//! ([`Node::pressure`](causeway_node::Node::pressure)). They report as one, and they drain together.
//!
//! # An agent as a library
//! An application that embeds a node gives its worker an inside address ([`Options::inside`]). Nodes of one
//! worker that bind there exchange datagrams and streams in memory, and the machine sees no socket.
//! [`Handle::with`] calls a node's own methods from other threads.
//!
//! # Durability
//! A node's records go to its [`Persister`], one commit per batch, on a thread of its own; what is gated leaves
//! in order when they are on disk. A failed commit ends the worker with [`Error::Commit`].
//!
//! # Operating it
//! [`Handle::ready`] says when all ports are open, or which could not be; [`Handle::status`] what is going on;
//! [`control`] gives both to other processes, and tables and reloading beside them; [`metrics`] serves the figures
//! of nodes and workers to a monitoring system. Notices of nodes go to `tracing`, with the field `node`, lines of
//! their journals to a [`LineLog`].

mod authority;
pub mod control;
mod counters;
mod dns;
mod engine;
mod group;
mod linelog;
mod merge;
pub mod metrics;
mod persist;
pub mod probe;
mod resolve;
#[allow(unsafe_code, reason = "system calls that no safe library offers; the reasons stand there")]
mod sys;
pub mod tls;
mod together;
mod worker;

pub use group::Membership;
pub use linelog::LineLog;
pub use persist::Persister;
pub use together::Together;
pub use worker::{Authority, Bound, Error, Gone, Handle, Options, Setup, Worker};
