//! Project chores: `cargo xtask help` lists them.

mod fuzz;
mod packages;
mod run;
mod test;
mod tidy;

use anyhow::{Result, bail};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask test              everything that must pass: tidy, format, clippy, tests, ten interop cases
cargo xtask tidy              the house rules that a compiler does not know
cargo xtask interop [ARGS]    calls between foreign phones and servers in a lab of network namespaces (root);
                              --all for every case, --list to see them, a name to run one;
                              differential: the same requests through Kamailio and through us
cargo xtask bench sip|node|relay|exchange|voice|tunnels
                              speed, beside peers where they are installed
cargo xtask fuzz [SECONDS]    fuzz every target for SECONDS each (default 600)
cargo xtask packages          install the Debian packages that the peers need, or say which";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<()> {
    let (name, rest) = args.split_first().map_or(("help", args), |(name, rest)| (name.as_str(), rest));
    match name {
        "test" => test::all(),
        "tidy" => tidy::check(),
        "interop" => test::interop(rest),
        "bench" => test::bench(rest),
        "fuzz" => fuzz::all(rest),
        "packages" => packages::ensure(packages::INTEROP).map(|_| ()),
        "help" | "-h" | "--help" => {
            eprintln!("{HELP}");
            Ok(())
        }
        other => bail!("there is no task `{other}`; `cargo xtask help` lists them"),
    }
}
