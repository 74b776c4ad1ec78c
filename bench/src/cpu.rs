//! The exact run time and the memory of a process and its children.

use anyhow::{Context, Result};
use std::fs;

/// Nanoseconds that all threads of a process have run (the first field of schedstat; tick accounting is
/// wrong for programs that wake on millisecond boundaries). Threads that have ended do not count.
///
/// # Errors
/// If there is no such process.
pub fn nanos(pid: u32) -> Result<u64> {
    let folder = format!("/proc/{pid}/task");
    let mut sum = 0;
    for task in fs::read_dir(&folder).with_context(|| folder.clone())? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().context("empty schedstat")?.parse::<u64>()?;
    }
    Ok(sum)
}

/// A process and all that it has forked, directly or not.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn family(pid: u32) -> Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(child) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        // It may have ended since.
        let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let parent = after.split_whitespace().nth(1).and_then(|text| text.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (child, parent)));
    }
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, its)| *its == parent).map(|(child, _)| *child));
        next += 1;
    }
    Ok(found)
}

/// Nanoseconds that a process and its children have run.
///
/// # Errors
/// If one of them has ended.
pub fn family_nanos(pid: u32) -> Result<u64> {
    family(pid)?.into_iter().map(nanos).sum()
}

/// Resident bytes of a process and its children; what they share counts once (the sum of their proportional
/// set sizes).
///
/// # Errors
/// If one of them has ended.
pub fn family_memory(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for pid in family(pid)? {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
        sum += line.split_whitespace().next().context("no Pss")?.parse::<u64>()? * 1024;
    }
    Ok(sum)
}
