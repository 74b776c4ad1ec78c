//! The way to a contact point: name, port, proxy.

use super::report::{Finding, Report};
use causeway_node::{DnsRecord, Through};
use causeway_runtime::probe;
use causeway_sip::locate::in_srv_order;
use causeway_split_proxy::{ContactAddress, HttpProxy};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long a port may take to open, and a proxy to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that leads to a contact point, as far as TCP can tell.
pub struct Way {
    pub stream: TcpStream,
    pub address: ContactAddress,
}

/// Finds the way; what goes wrong is in the report.
pub fn find(contact: &ContactAddress, proxy: Option<&HttpProxy>, report: &mut Report) -> Option<Way> {
    match proxy {
        Some(proxy) => through_proxy(contact, proxy, report),
        None => directly(contact, report),
    }
}

fn directly(contact: &ContactAddress, report: &mut Report) -> Option<Way> {
    let hosts = services(contact, report);
    let mut refused = Vec::new();
    for (host, port) in &hosts {
        let addresses = addresses(host, *port, report)?;
        match open(&addresses, report) {
            Ok(stream) => return Some(Way { stream, address: contact.clone() }),
            Err(why) => refused.push(why),
        }
    }
    report.add(refused.into_iter().next_back()?);
    None
}

/// Hosts and ports, by SRV where no port is named.
fn services(contact: &ContactAddress, report: &mut Report) -> Vec<(String, u16)> {
    let host = || (contact.host.clone(), contact.port.unwrap_or(ContactAddress::HTTPS));
    if contact.port.is_some() || contact.host.parse::<IpAddr>().is_ok() {
        return vec![host()];
    }
    let records: Vec<DnsRecord> = probe::services(&format!("_causeway._tcp.{}", contact.host));
    let found = in_srv_order(&records, &mut rand::rng());
    if found.is_empty() {
        return vec![host()];
    }
    let shown = found.iter().map(|(host, port)| format!("{host}:{port}")).collect::<Vec<_>>().join(", ");
    report.add(Finding::good("service", format!("{} is offered by {shown}", contact.host)));
    found
}

fn addresses(host: &str, port: u16, report: &mut Report) -> Option<Vec<SocketAddr>> {
    let looked = (host, port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    match looked {
        Ok(addresses) if !addresses.is_empty() => {
            let shown = addresses.iter().map(|a| a.ip().to_string()).collect::<Vec<_>>().join(", ");
            report.add(Finding::good("name", format!("{host} is {shown}")));
            Some(addresses)
        }
        Ok(_) => unresolved(host, "it has no address", report),
        Err(error) => unresolved(host, &error.to_string(), report),
    }
}

fn unresolved<T>(host: &str, why: &str, report: &mut Report) -> Option<T> {
    report.add(Finding::bad(
        "name",
        format!("{host} does not resolve: {why}"),
        format!("check the spelling, and whether this machine can resolve other names (getent hosts {host})"),
    ));
    None
}

fn open(addresses: &[SocketAddr], report: &mut Report) -> Result<TcpStream, Finding> {
    let mut why = None;
    for address in addresses {
        let begun = Instant::now();
        match TcpStream::connect_timeout(address, PATIENCE).and_then(patient) {
            Ok(stream) => {
                let took = begun.elapsed().as_secs_f64() * 1000.0;
                report.add(Finding::good("port", format!("{address} is open ({took:.0} ms)")));
                return Ok(stream);
            }
            Err(error) => why = Some(closed(*address, &error)),
        }
    }
    Err(why.unwrap_or_else(|| Finding::bad("port", "no address to connect to", "")))
}

fn closed(address: SocketAddr, error: &io::Error) -> Finding {
    let (found, advice) = match error.kind() {
        io::ErrorKind::ConnectionRefused => (
            format!("{address} refuses: nothing listens there"),
            "check the port, and ask the operator whether the contact point runs; a firewall may refuse as well",
        ),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => (
            format!(
                "{address} does not answer within {} s: a firewall drops it, or the host is down",
                PATIENCE.as_secs()
            ),
            "try port 443 if it is another; ask whoever runs the firewall, or give its HTTP proxy (--proxy)",
        ),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => (
            format!("{address} cannot be reached: {error}"),
            "check this machine's network: address, default route, cable",
        ),
        _ => (format!("{address}: {error}"), "check the network between here and there"),
    };
    Finding::bad("port", found, advice)
}

fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn through_proxy(contact: &ContactAddress, proxy: &HttpProxy, report: &mut Report) -> Option<Way> {
    let addresses = addresses(&proxy.host, proxy.port, report)?;
    let mut stream = match open(&addresses, report) {
        Ok(stream) => stream,
        Err(finding) => {
            report.add(Finding {
                advice: "check --proxy: the proxy itself is not reachable".to_owned(),
                ..finding
            });
            return None;
        }
    };
    let port = contact.port.unwrap_or(ContactAddress::HTTPS);
    let asked = Through { host: contact.host.clone(), port, credentials: proxy.credentials.clone() };
    match probe::through(&mut stream, &asked) {
        Ok(()) => {
            report.add(Finding::good("proxy", format!("it leads to {} port {port}", contact.host)));
            Some(Way { stream, address: contact.clone() })
        }
        Err(why) => {
            let advice = "check user and password in --proxy, and that the proxy lets CONNECT through to this host and port";
            report.add(Finding::bad("proxy", why, advice));
            None
        }
    }
}
