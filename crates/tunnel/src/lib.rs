//! One connection for everything: the tunnel between the two halves of the split proxy, without I/O.
//!
//! A tunnel runs over one ordered stream of bytes (TLS 1.3 in a deployment). Every byte lies in a **frame**:
//! four bytes of header (lane, length), then the payload. [`Lane::CONTROL`] carries control messages,
//! [`Lane::SIP`] SIP, every other lane datagrams of one [`Kind`]. The byte layouts are in `docs/tunnel.md`,
//! with vectors; both ends are the same [`Tunnel`], told apart by [`Role`].
//!
//! What makes voice good over TCP is what is *not* sent: packets wait here, not in the socket, in strict
//! order of urgency (control and SIP, RTCP, audio, video, the rest), and one that has become older than its
//! deadline when its turn comes is dropped ([`Deadlines`]).
//!
//! # Driving it
//! ```
//! use causeway_node::Time;
//! use causeway_tunnel::{Config, Event, Kind, Role, Tunnel};
//! use std::{sync::Arc, time::Duration};
//!
//! let mut now = Time::ZERO;
//! let mut agent = Tunnel::new(Arc::new(Config::new(Role::Agent)), now);
//! let mut contact = Tunnel::new(Arc::new(Config::new(Role::ContactPoint)), now);
//!
//! // Give the bytes of one end to the other; here the Hellos.
//! let mut wire = Vec::new();
//! contact.fill(now, usize::MAX >> 1, &mut wire);
//! let mut input = wire.as_slice();
//! while let Some(event) = agent.next(now, &mut input) {
//!     assert!(matches!(event, Event::Up(hello) if hello.role == Role::ContactPoint));
//! }
//!
//! // The agent opens a lane and sends two packets; the first waits for too long.
//! let lane = agent.open_lane(Kind::Audio, b"call 1")?;
//! agent.datagram(now, lane, b"old")?;
//! now += Duration::from_millis(151);
//! agent.datagram(now, lane, b"new")?;
//! wire.clear();
//! agent.fill(now, usize::MAX >> 1, &mut wire);
//!
//! let mut input = wire.as_slice();
//! let mut heard = Vec::new();
//! while let Some(event) = contact.next(now, &mut input) {
//!     if let Event::Datagram { payload, .. } = event { heard.push(payload.to_vec()) }
//! }
//! assert_eq!(heard, [b"new".to_vec()]);
//! assert_eq!(agent.lane_stats(lane).unwrap().late_dropped, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! Besides, the owner calls [`Tunnel::timeout`] when [`Tunnel::deadline`] has come, and sends what is waiting
//! whenever [`Tunnel::wants_write`] and the connection takes it.
//!
//! # Limits
//! Everything is bounded by [`Config`]: lanes, frames, queues, control messages per second. A peer that breaks
//! a rule gets an error message and [`Event::Dead`] ends the tunnel; no other tunnel notices.

mod config;
mod control;
mod event;
mod frame;
mod lanes;
mod proof;
mod pulse;
mod reader;
mod sip;
mod streams;
mod tunnel;

pub mod fuzzing;
pub mod key;

pub use config::{Config, Deadlines, Instance};
pub use control::{
    CloseReason, ControlError, GoodbyeReason, Hello, MAX_TEXT, MAX_TOKEN, MESSAGE_HEADER, Message, Resume,
    Stale, VERSION,
};
pub use event::{Event, Fault, OpenError, SipFull, Stats, Why};
pub use frame::{HEADER, Kind, Lane, Role};
pub use lanes::{Dropped, LaneStats, Refused};
pub use proof::{Proof, Secret, SessionId};
pub use streams::{STREAM_QUEUE, WINDOW};
pub use tunnel::{Adopted, Saved, Tunnel};

/// The application protocol name that both ends offer in TLS (RFC 7301).
pub const ALPN: &[u8] = b"causeway/1";
