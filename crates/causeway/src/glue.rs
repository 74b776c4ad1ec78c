//! Where roles meet: stores behind persisters, subscribers behind the authority.

use crate::exit::Failure;
use causeway_node::{Credential, Credentials, DerivedKey, Lookup, Record, UserKey};
use causeway_runtime::{Authority, Persister};
use causeway_store::{Log, Store};
use causeway_subscribers::Subscribers;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A node's records in a store.
pub struct Disk(pub Store);

impl Persister for Disk {
    fn commit(&mut self, records: &[Record]) -> Result<(), String> {
        self.0.commit(records).map_err(|error| error.to_string())
    }
}

/// The same behind a log, for a node that promises much.
pub struct Logbook(pub Log);

impl Persister for Logbook {
    fn commit(&mut self, records: &[Record]) -> Result<(), String> {
        self.0.commit(records).map_err(|error| error.to_string())
    }
}

/// The records of a node that promises nobody anything by its records: they make a restart cheaper, and a full disk is no
/// reason to end calls.
pub struct BestEffort {
    store: Store,
    failed: bool,
}

impl BestEffort {
    /// Records in this store.
    pub fn new(store: Store) -> Self {
        Self { store, failed: false }
    }
}

impl Persister for BestEffort {
    fn commit(&mut self, records: &[Record]) -> Result<(), String> {
        let result = self.store.commit(records);
        if let Err(error) = &result
            && !self.failed
        {
            tracing::error!("state cannot be written, a restart will end calls: {error}");
        }
        self.failed = result.is_err();
        Ok(())
    }
}

/// The subscriber database as the exchange asks it.
pub struct Hss {
    known: Subscribers,
    looked: Instant,
}

/// How often the database is asked whether somebody else has written to it.
const LOOK: Duration = Duration::from_millis(100);

impl Hss {
    fn new(known: Subscribers) -> Self {
        Self { known, looked: Instant::now() }
    }

    /// Whether the database could be asked, where it was time to.
    fn look(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.looked) < LOOK {
            return true;
        }
        self.looked = now;
        match self.known.refresh() {
            Ok(()) => true,
            Err(error) => {
                // The next message asks again.
                self.looked = now.checked_sub(LOOK).unwrap_or(now);
                tracing::error!("{error}");
                false
            }
        }
    }
}

impl Authority for Hss {
    fn check(&mut self, credential: &Credential) -> Credentials {
        if self.look() { self.known.check(credential) } else { Credentials::Unavailable }
    }

    fn knows(&mut self, aor: &[u8]) -> Lookup {
        if self.look() { self.known.knows(aor) } else { Lookup::Unavailable }
    }
}

/// The subscriber database as a contact point asks it: for derived keys and nothing else.
pub struct Keys(Hss);

impl Authority for Keys {
    fn check(&mut self, _: &Credential) -> Credentials {
        Credentials::Unavailable
    }

    fn user_key(&mut self, asked: &UserKey) -> Option<DerivedKey> {
        if self.0.look() { self.0.known.user_key(asked) } else { None }
    }
}

/// The subscriber database in a folder, to be asked for keys; each subscriber is read when he is asked for.
///
/// # Errors
/// If it cannot be opened.
pub fn keys(data: &Path) -> Result<Keys, Failure> {
    subscribers(data).map(|known| Keys(Hss::new(known)))
}

/// The subscriber database in a folder, to be changed.
///
/// # Errors
/// If it cannot be opened.
pub fn subscribers(data: &Path) -> Result<Subscribers, Failure> {
    let store = Store::open(data, "subscribers.db")?;
    Subscribers::manage(store).map_err(|error| Failure::unreachable(error.to_string()))
}

/// The subscriber database in a folder, all of it in memory, to be asked by several side by side: it is there once.
///
/// # Errors
/// If it cannot be read.
pub fn authorities(data: &Path, count: u16) -> Result<Vec<Hss>, Failure> {
    let stores = (0..count).map(|_| Store::open(data, "subscribers.db")).collect::<Result<Vec<_>, _>>()?;
    let all = Subscribers::open_shared(stores).map_err(|error| Failure::unreachable(error.to_string()))?;
    let ignored: usize = all.iter().map(Subscribers::ignored).sum();
    if ignored > 0 {
        tracing::warn!("{ignored} subscribers make no sense and are left out");
    }
    Ok(all.into_iter().map(Hss::new).collect())
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
