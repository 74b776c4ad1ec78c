//! The phone as a node.

use crate::talk::Talk;
use causeway_node::{Class, Ctx, Flow, Input, Node, Outbox, Status, Time};
use causeway_sdp::{Codec, Description, Local};
use causeway_sip::hub::Hub;
use causeway_sip::ua::{self, CallId, Event, UserAgent};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a phone does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    /// Rings until the program decides.
    Rings,
    /// Rings for a while, then answers.
    After(Duration),
    /// Refuses with this status code.
    Refuses(u16),
}

/// The settings of a phone.
#[derive(Clone, Debug)]
pub struct Config {
    /// Account and addresses.
    pub account: ua::Config,
    /// First RTP port; line n uses the n-th even port from there, on the account's local address.
    pub rtp_port: u16,
    /// Calls at once.
    pub lines: u16,
    /// What it says: G.711 µ-law, 8,000 bytes a second.
    pub say: Arc<[u8]>,
    /// Delay of the playout buffer.
    pub playout: Duration,
    /// What it does when it is called.
    pub answering: Answering,
}

impl Config {
    /// The defaults: one line on port 4000, silence, 60 ms of playout delay, answers at once.
    pub fn new(account: ua::Config) -> Self {
        Self {
            account,
            rtp_port: 4000,
            lines: 1,
            say: Arc::new([]),
            playout: Duration::from_millis(60),
            answering: Answering::After(Duration::ZERO),
        }
    }
}

/// A call with its line and, once it stands, its media.
struct Line {
    number: u16,
    talk: Option<Talk>,
    /// What came before that, when: who has offered a session hears at once, and media may overtake the answer
    /// (RFC 3264 §5.1).
    early: Vec<(Time, Vec<u8>)>,
    /// Our side of the session.
    local: Local,
    /// Their offer, until we answer it.
    offer: Vec<u8>,
    answer_at: Option<Time>,
}

impl Line {
    fn new(number: u16, local: Local, offer: &[u8]) -> Self {
        Self { number, talk: None, early: Vec::new(), local, offer: offer.to_vec(), answer_at: None }
    }
}

/// A phone: one account, some lines.
pub struct Phone {
    config: Config,
    ua: UserAgent,
    lines: BTreeMap<CallId, Line>,
    finished: Vec<Talk>,
    events: VecDeque<Event>,
    draining: bool,
}

/// Flow ids of the RTP ports lie above those of the user agent.
const RTP_FLOWS: u32 = Hub::FLOWS;

impl Phone {
    /// Events that wait to be polled; the oldest goes when there are more.
    pub const EVENTS: usize = 1000;
    /// Finished calls that are remembered.
    pub const FINISHED: usize = 16;
    /// Packets kept that come before the answer: a second.
    const EARLY: usize = 50;

    /// A phone that has neither registered nor called.
    pub fn new(config: Config) -> Self {
        Self {
            ua: UserAgent::new(config.account.clone(), 0),
            lines: BTreeMap::new(),
            finished: Vec::new(),
            events: VecDeque::new(),
            draining: false,
            config,
        }
    }

    /// Registers, and stays registered.
    pub fn register(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        self.ua.register(ctx, out);
    }

    /// Ends the registration.
    pub fn unregister(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        self.ua.unregister(ctx, out);
    }

    /// Calls somebody; `None` if all lines are taken.
    pub fn call(&mut self, ctx: &mut Ctx<'_>, uri: &str, out: &mut Outbox) -> Option<CallId> {
        let number = self.free_line()?;
        let local = self.local(ctx, number);
        let id = self.ua.call(ctx, uri, local.offer(), out)?;
        self.lines.insert(id, Line::new(number, local, &[]));
        Some(id)
    }

    /// Answers a call that rings.
    pub fn answer(&mut self, ctx: &mut Ctx<'_>, call: CallId, out: &mut Outbox) {
        let Some(line) = self.lines.get_mut(&call) else { return };
        line.answer_at = None;
        let offer = Description::parse(line.offer.as_slice()).ok();
        let answer = offer.and_then(|offer| line.local.answer(offer.sdp()).ok());
        let Some((answer, agreed)) = answer else { return self.ua.reject(ctx, call, 488, out) };
        if let Some(remote) = agreed.remote {
            self.start_talk(ctx, call, remote);
        }
        self.ua.answer(ctx, call, answer, out);
    }

    /// Ends a call.
    pub fn hang_up(&mut self, ctx: &mut Ctx<'_>, call: CallId, out: &mut Outbox) {
        self.ua.hang_up(ctx, call, out);
        self.after(ctx, out);
    }

    /// The next thing that has happened.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The media of a call that stands.
    pub fn talk(&self, call: CallId) -> Option<&Talk> {
        self.lines.get(&call)?.talk.as_ref()
    }

    /// The media of all calls that stand.
    pub fn talks(&self) -> impl Iterator<Item = &Talk> {
        self.lines.values().filter_map(|line| line.talk.as_ref())
    }

    /// The media of the last calls that are over.
    pub fn finished(&self) -> &[Talk] {
        &self.finished
    }

    /// By how many seconds the registrar's clock is ahead of this one, if it has said.
    pub fn registrar_ahead(&self) -> Option<i64> {
        self.ua.registrar_ahead()
    }

    /// Calls that are not over.
    pub fn calls(&self) -> usize {
        self.ua.calls()
    }

    fn free_line(&self) -> Option<u16> {
        (0..self.config.lines).find(|number| !self.lines.values().any(|line| line.number == *number))
    }

    /// This end of a new session: µ-law, both ways.
    fn local(&self, ctx: &mut Ctx<'_>, line: u16) -> Local {
        let session = ctx.rng.next_u64() >> 33;
        Local { codecs: vec![Codec::PCMU], ..Local::new(self.rtp(line), session) }
    }

    /// Where the other end wants its audio, by its answer to our offer.
    fn agreed(&self, call: CallId, answer: &[u8]) -> Option<SocketAddr> {
        let answer = Description::parse(answer).ok()?;
        self.lines.get(&call)?.local.agree(answer.sdp()).ok()?.remote
    }

    fn rtp(&self, line: u16) -> SocketAddr {
        SocketAddr::new(self.config.account.local.ip(), self.config.rtp_port + 2 * line)
    }

    fn start_talk(&mut self, ctx: &mut Ctx<'_>, call: CallId, remote: SocketAddr) {
        let random = ctx.rng.next_u64();
        if let Some(line) = self.lines.get_mut(&call) {
            match &mut line.talk {
                Some(talk) => talk.remote = remote,
                None => {
                    let say = self.config.say.clone();
                    let mut talk = Talk::new(remote, say, random, ctx.now, self.config.playout);
                    line.early.drain(..).for_each(|(at, bytes)| talk.hear(at, &bytes));
                    line.talk = Some(talk);
                }
            }
        }
    }

    /// Reacts to what the user agent says, and passes it on.
    fn after(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        while let Some(event) = self.ua.poll() {
            match &event {
                Event::Incoming { call, offer, .. } => self.incoming(ctx, *call, offer, out),
                Event::Answered { call, answer } => match self.agreed(*call, answer) {
                    Some(remote) => self.start_talk(ctx, *call, remote),
                    None => self.ua.hang_up(ctx, *call, out),
                },
                Event::Changed { call, offer } => {
                    if let Some(remote) = self.agreed(*call, offer) {
                        self.start_talk(ctx, *call, remote);
                    }
                }
                Event::Ended { call, .. } => {
                    if let Some(mut talk) = self.lines.remove(call).and_then(|line| line.talk) {
                        talk.ended = Some(ctx.now);
                        self.finished.push(talk);
                    }
                    let surplus = self.finished.len().saturating_sub(Self::FINISHED);
                    self.finished.drain(..surplus);
                }
                _ => {}
            }
            self.events.push_back(event);
            if self.events.len() > Self::EVENTS {
                self.events.pop_front();
            }
        }
    }

    fn incoming(&mut self, ctx: &mut Ctx<'_>, call: CallId, offer: &[u8], out: &mut Outbox) {
        let Some(number) = self.free_line().filter(|_| !self.draining) else {
            return self.ua.reject(ctx, call, 486, out);
        };
        let local = self.local(ctx, number);
        let mut line = Line::new(number, local, offer);
        match self.config.answering {
            Answering::Refuses(status) => return self.ua.reject(ctx, call, status, out),
            Answering::After(wait) => line.answer_at = Some(ctx.now + wait),
            Answering::Rings => {}
        }
        self.lines.insert(call, line);
        self.ua.ring(ctx, call, out);
    }

    fn timeout(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        self.ua.timeout(ctx, out);
        let due: Vec<CallId> = self
            .lines
            .iter()
            .filter(|(_, line)| line.answer_at.is_some_and(|at| at <= ctx.now))
            .map(|(call, _)| *call)
            .collect();
        for call in due {
            self.answer(ctx, call, out);
        }
        for line in self.lines.values_mut() {
            let Some(talk) = &mut line.talk else { continue };
            talk.play(ctx.now);
            while let Some(packet) = talk.next_packet(ctx.now) {
                out.datagram(Flow(RTP_FLOWS + u32::from(line.number)), talk.remote, &packet);
            }
        }
    }
}

impl Node for Phone {
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        if self.ua.input(ctx, &input, out) {
            return self.after(ctx, out);
        }
        match input {
            Input::Start => {
                self.ua.start(out);
                for number in 0..self.config.lines {
                    out.bind(Flow(RTP_FLOWS + u32::from(number)), self.rtp(number), Class::Media);
                }
            }
            Input::Datagram { flow, bytes, .. } => {
                let found = self.lines.values_mut().find(|line| RTP_FLOWS + u32::from(line.number) == flow.0);
                match found {
                    Some(Line { talk: Some(talk), .. }) => talk.hear(ctx.now, bytes),
                    Some(Line { early, .. }) if early.len() < Self::EARLY => {
                        early.push((ctx.now, bytes.to_vec()));
                    }
                    _ => {}
                }
            }
            Input::Timeout => {
                self.timeout(ctx, out);
                self.after(ctx, out);
            }
            Input::Drain => self.draining = true,
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        let lines = self.lines.values();
        let media = lines.clone().filter_map(|line| line.talk.as_ref()).map(Talk::deadline);
        let answers = lines.filter_map(|line| line.answer_at);
        media.chain(answers).chain(self.ua.deadline()).min()
    }

    fn status(&self, _now: Time) -> Status {
        json!({ "role": "phone", "account": self.config.account.aor, "calls": self.ua.calls() })
    }

    fn drained(&self) -> bool {
        self.ua.calls() == 0
    }
}
