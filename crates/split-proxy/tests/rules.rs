//! What is not plain: TCP, forks, hold, several media, cuts and queues.

mod common;

use causeway_node::{Class, Connect, Ctx, Flow, Input, Level, Node, Outbox, Output, Time, Transport};
use causeway_sim::Peer;
use causeway_sip::{HeaderId, Message, Method, RequestBuilder, response_to};
use causeway_split_proxy::{Agent, AgentConfig, ContactPoint};
use common::*;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn two_registered(seed: u64) -> Lab {
    let mut lab = Lab::new(seed, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab
}

#[test]
fn a_phone_may_use_tcp() {
    let mut lab = Lab::new(1, 1, |_| {});
    // A second phone on the first LAN, with one TCP connection to its agent.
    let phone = lab.world.add(lab.world_host_of_phone(0), "tcp phone", Peer::new());
    lab.world.with::<Peer, _>(phone, |_, _, out| {
        let connect = Connect {
            to: at("192.168.0.1:5060"),
            through: None,
            transport: Transport::Tcp,
            server_name: String::new(),
            class: Class::Signalling,
        };
        out.connect(Flow(5), connect);
    });
    lab.world.run_for(S);
    let register = RequestBuilder::new(Method::Register, b"sip:example.com")
        .header("Via", "SIP/2.0/TCP 192.168.0.10:40000;branch=z9hG4bKtcp")
        .header("From", "<sip:carol@example.com>;tag=1")
        .header("To", "<sip:carol@example.com>")
        .header("Call-ID", "tcp")
        .header("Contact", "<sip:carol@192.168.0.10:40000;transport=tcp>")
        .cseq(1, Method::Register)
        .max_forwards(70)
        .finish();
    lab.world.with::<Peer, _>(phone, |_, _, out| out.stream(Flow(5), &register));
    lab.world.run_for(S);
    let heard = String::from_utf8(lab.world.node::<Peer>(phone).stream(Flow(5))).unwrap();
    assert!(heard.starts_with("SIP/2.0 200"), "{heard}");
    assert!(heard.contains("<sip:carol@192.168.0.10:40000;transport=tcp>"), "{heard}");
    lab.register(0, "alice", 600);
    lab.request(0, Method::Message, "sip:carol@example.com", "alice", |r| {
        r.header("From", "<sip:alice@example.com>;tag=2")
            .header("To", "<sip:carol@example.com>")
            .header("Call-ID", "m")
    });
    lab.world.run_for(S);
    let heard = String::from_utf8(lab.world.node::<Peer>(phone).stream(Flow(5))).unwrap();
    assert!(heard.contains("MESSAGE sip:carol@192.168.0.10:40000;transport=tcp SIP/2.0"), "{heard}");
}

#[test]
fn a_tcp_connection_that_nobody_uses_is_closed() {
    let mut lab = Lab::new(1, 1, |_| {});
    let phone = lab.world.add(lab.world_host_of_phone(0), "tcp phone", Peer::new());
    let (silent, used) = (Flow(5), Flow(6));
    lab.world.with::<Peer, _>(phone, |_, _, out| {
        for flow in [silent, used] {
            let connect = Connect {
                to: at("192.168.0.1:5060"),
                through: None,
                transport: Transport::Tcp,
                server_name: String::new(),
                class: Class::Signalling,
            };
            out.connect(flow, connect);
        }
    });
    lab.world.run_for(S);
    let options = RequestBuilder::new(Method::Options, b"sip:example.com")
        .header("Via", "SIP/2.0/TCP 192.168.0.10:40000;branch=z9hG4bKtcp")
        .header("From", "<sip:carol@example.com>;tag=1")
        .header("To", "<sip:example.com>")
        .header("Call-ID", "tcp")
        .cseq(1, Method::Options)
        .max_forwards(70)
        .finish();
    lab.world.with::<Peer, _>(phone, |_, _, out| out.stream(used, &options));
    lab.world.run_for(40 * S);
    let closed = |lab: &Lab, flow| lab.world.node::<Peer>(phone).closed(flow).is_some();
    assert!(closed(&lab, silent) && !closed(&lab, used), "who says nothing at all is not waited for");
    lab.world.run_for(3600 * S);
    assert!(!closed(&lab, used), "a phone that registers once an hour stays");
    lab.world.run_for(3700 * S);
    assert!(closed(&lab, used));
}

#[test]
fn early_dialogs_of_a_fork_share_the_offer_and_the_answer_chooses() {
    let mut lab = two_registered(2);
    lab.world
        .node_mut::<Server>(lab.server)
        .bindings
        .insert("sip:fork@example.com".into(), format!("sip:f@{SERVER}:7000"));
    let host = lab.world.host(&["198.51.100.50", "198.51.100.51"]);
    let peers = [("198.51.100.50:7000", Flow(1)), ("198.51.100.51:7000", Flow(2))];
    let far = lab.world.add(host, "far", Peer::new());
    lab.world.with::<Peer, _>(far, |_, _, out| {
        peers.iter().for_each(|(address, flow)| out.bind(*flow, at(address), Class::Media));
    });
    lab.invite(0, "alice", "fork", "forked", 4000);
    lab.world.run_for(S);
    let invite = lab.server().requests(Method::Invite).last().map(|m| (*m).clone()).unwrap();
    let offered = media_of(&invite);
    // The server answers for both, in two early dialogs.
    let say = |lab: &mut Lab, status, tag: &str, ip: &str| {
        let answer = response_to(invite.msg(), status, None, Some(tag.as_bytes()))
            .header("Contact", format!("<sip:{tag}@{ip}:7000>"))
            .body("application/sdp", sdp(ip, 7000))
            .finish();
        lab.world.with::<Server, _>(lab.server, |_, _, out| {
            out.datagram(Flow(0), at("198.51.100.1:5060"), &answer)
        });
        lab.world.run_for(ms(200));
    };
    say(&mut lab, 183, "one", "198.51.100.50");
    say(&mut lab, 183, "two", "198.51.100.51");
    let answers: Vec<Message> =
        lab.phone(0).heard.iter().filter(|m| m.msg().status() == Some(183)).cloned().collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(media_of(&answers[0]), media_of(&answers[1]));
    for (address, flow) in peers {
        lab.world.with::<Peer, _>(far, |_, _, out| out.datagram(flow, offered, &rtp(1, address.as_bytes())));
    }
    lab.world.run_for(ms(200));
    assert_eq!(lab.phone(0).media.len(), 2, "early media of both");
    say(&mut lab, 200, "one", "198.51.100.50");
    lab.speak(0, media_of(&answers[0]), 7, b"to the one");
    lab.world.run_for(ms(200));
    let heard = lab.world.node::<Peer>(far).heard.iter().filter_map(|(_, h)| match h {
        causeway_sim::Heard::Datagram { flow, bytes, .. } => Some((*flow, bytes.clone())),
        _ => None,
    });
    assert_eq!(heard.collect::<Vec<_>>(), [(Flow(1), rtp(7, b"to the one"))]);
}

#[test]
fn held_media_goes_nowhere_until_it_is_taken_up_again() {
    let mut lab = two_registered(3);
    lab.call(0, "alice", 1, "bob", "hold");
    let to_caller = media_of(lab.phone(1).last_request(Method::Invite).unwrap());
    let hold = String::from_utf8(sdp("192.168.0.10", 4000)).unwrap();
    let hold = hold.replace("c=IN IP4 192.168.0.10", "c=IN IP4 0.0.0.0").replace("sendrecv", "sendonly");
    lab.in_dialog_of_caller(0, "alice", Method::Invite, Some(hold.into_bytes()));
    lab.world.run_for(S);
    let reinvite = lab.phone(1).last_request(Method::Invite).unwrap();
    let body = String::from_utf8_lossy(reinvite.msg().body()).into_owned();
    assert!(body.contains("c=IN IP4 0.0.0.0\r\n") && body.contains("a=sendonly"), "{body}");
    assert!(body.contains(&format!("m=audio {} ", to_caller.port())), "{body}");
    lab.answer(1, "bob", 200, Some(4000));
    lab.world.run_for(S);
    lab.speak(1, to_caller, 1, b"into the void");
    lab.world.run_for(S);
    assert!(lab.phone(0).media.is_empty());
    let back = sdp("192.168.0.10", 4000);
    lab.in_dialog_of_caller(0, "alice", Method::Invite, Some(back));
    lab.world.run_for(S);
    lab.answer(1, "bob", 200, Some(4000));
    lab.world.run_for(S);
    lab.speak(1, to_caller, 2, b"again");
    lab.world.run_for(S);
    assert_eq!(lab.phone(0).media.len(), 1);
}

#[test]
fn several_lines_rejected_lines_and_lines_that_cannot_be_carried() {
    let mut lab = two_registered(4);
    let offer = "v=0\r\no=- 1 1 IN IP4 192.168.0.10\r\ns=-\r\nc=IN IP4 192.168.0.10\r\nt=0 0\r\n\
a=group:BUNDLE 0 1\r\na=ice-ufrag:abcd\r\nm=audio 4000 RTP/AVP 0\r\na=mid:0\r\na=rtcp-mux\r\n\
a=candidate:1 1 UDP 2130706431 192.168.0.10 4000 typ host\r\nm=video 6000 RTP/AVP 96\r\na=mid:1\r\n\
a=rtpmap:96 VP8/90000\r\nm=image 0 udptl t38\r\nm=application 2855 DCCP x\r\n";
    lab.request(0, Method::Invite, "sip:bob@example.com", "alice", |r| {
        r.header("From", "<sip:alice@example.com>;tag=fromalice")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "lines")
            .body("application/sdp", offer)
    });
    lab.world.run_for(S);
    let invite = lab.phone(1).last_request(Method::Invite).unwrap();
    let body = String::from_utf8_lossy(invite.msg().body()).into_owned();
    let ports: Vec<u16> = body
        .lines()
        .filter_map(|line| line.strip_prefix("m="))
        .map(|m| m.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(ports[0] >= 40_000 && ports[1] >= 40_000 && ports[0] != ports[1], "{body}");
    assert_eq!(ports[2..], [0, 0], "what is rejected or cannot be carried");
    assert!(!body.contains("ice-") && !body.contains("candidate") && !body.contains("a=rtcp:"), "{body}");
    assert!(
        !body.contains("BUNDLE") && body.contains("a=mid:1"),
        "each line keeps a transport of its own: {body}"
    );
    assert!(body.contains("a=rtcp-mux") && body.contains("a=rtpmap:96"));
    let kinds: Vec<String> = lab.status(lab.contact)["calls"][0]["media"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["audio", "rtcp", "video", "rtcp"]);
    // An answer with one port for both lines, though nobody has offered that: it stays one port.
    let answer = sdp("192.168.1.10", 4000);
    let answer =
        [answer.as_slice(), b"m=video 4000 RTP/AVP 96\r\nm=image 0 udptl t38\r\nm=application 0 DCCP x\r\n"]
            .concat();
    lab.world.with::<Phone, _>(lab.phones[1], |phone, _, out| {
        let invite = phone.last_request(Method::Invite).unwrap().clone();
        let ok = response_to(invite.msg(), 200, None, Some(b"tobob"))
            .record_routes()
            .header("Contact", "<sip:bob@192.168.1.10:5060>")
            .body("application/sdp", answer);
        phone.send(out, &ok.finish());
    });
    lab.world.run_for(S);
    let ok = lab.phone(0).last(200).unwrap();
    let body = String::from_utf8_lossy(ok.msg().body()).into_owned();
    let ports: Vec<&str> =
        body.lines().filter_map(|l| l.strip_prefix("m=")).map(|m| m.split(' ').nth(1).unwrap()).collect();
    assert_eq!(ports[0], ports[1], "{body}");
    assert_eq!(ports[2..], ["0", "0"]);
}

#[test]
fn a_broken_description_is_refused_and_costs_nothing() {
    let mut lab = two_registered(5);
    lab.request(0, Method::Invite, "sip:bob@example.com", "alice", |r| {
        r.header("From", "<sip:alice@example.com>;tag=fromalice")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "broken")
            .body("application/sdp", "this is none")
    });
    lab.world.run_for(S);
    assert_eq!(lab.phone(0).statuses().last(), Some(&488));
    assert_eq!(lab.status(lab.agents[0])["calls"].as_array().unwrap().len(), 0);
}

#[test]
fn requests_wait_for_the_tunnel_and_are_refused_when_it_does_not_come() {
    let mut lab = two_registered(6);
    lab.world.isolate(CONTACT);
    lab.world.reset(lab.agents[0], Flow(1 << 21));
    // Nothing waits any more for the session that was.
    lab.world.run_for(31 * S);
    assert!(!lab.world.node::<Agent>(lab.agents[0]).is_up());
    lab.invite(0, "alice", "bob", "patience", 4000);
    lab.world.run_for(3 * S);
    assert_eq!(lab.phone(0).statuses().last(), Some(&100), "an INVITE is answered 100 meanwhile");
    lab.world.run_for(2 * S);
    let refused = lab.phone(0).last(503).expect("refused");
    assert!(refused.msg().has(HeaderId::RetryAfter));
    lab.world.rejoin(CONTACT);
    let agent = lab.agents[0];
    let down = |world: &mut causeway_sim::World| world.status(agent)["state"] != "up";
    assert!(down(&mut lab.world));
    lab.request(0, Method::Message, "sip:bob@example.com", "alice", |r| {
        r.header("From", "<sip:alice@example.com>;tag=m")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "later")
    });
    lab.world.must(60 * S, "the tunnel comes back", |world| world.node::<Agent>(agent).is_up());
    lab.world.run_for(S);
    let waited = lab.phone(1).last_request(Method::Message).is_some();
    let later = |m: &&Message| m.msg().call_id() == Some(b"later") && m.msg().status() == Some(503);
    let refused = lab.phone(0).heard.iter().filter(later).count();
    assert_eq!(waited, refused == 0, "either it waited or it was refused");
}

#[test]
fn a_request_that_waits_is_offered_to_the_new_tunnel() {
    let mut lab = two_registered(7);
    lab.world.reset(lab.agents[0], Flow(1 << 21));
    lab.world.run_for(ms(50));
    assert!(!lab.world.node::<Agent>(lab.agents[0]).is_up());
    lab.invite(0, "alice", "bob", "offered-again", 4000);
    lab.world.run_for(3 * S);
    assert!(lab.phone(1).last_request(Method::Invite).is_some());
    assert_eq!(lab.status(lab.contact)["tunnels"].as_array().unwrap().len(), 2);
}

#[test]
fn a_cut_without_return_ends_the_media_on_both_sides_and_the_dialog_can_still_be_ended() {
    let mut lab = two_registered(8);
    lab.call(0, "alice", 1, "bob", "cut");
    lab.world.isolate("203.0.113.2");
    lab.world.run_for(45 * S);
    for (id, calls) in [(lab.contact, 1), (lab.agents[1], 0)] {
        assert_eq!(lab.status(id)["calls"].as_array().unwrap().len(), calls, "the time of grace is over");
    }
    lab.world.rejoin("203.0.113.2");
    let agent = lab.agents[1];
    lab.world.must(40 * S, "it is back", |world| world.node::<Agent>(agent).is_up());
    lab.in_dialog_of_caller(0, "alice", Method::Bye, None);
    lab.world.run_for(S);
    assert!(lab.phone(1).last_request(Method::Bye).is_some(), "BYE finds its way without registering again");
}

#[test]
fn a_nat_that_forgets_is_noticed_and_overcome() {
    let mut lab = two_registered(9);
    lab.call(0, "alice", 1, "bob", "nat");
    let to = media_of(lab.phone(0).last(200).unwrap());
    lab.world.isolate("203.0.113.2");
    let start = lab.world.now();
    for sequence in 0..400 {
        lab.speak(0, to, sequence, b"speech");
        lab.world.run_for(ms(20));
        if lab.status(lab.agents[1])["state"] != "up" {
            break;
        }
    }
    let took = lab.world.now().since(start);
    assert!(took < 7 * S, "dead peers are found in seconds: {took:?}");
    lab.world.rejoin("203.0.113.2");
    let agent = lab.agents[1];
    lab.world.must(40 * S, "it is back", |world| world.node::<Agent>(agent).is_up());
}

#[test]
fn attempts_back_off_with_jitter_and_resolve_anew() {
    let config = AgentConfig::new("nowhere.example.com", 443, at("192.168.9.1:5060"));
    let mut world = causeway_sim::World::new(10);
    let host = world.host(&["192.168.9.1"]);
    let agent = world.add(host, "agent", Agent::new(config, []));
    let mut attempts = vec![];
    let mut last = 0;
    for _ in 0..12_000 {
        world.run_for(ms(10));
        let now = world.status(agent)["attempts"].as_u64().unwrap();
        if now != last {
            attempts.push(world.now());
            last = now;
        }
    }
    let gaps: Vec<f64> = attempts.windows(2).map(|w| w[1].since(w[0]).as_secs_f64()).collect();
    for (n, gap) in gaps.iter().enumerate() {
        let longest = f64::from(1 << n.min(5)).min(30.0);
        assert!(*gap >= longest / 2.0 - 0.02 && *gap <= longest + 0.04, "{n}: {gaps:?}");
    }
    assert!(gaps.len() >= 6);
    assert!(world.status(agent)["last_failure"].as_str().unwrap().contains("cannot be resolved"));
    world.name("nowhere.example.com", &["198.51.100.9"]);
    world.run_for(40 * S);
    assert!(world.status(agent)["last_failure"].as_str().unwrap().contains("198.51.100.9:443"));
}

#[test]
fn a_drained_pair_ends_its_calls_first() {
    let mut lab = two_registered(11);
    lab.call(0, "alice", 1, "bob", "drain");
    lab.world.drain(lab.contact);
    lab.world.run_for(S);
    assert!(!lab.world.node::<ContactPoint>(lab.contact).drained());
    assert_eq!(lab.status(lab.contact)["tunnels"].as_array().unwrap().len(), 2, "both carry the call");
    lab.in_dialog_of_caller(0, "alice", Method::Bye, None);
    lab.world.run_for(S);
    let bye = lab.phone(1).last_request(Method::Bye).unwrap().clone();
    lab.say(1, &response_to(bye.msg(), 200, None, None).finish());
    lab.world.run_for(40 * S);
    assert!(lab.world.node::<ContactPoint>(lab.contact).drained());
}

/// Drives a contact point without any world, to see how much a packet costs.
struct Bare {
    rng: causeway_node::testing::CountingRng,
    out: Outbox,
    now: Time,
}

impl Bare {
    fn give(&mut self, node: &mut impl Node, input: Input<'_>) {
        self.now += Duration::from_micros(1);
        node.handle(&mut Ctx { now: self.now, unix_ms: 1, rng: &mut self.rng }, input, &mut self.out);
    }
}

#[test]
fn nothing_is_bound_outside_the_lan_address_and_the_hub() {
    let mut agent = Agent::new(AgentConfig::new("192.0.2.1", 443, at("192.168.9.1:5060")), []);
    let mut bare = Bare { rng: Default::default(), out: Outbox::default(), now: Time::ZERO };
    bare.give(&mut agent, Input::Start);
    let mut bound = Vec::new();
    bare.out.drain(|_, output| match output {
        Output::Bind { local, .. } | Output::Listen { local, .. } => bound.push(local),
        Output::Notice { level: Level::Error, text } => panic!("{text}"),
        _ => {}
    });
    assert!(bound.len() > 2 && bound.iter().all(|local| local.ip() == at("192.168.9.1:1").ip()), "{bound:?}");
}
