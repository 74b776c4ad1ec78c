//! The message store, spoken to by a script.

use super::*;
use causeway_node::testing::CountingRng;
use causeway_node::{Flow, Outbox};
use causeway_sip::proxy::{Core, Event};
use causeway_sip::transaction::{Timing, Transport};
use causeway_sip::{Message, Method, RequestBuilder};

const BOB: &[u8] = b"sip:bob@example.com";
/// 2010-11-13 23:29:00 GMT.
const BEGIN_MS: u64 = 1_289_690_940_000;

struct Bench {
    messages: Messages,
    now: Time,
    rng: CountingRng,
    disk: HashMap<Vec<u8>, Vec<u8>>,
}

#[derive(Default)]
struct Done {
    status: u16,
    sent: Vec<(u64, Message, Option<Hop>)>,
    order: Vec<&'static str>,
}

fn hop() -> Hop {
    Hop { flow: Flow(3), peer: "192.0.2.7:5062".parse().unwrap(), transport: Transport::Tcp }
}

fn some_transaction() -> ServerId {
    let mut core = Core::new(Timing::default());
    let (mut out, mut rng) = (Outbox::default(), CountingRng::default());
    let mut ctx = Ctx { now: Time::ZERO, unix_ms: 0, rng: &mut rng };
    core.receive(&mut ctx, hop(), Message::parse(message("x", &[]).finish()).unwrap(), &mut out);
    match core.poll() {
        Some(Event::Request { id, .. }) => id,
        _ => panic!("no request"),
    }
}

fn message(text: &str, headers: &[(&str, &str)]) -> RequestBuilder {
    let request = RequestBuilder::new(Method::Message, BOB)
        .header("Via", "SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK776sgdkse")
        .header("Route", "<sip:192.0.2.1;lr>")
        .max_forwards(12)
        .header("From", "\"J\u{fc}rg\" <sip:alice@example.com>;tag=49583")
        .header("To", "\"Bob\" <sip:bob@example.com>;x=y")
        .header("Call-ID", "asd88asd77a@1.2.3.4")
        .cseq(9, Method::Message)
        .header("Proxy-Authorization", "Digest username=\"alice\"")
        .header("Subject", "Watson");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
    if text.is_empty() { request } else { request.body("text/plain;charset=utf-8", text) }
}

impl Bench {
    fn new() -> Self {
        Self {
            messages: Messages::new(Config::default()),
            now: Time::ZERO + Duration::from_secs(5),
            rng: CountingRng::default(),
            disk: HashMap::new(),
        }
    }

    fn with(&mut self, work: impl FnOnce(&mut Messages, &mut Ctx<'_>, &mut Vec<Action>)) -> Done {
        let unix_ms = BEGIN_MS + self.now.as_millis() - 5000;
        let mut ctx = Ctx { now: self.now, unix_ms, rng: &mut self.rng };
        let mut actions = Vec::new();
        work(&mut self.messages, &mut ctx, &mut actions);
        let mut done = Done::default();
        for action in actions {
            match action {
                Action::Persist(Record { key, value, .. }) => {
                    done.order.push("persist");
                    match value {
                        Some(value) => drop(self.disk.insert(key, value)),
                        None => assert!(self.disk.remove(&key).is_some(), "removed once"),
                    }
                }
                Action::Reply { status, response, .. } => {
                    done.order.push("reply");
                    assert_eq!(Message::parse(response).unwrap().msg().status(), Some(status));
                    done.status = status;
                }
                Action::Send { token, request, received } => {
                    done.order.push("send");
                    done.sent.push((token, Message::parse(request).unwrap(), received));
                }
            }
        }
        done
    }

    fn keep(&mut self, request: RequestBuilder) -> Done {
        let request = Message::parse(request.finish()).unwrap();
        let id = some_transaction();
        self.with(|messages, ctx, actions| messages.keep(ctx, id, request.msg(), BOB, actions))
    }

    fn register(&mut self) -> Done {
        let routes = vec![b"<sip:edge.example.com;lr>".to_vec()];
        let target = Target { uri: b"sip:bob@192.0.2.7".to_vec(), routes, received: Some(hop()) };
        self.with(|messages, ctx, actions| messages.registered(ctx, BOB, target, actions))
    }

    /// Answers the message that is on its way; status 0 is no answer.
    fn answer(&mut self, done: &Done, status: u16) -> Done {
        let (token, request, _) = done.sent.last().expect("a message on its way");
        let response =
            Message::parse(response_to(request.msg(), status.max(100), None, None).finish()).unwrap();
        let answer = (status > 0).then(|| response.msg());
        self.with(|messages, ctx, actions| messages.outcome(ctx, *token, answer, actions))
    }

    fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(due) = self.messages.deadline().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.with(|messages, ctx, actions| messages.timeout(ctx, actions));
        }
        self.now = until;
    }

    fn restart(&mut self) {
        let stored: Vec<_> =
            self.disk.iter().map(|(key, value)| ("message", key.clone(), value.clone())).collect();
        let unix_ms = BEGIN_MS + self.now.as_millis() - 5000;
        self.messages = Messages::restore(Config::default(), stored, unix_ms);
        self.with(|messages, ctx, actions| messages.resume(ctx, actions));
    }

    fn count(&self, what: &str) -> u64 {
        self.messages.status()[what].as_u64().unwrap()
    }
}

fn body(done: &Done) -> String {
    assert_eq!(done.sent.len(), 1, "one at a time");
    String::from_utf8(done.sent[0].1.msg().body().to_vec()).unwrap()
}

#[test]
fn kept_on_disk_and_delivered_as_it_was_written() {
    let mut bench = Bench::new();
    let done = bench.keep(message("Come here.", &[("X-Own", "1")]));
    assert_eq!((done.status, done.order), (202, vec!["persist", "reply"]));
    bench.wait(Duration::from_secs(3600));
    let sent = bench.register();
    let (token, request, received) = &sent.sent[0];
    assert!(*token >= Messages::FIRST_TOKEN);
    assert_eq!(*received, Some(hop()));
    let msg = request.msg();
    let header = |id| String::from_utf8(msg.header(id).unwrap_or_default().to_vec()).unwrap();
    assert_eq!((msg.method(), msg.request_uri()), (Method::Message, &b"sip:bob@192.0.2.7"[..]));
    assert_eq!(header(HeaderId::Route), "<sip:edge.example.com;lr>");
    assert_eq!(header(HeaderId::From), "\"J\u{fc}rg\" <sip:alice@example.com>;tag=49583");
    assert_eq!(header(HeaderId::To), "\"Bob\" <sip:bob@example.com>");
    assert_eq!(header(HeaderId::Date), "Sat, 13 Nov 2010 23:29:00 GMT", "when it came");
    assert_eq!(header(HeaderId::ContentType), "text/plain;charset=utf-8");
    assert_eq!((header(HeaderId::Subject), msg.max_forwards()), ("Watson".into(), Some(70)));
    assert_eq!(msg.header_named(b"X-Own").next(), Some(&b"1"[..]));
    assert!(!msg.has(HeaderId::ProxyAuthorization) && !msg.has(HeaderId::Via));
    assert_ne!(msg.call_id(), Some(&b"asd88asd77a@1.2.3.4"[..]));
    assert_eq!(body(&sent), "Come here.");
    let done = bench.answer(&sent, 200);
    assert_eq!(done.order, ["persist"]);
    assert!(bench.disk.is_empty());
    assert_eq!((bench.count("messages"), bench.count("bytes"), bench.count("under_way")), (0, 0, 0));
    assert_eq!(bench.messages.deadline(), None);
}

#[test]
fn a_date_of_the_senders_own_stays() {
    let mut bench = Bench::new();
    bench.keep(message("x", &[("Date", "Fri, 12 Nov 2010 23:29:00 GMT")]));
    let sent = bench.register();
    let dates: Vec<_> = sent.sent[0].1.msg().all(HeaderId::Date).collect();
    assert_eq!(dates, [b"Fri, 12 Nov 2010 23:29:00 GMT"]);
}

#[test]
fn one_after_the_other_in_their_order() {
    let mut bench = Bench::new();
    for text in ["1", "2", "3"] {
        bench.keep(message(text, &[]));
    }
    let first = bench.register();
    assert_eq!(body(&first), "1");
    assert!(bench.register().sent.is_empty(), "a refresh does not send it twice");
    let second = bench.answer(&first, 202);
    assert_eq!((body(&second), second.order.as_slice()), ("2".into(), &["persist", "send"][..]));
    assert!(bench.answer(&first, 200).sent.is_empty(), "an answer counts once");
    let third = bench.answer(&second, 200);
    assert_eq!(body(&third), "3");
    bench.answer(&third, 200);
    assert!(bench.register().sent.is_empty());
}

#[test]
fn what_does_not_arrive_waits_for_the_next_registration() {
    for status in [0, 408, 480, 503] {
        let mut bench = Bench::new();
        bench.keep(message("1", &[]));
        bench.keep(message("2", &[]));
        for _ in 0..10 {
            let sent = bench.register();
            assert_eq!(body(&sent), "1");
            assert!(bench.answer(&sent, status).sent.is_empty(), "those behind it wait too");
        }
        assert_eq!(bench.disk.len(), 2);
    }
}

#[test]
fn what_a_phone_refuses_does_not_hold_up_the_others() {
    let mut bench = Bench::new();
    bench.keep(message("1", &[]));
    bench.keep(message("2", &[]));
    let next = bench.register();
    let next = bench.answer(&next, 415);
    assert_eq!(body(&next), "2");
    bench.answer(&next, 200);
    for _ in 1..Messages::TRIES {
        assert_eq!(bench.messages.waiting(BOB), 1);
        let again = bench.register();
        assert_eq!(body(&again), "1");
        bench.answer(&again, 415);
    }
    assert_eq!((bench.messages.waiting(BOB), bench.count("undeliverable")), (0, 1));
    assert!(bench.disk.is_empty());
}

#[test]
fn nothing_outlives_its_time() {
    let mut bench = Bench::new();
    bench.keep(message("brief", &[("Expires", "60")]));
    bench.keep(message("long", &[("Expires", "99999999")]));
    bench.wait(Duration::from_secs(60));
    assert_eq!(bench.messages.waiting(BOB), 1);
    let sent = bench.register();
    assert_eq!(body(&sent), "long");
    bench.wait(Config::default().max_age);
    assert_eq!(bench.messages.waiting(BOB), 1, "it is on its way");
    bench.answer(&sent, 0);
    assert_eq!((bench.messages.waiting(BOB), bench.disk.len(), bench.count("expired")), (0, 0, 2));
}

#[test]
fn what_is_not_kept() {
    let mut bench = Bench::new();
    assert_eq!(bench.keep(message("x", &[("Expires", "0")])).status, 480);
    let typing = message("", &[]).body("application/im-iscomposing+xml", "<isComposing/>");
    assert_eq!(bench.keep(typing).status, 480);
    assert_eq!(bench.keep(message(&"x".repeat(Messages::MESSAGE), &[])).status, 413);
    assert_eq!((bench.disk.len(), bench.count("refused")), (0, 3));
    assert_eq!(bench.keep(message("", &[])).status, 202, "an empty one is one all the same");
    assert_eq!(bench.register().sent[0].1.msg().content_length(), Some(0));
}

#[test]
fn a_user_has_so_much_room_and_no_more() {
    let mut bench = Bench::new();
    for _ in 0..Messages::PER_USER {
        assert_eq!(bench.keep(message("x", &[])).status, 202);
    }
    assert_eq!(bench.keep(message("x", &[])).status, 480);
    let mut bench = Bench::new();
    let long = "x".repeat(30 * 1024);
    let kept = (0..20).filter(|_| bench.keep(message(&long, &[])).status == 202).count();
    assert_eq!(kept, Messages::BYTES_PER_USER / (30 * 1024 + 200));
    assert!(bench.count("bytes") as usize <= Messages::BYTES_PER_USER);
}

#[test]
fn the_order_survives_a_restart() {
    let mut bench = Bench::new();
    for number in 0..30 {
        bench.keep(message(&number.to_string(), &[]));
    }
    bench.keep(message("brief", &[("Expires", "60")]));
    bench.now += Duration::from_secs(100);
    bench.restart();
    assert_eq!((bench.count("messages"), bench.disk.len()), (30, 30));
    bench.keep(message("new", &[]));
    let mut sent = bench.register();
    for number in 0..30 {
        assert_eq!(body(&sent), number.to_string());
        let from = sent.sent[0].1.msg().header(HeaderId::From).unwrap();
        assert_eq!(from, "\"J\u{fc}rg\" <sip:alice@example.com>;tag=49583".as_bytes());
        sent = bench.answer(&sent, 200);
    }
    assert_eq!(body(&sent), "new");
    bench.wait(Config::default().max_age);
    bench.answer(&sent, 503);
    assert!(bench.disk.is_empty());
}

#[test]
fn what_cannot_be_read_is_counted() {
    let rubbish =
        [("message", b"x".to_vec(), b"{}".to_vec()), ("message", queue::key(BOB, 1), b"{}".to_vec())];
    let messages = Messages::restore(Config::default(), rubbish, BEGIN_MS);
    assert_eq!(messages.status()["unreadable_records"], 2);
}
