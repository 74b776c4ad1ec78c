//! Certificates and keys on disk.

use super::{Error, Pin, provider};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// A certificate chain with its key, and the pin of that key.
pub(super) type Identity = (Arc<CertifiedKey>, Pin);

/// Reads a chain and its key, and sees that they belong together.
pub(super) fn load(cert: &Path, key: &Path) -> Result<Identity, Error> {
    let file = |path: &Path, why: String| Error::File { path: path.to_owned(), why };
    let unusable = |why: String| Error::Unusable { cert: cert.to_owned(), key: key.to_owned(), why };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| file(cert, e.to_string()))?;
    let first = chain.first().ok_or_else(|| file(cert, "holds no certificate".to_owned()))?;
    let pin = Pin::of(first).map_err(|e| file(cert, e.to_string()))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| file(key, e.to_string()))?;
    let certified =
        CertifiedKey::from_der(chain, private, &provider()).map_err(|e| unusable(e.to_string()))?;
    certified.keys_match().map_err(|_| unusable("the key is not the certificate's".to_owned()))?;
    Ok((Arc::new(certified), pin))
}

/// The system's roots, an administrator's own among them.
pub(super) fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or("the system has none".to_owned(), ToString::to_string);
        return Err(Error::NoRoots(why));
    }
    Ok(roots)
}

/// The roots in a PEM file.
pub(super) fn file_roots(path: &Path) -> Result<RootCertStore, Error> {
    let fail = |why: String| Error::File { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(path).map_err(|e| fail(e.to_string()))? {
        let cert = cert.map_err(|e| fail(e.to_string()))?;
        roots.add(cert).map_err(|e| fail(e.to_string()))?;
    }
    if roots.is_empty() { Err(fail("holds no certificate".to_owned())) } else { Ok(roots) }
}

/// The paths of the certificate and key of our own making in `dir`, which are made if they are missing.
pub(super) fn self_made(dir: &Path) -> Result<(PathBuf, PathBuf), Error> {
    let (cert, key) = (dir.join("tunnel-cert.pem"), dir.join("tunnel-key.pem"));
    if cert.exists() && key.exists() {
        return Ok((cert, key));
    }
    let fail = |path: &Path, why: &dyn std::fmt::Display| Error::File {
        path: path.to_owned(),
        why: why.to_string(),
    };
    create_private_dir(dir).map_err(|e| fail(dir, &e))?;
    let pair = rcgen::KeyPair::generate().map_err(|e| fail(&key, &e))?;
    let mut parameters =
        rcgen::CertificateParams::new(vec!["causeway.invalid".to_owned()]).map_err(|e| fail(&cert, &e))?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "Causeway contact point");
    let certificate = parameters.self_signed(&pair).map_err(|e| fail(&cert, &e))?;
    let secret = Zeroizing::new(pair.serialize_pem());
    write_private(&key, secret.as_bytes()).map_err(|e| fail(&key, &e))?;
    write_private(&cert, certificate.pem().as_bytes()).map_err(|e| fail(&cert, &e))?;
    Ok((cert, key))
}

/// Makes a directory that only its owner may enter; one that exists already is left as it is.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Writes a file that only its owner may read: whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("pem.new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}
