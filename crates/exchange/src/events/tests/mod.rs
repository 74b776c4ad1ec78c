//! The event server, spoken to by a script: SUBSCRIBE and PUBLISH in, answers and NOTIFYs out.

mod durable;
mod limits;
mod publish;
mod subscribe;
mod xml;

use super::*;
use causeway_node::testing::CountingRng;
use causeway_node::{Flow, Outbox};
use causeway_sip::proxy::{Core, Event};
use causeway_sip::transaction::{Timing, Transport};
use causeway_sip::{HeaderId, Message, RequestBuilder, response_to};

const ALICE: &str = "sip:alice@example.com";
const BOB: &str = "sip:bob@example.com";
const LOCAL: &str = "198.51.100.1:5060";

/// The time of day when a script begins.
const BEGIN_MS: u64 = 1_700_000_000_000;

struct Bench {
    events: Events,
    now: Time,
    rng: CountingRng,
    id: ServerId,
    serial: u32,
    contacts: HashMap<Vec<u8>, Vec<RegInfo>>,
    /// What is on disk.
    disk: HashMap<(String, Vec<u8>), Vec<u8>>,
    writes: usize,
}

/// A NOTIFY that was sent.
struct Sent {
    token: u64,
    message: Message,
    received: Option<Hop>,
}

/// What came of one input.
#[derive(Default)]
struct Done {
    reply: Option<Message>,
    sent: Vec<Sent>,
    order: Vec<&'static str>,
}

fn hop() -> Hop {
    Hop { flow: Flow(0), peer: "192.0.2.7:5062".parse().unwrap(), transport: Transport::Udp }
}

/// The number of some transaction.
fn some_transaction() -> ServerId {
    let mut core = Core::new(Timing::default());
    let (mut out, mut rng) = (Outbox::default(), CountingRng::default());
    let mut ctx = Ctx { now: Time::ZERO, unix_ms: 0, rng: &mut rng };
    let request = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
        From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n";
    core.receive(&mut ctx, hop(), Message::parse(request).unwrap(), &mut out);
    match core.poll() {
        Some(Event::Request { id, .. }) => id,
        _ => panic!("no request"),
    }
}

fn contact(uri: &str, event: RegEvent) -> RegInfo {
    RegInfo {
        contact: uri.into(),
        display: Vec::new(),
        params: Vec::new(),
        q: None,
        since_ms: None,
        expires_ms: BEGIN_MS + 3_600_000,
        call_id: b"reg".to_vec(),
        cseq: 1,
        event,
        pub_gruu: None,
        temp_gruu: None,
    }
}

/// A presence document with one tuple.
fn pidf(id: &str, basic: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:x\">\
         <tuple id=\"{id}\"><status><basic>{basic}</basic></status></tuple></presence>"
    )
}

impl Bench {
    fn new() -> Self {
        Self {
            events: Events::new(Config::new("example.com")),
            now: Time::ZERO + Duration::from_secs(10),
            rng: CountingRng::default(),
            id: some_transaction(),
            serial: 0,
            contacts: HashMap::new(),
            disk: HashMap::new(),
            writes: 0,
        }
    }

    fn unix_ms(&self) -> u64 {
        BEGIN_MS + self.now.as_millis() - 10_000
    }

    fn with(&mut self, work: impl FnOnce(&mut Events, &mut Ctx<'_>, &mut Vec<Action>)) -> Done {
        let mut actions = Vec::new();
        let mut ctx =
            Ctx { now: self.now, unix_ms: BEGIN_MS + self.now.as_millis() - 10_000, rng: &mut self.rng };
        work(&mut self.events, &mut ctx, &mut actions);
        let mut done = Done::default();
        for action in actions {
            match action {
                Action::Persist(record) => {
                    done.order.push("persist");
                    self.writes += 1;
                    let key = (record.space.to_owned(), record.key);
                    match record.value {
                        Some(value) => drop(self.disk.insert(key, value)),
                        None => drop(self.disk.remove(&key)),
                    }
                }
                Action::Reply { status, response, .. } => {
                    done.order.push("reply");
                    let message = Message::parse(response).unwrap();
                    assert_eq!(message.msg().status(), Some(status));
                    assert!(done.reply.replace(message).is_none(), "one answer");
                }
                Action::Send { token, request, received } => {
                    done.order.push("send");
                    done.sent.push(Sent { token, message: Message::parse(request).unwrap(), received });
                }
            }
        }
        done
    }

    fn request(&mut self, method: Method<'_>, resource: &str, who: &str) -> RequestBuilder {
        self.serial += 1;
        RequestBuilder::new(method, resource.as_bytes())
            .header("Via", format!("SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK{}", self.serial))
            .max_forwards(70)
            .header("From", format!("\"W\" <{who}>;tag=w{}", self.serial))
            .header("To", format!("<{resource}>"))
            .header("Call-ID", format!("call{}", self.serial))
            .cseq(7, method)
    }

    fn ask(&mut self, request: RequestBuilder, resource: &str, who: &str) -> Done {
        let message = Message::parse(request.finish()).unwrap();
        causeway_sip::validate::verdict(message.msg()).unwrap();
        let contacts = self.contacts.clone();
        let bindings = move |aor: &[u8]| contacts.get(aor).cloned().unwrap_or_default();
        let (id, from) = (self.id, hop());
        self.with(|events, ctx, actions| {
            let (resource, who) = (resource.as_bytes(), who.as_bytes());
            let asked = Asked { id, msg: message.msg(), resource, who, from, local: LOCAL };
            events.request(ctx, asked, &bindings, actions);
        })
    }

    /// A SUBSCRIBE that begins a dialog.
    fn subscribe(&mut self, resource: &str, who: &str, headers: &[(&str, &str)]) -> Done {
        let request = self.request(Method::Subscribe, resource, who);
        let request =
            with_headers(request, headers, &[("Contact", "<sip:w@192.0.2.7:5062>"), ("Event", "presence")]);
        self.ask(request, resource, who)
    }

    /// A SUBSCRIBE within the dialog that `ok` has made.
    fn resubscribe(&mut self, ok: &Message, cseq: u32, who: &str, headers: &[(&str, &str)]) -> Done {
        self.serial += 1;
        let msg = ok.msg();
        let request = RequestBuilder::new(Method::Subscribe, msg.contact().unwrap().uri)
            .header("Via", format!("SIP/2.0/UDP 192.0.2.7:5062;branch=z9hG4bK{}", self.serial))
            .max_forwards(70)
            .header("From", msg.header(HeaderId::From).unwrap())
            .header("To", msg.header(HeaderId::To).unwrap())
            .header("Call-ID", msg.call_id().unwrap())
            .cseq(cseq, Method::Subscribe);
        let request =
            with_headers(request, headers, &[("Contact", "<sip:w@192.0.2.7:5062>"), ("Event", "presence")]);
        self.ask(request, "sip:ignored@example.com", who)
    }

    fn publish(&mut self, who: &str, headers: &[(&str, &str)], body: &str) -> Done {
        let request = self.request(Method::Publish, who, who);
        let mut request = with_headers(request, headers, &[("Event", "presence")]);
        if !body.is_empty() {
            request = request.body("application/pidf+xml", body);
        }
        self.ask(request, who, who)
    }

    /// Sets who is bound, and tells the event server.
    fn register(&mut self, aor: &str, contacts: &[RegInfo]) -> Done {
        self.contacts.insert(aor.into(), bound(contacts));
        self.with(|events, ctx, actions| events.registered(ctx, aor.as_bytes(), contacts, actions))
    }

    /// Answers a NOTIFY; status 0 is no answer.
    fn answer(&mut self, sent: &Sent, status: u16, headers: &[(&str, &str)]) -> Done {
        let mut response = response_to(sent.message.msg(), status.max(100), None, None);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        let response = Message::parse(response.finish()).unwrap();
        let answer = (status > 0).then(|| response.msg());
        self.with(|events, ctx, actions| events.outcome(ctx, sent.token, answer, actions))
    }

    /// Lets time pass.
    fn wait(&mut self, duration: Duration) -> Done {
        let until = self.now + duration;
        let mut all = Done::default();
        while let Some(due) = self.events.deadline().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            let done = self.with(|events, ctx, actions| events.timeout(ctx, actions));
            all.sent.extend(done.sent);
            all.order.extend(done.order);
        }
        self.now = until;
        all
    }

    /// Stops the event server and starts another one from what is on disk.
    fn restart(&mut self, away: Duration) -> Done {
        self.now += away;
        let stored: Vec<_> =
            self.disk.iter().map(|((space, key), v)| (space.clone(), key.clone(), v.clone())).collect();
        self.events = Events::restore(Config::new("example.com"), stored, self.unix_ms());
        let contacts = self.contacts.clone();
        let bindings = move |aor: &[u8]| contacts.get(aor).cloned().unwrap_or_default();
        self.with(|events, ctx, actions| events.resume(ctx, &bindings, actions))
    }

    fn count(&self, what: &str) -> u64 {
        self.events.status()[what].as_u64().unwrap()
    }
}

/// Adds header lines: those given, and the usual ones that are not among them. An empty value leaves one out.
fn with_headers(
    mut request: RequestBuilder,
    given: &[(&str, &str)],
    usual: &[(&str, &str)],
) -> RequestBuilder {
    let missing = usual.iter().filter(|(name, _)| !given.iter().any(|(other, _)| other == name));
    for (name, value) in given.iter().chain(missing).filter(|(_, value)| !value.is_empty()) {
        request = request.header(name, value);
    }
    request
}

impl Done {
    fn status(&self) -> u16 {
        self.reply.as_ref().and_then(|reply| reply.msg().status()).unwrap_or_default()
    }

    fn reply(&self) -> &Message {
        self.reply.as_ref().expect("an answer")
    }

    /// The only NOTIFY.
    fn notify(&self) -> &Sent {
        assert_eq!(self.sent.len(), 1, "one NOTIFY");
        &self.sent[0]
    }
}

impl Sent {
    fn header(&self, id: HeaderId) -> String {
        String::from_utf8(self.message.msg().header(id).unwrap_or_default().to_vec()).unwrap()
    }

    fn body(&self) -> String {
        String::from_utf8(self.message.msg().body().to_vec()).unwrap()
    }

    fn state(&self) -> String {
        self.header(HeaderId::SubscriptionState)
    }

    fn cseq(&self) -> u32 {
        self.message.msg().cseq().unwrap().number
    }
}

fn header(message: &Message, id: HeaderId) -> String {
    String::from_utf8(message.msg().header(id).unwrap_or_default().to_vec()).unwrap()
}
