//! The contact point is no open relay: every clause with its positive control.

mod common;

use causeway_node::{Class, Connect, Ctx, Flow, Input, Node, Outbox, Time, Transport};
use causeway_sim::{NodeId, Peer};
use causeway_sip::{HeaderId, Method, Msg, RequestBuilder};
use causeway_split_proxy::{Agent, ContactPoint, Limits};
use causeway_tunnel::{Config, Event, Instance, Kind, Role, Tunnel, Why};
use common::*;
use std::sync::Arc;
use std::time::Duration;

/// An agent that says whatever it likes.
struct Rogue {
    instance: Option<Instance>,
    tunnel: Option<Tunnel>,
    heard: Vec<u8>,
    dead: Option<Why>,
    closed: bool,
    wire: Option<Vec<u8>>,
}

impl Rogue {
    fn new(instance: Option<[u8; 16]>) -> Self {
        let instance = instance.map(Instance);
        Self { instance, tunnel: None, heard: vec![], dead: None, closed: false, wire: None }
    }

    fn say(&mut self, bytes: &[u8], out: &mut Outbox) {
        self.tunnel.as_mut().unwrap().sip(bytes).unwrap();
        out.wake(Flow(1));
    }

    fn statuses(&self) -> Vec<u16> {
        let text = String::from_utf8_lossy(&self.heard).into_owned();
        let lines = text.lines().filter_map(|line| line.strip_prefix("SIP/2.0 "));
        lines.filter_map(|line| line.get(..3)?.parse().ok()).collect()
    }
}

impl Node for Rogue {
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Start => out.connect(
                Flow(1),
                Connect {
                    through: None,
                    to: at(&format!("{CONTACT}:443")),
                    transport: Transport::Tls,
                    server_name: "contact.example.com".into(),
                    class: Class::Media,
                },
            ),
            Input::Opened { flow, .. } => {
                let mut config = Config::new(Role::Agent);
                config.instance = self.instance;
                self.tunnel = Some(Tunnel::new(Arc::new(config), ctx.now));
                out.wake(flow);
            }
            Input::Stream { mut bytes, flow } => {
                while let Some(event) = self.tunnel.as_mut().unwrap().next(ctx.now, &mut bytes) {
                    match event {
                        Event::Sip(bytes) => self.heard.extend_from_slice(bytes),
                        Event::Dead(why) => self.dead = Some(why),
                        _ => {}
                    }
                }
                self.tunnel.as_mut().unwrap().sip_handled(ctx.now, 0);
                out.wake(flow);
            }
            Input::Closed { .. } => self.closed = true,
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn fill(&mut self, ctx: &mut Ctx<'_>, _: Flow, room: usize, buf: &mut Vec<u8>) {
        if let Some(wire) = &mut self.wire {
            let n = room.min(wire.len());
            buf.extend(wire.drain(..n));
        } else if let Some(tunnel) = &mut self.tunnel {
            tunnel.fill(ctx.now, room, buf);
        }
    }
}

fn rogue(lab: &mut Lab, address: &str, instance: Option<[u8; 16]>) -> NodeId {
    let host = lab.world.host(&[address]);
    let rogue = lab.world.add(host, "rogue", Rogue::new(instance));
    lab.world.must(5 * S, "the rogue is let in", |world| {
        world.node::<Rogue>(rogue).tunnel.as_ref().is_some_and(Tunnel::is_up)
    });
    rogue
}

fn message(method: Method<'static>, uri: &str, n: u32, from: &str) -> RequestBuilder {
    RequestBuilder::new(method, uri.as_bytes())
        .header("Via", format!("SIP/2.0/TLS rogue.invalid;branch=z9hG4bKrogue{n}"))
        .header("From", format!("<{from}>;tag=r{n}"))
        .header("To", format!("<{uri}>"))
        .header("Call-ID", format!("rogue-{n}"))
        .header("Contact", "<sip:rogue@10.0.0.66>")
        .cseq(n, method)
        .max_forwards(70)
}

fn say(lab: &mut Lab, rogue: NodeId, bytes: &[u8]) {
    lab.world.with::<Rogue, _>(rogue, |rogue, _, out| rogue.say(bytes, out));
    lab.world.run_for(S);
}

fn register(lab: &mut Lab, rogue: NodeId, n: u32, user: &str, expires: u32) {
    let aor = format!("sip:{user}@example.com");
    let request = message(Method::Register, &aor, n, &aor).header("Expires", expires.to_string());
    say(lab, rogue, &request.finish());
}

#[test]
fn an_unregistered_tunnel_gets_nothing_through_but_register_and_options() {
    let mut lab = Lab::new(1, 0, |_| {});
    lab.world.node_mut::<Server>(lab.server).refuse_register = true;
    let rogue = rogue(&mut lab, "203.0.113.66", None);
    register(&mut lab, rogue, 1, "mallory", 600);
    let methods =
        [Method::Invite, Method::Message, Method::Subscribe, Method::Bye, Method::Refer, Method::Info];
    for (n, method) in methods.into_iter().enumerate() {
        let request = message(method, "sip:bob@example.com", 10 + n as u32, "sip:mallory@example.com");
        let request = match method {
            Method::Invite => request.body("application/sdp", sdp("192.0.0.8", 17)),
            _ => request,
        };
        say(&mut lab, rogue, &request.finish());
    }
    let ack = message(Method::Ack, "sip:bob@example.com", 30, "sip:mallory@example.com").finish();
    say(&mut lab, rogue, &ack);
    let options = message(Method::Options, "sip:example.com", 31, "sip:mallory@example.com").finish();
    say(&mut lab, rogue, &options);
    assert_eq!(lab.server().methods(), ["REGISTER", "OPTIONS"], "a refused REGISTER admits nobody");
    let refused: Vec<u16> = lab.world.node::<Rogue>(rogue).statuses();
    assert_eq!(refused.iter().filter(|status| **status == 403).count(), 1 + 6);
    let status = lab.status(lab.contact);
    assert_eq!((&status["ports"]["used"], status["calls"].as_array().unwrap().len()), (&0.into(), 0));
}

#[test]
fn datagrams_on_lanes_without_a_call_reach_nobody() {
    let mut lab = Lab::new(2, 0, |_| {});
    let rogue = rogue(&mut lab, "203.0.113.66", None);
    lab.world.with::<Rogue, _>(rogue, |rogue, ctx, out| {
        let tunnel = rogue.tunnel.as_mut().unwrap();
        let lane = tunnel.open_lane(Kind::Audio, b"mine").unwrap();
        (0..50).for_each(|_| tunnel.datagram(ctx.now, lane, b"anywhere").unwrap());
        out.wake(Flow(1));
    });
    lab.world.run_for(S);
    assert_eq!(lab.status(lab.contact)["refused"]["stray_datagrams"], 50);
    assert!(lab.server().seen.is_empty());
}

#[test]
fn a_registered_agent_is_only_who_it_has_registered() {
    let mut lab = Lab::new(3, 0, |_| {});
    let rogue = rogue(&mut lab, "203.0.113.66", None);
    register(&mut lab, rogue, 1, "mallory", 600);
    for (n, from) in
        ["sip:alice@example.com", "sip:mallory@example.org", "tel:+4912345"].into_iter().enumerate()
    {
        say(&mut lab, rogue, &message(Method::Message, "sip:bob@example.com", 10 + n as u32, from).finish());
    }
    assert_eq!(lab.server().requests(Method::Message).len(), 0);
    assert_eq!(lab.world.node::<Rogue>(rogue).statuses()[1..], [403, 403, 403]);
    say(
        &mut lab,
        rogue,
        &message(Method::Message, "sip:bob@example.com", 20, "sip:mallory@example.com").finish(),
    );
    assert_eq!(lab.server().requests(Method::Message).len(), 1, "its own name is its own");
}

#[test]
fn what_a_server_would_believe_is_taken_out_and_all_goes_to_the_upstream() {
    let mut lab = Lab::new(4, 0, |_| {});
    let victim_host = lab.world.host(&["198.51.100.99"]);
    let victim = lab.world.add(victim_host, "victim", Peer::new());
    lab.world.with::<Peer, _>(victim, |_, _, out| {
        out.bind(Flow(0), at("198.51.100.99:5060"), Class::Signalling);
    });
    let rogue = rogue(&mut lab, "203.0.113.66", None);
    register(&mut lab, rogue, 1, "mallory", 600);
    let request = message(Method::Message, "sip:x@198.51.100.99", 2, "sip:mallory@example.com")
        .header("Route", "<sip:198.51.100.99;lr>")
        .header("Record-Route", "<sip:198.51.100.99;lr>")
        .header("Path", "<sip:198.51.100.99;lr>")
        .header("P-Asserted-Identity", "<sip:alice@example.com>")
        .header("P-Preferred-Identity", "<sip:alice@example.com>")
        .header("Remote-Party-ID", "<sip:alice@example.com>;party=calling")
        .header("X-Own", "stays");
    say(&mut lab, rogue, &request.finish());
    let seen = lab.server().requests(Method::Message)[0].clone();
    let gone = [
        HeaderId::Route,
        HeaderId::RecordRoute,
        HeaderId::Path,
        HeaderId::PAssertedIdentity,
        HeaderId::PPreferredIdentity,
    ];
    for id in gone {
        assert!(!seen.msg().has(id), "{id:?}");
    }
    assert_eq!(seen.msg().header_named(b"remote-party-id").count(), 0);
    assert_eq!(seen.msg().header_named(b"x-own").count(), 1);
    let contact: Msg<'_> = seen.msg();
    assert!(contact.contact().unwrap().uri.starts_with(b"sip:cw"), "and its address is not told");
}

#[test]
fn a_registration_that_ends_closes_the_door() {
    let mut lab = Lab::new(5, 0, |_| {});
    let rogue = rogue(&mut lab, "203.0.113.66", None);
    let sms = |n| message(Method::Message, "sip:bob@example.com", n, "sip:mallory@example.com").finish();
    register(&mut lab, rogue, 1, "mallory", 600);
    say(&mut lab, rogue, &sms(2));
    register(&mut lab, rogue, 3, "mallory", 0);
    say(&mut lab, rogue, &sms(4));
    assert_eq!(lab.server().requests(Method::Message).len(), 1, "removed");
    register(&mut lab, rogue, 5, "mallory", 30);
    say(&mut lab, rogue, &sms(6));
    assert_eq!(lab.server().requests(Method::Message).len(), 2);
    // The rogue answers no pings, but its silence is not what is tested.
    for n in 0..4 {
        lab.world.run_for(8 * S);
        say(
            &mut lab,
            rogue,
            &message(Method::Options, "sip:x@x", 10 + n, "sip:mallory@example.com").finish(),
        );
    }
    say(&mut lab, rogue, &sms(20));
    assert_eq!(lab.server().requests(Method::Message).len(), 2, "expired");
}

#[test]
fn media_goes_only_where_a_dialog_has_led_it_and_policy_allows() {
    // Without a policy the server's own description is followed …
    for (allow, port) in [(vec![], true), (vec!["198.51.100.0/24"], true), (vec!["10.0.0.0/8"], false)] {
        let mut lab = Lab::new(6, 2, |c| c.media_allow = allow.iter().map(|a| a.parse().unwrap()).collect());
        lab.register(0, "alice", 600);
        lab.register(1, "bob", 600);
        lab.invite(0, "alice", "bob", "policy", 4000);
        lab.world.run_for(S);
        let arrived = lab.phone(1).last_request(Method::Invite).is_some();
        assert_eq!(arrived, port, "{allow:?}");
        if !port {
            assert_eq!(lab.phone(0).statuses().last(), Some(&488));
        }
    }
    // … but not to the contact point's own services, nor into nowhere.
    for bad in ["198.51.100.1:5060", "198.51.100.1:443", "198.51.100.2:5060", "224.0.0.1:4000"] {
        let mut lab = Lab::new(7, 1, |_| {});
        lab.register(0, "alice", 600);
        let bad = at(bad);
        let token = lab.server().bindings["sip:alice@example.com"].clone();
        let invite = message(Method::Invite, &token, 1, "sip:outside@example.com")
            .body("application/sdp", sdp(&bad.ip().to_string(), bad.port()));
        let invite = String::from_utf8(invite.finish()).unwrap();
        let invite = invite.replace("SIP/2.0/TLS rogue.invalid", "SIP/2.0/UDP 198.51.100.2:5060");
        lab.world.with::<Server, _>(lab.server, |_, _, out| {
            out.datagram(Flow(0), at("198.51.100.1:5060"), invite.as_bytes());
        });
        lab.world.run_for(S);
        let invite = lab.phone(0).last_request(Method::Invite);
        if bad.ip().is_multicast() {
            // A group has no address to send to: the medium is there, and leads nowhere.
            let calls = lab.status(lab.contact)["calls"].clone();
            assert_eq!(calls[0]["media"][0]["peer"], serde_json::Value::Null);
        } else {
            assert!(invite.is_none(), "{bad}");
        }
    }
}

#[test]
fn packets_from_strangers_are_not_let_in() {
    let mut lab = Lab::new(8, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.call(0, "alice", 1, "bob", "private");
    let ports: Vec<u16> = lab.status(lab.contact)["calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call["media"][0]["port"].as_u64().unwrap() as u16)
        .collect();
    let host = lab.world.host(&["198.51.100.77"]);
    let stranger = lab.world.add(host, "stranger", Peer::new());
    lab.world.with::<Peer, _>(stranger, |_, _, out| {
        out.bind(Flow(0), at("198.51.100.77:4000"), Class::Media);
        for port in &ports {
            out.datagram(Flow(0), at(&format!("{CONTACT}:{port}")), &rtp(1, b"spam"));
        }
    });
    lab.world.run_for(S);
    assert!(lab.phone(0).media.is_empty() && lab.phone(1).media.is_empty());
    let calls = lab.status(lab.contact)["calls"].clone();
    for call in calls.as_array().unwrap() {
        assert_eq!(call["media"][0]["from_network"]["foreign"], 1);
    }
    let to = media_of(lab.phone(0).last(200).unwrap());
    lab.speak(0, to, 1, b"still private");
    lab.world.run_for(S);
    assert_eq!(lab.phone(1).media.len(), 1);
}

#[test]
fn calls_and_ports_have_a_limit_per_tunnel() {
    let mut lab = Lab::new(9, 2, |c| (c.limits.calls.calls, c.limits.calls.pairs) = (3, 100));
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    for n in 0..4 {
        lab.invite(0, "alice", "bob", &format!("many-{n}"), 4000);
        lab.world.run_for(S);
    }
    assert_eq!(lab.phone(0).statuses().last(), Some(&480));
    assert_eq!(lab.status(lab.contact)["ports"]["used"], 12, "three calls, two crossings, a pair each");

    let mut lab = Lab::new(10, 2, |c| (c.limits.calls.calls, c.limits.calls.pairs) = (100, 2));
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    for n in 0..3 {
        lab.invite(0, "alice", "bob", &format!("many-{n}"), 4000);
        lab.world.run_for(S);
    }
    assert_eq!(lab.phone(0).statuses().last(), Some(&480));
    assert_eq!(lab.status(lab.contact)["ports"]["used"], 8);
}

#[test]
fn tunnels_have_a_limit_per_address_and_altogether() {
    let mut lab = Lab::new(11, 1, |c| (c.limits.tunnels, c.limits.tunnels_per_address) = (3, 2));
    let host = lab.world.host(&["203.0.113.66"]);
    let rogues: Vec<_> = (0..3).map(|_| lab.world.add(host, "rogue", Rogue::new(None))).collect();
    lab.world.run_for(S);
    let up = |lab: &Lab| {
        let up = |r: &&NodeId| {
            let rogue = lab.world.node::<Rogue>(**r);
            rogue.tunnel.as_ref().is_some_and(Tunnel::is_up) && !rogue.closed
        };
        rogues.iter().filter(up).count()
    };
    assert_eq!(up(&lab), 2);
    assert_eq!(lab.status(lab.contact)["tunnels_refused"], 1);
    let last = lab.world.host(&["203.0.113.67"]);
    let last = lab.world.add(last, "rogue", Rogue::new(None));
    lab.world.run_for(S);
    assert!(lab.world.node::<Rogue>(last).closed);
    assert!(lab.world.node::<Agent>(lab.agents[0]).is_up());
}

/// Connections that never say Hello have few places between them, and give them up to whoever comes: however many
/// addresses they come from, an agent that comes gets in, and none that is there goes.
#[test]
fn who_does_not_say_hello_keeps_nobody_out() {
    let limits = Limits { tunnels: 12, silent: 6, silent_per_address: 3, ..Limits::default() };
    let mut lab = Lab::new(13, 1, |c| c.limits = limits);
    let connect = |flow: u32| {
        let (to, server_name) = (at(&format!("{CONTACT}:443")), "contact.example.com".into());
        (
            Flow(flow),
            Connect { through: None, to, transport: Transport::Tls, server_name, class: Class::Media },
        )
    };
    let mut mute = Vec::new();
    for n in 0..20 {
        let host = lab.world.host(&[&format!("203.0.113.{}", 100 + n)]);
        let peer = lab.world.add(host, "mute", Peer::new());
        lab.world.with::<Peer, _>(peer, |_, _, out| {
            (1..6).map(connect).for_each(|(flow, connect)| out.connect(flow, connect));
        });
        mute.push(peer);
        lab.world.run_for(S / 10);
        let open = lab.world.node::<ContactPoint>(lab.contact).tunnels();
        assert!(open <= 1 + 6, "{open} tunnels after {} addresses", n + 1);
    }
    assert_eq!(lab.status(lab.contact)["tunnels_refused"], 0);
    let late = rogue(&mut lab, "203.0.113.66", None);
    lab.world.run_for(S);
    let late = lab.world.node::<Rogue>(late);
    assert!(late.tunnel.as_ref().is_some_and(Tunnel::is_up) && !late.closed);
    assert!(lab.world.node::<Agent>(lab.agents[0]).is_up());
    // Who has said Hello is none of them any more.
    lab.world.run_for(20 * S);
    assert_eq!(lab.world.node::<ContactPoint>(lab.contact).tunnels(), 2);
}

#[test]
fn floods_and_large_messages_are_cut_and_harm_nobody_else() {
    let limits = Limits { unregistered_rate: 5, unregistered_burst: 20, ..Limits::default() };
    let mut lab = Lab::new(12, 1, |c| c.limits = limits);
    let rogue = rogue(&mut lab, "203.0.113.66", None);
    let mut flood = Vec::new();
    for n in 0..500 {
        flood.extend(message(Method::Options, "sip:example.com", n, "sip:m@example.com").finish());
    }
    lab.world.with::<Rogue, _>(rogue, |rogue, _, out| rogue.say(&flood, out));
    lab.register(0, "alice", 600);
    assert_eq!(lab.phone(0).statuses(), [200]);
    assert!(
        lab.server().requests(Method::Options).len() <= 25,
        "{}",
        lab.server().requests(Method::Options).len()
    );
    let large = message(Method::Register, "sip:m@example.com", 900, "sip:m@example.com")
        .header("X-Large", "x".repeat(20_000));
    lab.world.run_for(10 * S);
    say(&mut lab, rogue, &large.finish());
    assert_eq!(lab.world.node::<Rogue>(rogue).statuses().last(), Some(&513));
    assert_eq!(lab.server().requests(Method::Register).len(), 1);
}

#[test]
fn garbage_ends_the_tunnel_that_it_came_through() {
    let mut lab = Lab::new(13, 1, |_| {});
    let sip = rogue(&mut lab, "203.0.113.66", None);
    say(&mut lab, sip, b"this is no SIP at all\r\n\r\n\r\n\r\nContent-Length: -5\r\n\r\n");
    assert!(lab.world.node::<Rogue>(sip).closed, "on the SIP lane");
    let frames = rogue(&mut lab, "203.0.113.67", None);
    lab.world.with::<Rogue, _>(frames, |rogue, _, out| {
        rogue.wire = Some(vec![0xff; 5000]);
        out.wake(Flow(1));
    });
    lab.world.run_for(S);
    assert!(lab.world.node::<Rogue>(frames).closed, "and in the frames");
    assert!(matches!(lab.world.node::<Rogue>(frames).dead, Some(Why::PeerError { code: 4 | 5, .. })));
    lab.register(0, "alice", 600);
    assert_eq!(lab.phone(0).statuses(), [200]);
}

#[test]
fn a_tunnel_that_does_not_read_is_ended_and_others_go_on() {
    let mut lab = Lab::new(14, 1, |c| c.tunnel.sip_bytes = 200_000);
    lab.register(0, "alice", 600);
    let victim = rogue(&mut lab, "203.0.113.66", None);
    register(&mut lab, victim, 1, "mallory", 600);
    lab.world.stall(victim, true);
    for _ in 0..400 {
        lab.request(0, Method::Message, "sip:mallory@example.com", "alice", |r| {
            r.header("From", "<sip:alice@example.com>;tag=x")
                .header("To", "<sip:mallory@example.com>")
                .header("Call-ID", "stall")
                .body("text/plain", vec![b'x'; 1000])
        });
        lab.world.run_for(Duration::from_millis(10));
    }
    lab.world.run_for(30 * S);
    assert_eq!(lab.status(lab.contact)["tunnels"].as_array().unwrap().len(), 1);
    lab.register(0, "alice", 600);
    assert_eq!(lab.phone(0).statuses().last(), Some(&200));
}

#[test]
fn requests_from_elsewhere_than_the_operator_are_refused() {
    let mut lab = Lab::new(15, 1, |_| {});
    lab.register(0, "alice", 600);
    let token = lab.server().bindings["sip:alice@example.com"].clone();
    let host = lab.world.host(&["198.51.100.77"]);
    let stranger = lab.world.add(host, "stranger", Peer::new());
    let request = message(Method::Message, &token, 1, "sip:stranger@example.com").finish();
    let request = String::from_utf8(request).unwrap().replace("TLS rogue.invalid", "UDP 198.51.100.77:5060");
    lab.world.with::<Peer, _>(stranger, |_, _, out| {
        out.bind(Flow(0), at("198.51.100.77:5060"), Class::Signalling);
        out.datagram(Flow(0), at("198.51.100.1:5060"), request.as_bytes());
    });
    lab.world.run_for(S);
    assert!(lab.phone(0).heard.iter().all(|m| !m.msg().is_request()));
    let answer = lab.world.node::<Peer>(stranger).datagrams()[0].to_vec();
    assert!(answer.starts_with(b"SIP/2.0 403"));
}

/// Responses to requests that are not known any more go on by their Via (RFC 3261 §16.7), but nobody may make up where.
#[test]
fn a_response_to_nothing_is_reflected_nowhere() {
    let mut lab = Lab::new(21, 0, |_| {});
    let host = lab.world.host(&["198.51.100.99"]);
    let victim = lab.world.add(host, "victim", Peer::new());
    lab.world.with::<Peer, _>(victim, |_, _, out| {
        out.bind(Flow(0), at("198.51.100.99:5060"), Class::Signalling);
    });
    let rogue = rogue(&mut lab, "203.0.113.66", Some([7; 16]));
    register(&mut lab, rogue, 1, "mallory", 600);
    let before = lab.server().seen.len();
    for next in ["198.51.100.99:5060", "198.51.100.2:5060"] {
        for branch in
            ["z9hG4bK-cw0123456789abcdef", "z9hG4bK-cw0123456789abcdef-0000000000000000", "z9hG4bKx"]
        {
            let text = format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS {CONTACT}:5060;branch={branch}\r\nVia: SIP/2.0/UDP {next};\
                 branch=z9hG4bKy;rport=5060;received={}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n\
                 Call-ID: made-up\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
                next.split(':').next().unwrap()
            );
            say(&mut lab, rogue, text.as_bytes());
        }
    }
    assert!(lab.world.node::<Peer>(victim).datagrams().is_empty());
    assert_eq!(lab.server().seen.len(), before);
    assert_eq!(lab.status(lab.contact)["stray_responses"], 6);
}

#[test]
fn a_token_of_another_cannot_be_used_to_take_over() {
    let mut lab = Lab::new(16, 1, |_| {});
    lab.register(0, "alice", 600);
    let token = lab.server().bindings["sip:alice@example.com"].clone();
    let rogue = rogue(&mut lab, "203.0.113.66", None);
    let aor = "sip:mallory@example.com";
    let request = message(Method::Register, aor, 1, aor).finish();
    let request = String::from_utf8(request).unwrap().replace("sip:rogue@10.0.0.66", &token);
    say(&mut lab, rogue, request.as_bytes());
    let own = lab.server().bindings[aor].clone();
    assert_ne!(own, token, "the rogue gets a token of its own");
    say(
        &mut lab,
        rogue,
        &message(Method::Message, "sip:bob@example.com", 2, "sip:alice@example.com").finish(),
    );
    assert_eq!(lab.server().requests(Method::Message).len(), 0);
}

#[test]
fn a_new_tunnel_of_the_same_agent_takes_over_and_a_stranger_does_not() {
    let mut lab = Lab::new(17, 0, |_| {});
    let first = rogue(&mut lab, "203.0.113.66", Some([7; 16]));
    register(&mut lab, first, 1, "mallory", 600);
    let sms = |n| message(Method::Message, "sip:bob@example.com", n, "sip:mallory@example.com").finish();
    let again = rogue(&mut lab, "203.0.113.67", Some([7; 16]));
    lab.world.run_for(S);
    assert!(
        !lab.world.node::<Rogue>(first).closed,
        "a Hello alone ends nothing: it may have been under way for long"
    );
    say(&mut lab, again, &sms(2));
    assert!(lab.world.node::<Rogue>(first).closed, "the old tunnel ends");
    assert_eq!(lab.server().requests(Method::Message).len(), 1, "the registration lives on");
    let stranger = rogue(&mut lab, "203.0.113.68", Some([8; 16]));
    say(&mut lab, stranger, &sms(3));
    assert_eq!(lab.server().requests(Method::Message).len(), 1);
    assert!(!format!("{:?}", lab.status(lab.contact)).contains("07070707"), "the secret is not shown");
}

/// What a rogue sends as it is; whether he is told why his tunnel ends, and the contact point's own account.
fn raw(lab: &mut Lab, last: u8, wire: &[u8]) -> u8 {
    let rogue = rogue(lab, &format!("203.0.113.{last}"), None);
    lab.world.with::<Rogue, _>(rogue, |rogue, _, out| {
        rogue.wire = Some(wire.to_vec());
        out.wake(Flow(1));
    });
    lab.world.run_for(20 * S);
    match lab.world.node::<Rogue>(rogue).dead {
        Some(Why::PeerError { code, .. }) => code,
        _ => 0,
    }
}

#[test]
fn floods_end_their_own_tunnel_and_say_why() {
    let mut lab = Lab::new(21, 1, |c| c.limits.calls.packets = 2000);
    let open = [0, 0, 0, 7, 2, 0, 4, 0, 17, 1, 0];
    let frame = [0, 17, 0, 0];
    assert_eq!(raw(&mut lab, 60, &frame), 4, "a lane that was never opened");
    assert_eq!(raw(&mut lab, 61, &[&open[..], &frame.repeat(1000)].concat()), 0, "some go nowhere");
    assert_eq!(raw(&mut lab, 62, &[&open[..], &frame.repeat(20_001)].concat()), 5, "too many in a second");
    let stray = [&open[..], &frame.repeat(1900)].concat();
    let slow = rogue(&mut lab, "203.0.113.63", None);
    for round in 0..40 {
        let part = if round == 0 { stray.clone() } else { frame.repeat(1900) };
        lab.world.with::<Rogue, _>(slow, |rogue, _, out| {
            rogue.wire = Some(part);
            out.wake(Flow(1));
        });
        lab.world.run_for(Duration::from_millis(1100));
    }
    assert!(matches!(lab.world.node::<Rogue>(slow).dead, Some(Why::PeerError { code: 5, .. })));
    let asks = rogue(&mut lab, "203.0.113.64", None);
    for round in 0..30 {
        let request = |n| message(Method::Invite, "sip:x@example.com", n, "sip:m@example.com").finish();
        let many: Vec<u8> = (round * 1000..(round + 1) * 1000).flat_map(request).collect();
        if lab.world.node::<Rogue>(asks).dead.is_none() {
            lab.world.with::<Rogue, _>(asks, |rogue, _, out| rogue.say(&many, out));
            lab.world.run_for(S);
        }
    }
    assert!(matches!(lab.world.node::<Rogue>(asks).dead, Some(Why::PeerError { code: 5, .. })), "refusals");
    let lost = lab.status(lab.contact)["tunnels_lost"].clone();
    assert_eq!((lost["limit"].as_u64(), lost["protocol"].as_u64()), (Some(3), Some(1)), "{lost}");
    lab.register(0, "alice", 600);
    assert_eq!(lab.phone(0).statuses(), [200], "nobody else is harmed");
}

#[test]
fn who_sends_without_measure_does_not_do_it_to_his_party() {
    let mut lab = Lab::new(22, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.call(0, "alice", 1, "bob", "call-1");
    let to = lab.media_of(&lab.phone(0).last(200).unwrap().clone());
    for n in 0..400u16 {
        (0..10).for_each(|k| lab.speak(0, to, n * 10 + k, b"x"));
        lab.world.run_for(Duration::from_millis(5));
    }
    // 2,000 packets a second, of which 1,000 pass in each window of 1.07 s.
    let heard = lab.phone(1).media.len();
    assert!((1800..=3000).contains(&heard), "{heard} of 4000");
    let excess =
        lab.status(lab.agents[0])["calls"][0]["media"][0]["from_network"]["excess"].as_u64().unwrap();
    assert!(excess >= 1000, "{excess}");
}
