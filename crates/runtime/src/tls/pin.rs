//! Trust in one key.

use super::verifier::Verifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// SHA-256 of a SubjectPublicKeyInfo (RFC 5280 §4.1), as RFC 7469 pins keys; written
/// `sha256:<64 hexadecimal digits>`, read with or without colons between the bytes, in either case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

/// A text that is no pin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no pin: it must be sha256: and 64 hexadecimal digits, as the contact point prints it")]
pub struct BadPin(String);

impl Pin {
    /// The pin of the key in a certificate (DER).
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, rustls::Error> {
        let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        Ok(Self(Sha256::digest(&spki).into()))
    }
}

impl FromStr for Pin {
    type Err = BadPin;

    fn from_str(text: &str) -> Result<Self, BadPin> {
        let bad = || BadPin(text.chars().take(100).collect());
        let hex = text.trim().strip_prefix("sha256:").ok_or_else(bad)?;
        let digits: Vec<u8> = hex
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |a, d| a << 4 | d)).collect();
        if digits.len() != 64 {
            return Err(bad());
        }
        bytes.try_into().map(Self).map_err(|_| bad())
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Accepts exactly one key.
pub(super) fn verifier(pin: Pin, provider: &CryptoProvider) -> Verifier {
    Verifier::new(provider, move |shown| {
        let theirs = Pin::of(shown.leaf)?;
        if theirs == pin {
            return Ok(());
        }
        Err(rustls::Error::General(format!("wrong pin: expected {pin}, but the server's key is {theirs}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;

    /// Made with `openssl req -x509`; the digest with `openssl x509 -pubkey | openssl pkey -pubin -outform DER |
    /// openssl sha256`.
    const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
        MIIBgzCCASmgAwIBAgIUchOFnlT+AxFIDsLF4bx9gU/I3ycwCgYIKoZIzj0EAwIw\n\
        FjEUMBIGA1UEAwwLcGluLmV4YW1wbGUwIBcNMjYxMTIwMTMwODM4WhgPMjEyNjEw\n\
        MjcxMzA4MzhaMBYxFDASBgNVBAMMC3Bpbi5leGFtcGxlMFkwEwYHKoZIzj0CAQYI\n\
        KoZIzj0DAQcDQgAEWZhDb3YkfB40GQss7vqZKyukTkqLDW85W6pQrcpdDUGlRDRU\n\
        +W67uqq3LsuJM9j8EOIn60tOg34GmySev4/SaaNTMFEwHQYDVR0OBBYEFAuGBDlj\n\
        1G0mg17HfyylnQY5k9nWMB8GA1UdIwQYMBaAFAuGBDlj1G0mg17HfyylnQY5k9nW\n\
        MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhALNdcQHMdyjzCKU5\n\
        0PvA+3zsKz8iRNvD7sSLoW9R+ikVAiA/0uNwiAOLejxATuR7fUtiFvkxz65dWROw\n\
        j6lGWZUfJQ==\n\
        -----END CERTIFICATE-----";
    const DIGEST: &str = "1d52ff7260f3986fda8b2d045a283052b0011516f16e08cfbe34f70df15a061b";

    #[test]
    fn agrees_with_openssl() {
        let der = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
        assert_eq!(Pin::of(&der).unwrap().to_string(), format!("sha256:{DIGEST}"));
    }

    #[test]
    fn reads_pins_with_and_without_colons_and_nothing_else() {
        let pin: Pin = format!("sha256:{DIGEST}").parse().unwrap();
        let colons: Vec<String> =
            DIGEST.as_bytes().chunks(2).map(|b| String::from_utf8_lossy(b).to_uppercase()).collect();
        assert_eq!(format!("sha256:{}", colons.join(":")).parse(), Ok(pin));
        for bad in
            [DIGEST.to_owned(), format!("sha1:{DIGEST}"), format!("sha256:{DIGEST}0"), "sha256:".into()]
        {
            assert!(bad.parse::<Pin>().is_err(), "{bad}");
        }
        assert!(format!("sha256:{}é", &DIGEST[..63]).parse::<Pin>().is_err());
    }
}
