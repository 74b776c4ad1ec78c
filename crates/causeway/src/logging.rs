//! Logs go to standard error, data to standard output.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging with this filter, or `default`.
pub fn start(filter: Option<&str>, default: &str) {
    let filter = EnvFilter::try_new(filter.unwrap_or(default)).unwrap_or_else(|error| {
        eprintln!("causeway: --log: {error}; using `{default}`");
        EnvFilter::new(default)
    });
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false)
        .init();
}
