//! Records in a SQLite file.

use crate::migrate::{VERSION, migrate};
use causeway_node::Record;
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or read, or a write failed.
    #[error("the database {path} failed: {source}; check its disk and its permissions", path = path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The file was written by a newer program.
    #[error("the database {path} has schema version {found}, this program knows up to {VERSION}; use the newer program", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: usize,
    },
}

/// A key and its value.
pub type Stored = (Vec<u8>, Vec<u8>);

/// One database file, or one in memory.
pub struct Store {
    db: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens or creates the file `name` in the directory `dir`, which must exist, readable by its owner only.
    ///
    /// Writes go through a write-ahead log that is synced at each commit: what was committed survives the
    /// death of the process and of the machine.
    ///
    /// # Errors
    /// If the file cannot be opened, or is newer than this program.
    pub fn open(dir: &Path, name: &str) -> Result<Self, Error> {
        Self::open_with(dir, name, "FULL")
    }

    /// The same without syncing at each commit: what was committed survives the death of the process, but a power
    /// cut may take the last commits with it, whole ones and in order. The file is never damaged.
    ///
    /// # Errors
    /// If the file cannot be opened, or is newer than this program.
    pub fn open_unsynced(dir: &Path, name: &str) -> Result<Self, Error> {
        Self::open_with(dir, name, "NORMAL")
    }

    fn open_with(dir: &Path, name: &str, synchronous: &str) -> Result<Self, Error> {
        let path = dir.join(name);
        let db = Connection::open(&path).map_err(|source| Error::Database { path: path.clone(), source })?;
        restrict(&path);
        Self::prepare(db, path, synchronous)
    }

    /// A store that is gone with the process.
    ///
    /// # Errors
    /// If SQLite cannot start.
    pub fn in_memory() -> Result<Self, Error> {
        let path = PathBuf::from(":memory:");
        let db =
            Connection::open_in_memory().map_err(|source| Error::Database { path: path.clone(), source })?;
        Self::prepare(db, path, "OFF")
    }

    fn prepare(mut db: Connection, path: PathBuf, synchronous: &str) -> Result<Self, Error> {
        let ready = db
            .busy_timeout(Duration::from_secs(10))
            .and_then(|()| db.execute_batch("PRAGMA journal_mode = WAL"))
            .and_then(|()| db.pragma_update(None, "synchronous", synchronous))
            .and_then(|()| migrate(&mut db));
        match ready {
            Ok(Ok(())) => Ok(Self { db, path }),
            Ok(Err(found)) => Err(Error::Newer { path, found }),
            Err(source) => Err(Error::Database { path, source }),
        }
    }

    /// All records of a space, by key.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(&self, space: &str) -> Result<Vec<Stored>, Error> {
        self.read(|db| {
            db.prepare_cached("SELECT key, value FROM record WHERE space = ? ORDER BY key")?
                .query_map([space], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
    }

    /// One record.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn get(&self, space: &str, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.read(|db| {
            let mut found = db.prepare_cached("SELECT value FROM record WHERE space = ? AND key = ?")?;
            let mut rows = found.query(params![space, key])?;
            rows.next()?.map(|row| row.get(0)).transpose()
        })
    }

    /// A number that changes when somebody else has written to the file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn version(&self) -> Result<i64, Error> {
        self.read(|db| db.query_row("PRAGMA data_version", [], |row| row.get(0)))
    }

    /// Writes all records in one transaction and returns once it is on disk.
    ///
    /// # Errors
    /// If anything fails; then none of the records is written.
    pub fn commit(&mut self, records: &[Record]) -> Result<(), Error> {
        let path = &self.path;
        write(&mut self.db, records).map_err(|source| Error::Database { path: path.clone(), source })
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        query(&self.db).map_err(|source| Error::Database { path: self.path.clone(), source })
    }
}

fn write(db: &mut Connection, records: &[Record]) -> rusqlite::Result<()> {
    let all = db.transaction()?;
    for record in records {
        match &record.value {
            Some(value) => all
                .prepare_cached("INSERT OR REPLACE INTO record (space, key, value) VALUES (?, ?, ?)")?
                .execute(params![record.space, record.key, value])?,
            None => all
                .prepare_cached("DELETE FROM record WHERE space = ? AND key = ?")?
                .execute(params![record.space, record.key])?,
        };
    }
    all.commit()
}

/// Only the owner may read the file; where the file system knows no permissions, its directory protects it.
fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Err(error) = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)) {
        tracing::warn!("cannot restrict access to {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(space: &'static str, key: &str, value: &str) -> Record {
        Record { space, key: key.into(), value: Some(value.into()) }
    }

    #[test]
    fn what_was_committed_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), "state.db").unwrap();
        store.commit(&[put("a", "1", "x"), put("b", "1", "y"), put("a", "1", "z")]).unwrap();
        drop(store);
        let store = Store::open(dir.path(), "state.db").unwrap();
        assert_eq!(store.load("a").unwrap(), [(b"1".to_vec(), b"z".to_vec())]);
        assert_eq!(store.get("b", b"1").unwrap().as_deref(), Some(&b"y"[..]));
        assert_eq!(store.get("b", b"2").unwrap(), None);
    }

    #[test]
    fn another_writer_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let mine = Store::open(dir.path(), "state.db").unwrap();
        let mut theirs = Store::open(dir.path(), "state.db").unwrap();
        let before = mine.version().unwrap();
        theirs.commit(&[put("a", "1", "x")]).unwrap();
        assert_ne!(mine.version().unwrap(), before);
    }

    #[test]
    fn a_newer_file_is_refused_by_name_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), "state.db").unwrap();
        store.db.pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        let error = Store::open(dir.path(), "state.db").err().unwrap().to_string();
        assert!(error.contains("state.db") && error.contains("99"), "{error}");
    }
}
