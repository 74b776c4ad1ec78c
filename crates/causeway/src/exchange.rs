//! The exchange as its options describe it.

use crate::cli::{Digest, Durability, Exchanging, Keeping, TlsClients};
use crate::exit::Failure;
use crate::glue::{Logbook, authorities, random, unix_ms};
use crate::reload::Reload;
use crate::roles;
use crate::settings::required;
use causeway_exchange::{Calls, Config, Exchange, Keys, Location, Mode, Policy, Shard};
use causeway_runtime::tls::{Client, Clients, Error, Server, Trust};
use causeway_runtime::{LineLog, Membership, Setup, Together, Worker};
use causeway_sip::digest::Algorithm;
use causeway_sip::hub::HepConfig;
use causeway_sip::transaction::Transport;
use causeway_store::record::{Binding, Kind};
use causeway_store::{Logged, Store};
use serde::Deserialize;
use std::net::ToSocketAddrs;
use std::path::{Path, PathBuf};
use std::thread;

/// What is needed to start an exchange, checked.
pub struct Plan {
    /// Its settings.
    pub config: Config,
    server: Option<Server>,
    client: Option<Client>,
    cdr: Option<PathBuf>,
    durability: Durability,
    workers: u16,
}

impl Plan {
    /// An exchange with these settings and nothing beside them.
    pub fn plain(config: Config) -> Self {
        Self { config, server: None, client: None, cdr: None, durability: Durability::Full, workers: 1 }
    }

    /// Checks the options; reads certificates and resolves the capture server, and changes nothing.
    ///
    /// # Errors
    /// If something is missing, does not fit together, or cannot be read.
    pub fn new(options: &Exchanging) -> Result<Self, Failure> {
        let domain = required(options.domain.clone(), "domain")?;
        let sip = roles::concrete(required(options.sip, "sip")?, "sip")?;
        let mut config = Config::new(domain, sip);
        config.algorithms = match options.digest.unwrap_or(Digest::Md5) {
            Digest::Md5 => vec![Algorithm::MD5],
            Digest::Sha256 => vec![Algorithm::SHA256],
            Digest::Both => vec![Algorithm::SHA256, Algorithm::MD5],
        };
        config.mode = match options.mode.unwrap_or_default() {
            Keeping::Stateless => Mode::Stateless,
            Keeping::Transaction => Mode::Transaction,
            Keeping::Call => Mode::Call,
        };
        config.service_route = options.service_route;
        config.tls = options.tls.map(|tls| roles::concrete(tls, "tls")).transpose()?;
        config.capture = capture(options)?;
        config.policy = policy(options)?;
        let server = config.tls.map(|_| server(options)).transpose()?;
        if server.is_none() && options.tls_clients.is_some_and(|clients| clients != TlsClients::None) {
            return Err(Failure::usage("--tls-clients: there are none without --tls"));
        }
        let secure_copies = config.capture.as_ref().is_some_and(|hep| hep.transport == Transport::Tls);
        let client = (server.is_some() || secure_copies).then(|| client(options, server.as_ref()));
        let client = client.transpose()?;
        let durability = options.durability.unwrap_or_default();
        let workers = options.workers.unwrap_or(1);
        if !(1..=Shard::MOST).contains(&workers) {
            return Err(Failure::usage(format!("--workers {workers}: 1 to {}", Shard::MOST)));
        }
        Ok(Self { config, server, client, cdr: options.cdr.clone(), durability, workers })
    }

    /// The exchange on workers of its own, as many as were asked for, with its stored bindings, asking the subscriber
    /// database beside them. What can be read again is added to `reload`. They are to be started in this order, each
    /// when those before it are ready.
    ///
    /// # Errors
    /// If a database or the file of call records cannot be opened.
    pub fn workers(self, data: &Path, reload: &mut Reload) -> Result<Vec<Worker>, Failure> {
        let logged = Logged::open(match self.durability {
            Durability::Full => Store::open(data, "exchange.db")?,
            Durability::Off => Store::open_unsynced(data, "exchange.db")?,
        })?;
        let store = logged.store();
        let count = self.workers;
        let keys: Option<[u8; 32]> = store.get(Keys::SPACE, b"")?.and_then(|secret| secret.try_into().ok());
        let fresh = random();
        // A million of each take seconds: they are read side by side.
        let (locations, subscribers) = thread::scope(|side| {
            let subscribers = side.spawn(|| authorities(data, count));
            let locations = bindings(store, count, keys.unwrap_or(fresh))?;
            let subscribers = subscribers.join();
            let subscribers =
                subscribers.map_err(|_| Failure::unreachable("reading the subscribers has panicked"))?;
            Ok::<_, Failure>((locations, subscribers?))
        })?;
        let mut stored = Vec::new();
        for space in Exchange::spaces() {
            stored.extend(store.load(space)?.into_iter().map(|(key, value)| (space, key, value)));
        }
        let (log, journal) = (Logbook(logged.start()?), self.journal(reload)?);
        reload.servers.extend(self.server.clone());
        reload.clients.extend(self.client.clone());
        let mut node = |location, own| {
            let config = Config { shard: Shard { own, of: count }, ..self.config.clone() };
            let last = own + 1 == count;
            let stored = if last { std::mem::take(&mut stored) } else { stored.clone() };
            Exchange::new(config, keys, fresh, location).restore(stored, unix_ms())
        };
        let nodes = locations.into_iter().zip(0..).map(|(location, own)| node(location, own));
        let setups = nodes.zip(subscribers).map(|(node, subscribers)| {
            let mut setup = Setup::new("exchange", node).authority(subscribers);
            setup = self.server.iter().fold(setup, |setup, server| setup.server(server.clone()));
            setup = self.client.iter().fold(setup, |setup, client| setup.client(client.clone()));
            journal.iter().fold(setup, |setup, log| setup.journal(Calls::JOURNAL, log.clone()))
        });
        if count == 1 {
            let setup = setups.take(1).zip([log]).map(|(setup, log)| setup.persister(log));
            return Ok(setup.map(|setup| Worker::new("exchange").node(setup)).collect());
        }
        let disk = Together::new(log);
        let members = setups.zip(Membership::group(count)).zip(1..);
        let worker = |((setup, place), number): ((Setup, Membership), u16)| {
            Worker::new(format!("exchange-{number}")).node(setup.persister(disk.clone()).member(place))
        };
        Ok(members.map(worker).collect())
    }

    fn journal(&self, reload: &mut Reload) -> Result<Option<LineLog>, Failure> {
        let Some(path) = &self.cdr else { return Ok(None) };
        let log = LineLog::open(path)
            .map_err(|error| Failure::unreachable(format!("--cdr {}: {error}", path.display())))?;
        reload.journals.push(log.clone());
        Ok(Some(log))
    }
}

/// The stored bindings, each with the exchange whose user it is.
fn bindings(store: &Store, count: u16, secret: [u8; 32]) -> Result<Vec<Location>, Failure> {
    let mut fault = None;
    let rows = store.rows(Binding::SPACE).map_while(|row| row.map_err(|error| fault = Some(error)).ok());
    let locations = match count {
        1 => vec![Location::restore(rows, unix_ms())],
        _ => Location::restore_for(count, secret, rows, unix_ms()),
    };
    fault.map_or(Ok(locations), |error| Err(error.into()))
}

fn refused(error: Error) -> Failure {
    Failure::usage(error.to_string())
}

fn server(options: &Exchanging) -> Result<Server, Failure> {
    let (Some(cert), Some(key)) = (&options.cert, &options.key) else {
        return Err(Failure::usage("--tls needs --cert and --key"));
    };
    let roots = || {
        options
            .tls_ca
            .clone()
            .ok_or_else(|| Failure::usage("--tls-clients needs --tls-ca, which certifies them"))
    };
    let clients = match options.tls_clients.unwrap_or_default() {
        TlsClients::None => Clients::Unasked,
        TlsClients::Optional => Clients::Optional(roots()?),
        TlsClients::Required => Clients::Required(roots()?),
    };
    Server::sip(cert, key, clients).map_err(refused)
}

fn client(options: &Exchanging, own: Option<&Server>) -> Result<Client, Failure> {
    let trust = options.tls_ca.clone().map_or(Trust::System, Trust::Roots);
    Client::sip(&trust, own).map_err(refused)
}

/// `[policy]` of the settings file.
fn policy(options: &Exchanging) -> Result<Policy, Failure> {
    let Some(table) = options.policy.clone() else { return Ok(Policy::default()) };
    let policy = Policy::deserialize(table).map_err(|error| error.to_string());
    policy
        .and_then(|policy| policy.check().map(|()| policy))
        .map_err(|why| Failure::usage(format!("[policy]: {why}")))
}

/// `udp:HOST:PORT`, `tcp:HOST:PORT` or `tls:HOST:PORT`.
fn capture(options: &Exchanging) -> Result<Option<HepConfig>, Failure> {
    let Some(url) = &options.hep else { return Ok(None) };
    let wrong = |why: &str| {
        Failure::usage(format!(
            "--hep {url}: {why}; it must be udp:HOST:PORT, tcp:HOST:PORT or tls:HOST:PORT"
        ))
    };
    let (transport, place) = url.split_once(':').ok_or_else(|| wrong("no transport"))?;
    let transport = match transport {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        _ => return Err(wrong("unknown transport")),
    };
    let (host, port) = place.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port: u16 =
        port.parse().ok().filter(|port| *port != 0).ok_or_else(|| wrong("the port is no number"))?;
    let to = (host, port).to_socket_addrs().ok().and_then(|mut found| found.next());
    let to = to.ok_or_else(|| Failure::unreachable(format!("--hep {url}: {host} has no address")))?;
    let agent_id = options.hep_id.unwrap_or(1);
    let key = options.hep_key.clone().map(|key| key.0.into_bytes().into());
    Ok(Some(HepConfig { to, transport, server_name: host.to_owned(), agent_id, key }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Exchanging {
        Exchanging {
            domain: Some("example.com".into()),
            sip: Some(([192, 0, 2, 1], 5060).into()),
            ..Exchanging::default()
        }
    }

    fn fault(options: &Exchanging) -> String {
        Plan::new(options).err().map(|failure| failure.to_string()).unwrap_or_default()
    }

    #[test]
    fn capture_servers() {
        let hep = |url: &str| Exchanging { hep: Some(url.into()), hep_id: Some(7), ..options() };
        let config = Plan::new(&hep("tcp:[2001:db8::1]:9060")).ok().unwrap().config.capture.unwrap();
        assert_eq!((config.to, config.transport), ("[2001:db8::1]:9060".parse().unwrap(), Transport::Tcp));
        assert_eq!(config.agent_id, 7);
        for wrong in ["192.0.2.1:9060", "udp:192.0.2.1", "udp:192.0.2.1:x", "sctp:192.0.2.1:9060", "udp:h:0"]
        {
            assert!(fault(&hep(wrong)).contains("--hep"), "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        let tls = Some(([192, 0, 2, 1], 5061).into());
        assert!(fault(&Exchanging { tls, ..options() }).contains("--cert"));
        let clients = Some(TlsClients::Required);
        assert!(fault(&Exchanging { tls_clients: clients, ..options() }).contains("--tls"));
        let policy: toml::Table = "delivery = \"upwards\"".parse().unwrap();
        assert!(fault(&Exchanging { policy: Some(policy), ..options() }).contains("upwards"));
        let (cert, key) = (Some("c".into()), Some("k".into()));
        let asking = Exchanging { tls, cert, key, tls_clients: clients, ..options() };
        assert!(fault(&asking).contains("--tls-ca"));
    }
}
