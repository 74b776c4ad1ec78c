//! What a certificate proves in SIP (RFC 5922).

use super::verifier::Verifier;
use rustls::RootCertStore;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

/// Names taken from one certificate; what it bears beyond is not looked at.
const NAMES: usize = 256;

/// The DNS names and URIs in the subjectAltName of a certificate, as they stand there. Its subject does not
/// count (RFC 5922 §7.1 allows it where there is no subjectAltName; nobody should any more).
pub(crate) fn proven(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    parsed.valid_uri_names().chain(parsed.valid_dns_names()).take(NAMES).map(str::to_owned).collect()
}

/// What follows `sip:` in a SIP URI.
fn sip_part(uri: &str) -> Option<&str> {
    uri.split_once(':').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("sip")).map(|(_, rest)| rest)
}

/// Whether these names prove a domain (§7.1, §7.2): the SIP URIs among them, and the DNS names where there is no
/// SIP URI. A URI with a user proves no domain; wildcards match nothing.
fn prove(names: &[String], domain: &str) -> bool {
    let mut uris = names.iter().filter_map(|name| sip_part(name)).peekable();
    match uris.peek() {
        Some(_) => uris.any(|identity| identity.eq_ignore_ascii_case(domain)),
        None => names.iter().any(|name| name.eq_ignore_ascii_case(domain)),
    }
}

/// Accepts a certificate that a root certifies and that proves the domain asked for.
pub(super) fn verifier(roots: RootCertStore, provider: &CryptoProvider) -> Verifier {
    Verifier::new(provider, move |shown| {
        let certificate = ParsedCertificate::try_from(shown.leaf)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &roots,
            shown.intermediates,
            shown.now,
            shown.algorithms.all,
        )?;
        let ServerName::DnsName(domain) = shown.name else {
            return verify_server_name(&certificate, shown.name);
        };
        let names = proven(shown.leaf);
        if prove(&names, domain.as_ref()) {
            return Ok(());
        }
        let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        Err(rustls::Error::General(format!(
            "the server's certificate proves {}, not {} (RFC 5922: no wildcards)",
            if shown.is_empty() { "no domain" } else { &shown },
            domain.as_ref()
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::prove;

    fn proves(names: &[&str], domain: &str) -> bool {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        prove(&names, domain)
    }

    #[test]
    fn as_rfc_5922_7_has_it() {
        assert!(proves(&["Example.com"], "example.COM"));
        assert!(proves(&["sip:example.com", "host.example.net"], "example.com"));
        assert!(
            !proves(&["sip:example.com", "host.example.net"], "host.example.net"),
            "a SIP URI comes first"
        );
        assert!(!proves(&["sip:bob@example.com", "example.com"], "example.com"), "a user is no domain");
        assert!(proves(&["https://example.com/", "example.com"], "example.com"));
        assert!(!proves(&["*.example.com"], "sip.example.com"));
        assert!(!proves(&[], "example.com"));
    }
}
