//! The delay that a server adds to a call: INVITE on its way in to INVITE on its way out, and 180 back again,
//! each taken between the two ends of one process, so that neither end's own time counts.

use crate::server::{ADDRESS, DOMAIN, Kind, Server};
use anyhow::{Context, Result, bail};
use causeway_sip::digest::{self, Session};
use causeway_sip::{HeaderId, Message, Method, Msg, RequestBuilder, Start, response_to};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const SERVERS: [Kind; 2] = [Kind::Shipped, Kind::Kamailio { digest: true }];
/// Calls begun per second: light load, and about half of what one core of the slower server can do.
const RATES: [u64; 2] = [100, 1000];
const SECONDS: u64 = 5;
const CALLER: &str = "127.0.6.1:5061";
const CALLEE: &str = "127.0.6.2:5061";

/// When a call's messages passed its ends, in nanoseconds since the start; 0 is never.
#[derive(Default)]
struct Stamps {
    invited: AtomicU64,
    reached: AtomicU64,
    rang: AtomicU64,
    heard: AtomicU64,
    ended: AtomicU64,
}

/// The two ends of all calls.
struct Ends {
    caller: UdpSocket,
    callee: UdpSocket,
    start: Instant,
    stamps: Vec<Stamps>,
    session: Mutex<Option<Session>>,
    /// The 200 of each call that rings. The callee picks up when the caller has heard it ring: Kamailio's
    /// workers may overtake one another, and a 180 after the 200 would be lost.
    ringing: Mutex<HashMap<usize, Vec<u8>>>,
}

/// Measures all servers at all rates.
pub fn table(rounds: usize, quiet: bool) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    if !quiet {
        println!("added delay of INVITE and 180, with digest");
        println!(
            "  {:<14} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "server", "calls/s", "p50", "p99", "calls", "failed"
        );
    }
    for rate in RATES {
        let mut figures: Vec<Vec<Figure>> = SERVERS.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (kind, figures) in SERVERS.iter().zip(&mut figures) {
                figures.push(measure(*kind, rate).with_context(|| kind.name())?);
            }
        }
        for (kind, mut figures) in SERVERS.iter().zip(figures) {
            figures.sort_by_key(|figure| figure.p99);
            let figure = figures.get(figures.len() / 2).context("no round was run")?;
            let (name, p50, p99) = (kind.name(), figure.p50 / 1000, figure.p99 / 1000);
            if !quiet {
                println!(
                    "  {name:<14} {rate:>9} {p50:>6} µs {p99:>6} µs {:>9} {:>9}",
                    figure.calls, figure.failed
                );
            }
            rows.push(json!({
                "server": name, "rate": rate, "p50_micros": p50, "p99_micros": p99, "calls": figure.calls,
                "failed": figure.failed,
            }));
        }
    }
    Ok(rows)
}

struct Figure {
    p50: u64,
    p99: u64,
    calls: usize,
    failed: usize,
}

fn measure(kind: Kind, rate: u64) -> Result<Figure> {
    let _server = Server::start(kind, 2)?;
    let (caller, callee) = (socket(CALLER)?, socket(CALLEE)?);
    register(&callee)?;
    let calls = usize::try_from(rate * SECONDS)?;
    let ends = Arc::new(Ends {
        caller,
        callee,
        start: Instant::now(),
        stamps: (0..calls).map(|_| Stamps::default()).collect(),
        session: Mutex::default(),
        ringing: Mutex::default(),
    });
    let stop = Arc::new(AtomicBool::new(false));
    let threads = [spawn(&ends, &stop, Ends::answer, false), spawn(&ends, &stop, Ends::go_on, true)];
    for call in 0..calls {
        let due = Duration::from_nanos(call as u64 * 1_000_000_000 / rate);
        thread::sleep(due.saturating_sub(ends.start.elapsed()));
        ends.caller.send_to(&invite(call, 1).finish(), ADDRESS)?;
    }
    thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().ok().context("an end has panicked")?;
    }
    let mut delays: Vec<u64> = ends.stamps.iter().filter_map(added).collect();
    delays.sort_unstable();
    let at =
        |part: usize| delays.get((delays.len() * part / 100).min(delays.len().saturating_sub(1))).copied();
    let (Some(p50), Some(p99)) = (at(50), at(99)) else { bail!("no call came through") };
    Ok(Figure { p50, p99, calls, failed: calls - delays.len() })
}

/// What the server added to a call that was set up and ended.
fn added(stamps: &Stamps) -> Option<u64> {
    let get = |stamp: &AtomicU64| Some(stamp.load(Ordering::Relaxed)).filter(|nanos| *nanos > 0);
    let there = get(&stamps.reached)?.checked_sub(get(&stamps.invited)?)?;
    let back = get(&stamps.heard)?.checked_sub(get(&stamps.rang)?)?;
    get(&stamps.ended)?;
    Some(there + back)
}

fn socket(address: &str) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

fn spawn(
    ends: &Arc<Ends>,
    stop: &Arc<AtomicBool>,
    take: fn(&Ends, &[u8]),
    caller: bool,
) -> thread::JoinHandle<()> {
    let (ends, stop) = (Arc::clone(ends), Arc::clone(stop));
    thread::spawn(move || {
        let mut buffer = [0; 65536];
        let socket = if caller { &ends.caller } else { &ends.callee };
        while !stop.load(Ordering::Relaxed) {
            if let Ok(length) = socket.recv(&mut buffer) {
                take(&ends, &buffer[..length]);
            }
        }
    })
}

fn request<'a>(method: Method<'a>, uri: &str, call: usize, cseq: u32) -> RequestBuilder {
    let local = if method == Method::Register { CALLEE } else { CALLER };
    let user = if method == Method::Register { "u1" } else { "u0" };
    let to = "u1";
    let branch = String::from_utf8_lossy(method.as_bytes()).to_ascii_lowercase();
    RequestBuilder::new(method, uri.as_bytes())
        .header("Via", format!("SIP/2.0/UDP {local};branch=z9hG4bK{branch}{call}-{cseq}"))
        .max_forwards(70)
        .header("From", format!("<sip:{user}@{DOMAIN}>;tag=c{call}"))
        .header("Call-ID", format!("{call}"))
        .cseq(cseq, method)
        .header("Contact", format!("<sip:{to}@{local}>"))
}

fn invite(call: usize, cseq: u32) -> RequestBuilder {
    let uri = format!("sip:u1@{DOMAIN}");
    request(Method::Invite, &uri, call, cseq).header("To", format!("<{uri}>"))
}

/// The callee registers; the credentials are asked for once.
fn register(socket: &UdpSocket) -> Result<()> {
    let uri = format!("sip:{DOMAIN}");
    let register = |cseq| {
        request(Method::Register, &uri, usize::MAX, cseq)
            .header("To", format!("<sip:u1@{DOMAIN}>"))
            .header("Expires", "600")
    };
    socket.send_to(&register(1).finish(), ADDRESS)?;
    let challenge = receive(socket)?;
    let value = challenge.msg().all(HeaderId::WwwAuthenticate).next().context("no challenge")?;
    let chosen = digest::choose([value]).context("no challenge that we know")?;
    let answer = Session::new(&chosen, b"u1", b"secret").answer(Method::Register, uri.as_bytes(), b"c0ffee");
    socket.send_to(&register(2).header("Authorization", answer).finish(), ADDRESS)?;
    match receive(socket)?.msg().status() {
        Some(200) => Ok(()),
        other => bail!("the registration was answered {other:?}"),
    }
}

fn receive(socket: &UdpSocket) -> Result<Message> {
    let mut buffer = [0; 65536];
    let length = socket.recv(&mut buffer)?;
    Message::parse(&buffer[..length]).ok().context("an unreadable answer")
}

impl Ends {
    /// The call that a message belongs to.
    fn call(&self, msg: Msg<'_>) -> Option<(usize, &Stamps)> {
        let call = std::str::from_utf8(msg.call_id()?).ok()?.parse().ok()?;
        Some((call, self.stamps.get(call)?))
    }

    /// The callee rings and picks up.
    fn answer(&self, bytes: &[u8]) {
        let arrived = self.start.elapsed();
        let Ok(message) = Message::parse(bytes) else { return };
        let msg = message.msg();
        let Some((call, stamps)) = self.call(msg) else { return };
        let response = |status| response_to(msg, status, None, Some(b"s")).record_routes();
        let contact = format!("<sip:u1@{CALLEE}>");
        match msg.method() {
            Method::Invite if set(&stamps.reached, arrived) => {
                let picked_up = response(200).header("Contact", &*contact).finish();
                lock(&self.ringing).insert(call, picked_up);
                let rings = response(180).header("Contact", &*contact).finish();
                set(&stamps.rang, self.start.elapsed());
                send(&self.callee, &rings);
            }
            Method::Bye => send(&self.callee, &response(200).finish()),
            _ => {}
        }
    }

    /// The caller shows its credentials, acknowledges, and hangs up.
    fn go_on(&self, bytes: &[u8]) {
        let arrived = self.start.elapsed();
        let Ok(message) = Message::parse(bytes) else { return };
        let msg = message.msg();
        let (Some((call, stamps)), Start::Response { status, .. }) = (self.call(msg), msg.start()) else {
            return;
        };
        let invited = msg.cseq().is_some_and(|cseq| cseq.method == Method::Invite);
        match status {
            407 => {
                send(&self.caller, &ack(msg, call, 1, &[]));
                if let Some(again) = self.credentials(msg, call) {
                    set(&stamps.invited, self.start.elapsed());
                    send(&self.caller, &again);
                }
            }
            180 if set(&stamps.heard, arrived) => {
                if let Some(picked_up) = lock(&self.ringing).remove(&call) {
                    send(&self.callee, &picked_up);
                }
            }
            200 if invited => {
                let routes: Vec<Vec<u8>> = msg.values(HeaderId::RecordRoute).map(<[u8]>::to_vec).collect();
                send(&self.caller, &ack(msg, call, 2, &routes));
                send(&self.caller, &in_dialog(Method::Bye, msg, call, 3, &routes));
            }
            200 => {
                set(&stamps.ended, arrived);
            }
            _ => {}
        }
    }

    /// The INVITE again, with an answer to the challenge.
    fn credentials(&self, msg: Msg<'_>, call: usize) -> Option<Vec<u8>> {
        let chosen = digest::choose([msg.all(HeaderId::ProxyAuthenticate).next()?])?;
        let mut session = lock(&self.session);
        let session = session.insert(Session::new(&chosen, b"u0", b"secret"));
        let uri = format!("sip:u1@{DOMAIN}");
        let answer = session.answer(Method::Invite, uri.as_bytes(), b"c0ffee");
        Some(invite(call, 2).header("Proxy-Authorization", answer).finish())
    }
}

/// Notes a time, unless there is one already: what is repeated was delayed before. Says whether it was noted.
fn set(stamp: &AtomicU64, at: Duration) -> bool {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    stamp.compare_exchange(0, nanos, Ordering::Relaxed, Ordering::Relaxed).is_ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send(socket: &UdpSocket, bytes: &[u8]) {
    // What is lost shows as a failed call.
    let _ = socket.send_to(bytes, ADDRESS);
}

fn ack(msg: Msg<'_>, call: usize, cseq: u32, routes: &[Vec<u8>]) -> Vec<u8> {
    if routes.is_empty() {
        let to = msg.all(HeaderId::To).next().unwrap_or_default();
        let via = format!("SIP/2.0/UDP {CALLER};branch=z9hG4bKinvite{call}-{cseq}");
        return RequestBuilder::new(Method::Ack, format!("sip:u1@{DOMAIN}").as_bytes())
            .header("Via", via)
            .max_forwards(70)
            .header("From", format!("<sip:u0@{DOMAIN}>;tag=c{call}"))
            .header("To", to)
            .header("Call-ID", format!("{call}"))
            .cseq(cseq, Method::Ack)
            .finish();
    }
    in_dialog(Method::Ack, msg, call, cseq, routes)
}

fn in_dialog(method: Method<'_>, msg: Msg<'_>, call: usize, cseq: u32, routes: &[Vec<u8>]) -> Vec<u8> {
    let mut request = request(method, &format!("sip:u1@{CALLEE}"), call, cseq)
        .header("To", msg.all(HeaderId::To).next().unwrap_or_default());
    for route in routes.iter().rev() {
        request = request.header("Route", route);
    }
    request.finish()
}
