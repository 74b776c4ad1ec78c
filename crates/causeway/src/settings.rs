//! Options from the command line over options from a file.

use crate::cli::{Agent, Contact, Sourced, Up};
use crate::exit::Failure;
use clap::Args;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Options that can be laid over those of a file.
pub trait Layered: Args + DeserializeOwned {
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

fn read<T: DeserializeOwned>(file: &Path) -> Result<T, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
    toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
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

impl Layered for Up {
    fn over(self, below: Self) -> Self {
        Self {
            data: self.data.or(below.data),
            domain: self.domain.or(below.domain),
            sip: self.sip.or(below.sip),
            tunnel: self.tunnel.or(below.tunnel),
            media: self.media.or(below.media),
            media_allow: list(self.media_allow, below.media_allow),
            digest: self.digest.or(below.digest),
            cert: self.cert.or(below.cert),
            key: self.key.or(below.key),
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
            media_allow: list(self.media_allow, below.media_allow),
            path: self.path || below.path,
            cert: self.cert.or(below.cert),
            key: self.key.or(below.key),
            data: self.data.or(below.data),
        }
    }
}

impl Layered for Agent {
    fn over(self, below: Self) -> Self {
        Self {
            contact: self.contact.or(below.contact),
            listen: self.listen.or(below.listen),
            pin: self.pin.or(below.pin),
            account: self.account.or(below.account),
            data: self.data.or(below.data),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str) -> Result<Agent, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_wins_and_unknown_names_are_refused() {
        let below = from_file("contact = \"a.example.com\"\npin = \"sha256:00\"").unwrap();
        let here = Agent { contact: Some("b.example.com".into()), ..Agent::default() };
        let options = here.over(below);
        assert_eq!(options.contact.as_deref(), Some("b.example.com"));
        assert_eq!(options.pin.as_deref(), Some("sha256:00"));
        assert!(from_file("contcat = \"a\"").unwrap_err().contains("contcat"));
    }
}
