//! Who means harm, and what goes wrong at the wrong moment.

mod common;

use causeway_exchange::{Calls, Config, Foreign, Mode};
use causeway_node::{Credentials, Flow};
use causeway_sim::{Link, NodeId, Peer, for_each_seed};
use causeway_sip::{HeaderId, Message, Method, RequestBuilder};
use common::{Bench, config};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const BOB: &str = "sip:bob@example.com";
/// Somebody outside, to whom nothing may be brought that nobody has proved.
const OUTSIDE: &str = "203.0.113.7";

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// A bench on which bob has registered these contacts.
fn with_bob(config: Config, contacts: &[&str]) -> Bench {
    let mut bench = Bench::with(config);
    for contact in contacts {
        let ok = bench.register_as("bob", "bob", &[("Contact", contact)]);
        assert_eq!(ok.msg().status(), Some(200));
    }
    bench
}

fn send(bench: &mut Bench, request: RequestBuilder) -> Vec<u16> {
    let serial = bench.last_serial();
    bench.send(&request.finish());
    bench.world.run_for(SECOND);
    bench.statuses(serial)
}

/// A request from another domain.
fn from_eve(request: RequestBuilder) -> Vec<u8> {
    let bytes = String::from_utf8(request.finish()).unwrap();
    bytes.replace("From: <sip:alice@example.com>", "From: <sip:eve@evil.example>").into_bytes()
}

fn ended_lines(bench: &Bench) -> Vec<serde_json::Value> {
    let lines = bench.lines(Calls::JOURNAL);
    let lines = lines.iter().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["event"] == "ended").collect()
}

/// The proof in a Record-Route is known to both ends of a call. It stands for requests inside that dialog (RFC 3261
/// §12.2), not for new ones under the same Call-ID, and never for a PUBLISH, which belongs to no dialog.
#[test]
fn a_proved_route_opens_nothing_outside_a_dialog() {
    let mut config = config();
    config.policy.foreign = Foreign::Anybody;
    let mut bench = with_bob(config, &["<sip:bob@192.0.2.9>"]);
    let (bob, outside) = (bench.peer("192.0.2.9"), bench.peer(OUTSIDE));
    bench.invite(BOB, &[]);
    let invite = bench.asked(bob, Method::Invite).unwrap();
    let route = text(invite.msg().header(HeaderId::RecordRoute));
    for method in [Method::Invite, Method::Message] {
        let uri = format!("sip:+1900@{OUTSIDE}");
        let request = bench.request(method, &uri, "alice").header("To", format!("<{uri}>"));
        assert_eq!(send(&mut bench, request.header("Route", &route)), [407], "{method:?}");
    }
    let around = format!("{route}, <sip:{OUTSIDE};lr>");
    let request = bench.request(Method::Invite, BOB, "alice").header("To", format!("<{BOB}>"));
    let bytes = from_eve(request.header("Route", around));
    bench.send(&bytes);
    bench.world.run_for(SECOND);
    assert_eq!(bench.statuses(bench.last_serial()).last(), Some(&403));
    let body = "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:alice@example.com\"/>";
    let request = bench
        .request(Method::Publish, "sip:alice@example.com", "alice")
        .header("To", "<sip:alice@example.com>;tag=x")
        .header("Route", &route)
        .header("Event", "presence")
        .header("Expires", "600")
        .body("application/pidf+xml", body);
    assert_eq!(send(&mut bench, request), [407]);
    assert!(bench.messages(outside).is_empty());
}

/// A peer of the trust domain, that takes from us what it would take from nobody else.
const GATEWAY: &str = "192.0.2.20";

fn with_a_gateway(mode: Mode) -> Config {
    let mut config = config();
    config.mode = mode;
    config.policy.trusted = vec![GATEWAY.into()];
    config
}

/// A request of alice's inside the dialog that an INVITE began.
fn inside(bench: &mut Bench, method: Method<'_>, uri: &str, to: &str, route: &str) -> RequestBuilder {
    bench.request(method, uri, "alice").header("To", to).header("Route", route)
}

/// Who takes part in a call, and so knows its Route, gets with it into that dialog alone, and to no peer of the trust
/// domain that has no part in it.
#[test]
fn a_proved_route_leads_to_no_gateway_that_has_no_part_in_the_call() {
    for mode in [Mode::Call, Mode::Transaction, Mode::Stateless] {
        let mut bench = with_bob(with_a_gateway(mode), &["<sip:bob@192.0.2.9>"]);
        let (bob, gateway) = (bench.peer("192.0.2.9"), bench.peer(GATEWAY));
        bench.invite(BOB, &[]);
        let invite = bench.asked(bob, Method::Invite).unwrap();
        bench.respond(bob, &invite, 200, "b", &[("Contact", "<sip:bob@192.0.2.9>")]);
        let route = text(invite.msg().header(HeaderId::RecordRoute));
        let (to, premium) = (format!("<{BOB}>;tag=b"), format!("sip:+1900@{GATEWAY}"));
        for method in [Method::Invite, Method::Refer, Method::Message] {
            let request = inside(&mut bench, method, &premium, &to, &route);
            assert_eq!(send(&mut bench, request).last(), Some(&403), "{mode:?}: {method:?}");
        }
        let around = format!("{route}, <sip:{GATEWAY};lr>");
        let request = inside(&mut bench, Method::Invite, "sip:+1900@192.0.2.9", &to, &around);
        assert_eq!(send(&mut bench, request).last(), Some(&403));
        let ack = inside(&mut bench, Method::Ack, &premium, &to, &route);
        send(&mut bench, ack);
        assert!(bench.messages(gateway).is_empty(), "{mode:?}: {:?}", bench.messages(gateway));
        // His party may be anywhere else, and where the gateway is the party it is reached.
        let request = inside(&mut bench, Method::Info, "sip:bob@192.0.2.9", &to, &route);
        send(&mut bench, request);
        assert!(bench.asked(bob, Method::Info).is_some(), "{mode:?}");
        bench.invite(&premium, &[]);
        let invite = bench.asked(gateway, Method::Invite).unwrap();
        let route = text(invite.msg().header(HeaderId::RecordRoute));
        for method in [Method::Ack, Method::Info] {
            let request = inside(&mut bench, method, &premium, &format!("<{premium}>;tag=g"), &route);
            send(&mut bench, request);
            assert!(bench.asked(gateway, method).is_some(), "{mode:?}: {method:?}");
        }
    }
}

/// The proof is bound to the tag of who began the dialog: in From or in To, as he or his party sends.
#[test]
fn a_proved_route_is_good_for_the_tags_of_its_dialog_alone() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let (bob, outside) = (bench.peer("192.0.2.9"), bench.peer(OUTSIDE));
    bench.invite(BOB, &[]);
    let invite = bench.asked(bob, Method::Invite).unwrap();
    let route = text(invite.msg().header(HeaderId::RecordRoute));
    let uri = format!("sip:x@{OUTSIDE}");
    let to = format!("<{BOB}>;tag=b");
    let bytes = |request: RequestBuilder, from: &str, to: &str| {
        let text = String::from_utf8(request.finish()).unwrap();
        text.replace(";tag=f", &format!(";tag={from}")).replace(";tag=b", &format!(";tag={to}"))
    };
    for (from, to_tag) in [("x", "b"), ("b", "x"), ("f0", "b"), ("x", "f0")] {
        let request = inside(&mut bench, Method::Info, &uri, &to, &route);
        bench.send(bytes(request, from, to_tag).as_bytes());
        bench.world.run_for(SECOND);
        assert_eq!(bench.statuses(bench.last_serial()), [403], "{from} {to_tag}");
    }
    assert!(bench.messages(outside).is_empty());
    for (from, to_tag) in [("f", "b"), ("b", "f")] {
        let before = bench.messages(outside).len();
        let request = inside(&mut bench, Method::Info, &uri, &to, &route);
        bench.send(bytes(request, from, to_tag).as_bytes());
        bench.world.run_for(Duration::from_millis(100));
        assert_eq!(bench.messages(outside).len(), before + 1, "{from} {to_tag}");
    }
}

/// An address of record is no remote target: who takes part in a call does not reach others of the domain with its Route.
#[test]
fn a_proved_route_leads_to_no_other_user() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let ok = bench.register_as("alice", "alice", &[("Contact", "<sip:alice@192.0.2.8>")]);
    assert_eq!(ok.msg().status(), Some(200));
    let (bob, other) = (bench.peer("192.0.2.9"), bench.peer("192.0.2.8"));
    bench.invite(BOB, &[]);
    let invite = bench.asked(bob, Method::Invite).unwrap();
    let route = text(invite.msg().header(HeaderId::RecordRoute));
    for method in [Method::Invite, Method::Message] {
        let to = format!("<{BOB}>;tag=b");
        let request = inside(&mut bench, method, "sip:alice@example.com", &to, &route);
        assert_eq!(send(&mut bench, request), [481], "{method:?}");
    }
    assert!(bench.messages(other).is_empty());
}

/// A flow in a Route is good where it was given: in that call, whole, and towards that side.
#[test]
fn a_flow_in_a_route_leads_out_of_no_other_call() {
    let mut bench = Bench::with(config());
    let bob = bench.peer("192.0.2.9");
    let from_bob = |bench: &mut Bench, request: RequestBuilder| {
        let request = String::from_utf8(request.finish()).unwrap();
        let request = request.replace("UDP 192.0.2.1:5060;", "UDP 10.0.0.9:5060;rport;");
        bench.world.with::<Peer, _>(bob, |_, _, out| {
            out.datagram(Flow(0), common::EXCHANGE.parse().unwrap(), request.as_bytes());
        });
        bench.world.run_for(SECOND);
        bench.messages(bob).pop().unwrap()
    };
    let bare = bench.register("bob", &[]);
    let challenge = from_bob(&mut bench, bare);
    let credentials = common::answer(&challenge, "bob", Method::Register, b"sip:example.com");
    let register = bench.register("bob", &[("Contact", "<sip:bob@10.0.0.9>")]);
    let ok = from_bob(&mut bench, register.header("Authorization", credentials));
    assert_eq!(ok.msg().status(), Some(200));
    bench.invite(BOB, &[]);
    let invite = bench.asked(bob, Method::Invite).expect("where his REGISTER came from");
    let routes: Vec<String> = invite.msg().values(HeaderId::RecordRoute).map(|r| text(Some(r))).collect();
    let [his, hers] = routes.as_slice() else { panic!("one for each side: {routes:?}") };
    assert!(his.contains('@') && !hers.contains('@') && !his.contains("192.0.2.9"), "{routes:?}");
    let (to, target) = (format!("<{BOB}>;tag=b"), "sip:bob@10.0.0.9");
    let mut reaches = |route: &str, call: &str| {
        let request = inside(&mut bench, Method::Info, target, &to, route).finish();
        let request =
            String::from_utf8(request).unwrap().replace("Call-ID: call", &format!("Call-ID: {call}"));
        bench.send(request.as_bytes());
        bench.world.run_for(Duration::from_millis(100));
        let serial = bench.last_serial();
        bench
            .messages(bob)
            .iter()
            .any(|message| message.msg().cseq().is_some_and(|cseq| cseq.number == serial))
    };
    assert!(reaches(&format!("{hers}, {his}"), "call"));
    assert!(!reaches(&format!("{hers}, {his}"), "another"));
    let token = his.split(['@', ':']).nth(1).unwrap();
    for at in 0..token.len() {
        let digit = if token.as_bytes()[at] == b'0' { "1" } else { "0" };
        let other = format!("{}{digit}{}", &token[..at], &token[at + 1..]);
        assert!(!reaches(&his.replace(token, &other), "call"), "{other}");
    }
}

/// A datagram says where it is from, and lies if it likes: who has not heard a challenge at an address cannot guess
/// passwords from there. So the tables of the throttle hold real clients, and nobody is slowed down for another's guesses.
#[test]
fn nobody_guesses_from_an_address_that_is_not_his() {
    let mut bench = Bench::with(config());
    let counted = |bench: &Bench| bench.status()["wrong_credentials"].as_u64().unwrap();
    let wrong = |bench: &mut Bench| {
        let credentials = text(Some(&bench.credentials("bob", "bob")));
        let at = credentials.find("response=\"").unwrap() + 10;
        let wrong = format!("{}{}{}", &credentials[..at], "0".repeat(32), &credentials[at + 32..]);
        bench.register("bob", &[]).header("Authorization", wrong)
    };
    let request = wrong(&mut bench);
    assert_eq!(bench.ask(request).msg().status(), Some(401));
    assert_eq!(counted(&bench), 1, "from where the challenge was heard it counts");
    for n in 0..200 {
        let office = bench.peer(&format!("203.0.113.{}", 1 + n));
        let register = wrong(&mut bench).finish();
        bench.world.with::<Peer, _>(office, |_, _, out| {
            out.datagram(Flow(0), common::EXCHANGE.parse().unwrap(), &register);
        });
        bench.world.run_for(Duration::from_millis(100));
        let heard = bench.messages(office);
        assert!(text(heard[0].msg().header(HeaderId::WwwAuthenticate)).contains("stale=true"));
    }
    assert_eq!(counted(&bench), 1);
    // 200 would be more than an account bears from strange addresses.
    let ok = bench.register_as("bob", "bob", &[("Contact", "<sip:bob@192.0.2.9>")]);
    assert_eq!(ok.msg().status(), Some(200));
}

/// RFC 3261 §16.11 passes responses by their Via: only those to what was forwarded here.
#[test]
fn without_state_it_is_no_relay_either() {
    let mut config = config();
    config.mode = Mode::Stateless;
    config.policy.foreign = Foreign::Anybody;
    let mut bench = with_bob(config, &["<sip:bob@192.0.2.9>"]);
    let (bob, outside) = (bench.peer("192.0.2.9"), bench.peer(OUTSIDE));
    let request = bench.request(Method::Invite, BOB, "alice").header("To", format!("<{BOB}>"));
    let bytes = from_eve(request.header("Route", format!("<sip:198.51.100.1;lr>, <sip:{OUTSIDE};lr>")));
    bench.send(&bytes);
    bench.world.run_for(SECOND);
    assert!(bench.messages(outside).is_empty(), "by a Route of the stranger's own");
    let forged = format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK-cs0123456789abcdef\r\n\
         Via: SIP/2.0/UDP {OUTSIDE}:5060;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n\
         Call-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    );
    bench.send(forged.as_bytes());
    bench.world.run_for(SECOND);
    assert!(bench.messages(outside).is_empty(), "by a Via of the stranger's own");
    let request = bench.request(Method::Options, BOB, "alice").header("To", format!("<{BOB}>"));
    let bytes = from_eve(request);
    bench.send(&bytes);
    bench.world.run_for(SECOND);
    let asked = bench.asked(bob, Method::Options).expect("what is right goes through");
    bench.respond(bob, &asked, 200, "b", &[]);
    assert_eq!(bench.statuses(bench.last_serial()), [200]);
}

/// A method that needs no credentials is free towards this domain; elsewhere we do not vouch for anybody.
#[test]
fn a_free_method_makes_no_relay() {
    let mut config = config();
    config.policy.unauthenticated = vec!["MESSAGE".into()];
    let mut bench = with_bob(config, &["<sip:bob@192.0.2.9>"]);
    let (bob, outside) = (bench.peer("192.0.2.9"), bench.peer(OUTSIDE));
    let uri = format!("sip:x@{OUTSIDE}");
    let request = bench.request(Method::Message, &uri, "alice").header("To", format!("<{uri}>"));
    assert_eq!(send(&mut bench, request), [407]);
    let request = bench.request(Method::Message, BOB, "alice").header("To", format!("<{BOB}>"));
    send(&mut bench, request);
    assert!(bench.messages(outside).is_empty() && bench.asked(bob, Method::Message).is_some());
}

/// RFC 3325 §9.1: what a user asserts of himself is not believed, and not delivered later either.
#[test]
fn a_kept_message_carries_no_identity_of_the_sender_s_making() {
    let mut config = config();
    config.policy.keep_messages = true;
    let mut bench = Bench::with(config);
    let cseq = bench.call(Method::Message, BOB, &[("P-Asserted-Identity", "<sip:boss@example.com>")]);
    assert_eq!(bench.statuses(cseq), [202]);
    let bob = bench.peer("192.0.2.9");
    bench.register_as("bob", "bob", &[("Contact", "<sip:bob@192.0.2.9>")]);
    bench.world.run_for(SECOND);
    let message = bench.asked(bob, Method::Message).expect("it was kept");
    assert!(!message.msg().has(HeaderId::PAssertedIdentity), "{message:?}");
}

/// A tag lets a request pass to the device that a GRUU names, which knows the dialog or not. Kept, it would come back
/// as a new request, from whomever it says.
#[test]
fn a_message_that_claims_a_dialog_is_not_kept() {
    let mut config = config();
    config.policy.keep_messages = true;
    let mut bench = Bench::with(config);
    let uri = "sip:bob@example.com;gr=urn:uuid:00000000-0000-1000-8000-000A95A0E128";
    let request = bench.request(Method::Message, uri, "alice").header("To", format!("<{BOB}>;tag=x"));
    assert_eq!(send(&mut bench, request), [480]);
    assert_eq!(bench.status()["messages"]["messages"], 0);
}

/// RFC 3261 §16.7: somebody gets an answer, also if the way that was to replace a dead one leads nowhere.
#[test]
fn a_replacement_that_leads_nowhere_is_an_answer_too() {
    let mut bench = Bench::new();
    let edge = bench.peer("192.0.2.50");
    bench.world.name("edge.example.net", &["192.0.2.50"]);
    for (reg_id, path) in [(1, "nowhere.example.net"), (2, "edge.example.net")] {
        let contact = format!("<sip:bob@10.0.0.1>;+sip.instance=\"<urn:uuid:1>\";reg-id={reg_id}");
        let path = format!("<sip:{path};lr;ob>");
        let headers = [("Contact", contact.as_str()), ("Path", &path), ("Supported", "path, outbound")];
        assert_eq!(bench.register_as("bob", "bob", &headers).msg().status(), Some(200));
        bench.world.run_for(SECOND);
    }
    let cseq = bench.invite(BOB, &[]);
    let invite = bench.asked(edge, Method::Invite).expect("the latest flow first");
    bench.respond(edge, &invite, 503, "e", &[]);
    bench.world.run_for(SECOND);
    assert_eq!(bench.statuses(cseq)[..2], [100, 500]);
    bench.world.run_for(100 * SECOND);
    assert_eq!(bench.status()["under_way"], 0);
}

/// RFC 5627 §6.1: an ACK, too, reaches the device whose Contact is a GRUU.
#[test]
fn an_ack_reaches_a_gruu() {
    let mut bench = Bench::new();
    let contact = "<sip:bob@192.0.2.9>;+sip.instance=\"<urn:uuid:1>\"";
    bench.register_as("bob", "bob", &[("Contact", contact), ("Supported", "gruu")]);
    bench.register_as("bob", "bob", &[("Contact", "<sip:bob@192.0.2.8>")]);
    let (bob, other) = (bench.peer("192.0.2.9"), bench.peer("192.0.2.8"));
    bench.invite(BOB, &[]);
    let invite = bench.asked(bob, Method::Invite).unwrap();
    let gruu = "sip:bob@example.com;gr=urn:uuid:1";
    bench.respond(bob, &invite, 200, "b", &[("Contact", &format!("<{gruu}>"))]);
    let route = text(invite.msg().header(HeaderId::RecordRoute));
    let ack = bench
        .request(Method::Ack, gruu, "alice")
        .header("To", format!("<{BOB}>;tag=b"))
        .header("Route", route)
        .finish();
    bench.send(&ack);
    bench.world.run_for(SECOND);
    let ack = bench.asked(bob, Method::Ack).expect("else the callee gives up the call");
    assert_eq!(ack.msg().request_uri(), b"sip:bob@192.0.2.9");
    assert!(bench.asked(other, Method::Ack).is_none());
}

/// One datagram with a false source must not make many: a refusal that costs no transaction is not repeated.
#[test]
fn a_refused_stranger_gets_one_answer() {
    let mut bench = Bench::new();
    let request = bench.request(Method::Invite, BOB, "alice").header("To", format!("<{BOB}>"));
    let bytes = from_eve(request);
    bench.send(&bytes);
    bench.world.run_for(40 * SECOND);
    assert_eq!(bench.statuses(bench.last_serial()), [403]);
    let request = bench.request(Method::Invite, BOB, "alice").header("To", format!("<{BOB}>"));
    let made_up = "Digest username=\"bob\", realm=\"example.com\", nonce=\"x\", uri=\"sip:b\", response=\"\
                   00000000000000000000000000000000\"";
    bench.send(&request.header("Proxy-Authorization", made_up).finish());
    bench.world.run_for(40 * SECOND);
    assert_eq!(bench.statuses(bench.last_serial()), [407]);
}

/// RFC 3261 §22.3: what is meant for another realm, or of another scheme, is for others to read.
#[test]
fn credentials_for_others_are_passed_over_whatever_they_are() {
    let mut bench = Bench::new();
    let theirs = "Digest username=\"x\", realm=\"example.net\", nonce=\"x\", uri=\"sip:b\", algorithm=NEW-1, \
                  response=\"0\"";
    for (given, status) in [(theirs, 407), ("Bearer xyz", 407), ("Digest realm=\"example.com\", nc", 400)] {
        let request = bench.request(Method::Invite, BOB, "alice").header("To", format!("<{BOB}>"));
        bench.send(&request.header("Proxy-Authorization", given).finish());
        bench.world.run_for(SECOND);
        assert_eq!(bench.statuses(bench.last_serial()), [status], "{given}");
    }
}

/// RFC 3261 §16.6: the next q is tried when all of the present one have failed, not when one of them has no address.
#[test]
fn a_contact_without_address_does_not_end_its_group() {
    let contacts =
        ["<sip:bob@192.0.2.8>;q=0.9", "<sip:bob@nowhere.example.net>;q=0.9", "<sip:bob@192.0.2.9>;q=0.2"];
    let mut bench = with_bob(config(), &contacts);
    let (one, two) = (bench.peer("192.0.2.8"), bench.peer("192.0.2.9"));
    let cseq = bench.invite(BOB, &[]);
    let invite = bench.asked(one, Method::Invite).unwrap();
    bench.respond(one, &invite, 180, "one", &[]);
    bench.world.run_for(SECOND);
    assert!(bench.asked(two, Method::Invite).is_none(), "the first still rings");
    bench.respond(one, &invite, 486, "one", &[]);
    let invite = bench.asked(two, Method::Invite).expect("now it is his turn");
    bench.respond(two, &invite, 486, "two", &[]);
    assert_eq!(bench.statuses(cseq).last(), Some(&486));
}

/// And the other way round: who waits for a name server is waited for.
#[test]
fn a_group_whose_names_are_being_asked_for_has_not_failed() {
    let contacts =
        ["<sip:bob@192.0.2.8>;q=0.9", "<sip:bob@late.example.net>;q=0.9", "<sip:bob@192.0.2.9>;q=0.2"];
    let mut bench = with_bob(config(), &contacts);
    let (one, two, late) = (bench.peer("192.0.2.8"), bench.peer("192.0.2.9"), bench.peer("192.0.2.7"));
    bench.world.name("late.example.net", &["192.0.2.7"]);
    bench.world.set_name_delay(SECOND);
    bench.invite(BOB, &[]);
    let invite = bench.asked(one, Method::Invite).unwrap();
    bench.respond(one, &invite, 486, "one", &[]);
    assert!(bench.asked(two, Method::Invite).is_none());
    bench.world.run_for(6 * SECOND);
    let invite = bench.asked(late, Method::Invite).expect("its name has an address");
    assert!(bench.asked(two, Method::Invite).is_none());
    bench.respond(late, &invite, 486, "late", &[]);
    assert!(bench.asked(two, Method::Invite).is_some());
}

/// Each place that a call was sent to is in the records, also one that was given up for another.
#[test]
fn a_leg_that_was_given_up_is_recorded() {
    let mut bench = with_bob(config(), &["<sip:bob@two.example.net>"]);
    bench.world.name("two.example.net", &["192.0.2.8", "192.0.2.9"]);
    let (one, two) = (bench.peer("192.0.2.8"), bench.peer("192.0.2.9"));
    bench.invite(BOB, &[]);
    assert!(bench.asked(one, Method::Invite).is_some());
    bench.world.run_for(5 * SECOND);
    let invite = bench.asked(two, Method::Invite).expect("the first is silent");
    bench.respond(two, &invite, 486, "two", &[]);
    bench.world.run_for(100 * SECOND);
    let mut legs: Vec<_> = ended_lines(&bench).iter().map(|line| line["leg"].as_u64()).collect();
    legs.sort_unstable();
    assert_eq!(legs, [Some(0), Some(1)]);
}

/// … and once, also where it answers after all, too late for the one that was tried in its place.
#[test]
fn a_leg_that_was_given_up_and_answers_late_ends_once() {
    let mut bench = with_bob(config(), &["<sip:bob@two.example.net>"]);
    bench.world.name("two.example.net", &["192.0.2.8", "192.0.2.9"]);
    let (one, two) = (bench.peer("192.0.2.8"), bench.peer("192.0.2.9"));
    bench.invite(BOB, &[]);
    let late = bench.asked(one, Method::Invite).unwrap();
    bench.world.run_for(5 * SECOND);
    assert!(bench.asked(two, Method::Invite).is_some());
    bench.respond(one, &late, 200, "late", &[("Contact", "<sip:bob@192.0.2.8>")]);
    let route = text(late.msg().header(HeaderId::RecordRoute));
    let bye = inside(&mut bench, Method::Bye, "sip:bob@192.0.2.8", &format!("<{BOB}>;tag=late"), &route);
    send(&mut bench, bye);
    let bye = bench.asked(one, Method::Bye).unwrap();
    bench.respond(one, &bye, 200, "late", &[]);
    bench.world.run_for(300 * SECOND);
    let ended = ended_lines(&bench);
    let of = |leg: u64| ended.iter().filter(|line| line["leg"] == leg).collect::<Vec<_>>();
    assert_eq!((of(0).len(), of(1).len()), (1, 1), "{ended:?}");
    assert_eq!((&of(0)[0]["status"], &of(0)[0]["ended_by"]), (&200.into(), &"caller".into()));
    assert_eq!(bench.status()["calls"], 0);
}

/// RFC 4028 §4: no interval is below 90 seconds. A caller who asks for one second does not end his record by it.
#[test]
fn a_session_of_a_second_is_none() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    bench.invite(BOB, &[("Session-Expires", "1"), ("Supported", "timer")]);
    let invite = bench.asked(bob, Method::Invite).unwrap();
    bench.respond(bob, &invite, 200, "b", &[("Contact", "<sip:bob@192.0.2.9>"), ("Session-Expires", "1")]);
    bench.world.run_for(80 * SECOND);
    assert!(ended_lines(&bench).is_empty());
    bench.world.run_for(20 * SECOND);
    assert_eq!(ended_lines(&bench)[0]["ended_by"], "session timer");
}

/// RFC 5393 §5.3.3: how wide a request may fork in all is not for its sender to widen.
#[test]
fn breadth_is_not_for_the_caller_to_widen() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    bench.invite(BOB, &[("Max-Breadth", "4000000000")]);
    assert_eq!(bench.asked(bob, Method::Invite).unwrap().msg().number(HeaderId::MaxBreadth), Some(60));
}

/// Whose credentials stand for several names is the one that the request is from.
#[test]
fn of_several_names_the_one_in_from_counts() {
    let mut bench = with_bob(config(), &["<sip:bob@192.0.2.9>"]);
    let bob = bench.peer("192.0.2.9");
    bench.world.authority(|_| {
        Credentials::Accepted(vec!["sip:4711@example.com".into(), "sip:alice@example.com".into()])
    });
    bench.invite(BOB, &[]);
    let invite = bench.asked(bob, Method::Invite).unwrap();
    assert_eq!(text(invite.msg().header(HeaderId::PAssertedIdentity)), "<sip:alice@example.com>");
}

/// A scripted world: what is random in it comes from its seed.
struct Storm {
    bench: Bench,
    state: u64,
    /// Challenges in hand, each good for one request.
    challenges: Vec<Message>,
    registering: Vec<Message>,
    sent: Vec<Vec<u8>>,
    peers: [NodeId; 3],
}

impl Storm {
    const CONTACTS: [&str; 6] = [
        "<sip:bob@192.0.2.8>",
        "<sip:bob@192.0.2.9>;q=0.5",
        "<sip:bob@two.example.net>;q=0.5",
        "<sip:bob@nowhere.example.net>",
        "<sip:bob@192.0.2.9:5060;transport=tcp>;q=0.7",
        "<sip:bob@10.0.0.1>;+sip.instance=\"<urn:uuid:1>\";reg-id=1",
    ];

    fn new(seed: u64) -> Self {
        let mut config = config();
        config.policy.foreign = Foreign::Anybody;
        config.policy.keep_messages = true;
        config.policy.ring = 3;
        config.policy.session_expires = 90;
        let mut bench = Bench::with(config);
        bench.world.name("two.example.net", &["192.0.2.8", "192.0.2.9"]);
        let peers = ["192.0.2.8", "192.0.2.9", OUTSIDE].map(|address| bench.peer(address));
        let bare = |method, bench: &mut Bench| {
            let request = bench.request(method, BOB, "alice").header("To", format!("<{BOB}>"));
            bench.ask(request)
        };
        let challenges = (0..16).map(|_| bare(Method::Invite, &mut bench)).collect();
        let registering = (0..8)
            .map(|_| {
                let request = bench.register("bob", &[]);
                bench.ask(request)
            })
            .collect();
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635;
        Self { bench, state, challenges, registering, sent: Vec::new(), peers }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % n
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }

    fn send(&mut self, request: RequestBuilder) {
        let bytes = request.finish();
        self.bench.send(&bytes);
        self.sent.push(bytes);
    }

    /// A request of alice's with credentials.
    fn call(&mut self) {
        let Some(challenge) = self.challenges.pop() else { return };
        let method = [Method::Invite, Method::Invite, Method::Invite, Method::Message, Method::Subscribe];
        let method = method[self.below(5) as usize];
        let credentials = common::answer(&challenge, "alice", method, BOB.as_bytes());
        let mut request = self
            .bench
            .request(method, BOB, "alice")
            .header("To", format!("<{BOB}>"))
            .header("Contact", "<sip:alice@192.0.2.1:5060>")
            .header("Supported", "timer, 199")
            .header("Proxy-Authorization", credentials);
        if method == Method::Subscribe {
            request =
                request.header("Event", self.one_of(&["presence", "reg", "dialog"])).header("Expires", "60");
        }
        self.send(request);
    }

    fn register(&mut self) {
        let Some(challenge) = self.registering.pop() else { return };
        let credentials = common::answer(&challenge, "bob", Method::Register, b"sip:example.com");
        let contact = self.one_of(&Self::CONTACTS);
        let expires = self.one_of(&["0", "60", "600"]);
        let path = self.one_of(&["<sip:two.example.net;lr;ob>", "<sip:nowhere.example.net;lr;ob>"]);
        let mut headers =
            vec![("Contact", contact), ("Expires", expires), ("Supported", "path, outbound, gruu")];
        if contact.contains("reg-id") {
            headers.push(("Path", path));
        }
        let request = self.bench.register("bob", &headers).header("Authorization", credentials);
        self.send(request);
    }

    /// A peer answers something that it has heard, whether or not it has before.
    fn respond(&mut self) {
        let peer = self.peers[self.below(2) as usize];
        let asked: Vec<Message> =
            self.bench.messages(peer).into_iter().filter(|m| m.msg().is_request()).collect();
        let asked: Vec<&Message> = asked.iter().filter(|m| m.msg().method() != Method::Ack).collect();
        if asked.is_empty() {
            return;
        }
        let statuses = [100, 180, 183, 180, 199, 200, 200, 302, 404, 408, 430, 486, 487, 503, 603];
        let status = statuses[self.below(statuses.len() as u64) as usize];
        let request = asked[self.below(asked.len() as u64) as usize].clone();
        let tag = self.one_of(&["x", "y"]);
        self.bench.respond(peer, &request, status, tag, &[("Contact", "<sip:bob@192.0.2.9>")]);
    }

    /// The caller cancels, or acknowledges and hangs up, or repeats himself.
    fn go_on(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let at = self.below(self.sent.len() as u64) as usize;
        let bytes = self.sent[at].clone();
        let request = Message::parse(bytes.as_slice()).unwrap();
        match self.below(3) {
            0 => self.bench.send(&bytes),
            1 if request.msg().method() == Method::Invite => {
                let cancel = causeway_sip::cancel_for(request.msg()).unwrap();
                self.bench.send(&cancel);
            }
            _ => {
                let answers = self.bench.messages(self.bench.client);
                let route = answers
                    .iter()
                    .rev()
                    .find_map(|m| m.msg().header(HeaderId::RecordRoute).map(<[u8]>::to_vec));
                let Some(route) = route else { return };
                let method = [Method::Ack, Method::Bye, Method::Invite][self.below(3) as usize];
                let tag = self.one_of(&["x", "y"]);
                let uri = self.one_of(&["sip:bob@192.0.2.9", "sip:bob@nowhere.example.net", BOB]);
                let request = self
                    .bench
                    .request(method, uri, "alice")
                    .header("To", format!("<{BOB}>;tag={tag}"))
                    .header("Supported", "timer")
                    .header("Route", route);
                self.send(request);
            }
        }
    }

    /// Somebody without credentials who wants to get out.
    fn intrude(&mut self) {
        let outside = format!("sip:x@{OUTSIDE}");
        let methods =
            [Method::Invite, Method::Message, Method::Refer, Method::Publish, Method::Ack, Method::Bye];
        let method = methods[self.below(6) as usize];
        let through = format!("sip:bob@example.com;maddr={OUTSIDE}");
        let uri = self.one_of(&[&outside, BOB, &through, "sip:bob@example.com;gr=urn:uuid:1"]);
        let tag = self.one_of(&["", ";tag=x"]);
        let mut request = self.bench.request(method, uri, "alice").header("To", format!("<{BOB}>{tag}"));
        request = request.header("Supported", "timer");
        let beyond = format!("<sip:198.51.100.1;lr>, <sip:example.com;lr>, <sip:{OUTSIDE};lr>");
        let made_up = format!("<sip:198.51.100.1;lr;cw=0123456789abcdef>, <sip:{OUTSIDE};lr>");
        match self.below(3) {
            0 => request = request.header("Route", beyond),
            1 => request = request.header("Route", made_up),
            _ => {}
        }
        let bytes = if self.below(2) == 0 { from_eve(request) } else { request.finish() };
        self.bench.send(&bytes);
    }

    fn weather(&mut self) {
        let ms = Duration::from_millis([1, 200, 3000, 40_000][self.below(4) as usize]);
        match self.below(6) {
            0 => self.bench.set_commit_delay(ms),
            1 => self.bench.world.set_name_delay(ms / 8),
            2 => self.bench.world.cut("198.51.100.1", "192.0.2.8"),
            3 => self.bench.world.heal("198.51.100.1", "192.0.2.8"),
            4 => self.bench.world.set_default_link(Link::bad()),
            _ => self.bench.world.set_default_link(Link::default()),
        }
    }

    fn run(&mut self) {
        for _ in 0..60 {
            match self.below(12) {
                0..=1 => self.call(),
                2 => self.register(),
                3..=6 => self.respond(),
                7..=8 => self.go_on(),
                9 => self.intrude(),
                10 => self.weather(),
                _ => {}
            }
            let ms = self.below(900);
            self.bench.world.run_for(Duration::from_millis(ms));
        }
    }
}

/// Whatever comes in whatever order, over a network and from a disk and name servers as bad as they are: when it is
/// over, nothing is left of it, and nobody outside has heard of it.
#[test]
fn after_a_storm_nothing_is_left() {
    for_each_seed(300, |seed| {
        let mut storm = Storm::new(seed);
        storm.run();
        storm.bench.world.run_for(300 * SECOND);
        let status = storm.bench.status();
        for what in ["under_way", "plans", "questions", "promises", "own", "calls"] {
            assert_eq!(status[what], 0, "{what}: {status}");
        }
        assert!(storm.bench.messages(storm.peers[2]).is_empty());
    });
}
