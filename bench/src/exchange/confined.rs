//! CPU control groups: the load generator shares the machine, so a server gets a fixed part of it.

use anyhow::{Context, Result, ensure};
use causeway_bench::cpu::family;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often threads get their share.
const PERIOD: Duration = Duration::from_millis(10);

/// Has a process, what it has forked, and all their threads run on some of the cores alone, as taskset(1) takes them: who
/// shares a core with a server that is idle most of the time empties its caches, and whether anybody does is chance.
///
/// # Errors
/// If there is no such process or core.
pub fn pin(pid: u32, cores: &str) -> Result<()> {
    for pid in family(pid)? {
        let status = Command::new("taskset")
            .args(["-a", "-c", "-p", cores, &pid.to_string()])
            .stdout(Stdio::null())
            .status()
            .context("taskset")?;
        ensure!(status.success(), "taskset has not moved {pid} to {cores}");
    }
    Ok(())
}

/// A control group that goes away with its owner.
pub struct Group(PathBuf);

fn is_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

impl Group {
    /// Confines a process, what it has forked, and all their threads to a share of one core, in percent of each `period`.
    /// Short ones let it run a little all the time.
    ///
    /// # Errors
    /// If there is no such group to be had: it takes root.
    pub fn confine(pid: u32, percent: u64, period: Duration) -> Result<Self> {
        let root = if is_v2() { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/cpu" };
        let group = Self::make(Path::new(root), pid, percent, period)?;
        for pid in family(pid)? {
            fs::write(group.0.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(group)
    }

    /// Confines each thread of a process that is called so, or so and a number, to a share of its own; the others run
    /// freely.
    ///
    /// # Errors
    /// If there is no such thread or group.
    pub fn confine_threads(pid: u32, name: &str, percent: u64) -> Result<Vec<Self>> {
        // With version 2, threads can be told apart below a group of their process alone.
        let above = is_v2().then(|| Self::above(pid)).transpose()?;
        let mut groups = Vec::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            let comm = fs::read_to_string(task.path().join("comm"))?;
            let number =
                comm.trim_end().strip_prefix(name).map(|rest| rest.strip_prefix('-').unwrap_or(rest));
            if !number.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
                continue;
            }
            let id: u32 = task.file_name().to_string_lossy().parse().context("a thread without a number")?;
            let group = match &above {
                Some(above) => {
                    let group = Self(above.0.join(id.to_string()));
                    fs::create_dir(&group.0)?;
                    fs::write(group.0.join("cgroup.type"), "threaded")?;
                    fs::write(above.0.join("cgroup.subtree_control"), "+cpu")?;
                    group.limit(percent, PERIOD)?;
                    fs::write(group.0.join("cgroup.threads"), id.to_string())?;
                    group
                }
                None => {
                    let group = Self::make(Path::new("/sys/fs/cgroup/cpu"), id, percent, PERIOD)?;
                    fs::write(group.0.join("tasks"), id.to_string())?;
                    group
                }
            };
            groups.push(group);
        }
        ensure!(!groups.is_empty(), "no thread is called {name}");
        // The last to be removed.
        groups.extend(above);
        Ok(groups)
    }

    fn above(pid: u32) -> Result<Self> {
        let above = Self(Path::new("/sys/fs/cgroup").join(format!("causeway-bench-{pid}")));
        fs::create_dir(&above.0).context("no CPU control group can be made; this part needs root")?;
        fs::write(above.0.join("cgroup.procs"), pid.to_string())?;
        Ok(above)
    }

    fn make(root: &Path, id: u32, percent: u64, period: Duration) -> Result<Self> {
        let group = Self(root.join(format!("causeway-bench-{id}")));
        fs::create_dir(&group.0).context("no CPU control group can be made; this part needs root")?;
        group.limit(percent, period)?;
        Ok(group)
    }

    fn limit(&self, percent: u64, period: Duration) -> Result<()> {
        let period = period.as_micros() as u64;
        let quota = percent * period / 100;
        match is_v2() {
            true => fs::write(self.0.join("cpu.max"), format!("{quota} {period}"))?,
            false => {
                fs::write(self.0.join("cpu.cfs_period_us"), period.to_string())?;
                fs::write(self.0.join("cpu.cfs_quota_us"), quota.to_string())?;
            }
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its process has ended before; if not, the system keeps the empty folder.
        let _ = fs::remove_dir(&self.0);
    }
}
