//! Account files: who one is, and how the operator is reached. One file serves agent, phone and links alike.

use crate::exit::Failure;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::Path;

/// An account file. An agent needs the way to the operator alone; who registers is the phones' affair.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct Account {
    /// Contact point, `HOST[:PORT]`.
    pub contact: Option<String>,
    /// Pin of its key.
    pub pin: Option<String>,
    /// The least assurance that the user accepts for the keys of the tunnel.
    min_assurance: Option<String>,
    /// Address of record; not read by an agent.
    #[serde(rename = "uri")]
    _uri: Option<IgnoredAny>,
    /// Password; not read by an agent, and not kept.
    #[serde(rename = "password")]
    _password: Option<IgnoredAny>,
    /// Further accounts; not read by an agent.
    #[serde(rename = "line")]
    _lines: Option<IgnoredAny>,
}

impl Account {
    /// Reads an account file.
    ///
    /// # Errors
    /// If it cannot be read, names something unknown, or demands what this program cannot give.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
        Self::parse(&text).map_err(|why| Failure::usage(format!("{shown}: {why}")))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let account: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        match &account.min_assurance {
            // A demand that cannot be met is refused rather than forgotten.
            Some(least) => Err(format!("min_assurance = \"{least}\": this version has no user keys yet")),
            None => Ok(account),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Account;

    #[test]
    fn a_demand_that_cannot_be_met_is_refused() {
        let file =
            "uri = \"sip:a@b\"\npassword = \"hunter2\"\ncontact = \"c.example\"\npin = \"sha256:00\"\n";
        let account = Account::parse(file).unwrap();
        assert_eq!(account.contact.as_deref(), Some("c.example"));
        assert!(!format!("{account:?}").contains("hunter2"), "the password is not kept");
        assert!(Account::parse("min_assurance = \"digest\"").unwrap_err().contains("digest"));
        assert!(Account::parse("contcat = \"c\"").unwrap_err().contains("contcat"));
    }
}
