//! Whether what a 200 to REGISTER has promised survives: the death of the process, and a power cut.

mod power;
mod storm;

use crate::causeway::Binary;
use crate::kamailio::DOMAIN;
use crate::process::{Mark, PATIENCE, Process, signal};
use crate::scene::Bench;
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use storm::{Storm, USERS, Verdict};

pub use power::power_loss;

const SERVER: &str = "127.0.8.1:5060";

/// The process is killed at a random moment of a storm of registrations, again and again.
pub fn kill(bench: &Bench<'_>) -> Result<String> {
    let kills = if bench.thorough { 200 } else { 10 };
    let data = bench.dir.join("data");
    subscribers(bench.binary, bench.dir, &data)?;
    let mut storm = Storm::new(SERVER)?;
    let mut sum = Verdict::default();
    for number in 0..kills {
        let mut exchange = start(bench, Command::new(bench.binary.path()), &data, &[])?;
        add(&mut sum, storm.verify()?);
        // Spread over moments that no clock of the server is in step with.
        storm.rage(Duration::from_micros(20_000 + number * 7_919 % 60_000))?;
        signal(exchange.pid(), "-KILL");
        exchange.exit(PATIENCE)?;
        storm.settle()?;
    }
    let exchange = start(bench, Command::new(bench.binary.path()), &data, &[])?;
    add(&mut sum, storm.verify()?);
    drop(exchange);
    ensure!(
        sum.lost + sum.risen == 0,
        "after {kills} kills {} bindings were lost, {} rose again",
        sum.lost,
        sum.risen
    );
    ensure!(sum.open > 0, "no request was under way at any of the {kills} kills");
    let control = control(bench, &mut storm, &data)?;
    Ok(format!(
        "{kills} kills, {} promises, {} checked against what was there, {} requests under way; control: an older database gives {control} faults away",
        storm.promises, sum.strict, sum.open
    ))
}

/// The same check over a database that has missed the last storm must find that out.
fn control(bench: &Bench<'_>, storm: &mut Storm, data: &Path) -> Result<usize> {
    let older = bench.dir.join("older");
    fs::create_dir_all(&older)?;
    for entry in fs::read_dir(data)? {
        let from = entry?.path();
        if let (true, Some(name)) = (from.is_file(), from.file_name()) {
            fs::copy(&from, older.join(name))?;
        }
    }
    let exchange = start(bench, Command::new(bench.binary.path()), data, &[])?;
    storm.rage_until_turned(5)?;
    drop(exchange);
    storm.settle()?;
    let _exchange = start(bench, Command::new(bench.binary.path()), &older, &[])?;
    let verdict = storm.verify()?;
    let found = verdict.lost + verdict.risen;
    ensure!(found > 0, "the check does not notice a database that has missed a storm");
    Ok(found)
}

fn add(sum: &mut Verdict, one: Verdict) {
    sum.lost += one.lost;
    sum.risen += one.risen;
    sum.open += one.open;
    sum.strict += one.strict;
}

fn subscribers(binary: &Binary, dir: &Path, data: &Path) -> Result<()> {
    fs::create_dir_all(data)?;
    let list = dir.join("users.csv");
    let lines = (0..USERS).map(|index| format!("sip:s{index}@{DOMAIN},secret\n"));
    fs::write(&list, std::iter::once("uri,password\n".to_owned()).chain(lines).collect::<String>())?;
    binary.import(data, &list)
}

/// Starts an exchange over these databases, with the program itself or something that starts it.
fn start(bench: &Bench<'_>, mut command: Command, data: &Path, options: &[&str]) -> Result<Process> {
    command.args(["--log", "info", "exchange", "--domain", DOMAIN, "--sip", SERVER, "--ready-fd", "1"]);
    command.args(bench.binary.workers("--workers")).args(options).arg("--data").arg(data);
    let process = Process::spawn(command, bench.dir, "exchange")?;
    process.wait("READY=1", Mark::default(), PATIENCE)?;
    Ok(process)
}
