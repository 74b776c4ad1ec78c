//! Many agents on one contact point: what an idle tunnel costs, and how fast all come back.
//!
//! `tunnels [IDLE] [RETURNING]` (defaults 10,000 and 1,000): opens so many idle tunnels and states the memory of the
//! contact point; then so many agents with a registration each lose their connections at the same moment, and come back:
//! by their tickets, then by registering again. The contact point has its records on disk. The contact point is a process of its own (`tunnels serve`), the agents live in this one.
#![allow(clippy::print_stdout, reason = "a benchmark answers on standard output")]

mod agents;

use agents::{Agents, Progress};
use anyhow::{Context, Result, bail};
use causeway_bench::cpu;
use causeway_bench::process::Process;
use causeway_node::Record;
use causeway_runtime::tls::{Client, Pin, Server, Trust};
use causeway_runtime::{Handle, Options, Persister, Setup, Worker};
use causeway_sip::{Message, response_to};
use causeway_split_proxy::{ContactConfig, ContactPoint};
use causeway_store::Store;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const TUNNEL: &str = "127.0.0.1:24431";
const SIP: &str = "127.0.0.1:25061";
const SERVER: &str = "127.0.0.1:26061";

struct Disk(Store);

impl Persister for Disk {
    fn commit(&mut self, records: &[Record]) -> Result<(), String> {
        self.0.commit(records).map_err(|error| error.to_string())
    }
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, folder] = args.as_slice()
        && first == "serve"
    {
        return serve(Path::new(folder));
    }
    let number = |place: usize, default: usize| args.get(place).map_or(Ok(default), |text| text.parse());
    let (idle, returning) = (number(0, 10_000)?, number(1, 1_000)?);
    registrar()?;
    let folder = tempfile::tempdir()?;
    let (contact, pin) = contact(folder.path())?;
    let before = resident(contact.id())?;
    let worker = agents(pin, idle)?;
    let took = until(&worker, idle, |progress| progress.up)?;
    // What a handshake needs is given back.
    thread::sleep(Duration::from_secs(5));
    let used = resident(contact.id())? - before;
    println!(
        "{idle} idle tunnels up in {:.1} s; {:.1} kB each",
        took.as_secs_f64(),
        used as f64 / idle as f64 / 1e3
    );
    let spent = cpu::nanos(contact.id())?;
    thread::sleep(Duration::from_secs(30));
    let spent = cpu::nanos(contact.id())? - spent;
    println!("{idle} idle tunnels take {:.2} % of a core", spent as f64 / 30e9 * 100.0);
    worker.stop();
    drop(contact);

    let (_contact, pin) = self::contact(folder.path())?;
    let worker = agents(pin, returning)?;
    until(&worker, returning, |progress| progress.registered.min(progress.tickets))?;
    for (go_on, how) in [(true, "have gone on by their tickets"), (false, "are registered again")] {
        worker.with::<Agents, _>("agents", move |agents, ctx, out| agents.again(ctx.now, go_on, out))?;
        let took = until(&worker, returning, |progress| progress.registered)?;
        println!("{returning} agents cut off at once {how} after {:.2} s", took.as_secs_f64());
        until(&worker, returning, |progress| progress.tickets)?;
    }
    worker.stop();
    Ok(())
}

fn agents(pin: Pin, count: usize) -> Result<Handle> {
    let options = Options { max_connections: 4 * count, max_handshakes: count, ..Options::default() };
    let node =
        Setup::new("agents", Agents::new(TUNNEL.parse()?, count)).client(Client::new(&Trust::Pin(pin))?);
    let (handle, _thread) = Worker::new("agents").options(options).node(node).spawn()?;
    handle.ready(Duration::from_secs(10)).map_err(anyhow::Error::msg)?;
    Ok(handle)
}

/// Waits until all have come so far; how long it took.
fn until(worker: &Handle, count: usize, far: impl Fn(Progress) -> usize) -> Result<Duration> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(120) {
        let progress = worker.with::<Agents, _>("agents", |agents, _, _| agents.progress())?;
        if far(progress) >= count {
            return Ok(begun.elapsed());
        }
        thread::sleep(Duration::from_millis(10));
    }
    let progress = worker.with::<Agents, _>("agents", |agents, _, _| agents.progress())?;
    bail!("after two minutes: {progress:?} of {count}")
}

/// Answers every REGISTER.
fn registrar() -> Result<()> {
    let socket = UdpSocket::bind(SERVER)?;
    thread::spawn(move || -> Result<()> {
        let mut buffer = [0; 65_536];
        loop {
            let (length, from) = socket.recv_from(&mut buffer)?;
            let Ok(message) = Message::parse(buffer[..length].to_vec()) else { continue };
            let msg = message.msg();
            let contact = msg.contact().map(|contact| String::from_utf8_lossy(contact.uri).into_owned());
            let answer = response_to(msg, 200, None, Some(b"srv"));
            let answer = answer.header("Contact", format!("<{}>;expires=3600", contact.unwrap_or_default()));
            socket.send_to(&answer.finish(), from)?;
        }
    });
    Ok(())
}

fn contact(folder: &Path) -> Result<(Process, Pin)> {
    let own = std::env::current_exe()?;
    let mut process = Process::start(Command::new(own).arg("serve").arg(folder).stdout(Stdio::piped()))?;
    let output = process.child().stdout.take().context("no standard output")?;
    let line = BufReader::new(output).lines().next().context("the contact point has not started")??;
    Ok((process, line.parse()?))
}

fn serve(folder: &Path) -> Result<()> {
    let (tunnel, sip, server): (SocketAddr, SocketAddr, SocketAddr) =
        (TUNNEL.parse()?, SIP.parse()?, SERVER.parse()?);
    let mut config = ContactConfig::new(tunnel, sip, server);
    // They all come from one address, and at once.
    config.limits.tunnels_per_address = usize::MAX;
    let tls = Server::self_made(folder)?;
    let pin = tls.pin();
    let options = Options {
        max_connections: 40_000,
        max_handshakes: 40_000,
        max_handshakes_per_address: 40_000,
        ..Options::default()
    };
    let disk = Disk(Store::open(folder, "contact.db")?);
    let setup = Setup::new("contact", ContactPoint::new(config, [])).server(tls).persister(disk);
    let (handle, thread) = Worker::new("contact").options(options).node(setup).spawn()?;
    handle.ready(Duration::from_secs(10)).map_err(anyhow::Error::msg)?;
    println!("{pin}");
    thread.join().map_err(|_| anyhow::anyhow!("the contact point has panicked"))??;
    Ok(())
}

/// Resident memory in bytes (proc(5)).
fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
