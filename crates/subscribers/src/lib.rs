//! The subscriber database: who exists, and whether a credential is right.
//!
//! The only part of an operator that holds what proves a subscriber: HA1, as yet. Others ask
//! [`Subscribers::check`] and learn a verdict, never the secret. Passwords are not kept at all.
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

use causeway_node::{Credential, Credentials};
use causeway_sip::Uri;
use causeway_sip::digest::{self, Algorithm, Ha1};
use causeway_store::Store;
use causeway_store::record::{Kind, Subscriber};
use std::collections::HashMap;

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
pub struct Subscribers {
    store: Store,
    /// By realm and user name: the address of record and what it proves itself with.
    known: HashMap<(String, String), (String, Subscriber)>,
    version: i64,
}

impl Subscribers {
    /// The subscribers in a store.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn open(store: Store) -> Result<Self, Error> {
        let mut subscribers = Self { version: store.version()?, store, known: HashMap::new() };
        subscribers.reload()?;
        Ok(subscribers)
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

    /// Adds a subscriber, or changes the password of one that exists. Says whether it is new.
    ///
    /// # Errors
    /// If the address is none, or cannot be written.
    pub fn import(&mut self, uri: &str, password: &[u8], now: u64) -> Result<bool, Error> {
        let (aor, user, realm) = split(uri)?;
        let known = self.get(&aor)?;
        self.put(&aor, &user, &realm, password, known.as_ref().map_or(now, |known| known.created))?;
        Ok(known.is_none())
    }

    /// Removes a subscriber.
    ///
    /// # Errors
    /// If there is none, or it cannot be written.
    pub fn remove(&mut self, uri: &str) -> Result<(), Error> {
        let (aor, ..) = split(uri)?;
        self.get(&aor)?.ok_or_else(|| Error::Missing(aor.clone()))?;
        self.store.commit(&[Subscriber::removal(aor.as_bytes())])?;
        self.reload()
    }

    /// One subscriber.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn get(&self, aor: &str) -> Result<Option<Subscriber>, Error> {
        let value = self.store.get(Subscriber::SPACE, aor.as_bytes())?;
        Ok(value.and_then(|value| Subscriber::read(&value).ok()))
    }

    /// All subscribers, by address of record.
    pub fn all(&self) -> Vec<(&str, &Subscriber)> {
        let mut all: Vec<_> =
            self.known.values().map(|(aor, subscriber)| (aor.as_str(), subscriber)).collect();
        all.sort_unstable_by_key(|(aor, _)| *aor);
        all
    }

    /// Whether a digest response is right. Changes that another process has made to the database count at once.
    pub fn check(&mut self, credential: &Credential) -> Credentials {
        if self.refresh().is_err() {
            return Credentials::Unavailable;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let key = (text(&credential.realm).to_ascii_lowercase(), text(&credential.username));
        let Some((aor, subscriber)) = self.known.get(&key) else { return Credentials::Unknown };
        let right = [(Algorithm::SHA256, &subscriber.ha1_sha256), (Algorithm::MD5, &subscriber.ha1_md5)]
            .into_iter()
            .filter_map(|(algorithm, hex)| Ha1::from_hex(algorithm.hash, hex.as_bytes()))
            .any(|ha1| digest::prove(credential, &ha1));
        if right { Credentials::Accepted(vec![aor.clone()]) } else { Credentials::Wrong }
    }

    fn refresh(&mut self) -> Result<(), Error> {
        let version = self.store.version()?;
        if version != self.version {
            self.version = version;
            self.reload()?;
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
        self.store.commit(&[subscriber.record(aor.as_bytes())])?;
        self.known.insert((realm.to_owned(), user.to_owned()), (aor.to_owned(), subscriber));
        Ok(())
    }

    fn reload(&mut self) -> Result<(), Error> {
        self.known.clear();
        for (aor, value) in self.store.load(Subscriber::SPACE)? {
            if let (Ok(aor), Ok(subscriber)) = (String::from_utf8(aor), Subscriber::read(&value)) {
                let key = (subscriber.realm.clone(), subscriber.username.clone());
                self.known.insert(key, (aor, subscriber));
            }
        }
        Ok(())
    }
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
        assert!(subscribers.all().is_empty());
    }
}
