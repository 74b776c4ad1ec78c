//! Options of the exchange, alone and in `up`.

use super::Carrying;
use causeway_tunnel::key::Assurance;
use clap::{Args, ValueHint};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What `exchange` and `up` have in common.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Exchanging {
    /// Folder for the databases and the control socket
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,
    /// The domain served, also the digest realm
    #[arg(long, value_name = "NAME")]
    pub domain: Option<String>,
    /// Address of the exchange, UDP and TCP
    #[arg(long, value_name = "IP:PORT")]
    pub sip: Option<SocketAddr>,
    /// Address of the exchange for TLS; needs --cert and --key
    #[arg(long, value_name = "IP:PORT")]
    pub tls: Option<SocketAddr>,
    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub cert: Option<PathBuf>,
    /// Private key, PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
    /// Roots that certify TLS peers, PEM; the system's for servers, if not given
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub tls_ca: Option<PathBuf>,
    /// Whether TLS clients must show a certificate by --tls-ca: none if not given
    #[arg(long, value_enum)]
    pub tls_clients: Option<TlsClients>,
    /// What challenges offer; many phones refuse one that names SHA-256, even beside MD5
    #[arg(long, value_enum)]
    pub digest: Option<Digest>,
    /// How much is remembered of what is forwarded: calls if not given
    #[arg(long, value_enum)]
    pub mode: Option<Keeping>,
    /// Tell phones at registration to send everything by way of this exchange (Service-Route, RFC 3608)
    #[arg(long)]
    #[serde(default)]
    pub service_route: bool,
    /// Threads that serve SIP side by side, each on its own share of the users: 1 if not given, 64 at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: Option<u16>,
    /// When a registration counts as kept: full if not given
    #[arg(long, value_enum)]
    pub durability: Option<Durability>,
    /// Serve figures to Prometheus at http://IP:PORT/metrics
    #[arg(long, value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Send copies of all SIP messages to a capture server (HEP 3)
    #[arg(long, value_name = "udp|tcp|tls:HOST:PORT")]
    pub hep: Option<String>,
    /// The number of this capture agent; 1 if not given
    #[arg(long, value_name = "N")]
    pub hep_id: Option<u32>,
    /// Password of the capture server; the command line shows it to all users of this machine, a file or the
    /// environment does not
    #[arg(long, value_name = "TEXT", env = "CAUSEWAY_HEP_KEY", hide_env_values = true)]
    pub hep_key: Option<Secret>,
    /// Append call records to this file, a JSON object per line; opened anew at SIGHUP
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub cdr: Option<PathBuf>,
    /// `[policy]` of the file, which is read again at SIGHUP.
    #[arg(skip)]
    pub policy: Option<toml::Table>,
}

/// A password, which is not shown.
#[derive(Clone, Deserialize)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(redacted)")
    }
}

impl std::str::FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// `causeway exchange`
#[derive(Clone, Debug, Default, Args, Deserialize)]
pub struct Exchange {
    /// All its options.
    #[command(flatten)]
    #[serde(flatten)]
    pub exchange: Exchanging,
}

/// `causeway up`
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Up {
    /// Those of the exchange; its certificate is also that of the contact point.
    #[command(flatten)]
    #[serde(flatten)]
    pub exchange: Exchanging,
    /// Address on which agents connect
    #[arg(long, value_name = "IP:PORT")]
    pub tunnel: Option<SocketAddr>,
    /// Address and ports for media on the operator's side
    #[arg(long, value_name = "IP:LOW-HIGH")]
    pub media: Option<String>,
    /// Threads of the contact point, each with a share of the agents and of the media ports: 1 if not given, 64 at
    /// most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub media_workers: Option<u16>,
    /// Networks that media may go to; any, if not given
    #[arg(long, value_name = "CIDR")]
    #[serde(default)]
    pub media_allow: Vec<String>,
    /// What the keys of users must be worth; calls of those who have less are refused
    #[arg(long, value_name = "none|header|digest", value_parser = super::least)]
    #[serde(default, deserialize_with = "super::least_from_file")]
    pub min_assurance: Option<Assurance>,
    /// How the tunnel and the media beside it are treated.
    #[command(flatten)]
    #[serde(flatten)]
    pub carrying: Carrying,
    /// Whether calls between phones behind one agent keep their media on the LAN
    #[arg(long, value_enum)]
    pub lan_media: Option<LanMedia>,
}

/// The digest algorithms that an exchange offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Digest {
    /// MD5 alone, which every phone knows: the default
    Md5,
    /// SHA-256 alone
    #[value(name = "sha-256")]
    #[serde(rename = "sha-256")]
    Sha256,
    /// SHA-256, then MD5
    Both,
}

/// What TLS clients are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsClients {
    /// Nothing
    #[default]
    None,
    /// A certificate, if they have one
    Optional,
    /// A certificate
    Required,
}

/// How much an exchange remembers of what it forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keeping {
    /// Nothing, where that is possible: without credentials and to one place
    Stateless,
    /// Transactions: forking, repetition, failover
    Transaction,
    /// Transactions and calls: session timers and call records: the default
    #[default]
    Call,
}

/// What survives a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Everything: a registration is on disk before its 200 leaves
    #[default]
    Full,
    /// What the system has written by itself: a power cut or a crash of the machine loses the registrations of the
    /// last moments, which phones renew in time; the death of the process alone loses nothing
    Off,
}

/// Where media between two phones behind one agent flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LanMedia {
    /// On the LAN, from phone to phone: the default
    Local,
    /// Through the contact point, like all others
    Anchored,
}
