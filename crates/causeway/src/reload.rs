//! What is read again while roles run, at SIGHUP or by `reload` on the control socket.

use crate::settings;
use causeway_node::Status;
use causeway_runtime::tls::{Client, Server};
use causeway_runtime::{Handle, LineLog};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a worker may take to change its settings.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything that can be read again.
#[derive(Default)]
pub struct Reload {
    /// Certificates that are shown.
    pub servers: Vec<Server>,
    /// Whom connections of ours believe, and what they show.
    pub clients: Vec<Client>,
    /// Journals that somebody may have moved away.
    pub journals: Vec<LineLog>,
    /// The file of `--config`, as it was at the start.
    pub settings: Option<Settings>,
}

/// A settings file whose `[policy]` may change.
pub struct Settings {
    file: PathBuf,
    rest: toml::Table,
}

impl Settings {
    /// Keeps in mind what is in the file now.
    pub fn new(file: &Path) -> Option<Self> {
        let mut rest = settings::table(file).ok()?;
        rest.remove(settings::POLICY);
        Some(Self { file: file.to_owned(), rest })
    }

    /// The policy in the file; an empty one where there is none.
    fn policy(&self) -> Result<Status, String> {
        let mut table = settings::table(&self.file).map_err(|error| error.to_string())?;
        let policy = table.remove(settings::POLICY).unwrap_or_else(|| toml::Table::new().into());
        if table != self.rest {
            let file = self.file.display();
            tracing::warn!("{file}: other options than [policy] have changed; they count after a restart");
        }
        serde_json::to_value(policy).map_err(|error| error.to_string())
    }
}

impl Reload {
    /// What there is to be read again, in words.
    pub fn what(&self) -> Option<String> {
        let parts = [
            (!self.servers.is_empty() || !self.clients.is_empty(), "certificates"),
            (!self.journals.is_empty(), "journals"),
            (self.settings.is_some(), "policy"),
        ];
        let there: Vec<&str> = parts.into_iter().filter(|(there, _)| *there).map(|(_, what)| what).collect();
        (!there.is_empty()).then(|| there.join(", "))
    }

    /// Reads all of it again. What cannot be read stays as it was, and does not hold up the rest.
    ///
    /// # Errors
    /// With all that could not be read.
    pub fn run(&self, workers: &[Handle]) -> Result<(), String> {
        let mut faults = Vec::new();
        let mut note = |result: Result<(), String>| faults.extend(result.err());
        // Clients show certificates of servers, so those come first.
        self.servers.iter().for_each(|server| note(server.reload().map_err(|error| error.to_string())));
        self.clients.iter().for_each(|client| note(client.reload().map_err(|error| error.to_string())));
        self.journals.iter().for_each(|journal| note(journal.reopen()));
        if let Some(settings) = &self.settings {
            match settings.policy() {
                Ok(policy) => {
                    workers.iter().for_each(|worker| note(worker.reload(policy.clone(), PATIENCE)));
                }
                Err(why) => note(Err(why)),
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_is_said_to_be_read_again() {
        assert_eq!(Reload::default().what(), None, "an agent has nothing");
        let settings = Some(Settings { file: PathBuf::new(), rest: toml::Table::new() });
        let reload = Reload { settings, ..Reload::default() };
        assert_eq!(reload.what().as_deref(), Some("policy"));
    }
}
