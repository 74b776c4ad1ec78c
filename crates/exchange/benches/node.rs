//! What the exchange itself costs per call and per REGISTER, digest included, without sockets, disk and the
//! subscriber check: `cargo bench -p causeway-exchange --bench node`.
//!
//! Time goes on as at 600 calls or 2,500 registrations a second, and is let run for 33 s before anything counts,
//! so that timers fire, transactions end, and as many of them live as would in a deployment. Only the exchange's
//! own work is measured: the messages of both ends are made outside.
//!
//! `node -- --callgrind call|register|refusal [N]` does N of them after the warming-up and nothing else, for
//! `valgrind --tool=callgrind --toggle-collect='*measured*'`. `node -- --json` prints the figures as JSON.

// Counting allocations needs a global allocator, which cannot be written without `unsafe`.
#![allow(unsafe_code, clippy::print_stdout)]

use causeway_exchange::{Config, Exchange, Location};
use causeway_node::testing::CountingRng;
use causeway_node::{Answer, Credentials, Ctx, Flow, Input, Level, Node, Outbox, Output, Question, Time};
use causeway_sip::digest::{self, Algorithm, Ha1, Session};
use causeway_sip::{HeaderId, Message, Method, Msg, response_to};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn count(size: usize) {
    if COUNTS.load(Ordering::Relaxed) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size as u64, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CALLER: &str = "127.0.6.1:5060";
const CALLEE: &str = "127.0.6.2:5060";
const USERS: usize = 1000;
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.6.1\r\ns=-\r\nc=IN IP4 127.0.6.1\r\nt=0 0\r\n\
    m=audio 4000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";
const CALLS_PER_SECOND: usize = 600;
const REGISTERS_PER_SECOND: usize = 2500;
/// A fill of the receive queue, in percent, at which calls are refused.
const OVERLOADED: u8 = 60;

/// The exchange, its world, and what it has said.
struct World {
    exchange: Exchange,
    rng: CountingRng,
    out: Outbox,
    now: Duration,
    sent: Vec<Message>,
    spent: Duration,
    number: usize,
}

/// The only place whose cost counts.
#[inline(never)]
fn measured(exchange: &mut Exchange, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) -> Option<Time> {
    exchange.handle(ctx, input, out);
    exchange.deadline()
}

impl World {
    fn new() -> Self {
        let config = Config::new("bench.example", "127.0.5.1:5060".parse().expect("an address"));
        let mut world = Self {
            exchange: Exchange::new(config, None, [7; 32], Location::default()),
            rng: CountingRng::default(),
            out: Outbox::default(),
            now: Duration::from_secs(1),
            sent: Vec::new(),
            spent: Duration::ZERO,
            number: 0,
        };
        // As a driver at its usual level of logging.
        world.out.listen_from(Level::Info);
        world.input(Input::Start);
        world
    }

    fn input(&mut self, input: Input<'_>) {
        let now = Time::from_nanos(u64::try_from(self.now.as_nanos()).expect("not so late"));
        let unix_ms = 1_700_000_000_000 + now.as_nanos() / 1_000_000;
        let mut ctx = Ctx { now, unix_ms, rng: &mut self.rng };
        let begin = Instant::now();
        COUNTS.store(true, Ordering::Relaxed);
        let due = measured(&mut self.exchange, &mut ctx, input, &mut self.out);
        COUNTS.store(false, Ordering::Relaxed);
        self.spent += begin.elapsed();
        if due.is_some_and(|due| due <= now) {
            return self.input(Input::Timeout);
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        let (mut persisted, mut answers) = (None, Vec::new());
        out.drain(|_, output| match output {
            Output::Datagram { bytes, .. } => self.sent.push(Message::parse(bytes).expect("a message")),
            Output::Persist { seq, .. } => persisted = Some(seq),
            Output::Ask { id, question: Question::Credential(credential) } => {
                let parts = credential.parts();
                let ha1 = Ha1::new(Algorithm::MD5, parts.username, parts.realm, b"secret");
                assert!(digest::prove(credential, &ha1));
                let user = String::from_utf8_lossy(parts.username);
                answers.push((id, Credentials::Accepted(vec![format!("sip:{user}@bench.example")])));
            }
            _ => {}
        });
        self.out = out;
        if let Some(seq) = persisted {
            self.input(Input::Persisted { seq });
        }
        for (question, verdict) in answers {
            self.input(Input::Answer { question, answer: Answer::Credential(verdict) });
        }
    }

    /// Gives it a datagram; returns what it sends.
    fn say(&mut self, from: &str, text: &str) -> Vec<Message> {
        let from: SocketAddr = from.parse().expect("an address");
        self.input(Input::Datagram { flow: Flow(0), from, bytes: text.as_bytes() });
        std::mem::take(&mut self.sent)
    }

    fn register(&mut self) {
        self.number += 1;
        let (n, user) = (self.number, self.number % USERS);
        let register = |cseq: u32, credentials: &str| {
            format!(
                "REGISTER sip:bench.example SIP/2.0\r\nVia: SIP/2.0/UDP {CALLEE};branch=z9hG4bK-7-{n}-{cseq}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:u{user}@bench.example>;tag=7r{n}\r\n\
                 To: <sip:u{user}@bench.example>\r\nCall-ID: {n}-7@127.0.6.1\r\nCSeq: {cseq} REGISTER\r\n\
                 {credentials}Contact: <sip:u{user}@{CALLEE}>\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
            )
        };
        let challenge = one(self.say(CALLEE, &register(1, "")), 401);
        let answer = credentials(challenge.msg(), user, Method::Register, "sip:bench.example");
        one(self.say(CALLEE, &register(2, &answer)), 200);
    }

    fn call(&mut self) {
        self.number += 1;
        let (n, user, other) = (self.number, self.number % USERS, (self.number + USERS / 2) % USERS);
        let uri = format!("sip:u{other}@bench.example");
        let request = |method: &str,
                       uri: &str,
                       cseq: u32,
                       branch: &str,
                       to_tag: &str,
                       more: &str,
                       body: &str| {
            format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK-7-{n}-{branch}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:u{user}@bench.example>;tag=7c{n}\r\n\
                 To: <sip:u{other}@bench.example>{to_tag}\r\nCall-ID: {n}-7@127.0.6.1\r\nCSeq: {cseq} {method}\r\n\
                 {more}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let contact = format!("Contact: <sip:u{user}@{CALLER}>\r\nContent-Type: application/sdp\r\n");
        let challenge = one(self.say(CALLER, &request("INVITE", &uri, 1, "a", "", &contact, SDP)), 407);
        let tag = tag(challenge.msg());
        let silence = self.say(CALLER, &request("ACK", &uri, 1, "a", &tag, "", ""));
        assert!(silence.is_empty());
        let answer = credentials(challenge.msg(), user, Method::Invite, &uri);
        let invite = request("INVITE", &uri, 2, "b", "", &format!("{answer}{contact}"), SDP);
        // No 100: the callee rings before the caller has waited for one.
        let onward = self.say(CALLER, &invite).pop().expect("the INVITE for the callee");
        let response = |status, body: Option<&str>| {
            let response = response_to(onward.msg(), status, None, Some(format!("7s{n}").as_bytes()));
            let response = response.record_routes().header("Contact", format!("<sip:callee@{CALLEE}>"));
            let response = match body {
                Some(body) => response.body("application/sdp", body),
                None => response,
            };
            String::from_utf8_lossy(&response.finish()).into_owned()
        };
        one(self.say(CALLEE, &response(180, None)), 180);
        let answered = one(self.say(CALLEE, &response(200, Some(SDP))), 200);
        let route = answered.msg().header(HeaderId::RecordRoute).expect("a route");
        let route = format!("Route: {}\r\n", String::from_utf8_lossy(route));
        let (target, tag) = (format!("sip:callee@{CALLEE}"), format!(";tag=7s{n}"));
        let ack = self.say(CALLER, &request("ACK", &target, 2, "c", &tag, &route, ""));
        assert_eq!(ack.len(), 1);
        let bye = self.say(CALLER, &request("BYE", &target, 3, "d", &tag, &route, "")).remove(0);
        let bye = response_to(bye.msg(), 200, None, None).finish();
        one(self.say(CALLEE, &String::from_utf8_lossy(&bye)), 200);
    }

    /// A call that is refused for overload: INVITE, 503 and its ACK.
    fn refusal(&mut self) {
        self.number += 1;
        let (n, user, other) = (self.number, self.number % USERS, (self.number + USERS / 2) % USERS);
        let uri = format!("sip:u{other}@bench.example");
        let request = |method: &str, to_tag: &str, more: &str, body: &str| {
            format!(
                "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};branch=z9hG4bK-7-{n}-a\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:u{user}@bench.example>;tag=7c{n}\r\n\
                 To: <sip:u{other}@bench.example>{to_tag}\r\nCall-ID: {n}-7@127.0.6.1\r\nCSeq: 1 {method}\r\n\
                 {more}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let contact = format!("Contact: <sip:u{user}@{CALLER}>\r\nContent-Type: application/sdp\r\n");
        self.exchange.pressure(OVERLOADED);
        let refused = one(self.say(CALLER, &request("INVITE", "", &contact, SDP)), 503);
        let silence = self.say(CALLER, &request("ACK", &tag(refused.msg()), "", ""));
        assert!(silence.is_empty());
    }

    /// So many of one kind, the time between them passing.
    fn run(&mut self, kind: &str, count: usize) {
        let (act, rate): (fn(&mut Self), usize) = match kind {
            "call" => (Self::call, CALLS_PER_SECOND),
            "refusal" => (Self::refusal, CALLS_PER_SECOND),
            _ => (Self::register, REGISTERS_PER_SECOND),
        };
        for _ in 0..count {
            self.now += Duration::from_secs(1) / u32::try_from(rate).expect("a rate");
            act(self);
        }
    }

    /// Everybody registered, and the steady state of this load reached.
    fn warm(kind: &str) -> Self {
        let mut world = Self::new();
        world.run("register", USERS);
        world.run(kind, 33 * if kind == "register" { REGISTERS_PER_SECOND } else { CALLS_PER_SECOND });
        world
    }
}

/// The only message, which must be a response with this status.
fn one(sent: Vec<Message>, status: u16) -> Message {
    let statuses: Vec<_> = sent.iter().map(|message| message.msg().status()).collect();
    assert_eq!(statuses, [Some(status)]);
    sent.into_iter().next().expect("one message")
}

fn tag(msg: Msg<'_>) -> String {
    format!(";tag={}", String::from_utf8_lossy(msg.to_tag().expect("a tag")))
}

fn credentials(challenge: Msg<'_>, user: usize, method: Method<'_>, uri: &str) -> String {
    let (id, name) = match method {
        Method::Register => (HeaderId::WwwAuthenticate, "Authorization"),
        _ => (HeaderId::ProxyAuthenticate, "Proxy-Authorization"),
    };
    let offered = digest::choose(challenge.all(id)).expect("a challenge");
    let mut session = Session::new(&offered, format!("u{user}").as_bytes(), b"secret");
    let answer = session.answer(method, uri.as_bytes(), b"6b8b4567");
    format!("{name}: {}\r\n", String::from_utf8_lossy(&answer))
}

/// Nanoseconds, allocations and bytes allocated per call or REGISTER; the best of several batches.
fn measure(kind: &str) -> (f64, f64, f64) {
    const BATCH: usize = 1000;
    let mut world = World::warm(kind);
    let counted = || (ALLOCATIONS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed));
    let (before, mut best) = (counted(), Duration::MAX);
    const BATCHES: usize = 10;
    for _ in 0..BATCHES {
        world.spent = Duration::ZERO;
        world.run(kind, BATCH);
        best = best.min(world.spent);
    }
    let after = counted();
    let each = |total: u64| total as f64 / (BATCH * BATCHES) as f64;
    (best.as_secs_f64() * 1e9 / BATCH as f64, each(after.0 - before.0), each(after.1 - before.1))
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--callgrind") {
        let kind = args.get(at + 1).map_or("call", String::as_str);
        let count = args.get(at + 2).and_then(|count| count.parse().ok()).unwrap_or(1000);
        let mut world = World::warm(kind);
        return world.run(kind, count);
    }
    let rows = ["call", "register", "refusal"].map(|kind| (kind, measure(kind)));
    if args.iter().any(|arg| arg == "--json") {
        let row = |(kind, (nanos, allocations, bytes)): &(&str, (f64, f64, f64))| {
            format!("\"{kind}\":{{\"ns\":{nanos:.0},\"allocations\":{allocations:.1},\"bytes\":{bytes:.0}}}")
        };
        println!("{{{}}}", rows.iter().map(row).collect::<Vec<_>>().join(","));
    } else {
        println!("with digest, the exchange alone, best of batches, one thread");
        for (kind, (nanos, allocations, bytes)) in rows {
            println!("{kind:<10} {:8.1} µs {allocations:8.1} allocations {bytes:9.0} bytes", nanos / 1000.0);
        }
    }
}
