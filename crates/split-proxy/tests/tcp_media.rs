//! Media over TCP (RFC 4145), and MSRP (RFC 4975) on it.

mod common;

use causeway_node::{Class, Connect, Flow, Transport};
use causeway_sim::{NodeId, Peer};
use causeway_sip::{Message, Method, response_to};
use causeway_split_proxy::{Agent, AgentConfig};
use causeway_tunnel::key::Assurance;
use common::*;
use std::net::SocketAddr;

/// Where the TCP half of a phone listens.
const PORT: u16 = 7394;
const LISTENER: Flow = Flow(1);
const DIALLED: Flow = Flow(2);

/// Two phones in a call, each with a TCP endpoint on its host.
struct Pair {
    lab: Lab,
    tcp: [NodeId; 2],
}

fn description(n: usize, line: &str) -> Vec<u8> {
    let ip = format!("192.168.{n}.10");
    format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n{line}").into_bytes()
}

fn body(message: &Message) -> String {
    String::from_utf8_lossy(message.msg().body()).into_owned()
}

/// Where the first line of a description leads.
fn target(message: &Message) -> SocketAddr {
    let body = body(message);
    let c = body.lines().find_map(|line| line.strip_prefix("c=IN IP4 ")).unwrap();
    let m = body.lines().find_map(|line| line.strip_prefix("m=")).unwrap();
    with_port(c, m.split(' ').nth(1).unwrap().parse().unwrap())
}

impl Pair {
    /// Alice has offered the one line, Bob has answered the other.
    fn new(seed: u64, offer: &str, answer: &str) -> Self {
        let mut lab = Lab::new(seed, 2, |_| {});
        lab.register(0, "alice", 600);
        lab.register(1, "bob", 600);
        Self::in_lab(lab, offer, answer)
    }

    /// The same between phones that are registered already.
    fn in_lab(mut lab: Lab, offer: &str, answer: &str) -> Self {
        let tcp = [0, 1].map(|n| {
            let host = lab.world_host_of_phone(n);
            let peer = lab.world.add(host, &format!("tcp{n}"), Peer::new());
            lab.world.with::<Peer, _>(peer, |_, _, out| {
                out.listen(
                    LISTENER,
                    with_port(&format!("192.168.{n}.10"), PORT),
                    Transport::Tcp,
                    Class::Signalling,
                );
            });
            peer
        });
        lab.request(0, Method::Invite, "sip:bob@example.com", "alice", |r| {
            r.header("From", "<sip:alice@example.com>;tag=fromalice")
                .header("To", "<sip:bob@example.com>")
                .header("Call-ID", "tcp")
                .body("application/sdp", description(0, offer))
        });
        lab.world.run_for(S);
        let mut pair = Self { lab, tcp };
        pair.answer(answer);
        pair
    }

    fn answer(&mut self, line: &str) {
        let answer = description(1, line);
        self.lab.world.with::<Phone, _>(self.lab.phones[1], |phone, _, out| {
            let invite = phone.last_request(Method::Invite).unwrap().clone();
            let ok = response_to(invite.msg(), 200, None, Some(b"tobob"))
                .record_routes()
                .header("Contact", phone.contact("bob"))
                .body("application/sdp", answer);
            phone.send(out, &ok.finish());
        });
        self.lab.world.run_for(S);
        self.lab.in_dialog_of_caller(0, "alice", Method::Ack, None);
        self.lab.world.run_for(S);
    }

    fn offer_heard(&self) -> Message {
        self.lab.phone(1).last_request(Method::Invite).unwrap().clone()
    }

    fn answer_heard(&self) -> Message {
        self.lab.phone(0).last(200).unwrap().clone()
    }

    fn connect(&mut self, n: usize, to: SocketAddr) {
        self.lab.world.with::<Peer, _>(self.tcp[n], |_, _, out| {
            let server_name = String::new();
            out.connect(
                DIALLED,
                Connect {
                    to,
                    transport: Transport::Tcp,
                    server_name,
                    class: Class::Signalling,
                    through: None,
                },
            );
        });
        self.lab.world.run_for(S);
    }

    fn peer(&self, n: usize) -> &Peer {
        self.lab.world.node(self.tcp[n])
    }

    fn accepted(&self, n: usize) -> Vec<Flow> {
        self.peer(n).accepted()
    }

    fn write(&mut self, n: usize, flow: Flow, bytes: &[u8]) {
        self.lab.world.with::<Peer, _>(self.tcp[n], |_, _, out| out.stream(flow, bytes));
        self.lab.world.run_for(S);
    }

    fn close(&mut self, n: usize, flow: Flow) {
        self.lab.world.with::<Peer, _>(self.tcp[n], |_, _, out| out.close(flow));
        self.lab.world.run_for(S);
    }
}

const ACTIVE: &str = "m=application 9 TCP/BFCP *\r\na=setup:active\r\na=connection:new\r\n";
const PASSIVE: &str = "m=application 7394 TCP/BFCP *\r\na=setup:passive\r\na=connection:new\r\n";
const EITHER: &str = "m=application 7394 TCP/BFCP *\r\na=setup:actpass\r\na=connection:new\r\n";

#[test]
fn whoever_is_active_connects_and_bytes_flow_both_ways() {
    for (n, (offer, answer)) in
        [(ACTIVE, PASSIVE), (PASSIVE, ACTIVE), (EITHER, ACTIVE), (EITHER, PASSIVE)].into_iter().enumerate()
    {
        let mut pair = Pair::new(n as u64, offer, answer);
        let offered = body(&pair.offer_heard());
        assert!(offered.contains(offer.split("\r\n").nth(1).unwrap()), "roles pass unchanged: {offered}");
        let active = usize::from(answer == ACTIVE);
        let to = if active == 0 { target(&pair.answer_heard()) } else { target(&pair.offer_heard()) };
        assert_eq!(to.ip(), at(&format!("192.168.{active}.1:1")).ip());
        pair.connect(active, to);
        assert_eq!(pair.accepted(active), [], "nobody connects to the active one");
        let far = pair.accepted(1 - active);
        assert_eq!(far.len(), 1, "case {n}");
        pair.write(active, DIALLED, b"there");
        pair.write(1 - active, far[0], b"and back");
        assert_eq!(pair.peer(1 - active).stream(far[0]), b"there");
        assert_eq!(pair.peer(active).stream(DIALLED), b"and back");
        let media = pair.lab.status(pair.lab.contact)["calls"][0]["media"][0].clone();
        assert_eq!((&media["kind"], &media["connection"]["state"]), (&"stream".into(), &"open".into()));
        // The last bytes arrive before the end does.
        pair.lab.world.with::<Peer, _>(pair.tcp[active], |_, _, out| {
            out.stream(DIALLED, b", goodbye");
            out.close(DIALLED);
        });
        pair.lab.world.run_for(S);
        assert_eq!(pair.peer(1 - active).stream(far[0]), b"there, goodbye");
        assert!(pair.peer(1 - active).closed(far[0]).is_some());
        assert_eq!(pair.lab.status(pair.lab.contact)["tunnels"][0]["lanes"], 0, "the lane has ended with it");
    }
}

#[test]
fn where_a_key_is_demanded_a_stream_is_sealed_with_it() {
    let digest_or_nothing = |config: &mut AgentConfig| {
        users::with_accounts(config);
        config.keys.least = Assurance::Digest;
    };
    let mut lab = users::lab(20, 2, users::with_database, digest_or_nothing);
    for (n, user) in ["alice", "bob"].into_iter().enumerate() {
        users::register(&mut lab, n, user, &format!("pw-{user}"), 600);
    }
    let mut pair = Pair::in_lab(lab, ACTIVE, PASSIVE);
    let to = target(&pair.answer_heard());
    pair.connect(0, to);
    let far = pair.accepted(1);
    let (there, back) = (vec![1; 100_000], vec![2; 100_000]);
    pair.write(0, DIALLED, &there);
    pair.write(1, far[0], &back);
    pair.lab.world.run_for(5 * S);
    assert_eq!(pair.peer(1).stream(far[0]), there);
    assert_eq!(pair.peer(0).stream(DIALLED), back);
    let contact = pair.lab.status(pair.lab.contact);
    for n in 0..2 {
        let user = &contact["tunnels"][n]["users"][0];
        assert!(user["sealed"].as_u64() >= Some(25) && user["opened"].as_u64() >= Some(25), "{user}");
        assert_eq!((&user["refused"], &user["withheld"]), (&0.into(), &0.into()));
    }
}

#[test]
fn a_new_description_makes_a_new_connection_possible() {
    let mut pair = Pair::new(10, ACTIVE, PASSIVE);
    let to = target(&pair.answer_heard());
    pair.connect(0, to);
    pair.close(0, DIALLED);
    pair.lab.in_dialog_of_caller(0, "alice", Method::Invite, Some(description(0, ACTIVE)));
    pair.lab.world.run_for(S);
    pair.answer(PASSIVE);
    let to = target(&pair.answer_heard());
    pair.connect(0, to);
    let far = pair.accepted(1);
    assert_eq!(far.len(), 2);
    pair.write(0, DIALLED, b"again");
    assert_eq!(pair.peer(1).stream(far[1]), b"again");
}

#[test]
fn strangers_are_not_let_in_and_one_connection_is_enough() {
    let mut pair = Pair::new(11, ACTIVE, PASSIVE);
    let to = target(&pair.answer_heard());
    let stranger = pair.lab.add_phone(0, "192.168.0.66");
    let host = pair.lab.world_host_of_phone(stranger);
    let peer = pair.lab.world.add(host, "stranger", Peer::new());
    let connect = |pair: &mut Pair, peer, flow| {
        pair.lab.world.with::<Peer, _>(peer, |_, _, out| {
            let server_name = String::new();
            let connect = Connect {
                to,
                transport: Transport::Tcp,
                server_name,
                class: Class::Signalling,
                through: None,
            };
            out.connect(flow, connect);
        });
        pair.lab.world.run_for(S);
    };
    connect(&mut pair, peer, DIALLED);
    assert!(pair.lab.world.node::<Peer>(peer).closed(DIALLED).is_some());
    assert_eq!(pair.accepted(1), [], "nobody was called for that");
    pair.connect(0, to);
    let (tcp, second) = (pair.tcp[0], Flow(3));
    connect(&mut pair, tcp, second);
    assert!(pair.peer(0).closed(second).is_some() && pair.peer(0).closed(DIALLED).is_none());
    assert_eq!(pair.accepted(1).len(), 1);
}

#[test]
fn a_port_where_nobody_listens_ends_the_connection() {
    let answer = PASSIVE.replace("7394", "7999");
    let mut pair = Pair::new(12, ACTIVE, &answer);
    let to = target(&pair.answer_heard());
    pair.connect(0, to);
    pair.lab.world.run_for(12 * S);
    assert!(pair.peer(0).closed(DIALLED).is_some());
    // An active party is never connected to, whatever the other side does.
    let mut pair = Pair::new(13, ACTIVE, ACTIVE);
    let to = target(&pair.answer_heard());
    pair.connect(0, to);
    assert!(pair.peer(0).closed(DIALLED).is_some() && pair.accepted(1).is_empty());
}

#[test]
fn a_slow_reader_holds_up_his_own_stream_alone_and_loses_nothing() {
    let both = format!("{ACTIVE}m=audio 4000 RTP/AVP 0\r\n");
    let answer = format!("{PASSIVE}m=audio 4000 RTP/AVP 0\r\n");
    let mut pair = Pair::new(14, &both, &answer);
    let to = target(&pair.answer_heard());
    pair.connect(0, to);
    let far = pair.accepted(1)[0];
    let data: Vec<u8> = (0..2_000_000u32).map(|n| (n % 253) as u8).collect();
    pair.lab.world.stall(pair.tcp[1], true);
    pair.lab.world.with::<Peer, _>(pair.tcp[0], |peer, _, out| {
        peer.supply.insert(DIALLED, data.clone());
        out.wake(DIALLED);
    });
    pair.lab.world.run_for(10 * S);
    let left = |pair: &Pair| pair.peer(0).supply[&DIALLED].len();
    let waiting = data.len() - left(&pair);
    assert!(waiting < 800_000, "the sender has been made to wait: {waiting} bytes are on their way");
    for id in [pair.lab.contact, pair.lab.agents[0], pair.lab.agents[1]] {
        let held = pair.lab.status(id)["tunnels"][0]["waiting_bytes"].as_u64().unwrap();
        assert!(held <= 200_000, "{held}");
    }
    let audio = body(&pair.answer_heard());
    let port =
        audio.lines().find_map(|line| line.strip_prefix("m=audio ")).unwrap().split(' ').next().unwrap();
    let to_audio = at(&format!("192.168.0.1:{port}"));
    pair.lab.speak(0, to_audio, 1, b"speech goes on");
    pair.lab.world.run_for(S / 5);
    assert_eq!(pair.lab.phone(1).media.len(), 1);
    pair.lab.world.stall(pair.tcp[1], false);
    pair.lab.world.run_for(60 * S);
    assert_eq!(left(&pair), 0);
    let heard = pair.peer(1).stream(far);
    assert_eq!((heard.len(), heard == data), (data.len(), true));
}

#[test]
fn a_lost_tunnel_and_the_end_of_the_call_close_what_is_open() {
    for cut in [true, false] {
        let mut pair = Pair::new(15, ACTIVE, PASSIVE);
        let to = target(&pair.answer_heard());
        pair.connect(0, to);
        let far = pair.accepted(1)[0];
        match cut {
            true => {
                pair.lab.world.isolate(CONTACT);
                pair.lab.world.reset(pair.lab.agents[0], Flow(1 << 21));
                pair.lab.world.reset(pair.lab.agents[1], Flow(1 << 21));
            }
            false => {
                pair.lab.in_dialog_of_caller(0, "alice", Method::Bye, None);
                pair.lab.world.run_for(S);
                let bye = pair.lab.phone(1).last_request(Method::Bye).unwrap().clone();
                pair.lab.say(1, &response_to(bye.msg(), 200, None, None).finish());
            }
        }
        pair.lab.world.run_for(40 * S);
        assert!(pair.peer(0).closed(DIALLED).is_some() && pair.peer(1).closed(far).is_some(), "cut: {cut}");
        assert_eq!(pair.lab.world.node::<Agent>(pair.lab.agents[0]).is_up(), !cut);
        pair.connect(0, to);
        assert!(pair.peer(0).closed(DIALLED).is_some(), "and nobody listens any more");
    }
}

#[test]
fn msrp_ends_are_called_by_the_names_that_they_know() {
    let line = |n: usize, session: &str| {
        format!(
            "m=message 7394 TCP/MSRP *\r\na=accept-types:text/plain\r\n\
a=path:msrp://192.168.{n}.10:7394/{session};tcp\r\n"
        )
    };
    let mut pair = Pair::new(16, &line(0, "aaa"), &line(1, "bbb"));
    let path = |message: &Message| {
        body(message).lines().find_map(|line| line.strip_prefix("a=path:")).unwrap().to_owned()
    };
    let (offered, answered) = (path(&pair.offer_heard()), path(&pair.answer_heard()));
    let (to_caller, to_callee) = (target(&pair.offer_heard()), target(&pair.answer_heard()));
    assert_eq!(offered, format!("msrp://{to_caller}/aaa;tcp"));
    assert_eq!(answered, format!("msrp://{to_callee}/bbb;tcp"));
    for message in pair.lab.server().seen.iter().filter(|message| !message.msg().body().is_empty()) {
        let path = path(message);
        assert!(path.starts_with(&format!("msrp://{CONTACT}:")), "{path}");
    }
    // Without a=setup the offerer connects (RFC 4975 §5.4).
    pair.connect(0, to_callee);
    let far = pair.accepted(1)[0];
    let own = "msrp://192.168.0.10:7394/aaa;tcp";
    let send = |to: &str, from: &str, text: &str| {
        format!(
            "MSRP tx42 SEND\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\nMessage-ID: 1\r\nByte-Range: 1-{0}/{0}\r\n\
Content-Type: text/plain\r\n\r\n{text}\r\n-------tx42$\r\n",
            text.len()
        )
    };
    let text = format!("quoting To-Path: {answered} and {own}");
    pair.write(0, DIALLED, send(&answered, own, &text).as_bytes());
    let heard = String::from_utf8(pair.peer(1).stream(far)).unwrap();
    assert_eq!(heard, send("msrp://192.168.1.10:7394/bbb;tcp", &offered, &text));
    let ok = |to: &str, from: &str| {
        format!("MSRP tx42 200 OK\r\nTo-Path: {to}\r\nFrom-Path: {from}\r\n-------tx42$\r\n")
    };
    pair.write(1, far, ok(&offered, "msrp://192.168.1.10:7394/bbb;tcp").as_bytes());
    let heard = String::from_utf8(pair.peer(0).stream(DIALLED)).unwrap();
    assert_eq!(heard, ok(own, &answered));
}

#[test]
fn connections_go_only_where_media_may_go() {
    let mut lab = Lab::new(17, 2, |config| config.media_allow = vec!["203.0.113.0/24".parse().unwrap()]);
    lab.register(0, "alice", 600);
    let invite = |lab: &mut Lab, call_id: &str, c: &str, port: u16| {
        let contact = lab.server().bindings["sip:alice@example.com"].clone();
        let offer = format!(
            "v=0\r\no=- 1 1 IN IP4 {c}\r\ns=-\r\nc=IN IP4 {c}\r\nt=0 0\r\nm=message {port} TCP/MSRP *\r\n\
a=path:msrp://{c}:{port}/x;tcp\r\n"
        );
        let invite = causeway_sip::RequestBuilder::new(Method::Invite, contact.as_bytes())
            .header("Via", format!("SIP/2.0/UDP {SERVER}:5060;branch=z9hG4bK{call_id}"))
            .header("From", "<sip:far@example.com>;tag=f")
            .header("To", "<sip:alice@example.com>")
            .header("Call-ID", call_id)
            .header("Contact", format!("<sip:far@{SERVER}:5060>"))
            .cseq(1, Method::Invite)
            .max_forwards(70)
            .body("application/sdp", offer)
            .finish();
        lab.world.with::<Server, _>(lab.server, |_, _, out| {
            out.datagram(Flow(0), at("198.51.100.1:5060"), &invite);
        });
        lab.world.run_for(S);
        let heard = |m: &&Message| m.msg().call_id() == Some(call_id.as_bytes());
        let status = lab.server().seen.iter().rev().filter(heard).find_map(|m| m.msg().status());
        (status, lab.phone(0).heard.iter().any(|m| heard(&m)))
    };
    assert_eq!(invite(&mut lab, "outside", "192.0.2.9", 7394), (Some(488), false));
    assert_eq!(invite(&mut lab, "service", CONTACT, 443), (Some(488), false));
    assert!(invite(&mut lab, "inside", "203.0.113.77", 7394).1, "the control");
}
