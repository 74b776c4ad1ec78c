//! The subscriber database: who exists, and whether a credential is right.
//!
//! The only part of an operator that holds what proves a subscriber: HA1, as yet. Others ask
//! [`Subscribers::check`] and learn a verdict, or [`Subscribers::user_key`] and get a key for one registration, never
//! the secret. Passwords are not kept at all.
//!
//! ```
//! use causeway_node::{Credentials, Credential};
//! use causeway_sip::{Method, digest};
//! use causeway_store::Store;
//! use causeway_subscribers::Subscribers;
//!
//! let mut subscribers = Subscribers::open(Store::in_memory()?)?;
//! subscribers.add("sip:alice@example.com", b"secret", 1_700_000_000)?;
//!
//! let challenge = digest::NewChallenge::new(b"example.com", b"n0nce", digest::Algorithm::SHA256).value();
//! let mut client = digest::Session::new(&digest::choose([&challenge[..]]).unwrap(), b"alice", b"secret");
//! let answer = client.answer(Method::Register, b"sip:example.com", b"c0ffee");
//! let question = digest::Credentials::parse(&answer)?.question(Method::Register);
//! assert_eq!(subscribers.check(&question), Credentials::Accepted(vec!["sip:alice@example.com".into()]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod entry;
mod user_key;

use causeway_node::{Credential, Credentials, Lookup, Record};
use causeway_sip::Uri;
use causeway_sip::digest::{Algorithm, Ha1};
use causeway_store::Store;
use causeway_store::record::{Kind, Subscriber};
use entry::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Subscribers by login.
type Known = HashMap<Box<[u8]>, Entry>;

/// What can go wrong with subscribers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an address that a subscriber can have.
    #[error("`{0}` is no subscriber address: it must be sip:user@domain, without port and parameters")]
    Address(String),
    /// There is one already.
    #[error("{0} exists already; change its password with `passwd`")]
    Exists(String),
    /// There is none.
    #[error("there is no subscriber {0}")]
    Missing(String),
    /// A password that proves nothing.
    #[error("the password is empty")]
    EmptyPassword,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] causeway_store::Error),
}

/// All subscribers of an operator.
///
/// What is needed to check a credential is held in memory, one hash table for all. A change that another process
/// makes to the database counts from the next [`Subscribers::refresh`] on: each subscriber is read again when he is
/// asked for next, so that no change, however small or large, holds anybody up.
///
/// What is read at the beginning can be held once for several ([`Subscribers::open_shared`]); what changes
/// thereafter, each holds as far as it is asked for.
pub struct Subscribers {
    store: Store,
    /// What was read at the beginning, which several may share; then it stays as it is.
    known: Arc<Known>,
    /// What was read again since then, where it is shared.
    again: Known,
    /// Whether all that was stored at `version` is in `known`.
    loaded: bool,
    version: i64,
    /// Counts the changes that others have made; what was read before the last is read again.
    era: u32,
    ignored: usize,
    key: Vec<u8>,
}

impl Subscribers {
    /// The subscribers in a store, all of them in memory: for whoever checks credentials.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn open(store: Store) -> Result<Self, Error> {
        let mut subscribers = Self::manage(store)?;
        subscribers.load()?;
        Ok(subscribers)
    }

    /// The same for several who are asked side by side, each by a store of its own to the same database. They are held
    /// in memory once.
    ///
    /// # Errors
    /// If a store cannot be read.
    pub fn open_shared(stores: impl IntoIterator<Item = Store>) -> Result<Vec<Self>, Error> {
        // A change after this is noticed by all.
        let mut all = stores.into_iter().map(Self::manage).collect::<Result<Vec<_>, _>>()?;
        if let Some((first, others)) = all.split_first_mut() {
            first.load()?;
            for other in others {
                other.known = Arc::clone(&first.known);
                other.loaded = true;
            }
        }
        Ok(all)
    }

    /// The same without reading them: for whoever only changes some.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn manage(store: Store) -> Result<Self, Error> {
        let version = store.version()?;
        let (known, again, key) = (Arc::default(), Known::new(), Vec::new());
        Ok(Self { store, known, again, loaded: false, version, era: 0, ignored: 0, key })
    }

    /// Adds a subscriber; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// If the address is none, exists, or cannot be written.
    pub fn add(&mut self, uri: &str, password: &[u8], now: u64) -> Result<(), Error> {
        let (aor, user, realm) = split(uri)?;
        if self.get(&aor)?.is_some() {
            return Err(Error::Exists(aor));
        }
        self.put(&aor, &user, &realm, password, now)
    }

    /// Changes a password.
    ///
    /// # Errors
    /// If there is no such subscriber, or it cannot be written.
    pub fn set_password(&mut self, uri: &str, password: &[u8]) -> Result<(), Error> {
        let (aor, user, realm) = split(uri)?;
        let known = self.get(&aor)?.ok_or_else(|| Error::Missing(aor.clone()))?;
        self.put(&aor, &user, &realm, password, known.created)
    }

    /// Adds subscribers (address and password), or changes the passwords of those that exist, in one commit. Says
    /// how many are new; the last counts where one comes twice.
    ///
    /// # Errors
    /// If an address is none or a password is empty, or they cannot be written; then none of them is.
    pub fn import(&mut self, rows: &[(String, Vec<u8>)], now: u64) -> Result<usize, Error> {
        let (mut fresh, mut all) = (HashSet::new(), Vec::with_capacity(rows.len()));
        for (uri, password) in rows {
            let (aor, user, realm) = split(uri)?;
            let known = self.get(&aor)?;
            let created = known.as_ref().map_or(now, |known| known.created);
            if known.is_none() {
                fresh.insert(aor.clone());
            }
            all.push(record(&aor, &user, &realm, password, created)?);
        }
        self.write(all)?;
        Ok(fresh.len())
    }

    /// Removes a subscriber.
    ///
    /// # Errors
    /// If there is none, or it cannot be written.
    pub fn remove(&mut self, uri: &str) -> Result<(), Error> {
        let (aor, ..) = split(uri)?;
        self.get(&aor)?.ok_or_else(|| Error::Missing(aor.clone()))?;
        self.store.commit(&[Subscriber::removal(aor.as_bytes())])?;
        self.forget(entry::login_of(aor.as_bytes()));
        Ok(())
    }

    /// One subscriber, as stored.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn get(&self, aor: &str) -> Result<Option<Subscriber>, Error> {
        let value = self.store.get(Subscriber::SPACE, aor.as_bytes())?;
        Ok(value.and_then(|value| Subscriber::read(&value).ok()))
    }

    /// All subscribers as stored, by address of record.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn all(&self) -> Result<Vec<(String, Subscriber)>, Error> {
        let mut all = Vec::new();
        self.store.for_each(Subscriber::SPACE, |aor, value| {
            if let (Ok(aor), Ok(subscriber)) = (std::str::from_utf8(aor), Subscriber::read(value)) {
                all.push((aor.to_owned(), subscriber));
            }
        })?;
        Ok(all)
    }

    /// Whether a digest response is right.
    pub fn check(&mut self, credential: &Credential) -> Credentials {
        self.set_key(credential);
        if let Some(verdict) = self.verdict(credential) {
            return verdict;
        }
        match self.freshen() {
            Ok(()) => self.verdict(credential).unwrap_or(Credentials::Unknown),
            Err(_) => Credentials::Unavailable,
        }
    }

    /// What the entry of `self.key` says, if it is known as it is now.
    fn verdict(&self, credential: &Credential) -> Option<Credentials> {
        let entry = self.entry()?;
        Some(match entry.proves(credential) {
            true => Credentials::Accepted(vec![entry.aor(&self.key)]),
            false => Credentials::Wrong,
        })
    }

    /// Whether there is a subscriber with this address of record, a canonical URI.
    pub fn knows(&mut self, aor: &[u8]) -> Lookup {
        self.key.clear();
        self.key.extend_from_slice(entry::login_of(aor));
        if self.freshen().is_err() {
            return Lookup::Unavailable;
        }
        match self.entry() {
            Some(entry) if entry.is_scheme_of(aor) => Lookup::Known,
            _ => Lookup::Unknown,
        }
    }

    /// Looks whether another process has changed the database. It costs a question to the database, so it is for
    /// the caller to say how often: a few times a second.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn refresh(&mut self) -> Result<(), Error> {
        let version = self.store.version()?;
        if version != self.version {
            self.version = version;
            self.era += 1;
        }
        Ok(())
    }

    /// How many subscribers are in memory.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Records that were read and make no sense: not written by this program.
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    /// Makes `self.key` the login of a credential.
    fn set_key(&mut self, credential: &Credential) {
        let parts = credential.parts();
        self.key.clear();
        self.key.extend_from_slice(parts.username);
        self.key.push(b'@');
        self.key.extend(parts.realm.iter().map(u8::to_ascii_lowercase));
    }

    /// Sees that the entry of `self.key` is as the database had it at the last [`Subscribers::refresh`].
    fn freshen(&mut self) -> Result<(), Error> {
        match self.entry() {
            Some(_) => Ok(()),
            None if self.loaded && self.era == 0 => Ok(()),
            _ => self.read_again(),
        }
    }

    /// The entry of `self.key`, if it is known as it is now.
    fn entry(&self) -> Option<&Entry> {
        let key = self.key.as_slice();
        let found = [&self.again, &*self.known].into_iter().filter_map(|known| known.get(key));
        found.into_iter().find(|entry| entry.era() == self.era)
    }

    fn insert(&mut self, login: &[u8], entry: Entry) {
        match Arc::get_mut(&mut self.known) {
            Some(known) => known.insert(login.into(), entry),
            None => self.again.insert(login.into(), entry),
        };
    }

    fn forget(&mut self, login: &[u8]) {
        self.again.remove(login);
        if let Some(known) = Arc::get_mut(&mut self.known) {
            known.remove(login);
        } else if self.known.get(login).is_some_and(|entry| entry.era() == self.era) {
            // What is shared cannot be changed: from now on it counts as old, and is read again.
            self.era += 1;
        }
    }

    fn read_again(&mut self) -> Result<(), Error> {
        self.again.remove(self.key.as_slice());
        if let Some(known) = Arc::get_mut(&mut self.known) {
            known.remove(self.key.as_slice());
        }
        for scheme in [&b"sip:"[..], b"sips:"] {
            let aor = [scheme, &self.key].concat();
            if let Some(value) = self.store.get(Subscriber::SPACE, &aor)?
                && let Some((login, entry)) = Entry::read(&aor, &value, self.era)
            {
                self.insert(login, entry);
                break;
            }
        }
        Ok(())
    }

    fn put(
        &mut self,
        aor: &str,
        user: &str,
        realm: &str,
        password: &[u8],
        created: u64,
    ) -> Result<(), Error> {
        self.write(vec![record(aor, user, realm, password, created)?])
    }

    fn write(&mut self, records: Vec<Record>) -> Result<(), Error> {
        self.store.commit(&records)?;
        for record in &records {
            let value = record.value.as_deref().unwrap_or_default();
            // Who only manages need not hold what he never asks.
            if self.loaded
                && let Some((login, entry)) = Entry::read(&record.key, value, self.era)
            {
                self.insert(login, entry);
            }
        }
        Ok(())
    }

    fn load(&mut self) -> Result<(), Error> {
        let (mut known, ignored, era) = (Known::new(), &mut self.ignored, self.era);
        self.store.for_each(Subscriber::SPACE, |aor, value| match Entry::read(aor, value, era) {
            Some((login, entry)) => drop(known.insert(login.into(), entry)),
            None => *ignored += 1,
        })?;
        self.known = Arc::new(known);
        self.loaded = true;
        Ok(())
    }
}

/// What is stored of a subscriber: HA1 in both hashes, not the password.
fn record(aor: &str, user: &str, realm: &str, password: &[u8], created: u64) -> Result<Record, Error> {
    if password.is_empty() {
        return Err(Error::EmptyPassword);
    }
    let ha1 = |algorithm| {
        let ha1 = Ha1::new(algorithm, user.as_bytes(), realm.as_bytes(), password);
        String::from_utf8_lossy(ha1.expose_hex()).into_owned()
    };
    let subscriber = Subscriber {
        username: user.to_owned(),
        realm: realm.to_owned(),
        ha1_md5: ha1(Algorithm::MD5),
        ha1_sha256: ha1(Algorithm::SHA256),
        created,
    };
    Ok(subscriber.record(aor.as_bytes()))
}

/// The canonical address of record, its user and its domain.
fn split(uri: &str) -> Result<(String, String, String), Error> {
    let wrong = || Error::Address(uri.to_owned());
    let parsed = Uri::parse(uri.as_bytes()).ok_or_else(wrong)?;
    let plain = parsed.scheme.is_sip() && parsed.port.is_none() && parsed.params.as_bytes().is_empty();
    let aor = String::from_utf8(parsed.aor()).map_err(|_| wrong())?;
    let (user, domain) = aor.split_once(':').and_then(|(_, rest)| rest.rsplit_once('@')).ok_or_else(wrong)?;
    if !plain || user.is_empty() || domain.is_empty() {
        return Err(wrong());
    }
    let (user, domain) = (user.to_owned(), domain.to_owned());
    Ok((aor, user, domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2617 §3.5: HA1 of Mufasa in the realm testrealm@host.com would need that realm as a domain; the
    /// digests here come from `printf 'bob:biloxi.example.com:zanzibar' | md5sum` and `sha256sum`.
    #[test]
    fn ha1_is_what_others_compute() {
        let mut subscribers = Subscribers::open(Store::in_memory().unwrap()).unwrap();
        subscribers.add("sip:bob@Biloxi.example.com", b"zanzibar", 1).unwrap();
        let bob = subscribers.get("sip:bob@biloxi.example.com").unwrap().unwrap();
        assert_eq!(bob.ha1_md5, "7fc33d266ff5f7fe764efb797bd4ba91");
        assert_eq!(bob.ha1_sha256, "99c7a074144922730f8c921decd75800202dc0534ebd20ab514af2c60ffc9073");
    }

    #[test]
    fn what_is_refused() {
        let mut subscribers = Subscribers::open(Store::in_memory().unwrap()).unwrap();
        for uri in ["bob", "sip:example.com", "sip:bob@example.com:5070", "sip:bob@a;x=y", "tel:+358"] {
            assert!(matches!(subscribers.add(uri, b"x", 1), Err(Error::Address(_))), "{uri}");
        }
        assert!(matches!(subscribers.add("sip:a@b", b"", 1), Err(Error::EmptyPassword)));
        assert!(matches!(subscribers.remove("sip:a@b"), Err(Error::Missing(_))));
        subscribers.add("sip:a@b", b"x", 1).unwrap();
        assert!(matches!(subscribers.add("sip:a@B", b"y", 1), Err(Error::Exists(_))));
        subscribers.remove("sip:a@b").unwrap();
        assert!(subscribers.all().unwrap().is_empty());
    }

    /// A response in the manner of RFC 2069, which needs no counts: HA1 and HA2 by MD5.
    fn answer(user: &[u8], realm: &[u8], password: &[u8]) -> Credential {
        let challenge = causeway_sip::digest::NewChallenge::new(realm, b"n0nce", Algorithm::MD5).value();
        let chosen = causeway_sip::digest::choose([&challenge[..]]).unwrap();
        let mut client = causeway_sip::digest::Session::new(&chosen, user, password);
        let header = client.answer(causeway_sip::Method::Register, b"sip:example.com", b"c0ffee");
        let parsed = causeway_sip::digest::Credentials::parse(&header).unwrap();
        parsed.question(causeway_sip::Method::Register)
    }

    fn accepted(aor: &str) -> Credentials {
        Credentials::Accepted(vec![aor.to_owned()])
    }

    #[test]
    fn those_who_share_what_was_read_see_changes_each_for_himself() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), "subscribers.db").unwrap();
        let mut theirs = Subscribers::manage(open()).unwrap();
        theirs.add("sip:alice@example.com", b"old", 1).unwrap();
        theirs.add("sip:bob@example.com", b"bob", 1).unwrap();
        theirs.add("sip:dave@example.com", b"dave", 1).unwrap();
        let mut ours = Subscribers::open_shared([open(), open()]).unwrap();
        assert!(Arc::ptr_eq(&ours[0].known, &ours[1].known), "in memory once");
        let alice = |password: &[u8]| answer(b"alice", b"example.com", password);
        theirs.set_password("sip:alice@example.com", b"new").unwrap();
        theirs.remove("sip:bob@example.com").unwrap();
        theirs.add("sip:carol@example.com", b"carol", 1).unwrap();
        ours[1].refresh().unwrap();
        for (one, [old, new], bob, carol) in [
            (0, [true, false], Lookup::Known, Lookup::Unknown),
            (1, [false, true], Lookup::Unknown, Lookup::Known),
        ] {
            let right = |verdict| verdict == accepted("sip:alice@example.com");
            assert_eq!(right(ours[one].check(&alice(b"old"))), old);
            assert_eq!(right(ours[one].check(&alice(b"new"))), new);
            assert_eq!(ours[one].knows(b"sip:bob@example.com"), bob);
            assert_eq!(ours[one].knows(b"sip:carol@example.com"), carol);
        }
        ours[1].remove("sip:alice@example.com").unwrap();
        assert_eq!(ours[1].check(&alice(b"new")), Credentials::Unknown);
        ours[0].remove("sip:dave@example.com").unwrap();
        assert_eq!(ours[0].knows(b"sip:dave@example.com"), Lookup::Unknown, "although he is shared");
        assert_eq!(
            ours[0].knows(b"sip:alice@example.com"),
            Lookup::Unknown,
            "read again with all that is shared"
        );
    }

    #[test]
    fn what_another_process_changes_counts_after_a_refresh() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), "subscribers.db").unwrap();
        let mut theirs = Subscribers::manage(open()).unwrap();
        theirs.add("sip:alice@example.com", b"old", 1).unwrap();
        theirs.add("sip:bob@example.com", b"bob", 1).unwrap();
        let mut ours = Subscribers::open(open()).unwrap();
        assert_eq!(ours.len(), 2);
        let alice = |password: &[u8]| answer(b"alice", b"example.com", password);
        assert_eq!(ours.check(&alice(b"old")), accepted("sip:alice@example.com"));
        assert_eq!(ours.knows(b"sip:carol@example.com"), Lookup::Unknown);

        theirs.set_password("sip:alice@example.com", b"new").unwrap();
        theirs.remove("sip:bob@example.com").unwrap();
        theirs.add("sip:carol@example.com", b"carol", 1).unwrap();
        ours.refresh().unwrap();
        assert_eq!(ours.check(&alice(b"old")), Credentials::Wrong);
        assert_eq!(ours.check(&alice(b"new")), accepted("sip:alice@example.com"));
        assert_eq!(ours.check(&answer(b"bob", b"example.com", b"bob")), Credentials::Unknown);
        assert_eq!(ours.knows(b"sip:bob@example.com"), Lookup::Unknown);
        assert_eq!(ours.knows(b"sip:carol@example.com"), Lookup::Known);
        theirs.remove("sip:carol@example.com").unwrap();
        ours.refresh().unwrap();
        assert_eq!(ours.knows(b"sip:carol@example.com"), Lookup::Unknown);
    }

    #[test]
    fn realms_are_compared_without_case_users_and_schemes_as_they_are() {
        let mut subscribers = Subscribers::open(Store::in_memory().unwrap()).unwrap();
        subscribers.add("sip:Alice@Example.com", b"x", 1).unwrap();
        let aor = accepted("sip:Alice@example.com");
        assert_eq!(subscribers.check(&answer(b"Alice", b"example.com", b"x")), aor);
        assert_eq!(subscribers.check(&answer(b"alice", b"example.com", b"x")), Credentials::Unknown);
        assert_eq!(subscribers.knows(b"sip:Alice@example.com"), Lookup::Known);
        assert_eq!(subscribers.knows(b"sips:Alice@example.com"), Lookup::Unknown);
        assert_eq!(subscribers.knows(b"sip:example.com"), Lookup::Unknown);
        assert_eq!(subscribers.knows(b""), Lookup::Unknown);
    }

    #[test]
    fn many_are_imported_at_once_or_none() {
        let mut subscribers = Subscribers::open(Store::in_memory().unwrap()).unwrap();
        subscribers.add("sip:old@example.com", b"x", 1).unwrap();
        let row = |uri: &str, password: &str| (uri.to_owned(), password.as_bytes().to_vec());
        let rows = [
            row("sip:old@example.com", "y"),
            row("sip:new@example.com", "1"),
            row("sip:new@Example.com", "2"),
        ];
        assert_eq!(subscribers.import(&rows, 9).unwrap(), 1);
        assert_eq!(subscribers.len(), 2);
        let new = accepted("sip:new@example.com");
        assert_eq!(subscribers.check(&answer(b"new", b"example.com", b"2")), new);
        assert_eq!(subscribers.get("sip:old@example.com").unwrap().unwrap().created, 1);
        let bad = [row("sip:third@example.com", "x"), row("sip:fourth@example.com", "")];
        assert!(matches!(subscribers.import(&bad, 9), Err(Error::EmptyPassword)));
        assert_eq!(subscribers.len(), 2);
    }

    #[test]
    fn records_that_make_no_sense_are_counted() {
        let mut store = Store::in_memory().unwrap();
        let put = |key: &[u8], value: &[u8]| Record {
            space: Subscriber::SPACE,
            key: key.to_vec(),
            value: Some(value.to_vec()),
        };
        store.commit(&[put(b"sip:a@b", b"{}"), put(b"\xff", b"\xff")]).unwrap();
        let subscribers = Subscribers::open(store).unwrap();
        assert_eq!((subscribers.len(), subscribers.ignored()), (0, 2));
    }
}
