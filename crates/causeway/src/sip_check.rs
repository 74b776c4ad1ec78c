//! `causeway sip check`: what is wrong with a message.

use crate::exit::{Failure, Kind, Outcome};
use causeway_sip::validate::Severity;
use causeway_sip::{Fault, check};
use serde_json::json;
use std::io::{Read, Write};
use std::path::Path;

/// Bytes read at most: the largest head and body that are accepted anywhere, and a little more.
const LIMIT: u64 = 2 << 20;

/// Prints each fault; a message with an error ends with exit code 1.
pub fn run(file: &Path, as_json: bool) -> Outcome {
    let message = read(file)?;
    let faults = check(&message);
    let errors = faults.iter().filter(|fault| fault.severity == Severity::Error).count();
    let mut out = std::io::stdout().lock();
    let written = if as_json { print_json(&mut out, &faults) } else { print_text(&mut out, file, &faults) };
    written.map_err(|error| Failure::unreachable(format!("cannot write to standard output: {error}")))?;
    match errors {
        0 => Ok(()),
        1 => Err(Failure::new(Kind::Negative, "1 error")),
        n => Err(Failure::new(Kind::Negative, format!("{n} errors"))),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(LIMIT).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(LIMIT).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::unreachable(format!("cannot read {}: {error}", file.display())))?;
    Ok(bytes)
}

fn print_text(out: &mut impl Write, file: &Path, faults: &[Fault]) -> std::io::Result<()> {
    for fault in faults {
        writeln!(out, "{}:{fault}", file.display())?;
    }
    if faults.is_empty() {
        writeln!(out, "{}: no fault found", file.display())?;
    }
    Ok(())
}

fn print_json(out: &mut impl Write, faults: &[Fault]) -> std::io::Result<()> {
    let list: Vec<_> = faults
        .iter()
        .map(|fault| {
            json!({
                "line": fault.line,
                "column": fault.column,
                "severity": if fault.severity == Severity::Error { "error" } else { "warning" },
                "section": fault.section,
                "text": fault.text,
                "excerpt": fault.excerpt,
                "answer": fault.answer,
            })
        })
        .collect();
    writeln!(out, "{}", json!({ "version": 1, "faults": list }))
}
