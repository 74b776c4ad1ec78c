//! Records in a SQLite file.

use crate::log::Changes;
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
    /// The log in front of the store cannot be opened, read or written.
    #[error("the log of {path} failed: {source}; check its disk and its permissions", path = path.display())]
    Log {
        /// The file of the store.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A key and its value.
pub type Stored = (Vec<u8>, Vec<u8>);

/// Records of a space, one after the other; a page of them is in memory at a time.
pub struct Rows<'a> {
    store: &'a Store,
    space: &'a str,
    page: std::vec::IntoIter<Stored>,
    after: Option<Vec<u8>>,
    done: bool,
}

/// A write-ahead log that may grow to 32 MiB before it is merged into the file: a page that changes often is merged
/// once. A cache of up to 32 MiB, so that replacing a record reads nothing. Both save a third of the processor time
/// that a stored binding costs (`benches/commit.rs`).
const MANNERS: &str =
    "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 8000; PRAGMA cache_size = -32000";

/// Records that are read at once.
const PAGE: usize = 1000;

impl Iterator for Rows<'_> {
    type Item = Result<Stored, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 && !self.done {
            match self.store.page(self.space, self.after.as_deref()) {
                Ok(page) => {
                    self.done = page.len() < PAGE;
                    self.after = page.last().map(|(key, _)| key.clone());
                    self.page = page.into_iter();
                }
                Err(error) => {
                    self.done = true;
                    return Some(Err(error));
                }
            }
        }
        self.page.next().map(Ok)
    }
}

/// One database file, or one in memory.
pub struct Store {
    db: Connection,
    path: PathBuf,
    synced: bool,
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
            .and_then(|()| db.execute_batch(MANNERS))
            .and_then(|()| db.pragma_update(None, "synchronous", synchronous))
            .and_then(|()| migrate(&mut db));
        match ready {
            Ok(Ok(())) => Ok(Self { db, path, synced: synchronous == "FULL" }),
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

    /// Hands over every record of a space, by key, without a second copy of them all.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn for_each(&self, space: &str, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), Error> {
        self.read(|db| {
            let mut all = db.prepare_cached("SELECT key, value FROM record WHERE space = ? ORDER BY key")?;
            let mut rows = all.query([space])?;
            while let Some(row) = rows.next()? {
                each(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            }
            Ok(())
        })
    }

    /// The records of a space, by key, read as they are taken: for those who want to own them.
    pub fn rows<'a>(&'a self, space: &'a str) -> Rows<'a> {
        Rows { store: self, space, page: Vec::new().into_iter(), after: None, done: false }
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
        let changes = records.iter().map(|record| Change {
            space: record.space,
            key: &record.key,
            value: record.value.as_deref(),
        });
        write(&mut self.db, changes, None).map_err(|source| Error::Database { path: path.clone(), source })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what was committed survives a power cut.
    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    /// The last generation of the log that is in the store.
    pub(crate) fn merged(&self) -> Result<u64, Error> {
        self.read(|db| db.query_row("SELECT merged FROM log", [], |row| row.get::<_, i64>(0)))
            .map(|generation| generation.cast_unsigned())
    }

    /// Takes in one generation of the log, in one transaction.
    pub(crate) fn merge(&mut self, generation: u64, changes: &Changes<'_>) -> Result<(), Error> {
        let changes = changes.iter().map(|((space, key), value)| Change { space, key, value: *value });
        write(&mut self.db, changes, Some(generation))
            .map_err(|source| Error::Database { path: self.path.clone(), source })
    }

    /// The next records of a space after a key.
    fn page(&self, space: &str, after: Option<&[u8]>) -> Result<Vec<Stored>, Error> {
        const SELECT: &str =
            "SELECT key, value FROM record WHERE space = ?1 AND key > ?2 ORDER BY key LIMIT ?3";
        // No key is shorter than the empty one, which may be there.
        const FIRST: &str =
            "SELECT key, value FROM record WHERE space = ?1 AND key >= ?2 ORDER BY key LIMIT ?3";
        self.read(|db| {
            let mut page = db.prepare_cached(if after.is_some() { SELECT } else { FIRST })?;
            page.query_map(params![space, after.unwrap_or_default(), PAGE as i64], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect()
        })
    }

    fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, Error> {
        query(&self.db).map_err(|source| Error::Database { path: self.path.clone(), source })
    }
}

/// A record, borrowed.
pub(crate) struct Change<'a> {
    pub space: &'a str,
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// One transaction, in which `merged` is the generation of the log that is taken in.
fn write<'a>(
    db: &mut Connection,
    changes: impl Iterator<Item = Change<'a>>,
    merged: Option<u64>,
) -> rusqlite::Result<()> {
    let all = db.transaction()?;
    {
        let mut put = all.prepare_cached(
            "INSERT INTO record (space, key, value) VALUES (?, ?, ?)
             ON CONFLICT (space, key) DO UPDATE SET value = excluded.value",
        )?;
        let mut remove = all.prepare_cached("DELETE FROM record WHERE space = ? AND key = ?")?;
        for Change { space, key, value } in changes {
            match value {
                Some(value) => put.execute(params![space, key, value])?,
                None => remove.execute(params![space, key])?,
            };
        }
    }
    if let Some(generation) = merged {
        all.execute("UPDATE log SET merged = ?", [generation.cast_signed()])?;
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
    fn all_ways_of_reading_a_space_agree() {
        let mut store = Store::in_memory().unwrap();
        let keys = (0..2500).map(|n| format!("{n:04}")).chain([String::new()]);
        let records: Vec<Record> = keys.map(|key| put("a", &key, &format!("v{key}"))).collect();
        store.commit(&records).unwrap();
        store.commit(&[put("b", "1", "y")]).unwrap();
        let all = store.load("a").unwrap();
        assert_eq!((all.len(), all[0].0.len()), (2501, 0));
        let mut each = Vec::new();
        store.for_each("a", |key, value| each.push((key.to_vec(), value.to_vec()))).unwrap();
        assert_eq!(each, all);
        assert_eq!(store.rows("a").collect::<Result<Vec<_>, _>>().unwrap(), all);
        assert_eq!(store.rows("none").count(), 0);
    }

    #[test]
    fn without_syncing_what_was_committed_is_there_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open_unsynced(dir.path(), "state.db").unwrap();
        let synchronous = |store: &Store| -> i64 {
            store.db.query_row("PRAGMA synchronous", [], |row| row.get(0)).unwrap()
        };
        // 1 is NORMAL, 2 is FULL: https://sqlite.org/pragma.html#pragma_synchronous
        assert_eq!(synchronous(&store), 1);
        store.commit(&[put("a", "1", "x")]).unwrap();
        drop(store);
        let store = Store::open(dir.path(), "state.db").unwrap();
        assert_eq!(synchronous(&store), 2);
        assert_eq!(store.load("a").unwrap(), [(b"1".to_vec(), b"x".to_vec())]);
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
    fn an_older_file_is_brought_up_to_date() {
        let dir = tempfile::tempdir().unwrap();
        let old = Connection::open(dir.path().join("state.db")).unwrap();
        old.execute_batch(
            "CREATE TABLE record (space TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
                                  PRIMARY KEY (space, key)) WITHOUT ROWID;
             INSERT INTO record VALUES ('a', x'31', x'78');
             PRAGMA user_version = 1",
        )
        .unwrap();
        drop(old);
        let store = Store::open(dir.path(), "state.db").unwrap();
        assert_eq!(store.load("a").unwrap(), [(b"1".to_vec(), b"x".to_vec())]);
        assert_eq!(store.merged().unwrap(), 0);
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
