//! The exact run time of a process.

use anyhow::{Context, Result};
use std::fs;

/// Nanoseconds that all threads of a process have run (the first field of schedstat; tick accounting is
/// wrong for programs that wake on millisecond boundaries).
pub fn nanos(pid: u32) -> Result<u64> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in fs::read_dir(&folder).with_context(|| folder.clone())? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().context("empty schedstat")?.parse::<u64>()?;
    }
    Ok(sum)
}
