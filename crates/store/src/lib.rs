//! Durable records: one interface, SQLite behind it.
//!
//! A role never writes to disk. It puts a [`Record`](causeway_node::Record) into its outbox; the driver hands
//! all records of a batch to [`Store::commit`], which writes them in one transaction and returns once they
//! are on disk; only then do the outputs leave that promised something. At start a role is given what
//! [`Store::load`] finds.
//!
//! ```
//! use causeway_node::Record;
//! use causeway_store::Store;
//!
//! let mut store = Store::in_memory()?;
//! let put = |key: &[u8], value: &[u8]| Record { space: "binding", key: key.to_vec(), value: Some(value.to_vec()) };
//! store.commit(&[put(b"alice", b"1"), put(b"bob", b"2")])?;
//! store.commit(&[Record { space: "binding", key: b"alice".to_vec(), value: None }])?;
//! assert_eq!(store.load("binding")?, [(b"bob".to_vec(), b"2".to_vec())]);
//! # Ok::<(), causeway_store::Error>(())
//! ```
//!
//! The tables know only spaces, keys and values; what a value means is said by the types in [`record`],
//! which are JSON on disk, so that a field can be added without rewriting anything. A schema version is kept
//! in the file: an older file is migrated when it is opened, a newer one is refused.

//!
//! Where much is committed, a [`Log`] stands in front of the store: a commit is then an append to a file, and the store
//! takes in many of them at once:
//!
//! ```
//! # use causeway_node::Record;
//! # use causeway_store::{Logged, Store};
//! # let dir = tempfile::tempdir()?;
//! # let dir = dir.path();
//! let logged = Logged::open(Store::open(dir, "exchange.db")?)?;
//! assert_eq!(logged.store().load("binding")?, []);
//! let mut log = logged.start()?;
//! log.commit(&[Record { space: "binding", key: b"alice".to_vec(), value: Some(b"1".to_vec()) }])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod log;
mod migrate;
pub mod record;
mod sqlite;
mod text;

pub use log::{Log, Logged};
pub use sqlite::{Error, Rows, Store, Stored};
