//! Several contact points side by side: every agent comes to its own, whichever its connections reach.

mod common;

use causeway_sim::NodeId;
use causeway_split_proxy::{Agent, ContactConfig, ContactPoint, Seat};
use common::*;

const USERS: [&str; 8] = ["u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7"];

fn config(own: u16, of: u16) -> ContactConfig {
    let mut config = contact_config();
    config.seat = Seat { own, of };
    config.sip.set_port(5060 + own);
    (config.media.low, config.media.high) = (20_000 + 200 * own, 20_199 + 200 * own);
    config
}

/// Two contact points, and agents with a user each.
fn two(seed: u64) -> (Lab, [NodeId; 2]) {
    let mut lab = Lab::new(seed, 0, |c| *c = config(0, 2));
    let second = lab.world.add(lab.contact_host, "contact-1", ContactPoint::new(config(1, 2), []));
    let both = [lab.contact, second];
    lab.world.group(&both);
    for n in 0..USERS.len() {
        lab.add_customer_with(V4, n, |_| {});
    }
    lab.world.must(5 * S, "the tunnels come up", |world| {
        lab.agents.iter().all(|agent| world.node::<Agent>(*agent).is_up())
    });
    (lab, both)
}

fn number(lab: &Lab, node: NodeId, field: &str) -> u64 {
    let value = lab.status(node)[field].clone();
    value.as_u64().or(value.as_array().map(|all| all.len() as u64)).unwrap()
}

/// Says something from each caller to his callee and back.
fn talk(lab: &mut Lab, sequence: u16) {
    for pair in 0..USERS.len() / 2 {
        let (a, b) = (2 * pair, 2 * pair + 1);
        let to_callee = media_of(lab.phone(a).last(200).unwrap());
        let to_caller = media_of(lab.phone(b).last_request(causeway_sip::Method::Invite).unwrap());
        lab.speak(a, to_callee, sequence, b"there");
        lab.speak(b, to_caller, sequence, b"back");
    }
    lab.world.run_for(S);
    for (n, user) in USERS.iter().enumerate() {
        let said: &[u8] = if n % 2 == 0 { b"back" } else { b"there" };
        let heard: Vec<_> = lab.phone(n).media.iter().map(|(_, _, packet)| packet.clone()).collect();
        assert_eq!(heard, [rtp(sequence, said)], "{user}");
        lab.world.node_mut::<Phone>(lab.phones[n]).media.clear();
    }
}

fn register_and_call(lab: &mut Lab, name: &str) {
    for (n, user) in USERS.iter().enumerate() {
        lab.register(n, user, 600);
    }
    for pair in 0..USERS.len() / 2 {
        let (a, b) = (2 * pair, 2 * pair + 1);
        lab.call(a, USERS[a], b, USERS[b], &format!("{name}{pair}"));
    }
}

#[test]
fn agents_find_their_own_contact_point_and_calls_pass_between_both() {
    causeway_sim::for_each_seed(20, |seed| {
        let (mut lab, both) = two(seed);
        let tunnels = both.map(|node| number(&lab, node, "tunnels"));
        assert_eq!(tunnels.iter().sum::<u64>(), USERS.len() as u64);
        assert!(tunnels.iter().all(|count| *count > 0), "{tunnels:?}");
        register_and_call(&mut lab, "call");
        talk(&mut lab, 1);
        let registrations = both.map(|node| number(&lab, node, "registrations"));
        assert_eq!(registrations, tunnels, "each where its tunnel is");
        assert!(both.iter().map(|node| number(&lab, *node, "handed_over")).sum::<u64>() > 0);
    });
}

#[test]
fn sessions_go_on_at_their_own_contact_point_whichever_the_new_connection_reaches() {
    causeway_sim::for_each_seed(20, |seed| {
        let (mut lab, both) = two(seed);
        register_and_call(&mut lab, "call");
        let (tunnels, before) = both
            .map(|node| (number(&lab, node, "tunnels"), number(&lab, node, "handed_over")))
            .into_iter()
            .unzip::<u64, u64, Vec<_>, Vec<_>>();
        // Each of them comes back on another connection, with its ticket, and some by the wrong door.
        for n in 0..USERS.len() {
            lab.restart_agent(n);
        }
        lab.world.must(10 * S, "the tunnels come up again", |world| {
            lab.agents.iter().all(|agent| world.node::<Agent>(*agent).is_up())
        });
        lab.world.run_for(S);
        talk(&mut lab, 2);
        let after = both.map(|node| number(&lab, node, "handed_over"));
        assert!(after.iter().sum::<u64>() > before.iter().sum::<u64>());
        assert_eq!(both.map(|node| number(&lab, node, "tunnels")).to_vec(), tunnels);
        for node in both {
            assert_eq!(number(&lab, node, "tickets_refused"), 0);
        }
    });
}

#[test]
fn with_fewer_contact_points_what_was_elsewhere_ends_and_registers_anew() {
    let (mut lab, [first, second]) = two(7);
    register_and_call(&mut lab, "call");
    let stayed = number(&lab, first, "registrations");
    assert!(stayed < USERS.len() as u64);
    lab.world.kill(second);
    let records = lab.world.records(first);
    lab.world.restart(first, ContactPoint::new(config(0, 1), records));
    lab.world.must(10 * S, "all tunnels come to the first", |world| {
        world.node::<ContactPoint>(first).tunnels() == USERS.len()
    });
    assert_eq!(number(&lab, first, "registrations"), stayed);
    // The agents hear of the end of their sessions.
    lab.world.run_for(S);
    register_and_call(&mut lab, "again");
    talk(&mut lab, 3);
    // And back: those who belong to the second leave nothing at the first.
    let records = lab.world.records(first);
    lab.world.restart(first, ContactPoint::new(config(0, 2), records));
    lab.world.run_for(S);
    assert_eq!(number(&lab, first, "registrations"), stayed);
    let again = ContactPoint::new(config(0, 2), lab.world.records(first));
    lab.world.restart(first, again);
    lab.world.run_for(S);
    assert_eq!(number(&lab, first, "registrations"), stayed, "nor on its disk");
}
