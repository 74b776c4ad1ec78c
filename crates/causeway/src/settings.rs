//! Options from the command line over options from a file.

use crate::cli::{Agent, Contact, Exchange, Exchanging, Sourced, Up};
use crate::exit::Failure;
use clap::Args;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Options that can be laid over those of a file.
pub trait Layered: Args + DeserializeOwned {
    /// Tables that the file may hold beside the options of the command line.
    const TABLES: &[&str] = &[];

    /// What is given here wins over `below`.
    fn over(self, below: Self) -> Self;
}

/// The options of a command, with those of its file below them.
///
/// # Errors
/// If the file cannot be read, or names something that the command does not know.
pub fn resolve<T: Layered>(sourced: Sourced<T>) -> Result<T, Failure> {
    match &sourced.config {
        None => Ok(sourced.options),
        Some(file) => Ok(sourced.options.over(read(file)?)),
    }
}

/// What a settings file holds, whatever it is.
///
/// # Errors
/// If it cannot be read or is no TOML.
pub fn table(file: &Path) -> Result<toml::Table, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
    toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}

/// The table that can be changed while a role runs.
pub const POLICY: &str = "policy";

fn read<T: Layered>(file: &Path) -> Result<T, Failure> {
    from_table(table(file)?).map_err(|why| Failure::usage(format!("{}: {why}", file.display())))
}

fn from_table<T: Layered>(table: toml::Table) -> Result<T, String> {
    let command = T::augment_args(clap::Command::new(""));
    let names: Vec<String> =
        command.get_arguments().map(|option| option.get_id().as_str().replace('_', "-")).collect();
    let known = |name: &String| names.contains(name) || T::TABLES.contains(&name.as_str());
    if let Some(unknown) = table.keys().find(|name| !known(name)) {
        return Err(format!("unknown option `{unknown}`"));
    }
    T::deserialize(table).map_err(|error| error.to_string())
}

/// A required option.
///
/// # Errors
/// If it is neither on the command line nor in the file.
pub fn required<T>(value: Option<T>, name: &str) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::usage(format!("--{name} is required, here or in the file of --config")))
}

fn list(here: Vec<String>, below: Vec<String>) -> Vec<String> {
    if here.is_empty() { below } else { here }
}

impl Exchanging {
    fn over(self, below: Self) -> Self {
        Self {
            data: self.data.or(below.data),
            domain: self.domain.or(below.domain),
            sip: self.sip.or(below.sip),
            tls: self.tls.or(below.tls),
            cert: self.cert.or(below.cert),
            key: self.key.or(below.key),
            tls_ca: self.tls_ca.or(below.tls_ca),
            tls_clients: self.tls_clients.or(below.tls_clients),
            digest: self.digest.or(below.digest),
            mode: self.mode.or(below.mode),
            service_route: self.service_route || below.service_route,
            durability: self.durability.or(below.durability),
            workers: self.workers.or(below.workers),
            metrics: self.metrics.or(below.metrics),
            hep: self.hep.or(below.hep),
            hep_id: self.hep_id.or(below.hep_id),
            hep_key: self.hep_key.or(below.hep_key),
            cdr: self.cdr.or(below.cdr),
            policy: self.policy.or(below.policy),
        }
    }
}

impl Layered for Exchange {
    const TABLES: &[&str] = &[POLICY];

    fn over(self, below: Self) -> Self {
        Self { exchange: self.exchange.over(below.exchange) }
    }
}

impl Layered for Up {
    const TABLES: &[&str] = &[POLICY];

    fn over(self, below: Self) -> Self {
        Self {
            exchange: self.exchange.over(below.exchange),
            tunnel: self.tunnel.or(below.tunnel),
            media: self.media.or(below.media),
            media_workers: self.media_workers.or(below.media_workers),
            media_allow: list(self.media_allow, below.media_allow),
            min_assurance: self.min_assurance.or(below.min_assurance),
            carrying: self.carrying.over(below.carrying),
            lan_media: self.lan_media.or(below.lan_media),
        }
    }
}

impl Layered for Contact {
    fn over(self, below: Self) -> Self {
        Self {
            tunnel: self.tunnel.or(below.tunnel),
            sip: self.sip.or(below.sip),
            upstream: self.upstream.or(below.upstream),
            media: self.media.or(below.media),
            workers: self.workers.or(below.workers),
            media_allow: list(self.media_allow, below.media_allow),
            path: self.path || below.path,
            min_assurance: self.min_assurance.or(below.min_assurance),
            subscribers: self.subscribers.or(below.subscribers),
            carrying: self.carrying.over(below.carrying),
            lan_media: self.lan_media.or(below.lan_media),
            cert: self.cert.or(below.cert),
            key: self.key.or(below.key),
            metrics: self.metrics.or(below.metrics),
            data: self.data.or(below.data),
        }
    }
}

impl Layered for Agent {
    fn over(self, below: Self) -> Self {
        Self {
            contact: list(self.contact, below.contact),
            proxy: self.proxy.or(below.proxy),
            on_demand: self.on_demand.or(below.on_demand),
            listen: self.listen.or(below.listen),
            pin: self.pin.or(below.pin),
            ca: self.ca.or(below.ca),
            account: self.account.or(below.account),
            carrying: self.carrying.over(below.carrying),
            metrics: self.metrics.or(below.metrics),
            data: self.data.or(below.data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file<T: Layered>(text: &str) -> Result<T, String> {
        from_table(toml::from_str(text).map_err(|error| error.to_string())?)
    }

    #[test]
    fn the_command_line_wins_and_unknown_names_are_refused() {
        let below: Agent = from_file("contact = \"a.example.com\"\npin = \"sha256:00\"").unwrap();
        let here = Agent { contact: vec!["b.example.com".into()], ..Agent::default() };
        let options = here.over(below);
        assert_eq!(options.contact, ["b.example.com"]);
        assert_eq!(options.pin.as_deref(), Some("sha256:00"));
        assert!(from_file::<Agent>("contcat = \"a\"").unwrap_err().contains("contcat"));
    }

    #[test]
    fn an_exchange_has_the_same_options_alone_and_with_others() {
        let text = "domain = \"example.com\"\nsip = \"192.0.2.1:5060\"\ntls-clients = \"optional\"\n\
            durability = \"off\"\n[policy]\nring = 5\n";
        let alone: Exchange = from_file(text).unwrap();
        let both: Up = from_file(&format!("tunnel = \"192.0.2.1:443\"\n{text}")).unwrap();
        assert_eq!(both.exchange.domain, alone.exchange.domain);
        assert_eq!(both.exchange.tls_clients, Some(crate::cli::TlsClients::Optional));
        assert_eq!(alone.exchange.policy.unwrap()["ring"], toml::Value::Integer(5));
        assert!(from_file::<Exchange>("tunnel = \"192.0.2.1:443\"").unwrap_err().contains("tunnel"));
        assert!(from_file::<Up>("policies = 1").unwrap_err().contains("policies"));
        assert!(from_file::<Exchange>("durability = \"some\"").unwrap_err().contains("some"));
    }
}
