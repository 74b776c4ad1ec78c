//! The contact point, with calls set up through it: from tunnels to UDP ports, and from tunnels to tunnels.

use crate::load::{Clock, Manner, Parties, Set, Side};
use crate::operator::Operator;
use crate::tunnel::{End, Tunnels};
use crate::udp::Udp;
use anyhow::{Context, Result};
use causeway_bench::process::{Process, program};
use causeway_sip::Method;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Calls that one tunnel carries: a contact point allows 500.
const PER_TUNNEL: usize = 400;
const BETWEEN_TWO: usize = 500;
/// From one call to the next through one tunnel: requests stay below what a contact point grants an agent.
const PACE: Duration = Duration::from_millis(12);
/// Tunnels with calls are looked after so often, or they count as dead.
const LOOK: Duration = Duration::from_millis(200);

/// Where everybody is.
#[derive(Clone)]
pub struct Place {
    /// The contact point, and the network namespace that it runs in.
    pub contact: IpAddr,
    pub namespace: Option<String>,
    /// Where its media ports are, and which.
    pub media: IpAddr,
    pub ports: &'static str,
    /// The operator's server.
    pub operator: IpAddr,
}

impl Place {
    /// All on the loopback interface.
    pub fn loopback() -> Self {
        let contact = [127, 0, 0, 1].into();
        let operator = [127, 0, 3, 1].into();
        Self { contact, namespace: None, media: contact, ports: "10000-23999", operator }
    }

    pub fn tunnel(&self) -> SocketAddr {
        SocketAddr::new(self.contact, 24430)
    }

    pub fn server(&self) -> SocketAddr {
        SocketAddr::new(self.operator, 26060)
    }
}

/// A running contact point.
pub struct Contact {
    pub process: Process,
    pub pin: String,
    _data: tempfile::TempDir,
}

impl Contact {
    pub fn start(place: &Place, more: &[&str]) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let mut command = match &place.namespace {
            None => Command::new(program()?),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(program()?);
                command
            }
        };
        let (ip, media, ports) = (place.contact, place.media, place.ports);
        command
            .args(["--log", "warn", "contact", "--tunnel", &place.tunnel().to_string()])
            .args(["--sip", &format!("{ip}:25060"), "--upstream", &format!("sip:{}", place.server())])
            .args(["--media", &format!("{media}:{ports}"), "--ready-fd", "1"])
            .args(more)
            .arg("--data")
            .arg(data.path().join("contact"))
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let pin = pin(&mut process)?;
        Ok(Self { process, pin, _data: data })
    }
}

/// What a contact point prints before it is ready.
fn pin(process: &mut Process) -> Result<String> {
    let out = process.child().stdout.as_mut().context("no standard output")?;
    let (mut pin, mut ready) = (None, false);
    for line in BufReader::with_capacity(1, out).lines() {
        let line = line?;
        ready |= line.contains("READY=1");
        pin = line.strip_prefix("pin: ").map(str::to_owned).or(pin);
        if let (Some(pin), true) = (&pin, ready) {
            return Ok(pin.clone());
        }
    }
    anyhow::bail!("the contact point has ended before it was ready")
}

/// Calls from tunnels to UDP sockets.
pub fn to_udp(place: &Place, calls: usize, more: &[&str]) -> Result<Set> {
    to_parties(place, calls, more, Box::new(Udp::new(place.operator, calls)?))
}

/// Calls from tunnels to whoever is on the other side.
pub fn to_parties(place: &Place, calls: usize, more: &[&str], right: Box<dyn Parties>) -> Result<Set> {
    let clock = Clock::start();
    let operator = Operator::start(place.server(), false)?;
    let contact = Contact::start(place, more)?;
    operator.expect(right.addresses(calls)?);
    let mut ends = open(place, calls.div_ceil(PER_TUNNEL), 0, clock)?;
    let (mut lanes, mut told) = (Vec::new(), Vec::new());
    let mut pace = Pace::new(ends.len());
    for call in 0..calls {
        let number = call % ends.len();
        let end = &mut ends[number];
        lanes.push((number, end.invite("sip:callee@bench.example", &name(call))?));
        let ok = end.wait_for(&name(call), 200)?;
        end.ack(&ok)?;
        told.push(operator.told(&name(call))?);
        pace.keep(&mut [&mut ends])?;
    }
    let (left, right) = (Box::new(Tunnels::new(ends, lanes)) as Box<dyn Side>, right.aim(told)?);
    let pid = contact.process.id();
    Ok(Set { left, right, calls, manner: Manner::Looks, pid, clock, _keep: Box::new((contact, operator)) })
}

/// Calls from tunnels to tunnels of the same contact point.
pub fn to_tunnels(place: &Place, calls: usize) -> Result<Set> {
    let clock = Clock::start();
    let operator = Operator::start(place.server(), false)?;
    let contact = Contact::start(place, &[])?;
    let mut callers = open(place, calls.div_ceil(BETWEEN_TWO), 0, clock)?;
    let mut callees = open(place, callers.len(), 1000, clock)?;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut pace = Pace::new(callers.len());
    for call in 0..calls {
        let end = call % callers.len();
        left.push((end, callers[end].invite(&callees[end].aor(), &name(call))?));
        let invite = callees[end].wait_for_request(Method::Invite)?;
        right.push((end, callees[end].accept(&invite)?));
        let ok = callers[end].wait_for(&name(call), 200)?;
        callers[end].ack(&ok)?;
        pace.keep(&mut [&mut callers, &mut callees])?;
    }
    let pid = contact.process.id();
    Ok(Set {
        left: Box::new(Tunnels::new(callers, left)),
        right: Box::new(Tunnels::new(callees, right)),
        calls,
        manner: Manner::Looks,
        pid,
        clock,
        _keep: Box::new((contact, operator)),
    })
}

fn name(call: usize) -> String {
    format!("bench-{call}")
}

fn open(place: &Place, count: usize, first: usize, clock: Clock) -> Result<Vec<End>> {
    (0..count).map(|number| End::open(place.tunnel(), first + number, clock)).collect()
}

/// Not too many calls in a row, and nobody forgotten meanwhile.
struct Pace {
    step: Duration,
    next: Instant,
    looked: Instant,
}

impl Pace {
    fn new(tunnels: usize) -> Self {
        let now = Instant::now();
        Self { step: PACE / tunnels as u32, next: now, looked: now }
    }

    fn keep(&mut self, ends: &mut [&mut Vec<End>]) -> Result<()> {
        self.next += self.step;
        thread::sleep(self.next.saturating_duration_since(Instant::now()));
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            ends.iter_mut().flat_map(|ends| ends.iter_mut()).try_for_each(End::idle)?;
        }
        Ok(())
    }
}
