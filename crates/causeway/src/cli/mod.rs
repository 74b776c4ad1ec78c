//! The command line, and the TOML files that say the same.
//!
//! Every option of a command may stand in the file of its `--config`, under the same name; what is given on
//! the command line wins. Unknown names in the file are refused.

mod carrying;
mod operator;

pub use carrying::Carrying;
pub use operator::{Digest, Durability, Exchange, Exchanging, Keeping, LanMedia, Secret, TlsClients, Up};

use causeway_tunnel::key::Assurance;
use clap::{Args, Parser, Subcommand, ValueHint};
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Phones and programs reach one another by name, from behind any NAT, over one outbound connection.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// What to log, for instance `info`, `debug` or `causeway_split_proxy=debug`
    #[arg(long, global = true, value_name = "FILTER", env = "CAUSEWAY_LOG")]
    pub log: Option<String>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the main job on loopback: a spoken call through two tunnels
    Demo(Demo),
    /// Run an operator in one process: exchange, subscribers and contact point
    Up(Sourced<Up>),
    /// Run an exchange: registrar, proxy and subscribers of one domain
    Exchange(Sourced<Exchange>),
    /// Run a contact point: the operator's half of the split proxy
    Contact(Sourced<Contact>),
    /// Run an agent: the customer's half of the split proxy
    Agent(Sourced<Agent>),
    /// Manage the subscribers of an operator
    Subscriber(Subscriber),
    /// Show what a running agent, contact point, exchange or operator is doing
    Status(Status),
    /// Find out why an agent does not reach its operator: step by step, with what to do
    Doctor(Doctor),
    /// Look into SIP
    Sip(Sip),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Options of a command, which may also stand in a file.
#[derive(Debug, Args)]
pub struct Sourced<T: Args> {
    /// Read options from this TOML file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Check the options and stop
    #[arg(long)]
    pub check_config: bool,
    /// Write a line with READY=1 to this file descriptor once all ports are open
    #[arg(long, value_name = "FD")]
    pub ready_fd: Option<i32>,
    /// The options themselves.
    #[command(flatten)]
    pub options: T,
}

/// `causeway demo`
#[derive(Clone, Debug, Args)]
pub struct Demo {
    /// Stay up after the call, for phones of your own
    #[arg(long)]
    pub hold: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
    /// How long the phones talk
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Flip one bit of one voice packet, to see that the report notices
    #[arg(long, hide = true)]
    pub corrupt: bool,
}

/// `causeway contact`
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Contact {
    /// Address on which agents connect
    #[arg(long, value_name = "IP:PORT")]
    pub tunnel: Option<SocketAddr>,
    /// Address towards the SIP server, UDP and TCP
    #[arg(long, value_name = "IP:PORT")]
    pub sip: Option<SocketAddr>,
    /// The SIP server: sip:IP:PORT, with ;transport=tcp for TCP
    #[arg(long, value_name = "sip:IP:PORT")]
    pub upstream: Option<String>,
    /// Address and ports for media on the operator's side
    #[arg(long, value_name = "IP:LOW-HIGH")]
    pub media: Option<String>,
    /// Threads, each with a share of the agents and of the media ports, and with the SIP port that many above --sip: 1
    /// if not given, 64 at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: Option<u16>,
    /// Networks that media may go to; any, if not given
    #[arg(long, value_name = "CIDR")]
    #[serde(default)]
    pub media_allow: Vec<String>,
    /// Register with Path (RFC 3327) instead of a rewritten Contact alone
    #[arg(long)]
    #[serde(default)]
    pub path: bool,
    /// What the keys of users must be worth; calls of those who have less are refused
    #[arg(long, value_name = "none|header|digest", value_parser = least)]
    #[serde(default, deserialize_with = "least_from_file")]
    pub min_assurance: Option<Assurance>,
    /// Folder of the subscriber database, as in the --data of `exchange`: for keys of the assurance digest
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub subscribers: Option<PathBuf>,
    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub cert: Option<PathBuf>,
    /// Private key, PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
    /// How the tunnel and the media beside it are treated.
    #[command(flatten)]
    #[serde(flatten)]
    pub carrying: Carrying,
    /// Whether calls between phones behind one agent keep their media on the LAN
    #[arg(long, value_enum)]
    pub lan_media: Option<LanMedia>,
    /// Serve figures to Prometheus at http://IP:PORT/metrics
    #[arg(long, value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Folder for the database, the certificate and the control socket
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,
}

/// `causeway agent`
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Agent {
    /// The contact point; several are tried in this order. Without a port, what the SRV records of
    /// _causeway._tcp.HOST say, else 443
    #[arg(long, value_name = "HOST[:PORT]")]
    #[serde(default, deserialize_with = "one_or_more")]
    pub contact: Vec<String>,
    /// An HTTP proxy that leads out (CONNECT); the command line shows its password to all users of this machine,
    /// a file or the environment does not
    #[arg(
        long,
        value_name = "http://[USER:PASSWORD@]HOST[:PORT]",
        env = "CAUSEWAY_PROXY",
        hide_env_values = true
    )]
    pub proxy: Option<Secret>,
    /// Open the tunnel only when a phone asks for something, and close it when nothing has needed it for so many
    /// seconds; 30 if no number is given
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30")]
    pub on_demand: Option<u64>,
    /// Address on which phones find the agent, UDP and TCP: loopback or one of the LAN
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// Pin of the contact point's key, as it prints it; without one its certificate must be publicly valid
    #[arg(long, value_name = "sha256:…")]
    pub pin: Option<String>,
    /// Roots that certify the contact point, PEM, in place of the system's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "pin")]
    pub ca: Option<PathBuf>,
    /// Account file: contact and pin, the users with uri and password or ha1, min_assurance
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub account: Option<PathBuf>,
    /// How the tunnel and the media beside it are treated.
    #[command(flatten)]
    #[serde(flatten)]
    pub carrying: Carrying,
    /// Serve figures to Prometheus at http://IP:PORT/metrics
    #[arg(long, value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Folder for the control socket
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,
}

/// An assurance that can be demanded of an agent.
pub fn least(text: &str) -> Result<Assurance, String> {
    match text.parse() {
        Ok(Assurance::Aka) => Err("this version has no keys from a SIM yet".to_owned()),
        Ok(least) => Ok(least),
        Err(error) => Err(error.to_string()),
    }
}

/// The same in a file.
pub fn least_from_file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Assurance>, D::Error> {
    least(&String::deserialize(from)?).map(Some).map_err(serde::de::Error::custom)
}

/// A list that may be written as its only element.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    Ok(match OneOrMore::deserialize(deserializer)? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) => texts,
    })
}

/// `causeway subscriber …`
#[derive(Debug, Args)]
pub struct Subscriber {
    /// What to do.
    #[command(subcommand)]
    pub action: SubscriberAction,
}

/// Where the subscriber database lies, and how to print it.
#[derive(Clone, Debug, Args)]
pub struct Database {
    /// Folder of the database, as in the --data of `up` or `exchange`; that of `up`, if not given
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What can be done with subscribers.
#[derive(Debug, Subcommand)]
pub enum SubscriberAction {
    /// Add a subscriber; the password is asked for, or read from standard input
    Add {
        /// sip:user@domain
        uri: String,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// List all subscribers
    List {
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Show one subscriber
    Show {
        /// sip:user@domain
        uri: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Change a password
    Passwd {
        /// sip:user@domain
        uri: String,
        /// Read the password from the first line of standard input
        #[arg(long)]
        password_stdin: bool,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Remove a subscriber
    Remove {
        /// sip:user@domain
        uri: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Add or change many: a CSV file with the columns uri,password
    Import {
        /// The file, or - for standard input
        file: PathBuf,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
}

/// `causeway status`
#[derive(Debug, Args)]
pub struct Status {
    /// Folder of the running process, as in its --data
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data: Option<PathBuf>,
    /// Show it anew every second
    #[arg(long)]
    pub watch: bool,
    /// Show one table in full, the first thousand rows of it
    #[arg(long, value_name = "aors|calls|transports|subscriptions")]
    pub table: Option<String>,
    /// Of the table, only rows whose name contains this
    #[arg(long, value_name = "TEXT", requires = "table")]
    pub filter: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `causeway doctor`
#[derive(Clone, Debug, Args)]
pub struct Doctor {
    /// The contact point
    #[arg(long, value_name = "HOST[:PORT]")]
    pub contact: Option<String>,
    /// Account file: registers with it, too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub account: Option<PathBuf>,
    /// Pin of the contact point's key
    #[arg(long, value_name = "sha256:…")]
    pub pin: Option<String>,
    /// Roots that certify the contact point, PEM, in place of the system's
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "pin")]
    pub ca: Option<PathBuf>,
    /// An HTTP proxy that leads out, as in `agent`
    #[arg(
        long,
        value_name = "http://[USER:PASSWORD@]HOST[:PORT]",
        env = "CAUSEWAY_PROXY",
        hide_env_values = true
    )]
    pub proxy: Option<Secret>,
    /// Call this address for three seconds and listen; without a value the account's own, where its other phones
    /// ring as well
    #[arg(long, value_name = "sip:USER@DOMAIN", num_args = 0..=1, default_missing_value = "", requires = "account")]
    pub call: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `causeway sip …`
#[derive(Debug, Args)]
pub struct Sip {
    /// What to do.
    #[command(subcommand)]
    pub action: SipAction,
}

/// What can be done with SIP messages.
#[derive(Debug, Subcommand)]
pub enum SipAction {
    /// Say what is wrong with a message: line, RFC section, and the answer a server would give
    Check {
        /// The file with the message, or - for standard input
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}
