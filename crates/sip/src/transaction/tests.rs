//! Every timer of RFC 3261 §17 and RFC 6026, shown to fire when and only when it should.

use super::*;
use crate::{Message, Method, RequestBuilder, response_to};
use causeway_node::testing::CountingRng;
use causeway_node::{Ctx, Time};
use std::time::Duration;

#[derive(Default)]
struct Wire(Vec<Vec<u8>>);

impl Sink for Wire {
    fn send(&mut self, _: &Hop, message: &[u8]) {
        self.0.push(message.to_vec());
    }
}

/// A layer on virtual time, with what it sent and what it said.
struct Bench {
    layer: Layer,
    wire: Wire,
    now: Time,
    rng: CountingRng,
    /// Milliseconds at which something was sent, with its first word.
    sent: Vec<(u64, String)>,
    said: Vec<(u64, String)>,
}

fn hop(transport: Transport) -> Hop {
    Hop { flow: Flow(0), peer: "192.0.2.9:5060".parse().unwrap(), transport }
}

impl Bench {
    fn new() -> Self {
        Self {
            layer: Layer::new(Timing::default()),
            wire: Wire::default(),
            now: Time::ZERO,
            rng: CountingRng::default(),
            sent: Vec::new(),
            said: Vec::new(),
        }
    }

    fn note(&mut self) -> Vec<Event> {
        let at = self.now.as_millis();
        for message in self.wire.0.drain(..) {
            let text = String::from_utf8(message).unwrap();
            let words: Vec<&str> = text.split_whitespace().take(2).collect();
            let label = if words[0] == "SIP/2.0" { words[1] } else { words[0] };
            self.sent.push((at, label.to_owned()));
        }
        let mut events = Vec::new();
        while let Some(event) = self.layer.poll() {
            let label = match &event {
                Event::Request { .. } => "request",
                Event::Ack { .. } => "ack",
                Event::Cancel { .. } => "cancel",
                Event::Response { .. } => "response",
                Event::Failed { .. } => "failed",
                Event::Stray { .. } => "stray",
                Event::Unacknowledged { .. } => "unacknowledged",
                Event::ClientEnded { .. } => "client ended",
                Event::ServerEnded { .. } => "server ended",
            };
            self.said.push((at, label.to_owned()));
            events.push(event);
        }
        events
    }

    /// Lets time pass, firing whatever is due at the very moment it is due.
    fn run_until(&mut self, ms: u64) {
        let end = Time::ZERO + Duration::from_millis(ms);
        while let Some(due) = self.layer.deadline().filter(|due| *due <= end) {
            assert!(due >= self.now, "a timer in the past");
            self.now = due;
            self.layer.timeout(self.now, &mut self.wire);
            self.note();
        }
        self.now = end;
    }

    fn start(&mut self, method: Method<'_>, transport: Transport) -> (ClientId, Message) {
        let mut ctx = Ctx { now: self.now, unix_ms: 0, rng: &mut self.rng };
        let branch = Branch::new(&mut ctx);
        let request = request(method, &branch.to_string(), 1);
        let id = self.layer.request(self.now, branch, hop(transport), request.clone(), &mut self.wire);
        self.note();
        (id, request)
    }

    fn answer(&mut self, request: &Message, status: u16, transport: Transport) {
        let response = response_to(request.msg(), status, None, Some(b"far")).finish();
        let response = Message::parse(response).unwrap();
        self.layer.receive(self.now, hop(transport), response, &mut self.wire);
        self.note();
    }

    fn hear(&mut self, request: &Message, transport: Transport) -> Vec<Event> {
        self.layer.receive(self.now, hop(transport), request.clone(), &mut self.wire);
        self.note()
    }

    fn respond(&mut self, id: ServerId, request: &Message, status: u16) {
        let response = response_to(request.msg(), status, None, Some(b"near")).finish();
        assert!(self.layer.respond(self.now, id, &response, status, &mut self.wire));
        self.note();
    }

    fn times(&self, label: &str) -> Vec<u64> {
        self.sent.iter().filter(|(_, l)| l == label).map(|(at, _)| *at).collect()
    }

    fn heard(&self, label: &str) -> Vec<u64> {
        self.said.iter().filter(|(_, l)| l == label).map(|(at, _)| *at).collect()
    }

    fn assert_empty(&self) {
        assert_eq!(self.layer.count(), (0, 0));
        assert_eq!(self.layer.deadline(), None, "no timer outlives its transaction");
    }
}

fn request(method: Method<'_>, branch: &str, cseq: u32) -> Message {
    let via = format!("SIP/2.0/UDP 192.0.2.1;branch={branch}");
    let builder = RequestBuilder::new(method, b"sip:bob@example.com")
        .header("Via", via)
        .max_forwards(70)
        .header("From", "<sip:alice@example.com>;tag=1")
        .header("To", "<sip:bob@example.com>")
        .header("Call-ID", "c1")
        .cseq(cseq, if method == Method::Ack { Method::Ack } else { method });
    Message::parse(builder.finish()).unwrap()
}

fn request_id(events: &[Event]) -> ServerId {
    match events {
        [Event::Request { id, .. }] => *id,
        other => panic!("{other:?}"),
    }
}

const UDP: Transport = Transport::Udp;
const TCP: Transport = Transport::Tcp;

#[test]
fn a_and_b_repeat_an_invite_and_give_up() {
    let mut bench = Bench::new();
    bench.start(Method::Invite, UDP);
    bench.run_until(60_000);
    assert_eq!(bench.times("INVITE"), [0, 500, 1500, 3500, 7500, 15500, 31500]);
    assert_eq!(bench.heard("failed"), [32_000]);
    bench.assert_empty();
}

#[test]
fn without_a_on_a_reliable_transport_but_b_all_the_same() {
    let mut bench = Bench::new();
    bench.start(Method::Invite, TCP);
    bench.run_until(60_000);
    assert_eq!(bench.times("INVITE"), [0]);
    assert_eq!(bench.heard("failed"), [32_000]);
    bench.assert_empty();
}

#[test]
fn a_provisional_response_stops_a_and_b() {
    let mut bench = Bench::new();
    let (_, invite) = bench.start(Method::Invite, UDP);
    bench.run_until(600);
    bench.answer(&invite, 180, UDP);
    bench.run_until(300_000);
    assert_eq!(bench.times("INVITE"), [0, 500]);
    assert!(bench.heard("failed").is_empty());
}

#[test]
fn d_absorbs_repeated_finals_and_acknowledges_each() {
    let mut bench = Bench::new();
    let (_, invite) = bench.start(Method::Invite, UDP);
    bench.answer(&invite, 486, UDP);
    for at in [500, 1500, 31_000] {
        bench.run_until(at);
        bench.answer(&invite, 486, UDP);
    }
    assert_eq!(bench.times("ACK"), [0, 500, 1500, 31_000]);
    assert_eq!(bench.heard("response"), [0], "the user hears it once");
    bench.run_until(40_000);
    assert_eq!(bench.heard("client ended"), [32_000]);
    bench.assert_empty();
}

#[test]
fn without_d_on_a_reliable_transport() {
    let mut bench = Bench::new();
    let (_, invite) = bench.start(Method::Invite, TCP);
    bench.answer(&invite, 486, TCP);
    assert_eq!((bench.times("ACK"), bench.heard("client ended")), (vec![0], vec![0]));
    bench.assert_empty();
}

#[test]
fn m_passes_every_2xx_up_for_64_t1() {
    let mut bench = Bench::new();
    let (_, invite) = bench.start(Method::Invite, UDP);
    bench.answer(&invite, 200, UDP);
    bench.run_until(500);
    bench.answer(&invite, 200, UDP);
    assert_eq!(bench.heard("response"), [0, 500]);
    assert!(bench.times("ACK").is_empty(), "a 2xx is acknowledged by the user");
    bench.run_until(40_000);
    assert_eq!(bench.heard("client ended"), [32_000]);
    bench.answer(&invite, 200, UDP);
    assert_eq!(bench.heard("stray"), [40_000]);
    bench.assert_empty();
}

#[test]
fn e_and_f_repeat_a_request_up_to_t2_and_give_up() {
    let mut bench = Bench::new();
    bench.start(Method::Options, UDP);
    bench.run_until(60_000);
    let expected = [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(bench.times("OPTIONS"), expected);
    assert_eq!(bench.heard("failed"), [32_000]);
    bench.assert_empty();
}

#[test]
fn in_proceeding_e_runs_at_t2_and_f_still_ends_it() {
    let mut bench = Bench::new();
    let (_, options) = bench.start(Method::Options, UDP);
    bench.answer(&options, 100, UDP);
    bench.run_until(60_000);
    assert_eq!(bench.times("OPTIONS")[..3], [0, 500, 4500]);
    assert_eq!(bench.heard("failed"), [32_000]);
}

#[test]
fn k_absorbs_repeated_finals() {
    let mut bench = Bench::new();
    let (_, options) = bench.start(Method::Options, UDP);
    bench.answer(&options, 200, UDP);
    bench.answer(&options, 200, UDP);
    assert_eq!(bench.heard("response"), [0]);
    bench.run_until(10_000);
    assert_eq!(bench.heard("client ended"), [5000]);
    let (_, options) = bench.start(Method::Options, TCP);
    bench.answer(&options, 200, TCP);
    assert_eq!(bench.heard("client ended"), [5000, 10_000], "at once on a reliable transport");
    bench.assert_empty();
}

#[test]
fn g_and_h_repeat_a_final_until_the_ack() {
    let mut bench = Bench::new();
    let invite = request(Method::Invite, "z9hG4bKx", 1);
    let id = request_id(&bench.hear(&invite, UDP));
    bench.respond(id, &invite, 486);
    bench.run_until(60_000);
    assert_eq!(
        bench.times("486"),
        [0, 500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
    );
    assert_eq!(bench.heard("unacknowledged"), [32_000]);
    bench.assert_empty();
}

#[test]
fn i_absorbs_repeated_acks() {
    let mut bench = Bench::new();
    let invite = request(Method::Invite, "z9hG4bKx", 1);
    let ack = request(Method::Ack, "z9hG4bKx", 1);
    let id = request_id(&bench.hear(&invite, UDP));
    bench.respond(id, &invite, 486);
    bench.run_until(700);
    assert!(bench.hear(&ack, UDP).is_empty());
    assert!(bench.hear(&ack, UDP).is_empty());
    bench.run_until(60_000);
    assert_eq!(bench.times("486"), [0, 500]);
    assert_eq!(bench.heard("server ended"), [5700]);
    assert!(bench.heard("unacknowledged").is_empty());
    bench.assert_empty();
}

#[test]
fn on_a_reliable_transport_a_final_goes_once_but_h_still_waits() {
    let mut bench = Bench::new();
    let invite = request(Method::Invite, "z9hG4bKx", 1);
    let id = request_id(&bench.hear(&invite, TCP));
    bench.respond(id, &invite, 486);
    bench.run_until(60_000);
    assert_eq!(bench.times("486"), [0]);
    assert_eq!(bench.heard("unacknowledged"), [32_000]);
}

#[test]
fn j_answers_repeated_requests() {
    let mut bench = Bench::new();
    let options = request(Method::Options, "z9hG4bKx", 1);
    let id = request_id(&bench.hear(&options, UDP));
    assert!(bench.hear(&options, UDP).is_empty(), "absorbed while there is no answer");
    assert!(bench.times("200").is_empty());
    bench.respond(id, &options, 200);
    bench.run_until(20_000);
    assert!(bench.hear(&options, UDP).is_empty());
    bench.run_until(60_000);
    assert_eq!(bench.times("200"), [0, 20_000]);
    assert_eq!(bench.heard("server ended"), [32_000]);
    bench.assert_empty();
}

#[test]
fn without_j_on_a_reliable_transport() {
    let mut bench = Bench::new();
    let options = request(Method::Options, "z9hG4bKx", 1);
    let id = request_id(&bench.hear(&options, TCP));
    bench.respond(id, &options, 200);
    assert_eq!(bench.heard("server ended"), [0]);
    bench.assert_empty();
}

#[test]
fn l_absorbs_repeated_invites_after_a_2xx_and_lets_the_user_repeat_it() {
    let mut bench = Bench::new();
    let invite = request(Method::Invite, "z9hG4bKx", 1);
    let id = request_id(&bench.hear(&invite, UDP));
    bench.respond(id, &invite, 180);
    assert!(bench.hear(&invite, UDP).is_empty());
    assert_eq!(bench.times("180"), [0, 0], "the provisional response is repeated");
    bench.respond(id, &invite, 200);
    assert!(bench.hear(&invite, UDP).is_empty());
    bench.run_until(1000);
    bench.respond(id, &invite, 200);
    assert_eq!(bench.times("200"), [0, 1000], "only the user repeats it");
    bench.run_until(60_000);
    assert_eq!(bench.heard("server ended"), [32_000]);
    bench.assert_empty();
}

#[test]
fn an_ack_for_a_2xx_is_for_the_user() {
    let mut bench = Bench::new();
    let ack = request(Method::Ack, "z9hG4bKother", 1);
    assert!(matches!(bench.hear(&ack, UDP)[..], [Event::Ack { .. }]));
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut bench = Bench::new();
    let (id, invite) = bench.start(Method::Invite, UDP);
    bench.layer.cancel(bench.now, id, &mut bench.wire);
    bench.run_until(100);
    assert!(bench.times("CANCEL").is_empty());
    bench.answer(&invite, 100, UDP);
    assert_eq!(bench.times("CANCEL"), [100]);
    bench.answer(&invite, 487, UDP);
    assert_eq!(bench.times("ACK"), [100]);
}

#[test]
fn an_invite_that_ignores_its_cancel_ends_after_64_t1() {
    let mut bench = Bench::new();
    let (id, invite) = bench.start(Method::Invite, UDP);
    bench.answer(&invite, 180, UDP);
    bench.layer.cancel(bench.now, id, &mut bench.wire);
    bench.run_until(60_000);
    assert!(bench.heard("failed").contains(&32_000), "{:?}", bench.said);
    bench.assert_empty();
}

/// §9.1: neither who goes on ringing nor who rings only now keeps it alive.
#[test]
fn an_invite_that_rings_on_after_its_cancel_ends_too() {
    for rings_before in [true, false] {
        let mut bench = Bench::new();
        let (id, invite) = bench.start(Method::Invite, UDP);
        if rings_before {
            bench.answer(&invite, 180, UDP);
        }
        bench.layer.cancel(bench.now, id, &mut bench.wire);
        bench.run_until(100);
        bench.answer(&invite, 180, UDP);
        bench.run_until(60_000);
        assert_eq!(bench.heard("failed").len(), 2, "INVITE and CANCEL: {:?}", bench.said);
        bench.assert_empty();
    }
}

#[test]
fn cancel_is_answered_and_finds_its_invite() {
    let mut bench = Bench::new();
    let invite = request(Method::Invite, "z9hG4bKx", 1);
    let id = request_id(&bench.hear(&invite, UDP));
    let events = bench.hear(&request(Method::Cancel, "z9hG4bKx", 1), UDP);
    assert!(matches!(&events[..], [Event::Cancel { id: found, .. }] if *found == id));
    assert_eq!(bench.times("200"), [0]);
    assert!(bench.hear(&request(Method::Cancel, "z9hG4bKnone", 1), UDP).is_empty());
    assert_eq!(bench.times("481"), [0]);
}

#[test]
fn the_top_via_says_where_a_request_came_from() {
    let mut bench = Bench::new();
    let text = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bKkjshdyff\r\n\
                From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
    let events = bench.hear(&Message::parse(text).unwrap(), UDP);
    let [Event::Request { message, .. }] = &events[..] else { panic!() };
    let via = message.msg().top_via().unwrap();
    assert_eq!((via.received(), via.rport()), (Some(&b"192.0.2.9"[..]), Some(Some(5060))));
}

#[test]
fn old_clients_are_told_apart_without_a_branch() {
    let mut bench = Bench::new();
    let first = request(Method::Options, "1", 1);
    assert_eq!(bench.hear(&first, UDP).len(), 1);
    assert_eq!(bench.hear(&first, UDP).len(), 0, "the same again");
    assert_eq!(bench.hear(&request(Method::Options, "1", 2), UDP).len(), 1, "another CSeq, another request");
}

#[test]
fn what_is_over_keeps_nobody_out_and_the_oldest_is_forgotten_first() {
    let mut bench = Bench::new();
    let options = |n: usize| request(Method::Options, &n.to_string(), 1);
    for n in 0..=Layer::REMEMBERED {
        let request = options(n);
        let id = request_id(&bench.hear(&request, UDP));
        bench.respond(id, &request, 200);
    }
    assert_eq!((bench.layer.refused, bench.layer.under_way()), (0, (0, 0)));
    assert_eq!(bench.layer.count(), (0, Layer::REMEMBERED));
    assert_eq!(bench.hear(&options(1), UDP).len(), 0, "a repetition");
    assert_eq!(bench.hear(&options(0), UDP).len(), 1, "forgotten");
    bench.run_until(60_000);
    assert_eq!(bench.layer.count(), (0, 1), "the one that waits for its answer");
}

#[test]
fn a_request_too_many_at_once_is_left_to_be_repeated() {
    let mut bench = Bench::new();
    for n in 0..Layer::LIMIT {
        request_id(&bench.hear(&request(Method::Options, &n.to_string(), 1), UDP));
    }
    assert_eq!(bench.hear(&request(Method::Options, "more", 1), UDP).len(), 0);
    assert_eq!((bench.layer.refused, bench.layer.under_way()), (1, (0, Layer::LIMIT)));
}

#[test]
fn a_dead_connection_fails_what_waits_on_it() {
    let mut bench = Bench::new();
    bench.start(Method::Options, TCP);
    bench.layer.closed(Flow(0));
    bench.note();
    assert_eq!(bench.heard("failed"), [0]);
    bench.assert_empty();
}

#[test]
fn a_tunnel_is_answered_by_itself_alone() {
    let mut bench = Bench::new();
    let (_, options) = bench.start(Method::Options, Transport::Tunnel);
    let response = response_to(options.msg(), 200, None, Some(b"far")).finish();
    let elsewhere = [Hop { flow: Flow(9), ..hop(Transport::Tunnel) }, hop(UDP)];
    for from in elsewhere {
        bench.layer.receive(bench.now, from, Message::parse(response.clone()).unwrap(), &mut bench.wire);
    }
    bench.note();
    assert_eq!(bench.heard("stray").len(), 2);
    bench.answer(&options, 200, Transport::Tunnel);
    assert_eq!(bench.heard("response").len(), 1);
}
