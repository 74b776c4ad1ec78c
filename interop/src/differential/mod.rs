//! The same generated requests through Kamailio and through us, compared field by field.
//!
//! `cargo xtask interop differential [--write] [--show ID]`: every difference must have its explanation
//! (`explained.rs`); one without fails the run. `--write` renews docs/differential.md. Everything happens on
//! loopback addresses; it needs no root.

mod callee;
mod caller;
mod cases;
mod compare;
mod explained;
mod servers;
pub mod wire;

use crate::causeway::Binary;
use anyhow::{Context, Result};
use caller::{Caller, Outcome};
use cases::Script;
use compare::Difference;
use explained::{Explained, Right};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Where both servers listen, one after the other.
pub const SERVER: &str = "127.0.7.1:5060";
const ADDRESS: &str = "127.0.7.1";
const DOMAIN: &str = "op.example";
/// So that every run sends the same.
const SEED: u64 = 0x5EED;
const SCRIPTS: usize = 500;

/// Runs the comparison; false if there is a difference that nothing explains.
///
/// # Errors
/// If a server does not start, or an address is taken.
pub fn run(args: &[String], dir: &Path) -> Result<bool> {
    let binary = Binary::from_env()?;
    let scripts = cases::generate(SEED, SCRIPTS);
    let seen = callee::start()?;
    let caller = Caller::new(seen)?;
    let mut users: Vec<String> =
        ["alice", "bob", "both", "busy", "ring", "carol"].map(str::to_owned).to_vec();
    users.extend(scripts.iter().map(|script| format!("r{}", script.id)));
    let kamailio = servers::kamailio(dir)?;
    let theirs = play(&caller, &scripts).context("Kamailio")?;
    drop(kamailio);
    let causeway = servers::causeway(&binary, dir, &users)?;
    let ours = play(&caller, &scripts).context("Causeway")?;
    drop(causeway);
    if let Some(id) = args.iter().position(|arg| arg == "--show").and_then(|at| args.get(at + 1)) {
        show(&scripts, &ours, &theirs, id.parse().context("--show needs the number of a script")?);
    }
    let (mut equal, mut differences) = (0, Vec::new());
    for ((script, ours), theirs) in scripts.iter().zip(&ours).zip(&theirs) {
        let (same, different) = compare::compare(script, ours, theirs);
        equal += same;
        differences.extend(different);
    }
    let report = report(scripts.len(), equal, &differences);
    if args.iter().any(|arg| arg == "--write") {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differential.md"), &report)?;
    }
    let unexplained: Vec<&Difference> = differences.iter().filter(|one| explanation(one).is_none()).collect();
    for one in &unexplained {
        println!(
            "unexplained: script {} {:?}, {} {} {:?}: ours `{}`, Kamailio's `{}`",
            one.script, one.traits, one.method, one.field, one.statuses, one.ours, one.theirs
        );
    }
    let unused: Vec<&str> = explained::ALL
        .iter()
        .filter(|class| !differences.iter().any(|one| explanation(one).is_some_and(|its| its.id == class.id)))
        .map(|class| class.id)
        .collect();
    println!(
        "{} scripts, {equal} fields equal, {} differences in {} classes, {} of them unexplained; classes that nothing fell into: {unused:?}",
        scripts.len(),
        differences.len(),
        explained::ALL.len() - unused.len(),
        unexplained.len()
    );
    Ok(unexplained.is_empty())
}

/// Registers the callees, then plays everything.
fn play(caller: &Caller, scripts: &[Script]) -> Result<Vec<Vec<Outcome>>> {
    for (number, (user, contacts)) in [
        ("bob", "<sip:bob@127.0.7.3>"),
        ("both", "<sip:one@127.0.7.3>, <sip:two@127.0.7.4>"),
        ("busy", "<sip:busy@127.0.7.3>"),
        ("ring", "<sip:ring@127.0.7.3>"),
    ]
    .iter()
    .enumerate()
    {
        let registered = caller.play(&cases::registration(900_000 + number, user, contacts))?;
        let status =
            registered.first().and_then(|outcome| outcome.last.as_ref()).and_then(wire::Wire::status);
        anyhow::ensure!(status == Some(200), "{user} could not register: {status:?}");
    }
    scripts.iter().map(|script| caller.play(script)).collect()
}

fn explanation(one: &Difference) -> Option<&'static Explained> {
    explained::ALL.iter().find(|class| (class.is)(one))
}

fn show(scripts: &[Script], ours: &[Vec<Outcome>], theirs: &[Vec<Outcome>], id: usize) {
    let Some(script) = scripts.get(id) else { return };
    println!("{:?}", script.traits);
    for (name, runs) in [("ours", ours), ("Kamailio", theirs)] {
        for outcome in runs.get(id).into_iter().flatten() {
            println!("--- {name}: {outcome:#?}");
        }
    }
}

/// What the comparison has shown of us, for the record.
const MENDED: &str = "
## Faults of ours that this has shown, all mended
* INVITE or BYE with any To tag, of no dialog, was forwarded to the contacts of an address of record without credentials.
* MESSAGE and every other request but INVITE and REGISTER needed no credentials, whatever its From, and was relayed
  anywhere.
* A SIPS request went over UDP to a SIP contact, with a SIP Record-Route.
* Users that do not exist were answered 480 instead of 404.
* A CSeq beyond 32 bits was dropped in silence; it is answered 400.
";

fn report(scripts: usize, equal: usize, differences: &[Difference]) -> String {
    let mut out = format!(
        "# Beside Kamailio, request by request\n\n\
         Made by `cargo xtask interop differential --write`: {scripts} scripts of one to three requests, generated from a\n\
         fixed seed, go through Kamailio (set up like its own sample configuration: sanity checks, digest, registrar,\n\
         stateful record-routing proxy) and through `causeway up`, with the same scripted far ends behind. Final and\n\
         provisional answers, their headers, and what reached the far ends are compared field by field; the servers' own\n\
         tags, branches and route parameters are not. Where two answers differ, what only follows from that is not\n\
         counted again.\n\n\
         {equal} fields were equal, {} differed. Every difference belongs to one of these classes; one that did not would\n\
         fail the test.\n\n\
         | class | count | what | right | why |\n|---|---|---|---|---|\n",
        differences.len()
    );
    for class in explained::ALL {
        let count =
            differences.iter().filter(|one| explanation(one).is_some_and(|its| its.id == class.id)).count();
        let right = match class.right {
            Right::Ours => "Causeway",
            Right::Theirs => "**Kamailio**",
            Right::Both => "both may",
            Right::Neither => "**neither**",
        };
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "| {} | {count} | {} | {right} | {} |", class.id, class.what, class.why);
        }
    }
    out.push_str(MENDED);
    out
}
