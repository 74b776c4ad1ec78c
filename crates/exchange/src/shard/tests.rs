//! Every rule, and that it agrees with those who come later in a transaction or dialog.

use super::*;
use crate::route::record_route;
use causeway_sip::transaction::Transport;
use causeway_sip::{Message, RequestBuilder};

const OF: Shard = Shard { own: 0, of: 7 };
const BOB: &str = "sip:bob@example.com";

fn config() -> Config {
    let mut config = Config::new("example.com", "192.0.2.1:5060".parse().unwrap());
    config.shard = OF;
    config
}

fn keys() -> Keys {
    Keys::new([7; 32])
}

fn request(method: Method<'_>, uri: &str, to: &str, call_id: &str) -> RequestBuilder {
    RequestBuilder::new(method, uri.as_bytes())
        .header("Via", "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1")
        .header("From", "<sip:alice@example.com>;tag=f")
        .header("To", to)
        .header("Call-ID", call_id)
        .cseq(1, method)
}

fn tag(request: RequestBuilder) -> u16 {
    let message = Message::parse(request.finish()).unwrap();
    of_request(&config(), &keys(), message.msg())
}

fn bob() -> u16 {
    of_aor(&keys(), BOB.as_bytes())
}

/// Two Call-IDs whose hashes differ, so that what does not depend on them is seen not to.
const CALLS: [&str; 2] = ["one", "another"];

#[test]
fn what_begins_belongs_to_whom_it_is_for() {
    for call in CALLS {
        for uri in [
            BOB,
            "SIP:bob@EXAMPLE.com:5060;transport=tcp",
            "sips:bob@example.com",
            "sip:%62ob@192.0.2.1",
            "sip:bob@example.com;gr=urn:uuid:1",
        ] {
            for method in
                [Method::Invite, Method::Message, Method::Subscribe, Method::Publish, Method::Cancel]
            {
                assert_eq!(tag(request(method, uri, "<sip:carol@example.com>", call)), bob(), "{uri}");
            }
        }
        let register = |to: &str| tag(request(Method::Register, "sip:example.com", to, call));
        assert_eq!(register("<sip:bob@example.com>"), bob());
        assert_eq!(register("Bob <SIP:bob@EXAMPLE.COM;x=y>;z=1"), bob());
    }
}

#[test]
fn what_leaves_the_domain_or_is_for_the_exchange_goes_by_its_call_id() {
    for (method, uri, to) in [
        (Method::Invite, "sip:x@example.org", "<sip:x@example.org>"),
        (Method::Options, "sip:example.com", "<sip:example.com>"),
        (Method::Register, "sip:example.org", "<sip:x@example.org>"),
        (Method::Invite, "tel:+4712345", "<tel:+4712345>"),
    ] {
        let [one, another] = CALLS.map(|call| tag(request(method, uri, to, call)));
        assert_ne!(one, another, "{uri}");
        assert_eq!(one, keys().tag("shard-call", b"one"));
    }
}

#[test]
fn temporary_gruus_lead_to_the_user_although_they_do_not_name_him() {
    let seed = seed(&keys(), BOB.as_bytes(), 0xdead_beef_1234_5678);
    for number in [1, 2] {
        let uri = format!("sip:tgruu.{}@example.com;gr", keys().seal_gruu(seed, number));
        assert_eq!(tag(request(Method::Invite, &uri, "<sip:x@y>", "one")), bob());
    }
    let forged = format!("sip:tgruu.{}@example.com;gr", "0".repeat(32));
    tag(request(Method::Invite, &forged, "<sip:x@y>", "one"));
}

/// Of an INVITE: its CANCEL, the ACK for its failure, which has a To tag, and what follows in its dialog.
#[test]
fn a_dialog_stays_where_its_invite_was() {
    for (uri, call) in [(BOB, "one"), ("sip:x@example.org", "one"), ("sip:x@example.org", "another")] {
        let invite = tag(request(Method::Invite, uri, "<sip:x@y>", call));
        assert_eq!(tag(request(Method::Cancel, uri, "<sip:x@y>", call)), invite);
        assert_eq!(tag(request(Method::Ack, uri, "<sip:x@y>;tag=t", call)), invite);
        let proof = format!("0123456789abcdef{}", OF.param(&keys(), invite, call.as_bytes()));
        for transport in [Transport::Udp, Transport::Tcp] {
            let route = record_route(&config(), &proof, "", transport, false);
            for method in [Method::Ack, Method::Bye, Method::Invite, Method::Cancel] {
                let inside = request(method, "sip:x@203.0.113.7", "<sip:x@y>;tag=t", call);
                assert_eq!(tag(inside.header("Route", &route)), invite);
                // Without a To tag it begins something, whatever Route it has.
                let begins = request(method, BOB, "<sip:x@y>", call);
                assert_eq!(tag(begins.header("Route", &route)), bob());
            }
            // Taken to another call it means another member, or the same by chance: never more than a member.
            let stolen = request(Method::Bye, "sip:x@203.0.113.7", "<sip:x@y>;tag=t", "third");
            assert!(OF.of_tag(tag(stolen.header("Route", &route))) < OF.of);
        }
    }
}

#[test]
fn a_route_of_somebody_else_or_one_that_cannot_be_read_counts_for_nothing() {
    let plain = tag(request(Method::Bye, BOB, "<sip:x@y>;tag=t", "one"));
    for route in [
        "<sip:203.0.113.9;lr;cs=0000>",
        "<sip:192.0.2.1;lr>",
        "<sip:192.0.2.1;lr;cs=00000>",
        "<sip:192.0.2.1;lr;cs=0000~~~~~~~010>",
        "<sip:192.0.2.1;lr;cs=000~~~~~~~01>",
        "<sip:192.0.2.1;cs=+123>",
        "nonsense",
    ] {
        let tagged = request(Method::Bye, BOB, "<sip:x@y>;tag=t", "one").header("Route", route);
        let expected = if route.contains('+') {
            tag(tagged)
        } else {
            assert_eq!(tag(tagged), plain, "{route}");
            plain
        };
        assert!(OF.of_tag(expected) < OF.of);
    }
}

fn response(branch: &str) -> Message {
    Message::parse(format!(
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch={branch}\r\nFrom: <sip:a@b>;tag=1\r\n\
         To: <sip:a@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n"
    ))
    .unwrap()
}

#[test]
fn responses_go_to_whose_branch_it_is() {
    for own in [0, 1, 6] {
        let shard = Shard { own, of: 7 };
        for branch in [
            format!(
                "z9hG4bK-cw0123456789abcdef-{}",
                String::from_utf8_lossy(&shard.suffix(b"fedcba9876543210"))
            ),
            format!("z9hG4bK-cw0123456789abcdef-{}", shard.mark()),
            format!("z9hG4bK-cs0123456789abcdef-{}", shard.mark()),
        ] {
            assert_eq!(OF.owner(&config(), &keys(), response(&branch).msg()), own, "{branch}");
        }
    }
    for strange in [
        "z9hG4bK",
        "x",
        "z9hG4bK-cw0123456789abcdef",
        "z9hG4bK-cw0123456789abcdef-",
        "z9hG4bK-cw0123456789abcdef-~~~~~~~ff",
        "z9hG4bK-cw0123456789abcdef-~~~~~~~07-x",
        "z9hG4bK-cw0123456789abcdef-~~~~~~~012",
        "z9hG4bK-cw0123456789abcdef-01-x",
        "z9hG4bK-cw0123456789abcdefx~~~~~~~01",
        "z9hG4bK-cw0123456789abcdef-fedcba9876543210",
    ] {
        let own = Shard { own: 3, of: 7 };
        assert_eq!(own.owner(&config(), &keys(), response(strange).msg()), 3, "{strange}");
    }
    assert_eq!((&*Shard::ALONE.suffix(b"x"), Shard::ALONE.mark()), (&b"x"[..], String::new()));
}

/// Bytes of a message changed, cut and moved about: every member that makes it out at all names the same owner, and
/// that is one there is.
#[test]
fn whatever_comes_all_members_agree_and_none_panics() {
    let route =
        record_route(&config(), &format!("0{}", OF.param(&keys(), 9, b"one")), "", Transport::Udp, false);
    let gruu = format!("sip:tgruu.{}@example.com;gr", keys().seal_gruu(seed(&keys(), BOB.as_bytes(), 5), 1));
    let samples = [
        request(Method::Invite, BOB, "<sip:bob@example.com>", "one").finish(),
        request(Method::Bye, "sip:x@203.0.113.7", "<sip:x@y>;tag=t", "one").header("Route", route).finish(),
        request(Method::Register, "sip:example.com", "<sip:bob@example.com>", "one").finish(),
        request(Method::Invite, &gruu, "<sip:x@y>", "one").finish(),
        response("z9hG4bK-cw0123456789abcdef-~~~~~~~01-fedcba9876543210").msg().bytes().to_vec(),
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut read = 0;
    for round in 0..20_000 {
        let mut bytes = samples[round % samples.len()].clone();
        for _ in 0..below(4) {
            let at = below(bytes.len());
            match below(4) {
                0 => bytes[at] = u8::try_from(below(256)).unwrap(),
                1 => bytes[at] = b";:<>@=\r\n \"%"[below(11)],
                2 => drop(bytes.drain(at..(at + below(8)).min(bytes.len()))),
                _ => bytes.insert(at, b"\r\n;:x"[below(5)]),
            }
        }
        let Ok(message) = Message::parse(bytes) else { continue };
        read += 1;
        let owners: Vec<u16> = (0..3)
            .map(|own| {
                let shard = Shard { own, of: 3 };
                shard.owner(&Config { shard, ..config() }, &keys(), message.msg())
            })
            .collect();
        match message.msg().is_request() {
            true => assert!(owners[0] < 3 && owners.iter().all(|owner| *owner == owners[0]), "{owners:?}"),
            // One that names nobody is everybody's own.
            false => assert!(owners == [0, 1, 2] || owners.iter().all(|owner| *owner == owners[0])),
        }
    }
    assert!(read > 5_000, "{read}");
}

#[test]
fn users_are_spread_evenly_whatever_the_number_of_members() {
    for of in [2, 3, 7, 64] {
        let shard = Shard { own: 0, of };
        let mut counts = vec![0_u32; usize::from(of)];
        for n in 0..20_000 {
            counts[usize::from(shard.of_tag(of_aor(&keys(), format!("sip:{n}@example.com").as_bytes())))] +=
                1;
        }
        let mean = 20_000 / u32::from(of);
        let within = |count: &u32| count.abs_diff(mean) < mean / 2;
        assert!(counts.iter().all(within), "{counts:?}");
    }
}
