//! Subscribers for a benchmark, written straight into the database.

use crate::server::DOMAIN;
use anyhow::Result;
use causeway_node::Record;
use causeway_sip::digest::{Algorithm, Ha1};
use causeway_store::Store;
use causeway_store::record::{Kind, Subscriber};
use std::path::Path;

/// Records in one commit: more would only need more memory.
const BATCH: usize = 10_000;

/// Subscribers `u0` to `u<users-1>` of the domain, with the password `secret`.
pub fn write(folder: &Path, users: usize) -> Result<()> {
    commit(&mut Store::open(folder, "subscribers.db")?, (0..users).map(subscriber))
}

/// Writes many records.
pub fn commit(store: &mut Store, records: impl Iterator<Item = Record>) -> Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    for record in records {
        batch.push(record);
        if batch.len() == BATCH {
            store.commit(&batch)?;
            batch.clear();
        }
    }
    store.commit(&batch)?;
    Ok(())
}

fn subscriber(number: usize) -> Record {
    let username = format!("u{number}");
    let ha1 = |algorithm| {
        let ha1 = Ha1::new(algorithm, username.as_bytes(), DOMAIN.as_bytes(), b"secret");
        String::from_utf8_lossy(ha1.expose_hex()).into_owned()
    };
    let subscriber = Subscriber {
        ha1_md5: ha1(Algorithm::MD5),
        ha1_sha256: ha1(Algorithm::SHA256),
        realm: DOMAIN.to_owned(),
        created: 0,
        username: username.clone(),
    };
    subscriber.record(format!("sip:{username}@{DOMAIN}").as_bytes())
}
