//! What must pass before anything lands.

use crate::packages::{self, is_root};
use crate::run::{cargo, have, root, run};
use crate::tidy;
use anyhow::{Result, bail};

/// Everything, in the order in which it fails fastest.
pub fn all() -> Result<()> {
    tidy::check()?;
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // Where they cannot be installed the tests that need them say so.
    packages::ensure(packages::TESTS)?;
    run(&mut cargo(&["test", "--workspace", "--quiet"]))?;
    if have("cargo-deny") {
        run(&mut cargo(&["deny", "--log-level", "error", "check", "licenses", "bans", "sources"]))?;
    } else {
        eprintln!(
            "\nskipped: licences and sources of dependencies, since cargo-deny is absent (cargo install cargo-deny)"
        );
    }
    interop(&["--quick".to_owned()])
}

/// The lab. What may be skipped for want of a peer is skipped with its reason, except in CI and as root.
pub fn interop(args: &[String]) -> Result<()> {
    let strict = std::env::var_os("CI").is_some_and(|ci| ci == "true") || is_root();
    let ready = packages::ensure(packages::INTEROP)?;
    if !is_root() || !ready {
        if strict {
            bail!("the interop lab could not run: it needs root and the packages named above");
        }
        eprintln!("\nskipped: the interop lab, which needs root and the packages named above");
        return Ok(());
    }
    run(&mut cargo(&["build", "--release", "--package", "causeway"]))?;
    let mut lab = cargo(&["run", "--quiet", "--release", "--package", "causeway-interop", "--"]);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    run(lab.env("CAUSEWAY", target.join("release/causeway")).args(args))
}

/// Benchmarks by name.
pub fn bench(args: &[String]) -> Result<()> {
    match args.first().map(String::as_str) {
        Some("sip") => {
            run(cargo(&["bench", "--package", "causeway-sip", "--bench", "hop", "--"]).args(&args[1..]))
        }
        Some("node") => {
            run(cargo(&["bench", "--package", "causeway-exchange", "--bench", "node", "--"]).args(&args[1..]))
        }
        Some("relay") => {
            packages::ensure(packages::BENCH)?;
            run(&mut cargo(&["build", "--release", "--package", "causeway"]))?;
            run(cargo(&["run", "--release", "--package", "causeway-bench", "--bin", "relay", "--"])
                .args(&args[1..]))
        }
        Some("voice") => {
            packages::ensure(packages::BENCH)?;
            run(&mut cargo(&["build", "--release", "--package", "causeway"]))?;
            run(cargo(&["run", "--release", "--package", "causeway-bench", "--bin", "voice", "--"])
                .args(&args[1..]))
        }
        Some("tunnels") => {
            run(cargo(&["run", "--release", "--package", "causeway-bench", "--bin", "tunnels", "--"])
                .args(&args[1..]))
        }
        Some("exchange") => {
            packages::ensure(packages::BENCH)?;
            packages::ensure(packages::INTEROP)?;
            run(&mut cargo(&["build", "--release", "--package", "causeway"]))?;
            run(cargo(&["run", "--release", "--package", "causeway-bench", "--bin", "exchange", "--"])
                .args(&args[1..]))
        }
        _ => bail!("which benchmark? `sip`, `node`, `relay`, `exchange`, `voice` or `tunnels`"),
    }
}
