//! REGISTER (RFC 3261 §10.3, RFC 3327).

use crate::config::Config;
use crate::location::Location;
use causeway_node::{Ctx, Record};
use causeway_sip::{Contact, HeaderId, Msg, NameAddr, ResponseBuilder, Uri, response_to};
use causeway_store::record::Binding;

/// What became of a REGISTER.
pub struct Outcome {
    /// The status of the response.
    pub status: u16,
    /// The response.
    pub response: Vec<u8>,
    /// What must be on disk before the response leaves.
    pub records: Vec<Record>,
}

/// One contact of a request, read and checked.
struct Wanted<'a> {
    addr: NameAddr<'a>,
    expires: u64,
}

/// Why a request is refused: status, and a header line that says more.
struct Refusal(u16, Option<(&'static str, String)>);

/// Carries out a REGISTER that may change the bindings of `aor`. All or nothing: the first fault leaves the
/// bindings as they were.
pub fn register(
    ctx: &Ctx<'_>,
    config: &Config,
    location: &mut Location,
    aor: &[u8],
    msg: Msg<'_>,
    received: &str,
) -> Outcome {
    match update(ctx, config, location, aor, msg, received) {
        Ok(records) => {
            let response = granted(ctx, location, aor, msg).finish();
            Outcome { status: 200, response, records }
        }
        Err(Refusal(status, header)) => {
            let mut response = response_to(msg, status, None, Some(&tag(msg)));
            if let Some((name, value)) = header {
                response = response.header(name, value);
            }
            Outcome { status, response: response.finish(), records: Vec::new() }
        }
    }
}

fn update(
    ctx: &Ctx<'_>,
    config: &Config,
    location: &mut Location,
    aor: &[u8],
    msg: Msg<'_>,
    received: &str,
) -> Result<Vec<Record>, Refusal> {
    let contacts: Vec<Contact<'_>> =
        msg.contacts().collect::<Option<_>>().ok_or(Refusal(400, reason("unreadable Contact")))?;
    let call_id = text(msg.call_id().unwrap_or_default());
    let cseq = msg.cseq().map_or(0, |cseq| cseq.number);
    if contacts.iter().any(|contact| matches!(contact, Contact::Star)) {
        if contacts.len() != 1 || msg.expires() != Some(0) {
            return Err(Refusal(400, reason("Contact * needs Expires 0 and stands alone")));
        }
        return remove_all(location, aor, &call_id, cseq);
    }
    let wanted = read_contacts(config, &contacts, msg)?;
    for contact in &wanted {
        let known = location.find(aor, contact.addr.uri);
        if known.is_some_and(|known| known.call_id == call_id && cseq <= known.cseq) {
            // §10.3 item 7: out of order, so this request must not undo a later one.
            return Err(Refusal(500, reason("CSeq not higher than that of an earlier registration")));
        }
    }
    let new = wanted.iter().filter(|c| c.expires > 0 && location.find(aor, c.addr.uri).is_none()).count();
    if location.get(aor).len() + new > Location::CONTACTS {
        return Err(Refusal(403, reason("too many contacts")));
    }
    let path: Vec<String> = msg.values(HeaderId::Path).map(text).collect();
    let mut records = Vec::new();
    for contact in wanted {
        if contact.expires == 0 {
            records.extend(location.remove(aor, contact.addr.uri));
            continue;
        }
        let binding = Binding {
            contact: text(contact.addr.uri),
            params: kept_params(&contact.addr),
            q: contact.addr.q(),
            expires: ctx.unix_ms + contact.expires * 1000,
            call_id: call_id.clone(),
            cseq,
            path: path.clone(),
            received: received.to_owned(),
        };
        records.extend(location.set(aor, binding));
    }
    Ok(records)
}

/// Checks every contact and how long it wants to stay (§10.3 item 6).
fn read_contacts<'a>(
    config: &Config,
    contacts: &[Contact<'a>],
    msg: Msg<'_>,
) -> Result<Vec<Wanted<'a>>, Refusal> {
    let mut wanted = Vec::with_capacity(contacts.len());
    for contact in contacts {
        let Contact::Addr(addr) = contact else { continue };
        let readable = Uri::parse(addr.uri).is_some() && std::str::from_utf8(addr.uri).is_ok();
        if !readable {
            return Err(Refusal(400, reason("unreadable Contact URI")));
        }
        let asked = addr.expires().or(msg.expires()).map_or(config.default_expires.as_secs(), u64::from);
        let (min, max) = (config.min_expires.as_secs(), config.max_expires.as_secs());
        if asked > 0 && asked < min {
            return Err(Refusal(423, Some(("Min-Expires", min.to_string()))));
        }
        wanted.push(Wanted { addr: *addr, expires: asked.min(max) });
    }
    Ok(wanted)
}

fn remove_all(location: &mut Location, aor: &[u8], call_id: &str, cseq: u32) -> Result<Vec<Record>, Refusal> {
    if location.get(aor).iter().any(|known| known.call_id == call_id && cseq <= known.cseq) {
        return Err(Refusal(500, reason("CSeq not higher than that of an earlier registration")));
    }
    let contacts: Vec<String> = location.get(aor).iter().map(|binding| binding.contact.clone()).collect();
    Ok(contacts.iter().flat_map(|contact| location.remove(aor, contact.as_bytes())).collect())
}

/// The 200: all present bindings with the time that they have left, and the Path if it is understood.
fn granted(ctx: &Ctx<'_>, location: &Location, aor: &[u8], msg: Msg<'_>) -> ResponseBuilder {
    let mut response = response_to(msg, 200, None, Some(&tag(msg)));
    for binding in location.get(aor) {
        let left = binding.expires.saturating_sub(ctx.unix_ms).div_ceil(1000);
        response =
            response.header("Contact", format!("<{}>{};expires={left}", binding.contact, binding.params));
    }
    if msg.has_token(HeaderId::Supported, b"path") {
        response = response.headers("Path", msg.values(HeaderId::Path));
    }
    response
}

/// Contact parameters that a fetch shows again: all but expires, which counts down.
fn kept_params(addr: &NameAddr<'_>) -> String {
    let mut kept = String::new();
    for param in addr.params {
        if param.name.eq_ignore_ascii_case(b"expires") {
            continue;
        }
        kept.push(';');
        kept.push_str(&text(param.name));
        if let Some(value) = param.value {
            kept.push('=');
            kept.push_str(&text(value));
        }
    }
    kept
}

fn reason(text: &str) -> Option<(&'static str, String)> {
    Some(("Warning", format!("399 causeway \"{text}\"")))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A To tag that is the same for every retransmission of a request.
fn tag(msg: Msg<'_>) -> Vec<u8> {
    let branch = msg.top_via().and_then(|via| via.branch()).unwrap_or_default();
    let tail = branch.len().saturating_sub(12);
    [&b"r"[..], &branch[tail..]].concat()
}
