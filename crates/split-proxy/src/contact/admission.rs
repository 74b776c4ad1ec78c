//! What an agent may ask for (the contact point is no open relay).
//!
//! * Until the operator has accepted a REGISTER of it: REGISTER and OPTIONS, bounded in rate and size.
//! * Afterwards whatever its From is registered for, and whatever belongs to a dialog it is in.
//! * Routes that the operator has not named, asserted identities and everything else that a server would
//!   believe because it comes from here, are taken out.

use super::config::Limits;
use super::owners::{DialogKey, Owner};
use crate::rate::Bucket;
use causeway_node::Time;
use causeway_sip::{Edit, HeaderId, Method, Msg};

/// Why a request from a tunnel is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("Register First")]
    Unregistered,
    #[error("From Is Not Registered Here")]
    From,
    #[error("Too Many Requests")]
    Rate,
    #[error("Message Too Large Before Registration")]
    Size,
    #[error("Too Many Contacts")]
    Contacts,
}

impl Denied {
    /// All reasons, with their names in figures.
    pub(super) const ALL: [(Self, &'static str); 5] = [
        (Self::Unregistered, "unregistered"),
        (Self::From, "from"),
        (Self::Rate, "rate"),
        (Self::Size, "size"),
        (Self::Contacts, "contacts"),
    ];

    pub(super) fn status(self) -> u16 {
        match self {
            Self::Unregistered | Self::From => 403,
            Self::Rate | Self::Contacts => 503,
            Self::Size => 513,
        }
    }
}

/// The rates of one tunnel.
#[derive(Debug)]
pub(super) struct Gauge {
    requests: Bucket,
    pub denied: u64,
}

impl Gauge {
    pub(super) fn new(limits: &Limits, now: Time) -> Self {
        Self { requests: Bucket::full(limits.unregistered_burst, now), denied: 0 }
    }

    /// Before anything is done for a message.
    pub(super) fn enter(
        &mut self,
        limits: &Limits,
        now: Time,
        msg: Msg<'_>,
        admitted: bool,
    ) -> Result<(), Denied> {
        let (rate, burst) = match admitted {
            true => (limits.rate, limits.burst),
            false => (limits.unregistered_rate, limits.unregistered_burst),
        };
        if !admitted && msg.bytes().len() > limits.unregistered_size {
            return Err(Denied::Size);
        }
        let counted = msg.is_request() && !matches!(msg.method(), Method::Ack | Method::Cancel);
        if counted && !self.requests.take(now, rate, burst) {
            return Err(Denied::Rate);
        }
        Ok(())
    }
}

/// Whether a request may pass, and the dialog it belongs to.
pub(super) fn check(owner: &Owner, msg: Msg<'_>, unix_ms: u64) -> Result<Option<DialogKey>, Denied> {
    if msg.method() == Method::Register {
        return Ok(None);
    }
    if !owner.is_admitted(unix_ms) {
        return if msg.method() == Method::Options { Ok(None) } else { Err(Denied::Unregistered) };
    }
    let dialog = DialogKey::of(msg, true).filter(|key| owner.knows(key));
    if dialog.is_some() {
        return Ok(dialog);
    }
    let from = msg.from().map(|from| from.uri).unwrap_or_default();
    if owner.may_be(from, unix_ms) || is_anonymous(from) { Ok(None) } else { Err(Denied::From) }
}

/// RFC 3323 §4.1: nobody's name.
fn is_anonymous(from: &[u8]) -> bool {
    crate::keys::identity(from).is_some_and(|aor| aor == b"sip:anonymous@anonymous.invalid")
}

/// Takes out of a request what an agent must not tell the operator.
pub(super) fn strip_request(
    owner: &Owner,
    msg: Msg<'_>,
    dialog: Option<&DialogKey>,
    unix_ms: u64,
    edit: &mut Edit,
) {
    edit.remove_values(msg, HeaderId::Route, |value| !owner.may_route(value, dialog));
    edit.remove(msg, HeaderId::RecordRoute);
    edit.remove(msg, HeaderId::Path);
    if msg.addrs(HeaderId::PPreferredIdentity).any(|a| a.is_none_or(|a| !owner.may_be(a.uri, unix_ms))) {
        edit.remove(msg, HeaderId::PPreferredIdentity);
    }
    strip_response(msg, edit);
}

/// Likewise of a response.
pub(super) fn strip_response(msg: Msg<'_>, edit: &mut Edit) {
    for id in [
        HeaderId::PAssertedIdentity,
        HeaderId::PAssociatedUri,
        HeaderId::PChargingVector,
        HeaderId::PVisitedNetworkId,
    ] {
        edit.remove(msg, id);
    }
    edit.remove_named(msg, b"Remote-Party-ID");
}

/// A body protected by `auth-int` cannot be rewritten (RFC 7616 §3.4.3): the choice is taken out of a
/// challenge that offers `auth` as well.
pub(super) fn drop_auth_int(msg: Msg<'_>, edit: &mut Edit) {
    for id in [HeaderId::WwwAuthenticate, HeaderId::ProxyAuthenticate] {
        for value in msg.all(id) {
            let lower = value.to_ascii_lowercase();
            for (pattern, keep) in [(&b"auth,auth-int"[..], 4), (b"auth, auth-int", 4)] {
                if let Some(at) = memchr::memmem::find(&lower, pattern)
                    && let Some(part) = value.get(at + keep..at + pattern.len())
                {
                    edit.replace(msg, part, &[]);
                }
            }
            for pattern in [&b"auth-int,auth\""[..], b"auth-int, auth\""] {
                if let Some(at) = memchr::memmem::find(&lower, pattern)
                    && let Some(part) = value.get(at..at + pattern.len() - 5)
                {
                    edit.replace(msg, part, &[]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_sip::Message;

    #[test]
    fn auth_int_goes_where_auth_stays() {
        for (before, after) in [
            (r#"qop="auth,auth-int""#, r#"qop="auth""#),
            (r#"qop="auth, auth-int", nonce="n""#, r#"qop="auth", nonce="n""#),
            (r#"qop="auth-int,auth""#, r#"qop="auth""#),
            (r#"qop="auth-int, auth""#, r#"qop="auth""#),
            (r#"qop="auth-int""#, r#"qop="auth-int""#),
            (r#"qop="auth""#, r#"qop="auth""#),
        ] {
            let text =
                |qop: &str| format!("SIP/2.0 401 Unauthorized\r\nWWW-Authenticate: Digest {qop}\r\n\r\n");
            let message = Message::parse(text(before)).unwrap();
            let (mut edit, mut out) = (Edit::new(), Vec::new());
            drop_auth_int(message.msg(), &mut edit);
            edit.apply(message.msg(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text(after));
        }
    }
}
