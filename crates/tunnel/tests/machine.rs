//! The behaviour of two ends with each other, on a clock of the test's own.

use causeway_node::Time;
use causeway_tunnel::*;
use std::sync::Arc;
use std::time::Duration;

const ALL: usize = usize::MAX >> 1;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Up,
    Sip(Vec<u8>),
    Datagram(Lane, Vec<u8>),
    Opened(Lane, Kind, Vec<u8>),
    Closed(Lane, CloseReason),
    Key(key::KeyMessage),
    Dead(Why),
    Other(String),
}

fn feed(tunnel: &mut Tunnel, now: Time, mut input: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    while let Some(event) = tunnel.next(now, &mut input) {
        seen.push(match event {
            Event::Up(_) => Seen::Up,
            Event::Sip(bytes) => Seen::Sip(bytes.to_vec()),
            Event::Datagram { lane, payload } => Seen::Datagram(lane, payload.to_vec()),
            Event::LaneOpened { lane, kind, token } => Seen::Opened(lane, kind, token.to_vec()),
            Event::LaneClosed { lane, reason } => Seen::Closed(lane, reason),
            Event::Key(message) => Seen::Key(message),
            other @ (Event::StreamBegun { .. } | Event::Stream { .. } | Event::StreamEnded { .. }) => {
                panic!("nobody has opened a stream: {other:?}")
            }
            Event::Dead(why) => Seen::Dead(why),
            other => Seen::Other(format!("{other:?}")),
        });
    }
    assert!(input.is_empty());
    seen
}

fn take(tunnel: &mut Tunnel, now: Time) -> Vec<u8> {
    let mut wire = Vec::new();
    tunnel.fill(now, ALL, &mut wire);
    wire
}

fn pass(from: &mut Tunnel, to: &mut Tunnel, now: Time) -> Vec<Seen> {
    let wire = take(from, now);
    feed(to, now, &wire)
}

fn pair_with(change: impl Fn(&mut Config)) -> (Tunnel, Tunnel) {
    let make = |role| {
        let mut config = Config::new(role);
        change(&mut config);
        Tunnel::new(Arc::new(config), Time::ZERO)
    };
    let (mut agent, mut contact) = (make(Role::Agent), make(Role::ContactPoint));
    assert_eq!(pass(&mut contact, &mut agent, Time::ZERO), [Seen::Up]);
    assert_eq!(pass(&mut agent, &mut contact, Time::ZERO), [Seen::Up]);
    (agent, contact)
}

fn pair() -> (Tunnel, Tunnel) {
    pair_with(|_| {})
}

/// The lanes of the frames in `wire`, in order, with payload lengths.
fn frames(mut wire: &[u8]) -> Vec<(u16, usize)> {
    let mut all = Vec::new();
    while let Some((head, rest)) = wire.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        all.push((u16::from_be_bytes([head[0], head[1]]), len));
        wire = &rest[len..];
    }
    all
}

#[test]
fn nothing_but_hello_leaves_before_the_peer_has_said_hello() {
    let mut agent = Tunnel::new(Arc::new(Config::new(Role::Agent)), Time::ZERO);
    agent.sip(b"REGISTER").unwrap();
    assert_eq!(agent.open_lane(Kind::Audio, b""), Err(OpenError::NotUp));
    assert_eq!(frames(&take(&mut agent, Time::ZERO)).iter().map(|f| f.0).collect::<Vec<_>>(), [0]);
    assert!(!agent.wants_write());
    let mut contact = Tunnel::new(Arc::new(Config::new(Role::ContactPoint)), Time::ZERO);
    assert_eq!(pass(&mut contact, &mut agent, Time::ZERO), [Seen::Up]);
    assert!(agent.wants_write());
    assert_eq!(frames(&take(&mut agent, Time::ZERO)), [(1, 8)]);
}

#[test]
fn priorities_are_strict_and_lanes_of_a_kind_take_turns() {
    let (mut agent, _) = pair();
    let now = Time::ZERO + ms(1);
    let [other, video, audio, second, rtcp] =
        [Kind::Other, Kind::Video, Kind::Audio, Kind::Audio, Kind::Rtcp]
            .map(|k| agent.open_lane(k, b"").unwrap());
    for lane in [other, video, audio, rtcp] {
        agent.datagram(now, lane, b"1").unwrap();
        agent.datagram(now, lane, b"22").unwrap();
    }
    agent.datagram(now, second, b"333").unwrap();
    agent.sip(&[b'x'; 5000]).unwrap();
    let wire = take(&mut agent, now);
    let sent: Vec<_> = frames(&wire).into_iter().skip(5).collect();
    assert_eq!(
        sent,
        [
            (1, 4096),
            (1, 904),
            (rtcp.0, 1),
            (rtcp.0, 2),
            (audio.0, 1),
            (second.0, 3),
            (audio.0, 2),
            (video.0, 1),
            (video.0, 2),
            (other.0, 1),
            (other.0, 2)
        ]
    );
}

#[test]
fn a_small_room_takes_the_urgent_first_and_cuts_only_what_fits_nowhere() {
    let (mut agent, mut contact) = pair();
    let now = Time::ZERO + ms(1);
    let audio = agent.open_lane(Kind::Audio, b"").unwrap();
    let video = agent.open_lane(Kind::Video, b"").unwrap();
    let mut wire = take(&mut agent, now);
    agent.datagram(now, video, &[7; 1200]).unwrap();
    agent.datagram(now, audio, &[8; 160]).unwrap();
    let mut step = |agent: &mut Tunnel, room: usize| {
        let mut buf = Vec::new();
        agent.fill(now, room, &mut buf);
        assert!(buf.len() <= room);
        wire.extend_from_slice(&buf);
        buf.len()
    };
    assert_eq!(step(&mut agent, 300), 164, "the audio frame; video does not fit behind it");
    assert_eq!(step(&mut agent, 300), 300, "alone it is cut");
    agent.datagram(now, audio, &[9; 160]).unwrap();
    agent.sip(b"BYE").unwrap();
    assert_eq!(step(&mut agent, 0), 0);
    assert_eq!(step(&mut agent, 1000), 904 + 7, "what was begun is ended first; SIP fits, audio does not");
    assert!(agent.wants_write());
    assert_eq!(step(&mut agent, 1000), 164);
    assert!(!agent.wants_write());
    let seen = feed(&mut contact, now, &wire);
    assert_eq!(
        seen[2..],
        [
            Seen::Datagram(audio, vec![8; 160]),
            Seen::Datagram(video, vec![7; 1200]),
            Seen::Sip(b"BYE".to_vec()),
            Seen::Datagram(audio, vec![9; 160]),
        ]
    );
}

#[test]
fn the_deadline_is_exact_and_counted_per_lane() {
    let (mut agent, _) = pair_with(|c| c.deadlines.video = None);
    let t0 = Time::ZERO + ms(1000);
    let audio = agent.open_lane(Kind::Audio, b"").unwrap();
    let video = agent.open_lane(Kind::Video, b"").unwrap();
    let rtcp = agent.open_lane(Kind::Rtcp, b"").unwrap();
    take(&mut agent, t0);
    for lane in [audio, video, rtcp] {
        agent.datagram(t0, lane, b"old").unwrap();
        agent.datagram(t0 + Duration::from_nanos(1), lane, b"newer").unwrap();
    }
    let wire = take(&mut agent, t0 + ms(150) + Duration::from_nanos(1));
    assert_eq!(frames(&wire), [(rtcp.0, 3), (rtcp.0, 5), (audio.0, 5), (video.0, 3), (video.0, 5)]);
    assert_eq!(agent.lane_stats(audio).unwrap().late_dropped, 1);
    assert_eq!(agent.lane_stats(video).unwrap().late_dropped, 0);
    assert_eq!(agent.stats().datagrams.late_dropped, 1);
    agent.datagram(t0, rtcp, b"x").unwrap();
    assert!(take(&mut agent, t0 + ms(1001)).is_empty());
    assert_eq!(agent.lane_stats(rtcp).unwrap().late_dropped, 1);
    assert_eq!(agent.stats().waiting_bytes, 0);
}

#[test]
fn a_full_lane_loses_its_oldest_and_nobody_elses() {
    let (mut agent, _) = pair_with(|c| c.lane_packets = 3);
    let now = Time::ZERO + ms(1);
    let a = agent.open_lane(Kind::Audio, b"").unwrap();
    let b = agent.open_lane(Kind::Audio, b"").unwrap();
    take(&mut agent, now);
    agent.datagram(now, b, b"b").unwrap();
    for n in 1..=5usize {
        agent.datagram(now, a, &vec![0; n]).unwrap();
    }
    assert_eq!(frames(&take(&mut agent, now)), [(b.0, 1), (a.0, 3), (a.0, 4), (a.0, 5)]);
    assert_eq!(agent.lane_stats(a).unwrap().queue_dropped, 2);
    assert_eq!(agent.lane_stats(b).unwrap().queue_dropped, 0);
}

#[test]
fn a_full_tunnel_loses_the_least_urgent_first() {
    let (mut agent, _) = pair_with(|c| c.total_bytes = 1000);
    let now = Time::ZERO + ms(1);
    let audio = agent.open_lane(Kind::Audio, b"").unwrap();
    let other = agent.open_lane(Kind::Other, b"").unwrap();
    take(&mut agent, now);
    agent.datagram(now, other, &[0; 600]).unwrap();
    agent.datagram(now, audio, &[0; 300]).unwrap();
    agent.datagram(now, audio, &[0; 301]).unwrap();
    assert_eq!(agent.lane_stats(other).unwrap().queue_dropped, 1);
    agent.datagram(now, audio, &[0; 399]).unwrap();
    assert_eq!(agent.datagram(now, other, &[0; 1]), Err(Refused::Full));
    assert_eq!(agent.lane_stats(other).unwrap().queue_dropped, 2);
    agent.datagram(now, audio, &[0; 10]).unwrap();
    assert_eq!(frames(&take(&mut agent, now)), [(audio.0, 301), (audio.0, 399), (audio.0, 10)]);
    assert_eq!(agent.datagram(now, other, &[0; 20_000]), Err(Refused::TooLong));
}

#[test]
fn lane_numbers_have_owners_and_are_reused_only_when_both_have_closed() {
    let (mut agent, mut contact) = pair();
    let now = Time::ZERO + ms(1);
    let a = agent.open_lane(Kind::Audio, b"leg a").unwrap();
    let c = contact.open_lane(Kind::Rtcp, b"").unwrap();
    assert_eq!((a, c), (Lane(17), Lane(16)));
    assert_eq!(pass(&mut agent, &mut contact, now), [Seen::Opened(a, Kind::Audio, b"leg a".to_vec())]);
    assert_eq!(pass(&mut contact, &mut agent, now), [Seen::Opened(c, Kind::Rtcp, vec![])]);

    contact.datagram(now, a, b"under way").unwrap();
    let under_way = take(&mut contact, now);
    agent.close_lane(a);
    assert_eq!(agent.open_lane(Kind::Audio, b""), Ok(Lane(19)), "17 is not free yet");
    assert_eq!(feed(&mut agent, now, &under_way), [], "ignored, not an error");
    contact.datagram(now, a, b"too late").unwrap();
    let seen = pass(&mut agent, &mut contact, now);
    assert_eq!(seen, [Seen::Closed(a, CloseReason::Ended), Seen::Opened(Lane(19), Kind::Audio, vec![])]);
    assert_eq!(contact.datagram(now, a, b"x"), Err(Refused::NotOpen));
    assert_eq!(pass(&mut contact, &mut agent, now), []);
    assert_eq!(agent.open_lane(Kind::Audio, b""), Ok(a));
    assert_eq!(contact.stats().datagrams.queue_dropped, 1);
}

#[test]
fn closing_at_the_same_time_ends_in_agreement() {
    let (mut agent, mut contact) = pair();
    let now = Time::ZERO + ms(1);
    let lane = agent.open_lane(Kind::Audio, b"").unwrap();
    pass(&mut agent, &mut contact, now);
    agent.close_lane(lane);
    contact.close_lane(lane);
    let (to_contact, to_agent) = (take(&mut agent, now), take(&mut contact, now));
    assert_eq!(feed(&mut contact, now, &to_contact), []);
    assert_eq!(feed(&mut agent, now, &to_agent), []);
    assert!(!agent.wants_write() && !contact.wants_write());
    assert_eq!(agent.open_lane(Kind::Audio, b""), Ok(lane));
    assert_eq!(pass(&mut agent, &mut contact, now).len(), 1);
}

#[test]
fn too_many_lanes_are_refused_without_harm() {
    let (mut agent, mut contact) = pair_with(|c| c.max_lanes = 2);
    let now = Time::ZERO + ms(1);
    let a = agent.open_lane(Kind::Audio, b"").unwrap();
    agent.open_lane(Kind::Rtcp, b"").unwrap();
    assert_eq!(agent.open_lane(Kind::Audio, b""), Err(OpenError::TooMany));
    let c = contact.open_lane(Kind::Audio, b"").unwrap();
    assert_eq!(pass(&mut agent, &mut contact, now).len(), 1, "the second crossed with the peer's own");
    agent.datagram(now, Lane(19), b"into the void").unwrap();
    assert_eq!(pass(&mut agent, &mut contact, now), []);
    let seen = pass(&mut contact, &mut agent, now);
    assert_eq!(seen, [Seen::Closed(Lane(19), CloseReason::TooMany)]);
    assert!(agent.is_open(a) && !agent.is_open(c));
    assert_eq!(pass(&mut agent, &mut contact, now), [Seen::Closed(c, CloseReason::TooMany)]);
    assert!(agent.is_up() && contact.is_up());
}

#[test]
fn an_unknown_kind_is_refused() {
    let (_, mut contact) = pair();
    let now = Time::ZERO + ms(1);
    let open = [0, 0, 0, 7, 0x02, 0, 4, 0, 17, 0x81, 0];
    assert_eq!(feed(&mut contact, now, &open), []);
    assert_eq!(take(&mut contact, now), [0, 0, 0, 6, 0x03, 0, 3, 0, 17, 2]);
    assert_eq!(feed(&mut contact, now, &[0, 17, 0, 1, 9]), [], "what was sent meanwhile");
}

#[test]
fn broken_rules_end_the_tunnel_and_are_named_to_the_peer() {
    let control = |body: &[u8]| [&[0, 0, 0, body.len() as u8], body].concat();
    let cases: Vec<(Vec<u8>, Fault, u8)> = vec![
        (vec![0, 17, 0, 0], Fault::UnknownLane(Lane(17)), 4),
        (vec![0, 2, 0, 0], Fault::UnknownLane(Lane(2)), 4),
        (vec![0, 17, 0xff, 0xff], Fault::TooLong { lane: Lane(17), len: 65535, max: 16384 }, 5),
        (vec![0, 0, 0x10, 1], Fault::TooLong { lane: Lane(0), len: 4097, max: 4096 }, 5),
        (control(&[2, 0, 4, 0, 16, 1, 0]), Fault::LaneNumber(Lane(16)), 4),
        (control(&[2, 0, 4, 0x10, 0x11, 1, 0]), Fault::LaneNumber(Lane(16 + 4096 + 1)), 4),
        (control(&[2, 0, 4, 0, 1, 1, 0]), Fault::LaneNumber(Lane(1)), 4),
        (control(&[3, 0, 3, 0, 17, 0]), Fault::UnknownLane(Lane(17)), 4),
        (control(&[9, 0, 0]), Fault::Control(ControlError::UnknownType(9)), 3),
        (control(&[4, 0, 9, 0]), Fault::Control(ControlError::Short(4)), 1),
    ];
    let now = Time::ZERO + ms(1);
    for (wire, fault, code) in cases {
        let (mut agent, mut contact) = pair();
        let wire = [wire, vec![0, 1, 0, 1, b'x']].concat();
        assert_eq!(feed(&mut contact, now, &wire), [Seen::Dead(Why::Fault(fault))]);
        assert!(!contact.is_up() && contact.deadline().is_none());
        assert_eq!(contact.sip(b"x"), Err(SipFull));
        let seen = pass(&mut contact, &mut agent, now);
        assert!(
            matches!(&seen[..], [Seen::Dead(Why::PeerError { code: c, text })] if *c == code && !text.is_empty()),
            "{seen:?}"
        );
    }
}

#[test]
fn the_handshake_is_strict() {
    let agent = || Tunnel::new(Arc::new(Config::new(Role::Agent)), Time::ZERO);
    let now = Time::ZERO + ms(1);
    let dead = |fault| [Seen::Dead(Why::Fault(fault))];
    let mut twin = agent();
    assert_eq!(pass(&mut twin, &mut agent(), now), dead(Fault::SameRole));
    assert_eq!(feed(&mut agent(), now, b"HTTP/1.1 400 Bad"), dead(Fault::NotHello));
    assert_eq!(feed(&mut agent(), now, &[0, 1, 0, 1, 0]), dead(Fault::NotHello));
    assert_eq!(feed(&mut agent(), now, &[0, 0, 0, 3, 0x81, 0, 0]), dead(Fault::NotHello));
    let ping = [0, 0, 0, 11, 4, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(feed(&mut agent(), now, &ping), dead(Fault::NotHello));
    let refused = [0, 0, 0, 7, 6, 0, 4, 3, b'b', b'a', b'd'];
    let why = Why::Goodbye { reason: GoodbyeReason::Refused, text: "bad".into() };
    assert_eq!(feed(&mut agent(), now, &refused), [Seen::Dead(why)]);

    let (mut up, _) = pair();
    let hello = take(&mut Tunnel::new(Arc::new(Config::new(Role::ContactPoint)), Time::ZERO), now);
    assert_eq!(feed(&mut up, now, &hello), dead(Fault::HelloTwice));

    let mut slow = agent();
    assert_eq!(slow.deadline(), Some(Time::ZERO + ms(10_000)));
    assert_eq!(slow.timeout(Time::ZERO + ms(9_999)), None);
    assert_eq!(slow.timeout(Time::ZERO + ms(10_000)), Some(Event::Dead(Why::Handshake)));
}

#[test]
fn silence_is_broken_by_a_ping_and_the_round_trip_is_measured() {
    let (mut agent, mut contact) = pair();
    let mut now = Time::ZERO + ms(15_000);
    assert_eq!(agent.deadline(), Some(now));
    assert_eq!(agent.timeout(now), None);
    let ping = take(&mut agent, now);
    assert_eq!(frames(&ping), [(0, 11)]);
    now += ms(40);
    assert_eq!(feed(&mut contact, now, &ping), []);
    let pong = take(&mut contact, now);
    now += ms(30);
    assert_eq!(feed(&mut agent, now, &pong), []);
    assert_eq!(agent.stats().rtt, Some(ms(70)));
    assert_eq!(agent.deadline(), Some(Time::ZERO + ms(30_000)));
    assert_eq!(contact.deadline(), Some(Time::ZERO + ms(30_040)), "its pong broke its own silence");
    agent.sip(b"x").unwrap();
    take(&mut agent, now);
    assert_eq!(agent.deadline(), Some(now + ms(15_000)), "what is sent puts the ping off");
}

#[test]
fn a_silent_peer_is_dead_ten_seconds_after_the_ping_or_two_with_media() {
    let (mut agent, _) = pair();
    let ping = Time::ZERO + ms(15_000);
    agent.timeout(ping);
    take(&mut agent, ping);
    assert_eq!(agent.deadline(), Some(ping + ms(10_000)));
    assert_eq!(agent.timeout(ping + ms(9_999)), None);
    assert_eq!(agent.timeout(ping + ms(10_000)), Some(Event::Dead(Why::Silent)));

    let (mut agent, _) = pair();
    let lane = agent.open_lane(Kind::Audio, b"").unwrap();
    let mut now = Time::ZERO;
    while now < Time::ZERO + ms(1_000) {
        agent.datagram(now, lane, b"rtp").unwrap();
        take(&mut agent, now);
        now += ms(20);
    }
    assert_eq!(agent.deadline(), Some(Time::ZERO + ms(1_000)), "the peer is silent although we are not");
    agent.timeout(now);
    take(&mut agent, now);
    assert_eq!(agent.timeout(now + ms(1_999)), None);
    assert_eq!(agent.timeout(now + ms(2_000)), Some(Event::Dead(Why::Silent)));
}

#[test]
fn a_connection_that_takes_nothing_is_dead_too() {
    let (mut agent, _) = pair();
    let ping = Time::ZERO + ms(15_000);
    agent.timeout(ping);
    assert!(agent.wants_write());
    assert_eq!(agent.timeout(ping + ms(10_000)), Some(Event::Dead(Why::Silent)));
}

#[test]
fn other_bytes_prove_life_as_well() {
    let (mut agent, mut contact) = pair();
    let ping = Time::ZERO + ms(15_000);
    agent.timeout(ping);
    take(&mut agent, ping);
    contact.sip(b"x").unwrap();
    let wire = take(&mut contact, ping);
    feed(&mut agent, ping + ms(5_000), &wire);
    assert_eq!(agent.timeout(ping + ms(10_000)), None);
    assert!(agent.deadline().unwrap() > ping + ms(10_000));
}

#[test]
fn floods_of_control_are_bounded() {
    let ping = [0, 0, 0, 11, 4, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let (_, mut contact) = pair_with(|c| (c.control_burst, c.control_rate) = (11, 10));
    let now = Time::ZERO + ms(1);
    assert_eq!(feed(&mut contact, now, &ping.repeat(10)), []);
    assert_eq!(frames(&take(&mut contact, now)).len(), 4, "not every ping of a heap is answered");
    let later = now + ms(500);
    assert_eq!(feed(&mut contact, later, &ping.repeat(4)), []);
    assert_eq!(feed(&mut contact, later, &ping.repeat(2)), [Seen::Dead(Why::Fault(Fault::Flood))]);
}

#[test]
fn sip_is_refused_when_the_queue_is_full() {
    let (mut agent, mut contact) = pair_with(|c| c.sip_bytes = 100_000);
    let now = Time::ZERO + ms(1);
    let long: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
    agent.sip(&long).unwrap();
    assert_eq!(agent.sip(b"x"), Err(SipFull));
    let seen = pass(&mut agent, &mut contact, now);
    let whole: Vec<u8> =
        seen.iter().flat_map(|s| if let Seen::Sip(b) = s { b.clone() } else { vec![] }).collect();
    assert_eq!(whole, long, "a message longer than 64 KiB passes");
    assert_eq!(agent.sip(b"x"), Err(SipFull), "what is not acknowledged is kept");
    contact.sip_handled(now, 0);
    assert_eq!(pass(&mut contact, &mut agent, now), []);
    assert!(agent.sip(b"x").is_ok());
    assert_eq!(agent.stats().sip_sent_bytes, 100_000);
    assert_eq!(contact.stats().sip_received_bytes, 100_000);
    assert_eq!(contact.stats().stream_received_bytes, agent.stats().stream_sent_bytes);
}

#[test]
fn acknowledgements_go_along_or_after_a_while_and_must_be_true() {
    let (mut agent, mut contact) = pair();
    let now = Time::ZERO + ms(1);
    agent.sip(b"one").unwrap();
    pass(&mut agent, &mut contact, now);
    contact.sip_handled(now, 1);
    assert!(!contact.wants_write(), "it waits for something to go along with");
    assert_eq!(contact.deadline(), Some(now + ms(100)));
    assert_eq!(contact.timeout(now + ms(100)), None);
    assert!(contact.wants_write());
    assert_eq!(take(&mut contact, now + ms(100)), [0, 0, 0, 11, 0x10, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2]);
    contact.sip_handled(now, 0);
    contact.sip(b"two").unwrap();
    assert_eq!(frames(&take(&mut contact, now)), [(0, 11), (1, 3)]);
    for wrong in [4u64, 1 << 40, u64::MAX] {
        let (mut agent, _) = pair();
        agent.sip(b"abc").unwrap();
        take(&mut agent, now);
        let ack = [&[0, 0, 0, 11, 0x10, 0, 8][..], &wrong.to_be_bytes()].concat();
        assert_eq!(feed(&mut agent, now, &ack), [Seen::Dead(Why::Fault(Fault::Ack))]);
    }
}

#[test]
fn an_idle_tunnel_is_small() {
    let (mut agent, mut contact) = pair();
    let now = Time::ZERO + ms(1);
    agent.sip(&[b'x'; 60_000]).unwrap();
    let lanes: Vec<_> = (0..100).map(|_| agent.open_lane(Kind::Audio, b"").unwrap()).collect();
    pass(&mut agent, &mut contact, now);
    for lane in &lanes {
        agent.datagram(now, *lane, &[0; 1400]).unwrap();
    }
    let wire = take(&mut agent, now);
    for piece in wire.chunks(1000) {
        feed(&mut contact, now, piece);
    }
    lanes.iter().for_each(|lane| agent.close_lane(*lane));
    pass(&mut agent, &mut contact, now);
    contact.sip_handled(now, 0);
    pass(&mut contact, &mut agent, now);
    assert!(agent.memory() < 20_000 && contact.memory() < 20_000, "{} {}", agent.memory(), contact.memory());
}

#[test]
fn goodbye_is_the_last_word() {
    let (mut agent, mut contact) = pair();
    let now = Time::ZERO + ms(1);
    agent.sip(b"never sent").unwrap();
    agent.goodbye(GoodbyeReason::Idle, "no calls");
    let why = Why::Goodbye { reason: GoodbyeReason::Idle, text: "no calls".into() };
    assert_eq!(pass(&mut agent, &mut contact, now), [Seen::Dead(why)]);
    assert!(!agent.wants_write() && agent.deadline().is_none() && agent.timeout(now).is_none());
}

#[test]
fn floods_on_lanes_that_lead_nowhere_end_the_tunnel() {
    let fresh = || pair_with(|c| (c.stray_burst, c.stray_rate) = (100, 10)).1;
    let frame = [0, 17, 0, 0];
    // One that was closed here, whose peer goes on without confirming.
    let mut tunnel = fresh();
    feed(&mut tunnel, Time::ZERO, &[0, 0, 0, 7, 2, 0, 4, 0, 17, 1, 0]);
    tunnel.close_lane(Lane(17));
    assert_eq!(feed(&mut tunnel, Time::ZERO, &frame.repeat(100)), [], "what was under way is ignored");
    let later = Time::ZERO + ms(1000);
    assert_eq!(feed(&mut tunnel, later, &frame.repeat(10)), []);
    assert_eq!(feed(&mut tunnel, later, &frame), [Seen::Dead(Why::Fault(Fault::Strays))]);
    // One that the owner has no use for.
    let mut tunnel = fresh();
    assert_eq!(tunnel.strays(Time::ZERO, 100), None);
    assert_eq!(tunnel.strays(Time::ZERO, 1), Some(Event::Dead(Why::Fault(Fault::Strays))));
    let last = take(&mut tunnel, Time::ZERO);
    assert!(last.windows(2).any(|bytes| bytes == [5, b't']), "the peer is told: {last:x?}");
    assert_eq!(tunnel.expel(Fault::Pace), None, "once is enough");
}
