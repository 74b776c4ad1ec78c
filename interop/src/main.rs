#![allow(clippy::print_stdout, reason = "standard output is where the results go")]
//! The lab: stock phones and servers around Causeway, across real NATs in network namespaces.
//!
//! `cargo xtask interop` builds the program under test and calls this with `--quick`, `--all`, `--list` or the
//! names of cases (`--all` before them: as thoroughly as they can). `--hold` builds the network and keeps it for work by hand; `--pcap` keeps what was
//! on the wires at every agent, the edge and the core, if tcpdump is there. With `CAUSEWAY_WORKERS=N` every exchange has so
//! many workers. Needs root.

mod audio;
mod baresip;
mod cases;
mod causeway;
mod differential;
mod durability;
mod kamailio;
mod lab;
mod linphone;
mod process;
mod scene;
mod sipp;
mod ua;

use anyhow::{Context, Result, bail};
use cases::{ALL, Case};
use causeway::Binary;
use lab::Lab;
use process::Process;
use scene::Bench;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// How many lines of every log are shown after a failure.
const TAIL: usize = 15;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("interop: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        list();
        return Ok(true);
    }
    clean_up_when_interrupted()?;
    if args.first().is_some_and(|arg| arg == "differential") {
        let root = root();
        fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
        let right = differential::run(&args[1..], &root)?;
        if right {
            fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
        }
        return Ok(right);
    }
    if args.iter().any(|arg| arg == "--hold") {
        return hold();
    }
    let (options, args): (Vec<String>, Vec<String>) = args.into_iter().partition(|arg| arg == "--pcap");
    let captures = !options.is_empty();
    let chosen = choose(&args)?;
    let thorough = args.iter().any(|arg| arg == "--all");
    let binary = Binary::from_env()?;
    let root = root();
    fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
    println!("{}", versions(&binary));
    let lab = Lab::up().context("building the network")?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in chosen {
        match one(&lab, &root, &binary, case, Manner { captures, thorough }) {
            Outcome::Passed => passed += 1,
            Outcome::Failed => failed += 1,
            Outcome::Skipped => skipped += 1,
        }
    }
    drop(lab);
    if failed == 0 && !captures {
        fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
    } else {
        println!("all files: {}", root.display());
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    // Whoever runs this is root, so what was skipped could have been installed.
    Ok(failed == 0 && skipped == 0)
}

/// Where all files of this run lie. Short, since sockets are among them, whose paths may have 107 bytes.
fn root() -> PathBuf {
    std::env::temp_dir().join(format!("cw-{}", std::process::id()))
}

/// How cases are run.
#[derive(Clone, Copy)]
struct Manner {
    captures: bool,
    thorough: bool,
}

/// How a case ended.
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// Runs a case and prints its line; on failure the tails of all logs.
fn one(lab: &Lab, root: &Path, binary: &Binary, case: &Case, manner: Manner) -> Outcome {
    if let Some(missing) = case.needs.iter().find(|program| !installed(program)) {
        println!("skipped  {:<16}          {missing} is not installed", case.name);
        return Outcome::Skipped;
    }
    let start = Instant::now();
    let dir = root.join(case.name);
    let bench = Bench { lab, dir: &dir, binary, thorough: manner.thorough };
    let result = fs::create_dir_all(&dir).map_err(Into::into).and_then(|()| {
        let _captures = if manner.captures { captures(&bench)? } else { Vec::new() };
        (case.run)(&bench)
    });
    let took = start.elapsed().as_secs_f64();
    match result {
        Ok(measured) => {
            println!("ok       {:<16} {took:5.1} s  {measured}", case.name);
            Outcome::Passed
        }
        Err(error) => {
            println!("FAILED   {:<16} {took:5.1} s  {error:#}", case.name);
            println!("         expected: {}", case.expected);
            for (path, lines) in process::tails(&dir, TAIL) {
                println!("         --- {}", path.display());
                lines.iter().for_each(|line| println!("         {line}"));
            }
            println!("         all files: {}", dir.display());
            Outcome::Failed
        }
    }
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Records what is on the wires, into files beside the logs.
fn captures(bench: &Bench<'_>) -> Result<Vec<Process>> {
    use lab::Host::{AgentA, AgentB, Core, Edge};
    let start = |host: lab::Host| {
        let file = bench.dir.join(format!("{}.pcap", host.name())).to_string_lossy().into_owned();
        let name = format!("tcpdump-on-{}", host.name());
        let args = ["-i", "any", "-U", "-n", "-w", &file];
        let process = Process::start(bench.lab, host, bench.dir, &name, "tcpdump", &args)?;
        process.wait("listening on", process::Mark::default(), process::PATIENCE)?;
        Ok(process)
    };
    [AgentA, AgentB, Edge, Core].into_iter().map(start).collect()
}

fn choose(args: &[String]) -> Result<Vec<&'static Case>> {
    let flags: Vec<&str> = args.iter().map(String::as_str).filter(|arg| arg.starts_with('-')).collect();
    let names: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    match (flags.as_slice(), names.as_slice()) {
        (["--quick"], []) => Ok(ALL.iter().filter(|case| case.quick).collect()),
        (["--all"] | [], []) => Ok(ALL.iter().collect()),
        ([] | ["--all"], names) => names
            .iter()
            .map(|name| {
                let found = ALL.iter().find(|case| case.name == **name);
                found.with_context(|| format!("no case `{name}`; --list shows all"))
            })
            .collect(),
        _ => bail!("usage: [--pcap] [--quick | --list | --hold | [--all] [NAME…]]"),
    }
}

fn list() {
    println!("{:<16} {:<5}  {:<34} expected", "case", "quick", "peers");
    for case in ALL {
        let quick = if case.quick { "yes" } else { "" };
        println!("{:<16} {quick:<5}  {:<34} {}", case.name, case.peers, case.expected);
    }
}

fn versions(binary: &Binary) -> String {
    let unknown = || "unknown".to_owned();
    format!(
        "{}, Kamailio {}, baresip {}, linphonec {}, SIPp {}",
        binary.version().unwrap_or_else(unknown),
        kamailio::version().unwrap_or_else(unknown),
        baresip::version().unwrap_or_else(unknown),
        linphone::version().unwrap_or_else(unknown),
        sipp::version().unwrap_or_else(unknown),
    )
}

/// Builds the network and keeps it until it is interrupted.
fn hold() -> Result<bool> {
    let lab = Lab::up()?;
    for host in lab::Host::ALL {
        println!("ip netns exec {:<20} {}", lab.namespace(host), host.address());
    }
    println!("Ctrl-C ends it");
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Leaves nothing behind after Ctrl-C or SIGTERM; a run that was killed is cleaned up by the next.
fn clean_up_when_interrupted() -> Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            lab::remove(std::process::id());
            // There may be none yet.
            let _ = fs::remove_dir_all(root());
            std::process::exit(130);
        }
    });
    Ok(())
}
