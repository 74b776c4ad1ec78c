//! Which connection a hub takes, how long it keeps it, and what it counts.

use causeway_node::testing::CountingRng;
use causeway_node::{Ctx, Flow, Input, Metrics, Outbox, Output, Time, Transport as Wire};
use causeway_sip::Message;
use causeway_sip::hub::Hub;
use causeway_sip::transaction::{Hop, Sink, Transport};
use std::net::SocketAddr;
use std::time::Duration;

const OPTIONS: &[u8] =
    b"OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\n\
    CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A hub with everything it puts out.
struct Bench {
    hub: Hub,
    out: Outbox,
    now: Time,
    arrived: Vec<(Hop, Message)>,
}

impl Bench {
    fn new() -> Self {
        let hub = Hub::new(0, address("192.0.2.9:5060")).tls(address("192.0.2.9:5061"));
        let mut bench = Self { hub, out: Outbox::default(), now: Time::ZERO, arrived: Vec::new() };
        bench.hub.start(&mut bench.out);
        bench.out.drain(|_, _| {});
        bench
    }

    fn input(&mut self, input: Input<'_>) -> bool {
        let mut rng = CountingRng::default();
        let ctx = Ctx { now: self.now, unix_ms: 0, rng: &mut rng };
        self.hub.input(&ctx, &input, &mut self.out, &mut self.arrived)
    }

    fn accept(&mut self, flow: u32, listener: u32, peer: &str, names: &[&str]) -> Flow {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (flow, local) = (Flow(Flow::ACCEPTED + flow), address("192.0.2.9:5061"));
        let opened = Input::Opened {
            flow,
            listener: Some(Flow(listener)),
            local,
            peer: address(peer),
            exporter: None,
            names: &names,
        };
        assert!(self.input(opened));
        flow
    }

    fn hop_to(&mut self, peer: &str, transport: Transport, name: &str) -> Flow {
        self.hub.hop_to(self.now, address(peer), transport, name, &mut self.out).flow
    }

    /// The connections asked for since the last look: address, manner and server name.
    fn connects(&mut self) -> Vec<(SocketAddr, Wire, String)> {
        let mut connects = Vec::new();
        self.out.drain(|_, output| {
            if let Output::Connect { connect, .. } = output {
                connects.push((connect.to, connect.transport, connect.server_name.clone()));
            }
        });
        connects
    }

    /// Lets the time come and calls the hub as an element does.
    fn wait_until(&mut self, seconds: u64) -> Vec<Flow> {
        let end = Time::ZERO + Duration::from_secs(seconds);
        let mut ended = Vec::new();
        while let Some(due) = self.hub.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            ended.extend(self.hub.timeout(self.now, &mut self.out));
        }
        self.now = end;
        ended.sort();
        ended
    }
}

const TCP: u32 = 1;
const TLS: u32 = 2;

#[test]
fn a_tls_connection_is_used_again_for_the_name_it_was_opened_for() {
    let mut bench = Bench::new();
    let first = bench.hop_to("198.51.100.1:5061", Transport::Tls, "example.com");
    assert_eq!(bench.hop_to("198.51.100.1:5061", Transport::Tls, "EXAMPLE.com"), first);
    let other = bench.hop_to("198.51.100.1:5061", Transport::Tls, "example.org");
    assert_ne!(other, first, "one address may hold many domains");
    let plain = bench.hop_to("198.51.100.1:5061", Transport::Tcp, "");
    assert!(plain != first && plain != other);
    let by_address = bench.hub.hop(bench.now, address("198.51.100.1:5061"), Transport::Tls, &mut bench.out);
    assert!(![first, other, plain].contains(&by_address.flow));
    let to = address("198.51.100.1:5061");
    let expected = [
        (to, Wire::Tls, "example.com"),
        (to, Wire::Tls, "example.org"),
        (to, Wire::Tcp, "198.51.100.1"),
        (to, Wire::Tls, "198.51.100.1"),
    ];
    assert_eq!(bench.connects(), expected.map(|(to, wire, name)| (to, wire, name.to_owned())));
}

#[test]
fn what_a_peer_opened_carries_our_requests_only_where_it_proves_the_domain() {
    let mut bench = Bench::new();
    let proven = bench.accept(1, TLS, "198.51.100.1:5061", &["sip:example.com", "host.example.net"]);
    let nameless = bench.accept(2, TLS, "198.51.100.2:40000", &[]);
    let plain = bench.accept(3, TCP, "198.51.100.3:40000", &[]);
    assert_eq!(bench.hop_to("198.51.100.1:5061", Transport::Tls, "example.com"), proven);
    assert_ne!(bench.hop_to("198.51.100.1:5061", Transport::Tls, "host.example.net"), proven);
    assert_ne!(bench.hop_to("198.51.100.2:40000", Transport::Tls, "example.com"), nameless);
    assert_eq!(bench.hop_to("198.51.100.3:40000", Transport::Tcp, ""), plain);
    assert_eq!(bench.hub.names(proven), ["sip:example.com", "host.example.net"]);
    // Who registered over a connection is found there whatever it has proven.
    bench.accept(4, TLS, "198.51.100.4:40000", &[]);
    let own = bench.hub.existing(address("198.51.100.4:40000"), Transport::Tls).unwrap();
    assert_eq!(own.flow, Flow(Flow::ACCEPTED + 4));
    assert_eq!(bench.hub.existing(address("198.51.100.4:40000"), Transport::Tcp), None);
    bench.input(Input::Closed { flow: own.flow, why: "gone" });
    assert_eq!(bench.hub.existing(address("198.51.100.4:40000"), Transport::Tls), None);
}

#[test]
fn messages_over_tls_say_so() {
    let mut bench = Bench::new();
    let flow = bench.accept(1, TLS, "198.51.100.1:40000", &[]);
    bench.input(Input::Stream { flow, bytes: OPTIONS });
    let (hop, _) = &bench.arrived[0];
    assert_eq!((hop.transport, hop.flow, hop.peer), (Transport::Tls, flow, address("198.51.100.1:40000")));
}

#[test]
fn who_says_nothing_is_closed_after_32_s_and_keep_alives_do_not_count() {
    let mut bench = Bench::new();
    let mute = bench.accept(1, TCP, "198.51.100.1:40000", &[]);
    let pinging = bench.accept(2, TLS, "198.51.100.2:40000", &[]);
    let talking = bench.accept(3, TCP, "198.51.100.3:40000", &[]);
    bench.input(Input::Stream { flow: talking, bytes: OPTIONS });
    assert_eq!(bench.wait_until(20), []);
    bench.input(Input::Stream { flow: pinging, bytes: b"\r\n\r\n" });
    assert_eq!(bench.wait_until(31), []);
    assert_eq!(bench.wait_until(33), [mute, pinging]);
    assert!(bench.hub.existing(address("198.51.100.3:40000"), Transport::Tcp).is_some());
}

/// Whoever opens very many connections and says nothing drives out his own.
#[test]
fn a_crowd_that_says_nothing_drives_nobody_out() {
    let mut bench = Bench::new();
    let talking = bench.accept(0, TCP, "198.51.100.3:40000", &[]);
    bench.input(Input::Stream { flow: talking, bytes: OPTIONS });
    let ours = bench.hop_to("198.51.100.4:5060", Transport::Tcp, "");
    bench.now = Time::ZERO + Duration::from_secs(1);
    for n in 0..Hub::CONNECTIONS {
        let peer = format!("203.0.113.{}:{}", n % 250, 1024 + n / 250);
        bench.accept(1 + u32::try_from(n).unwrap(), TCP, &peer, &[]);
    }
    assert_eq!(bench.hub.connections(), Hub::CONNECTIONS);
    let alive = |flow, peer: &str| Hop { flow, peer: address(peer), transport: Transport::Tcp };
    assert!(bench.hub.is_alive(&alive(talking, "198.51.100.3:40000")));
    assert!(bench.hub.is_alive(&alive(ours, "198.51.100.4:5060")));
}

#[test]
fn an_idle_connection_is_closed_and_every_byte_keeps_it() {
    let mut bench = Bench::new();
    let fed = bench.accept(1, TCP, "198.51.100.1:40000", &[]);
    let idle = bench.accept(2, TCP, "198.51.100.2:40000", &[]);
    let ours = bench.hop_to("198.51.100.3:5060", Transport::Tcp, "");
    let used = bench.hop_to("198.51.100.4:5060", Transport::Tcp, "");
    for flow in [fed, idle] {
        bench.input(Input::Stream { flow, bytes: OPTIONS });
    }
    for round in 1..6 {
        assert_eq!(bench.wait_until(round * 100), []);
        bench.input(Input::Stream { flow: fed, bytes: b"\r\n\r\n" });
    }
    let hop = Hop { flow: used, peer: address("198.51.100.4:5060"), transport: Transport::Tcp };
    bench.hub.sink(&mut bench.out).send(&hop, OPTIONS);
    assert_eq!(bench.wait_until(601), [ours, idle]);
    assert_eq!(bench.wait_until(1050), []);
    assert_eq!(bench.wait_until(1101), [used, fed], "600 s after the last byte");
    assert_eq!(bench.hub.deadline(), None);
}

#[test]
fn a_stream_that_cannot_be_cut_is_reported_as_closed() {
    let mut bench = Bench::new();
    let flow = bench.accept(1, TCP, "198.51.100.1:40000", &[]);
    bench.input(Input::Stream { flow, bytes: b"GET / HTTP/1.1\r\n\r\n" });
    assert_eq!(bench.hub.connections(), 0);
    assert_eq!(bench.wait_until(0), [flow]);
}

#[test]
fn traffic_is_counted_by_transport() {
    let mut bench = Bench::new();
    let flow = bench.accept(1, TLS, "198.51.100.1:40000", &[]);
    bench.input(Input::Stream { flow, bytes: &[OPTIONS, OPTIONS].concat() });
    bench.input(Input::Datagram { flow: Flow(0), from: address("198.51.100.2:5060"), bytes: OPTIONS });
    let ours = bench.hop_to("198.51.100.3:5060", Transport::Tcp, "");
    let hop = Hop { flow: ours, peer: address("198.51.100.3:5060"), transport: Transport::Tcp };
    bench.hub.sink(&mut bench.out).send(&hop, OPTIONS);
    // More than may wait for a connection that is not up yet.
    for _ in 0..300 {
        bench.hub.sink(&mut bench.out).send(&hop, &[b'x'; 1024]);
    }
    let of = |transport| bench.hub.traffic(transport);
    assert_eq!(
        (of(Transport::Udp).received, of(Transport::Tcp).received, of(Transport::Tls).received),
        (1, 0, 2)
    );
    let tcp = of(Transport::Tcp);
    assert_eq!((tcp.opened, tcp.accepted, tcp.connections), (1, 0, 1));
    assert_eq!(tcp.sent + tcp.dropped, 301);
    assert_eq!(tcp.sent, 256, "OPTIONS and 255 KiB fit into 256 KiB");
    assert_eq!((of(Transport::Tls).accepted, of(Transport::Tls).connections), (1, 1));
    let mut metrics = Metrics::default();
    bench.hub.metrics(&mut metrics);
    let tls_in = metrics.list().iter().find(|m| {
        m.name == "sip_messages_total"
            && m.labels == [("transport", "tls".to_owned()), ("direction", "in".to_owned())]
    });
    assert_eq!(tls_in.unwrap().value, 2.0);
}

/// RFC 4475 §3.1.2.4: a CSeq number beyond 32 bits is refused, and the refusal carries it as it came.
#[test]
fn a_cseq_that_is_no_number_is_refused_not_dropped() {
    let mut bench = Bench::new();
    let text = String::from_utf8_lossy(OPTIONS)
        .replace("/TLS", "/UDP")
        .replace("CSeq: 1 ", "CSeq: 36893488147419103232 ");
    let from = address("192.0.2.1:5060");
    assert!(bench.input(Input::Datagram { flow: Flow(0), from, bytes: text.as_bytes() }));
    assert!(bench.arrived.is_empty());
    let mut answers = Vec::new();
    bench.out.drain(|_, output| {
        if let Output::Datagram { to, bytes, .. } = output {
            answers.push((to, String::from_utf8_lossy(bytes).into_owned()));
        }
    });
    let [(to, answer)] = &answers[..] else { panic!("one answer, not {answers:?}") };
    assert_eq!(*to, from);
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    assert!(answer.contains("\r\nCSeq: 36893488147419103232 OPTIONS\r\n"), "{answer}");
}
