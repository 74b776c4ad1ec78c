//! Random sequences of faults, with a call, speech and requests under way: cuts, blackholes, translators that forget,
//! processes that are killed and come back from their records.

mod common;

use causeway_node::{Flow, Time};
use causeway_sip::{HeaderId, Message, Method, RequestBuilder, response_to};
use common::*;
use rand::Rng;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A request is named by Call-ID, CSeq and method.
type Name = (Vec<u8>, u32, String);

fn name_of(message: &Message) -> Name {
    let cseq = message.msg().cseq().unwrap();
    (message.msg().call_id().unwrap().to_vec(), cseq.number, cseq.method.to_string())
}

/// A request that a phone repeats until it is answered.
struct Asked {
    phone: usize,
    bytes: Vec<u8>,
    name: Name,
    quiet: bool,
    status: Option<u16>,
    since: Time,
}

/// Two phones that do what user agents do (RFC 3261 §17.1.2.2, §13.3.1.4), driven by the test.
struct Storm {
    lab: Lab,
    heard: [usize; 2],
    asked: Vec<Asked>,
    /// 2xx to INVITEs without an ACK yet.
    accepted: HashMap<Name, (usize, Vec<u8>)>,
    last_repeat: Time,
    sequence: u16,
    spoke: [Time; 2],
    media: [usize; 2],
    /// When the agents were, and the contact point.
    killed: [Vec<Time>; 3],
}

impl Storm {
    /// With keys, media is sealed by what the registrations leave, wherever both ends remember it.
    fn new(seed: u64, keys: bool) -> Self {
        let mut lab = match keys {
            true => users::lab(seed, 2, users::with_database, users::with_accounts),
            false => Lab::new(seed, 2, |_| {}),
        };
        lab.world.set_default_link(causeway_sim::Link::delay(ms(10)));
        for (n, user) in ["alice", "bob"].into_iter().enumerate() {
            match keys {
                true => users::register(&mut lab, n, user, &format!("pw-{user}"), 3600),
                false => lab.register(n, user, 3600),
            }
        }
        lab.call(0, "alice", 1, "bob", "storm");
        let now = lab.world.now();
        let heard = [0, 1].map(|n| lab.phone(n).heard.len());
        Self {
            lab,
            heard,
            asked: Vec::new(),
            accepted: HashMap::new(),
            last_repeat: now,
            sequence: 0,
            spoke: [now; 2],
            media: [0; 2],
            killed: Default::default(),
        }
    }

    /// 50 ms of life: speech, answers, repetitions.
    fn tick(&mut self) {
        let to_callee = media_of(self.lab.phone(0).heard.iter().find(|m| is_answer(m)).unwrap());
        let to_caller = media_of(self.lab.phone(1).heard.iter().find(|m| is_call(m)).unwrap());
        self.sequence = self.sequence.wrapping_add(1);
        self.lab.speak(0, to_callee, self.sequence, b"forth");
        self.lab.speak(1, to_caller, self.sequence, b"back");
        self.lab.world.run_for(ms(50));
        let now = self.lab.world.now();
        for n in 0..2 {
            let media = self.lab.phone(n).media.len();
            if media > self.media[n] {
                (self.media[n], self.spoke[n]) = (media, now);
            }
            let new: Vec<Message> = self.lab.phone(n).heard[self.heard[n]..].to_vec();
            self.heard[n] += new.len();
            new.iter().for_each(|message| self.hear(n, message));
        }
        if now.since(self.last_repeat) >= ms(500) {
            self.last_repeat = now;
            for asked in self.asked.iter().filter(|asked| asked.status.is_none() && !asked.quiet) {
                self.lab.say(asked.phone, &asked.bytes);
            }
            for (phone, answer) in self.accepted.values() {
                self.lab.say(*phone, answer);
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.lab.world.now() + time;
        while self.lab.world.now() < end {
            self.tick();
        }
    }

    fn hear(&mut self, n: usize, message: &Message) {
        let msg = message.msg();
        let name = name_of(message);
        let Some(status) = msg.status() else { return self.hear_request(n, message, name) };
        let asked = self.asked.iter_mut().find(|asked| asked.name == name && asked.phone == n);
        if let Some(asked) = asked {
            asked.quiet |= name.2 == "INVITE";
            if status >= 200 {
                asked.status.get_or_insert(status);
            }
        }
        if name.2 == "INVITE" && (200..300).contains(&status) {
            let ack = in_dialog(message, Method::Ack, name.1);
            self.lab.say(n, &ack);
        }
    }

    fn hear_request(&mut self, n: usize, message: &Message, name: Name) {
        let msg = message.msg();
        match msg.method() {
            Method::Ack => self.accepted.retain(|accepted, _| accepted.0 != name.0 || accepted.1 != name.1),
            Method::Invite => {
                let user = ["alice", "bob"][n];
                let phone = self.lab.phone(n);
                let build = |status| {
                    response_to(msg, status, None, Some(b"auto"))
                        .record_routes()
                        .header("Contact", phone.contact(user))
                };
                let answer = build(200).body("application/sdp", sdp(&phone.ip, 6000)).finish();
                self.accepted.insert(name, (n, answer));
                let ringing = build(180).finish();
                self.lab.say(n, &ringing);
            }
            _ => {
                let answer = response_to(msg, 200, None, Some(b"auto")).finish();
                self.lab.say(n, &answer);
            }
        }
    }

    /// A request outside any dialog, with an offer if it is an INVITE.
    fn ask(&mut self, n: usize, method: Method<'static>) {
        let (user, to) = [("alice", "bob"), ("bob", "alice")][n];
        let number = self.asked.len();
        let phone = self.lab.phone(n);
        let builder = RequestBuilder::new(method, format!("sip:{to}@example.com").as_bytes())
            .header("Via", format!("SIP/2.0/UDP {}:5060;branch=z9hG4bKstorm{n}-{number};rport", phone.ip))
            .header("Contact", phone.contact(user))
            .header("From", format!("<sip:{user}@example.com>;tag=storm{number}"))
            .header("To", format!("<sip:{to}@example.com>"))
            .header("Call-ID", format!("storm{number}"))
            .cseq(1, method)
            .max_forwards(70);
        let builder = match method {
            Method::Invite => builder.body("application/sdp", sdp(&phone.ip, 6000)),
            _ => builder,
        };
        self.begin(n, builder.finish());
    }

    fn begin(&mut self, phone: usize, bytes: Vec<u8>) {
        self.lab.say(phone, &bytes);
        let name = name_of(&Message::parse(bytes.as_slice()).unwrap());
        let since = self.lab.world.now();
        self.asked.push(Asked { phone, bytes, name, quiet: false, status: None, since });
    }

    /// Something breaks; when its cause is gone, and how long it may take to be noticed if nobody is told.
    fn fault(&mut self) -> (Time, Duration) {
        let rng = self.lab.world.rng();
        let (what, n, time) = (rng.random_range(0..6), rng.random_range(0..2), rng.random_range(0..4_000));
        let end = self.lab.world.now() + ms(time);
        let nat = format!("203.0.113.{}", n + 1);
        match what {
            0 => {
                let open = self.lab.world.connections(self.lab.agents[n]);
                (0..100).for_each(|i| self.lab.world.reset(self.lab.agents[n], Flow((1 << 21) + i)));
                let _ = open;
                (self.lab.world.now(), Duration::ZERO)
            }
            1 => {
                self.lab.world.isolate(&nat);
                let long = ms(5 * time);
                self.lab.world.after(long, move |world| world.rejoin(&nat));
                (self.lab.world.now() + long, Duration::ZERO)
            }
            // What a translator has forgotten is noticed by silence.
            2 => {
                self.lab.world.reboot_nat(self.lab.nats[n]);
                (self.lab.world.now(), ms(3_500))
            }
            3 => {
                self.lab.world.kill(self.lab.agents[n]);
                self.killed[n].push(self.lab.world.now());
                self.down(end);
                self.lab.restart_agent(n);
                (end, Duration::ZERO)
            }
            _ => {
                self.lab.world.kill(self.lab.contact);
                self.killed[2].push(self.lab.world.now());
                self.down(end);
                self.lab.restart_contact();
                (end, Duration::ZERO)
            }
        }
    }

    /// Everything was answered. But an INVITE that was answered 100 is not said again (RFC 3261 §17.1.1.2): it dies with
    /// its agent if that could not pass it on before, and with agent and contact point if they die both (a stateful
    /// server would answer 408 in the end).
    fn check_answers(&self) {
        for asked in &self.asked {
            let killed = |who: usize| self.killed[who].iter().any(|killed| *killed > asked.since);
            let passed = self.lab.server().seen.iter().any(|m| name_of(m) == asked.name);
            if asked.quiet && killed(asked.phone) && (!passed || killed(2)) && asked.status.is_none() {
                continue;
            }
            assert_eq!(asked.status, Some(200), "{:?}, asked at {}", asked.name, asked.since);
        }
    }

    fn down(&mut self, until: Time) {
        while self.lab.world.now() < until {
            self.tick();
        }
    }
}

fn is_answer(message: &Message) -> bool {
    message.msg().call_id() == Some(b"storm") && message.msg().status() == Some(200)
}

fn is_call(message: &Message) -> bool {
    message.msg().call_id() == Some(b"storm")
        && message.msg().is_request()
        && message.msg().method() == Method::Invite
}

/// A request of the caller in the dialog that a 2xx has made.
fn in_dialog(ok: &Message, method: Method<'static>, cseq: u32) -> Vec<u8> {
    let msg = ok.msg();
    let via = msg.top_via().unwrap();
    let sent_by = String::from_utf8_lossy(via.host).into_owned();
    let call_id = String::from_utf8_lossy(msg.call_id().unwrap()).into_owned();
    let mut routes: Vec<Vec<u8>> = msg.values(HeaderId::RecordRoute).map(<[u8]>::to_vec).collect();
    routes.reverse();
    let builder = RequestBuilder::new(method, msg.contact().unwrap().uri)
        .header("Via", format!("SIP/2.0/UDP {sent_by}:5060;branch=z9hG4bK{call_id}{cseq}{method};rport"))
        .header("From", msg.header(HeaderId::From).unwrap())
        .header("To", msg.header(HeaderId::To).unwrap())
        .header("Call-ID", &call_id)
        .cseq(cseq, method)
        .max_forwards(70);
    routes.iter().fold(builder, |builder, route| builder.header("Route", route)).finish()
}

fn media_lines(lab: &Lab, call: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for id in [lab.contact, lab.agents[0], lab.agents[1]] {
        let status = lab.status(id);
        for leg in status["calls"].as_array().unwrap().iter().filter(|leg| leg["call_id"] == call) {
            for line in leg["media"].as_array().unwrap() {
                lines
                    .push(format!("{} {} {} {}", leg["direction"], line["port"], line["lane"], line["peer"]));
            }
        }
    }
    lines.sort();
    lines
}

#[test]
fn random_faults_harm_no_call() {
    causeway_sim::for_each_seed(100, |seed| {
        let keys = seed % 2 == 1;
        let mut storm = Storm::new(seed, keys);
        storm.run(S);
        let sealed = &storm.lab.status(storm.lab.contact)["tunnels"][0]["users"][0]["sealed"];
        assert_eq!(keys, sealed.as_u64().is_some_and(|sealed| sealed > 0), "{sealed}");
        let before = media_lines(&storm.lab, "storm");
        assert_eq!(before.len(), 8);
        let rounds = storm.lab.world.rng().random_range(2..5);
        for _ in 0..rounds {
            let (mut back, mut noticed) = (storm.lab.world.now(), Duration::ZERO);
            for _ in 0..storm.lab.world.rng().random_range(1..4) {
                let (end, silence) = storm.fault();
                (back, noticed) = (back.max(end), noticed.max(silence));
                let method =
                    if storm.lab.world.rng().random_bool(0.3) { Method::Invite } else { Method::Message };
                let who = storm.lab.world.rng().random_range(0..2);
                storm.ask(who, method);
                let pause = storm.lab.world.rng().random_range(0..1500);
                storm.run(ms(pause));
                back = back.max(storm.lab.world.now());
            }
            storm.down(back);
            let deadline = back + 2 * S + noticed;
            // What was under way when a translator forgot arrives all the same.
            while storm.spoke.iter().any(|spoke| *spoke < back + ms(100)) {
                assert!(storm.lab.world.now() < deadline, "speech is back within 2 s after {back}");
                storm.tick();
            }
            let pause = storm.lab.world.rng().random_range(0..6_000);
            storm.run(ms(pause));
        }
        storm.run(20 * S);
        assert_eq!(media_lines(&storm.lab, "storm"), before, "ports, lanes and addresses are what they were");
        storm.check_answers();
        assert!(storm.accepted.is_empty(), "every 2xx was acknowledged");
        // The calls that were set up meanwhile, then the first one.
        let answers: Vec<(usize, Message)> = (0..2)
            .flat_map(|n| storm.lab.phone(n).heard.iter().map(move |m| (n, m.clone())))
            .filter(|(_, m)| m.msg().status() == Some(200) && m.msg().method() == Method::Invite)
            .collect();
        let mut ended = HashSet::new();
        for (n, answer) in answers {
            if ended.insert(answer.msg().call_id().unwrap().to_vec()) {
                let bye = in_dialog(&answer, Method::Bye, 100);
                storm.begin(n, bye);
            }
        }
        storm.run(5 * S);
        storm.check_answers();
        check_once(&storm.lab);
        // Calls that nobody will ever answer are given up in the end.
        storm.lab.world.run_for(400 * S);
        for id in [storm.lab.contact, storm.lab.agents[0], storm.lab.agents[1]] {
            let status = storm.lab.status(id);
            assert_eq!(
                status["calls"].as_array().unwrap().len(),
                0,
                "{} {:#}",
                status["role"],
                status["calls"]
            );
            assert_eq!(status["ports"]["used"], 0);
            let legs = storm.lab.world.records(id);
            assert!(!legs.iter().any(|record| record.space.ends_with(".leg")));
        }
    });
}

/// Whoever is asked something is asked once; retransmissions have the same branch (RFC 3261 §17.2.3).
fn check_once(lab: &Lab) {
    let places = [&lab.server().seen, &lab.phone(0).heard, &lab.phone(1).heard];
    for messages in places {
        let mut branches: HashMap<Name, HashSet<Vec<u8>>> = HashMap::new();
        for message in messages.iter().filter(|m| m.msg().is_request() && m.msg().method() != Method::Ack) {
            let branch = message.msg().top_via().unwrap().branch().unwrap().to_vec();
            branches.entry(name_of(message)).or_default().insert(branch);
        }
        for (name, branches) in branches {
            assert_eq!(branches.len(), 1, "{name:?}: {branches:?}");
        }
    }
}
