//! Where a request goes next (RFC 3261 §16.4 to §16.6).

use crate::config::Config;
use crate::keys::Keys;
use causeway_sip::transaction::Transport;
use causeway_sip::{HeaderId, Msg, Uri};
use std::net::SocketAddr;

/// The next hop of a request, as far as its URI says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextHop {
    /// An address.
    Address(SocketAddr, Transport),
    /// A host name that must be resolved first.
    Name(String, u16, Transport),
    /// A scheme or a host that cannot be reached.
    Unreachable,
}

/// The next hop that a URI names: host or `maddr`, port or 5060, `transport` or UDP.
pub fn next_hop(uri: &[u8]) -> NextHop {
    let Some(uri) = Uri::parse(uri).filter(|uri| uri.scheme.is_sip()) else { return NextHop::Unreachable };
    let transport = match uri.transport() {
        None => Transport::Udp,
        Some(name) if name.eq_ignore_ascii_case(b"udp") => Transport::Udp,
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(_) => return NextHop::Unreachable,
    };
    let port = uri.port.unwrap_or(5060);
    match (causeway_sip::parse_ip(uri.target_host()), std::str::from_utf8(uri.target_host())) {
        (Some(ip), _) => NextHop::Address(SocketAddr::new(ip, port), transport),
        (None, Ok(name)) => NextHop::Name(name.to_owned(), port, transport),
        (None, Err(_)) => NextHop::Unreachable,
    }
}

/// Whether a URI names this exchange: its domain, or the very address it listens on.
pub fn is_local(config: &Config, uri: &Uri<'_>) -> bool {
    is_domain(config, uri)
        || (causeway_sip::parse_ip(uri.host) == Some(config.sip.ip())
            && uri.port.unwrap_or(5060) == config.sip.port())
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
    let at = aor.iter().rposition(|byte| *byte == b'@')?;
    Some([&aor[..=at], config.domain.as_bytes()].concat())
}

/// How many Route values at the top are this exchange's own, and whether one of them carries the proof that
/// this exchange put it there for this Call-ID.
pub fn own_routes(config: &Config, keys: &Keys, msg: Msg<'_>) -> (usize, bool) {
    let call_id = msg.call_id().unwrap_or_default();
    let mut proved = false;
    let mut own = 0;
    for route in msg.routes() {
        let Some(uri) = route.as_ref().and_then(|route| route.uri()) else { break };
        if !is_local(config, &uri) {
            break;
        }
        own += 1;
        proved |= uri.params.value(b"cw") == Some(keys.mac("route", call_id).as_bytes());
    }
    (own, proved)
}

/// The Record-Route value for one side of a dialog (§16.6 item 4), with the proof for its later requests.
pub fn record_route(config: &Config, keys: &Keys, msg: Msg<'_>, transport: Transport) -> Vec<u8> {
    let proof = keys.mac("route", msg.call_id().unwrap_or_default());
    let transport = if transport == Transport::Udp { "" } else { ";transport=tcp" };
    format!("<sip:{}{transport};lr;cw={proof}>", config.sip).into_bytes()
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
