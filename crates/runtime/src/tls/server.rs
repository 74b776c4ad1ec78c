//! What listeners show, and whom they let in.

use super::files::{self, Identity};
use super::{ALPN, Error, Pin, SIP_ALPN, Terms, provider};
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Whether those who connect must show a certificate (RFC 5246 §7.4.4, RFC 8446 §4.3.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    /// They are not asked for one.
    #[default]
    Unasked,
    /// They may: one that is shown must be certified by the roots in this PEM file.
    Optional(PathBuf),
    /// They must.
    Required(PathBuf),
}

#[derive(Clone, Debug)]
enum Manner {
    Tunnel,
    Sip(Clients),
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    identity: Identity,
}

/// What a node shows to those who connect to its TLS listeners. Clones share what [`Server::reload`] changes.
#[derive(Clone, Debug)]
pub struct Server {
    cert: PathBuf,
    key: PathBuf,
    manner: Manner,
    current: Arc<RwLock<Current>>,
}

impl Server {
    /// For a tunnel: a certificate chain and its key, as PEM files.
    pub fn from_pem(cert: &Path, key: &Path) -> Result<Self, Error> {
        Self::new(cert, key, Manner::Tunnel)
    }

    /// For a tunnel: a certificate of our own making, kept in `dir` as `tunnel-cert.pem` and `tunnel-key.pem`
    /// (mode 0600) and made at the first call. It proves nothing by itself: clients know it by [`Server::pin`].
    pub fn self_made(dir: &Path) -> Result<Self, Error> {
        let (cert, key) = files::self_made(dir)?;
        Self::from_pem(&cert, &key)
    }

    /// For SIP: a certificate chain and its key, as PEM files, and what is asked of clients.
    pub fn sip(cert: &Path, key: &Path, clients: Clients) -> Result<Self, Error> {
        Self::new(cert, key, Manner::Sip(clients))
    }

    fn new(cert: &Path, key: &Path, manner: Manner) -> Result<Self, Error> {
        let current = Arc::new(RwLock::new(current(cert, key, &manner)?));
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), manner, current })
    }

    /// The pin of the key shown at present.
    pub fn pin(&self) -> Pin {
        self.current.read().unwrap_or_else(PoisonError::into_inner).identity.1
    }

    /// Reads the files again, the clients' roots included; connections from now on see what they hold. After an
    /// error everything stays as it was.
    pub fn reload(&self) -> Result<(), Error> {
        let fresh = current(&self.cert, &self.key, &self.manner)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).identity.0)
    }

    pub(crate) fn terms(&self) -> Terms {
        match &self.manner {
            Manner::Tunnel => Terms { alpn: Some(ALPN), names: false },
            Manner::Sip(clients) => Terms { alpn: None, names: *clients != Clients::Unasked },
        }
    }
}

fn current(cert: &Path, key: &Path, manner: &Manner) -> Result<Current, Error> {
    let identity = files::load(cert, key)?;
    let versions: &[_] = match manner {
        Manner::Tunnel => &[&rustls::version::TLS13],
        Manner::Sip(_) => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let verifier = |roots: &Path| -> Result<_, Error> {
        let roots = Arc::new(files::file_roots(roots)?);
        Ok(WebPkiClientVerifier::builder_with_provider(roots, provider()))
    };
    let refused = |error: rustls::server::VerifierBuilderError| Error::NoRoots(error.to_string());
    let builder = match manner {
        Manner::Tunnel | Manner::Sip(Clients::Unasked) => builder.with_no_client_auth(),
        Manner::Sip(Clients::Optional(roots)) => builder
            .with_client_cert_verifier(verifier(roots)?.allow_unauthenticated().build().map_err(refused)?),
        Manner::Sip(Clients::Required(roots)) => {
            builder.with_client_cert_verifier(verifier(roots)?.build().map_err(refused)?)
        }
    };
    let shown = SingleCertAndKey::from(CertifiedKey::clone(&identity.0));
    let mut config = builder.with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = match manner {
        Manner::Tunnel => vec![ALPN.to_vec()],
        Manner::Sip(_) => SIP_ALPN.iter().map(|name| name.to_vec()).collect(),
    };
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(Current { config: Arc::new(config), identity })
}
