//! What a node demands of those to whom it connects.

use super::files::{file_roots, system_roots};
use super::{ALPN, Error, Pin, SIP_ALPN, Server, Terms, provider};
use super::{names, pin};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

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

#[derive(Clone, Debug)]
enum Manner {
    Tunnel,
    Sip(Option<Server>),
}

/// What a node demands of those to whom it opens TLS connections. Clones share what [`Client::reload`] changes.
#[derive(Clone, Debug)]
pub struct Client {
    trust: Trust,
    manner: Manner,
    config: Arc<RwLock<Arc<ClientConfig>>>,
}

impl Client {
    /// For a tunnel: a client that trusts in this manner.
    pub fn new(trust: &Trust) -> Result<Self, Error> {
        Self::with(trust, Manner::Tunnel)
    }

    /// For SIP: a client that trusts in this manner and shows the certificate of `own`, if there is one, to
    /// servers that ask for it.
    pub fn sip(trust: &Trust, own: Option<&Server>) -> Result<Self, Error> {
        Self::with(trust, Manner::Sip(own.cloned()))
    }

    fn with(trust: &Trust, manner: Manner) -> Result<Self, Error> {
        let config = Arc::new(RwLock::new(Arc::new(config(trust, &manner)?)));
        Ok(Self { trust: trust.clone(), manner, config })
    }

    /// Reads the roots again, and takes over what its own certificate's [`Server::reload`] has read; connections
    /// from now on see it. After an error everything stays as it was.
    pub fn reload(&self) -> Result<(), Error> {
        let fresh = Arc::new(config(&self.trust, &self.manner)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// With a pin the name does not matter.
    pub(crate) fn pinned(&self) -> bool {
        matches!(self.trust, Trust::Pin(_))
    }

    pub(crate) fn terms(&self) -> Terms {
        let alpn = if matches!(self.manner, Manner::Tunnel) { Some(ALPN) } else { None };
        Terms { alpn, names: !self.pinned() }
    }
}

/// Who judges the certificates of contact points.
pub(crate) fn tunnel_verifier(trust: &Trust) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    verifier(trust, &Manner::Tunnel, &provider())
}

fn verifier(
    trust: &Trust,
    manner: &Manner,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let by_roots = |roots: RootCertStore| -> Result<Arc<dyn ServerCertVerifier>, Error> {
        Ok(match manner {
            Manner::Sip(_) => Arc::new(names::verifier(roots, provider)),
            Manner::Tunnel => {
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                    .build()
                    .map_err(|error| Error::NoRoots(error.to_string()))?
            }
        })
    };
    match trust {
        Trust::Pin(known) => Ok(Arc::new(pin::verifier(*known, provider))),
        Trust::System => by_roots(system_roots()?),
        Trust::Roots(path) => by_roots(file_roots(path)?),
    }
}

fn config(trust: &Trust, manner: &Manner) -> Result<ClientConfig, Error> {
    let provider = provider();
    let versions: &[_] = match manner {
        Manner::Tunnel => &[&rustls::version::TLS13],
        Manner::Sip(_) => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let verifier = verifier(trust, manner, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match manner {
        Manner::Sip(Some(own)) => {
            let shown = SingleCertAndKey::from(CertifiedKey::clone(&own.certified()));
            builder.with_client_cert_resolver(Arc::new(shown))
        }
        Manner::Sip(None) | Manner::Tunnel => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match manner {
        Manner::Tunnel => vec![ALPN.to_vec()],
        Manner::Sip(_) => SIP_ALPN.iter().map(|name| name.to_vec()).collect(),
    };
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}
