#![allow(clippy::print_stdout, reason = "standard output is where a command answers")]
//! Every role of Causeway in one program: settings, assembly, running, ending.

mod account;
mod agent;
mod cli;
mod demo;
mod dirs;
mod doctor;
mod exchange;
mod exit;
mod glue;
mod logging;
mod operator;
mod reload;
mod roles;
mod service;
mod settings;
mod sip_check;
mod status;
mod subscriber;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command, SipAction};
use exit::Outcome;
use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// What a call leaves behind is freed all at once, half a minute later; of the C library's allocator most of that goes the
/// slow way (docs/benchmarks.md).
#[global_allocator]
static HEAP: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let default = match &cli.command {
        Command::Up(_) | Command::Exchange(_) | Command::Contact(_) | Command::Agent(_) => "info",
        _ => "warn",
    };
    logging::start(cli.log.as_deref(), default);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("causeway: {failure}");
            failure.code()
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(options) => demo::run(&options),
        Command::Up(options) => operator::up(options),
        Command::Exchange(options) => operator::exchange(options),
        Command::Contact(options) => operator::contact(options),
        Command::Agent(options) => agent::run(options),
        Command::Subscriber(options) => subscriber::run(options.action),
        Command::Status(options) => status::run(&options),
        Command::Doctor(options) => doctor::run(options),
        Command::Sip(options) => match options.action {
            SipAction::Check { file, json } => sip_check::run(&file, json),
        },
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "causeway", &mut std::io::stdout());
            Ok(())
        }
    }
}
