//! Journals that others read: lines appended to a file, by a thread of its own.

use causeway_node::Status;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that may wait for the disk; lines beyond are dropped, counted and warned of.
const WAITING: usize = 16 * 1024 * 1024;

/// A file that lines are appended to: what a node says by [`causeway_node::Outbox::line`]. Clones write to the same
/// file, each line whole.
///
/// A line is on its way to the disk within moments, but nobody waits for it: a power cut may lose the last ones. A
/// line that cannot be written is lost; that is an error in the log and in the status.
#[derive(Clone)]
pub struct LineLog {
    shared: Arc<Shared>,
    orders: Sender<Order>,
}

struct Shared {
    path: PathBuf,
    waiting: AtomicUsize,
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    /// Why the last write failed; empty if it did not.
    fault: Mutex<String>,
}

enum Order {
    Line(String),
    Reopen(Sender<Result<(), String>>),
    Flush(Sender<()>),
}

impl LineLog {
    /// Opens the file to append to it; made if it is missing, readable by its owner alone.
    ///
    /// # Errors
    /// If it cannot be opened, or no thread started.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = append_to(path)?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            waiting: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            fault: Mutex::default(),
        });
        let (orders, receiver) = channel();
        let writer =
            Writer { shared: Arc::clone(&shared), file: BufWriter::new(file), unflushed: 0, torn: false };
        thread::Builder::new().name("journal".into()).spawn(move || writer.run(&receiver))?;
        Ok(Self { shared, orders })
    }

    /// Appends a line. Line ends within it become blanks.
    pub fn append(&self, line: &str) {
        if self.shared.waiting.load(Ordering::Relaxed) + weight(line) > WAITING {
            let dropped = self.shared.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                let path = self.shared.path.display();
                tracing::warn!("{path}: the disk is too slow, {dropped} lines are lost so far");
            }
            return;
        }
        self.shared.waiting.fetch_add(weight(line), Ordering::Relaxed);
        // A thread that is gone has panicked, which the log says; the line counts as lost.
        if self.orders.send(Order::Line(line.replace(['\r', '\n'], " "))).is_err() {
            self.shared.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Closes the file and opens what now has its name: after somebody has moved it away. What was said before
    /// is in the old one.
    ///
    /// # Errors
    /// If it cannot be opened; then lines go on into the old file.
    pub fn reopen(&self) -> Result<(), String> {
        let (reply, answer) = channel();
        self.ask(Order::Reopen(reply));
        answer.recv().unwrap_or_else(|_| Err("its thread is gone".to_owned()))
    }

    /// Waits, for a while, until everything said before has been written.
    pub fn flush(&self, timeout: Duration) {
        let (reply, answer) = channel();
        self.ask(Order::Flush(reply));
        if let Err(RecvTimeoutError::Timeout) = answer.recv_timeout(timeout) {
            tracing::error!("{}: the last lines are not written yet", self.shared.path.display());
        }
    }

    /// `{"file": path, "written": lines, "dropped": lines, "failed": lines, "fault": why or null}`.
    pub fn status(&self) -> Status {
        let fault = self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({
            "file": self.shared.path.display().to_string(),
            "written": self.written(),
            "dropped": self.shared.dropped.load(Ordering::Relaxed),
            "failed": self.shared.failed.load(Ordering::Relaxed),
            "fault": (!fault.is_empty()).then_some(fault),
        })
    }

    /// Lines written so far.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Lines lost so far: dropped for want of room, or not written.
    pub fn lost(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed) + self.shared.failed.load(Ordering::Relaxed)
    }

    fn ask(&self, order: Order) {
        // The answer's channel tells if nobody took it.
        let _ = self.orders.send(order);
    }
}

/// What a waiting line counts: itself, and what holds it.
fn weight(line: &str) -> usize {
    line.len() + 64
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The writing side.
struct Writer {
    shared: Arc<Shared>,
    file: BufWriter<File>,
    /// Lines in the buffer.
    unflushed: u64,
    /// The file may end within a line.
    torn: bool,
}

impl Writer {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            // What is there goes out together, and nothing waits for more.
            let order = match orders.try_recv() {
                Ok(order) => order,
                Err(TryRecvError::Disconnected) => return self.flush(),
                Err(TryRecvError::Empty) => {
                    self.flush();
                    match orders.recv() {
                        Ok(order) => order,
                        Err(_) => return,
                    }
                }
            };
            match order {
                Order::Line(line) => self.write(&line),
                Order::Reopen(reply) => {
                    self.flush();
                    let _ = reply.send(self.reopen());
                }
                Order::Flush(reply) => {
                    self.flush();
                    let _ = reply.send(());
                }
            }
        }
    }

    fn write(&mut self, line: &str) {
        self.shared.waiting.fetch_sub(weight(line), Ordering::Relaxed);
        self.unflushed += 1;
        let before: &[u8] = if std::mem::take(&mut self.torn) { b"\n" } else { b"" };
        let parts = [before, line.as_bytes(), b"\n"];
        let written = parts.iter().try_for_each(|part| self.file.write_all(part));
        if let Err(error) = written {
            self.fail(&error);
        }
    }

    fn flush(&mut self) {
        if self.unflushed == 0 {
            return;
        }
        match self.file.flush() {
            Ok(()) => {
                self.shared.written.fetch_add(self.unflushed, Ordering::Relaxed);
                self.unflushed = 0;
                self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            Err(error) => self.fail(&error),
        }
    }

    fn reopen(&mut self) -> Result<(), String> {
        match append_to(&self.shared.path) {
            Ok(file) => {
                self.file = BufWriter::new(file);
                Ok(())
            }
            Err(error) => Err(format!("{}: {error}", self.shared.path.display())),
        }
    }

    /// What is in the buffer is lost: repeating it might write parts twice, and would hold up what follows.
    fn fail(&mut self, error: &io::Error) {
        let before = self.shared.failed.fetch_add(self.unflushed, Ordering::Relaxed);
        let all = before + self.unflushed;
        self.unflushed = 0;
        self.torn = true;
        let path = self.shared.path.display();
        // Not for each line: the disk that is full is full of such lines.
        if before == 0 || before.ilog2() != all.ilog2() {
            tracing::error!("{path}: cannot be written, {all} lines are lost so far: {error}");
        }
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
        if let Ok(file) = self.file.get_ref().try_clone() {
            // Dropping a buffer writes it; this one is thrown away.
            let (_, _) = std::mem::replace(&mut self.file, BufWriter::new(file)).into_parts();
        }
    }
}
