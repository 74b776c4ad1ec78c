//! Which of several exchanges that share one address serves what: each address of record is one member's.
//!
//! Members of a group ([`causeway_node`], "Groups") receive whatever the system gives them. A message belongs to the
//! member that its *tag* names, 16 bits that all members make alike and that stay the same when their number changes:
//!
//! | message | tag |
//! |---|---|
//! | response | none: our branch in its top Via names the member (RFC 3261 §17.1.3) |
//! | REGISTER | keyed hash of the address of record in To |
//! | with a To tag, and a Route of ours | as that Route says, which was given when the dialog began |
//! | any other for a user of this domain | keyed hash of the address of record in the Request-URI |
//! | … for one of his temporary GRUUs | the top 16 bits of the seed in it, which are that same hash |
//! | … for anybody else | keyed hash of the Call-ID |
//!
//! Nothing else counts, the method least of all: so a CANCEL, and the ACK for a failure, come to the member that has
//! their INVITE. A tag that goes outside is masked by a hash of the Call-ID: two of them do not show that they mean
//! one user (RFC 5627 §3.1.2). It is no proof and needs none: whoever writes another gets his request to a member that
//! does not know its user or its dialog, and refuses it.
//!
//! What is given out names the member in clear as well, by its [`Mark`]: our branches, our Routes and our nonces. So most
//! of what belongs to a member comes to it at once; all they show is that two things have one of a few members in common.
//! Where a mark is wrong, or looked at by nobody, the table above decides all the same.

use crate::config::Config;
use crate::gruu::{self, Gruu};
use crate::keys::Keys;
use crate::route;
use causeway_node::Mark;
use causeway_sip::hub::Hub;
use causeway_sip::{Method, Msg, Uri};
use std::borrow::Cow;

/// Which member of how many an exchange is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its number, from 0.
    pub own: u16,
    /// How many there are: 1 to [`Shard::MOST`].
    pub of: u16,
}

/// The parameter of our Routes that carries a masked tag.
const PARAM: &[u8] = b"cs";
/// Before the member's mark in a branch: `z9hG4bK-c`, a letter, 16 hexadecimal digits, a hyphen.
const BEFORE_MEMBER: usize = 27;

impl Shard {
    /// An exchange that is alone.
    pub const ALONE: Self = Self { own: 0, of: 1 };
    /// Members at most.
    pub const MOST: u16 = Hub::MEMBERS;

    /// Whether there is nobody else.
    pub fn is_alone(self) -> bool {
        self.of <= 1
    }

    /// The member that a tag names.
    pub fn of_tag(self, tag: u16) -> u16 {
        tag % self.of.max(1)
    }

    /// Whether a tag names this member.
    pub fn has(self, tag: u16) -> bool {
        self.of_tag(tag) == self.own
    }

    /// Whether an address of record is this member's.
    pub fn serves(self, keys: &Keys, aor: &[u8]) -> bool {
        self.is_alone() || self.has(of_aor(keys, aor))
    }

    /// The member that a message belongs to; a response that names none is whose it came to.
    pub fn owner(self, config: &Config, keys: &Keys, msg: Msg<'_>) -> u16 {
        if self.is_alone() {
            return self.own;
        }
        match msg.is_request() {
            true => self.of_tag(of_request(config, keys, msg)),
            false => {
                let branch = msg.top_via().and_then(|via| via.branch());
                branch.and_then(member).filter(|member| *member < self.of).unwrap_or(self.own)
            }
        }
    }

    /// What this member appends to its branches, `rest` after it; `rest` alone where it is alone.
    pub fn suffix(self, rest: &[u8]) -> Cow<'_, [u8]> {
        if self.is_alone() { rest.into() } else { [self.mark().as_bytes(), b"-", rest].concat().into() }
    }

    /// The mark of this member; empty where it is alone.
    pub fn mark(self) -> String {
        if self.is_alone() { String::new() } else { Mark(self.own).to_string() }
    }

    /// The parameter, its semicolon first, that brings further requests of a dialog to the member whose tag this is.
    pub fn param(self, keys: &Keys, tag: u16, call_id: &[u8]) -> String {
        match self.is_alone() {
            true => String::new(),
            false => format!(";cs={:04x}{}", tag ^ mask(keys, call_id), Mark(self.of_tag(tag))),
        }
    }

    /// Whether a URI of ours was given by another member, for a dialog of its own.
    pub fn is_others(self, keys: &Keys, uri: &Uri<'_>, msg: Msg<'_>) -> bool {
        !self.is_alone() && of_param(keys, uri, msg).is_some_and(|tag| !self.has(tag))
    }
}

/// The tag of an address of record.
pub fn of_aor(keys: &Keys, aor: &[u8]) -> u16 {
    keys.tag("shard", aor)
}

/// The tag of a request; see the table above.
pub fn of_request(config: &Config, keys: &Keys, msg: Msg<'_>) -> u16 {
    let by_call_id = || keys.tag("shard-call", msg.call_id().unwrap_or_default());
    if msg.method() == Method::Register {
        let named = msg.to().and_then(|to| to.uri()).and_then(|uri| route::aor(config, &uri));
        return named.map_or_else(by_call_id, |aor| of_aor(keys, &aor));
    }
    let given = || {
        let route = msg.routes().next()??.uri()?;
        if route::is_local(config, &route) { of_param(keys, &route, msg) } else { None }
    };
    if let Some(tag) = msg.to_tag().and_then(|_| given()) {
        return tag;
    }
    let Some(uri) = Uri::parse(msg.request_uri()).filter(|uri| route::is_local(config, uri)) else {
        return by_call_id();
    };
    if let Some(Gruu::Temporary(seed)) = gruu::read(keys, &uri) {
        return of_seed(seed);
    }
    route::aor(config, &uri).map_or_else(by_call_id, |aor| of_aor(keys, &aor))
}

/// Whether the Request-URI alone says whose a request is.
pub fn is_of_uri(config: &Config, keys: &Keys, msg: Msg<'_>) -> bool {
    let named = |uri: &Uri<'_>| {
        matches!(gruu::read(keys, uri), Some(Gruu::Temporary(_))) || route::aor(config, uri).is_some()
    };
    msg.method() != Method::Register
        && msg.to_tag().is_none()
        && Uri::parse(msg.request_uri()).is_some_and(|uri| named(&uri))
}

/// The tag in the seed of a temporary GRUU.
pub fn of_seed(seed: u64) -> u16 {
    (seed >> 48) as u16
}

/// A seed of an address of record, from a random number; never 0.
pub fn seed(keys: &Keys, aor: &[u8], random: u64) -> u64 {
    u64::from(of_aor(keys, aor)) << 48 | random >> 16 | 1
}

fn mask(keys: &Keys, call_id: &[u8]) -> u16 {
    keys.tag("shard-mask", call_id)
}

fn of_param(keys: &Keys, uri: &Uri<'_>, msg: Msg<'_>) -> Option<u16> {
    let (digits, rest) = uri.params.value(PARAM)?.split_at_checked(4)?;
    if !rest.is_empty() && !matches!(Mark::read(rest), Some((_, b""))) {
        return None;
    }
    let masked = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some(masked ^ mask(keys, msg.call_id().unwrap_or_default()))
}

/// The member that a branch of ours names.
fn member(branch: &[u8]) -> Option<u16> {
    let rest = branch.strip_prefix(b"z9hG4bK-c").and_then(|_| branch.get(BEFORE_MEMBER - 1..))?;
    let (Mark(member), after) = Mark::read(rest.strip_prefix(b"-")?)?;
    matches!(after.first(), None | Some(b'-')).then_some(member)
}

#[cfg(test)]
mod tests;
