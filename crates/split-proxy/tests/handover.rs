//! A contact point that goes while calls are under way: they end where they are, all else goes to another at once.

mod common;

use causeway_node::Node;
use causeway_sim::NodeId;
use causeway_sip::Method;
use causeway_split_proxy::{ContactAddress, ContactConfig, ContactPoint};
use common::*;
use std::time::Duration;

const SECOND: &str = "198.51.100.7";

/// Customers who know two contact points before one server; the number of the second.
fn lab(seed: u64, customers: usize) -> (Lab, NodeId) {
    let mut lab = Lab::new(seed, 0, |_| {});
    let host = lab.world.host(&[SECOND]);
    lab.world.name("two.example.com", &[SECOND]);
    let [tunnel, sip] = [443, 5060].map(|port| with_port(SECOND, port));
    let mut config = ContactConfig::new(tunnel, sip, with_port(SERVER, 5060));
    config.media.ahead = 4;
    let second = lab.world.add(host, "second", ContactPoint::new(config, []));
    for n in 0..customers {
        lab.add_customer_with(V4, n, |config| {
            config.contacts.push(ContactAddress { host: "two.example.com".into(), port: Some(443) });
        });
    }
    lab.world.run_for(2 * S);
    (lab, second)
}

fn tunnels(lab: &Lab, id: NodeId) -> usize {
    lab.world.node::<ContactPoint>(id).tunnels()
}

/// Whether it would end now.
fn drained(lab: &Lab, id: NodeId) -> bool {
    lab.world.node::<ContactPoint>(id).drained()
}

/// What a phone hears of eleven packets sent to it.
fn heard(lab: &mut Lab, from: usize, to: std::net::SocketAddr, at: usize) -> usize {
    let before = lab.phone(at).media.len();
    for n in 0..11 {
        lab.speak(from, to, n, b"speech");
        lab.world.run_for(Duration::from_millis(20));
    }
    lab.world.run_for(S / 5);
    lab.phone(at).media.len() - before
}

#[test]
fn calls_end_where_they_are_and_new_ones_take_another_way() {
    let (mut lab, second) = lab(1, 4);
    for (n, user) in ["alice", "bob", "carol", "dave"].into_iter().enumerate() {
        lab.register(n, user, 600);
    }
    lab.call(0, "alice", 1, "bob", "call-1");
    let to_bob = lab.media_of(&lab.phone(0).last(200).unwrap().clone());
    let first = lab.contact;
    lab.world.drain(first);
    lab.world.run_for(S);
    assert_eq!(tunnels(&lab, second), 4, "all agents are there");
    assert_eq!(tunnels(&lab, first), 2, "those with calls are still here as well");
    for user in ["alice", "bob", "carol", "dave"] {
        let binding = lab.server().bindings[&format!("sip:{user}@example.com")].clone();
        assert!(binding.contains(SECOND), "{user} is registered through the second: {binding}");
    }
    let leaving = lab.status(lab.agents[0])["tunnels"].clone();
    assert_eq!(leaving.as_array().unwrap().iter().filter(|tunnel| tunnel["leaving"] == true).count(), 1);
    assert_eq!(lab.status(first)["draining"]["grace_s"], 30);
    assert_eq!(heard(&mut lab, 0, to_bob, 1), 11, "the call goes on");

    lab.call(2, "carol", 3, "dave", "call-2");
    let to_dave = lab.media_of(&lab.phone(2).last(200).unwrap().clone());
    assert_eq!(heard(&mut lab, 2, to_dave, 3), 11, "a new call");
    lab.invite(0, "alice", "dave", "call-3", 6000);
    let (dave, alice) = (lab.phones[3], lab.phones[0]);
    lab.world.must(5 * S, "one of who speaks already", |world| {
        let invite = world.node::<Phone>(dave).last_request(Method::Invite);
        invite.is_some_and(|invite| invite.msg().call_id() == Some(b"call-3"))
    });
    lab.answer(3, "dave", 486, None);
    lab.world.must(5 * S, "its answer", |world| world.node::<Phone>(alice).last(486).is_some());
    assert_eq!(heard(&mut lab, 0, to_bob, 1), 11, "the first call goes on");

    lab.world.run_for(10 * S);
    assert!(!drained(&lab, first), "while there is a call it stays");
    lab.in_dialog_of_caller(0, "alice", Method::Bye, None);
    let bob = lab.phones[1];
    lab.world.must(5 * S, "the end of the first call", |world| {
        world.node::<Phone>(bob).last_request(Method::Bye).is_some()
    });
    lab.world.with::<Phone, _>(bob, |phone, _, out| {
        let bye = phone.last_request(Method::Bye).unwrap().clone();
        phone.send(out, &causeway_sip::response_to(bye.msg(), 200, None, None).finish());
    });
    lab.world.must(5 * S, "it may end by itself", |world| {
        let first = world.node::<ContactPoint>(first);
        first.drained() && first.tunnels() == 0
    });
    assert_eq!(lab.status(lab.agents[0])["tunnels"].as_array().unwrap().len(), 1);
    assert_eq!(heard(&mut lab, 2, to_dave, 3), 11, "the second call goes on");
}

#[test]
fn whose_registration_is_not_taken_twice_calls_by_the_old_way_until_it_ends() {
    let (mut lab, second) = lab(2, 2);
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    // As a server that wants fresh credentials.
    lab.world.node_mut::<Server>(lab.server).refuse_register = true;
    let first = lab.contact;
    lab.world.drain(first);
    lab.world.run_for(S);
    assert_eq!((tunnels(&lab, first), tunnels(&lab, second)), (2, 2));
    lab.call(0, "alice", 1, "bob", "call-1");
    let to_bob = lab.media_of(&lab.phone(0).last(200).unwrap().clone());
    assert_eq!(heard(&mut lab, 0, to_bob, 1), 11);
    // Now the phones register by themselves.
    lab.world.node_mut::<Server>(lab.server).refuse_register = false;
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    assert!(lab.server().bindings["sip:alice@example.com"].contains(SECOND));
    lab.world.run_for(20 * S);
    assert_eq!(heard(&mut lab, 0, to_bob, 1), 11, "the call is still there");
    assert!(!drained(&lab, first));
}

#[test]
fn an_agent_without_another_contact_point_keeps_nobody_waiting() {
    let mut lab = Lab::new(3, 1, |_| {});
    lab.register(0, "alice", 600);
    let first = lab.contact;
    lab.world.drain(first);
    lab.world.must(S, "it may end", |world| {
        let first = world.node::<ContactPoint>(first);
        first.drained() && first.tunnels() == 0
    });
}
