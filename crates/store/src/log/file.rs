//! One file of the log.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// A file grows by so many bytes at a time, in zeros: while its length stays the same, a sync writes data alone and
/// no change of the file system's own records.
const STEP: u64 = 64 * 1024;

/// A file that is written from its start to its end, again and again; each time is a generation.
pub(super) struct LogFile {
    file: File,
    synced: bool,
    generation: u64,
    batches: u64,
    /// Where the next batch begins.
    len: u64,
    /// How long the file is.
    size: u64,
}

impl LogFile {
    /// Opens or creates the file beside the store's, for its owner alone, and keeps other processes away from it.
    pub fn open(store: &Path, number: u8, synced: bool) -> io::Result<Self> {
        let mut name = store.as_os_str().to_owned();
        name.push(format!("-log{number}"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&name)?;
        file.try_lock().map_err(|_| {
            let text = format!("{} belongs to another process", name.display());
            io::Error::new(io::ErrorKind::WouldBlock, text)
        })?;
        let size = file.metadata()?.len();
        Ok(Self { file, synced, generation: 0, batches: 0, len: 0, size })
    }

    /// Starts it anew.
    pub fn begin(&mut self, generation: u64) {
        (self.generation, self.batches, self.len) = (generation, 0, 0);
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Batches of this generation so far.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Bytes of this generation so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Adds a batch and waits until it is on disk.
    pub fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        let end = self.len + batch.len() as u64;
        if end > self.size {
            let size = end.next_multiple_of(STEP);
            let mut padded = batch.to_vec();
            padded.resize(usize::try_from(size - self.len).unwrap_or(batch.len()), 0);
            self.file.write_all_at(&padded, self.len)?;
            self.size = size;
        } else {
            self.file.write_all_at(batch, self.len)?;
        }
        if self.synced {
            self.file.sync_data()?;
        }
        self.len = end;
        self.batches += 1;
        Ok(())
    }

    /// All that the file holds, older generations included.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}
