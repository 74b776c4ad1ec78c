//! What requests have in common: how they are refused, and what is asked of them.

use super::subscription::Package;
use causeway_node::Ctx;
use causeway_sip::{HeaderId, Msg, Params, response_to};

/// Why a request is refused: the status, and header lines that say more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    headers: Vec<(&'static str, String)>,
}

impl Refusal {
    /// A status alone.
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }

    /// With a header line.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With words for a person.
    pub(super) fn because(self, why: &str) -> Self {
        self.with("Warning", format!("399 causeway \"{why}\""))
    }

    /// The package is not served here (RFC 6665 §4.2.1.1).
    pub(super) fn bad_event() -> Self {
        Self::new(489).with("Allow-Events", "presence, reg")
    }

    /// There is no room; it may be worth trying again.
    pub(super) fn full(why: &str) -> Self {
        Self::new(503).with("Retry-After", "60").because(why)
    }

    /// The response.
    pub(super) fn response(self, ctx: &mut Ctx<'_>, request: Msg<'_>) -> Vec<u8> {
        let mut response = response_to(request, self.status, None, Some(&token(ctx)));
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.finish()
    }
}

/// 16 hexadecimal digits that nobody guesses: a tag, an entity tag.
pub(super) fn token(ctx: &mut Ctx<'_>) -> Vec<u8> {
    let text: String = ctx.random::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
    text.into_bytes()
}

/// Extensions that the request cannot do without (RFC 3261 §8.2.2.3): none is known here.
pub(super) fn nothing_required(msg: Msg<'_>) -> Result<(), Refusal> {
    let required: Vec<_> = msg.values(HeaderId::Require).map(String::from_utf8_lossy).collect();
    match required.is_empty() {
        true => Ok(()),
        false => Err(Refusal::new(420).with("Unsupported", required.join(", "))),
    }
}

/// Whether the sender takes this media type: what Accept says, and if there is none, yes.
pub(super) fn accepts(msg: Msg<'_>, media_type: &str) -> bool {
    let family = media_type.split('/').next().unwrap_or_default();
    let takes = |range: &[u8]| {
        let end = range.iter().position(|byte| *byte == b';').unwrap_or(range.len());
        let (range, params) = range.split_at_checked(end).unwrap_or_default();
        let range = String::from_utf8_lossy(range.trim_ascii()).to_ascii_lowercase();
        let refused = Params::new(params)
            .value(b"q")
            .is_some_and(|q| q.first() == Some(&b'0') && q.iter().all(|b| matches!(b, b'0' | b'.')));
        !refused && (range == media_type || range == "*/*" || range.strip_suffix("/*") == Some(family))
    };
    !msg.has(HeaderId::Accept) || msg.values(HeaderId::Accept).any(takes)
}

/// How long is granted, in seconds, of what was asked (RFC 6665 §4.2.1.1, RFC 3903 §6): never more, at most
/// `max`, and 423 below `min`; 0 stays 0.
pub(super) fn granted(msg: Msg<'_>, default: u64, min: u64, max: u64) -> Result<u64, Refusal> {
    let asked = msg.expires().map_or(default.clamp(min, max.max(min)), u64::from);
    match asked > 0 && asked < min {
        true => Err(Refusal::new(423).with("Min-Expires", min.to_string())),
        false => Ok(asked.min(max)),
    }
}

/// The package of a request.
pub(super) fn package(msg: Msg<'_>) -> Result<(Package, Option<&[u8]>), Refusal> {
    let (name, id) = super::subscription::event(msg).ok_or_else(Refusal::bad_event)?;
    Ok((Package::of(name).ok_or_else(Refusal::bad_event)?, id))
}
