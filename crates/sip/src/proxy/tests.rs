//! The proxy core between a scripted caller and scripted callees.

use super::*;
use crate::transaction::{BranchKey, Hop, ServerId, Sink, Timing, Transport};
use crate::{Edit, HeaderId, Message, Method, RequestBuilder, response_to};
use causeway_node::testing::CountingRng;
use causeway_node::{Ctx, Flow, Time};
use std::time::Duration;

#[derive(Default)]
struct Wire(Vec<(Hop, Message)>);

impl Sink for Wire {
    fn send(&mut self, hop: &Hop, message: &[u8]) {
        self.0.push((*hop, Message::parse(message).unwrap()));
    }
}

struct Bench {
    core: Core,
    wire: Wire,
    now: Time,
    rng: CountingRng,
}

fn hop(n: u8) -> Hop {
    Hop { flow: Flow(0), peer: format!("192.0.2.{n}:5060").parse().unwrap(), transport: Transport::Udp }
}

const CALLER: u8 = 1;
const IDENTITY: Identity<'static> = Identity { sent_by: b"198.51.100.1:5060", branch_suffix: b"", key: None };

fn request(method: Method<'_>, branch: &str, hops: u8) -> Message {
    let builder = RequestBuilder::new(method, b"sip:bob@example.com")
        .header("Via", format!("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch}"))
        .max_forwards(hops)
        .header("From", "<sip:alice@example.com>;tag=1")
        .header("To", "<sip:bob@example.com>")
        .header("Call-ID", "c1")
        .cseq(1, method);
    Message::parse(builder.finish()).unwrap()
}

impl Bench {
    fn new() -> Self {
        Self {
            core: Core::new(Timing { trying_after: Duration::ZERO, ..Timing::default() }),
            wire: Wire::default(),
            now: Time::ZERO,
            rng: CountingRng::default(),
        }
    }

    fn receive(&mut self, from: u8, message: Message) -> Vec<Event> {
        let mut ctx = Ctx { now: self.now, unix_ms: 0, rng: &mut self.rng };
        self.core.receive(&mut ctx, hop(from), message, &mut self.wire);
        std::iter::from_fn(|| self.core.poll()).collect()
    }

    /// An INVITE that is forwarded to these callees.
    fn fork(&mut self, method: Method<'_>, callees: &[u8]) -> ServerId {
        let events = self.receive(CALLER, request(method, "a", 70));
        let [Event::Request { id, .. }] = events[..] else { panic!("{events:?}") };
        for callee in callees {
            assert!(self.forward(id, *callee).is_some());
        }
        id
    }

    fn forward(&mut self, id: ServerId, callee: u8) -> Option<usize> {
        let mut ctx = Ctx { now: self.now, unix_ms: 0, rng: &mut self.rng };
        self.core.forward(&mut ctx, id, hop(callee), IDENTITY, &mut Edit::new(), &mut self.wire)
    }

    /// The last request with this method that went to a callee.
    fn sent(&self, to: u8, method: Method<'_>) -> Option<Message> {
        let found = self.wire.0.iter().rev().find(|(hop_to, message)| {
            hop_to.peer == hop(to).peer && message.msg().is_request() && message.msg().method() == method
        });
        found.map(|(_, message)| message.clone())
    }

    /// Statuses that went to the caller.
    fn answers(&self) -> Vec<u16> {
        let to_caller = self.wire.0.iter().filter(|(to, _)| to.peer == hop(CALLER).peer);
        to_caller.filter_map(|(_, message)| message.msg().status()).collect()
    }

    /// The same without the repetitions of a caller that never acknowledges.
    fn distinct_answers(&self) -> Vec<u16> {
        let mut answers = self.answers();
        let end = answers.iter().position(|status| *status >= 300).map_or(answers.len(), |at| at + 1);
        assert!(answers[end..].iter().all(|status| *status == answers[end - 1]), "{answers:?}");
        answers.truncate(end);
        answers
    }

    /// A callee responds; what the core wants relayed is relayed.
    fn respond(&mut self, callee: u8, status: u16, extra: &[(&str, &str)]) -> Vec<Event> {
        let asked = self.sent(callee, Method::Invite).or_else(|| self.sent(callee, Method::Options)).unwrap();
        self.respond_to(callee, &asked, status, extra)
    }

    fn respond_to(&mut self, callee: u8, asked: &Message, status: u16, extra: &[(&str, &str)]) -> Vec<Event> {
        let mut response = response_to(asked.msg(), status, None, Some(format!("t{callee}").as_bytes()));
        for (name, value) in extra {
            response = response.header(name, value);
        }
        let events = self.receive(callee, Message::parse(response.finish()).unwrap());
        self.relay(events)
    }

    fn relay(&mut self, events: Vec<Event>) -> Vec<Event> {
        for event in &events {
            if let Event::Response { id, message, .. } = event {
                self.core.relay(self.now, *id, message, &mut Edit::new(), &mut self.wire);
            }
        }
        // That a branch was refused is for the books alone; the test of alternatives looks at it.
        let all = events.into_iter().chain(std::iter::from_fn(|| self.core.poll()));
        all.filter(|event| !matches!(event, Event::Refused { .. })).collect()
    }

    fn run_for(&mut self, time: Duration) -> Vec<Event> {
        let end = self.now + time;
        let mut all = Vec::new();
        while let Some(due) = self.core.deadline().filter(|due| *due <= end) {
            self.now = due;
            self.core.timeout(self.now, &mut self.wire);
            let events = std::iter::from_fn(|| self.core.poll()).collect();
            all.extend(self.relay(events));
        }
        self.now = end;
        all
    }
}

#[test]
fn a_request_gains_a_via_and_loses_a_hop_and_its_response_loses_the_via() {
    let mut bench = Bench::new();
    bench.fork(Method::Invite, &[2]);
    let sent = bench.sent(2, Method::Invite).unwrap();
    assert_eq!(sent.msg().vias().count(), 2);
    assert_eq!(sent.msg().top_via().unwrap().host, b"198.51.100.1");
    assert_eq!(sent.msg().max_forwards(), Some(69));
    bench.respond(2, 180, &[]);
    bench.respond(2, 200, &[]);
    assert_eq!(bench.answers(), [100, 180, 200]);
    let (_, last) = bench.wire.0.last().unwrap();
    assert_eq!(last.msg().vias().count(), 1);
}

#[test]
fn one_answers_and_the_others_are_cancelled() {
    let mut bench = Bench::new();
    bench.fork(Method::Invite, &[2, 3, 4]);
    bench.respond(2, 180, &[]);
    bench.respond(3, 180, &[]);
    bench.respond(3, 200, &[]);
    assert!(bench.sent(2, Method::Cancel).is_some(), "it rings there");
    assert!(bench.sent(4, Method::Cancel).is_none(), "nothing has been heard from there yet");
    bench.respond(4, 180, &[]);
    assert!(bench.sent(4, Method::Cancel).is_some(), "now it can be cancelled");
    bench.respond(2, 487, &[]);
    bench.respond(4, 487, &[]);
    assert_eq!(bench.answers(), [100, 180, 180, 200], "one final response");
    assert!(bench.sent(2, Method::Ack).is_some() && bench.sent(3, Method::Ack).is_none());
}

#[test]
fn two_answer_at_once_and_both_2xx_go_to_the_caller() {
    let mut bench = Bench::new();
    bench.fork(Method::Invite, &[2, 3]);
    bench.respond(2, 200, &[]);
    bench.respond(3, 200, &[]);
    assert_eq!(bench.answers(), [100, 200, 200]);
}

#[test]
fn all_fail_and_the_best_is_chosen_with_every_challenge() {
    let mut bench = Bench::new();
    bench.fork(Method::Invite, &[2, 3, 4]);
    bench.respond(2, 486, &[]);
    bench.respond(3, 401, &[("WWW-Authenticate", "Digest realm=\"a\", nonce=\"1\"")]);
    assert_eq!(bench.answers(), [100]);
    bench.respond(4, 407, &[("Proxy-Authenticate", "Digest realm=\"b\", nonce=\"2\"")]);
    assert_eq!(bench.answers(), [100, 401]);
    let (_, best) = bench.wire.0.iter().rev().find(|(to, _)| to.peer == hop(CALLER).peer).unwrap();
    assert!(best.msg().has(HeaderId::WwwAuthenticate) && best.msg().has(HeaderId::ProxyAuthenticate));
}

#[test]
fn a_6xx_ends_all_branches() {
    let mut bench = Bench::new();
    bench.fork(Method::Invite, &[2, 3]);
    bench.respond(2, 180, &[]);
    bench.respond(3, 603, &[]);
    assert!(bench.sent(2, Method::Cancel).is_some());
    bench.respond(2, 487, &[]);
    assert_eq!(bench.answers(), [100, 180, 603]);
}

#[test]
fn content_length_is_added_before_a_stream_and_left_out_before_udp() {
    let length = |transport| {
        let mut bench = Bench::new();
        let text = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
            Max-Forwards: 70\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n\
            Call-ID: c1\r\nCSeq: 1 INVITE\r\n\r\nabc";
        let events = bench.receive(CALLER, Message::parse(text).unwrap());
        let [Event::Request { id, .. }] = events[..] else { panic!("{events:?}") };
        let to = Hop { transport, ..hop(2) };
        let mut ctx = Ctx { now: bench.now, unix_ms: 0, rng: &mut bench.rng };
        bench.core.forward(&mut ctx, id, to, IDENTITY, &mut Edit::new(), &mut bench.wire).unwrap();
        let sent = bench.sent(2, Method::Invite).unwrap();
        assert_eq!(sent.msg().body(), b"abc");
        sent.msg().content_length()
    };
    assert_eq!(length(Transport::Tcp), Some(3));
    assert_eq!(length(Transport::Tunnel), Some(3));
    assert_eq!(length(Transport::Udp), None);
}

#[test]
fn a_503_is_not_passed_on() {
    let mut bench = Bench::new();
    bench.fork(Method::Invite, &[2]);
    bench.respond(2, 503, &[]);
    assert_eq!(bench.answers(), [100, 500]);
}

#[test]
fn cancel_goes_to_every_branch_and_races_a_200() {
    let mut bench = Bench::new();
    bench.fork(Method::Invite, &[2, 3]);
    bench.respond(2, 180, &[]);
    bench.respond(3, 180, &[]);
    let events = bench.receive(CALLER, request(Method::Cancel, "a", 70));
    assert!(matches!(events[..], [Event::Cancelled { .. }]));
    assert!(bench.sent(2, Method::Cancel).is_some() && bench.sent(3, Method::Cancel).is_some());
    bench.respond(2, 487, &[]);
    bench.respond(3, 200, &[]);
    assert_eq!(bench.answers(), [100, 180, 180, 200, 200], "the answer to CANCEL, then the 2xx that won");
}

#[test]
fn a_cancel_before_any_branch_ends_the_request() {
    let mut bench = Bench::new();
    let id = bench.fork(Method::Invite, &[]);
    bench.receive(CALLER, request(Method::Cancel, "a", 70));
    assert_eq!(bench.answers(), [100, 200, 487]);
    assert_eq!(bench.forward(id, 2), None, "it is over");
}

#[test]
fn timer_c_ends_what_rings_for_ever() {
    let mut bench = Bench::new();
    bench.fork(Method::Invite, &[2]);
    bench.respond(2, 180, &[]);
    bench.run_for(Duration::from_secs(170));
    bench.respond(2, 180, &[]);
    bench.run_for(Duration::from_secs(170));
    assert!(bench.sent(2, Method::Cancel).is_none(), "a provisional response starts it anew");
    bench.run_for(Duration::from_secs(12));
    assert!(bench.sent(2, Method::Cancel).is_some());
    bench.run_for(Duration::from_secs(64));
    assert_eq!(bench.distinct_answers(), [100, 180, 180, 408]);
}

#[test]
fn an_invite_that_nobody_answers_is_answered_408_and_others_not_at_all() {
    let mut bench = Bench::new();
    bench.fork(Method::Invite, &[2]);
    bench.run_for(Duration::from_secs(33));
    assert_eq!(bench.distinct_answers(), [100, 408]);
    let mut bench = Bench::new();
    bench.fork(Method::Options, &[2]);
    bench.run_for(Duration::from_secs(70));
    assert_eq!(bench.answers(), Vec::<u16>::new());
    assert!(bench.core.is_empty(), "and nothing is left behind");
}

#[test]
fn sequential_forking_asks_before_it_gives_up() {
    let mut bench = Bench::new();
    let id = bench.fork(Method::Invite, &[2]);
    bench.core.keep_open(id);
    let events = bench.respond(2, 486, &[]);
    assert!(matches!(events[..], [Event::Exhausted { .. }, ..]), "{events:?}");
    bench.forward(id, 3).unwrap();
    bench.respond(3, 404, &[]);
    bench.core.conclude(bench.now, id, &mut bench.wire);
    let events = std::iter::from_fn(|| bench.core.poll()).collect();
    bench.relay(events);
    assert_eq!(bench.answers(), [100, 404]);
}

#[test]
fn what_no_proxy_may_forward_is_refused() {
    let mut bench = Bench::new();
    let events = bench.receive(CALLER, request(Method::Options, "a", 0));
    assert!(matches!(events[..], [Event::Answered { status: 483, .. }, Event::Ended { .. }]), "{events:?}");
    let text = String::from_utf8(request(Method::Options, "b", 70).into_bytes()).unwrap();
    let odd = text.replace("\r\nFrom", "\r\nProxy-Require: magic\r\nFrom");
    bench.receive(CALLER, Message::parse(odd).unwrap());
    assert_eq!(bench.answers(), [483, 420]);
    let (_, last) = bench.wire.0.last().unwrap();
    assert_eq!(last.msg().header(HeaderId::Unsupported), Some(&b"magic"[..]));
}

#[test]
fn nothing_is_left_behind() {
    let mut bench = Bench::new();
    bench.fork(Method::Invite, &[2, 3]);
    bench.respond(2, 200, &[]);
    bench.respond(3, 486, &[]);
    let events = bench.run_for(Duration::from_secs(200));
    assert!(events.iter().any(|event| matches!(event, Event::Ended { .. })));
    assert!(bench.core.is_empty());
    assert_eq!(bench.core.deadline(), None);
}

/// What keeps the answer for repetitions is the transaction alone.
#[test]
fn an_answered_request_other_than_invite_is_forgotten_at_once_but_repeated() {
    let mut bench = Bench::new();
    let id = bench.fork(Method::Options, &[2, 3]);
    let events = bench.respond(2, 200, &[]);
    assert!(!events.iter().any(|event| matches!(event, Event::Ended { .. })), "a branch is still to answer");
    assert_eq!((bench.core.from(id).is_some(), bench.core.is_over(id)), (true, true));
    bench.respond(3, 200, &[]);
    bench.run_for(Duration::from_secs(5));
    assert!(bench.core.from(id).is_none() && bench.core.is_over(id));
    bench.run_for(Duration::from_secs(100));
    assert!(bench.core.is_empty());

    let id = bench.fork(Method::Options, &[2]);
    let events = bench.respond(2, 200, &[]);
    assert!(matches!(events[..], [.., Event::Ended { .. }]), "{events:?}");
    assert!(bench.core.from(id).is_none() && !bench.core.is_empty());
    let events = bench.receive(CALLER, request(Method::Options, "a", 70));
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(bench.answers(), [200, 200, 200]);
    assert!(bench.run_for(Duration::from_secs(100)).is_empty(), "told once");
    assert!(bench.core.is_empty());
}

/// What relays further 2xx are the transactions alone.
#[test]
fn a_released_invite_is_forgotten_but_every_2xx_goes_on() {
    let mut bench = Bench::new();
    let id = bench.fork(Method::Invite, &[2]);
    bench.core.release(id);
    assert!(bench.core.from(id).is_some(), "it has not been answered");
    bench.respond(2, 200, &[]);
    bench.core.release(id);
    assert!(matches!(bench.core.poll(), Some(Event::Ended { .. })) && bench.core.from(id).is_none());
    assert!(bench.core.is_settled() && !bench.core.is_empty());

    // Repeated, and by another phone behind the same proxy.
    let asked = bench.sent(2, Method::Invite).unwrap();
    assert!(matches!(bench.respond(2, 200, &[])[..], [Event::Response { branch: 0, .. }]));
    let other = response_to(asked.msg(), 200, None, Some(b"other")).finish();
    let events = bench.receive(2, Message::parse(other).unwrap());
    bench.relay(events);
    assert_eq!(bench.answers(), [100, 200, 200, 200]);
    assert!(bench.receive(CALLER, request(Method::Invite, "a", 70)).is_empty(), "the INVITE repeated");
    assert!(bench.run_for(Duration::from_secs(100)).is_empty(), "told once");
    assert!(bench.core.is_empty());
}

#[test]
fn a_fork_is_not_released_while_others_may_answer() {
    let mut bench = Bench::new();
    let id = bench.fork(Method::Invite, &[2, 3]);
    bench.respond(3, 180, &[]);
    bench.respond(2, 200, &[]);
    bench.core.release(id);
    assert!(bench.core.from(id).is_some() && bench.sent(3, Method::Cancel).is_some());
    bench.respond(3, 200, &[]);
    bench.core.release(id);
    assert!(bench.core.from(id).is_none());
    assert_eq!(bench.answers(), [100, 180, 200, 200]);
}

/// A branch with a second place to go to, and a second of patience.
fn forward_with_alternative(bench: &mut Bench, id: ServerId, callee: u8) -> Option<usize> {
    let mut ctx = Ctx { now: bench.now, unix_ms: 0, rng: &mut bench.rng };
    let manner = Manner { has_alternative: true, patience: Some(Duration::from_secs(1)) };
    bench.core.forward_as(&mut ctx, id, hop(callee), IDENTITY, &mut Edit::new(), manner, &mut bench.wire)
}

/// RFC 3263 §4.3: the next place is tried after a 503 and after silence; the failure of the first is forgotten.
#[test]
fn a_dead_place_gives_way_to_the_next() {
    for dead in [None, Some(503), Some(430)] {
        let mut bench = Bench::new();
        let id = bench.fork(Method::Invite, &[]);
        let first = forward_with_alternative(&mut bench, id, 2).unwrap();
        let events = match dead {
            Some(status) => bench.respond(2, status, &[]),
            None => bench.run_for(Duration::from_secs(1)),
        };
        let [Event::Unreachable { branch, status, .. }] = events[..] else { panic!("{dead:?}: {events:?}") };
        assert_eq!((branch, status), (first, dead.unwrap_or(408)));
        bench.forward(id, 3).unwrap();
        bench.core.supersede(id, first);
        bench.respond(3, 486, &[]);
        assert_eq!(bench.distinct_answers(), [100, 486], "{dead:?}");
    }
}

#[test]
fn an_unreachable_branch_counts_once_it_is_given_up() {
    let mut bench = Bench::new();
    let id = bench.fork(Method::Invite, &[]);
    let branch = forward_with_alternative(&mut bench, id, 2).unwrap();
    bench.forward(id, 3).unwrap();
    bench.respond(2, 503, &[]);
    bench.respond(3, 404, &[]);
    assert_eq!(bench.distinct_answers(), [100], "the element has not decided yet");
    bench.core.give_up(bench.now, id, branch, &mut bench.wire);
    let events = std::iter::from_fn(|| bench.core.poll()).collect();
    bench.relay(events);
    assert_eq!(bench.distinct_answers(), [100, 404]);
}

/// A place that rings is not dead, and one that has answered 486 has been reached.
#[test]
fn who_has_been_heard_of_is_not_given_up() {
    let mut bench = Bench::new();
    let id = bench.fork(Method::Invite, &[]);
    forward_with_alternative(&mut bench, id, 2).unwrap();
    bench.respond(2, 180, &[]);
    assert!(bench.run_for(Duration::from_secs(2)).is_empty());
    bench.respond(2, 486, &[]);
    assert_eq!(bench.distinct_answers(), [100, 180, 486]);
}

/// RFC 6228 §5.
#[test]
fn the_end_of_an_early_dialog_is_told_to_who_asks_for_it() {
    for supported in [true, false] {
        let mut bench = Bench::new();
        let asked = request(Method::Invite, "a", 70);
        let mut edit = Edit::new();
        if supported {
            edit.append(asked.msg(), b"Supported", &[b"199"]);
        }
        let mut bytes = Vec::new();
        edit.apply(asked.msg(), &mut bytes);
        let events = bench.receive(CALLER, Message::parse(bytes).unwrap());
        let [Event::Request { id, .. }] = events[..] else { panic!("{events:?}") };
        bench.forward(id, 2).unwrap();
        bench.forward(id, 3).unwrap();
        bench.respond(2, 183, &[]);
        bench.respond(3, 180, &[]);
        bench.respond(2, 486, &[]);
        let told: Vec<_> = bench.wire.0.iter().filter(|(_, m)| m.msg().status() == Some(199)).collect();
        assert_eq!(told.len(), usize::from(supported));
        for (_, message) in told {
            assert_eq!(message.msg().to_tag(), Some(&b"t2"[..]));
            assert_eq!(message.msg().header(HeaderId::Reason), Some(&b"SIP;cause=486"[..]));
        }
        bench.respond(3, 603, &[]);
        assert_eq!(bench.answers().iter().filter(|status| **status == 199).count(), usize::from(supported));
    }
}

#[test]
fn a_request_of_our_own_has_its_outcome_told() {
    let mut bench = Bench::new();
    let notify = RequestBuilder::new(Method::Options, b"sip:bob@192.0.2.2")
        .max_forwards(70)
        .header("From", "<sip:example.com>;tag=1")
        .header("To", "<sip:bob@example.com>")
        .header("Call-ID", "own")
        .cseq(1, Method::Options)
        .finish();
    let mut ctx = Ctx { now: bench.now, unix_ms: 0, rng: &mut bench.rng };
    let sent = bench.core.send_own(&mut ctx, hop(2), IDENTITY, &notify, &mut bench.wire).unwrap();
    let events = bench.respond(2, 200, &[]);
    let [Event::Own { client, outcome: Ok(message) }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((*client, message.msg().status()), (sent, Some(200)));
    let mut ctx = Ctx { now: bench.now, unix_ms: 0, rng: &mut bench.rng };
    let unheard = bench.core.send_own(&mut ctx, hop(3), IDENTITY, &notify, &mut bench.wire).unwrap();
    let events = bench.run_for(Duration::from_secs(32));
    assert!(
        matches!(events[..], [Event::Own { client, outcome: Err(_) }] if client == unheard),
        "{events:?}"
    );
}

/// RFC 3261 §17.2.1: a 100 within 200 ms, unless something better comes before.
#[test]
fn who_rings_at_once_needs_no_100() {
    for (delay, expected) in [(199, &[180][..]), (201, &[100, 180])] {
        let mut bench = Bench::new();
        bench.core = Core::new(Timing::default());
        bench.fork(Method::Invite, &[2]);
        bench.run_for(Duration::from_millis(delay));
        bench.respond(2, 180, &[]);
        bench.run_for(Duration::from_millis(400));
        assert_eq!(bench.answers(), expected, "after {delay} ms");
    }
}

/// A repetition that arrives before anything has been answered is not answered by nothing.
#[test]
fn an_early_repetition_waits_like_the_first() {
    let mut bench = Bench::new();
    bench.core = Core::new(Timing::default());
    bench.fork(Method::Invite, &[2]);
    bench.receive(CALLER, request(Method::Invite, "a", 70));
    assert_eq!(bench.answers(), Vec::<u16>::new());
    bench.run_for(Duration::from_millis(200));
    bench.receive(CALLER, request(Method::Invite, "a", 70));
    assert_eq!(bench.answers(), [100, 100]);
}

/// A request that comes again after this element has lost its memory is the same one for whoever is next.
#[test]
fn with_a_key_branches_are_the_same_after_a_restart() {
    let key = BranchKey([5; 32]);
    let identity = Identity { key: Some(&key), ..IDENTITY };
    let branch_of = |bench: &mut Bench, method| {
        bench.core = Core::new(Timing::default()).taking_strays();
        let events = bench.receive(CALLER, request(method, "again", 70));
        let [Event::Request { id, .. }] = events[..] else { panic!("{events:?}") };
        let mut ctx = Ctx { now: bench.now, unix_ms: 0, rng: &mut bench.rng };
        bench.core.forward(&mut ctx, id, hop(2), identity, &mut Edit::new(), &mut bench.wire).unwrap();
        bench.sent(2, method).unwrap().msg().top_via().unwrap().branch().unwrap().to_vec()
    };
    let mut bench = Bench::new();
    let first = branch_of(&mut bench, Method::Invite);
    assert_eq!(branch_of(&mut bench, Method::Invite), first);
    assert_eq!(branch_of(&mut bench, Method::Cancel), first, "a CANCEL finds the INVITE at the next element");
    assert_ne!(branch_of(&mut bench, Method::Options), first);
}

/// RFC 3261 §17.1.2.2: the client transaction lives for timer K where the server transaction had none to wait for.
#[test]
fn a_repetition_after_the_answer_replaces_what_is_left_of_the_first() {
    let key = BranchKey([5; 32]);
    let identity = Identity { key: Some(&key), ..IDENTITY };
    let mut bench = Bench::new();
    let from = Hop { transport: Transport::Tunnel, ..hop(CALLER) };
    for round in 1..=3 {
        bench.core.receive(
            &mut Ctx { now: bench.now, unix_ms: 0, rng: &mut bench.rng },
            from,
            request(Method::Options, "again", 70),
            &mut bench.wire,
        );
        let events: Vec<Event> = std::iter::from_fn(|| bench.core.poll()).collect();
        let Some(Event::Request { id, .. }) =
            events.iter().find(|event| matches!(event, Event::Request { .. }))
        else {
            panic!("{events:?}")
        };
        let mut ctx = Ctx { now: bench.now, unix_ms: 0, rng: &mut bench.rng };
        bench.core.forward(&mut ctx, *id, hop(2), identity, &mut Edit::new(), &mut bench.wire).unwrap();
        bench.respond(2, 200, &[]);
        assert_eq!(bench.answers(), vec![200; round]);
    }
    bench.run_for(Duration::from_secs(40));
    assert!(bench.core.is_empty());
}
