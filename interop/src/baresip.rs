//! baresip as a phone: it speaks from a file, and records what it hears.

use crate::audio;
use crate::kamailio::DOMAIN;
use crate::lab::{Host, Lab};
use crate::process::{Mark, PATIENCE, Process, until};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a phone is set up.
#[derive(Clone, Debug)]
pub struct Account<'a> {
    /// User part of its address.
    pub user: &'a str,
    /// Its password, if the server asks.
    pub password: &'a str,
    /// Outbound proxy, `IP:PORT`.
    pub proxy: &'a str,
    /// `udp` or `tcp`.
    pub transport: &'a str,
    /// Whether it registers.
    pub registers: bool,
    /// Whether it picks up by itself.
    pub picks_up: bool,
    /// The WAV file that it speaks.
    pub says: &'a Path,
    /// Its SIP port.
    pub port: u16,
    /// The user whose presence it watches, and to whom [`Baresip::message`] writes.
    pub watches: Option<&'a str>,
    /// Whether it publishes its own presence (RFC 3903).
    pub publishes: bool,
    /// Whether it sends pictures of its own making, VP8.
    pub video: bool,
}

impl<'a> Account<'a> {
    /// A phone that picks up, speaks SIP over UDP from port 5060, and has the password `secret`.
    pub fn new(user: &'a str, proxy: &'a str, says: &'a Path) -> Self {
        Self {
            user,
            password: "secret",
            proxy,
            transport: "udp",
            registers: true,
            picks_up: true,
            says,
            port: 5060,
            watches: None,
            publishes: false,
            video: false,
        }
    }
}

/// A running phone.
pub struct Baresip {
    process: Process,
    user: String,
    recordings: PathBuf,
}

impl Baresip {
    /// Starts it on a host and waits until it has registered.
    ///
    /// # Errors
    /// If it does not.
    pub fn registered(lab: &Lab, dir: &Path, host: Host, account: &Account<'_>) -> Result<Self> {
        let phone = Self::start(lab, dir, host, account)?;
        phone.process.wait("registered successfully", Mark::default(), PATIENCE)?;
        Ok(phone)
    }

    /// Starts it on a host.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(lab: &Lab, dir: &Path, host: Host, account: &Account<'_>) -> Result<Self> {
        let home = dir.join(account.user);
        let recordings = home.join("heard");
        fs::create_dir_all(&recordings)?;
        fs::write(home.join("config"), config(host, account, &recordings))?;
        fs::write(home.join("accounts"), account_line(account))?;
        let friend = account.watches.map(|user| format!("sip:{user}@{DOMAIN}"));
        let contacts = friend.as_ref().map(|uri| format!("\"Friend\" <{uri}>;presence=p2p\n"));
        fs::write(home.join("contacts"), contacts.unwrap_or_default())?;
        // Whom it writes to; it reads this when it starts.
        fs::write(home.join("current_contact"), friend.unwrap_or_default())?;
        let name = format!("baresip-{}", account.user);
        let home = home.to_string_lossy();
        let mut args = vec!["-f", &*home];
        if account.watches.is_some() {
            // It prints no answer to a MESSAGE but in its trace.
            args.push("-s");
        }
        let process = Process::start(lab, host, dir, &name, "baresip", &args)?;
        process.wait("baresip is ready", Mark::default(), PATIENCE)?;
        Ok(Self { process, user: account.user.to_owned(), recordings })
    }

    /// Its address of record.
    pub fn uri(&self) -> String {
        format!("sip:{}@{DOMAIN}", self.user)
    }

    /// From here on.
    pub fn mark(&self) -> Mark {
        self.process.mark()
    }

    /// Waits for a line of its output.
    ///
    /// # Errors
    /// If it does not come.
    pub fn wait(&self, what: &str, mark: Mark) -> Result<String> {
        self.process.wait(what, mark, PATIENCE)
    }

    /// Whether it has printed this since.
    pub fn has(&self, what: &str, mark: Mark) -> bool {
        self.process.has(what, mark)
    }

    /// What it has printed since.
    pub fn printed(&self, mark: Mark) -> Vec<String> {
        self.process.printed_since(mark)
    }

    /// Presses a key, such as `x` for hold and `X` for resume.
    ///
    /// # Errors
    /// If it has ended.
    pub fn key(&mut self, key: &str) -> Result<()> {
        self.process.type_text(key)
    }

    /// Types a command of its menu, such as `hangup`.
    ///
    /// # Errors
    /// If it has ended.
    pub fn command(&mut self, command: &str) -> Result<()> {
        self.process.type_line(&format!("/{command}"))
    }

    /// Calls an address.
    ///
    /// # Errors
    /// If it has ended.
    pub fn dial(&mut self, uri: &str) -> Result<Mark> {
        let mark = self.mark();
        self.command(&format!("dial {uri}"))?;
        Ok(mark)
    }

    /// Ends the call, or the attempt, or refuses.
    ///
    /// # Errors
    /// If it has ended.
    pub fn hang_up(&mut self) -> Result<Mark> {
        let mark = self.mark();
        self.command("hangup")?;
        Ok(mark)
    }

    /// Writes to whom it watches.
    ///
    /// # Errors
    /// If it has ended.
    pub fn message(&mut self, text: &str) -> Result<Mark> {
        let mark = self.mark();
        self.command(&format!("message {text}"))?;
        Ok(mark)
    }

    /// Waits until it has a call.
    ///
    /// # Errors
    /// If it gets none.
    pub fn established(&self, mark: Mark) -> Result<()> {
        self.wait("Call established", mark).map(drop)
    }

    /// Waits until its call is over, with sound having been sent and heard in it.
    ///
    /// # Errors
    /// If it is not.
    pub fn terminated(&self, mark: Mark) -> Result<()> {
        self.wait("terminated (duration", mark).map(drop)
    }

    /// Waits until it has heard so many seconds in its newest call.
    ///
    /// # Errors
    /// If it hears nothing, or not enough.
    pub fn hears(&self, seconds: u32) -> Result<()> {
        let wanted = u64::from(seconds * audio::RATE * 2);
        until(PATIENCE + Duration::from_secs(seconds.into()), || {
            let file = self.recording()?;
            let bytes = fs::metadata(&file)?.len();
            ensure!(bytes >= wanted, "{} has heard {bytes} of {wanted} bytes", self.user);
            Ok(())
        })
    }

    /// How much it has recorded of its newest call so far, in seconds.
    ///
    /// # Errors
    /// If it has recorded nothing.
    pub fn recorded_seconds(&self) -> Result<f64> {
        let bytes = fs::metadata(self.recording()?)?.len();
        Ok(bytes as f64 / f64::from(audio::RATE * 2))
    }

    /// What it has heard in its newest call.
    ///
    /// # Errors
    /// If it has recorded nothing.
    pub fn heard(&self) -> Result<Vec<i16>> {
        audio::read(&self.recording()?)
    }

    /// The same while the call goes on: the header of the file does not know its length yet.
    ///
    /// # Errors
    /// If it has recorded nothing.
    pub fn heard_so_far(&self) -> Result<Vec<i16>> {
        const HEADER: usize = 44;
        let bytes = fs::read(self.recording()?)?;
        let samples = bytes.get(HEADER..).unwrap_or_default().chunks_exact(2);
        Ok(samples.map(|sample| i16::from_le_bytes([sample[0], sample[1]])).collect())
    }

    fn recording(&self) -> Result<PathBuf> {
        let files = fs::read_dir(&self.recordings)?.flatten().map(|entry| entry.path());
        // Names carry the time, so the last is the newest.
        let newest = files.filter(|path| path.to_string_lossy().ends_with("-dec.wav")).max();
        newest.with_context(|| format!("{} has recorded nothing", self.user))
    }
}

/// What `baresip` says of its version.
pub fn version() -> Option<String> {
    let out = std::process::Command::new("baresip").arg("-h").output().ok()?;
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.split_whitespace().nth(1).map(|version| version.trim_start_matches('v').to_owned())
}

fn account_line(account: &Account<'_>) -> String {
    let Account { user, password, proxy, transport, .. } = account;
    let video = if account.video { ";video_codecs=vp8" } else { "" };
    let publishes = if account.publishes { ";pubint=600" } else { "" };
    let interval = if account.registers { 600 } else { 0 };
    let answer = if account.picks_up { "auto" } else { "manual" };
    format!(
        "<sip:{user}@{DOMAIN};transport={transport}>;auth_pass={password};\
         outbound=\"sip:{proxy};transport={transport}\";regint={interval};answermode={answer};audio_codecs=pcmu{video}{publishes}\n"
    )
}

fn config(host: Host, account: &Account<'_>, recordings: &Path) -> String {
    let presence = if account.watches.is_some() || account.publishes {
        "module_app contact.so\nmodule_app presence.so\n"
    } else {
        ""
    };
    let video = if account.video {
        "module vp8.so\nmodule fakevideo.so\nvideo_source fakevideo,nil\nvideo_display fakevideo,nil\n\
         video_size 176x144\nvideo_bitrate 200000\nvideo_fps 10\n"
    } else {
        ""
    };
    format!(
        "sip_listen {}:{}
net_interface eth0
call_max_calls 1
audio_player aubridge,nil
audio_source aufile,{}
audio_alert aubridge,alert
audio_channels 1
rtp_ports 10000-10100
jitter_buffer_delay 5-10
snd_path {}
statmode_default off
module_path {}
module stdio.so
module g711.so
module aufile.so
module aubridge.so
module sndfile.so
module_app account.so
module_app menu.so
{presence}{video}",
        host.address(),
        account.port,
        account.says.display(),
        recordings.display(),
        modules().display(),
    )
}

/// Where Debian keeps the modules; the multi-architecture folder comes later.
fn modules() -> PathBuf {
    let folders = ["/usr/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules"];
    let found = folders.iter().map(PathBuf::from).find(|folder| folder.is_dir());
    found.unwrap_or_else(|| PathBuf::from(folders[0]))
}
