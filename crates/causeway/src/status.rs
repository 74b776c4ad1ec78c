//! `causeway status`: what a running process is doing.

use crate::cli::Status as Options;
use crate::dirs;
use crate::exit::{Failure, Kind, Outcome};
use causeway_runtime::control::{Command, Error, request};
use serde_json::{Map, Value, json};
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
        let state = request(&folder, Command::Status).map_err(explain)?;
        let mut out = std::io::stdout().lock();
        let written = match options.json {
            true => writeln!(out, "{}", json!({ "version": 1, "workers": state })),
            false => show(&mut out, &state, options.watch),
        };
        written.map_err(|error| Failure::unreachable(format!("cannot write to standard output: {error}")))?;
        if !options.watch {
            return Ok(());
        }
        drop(out);
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn explain(error: Error) -> Failure {
    let kind = if matches!(error, Error::Refused(_)) { Kind::Refused } else { Kind::Unreachable };
    Failure::new(kind, error.to_string())
}

/// The folder of the one role that runs with its default folder.
fn running() -> Result<PathBuf, Failure> {
    for role in ["up", "contact", "agent"] {
        let folder = dirs::data(None, role)?;
        if request(&folder, Command::Status).is_ok() {
            return Ok(folder);
        }
    }
    Err(Failure::unreachable("nothing runs with the default folders; give --data of the process to look at"))
}

fn show(out: &mut impl Write, state: &Value, clear: bool) -> std::io::Result<()> {
    if clear {
        write!(out, "\x1b[H\x1b[2J")?;
    }
    for worker in state.as_array().into_iter().flatten() {
        for (name, node) in worker["nodes"].as_object().into_iter().flatten() {
            writeln!(out, "{name}")?;
            if let Some(fields) = node.as_object() {
                fields_of(out, fields, 1)?;
            }
        }
    }
    Ok(())
}

/// Plain fields first, then tables and groups under their names.
fn fields_of(out: &mut impl Write, fields: &Map<String, Value>, depth: usize) -> std::io::Result<()> {
    let indent = "  ".repeat(depth);
    for (name, value) in fields {
        match value {
            Value::Array(rows) if rows.is_empty() => writeln!(out, "{indent}{name}: none")?,
            Value::Array(rows) => {
                writeln!(out, "{indent}{name}: {}", rows.len())?;
                for row in rows {
                    row_of(out, row, depth + 1)?;
                }
            }
            Value::Object(group) => writeln!(out, "{indent}{name}: {}", inline(group))?,
            value => writeln!(out, "{indent}{name}: {}", plain(value))?,
        }
    }
    Ok(())
}

/// One row of a table: its plain fields on one line, tables inside it below.
fn row_of(out: &mut impl Write, row: &Value, depth: usize) -> std::io::Result<()> {
    let indent = "  ".repeat(depth);
    let Some(fields) = row.as_object() else { return writeln!(out, "{indent}- {}", plain(row)) };
    writeln!(out, "{indent}- {}", inline(fields))?;
    for (_, value) in fields {
        for inner in value.as_array().into_iter().flatten() {
            row_of(out, inner, depth + 1)?;
        }
    }
    Ok(())
}

fn inline(fields: &Map<String, Value>) -> String {
    let parts = fields.iter().filter(|(_, value)| !value.is_array()).map(|(name, value)| match value {
        Value::Object(group) => format!("{name} ({})", inline(group)),
        value => format!("{name} {}", plain(value)),
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if !number.is_u64() && !number.is_i64() => format!("{float:.1}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}
