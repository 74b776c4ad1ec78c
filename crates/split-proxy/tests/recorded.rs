//! An hour of a call in the simulator, recorded on the wire of one tunnel, read by an independent decoder.

mod common;

use causeway_node::{Ctx, Flow, Input, Node, Outbox, Status, Time};
use causeway_sip::Method;
use causeway_sip::digest::{Algorithm, Ha1, NewChallenge, Session, choose};
use causeway_split_proxy::{Agent, AgentConfig, KeyLine, LineSecret};
use causeway_store::Store;
use causeway_subscribers::Subscribers;
use causeway_tunnel::Message;
use causeway_tunnel::key::{Accept, KeyMessage, Offer};
use common::*;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const DECODER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tunnel/tests/decoder/user_key.py");

/// An agent, and what has passed on its connection.
struct Tapped {
    agent: Agent,
    exporter: [u8; 32],
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Node for Tapped {
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        match &input {
            Input::Opened { exporter: Some(exporter), .. } => self.exporter = *exporter,
            Input::Stream { bytes, .. } => self.received.extend_from_slice(bytes),
            _ => {}
        }
        self.agent.handle(ctx, input, out);
    }

    fn deadline(&self) -> Option<Time> {
        self.agent.deadline()
    }

    fn fill(&mut self, ctx: &mut Ctx<'_>, flow: Flow, room: usize, buf: &mut Vec<u8>) {
        let start = buf.len();
        self.agent.fill(ctx, flow, room, buf);
        self.sent.extend_from_slice(&buf[start..]);
    }

    fn status(&self, now: Time) -> Status {
        self.agent.status(now)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The frames of a recorded stream, whole, with their lanes.
fn frames(mut wire: &[u8]) -> Vec<(u16, &[u8])> {
    let mut all = Vec::new();
    while let Some(head) = wire.first_chunk::<4>() {
        let len = 4 + usize::from(u16::from_be_bytes([head[2], head[3]]));
        all.push((u16::from_be_bytes([head[0], head[1]]), &wire[..len]));
        wire = &wire[len..];
    }
    all
}

fn key_messages(wire: &[u8]) -> Vec<KeyMessage> {
    let mut all = Vec::new();
    for (_, frame) in frames(wire).into_iter().filter(|(lane, _)| *lane == 0) {
        let mut payload = &frame[4..];
        while !payload.is_empty() {
            if let Some(Message::Key(message)) = Message::decode(&mut payload).unwrap() {
                all.push(message);
            }
        }
    }
    all
}

/// A REGISTER with its Authorization, which is given back.
fn register(lab: &mut Lab, n: usize, user: &str, round: u32) -> Vec<u8> {
    let challenge =
        NewChallenge::new(b"example.com", format!("nonce{round}").as_bytes(), Algorithm::MD5).value();
    let mut session = Session::new(&choose([&challenge[..]]).unwrap(), user.as_bytes(), b"secret");
    let answer = session.answer(Method::Register, b"sip:example.com", b"c0ffee");
    lab.request(n, Method::Register, "sip:example.com", user, |r| {
        r.header("From", format!("<sip:{user}@example.com>;tag=reg{user}"))
            .header("To", format!("<sip:{user}@example.com>"))
            .header("Call-ID", format!("reg-{user}"))
            .header("Expires", "900")
            .header("Authorization", answer.clone())
    });
    lab.world.run_for(S);
    answer
}

fn add_tapped(lab: &mut Lab) -> causeway_sim::NodeId {
    let nat = lab.world.nat(causeway_sim::Nat::new("203.0.113.1"));
    let host = lab.world.host_behind(nat, &["192.168.0.1"]);
    let listen = at("192.168.0.1:5060");
    let mut config = AgentConfig::new("contact.example.com", 443, listen);
    let mut line = KeyLine::new("sip:alice@example.com").unwrap();
    line.secret = Some(LineSecret::Password(b"secret".to_vec().into()));
    config.keys.lines = vec![line];
    let agent = Agent::new(config, []);
    let tapped = Tapped { agent, exporter: [0; 32], sent: vec![], received: vec![] };
    let id = lab.world.add(host, "agent0", tapped);
    let host = lab.world.host_behind(nat, &["192.168.0.10"]);
    let phone =
        Phone { ip: "192.168.0.10".into(), agent: listen, heard: vec![], media: vec![], cseq: 0, serial: 0 };
    lab.phones.push(lab.world.add(host, "phone0", phone));
    lab.phone_hosts.push(host);
    lab.agents.push(id);
    lab.nats.push(nat);
    id
}

#[test]
fn an_hour_on_the_wire_repeats_no_number_and_the_decoder_reads_it() {
    let mut lab = Lab::new(1, 0, |config| config.digest_keys = true);
    let mut subscribers = Subscribers::open(Store::in_memory().unwrap()).unwrap();
    subscribers.add("sip:alice@example.com", b"secret", 1).unwrap();
    lab.world.user_keys(move |asked| subscribers.user_key(asked));
    let tapped = add_tapped(&mut lab);
    lab.add_customer_with(V4, 1, |_| {});
    lab.world.run_for(5 * S);

    let mut credentials = vec![register(&mut lab, 0, "alice", 0)];
    register(&mut lab, 1, "bob", 0);
    lab.call(0, "alice", 1, "bob", "hour");
    let to_callee = media_of(lab.phone(0).last(200).unwrap());
    let to_caller = media_of(lab.phone(1).last_request(Method::Invite).unwrap());
    let spoken = |n: u16, who: &str| [who.as_bytes(), &n.to_be_bytes()].concat();
    // Ten packets a second each way; a new registration every ten minutes.
    for n in 0..36_000 {
        if n % 6000 == 3000 {
            credentials.push(register(&mut lab, 0, "alice", u32::from(n)));
            register(&mut lab, 1, "bob", u32::from(n));
        }
        lab.speak(0, to_callee, n, &spoken(n, "alice"));
        lab.speak(1, to_caller, n, &spoken(n, "bob"));
        lab.world.run_for(Duration::from_millis(100));
    }
    lab.world.run_for(S);
    assert_eq!(lab.phone(0).media.len(), 36_000);
    assert_eq!(lab.phone(1).media.len(), 36_000);

    let Tapped { exporter, sent, received, .. } = lab.world.node::<Tapped>(tapped);
    let offers: Vec<Offer> = key_messages(sent)
        .into_iter()
        .filter_map(|message| if let KeyMessage::Offer(offer) = message { Some(*offer) } else { None })
        .collect();
    let accepts: BTreeMap<u32, Accept> = key_messages(received)
        .into_iter()
        .filter_map(|message| {
            if let KeyMessage::Accept(accept) = message { Some((accept.epoch, *accept)) } else { None }
        })
        .collect();
    assert_eq!((offers.len(), accepts.len(), credentials.len()), (7, 7, 7), "a key at each registration");

    let ha1 = Ha1::new(Algorithm::MD5, b"alice", b"example.com", b"secret");
    let mut recording = String::new();
    for (offer, credential) in offers.iter().zip(&credentials) {
        let accept = &accepts[&offer.epoch];
        for (name, value) in [
            ("exporter", &exporter[..]),
            ("secret", ha1.expose_hex()),
            ("mode", &[accept.mode.code()]),
            ("aor", &offer.aor),
            ("credential", credential),
            ("agent_fresh", &offer.fresh),
            ("contact_fresh", &accept.fresh),
            ("connection", &[0; 4]),
            ("registration", &offer.epoch.to_be_bytes()),
        ] {
            writeln!(recording, "{name} {}", hex(value)).unwrap();
        }
        recording.push_str("key\n");
    }
    let mut expected = Vec::new();
    for (wire, name, who) in [(sent, "agent", "alice"), (received, "contact", "bob")] {
        let mut numbers = HashSet::new();
        let media: Vec<_> = frames(wire).into_iter().filter(|(lane, _)| *lane >= 16).collect();
        assert_eq!(media.len(), 36_000);
        for (n, (_, frame)) in media.iter().enumerate() {
            let number: [u8; 7] = frame[4..11].try_into().unwrap();
            assert!(numbers.insert(number), "{name}: the number {number:?} comes again");
            // The decoder is slow: a part is enough for it.
            if n % 397 == 0 {
                writeln!(recording, "{name} {}", hex(frame)).unwrap();
                expected.push(hex(&rtp(n as u16, &spoken(n as u16, who))));
            }
        }
        let epochs: HashSet<u8> = numbers.iter().map(|number| number[0]).collect();
        assert_eq!(epochs, (1..=7).collect(), "{name}: every key was used");
    }
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("recorded-hour");
    std::fs::write(&file, recording).unwrap();
    match Command::new("python3").args([DECODER.as_ref(), "open".as_ref(), file.as_os_str()]).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: there is no python3")
        }
        output => {
            let output = output.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let text = String::from_utf8(output.stdout).unwrap();
            let read: Vec<_> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
            assert_eq!(read, expected);
        }
    }
}
