//! Events and kept messages, as watchers and phones see them.

mod common;

use causeway_exchange::Config;
use causeway_sim::NodeId;
use causeway_sip::{HeaderId, Message, Method};
use common::{Bench, CONTACT, answer, config};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const BOB: &str = "sip:bob@example.com";

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// The client is alice's phone: it answers each NOTIFY that it has not answered yet, and returns all bodies.
fn notified(bench: &mut Bench) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    for message in bench.messages(bench.client) {
        if message.msg().is_request() && message.msg().method() == Method::Notify {
            let state = text(message.msg().header(HeaderId::SubscriptionState));
            let body = text(Some(message.msg().body()));
            if !seen.iter().any(|(_, _, cseq)| *cseq == message.msg().cseq().unwrap().number) {
                bench.respond(bench.client, &message, 200, "", &[]);
                seen.push((state, body, message.msg().cseq().unwrap().number));
            }
        }
    }
    seen.into_iter().map(|(state, body, _)| (state, body)).collect()
}

fn watch(bench: &mut Bench, uri: &str, event: &str) -> u16 {
    let accept = if event == "reg" { "application/reginfo+xml" } else { "application/pidf+xml" };
    let cseq =
        bench.call(Method::Subscribe, uri, &[("Event", event), ("Expires", "600"), ("Accept", accept)]);
    bench.world.run_for(SECOND);
    bench.statuses(cseq).last().copied().unwrap()
}

#[test]
fn presence_follows_the_registration() {
    let mut bench = Bench::new();
    assert_eq!(watch(&mut bench, BOB, "presence"), 200);
    let first = notified(&mut bench);
    assert!(first[0].0.starts_with("active") && first[0].1.contains("<basic>closed</basic>"), "{first:?}");
    bench.world.run_for(2 * SECOND);
    let contact = ("Contact", "<sip:bob@192.0.2.9>");
    assert_eq!(bench.register_as("bob", "bob", &[contact]).msg().status(), Some(200));
    bench.world.run_for(2 * SECOND);
    let told = notified(&mut bench);
    assert!(told.last().unwrap().1.contains("<basic>open</basic>"), "{told:?}");
    bench.register_as("bob", "bob", &[("Contact", "*"), ("Expires", "0")]);
    bench.world.run_for(2 * SECOND);
    assert!(notified(&mut bench).last().unwrap().1.contains("<basic>closed</basic>"));
    bench.world.run_for(700 * SECOND);
    let last = notified(&mut bench).last().unwrap().0.clone();
    assert_eq!(last, "terminated;reason=timeout");
}

#[test]
fn only_oneself_sees_ones_registrations() {
    let mut bench = Bench::new();
    assert_eq!(watch(&mut bench, BOB, "reg"), 403);
    bench.register_as("alice", "alice", &[CONTACT]);
    assert_eq!(watch(&mut bench, "sip:alice@example.com", "reg"), 200);
    let told = notified(&mut bench);
    assert!(
        told[0].1.contains("sip:alice@192.0.2.1:5060") && told[0].1.contains("state=\"active\""),
        "{told:?}"
    );
}

/// Packages that are not served here go to whoever the user has registered.
#[test]
fn dialog_subscriptions_go_to_the_phone() {
    let mut bench = Bench::new();
    let bob = bench.peer("192.0.2.9");
    bench.register_as("bob", "bob", &[("Contact", "<sip:bob@192.0.2.9>")]);
    for event in ["dialog", "message-summary"] {
        bench.call(Method::Subscribe, BOB, &[("Event", event), ("Expires", "600")]);
        let asked = bench.asked(bob, Method::Subscribe).expect("it has been passed on");
        assert_eq!(text(asked.msg().header(HeaderId::Event)), event);
        assert!(asked.msg().has(HeaderId::RecordRoute));
    }
}

#[test]
fn what_was_published_is_told_and_survives_a_restart() {
    let mut bench = Bench::new();
    assert_eq!(watch(&mut bench, "sip:alice@example.com", "presence"), 200);
    notified(&mut bench);
    let body = "<?xml version='1.0'?><presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:alice@example.com'>\
                <tuple id='a'><status><basic>open</basic></status><note>in a meeting</note></tuple></presence>";
    let uri = "sip:alice@example.com";
    let bare = bench.request(Method::Publish, uri, "alice").header("To", format!("<{uri}>"));
    let challenge = bench.ask(bare);
    let credentials = answer(&challenge, "alice", Method::Publish, uri.as_bytes());
    let publish = bench
        .request(Method::Publish, uri, "alice")
        .header("To", format!("<{uri}>"))
        .header("Event", "presence")
        .header("Expires", "3600")
        .header("Proxy-Authorization", credentials)
        .body("application/pidf+xml", body);
    let ok = bench.ask(publish);
    assert_eq!(ok.msg().status(), Some(200));
    assert!(ok.msg().has(HeaderId::SipEtag));
    bench.world.run_for(2 * SECOND);
    assert!(notified(&mut bench).last().unwrap().1.contains("in a meeting"));
    restart(&mut bench);
    bench.world.run_for(3 * SECOND);
    let told = bench.messages(bench.client).into_iter().rfind(|m| m.msg().is_request()).unwrap();
    assert!(text(Some(told.msg().body())).contains("in a meeting"), "each watcher is told anew");
}

fn restart(bench: &mut Bench) {
    let records = bench.records();
    bench.restart(&keeping(), &records);
}

fn keeping() -> Config {
    let mut config = config();
    config.policy.keep_messages = true;
    config
}

fn send_message(bench: &mut Bench, body: &str) -> u16 {
    let bare = bench.request(Method::Message, BOB, "alice").header("To", format!("<{BOB}>"));
    let challenge = bench.ask(bare);
    let credentials = answer(&challenge, "alice", Method::Message, BOB.as_bytes());
    let message = bench
        .request(Method::Message, BOB, "alice")
        .header("To", format!("<{BOB}>"))
        .header("Proxy-Authorization", credentials)
        .body("text/plain", body);
    bench.ask(message).msg().status().unwrap()
}

fn bodies(bench: &Bench, peer: NodeId) -> Vec<String> {
    let all = bench.messages(peer);
    let mut seen: Vec<String> = Vec::new();
    for message in all.iter().filter(|m| m.msg().method() == Method::Message) {
        let body = text(Some(message.msg().body()));
        if seen.last() != Some(&body) {
            seen.push(body);
        }
    }
    seen
}

#[test]
fn messages_wait_for_an_absent_user_across_a_restart_and_come_in_order() {
    let mut bench = Bench::with(keeping());
    for body in ["one", "two", "three"] {
        assert_eq!(send_message(&mut bench, body), 202);
    }
    restart(&mut bench);
    bench.world.run_for(SECOND);
    let bob = bench.peer("192.0.2.9");
    bench.register_as("bob", "bob", &[("Contact", "<sip:bob@192.0.2.9>")]);
    for _ in 0..4 {
        bench.world.run_for(SECOND);
        if let Some(message) = bench.asked(bob, Method::Message) {
            assert!(message.msg().has(HeaderId::Date));
            bench.respond(bob, &message, 200, "b", &[]);
        }
    }
    assert_eq!(bodies(&bench, bob), ["one", "two", "three"]);
    assert_eq!(bench.status()["messages"]["kept"], 0, "{:?}", bench.status()["messages"]);
}

#[test]
fn without_the_policy_nothing_is_kept() {
    let mut bench = Bench::new();
    assert_eq!(send_message(&mut bench, "hello"), 480);
}

#[test]
fn a_watcher_whose_answers_are_lost_is_repeated_to_and_then_given_up() {
    let mut bench = Bench::new();
    assert_eq!(watch(&mut bench, BOB, "presence"), 200);
    bench.world.run_for(40 * SECOND);
    let notifies: Vec<Message> = bench
        .messages(bench.client)
        .into_iter()
        .filter(|m| m.msg().is_request() && m.msg().method() == Method::Notify)
        .collect();
    assert!(notifies.len() > 3, "repeated by timer E");
    let same = notifies.iter().all(|m| m.msg().cseq() == notifies[0].msg().cseq());
    assert!(same, "and given up after timer F (RFC 6665 section 4.2.2)");
    assert_eq!(bench.status()["events"]["subscriptions"], 0);
}
