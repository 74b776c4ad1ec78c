//! A phone in Python for what stock phones do not do: T.38, MSRP, early media, silence.

use crate::lab::{Host, Lab};
use crate::process::{Mark, PATIENCE, Process};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SCRIPT: &str = include_str!("../peers/ua.py");

/// A running one.
pub struct Ua {
    process: Process,
    record: PathBuf,
}

impl Ua {
    /// One that waits for a call, registered.
    ///
    /// # Errors
    /// If it does not register.
    pub fn answers(
        lab: &Lab,
        dir: &Path,
        host: Host,
        user: &str,
        media: &str,
        more: &[&str],
    ) -> Result<Self> {
        Self::start(lab, dir, host, user, media, &[&["answer"], more].concat())
    }

    /// One that registers and calls at once.
    ///
    /// # Errors
    /// If it does not register.
    pub fn calls(
        lab: &Lab,
        dir: &Path,
        host: Host,
        user: &str,
        to: &str,
        media: &str,
        more: &[&str],
    ) -> Result<Self> {
        Self::start(lab, dir, host, user, media, &[&["call"], more, &["--to", to]].concat())
    }

    fn start(lab: &Lab, dir: &Path, host: Host, user: &str, media: &str, args: &[&str]) -> Result<Self> {
        let script = dir.join("ua.py");
        fs::write(&script, SCRIPT).with_context(|| script.display().to_string())?;
        let record = dir.join(format!("{user}.record"));
        let (script, file) = (script.to_string_lossy().into_owned(), record.to_string_lossy().into_owned());
        let (role, rest) = args.split_first().context("a role")?;
        let fixed = [&*script, role, media, "--user", user, "--ip", host.address(), "--record", &file];
        let process =
            Process::start(lab, host, dir, &format!("ua-{user}"), "python3", &[&fixed, rest].concat())?;
        process.wait("registered", Mark::default(), PATIENCE)?;
        Ok(Self { process, record })
    }

    /// Waits until its call stands.
    ///
    /// # Errors
    /// If it does not.
    pub fn established(&self) -> Result<()> {
        self.process.wait("established", Mark::default(), PATIENCE).map(drop)
    }

    /// Waits for its end; what it says of the call.
    ///
    /// # Errors
    /// If it does not end in time, or badly.
    pub fn report(&self, patience: Duration) -> Result<Value> {
        let line = self.process.wait("report ", Mark::default(), patience)?;
        Ok(serde_json::from_str(line.trim_start_matches("report "))?)
    }

    /// The datagrams that it has received, each with its length before it.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn recorded(&self) -> Result<Vec<Vec<u8>>> {
        let bytes = fs::read(&self.record).with_context(|| self.record.display().to_string())?;
        let mut rest = bytes.as_slice();
        let mut all = Vec::new();
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length)).min(tail.len());
            all.push(tail.get(..length).unwrap_or_default().to_vec());
            rest = tail.get(length..).unwrap_or_default();
        }
        Ok(all)
    }

    /// What one of its kind sends as this user: the first `count` datagrams.
    ///
    /// # Errors
    /// If Python fails.
    pub fn sent_by(dir: &Path, user: &str, media: &str, count: usize) -> Result<Vec<Vec<u8>>> {
        let script = dir.join("ua.py").to_string_lossy().into_owned();
        // The functions of the script, without the call that it makes.
        let program = format!(
            "import sys;text=open({script:?}).read().split('\\nregister()\\n')[0];\
             sys.argv=['ua','call',{media:?},'--user',{user:?},'--ip','127.0.0.1','--port','0'];exec(text);\
             [print(packet(n).hex()) for n in range({count})]"
        );
        let text = crate::lab::output(std::process::Command::new("python3").args(["-c", &program]))?;
        Ok(text
            .lines()
            .map(|line| {
                (0..line.len() / 2)
                    .filter_map(|n| u8::from_str_radix(line.get(2 * n..2 * n + 2)?, 16).ok())
                    .collect()
            })
            .collect())
    }
}
