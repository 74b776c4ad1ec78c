//! Processes that end with their owner, and the program under test.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A process that ends with its owner: by SIGTERM, and if that does not help within five seconds, by SIGKILL.
pub struct Process(Child);

impl Process {
    /// Starts a command.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Result<Self> {
        let shown = command.get_program().to_string_lossy().into_owned();
        command.spawn().map(Self).with_context(|| format!("cannot start {shown}"))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Waits for its end; says whether it ended well.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn wait(&mut self, patience: Duration) -> Result<bool> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status.success());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("a process did not end within {} s", patience.as_secs())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        // Kamailio's main process ends its children only if it is asked to.
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        if asked.is_err() || self.wait(Duration::from_secs(5)).is_err() {
            // It may have ended by itself.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// The program, built beside this benchmark.
///
/// # Errors
/// If it has not been built.
pub fn program() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let program = here.with_file_name("causeway");
    if !program.exists() {
        bail!("{} is not there: cargo build --release --package causeway", program.display());
    }
    Ok(program)
}
