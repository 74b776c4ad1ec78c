//! coturn, and clients of it over TLS that send ChannelData (RFC 8656 §12).

use crate::connection::Connection;
use crate::load::{Clock, Manner, Packet, Set, Side};
use crate::udp::Udp;
use anyhow::{Context, Result, bail};
use causeway_bench::process::Process;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const SERVER: &str = "127.0.4.1:5349";
const COOKIE: u32 = 0x2112_a442;
const ALLOCATE: u16 = 0x003;
const CHANNEL_BIND: u16 = 0x009;
const SUCCESS: u16 = 0x100;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_RELAYED_ADDRESS: u16 = 0x0016;
const REQUESTED_TRANSPORT: u16 = 0x0019;
const FIRST_CHANNEL: u16 = 0x4000;
/// Turns of the generator in which each of the clients that read by themselves has done so once.
const TURNS: usize = 50;

/// Calls from TURN clients to UDP: `per_client` of them share an allocation and its connection, each with a channel
/// to a peer of its own. Packets apart ([`Manner::Apart`]) are written by each client at once; else what all of them have is
/// collected and written together.
pub fn to_udp(calls: usize, per_client: usize, manner: Manner) -> Result<Set> {
    let folder = tempfile::tempdir()?;
    let process = start(folder.path())?;
    let right = Udp::with_sockets([127, 0, 3, 1].into(), per_client)?;
    let to = right.addresses(calls)?;
    let mut clients = Vec::new();
    let mut relayed = Vec::new();
    for some in to.chunks(per_client) {
        let mut client = Client::open()?;
        let (_, granted) = client.ask(ALLOCATE, &attribute(REQUESTED_TRANSPORT, &[17, 0, 0, 0]))?;
        let address = find(&granted, XOR_RELAYED_ADDRESS).and_then(unxor).context("no relayed address")?;
        for (channel, peer) in some.iter().enumerate() {
            let number = (FIRST_CHANNEL + channel as u16).to_be_bytes();
            let mut body = attribute(CHANNEL_NUMBER, &[number[0], number[1], 0, 0]);
            body.extend(attribute(XOR_PEER_ADDRESS, &xor(*peer)?));
            client.ask(CHANNEL_BIND, &body)?;
            relayed.push(address);
        }
        clients.push(client);
    }
    Ok(Set {
        left: Box::new(Channels { clients, per_client, manner, waiting: Vec::new(), next: 0 }),
        right: Box::new(right.aim(relayed)),
        calls,
        manner,
        pid: process.id(),
        clock: Clock::start(),
        _keep: Box::new((process, folder)),
    })
}

/// coturn with nothing on that costs: no authentication, no log, one thread for the relay.
fn start(folder: &Path) -> Result<Process> {
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (key, cert) = (at("turn.key"), at("turn.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=turn", "-keyout", &key, "-out", &cert])
        .output()?;
    if !made.status.success() {
        bail!("openssl: {}", String::from_utf8_lossy(&made.stderr));
    }
    let server: SocketAddr = SERVER.parse()?;
    let mut command = Command::new("turnserver");
    command
        .args(["-n", "-L", &server.ip().to_string(), "--tls-listening-port", &server.port().to_string()])
        .args(["--cert", &cert, "--pkey", &key, "--no-auth", "-r", "bench", "-m", "1", "--no-cli"])
        .args(["--no-udp", "--no-tcp", "--no-dtls", "--allow-loopback-peers", "--no-stdout-log"])
        .args(["--no-software-attribute", "--min-port", "40000", "--max-port", "49999"])
        .args(["--log-file", "/dev/null", "--pidfile", &at("turn.pid")])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = Process::start(&mut command).context("install Debian's coturn")?;
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(SERVER).is_err() {
        if Instant::now() > until {
            bail!("coturn does not listen on {SERVER}");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(process)
}

struct Client {
    connection: Connection,
    held: Vec<u8>,
    out: Vec<u8>,
}

impl Client {
    fn open() -> Result<Self> {
        let connection = Connection::open(SERVER.parse()?, None)?;
        Ok(Self { connection, held: Vec::new(), out: Vec::new() })
    }

    fn ask(&mut self, kind: u16, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut message = kind.to_be_bytes().to_vec();
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(COOKIE.to_be_bytes());
        message.extend(rand::random::<[u8; 12]>());
        message.extend(body);
        self.connection.write(&message)?;
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            let mut answer = None;
            self.read(&mut |kind, body| {
                if kind < FIRST_CHANNEL {
                    answer = Some((kind, body.to_vec()));
                }
            })?;
            match answer {
                Some((got, body)) if got == kind | SUCCESS => return Ok((got, body)),
                Some((got, _)) => bail!("coturn answers {kind:#x} by {got:#x}"),
                None => thread::sleep(Duration::from_micros(200)),
            }
        }
        bail!("coturn does not answer")
    }

    /// STUN messages and ChannelData, the latter padded to four bytes (RFC 8656 §12.5).
    fn read(&mut self, each: &mut dyn FnMut(u16, &[u8])) -> Result<()> {
        self.held.extend_from_slice(self.connection.read()?);
        let mut rest = self.held.as_slice();
        while let Some(&[a, b, c, d]) = rest.first_chunk() {
            let (kind, len) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])));
            let (head, whole) =
                if kind < FIRST_CHANNEL { (20, 20 + len) } else { (4, 4 + len.next_multiple_of(4)) };
            let Some((message, next)) = rest.split_at_checked(whole) else { break };
            each(kind, &message[head..head + len]);
            rest = next;
        }
        let done = self.held.len() - rest.len();
        self.held.drain(..done);
        Ok(())
    }
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(&[a, b, c, d]) = attributes.first_chunk() {
        let len = usize::from(u16::from_be_bytes([c, d]));
        let value = attributes.get(4..4 + len)?;
        if u16::from_be_bytes([a, b]) == wanted {
            return Some(value);
        }
        attributes = attributes.get(4 + len.next_multiple_of(4)..)?;
    }
    None
}

/// RFC 8489 §14.2.
fn xor(address: SocketAddr) -> Result<[u8; 8]> {
    let IpAddr::V4(ip) = address.ip() else { bail!("an address of IPv4 is needed") };
    let (port, ip) = (address.port() ^ (COOKIE >> 16) as u16, u32::from(ip) ^ COOKIE);
    let ([p, q], [a, b, c, d]) = (port.to_be_bytes(), ip.to_be_bytes());
    Ok([0, 1, p, q, a, b, c, d])
}

fn unxor(value: &[u8]) -> Option<SocketAddr> {
    let &[_, 1, p, q, a, b, c, d] = value.first_chunk()? else { return None };
    let port = u16::from_be_bytes([p, q]) ^ (COOKIE >> 16) as u16;
    let ip = u32::from_be_bytes([a, b, c, d]) ^ COOKIE;
    Some(SocketAddr::new(IpAddr::V4(ip.into()), port))
}

/// A side whose packets travel on channels.
struct Channels {
    clients: Vec<Client>,
    per_client: usize,
    manner: Manner,
    waiting: Vec<(usize, Packet)>,
    /// The client that is looked after next, where each reads by itself.
    next: usize,
}

impl Channels {
    /// How many clients read in one turn of the generator: where each reads by itself, it does so every few milliseconds.
    fn readers(&self) -> usize {
        match self.manner {
            Manner::Looks => self.clients.len(),
            Manner::Apart => self.clients.len().div_ceil(TURNS),
        }
    }
}

impl Side for Channels {
    fn send(&mut self, call: usize, packet: &Packet) -> Result<()> {
        self.waiting.push((call, *packet));
        if self.manner == Manner::Apart { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        for (call, packet) in &self.waiting {
            let channel = FIRST_CHANNEL + (call % self.per_client) as u16;
            let out = &mut self.clients[call / self.per_client].out;
            out.extend(channel.to_be_bytes());
            out.extend((packet.len() as u16).to_be_bytes());
            out.extend(packet);
        }
        for (call, _) in self.waiting.drain(..) {
            let client = &mut self.clients[call / self.per_client];
            if !client.out.is_empty() {
                client.connection.write(&client.out)?;
                client.out.clear();
            }
        }
        Ok(())
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        for _ in 0..self.readers() {
            self.next = (self.next + 1) % self.clients.len();
            self.clients[self.next].read(&mut |kind, packet| {
                if kind >= FIRST_CHANNEL {
                    each(packet);
                }
            })?;
        }
        Ok(())
    }
}
