//! TLS for [`Transport::Tls`](causeway_node::Transport), in two manners; a node has one server and one client
//! side, each in one of them.
//!
//! * **The tunnel's** ([`Server::from_pem`], [`Server::self_made`], [`Client::new`]): version 1.3 only
//!   (RFC 8446), ALPN [`ALPN`] demanded (RFC 7301).
//! * **That of SIP** ([`Server::sip`], [`Client::sip`]): versions 1.2 and 1.3, ALPN [`SIP_ALPN`] offered and
//!   accepted; a peer that names no protocol is as welcome. The server may ask for a client certificate
//!   ([`Clients`]); a client believes a certificate that proves the domain that it asked for (RFC 5922).
//!
//! Neither knows early data or resumption: every connection proves its certificate anew and has an exporter of
//! its own. What a verified peer certificate proves is in [`causeway_node::Input::Opened`].
//!
//! A server shows a certificate from PEM files, or one that it made itself and that its clients know by its
//! [`Pin`]. A client trusts a pin, the system's roots, or roots from a file ([`Trust`]). What lies in files is
//! read again by `reload`.

mod client;
mod files;
mod names;
mod pin;
mod server;
mod verifier;

pub(crate) use client::tunnel_verifier;
pub use client::{Client, Trust};
pub use files::create_private_dir;
pub(crate) use names::proven;
pub use pin::{BadPin, Pin};
pub use server::{Clients, Server};
pub(crate) use verifier::Verifier;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::path::PathBuf;
use std::sync::Arc;

/// The application protocol that both ends of a tunnel must name.
pub const ALPN: &[u8] = b"causeway/1";
/// What SIP over TLS names itself: the entry of the IANA registry, and its name in speech.
pub const SIP_ALPN: [&[u8]; 2] = [b"sip/2", b"sip"];
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

/// What a connection must fulfil once its handshake is over, and what may be said of its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The protocol that must have been agreed upon; `None` takes whatever was.
    pub alpn: Option<&'static [u8]>,
    /// Whether a certificate that the peer showed was verified against roots, so that its names count.
    pub names: bool,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
