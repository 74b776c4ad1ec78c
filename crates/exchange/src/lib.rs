//! Registrar, location service and record-routing proxy of one domain (RFC 3261).
//!
//! An [`Exchange`] is a [`Node`](causeway_node::Node). It answers REGISTER from its [`Location`], which it
//! keeps through [`Outbox::persist`](causeway_node::Outbox::persist): a binding is on disk before its 200
//! leaves. It asks for credentials on REGISTER and on INVITE outside a dialog, and has them checked by
//! whoever holds the subscribers ([`Question::Credential`](causeway_node::Question)). It forwards to all
//! contacts of an address of record at once, statefully, and stays on the path of the dialogs it opens; its
//! Record-Route carries a proof, so that it forwards no in-dialog request for strangers.
//!
//! ```
//! use causeway_exchange::{Config, Exchange, Location};
//! use causeway_node::{Ctx, Input, Node, Outbox, Time, testing::CountingRng};
//!
//! let config = Config::new("example.com", "192.0.2.1:5060".parse()?);
//! let mut exchange = Exchange::new(config, None, [7; 32], Location::default());
//! let mut out = Outbox::default();
//! let mut rng = CountingRng::default();
//! let mut ctx = Ctx { now: Time::ZERO, unix_ms: 1_700_000_000_000, rng: &mut rng };
//! exchange.handle(&mut ctx, Input::Start, &mut out);
//! assert!(!out.is_empty(), "it wants its port and its listener");
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

mod auth;
mod calls;
mod config;
mod dialog;
pub mod events;
mod exchange;
mod gruu;
mod identity;
mod keys;
mod location;
pub mod messages;
mod overload;
mod registrar;
mod resolver;
mod route;
mod shard;
mod siphash;
mod throttle;

pub use calls::Calls;
pub use config::{Config, Delivery, Foreign, Mode, Policy};
pub use exchange::Exchange;
pub use keys::Keys;
pub use location::Location;
pub use shard::Shard;
