//! A transaction-stateful proxy without policy (RFC 3261 §16): what agents, contact points and exchanges share.
//!
//! [`Core`] keeps the transactions and the response contexts: it answers 100, matches responses, keeps the
//! best final response of several branches, carries CANCEL to all of them, runs timer C, pushes and pops
//! Via and counts Max-Forwards down. The element decides where a request goes and what else changes in it,
//! by [`Core::forward`] with a [`Edit`](crate::Edit), and what changes in a response, by [`Core::relay`].
//!
//! ```text
//! Core::receive ──► Event::Request  ──► element: route, edit ──► Core::forward (once per branch) | Core::reply
//!                   Event::Response ──► element: edit        ──► Core::relay
//!                   Event::Ack      ──► element: route       ──► Core::forward_ack
//! ```

mod context;
mod core;
mod event;
mod outcome;
mod wire;

#[cfg(test)]
mod tests;

pub use self::core::{Core, Identity, Manner};
pub use event::Event;
