//! `causeway up`, `causeway exchange` and `causeway contact`: the operator's side.

use crate::cli::{Contact, Exchange, LanMedia, Sourced, Up};
use crate::dirs;
use crate::exchange::Plan;
use crate::exit::{Failure, Outcome};
use crate::reload::{Reload, Settings};
use crate::roles;
use crate::service::{DRAINING, Service};
use crate::settings::{required, resolve};
use causeway_sip::Uri;
use causeway_sip::transaction::Transport;
use causeway_split_proxy::{Cidr, ContactConfig, Mode};
use causeway_tunnel::key::Assurance;
use std::net::SocketAddr;

/// The contact point of `up` speaks to the exchange from this many ports above it.
const CONTACT_OFFSET: u16 = 10;

/// Runs `causeway up`.
pub fn up(sourced: Sourced<Up>) -> Outcome {
    let (check, ready_fd, file) = (sourced.check_config, sourced.ready_fd, sourced.config.clone());
    let options = resolve(sourced)?;
    let exchange = Plan::new(&options.exchange)?;
    let (domain, sip) = (exchange.config.domain.clone(), exchange.config.sip);
    let tunnel = required(options.tunnel, "tunnel")?;
    let beside = SocketAddr::new(sip.ip(), sip.port().wrapping_add(CONTACT_OFFSET));
    let mut config = ContactConfig::new(tunnel, beside, sip);
    config.media = roles::media(config.media, options.media.as_deref())?;
    config.media_allow = networks(&options.media_allow)?;
    config.min_assurance = options.min_assurance.unwrap_or_default();
    config.marks = options.carrying.marks()?;
    config.local_media = options.lan_media != Some(LanMedia::Anchored);
    options.carrying.tune(&mut config.tunnel);
    if check {
        return Ok(());
    }
    let count = options.media_workers.unwrap_or(1);
    let (options, carrying) = (options.exchange, options.carrying);
    let drain_grace = carrying.drain_grace();
    config.drain_grace = drain_grace;
    let data = dirs::data(options.data, "up")?;
    let server = roles::certificate(options.cert.as_deref(), options.key.as_deref(), &data)?;
    let pin = server.pin();
    let mut reload = Reload { settings: file.as_deref().and_then(Settings::new), ..Reload::default() };
    reload.servers.push(server.clone());
    let mut workers = exchange.workers(&data, &mut reload)?;
    let contacts = roles::contacts(config, &server, &data, Some(&data), count)?;
    workers.extend(contacts.into_iter().map(|contact| contact.options(carrying.options())));
    let metrics = options.metrics;
    let service = Service { workers, data: &data, ready_fd, reload, drain_grace, metrics };
    service.run(|| {
        println!("pin: {pin}");
        tracing::info!(
            "{domain} is served at {sip}, agents connect to {tunnel}, state lies in {}",
            data.display()
        );
    })
}

/// Runs `causeway exchange`.
pub fn exchange(sourced: Sourced<Exchange>) -> Outcome {
    let (check, ready_fd, file) = (sourced.check_config, sourced.ready_fd, sourced.config.clone());
    let options = resolve(sourced)?.exchange;
    let exchange = Plan::new(&options)?;
    if check {
        return Ok(());
    }
    let (domain, sip) = (exchange.config.domain.clone(), exchange.config.sip);
    let data = dirs::data(options.data, "exchange")?;
    let mut reload = Reload { settings: file.as_deref().and_then(Settings::new), ..Reload::default() };
    let workers = exchange.workers(&data, &mut reload)?;
    let (drain_grace, metrics) = (DRAINING, options.metrics);
    let service = Service { workers, data: &data, ready_fd, reload, drain_grace, metrics };
    service.run(|| tracing::info!("{domain} is served at {sip}, state lies in {}", data.display()))
}

/// Runs `causeway contact`.
pub fn contact(sourced: Sourced<Contact>) -> Outcome {
    let (check, ready_fd) = (sourced.check_config, sourced.ready_fd);
    let options = resolve(sourced)?;
    let tunnel = required(options.tunnel, "tunnel")?;
    let sip = roles::concrete(required(options.sip, "sip")?, "sip")?;
    let (upstream, transport) = upstream(&required(options.upstream, "upstream")?)?;
    let mut config = ContactConfig::new(tunnel, sip, upstream);
    config.upstream_transport = transport;
    config.media = roles::media(config.media, options.media.as_deref())?;
    config.media_allow = networks(&options.media_allow)?;
    config.marks = options.carrying.marks()?;
    config.local_media = options.lan_media != Some(LanMedia::Anchored);
    options.carrying.tune(&mut config.tunnel);
    let drain_grace = options.carrying.drain_grace();
    config.drain_grace = drain_grace;
    config.mode = if options.path { Mode::Path } else { Mode::Plain };
    config.min_assurance = options.min_assurance.unwrap_or_default();
    if config.min_assurance >= Assurance::Digest && options.subscribers.is_none() {
        return Err(Failure::usage("--min-assurance digest: that needs --subscribers"));
    }
    if let Some(folder) = options.subscribers.as_deref().filter(|dir| !dir.join("subscribers.db").is_file()) {
        return Err(Failure::usage(format!(
            "--subscribers {}: there is no subscribers.db",
            folder.display()
        )));
    }
    if check {
        return Ok(());
    }
    let data = dirs::data(options.data, "contact")?;
    let server = roles::certificate(options.cert.as_deref(), options.key.as_deref(), &data)?;
    let pin = server.pin();
    let count = options.workers.unwrap_or(1);
    let contacts = roles::contacts(config, &server, &data, options.subscribers.as_deref(), count)?;
    let workers = contacts.into_iter().map(|contact| contact.options(options.carrying.options())).collect();
    let reload = Reload { servers: vec![server], ..Reload::default() };
    let metrics = options.metrics;
    let service = Service { workers, data: &data, ready_fd, reload, drain_grace, metrics };
    service.run(|| {
        println!("pin: {pin}");
        tracing::info!(
            "agents connect to {tunnel}, requests go to {upstream}, state lies in {}",
            data.display()
        );
    })
}

fn networks(texts: &[String]) -> Result<Vec<Cidr>, Failure> {
    let read =
        |text: &String| text.parse().map_err(|error| Failure::usage(format!("--media-allow: {error}")));
    texts.iter().map(read).collect()
}

/// `sip:IP:PORT`, with `;transport=tcp` for TCP.
fn upstream(text: &str) -> Result<(SocketAddr, Transport), Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!(
            "--upstream {text}: {why}; it must be sip:IP:PORT, with ;transport=tcp for TCP"
        ))
    };
    let uri =
        Uri::parse(text.as_bytes()).filter(|uri| uri.scheme.is_sip()).ok_or_else(|| wrong("no SIP URI"))?;
    let ip = causeway_sip::parse_ip(uri.host).ok_or_else(|| wrong("the host must be an address"))?;
    let transport = match uri.transport() {
        None => Transport::Udp,
        Some(name) if name.eq_ignore_ascii_case(b"udp") => Transport::Udp,
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(_) => return Err(wrong("unknown transport")),
    };
    Ok((SocketAddr::new(ip, uri.port.unwrap_or(5060)), transport))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams() {
        assert_eq!(
            upstream("sip:192.0.2.1:5070").unwrap(),
            ("192.0.2.1:5070".parse().unwrap(), Transport::Udp)
        );
        let (address, transport) = upstream("sip:[2001:db8::1];transport=tcp").unwrap();
        assert_eq!((address, transport), ("[2001:db8::1]:5060".parse().unwrap(), Transport::Tcp));
        for wrong in ["192.0.2.1:5060", "sip:example.com", "sip:192.0.2.1;transport=sctp", "tel:1"] {
            assert!(upstream(wrong).is_err(), "{wrong}");
        }
    }
}
