//! What the exchange's own Record-Route tells it later of the dialog that it was given for, and proves, so that nothing
//! has to be remembered and a restart changes nothing.
//!
//! `<sip:FLOW@192.0.2.10:5060;lr;cw=PROOF>`
//!
//! * The **proof** is a MAC over Call-ID, the From tag of the request that began the dialog, and which of its two sides
//!   are peers of the trust domain, the latter in clear before it. A later request has that tag in From if the caller
//!   sends it, in To if the callee does (RFC 3261 §12.2.1.1): so the proof is good in dialogs of this one request alone
//!   and tells in which direction the request goes. Who takes part in a call may then send on in it what he likes, to
//!   wherever the other side's target may have gone (§12.2.1.2), but to no peer of the trust domain unless the other
//!   side was one: those take from us what they would not take from him.
//! * The **flow**, where that side is to be reached by one (RFC 5626 §5.2, §5.3.2), is the address that its requests come
//!   from, sealed: the other side learns no more of it than it did before, and nobody can name another. There are two
//!   Record-Routes then (RFC 5658), one for each side; the last one in a request is that of the side it goes to.

use crate::keys::Keys;
use causeway_sip::digest::constant_time_eq;
use causeway_sip::transaction::Transport;
use causeway_sip::{Contact, Msg, Uri, hex16};
use std::net::{IpAddr, SocketAddr};

/// Which sides of a dialog are peers of the trust domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    /// The side that began it.
    pub caller: bool,
    /// The side that it was sent to.
    pub callee: bool,
}

impl Trusted {
    fn digit(self) -> u8 {
        b'0' + u8::from(self.caller) + 2 * u8::from(self.callee)
    }

    fn read(digit: u8) -> Option<Self> {
        let bits = digit.checked_sub(b'0').filter(|bits| *bits < 4)?;
        Some(Self { caller: bits & 1 != 0, callee: bits & 2 != 0 })
    }
}

/// What is known of a request that a Route of ours proves to be inside a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside {
    /// The flow to the side that it goes to, if that is reached by one.
    pub flow: Option<(SocketAddr, Transport)>,
    /// Whether that side is a peer of the trust domain.
    pub to_trusted: bool,
}

/// The proof for dialogs that this request begins.
pub fn proof(keys: &Keys, msg: Msg<'_>, trusted: Trusted) -> String {
    let tag = msg.from_tag().unwrap_or_default();
    let digit = trusted.digit();
    let digits = hex16(u64::from_be_bytes(mac(keys, msg, tag, digit)));
    std::iter::once(digit).chain(digits).map(char::from).collect()
}

/// The flow to one side of the dialogs that this request begins.
pub fn flow(keys: &Keys, msg: Msg<'_>, peer: SocketAddr, transport: Transport) -> String {
    let tag = msg.from_tag().unwrap_or_default();
    keys.seal(&about(msg, tag), &written(peer, transport))
}

/// What a Route of ours says of a request that bears it; `None` if it was given for none of that request's dialogs.
pub fn read(keys: &Keys, uri: &Uri<'_>, msg: Msg<'_>) -> Option<Inside> {
    let (digit, given) = uri.params.value(b"cw")?.split_first()?;
    let trusted = Trusted::read(*digit)?;
    let given = std::str::from_utf8(given).ok().filter(|given| given.len() == 16)?;
    let given = u64::from_str_radix(given, 16).ok()?.to_be_bytes();
    let ends = [(msg.from_tag(), trusted.callee), (msg.to_tag(), trusted.caller)];
    ends.into_iter().find_map(|(tag, to_trusted)| {
        let tag = tag?;
        let right = constant_time_eq(&mac(keys, msg, tag, *digit), &given);
        let flow = || keys.unseal(&about(msg, tag), uri.user?).and_then(|text| unwritten(&text));
        right.then(|| Inside { flow: flow(), to_trusted })
    })
}

/// Whether who sends this request must be reached by the flow that it came by: directly, behind a NAT, or over a
/// connection, which nobody but him can open. `Via` and Contact say where he believes himself to be.
pub fn needs_flow(msg: Msg<'_>, peer: SocketAddr, transport: Transport) -> bool {
    let contact = || match msg.contacts().next().flatten() {
        Some(Contact::Addr(addr)) => {
            addr.uri().and_then(|uri| causeway_sip::parse_ip(uri.host)).is_some_and(is_private)
        }
        _ => false,
    };
    let hidden = || is_behind_nat(msg, peer.ip()) || contact() && !is_private(peer.ip());
    msg.vias().nth(1).is_none() && (transport != Transport::Udp || hidden())
}

/// Whether the sender's own idea of its address differs from where its request came from.
pub fn is_behind_nat(msg: Msg<'_>, peer: IpAddr) -> bool {
    msg.top_via().and_then(|via| via.host_ip()).is_some_and(|ip| ip != peer)
}

/// Addresses that mean another host elsewhere (RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291 §2.5.6).
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || ip.is_loopback() || a == 100 && b & 0xc0 == 64
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

fn about<'a>(msg: Msg<'a>, tag: &'a [u8]) -> [&'a [u8]; 2] {
    [msg.call_id().unwrap_or_default(), tag]
}

fn mac(keys: &Keys, msg: Msg<'_>, tag: &[u8], digit: u8) -> [u8; 8] {
    keys.proof_of("route", &[msg.call_id().unwrap_or_default(), tag, &[digit]])
}

/// Transport, port, address.
fn written(peer: SocketAddr, transport: Transport) -> Vec<u8> {
    let transport = match transport {
        // An exchange has no tunnels.
        Transport::Udp | Transport::Tunnel => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
    };
    let port = peer.port().to_be_bytes();
    match peer.ip() {
        IpAddr::V4(ip) => [&[transport], &port[..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&[transport], &port[..], &ip.octets()].concat(),
    }
}

fn unwritten(text: &[u8]) -> Option<(SocketAddr, Transport)> {
    let ([transport, port @ ..], ip) = text.split_first_chunk::<3>()?;
    let transport = match transport {
        0 => Transport::Udp,
        1 => Transport::Tcp,
        2 => Transport::Tls,
        _ => return None,
    };
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
    };
    Some((SocketAddr::new(ip, u16::from_be_bytes(*port)), transport))
}
