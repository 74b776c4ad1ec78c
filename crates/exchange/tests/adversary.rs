//! Who means harm, and what goes wrong at the wrong moment.

mod common;

use causeway_exchange::{Calls, Config, Foreign, Mode};
use causeway_node::Credentials;
use causeway_sip::{HeaderId, Method, RequestBuilder};
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
    let lines = bench.world.lines(bench.exchange, Calls::JOURNAL);
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
    assert_eq!(bench.world.status(bench.exchange)["messages"]["messages"], 0);
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
    assert_eq!(bench.world.status(bench.exchange)["under_way"], 0);
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
