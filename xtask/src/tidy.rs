//! House rules that a compiler does not know: which crate may know which, who may read a clock or open a
//! socket, how large a file may grow, and that what the README claims is mapped to a test.

use crate::run::root;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may depend on among ours (beside itself), lower layers first. Dev-dependencies are free.
const ARROWS: &[(&str, &[&str])] = &[
    ("node", &[]),
    ("rtp", &["node"]),
    ("sdp", &["node"]),
    ("sip", &["node"]),
    ("tunnel", &["node"]),
    ("store", &["node"]),
    ("sim", &["node"]),
    ("runtime", &["node"]),
    ("exchange", &["node", "sip", "sdp", "store"]),
    ("subscribers", &["node", "sip", "tunnel", "store"]),
    ("split-proxy", &["node", "sip", "sdp", "rtp", "tunnel", "store"]),
    ("phone", &["node", "sip", "sdp", "rtp"]),
];

/// Above these assemble: they may know everything.
const ASSEMBLERS: &[&str] = &["causeway"];

/// Crates that may touch the world.
const SHELL: &[&str] = &["runtime", "store", "causeway"];

/// What no crate below the shell may contain, and what to use instead.
const BANS: &[(&str, &str)] = &[
    ("Instant::now", "take the time from Ctx"),
    ("SystemTime::now", "take the time from Ctx"),
    ("std::net::UdpSocket", "put a datagram into the Outbox"),
    ("std::net::TcpStream", "open a connection through the Outbox"),
    ("std::net::TcpListener", "listen through the Outbox"),
    ("thread::spawn", "a node is driven by one thread that it does not see"),
    ("thread::sleep", "give a deadline"),
    ("thread_rng", "take randomness from Ctx"),
    ("rand::rng()", "take randomness from Ctx"),
    ("std::fs::", "put a record into the Outbox"),
];

/// Lines that a source file may have; one big file only where it is one state machine, named here.
const FILE_LINES: usize = 600;
const BIG_FILES: &[(&str, usize)] = &[];

/// Checks everything and reports all that is wrong at once.
pub fn check() -> Result<()> {
    let mut faults = Vec::new();
    arrows(&mut faults)?;
    for file in sources()? {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        bans(&file, &text, &mut faults);
        size(&file, &text, &mut faults);
    }
    coverage(&mut faults)?;
    if faults.is_empty() {
        eprintln!("tidy: the house is in order");
        return Ok(());
    }
    for fault in &faults {
        eprintln!("tidy: {fault}");
    }
    bail!("{} house rules broken", faults.len())
}

fn crates() -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(root().join("crates"))?.filter_map(|entry| entry.ok().map(|e| e.path())).collect();
    found.sort();
    Ok(found)
}

fn arrows(faults: &mut Vec<String>) -> Result<()> {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    for folder in crates()? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ASSEMBLERS.contains(&name.as_str()) {
            continue;
        }
        let Some(allowed) = allowed.get(name.as_str()) else {
            faults.push(format!("crates/{name} is not in the table of arrows (xtask/src/tidy.rs)"));
            continue;
        };
        for used in dependencies(&fs::read_to_string(folder.join("Cargo.toml"))?) {
            if !allowed.contains(&used.as_str()) {
                faults.push(format!("crates/{name} must not depend on {used}"));
            }
        }
    }
    Ok(())
}

/// Our own crates under `[dependencies]`.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.split("\n[").find(|part| part.starts_with("dependencies]")).unwrap_or_default();
    let names = section.lines().filter_map(|line| line.strip_prefix("causeway-"));
    names.filter_map(|line| line.split([' ', '=', '.']).next()).map(str::to_owned).collect()
}

fn sources() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in crates()? {
        collect(&folder, &mut found)?;
    }
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

fn is_test(file: &Path) -> bool {
    let path = shown(file);
    path.contains("/tests/")
        || path.contains("/benches/")
        || path.ends_with("tests.rs")
        || path.contains("/examples/")
}

fn bans(file: &Path, text: &str, faults: &mut Vec<String>) {
    let path = shown(file);
    let name = path.split('/').nth(1).unwrap_or_default();
    if SHELL.contains(&name) || is_test(file) {
        return;
    }
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    for (index, line) in code.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with("//") {
            continue;
        }
        for (banned, instead) in BANS {
            if line.contains(banned) {
                faults.push(format!("{path}:{}: no `{banned}` below the runtime: {instead}", index + 1));
            }
        }
    }
}

fn size(file: &Path, text: &str, faults: &mut Vec<String>) {
    let path = shown(file);
    let limit = BIG_FILES.iter().find(|(big, _)| *big == path).map_or(FILE_LINES, |(_, lines)| *lines);
    let lines = text.lines().count();
    if lines > limit && !is_test(file) {
        faults.push(format!("{path} has {lines} lines, {limit} is the limit: split it"));
    }
}

/// Every promise of the coverage map must name a file that exists and contains the test that it names.
fn coverage(faults: &mut Vec<String>) -> Result<()> {
    let map = root().join("interop/coverage.toml");
    let text = fs::read_to_string(&map).with_context(|| map.display().to_string())?;
    let mut entries = 0;
    for line in text.lines().filter(|line| line.contains(" = \"")) {
        entries += 1;
        let place = line.split('"').nth(1).unwrap_or_default();
        for place in place.split(", ") {
            let (file, test) = place.split_once('#').unwrap_or((place, ""));
            let found = fs::read_to_string(root().join(file)).is_ok_and(|text| text.contains(test));
            if !found {
                faults.push(format!("interop/coverage.toml: `{place}` does not exist"));
            }
        }
    }
    if entries == 0 {
        faults.push("interop/coverage.toml maps nothing".to_owned());
    }
    Ok(())
}
