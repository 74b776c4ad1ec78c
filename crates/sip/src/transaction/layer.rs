//! All transactions of one element.

use super::branch::Branch;
use super::event::{ClientId, Event, Failure, Purpose, ServerId};
use super::machine::{Client, Server, Step, Timer};
use super::matching::{may_answer, write_key};
use super::running::{Armed, Running};
use super::shelf::{Place, Shelf};
use super::{Hop, Sink, Timing, Transport};
use crate::{Index, Message, Method, Msg};
use causeway_node::{Flow, NumberMap, SerialMap, Time};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroU64;
use std::time::Duration;

struct ClientEntry {
    branch: Branch,
    purpose: Purpose,
    state: Client,
    hop: Hop,
    /// The timers that run and can be cancelled.
    armed: Armed,
    /// What was sent, as long as it may have to be repeated, acknowledged or cancelled; empty after that.
    request: Box<[u8]>,
    /// The element wants it cancelled, but no provisional response has come yet (RFC 3261 §9.1).
    cancel_wanted: bool,
    cancelled: bool,
    /// It is a CANCEL itself.
    is_cancel: bool,
}

impl ClientEntry {
    /// Whether no final response has come.
    fn waits(&self) -> bool {
        !matches!(self.state, Client::Accepted | Client::Completed | Client::InviteCompleted)
    }

    fn key(&self) -> u64 {
        self.branch.key(self.is_cancel)
    }
}

struct ServerEntry {
    state: Server,
    hop: Hop,
    /// The timers that run and can be cancelled.
    armed: Armed,
    key: u64,
    last: Last,
}

/// The last response of a server transaction, as long as it may have to be repeated.
enum Last {
    /// Nothing is repeated, as yet or any more.
    Nothing,
    /// To an INVITE, or provisional: kept for as long as somebody likes.
    Own(Box<[u8]>),
    /// The final one to another request, kept as long as timer J runs.
    Shelved(Place),
}

impl ServerEntry {
    fn repeat(&self, shelf: &Shelf, sink: &mut impl Sink) {
        match &self.last {
            Last::Nothing => {}
            Last::Own(response) => sink.send(&self.hop, response),
            Last::Shelved(place) => sink.send(&self.hop, shelf.get(*place)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Owner {
    Client(ClientId),
    Server(ServerId),
}

/// All client and server transactions of one element.
#[derive(Default)]
pub struct Layer {
    timing: Timing,
    clients: SerialMap<ClientId, ClientEntry>,
    /// Client transactions by [`Branch::key`].
    by_branch: NumberMap<u64, ClientId>,
    servers: SerialMap<ServerId, ServerEntry>,
    /// Server transactions by the hash of what makes their requests the same. Its keys are secret, so that nobody finds
    /// two requests that collide; by chance one of 2^64 / [`Layer::REMEMBERED`], some 10^13, is taken for another.
    by_request: NumberMap<u64, ServerId>,
    hasher: RandomState,
    timers: Running<Owner>,
    shelf: Shelf,
    events: VecDeque<Event>,
    /// How many client transactions there have been, and how many server transactions: counted apart, so that the tables under
    /// the latter's numbers have no gaps.
    serials: (u64, u64),
    scratch: Vec<u8>,
    index: Index,
    /// A CANCEL without its INVITE goes to the element as any other request.
    pub pass_cancels: bool,
    /// Requests not served because [`Layer::LIMIT`] was reached.
    pub refused: u64,
}

impl Layer {
    /// Server transactions that may be under way at once.
    pub const LIMIT: usize = 200_000;
    /// Transactions that have ended and are remembered for repetitions, at most, of both sides together. They wait for 32 s
    /// after all over UDP: some three for a call, so that these suffice for 5,000 calls a second.
    pub const REMEMBERED: usize = 500_000;

    /// A layer with these durations.
    pub fn new(timing: Timing) -> Self {
        Self { timing, ..Self::default() }
    }

    /// Its durations.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// How many client and server transactions there are.
    pub fn count(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }

    /// How many of them are under way: all but those that only wait to be forgotten.
    pub fn under_way(&self) -> (usize, usize) {
        let (clients, servers) = self.timers.forgetting();
        (self.clients.len().saturating_sub(clients), self.servers.len().saturating_sub(servers))
    }

    /// The next thing that the element should know.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Layer::timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Whether a request belongs to a server transaction that exists.
    pub fn knows(&mut self, request: Msg<'_>) -> bool {
        let method = request.method();
        let of = if matches!(method, Method::Ack | Method::Cancel) { Method::Invite } else { method };
        self.server_key(&request, of).is_some()
    }

    /// Takes a message that has passed validation.
    pub fn receive(&mut self, now: Time, from: Hop, message: Message, sink: &mut impl Sink) {
        if message.msg().is_request() {
            self.receive_request(now, from, message, sink);
        } else {
            self.receive_response(now, from, message, sink);
        }
        self.forget_beyond_limit(now, sink);
    }

    /// Sends a request whose top Via carries `branch` and starts its transaction. ACK has none: send it to
    /// the sink.
    pub fn request(
        &mut self,
        now: Time,
        branch: Branch,
        hop: Hop,
        request: Message,
        sink: &mut impl Sink,
    ) -> ClientId {
        let msg = request.msg();
        self.request_as(now, branch, hop, Purpose::Own, msg.method(), msg.bytes(), sink)
    }

    /// The same for a request of this method that is at hand as bytes; why it was sent, its events will say.
    #[allow(clippy::too_many_arguments)]
    pub fn request_as(
        &mut self,
        now: Time,
        branch: Branch,
        hop: Hop,
        purpose: Purpose,
        method: Method<'_>,
        request: &[u8],
        sink: &mut impl Sink,
    ) -> ClientId {
        sink.send(&hop, request);
        let (state, step) = Client::start(method == Method::Invite, hop.transport.reliable(), &self.timing);
        let (armed, request) = (Armed::default(), request.into());
        let (cancel_wanted, cancelled, is_cancel) = (false, false, method == Method::Cancel);
        let entry =
            ClientEntry { branch, purpose, state, hop, armed, request, cancel_wanted, cancelled, is_cancel };
        self.add_client(now, entry, &step)
    }

    /// Answers a server transaction. Says whether the response was sent: not if the transaction has ended
    /// or already has a final response; but a further 2xx to an INVITE always goes (RFC 6026 §7.1).
    pub fn respond(
        &mut self,
        now: Time,
        id: ServerId,
        response: &[u8],
        status: u16,
        sink: &mut impl Sink,
    ) -> bool {
        let Some(entry) = self.servers.get_mut(id) else { return false };
        let again = entry.state == Server::Accepted && (200..300).contains(&status);
        if !entry.state.open() && !again {
            return false;
        }
        sink.send(&entry.hop, response);
        let (state, step) = entry.state.response(status, entry.hop.transport.reliable(), &self.timing);
        entry.state = state;
        // Nothing is shelved yet: what is, has had its final response.
        entry.last = match state {
            Server::Completed => Last::Shelved(self.shelf.put(response)),
            _ if state.repeats() => Last::Own(response.into()),
            _ => Last::Nothing,
        };
        self.finish_server(now, id, &step);
        self.forget_beyond_limit(now, sink);
        true
    }

    /// What carries the answers to a server transaction.
    pub fn transport(&self, id: ServerId) -> Option<Transport> {
        self.servers.get(id).map(|entry| entry.hop.transport)
    }

    /// Cancels an INVITE: at once if a provisional response has come, else when one comes (RFC 3261 §9.1).
    pub fn cancel(&mut self, now: Time, id: ClientId, sink: &mut impl Sink) {
        let Some(entry) = self.clients.get_mut(id) else { return };
        match entry.state {
            Client::Calling { .. } => entry.cancel_wanted = true,
            Client::InviteProceeding if !entry.cancelled => self.send_cancel(now, id, sink),
            _ => {}
        }
    }

    /// Ends a client transaction whose branch and method a new one will have, if there is one.
    pub fn make_way(&mut self, branch: Branch, method: Method<'_>) {
        if let Some(id) = self.by_branch.get(&branch.key(method == Method::Cancel)) {
            self.end(Owner::Client(*id));
        }
    }

    /// Forgets a server transaction that will never be answered.
    pub fn abandon(&mut self, id: ServerId) {
        if self.servers.contains(id) {
            self.end(Owner::Server(id));
        }
    }

    /// A connection is gone: what waits for an answer on it fails.
    pub fn closed(&mut self, flow: Flow) {
        for id in self.clients_on(flow) {
            let Some(entry) = self.clients.get(id) else { continue };
            if entry.waits() {
                self.events.push_back(Event::Failed { id, purpose: entry.purpose, why: Failure::Transport });
            }
            self.end(Owner::Client(id));
        }
    }

    /// The peer on this flow has lost its memory: what it has not answered finally goes to it again, in the order
    /// in which it went before.
    pub fn resend(&mut self, flow: Flow, sink: &mut impl Sink) {
        let clients = self.clients_on(flow);
        let waiting = clients.into_iter().filter_map(|id| self.clients.get(id).filter(|entry| entry.waits()));
        waiting
            .filter(|entry| !entry.request.is_empty())
            .for_each(|entry| sink.send(&entry.hop, &entry.request));
    }

    /// The client transactions on a connection, in the order in which they began.
    fn clients_on(&self, flow: Flow) -> Vec<ClientId> {
        let on = self.clients.iter().filter(|(_, entry)| entry.hop.flow == flow);
        let mut clients: Vec<ClientId> =
            on.filter_map(|(serial, _)| NonZeroU64::new(serial)).map(ClientId).collect();
        clients.sort_unstable();
        clients
    }

    /// Answers to a server transaction go to another hop from now on: its connection has been replaced.
    pub fn rehome(&mut self, old: Flow, new: Hop) {
        for entry in self.servers.values_mut().filter(|e| e.hop.flow == old) {
            entry.hop = new;
        }
    }

    /// Fires the timers that are due.
    pub fn timeout(&mut self, now: Time, sink: &mut impl Sink) {
        let mut fetched = self.fetch(now);
        while let Some((owner, timer)) = self.timers.pop(now) {
            self.fire(now, owner, timer, sink);
            fetched = fetched.checked_sub(1).unwrap_or_else(|| self.fetch(now));
        }
        self.forget_beyond_limit(now, sink);
    }

    /// Looks at those that are to be forgotten next: they lie scattered over memory that nobody has touched for half a
    /// minute, and looks that do not wait for one another take little more time than one. Says how many.
    fn fetch(&self, now: Time) -> usize {
        let keys = |owner: &Owner| match owner {
            Owner::Client(id) => (self.clients.get(*id).map(ClientEntry::key), None),
            Owner::Server(id) => (None, self.servers.get(*id).map(|entry| entry.key)),
        };
        let keys: Vec<_> = self.timers.to_be_forgotten(now).take(32).map(keys).collect();
        let known = |(client, server): &&(Option<u64>, Option<u64>)| {
            client.is_some_and(|key| self.by_branch.contains_key(&key))
                || server.is_some_and(|key| self.by_request.contains_key(&key))
        };
        std::hint::black_box(keys.iter().filter(known).count());
        keys.len()
    }

    /// Whoever is remembered beyond [`Layer::REMEMBERED`] goes before his time.
    fn forget_beyond_limit(&mut self, now: Time, sink: &mut impl Sink) {
        while let Some((owner, timer)) = self.timers.pop_beyond(Self::REMEMBERED) {
            self.fire(now, owner, timer, sink);
        }
    }

    fn fire(&mut self, now: Time, owner: Owner, timer: Timer, sink: &mut impl Sink) {
        match owner {
            Owner::Client(id) => self.client_timer(now, id, timer, sink),
            Owner::Server(id) => self.server_timer(now, id, timer, sink),
        }
    }

    fn receive_request(&mut self, now: Time, from: Hop, message: Message, sink: &mut impl Sink) {
        let msg = message.msg();
        let method = msg.method();
        let is_ack = method == Method::Ack;
        let key = self.key(msg, if is_ack { Method::Invite } else { method });
        let known = self.by_request.get(&key).copied();
        if is_ack {
            return self.receive_ack(now, from, message, known);
        }
        if let Some(id) = known {
            if let Some(entry) = self.servers.get(id)
                && entry.state.request().resend
            {
                entry.repeat(&self.shelf, sink);
            }
            return;
        }
        if self.under_way().1 >= Self::LIMIT {
            self.refused += 1;
            return;
        }
        let cancelled = if method == Method::Cancel { self.server_key(&msg, Method::Invite) } else { None };
        let (is_cancel, is_invite) = (method == Method::Cancel, method == Method::Invite);
        let (stamped, hop) = super::response_path::stamp(message.msg(), from);
        let message = stamped.unwrap_or(message);
        let id = self.add_server(key, is_invite, hop);
        if is_cancel && (cancelled.is_some() || !self.pass_cancels) {
            self.receive_cancel(now, id, cancelled, message, sink);
        } else {
            self.events.push_back(Event::Request { id, message, from });
        }
    }

    fn receive_ack(&mut self, now: Time, from: Hop, message: Message, invite: Option<ServerId>) {
        let Some(id) = invite else {
            let message = super::stamped(message, from);
            return self.events.push_back(Event::Ack { message, from });
        };
        let Some(entry) = self.servers.get_mut(id) else { return };
        let (state, step) = entry.state.ack(entry.hop.transport.reliable(), &self.timing);
        entry.state = state;
        if step.pass {
            self.events.push_back(Event::Ack { message, from });
        }
        self.finish_server(now, id, &step);
    }

    fn receive_cancel(
        &mut self,
        now: Time,
        id: ServerId,
        invite: Option<ServerId>,
        message: Message,
        sink: &mut impl Sink,
    ) {
        let status = if invite.is_some() { 200 } else { 481 };
        let answer = crate::response_to(message.msg(), status, None, Some(b"cw-cancel")).finish();
        self.respond(now, id, &answer, status, sink);
        if let Some(id) = invite {
            self.events.push_back(Event::Cancel { id, message });
        }
    }

    fn receive_response(&mut self, now: Time, from: Hop, message: Message, sink: &mut impl Sink) {
        let msg = message.msg();
        let branch = msg.top_via().and_then(|via| Branch::read(via.branch()?));
        let cancel = msg.cseq().is_some_and(|cseq| cseq.method == Method::Cancel);
        let id = branch.and_then(|branch| self.by_branch.get(&branch.key(cancel)).copied());
        let found = id.and_then(|id| Some((id, self.clients.get_mut(id)?)));
        let Some((id, entry)) = found.filter(|(_, entry)| may_answer(&entry.hop, &from)) else {
            return self.events.push_back(Event::Stray { message, from });
        };
        let status = msg.status().unwrap_or(0);
        let (state, step) = entry.state.response(status, entry.hop.transport.reliable(), &self.timing);
        entry.state = state;
        let cancel_now = entry.cancel_wanted && state == Client::InviteProceeding;
        if step.ack
            && self.index.parse(&entry.request).is_ok()
            && let Some(ack) = crate::ack_for(Msg::new(&entry.request, &self.index), msg)
        {
            sink.send(&entry.hop, &ack);
        }
        if !state.needs_request() {
            entry.request = Box::default();
        }
        if step.pass {
            self.events.push_back(Event::Response { id, purpose: entry.purpose, message });
        }
        self.finish_client(now, id, &step);
        // After that: it starts timer B anew, which the step has stopped.
        if cancel_now {
            self.send_cancel(now, id, sink);
        }
    }

    fn send_cancel(&mut self, now: Time, id: ClientId, sink: &mut impl Sink) {
        let Some(entry) = self.clients.get_mut(id) else { return };
        entry.cancel_wanted = false;
        entry.cancelled = true;
        let (hop, branch) = (entry.hop, entry.branch);
        let parsed = self.index.parse(&entry.request).is_ok();
        let request = parsed.then(|| Msg::new(&entry.request, &self.index));
        let cancel = request.and_then(crate::cancel_for);
        // A UAS that knows no CANCEL never ends the INVITE: after 64*T1 it counts as cancelled (§9.1).
        self.timers.set(now, Owner::Client(id), &mut entry.armed, Timer::B, self.timing.t1 * 64);
        if let Some(cancel) = cancel {
            self.request_as(now, branch, hop, Purpose::Cancel, Method::Cancel, &cancel, sink);
        }
    }

    fn client_timer(&mut self, now: Time, id: ClientId, timer: Timer, sink: &mut impl Sink) {
        let Some(entry) = self.clients.get_mut(id) else { return };
        entry.armed.take(timer);
        let (state, step) = entry.state.timer(timer, &self.timing);
        entry.state = state;
        if step.resend {
            sink.send(&entry.hop, &entry.request);
        }
        if step.timed_out {
            self.events.push_back(Event::Failed { id, purpose: entry.purpose, why: Failure::Timeout });
        }
        self.finish_client(now, id, &step);
    }

    fn server_timer(&mut self, now: Time, id: ServerId, timer: Timer, sink: &mut impl Sink) {
        let Some(entry) = self.servers.get_mut(id) else { return };
        entry.armed.take(timer);
        let (state, step) = entry.state.timer(timer, &self.timing);
        entry.state = state;
        if step.resend {
            entry.repeat(&self.shelf, sink);
        }
        if step.timed_out {
            self.events.push_back(Event::Unacknowledged { id });
        }
        self.finish_server(now, id, &step);
    }

    fn finish_client(&mut self, now: Time, id: ClientId, step: &Step) {
        let Some(entry) = self.clients.get_mut(id) else { return };
        self.timers.run(now, Owner::Client(id), &mut entry.armed, step);
        if step.end {
            self.end(Owner::Client(id));
        }
    }

    fn finish_server(&mut self, now: Time, id: ServerId, step: &Step) {
        let Some(entry) = self.servers.get_mut(id) else { return };
        self.timers.run(now, Owner::Server(id), &mut entry.armed, step);
        if step.end {
            self.end(Owner::Server(id));
        }
    }

    fn end(&mut self, owner: Owner) {
        let armed = match owner {
            Owner::Client(id) => self.clients.remove(id).map(|entry| {
                self.events.push_back(Event::ClientEnded { id, purpose: entry.purpose });
                if self.by_branch.get(&entry.key()) == Some(&id) {
                    self.by_branch.remove(&entry.key());
                }
                entry.armed
            }),
            Owner::Server(id) => {
                self.events.push_back(Event::ServerEnded { id });
                self.servers.remove(id).map(|entry| {
                    self.by_request.remove(&entry.key);
                    if let Last::Shelved(place) = entry.last {
                        self.shelf.take(place);
                    }
                    entry.armed
                })
            }
        };
        self.timers.stop_all(owner, armed.unwrap_or_default());
    }

    fn add_client(&mut self, now: Time, mut entry: ClientEntry, step: &Step) -> ClientId {
        self.serials.0 += 1;
        let id = ClientId(NonZeroU64::MIN.saturating_add(self.serials.0));
        self.timers.run(now, Owner::Client(id), &mut entry.armed, step);
        self.by_branch.insert(entry.key(), id);
        self.clients.insert(id, entry);
        id
    }

    fn add_server(&mut self, key: u64, is_invite: bool, hop: Hop) -> ServerId {
        self.serials.1 += 1;
        let id = ServerId(NonZeroU64::MIN.saturating_add(self.serials.1));
        self.by_request.insert(key, id);
        let (state, armed) = (Server::start(is_invite), Armed::default());
        self.servers.insert(id, ServerEntry { state, hop, armed, key, last: Last::Nothing });
        id
    }

    fn key(&mut self, msg: Msg<'_>, method: Method<'_>) -> u64 {
        write_key(&mut self.scratch, msg, method);
        self.hasher.hash_one(&*self.scratch)
    }

    fn server_key(&mut self, msg: &Msg<'_>, method: Method<'_>) -> Option<ServerId> {
        let key = self.key(*msg, method);
        self.by_request.get(&key).copied()
    }

    /// How long the user of an INVITE server transaction waits for the ACK to a 2xx, and for how long it
    /// repeats that (RFC 3261 §13.3.1.4).
    pub fn ack_wait(&self) -> Duration {
        self.timing.t1 * 64
    }
}
