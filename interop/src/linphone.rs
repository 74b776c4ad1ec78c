//! linphonec as a phone: it speaks from a file, and records what it hears.

use crate::audio;
use crate::kamailio::DOMAIN;
use crate::lab::{Host, Lab};
use crate::process::{Mark, PATIENCE, Process, until};
use anyhow::{Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A running phone.
pub struct Linphone {
    process: Process,
    user: String,
    recording: PathBuf,
}

impl Linphone {
    /// Starts it on a host and waits until it has registered through an outbound proxy.
    ///
    /// # Errors
    /// If it does not.
    pub fn registered(
        lab: &Lab,
        dir: &Path,
        host: Host,
        user: &str,
        proxy: &str,
        says: &Path,
    ) -> Result<Self> {
        let home = dir.join(user);
        // It does not make the folder of its database itself.
        fs::create_dir_all(home.join(".local/share/linphone"))?;
        let settings = home.join("linphonerc");
        fs::write(&settings, config(user, proxy))?;
        let environment = format!("HOME={}", home.display());
        let log = dir.join(format!("linphonec-{user}-debug.log"));
        let (settings, log) = (settings.to_string_lossy(), log.to_string_lossy());
        let args = [&*environment, "linphonec", "-c", &settings, "-d", "6", "-l", &log];
        let process = Process::start(lab, host, dir, &format!("linphonec-{user}"), "env", &args)?;
        let recording = home.join("heard.wav");
        let mut phone = Self { process, user: user.to_owned(), recording };
        phone.command("soundcard use files")?;
        phone.command(&format!("play {}", says.display()))?;
        phone.command(&format!("record {}", phone.recording.display()))?;
        until(PATIENCE, || {
            let mark = phone.mark();
            phone.command("status register")?;
            let answer = phone.process.wait("registered", mark, PATIENCE)?;
            // Asking is all that one can do, but not without end.
            std::thread::sleep(Duration::from_millis(100));
            ensure!(answer.contains("registered, identity="), "linphonec says `{answer}`");
            Ok(())
        })?;
        Ok(phone)
    }

    /// Its address of record.
    pub fn uri(&self) -> String {
        format!("sip:{}@{DOMAIN}", self.user)
    }

    /// From here on.
    pub fn mark(&self) -> Mark {
        self.process.mark()
    }

    /// Types a command.
    ///
    /// # Errors
    /// If it has ended.
    pub fn command(&mut self, line: &str) -> Result<()> {
        self.process.type_line(line)
    }

    /// Waits for a line of its output.
    ///
    /// # Errors
    /// If it does not come.
    pub fn wait(&self, what: &str, mark: Mark) -> Result<String> {
        self.process.wait(what, mark, PATIENCE)
    }

    /// What it has heard; it writes the file a moment after the call has ended.
    ///
    /// # Errors
    /// If it has recorded nothing.
    pub fn heard(&self) -> Result<Vec<i16>> {
        audio::read(&self.recording)
    }
}

/// What `linphonec` says of its version.
pub fn version() -> Option<String> {
    let text = crate::lab::output(std::process::Command::new("linphonec").arg("-v")).ok()?;
    text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
}

fn config(user: &str, proxy: &str) -> String {
    format!(
        "[sip]
sip_port=5060
sip_tcp_port=0
sip_tls_port=0
guess_hostname=1
use_ipv6=0
default_proxy=0
[rtp]
audio_rtp_port=7078
audio_adaptive_jitt_comp_enabled=0
audio_jitt_comp=100
[proxy_0]
reg_proxy=<sip:{proxy};transport=udp>
reg_route=<sip:{proxy};transport=udp;lr>
reg_identity=sip:{user}@{DOMAIN}
reg_expires=600
reg_sendregister=1
publish=0
[auth_info_0]
username={user}
passwd=secret
realm={DOMAIN}
[misc]
max_calls=1
"
    )
}
