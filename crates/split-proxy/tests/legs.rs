//! Delay and loss of each part of a call's way, as both halves tell them from the RTCP that passes.

mod common;

use causeway_node::Flow;
use causeway_sim::Link;
use common::*;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
/// How long a phone keeps a sender report before it answers.
const KEPT: u32 = 500;

/// A sender report whose clock shows so many milliseconds, and if given a block about the other's last one.
fn report(ssrc: u8, shows: u64, about: Option<(u64, u32)>) -> Vec<u8> {
    let ntp = (7u64 << 32) + (shows << 32) / 1000;
    let mut body = vec![0, 0, 0, ssrc];
    body.extend(ntp.to_be_bytes());
    body.extend((shows as u32 * 8).to_be_bytes());
    body.extend([0; 8]);
    if let Some((shown, lost)) = about {
        let heard = (7u64 << 32) + (shown << 32) / 1000;
        body.extend([0, 0, 0, 3 - ssrc]);
        body.extend(lost.to_be_bytes());
        body.extend([0; 4]);
        body.extend(40u32.to_be_bytes());
        body.extend(((heard >> 16) as u32).to_be_bytes());
        body.extend((KEPT * 65_536 / 1000).to_be_bytes());
    }
    let head = [0x80 | u8::from(about.is_some()), 200, 0, (body.len() / 4) as u8];
    [&head[..], &body].concat()
}

fn send(lab: &mut Lab, n: usize, port: u32, to: SocketAddr, packet: Vec<u8>) {
    lab.world.with::<Phone, _>(lab.phones[n], move |_, _, out| out.datagram(Flow(port), to, &packet));
}

fn leg(status: &Value, call: usize, part: &str, what: &str) -> f64 {
    let value = &status["calls"][call]["media"][0]["legs"][part][what];
    value.as_f64().unwrap_or_else(|| panic!("no {part} {what} in {status:#}"))
}

#[track_caller]
fn near(measured: f64, expected: f64) {
    assert!((measured - expected).abs() < 3.0, "{measured} ms instead of {expected} ms");
}

/// `mux`: RTCP on the ports of RTP (RFC 5761).
fn legs_are_told(seed: u64, mux: bool) {
    let mut lab = Lab::new(seed, 2, |_| {});
    // One way: LANs 10 and 5 ms, tunnels 30 and 50 ms.
    for (a, b, ms) in [
        ("192.168.0.10", "192.168.0.1", 10),
        ("192.168.1.10", "192.168.1.1", 5),
        ("203.0.113.1", CONTACT, 30),
        ("203.0.113.2", CONTACT, 50),
    ] {
        lab.world.link(a, b, Link::delay(ms * MS));
    }
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.call(0, "alice", 1, "bob", "call-1");
    let heard = [
        lab.phone(0).last(200).unwrap().clone(),
        lab.phone(1).last_request(causeway_sip::Method::Invite).unwrap().clone(),
    ];
    let media = heard.each_ref().map(|message| lab.media_of(message));
    let port = if mux { 4000 } else { 4001 };
    let to = media.map(|to| SocketAddr::new(to.ip(), to.port() + u16::from(!mux)));
    // Speech of which numbers are missing: 2 at the agent already, of Alice's.
    for sequence in [1, 2, 5, 6] {
        lab.speak(0, media[0], sequence, b"x");
    }
    send(&mut lab, 0, port, to[0], report(1, 100, None));
    send(&mut lab, 1, port, to[1], report(2, 100, None));
    lab.world.run_for(S);
    let got = lab.phone(1).media.iter().filter(|(at, _, bytes)| u32::from(*at) == port && bytes[1] == 200);
    assert_eq!(got.count(), 1, "reports pass as they are");
    // Each answers 500 ms after the other's has come, which took 95 ms.
    lab.world.run_for(5 * S);
    send(&mut lab, 0, port, to[0], report(1, 7000, None));
    send(&mut lab, 1, port, to[1], report(2, 7000, None));
    lab.world.run_for((95 + u64::from(KEPT)) as u32 * MS);
    send(&mut lab, 0, port, to[0], report(1, 7600, Some((7000, 0))));
    send(&mut lab, 1, port, to[1], report(2, 7600, Some((7000, 3))));
    lab.world.run_for(6 * S);

    let [first, second] = [0, 1].map(|n| lab.status(lab.agents[n]));
    near(leg(&first, 0, "lan", "rtt_ms"), 20.0);
    near(leg(&first, 0, "tunnel", "rtt_ms"), 60.0);
    near(leg(&first, 0, "far", "rtt_ms"), 170.0);
    near(leg(&second, 0, "lan", "rtt_ms"), 10.0);
    near(leg(&second, 0, "tunnel", "rtt_ms"), 100.0);
    near(leg(&second, 0, "far", "rtt_ms"), 180.0);
    let contact = lab.status(lab.contact);
    let of = |direction: &str| {
        let calls = contact["calls"].as_array().unwrap();
        calls.iter().position(|call| call["direction"] == direction).unwrap()
    };
    near(leg(&contact, of("from phone"), "operator", "rtt_ms"), 110.0);
    near(leg(&contact, of("from phone"), "far", "rtt_ms"), 80.0);
    near(leg(&contact, of("to phone"), "operator", "rtt_ms"), 80.0);
    near(leg(&contact, of("to phone"), "far", "rtt_ms"), 110.0);
    assert_eq!(leg(&first, 0, "lan", "lost_from"), 2.0);
    assert_eq!(leg(&second, 0, "far", "lost_from"), 2.0);
    assert_eq!(leg(&second, 0, "lan", "lost_to"), 1.0, "of three, two were missing before");
    assert_eq!(leg(&second, 0, "lan", "jitter_ms"), 5.0, "40 ticks at 8 kHz");
}

#[test]
fn delay_and_loss_are_told_for_each_leg() {
    legs_are_told(1, false);
}

#[test]
fn so_they_are_where_rtcp_shares_the_port() {
    legs_are_told(2, true);
}

#[test]
fn a_fax_has_its_losses_counted() {
    let mut lab = Lab::new(3, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.call(0, "alice", 1, "bob", "call-1");
    let fax = |ip: &str| {
        String::from_utf8(sdp(ip, 4000)).unwrap().replace("audio 4000 RTP/AVP 0", "image 4000 udptl t38")
    };
    let offer = fax(&lab.phone(0).ip).into_bytes();
    lab.in_dialog_of_caller(0, "alice", causeway_sip::Method::Invite, Some(offer));
    lab.world.run_for(S);
    let answer = fax(&lab.phone(1).ip).into_bytes();
    lab.world.with::<Phone, _>(lab.phones[1], |phone, _, out| {
        let invite = phone.last_request(causeway_sip::Method::Invite).unwrap().clone();
        let response = causeway_sip::response_to(invite.msg(), 200, None, None)
            .header("Contact", phone.contact("bob"))
            .body("application/sdp", answer);
        phone.send(out, &response.finish());
    });
    lab.world.run_for(S);
    lab.in_dialog_of_caller(0, "alice", causeway_sip::Method::Ack, None);
    let body = String::from_utf8_lossy(lab.phone(0).last(200).unwrap().msg().body()).into_owned();
    let port = body.lines().find_map(|line| line.strip_prefix("m=image ")?.split(' ').next()?.parse().ok());
    let to = SocketAddr::new(lab.phone(0).agent.ip(), port.unwrap());
    for sequence in [1u8, 2, 4] {
        send(&mut lab, 0, 4000, to, vec![0, sequence, 1, 0xc0, 0, 0]);
    }
    send(&mut lab, 0, 4000, to, b"no fax".to_vec());
    lab.world.run_for(S);
    assert_eq!(lab.phone(1).media.len(), 4, "all of it passes");
    let status = lab.status(lab.agents[0]);
    let line = &status["calls"][0]["media"][0];
    assert_eq!(
        (line["kind"].as_str(), line["from_network"]["lost"].as_u64()),
        (Some("fax"), Some(1)),
        "{line}"
    );
    assert_eq!(line["from_network"]["not_rtp"].as_u64(), Some(1));
}
