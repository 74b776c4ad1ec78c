//! The contact point with agents before it, a SIP server behind it, and calls set up through all of them.

use crate::load::{Call, Load, describe, target};
use anyhow::{Context, Result, bail};
use causeway_bench::process::{Process, program};
use causeway_sip::{HeaderId, Message, Method, RequestBuilder, response_to};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Calls that one agent carries.
const PER_AGENT: usize = 400;
const TUNNEL: &str = "127.0.0.1:24430";
const SIP: &str = "127.0.0.1:25060";
const SERVER: &str = "127.0.0.1:26060";
const MEDIA: &str = "127.0.0.1:10000-23999";
/// Requests per second stay below what a contact point grants an agent.
const PACE: Duration = Duration::from_millis(12);

/// Where the callees' packets go, by Call-ID: what the server was told.
type Told = Arc<Mutex<HashMap<Vec<u8>, SocketAddr>>>;

/// A running contact point with calls set up.
pub struct Relay {
    calls: Vec<Call>,
    contact: Process,
    _agents: Vec<Process>,
    stop: Arc<AtomicBool>,
    _data: tempfile::TempDir,
}

impl Relay {
    pub fn start(count: usize, load: &Load) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Told::default();
        serve(load.right()?, stop.clone(), told.clone())?;
        let (contact, pin) = contact(data.path().join("contact"))?;
        let mut relay = Self { calls: Vec::new(), contact, _agents: Vec::new(), stop, _data: data };
        for number in 0..count.div_ceil(PER_AGENT) {
            let listen: SocketAddr = format!("127.0.1.{}:5060", number + 1).parse()?;
            let data = relay._data.path().join(format!("agent{number}"));
            relay._agents.push(agent(listen, &pin, data)?);
            let calls = PER_AGENT.min(count - number * PER_AGENT);
            relay.calls.extend(dial(listen, number, calls, load, &told)?);
        }
        Ok(relay)
    }

    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub fn pid(&self) -> u32 {
        self.contact.id()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Starts a contact point; it prints its pin once it is ready.
fn contact(data: PathBuf) -> Result<(Process, String)> {
    let mut command = Command::new(program()?);
    command
        .args(["contact", "--tunnel", TUNNEL, "--sip", SIP, "--upstream", &format!("sip:{SERVER}")])
        .args(["--media", MEDIA, "--log", "warn", "--data"])
        .arg(data)
        .stdout(Stdio::piped());
    let mut process = Process::start(&mut command)?;
    let out = process.child().stdout.take().context("no standard output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    let pin = line.trim().strip_prefix("pin: ").context("the contact point did not start")?;
    Ok((process, pin.to_owned()))
}

fn agent(listen: SocketAddr, pin: &str, data: PathBuf) -> Result<Process> {
    let mut command = Command::new(program()?);
    command
        .args(["agent", "--contact", TUNNEL, "--pin", pin, "--listen", &listen.to_string()])
        .args(["--log", "warn", "--data"])
        .arg(data);
    Process::start(&mut command)
}

/// A SIP server that accepts everything; its callees want their packets at `media`.
fn serve(media: SocketAddr, stop: Arc<AtomicBool>, told: Told) -> Result<()> {
    let socket = UdpSocket::bind(SERVER)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    thread::spawn(move || {
        let mut buffer = [0; 65536];
        while !stop.load(Ordering::Relaxed) {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let answer =
                Message::parse(&buffer[..length]).ok().and_then(|message| accept(&message, media, &told));
            if let Some(answer) = answer {
                // A lost answer is asked for again.
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    Ok(())
}

fn accept(message: &Message, media: SocketAddr, told: &Told) -> Option<Vec<u8>> {
    let msg = message.msg();
    let response = response_to(msg, 200, None, Some(b"server"));
    match msg.method() {
        Method::Register => {
            let contact = format!("<{}>;expires=3600", String::from_utf8_lossy(msg.contact()?.uri));
            Some(response.header("Contact", contact).finish())
        }
        Method::Invite => {
            let right = target(&String::from_utf8_lossy(msg.body()))?;
            told.lock().unwrap_or_else(PoisonError::into_inner).insert(msg.call_id()?.to_vec(), right);
            let response = response.record_routes().header("Contact", format!("<sip:callee@{SERVER}>"));
            Some(response.body("application/sdp", describe(media)).finish())
        }
        _ => None,
    }
}

/// Registers one caller with an agent and places its calls.
fn dial(agent: SocketAddr, number: usize, calls: usize, load: &Load, told: &Told) -> Result<Vec<Call>> {
    let socket = UdpSocket::bind("127.0.2.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(250)))?;
    socket.connect(agent)?;
    let local = socket.local_addr()?;
    let caller = format!("sip:caller{number}@bench.example");
    let request = |method: Method<'_>, uri: &str, call: usize| {
        RequestBuilder::new(method, uri.as_bytes())
            .header("Via", format!("SIP/2.0/UDP {local};rport;branch=z9hG4bKbench{number}-{call}"))
            .max_forwards(70)
            .header("From", format!("<{caller}>;tag=c{call}"))
            .header("Call-ID", format!("bench-{number}-{call}"))
            .cseq(1, method)
            .header("Contact", format!("<sip:caller{number}@{local}>"))
    };
    let register = request(Method::Register, "sip:bench.example", usize::MAX)
        .header("To", format!("<{caller}>"))
        .header("Expires", "3600")
        .finish();
    exchange(&socket, &register, Duration::from_secs(20)).context("the agent's tunnel does not come up")?;
    let mut placed = Vec::with_capacity(calls);
    for call in 0..calls {
        let begun = Instant::now();
        let invite = request(Method::Invite, "sip:callee@bench.example", call)
            .header("To", "<sip:callee@bench.example>")
            .body("application/sdp", describe(load.left()?))
            .finish();
        let ok = exchange(&socket, &invite, Duration::from_secs(10))?;
        let left = target(&String::from_utf8_lossy(ok.msg().body())).context("no description in the 200")?;
        socket.send(&ack(&ok, local, number, call))?;
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let right =
            ok.msg().call_id().and_then(|id| told.get(id)).context("the server never saw the call")?;
        placed.push(Call { left, right: *right });
        drop(told);
        thread::sleep(PACE.saturating_sub(begun.elapsed()));
    }
    Ok(placed)
}

fn ack(ok: &Message, local: SocketAddr, number: usize, call: usize) -> Vec<u8> {
    let msg = ok.msg();
    let target = msg.contact().map_or(&b"sip:callee"[..], |contact| contact.uri);
    let mut routes: Vec<&[u8]> = msg.values(HeaderId::RecordRoute).collect();
    routes.reverse();
    RequestBuilder::new(Method::Ack, target)
        .header("Via", format!("SIP/2.0/UDP {local};rport;branch=z9hG4bKack{number}-{call}"))
        .max_forwards(70)
        .headers("Route", routes)
        .header("From", msg.header(HeaderId::From).unwrap_or_default())
        .header("To", msg.header(HeaderId::To).unwrap_or_default())
        .header("Call-ID", msg.header(HeaderId::CallId).unwrap_or_default())
        .cseq(1, Method::Ack)
        .finish()
}

/// Sends a request until its 200 comes.
fn exchange(socket: &UdpSocket, request: &[u8], patience: Duration) -> Result<Message> {
    let wanted = Message::parse(request)?;
    let start = Instant::now();
    let mut buffer = [0; 65536];
    let mut last = String::new();
    while start.elapsed() < patience {
        socket.send(request)?;
        while let Ok(length) = socket.recv(&mut buffer) {
            let Ok(message) = Message::parse(&buffer[..length]) else { continue };
            if message.msg().call_id() != wanted.msg().call_id() {
                continue;
            }
            match message.msg().status() {
                Some(200) => return Ok(message),
                Some(status) if status >= 300 => {
                    last = format!("{status}");
                    break;
                }
                _ => {}
            }
        }
    }
    bail!("no 200 in {patience:?} (last answer: {last})")
}
