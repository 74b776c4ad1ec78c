//! Roles as they are deployed: a node, its store, its certificates, on a worker of its own.

use crate::exit::Failure;
use crate::glue::{BestEffort, Disk, keys, random};
use causeway_node::Record;
use causeway_runtime::tls::{Client, Server, Trust, create_private_dir};
use causeway_runtime::{Membership, Setup, Worker};
use causeway_split_proxy::{
    AGENT_SPACES, Agent, AgentConfig, CONTACT_SPACES, ContactConfig, ContactPoint, MediaConfig, Seat,
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
    config: ContactConfig,
    server: Server,
    data: &Path,
    subscribers: Option<&Path>,
) -> Result<Worker, Failure> {
    Ok(Worker::new("contact").node(contact_node(config, server, data, subscribers)?))
}

fn contact_node(
    mut config: ContactConfig,
    server: Server,
    data: &Path,
    subscribers: Option<&Path>,
) -> Result<Setup, Failure> {
    config.digest_keys = subscribers.is_some();
    let store = Store::open(data, "contact.db")?;
    let node = ContactPoint::new(config, records(&store, CONTACT_SPACES)?);
    let mut setup = Setup::new("contact", node).persister(Disk(store)).server(server);
    if let Some(folder) = subscribers {
        setup = setup.authority_apart(keys(folder)?);
    }
    Ok(setup)
}

/// Several contact points side by side, each on a worker of its own with a share of the agents: they share the address for
/// tunnels and the certificate. The first has the folder and the SIP port of one that is alone; number `n` has the folder
/// `worker-n` in it, the SIP port `n` above, and all have as many of the media ports. What belonged to more of them than
/// there are now is removed.
///
/// # Errors
/// If there are too few ports, or a database cannot be opened.
pub fn contacts(
    config: ContactConfig,
    server: &Server,
    data: &Path,
    subscribers: Option<&Path>,
    count: u16,
) -> Result<Vec<Worker>, Failure> {
    forget_others(data, count)?;
    if count <= 1 {
        return Ok(vec![contact(config, server.clone(), data, subscribers)?]);
    }
    let configs = shares(&config, count)?;
    let places = Membership::group(count);
    let mut workers = Vec::new();
    for ((number, config), place) in configs.into_iter().enumerate().zip(places) {
        let (name, folder) = match number {
            0 => ("contact".to_owned(), data.to_owned()),
            _ => (format!("contact-{number}"), data.join(format!("{FOLDER}{number}"))),
        };
        create_private_dir(&folder)
            .map_err(|error| Failure::unreachable(format!("{}: {error}", folder.display())))?;
        let setup = contact_node(config, server.clone(), &folder, subscribers)?;
        workers.push(Worker::new(name).node(setup.member(place)));
    }
    Ok(workers)
}

/// The folders of further contact points are called so, with their number.
const FOLDER: &str = "worker-";
/// A contact point that has fewer pairs of media ports than this is of no use.
const FEWEST_PAIRS: u16 = 64;

/// The settings of each of several contact points.
fn shares(config: &ContactConfig, count: u16) -> Result<Vec<ContactConfig>, Failure> {
    let first = config.media.low.saturating_add(config.media.low % 2);
    let pairs = (config.media.high.saturating_sub(first).saturating_add(1)) / 2 / count;
    if pairs < FEWEST_PAIRS {
        let why =
            format!("{count} workers need a range of {} media ports at least", 2 * FEWEST_PAIRS * count);
        return Err(Failure::usage(why));
    }
    let sip = |number: u16| {
        let port = config.sip.port().checked_add(number);
        port.map(|port| SocketAddr::new(config.sip.ip(), port))
            .ok_or_else(|| Failure::usage(format!("there are no {count} SIP ports from {} on", config.sip)))
    };
    let own = (0..count).map(sip).collect::<Result<Vec<_>, _>>()?;
    let share = |number: u16| {
        let mut config = config.clone();
        config.seat = Seat { own: number, of: count };
        config.sip = own.get(usize::from(number)).copied().unwrap_or(config.sip);
        // No media may be aimed at the others' SIP ports either.
        config.services.extend(&own);
        config.media.low = first + 2 * pairs * number;
        config.media.high = config.media.low + 2 * pairs - 1;
        config
    };
    Ok((0..count).map(share).collect())
}

/// Removes what contact points have left that there are no more.
fn forget_others(data: &Path, count: u16) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::unreachable(format!("{}: {error}", data.display()));
    for entry in std::fs::read_dir(data).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(FOLDER)?.parse::<u16>().ok());
        if number.is_some_and(|number| number >= count.max(1)) {
            tracing::warn!(
                "{}: that worker is no more; what it has held is forgotten",
                entry.path().display()
            );
            std::fs::remove_dir_all(entry.path()).map_err(fail)?;
        }
    }
    Ok(())
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
    fn several_contact_points_have_ports_of_their_own() {
        let (tunnel, sip) = ("192.0.2.1:443".parse().unwrap(), "192.0.2.1:5060".parse().unwrap());
        let mut config = ContactConfig::new(tunnel, sip, "192.0.2.2:5060".parse().unwrap());
        (config.media.low, config.media.high) = (20_001, 21_000);
        let given = shares(&config, 3).ok().unwrap();
        let ports: Vec<_> = given.iter().map(|c| (c.sip.port(), c.media.low, c.media.high)).collect();
        assert_eq!(ports, [(5060, 20_002, 20_333), (5061, 20_334, 20_665), (5062, 20_666, 20_997)]);
        assert_eq!(given[2].seat, Seat { own: 2, of: 3 });
        assert!(given[0].services.contains(&"192.0.2.1:5062".parse().unwrap()));
        config.media.high = 20_200;
        assert!(shares(&config, 2).is_err(), "too few ports");
        config.media.high = 29_999;
        config.sip.set_port(65_535);
        assert!(shares(&config, 2).is_err(), "no port above");
    }

    #[test]
    fn each_has_a_folder() {
        let data = tempfile::tempdir().unwrap();
        let (tunnel, sip) = ("127.0.0.1:0".parse().unwrap(), "127.0.0.1:5060".parse().unwrap());
        let config = ContactConfig::new(tunnel, sip, "127.0.0.1:5070".parse().unwrap());
        let server = Server::self_made(data.path()).unwrap();
        let workers = contacts(config.clone(), &server, data.path(), None, 2).ok().unwrap();
        assert!(workers.len() == 2 && data.path().join("worker-1/contact.db").exists());
        drop(workers);
        assert_eq!(contacts(config, &server, data.path(), None, 1).ok().unwrap().len(), 1);
        assert!(!data.path().join("worker-1").exists());
    }

    #[test]
    fn what_workers_that_are_no_more_have_left_is_removed() {
        let data = tempfile::tempdir().unwrap();
        for name in ["worker-1", "worker-2", "worker-x", "other"] {
            std::fs::create_dir(data.path().join(name)).unwrap();
        }
        forget_others(data.path(), 2).ok().unwrap();
        let left = |name: &str| data.path().join(name).exists();
        assert!(left("worker-1") && !left("worker-2") && left("worker-x") && left("other"));
        forget_others(data.path(), 1).ok().unwrap();
        assert!(!left("worker-1"));
    }

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
