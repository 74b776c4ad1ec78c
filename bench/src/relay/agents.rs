//! The contact point with whole agents before it and phones before these, registered with digest: for what user keys
//! cost.

use crate::load::{Clock, Manner, Set, ack_of, describe, target};
use crate::operator::Operator;
use crate::ours::{Contact, Place};
use crate::udp::Udp;
use anyhow::{Context, Result, bail};
use causeway_bench::process::{Process, program};
use causeway_sip::{HeaderId, Message, Method, RequestBuilder};
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Calls that one agent carries.
const PER_AGENT: usize = 400;
/// From one call to the next: requests stay below what a contact point grants an agent.
const PACE: Duration = Duration::from_millis(12);

/// Calls from phones before agents to UDP. With `keys` the contact point demands them, so that nothing passes
/// without; else the registrar asks for no credentials, and there are none.
pub fn to_udp(calls: usize, keys: bool) -> Result<Set> {
    let place = Place::loopback();
    let data = tempfile::tempdir()?;
    let operator = Operator::start(place.server(), keys)?;
    let demand: &[&str] = if keys { &["--min-assurance", "header"] } else { &[] };
    let contact = Contact::start(&place, demand)?;
    let (left, right) = (Udp::new([127, 0, 2, 1].into(), calls)?, Udp::new(place.operator, calls)?);
    let (from, to) = (left.addresses(calls)?, right.addresses(calls)?);
    operator.expect(to);
    let (mut agents, mut lefts, mut rights) = (Vec::new(), Vec::new(), Vec::new());
    for (number, some) in from.chunks(PER_AGENT).enumerate() {
        let listen: SocketAddr = format!("127.0.1.{}:5060", number + 1).parse()?;
        agents.push(agent(listen, &place, &contact.pin, &data.path().join(format!("agent{number}")))?);
        let phone = Phone::register(listen, number, keys)?;
        for (call, media) in some.iter().enumerate() {
            let (left, name) = phone.call(call, *media)?;
            lefts.push(left);
            rights.push(operator.told(&name)?);
            thread::sleep(PACE);
        }
    }
    Ok(Set {
        left: Box::new(left.aim(lefts)),
        right: Box::new(right.aim(rights)),
        calls,
        manner: Manner::Looks,
        pid: contact.process.id(),
        clock: Clock::start(),
        _keep: Box::new((agents, contact, operator, data)),
    })
}

fn agent(listen: SocketAddr, place: &Place, pin: &str, data: &std::path::Path) -> Result<Process> {
    let mut command = Command::new(program()?);
    command
        .args(["--log", "warn", "agent", "--contact", &place.tunnel().to_string(), "--pin", pin])
        .args(["--listen", &listen.to_string(), "--data"])
        .arg(data);
    Process::start(&mut command)
}

/// One phone that places many calls.
struct Phone {
    socket: UdpSocket,
    local: SocketAddr,
    number: usize,
}

impl Phone {
    fn register(agent: SocketAddr, number: usize, credentials: bool) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.2.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(250)))?;
        socket.connect(agent)?;
        let phone = Self { local: socket.local_addr()?, socket, number };
        let uri = "sip:bench.example";
        let register = || {
            let to = format!("<sip:caller{number}@bench.example>");
            phone.request(Method::Register, uri, "register").header("To", to).header("Expires", "3600")
        };
        let asked = phone.ask(&register().cseq(1, Method::Register).finish(), Duration::from_secs(20));
        if !credentials {
            asked.context("the agent's tunnel does not come up")?;
            return Ok(phone);
        }
        // The server takes any credentials; what the key is made of is that the two halves have seen the same.
        let digest = format!(
            "Digest username=\"caller{number}\", realm=\"bench.example\", nonce=\"n\", uri=\"{uri}\", \
             response=\"0123456789abcdef0123456789abcdef\", algorithm=MD5, qop=auth, nc=00000001, cnonce=\"c\""
        );
        let register = register().header("Authorization", digest).cseq(2, Method::Register);
        phone.ask(&register.finish(), Duration::from_secs(20)).context("registration with credentials")?;
        // The halves agree on the key after the 200.
        thread::sleep(Duration::from_millis(500));
        Ok(phone)
    }

    fn request(&self, method: Method<'static>, uri: &str, call: &str) -> RequestBuilder {
        let (number, local) = (self.number, self.local);
        let caller = format!("sip:caller{number}@bench.example");
        RequestBuilder::new(method, uri.as_bytes())
            .header("Via", format!("SIP/2.0/UDP {local};rport;branch=z9hG4bK{call}{}", rand::random::<u32>()))
            .max_forwards(70)
            .header("From", format!("<{caller}>;tag=c{call}"))
            .header("Call-ID", format!("bench-{number}-{call}"))
            .header("Contact", format!("<sip:caller{number}@{local}>"))
    }

    /// Where the packets of a new call go, and its Call-ID.
    fn call(&self, call: usize, media: SocketAddr) -> Result<(SocketAddr, String)> {
        let name = call.to_string();
        let invite = self
            .request(Method::Invite, "sip:callee@bench.example", &name)
            .header("To", "<sip:callee@bench.example>")
            .cseq(1, Method::Invite)
            .body("application/sdp", describe(media))
            .finish();
        let ok = self.ask(&invite, Duration::from_secs(10))?;
        let left = target(&String::from_utf8_lossy(ok.msg().body())).context("no description in the 200")?;
        let via = format!("SIP/2.0/UDP {};rport;branch=z9hG4bKack{name}", self.local);
        self.socket.send(&ack_of(&ok, via))?;
        Ok((left, format!("bench-{}-{name}", self.number)))
    }

    /// Sends a request until its 200 comes.
    fn ask(&self, request: &[u8], patience: Duration) -> Result<Message> {
        let wanted = Message::parse(request)?;
        let start = Instant::now();
        let mut buffer = [0; 65536];
        let mut last = String::new();
        while start.elapsed() < patience {
            self.socket.send(request)?;
            while let Ok(length) = self.socket.recv(&mut buffer) {
                let Ok(message) = Message::parse(&buffer[..length]) else { continue };
                let (got, asked) = (message.msg(), wanted.msg());
                if got.call_id() != asked.call_id()
                    || got.header(HeaderId::CSeq) != asked.header(HeaderId::CSeq)
                {
                    continue;
                }
                match got.status() {
                    Some(200) => return Ok(message),
                    Some(status) if status >= 300 => {
                        last = status.to_string();
                        break;
                    }
                    _ => {}
                }
            }
        }
        bail!("no 200 in {patience:?} (last answer: {last})")
    }
}
