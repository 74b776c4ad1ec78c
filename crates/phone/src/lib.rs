//! A terminal: an account that registers, calls and is called, and speech over RTP.
//!
//! A [`Phone`] is a [`Node`](causeway_node::Node). It says what it was given to say (µ-law bytes, over and
//! over) on each call that stands, plays what it hears through a playout buffer, and keeps a [`Talk`] of each
//! call: what was sent and heard, when, how much was lost or late.
//!
//! ```
//! use causeway_node::{Ctx, Input, Node, Outbox, Time, testing::CountingRng};
//! use causeway_phone::{Phone, Config};
//! use causeway_sip::ua::{self, Password};
//!
//! let account = ua::Config::new(
//!     "sip:alice@example.com", Password::new("secret"),
//!     "192.0.2.1:5060".parse()?, "192.0.2.9:5060".parse()?,
//! );
//! let mut phone = Phone::new(Config::new(account));
//! let (mut out, mut rng) = (Outbox::default(), CountingRng::default());
//! let mut ctx = Ctx { now: Time::ZERO, unix_ms: 0, rng: &mut rng };
//! phone.handle(&mut ctx, Input::Start, &mut out);
//! phone.register(&mut ctx, &mut out);
//! let call = phone.call(&mut ctx, "sip:bob@example.com", &mut out);
//! assert!(call.is_some());
//! # Ok::<(), std::net::AddrParseError>(())
//! ```

mod phone;
mod talk;

pub use phone::{Answering, Config, Phone};
pub use talk::Talk;
