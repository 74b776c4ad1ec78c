//! How a tunnel and the media beside it are treated: the same at either end.

use crate::exit::Failure;
use crate::service::DRAINING;
use causeway_runtime::Options;
use causeway_split_proxy::Marks;
use causeway_tunnel::Config;
use clap::Args;
use serde::Deserialize;
use std::time::Duration;

/// What `agent`, `contact` and `up` have in common.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Carrying {
    /// How packets are marked: audio=46,video=34,sip=24,tunnel=34,other=0 are the defaults
    #[arg(long, value_name = "KIND=N,…")]
    pub dscp: Option<String>,
    /// After so many seconds of silence the tunnel sends a ping; 0 sends none at all
    #[arg(long, value_name = "SECONDS")]
    pub keep_alive: Option<u16>,
    /// Drop voice and video that have waited for longer than this before they could be sent, milliseconds: 150 if
    /// not given, 0 for never
    #[arg(long, value_name = "MS")]
    pub late_after: Option<u16>,
    /// How long calls under way have after SIGTERM, in seconds; 30 if not given
    #[arg(long, value_name = "SECONDS")]
    pub drain_grace: Option<u16>,
    /// Congestion control of the tunnel's connections; bbr if not given, where the kernel has it
    #[arg(long, value_name = "NAME")]
    pub congestion: Option<String>,
}

impl Carrying {
    /// What is given here wins over `below`.
    pub fn over(self, below: Self) -> Self {
        Self {
            dscp: self.dscp.or(below.dscp),
            keep_alive: self.keep_alive.or(below.keep_alive),
            late_after: self.late_after.or(below.late_after),
            drain_grace: self.drain_grace.or(below.drain_grace),
            congestion: self.congestion.or(below.congestion),
        }
    }

    /// How long calls have to end.
    pub fn drain_grace(&self) -> Duration {
        self.drain_grace.map_or(DRAINING, |seconds| Duration::from_secs(seconds.into()))
    }

    /// The marks of `--dscp`.
    ///
    /// # Errors
    /// If the text is no list of code points.
    pub fn marks(&self) -> Result<Marks, Failure> {
        let parsed = self.dscp.as_deref().map(str::parse).transpose();
        Ok(parsed.map_err(|error| Failure::usage(format!("--dscp {error}")))?.unwrap_or_default())
    }

    /// Sets `--keep-alive` and `--late-after`. With a keep-alive of 0 the tunnel never speaks for its own sake: so that
    /// a test can show what is lost without.
    pub fn tune(&self, tunnel: &mut Config) {
        match self.keep_alive {
            None => {}
            Some(0) => {
                let never = Duration::from_secs(u16::MAX.into());
                (tunnel.keep_alive, tunnel.probe, tunnel.measure) = (never, never, never);
            }
            Some(seconds) => tunnel.keep_alive = Duration::from_secs(seconds.into()),
        }
        if let Some(ms) = self.late_after {
            let deadline = (ms > 0).then(|| Duration::from_millis(ms.into()));
            (tunnel.deadlines.audio, tunnel.deadlines.video) = (deadline, deadline);
        }
    }

    /// How a worker that carries media treats its connections.
    pub fn options(&self) -> Options {
        let default = Options::default();
        // As many tunnels as a contact point takes, and as many connections of phones or to the operator.
        let max_connections = 4 * default.max_connections;
        let congestion = self.congestion.clone().unwrap_or(default.congestion);
        Options { congestion, max_connections, ..Options::default() }
    }
}
