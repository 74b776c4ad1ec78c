//! Calls between phones that know nothing of tunnels, through a server that knows nothing either.

mod common;

use causeway_node::Flow;
use causeway_sip::{HeaderId, Method};
use causeway_split_proxy::{CONTACT_SPACE, ContactPoint, Mode};
use common::*;
use std::collections::HashSet;

#[test]
fn a_phone_registers_and_sees_its_own_contact_again() {
    let mut lab = Lab::new(1, 1, |_| {});
    lab.register(0, "alice", 600);
    let ok = lab.phone(0).last(200).expect("registered");
    let contact = ok.msg().contact().unwrap();
    assert_eq!(contact.uri, b"sip:alice@192.168.0.10:5060");
    assert_eq!(contact.expires(), Some(600));
    let stored = lab.server().bindings["sip:alice@example.com"].clone();
    assert!(stored.starts_with("sip:cw") && stored.ends_with("@198.51.100.1:5060"), "{stored}");
    lab.register(0, "alice", 600);
    assert_eq!(lab.server().bindings["sip:alice@example.com"], stored, "the token is stable");
    let register = lab.server().requests(Method::Register)[0];
    assert!(register.msg().has_token(HeaderId::Supported, b"path"));
    assert!(!register.msg().has(HeaderId::Path));
    let vias: Vec<_> = register.msg().vias().map(Option::unwrap).collect();
    assert_eq!(vias.len(), 3);
    assert_eq!(vias[1].received(), Some(&b"203.0.113.1"[..]), "the client's address is passed on");
    let records = lab.world.records(lab.contact);
    assert_eq!(records.iter().filter(|record| record.space == CONTACT_SPACE).count(), 1);
}

fn a_call_both_ways(lab: &mut Lab) {
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    for (a, caller, b, callee, id) in [(0, "alice", 1, "bob", "call-1"), (1, "bob", 0, "alice", "call-2")] {
        lab.call(a, caller, b, callee, id);
        assert!(lab.phone(b).last_request(Method::Ack).is_some(), "the ACK comes through");
        let to_callee = media_of(lab.phone(a).last(200).unwrap());
        let to_caller = media_of(lab.phone(b).last_request(Method::Invite).unwrap());
        assert_eq!(to_callee.ip().to_string(), format!("192.168.{a}.1"), "the agent's own address");
        assert_eq!(to_caller.ip().to_string(), format!("192.168.{b}.1"));
        for sequence in 0..10 {
            lab.speak(a, to_callee, sequence, id.as_bytes());
            lab.speak(b, to_caller, 100 + sequence, b"and back");
        }
        lab.world.run_for(S);
        for (phone, first, text) in [(b, 0, id.as_bytes()), (a, 100, &b"and back"[..])] {
            let heard: Vec<_> =
                lab.phone(phone).media.iter().map(|(port, _, p)| (*port, p.clone())).collect();
            let expected: Vec<_> = (0..10).map(|n| (4000, rtp(first + n, text))).collect();
            assert_eq!(heard, expected);
        }
        let calls = lab.status(lab.contact)["calls"].clone();
        assert_eq!(calls.as_array().unwrap().len(), 2, "both crossings of the contact point: {calls:#}");
        // The callee hangs up the first call, the caller the second.
        match a {
            0 => lab.in_dialog_of_callee(b, callee, Method::Bye, None),
            _ => lab.in_dialog_of_caller(a, caller, Method::Bye, None),
        }
        lab.world.run_for(S);
        let other = if a == 0 { a } else { b };
        let bye = lab.phone(other).last_request(Method::Bye).expect("BYE comes through").clone();
        let ok = causeway_sip::response_to(bye.msg(), 200, None, None).finish();
        lab.say(other, &ok);
        lab.world.run_for(S);
        for id in [lab.contact, lab.agents[0], lab.agents[1]] {
            let status = lab.status(id);
            assert_eq!(status["calls"].as_array().unwrap().len(), 0);
            assert_eq!((&status["ports"]["used"], &status["tunnels"][0]["lanes"]), (&0.into(), &0.into()));
        }
        for phone in lab.phones.clone() {
            lab.world.node_mut::<Phone>(phone).media.clear();
        }
    }
}

#[test]
fn a_call_both_ways_with_record_route() {
    a_call_both_ways(&mut Lab::new(2, 2, |_| {}));
}

#[test]
fn a_call_both_ways_with_path() {
    let mut lab = Lab::new(3, 2, |c| c.mode = Mode::Path);
    lab.world.node_mut::<Server>(lab.server).store_path = true;
    a_call_both_ways(&mut lab);
    let register = lab.server().requests(Method::Register)[0];
    assert!(register.msg().has(HeaderId::Path));
}

#[test]
fn a_call_both_ways_through_a_server_that_leaves_the_path() {
    let mut lab = Lab::new(4, 2, |_| {});
    lab.world.node_mut::<Server>(lab.server).record_route = false;
    a_call_both_ways(&mut lab);
}

#[test]
fn jitter_duplicates_and_reordering_change_nothing() {
    causeway_sim::for_each_seed(60, |seed| {
        let mut lab = Lab::new(seed, 2, |_| {});
        let delay = std::time::Duration::from_millis(15);
        let link =
            causeway_sim::Link { delay, jitter: delay / 2, duplicate: 0.2, ..causeway_sim::Link::default() };
        lab.world.set_default_link(link);
        lab.register(0, "alice", 600);
        lab.register(1, "bob", 600);
        lab.call(0, "alice", 1, "bob", "rough");
        lab.world.run_for(2 * S);
        let to_callee = media_of(lab.phone(0).last(200).unwrap());
        lab.speak(0, to_callee, 1, b"hello");
        lab.world.run_for(S);
        assert!(lab.phone(1).media.iter().any(|(_, _, packet)| *packet == rtp(1, b"hello")));
        let registers = lab.server().requests(Method::Register);
        let branches: HashSet<_> =
            registers.iter().map(|r| r.msg().top_via().unwrap().branch().unwrap()).collect();
        assert_eq!(branches.len(), 2, "what the phones' packets do twice is absorbed by the agents");
    });
}

#[test]
fn two_phones_behind_one_agent_cross_one_tunnel_twice() {
    let mut lab = Lab::new(5, 1, |config| config.local_media = false);
    lab.register(0, "alice", 600);
    lab.register(0, "bob", 600);
    lab.call(0, "alice", 0, "bob", "inside");
    let status = lab.status(lab.contact);
    assert_eq!(status["calls"].as_array().unwrap().len(), 2);
    assert_eq!(status["tunnels"][0]["lanes"], 4);
    let to_callee = media_of(lab.phone(0).last(200).unwrap());
    let to_caller = media_of(lab.phone(0).last_request(Method::Invite).unwrap());
    assert_ne!(to_callee, to_caller);
    lab.speak(0, to_callee, 1, b"to bob");
    lab.world.run_for(S);
    let (port, from, packet) = lab.phone(0).media[0].clone();
    assert_eq!((port, from, packet), (4000, to_caller, rtp(1, b"to bob")));
}

#[test]
fn a_repeated_answer_is_rewritten_identically() {
    let mut lab = Lab::new(6, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.call(0, "alice", 1, "bob", "again");
    lab.answer(1, "bob", 200, Some(4000));
    lab.world.run_for(S);
    let answers: Vec<_> = lab
        .phone(0)
        .heard
        .iter()
        .filter(|m| m.msg().status() == Some(200) && m.msg().method() == Method::Invite)
        .collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].msg().bytes(), answers[1].msg().bytes());
}

#[test]
fn rtcp_has_its_own_lane_and_comes_from_the_next_port() {
    let mut lab = Lab::new(7, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.call(0, "alice", 1, "bob", "rtcp");
    let mut to = media_of(lab.phone(0).last(200).unwrap());
    to.set_port(to.port() + 1);
    lab.world.with::<Phone, _>(lab.phones[0], |_, _, out| out.datagram(Flow(4001), to, &[0x80, 200, 0, 1]));
    lab.world.run_for(S);
    assert_eq!(lab.phone(1).media.len(), 1);
    assert_eq!((lab.phone(1).media[0].0, lab.phone(1).media[0].1.port() % 2), (4001, 1));
}

#[test]
fn busy_and_cancel_give_everything_back() {
    let mut lab = Lab::new(8, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.invite(0, "alice", "bob", "busy", 4000);
    lab.world.run_for(S);
    lab.answer(1, "bob", 486, None);
    lab.world.run_for(S);
    assert_eq!(lab.phone(0).statuses().last(), Some(&486));
    for id in [lab.contact, lab.agents[0], lab.agents[1]] {
        assert_eq!(lab.status(id)["ports"]["used"], 0);
    }

    lab.invite(0, "alice", "bob", "cancelled", 4000);
    lab.world.run_for(S);
    lab.answer(1, "bob", 180, None);
    lab.world.run_for(S);
    let invite = lab.phone(0).serial;
    lab.world.with::<Phone, _>(lab.phones[0], |phone, _, out| {
        let cancel = causeway_sip::RequestBuilder::new(Method::Cancel, b"sip:bob@example.com")
            .header("Via", format!("SIP/2.0/UDP 192.168.0.10:5060;branch=z9hG4bKalice{invite};rport"))
            .header("From", "<sip:alice@example.com>;tag=fromalice")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "cancelled")
            .cseq(phone.cseq, Method::Cancel)
            .max_forwards(70);
        phone.send(out, &cancel.finish());
    });
    lab.world.run_for(S);
    assert!(lab.phone(1).last_request(Method::Cancel).is_some());
    lab.answer(1, "bob", 487, None);
    lab.world.run_for(S);
    assert_eq!(lab.phone(0).statuses().last(), Some(&487));
    for id in [lab.contact, lab.agents[0], lab.agents[1]] {
        assert_eq!(lab.status(id)["ports"]["used"], 0);
    }
}

#[test]
fn an_offer_in_the_answer_and_the_answer_in_the_ack() {
    let mut lab = Lab::new(9, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.request(0, Method::Invite, "sip:bob@example.com", "alice", |r| {
        r.header("From", "<sip:alice@example.com>;tag=fromalice")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "no-offer")
    });
    lab.world.run_for(S);
    lab.answer(1, "bob", 200, Some(4000));
    lab.world.run_for(S);
    let body = sdp("192.168.0.10", 4000);
    lab.in_dialog_of_caller(0, "alice", Method::Ack, Some(body));
    lab.world.run_for(S);
    let to_callee = media_of(lab.phone(0).last(200).unwrap());
    let to_caller = media_of(lab.phone(1).last_request(Method::Ack).unwrap());
    lab.speak(0, to_callee, 1, b"there");
    lab.speak(1, to_caller, 1, b"and back");
    lab.world.run_for(S);
    assert_eq!(lab.phone(1).media[0].2, rtp(1, b"there"));
    assert_eq!(lab.phone(0).media[0].2, rtp(1, b"and back"));
}

#[test]
fn a_renegotiated_port_keeps_the_lanes_and_moves_the_media() {
    let mut lab = Lab::new(10, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.call(0, "alice", 1, "bob", "moved");
    let before = media_of(lab.phone(1).last_request(Method::Invite).unwrap());
    let lanes = lab.status(lab.contact)["tunnels"][0]["lanes"].clone();
    let body = sdp("192.168.0.10", 6000);
    lab.in_dialog_of_caller(0, "alice", Method::Invite, Some(body));
    lab.world.run_for(S);
    let after = media_of(lab.phone(1).last_request(Method::Invite).unwrap());
    assert_eq!(before, after, "the far side sees no change");
    lab.answer(1, "bob", 200, Some(4000));
    lab.world.run_for(S);
    assert_eq!(lab.status(lab.contact)["tunnels"][0]["lanes"], lanes);
    lab.speak(1, after, 5, b"to the new port");
    lab.world.run_for(S);
    assert_eq!(lab.phone(0).media.last().unwrap().0, 6000);
}

#[test]
fn a_late_word_to_a_known_contact_survives_a_restart_of_the_contact_point() {
    let mut lab = Lab::new(11, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    let records = lab.world.records(lab.contact);
    lab.world.kill(lab.contact);
    lab.world.run_for(S);
    lab.world.restart(lab.contact, ContactPoint::new(contact_config(), records));
    let (world, agents) = (&mut lab.world, lab.agents.clone());
    world.run_for(S);
    world.must(60 * S, "the tunnels come back", |world| {
        agents.iter().all(|agent| world.node::<causeway_split_proxy::Agent>(*agent).is_up())
    });
    // Nobody has registered again, and both may call and be called.
    lab.call(0, "alice", 1, "bob", "after-the-restart");
    assert!(lab.phone(1).last_request(Method::Ack).is_some());
}
