//! A user agent: registers, calls, is called (RFC 3261 §8, §10.2, §13 to §15).
//!
//! A [`UserAgent`] holds its transports, its transactions, one registration and its calls. The program around
//! it hands it inputs and takes [`Event`]s; session descriptions pass through as bytes. All requests go to
//! one outbound proxy.
//!
//! Calls held at most: [`UserAgent::CALLS`]; further ones are answered 486.

mod agent;
mod call;
mod config;
mod dialog;
mod incoming;
mod outgoing;
mod register;

pub use agent::{CallId, End, Event, UserAgent};
pub use config::{Config, Password};
pub use dialog::Dialog;
