//! The exchange on its driver as `causeway up` runs it, with settings that the command line does not offer.

use crate::server::{ADDRESS, DOMAIN};
use anyhow::{Context, Result, bail};
use causeway_exchange::{Config, Exchange, Location};
use causeway_node::{Credential, Credentials, Record};
use causeway_runtime::{Authority, Persister, Setup, Worker};
use causeway_store::Store;
use causeway_store::record::{Binding, Kind};
use causeway_subscribers::Subscribers;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

struct Disk(Store);

impl Persister for Disk {
    fn commit(&mut self, records: &[Record]) -> Result<(), String> {
        self.0.commit(records).map_err(|error| error.to_string())
    }
}

struct Known(Subscribers);

impl Authority for Known {
    fn check(&mut self, credential: &Credential) -> Credentials {
        self.0.check(credential)
    }
}

/// Runs until it is killed: `DIGEST DURABLE FOLDER`.
pub fn run(args: &[String]) -> Result<()> {
    let [digest, durable, folder] = args else { bail!("serve DIGEST DURABLE FOLDER") };
    let (digest, durable): (bool, bool) = (digest.parse()?, durable.parse()?);
    let folder = Path::new(folder);
    let mut config = Config::new(DOMAIN, ADDRESS.parse()?);
    config.authenticate = digest;
    let store = Store::open(folder, "exchange.db")?;
    let unix_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let location = Location::restore(store.load(Binding::SPACE)?, unix_ms);
    let exchange = Exchange::new(config, None, rand::random(), location);
    let known = Known(Subscribers::open(Store::open(folder, "subscribers.db")?)?);
    let mut setup = Setup::new("exchange", exchange).authority(known);
    if durable {
        setup = setup.persister(Disk(store));
    }
    let (handle, thread) = Worker::new("exchange").node(setup).spawn()?;
    handle.ready(Duration::from_secs(10)).map_err(anyhow::Error::msg)?;
    let mut out = std::io::stdout();
    writeln!(out, "READY=1").and_then(|()| out.flush())?;
    thread.join().ok().context("the worker has panicked")??;
    Ok(())
}
