//! One exchange on several workers, over the sockets of this machine.

use causeway_exchange::{Calls, Config, Exchange, Location, Shard};
use causeway_runtime::{Error, Handle, LineLog, Membership, Setup, Worker};
use causeway_sip::{HeaderId, Message, Method, RequestBuilder, ResponseBuilder, response_to};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);
const WORKERS: u16 = 3;
/// So many users that each worker has some, and some connections of users of others.
const USERS: usize = 24;

type Workers = Vec<(Handle, JoinHandle<Result<(), Error>>)>;

/// A free port for UDP and TCP.
fn free() -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    UdpSocket::bind(address).unwrap();
    address
}

/// An exchange that asks nobody for credentials.
fn start(sip: SocketAddr, records: &LineLog) -> Workers {
    let members = Membership::group(WORKERS).into_iter().zip(0..);
    let worker = |(place, own)| {
        let config = Config {
            authenticate: false,
            shard: Shard { own, of: WORKERS },
            ..Config::new("example.com", sip)
        };
        let node = Exchange::new(config, Some([7; 32]), [7; 32], Location::default());
        let setup = Setup::new("exchange", node).member(place).journal(Calls::JOURNAL, records.clone());
        let (handle, thread) = Worker::new(format!("exchange-{own}")).node(setup).spawn().unwrap();
        handle.ready(LONG).unwrap();
        (handle, thread)
    };
    members.map(worker).collect()
}

/// A phone over TCP.
struct Phone {
    user: String,
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Phone {
    fn register(user: String, sip: SocketAddr) -> Self {
        let stream = TcpStream::connect(sip).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut phone = Self { user, stream, heard: Vec::new() };
        let register = phone
            .request(Method::Register, "sip:example.com", 1)
            .header("To", format!("<sip:{}@example.com>", phone.user))
            .header("Contact", phone.contact());
        phone.stream.write_all(&register.finish()).unwrap();
        assert_eq!(phone.hear().msg().status(), Some(200));
        phone
    }

    fn contact(&self) -> String {
        format!("<sip:{}@{};transport=tcp>", self.user, self.stream.local_addr().unwrap())
    }

    fn request(&self, method: Method<'_>, uri: &str, cseq: u32) -> RequestBuilder {
        let (local, user) = (self.stream.local_addr().unwrap(), &self.user);
        RequestBuilder::new(method, uri.as_bytes())
            .header("Via", format!("SIP/2.0/TCP {local};branch=z9hG4bK{user}{cseq}"))
            .max_forwards(70)
            .header("From", format!("<sip:{user}@example.com>;tag={user}"))
            .header("Call-ID", format!("{user}-{local}"))
            .cseq(cseq, method)
    }

    /// The next message on its connection.
    fn hear(&mut self) -> Message {
        loop {
            if let Some(end) = self.heard.windows(4).position(|end| end == b"\r\n\r\n") {
                let head: Vec<u8> = self.heard.drain(..end + 4).collect();
                let message = Message::parse(head).unwrap();
                assert_eq!(message.msg().number(HeaderId::ContentLength), Some(0), "{message:?}");
                return message;
            }
            let mut part = [0; 4096];
            let n = self.stream.read(&mut part).unwrap();
            assert!(n > 0, "closed");
            self.heard.extend_from_slice(&part[..n]);
        }
    }

    fn answer(&mut self, request: &Message, status: u16) {
        let contact = self.contact();
        let with = |response: ResponseBuilder| response.record_routes().header("Contact", contact).finish();
        let response = with(response_to(request.msg(), status, None, Some(b"callee")));
        self.stream.write_all(&response).unwrap();
    }
}

/// A caller over UDP: what it hears with this CSeq number and is no 100.
fn hear(socket: &UdpSocket, cseq: u32) -> Message {
    loop {
        let mut datagram = [0; 4096];
        let n = socket.recv(&mut datagram).unwrap();
        let message = Message::parse(&datagram[..n]).unwrap();
        let msg = message.msg();
        if msg.cseq().unwrap().number == cseq && msg.status() != Some(100) {
            return message;
        }
    }
}

fn routes(message: &Message) -> Vec<Vec<u8>> {
    message.msg().values(HeaderId::RecordRoute).map(<[u8]>::to_vec).collect()
}

fn end(workers: Workers) {
    workers.iter().for_each(|(handle, _)| handle.drain());
    for (_, thread) in workers {
        thread.join().unwrap().unwrap();
    }
}

fn sum(workers: &Workers, what: &str) -> u64 {
    let of = |handle: &Handle| handle.status(LONG).unwrap()["nodes"]["exchange"][what].as_u64().unwrap();
    workers.iter().map(|(handle, _)| of(handle)).sum()
}

/// Whoever accepted the connection and whoever owns the user: calls go through in both directions, ACK and BYE after
/// their INVITE.
#[test]
fn phones_on_any_workers_connection_are_called_by_others() {
    let sip = free();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cdr.jsonl");
    let records = LineLog::open(&path).unwrap();
    let workers = start(sip, &records);
    let mut phones: Vec<Phone> = (0..USERS).map(|n| Phone::register(format!("u{n}"), sip)).collect();
    assert_eq!(sum(&workers, "bindings"), USERS as u64);
    for phone in &mut phones {
        let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
        caller.set_read_timeout(Some(LONG)).unwrap();
        let (local, aor) = (caller.local_addr().unwrap(), format!("sip:{}@example.com", phone.user));
        let request = |method: Method<'_>, uri: &[u8], to: &[u8], cseq, transaction: u32| {
            RequestBuilder::new(method, uri)
                .header("Via", format!("SIP/2.0/UDP {local};branch=z9hG4bK{local}.{transaction}"))
                .max_forwards(70)
                .header("From", "<sip:eve@example.org>;tag=caller")
                .header("To", to)
                .header("Call-ID", format!("call-{local}"))
                .cseq(cseq, method)
        };
        let to = format!("<{aor}>");
        let invite = request(Method::Invite, aor.as_bytes(), to.as_bytes(), 1, 1)
            .header("Contact", format!("<sip:eve@{local}>"));
        caller.send_to(&invite.finish(), sip).unwrap();
        let invite = phone.hear();
        assert_eq!(invite.msg().method(), Method::Invite);
        phone.answer(&invite, 200);
        let ok = hear(&caller, 1);
        assert_eq!(ok.msg().status(), Some(200));
        let back = routes(&ok).into_iter().rev();
        let contact = ok.msg().contact().unwrap().uri.to_vec();
        let ack = request(Method::Ack, &contact, ok.msg().header(HeaderId::To).unwrap(), 1, 2);
        caller.send_to(&ack.headers("Route", back).finish(), sip).unwrap();
        assert_eq!(phone.hear().msg().method(), Method::Ack);
        // The callee hangs up, on the connection that is not his worker's.
        let bye = phone.request(Method::Bye, &format!("sip:eve@{local}"), 2);
        let bye = String::from_utf8(bye.headers("Route", routes(&invite)).finish()).unwrap();
        let call_id = format!("Call-ID: call-{local}\r\nTo: <sip:eve@example.org>;tag=caller\r\n");
        let bye: String = bye
            .split_inclusive("\r\n")
            .map(|line| match line.split(':').next() {
                Some("Call-ID") => call_id.as_str(),
                Some("From") => "From: <sip:callee@example.com>;tag=callee\r\n",
                _ => line,
            })
            .collect();
        phone.stream.write_all(bye.as_bytes()).unwrap();
        let bye = hear(&caller, 2);
        assert_eq!(bye.msg().method(), Method::Bye);
        let ok = response_to(bye.msg(), 200, None, None).finish();
        caller.send_to(&ok, sip).unwrap();
        assert_eq!(phone.hear().msg().status(), Some(200));
    }
    records.flush(LONG);
    let records = std::fs::read_to_string(&path).unwrap();
    let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ended = records.filter(|record| record["event"] == "ended" && record["ended_by"] == "callee").count();
    assert_eq!(ended, USERS, "each BYE has found its call");
    let handed = sum(&workers, "handed");
    assert!(handed > USERS as u64, "{handed} messages have gone from worker to worker");
    // Who hangs up the connection is sought there no longer.
    let gone = phones.pop().unwrap();
    let user = gone.user.clone();
    drop(gone);
    let caller = UdpSocket::bind("127.0.0.1:0").unwrap();
    caller.set_read_timeout(Some(LONG)).unwrap();
    let local = caller.local_addr().unwrap();
    let message = RequestBuilder::new(Method::Message, format!("sip:{user}@example.com").as_bytes())
        .header("Via", format!("SIP/2.0/UDP {local};branch=z9hG4bK{local}.gone"))
        .max_forwards(70)
        .header("From", "<sip:eve@example.org>;tag=caller")
        .header("To", format!("<sip:{user}@example.com>"))
        .header("Call-ID", "gone")
        .cseq(9, Method::Message);
    caller.send_to(&message.finish(), sip).unwrap();
    let status = hear(&caller, 9).msg().status().unwrap();
    assert!(status >= 400, "{status}");
    end(workers);
}

/// Of a call over UDP its first request alone may come to a worker whose call it is not: the kernel sees the marks of the
/// others.
#[test]
fn what_belongs_to_a_call_comes_to_its_worker_at_once() {
    let sip = free();
    let dir = tempfile::tempdir().unwrap();
    let records = LineLog::open(&dir.path().join("cdr.jsonl")).unwrap();
    let workers = start(sip, &records);
    for n in 0..USERS {
        let phones: [UdpSocket; 2] = std::array::from_fn(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        phones.iter().for_each(|phone| phone.set_read_timeout(Some(LONG)).unwrap());
        let [local, remote] = phones.each_ref().map(|phone| phone.local_addr().unwrap());
        let [caller, callee] = phones;
        let request = |method: Method<'_>, from: SocketAddr, uri: &str, to: &[u8], cseq: u32| {
            RequestBuilder::new(method, uri.as_bytes())
                .header("Via", format!("SIP/2.0/UDP {from};branch=z9hG4bK{n}.{cseq}"))
                .max_forwards(70)
                .header("From", format!("<sip:{from}>;tag=a"))
                .header("To", to)
                .header("Call-ID", format!("call-{n}"))
                .cseq(cseq, method)
                .header("Contact", format!("<sip:{from}>"))
        };
        let aor = format!("sip:u{n}@example.com");
        let register = request(Method::Register, remote, "sip:example.com", format!("<{aor}>").as_bytes(), 1);
        callee.send_to(&register.finish(), sip).unwrap();
        assert_eq!(hear(&callee, 1).msg().status(), Some(200));
        let invite = request(Method::Invite, local, &aor, format!("<{aor}>").as_bytes(), 2);
        caller.send_to(&invite.finish(), sip).unwrap();
        let answer = |cseq: u32| {
            let heard = hear(&callee, cseq);
            let contact = format!("<sip:{remote}>");
            let ok = response_to(heard.msg(), 200, None, Some(b"b"));
            callee.send_to(&ok.record_routes().header("Contact", contact).finish(), sip).unwrap();
        };
        answer(2);
        let ok = hear(&caller, 2);
        let to = ok.msg().header(HeaderId::To).unwrap();
        let inside = |method: Method<'_>, cseq: u32| {
            let request = request(method, local, &format!("sip:{remote}"), to, cseq);
            request.headers("Route", routes(&ok).into_iter().rev()).finish()
        };
        caller.send_to(&inside(Method::Ack, 2), sip).unwrap();
        assert_eq!(hear(&callee, 2).msg().method(), Method::Ack);
        caller.send_to(&inside(Method::Bye, 3), sip).unwrap();
        answer(3);
        assert_eq!(hear(&caller, 3).msg().status(), Some(200));
    }
    let handed = sum(&workers, "handed");
    assert!(0 < handed && handed <= 2 * USERS as u64, "{handed}");
    end(workers);
}

fn causeway(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway"));
    command.args(args).env("NO_COLOR", "1");
    command
}

fn begin(args: &[&str]) -> Result<Child, String> {
    let all = [&["exchange", "--ready-fd", "1", "--workers", "2"], args].concat();
    let mut child = causeway(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    match line.as_str() {
        "READY=1\n" => Ok(child),
        _ => Err(String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap()),
    }
}

#[test]
fn several_workers_report_as_one_and_share_their_ports_with_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (sip, metrics) = (free(), free());
    let folder = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (data, sip_text, metrics_text) = (folder("data"), sip.to_string(), metrics.to_string());
    let common = ["--domain", "example.com", "--sip", &sip_text];
    let args = [&["--data", &data, "--metrics", &metrics_text][..], &common].concat();
    let mut child = begin(&args).unwrap();
    // From many ports, so that both workers receive some.
    for n in 0..20 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        let local = socket.local_addr().unwrap();
        let options = RequestBuilder::new(Method::Options, b"sip:example.com")
            .header("Via", format!("SIP/2.0/UDP {local};branch=z9hG4bK{n}"))
            .max_forwards(70)
            .header("From", "<sip:eve@example.org>;tag=1")
            .header("To", "<sip:example.com>")
            .header("Call-ID", format!("options-{n}"))
            .cseq(1, Method::Options);
        socket.send_to(&options.finish(), sip).unwrap();
        assert_eq!(hear(&socket, 1).msg().status(), Some(200));
    }
    let status = |extra: &[&str]| -> Value {
        let all = [&["status", "--json", "--data", &data], extra].concat();
        serde_json::from_slice(&causeway(&all).output().unwrap().stdout).unwrap()
    };
    let all = status(&[]);
    assert_eq!(all["workers"].as_array().unwrap().len(), 1, "one role: {all}");
    assert_eq!(all["workers"][0]["counters"]["datagrams_in"], 20);
    let transports = status(&["--table", "transports"]);
    let rows = transports["tables"]["exchange"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|row| row["transport"].as_str().unwrap()).collect::<Vec<_>>(),
        ["udp", "tcp", "tls"]
    );
    assert_eq!((&rows[0]["received"], &rows[0]["sent"]), (&20.into(), &20.into()));
    let mut stream = TcpStream::connect(metrics).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    let requests = page.lines().filter(|line| line.starts_with("causeway_sip_requests_total"));
    let options: Vec<&str> = requests.filter(|line| line.contains("OPTIONS")).collect();
    assert_eq!(options, ["causeway_sip_requests_total{node=\"exchange\",method=\"OPTIONS\"} 20"]);
    let elsewhere = folder("elsewhere");
    let refusal = begin(&[&["--data", &elsewhere][..], &common].concat()).unwrap_err();
    assert!(refusal.contains("in use"), "{refusal}");
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let (start, ended) = (Instant::now(), child.wait().unwrap());
    assert!(ended.success() && start.elapsed() < LONG, "{ended}");
}
