//! What the exchange does with requests on their way: forking, redirection, next hops, identity, loops, records.

mod common;

use causeway_exchange::{Calls, Config, Delivery, Exchange, Foreign};
use causeway_node::{Class, DnsRecord, Flow, Lookup, Node, RecordKind};
use causeway_sim::{NodeId, Peer};
use causeway_sip::{HeaderId, Message, Method};
use common::{Bench, EXCHANGE, answer, config};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const BOB: &str = "sip:bob@example.com";

/// A bench on which bob has registered these contacts.
fn with_bob(config: Config, contacts: &[&str]) -> Bench {
    let mut bench = Bench::with(config);
    for contact in contacts {
        let ok = bench.register_as("bob", "bob", &[("Contact", contact)]);
        assert_eq!(ok.msg().status(), Some(200));
    }
    bench
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

fn records(bench: &Bench) -> Vec<serde_json::Value> {
    let lines = bench.lines(Calls::JOURNAL);
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_call_is_forwarded_recorded_and_ended() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    let cseq = bench.invite(BOB, &[]);
    let invite = bench.asked(bob, Method::Invite).unwrap();
    let msg = invite.msg();
    assert_eq!(msg.request_uri(), b"sip:bob@192.0.2.9");
    assert_eq!((msg.max_forwards(), msg.number(HeaderId::MaxBreadth)), (Some(69), Some(60)));
    assert!(!msg.has(HeaderId::ProxyAuthorization), "credentials for this realm stay here");
    assert_eq!(text(msg.header(HeaderId::PAssertedIdentity)), "<sip:alice@example.com>");
    bench.respond(bob, &invite, 180, "b", &[]);
    bench.respond(bob, &invite, 200, "b", &[("Contact", "<sip:bob@192.0.2.9>")]);
    assert_eq!(bench.statuses(cseq), [100, 180, 200]);
    let route = text(invite.msg().header(HeaderId::RecordRoute));
    bench.world.run_for(3 * SECOND);
    let bye = bench
        .request(Method::Bye, "sip:bob@192.0.2.9", "alice")
        .header("To", "<sip:bob@example.com>;tag=b")
        .header("Route", route)
        .finish();
    bench.send(&bye);
    bench.world.run_for(SECOND);
    let bye = bench.asked(bob, Method::Bye).expect("the proof in the route lets it pass without credentials");
    assert!(!bye.msg().has(HeaderId::Route));
    bench.respond(bob, &bye, 200, "b", &[]);
    assert_eq!(bench.status()["calls"], 0, "at once, though its INVITE is remembered");
    bench.world.run_for(64 * SECOND);
    let lines = records(&bench);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!((lines[0]["event"].as_str(), lines[1]["event"].as_str()), (Some("answered"), Some("ended")));
    let end = &lines[1];
    assert_eq!(end["account"], "sip:alice@example.com");
    assert_eq!((end["status"].as_u64(), end["ended_by"].as_str()), (Some(200), Some("caller")));
    let lasted = end["duration_ms"].as_u64().unwrap();
    assert!((3000..4000).contains(&lasted), "{lasted}");
    assert_eq!(bench.status()["calls"], 0);
}

/// What belongs to a dialog passes by its Route, from either side, whatever its method; its body is not looked at.
#[test]
fn requests_of_a_dialog_pass_both_ways_whatever_their_method() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    bench.invite(BOB, &[]);
    let invite = bench.asked(bob, Method::Invite).unwrap();
    bench.respond(bob, &invite, 183, "b", &[("Contact", "<sip:bob@192.0.2.9>"), ("Require", "100rel")]);
    let route = text(invite.msg().header(HeaderId::RecordRoute));
    let all = [
        Method::Prack,
        Method::Update,
        Method::Info,
        Method::Refer,
        Method::Notify,
        Method::Message,
        Method::Options,
        Method::Other(b"STIR"),
    ];
    for method in all {
        let request = bench
            .request(method, "sip:bob@192.0.2.9", "alice")
            .header("To", "<sip:bob@example.com>;tag=b")
            .header("Route", &route)
            .body("application/x", "a body \u{fc}");
        bench.send(&request.finish());
        bench.world.run_for(SECOND / 10);
        let request = bench.asked(bob, method).unwrap_or_else(|| panic!("{method:?}"));
        assert_eq!(request.msg().body(), "a body \u{fc}".as_bytes());
        bench.respond(bob, &request, 200, "b", &[]);
        assert_eq!(bench.statuses(bench.last_serial()), [200], "{method:?}");
        // And from his side, by the same route.
        let bytes = bench
            .request(method, "sip:alice@192.0.2.1:5060", "bob")
            .header("To", "<sip:alice@example.com>;tag=f")
            .header("Route", &route)
            .finish();
        let bytes = String::from_utf8(bytes).unwrap();
        let bytes = bytes.replace("UDP 192.0.2.1:5060", "UDP 192.0.2.9:5060");
        let bytes = bytes.replace("From: <sip:bob@example.com>;tag=f", "From: <sip:bob@example.com>;tag=b");
        let to = EXCHANGE.parse().unwrap();
        bench.world.with::<Peer, _>(bob, |_, _, out| out.datagram(Flow(0), to, bytes.as_bytes()));
        bench.world.run_for(SECOND / 10);
        let request = bench.asked(bench.client, method).unwrap_or_else(|| panic!("{method:?} from bob"));
        assert_eq!(request.msg().request_uri(), b"sip:alice@192.0.2.1:5060");
        bench.respond(bench.client, &request, 200, "f", &[]);
    }
}

/// An exchange that is told to end begins nothing new, and is done once what is under way has ended.
#[test]
fn while_it_drains_nothing_begins_and_what_is_under_way_goes_on() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    let cseq = bench.invite(BOB, &[]);
    let invite = bench.asked(bob, Method::Invite).unwrap();
    bench.members.clone().into_iter().for_each(|member| bench.world.drain(member));
    bench.world.run_for(SECOND);
    let done = |bench: &Bench| {
        let drained = |member: &NodeId| bench.world.node::<Exchange>(*member).drained();
        bench.members.iter().all(drained)
    };
    assert!(!done(&bench), "it rings");
    let late = bench.request(Method::Invite, BOB, "alice").header("To", format!("<{BOB}>"));
    let refused = bench.ask(late);
    assert_eq!(refused.msg().status(), Some(503));
    assert!(refused.msg().has(HeaderId::RetryAfter));
    bench.respond(bob, &invite, 200, "b", &[("Contact", "<sip:bob@192.0.2.9>")]);
    assert_eq!(bench.statuses(cseq).last(), Some(&200));
    let route = text(invite.msg().header(HeaderId::RecordRoute));
    let bye = bench.request(Method::Bye, "sip:bob@192.0.2.9", "alice");
    bench.send(&bye.header("To", "<sip:bob@example.com>;tag=b").header("Route", route).finish());
    bench.world.run_for(SECOND);
    let bye = bench.asked(bob, Method::Bye).expect("its BYE passes");
    bench.respond(bob, &bye, 200, "b", &[]);
    bench.world.run_for(100 * SECOND);
    assert!(done(&bench));
}

/// RFC 3261 §16.7 item 5: each provisional response with its own tag passes, also after another branch has rung.
#[test]
fn a_late_180_with_another_tag_passes_and_one_after_the_200_does_not() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.8>", "<sip:bob@192.0.2.9>"]);
    let (one, two) = (bench.peer("192.0.2.8"), bench.peer("192.0.2.9"));
    let cseq = bench.invite(BOB, &[]);
    let (first, second) =
        (bench.asked(one, Method::Invite).unwrap(), bench.asked(two, Method::Invite).unwrap());
    bench.respond(one, &first, 180, "one", &[]);
    bench.world.run_for(3 * SECOND);
    bench.respond(two, &second, 180, "two", &[]);
    bench.respond(one, &first, 200, "one", &[("Contact", "<sip:bob@192.0.2.8>")]);
    assert!(bench.asked(two, Method::Cancel).is_some());
    bench.respond(two, &second, 180, "third", &[]);
    let answers = bench.messages(bench.client);
    let of_call = answers.iter().filter(|m| m.msg().cseq().is_some_and(|c| c.number == cseq));
    let seen: Vec<_> = of_call.map(|m| (m.msg().status().unwrap(), text(m.msg().to_tag()))).collect();
    let seen: Vec<_> = seen.iter().map(|(status, tag)| (*status, tag.as_str())).collect();
    assert_eq!(seen[1..], [(180, "one"), (180, "two"), (200, "one")]);
}

#[test]
fn a_group_that_does_not_answer_gives_way_to_the_next() {
    let mut config = config();
    config.policy.ring = 5;
    let mut bench = with_bob(config, &["<sip:bob@192.0.2.8>;q=0.9", "<sip:bob@192.0.2.9>;q=0.2"]);
    let (one, two) = (bench.peer("192.0.2.8"), bench.peer("192.0.2.9"));
    let cseq = bench.invite(BOB, &[]);
    let invite = bench.asked(one, Method::Invite).unwrap();
    bench.respond(one, &invite, 180, "one", &[]);
    assert!(bench.asked(two, Method::Invite).is_none());
    bench.world.run_for(5 * SECOND);
    let cancel = bench.asked(one, Method::Cancel).expect("it has rung long enough");
    bench.respond(one, &cancel, 200, "one", &[]);
    bench.respond(one, &invite, 487, "one", &[]);
    let second = bench.asked(two, Method::Invite).expect("now the other rings");
    bench.respond(two, &second, 180, "two", &[]);
    bench.world.run_for(SECOND);
    bench.respond(two, &second, 486, "two", &[]);
    assert_eq!(bench.statuses(cseq).last(), Some(&486));
}

#[test]
fn nobody_answers_in_any_group_and_nobody_has_cancelled() {
    let mut config = config();
    config.policy.ring = 2;
    let mut bench = with_bob(config, &["<sip:bob@192.0.2.8>;q=0.9", "<sip:bob@192.0.2.9>;q=0.2"]);
    let (one, two) = (bench.peer("192.0.2.8"), bench.peer("192.0.2.9"));
    let cseq = bench.invite(BOB, &[]);
    let first = bench.asked(one, Method::Invite).unwrap();
    bench.respond(one, &first, 180, "one", &[]);
    bench.world.run_for(2 * SECOND);
    bench.respond(one, &first, 487, "one", &[]);
    let second = bench.asked(two, Method::Invite).unwrap();
    bench.respond(two, &second, 487, "two", &[]);
    assert_eq!(bench.statuses(cseq).last(), Some(&480), "487 would say that the caller had cancelled");
}

#[test]
fn redirection_tells_the_contacts() {
    let mut config = config();
    config.policy.delivery = Delivery::Redirect;
    let mut bench = with_bob(config, &["<sip:bob@192.0.2.8>;q=0.9", "<sip:bob@192.0.2.9>;q=0.2"]);
    let cseq = bench.invite(BOB, &[]);
    let answers = bench.messages(bench.client);
    let moved =
        answers.iter().find(|m| m.msg().status() == Some(302) && m.msg().cseq().unwrap().number == cseq);
    let contacts: Vec<String> =
        moved.unwrap().msg().values(HeaderId::Contact).map(|value| text(Some(value))).collect();
    assert_eq!(contacts, ["<sip:bob@192.0.2.8>;q=0.900", "<sip:bob@192.0.2.9>;q=0.200"]);
}

#[test]
fn who_exists_but_is_not_there_and_who_does_not_exist() {
    let mut bench = Bench::new();
    bench
        .world
        .subscribers(|aor| if aor == b"sip:bob@example.com" { Lookup::Known } else { Lookup::Unknown });
    let there = bench.invite(BOB, &[]);
    let nowhere = bench.invite("sip:nobody@example.com", &[]);
    assert_eq!(bench.statuses(there).last(), Some(&480));
    assert_eq!(bench.statuses(nowhere).last(), Some(&404));
}

/// RFC 5393 §4: the same request with the same destination, come back.
#[test]
fn a_loop_is_broken_and_a_spiral_is_not() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    bench.invite(BOB, &[]);
    let forwarded = bench.asked(bob, Method::Invite).unwrap();
    let back = |uri: &[u8]| {
        let mut edit = causeway_sip::Edit::new();
        let msg = forwarded.msg();
        edit.set_request_uri(msg, &[uri]);
        edit.push_via(msg, &[b"SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKback", uri]);
        edit.append(msg, b"Route", &[msg.header(HeaderId::RecordRoute).unwrap()]);
        let mut bytes = Vec::new();
        edit.apply(msg, &mut bytes);
        bytes
    };
    let to = EXCHANGE.parse().unwrap();
    for (uri, expected) in [(BOB.as_bytes(), 482), (&b"sip:carol@example.com"[..], 480)] {
        // With its route of then the destination would differ: a loop is one that has lost it, as through a
        // forwarding service.
        let bytes = back(uri);
        let message = Message::parse(bytes).unwrap();
        let mut edit = causeway_sip::Edit::new();
        edit.remove(message.msg(), HeaderId::Route);
        let mut bytes = Vec::new();
        edit.apply(message.msg(), &mut bytes);
        bench.each(|exchange| {
            let policy = serde_json::json!({"trusted": ["192.0.2.9"]});
            Node::reload(exchange, &policy).unwrap();
        });
        bench.world.with::<Peer, _>(bob, |_, _, out| out.datagram(Flow(0), to, &bytes));
        bench.world.run_for(SECOND);
        let last = bench.messages(bob).into_iter().rfind(|m| m.msg().status().is_some_and(|s| s >= 300));
        assert_eq!(last.unwrap().msg().status(), Some(expected), "{}", text(Some(uri)));
    }
}

#[test]
fn a_request_without_breadth_left_is_refused_and_a_narrow_one_goes_in_waves() {
    let contacts = ["<sip:bob@192.0.2.8>", "<sip:bob@192.0.2.9>", "<sip:bob@192.0.2.10>"];
    let mut bench = with_bob(config(), &contacts);
    let peers = [bench.peer("192.0.2.8"), bench.peer("192.0.2.9"), bench.peer("192.0.2.10")];
    let none = bench.invite(BOB, &[("Max-Breadth", "0")]);
    assert_eq!(bench.statuses(none).last(), Some(&440));
    bench.invite(BOB, &[("Max-Breadth", "2")]);
    let asked = |bench: &Bench| peers.iter().filter(|p| bench.asked(**p, Method::Invite).is_some()).count();
    assert_eq!(asked(&bench), 2, "no more than two at once");
    let first_wave: Vec<_> = peers.iter().filter_map(|p| bench.asked(*p, Method::Invite)).collect();
    assert!(first_wave.iter().all(|invite| invite.msg().number(HeaderId::MaxBreadth) == Some(1)));
    for peer in peers {
        if let Some(invite) = bench.asked(peer, Method::Invite) {
            bench.respond(peer, &invite, 486, "busy", &[]);
        }
    }
    assert_eq!(asked(&bench), 3);
}

/// RFC 3263 §4: NAPTR, SRV, a dead first host; the second request goes to the living one at once.
#[test]
fn the_next_hop_is_found_by_dns_and_a_dead_one_is_passed_over() {
    let mut bench = Bench::new();
    let srv =
        |priority, target: &str| DnsRecord::Srv { priority, weight: 1, port: 5060, target: target.into() };
    let naptr = DnsRecord::Naptr {
        order: 1,
        preference: 1,
        flags: "S".into(),
        service: "SIP+D2U".into(),
        regexp: String::new(),
        replacement: "_sip._udp.example.net".into(),
    };
    bench.world.zone("example.net", RecordKind::Naptr, &[naptr], 300);
    bench.world.zone(
        "_sip._udp.example.net",
        RecordKind::Srv,
        &[srv(1, "dead.example.net"), srv(2, "alive.example.net")],
        300,
    );
    bench.world.name("dead.example.net", &["192.0.2.66"]);
    bench.world.name("alive.example.net", &["192.0.2.67"]);
    let (dead, alive) = (bench.peer("192.0.2.66"), bench.peer("192.0.2.67"));
    let first = bench.invite("sip:carol@example.net", &[]);
    assert!(bench.asked(dead, Method::Invite).is_some() && bench.asked(alive, Method::Invite).is_none());
    bench.world.run_for(4 * SECOND);
    let invite = bench.asked(alive, Method::Invite).expect("the first has been silent for too long");
    assert!(!invite.msg().has(HeaderId::PAssertedIdentity), "strangers are not told");
    bench.respond(alive, &invite, 404, "a", &[]);
    assert_eq!(bench.statuses(first).last(), Some(&404));
    let before = bench.messages(dead).len();
    bench.invite("sip:dave@example.net", &[]);
    assert_eq!(
        text(Some(bench.asked(alive, Method::Invite).unwrap().msg().request_uri())),
        "sip:dave@example.net"
    );
    bench.world.run_for(SECOND);
    let repeated =
        bench.messages(dead).iter().skip(before).any(|m| m.msg().request_uri().starts_with(b"sip:dave"));
    assert!(!repeated, "it is known to be dead");
    let lost = bench.invite("sip:x@nowhere.example", &[]);
    assert_eq!(bench.statuses(lost).last(), Some(&404));
}

/// The ACK for a 2xx has no transaction that would repeat it: it waits for the name server like the request before.
#[test]
fn an_ack_waits_for_its_next_hop() {
    let mut bench = Bench::new();
    bench.world.zone(
        "gw.example.net",
        RecordKind::Address,
        &[DnsRecord::Address("192.0.2.9".parse().unwrap())],
        0,
    );
    let gateway = bench.peer("192.0.2.9");
    bench.invite("sip:carol@gw.example.net:5060", &[]);
    let invite = bench.asked(gateway, Method::Invite).unwrap();
    bench.respond(gateway, &invite, 200, "g", &[("Contact", "<sip:carol@gw.example.net:5060>")]);
    let ack = bench
        .request(Method::Ack, "sip:carol@gw.example.net:5060", "alice")
        .header("To", "<sip:carol@gw.example.net>;tag=g")
        .header("Route", text(invite.msg().header(HeaderId::RecordRoute)))
        .finish();
    bench.send(&ack);
    bench.world.run_for(SECOND);
    assert!(bench.asked(gateway, Method::Ack).is_some());
}

/// RFC 3261 §18.1.1: above 1,300 bytes by TCP; where nothing listens there, by UDP after all.
#[test]
fn a_large_request_avoids_udp() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    let long = "x".repeat(1200);
    bench.invite(BOB, &[("Subject", &long)]);
    bench.world.run_for(2 * SECOND);
    let invite = bench.asked(bob, Method::Invite).expect("TCP is refused there");
    assert_eq!(invite.msg().top_via().unwrap().transport, b"UDP");
    let local = "192.0.2.9:5060".parse().unwrap();
    bench.world.with::<Peer, _>(bob, |_, _, out| {
        out.listen(Flow(1), local, causeway_node::Transport::Tcp, Class::Signalling);
    });
    bench.world.run_for(31 * SECOND);
    let before = bench.messages(bob).len();
    bench.invite(BOB, &[("Subject", &long)]);
    let by_datagram = bench.messages(bob).len() - before;
    assert_eq!(by_datagram, 0, "it went over the connection");
}

#[test]
fn foreigners_are_let_in_by_policy_only_and_get_no_further() {
    for (foreign, to_bob) in [(Foreign::Trusted, 403), (Foreign::Anybody, 180)] {
        let mut config = config();
        config.policy.foreign = foreign;
        let mut bench = with_bob(config, &["<sip:bob@192.0.2.9>"]);
        let bob = bench.peer("192.0.2.9");
        let stranger = |bench: &mut Bench, uri: &str| {
            let request = bench.request(Method::Invite, uri, "x").header("To", format!("<{uri}>"));
            let bytes = String::from_utf8(request.finish())
                .unwrap()
                .replace("<sip:x@example.com>", "<sip:eve@evil.example>");
            bench.send(bytes.as_bytes());
            bench.world.run_for(SECOND);
            let cseq = bench.last_serial();
            if let Some(invite) = bench.asked(bob, Method::Invite) {
                assert!(!invite.msg().has(HeaderId::PAssertedIdentity));
                bench.respond(bob, &invite, 180, "b", &[]);
            }
            bench.statuses(cseq).last().copied()
        };
        assert_eq!(stranger(&mut bench, BOB), Some(to_bob));
        assert_eq!(stranger(&mut bench, "sip:victim@203.0.113.7"), Some(403), "this is no open relay");
    }
}

/// RFC 4028 §8: the interval is asked for and granted for a callee that knows nothing of it; a session that nobody
/// refreshes counts as over.
#[test]
fn session_timers_are_added_and_supervised() {
    let mut config = config();
    config.policy.session_expires = 90;
    let mut bench = with_bob(config, &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    let cseq = bench.invite(BOB, &[("Supported", "timer")]);
    let invite = bench.asked(bob, Method::Invite).unwrap();
    assert_eq!(text(invite.msg().header(HeaderId::SessionExpires)), "90");
    bench.respond(bob, &invite, 200, "b", &[("Contact", "<sip:bob@192.0.2.9>")]);
    let answers = bench.messages(bench.client);
    let ok = answers.iter().find(|m| m.msg().status() == Some(200) && m.msg().cseq().unwrap().number == cseq);
    let ok = ok.unwrap().msg();
    assert_eq!(text(ok.header(HeaderId::SessionExpires)), "90;refresher=uac");
    assert!(ok.has_token(HeaderId::Require, b"timer"));
    assert_eq!(bench.status()["calls"], 1);
    bench.world.run_for(91 * SECOND);
    assert_eq!(bench.status()["calls"], 0);
    assert_eq!(records(&bench).last().unwrap()["ended_by"], "session timer");
}

/// Under load what begins something is put off, what is under way goes on.
#[test]
fn under_load_calls_in_progress_come_first() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    bench.invite(BOB, &[]);
    let invite = bench.asked(bob, Method::Invite).unwrap();
    let press = |bench: &mut Bench, percent| {
        bench.each(|exchange| {
            Node::pressure(exchange, percent);
        });
    };
    press(&mut bench, 60);
    bench.respond(bob, &invite, 200, "b", &[("Contact", "<sip:bob@192.0.2.9>")]);
    let bye = bench
        .request(Method::Bye, "sip:bob@192.0.2.9", "alice")
        .header("To", "<sip:bob@example.com>;tag=b")
        .header("Route", text(invite.msg().header(HeaderId::RecordRoute)))
        .finish();
    bench.send(&bye);
    bench.world.run_for(SECOND);
    let bye = bench.asked(bob, Method::Bye).expect("a call may always end");
    bench.respond(bob, &bye, 200, "b", &[]);
    let request = bench.request(Method::Invite, BOB, "alice").header("To", "<sip:bob@example.com>");
    let refused = bench.ask(request);
    assert_eq!(refused.msg().status(), Some(503));
    let wait = refused.msg().number(HeaderId::RetryAfter).unwrap();
    assert!((5..15).contains(&wait));
    press(&mut bench, 80);
    let ignored = bench.request(Method::Invite, BOB, "alice").header("To", "<sip:bob@example.com>").finish();
    bench.send(&ignored);
    bench.world.run_for(SECOND);
    assert_eq!(bench.statuses(bench.last_serial()), Vec::<u16>::new());
    press(&mut bench, 0);
    let request = bench.request(Method::Invite, BOB, "alice").header("To", "<sip:bob@example.com>");
    assert_eq!(bench.ask(request).msg().status(), Some(407), "served again as soon as the queue is short");
    assert_eq!(bench.status()["shed"], 2);
}

/// What is shed is not judged, but only what has all that its answer is made of is shed.
#[test]
fn under_load_what_cannot_be_refused_is_judged() {
    let mut bench = Bench::new();
    bench.each(|exchange| Node::pressure(exchange, 60));
    let lacks_to = bench.request(Method::Invite, BOB, "alice");
    assert_eq!(bench.ask(lacks_to).msg().status(), Some(400));
    let nameless = bench.request(Method::Invite, BOB, "alice").header("To", "<sip:bob@example.com>;tag=x");
    assert_eq!(bench.ask(nameless).msg().status(), Some(481), "inside a dialog, if in none of ours");
    let refused = bench.request(Method::Invite, BOB, "alice").header("To", "<sip:bob@example.com>");
    let refused = bench.ask(refused);
    assert_eq!((refused.msg().status(), refused.msg().bytes().len() % 128), (Some(503), 0));
    assert_eq!(bench.status()["shed"], 1);
}

#[test]
fn a_challenge_costs_no_transaction() {
    let mut bench = Bench::new();
    for _ in 0..50 {
        let request = bench.request(Method::Invite, BOB, "alice").header("To", "<sip:bob@example.com>");
        let challenge = bench.ask(request);
        assert_eq!(challenge.msg().status(), Some(407));
    }
    assert_eq!(bench.status()["transactions"], 0);
    bench.register_as("alice", "alice", &[]);
    assert!(bench.status()["transactions"] != 0, "its repetition is to be known");
    assert_eq!(bench.status()["under_way"], 0, "which is no load");
}

#[test]
fn guessing_is_slowed_down_and_the_others_behind_the_address_go_on() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let mut statuses = Vec::new();
    for _ in 0..12 {
        let challenge = {
            let request = bench.register("alice", &[]);
            bench.ask(request)
        };
        let wrong = answer(&challenge, "alice", Method::Register, b"sip:example.com");
        let wrong = String::from_utf8(wrong).unwrap();
        let at = wrong.find("response=\"").unwrap() + 10;
        let wrong = format!("{}{}{}", &wrong[..at], "0".repeat(32), &wrong[at + 32..]);
        let request = bench.register("alice", &[]).header("Authorization", wrong);
        statuses.push(bench.ask(request).msg().status().unwrap());
    }
    assert_eq!(statuses[..8], [401; 8]);
    assert_eq!(statuses[8..], [500, 500, 500, 401], "then one in three seconds");
    assert_eq!(
        bench.register_as("bob", "bob", &[]).msg().status(),
        Some(200),
        "bob has proved himself from here"
    );
}

#[test]
fn a_policy_is_changed_while_it_runs_and_a_faulty_one_is_refused() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let mut reload = |text: &str| {
        let settings = serde_json::from_str(text).unwrap();
        bench.each(|exchange| Node::reload(exchange, &settings))
    };
    assert!(reload(r#"{"delivery":"somehow"}"#).is_err());
    assert!(reload(r#"{"contacts":1000}"#).is_err());
    assert_eq!(reload(r#"{"delivery":"redirect"}"#), Ok(()));
    let cseq = bench.invite(BOB, &[]);
    assert_eq!(bench.statuses(cseq).last(), Some(&302));
}

#[test]
fn a_tag_opens_no_door_that_is_closed_without_it() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    for method in [Method::Message, Method::Invite, Method::Bye] {
        let request = bench.request(method, BOB, "alice").header("To", format!("<{BOB}>;tag=made-up"));
        assert_eq!(bench.ask(request).msg().status(), Some(481), "{method:?}");
    }
    assert!(bench.messages(bob).is_empty());
}

/// RFC 5630 §5.3.
#[test]
fn a_sips_request_does_not_go_to_a_contact_that_promises_no_tls() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    let cseq = bench.invite("sips:bob@example.com", &[]);
    assert_eq!(bench.statuses(cseq).last(), Some(&480));
    assert!(bench.messages(bob).is_empty());
}

/// RFC 3261 §8.1.1.5, RFC 4475 §3.1.2.4: neither silence nor forwarding.
#[test]
fn a_sequence_number_out_of_range_is_refused() {
    let mut bench = Bench::new();
    let request =
        bench.request(Method::Options, "sip:example.com", "alice").header("To", "<sip:example.com>");
    let serial = bench.last_serial();
    let bytes = String::from_utf8(request.finish()).unwrap();
    bench.send(bytes.replace(&format!("CSeq: {serial} "), "CSeq: 4294967296 ").as_bytes());
    bench.world.run_for(SECOND);
    let heard = bench.messages(bench.client);
    assert_eq!(heard.last().map(|m| m.msg().status()), Some(Some(400)));
}

/// RFC 3261 §16.11: nothing is kept, repetitions go the same way with the same branch, and responses come back.
#[test]
fn the_stateless_mode_keeps_nothing() {
    let mut config = config();
    config.mode = causeway_exchange::Mode::Stateless;
    config.policy.trusted = vec!["192.0.2.1".into()];
    let mut bench = with_bob(config, &["<sip:bob@192.0.2.9>"]);
    bench.world.run_for(40 * SECOND);
    let bob = bench.peer("192.0.2.9");
    let invite = bench.request(Method::Invite, BOB, "alice").header("To", format!("<{BOB}>")).finish();
    for _ in 0..3 {
        bench.send(&invite);
        bench.world.run_for(SECOND);
    }
    let seen: Vec<_> =
        bench.messages(bob).into_iter().filter(|m| m.msg().method() == Method::Invite).collect();
    assert_eq!(seen.len(), 3, "whoever sends it repeats it");
    let branch = |m: &Message| text(m.msg().top_via().unwrap().branch());
    assert!(seen.iter().all(|m| branch(m) == branch(&seen[0])));
    assert_eq!(seen[0].msg().max_forwards(), Some(69));
    assert!(seen[0].msg().has(HeaderId::RecordRoute));
    assert_eq!(bench.status()["under_way"], 0);
    let cancel = String::from_utf8(invite).unwrap().replace("INVITE", "CANCEL");
    bench.send(cancel.as_bytes());
    bench.world.run_for(SECOND);
    let cancel = bench.asked(bob, Method::Cancel).unwrap();
    assert_eq!(branch(&cancel), branch(&seen[0]), "so that the callee knows what is cancelled");
    bench.respond(bob, &seen[0], 487, "b", &[]);
    let statuses = bench.statuses(bench.last_serial());
    assert_eq!(statuses, [487], "no 100 of our own");
    assert_eq!(bench.messages(bench.client).last().unwrap().msg().vias().count(), 1);
}
