//! Fuzzing every target for a while.

use crate::run::{cargo, have, root, run};
use anyhow::{Context, Result, bail};

/// Runs all targets one after the other, `args[0]` seconds each.
pub fn all(args: &[String]) -> Result<()> {
    if !have("cargo-fuzz") {
        bail!("cargo-fuzz is absent: cargo install cargo-fuzz");
    }
    let seconds: u32 =
        args.first().map_or(Ok(600), |text| text.parse()).context("SECONDS must be a number")?;
    for target in targets()? {
        // Coverage instrumentation needs an unstable compiler flag; the code itself builds with stable Rust.
        let mut fuzz = cargo(&["fuzz", "run", "--sanitizer", "none", &target]);
        fuzz.env("RUSTC_BOOTSTRAP", "1").args([
            "--",
            &format!("-max_total_time={seconds}"),
            "-max_len=65536",
        ]);
        run(&mut fuzz)?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}
