//! Lanes that carry streams: bytes in order, credit, turns, ends, and peers that do as they like.

use causeway_node::Time;
use causeway_tunnel::{
    Config, Event, Fault, Kind, Lane, OpenError, Refused, Role, STREAM_QUEUE, Tunnel, WINDOW, Why,
};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const ROOM: usize = 32 << 10;

/// What came out at one end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    bytes: Vec<u8>,
    begun: bool,
    ended: bool,
    closed: bool,
    datagrams: usize,
    dead: Option<Why>,
}

fn pair() -> (Tunnel, Tunnel) {
    let make = |role| Tunnel::new(Arc::new(Config::new(role)), Time::ZERO);
    let (mut agent, mut contact) = (make(Role::Agent), make(Role::ContactPoint));
    pass(&mut contact, &mut agent, ROOM);
    pass(&mut agent, &mut contact, ROOM);
    (agent, contact)
}

fn frames_of(from: &mut Tunnel, room: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    from.fill(Time::ZERO, room, &mut wire);
    wire
}

fn take(to: &mut Tunnel, mut wire: &[u8]) -> Got {
    let mut got = Got::default();
    while let Some(event) = to.next(Time::ZERO, &mut wire) {
        match event {
            Event::Stream { bytes, .. } => got.bytes.extend_from_slice(bytes),
            Event::StreamBegun { .. } => got.begun = true,
            Event::StreamEnded { .. } => got.ended = true,
            Event::LaneClosed { .. } => got.closed = true,
            Event::Datagram { .. } => got.datagrams += 1,
            Event::Dead(why) => got.dead = Some(why),
            _ => {}
        }
    }
    got
}

fn pass(from: &mut Tunnel, to: &mut Tunnel, room: usize) -> Got {
    let wire = frames_of(from, room);
    take(to, &wire)
}

/// Passes until nothing comes any more.
fn pass_all(from: &mut Tunnel, to: &mut Tunnel) -> Got {
    let mut all = Got::default();
    loop {
        let wire = frames_of(from, ROOM);
        if wire.is_empty() {
            return all;
        }
        let got = take(to, &wire);
        all.bytes.extend(got.bytes);
        all.begun |= got.begun;
        all.ended |= got.ended;
        all.closed |= got.closed;
        all.dead = all.dead.or(got.dead);
    }
}

#[test]
fn bytes_flow_both_ways_and_each_way_ends_alone() {
    let (mut agent, mut contact) = pair();
    let lane = agent.open_stream(b"msrp").unwrap();
    pass_all(&mut agent, &mut contact);
    contact.begin_stream(lane);
    contact.stream(lane, b"request").unwrap();
    contact.end_stream(lane);
    let got = pass_all(&mut contact, &mut agent);
    assert_eq!((got.begun, got.ended, got.bytes), (true, true, b"request".to_vec()));
    assert!(contact.stream_is_sent(lane) && !agent.stream_is_sent(lane));
    assert_eq!(contact.stream(lane, b"x"), Err(Refused::Full), "after its own end nothing is taken");
    agent.stream(lane, b"answer").unwrap();
    agent.end_stream(lane);
    let got = pass_all(&mut agent, &mut contact);
    assert_eq!((got.ended, got.bytes), (true, b"answer".to_vec()));
    agent.close_lane(lane);
    assert!(pass_all(&mut agent, &mut contact).closed);
    pass_all(&mut contact, &mut agent);
    assert_eq!(agent.open_stream(b"again"), Ok(lane), "the number is free again");
}

#[test]
fn a_sender_stops_at_its_credit_and_goes_on_when_bytes_are_handed_on() {
    let (mut agent, mut contact) = pair();
    let lane = agent.open_stream(b"").unwrap();
    pass_all(&mut agent, &mut contact);
    let data: Vec<u8> = (0..2 * STREAM_QUEUE).map(|n| (n % 251) as u8).collect();
    agent.stream(lane, &data).unwrap();
    assert!(agent.stream_is_full(lane));
    assert_eq!(agent.stream(lane, b"x"), Err(Refused::Full), "one byte more than may wait");
    let mut heard = pass_all(&mut agent, &mut contact).bytes;
    assert_eq!(heard.len(), WINDOW as usize, "then it waits for the reader");
    assert!(!agent.wants_write());
    // Who reads slowly holds up his own stream alone.
    let other = agent.open_stream(b"").unwrap();
    agent.stream(other, b"quick").unwrap();
    assert_eq!(pass_all(&mut agent, &mut contact).bytes, b"quick");
    contact.consumed(lane, WINDOW as usize / 4 - 1);
    assert!(frames_of(&mut contact, ROOM).is_empty(), "not worth a message yet");
    contact.consumed(lane, WINDOW as usize);
    pass_all(&mut contact, &mut agent);
    heard.extend(pass_all(&mut agent, &mut contact).bytes);
    assert!(agent.stream_has_room(lane));
    assert_eq!(heard, data);
}

#[test]
fn everything_else_goes_first_and_a_full_connection_makes_streams_wait() {
    let (mut agent, mut contact) = pair();
    let stream = agent.open_stream(b"").unwrap();
    let audio = agent.open_lane(Kind::Audio, b"").unwrap();
    pass_all(&mut agent, &mut contact);
    agent.stream(stream, &[7; 40_000]).unwrap();
    agent.datagram(Time::ZERO, audio, &[1; 160]).unwrap();
    let wire = frames_of(&mut agent, ROOM);
    assert_eq!(wire[..4], [0, audio.0 as u8, 0, 160], "speech first");
    assert!(wire.len() <= 164 + 4096 + 4, "and no more of the stream than one frame: {}", wire.len());
    // With much in the connection already nothing of a stream is added, until a moment later.
    assert!(frames_of(&mut agent, 8 << 10).is_empty());
    assert!(agent.wants_write());
    let again = agent.deadline().unwrap();
    assert_eq!(again.since(Time::ZERO), Duration::from_millis(5));
    assert_eq!(agent.timeout(again), None);
    assert!(agent.deadline().unwrap() > again && agent.wants_write());
    agent.datagram(Time::ZERO, audio, &[1; 160]).unwrap();
    assert_eq!(frames_of(&mut agent, 8 << 10).len(), 164, "speech is not held up");
}

#[test]
fn two_streams_take_turns() {
    let (mut agent, mut contact) = pair();
    let lanes = [agent.open_stream(b"").unwrap(), agent.open_stream(b"").unwrap()];
    pass_all(&mut agent, &mut contact);
    lanes.iter().for_each(|lane| agent.stream(*lane, &[1; 20_000]).unwrap());
    let order: Vec<u8> = (0..4).map(|_| frames_of(&mut agent, ROOM)[1]).collect();
    assert_eq!(order, [17, 19, 17, 19]);
}

#[test]
fn a_peer_that_breaks_the_rules_is_gone() {
    let over = |frames: &[&[u8]]| {
        let (mut agent, mut contact) = pair();
        agent.open_stream(b"").unwrap();
        pass_all(&mut agent, &mut contact);
        take(&mut contact, &frames.concat()).dead
    };
    let frame = |len: u16| [&[0, 17][..], &len.to_be_bytes(), &vec![0; usize::from(len)]].concat();
    let (full, end) = (frame(16_384), frame(0));
    assert_eq!(over(&[&full, &full, &full, &full, &end]), None, "just what it may");
    let window = Some(Why::Fault(Fault::Window(Lane(17))));
    assert_eq!(over(&[&full, &full, &full, &full, &frame(1)]), window, "more than there is room for");
    assert_eq!(over(&[&end, &frame(1)]), window, "after its end");
    assert_eq!(over(&[&end, &end]), window);
    let unknown = Some(Why::Fault(Fault::UnknownLane(Lane(19))));
    assert_eq!(over(&[b"\x00\x00\x00\x05\x12\x00\x02\x00\x13"]), unknown, "beginning what is not open");
    assert_eq!(over(&[b"\x00\x00\x00\x09\x11\x00\x06\x00\x13\x00\x00\x00\x01"]), unknown);
    assert_eq!(
        over(&[b"\x00\x00\x00\x09\x11\x00\x06\x00\x11\xff\xff\xff\xff".as_slice(); 3]),
        None,
        "credit has a top"
    );
}

#[test]
fn there_are_so_many_streams_and_no_more() {
    let (mut agent, mut contact) = pair();
    for _ in 0..64 {
        agent.open_stream(b"").unwrap();
    }
    assert_eq!(agent.open_stream(b""), Err(OpenError::TooMany));
    assert_eq!(pass_all(&mut agent, &mut contact).dead, None);
    assert!(contact.open_stream(b"").is_err());
    // A peer that opens one more all the same is refused that one.
    let got = take(&mut contact, b"\x00\x00\x00\x07\x02\x00\x04\x01\x01\x80\x00");
    assert_eq!(got.dead, None);
    assert!(!contact.is_open(Lane(257)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// Whatever is written, in whatever pieces, comes out in order and ends, with a reader that dawdles.
    #[test]
    fn streams_come_out_as_they_went_in(
        sizes in proptest::collection::vec((0..3usize, 1..30_000usize), 1..30),
        rooms in proptest::collection::vec(4096..40_000usize, 1..20),
        reads in proptest::collection::vec(1..20_000usize, 1..20),
    ) {
        let (mut agent, mut contact) = pair();
        let lanes: Vec<Lane> = (0..3).map(|_| agent.open_stream(b"").unwrap()).collect();
        pass_all(&mut agent, &mut contact);
        let mut expected = vec![Vec::new(); 3];
        let mut pending = vec![Vec::new(); 3];
        for (n, (which, size)) in sizes.iter().enumerate() {
            pending[*which].extend((0..*size).map(|i| (i * 7 + n) as u8));
        }
        expected.clone_from(&pending);
        let (mut heard, mut unread, mut ended) = (vec![Vec::new(); 3], [0usize; 3], [false; 3]);
        let mut closed = [false; 3];
        for step in 0.. {
            prop_assert!(step < 20_000, "it makes progress");
            for (n, lane) in lanes.iter().enumerate() {
                while !pending[n].is_empty() && !agent.stream_is_full(*lane) {
                    let len = pending[n].len().min(STREAM_QUEUE);
                    prop_assert!(agent.stream(*lane, &pending[n][..len]).is_ok());
                    pending[n].drain(..len);
                }
                if pending[n].is_empty() && !std::mem::replace(&mut closed[n], true) {
                    agent.end_stream(*lane);
                }
            }
            let wire = frames_of(&mut agent, rooms[step % rooms.len()]);
            let mut input = wire.as_slice();
            while let Some(event) = contact.next(Time::ZERO, &mut input) {
                match event {
                    Event::Stream { lane, bytes } => {
                        let n = lanes.iter().position(|known| *known == lane).unwrap();
                        heard[n].extend_from_slice(bytes);
                        unread[n] += bytes.len();
                        prop_assert!(unread[n] <= WINDOW as usize, "never more than there is room for");
                    }
                    Event::StreamEnded { lane } => ended[lanes.iter().position(|known| *known == lane).unwrap()] = true,
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            for (n, lane) in lanes.iter().enumerate() {
                let read = unread[n].min(reads[step % reads.len()]);
                contact.consumed(*lane, read);
                unread[n] -= read;
            }
            let wire = frames_of(&mut contact, ROOM);
            prop_assert_eq!(take(&mut agent, &wire).dead, None);
            // Less room than streams need: the next step gives more.
            agent.timeout(Time::ZERO + Duration::from_millis(5));
            if ended == [true; 3] {
                break;
            }
            if wire.is_empty() && rooms.iter().all(|room| *room < 24 << 10) {
                return Ok(());
            }
        }
        prop_assert_eq!(heard, expected);
        prop_assert!(lanes.iter().all(|lane| agent.stream_is_sent(*lane)));
    }
}
