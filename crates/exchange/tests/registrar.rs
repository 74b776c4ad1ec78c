//! The registrar and the gate of the exchange, spoken to by a scripted client over UDP.

pub(crate) mod common;

use causeway_exchange::Keys;
use causeway_sip::{HeaderId, Method, RequestBuilder};
use common::{Bench, CONTACT, EXCHANGE, answer, config, contacts};
use std::time::Duration;

#[test]
fn bindings_are_made_shown_and_removed() {
    let mut bench = Bench::new();
    let ok = bench.register_as("alice", "alice", &[CONTACT, ("Expires", "600")]);
    assert_eq!(ok.msg().status(), Some(200));
    assert_eq!(contacts(&ok), ["<sip:alice@192.0.2.1:5060>;expires=600"]);
    let second = ("Contact", "<sip:alice@192.0.2.9>;q=0.5;expires=120");
    assert_eq!(contacts(&bench.register_as("alice", "alice", &[second])).len(), 2);
    let fetch = bench.register_as("alice", "alice", &[]);
    assert_eq!(contacts(&fetch).len(), 2, "without a Contact it only asks");
    let star = bench.register_as("alice", "alice", &[("Contact", "*")]);
    assert_eq!(star.msg().status(), Some(400), "* needs Expires 0");
    let star = bench.register_as("alice", "alice", &[("Contact", "*"), ("Expires", "0")]);
    assert_eq!((star.msg().status(), contacts(&star).len()), (Some(200), 0));
}

#[test]
fn a_short_registration_is_refused_and_a_long_one_cut() {
    let mut bench = Bench::new();
    let brief = bench.register_as("alice", "alice", &[CONTACT, ("Expires", "5")]);
    assert_eq!((brief.msg().status(), brief.msg().number(HeaderId::MinExpires)), (Some(423), Some(60)));
    let long = bench.register_as("alice", "alice", &[CONTACT, ("Expires", "999999")]);
    assert_eq!(contacts(&long), ["<sip:alice@192.0.2.1:5060>;expires=7200"]);
}

#[test]
fn nobody_registers_for_another() {
    let mut bench = Bench::new();
    assert_eq!(bench.register_as("alice", "bob", &[CONTACT]).msg().status(), Some(403));
    assert_eq!(bench.register_as("mallory", "alice", &[CONTACT]).msg().status(), Some(401));
    assert_eq!(bench.bindings(), (0, 0));
}

#[test]
fn credentials_are_good_once_and_not_for_ever() {
    let mut bench = Bench::new();
    let credentials = bench.credentials("alice", "alice");
    let request = bench.register("alice", &[CONTACT]).header("Authorization", &credentials);
    assert_eq!(bench.ask(request).msg().status(), Some(200));
    let request = bench.register("alice", &[CONTACT]).header("Authorization", &credentials);
    let replay = bench.ask(request);
    assert_eq!(replay.msg().status(), Some(401));
    let stale = replay.msg().header(HeaderId::WwwAuthenticate).unwrap();
    assert!(String::from_utf8_lossy(stale).contains("stale=true"), "the password is not in doubt");
    let late = answer(&replay, "alice", Method::Register, b"sip:example.com");
    bench.world.run_for(Duration::from_secs(301));
    let request = bench.register("alice", &[CONTACT]).header("Authorization", late);
    assert_eq!(bench.ask(request).msg().status(), Some(401), "the nonce is too old");
}

#[test]
fn a_late_register_does_not_undo_a_newer_one() {
    let mut bench = Bench::new();
    bench.register_as("alice", "alice", &[CONTACT]);
    let credentials = bench.credentials("alice", "alice");
    let old = RequestBuilder::new(Method::Register, b"sip:example.com")
        .header("Via", "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKold")
        .max_forwards(70)
        .header("From", "<sip:alice@example.com>;tag=f")
        .header("To", "<sip:alice@example.com>")
        .header("Call-ID", "call")
        .cseq(1, Method::Register)
        .header("Contact", "<sip:alice@192.0.2.1:5060>;expires=0")
        .header("Authorization", credentials);
    assert_eq!(bench.ask(old).msg().status(), Some(500));
    assert_eq!(bench.bindings(), (1, 1));
}

#[test]
fn a_binding_is_on_disk_before_its_200_leaves() {
    let mut bench = Bench::new();
    bench.set_commit_delay(Duration::from_secs(2));
    let credentials = bench.credentials("alice", "alice");
    let bytes = bench.register("alice", &[CONTACT]).header("Authorization", credentials).finish();
    let before = bench.heard();
    // Repeated while the record is being written, as a client over UDP does.
    for _ in 0..3 {
        bench.send(&bytes);
        bench.world.run_for(Duration::from_millis(500));
    }
    assert_eq!(bench.heard(), before, "no promise yet");
    bench.world.run_for(Duration::from_secs(1));
    assert_eq!(bench.heard(), before + 1);
}

#[test]
fn bindings_and_keys_survive_a_restart() {
    let mut bench = Bench::new();
    bench.register_as("alice", "alice", &[CONTACT]);
    bench.world.run_for(Duration::from_secs(1));
    let records = bench.records();
    let keys = records.iter().filter(|(space, ..)| *space == Keys::SPACE).map(|(_, _, secret)| secret);
    assert_eq!(keys.collect::<Vec<_>>(), [&[1; 32]], "kept once");
    bench.restart(&config(), &records);
    bench.world.run_for(Duration::from_secs(1));
    assert_eq!(contacts(&bench.register_as("alice", "alice", &[])).len(), 1);
}

/// What was used before a restart is remembered by nobody, so that it must not be good any more.
#[test]
fn credentials_do_not_survive_a_restart() {
    let mut bench = Bench::new();
    let credentials = bench.credentials("alice", "alice");
    let request = bench.register("alice", &[CONTACT]).header("Authorization", &credentials);
    assert_eq!(bench.ask(request).msg().status(), Some(200));
    bench.restart(&config(), &[(Keys::SPACE, Vec::new(), vec![1; 32])]);
    bench.world.run_for(Duration::from_secs(1));
    let request = bench.register("alice", &[CONTACT]).header("Authorization", &credentials);
    let replay = bench.ask(request);
    assert_eq!(replay.msg().status(), Some(401));
    let stale = replay.msg().header(HeaderId::WwwAuthenticate).unwrap();
    assert!(String::from_utf8_lossy(stale).contains("stale=true"));
}

#[test]
fn an_invite_needs_credentials_and_its_own_from_and_strangers_are_not_relayed() {
    let mut bench = Bench::new();
    let uri = "sip:bob@example.com";
    let request = bench.request(Method::Invite, uri, "alice").header("To", "<sip:bob@example.com>");
    let challenge = bench.ask(request);
    assert_eq!(challenge.msg().status(), Some(407));
    let lie = answer(&challenge, "alice", Method::Invite, uri.as_bytes());
    let request = bench
        .request(Method::Invite, uri, "bob")
        .header("To", "<sip:bob@example.com>")
        .header("Proxy-Authorization", lie);
    assert_eq!(bench.ask(request).msg().status(), Some(403), "alice is not bob");
    let request = bench.request(Method::Bye, "sip:x@203.0.113.7", "alice").header("To", "<sip:x@y>;tag=t");
    assert_eq!(bench.ask(request).msg().status(), Some(481), "no relay for requests of unknown dialogs");
    let request = bench
        .request(Method::Bye, "sip:x@203.0.113.7", "alice")
        .header("Route", format!("<sip:{EXCHANGE};lr>, <sip:203.0.113.9;lr>"))
        .header("To", "<sip:x@y>;tag=t");
    assert_eq!(bench.ask(request).msg().status(), Some(403), "nor by a Route that it never gave");
}

#[test]
fn options_are_answered_and_strange_schemes_refused() {
    let mut bench = Bench::new();
    let request =
        bench.request(Method::Options, "sip:example.com", "alice").header("To", "<sip:example.com>");
    assert_eq!(bench.ask(request).msg().status(), Some(200));
    let request = bench.request(Method::Options, "nobodyKnows:x", "alice").header("To", "<sip:example.com>");
    assert_eq!(bench.ask(request).msg().status(), Some(416));
}
