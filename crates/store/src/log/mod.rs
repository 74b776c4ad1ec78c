//! An append-only log in front of a [`Store`]: a commit costs one write and one sync.
//!
//! There are two files. One takes commits; the other, once full, is merged into the store by a thread of its own,
//! sorted and each key once, and is then written again from its start. The store remembers in the same transaction
//! which generation of a file it has taken in, so that nothing is merged twice and nothing old comes back.

mod file;
mod frame;

use crate::sqlite::{Error, Store};
use causeway_node::Record;
use file::LogFile;
pub(crate) use frame::Changes;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

/// A file is full at so many bytes: some 45,000 bindings, merged in a fifth of a second.
const CAPACITY: u64 = 16 * 1024 * 1024;

/// A store into which its log has been merged: to be read, and then to be written through the log.
pub struct Logged {
    store: Store,
    current: LogFile,
    other: LogFile,
    capacity: u64,
}

impl Logged {
    /// Opens the log of a store, the files `NAME-log0` and `NAME-log1` beside its own, and merges what a program that
    /// died has left in them.
    ///
    /// # Errors
    /// If the files cannot be opened or belong to a process that lives, or merging fails.
    pub fn open(store: Store) -> Result<Self, Error> {
        Self::with_capacity(store, CAPACITY)
    }

    fn with_capacity(mut store: Store, capacity: u64) -> Result<Self, Error> {
        let path = store.path().to_owned();
        let open = |number| LogFile::open(&path, number, store.is_synced());
        let files = open(0).and_then(|first| Ok([first, open(1)?]));
        let left = files.and_then(|files| Ok((files[0].read()?, files[1].read()?, files)));
        let (first, second, [mut current, other]) =
            left.map_err(|source| Error::Log { path: path.clone(), source })?;
        let mut merged = store.merged()?;
        let mut left = [first, second];
        left.sort_by_key(|bytes| frame::generation(bytes));
        for bytes in &left {
            if let Some(generation) = frame::generation(bytes).filter(|found| *found > merged) {
                store.merge(generation, &frame::last_of_each(generation, bytes))?;
                merged = generation;
            }
        }
        current.begin(merged + 1);
        Ok(Self { store, current, other, capacity })
    }

    /// The store, to be read.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Goes over to writing.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(self) -> Result<Log, Error> {
        let path = self.store.path().to_owned();
        let merger = Merger::start(self.store, path.clone(), self.other);
        let merger = merger.map_err(|source| Error::Log { path, source })?;
        Ok(Log { current: self.current, capacity: self.capacity, merger, frame: Vec::new() })
    }
}

/// A store whose commits go to a log first.
pub struct Log {
    /// The file that takes commits; the merger has the other one.
    current: LogFile,
    capacity: u64,
    merger: Merger,
    /// A batch as it is written, kept for its room.
    frame: Vec<u8>,
}

impl Log {
    /// Writes all records and returns once they are on disk; a store opened by [`Store::open_unsynced`] once the
    /// system has them. Waits for the merging thread if both files are full.
    ///
    /// # Errors
    /// If anything fails; then none of the records counts, and nothing more must be committed.
    pub fn commit(&mut self, records: &[Record]) -> Result<(), Error> {
        if self.current.len() >= self.capacity {
            let next = self.merger.next_file()?;
            let generation = self.current.generation();
            self.merger.merge(std::mem::replace(&mut self.current, next));
            self.current.begin(generation + 1);
        }
        self.frame.clear();
        frame::write(self.current.generation(), self.current.batches(), records, &mut self.frame);
        let path = &self.merger.path;
        self.current.append(&self.frame).map_err(|source| Error::Log { path: path.clone(), source })
    }
}

impl Drop for Log {
    /// What the log holds is merged, so that the store alone is complete after an orderly end.
    fn drop(&mut self) {
        if let Ok(next) = self.merger.next_file() {
            self.merger.merge(std::mem::replace(&mut self.current, next));
        }
        self.merger.end();
    }
}

/// The thread that owns the store, and takes full files in.
struct Merger {
    path: PathBuf,
    full: Option<Sender<LogFile>>,
    empty: Receiver<Result<LogFile, Error>>,
    thread: Option<JoinHandle<()>>,
}

impl Merger {
    /// A merger that has one empty file to give.
    fn start(mut store: Store, path: PathBuf, other: LogFile) -> std::io::Result<Self> {
        let (full, files) = channel::<LogFile>();
        let (back, empty) = channel();
        // We hold the other end.
        let _ = back.send(Ok(other));
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let at = path.clone();
        let thread = thread::Builder::new().name(format!("{name}-merge")).spawn(move || {
            for mut file in files {
                let merged = merge(&mut store, &mut file, &at).map(|()| file);
                let failed = merged.is_err();
                // A writer that is gone wants no file.
                let _ = back.send(merged);
                if failed {
                    break;
                }
            }
        })?;
        Ok(Self { path, full: Some(full), empty, thread: Some(thread) })
    }

    /// A file whose content is in the store; waits for it.
    fn next_file(&self) -> Result<LogFile, Error> {
        let gone = || Error::Log { path: self.path.clone(), source: std::io::ErrorKind::BrokenPipe.into() };
        self.empty.recv().map_err(|_| gone())?
    }

    fn merge(&self, file: LogFile) {
        if let Some(full) = &self.full {
            // A thread that is gone has left its error for `next_file`.
            let _ = full.send(file);
        }
    }

    fn end(&mut self) {
        self.full = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("merging into {} has panicked; the next start repeats it", self.path.display());
        }
        for failed in self.empty.try_iter().filter_map(Result::err) {
            tracing::error!("{failed}; the next start merges it");
        }
    }
}

fn merge(store: &mut Store, file: &mut LogFile, path: &Path) -> Result<(), Error> {
    let bytes = file.read().map_err(|source| Error::Log { path: path.to_owned(), source })?;
    let generation = file.generation();
    store.merge(generation, &frame::last_of_each(generation, &bytes))
}

#[cfg(test)]
mod tests;
