//! The tests of one exchange once more, with three that share its address: nobody outside must see a difference.
#![allow(clippy::duplicate_mod, reason = "each of them has its own copy of what they share")]

use causeway_sip::Method;
use std::time::Duration;

#[path = "adversary.rs"]
mod adversary;
#[path = "devices.rs"]
mod devices;
#[path = "events.rs"]
mod events;
#[path = "proxy.rs"]
mod proxy;
#[path = "registrar.rs"]
mod registrar;

/// So that the tests above test what they shall.
#[test]
fn messages_are_handed_to_those_whose_they_are() {
    use registrar::common::{Bench, CONTACT};
    let mut bench = Bench::new();
    assert_eq!(bench.register_as("alice", "alice", &[CONTACT]).msg().status(), Some(200));
    assert_eq!(bench.register_as("bob", "bob", &[CONTACT]).msg().status(), Some(200));
    for n in 0..20 {
        let uri = format!("sip:user{n}@example.com");
        let request = bench.request(Method::Message, &uri, "alice").header("To", format!("<{uri}>"));
        assert_eq!(bench.ask(request).msg().status(), Some(407));
    }
    let handed = bench.status()["handed"].as_u64().unwrap();
    assert!((8..24).contains(&handed), "{handed} of 24: two of three go elsewhere");
}

/// Whoever overhears credentials must not use them at a worker that has not counted them: with another Call-ID, which
/// they do not cover and which says whose a request to another domain is, or towards another user.
#[test]
fn credentials_are_good_once_among_all() {
    use registrar::common::{Bench, answer};
    let mut bench = Bench::new();
    let calls = || (0..8).map(|n| format!("Call-ID: call{n}\r\n"));
    for uri in ["sip:x@203.0.113.7", "sip:bob@example.com"] {
        let bare = bench.request(Method::Message, uri, "alice").header("To", format!("<{uri}>"));
        let challenge = bench.ask(bare);
        let credentials = answer(&challenge, "alice", Method::Message, uri.as_bytes());
        let mut statuses = |uri: &str, call_id: &str| {
            let request = bench.request(Method::Message, uri, "alice").header("To", format!("<{uri}>"));
            let request = request.header("Proxy-Authorization", &credentials).finish();
            let request = String::from_utf8(request).unwrap().replace("Call-ID: call\r\n", call_id);
            bench.send(request.as_bytes());
            bench.world.run_for(Duration::from_millis(400));
            bench.statuses(bench.last_serial())
        };
        assert_ne!(statuses(uri, "Call-ID: call\r\n"), [407], "{uri}: right, and new");
        for call_id in calls() {
            assert_eq!(statuses(uri, &call_id), [407], "{uri}");
            assert_eq!(statuses("sip:carol@example.com", &call_id), [407]);
            assert_eq!(statuses("sip:y@203.0.113.9", &call_id), [407]);
        }
    }
}

/// A phone that goes on with the nonce of its registrar is not challenged by each worker anew, as long as its
/// credentials cover whom it asks for.
#[test]
fn a_nonce_of_another_is_good_for_the_user_that_the_credentials_cover() {
    use registrar::common::{Bench, answer};
    let mut bench = Bench::new();
    for n in 0..8 {
        let uri = format!("sip:user{n}@example.com");
        let bare = bench.register("alice", &[]);
        let challenge = bench.ask(bare);
        let credentials = answer(&challenge, "alice", Method::Message, uri.as_bytes());
        let mut status = || {
            let request = bench.request(Method::Message, &uri, "alice").header("To", format!("<{uri}>"));
            bench.ask(request.header("Proxy-Authorization", &credentials)).msg().status()
        };
        assert_eq!(status(), Some(480), "nobody is there");
        assert_eq!(status(), Some(407), "and good once there");
    }
}

/// In a REGISTER it is the user's name that they cover.
#[test]
fn a_nonce_of_another_is_good_for_the_user_who_registers() {
    use registrar::common::{Bench, CONTACT};
    for [first, then] in [["alice", "bob"], ["bob", "alice"]] {
        let mut bench = Bench::new();
        // The challenge comes from whoever serves the first.
        let credentials = bench.credentials(then, first);
        let mut status = || {
            let request = bench.register(then, &[CONTACT]).header("Authorization", &credentials);
            bench.ask(request).msg().status()
        };
        assert_eq!([status(), status()], [Some(200), Some(401)], "{then}: good, and once");
    }
}
