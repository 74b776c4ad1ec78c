//! TLS for [`Transport::Tls`](causeway_node::Transport): version 1.3 only (RFC 8446), ALPN `causeway/1`
//! (RFC 7301), no early data, no resumption: every connection proves its certificate anew and has an exporter
//! of its own.
//!
//! A server shows a certificate from PEM files ([`Server::from_pem`]), or one that it made itself
//! ([`Server::self_made`]) and that its clients know by its [`Pin`]. A client trusts a pin, the system's
//! roots, or roots from a file ([`Trust`]).

mod files;
mod pin;

pub use files::create_private_dir;
pub use pin::{BadPin, Pin};

use files::Reloadable;
use pin::PinVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The application protocol that both ends must name.
pub const ALPN: &[u8] = b"causeway/1";
/// The label of the exporter that [`causeway_node::Input::Opened`] carries (RFC 5705, no context).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-causeway";

/// What is wrong with certificates, keys or roots: always the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Certificate and key do not work, alone or together.
    #[error("certificate {cert} with key {key}: {why}")]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        why: String,
    },
    /// No root certificates were found.
    #[error("no trusted roots: {0}; install ca-certificates, or give a pin")]
    NoRoots(String),
    /// The TLS library refuses the configuration.
    #[error("TLS configuration: {0}")]
    Library(#[from] rustls::Error),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// What a node shows to those who connect to its TLS listeners.
#[derive(Clone, Debug)]
pub struct Server {
    pub(crate) config: Arc<ServerConfig>,
    certificate: Arc<Reloadable>,
}

impl Server {
    /// A certificate chain and its key, as PEM files.
    pub fn from_pem(cert: &Path, key: &Path) -> Result<Self, Error> {
        Self::new(Reloadable::load(cert, key)?)
    }

    /// A certificate of our own making, kept in `dir` as `tunnel-cert.pem` and `tunnel-key.pem` (mode 0600)
    /// and made at the first call. It proves nothing by itself: clients know it by [`Server::pin`].
    pub fn self_made(dir: &Path) -> Result<Self, Error> {
        let (cert, key) = files::self_made(dir)?;
        Self::from_pem(&cert, &key)
    }

    fn new(certificate: Reloadable) -> Result<Self, Error> {
        let certificate = Arc::new(certificate);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), certificate })
    }

    /// The pin of the key shown at present.
    pub fn pin(&self) -> Pin {
        self.certificate.pin()
    }

    /// Reads the files again; connections from now on see what they hold. After an error the old certificate
    /// stays in use.
    pub fn reload(&self) -> Result<(), Error> {
        self.certificate.reload()
    }
}

/// Whom a client believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Whoever holds this key, whatever name or date its certificate bears.
    Pin(Pin),
    /// Whoever one of the system's roots certifies for the name that was asked for.
    System,
    /// The same, with the roots of this PEM file alone.
    Roots(PathBuf),
}

/// What a node demands of those to whom it opens TLS connections.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) pinned: bool,
}

impl Client {
    /// A client that trusts in this manner.
    pub fn new(trust: &Trust) -> Result<Self, Error> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?;
        let pinned = matches!(trust, Trust::Pin(_));
        let mut config = match trust {
            Trust::Pin(pin) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(PinVerifier::new(*pin, &provider)))
                .with_no_client_auth(),
            Trust::System => Self::by_roots(builder, system_roots()?, provider)?,
            Trust::Roots(path) => Self::by_roots(builder, file_roots(path)?, provider)?,
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        Ok(Self { config: Arc::new(config), pinned })
    }

    fn by_roots(
        builder: rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>,
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
    ) -> Result<ClientConfig, Error> {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| Error::NoRoots(error.to_string()))?;
        Ok(builder.with_webpki_verifier(verifier).with_no_client_auth())
    }
}

fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or("the system has none".to_owned(), ToString::to_string);
        return Err(Error::NoRoots(why));
    }
    Ok(roots)
}

fn file_roots(path: &Path) -> Result<RootCertStore, Error> {
    let fail = |why: String| Error::File { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(path).map_err(|e| fail(e.to_string()))? {
        let cert = cert.map_err(|e| fail(e.to_string()))?;
        roots.add(cert).map_err(|e| fail(e.to_string()))?;
    }
    if roots.is_empty() { Err(fail("holds no certificate".to_owned())) } else { Ok(roots) }
}
