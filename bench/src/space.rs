//! Network namespaces (network_namespaces(7)), by ip(8).

use anyhow::{Context, Result, bail};
use std::process::Command;

/// A network namespace whose loopback interface is up; it goes away when this is dropped, its interfaces with it.
pub struct Space(String);

impl Space {
    /// Makes one whose name begins so, and is no other process's.
    ///
    /// # Errors
    /// If the kernel refuses, which it does to anybody but root.
    pub fn new(prefix: &str) -> Result<Self> {
        let name = format!("{prefix}{}", std::process::id());
        ip(&["netns", "add", &name])?;
        let space = Self(name);
        space.ip(&["link", "set", "lo", "up"])?;
        Ok(space)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// ip(8) within it.
    ///
    /// # Errors
    /// If it fails, with what it says.
    pub fn ip(&self, args: &[&str]) -> Result<()> {
        ip(&[&["-n", &self.0], args].concat())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // It stays without harm if it cannot be removed.
        let _ = ip(&["netns", "del", &self.0]);
    }
}

/// ip(8).
///
/// # Errors
/// If it fails, with what it says.
pub fn ip(args: &[&str]) -> Result<()> {
    let done = Command::new("ip").args(args).output().context("ip")?;
    if !done.status.success() {
        bail!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(())
}
