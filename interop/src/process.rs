//! Programs under test: started on a host, watched line by line, ended with the lab.

use crate::lab::{Host, Lab};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that a lab machine does in well under a second, other work on it included.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    changed: Condvar,
}

#[derive(Default)]
struct Lines {
    text: Vec<String>,
    /// Output streams that have ended.
    ended: u8,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a program's output: what came before it does not count any more.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(usize);

impl Process {
    /// Starts a program on a host; all that it prints goes to `NAME.log` in `dir`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(
        lab: &Lab,
        host: Host,
        dir: &Path,
        name: &str,
        program: &str,
        args: &[&str],
    ) -> Result<Self> {
        let mut command = lab.on(host, program);
        command.args(args);
        Self::spawn(command, dir, name)
    }

    /// The same with a command that is made already.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(mut command: Command, dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(format!("{name}.log"));
        let file = Arc::new(Mutex::new(File::create(&path).with_context(|| path.display().to_string())?));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let log = Arc::new(Log::default());
        copy(child.stdout.take(), &log, &file);
        copy(child.stderr.take(), &log, &file);
        let stdin = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, stdin, log })
    }

    /// What comes from here on.
    pub fn mark(&self) -> Mark {
        Mark(self.log.lock().text.len())
    }

    /// Everything printed so far.
    pub fn printed(&self) -> Vec<String> {
        self.log.lock().text.clone()
    }

    /// What was printed since `mark`.
    pub fn printed_since(&self, mark: Mark) -> Vec<String> {
        self.log.lock().text.iter().skip(mark.0).cloned().collect()
    }

    /// Whether a line with `what` was printed since `mark`.
    pub fn has(&self, what: &str, mark: Mark) -> bool {
        self.log.lock().text.iter().skip(mark.0).any(|line| line.contains(what))
    }

    /// Waits for a line with `what`, printed after `mark`, and returns it.
    ///
    /// # Errors
    /// If it does not come in time, or the program ends first.
    pub fn wait(&self, what: &str, mark: Mark, patience: Duration) -> Result<String> {
        let until = Instant::now() + patience;
        let mut lines = self.log.lock();
        let mut seen = mark.0;
        loop {
            if let Some(line) = lines.text.iter().skip(seen).find(|line| line.contains(what)) {
                return Ok(line.clone());
            }
            seen = lines.text.len();
            if lines.ended == 2 {
                bail!("{} has ended before it printed `{what}`", self.name);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{} did not print `{what}` within {} s", self.name, patience.as_secs());
            }
            lines = self.log.changed.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Types a line.
    ///
    /// # Errors
    /// If the program does not read any more.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        self.type_text(&format!("{line}\n"))
    }

    /// Types something without ending the line.
    ///
    /// # Errors
    /// If the program does not read any more.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        stdin
            .write_all(text.as_bytes())
            .and_then(|()| stdin.flush())
            .with_context(|| format!("typing `{}` to {}", text.trim_end(), self.name))
    }

    /// Its process id: `ip netns exec` becomes the program that it starts.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end by SIGTERM, and waits for that.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        signal(self.pid(), "-TERM");
        self.exit(patience).context("after SIGTERM")
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn exit(&mut self, patience: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("{} did not end within {} s", self.name, patience.as_secs());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if self.terminate(Duration::from_secs(1)).is_err() {
            // It may have ended between the two; what matters is that it is gone.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Sends a signal; a process that is gone is as good.
pub fn signal(pid: u32, signal: &str) {
    let _ = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Copies an output stream into the log, line by line.
fn copy(stream: Option<impl Read + Send + 'static>, log: &Arc<Log>, file: &Arc<Mutex<File>>) {
    let (log, file) = (Arc::clone(log), Arc::clone(file));
    thread::spawn(move || {
        let mut partial = Vec::new();
        let mut buffer = [0; 4096];
        let mut stream = stream;
        while let Some(got) =
            stream.as_mut().and_then(|stream| stream.read(&mut buffer).ok()).filter(|n| *n > 0)
        {
            let bytes = buffer.get(..got).unwrap_or_default();
            // A log that cannot be written must not stop what is under test.
            let _ = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes);
            partial.extend_from_slice(bytes);
            while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = partial.drain(..=end).collect();
                log.lock().text.push(plain(&line));
                log.changed.notify_all();
            }
        }
        log.lock().ended += 1;
        log.changed.notify_all();
    });
}

/// A line without what terminals do with it: what was overwritten after a carriage return is left out.
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim_end().rsplit('\r').next().unwrap_or_default().to_owned()
}

/// The last lines of every log in a folder, for the report of a failure.
pub fn tails(dir: &Path, lines: usize) -> Vec<(PathBuf, Vec<String>)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut logs: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ext| ext == "log")).collect();
    logs.sort();
    logs.into_iter()
        .map(|path| {
            let text = std::fs::read(&path).unwrap_or_default();
            let all: Vec<String> =
                text.split(|byte| *byte == b'\n').map(plain).filter(|l| !l.is_empty()).collect();
            let tail = all.get(all.len().saturating_sub(lines)..).unwrap_or_default().to_vec();
            (path, tail)
        })
        .collect()
}

/// Asks again and again until the answer is yes.
///
/// # Errors
/// If it is not in time: the last reason why not.
pub fn until<T>(patience: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + patience;
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() > end => {
                return Err(error.context(format!("still so after {} s", patience.as_secs())));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}
