//! Looking at a way to a contact point step by step, in the manner of a person who seeks a fault: blocking, one
//! connection, and a certificate is looked at whether it is to be believed or not.

use crate::dns;
use crate::engine::proxy::{Asked, Said, request};
use crate::tls::{ALPN, Error, Pin, Trust, Verifier, proven, tunnel_verifier};
use causeway_node::{Answer, DnsRecord, RecordKind, Through};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, ClientConfig, ClientConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// A connection with TLS on it.
pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// What a server has shown of itself.
#[derive(Debug)]
pub struct Shown {
    /// The pin of its key.
    pub pin: Option<Pin>,
    /// Who it claims to be, and who says so: the names in its certificate, in the order in which they stand there.
    pub subject: String,
    /// Likewise of the issuer.
    pub issuer: String,
    /// The DNS names that it is certified for.
    pub names: Vec<String>,
    /// Nobody but itself vouches for it.
    pub self_signed: bool,
    /// Whether the trust that was given believes it.
    pub verdict: Result<(), Distrust>,
    /// Whether it speaks the tunnel's protocol (ALPN).
    pub speaks_tunnel: bool,
}

/// Why a certificate is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// It holds another key than the pin says.
    Pin,
    /// Its time is over, by the clock of this machine.
    Expired,
    /// Its time has not come, by the clock of this machine.
    NotYet,
    /// No root vouches for its issuer.
    Issuer,
    /// It is for other names.
    Name,
    /// Anything else.
    Other(String),
}

/// Why there is no TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTls {
    /// The other end speaks TLS, but not the tunnel's protocol.
    Protocol,
    /// It does not know TLS 1.3.
    Version,
    /// It does not speak TLS at all, or ends the connection.
    Otherwise(String),
}

/// The SRV records of a service, none if there are none or nobody can be asked.
pub fn services(name: &str) -> Vec<DnsRecord> {
    match dns::records(&dns::Settings::now(&[], None), name, RecordKind::Srv) {
        Answer::Records { records, .. } => records,
        _ => Vec::new(),
    }
}

/// Asks an HTTP proxy to lead on; the streams' own time limits count.
///
/// # Errors
/// If it does not, with the reason.
pub fn through(stream: &mut TcpStream, through: &Through) -> Result<(), String> {
    stream.write_all(&request(through)).map_err(|error| error.to_string())?;
    let mut asked = Asked::default();
    // Byte by byte, so that nothing of what follows is taken.
    loop {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => return Err("the HTTP proxy ends the connection without an answer".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(format!("the HTTP proxy does not answer: {error}")),
        }
        match asked.take(&byte) {
            Said::More => {}
            Said::Through(_) => return Ok(()),
            Said::Refused(why) => return Err(why),
        }
    }
}

/// Shakes hands, whoever it is, and says what `trust` thinks of the other end.
///
/// # Errors
/// If the roots cannot be read (outer), or no handshake comes about (inner).
pub fn tls(stream: TcpStream, trust: &Trust, name: &str) -> Result<Result<(Secure, Shown), NoTls>, Error> {
    let verifier = tunnel_verifier(trust)?;
    let name = ServerName::try_from(name.to_owned())
        .or_else(|_| stream.peer_addr().map(|peer| ServerName::IpAddress(peer.ip().into())));
    let Ok(name) = name else {
        return Ok(Err(NoTls::Otherwise("the connection is gone".to_owned())));
    };
    let mut connection = ClientConnection::new(Arc::new(curious()?), name.clone())?;
    let mut stream = stream;
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut stream) {
            return Ok(Err(why_not(&error)));
        }
    }
    let chain = connection.peer_certificates().unwrap_or_default();
    let Some((leaf, rest)) = chain.split_first() else {
        return Ok(Err(NoTls::Otherwise("the server shows no certificate".to_owned())));
    };
    let verdict = verifier.verify_server_cert(leaf, rest, &name, &[], UnixTime::now());
    let (subject, issuer, self_signed) = parties(leaf);
    let shown = Shown {
        pin: Pin::of(leaf).ok(),
        subject,
        issuer,
        names: proven(leaf),
        self_signed,
        verdict: verdict.map(drop).map_err(|error| distrust(trust, &error)),
        speaks_tunnel: connection.alpn_protocol() == Some(ALPN),
    };
    Ok(Ok((StreamOwned::new(connection, stream), shown)))
}

fn distrust(trust: &Trust, error: &rustls::Error) -> Distrust {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        UnknownIssuer,
    };
    if matches!(trust, Trust::Pin(_)) {
        return Distrust::Pin;
    }
    match error {
        rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => Distrust::Expired,
        rustls::Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. }) => Distrust::NotYet,
        rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => Distrust::Name,
        rustls::Error::InvalidCertificate(UnknownIssuer) => Distrust::Issuer,
        other => Distrust::Other(other.to_string()),
    }
}

fn why_not(error: &std::io::Error) -> NoTls {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => NoTls::Protocol,
        Some(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion))
        | Some(rustls::Error::PeerIncompatible(_)) => NoTls::Version,
        Some(other) => NoTls::Otherwise(other.to_string()),
        None => NoTls::Otherwise(error.to_string()),
    }
}

/// Subject and issuer, and whether they are the same.
fn parties(leaf: &CertificateDer<'_>) -> (String, String, bool) {
    match webpki::EndEntityCert::try_from(leaf) {
        Ok(parsed) => {
            let (subject, issuer) = (parsed.subject(), parsed.issuer());
            (texts(subject), texts(issuer), subject == issuer)
        }
        Err(_) => (String::new(), String::new(), false),
    }
}

/// The strings in a distinguished name (X.501, DER), one after the other.
fn texts(name: &[u8]) -> String {
    let mut found = Vec::new();
    collect(name, 0, &mut found);
    found.join(", ")
}

fn collect(mut der: &[u8], depth: u8, found: &mut Vec<String>) {
    while let [tag, len, rest @ ..] = der {
        // Names are short: a length of more than two bytes is none that anybody would want to read.
        let (len, rest) = match (*len, rest) {
            (len @ 0..=0x7f, rest) => (usize::from(len), rest),
            (0x81, [len, rest @ ..]) => (usize::from(*len), rest),
            (0x82, [high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            _ => return,
        };
        let Some((value, after)) = rest.split_at_checked(len) else { return };
        match tag {
            // SEQUENCE and SET.
            0x30 | 0x31 if depth < 4 => collect(value, depth + 1, found),
            // UTF8String, PrintableString, T61String, IA5String.
            0x0c | 0x13 | 0x14 | 0x16 if found.len() < 8 => {
                let text: String =
                    String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).collect();
                found.push(text.chars().take(64).collect());
            }
            _ => {}
        }
        der = after;
    }
}

/// A client that shakes hands with everybody; nothing secret may be said on its connections before the verdict.
fn curious() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(&provider, |_| Ok(()))))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::texts;

    #[test]
    fn names_in_a_certificate() {
        // CN=Inspecting CA, O=Example, as openssl writes it.
        let name = b"\x30\x2a\x31\x16\x30\x14\x06\x03\x55\x04\x03\x0c\x0dInspecting CA\
                     \x31\x10\x30\x0e\x06\x03\x55\x04\x0a\x13\x07Example";
        assert_eq!(texts(name), "Inspecting CA, Example");
        assert_eq!(texts(b""), "");
        for cut in 0..name.len() {
            texts(&name[..cut]);
        }
        assert_eq!(texts(b"\x30\x84\xff\xff\xff\xff"), "");
    }
}
