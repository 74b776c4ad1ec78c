//! What a request says about where it goes (RFC 3261 §16.4 to §16.6), and whether it has been here before.

use crate::config::Config;
use crate::dialog::{self, Inside};
use crate::keys::Keys;
use causeway_sip::transaction::Transport;
use causeway_sip::{HeaderId, Method, Msg, Uri, Via, addr_text};
use std::net::SocketAddr;

/// Whether a URI names this exchange: its domain, or the very address it listens on.
pub fn is_local(config: &Config, uri: &Uri<'_>) -> bool {
    is_domain(config, uri) || {
        let ip = causeway_sip::parse_ip(uri.host);
        let names =
            |own: SocketAddr, default: u16| ip == Some(own.ip()) && uri.port.unwrap_or(default) == own.port();
        names(config.sip, 5060) || config.tls.is_some_and(|tls| names(tls, 5061))
    }
}

/// Whether a URI's host is the domain.
pub fn is_domain(config: &Config, uri: &Uri<'_>) -> bool {
    uri.host.eq_ignore_ascii_case(config.domain.as_bytes())
}

/// The address of record that a URI stands for, if it is one of this domain: an address of this exchange
/// itself counts as the domain, for phones that were given an address in its place.
pub fn aor(config: &Config, uri: &Uri<'_>) -> Option<Vec<u8>> {
    if !is_local(config, uri) || uri.user.is_none_or(|user| user.is_empty()) {
        return None;
    }
    let aor = uri.aor();
    let (scheme, rest) = aor.split_at(aor.iter().position(|byte| *byte == b':')? + 1);
    let at = rest.iter().rposition(|byte| *byte == b'@')?;
    // One user, whichever way he is addressed: sips binds the way there, not the name.
    let scheme = if scheme == b"sips:" { &b"sip:"[..] } else { scheme };
    Some([scheme, &rest[..=at], config.domain.as_bytes()].concat())
}

/// The Route values at the top that are this exchange's own.
fn own_uris<'a>(config: &'a Config, keys: &'a Keys, msg: Msg<'a>) -> impl Iterator<Item = Uri<'a>> {
    let uris = msg.routes().map_while(|route| route?.uri()).enumerate();
    // One of another member of the group that the dialog passed as well: its own books want to know.
    let own = move |(at, uri): &(usize, Uri<'_>)| {
        is_local(config, uri) && !(*at > 0 && config.shard.is_others(keys, uri, msg))
    };
    uris.take_while(own).map(|(_, uri)| uri)
}

/// How many Route values at the top are this exchange's own, and what the last of them says that proves the request to be inside a dialog which began here: that one is
/// next to the side it goes to. PUBLISH is never inside one (RFC 3903 §4).
pub fn own_routes(config: &Config, keys: &Keys, msg: Msg<'_>) -> (usize, Option<Inside>) {
    let inside = msg.to_tag().is_some() && msg.method() != Method::Publish;
    own_uris(config, keys, msg).fold((0, None), |(own, proved), uri| {
        let read = inside.then(|| dialog::read(keys, &uri, msg)).flatten();
        (own + 1, read.or(proved))
    })
}

/// The Record-Route value for one side of a dialog (§16.6 item 4), with the proof for its later requests, and with the
/// flow to that side, if it is reached by that, or nothing (RFC 5626 §5.2); for a `sips` Request-URI, which goes over
/// TLS alone, a `sips` URI.
pub fn record_route(config: &Config, proof: &str, flow: &str, transport: Transport, secure: bool) -> Vec<u8> {
    let (scheme, address, transport) = match (transport, config.tls) {
        (Transport::Tls, Some(tls)) if secure => ("sips", tls, ""),
        (Transport::Tls, Some(tls)) => ("sip", tls, ";transport=tls"),
        (Transport::Tcp, _) => ("sip", config.sip, ";transport=tcp"),
        _ => ("sip", config.sip, ""),
    };
    let at = if flow.is_empty() { "" } else { "@" };
    ["<", scheme, ":", flow, at, &addr_text(address), transport, ";lr;cw=", proof, ">"].concat().into_bytes()
}

/// Whether a request outside a dialog begins one, so that the exchange stays on its path.
pub fn begins_dialog(msg: Msg<'_>) -> bool {
    use causeway_sip::Method::{Invite, Refer, Subscribe};
    msg.to_tag().is_none() && matches!(msg.method(), Invite | Subscribe | Refer)
}

/// The Route value below this exchange's own ones: where a request of a dialog goes next.
pub fn route_after(msg: Msg<'_>, own: usize) -> Option<Vec<u8>> {
    let value = msg.values(HeaderId::Route).nth(own)?;
    causeway_sip::NameAddr::parse(value).map(|addr| addr.uri.to_vec())
}

/// What loop detection compares (RFC 5393 §4.2.1): everything that decides where a request goes. Eight bytes at a
/// time, both halves of a product folded together, from a secret start: it is guessed by nobody, and two requests
/// share it by chance alone.
pub fn loop_hash(seed: u64, msg: Msg<'_>) -> u64 {
    let mut hash = seed;
    let mut fold = |word: u64| {
        let product = u128::from(hash ^ word ^ 0xcbf2_9ce4_8422_2325) * 0x9e37_79b9_7f4a_7c15;
        hash = (product as u64) ^ (product >> 64) as u64;
    };
    let mut take = |bytes: &[u8]| {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| fold(u64::from_le_bytes(*word)));
        fold(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        fold(bytes.len() as u64);
    };
    take(msg.request_uri());
    take(msg.call_id().unwrap_or_default());
    take(msg.from_tag().unwrap_or_default());
    take(msg.to_tag().unwrap_or_default());
    take(msg.header(HeaderId::CSeq).unwrap_or_default());
    for route in msg.all(HeaderId::Route) {
        take(route);
    }
    for required in msg.all(HeaderId::ProxyRequire) {
        take(required);
    }
    hash
}

/// Whether the request has passed here, under one of its own names, with the same destination before: its own Via of
/// then still says so.
pub fn has_looped(own: [&[u8]; 2], hash: u64, msg: Msg<'_>) -> bool {
    msg.vias().flatten().any(|via| {
        let suffix = || {
            let suffix = via.branch()?.rsplit(|byte| *byte == b'-').next()?;
            std::str::from_utf8(suffix).ok().filter(|hex| hex.len() == 16)
        };
        own.iter().any(|own| is_sent_by(own, &via))
            && suffix().is_some_and(|hex| u64::from_str_radix(hex, 16) == Ok(hash))
    })
}

/// `host:port` against that of a Via, without building either.
fn is_sent_by(own: &[u8], via: &Via<'_>) -> bool {
    own.strip_prefix(via.host).is_some_and(|rest| {
        let port = rest.strip_prefix(b":").and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
        port == Some(via.port.unwrap_or(5060))
    })
}
