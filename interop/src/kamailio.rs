//! Kamailio as the operator's SIP server: a plain registrar and record-routing stateful proxy.

use crate::lab::{Host, Lab};
use crate::process::{PATIENCE, Process, signal, until};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long it may take to end; as a rule it takes less than a second.
const ENDING: Duration = Duration::from_secs(5);

/// How it treats Path (RFC 3327).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathSupport {
    /// Not at all: a stock registrar.
    Off,
    /// Strictly: it stores Path, and refuses one whose sender does not announce support (420).
    Strict,
}

/// The domain that it serves.
pub const DOMAIN: &str = "op.example";

/// A running server.
pub struct Kamailio {
    process: Process,
}

impl Kamailio {
    /// Starts it on a host, listening on port 5060 of this address, UDP and TCP.
    ///
    /// # Errors
    /// If it does not open its ports.
    pub fn start(lab: &Lab, dir: &Path, host: Host, address: &str, path: PathSupport) -> Result<Self> {
        Self::with_config(lab, dir, host, address, &config(address, path))
    }

    /// The same with a configuration of the case's own, which listens on two sockets of this address.
    ///
    /// # Errors
    /// If it does not open its ports.
    pub fn with_config(lab: &Lab, dir: &Path, host: Host, address: &str, config: &str) -> Result<Self> {
        let file = dir.join("kamailio.cfg");
        fs::write(&file, config).with_context(|| file.display().to_string())?;
        let file = file.to_string_lossy().into_owned();
        let listening = format!("{address}:506");
        let open = || -> Result<usize> {
            let sockets = lab.output(host, "ss", &["-H", "-l", "-n", "-u", "-t"])?;
            Ok(sockets.lines().filter(|line| line.contains(&listening)).count())
        };
        until(PATIENCE, || {
            ensure!(open()? == 0, "somebody listens on {listening} already");
            Ok(())
        })?;
        let args = ["-f", &file, "-DD", "-E", "-m", "64", "-M", "8", "-x", "fm", "-X", "fm"];
        let process = Process::start(lab, host, dir, "kamailio", "kamailio", &args)?;
        until(PATIENCE, || {
            ensure!(open()? >= 2, "kamailio does not listen on {listening}; its log says why");
            Ok(())
        })?;
        Ok(Self { process })
    }

    /// How many lines with this it has logged.
    pub fn times(&self, what: &str) -> usize {
        self.process.printed().iter().filter(|line| line.contains(what)).count()
    }

    /// Whether it logged a line with this.
    pub fn logged(&self, what: &str) -> bool {
        self.process.printed().iter().any(|line| line.contains(what))
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // It is several processes, of which now and then one hangs in its own signal handler: whoever is left when the
        // first is killed would keep the sockets.
        if self.process.terminate(ENDING).is_err() {
            let pid = self.process.pid();
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            let children = children.split_ascii_whitespace().filter_map(|child| child.parse().ok());
            children.for_each(|child| signal(child, "-KILL"));
        }
    }
}

/// What `kamailio -v` says of its version.
pub fn version() -> Option<String> {
    let text = crate::lab::output(std::process::Command::new("kamailio").arg("-v")).ok()?;
    text.split_whitespace().nth(2).map(str::to_owned)
}

fn config(address: &str, path: PathSupport) -> String {
    let path = match path {
        PathSupport::Off => "",
        PathSupport::Strict => {
            "modparam(\"registrar\", \"use_path\", 1)\nmodparam(\"registrar\", \"path_mode\", 2)\n"
        }
    };
    format!(
        r#"#!KAMAILIO
debug=2
log_stderror=yes
children=2
auto_aliases=no
dns=no
rev_dns=no
alias={DOMAIN}
listen=udp:{address}:5060
listen=tcp:{address}:5060

loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "pv.so"
loadmodule "xlog.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("usrloc", "db_mode", 0)
{path}
request_route {{
    xlog("L_INFO", "lab: $rm $ru from $si:$sp, contact $ct, path $hdr(Path)\n");
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (has_totag()) {{
        if (loose_route()) {{ t_relay(); exit; }}
        if (is_method("ACK")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
        sl_send_reply("404", "Not here");
        exit;
    }}
    t_check_trans();
    if (is_method("REGISTER")) {{ save("location"); exit; }}
    if (is_method("INVITE|SUBSCRIBE")) {{ record_route(); }}
    if (!lookup("location")) {{ sl_send_reply("404", "Not Found"); exit; }}
    t_relay();
}}
"#
    )
}
