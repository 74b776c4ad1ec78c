//! `causeway agent`: the customer's side.

use crate::account::Account;
use crate::cli::{Agent, Sourced};
use crate::dirs;
use crate::exit::{Failure, Outcome};
use crate::reload::Reload;
use crate::roles;
use crate::service::Service;
use crate::settings::{required, resolve};
use causeway_runtime::Worker;
use causeway_runtime::tls::Pin;
use causeway_split_proxy::AgentConfig;

/// The port of a contact point whose address names none: what firewalls let out.
const HTTPS: u16 = 443;

/// Runs `causeway agent`.
pub fn run(sourced: Sourced<Agent>) -> Outcome {
    let (check, ready_fd) = (sourced.check_config, sourced.ready_fd);
    let options = resolve(sourced)?;
    let account = options.account.as_deref().map(Account::read).transpose()?.unwrap_or_default();
    let contact = required(options.contact.or(account.contact), "contact")?;
    let (host, port) = host_and_port(&contact)?;
    let listen = roles::concrete(required(options.listen, "listen")?, "listen")?;
    let pin = options.pin.or(account.pin).map(|pin| pin.parse::<Pin>()).transpose();
    let pin = pin.map_err(|error| Failure::usage(format!("--pin: {error}")))?;
    if check {
        return Ok(());
    }
    let data = dirs::data(options.data, "agent")?;
    let mut config = AgentConfig::new(host, port, listen);
    config.instance = Some(roles::instance(&data)?);
    let workers = vec![Worker::new("agent").node(roles::agent("agent", config, pin, Some(&data))?)];
    let service = Service { workers, data: &data, ready_fd, reload: Reload::default(), metrics: None };
    service
        .run(|| tracing::info!("phones find their outbound proxy at {listen}; the tunnel leads to {contact}"))
}

/// `HOST`, `HOST:PORT`, `IP:PORT` or `[IPv6]:PORT`.
fn host_and_port(text: &str) -> Result<(String, u16), Failure> {
    let wrong = || Failure::usage(format!("--contact {text}: it must be HOST or HOST:PORT"));
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| wrong())?)
        }
        _ => (text, HTTPS),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || port == 0 { Err(wrong()) } else { Ok((host.to_owned(), port)) }
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn hosts() {
        let read = |text| host_and_port(text).ok();
        assert_eq!(read("sip.example.com"), Some(("sip.example.com".into(), 443)));
        assert_eq!(read("192.0.2.1:8443"), Some(("192.0.2.1".into(), 8443)));
        assert_eq!(read("[2001:db8::1]:8443"), Some(("2001:db8::1".into(), 8443)));
        assert_eq!(read("2001:db8::1"), Some(("2001:db8::1".into(), 443)));
        assert!(read(":443").is_none() && read("a:b").is_none() && read("a:0").is_none());
    }
}
