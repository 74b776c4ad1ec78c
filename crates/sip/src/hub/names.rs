//! What a certificate proves (RFC 5922).

/// Whether the names of a verified certificate prove a domain (RFC 5922 §7.1, §7.2): the SIP URIs among them do,
/// and the DNS names where there is no SIP URI. A URI with a user part is a person's and proves no domain;
/// wildcards match nothing.
///
/// ```
/// use causeway_sip::hub::proves;
/// let names = ["sip:example.com".to_owned(), "host7.example.net".to_owned()];
/// assert!(proves(&names, "Example.com") && !proves(&names, "host7.example.net"));
/// assert!(proves(&names[1..], "host7.example.net"));
/// assert!(!proves(&["*.example.com".to_owned()], "sip.example.com"));
/// ```
pub fn proves(names: &[String], domain: &str) -> bool {
    let identity = |uri: &String| match uri.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("sip") => Some(rest.eq_ignore_ascii_case(domain)),
        _ => None,
    };
    let mut identities = names.iter().filter_map(identity).peekable();
    match identities.peek() {
        Some(_) => identities.any(|proven| proven),
        None => names.iter().any(|name| name.eq_ignore_ascii_case(domain)),
    }
}
