//! What a server would answer to a message, and why.
//!
//! The index takes whatever can be told apart; this pass decides what is refused. It follows the advice of
//! RFC 4475 at its strict end for anything that two implementations could read differently (stray blanks in
//! the start line, unbalanced quotes, repeated header fields), and only warns of what harms nobody: RFC 2543
//! leftovers, numbers out of range that have a default, characters that should have been escaped.
//!
//! [`verdict`] is the fast path: it allocates nothing and stops at the first reason to refuse.
//! [`crate::check`] tells all faults with their places.

mod grammar;
mod inspect;
mod rules;
mod values;

pub use rules::{Rule, Severity};

use crate::headers::HeaderId;
use crate::message::Msg;
use inspect::Pass;

/// As whom a message is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Whoever has to understand the Request-URI: a user agent, a redirect server.
    #[default]
    Server,
    /// A proxy: refuses also what has used up its Max-Forwards.
    Proxy,
    /// A registrar: needs an address-of-record in To.
    Registrar,
    /// A hop that sends everything on to one next hop: any scheme is as good as another.
    Relay,
}

/// Why a message is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What a request is answered with; an ACK and a response cannot be answered and are discarded.
    pub status: u16,
    /// What is wrong, fit for the reason phrase.
    pub reason: &'static str,
    /// Which rule was broken.
    pub rule: Rule,
}

/// One broken rule and the position of the byte where it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) rule: Rule,
    pub(crate) at: usize,
}

/// Whether a message can be worked on. Allocates nothing.
///
/// # Errors
/// The first reason to refuse it.
#[inline]
pub fn verdict(msg: Msg<'_>) -> Result<(), Verdict> {
    verdict_as(msg, Role::Server)
}

/// [`verdict`], as somebody in particular.
///
/// # Errors
/// The first reason to refuse it.
pub fn verdict_as(msg: Msg<'_>, role: Role) -> Result<(), Verdict> {
    let mut first = None;
    let mut report = |found: Found| {
        first = Some(found.rule);
        false
    };
    Pass::<false, _>::run(msg, role, &mut report);
    match first {
        None => Ok(()),
        Some(rule) => Err(Verdict { status: rule.status(), reason: rule.text(), rule }),
    }
}

/// All faults in the order of the message.
pub(crate) fn all(msg: Msg<'_>, role: Role) -> Vec<Found> {
    let mut found = Vec::new();
    let mut report = |fault: Found| {
        found.push(fault);
        true
    };
    Pass::<true, _>::run(msg, role, &mut report);
    found.sort_by_key(|fault| fault.at);
    found
}

/// The option tags in Require or Proxy-Require that are not among `supported`, compared without case: what
/// the Unsupported header field of a 420 lists (RFC 3261 §8.2.2.3, §16.3 step 5).
pub fn unsupported<'a>(
    msg: Msg<'a>,
    id: HeaderId,
    supported: &'a [&'a [u8]],
) -> impl Iterator<Item = &'a [u8]> {
    msg.values(id).filter(move |tag| !supported.iter().any(|known| crate::bytes::same(known, tag)))
}
