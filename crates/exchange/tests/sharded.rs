//! The tests of one exchange once more, with three that share its address: nobody outside must see a difference.

use causeway_sip::Method;

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
