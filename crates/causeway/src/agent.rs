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
use causeway_runtime::tls::{Pin, Trust};
use causeway_split_proxy::{AgentConfig, ContactAddress, HttpProxy};
use std::path::PathBuf;
use std::time::Duration;

/// Runs `causeway agent`.
pub fn run(sourced: Sourced<Agent>) -> Outcome {
    let (check, ready_fd) = (sourced.check_config, sourced.ready_fd);
    let options = resolve(sourced)?;
    let account = options.account.as_deref().map(Account::read).transpose()?.unwrap_or_default();
    let keys = account.policy().map_err(Failure::usage)?;
    let contacts = contacts(options.contact, account.contact)?;
    let proxy = options.proxy.map(|proxy| http_proxy(&proxy.0)).transpose()?;
    let listen = roles::concrete(required(options.listen, "listen")?, "listen")?;
    let trust = trust(options.pin, options.ca, account.pin)?;
    let mut config = AgentConfig::leading_to(contacts, listen);
    config.keys = keys;
    config.marks = options.carrying.marks()?;
    options.carrying.tune(&mut config.tunnel);
    if check {
        return Ok(());
    }
    let data = dirs::data(options.data, "agent")?;
    let leads_to = config.contacts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", then ");
    config.proxy = proxy;
    config.on_demand = options.on_demand.map(Duration::from_secs);
    config.instance = Some(roles::instance(&data)?);
    let workers = vec![Worker::new("agent").options(options.carrying.options()).node(roles::agent(
        "agent",
        config,
        &trust,
        Some(&data),
    )?)];
    let service = Service {
        workers,
        data: &data,
        ready_fd,
        reload: Reload::default(),
        drain_grace: options.carrying.drain_grace(),
        metrics: options.metrics,
    };
    service.run(|| {
        tracing::info!("phones find their outbound proxy at {listen}; the tunnel leads to {leads_to}")
    })
}

/// The contact points given, else the one of the account.
///
/// # Errors
/// If there is none, or one is no address.
pub fn contacts(given: Vec<String>, account: Option<String>) -> Result<Vec<ContactAddress>, Failure> {
    let given = if given.is_empty() { account.into_iter().collect() } else { given };
    if given.is_empty() {
        return required(None, "contact");
    }
    given.iter().map(|text| contact(text)).collect()
}

/// Whom to believe: a pin given, roots given, the account's pin, else the system's roots.
///
/// # Errors
/// If the pin is none.
pub fn trust(pin: Option<String>, ca: Option<PathBuf>, account: Option<String>) -> Result<Trust, Failure> {
    let read = |pin: String| {
        let pin = pin.parse::<Pin>().map_err(|error| Failure::usage(format!("--pin: {error}")))?;
        Ok(Trust::Pin(pin))
    };
    match (pin, ca, account) {
        (Some(pin), _, _) => read(pin),
        (None, Some(ca), _) => Ok(Trust::Roots(ca)),
        (None, None, Some(pin)) => read(pin),
        (None, None, None) => Ok(Trust::System),
    }
}

/// `HOST`, `HOST:PORT`, `IP:PORT` or `[IPv6]:PORT`.
fn contact(text: &str) -> Result<ContactAddress, Failure> {
    let wrong = || Failure::usage(format!("--contact {text}: it must be HOST or HOST:PORT"));
    let (host, port) = host_and_port(text).ok_or_else(wrong)?;
    Ok(ContactAddress { host, port })
}

fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port.parse().ok()?)),
        _ => (text, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let good = !host.is_empty() && port != Some(0) && !host.contains(['/', '@', ' ']);
    good.then(|| (host.to_owned(), port))
}

/// `http://[USER:PASSWORD@]HOST[:PORT]`; user and password may be percent-encoded (RFC 3986 §2.1).
///
/// # Errors
/// If it is not that; the text is not repeated, since it may hold a password.
pub fn http_proxy(text: &str) -> Result<HttpProxy, Failure> {
    let wrong = || Failure::usage("--proxy: it must be http://HOST:PORT or http://USER:PASSWORD@HOST:PORT");
    let rest = text.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
    let (credentials, place) = match rest.rsplit_once('@') {
        Some((credentials, place)) => {
            let (user, password) = credentials.split_once(':').ok_or_else(wrong)?;
            (Some((decoded(user).ok_or_else(wrong)?, decoded(password).ok_or_else(wrong)?)), place)
        }
        None => (None, rest),
    };
    let (host, port) = host_and_port(place).ok_or_else(wrong)?;
    // RFC 7617 §2: a user with a colon cannot be told from its password.
    if credentials.as_ref().is_some_and(|(user, _)| user.contains(':')) {
        return Err(wrong());
    }
    Ok(HttpProxy { host, port: port.unwrap_or(80), credentials })
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(16 * digit(rest.next()?)? + digit(rest.next()?)?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let read = |text| contact(text).ok().map(|contact| (contact.host, contact.port));
        assert_eq!(read("sip.example.com"), Some(("sip.example.com".into(), None)));
        assert_eq!(read("192.0.2.1:8443"), Some(("192.0.2.1".into(), Some(8443))));
        assert_eq!(read("[2001:db8::1]:8443"), Some(("2001:db8::1".into(), Some(8443))));
        assert_eq!(read("2001:db8::1"), Some(("2001:db8::1".into(), None)));
        assert!(read(":443").is_none() && read("a:b").is_none() && read("a:0").is_none());
    }

    #[test]
    fn proxies() {
        let read = |text| http_proxy(text).ok();
        let plain = HttpProxy { host: "proxy.example".into(), port: 3128, credentials: None };
        assert_eq!(read("http://proxy.example:3128/"), Some(plain));
        let with = read("http://al%40x:p%3A%2f%C3%A9@192.0.2.1").unwrap();
        assert_eq!((with.port, with.credentials), (80, Some(("al@x".into(), "p:/é".into()))));
        for wrong in
            ["proxy:3128", "https://proxy", "http://", "http://u@h", "http://a%3Ab:c@h", "http://%zz:c@h"]
        {
            assert!(read(wrong).is_none(), "{wrong}");
        }
        let why = http_proxy("https://u:hunter2@h").unwrap_err().to_string();
        assert!(!why.contains("hunter2"), "{why}");
    }
}
