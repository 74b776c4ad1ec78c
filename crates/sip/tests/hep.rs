//! HEP packets by the byte, copies as a hub makes them, and what another program reads in them.

use causeway_node::testing::CountingRng;
use causeway_node::{Ctx, Flow, Input, Outbox, Output, Time};
use causeway_sip::hep::{Packet, TooLong};
use causeway_sip::hub::{Copies, HepConfig, Hub};
use causeway_sip::transaction::{Hop, Sink, Transport};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

const OPTIONS: &[u8] =
    b"OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: abc\r\n\
    CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn packet(payload: &[u8]) -> Packet<'_> {
    Packet {
        source: address("192.0.2.1:5060"),
        destination: address("198.51.100.2:5080"),
        transport: Transport::Udp,
        unix_us: 1_700_000_000_123_456,
        agent_id: 2001,
        key: Some(b"myhep"),
        correlation: b"abc",
        payload,
    }
}

#[test]
fn every_byte_is_where_the_protocol_wants_it() {
    let mut out = Vec::new();
    packet(b"SIP!").encode(&mut out).unwrap();
    let expected: &[&[u8]] = &[
        b"HEP3\x00\x7b",
        &[0, 0, 0, 1, 0, 7, 2],
        &[0, 0, 0, 2, 0, 7, 17],
        &[0, 0, 0, 3, 0, 10, 192, 0, 2, 1],
        &[0, 0, 0, 4, 0, 10, 198, 51, 100, 2],
        &[0, 0, 0, 7, 0, 8, 0x13, 0xc4],
        &[0, 0, 0, 8, 0, 8, 0x13, 0xd8],
        // 1,700,000,000 s and 123,456 us.
        &[0, 0, 0, 9, 0, 10, 0x65, 0x53, 0xf1, 0x00],
        &[0, 0, 0, 10, 0, 10, 0x00, 0x01, 0xe2, 0x40],
        &[0, 0, 0, 11, 0, 7, 1],
        &[0, 0, 0, 12, 0, 10, 0x00, 0x00, 0x07, 0xd1],
        b"\x00\x00\x00\x0e\x00\x0bmyhep",
        b"\x00\x00\x00\x11\x00\x09abc",
        b"\x00\x00\x00\x0f\x00\x0aSIP!",
    ];
    assert_eq!(out, expected.concat());
}

#[test]
fn ipv6_and_tcp_and_what_is_left_out() {
    let mut out = Vec::new();
    let plain = Packet {
        source: address("[2001:db8::1]:5060"),
        destination: address("192.0.2.9:5060"),
        transport: Transport::Tls,
        key: None,
        correlation: b"",
        ..packet(b"x")
    };
    plain.encode(&mut out).unwrap();
    let has = |bytes: &[u8]| out.windows(bytes.len()).any(|part| part == bytes);
    assert!(has(&[0, 0, 0, 1, 0, 7, 10, 0, 0, 0, 2, 0, 7, 6]));
    assert!(has(b"\x00\x00\x00\x05\x00\x16\x20\x01\x0d\xb8"));
    assert!(
        has(b"\x00\x00\x00\x06\x00\x16\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x09"),
        "mapped (RFC 4291 §2.5.5.2)"
    );
    assert!(!has(&[0, 0, 0, 14]) && !has(&[0, 0, 0, 17]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut out = Vec::new();
    let frame = {
        packet(b"").encode(&mut out).unwrap();
        out.len()
    };
    let fits = vec![b'x'; 65_535 - frame];
    packet(&fits).encode(&mut out).unwrap();
    assert_eq!((out.len(), &out[..6]), (65_535, &b"HEP3\xff\xff"[..]));
    let long = [&fits[..], b"x"].concat();
    assert_eq!(packet(&long).encode(&mut out), Err(TooLong));
    assert!(out.is_empty());
    assert_eq!(packet(&vec![0; 70_000]).encode(&mut out), Err(TooLong));
}

fn hub(transport: Transport, to: SocketAddr) -> Hub {
    let config = HepConfig {
        to,
        transport,
        server_name: "hep.example.com".into(),
        agent_id: 7,
        key: Some(b"secret".to_vec().into()),
    };
    assert!(!format!("{config:?}").contains("secret"));
    Hub::new(0, address("192.0.2.9:5060")).capture(config)
}

fn input(hub: &mut Hub, now: Time, input: Input<'_>, out: &mut Outbox) {
    let mut rng = CountingRng::default();
    let ctx = Ctx { now, unix_ms: 1_700_000_000_000, rng: &mut rng };
    assert!(hub.input(&ctx, &input, out, &mut Vec::new()));
}

fn opened(flow: Flow, local: &str, peer: &str) -> Input<'static> {
    let (local, peer) = (address(local), address(peer));
    Input::Opened { flow, listener: None, local, peer, exporter: None, names: &[] }
}

/// The flow on which copies leave.
fn way(out: &mut Outbox) -> Flow {
    let mut flow = None;
    out.drain(|_, output| match output {
        Output::Bind { flow: bound, local, .. } if local.port() == 0 => flow = Some(bound),
        Output::Connect { flow: asked, .. } => flow = Some(asked),
        _ => {}
    });
    flow.expect("neither bound nor connected")
}

/// The chunks of a packet by type.
fn chunk(packet: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = &packet[6..];
    while let [_, _, a, b, c, d, ..] = *rest {
        let (length, value) = (u16::from_be_bytes([c, d]) as usize, &rest[6..]);
        if u16::from_be_bytes([a, b]) == kind {
            return Some(&value[..length - 6]);
        }
        rest = &rest[length..];
    }
    None
}

#[test]
fn both_directions_are_copied_with_the_addresses_they_really_have() {
    let to = address("203.0.113.1:9060");
    let (mut hub, mut out, now) = (hub(Transport::Udp, to), Outbox::default(), Time::ZERO);
    hub.start(&mut out);
    let flow = way(&mut out);
    input(
        &mut hub,
        now,
        Input::Datagram { flow: Flow(0), from: address("192.0.2.1:5060"), bytes: OPTIONS },
        &mut out,
    );
    assert_eq!(hub.copies(), Some(Copies { sent: 0, dropped: 1, up: false }), "before the port is open");
    input(&mut hub, now, opened(flow, "0.0.0.0:40000", "0.0.0.0:40000"), &mut out);
    out.drain(|_, _| {});

    input(
        &mut hub,
        now,
        Input::Datagram { flow: Flow(0), from: address("192.0.2.1:5062"), bytes: OPTIONS },
        &mut out,
    );
    // A connection that is being opened: the copy is made when its own address is known.
    let hop = hub.hop(now, address("198.51.100.3:5060"), Transport::Tcp, &mut out);
    hub.sink(&mut out).send(&hop, OPTIONS);
    assert_eq!(hub.copies().unwrap().sent, 1);
    input(&mut hub, now, opened(hop.flow, "192.0.2.9:41234", "198.51.100.3:5060"), &mut out);
    let udp = Hop { flow: Flow(0), peer: address("192.0.2.1:5062"), transport: Transport::Udp };
    hub.sink(&mut out).send(&udp, OPTIONS);
    let mut copies = Vec::new();
    out.drain(|_, output| {
        if let Output::Datagram { flow: from, to: there, bytes, .. } = output
            && from == flow
        {
            assert_eq!(there, to);
            copies.push(bytes.to_vec());
        }
    });
    let ends = |n: usize| {
        let ip = |kind| chunk(&copies[n], kind).map(<[u8]>::to_vec).unwrap();
        let port = |kind| u16::from_be_bytes(chunk(&copies[n], kind).unwrap().try_into().unwrap());
        (ip(3), port(7), ip(4), port(8))
    };
    assert_eq!(copies.len(), 3);
    let (we, phone) = (vec![192, 0, 2, 9], vec![192, 0, 2, 1]);
    assert_eq!(ends(0), (phone.clone(), 5062, we.clone(), 5060));
    assert_eq!(ends(1), (we.clone(), 41_234, vec![198, 51, 100, 3], 5060));
    assert_eq!(ends(2), (we, 5060, phone, 5062));
    for copy in &copies {
        assert_eq!((chunk(copy, 15), chunk(copy, 17)), (Some(OPTIONS), Some(&b"abc"[..])));
    }
}

#[test]
fn a_capture_server_that_is_slow_or_gone_costs_copies_and_nothing_else() {
    let to = address("203.0.113.1:9060");
    let (mut hub, mut out) = (hub(Transport::Tcp, to), Outbox::default());
    let mut now = Time::ZERO;
    hub.start(&mut out);
    let flow = way(&mut out);
    let arrive = |hub: &mut Hub, now: Time, out: &mut Outbox| {
        let from = address("192.0.2.1:5060");
        input(hub, now, Input::Datagram { flow: Flow(0), from, bytes: OPTIONS }, out);
    };
    // It never answers: 1 MiB waits, the rest is dropped.
    for _ in 0..10_000 {
        arrive(&mut hub, now, &mut out);
    }
    let waiting = 10_000 - hub.copies().unwrap().dropped;
    let mut one = Vec::new();
    let like = Packet { key: Some(b"secret"), ..packet(OPTIONS) };
    like.encode(&mut one).unwrap();
    assert_eq!(waiting, 1024 * 1024 / one.len() as u64);

    // It comes up and takes less than a packet, then the connection breaks.
    input(&mut hub, now, opened(flow, "192.0.2.9:41000", "203.0.113.1:9060"), &mut out);
    let mut wakes = 0;
    out.drain(|_, output| wakes += u32::from(matches!(output, Output::Wake { flow: f } if f == flow)));
    assert_eq!(wakes, 1);
    let mut buf = Vec::new();
    hub.fill(flow, 100, &mut buf);
    assert_eq!((buf.len(), &buf[..4]), (100, &b"HEP3"[..]));
    hub.fill(Flow(1), 100, &mut buf);
    assert_eq!(buf.len(), 100, "other flows get nothing");
    let before = hub.copies().unwrap().dropped;
    input(&mut hub, now, Input::Closed { flow, why: "reset" }, &mut out);
    assert_eq!(hub.copies(), Some(Copies { sent: 0, dropped: before + 1, up: false }));

    // It tries again, at longer and longer intervals.
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let due = hub.deadline().unwrap();
        pauses.push((due - now).as_secs());
        now = due;
        out.drain(|_, _| {});
        hub.timeout(now, &mut out);
        assert_eq!(way(&mut out), flow);
        assert_eq!(hub.deadline(), None);
        input(&mut hub, now, Input::Closed { flow, why: "refused" }, &mut out);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);

    // What waits goes out whole, from the beginning of a packet.
    now += Duration::from_secs(60);
    hub.timeout(now, &mut out);
    input(&mut hub, now, opened(flow, "192.0.2.9:41000", "203.0.113.1:9060"), &mut out);
    let mut all = Vec::new();
    loop {
        let mut buf = Vec::new();
        hub.fill(flow, 4096, &mut buf);
        assert!(buf.len() <= 4096);
        if buf.is_empty() {
            break;
        }
        all.extend(buf);
    }
    assert_eq!(all.len(), one.len() * (waiting as usize - 1));
    assert!(all.chunks(one.len()).all(|packet| packet.starts_with(b"HEP3")));
    assert_eq!(hub.copies().unwrap().sent, waiting - 1);
}

/// sngrep takes our packets apart and writes what it has found as a capture of its own, which tshark reads. (Of
/// IPv6 its capture files hold no addresses.)
#[test]
fn sngrep_reads_what_we_write() {
    let dir = std::env::temp_dir().join(format!("causeway-hep-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let pcap = dir.join("out.pcap");
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("udp:127.0.0.1:{port}");
    let started = Command::new("sngrep")
        .args(["-F", "-N", "-q", "-L", &listen, "-O", pcap.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let tshark = Command::new("tshark").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let (Ok(mut sngrep), Ok(_)) = (started, tshark) else {
        eprintln!("skipped: sngrep and tshark are needed to read HEP independently");
        return;
    };
    std::thread::sleep(Duration::from_secs(1));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut out = Vec::new();
    for source in ["192.0.2.1:5060", "192.0.2.7:49152"] {
        Packet { source: address(source), ..packet(OPTIONS) }.encode(&mut out).unwrap();
        socket.send_to(&out, ("127.0.0.1", port)).unwrap();
    }
    std::thread::sleep(Duration::from_secs(1));
    let ended = Command::new("kill").args(["-INT", &sngrep.id().to_string()]).status();
    assert!(ended.is_ok_and(|status| status.success()));
    sngrep.wait().unwrap();
    let read = Command::new("tshark")
        .args(["-r", pcap.to_str().unwrap(), "-T", "fields", "-E", "separator=;"])
        .args(["-e", "ip.src", "-e", "udp.srcport", "-e", "ip.dst", "-e", "udp.dstport"])
        .args(["-e", "sip.Call-ID", "-e", "frame.time_epoch"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&read.stdout).into_owned();
    let rest = "198.51.100.2;5080;abc;1700000000.123456000";
    let expected = [format!("192.0.2.1;5060;{rest}"), format!("192.0.2.7;49152;{rest}")];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{}", String::from_utf8_lossy(&read.stderr));
    std::fs::remove_dir_all(&dir).unwrap();
}
