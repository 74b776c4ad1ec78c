//! User keys on two ends with each other, against the published vectors and an independent decoder.

use causeway_node::Time;
use causeway_tunnel::key::*;
use causeway_tunnel::*;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const ALL: usize = usize::MAX >> 1;
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tunnel.md");
const DECODER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/decoder/user_key.py");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

/// The decoder's output; `None`, with a word on it, where there is no Python.
fn decoder(action: &str, file: &Path) -> Option<String> {
    let output =
        match Command::new("python3").args([DECODER.as_ref(), action.as_ref(), file.as_os_str()]).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("skipped: there is no python3");
                return None;
            }
            other => other.unwrap(),
        };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The values of the page's block on user keys.
fn vectors() -> BTreeMap<String, Vec<u8>> {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let block = page.split("\nUser key:").nth(1).unwrap().split("```").nth(1).unwrap();
    let (mut all, mut name) = (BTreeMap::<String, Vec<u8>>::new(), String::new());
    for line in block.trim().lines() {
        let mut value = line.trim();
        if !line.starts_with(' ') {
            let (left, right) = line.split_once('=').unwrap();
            name = left.trim().to_owned();
            value = right.trim();
        }
        let value = match value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) {
            Some(text) => text.as_bytes().to_vec(),
            None => unhex(value),
        };
        all.entry(name.clone()).or_default().extend(value);
    }
    all
}

fn encoded(message: KeyMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    Message::Key(message).encode(&mut bytes);
    bytes
}

#[test]
fn the_published_vectors() {
    let v = vectors();
    let fixed = |name: &str| -> [u8; 32] { v[name].clone().try_into().unwrap() };
    let (exporter, agent_fresh, contact_fresh) =
        (fixed("exporter"), fixed("agent_fresh"), fixed("contact_fresh"));
    let facts = Facts {
        mode: Assurance::from_code(v["mode"][0]).unwrap(),
        aor: &v["aor"],
        authorization: &v["credential"],
        agent_fresh: &agent_fresh,
        contact_fresh: &contact_fresh,
        connection_epoch: 0,
        registration_epoch: 1,
    };
    let master = derive(&exporter, &v["secret"], &facts).unwrap();
    assert_eq!(hex(master.expose()), hex(&v["master"]));
    let schedule = master.schedule();
    let offer = Offer {
        user: 1,
        epoch: 1,
        modes: Modes::NONE.with(Assurance::Header).with(Assurance::Digest),
        fresh: agent_fresh,
        credential: credential_id(&v["credential"]),
        aor: v["aor"].clone().into(),
    };
    let mut accept = Accept { user: 1, epoch: 1, mode: facts.mode, fresh: contact_fresh, mac: [0; 32] };
    accept.mac = schedule.accept_mac(&exporter, &offer, &accept);
    for (name, sender) in
        [("KeyConfirm of the agent", Role::Agent), ("KeyConfirm of the contact point", Role::ContactPoint)]
    {
        let mac = schedule.confirm_mac(sender, &exporter, &offer, &accept);
        let confirm = encoded(KeyMessage::Confirm(Confirm { user: 1, epoch: 1, mac }));
        assert_eq!(hex(&confirm), hex(&v[name]));
    }
    assert_eq!(hex(&encoded(KeyMessage::Offer(Box::new(offer)))), hex(&v["KeyOffer"]));
    assert_eq!(hex(&encoded(KeyMessage::Accept(Box::new(accept)))), hex(&v["KeyAccept"]));
    let mut sealer = schedule.sealer(Role::Agent, 1);
    let mut frame = Vec::new();
    for _ in 0..6 {
        frame = [&[0, 17, 0, (v["payload"].len() + OVERHEAD) as u8], &[0; 7][..], &v["payload"]].concat();
        assert!(sealer.seal(Lane(17), &mut frame, 4));
    }
    assert_eq!(hex(&frame), hex(&v["frame"]));
    if let Some(said) = decoder("vectors", Path::new(PAGE)) {
        assert_eq!(said, "10 values are right\n");
    }
}

/// Two ends, their exporters, and what they have written to each other.
struct Pair {
    now: Time,
    agent: Tunnel,
    contact: Tunnel,
    exporters: [[u8; 32]; 2],
    secret: Vec<u8>,
    epoch: u32,
    wire: [Vec<u8>; 2],
    heard: [Vec<(Lane, Vec<u8>)>; 2],
    keys: [Vec<KeyMessage>; 2],
}

const AOR: &[u8] = b"sip:alice@example.com";
const CREDENTIAL: &[u8] = b"Digest username=\"alice\"";

impl Pair {
    fn new() -> Self {
        let make = |role| Tunnel::new(Arc::new(Config::new(role)), Time::ZERO);
        let mut pair = Self {
            now: Time::ZERO,
            agent: make(Role::Agent),
            contact: make(Role::ContactPoint),
            exporters: [[5; 32]; 2],
            secret: b"secret".to_vec(),
            epoch: 0,
            wire: Default::default(),
            heard: Default::default(),
            keys: Default::default(),
        };
        pair.pass(Role::ContactPoint);
        pair.pass(Role::Agent);
        pair
    }

    /// Everything that `from` has to send, to the other end; the frames.
    fn pass(&mut self, from: Role) {
        let mut bytes = Vec::new();
        let (sender, receiver, index) = match from {
            Role::Agent => (&mut self.agent, &mut self.contact, 0),
            Role::ContactPoint => (&mut self.contact, &mut self.agent, 1),
        };
        sender.fill(self.now, ALL, &mut bytes);
        let mut input = bytes.as_slice();
        while let Some(event) = receiver.next(self.now, &mut input) {
            match event {
                Event::Datagram { lane, payload } => self.heard[1 - index].push((lane, payload.to_vec())),
                Event::Stream { lane, bytes } => self.heard[1 - index].push((lane, bytes.to_vec())),
                Event::StreamEnded { lane } => self.heard[1 - index].push((lane, Vec::new())),
                Event::LaneClosed { lane, .. } => self.heard[1 - index].push((lane, b"closed".to_vec())),
                Event::Key(message) => self.keys[1 - index].push(message),
                Event::Dead(why) => panic!("{why}"),
                _ => {}
            }
        }
        self.wire[index].extend(bytes);
    }

    /// A key for user 1, as the two owners would make it. Says whether both have confirmed.
    fn agree(&mut self, mode: Assurance) -> bool {
        self.epoch += 1;
        let offer = Offer {
            user: 1,
            epoch: self.epoch,
            modes: Modes::NONE.with(mode),
            fresh: [self.epoch as u8; 32],
            credential: credential_id(CREDENTIAL),
            aor: AOR.into(),
        };
        let mut accept = Accept { user: 1, epoch: self.epoch, mode, fresh: [9; 32], mac: [0; 32] };
        let [here, there] = self.exporters;
        let schedule = |exporter: &[u8; 32], secret: &[u8], accept: &Accept| {
            let facts = Facts {
                mode,
                aor: AOR,
                authorization: CREDENTIAL,
                agent_fresh: &offer.fresh,
                contact_fresh: &accept.fresh,
                connection_epoch: 0,
                registration_epoch: self.epoch,
            };
            derive(exporter, secret, &facts).unwrap().schedule()
        };
        let theirs = schedule(&there, b"secret", &accept);
        accept.mac = theirs.accept_mac(&there, &offer, &accept);
        let ours = schedule(&here, &self.secret, &accept);
        if !ours.is_accepted(&here, &offer, &accept) {
            return false;
        }
        let epoch = self.epoch;
        let confirm = |mac| KeyMessage::Confirm(Confirm { user: 1, epoch, mac });
        let mac = ours.confirm_mac(Role::Agent, &here, &offer, &accept);
        self.agent.say_key(confirm(mac));
        self.agent.seal_for(1, mode, ours.sealer(Role::Agent, epoch));
        // What follows the confirmation in the same bytes is sealed already.
        let mut bytes = Vec::new();
        self.agent.fill(self.now, ALL, &mut bytes);
        let mut input = bytes.as_slice();
        while let Some(event) = self.contact.next(self.now, &mut input) {
            match event {
                Event::Key(KeyMessage::Confirm(confirm)) => {
                    assert!(theirs.is_confirmed(Role::Agent, &there, &offer, &accept, &confirm.mac));
                    self.contact.open_for(1, mode, theirs.opener(Role::Agent, epoch));
                }
                Event::Datagram { lane, payload } => self.heard[1].push((lane, payload.to_vec())),
                Event::Stream { lane, bytes } => self.heard[1].push((lane, bytes.to_vec())),
                other => panic!("{other:?}"),
            }
        }
        self.wire[0].extend(bytes);
        let mac = theirs.confirm_mac(Role::ContactPoint, &there, &offer, &accept);
        self.contact.say_key(confirm(mac));
        self.contact.seal_for(1, mode, theirs.sealer(Role::ContactPoint, epoch));
        let mut bytes = Vec::new();
        self.contact.fill(self.now, ALL, &mut bytes);
        let mut input = bytes.as_slice();
        let mut confirmed = false;
        while let Some(event) = self.agent.next(self.now, &mut input) {
            match event {
                Event::Key(KeyMessage::Confirm(confirm)) => {
                    confirmed = ours.is_confirmed(Role::ContactPoint, &here, &offer, &accept, &confirm.mac);
                    self.agent.open_for(1, mode, ours.opener(Role::ContactPoint, epoch));
                }
                Event::Datagram { lane, payload } => self.heard[0].push((lane, payload.to_vec())),
                other => panic!("{other:?}"),
            }
        }
        self.wire[1].extend(bytes);
        confirmed
    }

    fn lane(&mut self) -> Lane {
        let lane = self.agent.open_lane(Kind::Audio, b"call").unwrap();
        self.agent.bind_lane(lane, 1);
        self.pass(Role::Agent);
        lane
    }
}

/// The frames of datagram lanes in what an end has written.
fn frames(mut wire: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some((head, rest)) = wire.split_first_chunk::<4>() {
        let (payload, rest) = rest.split_at(usize::from(u16::from_be_bytes([head[2], head[3]])));
        let lane = u16::from_be_bytes([head[0], head[1]]);
        if lane >= 16 {
            all.push((lane, payload.to_vec()));
        }
        wire = rest;
    }
    all
}

#[test]
fn keys_change_without_loss_while_both_speak() {
    let mut pair = Pair::new();
    let lane = pair.lane();
    let speak = |pair: &mut Pair, n: u8| {
        pair.agent.datagram(pair.now, lane, &[n; 40]).unwrap();
        pair.contact.datagram(pair.now, lane, &[100 + n; 40]).unwrap();
    };
    for n in 0..20 {
        speak(&mut pair, n);
        if n % 5 == 4 {
            // Queued before, taken after the change: all arrive.
            assert!(pair.agree(Assurance::Digest));
        }
        pair.pass(Role::Agent);
        pair.pass(Role::ContactPoint);
    }
    let expected = |first: u8| (0..20).map(|n| (lane, vec![first + n; 40])).collect::<Vec<_>>();
    assert_eq!(pair.heard, [expected(100), expected(0)]);
    let sent = frames(&pair.wire[0]);
    let lengths: Vec<_> = sent.iter().map(|(_, payload)| payload.len()).collect();
    assert_eq!(lengths[..5], [40, 40, 40, 40, 40 + OVERHEAD], "the fifth waited while the first key came");
    assert!(lengths[5..].iter().all(|len| *len == 40 + OVERHEAD));
    let markers: Vec<u8> = sent[4..].iter().map(|(_, payload)| payload[0]).collect();
    assert_eq!(markers, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4]);
    let stats = pair.contact.key_stats(1);
    assert_eq!((stats.opened, stats.refused), (16, 0));
}

#[test]
fn what_is_tampered_with_replayed_or_in_the_clear_is_refused_and_counted() {
    let mut pair = Pair::new();
    let lane = pair.lane();
    assert!(pair.agree(Assurance::Digest));
    pair.agent.datagram(pair.now, lane, b"one").unwrap();
    pair.agent.datagram(pair.now, lane, b"two").unwrap();
    let mut bytes = Vec::new();
    pair.agent.fill(pair.now, ALL, &mut bytes);
    let (one, two) = bytes.split_at(bytes.len() / 2);
    let mut bad = one.to_vec();
    bad[12] ^= 1;
    let plain = [&lane.0.to_be_bytes()[..], &[0, 3], b"two"].concat();
    let cut = [&lane.0.to_be_bytes()[..], &[0, 0]].concat();
    let stream = [&bad, one, one, &plain, &cut, two, one].concat();
    let (mut input, mut heard) = (stream.as_slice(), Vec::new());
    while let Some(event) = pair.contact.next(pair.now, &mut input) {
        match event {
            Event::Datagram { payload, .. } => heard.push(payload.to_vec()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, [b"one", b"two"]);
    let stats = pair.contact.key_stats(1);
    assert_eq!((stats.opened, stats.refused), (2, 5));
    assert_eq!(pair.contact.lane_stats(lane).unwrap().refused, 5);
}

#[test]
fn another_connection_or_another_secret_gives_no_confirmation() {
    let mut intercepted = Pair::new();
    intercepted.exporters[1] = [6; 32];
    assert!(!intercepted.agree(Assurance::Digest));
    let mut mistaken = Pair::new();
    mistaken.secret = b"guess".to_vec();
    assert!(!mistaken.agree(Assurance::Digest));
}

#[test]
fn what_demands_a_key_carries_nothing_without_one() {
    let mut pair = Pair::new();
    let lane = pair.lane();
    for tunnel in [&mut pair.agent, &mut pair.contact] {
        tunnel.demand(lane, Assurance::Digest);
    }
    let exchange = |pair: &mut Pair| {
        pair.heard = Default::default();
        pair.agent.datagram(pair.now, lane, b"up").unwrap();
        pair.contact.datagram(pair.now, lane, b"down").unwrap();
        pair.pass(Role::Agent);
        pair.pass(Role::ContactPoint);
        pair.heard.each_ref().map(Vec::len)
    };
    assert_eq!(exchange(&mut pair), [0, 0], "no key yet");
    assert!(pair.agree(Assurance::Header));
    assert_eq!(exchange(&mut pair), [0, 0], "a key that is worth too little");
    assert!(pair.agree(Assurance::Digest));
    assert_eq!(exchange(&mut pair), [1, 1]);
    pair.agent.fence_keys();
    pair.contact.fence_keys();
    assert_eq!(exchange(&mut pair), [0, 0], "the connection is another");
    assert!(pair.agree(Assurance::Digest));
    assert_eq!(exchange(&mut pair), [1, 1]);
    for tunnel in [&mut pair.agent, &mut pair.contact] {
        tunnel.stop_sealing(1);
        tunnel.stop_opening(1);
    }
    assert_eq!(exchange(&mut pair), [0, 0], "the registration has ended");
    let stats = pair.agent.lane_stats(lane).unwrap();
    assert_eq!((stats.withheld, stats.sent_packets), (4, 2));
    assert!(
        frames(&pair.wire[0]).iter().all(|(_, payload)| payload.len() > OVERHEAD),
        "nothing in the clear"
    );
    for tunnel in [&mut pair.agent, &mut pair.contact] {
        tunnel.demand(lane, Assurance::None);
    }
    assert_eq!(exchange(&mut pair), [1, 1], "without a demand it goes on in the clear");
}

#[test]
fn after_a_resume_nothing_is_in_the_clear_where_there_was_a_key() {
    let mut pair = Pair::new();
    let lane = pair.lane();
    assert!(pair.agree(Assurance::Header));
    pair.agent.fence_keys();
    pair.agent.datagram(pair.now, lane, b"secret").unwrap();
    pair.wire[0].clear();
    pair.pass(Role::Agent);
    assert!(frames(&pair.wire[0]).is_empty());
    assert_eq!(pair.agent.key_stats(1).withheld, 1);
}

#[test]
fn only_its_opener_says_whose_a_lane_is() {
    let mut pair = Pair::new();
    let lane = pair.lane();
    assert_eq!((pair.agent.lane_user(lane), pair.contact.lane_user(lane)), (1, 1));
    pair.contact.bind_lane(lane, 2);
    assert_eq!(pair.contact.lane_user(lane), 1, "not ours to say");
    let forged = [&[0, 0, 0, 9][..], &encoded(KeyMessage::Bind { lane, user: 2 })].concat();
    let event = pair.agent.next(pair.now, &mut forged.as_slice());
    assert_eq!(event, Some(Event::Dead(Why::Fault(Fault::LaneNumber(lane)))));
}

#[test]
fn a_datagram_that_is_too_long_when_sealed_is_refused() {
    let mut pair = Pair::new();
    let lane = pair.lane();
    let most = usize::from(Config::new(Role::Agent).max_frame);
    assert_eq!(pair.agent.datagram(pair.now, lane, &vec![0; most - OVERHEAD + 1]), Err(Refused::TooLong));
    assert!(pair.agree(Assurance::Header));
    pair.agent.datagram(pair.now, lane, &vec![0; most - OVERHEAD]).unwrap();
    pair.pass(Role::Agent);
    assert_eq!(pair.heard[1].len(), 1);
}

#[test]
fn the_smallest_rooms_cut_sealed_frames_rightly() {
    let mut pair = Pair::new();
    let lane = pair.lane();
    assert!(pair.agree(Assurance::Header));
    for n in 0..10u8 {
        pair.agent.datagram(pair.now, lane, &[n; 30]).unwrap();
    }
    let mut wire = Vec::new();
    while pair.agent.wants_write() {
        let before = wire.len();
        pair.agent.fill(pair.now, 11, &mut wire);
        assert!(wire.len() - before <= 11);
    }
    let mut input = wire.as_slice();
    let mut heard = Vec::new();
    while let Some(event) = pair.contact.next(pair.now, &mut input) {
        if let Event::Datagram { payload, .. } = event {
            heard.push(payload[0]);
        }
    }
    assert_eq!(heard, (0..10).collect::<Vec<_>>());
}

/// An hour of speech at 50 packets a second both ways, a new key every ten minutes: no number comes twice, and the
/// decoder opens what was recorded.
#[test]
fn an_hour_of_speech_repeats_no_number_and_the_decoder_opens_it() {
    let mut pair = Pair::new();
    let lane = pair.lane();
    let packets = 50 * 3600u32;
    let mut recording = String::new();
    let mut expected = String::new();
    for n in 0..packets {
        if n % (packets / 6) == 0 {
            assert!(pair.agree(Assurance::Digest));
            let epoch = pair.epoch;
            for (name, value) in [
                ("exporter", &[5; 32][..]),
                ("secret", b"secret"),
                ("mode", &[2]),
                ("aor", AOR),
                ("credential", CREDENTIAL),
                ("agent_fresh", &[epoch as u8; 32]),
                ("contact_fresh", &[9; 32]),
                ("connection", &[0; 4]),
                ("registration", &epoch.to_be_bytes()),
            ] {
                writeln!(recording, "{name} {}", hex(value)).unwrap();
            }
            recording.push_str("key\n");
        }
        pair.now += Duration::from_millis(20);
        for (from, name) in [(Role::Agent, "agent"), (Role::ContactPoint, "contact")] {
            let payload = [&n.to_be_bytes()[..], name.as_bytes()].concat();
            let (sender, index) = match from {
                Role::Agent => (&mut pair.agent, 0),
                Role::ContactPoint => (&mut pair.contact, 1),
            };
            sender.datagram(pair.now, lane, &payload).unwrap();
            let before = pair.wire[index].len();
            pair.pass(from);
            // The decoder is slow: a part of what was sent is enough for it.
            if n % 997 == 0 {
                for (lane, sealed) in frames(&pair.wire[index][before..]) {
                    let len = (sealed.len() as u16).to_be_bytes();
                    let frame = [&lane.to_be_bytes()[..], &len, &sealed].concat();
                    writeln!(recording, "{name} {}", hex(&frame)).unwrap();
                    writeln!(expected, "{name} {lane} {} {}", pair.epoch, hex(&payload)).unwrap();
                }
            }
        }
    }
    assert_eq!(pair.heard.each_ref().map(Vec::len), [packets as usize; 2]);
    for wire in &pair.wire {
        let mut seen = HashSet::new();
        for (_, sealed) in frames(wire) {
            let number: [u8; 7] = sealed[..7].try_into().unwrap();
            assert!(seen.insert(number), "{number:?} comes again");
        }
        assert_eq!(seen.len(), packets as usize);
    }
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("recorded-lane");
    std::fs::write(&file, recording).unwrap();
    if let Some(said) = decoder("open", &file) {
        assert_eq!(said, expected);
    }
}

#[test]
fn streams_are_sealed_wait_for_a_key_that_is_demanded_and_break_off_when_tampered_with() {
    let mut pair = Pair::new();
    let lane = pair.agent.open_stream(b"msrp").unwrap();
    pair.agent.bind_lane(lane, 1);
    pair.pass(Role::Agent);
    pair.agent.stream(lane, b"in the clear").unwrap();
    pair.pass(Role::Agent);
    pair.agent.demand(lane, Assurance::Digest);
    pair.contact.demand(lane, Assurance::Digest);
    pair.agent.stream(lane, b"sealed").unwrap();
    pair.pass(Role::Agent);
    assert_eq!(pair.heard[1], [(lane, b"in the clear".to_vec())], "what demands a key waits for it");
    assert!(pair.agree(Assurance::Digest));
    pair.pass(Role::Agent);
    // More than the credit, so that sealing and credit must agree on what a byte is.
    let data = vec![7; 100_000];
    pair.agent.stream(lane, &data).unwrap();
    for _ in 0..60 {
        pair.pass(Role::Agent);
        let heard: usize = pair.heard[1].iter().map(|(_, bytes)| bytes.len()).sum();
        pair.contact.consumed(lane, heard.saturating_sub(40_000) / 60);
        pair.pass(Role::ContactPoint);
    }
    pair.contact.consumed(lane, 65_536);
    (0..60).for_each(|_| [Role::ContactPoint, Role::Agent].into_iter().for_each(|role| pair.pass(role)));
    pair.agent.end_stream(lane);
    pair.pass(Role::Agent);
    let heard: Vec<u8> = pair.heard[1].iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!(heard, [b"in the clear".as_slice(), b"sealed", &data].concat());
    assert_eq!(pair.heard[1].last(), Some(&(lane, Vec::new())), "and its end");
    let sealed = frames(&pair.wire[0]);
    assert!(
        sealed[1..]
            .iter()
            .all(|(_, payload)| payload.len() >= OVERHEAD && !payload.windows(6).any(|w| w == b"sealed"))
    );
    // Somebody in between changes a frame: a stream cannot do without it.
    pair.contact.stream(lane, b"and back").unwrap();
    let mut bytes = Vec::new();
    pair.contact.fill(pair.now, ALL, &mut bytes);
    *bytes.last_mut().unwrap() ^= 1;
    let mut input = bytes.as_slice();
    let mut events = Vec::new();
    while let Some(event) = pair.agent.next(pair.now, &mut input) {
        events.push(format!("{event:?}"));
    }
    assert!(matches!(events.as_slice(), [one] if one.starts_with("LaneClosed")), "{events:?}");
    pair.pass(Role::Agent);
    assert_eq!(pair.heard[1].last(), Some(&(lane, b"closed".to_vec())));
}
