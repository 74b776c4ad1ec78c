//! The user agent: what all its usages share.

use super::call::{Call, State};
use super::config::Config;
use super::register::Registration;
use crate::digest;
use crate::hub::Hub;
use crate::transaction::{self as tx, Branch, ClientId, Hop, Layer, ServerId, Transport};
use crate::{HeaderId, Message, Method, Msg, RequestBuilder, response_to};
use causeway_node::{Ctx, Input, Outbox, Time};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Names a call of one user agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub(super) u64);

/// How a call came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// We hung up or cancelled.
    ByUs,
    /// They hung up or cancelled.
    ByThem,
    /// The call was answered with this status code.
    Refused(u16),
    /// The network failed: no answer, or no ACK.
    Failed,
}

/// What the program should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Registered for so many seconds; refreshed by itself.
    Registered(u32),
    /// The registration was refused with this status code, or not answered (408); it is tried again by itself.
    RegistrationFailed(u16),
    /// De-registered.
    Unregistered,
    /// Somebody calls: answer, reject or let it ring.
    Incoming {
        /// The call.
        call: CallId,
        /// Who calls: the From header value.
        from: Vec<u8>,
        /// Their session description; empty if they leave the offer to us.
        offer: Vec<u8>,
    },
    /// It rings at the other end; with a session description if there is early media.
    Ringing {
        /// The call.
        call: CallId,
        /// Early session description, or empty.
        answer: Vec<u8>,
    },
    /// They have answered.
    Answered {
        /// The call.
        call: CallId,
        /// Their session description.
        answer: Vec<u8>,
    },
    /// Our answer has been acknowledged: both ends know that the call stands.
    Confirmed {
        /// The call.
        call: CallId,
    },
    /// They want another session (re-INVITE); it has been answered with our present description.
    Changed {
        /// The call.
        call: CallId,
        /// Their new session description.
        offer: Vec<u8>,
    },
    /// The call is over.
    Ended {
        /// The call; the id is not used again.
        call: CallId,
        /// How.
        why: End,
    },
}

/// What a client transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Register,
    Invite(CallId),
    Bye(CallId),
}

/// A user agent with its registration and calls.
pub struct UserAgent {
    pub(super) config: Config,
    pub(super) hub: Hub,
    pub(super) layer: Layer,
    pub(super) registration: Registration,
    pub(super) calls: BTreeMap<CallId, Call>,
    pub(super) purposes: HashMap<ClientId, Purpose>,
    pub(super) ringing: HashMap<ServerId, CallId>,
    pub(super) events: VecDeque<Event>,
    arrived: Vec<(Hop, Message)>,
    serial: u64,
}

impl UserAgent {
    /// Calls held at most.
    pub const CALLS: usize = 1000;

    /// A user agent that uses the flow ids `first_flow ..` of its node, [`Hub::FLOWS`] of them.
    pub fn new(config: Config, first_flow: u32) -> Self {
        Self {
            hub: Hub::new(first_flow, config.local),
            layer: Layer::new(config.timing),
            registration: Registration::default(),
            calls: BTreeMap::new(),
            purposes: HashMap::new(),
            ringing: HashMap::new(),
            events: VecDeque::new(),
            arrived: Vec::new(),
            serial: 0,
            config,
        }
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// By how many seconds the registrar's clock is ahead of this one (RFC 3261 §20.17), if it has said.
    pub fn registrar_ahead(&self) -> Option<i64> {
        self.registration.ahead
    }

    /// Binds its ports.
    pub fn start(&self, out: &mut Outbox) {
        self.hub.start(out);
    }

    /// The next thing that the program should know.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Calls that are not over.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether both ends of this call know that it stands.
    pub fn is_established(&self, call: CallId) -> bool {
        self.calls.get(&call).is_some_and(|call| matches!(call.state, State::Established { .. }))
    }

    /// When [`UserAgent::timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        let answers = self.calls.values().filter_map(|call| match &call.state {
            State::Answered { again, give_up, .. } => Some(*again.min(give_up)),
            State::Ringing { until, .. } => Some(*until),
            _ => None,
        });
        answers.chain(self.layer.deadline()).chain(self.registration.due()).min()
    }

    /// Takes an input if it is for one of its ports.
    pub fn input(&mut self, ctx: &mut Ctx<'_>, input: &Input<'_>, out: &mut Outbox) -> bool {
        let mut arrived = std::mem::take(&mut self.arrived);
        let taken = self.hub.input(ctx, input, out, &mut arrived);
        for (from, message) in arrived.drain(..) {
            self.layer.receive(ctx.now, from, message, &mut self.hub.sink(out));
        }
        self.arrived = arrived;
        if let (true, Input::Closed { flow, .. }) = (taken, input) {
            self.layer.closed(*flow);
        }
        self.digest(ctx, out);
        taken
    }

    /// Does what is due.
    pub fn timeout(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        self.layer.timeout(ctx.now, &mut self.hub.sink(out));
        self.digest(ctx, out);
        self.repeat_answers(ctx, out);
        self.stop_ringing(ctx, out);
        if self.registration.due().is_some_and(|at| at <= ctx.now) {
            self.send_register(ctx, None, out);
        }
    }

    fn digest(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        while let Some(event) = self.layer.poll() {
            match event {
                tx::Event::Request { id, message, .. } => self.on_request(ctx, id, message, out),
                tx::Event::Ack { message, .. } => self.on_ack(message.msg()),
                tx::Event::Cancel { id, .. } => self.on_cancel(ctx, id, out),
                tx::Event::Response { id, message, .. } => self.on_response(ctx, id, &message, out),
                tx::Event::Failed { id, why, .. } => {
                    let status = if why == tx::Failure::Timeout { 408 } else { 503 };
                    self.on_failure(ctx, id, status);
                }
                tx::Event::ClientEnded { id, .. } => {
                    self.purposes.remove(&id);
                }
                tx::Event::Stray { .. }
                | tx::Event::Unacknowledged { .. }
                | tx::Event::ServerEnded { .. } => {}
            }
        }
    }

    fn on_response(&mut self, ctx: &mut Ctx<'_>, id: ClientId, message: &Message, out: &mut Outbox) {
        match self.purposes.get(&id) {
            Some(Purpose::Register) => self.on_register_response(ctx, message, out),
            Some(Purpose::Invite(call)) => self.on_invite_response(ctx, *call, id, message, out),
            Some(Purpose::Bye(call)) if message.msg().status().is_some_and(|status| status >= 200) => {
                self.end(*call, End::ByUs);
            }
            Some(Purpose::Bye(_)) | None => {}
        }
    }

    fn on_failure(&mut self, ctx: &Ctx<'_>, id: ClientId, status: u16) {
        match self.purposes.get(&id) {
            Some(Purpose::Register) => self.registration_failed(ctx, status),
            Some(Purpose::Invite(call)) => {
                let cancelled = self
                    .calls
                    .get(call)
                    .is_some_and(|call| matches!(call.state, State::Calling { cancelled: true, .. }));
                self.end(*call, if cancelled { End::ByUs } else { End::Failed });
            }
            // Whoever does not answer a BYE has gone (§15.1.1).
            Some(Purpose::Bye(call)) => self.end(*call, End::ByUs),
            None => {}
        }
    }

    pub(super) fn end(&mut self, id: CallId, why: End) {
        if self.calls.remove(&id).is_some() {
            self.events.push_back(Event::Ended { call: id, why });
        }
    }

    pub(super) fn new_call(&mut self, call: Call) -> CallId {
        self.serial += 1;
        let id = CallId(self.serial);
        self.calls.insert(id, call);
        id
    }

    /// The hop to the outbound proxy.
    pub(super) fn hop(&mut self, now: Time, out: &mut Outbox) -> Hop {
        self.hub.hop(now, self.config.proxy, self.config.transport, out)
    }

    /// Puts the Via above a request and sends it in a new transaction.
    pub(super) fn send(
        &mut self,
        ctx: &mut Ctx<'_>,
        request: RequestBuilder,
        purpose: Purpose,
        out: &mut Outbox,
    ) -> Option<(ClientId, Message)> {
        let branch = Branch::new(ctx);
        let message = Message::parse(request.header("Via", self.via(branch)).finish()).ok()?;
        let hop = self.hop(ctx.now, out);
        let client = self.layer.request(ctx.now, branch, hop, message.clone(), &mut self.hub.sink(out));
        self.purposes.insert(client, purpose);
        Some((client, message))
    }

    pub(super) fn via(&self, branch: Branch) -> String {
        let transport = self.config.transport.via();
        let rport = if self.config.transport == Transport::Udp { ";rport" } else { "" };
        format!("SIP/2.0/{transport} {};branch={branch}{rport}", self.config.local)
    }

    pub(super) fn contact(&self) -> String {
        let transport = if self.config.transport == Transport::Udp { "" } else { ";transport=tcp" };
        format!("<sip:{}@{}{transport}>", self.config.user(), self.config.local)
    }

    pub(super) fn reply(
        &mut self,
        ctx: &Ctx<'_>,
        id: ServerId,
        msg: Msg<'_>,
        status: u16,
        tag: &[u8],
        out: &mut Outbox,
    ) {
        let mut response = response_to(msg, status, None, Some(tag));
        if status == 405 {
            response = response.header("Allow", ALLOW);
        }
        self.layer.respond(ctx.now, id, &response.finish(), status, &mut self.hub.sink(out));
    }

    /// The header field that answers the challenge in a 401 or 407; `None` if it cannot be answered.
    pub(super) fn authorization(
        &self,
        ctx: &mut Ctx<'_>,
        challenge: Msg<'_>,
        method: Method<'_>,
        uri: &[u8],
    ) -> Option<(&'static str, Vec<u8>)> {
        let (from, name) = match challenge.status()? {
            401 => (HeaderId::WwwAuthenticate, "Authorization"),
            407 => (HeaderId::ProxyAuthenticate, "Proxy-Authorization"),
            _ => return None,
        };
        let cnonce = format!("{:016x}", ctx.rng.next_u64());
        let offered = digest::choose(challenge.all(from))?;
        let (user, password) = (self.config.username.as_bytes(), self.config.password.as_bytes());
        let value = digest::Session::new(&offered, user, password).answer(method, uri, cnonce.as_bytes());
        Some((name, value))
    }

    pub(super) fn random_token(ctx: &mut Ctx<'_>) -> Vec<u8> {
        format!("{:012x}", ctx.rng.next_u64() & 0xffff_ffff_ffff).into_bytes()
    }
}

/// The methods that a user agent answers.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS";
