//! Who a request says it is from, and to whom that may be told (RFC 3323, RFC 3325).

use crate::config::Network;
use causeway_sip::hub::proves;
use causeway_sip::{Edit, HeaderId, Msg, NameAddr};
use std::net::IpAddr;

/// What is known of the sender of a request.
#[derive(Clone, Debug, Default)]
pub struct Sender {
    /// The addresses of record that its credentials prove; empty without credentials.
    pub aors: Vec<String>,
    /// A peer of the trust domain brought it.
    pub trusted: bool,
    /// Nothing but a dialog lets it pass, on whose other side no peer of the trust domain is: it goes to none.
    pub confined: bool,
}

/// The trust domain: networks, and names that a TLS certificate must prove.
#[derive(Clone, Debug, Default)]
pub struct TrustDomain {
    networks: Vec<Network>,
    names: Vec<String>,
}

impl TrustDomain {
    /// Reads the entries of a policy: whatever is no network is a name.
    pub fn new(entries: &[String]) -> Self {
        let mut domain = Self::default();
        for entry in entries {
            match Network::parse(entry) {
                Some(network) => domain.networks.push(network),
                None => domain.names.push(entry.to_ascii_lowercase()),
            }
        }
        domain
    }

    /// Whether a peer belongs to it, by address or by a name that it has proved.
    pub fn has(&self, peer: IpAddr, names: &[String]) -> bool {
        self.networks.iter().any(|network| network.contains(peer))
            || !names.is_empty() && self.names.iter().any(|domain| proves(names, domain))
    }

    /// Whether a domain belongs to it, once its certificate has proved that it is the one.
    pub fn has_domain(&self, domain: &str) -> bool {
        self.names.iter().any(|known| known.eq_ignore_ascii_case(domain))
    }
}

/// Sets P-Asserted-Identity for the next hop (RFC 3325 §5, §9.1): what comes from outside is not believed, what
/// we know is added, and nothing leaves for strangers, nor for the callee where the caller wants privacy.
pub fn assert_identity(
    edit: &mut Edit,
    msg: Msg<'_>,
    sender: &Sender,
    next_is_trusted: bool,
    next_is_user: bool,
) {
    let private = msg.has_token(HeaderId::Privacy, b"id") || semicolon_list_has(msg, b"id");
    let told = next_is_trusted || next_is_user && !private;
    let present = msg.has(HeaderId::PAssertedIdentity);
    if present && (!sender.trusted || !told) {
        edit.remove(msg, HeaderId::PAssertedIdentity);
    }
    let preferred = msg.header(HeaderId::PPreferredIdentity);
    if preferred.is_some() {
        // §9.2: it has done its work here.
        edit.remove(msg, HeaderId::PPreferredIdentity);
    }
    let Some(own) = sender.aors.first().filter(|_| told && !(present && sender.trusted)) else { return };
    let wanted = preferred.filter(|value| is_one_of(value, &sender.aors));
    match wanted {
        Some(value) => edit.append(msg, b"P-Asserted-Identity", &[value]),
        None => edit.append(msg, b"P-Asserted-Identity", &[b"<", own.as_bytes(), b">"]),
    }
}

/// Privacy values are separated by semicolons (RFC 3323 §4.2).
fn semicolon_list_has(msg: Msg<'_>, wanted: &[u8]) -> bool {
    let values = msg.all(HeaderId::Privacy).flat_map(|value| value.split(|b| matches!(b, b';' | b',')));
    values.map(<[u8]>::trim_ascii).any(|value| value.eq_ignore_ascii_case(wanted))
}

fn is_one_of(value: &[u8], aors: &[String]) -> bool {
    let aor = NameAddr::parse(value).and_then(|addr| Some(addr.uri()?.aor()));
    aor.is_some_and(|aor| aors.iter().any(|own| own.as_bytes() == aor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_sip::{Message, Method, RequestBuilder};

    fn asserted(extra: &[(&str, &str)], sender: &Sender, trusted: bool, user: bool) -> Vec<String> {
        let mut request = RequestBuilder::new(Method::Invite, b"sip:bob@example.net")
            .header("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1")
            .header("From", "<sip:alice@example.com>;tag=1")
            .header("To", "<sip:bob@example.net>")
            .header("Call-ID", "c")
            .cseq(1, Method::Invite);
        for (name, value) in extra {
            request = request.header(name, value);
        }
        let message = Message::parse(request.finish()).unwrap();
        let (mut edit, mut bytes) = (Edit::new(), Vec::new());
        assert_identity(&mut edit, message.msg(), sender, trusted, user);
        edit.apply(message.msg(), &mut bytes);
        let message = Message::parse(bytes).unwrap();
        assert!(!message.msg().has(HeaderId::PPreferredIdentity));
        let values = message.msg().values(HeaderId::PAssertedIdentity);
        values.map(|value| String::from_utf8_lossy(value).into_owned()).collect()
    }

    #[test]
    fn only_what_is_known_is_told_and_only_to_whom_it_may() {
        let alice = Sender { aors: vec!["sip:alice@example.com".into()], ..Sender::default() };
        let gateway = Sender { trusted: true, ..Sender::default() };
        let stranger = Sender::default();
        let lie = [("P-Asserted-Identity", "<sip:queen@example.com>")];
        let private = [("Privacy", "header;id")];
        let nobody: [String; 0] = [];
        assert_eq!(asserted(&[], &alice, true, false), ["<sip:alice@example.com>"]);
        assert_eq!(asserted(&[], &alice, false, true), ["<sip:alice@example.com>"]);
        assert_eq!(asserted(&[], &alice, false, false), nobody, "strangers are not told");
        assert_eq!(asserted(&lie, &alice, true, false), ["<sip:alice@example.com>"]);
        assert_eq!(asserted(&lie, &stranger, true, true), nobody);
        assert_eq!(asserted(&lie, &gateway, true, false), ["<sip:queen@example.com>"]);
        assert_eq!(asserted(&lie, &gateway, false, false), nobody);
        assert_eq!(asserted(&private, &alice, true, false), ["<sip:alice@example.com>"]);
        assert_eq!(asserted(&private, &alice, false, true), nobody);
        let preferred = [("P-Preferred-Identity", "\"Alice\" <sip:alice@example.com>")];
        assert_eq!(asserted(&preferred, &alice, true, false), ["\"Alice\" <sip:alice@example.com>"]);
        let another = [("P-Preferred-Identity", "<sip:bob@example.com>")];
        assert_eq!(asserted(&another, &alice, true, false), ["<sip:alice@example.com>"]);
    }

    #[test]
    fn the_trust_domain() {
        let domain = TrustDomain::new(&["192.0.2.0/24".into(), "peer.example".into()]);
        let elsewhere = "203.0.113.1".parse().unwrap();
        assert!(domain.has("192.0.2.9".parse().unwrap(), &[]));
        assert!(!domain.has(elsewhere, &["other.example".into()]));
        assert!(domain.has(elsewhere, &["sip:Peer.example".into()]));
    }
}
