//! A TLS connection of the generator's own, driven by hand: no thread, no waiting once it is up.

use anyhow::{Context, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Takes whatever certificate the server shows: it was started by this very program.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// One connection.
pub struct Connection {
    tcp: TcpStream,
    tls: ClientConnection,
    wire: Box<[u8]>,
    plain: Vec<u8>,
}

impl Connection {
    /// Connects, and says which protocol it wants to speak (RFC 7301), if any.
    pub fn open(to: SocketAddr, protocol: Option<&[u8]>) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        config.alpn_protocols = protocol.iter().map(|name| name.to_vec()).collect();
        let mut tls = ClientConnection::new(Arc::new(config), ServerName::from(to.ip()))?;
        tls.set_buffer_limit(None);
        let mut tcp = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
        tcp.set_nodelay(true)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).context("TLS handshake")?;
        }
        tcp.set_nonblocking(true)?;
        Ok(Self { tcp, tls, wire: vec![0; 256 * 1024].into(), plain: Vec::new() })
    }

    /// Keying material of this connection (RFC 8446 §7.5).
    pub fn exporter(&self, label: &[u8]) -> Result<[u8; 32]> {
        Ok(self.tls.export_keying_material([0; 32], label, None)?)
    }

    /// Seals bytes, and writes as much as the socket takes; the rest waits.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.tls.writer().write_all(bytes)?;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.tcp) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// What has come since.
    pub fn read(&mut self) -> Result<&[u8]> {
        self.plain.clear();
        loop {
            let len = match self.tcp.read(&mut self.wire) {
                Ok(0) => bail!("the server has closed the connection"),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(&self.plain),
                Err(error) => return Err(error.into()),
            };
            let mut wire = &self.wire[..len];
            while !wire.is_empty() {
                self.tls.read_tls(&mut wire)?;
                let ready = self.tls.process_new_packets()?.plaintext_bytes_to_read();
                let start = self.plain.len();
                self.plain.resize(start + ready, 0);
                self.tls.reader().read_exact(&mut self.plain[start..])?;
            }
        }
    }
}
