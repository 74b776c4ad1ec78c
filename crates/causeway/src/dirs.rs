//! Where state lies.

use crate::exit::Failure;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// The folder given, or the user's state folder for this role; made if it is not there, for its owner only.
///
/// # Errors
/// If there is no home, or the folder cannot be made.
pub fn data(given: Option<PathBuf>, role: &str) -> Result<PathBuf, Failure> {
    let folder = match given {
        Some(folder) => folder,
        None => default(role)?,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| Failure::unreachable(format!("cannot make {}: {error}", folder.display())))?;
    Ok(folder)
}

/// `$XDG_STATE_HOME/causeway/ROLE`, or `~/.local/state/causeway/ROLE`.
fn default(role: &str) -> Result<PathBuf, Failure> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
    let state = state.ok_or_else(|| Failure::usage("neither HOME nor XDG_STATE_HOME is set: give --data"))?;
    Ok(state.join("causeway").join(role))
}
