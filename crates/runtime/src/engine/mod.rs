//! The loop of one worker: wait, take in all there is, decide, carry out once.

mod clock;
mod command;
mod connection;
mod group;
mod handover;
mod inside;
mod listen;
mod member;
mod output;
mod port;
pub(crate) mod proxy;
mod ready;
mod stream;
mod udp;

pub(crate) use command::{Command, Mail};
pub(crate) use member::{Hosted, Member};
pub(crate) use ready::Ready;

use crate::counters::Counters;
use crate::resolve::Resolver;
use crate::sys::{Epoll, Event, IN, RecvBatch, SendBatch};
use crate::worker::{Error, Options};
use causeway_node::{Answer, Ctx, Flow, Input, Newcomers, Time, Timers};
use inside::Inside;
use listen::Listener;
use port::Port;
use slab::Slab;
use std::collections::VecDeque;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;
use stream::{Secured, State, Stream};

/// Rounds of outputs causing inputs (inside addresses, binds) before the sockets are looked at again.
const ROUNDS: usize = 64;
/// The outbox of a node is drained early when it holds this much.
const HEAVY: usize = 1024 * 1024;

/// Names a socket over its whole life: its place and a number that no other socket in that place had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Token(u64);

impl Token {
    const MAIL: Self = Self(u64::MAX);
    const MEDIA: Self = Self(u64::MAX - 1);
    /// Marks the connected socket of a port, which no other token does.
    const DIRECT: u64 = 1 << 63;

    fn place(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }
}

/// One socket.
struct Sock {
    token: Token,
    node: usize,
    flow: Flow,
    kind: Kind,
}

enum Kind {
    Udp(Port),
    Listener(Listener),
    Stream(Box<Stream>),
    Inside(inside::Socket),
}

/// An input that an output has caused, or that came from another thread.
enum Later {
    Opened(Token, Box<Opening>),
    Closed { token: Token, flow: Flow, why: String },
    Persisted { seq: u64 },
    Answer { question: u64, answer: Answer },
}

/// [`Input::Opened`], on its way.
struct Opening {
    flow: Flow,
    listener: Option<Flow>,
    local: SocketAddr,
    peer: SocketAddr,
    secured: Secured,
}

pub(crate) struct Engine {
    name: String,
    options: Options,
    nodes: Vec<Member>,
    socks: Slab<Sock>,
    serial: u32,
    main: Epoll,
    media: Epoll,
    mail: Mail,
    commands: Receiver<Command>,
    timers: Timers<Token>,
    later: VecDeque<(usize, Later)>,
    unflushed: Vec<Token>,
    inside: Inside,
    recv: Option<RecvBatch>,
    send: SendBatch,
    media_events: Vec<Event>,
    scratch: Vec<u8>,
    plain: Vec<u8>,
    fill: Vec<u8>,
    resolver: Resolver,
    /// TLS handshakes that others have begun.
    handshakes: Newcomers<Token>,
    connections: usize,
    /// A descriptor to give up when there are no more, so that a connection can be accepted to be refused.
    spare: Option<File>,
    counters: Counters,
    ready: Arc<Ready>,
    started: Instant,
    now: Time,
    unix_ms: u64,
    next_tick: Option<Time>,
    busy: bool,
    draining: bool,
    stopping: bool,
    failure: Option<Error>,
}

impl Engine {
    pub fn new(
        name: String,
        options: Options,
        nodes: Vec<Member>,
        mail: Mail,
        commands: Receiver<Command>,
        ready: Arc<Ready>,
    ) -> std::io::Result<Self> {
        let (main, media) = (Epoll::new()?, Epoll::new()?);
        main.add(mail.bell(), Token::MAIL.0, IN)?;
        main.add(media.as_fd(), Token::MEDIA.0, IN)?;
        Ok(Self {
            inside: Inside::new(&options.inside),
            resolver: Resolver::new(mail.clone(), &options),
            name,
            options,
            nodes,
            socks: Slab::new(),
            serial: 0,
            main,
            media,
            mail,
            commands,
            timers: Timers::default(),
            later: VecDeque::new(),
            unflushed: Vec::new(),
            recv: Some(RecvBatch::new()),
            send: SendBatch::new(),
            media_events: Vec::new(),
            scratch: vec![0; 64 * 1024],
            plain: Vec::new(),
            fill: Vec::new(),
            handshakes: Newcomers::default(),
            connections: 0,
            spare: File::open("/dev/null").ok(),
            counters: Counters::default(),
            ready,
            started: clock::start_of_time(),
            now: Time::ZERO,
            unix_ms: 0,
            next_tick: None,
            busy: false,
            draining: false,
            stopping: false,
            failure: None,
        })
    }

    /// Runs until it is told to stop, has drained, or must stop.
    pub fn run(mut self) -> Result<(), Error> {
        self.read_clock();
        for node in 0..self.nodes.len() {
            self.hand(node, Input::Start);
        }
        for node in 0..self.nodes.len() {
            self.drain(node);
        }
        self.ready.close();
        let mut events = Vec::with_capacity(256);
        loop {
            self.settle();
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if self.finished() {
                return Ok(());
            }
            events.clear();
            let timeout = self.doze(self.timeout());
            self.main.wait(timeout, &mut events).map_err(|e| Error::System("epoll", e.to_string()))?;
            self.awake();
            self.counters.wakes += 1;
            self.read_clock();
            for event in &events {
                self.event(*event);
            }
            self.take_handed();
            self.tick();
            self.expire();
        }
    }

    fn event(&mut self, event: Event) {
        let token = Token(event.token);
        if token == Token::MAIL {
            return self.read_mail();
        }
        if token == Token::MEDIA {
            return self.read_media();
        }
        if event.token & Token::DIRECT != 0 {
            return self.read_direct(Token(event.token & !Token::DIRECT));
        }
        match self.sock(token).map(|sock| &sock.kind) {
            Some(Kind::Udp(port)) => {
                let media = port.media;
                self.read_udp(token, media);
            }
            Some(Kind::Listener(_)) => self.accept(token),
            Some(Kind::Stream(_)) => self.stream_event(token, event),
            Some(Kind::Inside(_)) | None => {}
        }
    }

    /// Hands one input to a node.
    fn hand(&mut self, node: usize, input: Input<'_>) {
        let (now, unix_ms) = (self.now, self.unix_ms);
        if let Some(member) = self.nodes.get_mut(node) {
            member.node.handle(&mut Ctx { now, unix_ms, rng: &mut member.rng }, input, &mut member.out);
        }
    }

    /// Carries out everything that the nodes want, and what follows from it at once.
    fn settle(&mut self) {
        self.busy = true;
        for _ in 0..ROUNDS {
            for node in 0..self.nodes.len() {
                self.drain(node);
                self.start_commit(node);
            }
            self.flush_streams();
            if self.later.is_empty() && self.inside.is_empty() && self.unflushed.is_empty() {
                self.busy = false;
                break;
            }
            self.deliver_later();
            self.deliver_inside();
        }
        self.post();
        let sent = self.send.flush();
        self.counters.sent(sent);
        self.choose_tick();
    }

    fn deliver_later(&mut self) {
        for (node, later) in std::mem::take(&mut self.later) {
            match later {
                // A node may have closed a flow, and used its id again, in the meantime: then it does not want
                // to hear of the old one.
                Later::Opened(token, opening) => {
                    let Opening { flow, listener, local, peer, secured } = *opening;
                    let Secured { exporter, names } = secured;
                    if self.flow_token(node, flow) == Some(token) {
                        let names = names.as_slice();
                        self.hand(node, Input::Opened { flow, listener, local, peer, exporter, names });
                    }
                }
                Later::Closed { token, flow, why } => {
                    if self.flow_token(node, flow) == Some(token) {
                        self.nodes[node].flows.remove(&flow);
                        self.hand(node, Input::Closed { flow, why: &why });
                    }
                }
                Later::Persisted { seq } => self.hand(node, Input::Persisted { seq }),
                Later::Answer { question, answer } => self.hand(node, Input::Answer { question, answer }),
            }
        }
    }

    fn sock(&self, token: Token) -> Option<&Sock> {
        self.socks.get(token.place()).filter(|sock| sock.token == token)
    }

    fn sock_mut(&mut self, token: Token) -> Option<&mut Sock> {
        self.socks.get_mut(token.place()).filter(|sock| sock.token == token)
    }

    fn stream_mut(&mut self, token: Token) -> Option<&mut Stream> {
        match self.sock_mut(token).map(|sock| &mut sock.kind) {
            Some(Kind::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    fn flow_token(&self, node: usize, flow: Flow) -> Option<Token> {
        self.nodes.get(node)?.flows.get(&flow).copied()
    }

    /// A token for the place that the next socket takes.
    fn next_token(&mut self) -> Token {
        self.serial = self.serial.wrapping_add(1) & 0x7fff_ffff;
        Token(u64::from(self.serial) << 32 | self.socks.vacant_key() as u64)
    }

    /// Enters a socket under a node's flow.
    fn insert(&mut self, node: usize, flow: Flow, kind: Kind) -> Token {
        let token = self.next_token();
        self.socks.insert(Sock { token, node, flow, kind });
        if let Some(member) = self.nodes.get_mut(node) {
            member.flows.insert(flow, token);
        }
        token
    }

    /// Whether nothing is left to do for a worker that shall end.
    fn finished(&self) -> bool {
        if self.stopping || !self.draining {
            return self.stopping;
        }
        let settled = !self.busy
            && self.nodes.iter().all(|m| m.node.drained() && m.journal.is_idle())
            && self.socks.iter().all(|(_, sock)| match &sock.kind {
                Kind::Stream(s) => s.queued() == 0 && !matches!(s.state, State::Leaving | State::Shut),
                _ => true,
            });
        self.groups_drained(settled)
    }
}
