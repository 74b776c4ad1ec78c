//! Account files: who one is, and how the operator is reached.

use crate::exit::Failure;
use serde::Deserialize;
use std::path::Path;

/// An account file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Account {
    /// Contact point, `HOST[:PORT]`.
    pub contact: Option<String>,
    /// Pin of its key.
    pub pin: Option<String>,
}

impl Account {
    /// Reads an account file.
    ///
    /// # Errors
    /// If it cannot be read, or names something unknown.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
        toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
    }
}
