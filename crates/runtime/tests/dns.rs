//! DNS records from a name server that does what the test says; its messages are put together by hand (RFC 1035
//! §4).

use causeway_node::{Answer, DnsRecord, Question, RecordKind};
use causeway_runtime::{Handle, Options, Setup, Worker};
use causeway_sim::{Heard, Peer};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);
const NAPTR: u16 = 35;
const SRV: u16 = 33;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const A: u16 = 1;
const AAAA: u16 = 28;
/// Where the question's name lies, as a pointer (§4.1.4).
const QNAME: &[u8] = &[0xc0, 12];

fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let (kind, ttl, length) = (kind.to_be_bytes(), ttl.to_be_bytes(), (data.len() as u16).to_be_bytes());
    [owner, &kind, &[0, 1], &ttl, &length, data].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

/// A zone's SOA with this minimum.
fn soa(ttl: u32, minimum: u32) -> Vec<u8> {
    let numbers = [1u32, 7200, 3600, 86_400, minimum].map(u32::to_be_bytes).concat();
    record(&name("example"), SOA, ttl, &[name("ns.example"), name("admin.example"), numbers].concat())
}

/// A reply to `query`: its flags with code and truncation, answers and authority.
fn reply(query: &[u8], flags: u8, code: u8, answers: &[Vec<u8>], authority: &[Vec<u8>]) -> Vec<u8> {
    let counts = [1u16, answers.len() as u16, authority.len() as u16, 0].map(u16::to_be_bytes).concat();
    [&query[..2], &[0x81 | flags, 0x80 | code], &counts, &query[12..], &answers.concat(), &authority.concat()]
        .concat()
}

/// The name and type that a query asks for.
fn asked(query: &[u8]) -> (String, u16) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + query[at] as usize;
        labels.push(String::from_utf8(query[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    assert_eq!(query[2..4], [1, 0], "a standard query that wants recursion");
    (labels.join("."), u16::from_be_bytes([query[at + 1], query[at + 2]]))
}

type Log = Arc<Mutex<Vec<(u16, SocketAddr, String)>>>;

/// A server on UDP and TCP; `say` gives the messages that answer a query, and is told whether it came over TCP.
fn server(say: impl Fn(&[u8], bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> (SocketAddr, Log) {
    let (tcp, udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            break (tcp, udp);
        }
    };
    let address = udp.local_addr().unwrap();
    let (log, say) = (Log::default(), Arc::new(say));
    let (seen, over_tcp) = (Arc::clone(&log), Arc::clone(&say));
    std::thread::spawn(move || {
        let mut buf = [0; 512];
        while let Ok((n, from)) = udp.recv_from(&mut buf) {
            let query = &buf[..n];
            let id = u16::from_be_bytes([query[0], query[1]]);
            seen.lock().unwrap().push((id, from, asked(query).0));
            say(query, false).iter().for_each(|reply| drop(udp.send_to(reply, from)));
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; u16::from_be_bytes(length) as usize];
            stream.read_exact(&mut query).unwrap();
            for reply in over_tcp(&query, true) {
                // In two pieces, as TCP may have it.
                stream.write_all(&(reply.len() as u16).to_be_bytes()).unwrap();
                let (head, tail) = reply.split_at(reply.len() / 2);
                stream.write_all(head).unwrap();
                std::thread::sleep(Duration::from_millis(20));
                stream.write_all(tail).unwrap();
            }
        }
    });
    (address, log)
}

struct Asker {
    handle: Handle,
    next: u64,
}

impl Asker {
    fn new(dns_servers: Vec<SocketAddr>) -> Self {
        let options =
            Options { dns_servers, dns_timeout: Some(Duration::from_millis(300)), ..Options::default() };
        let setup = Setup::new("peer", Peer::new());
        let (handle, _) = Worker::new("test").options(options).node(setup).spawn().unwrap();
        Self { handle, next: 0 }
    }

    /// The records, their time and the reason for none.
    #[track_caller]
    fn ask(&mut self, name: &str, kind: RecordKind) -> (Vec<DnsRecord>, u32, String) {
        self.next += 1;
        let (id, name) = (self.next, name.to_owned());
        self.handle
            .with::<Peer, _>("peer", move |_, _, out| out.ask(id, Question::Records { name, kind }))
            .unwrap();
        let start = Instant::now();
        while start.elapsed() < LONG {
            let found = self.handle.with::<Peer, _>("peer", move |peer, _, _| {
                peer.heard.iter().find_map(|(_, heard)| match heard {
                    Heard::Answer { question, answer } if *question == id => Some(answer.clone()),
                    _ => None,
                })
            });
            match found.unwrap() {
                Some(Answer::Records { records, ttl, why }) => return (records, ttl, why),
                Some(other) => panic!("{other:?}"),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        panic!("never answered");
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

fn srv(priority: u16, target: &str) -> DnsRecord {
    DnsRecord::Srv { priority, weight: 20, port: 5061, target: target.to_owned() }
}

fn srv_data(priority: u16, target: &str) -> Vec<u8> {
    [[priority, 20, 5061].map(u16::to_be_bytes).concat(), name(target)].concat()
}

fn ip(text: &str) -> DnsRecord {
    DnsRecord::Address(text.parse().unwrap())
}

#[test]
fn naptr_and_srv_records_are_read() {
    let (address, log) = server(|query, _| {
        let answers = match asked(query).1 {
            NAPTR => {
                let one = |order: u16, flags, service, regexp, replacement| {
                    let numbers = [order, 50].map(u16::to_be_bytes).concat();
                    let strings = [string(flags), string(service), string(regexp)].concat();
                    record(QNAME, NAPTR, 600, &[numbers, strings, replacement].concat())
                };
                // The replacement of the second ends in a pointer.
                let tail = [&[4][..], b"_sip", &[4], b"_udp", QNAME].concat();
                vec![
                    one(10, "s", "SIPS+D2T", "", name("_sips._tcp.example.com")),
                    one(20, "S", "SIP+D2U", "", tail),
                    one(30, "u", "E2U+sip", "!^.*$!sip:a@b!", name("")),
                ]
            }
            SRV => vec![
                record(QNAME, SRV, 120, &srv_data(1, "a.example.com")),
                record(QNAME, SRV, 60, &srv_data(2, "")),
            ],
            other => panic!("{other}"),
        };
        vec![reply(query, 0, 0, &answers, &[])]
    });
    let mut asker = Asker::new(vec![address]);
    let naptr = |order, flags: &str, service: &str, regexp: &str, replacement: &str| DnsRecord::Naptr {
        order,
        preference: 50,
        flags: flags.into(),
        service: service.into(),
        regexp: regexp.into(),
        replacement: replacement.into(),
    };
    let (records, ttl, why) = asker.ask("example.com", RecordKind::Naptr);
    let expected = [
        naptr(10, "s", "SIPS+D2T", "", "_sips._tcp.example.com"),
        naptr(20, "S", "SIP+D2U", "", "_sip._udp.example.com"),
        naptr(30, "u", "E2U+sip", "!^.*$!sip:a@b!", "."),
    ];
    assert_eq!((records.as_slice(), ttl, why.as_str()), (&expected[..], 600, ""));
    let (records, ttl, _) = asker.ask("_sips._tcp.example.com.", RecordKind::Srv);
    assert_eq!((records, ttl), (vec![srv(1, "a.example.com"), srv(2, ".")], 60));

    for _ in 0..8 {
        asker.ask("example.com", RecordKind::Naptr);
    }
    let log = log.lock().unwrap();
    let distinct = |values: Vec<u16>| values.into_iter().collect::<std::collections::HashSet<_>>().len();
    assert!(distinct(log.iter().map(|l| l.0).collect()) >= 9, "identifiers are random: {log:?}");
    assert!(distinct(log.iter().map(|l| l.1.port()).collect()) >= 9, "so are ports: {log:?}");
}

#[test]
fn only_an_answer_to_the_question_counts() {
    let (address, _) = server(|query, _| {
        let answers = |target| [record(QNAME, SRV, 60, &srv_data(1, target))];
        let mut wrong_id = reply(query, 0, 0, &answers("id.example"), &[]);
        wrong_id[0] ^= 1;
        let mut query_back = reply(query, 0, 0, &answers("qr.example"), &[]);
        query_back[2] &= 0x7f;
        let mut other = query.to_vec();
        other[13] ^= 1;
        let other_name = reply(&other, 0, 0, &answers("name.example"), &[]);
        let mut other_kind = query.to_vec();
        let at = other_kind.len() - 3;
        other_kind[at] = NAPTR as u8;
        let other_kind = reply(&other_kind, 0, 0, &answers("kind.example"), &[]);
        let upper: Vec<u8> = query.iter().map(|byte| byte.to_ascii_uppercase()).collect();
        let mut right = reply(&upper, 0, 0, &answers("right.example"), &[]);
        right[..2].copy_from_slice(&query[..2]);
        vec![vec![], vec![0; 5], wrong_id, query_back, other_name, other_kind, right]
    });
    let mut asker = Asker::new(vec![address]);
    assert_eq!(asker.ask("_sip._tcp.example", RecordKind::Srv).0, [srv(1, "right.example")]);
}

#[test]
fn an_answer_from_elsewhere_does_not_count() {
    let log = Log::default();
    let seen = Arc::clone(&log);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap();
    std::thread::spawn(move || {
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut buf = [0; 512];
        while let Ok((n, from)) = udp.recv_from(&mut buf) {
            seen.lock().unwrap().push((0, from, asked(&buf[..n]).0));
            let answers = [record(QNAME, SRV, 60, &srv_data(1, "evil.example"))];
            stranger.send_to(&reply(&buf[..n], 0, 0, &answers, &[]), from).unwrap();
        }
    });
    let mut asker = Asker::new(vec![address]);
    let (records, ttl, why) = asker.ask("_sip._tcp.example", RecordKind::Srv);
    assert!(records.is_empty() && why.contains("no answer in time"), "{why}");
    assert!(ttl <= 300);
    assert!(log.lock().unwrap().len() >= 2, "it asked more than once");
}

#[test]
fn what_does_not_fit_comes_over_tcp() {
    let (address, _) = server(|query, tcp| {
        let many: Vec<_> =
            (0..200).map(|n| record(QNAME, SRV, 60, &srv_data(n, "host.of.a.long.name.example"))).collect();
        vec![if tcp { reply(query, 0, 0, &many, &[]) } else { reply(query, 2, 0, &many[..3], &[]) }]
    });
    let mut asker = Asker::new(vec![address]);
    assert_eq!(asker.ask("_sip._tcp.example", RecordKind::Srv).0.len(), 200);
}

#[test]
fn aliases_are_followed_within_an_answer_and_beyond_and_not_for_ever() {
    let (address, log) = server(|query, _| {
        let (asked, kind) = asked(query);
        let alias = |owner: &str, target: &str| record(&name(owner), CNAME, 30, &name(target));
        let answers = match (asked.as_str(), kind) {
            ("one.example", A) => vec![
                alias("one.example", "two.example"),
                record(&name("TWO.example"), A, 500, &[192, 0, 2, 7]),
            ],
            ("far.example", A | AAAA) => vec![alias("far.example", "one.example")],
            ("loop.example", A | AAAA) => {
                vec![alias("loop.example", "pool.example"), alias("pool.example", "loop.example")]
            }
            (endless, A | AAAA) if endless.starts_with('x') => {
                vec![alias(endless, &format!("x{endless}"))]
            }
            _ => vec![],
        };
        vec![reply(query, 0, 0, &answers, &[])]
    });
    let mut asker = Asker::new(vec![address]);
    let (records, ttl, _) = asker.ask("one.example", RecordKind::Address);
    assert_eq!((records, ttl), (vec![ip("192.0.2.7")], 30), "as long as its shortest part");
    assert_eq!(asker.ask("far.example", RecordKind::Address).0, [ip("192.0.2.7")]);
    assert!(asker.ask("loop.example", RecordKind::Address).0.is_empty());
    log.lock().unwrap().clear();
    let (records, _, why) = asker.ask("x.example", RecordKind::Address);
    assert!(records.is_empty() && why.contains("alias"), "{why}");
    assert!(log.lock().unwrap().len() <= 2 * 9);
}

#[test]
fn what_does_not_exist_is_known_for_as_long_as_its_zone_says() {
    let (address, log) = server(|query, _| {
        let code = |n: &str| if n.starts_with("nx") { 3 } else { 0 };
        let (asked, _) = asked(query);
        let authority = match asked.as_str() {
            "nx.sip.example" => vec![soa(3600, 45)],
            "none.sip.example" => vec![soa(20, 3600)],
            "nxlong.sip.example" => vec![soa(86_400, 86_400)],
            "nxzero.sip.example" => vec![soa(0, 0)],
            _ => vec![],
        };
        vec![reply(query, 0, code(&asked), &[], &authority)]
    });
    let mut asker = Asker::new(vec![address]);
    for (name, ttl, says) in [
        ("nx.sip.example", 45, "does not exist"),
        ("none.sip.example", 20, "no SRV record"),
        ("nxlong.sip.example", 300, "does not exist"),
        ("nxzero.sip.example", 1, "does not exist"),
        ("nxbare.sip.example", 1, "does not exist"),
    ] {
        let (records, got, why) = asker.ask(name, RecordKind::Srv);
        assert_eq!((records.len(), got), (0, ttl), "{name}");
        assert!(why.contains(says) && why.contains(name), "{why}");
    }
    assert_eq!(log.lock().unwrap().len(), 5, "a server that knows is asked once");
}

#[test]
fn another_server_is_asked_when_one_fails() {
    let (failing, first) = server(|query, _| vec![reply(query, 0, 2, &[], &[])]);
    let (good, _) = server(|query, _| {
        vec![reply(query, 0, 0, &[record(QNAME, SRV, 60, &srv_data(1, "a.example"))], &[])]
    });
    let mut asker = Asker::new(vec![failing, good]);
    assert_eq!(asker.ask("_sip._tcp.example", RecordKind::Srv).0, [srv(1, "a.example")]);
    assert_eq!(first.lock().unwrap().len(), 1);
    let mut asker = Asker::new(vec![failing]);
    let (records, ttl, why) = asker.ask("_sip._tcp.example", RecordKind::Srv);
    assert!(records.is_empty() && why.contains("ServerFailure"), "{why}");
    assert!((1..=300).contains(&ttl));
}

#[test]
fn addresses_are_of_both_families_and_the_hosts_file_counts() {
    let (address, log) = server(|query, _| {
        let answer = match asked(query).1 {
            A => record(QNAME, A, 60, &[127, 0, 0, 2]),
            _ => record(QNAME, AAAA, 30, &[0; 15].iter().copied().chain([1]).collect::<Vec<u8>>()),
        };
        vec![reply(query, 0, 0, &[answer], &[])]
    });
    let mut asker = Asker::new(vec![address]);
    let (mut records, ttl, _) = asker.ask("both.example", RecordKind::Address);
    records.sort_by_key(|record| format!("{record:?}"));
    assert_eq!((records, ttl), (vec![ip("127.0.0.2"), ip("::1")], 30));
    log.lock().unwrap().clear();
    let (records, ..) = asker.ask("localhost", RecordKind::Address);
    assert!(records.contains(&ip("127.0.0.1")), "{records:?}");
    assert_eq!(asker.ask("192.0.2.1", RecordKind::Address).0, [ip("192.0.2.1")]);
    for strange in ["", "a..example", "a b.example", "ä.example", &"x".repeat(64), &"x.".repeat(200)] {
        let (records, _, why) = asker.ask(strange, RecordKind::Srv);
        assert!(records.is_empty() && why.contains("no name"), "{strange}: {why}");
    }
    assert_eq!(log.lock().unwrap().len(), 0, "nobody was asked");
}

#[test]
fn no_answer_whatever_it_holds_does_harm() {
    let round = std::sync::atomic::AtomicUsize::new(0);
    let (address, _) = server(move |query, _| {
        let round = round.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let answers =
            [record(QNAME, CNAME, 60, &name("a.example")), record(QNAME, SRV, 60, &srv_data(1, "a.example"))];
        let good = reply(query, 0, 0, &answers, &[soa(60, 60)]);
        // One byte after the question changed, or the end cut off; then the truth, so that no time is lost.
        let (head, span) = (query.len(), good.len() - query.len());
        let mut bad = good.clone();
        bad[head + (round / 4) % span] = [0, 0xc0, 0xff, 0x3f][round % 4];
        vec![bad, good[..head + (round * 7) % span].to_vec(), good]
    });
    let mut asker = Asker::new(vec![address]);
    for _ in 0..600 {
        asker.ask("_sip._tcp.example", RecordKind::Srv);
    }
}
