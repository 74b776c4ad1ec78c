//! `causeway status`: what a running process is doing.

mod listing;
mod table;

use crate::cli::Status as Options;
use crate::dirs;
use crate::exit::{Failure, Kind, Outcome};
use crate::glue::unix_ms;
use causeway_runtime::control::{Command, Error, request};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Shows the state once, or every second.
pub fn run(options: &Options) -> Outcome {
    let folder = match &options.data {
        Some(folder) => folder.clone(),
        None => running()?,
    };
    loop {
        let state = request(&folder, command(options)).map_err(explain)?;
        let mut out = std::io::stdout().lock();
        let written = match options.json {
            true if options.table.is_some() => {
                writeln!(out, "{}", json!({ "version": 1, "tables": state }))
            }
            true => writeln!(out, "{}", json!({ "version": 1, "workers": state })),
            false => show(&mut out, &state, options),
        };
        written.map_err(|error| Failure::unreachable(format!("cannot write to standard output: {error}")))?;
        if !options.watch {
            return Ok(());
        }
        drop(out);
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn command(options: &Options) -> Command {
    match &options.table {
        Some(table) => {
            Command::Table { table: table.clone(), filter: options.filter.clone().unwrap_or_default() }
        }
        None => Command::Status,
    }
}

fn explain(error: Error) -> Failure {
    let kind = if matches!(error, Error::Refused(_)) { Kind::Refused } else { Kind::Unreachable };
    Failure::new(kind, error.to_string())
}

/// The folder of the one role that runs with its default folder.
fn running() -> Result<PathBuf, Failure> {
    for role in ["up", "exchange", "contact", "agent"] {
        let folder = dirs::data(None, role)?;
        if request(&folder, Command::Status).is_ok() {
            return Ok(folder);
        }
    }
    Err(Failure::unreachable("nothing runs with the default folders; give --data of the process to look at"))
}

fn show(out: &mut impl Write, state: &Value, options: &Options) -> std::io::Result<()> {
    if options.watch {
        write!(out, "\x1b[H\x1b[2J")?;
    }
    if options.table.is_some() {
        for (name, rows) in state.as_object().into_iter().flatten() {
            write!(out, "{}", listing::table(name, rows, unix_ms()))?;
        }
        return Ok(());
    }
    for worker in state.as_array().into_iter().flatten() {
        for (name, node) in worker["nodes"].as_object().into_iter().flatten() {
            // Of several that run side by side, the workers have the names.
            let worker = worker["worker"].as_str().filter(|worker| worker.starts_with(name.as_str()));
            write!(out, "{}", table::node(worker.unwrap_or(name), node))?;
        }
        for journal in worker["journals"].as_array().into_iter().flatten() {
            writeln!(out, "{}", listing::journal(journal))?;
        }
    }
    Ok(())
}
