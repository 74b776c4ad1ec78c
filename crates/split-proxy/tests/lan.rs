//! Media between phones behind one agent: on their LAN, and in which cases not.

mod common;

use causeway_node::Flow;
use causeway_sip::{Message, Method};
use causeway_split_proxy::Agent;
use common::*;

/// Alice and Bob on one LAN, both registered; Bob's number is 1.
fn one_lan(seed: u64, local: bool, bob: &str) -> Lab {
    let mut lab = Lab::new(seed, 1, |config| config.local_media = local);
    assert_eq!(lab.add_phone(0, bob), 1);
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab
}

fn invite_heard(lab: &Lab) -> Message {
    lab.phone(1).last_request(Method::Invite).unwrap().clone()
}

/// Where the descriptions that Alice and Bob have heard last lead them.
fn aims(lab: &Lab) -> (String, String) {
    let answer = lab.phone(0).last(200).unwrap().clone();
    (media_of(&answer).to_string(), media_of(&invite_heard(lab)).to_string())
}

fn through_the_agent(aim: &str) -> bool {
    aim.starts_with("192.168.0.1:4")
}

fn packets_at_the_contact_point(lab: &Lab) -> u64 {
    let calls = lab.status(lab.contact)["calls"].clone();
    let media = calls.as_array().unwrap().iter().flat_map(|call| call["media"].as_array().unwrap().clone());
    media
        .map(|m| {
            m["from_network"]["packets"].as_u64().unwrap() + m["to_network"]["packets"].as_u64().unwrap()
        })
        .sum()
}

fn speak_both_ways(lab: &mut Lab, text: &[u8]) {
    let (to_bob, to_alice) = aims(lab);
    lab.speak(0, at(&to_bob), 1, text);
    lab.speak(1, at(&to_alice), 2, text);
    lab.world.run_for(S);
    for (n, sequence) in [(1, 1), (0, 2)] {
        let phone = lab.world.node_mut::<Phone>(lab.phones[n]);
        let heard: Vec<_> = phone.media.drain(..).map(|(port, _, bytes)| (port, bytes)).collect();
        assert_eq!(heard, [(4000, rtp(sequence, text))], "phone {n}");
    }
}

#[test]
fn phones_of_one_lan_send_to_one_another_and_go_on_without_the_tunnel() {
    let mut lab = one_lan(1, true, "192.168.0.11");
    lab.call(0, "alice", 1, "bob", "local");
    assert_eq!(aims(&lab), ("192.168.0.11:4000".into(), "192.168.0.10:4000".into()));
    speak_both_ways(&mut lab, b"neighbour");
    assert_eq!(packets_at_the_contact_point(&lab), 0);
    for message in [invite_heard(&lab), lab.phone(0).last(200).unwrap().clone()] {
        let body = String::from_utf8_lossy(message.msg().body()).into_owned();
        assert!(!body.contains("x-causeway") && body.contains("o=- 1 1 IN IP4 192.168.0.1"), "{body}");
    }
    for message in &lab.server().seen {
        let body = String::from_utf8_lossy(message.msg().body()).into_owned();
        assert!(!body.contains("c=IN IP4 192.168"), "no address of the LAN leaves it: {body}");
        assert_eq!(body.contains("a=x-causeway-leg:"), !body.is_empty());
        assert!(!body.contains("x-causeway-lane"));
    }
    lab.world.isolate(CONTACT);
    lab.world.reset(lab.agents[0], Flow(1 << 21));
    lab.world.run_for(20 * S);
    assert!(!lab.world.node::<Agent>(lab.agents[0]).is_up());
    speak_both_ways(&mut lab, b"still here");
}

#[test]
fn hold_resume_and_a_moved_port_stay_on_the_lan() {
    let mut lab = one_lan(2, true, "192.168.0.11");
    lab.call(0, "alice", 1, "bob", "hold");
    let reoffer = |lab: &mut Lab, body: Vec<u8>| {
        lab.in_dialog_of_caller(0, "alice", Method::Invite, Some(body));
        lab.world.run_for(S);
        lab.answer(1, "bob", 200, Some(4000));
        lab.world.run_for(S);
    };
    let hold = String::from_utf8(sdp("192.168.0.10", 4000))
        .unwrap()
        .replace("c=IN IP4 192.168.0.10", "c=IN IP4 0.0.0.0");
    reoffer(&mut lab, hold.into_bytes());
    assert!(String::from_utf8_lossy(invite_heard(&lab).msg().body()).contains("c=IN IP4 0.0.0.0\r\n"));
    reoffer(&mut lab, sdp("192.168.0.10", 6000));
    assert_eq!(aims(&lab), ("192.168.0.11:4000".into(), "192.168.0.10:6000".into()));
    reoffer(&mut lab, sdp("192.168.0.10", 4000));
    speak_both_ways(&mut lab, b"moved back");
    assert_eq!(packets_at_the_contact_point(&lab), 0);
}

#[test]
fn rtcp_elsewhere_is_told() {
    let mut lab = one_lan(3, true, "192.168.0.11");
    let offer = [sdp("192.168.0.10", 4000), b"a=rtcp:6001\r\n".to_vec()].concat();
    lab.request(0, Method::Invite, "sip:bob@example.com", "alice", |r| {
        r.header("From", "<sip:alice@example.com>;tag=fromalice")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "rtcp")
            .body("application/sdp", offer)
    });
    lab.world.run_for(S);
    let body = String::from_utf8_lossy(invite_heard(&lab).msg().body()).into_owned();
    assert!(body.contains("m=audio 4000 ") && body.contains("a=rtcp:6001\r\n"), "{body}");
}

#[test]
fn a_domain_may_want_all_media() {
    let mut lab = one_lan(4, false, "192.168.0.11");
    lab.call(0, "alice", 1, "bob", "anchored");
    let (to_bob, to_alice) = aims(&lab);
    assert!(through_the_agent(&to_bob) && through_the_agent(&to_alice), "{to_bob} {to_alice}");
    speak_both_ways(&mut lab, b"by the contact point");
    assert_eq!(packets_at_the_contact_point(&lab), 4, "each packet leaves one leg and enters the other");
    let tokens =
        lab.server().seen.iter().any(|m| String::from_utf8_lossy(m.msg().body()).contains("x-causeway"));
    assert!(!tokens);
}

#[test]
fn phones_of_different_networks_keep_the_detour() {
    let mut lab = one_lan(5, true, "192.168.77.11");
    lab.call(0, "alice", 1, "bob", "far");
    let (to_bob, to_alice) = aims(&lab);
    assert!(through_the_agent(&to_bob) && through_the_agent(&to_alice), "{to_bob} {to_alice}");
    speak_both_ways(&mut lab, b"routed");
}

#[test]
fn an_operator_who_leads_media_or_removes_the_token_has_them() {
    let without: fn(&str) -> String = |body| {
        body.lines().filter(|line| !line.starts_with("a=x-")).map(|line| format!("{line}\r\n")).collect()
    };
    // A relay of the operator's: its own address, everything else left.
    let relay: fn(&str) -> String = |body| body.replace("c=IN IP4 198.51.100.1", "c=IN IP4 198.51.100.77");
    // A port of the contact point, but not the one that this leg was given.
    let shifted: fn(&str) -> String = |body| {
        let line = body.lines().find(|line| line.starts_with("m=audio ")).unwrap();
        let port: u16 = line.split(' ').nth(1).unwrap().parse().unwrap();
        body.replace(line, &line.replacen(&port.to_string(), &(port + 20).to_string(), 1))
    };
    for mangle in [without, relay, shifted] {
        let mut lab = one_lan(6, true, "192.168.0.11");
        lab.world.node_mut::<Server>(lab.server).mangle = Some(mangle);
        lab.call(0, "alice", 1, "bob", "led");
        let (to_bob, to_alice) = aims(&lab);
        assert!(through_the_agent(&to_bob) && through_the_agent(&to_alice), "{to_bob} {to_alice}");
    }
}

#[test]
fn nobody_else_can_aim_media_at_a_phone() {
    let mut lab = one_lan(7, true, "192.168.0.11");
    let carol = lab.add_phone(0, "192.168.0.12");
    lab.register(carol, "carol", 600);
    // Alice and Carol talk; Mallory, at the operator's, knows Alice's port at the contact point and calls Bob.
    lab.call(0, "alice", carol, "carol", "private");
    let seen = lab.server().seen.iter().find(|m| !m.msg().body().is_empty()).unwrap().clone();
    let (port, body) = (media_of(&seen), String::from_utf8_lossy(seen.msg().body()).into_owned());
    let token = body.lines().find_map(|line| line.strip_prefix("a=x-causeway-leg:")).unwrap().to_owned();
    assert_eq!(token.len(), 24);
    let contact = lab.server().bindings["sip:bob@example.com"].clone();
    let lane = "a=x-causeway-lane:17\r\n";
    let guess = "a=x-causeway-leg:000000000000000000000000\r\n";
    let own_port = format!("m=audio {} RTP/AVP 0\r\n", port.port());
    for (n, (lines, session)) in
        [(own_port.clone(), ""), (own_port.clone(), guess), (format!("{own_port}{lane}"), "")]
            .into_iter()
            .enumerate()
    {
        let offer = format!(
            "v=0\r\no=- 1 1 IN IP4 {CONTACT}\r\ns=-\r\nc=IN IP4 {CONTACT}\r\nt=0 0\r\n{session}{lines}"
        );
        let invite = causeway_sip::RequestBuilder::new(Method::Invite, contact.as_bytes())
            .header("Via", format!("SIP/2.0/UDP {SERVER}:5060;branch=z9hG4bKm{n}"))
            .header("From", "<sip:mallory@example.com>;tag=m")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", format!("mallory-{n}"))
            .header("Contact", format!("<sip:m@{SERVER}:5060>"))
            .cseq(1, Method::Invite)
            .max_forwards(70)
            .body("application/sdp", offer)
            .finish();
        lab.world.with::<Server, _>(lab.server, |_, _, out| {
            out.datagram(Flow(0), at("198.51.100.1:5060"), &invite);
        });
        lab.world.run_for(S);
        let heard = invite_heard(&lab);
        assert_eq!(heard.msg().call_id(), Some(format!("mallory-{n}").as_bytes()));
        assert!(through_the_agent(&media_of(&heard).to_string()), "{lines}{session}");
    }
    // The same from a phone: what it says of lanes and legs does not count either.
    let offer = String::from_utf8(sdp("192.168.0.12", 4000)).unwrap() + lane;
    lab.request(carol, Method::Invite, "sip:bob@example.com", "carol", |r| {
        r.header("From", "<sip:carol@example.com>;tag=c")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "carol-tries")
            .body("application/sdp", offer)
    });
    lab.world.run_for(S);
    assert_eq!(media_of(&invite_heard(&lab)), at("192.168.0.12:4000"), "her own address, as always");
}
