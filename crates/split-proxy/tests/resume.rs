//! Tunnels that lose their connections, and calls that do not notice.

mod common;

use causeway_node::Flow;
use causeway_sip::{Method, response_to};
use causeway_split_proxy::Agent;
use common::*;
use std::collections::HashSet;
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn in_a_call(seed: u64) -> Lab {
    let mut lab = Lab::new(seed, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.call(0, "alice", 1, "bob", "kept");
    lab
}

/// Both speak; whether both have been heard.
fn speech_passes(lab: &mut Lab) -> bool {
    let to_callee = media_of(lab.phone(0).last(200).unwrap());
    let to_caller = media_of(lab.phone(1).last_request(Method::Invite).unwrap());
    let before = [0, 1].map(|n| lab.phone(n).media.len());
    lab.speak(0, to_callee, 1, b"forth");
    lab.speak(1, to_caller, 1, b"back");
    lab.world.run_for(ms(100));
    [0, 1].iter().all(|n| lab.phone(*n).media.len() > before[*n])
}

/// Requests that the server has seen, retransmissions apart (RFC 3261 §17.2.3).
fn sent(lab: &Lab, method: Method<'_>) -> usize {
    let requests = lab.server().requests(method);
    let branches = requests.iter().map(|r| r.msg().top_via().unwrap().branch().unwrap());
    branches.collect::<HashSet<_>>().len()
}

fn hang_up(lab: &mut Lab) {
    lab.in_dialog_of_caller(0, "alice", Method::Bye, None);
    lab.world.run_for(S);
    let bye = lab.phone(1).last_request(Method::Bye).expect("BYE comes through").clone();
    lab.say(1, &response_to(bye.msg(), 200, None, None).finish());
    lab.world.run_for(S);
    for id in [lab.contact, lab.agents[0], lab.agents[1]] {
        let status = lab.status(id);
        assert_eq!(status["calls"].as_array().unwrap().len(), 0);
        assert_eq!((&status["ports"]["used"], &status["tunnels"][0]["lanes"]), (&0.into(), &0.into()));
    }
}

#[test]
fn a_call_survives_the_reset_of_a_connection() {
    let mut lab = in_a_call(1);
    assert!(speech_passes(&mut lab));
    let calls = lab.status(lab.contact)["calls"].clone();
    lab.world.reset(lab.agents[1], Flow(1 << 21));
    lab.world.run_for(ms(500));
    assert!(lab.world.node::<Agent>(lab.agents[1]).is_up());
    assert!(speech_passes(&mut lab));
    let tunnel = lab.status(lab.agents[1])["tunnels"][0].clone();
    assert_eq!((&tunnel["epoch"], &tunnel["resumes"]), (&1.into(), &1.into()));
    for line in ["port", "lane", "peer"] {
        let of = |calls: &causeway_node::Status| calls[0]["media"][0][line].clone();
        assert_eq!(of(&calls), of(&lab.status(lab.contact)["calls"]), "{line}");
    }
    hang_up(&mut lab);
}

/// A blackhole of 20 s: nobody is told. Requests made meanwhile arrive afterwards, once.
#[test]
fn a_call_survives_a_silent_cut_and_speech_is_back_within_two_seconds() {
    let mut lab = in_a_call(2);
    lab.world.isolate("203.0.113.2");
    let to_callee = media_of(lab.phone(0).last(200).unwrap());
    for sequence in 0..1000 {
        lab.speak(0, to_callee, sequence, b"into the void");
        lab.world.run_for(ms(20));
    }
    assert_eq!(lab.status(lab.agents[1])["tunnels"][0]["state"], "parked");
    lab.request(1, Method::Message, "sip:alice@example.com", "bob", |r| {
        r.header("From", "<sip:bob@example.com>;tag=m")
            .header("To", "<sip:alice@example.com>")
            .header("Call-ID", "meanwhile")
    });
    lab.world.rejoin("203.0.113.2");
    let start = lab.world.now();
    while !speech_passes(&mut lab) {
        assert!(lab.world.now().since(start) < 2 * S, "speech is back in time");
    }
    lab.world.run_for(S);
    assert_eq!(sent(&lab, Method::Message), 1);
    assert!(lab.phone(0).last_request(Method::Message).is_some());
    assert_eq!(sent(&lab, Method::Invite), 1, "nothing is sent twice");
    hang_up(&mut lab);
}

#[test]
fn the_address_of_a_client_may_change() {
    let mut lab = in_a_call(3);
    lab.world.reboot_nat(lab.nats[1]);
    let start = lab.world.now();
    while !speech_passes(&mut lab) {
        assert!(lab.world.now().since(start) < 8 * S, "a dead path is noticed");
    }
    hang_up(&mut lab);
}

#[test]
fn a_tunnel_that_does_not_come_back_is_given_up() {
    let mut lab = in_a_call(4);
    lab.world.kill(lab.agents[1]);
    lab.world.run_for(S);
    let status = lab.status(lab.contact);
    let states: Vec<_> = status["tunnels"].as_array().unwrap().iter().map(|t| t["state"].clone()).collect();
    assert!(states.contains(&"parked".into()) && states.contains(&"up".into()), "{states:?}");
    lab.world.run_for(31 * S);
    let status = lab.status(lab.contact);
    assert_eq!(status["tunnels"].as_array().unwrap().len(), 1);
    assert_eq!(status["calls"].as_array().unwrap().len(), 1);
    let spaces: Vec<_> = lab.world.records(lab.contact).iter().map(|record| record.space).collect();
    for space in ["contact.session", "contact.leg"] {
        assert_eq!(spaces.iter().filter(|s| **s == space).count(), 1, "its records are gone too: {spaces:?}");
    }
}

/// Whoever has an agent's session but not its secret gets a session of his own, and it is counted.
#[test]
fn a_ticket_that_is_no_good_begins_anew() {
    let mut lab = in_a_call(8);
    lab.world.kill(lab.agents[1]);
    let mut records = lab.world.records(lab.agents[1]);
    let session = records.iter_mut().find(|record| record.space == "agent.session").unwrap();
    let mut value: causeway_node::Status = serde_json::from_slice(session.value.as_ref().unwrap()).unwrap();
    value["secret"] = "00".repeat(32).into();
    session.value = Some(value.to_string().into_bytes());
    let agent = Agent::new(lab.agent_configs[1].clone(), records);
    lab.world.restart(lab.agents[1], agent);
    lab.world.run_for(5 * S);
    let status = lab.status(lab.contact);
    assert_eq!((&status["tickets_refused"], status["tunnels"].as_array().unwrap().len()), (&1.into(), 2));
    let tunnel = lab.status(lab.agents[1])["tunnels"][0].clone();
    assert_eq!(
        (&tunnel["state"], &tunnel["resumes"], &tunnel["lanes"]),
        (&"up".into(), &0.into(), &0.into())
    );
    assert!(!speech_passes(&mut lab), "the call is over");
    assert_eq!(lab.status(lab.agents[1])["ports"]["used"], 0);
    lab.call(0, "alice", 1, "bob", "another");
    assert!(lab.phone(1).last_request(Method::Ack).is_some(), "nobody had to register again");
}

fn media_lines(lab: &Lab) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for id in [lab.contact, lab.agents[0], lab.agents[1]] {
        for call in lab.status(id)["calls"].as_array().unwrap() {
            for line in call["media"].as_array().unwrap() {
                lines.push(format!(
                    "{} {} {} {}",
                    call["direction"], line["port"], line["lane"], line["peer"]
                ));
            }
        }
    }
    lines.sort();
    lines
}

/// SIGKILL, a second, a new process: the same ports, the same lanes, the same dialogs.
#[test]
fn a_call_survives_the_restart_of_either_half() {
    for who in ["contact", "agent", "both"] {
        let mut lab = in_a_call(5);
        assert!(speech_passes(&mut lab));
        lab.world.run_for(ms(100));
        let before = media_lines(&lab);
        assert_eq!(before.len(), 8);
        if who != "contact" {
            lab.world.kill(lab.agents[1]);
        }
        if who != "agent" {
            lab.world.kill(lab.contact);
        }
        lab.world.run_for(S);
        if who != "contact" {
            lab.restart_agent(1);
        }
        if who != "agent" {
            lab.restart_contact();
        }
        let start = lab.world.now();
        while !speech_passes(&mut lab) {
            assert!(lab.world.now().since(start) < 2 * S, "speech is back in time after {who}");
        }
        assert_eq!(media_lines(&lab), before, "{who}");
        assert_eq!(sent(&lab, Method::Invite), 1);
        // Nobody registers again, and both dialogs are whole.
        lab.in_dialog_of_callee(1, "bob", Method::Bye, None);
        lab.world.run_for(S);
        let bye = lab.phone(0).last_request(Method::Bye).expect("BYE comes through").clone();
        lab.say(0, &response_to(bye.msg(), 200, None, None).finish());
        lab.world.run_for(S);
        assert_eq!(lab.phone(1).last(200).unwrap().msg().cseq().unwrap().method, Method::Bye, "{who}");
        assert!(media_lines(&lab).is_empty());
        lab.call(1, "bob", 0, "alice", "another");
        for id in [lab.contact, lab.agents[1]] {
            let left = lab.world.records(id).iter().filter(|record| record.space.ends_with(".leg")).count();
            assert_eq!(left, lab.status(id)["calls"].as_array().unwrap().len(), "what is over is forgotten");
        }
    }
}

/// The phone rings, a half restarts, the phone answers.
#[test]
fn a_call_that_rings_survives_the_restart_of_either_half() {
    for who in ["contact", "caller's agent", "callee's agent"] {
        let mut lab = Lab::new(6, 2, |_| {});
        lab.register(0, "alice", 600);
        lab.register(1, "bob", 600);
        lab.invite(0, "alice", "bob", "rings", 4000);
        lab.world.run_for(S);
        lab.answer(1, "bob", 180, None);
        lab.world.run_for(S);
        let invites = sent(&lab, Method::Invite);
        match who {
            "contact" => lab.restart_contact(),
            "caller's agent" => lab.restart_agent(0),
            _ => lab.restart_agent(1),
        }
        lab.world.run_for(3 * S);
        lab.answer(1, "bob", 200, Some(4000));
        lab.world.run_for(S);
        assert!(lab.phone(0).last(200).is_some_and(|m| m.msg().method() == Method::Invite), "{who}");
        lab.in_dialog_of_caller(0, "alice", Method::Ack, None);
        lab.world.run_for(S);
        assert!(lab.phone(1).last_request(Method::Ack).is_some(), "{who}");
        assert_eq!(sent(&lab, Method::Invite), invites, "nothing is sent twice ({who})");
        assert!(speech_passes(&mut lab), "{who}");
        hang_up(&mut lab);
    }
}

/// The same, and the caller gives up.
#[test]
fn a_call_that_rings_can_be_cancelled_after_a_restart() {
    for who in ["contact", "caller's agent", "callee's agent"] {
        let mut lab = Lab::new(7, 2, |_| {});
        lab.register(0, "alice", 600);
        lab.register(1, "bob", 600);
        lab.invite(0, "alice", "bob", "rings", 4000);
        lab.world.run_for(S);
        lab.answer(1, "bob", 180, None);
        lab.world.run_for(S);
        match who {
            "contact" => lab.restart_contact(),
            "caller's agent" => lab.restart_agent(0),
            _ => lab.restart_agent(1),
        }
        lab.world.run_for(3 * S);
        if who == "callee's agent" {
            // The INVITE has come again; a phone answers it as before (RFC 3261 §17.2.1).
            lab.answer(1, "bob", 180, None);
            lab.world.run_for(S);
        }
        lab.cancel(0, "alice", "bob", "rings");
        lab.world.run_for(S);
        assert!(lab.phone(1).last_request(Method::Cancel).is_some(), "{who}");
        lab.answer(1, "bob", 487, None);
        lab.world.run_for(S);
        assert!(lab.phone(0).last(487).is_some(), "{who}");
    }
}
