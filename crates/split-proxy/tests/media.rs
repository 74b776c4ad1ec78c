//! Every medium over UDP, and every way in which offers and answers travel.

mod common;

use causeway_node::Flow;
use causeway_sip::{HeaderId, Message, Method, response_to};
use common::*;

fn two_registered(seed: u64) -> Lab {
    let mut lab = Lab::new(seed, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab
}

/// A description of phone `n` with these lines from the first `m=` on.
fn with_lines(n: usize, lines: &str) -> Vec<u8> {
    let ip = format!("192.168.{n}.10");
    let head = format!("v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n");
    [head, lines.to_owned()].concat().into_bytes()
}

/// Phone 1 answers the newest request of this method.
fn reply(lab: &mut Lab, method: Method<'static>, status: u16, body: Option<Vec<u8>>) {
    lab.world.with::<Phone, _>(lab.phones[1], |phone, _, out| {
        let request = phone.last_request(method).unwrap().clone();
        let mut response = response_to(request.msg(), status, None, Some(b"tobob"))
            .record_routes()
            .header("Contact", phone.contact("bob"));
        if let Some(body) = body {
            response = response.body("application/sdp", body);
        }
        phone.send(out, &response.finish());
    });
    lab.world.run_for(S);
}

/// Alice offers anew, Bob answers so.
fn reoffer(lab: &mut Lab, offer: &str, status: u16, answer: Option<&str>) {
    lab.in_dialog_of_caller(0, "alice", Method::Invite, Some(with_lines(0, offer)));
    lab.world.run_for(S);
    reply(lab, Method::Invite, status, answer.map(|lines| with_lines(1, lines)));
    lab.in_dialog_of_caller(0, "alice", Method::Ack, None);
    lab.world.run_for(S);
}

fn body(message: &Message) -> String {
    String::from_utf8_lossy(message.msg().body()).into_owned()
}

fn ports(message: &Message) -> Vec<u16> {
    let body = body(message);
    let lines = body.lines().filter_map(|line| line.strip_prefix("m="));
    lines.map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect()
}

/// Where the newest offer that phone 1 has heard wants line `line`.
fn offered(lab: &Lab, line: usize) -> std::net::SocketAddr {
    let invite = lab.phone(1).last_request(Method::Invite).unwrap();
    at(&format!("192.168.1.1:{}", ports(invite)[line]))
}

/// Where the newest answer that phone 0 has heard wants line `line`.
fn answered(lab: &Lab, line: usize) -> std::net::SocketAddr {
    at(&format!("192.168.0.1:{}", ports(lab.phone(0).last(200).unwrap())[line]))
}

fn send(lab: &mut Lab, n: usize, from: u16, to: std::net::SocketAddr, bytes: &[u8]) {
    let bytes = bytes.to_vec();
    lab.world.with::<Phone, _>(lab.phones[n], |_, _, out| out.datagram(Flow(u32::from(from)), to, &bytes));
    lab.world.run_for(S / 5);
}

/// What phone `n` has heard since it was asked last: port and payload.
fn heard(lab: &mut Lab, n: usize) -> Vec<(u16, Vec<u8>)> {
    let phone = lab.world.node_mut::<Phone>(lab.phones[n]);
    phone.media.drain(..).map(|(port, _, bytes)| (port, bytes)).collect()
}

fn lanes(lab: &Lab) -> Vec<u64> {
    let tunnels = lab.status(lab.contact)["tunnels"].clone();
    tunnels.as_array().unwrap().iter().map(|tunnel| tunnel["lanes"].as_u64().unwrap()).collect()
}

const AUDIO: &str = "m=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n";
const T38: &str = "m=image 6000 udptl t38\r\na=T38FaxVersion:0\r\n";

#[test]
fn a_fax_takes_the_place_of_the_voice_and_gives_it_back() {
    let mut lab = two_registered(1);
    lab.call(0, "alice", 1, "bob", "fax");
    assert_eq!(lanes(&lab), [2, 2]);
    reoffer(&mut lab, T38, 200, Some(T38));
    assert_eq!(lanes(&lab), [1, 1], "the lanes of the voice are closed");
    let (to_caller, to_callee) = (offered(&lab, 0), answered(&lab, 0));
    send(&mut lab, 0, 6000, to_callee, b"\x00\x00\x01\x00udptl out");
    send(&mut lab, 1, 6000, to_caller, b"\x00\x01\x01\x00udptl back");
    assert_eq!(heard(&mut lab, 1), [(6000, b"\x00\x00\x01\x00udptl out".to_vec())]);
    assert_eq!(heard(&mut lab, 0), [(6000, b"\x00\x01\x01\x00udptl back".to_vec())]);
    let kind = lab.status(lab.contact)["calls"][0]["media"][0]["kind"].clone();
    assert_eq!(kind, "fax");
    reoffer(&mut lab, AUDIO, 200, Some(AUDIO));
    assert_eq!(lanes(&lab), [2, 2]);
    let to_callee = answered(&lab, 0);
    lab.speak(0, to_callee, 1, b"voice again");
    lab.world.run_for(S);
    assert_eq!(heard(&mut lab, 1), [(4000, rtp(1, b"voice again"))]);
}

#[test]
fn a_refused_offer_changes_nothing() {
    let mut lab = two_registered(2);
    lab.call(0, "alice", 1, "bob", "refused");
    let (to_caller, to_callee) = (offered(&lab, 0), answered(&lab, 0));
    let before = lanes(&lab);
    let with_video = format!("{T38}m=video 4000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n");
    for (offer, status) in [(T38, 488), ("m=audio 6000 RTP/AVP 0\r\n", 488), (&with_video, 491)] {
        reoffer(&mut lab, offer, status, None);
        assert_eq!(lanes(&lab), before, "after {status} to {offer}");
        let calls = lab.status(lab.contact)["calls"].clone();
        let of_call = |n: usize| calls[n]["media"].as_array().unwrap().len();
        assert_eq!((of_call(0), of_call(1)), (2, 2), "the line that was refused is gone: {calls:#}");
        lab.speak(1, to_caller, 5, b"still to the old port");
        lab.speak(0, to_callee, 6, b"and back");
        lab.world.run_for(S);
        assert_eq!(
            heard(&mut lab, 0),
            [(4000, rtp(5, b"still to the old port"))],
            "after {status} to {offer}"
        );
        assert_eq!(heard(&mut lab, 1), [(4000, rtp(6, b"and back"))]);
    }
    for id in [lab.contact, lab.agents[0], lab.agents[1]] {
        let used = lab.status(id)["ports"]["used"].as_u64().unwrap();
        assert_eq!(used, if id == lab.contact { 4 } else { 2 });
    }
}

#[test]
fn video_is_added_and_removed_and_its_line_used_again() {
    let mut lab = two_registered(3);
    lab.call(0, "alice", 1, "bob", "video");
    let both = format!("{AUDIO}m=video 6000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n");
    reoffer(&mut lab, &both, 200, Some(&both));
    assert_eq!(lanes(&lab), [4, 4]);
    let (to_caller, to_callee) = (offered(&lab, 1), answered(&lab, 1));
    send(&mut lab, 0, 6000, to_callee, &rtp(1, b"picture"));
    send(&mut lab, 1, 6000, to_caller, &rtp(2, b"picture back"));
    assert_eq!(heard(&mut lab, 1), [(6000, rtp(1, b"picture"))]);
    assert_eq!(heard(&mut lab, 0), [(6000, rtp(2, b"picture back"))]);
    let without = format!("{AUDIO}m=video 0 RTP/AVP 96\r\n");
    reoffer(&mut lab, &without, 200, Some(&without));
    assert_eq!(ports(lab.phone(1).last_request(Method::Invite).unwrap())[1], 0);
    send(&mut lab, 1, 6000, to_caller, &rtp(3, b"late picture"));
    assert!(heard(&mut lab, 0).is_empty(), "nobody wants pictures any more");
    let again = format!("{AUDIO}{T38}");
    reoffer(&mut lab, &again, 200, Some(&again));
    assert_eq!(lanes(&lab), [3, 3]);
    let to_callee = answered(&lab, 1);
    send(&mut lab, 0, 6000, to_callee, b"fax in the line of the picture");
    assert_eq!(heard(&mut lab, 1), [(6000, b"fax in the line of the picture".to_vec())]);
}

#[test]
fn a_line_rejected_in_the_answer_gets_nothing() {
    let mut lab = two_registered(4);
    lab.request(0, Method::Invite, "sip:bob@example.com", "alice", |r| {
        r.header("From", "<sip:alice@example.com>;tag=fromalice")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "rejected")
            .body("application/sdp", with_lines(0, &format!("{AUDIO}m=video 6000 RTP/AVP 96\r\n")))
    });
    lab.world.run_for(S);
    let to_video = offered(&lab, 1);
    let answer = format!("{AUDIO}m=video 0 RTP/AVP 96\r\n");
    reply(&mut lab, Method::Invite, 200, Some(with_lines(1, &answer)));
    let ok = lab.phone(0).last(200).unwrap();
    assert_eq!(ports(ok)[1], 0);
    send(&mut lab, 1, 6000, to_video, &rtp(1, b"unasked"));
    assert!(heard(&mut lab, 0).is_empty());
    let to_callee = answered(&lab, 0);
    lab.speak(0, to_callee, 2, b"but speech");
    lab.world.run_for(S);
    assert_eq!(heard(&mut lab, 1), [(4000, rtp(2, b"but speech"))]);
}

#[test]
fn an_update_in_the_early_dialog_moves_the_media() {
    let mut lab = two_registered(5);
    lab.invite(0, "alice", "bob", "update", 4000);
    lab.world.run_for(S);
    reply(&mut lab, Method::Invite, 183, Some(with_lines(1, AUDIO)));
    let early = lab.phone(0).last(183).unwrap().clone();
    assert_eq!(media_of(&early).ip(), at("192.168.0.1:1").ip());
    let to_caller = offered(&lab, 0);
    send(&mut lab, 1, 4000, to_caller, &rtp(1, b"early media"));
    assert_eq!(heard(&mut lab, 0), [(4000, rtp(1, b"early media"))]);
    let caller_updates = |lab: &mut Lab, offer: &str| {
        let msg = early.msg();
        let target = String::from_utf8_lossy(msg.contact().unwrap().uri).into_owned();
        let mut routes: Vec<Vec<u8>> = msg.values(HeaderId::RecordRoute).map(<[u8]>::to_vec).collect();
        routes.reverse();
        let (from, to) = (msg.header(HeaderId::From).unwrap(), msg.header(HeaderId::To).unwrap());
        lab.request(0, Method::Update, &target, "alice", |r| {
            let r = r.header("From", from).header("To", to).header("Call-ID", "update");
            let r = routes.iter().fold(r, |r, route| r.header("Route", route));
            r.body("application/sdp", with_lines(0, offer))
        });
        lab.world.run_for(S);
    };
    caller_updates(&mut lab, "m=audio 6000 RTP/AVP 0\r\n");
    reply(&mut lab, Method::Update, 200, Some(with_lines(1, AUDIO)));
    send(&mut lab, 1, 4000, to_caller, &rtp(2, b"to the updated port"));
    assert_eq!(heard(&mut lab, 0), [(6000, rtp(2, b"to the updated port"))]);
    caller_updates(&mut lab, "m=audio 4000 RTP/AVP 0\r\n");
    reply(&mut lab, Method::Update, 491, None);
    send(&mut lab, 1, 4000, to_caller, &rtp(3, b"the refused one does not count"));
    assert_eq!(heard(&mut lab, 0), [(6000, rtp(3, b"the refused one does not count"))]);
}

#[test]
fn an_offer_in_a_reliable_provisional_response_is_answered_in_its_prack() {
    let mut lab = two_registered(6);
    lab.request(0, Method::Invite, "sip:bob@example.com", "alice", |r| {
        r.header("From", "<sip:alice@example.com>;tag=fromalice")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "prack")
            .header("Supported", "100rel")
    });
    lab.world.run_for(S);
    lab.world.with::<Phone, _>(lab.phones[1], |phone, _, out| {
        let invite = phone.last_request(Method::Invite).unwrap().clone();
        let progress = response_to(invite.msg(), 183, None, Some(b"tobob"))
            .record_routes()
            .header("Contact", "<sip:bob@192.168.1.10:5060>")
            .header("Require", "100rel")
            .header("RSeq", "1")
            .body("application/sdp", with_lines(1, AUDIO));
        phone.send(out, &progress.finish());
    });
    lab.world.run_for(S);
    let early = lab.phone(0).last(183).unwrap().clone();
    let msg = early.msg();
    let target = String::from_utf8_lossy(msg.contact().unwrap().uri).into_owned();
    let mut routes: Vec<Vec<u8>> = msg.values(HeaderId::RecordRoute).map(<[u8]>::to_vec).collect();
    routes.reverse();
    let (from, to) = (msg.header(HeaderId::From).unwrap(), msg.header(HeaderId::To).unwrap());
    lab.request(0, Method::Prack, &target, "alice", |r| {
        let r =
            r.header("From", from).header("To", to).header("Call-ID", "prack").header("RAck", "1 1 INVITE");
        let r = routes.iter().fold(r, |r, route| r.header("Route", route));
        r.body("application/sdp", with_lines(0, AUDIO))
    });
    lab.world.run_for(S);
    let prack = lab.phone(1).last_request(Method::Prack).unwrap().clone();
    reply(&mut lab, Method::Prack, 200, None);
    let (to_caller, to_callee) = (media_of(&prack), media_of(&early));
    send(&mut lab, 1, 4000, to_caller, &rtp(1, b"ringing tone"));
    send(&mut lab, 0, 4000, to_callee, &rtp(2, b"hello"));
    assert_eq!(heard(&mut lab, 0), [(4000, rtp(1, b"ringing tone"))]);
    assert_eq!(heard(&mut lab, 1), [(4000, rtp(2, b"hello"))]);
}

#[test]
fn a_description_in_a_multipart_body_is_rewritten_and_its_neighbour_is_not() {
    let mut lab = two_registered(7);
    let sdp = String::from_utf8(with_lines(0, AUDIO)).unwrap();
    let isup = "--b1\r\nContent-Type: application/ISUP;version=itu-t92+\r\n\
Content-Disposition: signal;handling=optional\r\n\r\n\u{1}\u{0}c=IN IP4 192.168.0.10\r\nm=audio 4000 x\r\n--b1--\r\n";
    let body_sent = format!("--b1\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n{isup}");
    lab.request(0, Method::Invite, "sip:bob@example.com", "alice", |r| {
        r.header("From", "<sip:alice@example.com>;tag=fromalice")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "multipart")
            .body("multipart/mixed;boundary=b1", body_sent)
    });
    lab.world.run_for(S);
    let invite = lab.phone(1).last_request(Method::Invite).unwrap().clone();
    let text = body(&invite);
    assert!(text.ends_with(isup), "{text}");
    assert!(
        text.contains("c=IN IP4 192.168.1.1\r\n") && text.contains("o=- 1 1 IN IP4 192.168.0.10\r\n"),
        "{text}"
    );
    reply(&mut lab, Method::Invite, 200, Some(with_lines(1, AUDIO)));
    send(&mut lab, 1, 4000, media_of(&invite), &rtp(1, b"back"));
    assert_eq!(heard(&mut lab, 0), [(4000, rtp(1, b"back"))]);
}

#[test]
fn rtcp_goes_where_it_was_agreed_to() {
    for (offer, answer, to_callee, callee_hears) in [
        // Shared with RTP by both (RFC 5761): the offered port carries it.
        ("a=rtcp-mux\r\n", "a=rtcp-mux\r\n", 0, 4000),
        // Somewhere else (RFC 3605).
        ("", "a=rtcp:6001\r\n", 1, 6001),
        ("a=rtcp:6001 IN IP4 192.168.0.10\r\n", "a=rtcp:6000 IN IP4 192.168.1.10\r\n", 1, 6000),
        // Offered and not agreed.
        ("a=rtcp-mux\r\n", "", 1, 4001),
    ] {
        let mut lab = two_registered(8);
        lab.request(0, Method::Invite, "sip:bob@example.com", "alice", |r| {
            r.header("From", "<sip:alice@example.com>;tag=fromalice")
                .header("To", "<sip:bob@example.com>")
                .header("Call-ID", "rtcp")
                .body("application/sdp", with_lines(0, &format!("m=audio 4000 RTP/AVP 0\r\n{offer}")))
        });
        lab.world.run_for(S);
        let answer_lines = format!("m=audio 4000 RTP/AVP 0\r\n{answer}");
        reply(&mut lab, Method::Invite, 200, Some(with_lines(1, &answer_lines)));
        let mut to = answered(&lab, 0);
        to.set_port(to.port() + to_callee);
        let report = [0x80, 200, 0, 1, 0, 0, 0, 7];
        send(&mut lab, 0, if to_callee == 0 { 4000 } else { 4001 }, to, &report);
        assert_eq!(heard(&mut lab, 1), [(callee_hears, report.to_vec())], "{offer:?} {answer:?}");
    }
}

#[test]
fn hold_by_direction_is_passed_on_and_music_gets_through() {
    let mut lab = two_registered(9);
    lab.call(0, "alice", 1, "bob", "hold");
    for (theirs, ours) in [("sendonly", "recvonly"), ("inactive", "inactive"), ("sendrecv", "sendrecv")] {
        let offer = format!("m=audio 4000 RTP/AVP 0\r\na={theirs}\r\n");
        let answer = format!("m=audio 4000 RTP/AVP 0\r\na={ours}\r\n");
        reoffer(&mut lab, &offer, 200, Some(&answer));
        let invite = lab.phone(1).last_request(Method::Invite).unwrap();
        assert!(body(invite).contains(&format!("a={theirs}\r\n")));
        assert!(body(lab.phone(0).last(200).unwrap()).contains(&format!("a={ours}\r\n")));
        let to_callee = answered(&lab, 0);
        lab.speak(0, to_callee, 1, theirs.as_bytes());
        lab.world.run_for(S);
        assert_eq!(heard(&mut lab, 1), [(4000, rtp(1, theirs.as_bytes()))], "music on hold");
    }
    assert_eq!(lanes(&lab), [2, 2]);
}

#[test]
fn a_bundle_is_offered_as_separate_lines() {
    let mut lab = two_registered(10);
    let offer = "m=audio 4000 RTP/AVP 0\r\na=mid:a\r\na=rtcp-mux\r\nm=video 6000 RTP/AVP 96\r\na=mid:v\r\n\
a=rtcp-mux\r\nm=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\na=bundle-only\r\na=mid:d\r\n";
    let offer = String::from_utf8(with_lines(0, offer)).unwrap();
    let offer = offer.replace("t=0 0\r\n", "t=0 0\r\na=group:BUNDLE a v d\r\na=group:LS a v\r\n");
    lab.request(0, Method::Invite, "sip:bob@example.com", "alice", |r| {
        r.header("From", "<sip:alice@example.com>;tag=fromalice")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "bundle")
            .body("application/sdp", offer)
    });
    lab.world.run_for(S);
    let text = body(lab.phone(1).last_request(Method::Invite).unwrap());
    assert!(
        !text.contains("BUNDLE") && !text.contains("bundle-only") && text.contains("a=group:LS a v\r\n"),
        "{text}"
    );
    let answer = "m=audio 4000 RTP/AVP 0\r\na=mid:a\r\na=rtcp-mux\r\nm=video 6000 RTP/AVP 96\r\na=mid:v\r\n\
a=rtcp-mux\r\nm=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n";
    reply(&mut lab, Method::Invite, 200, Some(with_lines(1, answer)));
    for (line, port) in [(0, 4000), (1, 6000)] {
        let to = answered(&lab, line);
        send(&mut lab, 0, port, to, &rtp(port, b"x"));
        assert_eq!(heard(&mut lab, 1), [(port, rtp(port, b"x"))]);
    }
}

#[test]
fn each_kind_of_media_is_marked_on_both_sides() {
    let code = |lab: &Lab, id, port| lab.world.dscp(id, port).map(|dscp| dscp.code());
    let mut lab = two_registered(11);
    assert_eq!((code(&lab, lab.contact, 5060), code(&lab, lab.agents[0], 5060)), (Some(24), Some(24)));
    assert_eq!(lab.world.flow_dscp(lab.agents[0], Flow(1 << 21)).code(), 34, "the tunnel");
    assert_eq!(lab.world.flow_dscp(lab.contact, Flow(Flow::ACCEPTED)).code(), 34, "and its other end");
    let offer = "m=audio 4000 RTP/AVP 0\r\nm=video 6000 RTP/AVP 96\r\nm=image 4001 udptl t38\r\n";
    lab.request(0, Method::Invite, "sip:bob@example.com", "alice", |r| {
        r.header("From", "<sip:alice@example.com>;tag=fromalice")
            .header("To", "<sip:bob@example.com>")
            .header("Call-ID", "marked")
            .body("application/sdp", with_lines(0, offer))
    });
    lab.world.run_for(S);
    reply(&mut lab, Method::Invite, 200, Some(with_lines(1, offer)));
    let mut seen = 0;
    for id in [lab.contact, lab.agents[0], lab.agents[1]] {
        let calls = lab.status(id)["calls"].clone();
        for media in calls.as_array().unwrap().iter().flat_map(|call| call["media"].as_array().unwrap()) {
            let port = media["port"].as_u64().unwrap() as u16;
            let expected = [46, 34, 0][media["line"].as_u64().unwrap() as usize];
            assert_eq!(code(&lab, id, port), Some(expected), "{media:#}");
            seen += 1;
        }
    }
    assert_eq!(seen, 4 * 5, "two legs at the contact point, one at each agent");
    reoffer(
        &mut lab,
        "m=image 6000 udptl t38\r\nm=video 0 RTP/AVP 96\r\nm=image 0 udptl t38\r\n",
        200,
        Some(T38),
    );
    let port = lab.status(lab.agents[0])["calls"][0]["media"][0]["port"].as_u64().unwrap() as u16;
    assert_eq!(code(&lab, lab.agents[0], port), Some(0), "the fax in the place of the voice");
}

#[test]
fn ports_taken_up_after_a_restart_are_marked_as_before() {
    let mut lab = two_registered(12);
    lab.call(0, "alice", 1, "bob", "restart");
    let records = lab.world.records(lab.contact);
    lab.world.kill(lab.contact);
    lab.world.run_for(S);
    lab.world.restart(lab.contact, causeway_split_proxy::ContactPoint::new(contact_config(), records));
    let (world, agents) = (&mut lab.world, lab.agents.clone());
    world.must(30 * S, "the tunnels come back", |world| {
        agents.iter().all(|agent| world.node::<causeway_split_proxy::Agent>(*agent).is_up())
    });
    let calls = lab.status(lab.contact)["calls"].clone();
    let media: Vec<_> =
        calls.as_array().unwrap().iter().flat_map(|c| c["media"].as_array().unwrap()).collect();
    assert_eq!(media.len(), 4, "{calls:#}");
    for line in media {
        let port = line["port"].as_u64().unwrap() as u16;
        assert_eq!(lab.world.dscp(lab.contact, port).map(|dscp| dscp.code()), Some(46), "{line:#}");
    }
    // The agent's later connections, whichever attempt it was.
    let marked = (1..20).any(|n| lab.world.flow_dscp(lab.agents[0], Flow((1 << 21) + n)).code() == 34);
    assert!(marked, "the tunnel goes on as it was");
}

/// Datagrams that the contact point has got from the network on media ports, by the trace.
fn from_sockets(lab: &Lab) -> usize {
    let media = |line: &str| {
        let flow = line.split_once(" contact #").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        flow.is_some_and(|flow: u32| flow >= 1 << 24) && line.contains(" datagram ")
    };
    lab.world.trace().lines().filter(|line| media(line)).count()
}

#[test]
fn media_between_two_tunnels_of_one_contact_point_take_no_socket() {
    let mut lab = two_registered(31);
    lab.call(0, "alice", 1, "bob", "near");
    lab.world.set_trace(true);
    let (to_caller, to_callee) = (offered(&lab, 0), answered(&lab, 0));
    for sequence in 1..=10 {
        lab.speak(0, to_callee, sequence, b"there");
        lab.speak(1, to_caller, sequence, b"back");
        lab.world.run_for(S / 50);
    }
    let rtcp = |to: std::net::SocketAddr| std::net::SocketAddr::new(to.ip(), to.port() + 1);
    send(&mut lab, 0, 4001, rtcp(to_callee), b"\x80\xc9\0\x01rtcp");
    assert_eq!(from_sockets(&lab), 0);
    assert_eq!(heard(&mut lab, 0), (1..=10).map(|n| (4000, rtp(n, b"back"))).collect::<Vec<_>>());
    let mut there: Vec<_> = (1..=10).map(|n| (4000, rtp(n, b"there"))).collect();
    there.push((4001, b"\x80\xc9\0\x01rtcp".to_vec()));
    assert_eq!(heard(&mut lab, 1), there);
    let calls = lab.status(lab.contact)["calls"].clone();
    let port = |call: usize| &calls[call]["media"][0];
    for call in 0..2 {
        assert_eq!(port(call)["from_network"]["packets"], 10, "{calls}");
        assert_eq!(port(call)["to_network"]["packets"], 10, "{calls}");
        assert_eq!(port(call)["from_network"]["foreign"], 0);
    }
    let port_of_one = at(&format!("{CONTACT}:{}", port(0)["port"]));
    lab.world.with::<Server, _>(lab.server, |_, _, out| {
        out.datagram(Flow(0), port_of_one, &rtp(11, b"from a stranger"));
    });
    lab.world.run_for(S);
    assert_eq!(from_sockets(&lab), 1, "what does come by a socket is seen");
    assert_eq!(lab.status(lab.contact)["calls"][0]["media"][0]["from_network"]["foreign"], 1);
    assert!(heard(&mut lab, 0).is_empty() && heard(&mut lab, 1).is_empty());
}

/// Bob hears an INVITE, and does this before he answers it.
fn before_the_answer(lab: &mut Lab, call_id: &str, act: impl FnOnce(&mut Lab, std::net::SocketAddr)) {
    lab.invite(0, "alice", "bob", call_id, 4000);
    lab.world.run_for(S);
    let to_caller = offered(lab, 0);
    act(lab, to_caller);
    lab.answer(1, "bob", 200, Some(4000));
    lab.world.run_for(S);
}

/// RFC 3264 §5.1: the answerer may send as soon as it knows whereto, and nothing keeps that behind its answer.
#[test]
fn media_that_overtake_their_answer_are_heard() {
    let mut lab = two_registered(32);
    before_the_answer(&mut lab, "hasty", |lab, to_caller| {
        (1..=3).for_each(|sequence| lab.speak(1, to_caller, sequence, b"hello"));
    });
    assert_eq!(heard(&mut lab, 0), (1..=3).map(|n| (4000, rtp(n, b"hello"))).collect::<Vec<_>>());
    let media = lab.status(lab.agents[1])["calls"][0]["media"][0].clone();
    assert_eq!(
        (&media["from_network"]["packets"], &media["from_network"]["foreign"]),
        (&3.into(), &0.into())
    );
}

#[test]
fn of_media_before_the_answer_the_latest_are_kept_for_a_second_and_strangers_are_not_heard() {
    let mut lab = two_registered(33);
    before_the_answer(&mut lab, "early", |lab, to_caller| {
        lab.speak(1, to_caller, 1, b"too early");
        lab.world.run_for(2 * S);
        (2..=41).for_each(|sequence| lab.speak(1, to_caller, sequence, b"hello"));
        lab.world.run_for(S / 10);
    });
    let latest: Vec<_> = (26..=41).map(|n| (4000, rtp(n, b"hello"))).collect();
    assert_eq!(heard(&mut lab, 0), latest);

    let mut lab = two_registered(34);
    before_the_answer(&mut lab, "stranger", |lab, _| {
        let port = lab.status(lab.contact)["calls"][0]["media"][0]["port"].as_u64().unwrap();
        let port = at(&format!("{CONTACT}:{port}"));
        lab.world.with::<Server, _>(lab.server, |_, _, out| {
            out.datagram(Flow(0), port, &rtp(1, b"from a stranger"));
        });
        lab.world.run_for(S / 10);
    });
    assert!(heard(&mut lab, 0).is_empty() && heard(&mut lab, 1).is_empty());
    let calls = lab.status(lab.contact)["calls"].clone();
    let foreign = |call: usize| calls[call]["media"][0]["from_network"]["foreign"].as_u64().unwrap();
    assert_eq!(foreign(0) + foreign(1), 1, "{calls}");
}
