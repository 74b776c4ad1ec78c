//! Keys inherited from the registration: phones that know nothing of it, a registrar that knows nothing of it.

mod common;

use causeway_node::{Class, Connect, Ctx, Flow, Input, Node, Outbox, Status, Time, Transport};
use causeway_sip::Method;
use causeway_split_proxy::{Agent, AgentConfig, ContactConfig};
use causeway_tunnel::key::Assurance;
use common::users::{
    add_customers, lab as lab_with, line, register, register_now, with_accounts, with_database,
};
use common::*;
use std::collections::HashMap;

/// Nothing less than digest will do.
fn digest_or_nothing(config: &mut AgentConfig) {
    with_accounts(config);
    config.keys.least = Assurance::Digest;
}

fn plain(_: &mut AgentConfig) {}

fn lab(seed: u64, customers: usize, agents: fn(&mut AgentConfig)) -> Lab {
    lab_with(seed, customers, with_database, agents)
}

/// The users of the only tunnel of a node, or of the tunnel with the number `n`.
fn users(status: &Status, n: usize) -> Vec<Status> {
    status["tunnels"][n]["users"].as_array().cloned().unwrap_or_default()
}

fn mode(lab: &Lab, node: causeway_sim::NodeId) -> String {
    users(&lab.status(node), 0).first().map_or("nobody", |user| user["mode"].as_str().unwrap()).to_owned()
}

/// Ten packets each way in a call between the phones 0 and 1; how many were heard.
fn talk(lab: &mut Lab, id: &str) -> [usize; 2] {
    lab.call(0, "alice", 1, "bob", id);
    let to_callee = media_of(lab.phone(0).last(200).unwrap());
    let to_caller = media_of(lab.phone(1).last_request(Method::Invite).unwrap());
    for phone in lab.phones.clone() {
        lab.world.node_mut::<Phone>(phone).media.clear();
    }
    for sequence in 0..10 {
        lab.speak(0, to_callee, sequence, b"from alice");
        lab.speak(1, to_caller, sequence, b"from bob");
    }
    lab.world.run_for(S);
    [0, 1].map(|n| lab.phone(n).media.iter().filter(|(_, _, packet)| packet.len() > 12).count())
}

#[test]
fn a_registration_gives_a_key_and_calls_are_sealed_with_it() {
    let mut lab = lab(1, 2, with_accounts);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    assert_eq!(talk(&mut lab, "sealed"), [10, 10]);
    for (n, aor) in [(0, "sip:alice@example.com"), (1, "sip:bob@example.com")] {
        let status = lab.status(lab.agents[n]);
        let user = &users(&status, 0)[0];
        assert_eq!((&user["aor"], &user["mode"], &user["epoch"]), (&aor.into(), &"digest".into(), &1.into()));
        assert_eq!((&user["sealed"], &user["opened"], &user["refused"]), (&10.into(), &10.into(), &0.into()));
        assert!(user["protection"].as_str().unwrap().contains("an interceptor of the tunnel is excluded"));
        let registration = &status["registrations"][0];
        assert_eq!(
            (&registration["assurance"], &registration["key_note"]),
            (&"digest".into(), &Status::Null)
        );
    }
    let contact = lab.status(lab.contact);
    for n in 0..2 {
        let user = &users(&contact, n)[0];
        assert_eq!(
            (&user["mode"], &user["sealed"], &user["opened"]),
            (&"digest".into(), &10.into(), &10.into())
        );
    }
}

#[test]
fn without_an_account_the_header_is_what_is_inherited() {
    let mut lab = lab(2, 2, plain);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    assert_eq!(talk(&mut lab, "header"), [10, 10]);
    let status = lab.status(lab.agents[0]);
    let user = &users(&status, 0)[0];
    assert_eq!((&user["mode"], &user["sealed"]), (&"header".into(), &10.into()));
    assert_eq!(user["protection"], "not protected against interception of the tunnel");
    assert!(status["registrations"][0]["key_note"].as_str().unwrap().contains("account file"));
}

#[test]
fn a_contact_point_without_a_database_falls_back_to_the_header_or_refuses() {
    let mut lenient = lab_with(3, 1, |_| {}, with_accounts);
    register(&mut lenient, 0, "alice", "pw-alice", 600);
    assert_eq!(mode(&lenient, lenient.agents[0]), "header");

    let mut strict = lab_with(3, 2, |_| {}, digest_or_nothing);
    register(&mut strict, 0, "alice", "pw-alice", 600);
    register(&mut strict, 1, "bob", "pw-bob", 600);
    let user = users(&strict.status(strict.agents[0]), 0)[0].clone();
    assert_eq!(
        (&user["mode"], &user["why_none"]),
        (&"none".into(), &"the ends have no assurance in common".into())
    );
    strict.invite(0, "alice", "bob", "refused", 4000);
    strict.world.run_for(S);
    assert!(strict.phone(0).statuses().contains(&403));
    assert!(strict.server().requests(Method::Invite).is_empty());
    assert_eq!(strict.status(strict.agents[0])["registrations"][0]["calls_refused"], true);
}

#[test]
fn who_is_called_below_the_demand_is_not_reached() {
    fn only_bob(config: &mut AgentConfig) {
        let strict = line("bob", "pw-bob", Some(Assurance::Digest));
        config.keys.lines = vec![strict];
    }
    let mut lab = lab_with(4, 2, |_| {}, only_bob);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    assert_eq!([0, 1].map(|n| mode(&lab, lab.agents[n])), ["header", "none"]);
    lab.invite(0, "alice", "bob", "refused", 4000);
    lab.world.run_for(S);
    assert!(lab.phone(0).statuses().contains(&480));
    assert!(lab.phone(1).last_request(Method::Invite).is_none());
}

#[test]
fn a_contact_point_may_demand_as_well() {
    let strict = |config: &mut ContactConfig| config.min_assurance = Assurance::Digest;
    let mut lab = lab_with(5, 2, strict, with_accounts);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    lab.invite(0, "alice", "bob", "refused", 4000);
    lab.world.run_for(S);
    assert!(lab.phone(0).statuses().contains(&403));
    assert!(lab.server().requests(Method::Invite).is_empty());

    let strict = |config: &mut ContactConfig| {
        config.digest_keys = true;
        config.min_assurance = Assurance::Digest;
    };
    let mut lab = lab_with(5, 2, strict, with_accounts);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    assert_eq!(talk(&mut lab, "demanded"), [10, 10]);
}

#[test]
fn a_call_may_begin_while_the_key_it_needs_is_being_agreed_on() {
    let strict = |config: &mut ContactConfig| {
        config.digest_keys = true;
        config.min_assurance = Assurance::Digest;
    };
    let mut lab = lab_with(18, 2, strict, digest_or_nothing);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    register_now(&mut lab, 0, "alice", "pw-alice", 600);
    assert_eq!(mode(&lab, lab.agents[0]), "none", "not in force yet");
    assert_eq!(talk(&mut lab, "at-once"), [10, 10]);
    let contact = lab.status(lab.contact);
    let sealed: u64 = (0..2).map(|n| users(&contact, n)[0]["sealed"].as_u64().unwrap()).sum();
    assert_eq!(sealed, 20);
}

#[test]
fn a_call_that_waits_for_a_connection_waits_for_its_key_as_well() {
    let strict = |config: &mut ContactConfig| {
        config.digest_keys = true;
        config.min_assurance = Assurance::Digest;
    };
    let mut lab = lab_with(19, 2, strict, digest_or_nothing);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    lab.world.reset(lab.agents[0], Flow(1 << 21));
    assert_eq!(talk(&mut lab, "while-cut"), [10, 10]);
    assert_eq!(lab.status(lab.agents[0])["tunnels"][0]["resumes"], 1);
    assert!(lab.phone(0).statuses().iter().all(|status| *status < 300));
}

#[test]
fn another_password_in_the_account_file_is_no_interception() {
    let mut lab = lab(6, 1, |config| config.keys.lines = vec![line("alice", "mistaken", None)]);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    let status = lab.status(lab.agents[0]);
    assert_eq!(status["state"], "up");
    assert_eq!(mode(&lab, lab.agents[0]), "header");
    assert!(status["registrations"][0]["key_note"].as_str().unwrap().contains("another password"));
}

#[test]
fn a_password_that_the_database_does_not_know_gives_no_digest_key() {
    let mut lab = lab(7, 1, |config| config.keys.lines = vec![line("alice", "old", None)]);
    register(&mut lab, 0, "alice", "old", 600);
    assert_eq!(
        (mode(&lab, lab.agents[0]), lab.status(lab.agents[0])["state"].as_str()),
        ("header".into(), Some("up"))
    );
}

#[test]
fn the_key_changes_at_each_register_and_is_gone_after_the_last() {
    let mut lab = lab(8, 1, with_accounts);
    for epoch in 1..=3 {
        register(&mut lab, 0, "alice", "pw-alice", 600);
        for node in [lab.agents[0], lab.contact] {
            assert_eq!(users(&lab.status(node), 0)[0]["epoch"], epoch);
        }
    }
    register(&mut lab, 0, "alice", "pw-alice", 0);
    for node in [lab.agents[0], lab.contact] {
        let user = users(&lab.status(node), 0)[0].clone();
        assert_eq!(
            (&user["mode"], &user["why_none"]),
            (&"none".into(), &"the registration has ended".into())
        );
    }
    register(&mut lab, 0, "alice", "pw-alice", 600);
    assert_eq!(users(&lab.status(lab.contact), 0)[0]["epoch"], 4);
}

#[test]
fn the_key_is_gone_when_the_registration_runs_out() {
    let mut lab = lab(9, 1, with_accounts);
    register(&mut lab, 0, "alice", "pw-alice", 30);
    lab.world.run_for(28 * S);
    assert_eq!([mode(&lab, lab.agents[0]), mode(&lab, lab.contact)], ["digest", "digest"]);
    lab.world.run_for(3 * S);
    assert_eq!([mode(&lab, lab.agents[0]), mode(&lab, lab.contact)], ["none", "none"]);
}

#[test]
fn a_new_tunnel_has_new_keys_without_a_new_registration() {
    let mut lab = lab(10, 2, with_accounts);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    let contact = lab.world.node::<causeway_split_proxy::ContactPoint>(lab.contact).tunnels();
    assert_eq!(contact, 2);
    let registers = lab.server().requests(Method::Register).len();
    let flow = Flow(1 << 21);
    lab.world.with::<Agent, _>(lab.agents[0], |agent, ctx, out| {
        out.close(flow);
        agent.handle(ctx, Input::Closed { flow, why: "cut" }, out);
    });
    let agent = lab.agents[0];
    lab.world.run_for(S / 10);
    lab.world.must(10 * S, "the tunnel comes again", |world| world.node::<Agent>(agent).is_up());
    lab.world.run_for(S);
    assert_eq!(mode(&lab, lab.agents[0]), "digest");
    assert_eq!(lab.server().requests(Method::Register).len(), registers);
    assert_eq!(talk(&mut lab, "again"), [10, 10]);
    let user = users(&lab.status(lab.agents[0]), 0)[0].clone();
    assert_eq!((&user["sealed"], &user["opened"]), (&10.into(), &10.into()));
}

/// Packets that phone 0 speaks to phone 1 in the call that stands; how many of them are heard.
fn speak_on(lab: &mut Lab) -> usize {
    let mut answers = lab.phone(0).heard.iter().rev().filter(|m| m.msg().status() == Some(200));
    let to_callee = media_of(answers.find(|m| !m.msg().body().is_empty()).unwrap());
    lab.world.node_mut::<Phone>(lab.phones[1]).media.clear();
    for sequence in 0..10 {
        lab.speak(0, to_callee, sequence, b"from alice");
    }
    lab.world.run_for(S);
    lab.phone(1).media.len()
}

#[test]
fn a_call_that_survives_a_cut_goes_on_under_a_new_key() {
    let mut lab = lab(14, 2, digest_or_nothing);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    assert_eq!(talk(&mut lab, "cut"), [10, 10]);
    let before = users(&lab.status(lab.agents[0]), 0)[0].clone();
    lab.world.reset(lab.agents[0], Flow(1 << 21));
    lab.world.run_for(S);
    assert_eq!(lab.status(lab.agents[0])["tunnels"][0]["resumes"], 1);
    let after = users(&lab.status(lab.agents[0]), 0)[0].clone();
    assert_eq!((&after["mode"], &after["user"]), (&"digest".into(), &before["user"]));
    assert_eq!((&before["epoch"], &after["epoch"]), (&1.into(), &2.into()));
    assert_eq!(speak_on(&mut lab), 10);
    let contact = lab.status(lab.contact);
    let opened: u64 = (0..2).map(|n| users(&contact, n)[0]["opened"].as_u64().unwrap()).sum();
    assert_eq!(opened, 30, "alice's twenty and bob's ten");
    assert!((0..2).all(|n| users(&contact, n)[0]["refused"] == 0));
}

#[test]
fn calls_and_keys_after_a_restart_of_both() {
    let both = |lab: &mut Lab| {
        lab.restart_contact();
        lab.restart_agent(0);
    };
    a_restart(both, digest_or_nothing);
}

#[test]
fn who_has_left_while_the_connection_was_gone_has_no_key_on_the_next() {
    let mut lab = lab(15, 2, with_accounts);
    register(&mut lab, 0, "alice", "pw-alice", 30);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    assert_eq!(talk(&mut lab, "left"), [10, 10]);
    lab.world.isolate("203.0.113.1");
    lab.world.run_for(25 * S);
    lab.world.rejoin("203.0.113.1");
    lab.world.run_for(5 * S);
    assert_eq!(lab.status(lab.agents[0])["tunnels"][0]["resumes"], 1);
    assert_eq!(
        [
            mode(&lab, lab.agents[0]),
            users(&lab.status(lab.contact), 0)[0]["mode"].as_str().unwrap().to_owned()
        ],
        ["none", "none"]
    );
    // Nobody demands a key: the call goes on without.
    assert_eq!(speak_on(&mut lab), 10);
}

/// Nobody registers again: what keys are inherited from is on disk, and with the exporter of the new connection there
/// is another key at once, so that a restart makes no call less protected.
fn a_restart(restart: fn(&mut Lab), agents: fn(&mut AgentConfig)) {
    let mut lab = lab(16, 2, agents);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    assert_eq!(talk(&mut lab, "restart"), [10, 10]);
    lab.world.run_for(S);
    restart(&mut lab);
    lab.world.run_for(3 * S);
    let modes = [lab.contact, lab.agents[0], lab.agents[1]].map(|node| mode(&lab, node));
    assert_eq!(modes, ["digest", "digest", "digest"]);
    let count = |lab: &Lab, what: &str| -> u64 {
        let status = lab.status(lab.contact);
        (0..2).flat_map(|n| users(&status, n)).map(|user| user[what].as_u64().unwrap()).sum()
    };
    let before = count(&lab, "opened");
    assert_eq!(speak_on(&mut lab), 10);
    assert_eq!((count(&lab, "opened") - before, count(&lab, "refused")), (10, 0), "sealed as before");
}

#[test]
fn calls_and_keys_after_a_restart_of_the_contact_point() {
    a_restart(Lab::restart_contact, with_accounts);
    a_restart(Lab::restart_contact, digest_or_nothing);
}

#[test]
fn calls_and_keys_after_a_restart_of_an_agent() {
    a_restart(|lab| lab.restart_agent(0), with_accounts);
    a_restart(|lab| lab.restart_agent(0), digest_or_nothing);
}

#[test]
fn several_users_of_one_agent_have_keys_of_their_own() {
    let mut lab = lab(11, 1, with_accounts);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    register(&mut lab, 0, "bob", "pw-bob", 600);
    register(&mut lab, 0, "carol", "pw-carol", 600);
    let mut users = users(&lab.status(lab.contact), 0);
    users.sort_by_key(|user| user["aor"].to_string());
    let seen: Vec<_> =
        users.iter().map(|user| (user["aor"].as_str().unwrap(), user["mode"].as_str().unwrap())).collect();
    let expected = [
        ("sip:alice@example.com", "digest"),
        ("sip:bob@example.com", "digest"),
        ("sip:carol@example.com", "header"),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_registrar_that_does_not_challenge_leaves_nothing_to_inherit() {
    let mut lab = lab(12, 2, with_accounts);
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    assert_eq!(mode(&lab, lab.agents[0]), "nobody");
    assert_eq!(talk(&mut lab, "plain"), [10, 10]);
}

const MIDDLE: &str = "198.51.100.66";

/// Ends the TLS of an agent and opens its own to the contact point: what comes in on either goes out on the other.
#[derive(Default)]
struct Inspector {
    to: HashMap<Flow, Flow>,
    waiting: HashMap<Flow, Vec<u8>>,
    serial: u32,
}

impl Node for Inspector {
    fn handle(&mut self, _: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Start => out.listen(Flow(0), at(&format!("{MIDDLE}:443")), Transport::Tls, Class::Media),
            Input::Opened { flow, listener: Some(_), .. } => {
                self.serial += 1;
                let there = Flow(self.serial);
                let to = at(&format!("{CONTACT}:443"));
                let server_name = "contact.example.com".to_owned();
                out.connect(
                    there,
                    Connect {
                        to,
                        transport: Transport::Tls,
                        server_name,
                        class: Class::Media,
                        through: None,
                    },
                );
                self.to.insert(flow, there);
                self.to.insert(there, flow);
                self.waiting.insert(there, Vec::new());
            }
            Input::Opened { flow, .. } => {
                if let Some(bytes) = self.waiting.remove(&flow) {
                    out.stream(flow, &bytes);
                }
            }
            Input::Stream { flow, bytes } => {
                let Some(there) = self.to.get(&flow) else { return };
                match self.waiting.get_mut(there) {
                    Some(waiting) => waiting.extend_from_slice(bytes),
                    None => out.stream(*there, bytes),
                }
            }
            Input::Closed { flow, .. } => {
                if let Some(there) = self.to.remove(&flow) {
                    self.to.remove(&there);
                    out.close(there);
                }
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

/// Two customers whose way to the contact point leads through an inspector that they trust.
fn intercepted(agents: fn(&mut AgentConfig)) -> Lab {
    let mut lab = lab(13, 0, agents);
    let host = lab.world.host(&[MIDDLE]);
    lab.world.add(host, "inspector", Inspector::default());
    lab.world.name("contact.example.com", &[MIDDLE]);
    add_customers(&mut lab, 2, agents);
    lab
}

#[test]
fn an_inspector_in_the_path_is_found_out_by_the_digest_key_and_refused() {
    let mut lab = intercepted(digest_or_nothing);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    let status = lab.status(lab.agents[0]);
    assert_ne!(status["state"], "up");
    let why = status["last_failure"].as_str().unwrap();
    assert!(why.contains("the two ends do not share one TLS connection"), "{why}");
    lab.invite(0, "alice", "bob", "refused", 4000);
    lab.world.run_for(10 * S);
    assert!(lab.server().requests(Method::Invite).is_empty());
    assert!(lab.phone(0).statuses().iter().any(|status| *status >= 400));
}

#[test]
fn with_the_header_alone_an_intercepted_tunnel_carries_calls_and_says_that_it_is_not_protected() {
    let mut lab = intercepted(plain);
    register(&mut lab, 0, "alice", "pw-alice", 600);
    register(&mut lab, 1, "bob", "pw-bob", 600);
    assert_eq!(talk(&mut lab, "intercepted"), [10, 10]);
    let status = lab.status(lab.agents[0]);
    let protection = status["registrations"][0]["protection"].as_str().unwrap();
    assert!(protection.contains("not protected against interception of the tunnel"), "{protection}");
    let user = users(&status, 0)[0].clone();
    assert!(user["why_none"].as_str().unwrap().contains("do not share one TLS connection"));
}
