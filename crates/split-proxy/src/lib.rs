//! The split proxy: a SIP proxy with media relay, cut in two, with one tunnel between its halves.
//!
//! ```text
//!  phones ── SIP, RTP ──► Agent ══ one TLS connection ══► ContactPoint ── SIP, RTP ──► the operator's server
//!            LAN                                                          any SIP server
//! ```
//! An [`Agent`] is the outbound proxy of the phones on its LAN and opens the tunnel; a [`ContactPoint`] takes
//! tunnels and stands for every phone towards the operator's server. Both are [`causeway_node::Node`]s: values
//! that a driver feeds, on real sockets or in the simulator.
//!
//! * **SIP** goes through both as through any transaction-stateful proxy. The agent sees to it that phones send
//!   the requests of a dialog through it; the contact point puts a stable token in the place of every Contact,
//!   so that a registrar that knows nothing of all this finds the way back.
//! * **Media** is led by the descriptions in passing: each half writes an address and ports of its own towards
//!   its network, and lane numbers towards the tunnel. A packet then costs a look into a table on either side.
//! * **Admission**: the contact point lets through what a registered agent may do, and nothing else
//!   ([`Limits`], [`ContactConfig::media_allow`]).
//!
//! ```
//! use causeway_node::{Ctx, Input, Node, Outbox, Output, Time, testing::CountingRng};
//! use causeway_split_proxy::{Agent, AgentConfig};
//!
//! let config = AgentConfig::new("contact.example.com", 443, "192.168.1.10:5060".parse()?);
//! let (mut agent, mut out, mut rng) = (Agent::new(config, []), Outbox::default(), CountingRng::default());
//! let mut ctx = Ctx { now: Time::ZERO, unix_ms: 0, rng: &mut rng };
//! agent.handle(&mut ctx, Input::Start, &mut out);
//! let mut asked = false;
//! out.drain(|_, output| asked |= matches!(output, Output::Ask { .. }));
//! assert!(asked, "the first thing it wants to know is where the contact point is");
//! assert_eq!(agent.status(Time::ZERO)["state"], "resolving");
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

mod agent;
mod calls;
mod contact;
mod description;
pub mod fuzzing;
mod half;
mod keys;
mod legs;
mod links;
mod marks;
mod media;
mod metrics;
mod msrp;
mod rate;
mod records;
mod status;

pub use agent::{Agent, AgentConfig, ContactAddress, HttpProxy, SPACES as AGENT_SPACES};
pub use calls::CallLimits;
pub use contact::{
    Cidr, CidrError, ContactConfig, ContactPoint, Limits, Mode, SPACE as CONTACT_SPACE,
    SPACES as CONTACT_SPACES, Seat,
};
pub use keys::{KeyLine, KeyPolicy, LineSecret};
pub use marks::{Marks, MarksError};
pub use media::MediaConfig;
