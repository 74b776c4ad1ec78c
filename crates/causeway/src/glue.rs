//! Where roles meet: stores behind persisters, subscribers behind the authority.

use crate::exit::Failure;
use causeway_node::{Credential, Credentials, Record};
use causeway_runtime::{Authority, Persister};
use causeway_store::Store;
use causeway_subscribers::Subscribers;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A node's records in a store.
pub struct Disk(pub Store);

impl Persister for Disk {
    fn commit(&mut self, records: &[Record]) -> Result<(), String> {
        self.0.commit(records).map_err(|error| error.to_string())
    }
}

/// The subscriber database as the exchange asks it.
pub struct Hss {
    known: Subscribers,
}

impl Hss {
    /// With these subscribers.
    pub fn new(known: Subscribers) -> Self {
        Self { known }
    }
}

impl Authority for Hss {
    fn check(&mut self, credential: &Credential) -> Credentials {
        self.known.check(credential)
    }
}

/// The subscriber database in a folder.
///
/// # Errors
/// If it cannot be opened.
pub fn subscribers(data: &Path) -> Result<Subscribers, Failure> {
    let store = Store::open(data, "subscribers.db")?;
    Subscribers::open(store).map_err(|error| Failure::unreachable(error.to_string()))
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Secret random bytes.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut bytes);
    bytes
}
