//! Roles as they are deployed: a node, its store, its certificates, on a worker of its own.

use crate::exit::Failure;
use crate::glue::{BestEffort, Disk, keys, random};
use causeway_node::Record;
use causeway_runtime::tls::{Client, Server, Trust};
use causeway_runtime::{Setup, Worker};
use causeway_split_proxy::{
    AGENT_SPACES, Agent, AgentConfig, CONTACT_SPACES, ContactConfig, ContactPoint, MediaConfig,
};
use causeway_store::Store;
use causeway_tunnel::Instance;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// A contact point with what it had before: tokens, sessions, calls. With the folder of a subscriber database it can
/// agree on keys of the assurance digest; what it gets from there is derived keys, never a secret.
///
/// # Errors
/// If a database cannot be opened.
pub fn contact(
    mut config: ContactConfig,
    server: Server,
    data: &Path,
    subscribers: Option<&Path>,
) -> Result<Worker, Failure> {
    config.digest_keys = subscribers.is_some();
    let store = Store::open(data, "contact.db")?;
    let node = ContactPoint::new(config, records(&store, CONTACT_SPACES)?);
    let mut setup = Setup::new("contact", node).persister(Disk(store)).server(server);
    if let Some(folder) = subscribers {
        setup = setup.authority(keys(folder)?);
    }
    Ok(Worker::new("contact").node(setup))
}

/// An agent as a node, for a worker of its own or beside the phone that embeds it. With a folder its calls survive
/// the end of its process; the kernel may take its time to write them down, since a machine that loses power loses
/// its calls anyhow.
///
/// # Errors
/// If its database cannot be opened, or the roots that it should trust cannot be read.
pub fn agent(name: &str, config: AgentConfig, trust: &Trust, data: Option<&Path>) -> Result<Setup, Failure> {
    let client = Client::new(trust).map_err(|error| Failure::usage(error.to_string()))?;
    let Some(data) = data else { return Ok(Setup::new(name, Agent::new(config, [])).client(client)) };
    let store = Store::open_unsynced(data, "agent.db")?;
    let agent = Agent::new(config, records(&store, AGENT_SPACES)?);
    Ok(Setup::new(name, agent).client(client).persister(BestEffort::new(store)))
}

/// Everything in these spaces.
fn records(store: &Store, spaces: &[&'static str]) -> Result<Vec<Record>, Failure> {
    let mut records = Vec::new();
    for space in spaces {
        let stored = store.load(space)?.into_iter();
        records.extend(stored.map(|(key, value)| Record { space, key, value: Some(value) }));
    }
    Ok(records)
}

/// The certificate of a contact point: the files given, or one of its own making.
///
/// # Errors
/// If only one of the two is given, or they cannot be read.
pub fn certificate(cert: Option<&Path>, key: Option<&Path>, data: &Path) -> Result<Server, Failure> {
    let server = match (cert, key) {
        (Some(cert), Some(key)) => Server::from_pem(cert, key),
        (None, None) => Server::self_made(data),
        _ => return Err(Failure::usage("--cert and --key belong together")),
    };
    server.map_err(|error| Failure::usage(error.to_string()))
}

/// The identity by which a contact point knows this agent again; made once, readable by its owner only.
///
/// # Errors
/// If it cannot be read or made.
pub fn instance(data: &Path) -> Result<Instance, Failure> {
    let store = Store::open(data, "agent.db")?;
    let (space, key) = ("agent.instance", b"");
    if let Some(known) = store.get(space, key)?.and_then(|bytes| bytes.try_into().ok()) {
        return Ok(Instance(known));
    }
    let fresh: [u8; 16] = random();
    let mut store = store;
    store.commit(&[Record { space, key: key.to_vec(), value: Some(fresh.to_vec()) }])?;
    Ok(Instance(fresh))
}

/// `IP:LOW-HIGH`.
///
/// # Errors
/// If it is not that.
pub fn media_range(text: &str) -> Result<(IpAddr, u16, u16), Failure> {
    let wrong = || {
        Failure::usage(format!("--media {text}: it must be IP:LOW-HIGH, for instance 192.0.2.1:20000-29999"))
    };
    let (ip, ports) = text.rsplit_once(':').ok_or_else(wrong)?;
    let (low, high) = ports.split_once('-').ok_or_else(wrong)?;
    let ip = ip.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| wrong())?;
    let (low, high) = (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?);
    if low == 0 || low >= high { Err(wrong()) } else { Ok((ip, low, high)) }
}

/// The media settings of a contact point: the default ones, or those of `--media`.
///
/// # Errors
/// If the text is no range.
pub fn media(default: MediaConfig, given: Option<&str>) -> Result<MediaConfig, Failure> {
    let Some(text) = given else { return Ok(default) };
    let (ip, low, high) = media_range(text)?;
    Ok(MediaConfig { ip, low, high, ..default })
}

/// Addresses that are written into messages must be real ones.
///
/// # Errors
/// If it is 0.0.0.0 or ::.
pub fn concrete(address: SocketAddr, option: &str) -> Result<SocketAddr, Failure> {
    match address.ip().is_unspecified() {
        true => Err(Failure::usage(format!(
            "--{option} {address}: others must be able to send there, so name the address itself"
        ))),
        false => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(
            media_range("192.0.2.1:20000-29999").unwrap(),
            ("192.0.2.1".parse().unwrap(), 20000, 29999)
        );
        assert_eq!(
            media_range("[2001:db8::1]:20000-29999").unwrap().0,
            "2001:db8::1".parse::<IpAddr>().unwrap()
        );
        for wrong in
            ["192.0.2.1", "192.0.2.1:20000", "x:1-2", "192.0.2.1:9-8", "192.0.2.1:0-8", "192.0.2.1:1-70000"]
        {
            assert!(media_range(wrong).is_err(), "{wrong}");
        }
    }
}
