//! IPv6 at either side, and at one alone: media and signalling change their address family in between.

mod common;

use causeway_node::Flow;
use causeway_sip::{HeaderId, Method};
use causeway_split_proxy::Mode;
use common::*;

/// An operator with IPv6 alone; agents reach the contact point over IPv4.
const V6_OPERATOR: Plan = Plan {
    server: "2001:db8:9::2",
    sip: "2001:db8:9::1",
    tunnel: "198.51.100.1",
    outer: "203.0.113.",
    lan: "192.168.",
};
/// Nothing but IPv6 anywhere.
const V6: Plan = Plan { tunnel: "2001:db8:9::1", outer: "2001:db8:5::", lan: "fd00:0:0:", ..V6_OPERATOR };
/// Phones with IPv6 alone before an operator with IPv4 alone.
const V6_LAN: Plan = Plan { outer: "203.0.113.", lan: "fd00:0:0:", ..V4 };

fn a_call(plan: Plan, mode: Mode) {
    let mut lab = Lab::at(plan, 1, 2, |config| config.mode = mode);
    lab.world.node_mut::<Server>(lab.server).store_path = mode == Mode::Path;
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    let stored = &lab.server().bindings["sip:alice@example.com"];
    assert!(stored.ends_with(&format!("@{}:5060", host(plan.sip))), "{stored}");
    let own = lab.phone(0).contact("alice");
    let shown = lab.phone(0).last(200).unwrap().msg().header(HeaderId::Contact).unwrap().to_vec();
    assert!(String::from_utf8(shown).unwrap().starts_with(&own));
    lab.call(0, "alice", 1, "bob", "six");
    let family = |ip: &str| if ip.contains(':') { "IN IP6 " } else { "IN IP4 " };
    let (at_server, at_phone) = (
        lab.server().requests(Method::Invite)[0].clone(),
        lab.phone(1).last_request(Method::Invite).unwrap().clone(),
    );
    for (message, side) in [(&at_server, plan.sip), (&at_phone, plan.lan)] {
        let body = String::from_utf8_lossy(message.msg().body()).into_owned();
        assert!(body.contains(&format!("c={}{side}", family(side))), "{body}");
        let origin = format!("o=- 1 1 {}{}", family(plan.lan), lab.phone(0).ip);
        assert!(body.starts_with(&format!("v=0\r\n{origin}\r\n")), "the origin stays: {body}");
        let via = String::from_utf8_lossy(message.msg().header(HeaderId::Via).unwrap()).into_owned();
        assert!(via.contains(&host(side).replace(']', "")), "{via}");
    }
    let to_callee = media_of(lab.phone(0).last(200).unwrap());
    let to_caller = media_of(&at_phone);
    lab.speak(0, to_callee, 1, b"over");
    lab.speak(1, to_caller, 2, b"and back");
    let report = [0x80, 200, 0, 1, 0, 0, 0, 7];
    lab.world.with::<Phone, _>(lab.phones[0], |_, _, out| {
        let mut to = to_callee;
        to.set_port(to.port() + 1);
        out.datagram(Flow(4001), to, &report);
    });
    lab.world.run_for(S);
    let heard =
        |n: usize| lab.phone(n).media.iter().map(|(port, _, b)| (*port, b.clone())).collect::<Vec<_>>();
    assert_eq!(heard(1), [(4000, rtp(1, b"over")), (4001, report.to_vec())]);
    assert_eq!(heard(0), [(4000, rtp(2, b"and back"))]);
    lab.in_dialog_of_callee(1, "bob", Method::Bye, None);
    lab.world.run_for(S);
    let bye = lab.phone(0).last_request(Method::Bye).expect("BYE comes through").clone();
    lab.say(0, &causeway_sip::response_to(bye.msg(), 200, None, None).finish());
    lab.world.run_for(S);
    assert!(lab.status(lab.contact)["calls"].as_array().unwrap().is_empty());
}

#[test]
fn an_operator_with_ipv6_before_lans_with_ipv4() {
    a_call(V6_OPERATOR, Mode::Plain);
    a_call(V6_OPERATOR, Mode::Path);
}

#[test]
fn nothing_but_ipv6() {
    a_call(V6, Mode::Plain);
}

#[test]
fn lans_with_ipv6_before_an_operator_with_ipv4() {
    a_call(V6_LAN, Mode::Plain);
}

#[test]
fn phones_of_one_lan_with_ipv6_send_to_one_another() {
    let mut lab = Lab::at(V6, 2, 1, |_| {});
    let bob = lab.add_phone(0, "fd00:0:0:0::11");
    lab.register(0, "alice", 600);
    lab.register(bob, "bob", 600);
    lab.call(0, "alice", bob, "bob", "six-lan");
    assert_eq!(media_of(lab.phone(0).last(200).unwrap()), at("[fd00::11]:4000"));
    assert_eq!(media_of(lab.phone(bob).last_request(Method::Invite).unwrap()), at("[fd00::10]:4000"));
}

#[test]
fn a_line_on_hold_keeps_its_family_and_is_still_on_hold() {
    let mut lab = Lab::at(V6_OPERATOR, 3, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.call(0, "alice", 1, "bob", "hold");
    let hold = String::from_utf8(sdp("192.168.0.10", 4000)).unwrap();
    let hold = hold.replace("c=IN IP4 192.168.0.10", "c=IN IP4 0.0.0.0");
    lab.in_dialog_of_caller(0, "alice", Method::Invite, Some(hold.into_bytes()));
    lab.world.run_for(S);
    let invites = lab.server().requests(Method::Invite);
    let body = String::from_utf8_lossy(invites.last().unwrap().msg().body()).into_owned();
    assert!(body.contains("c=IN IP4 0.0.0.0\r\n"), "{body}");
}
