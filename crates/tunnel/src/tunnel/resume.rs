//! A session that goes on on another connection.

use super::conn::{Conn, Stage, TicketOut};
use super::{Outcome, Tunnel};
use crate::control::Message;
use crate::key::{Assurance, KeyMessage};
use crate::lanes::Phase;
use crate::proof::{Claim, Proof, Secret, SessionId};
use crate::{Config, Fault, GoodbyeReason, Hello, Kind, Lane, Resume, Role, Stale, Why};
use causeway_node::Time;
use std::sync::Arc;

/// What makes a session go on; kept on disk, it does so after a restart as well. Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Names the session.
    pub session: SessionId,
    /// Of its last connection.
    pub epoch: u32,
    /// The resumption secret that the agent is known to have; at the agent, its own.
    pub secret: Option<Secret>,
    /// At the contact point: the one that is on its way to the agent.
    pub next: Option<Secret>,
}

/// What [`Tunnel::adopt`] has done.
#[derive(Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The agent has restarted, or this end has: the agent knows neither transactions nor the beginning of a
    /// message that was cut.
    pub peer_lost: bool,
    /// Bytes to be sent on the session's old connection, if that still exists, before it is closed.
    pub last_words: Vec<u8>,
}

/// What makes a session more than its connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub id: Option<SessionId>,
    pub epoch: u32,
    pub secret: Option<Secret>,
    pub next: Option<Secret>,
    /// Restored from disk: what was sent and received is not known.
    pub lost: bool,
    pub resumes: u32,
    pub replayed: u64,
}

impl Tunnel {
    /// A session as it was kept, without a connection.
    pub fn restore(config: Arc<Config>, now: Time, saved: Saved) -> Self {
        let mut tunnel = Self::without_hello(config, now, None);
        tunnel.conn.stage = Stage::Parked;
        let Saved { session, epoch, secret, next } = saved;
        tunnel.session = Session { id: Some(session), epoch, secret, next, lost: true, ..Session::default() };
        tunnel
    }

    /// Enters a lane of a session that is being restored: what it carries, whose it is (0 for nobody's), and what
    /// the key must be worth without which nothing passes.
    pub fn restore_lane(&mut self, lane: Lane, kind: Kind, user: u32, least: Assurance) {
        if self.is_parked() && lane >= Lane::FIRST && self.lanes.get(lane).is_none() {
            self.lanes.insert(lane, kind, Phase::Open);
            if let Some(state) = self.lanes.get_mut(lane) {
                (state.user, state.demand) = (user, least);
            }
        }
    }

    /// What to keep of the session; `None` before it has a ticket.
    pub fn saved(&self) -> Option<Saved> {
        let Session { id, epoch, secret, next, .. } = &self.session;
        let some = secret.is_some() || next.is_some();
        let (secret, next) = (secret.clone(), next.clone());
        id.filter(|_| some).map(|session| Saved { session, epoch: *epoch, secret, next })
    }

    /// The session, once it has a ticket.
    pub fn session(&self) -> Option<SessionId> {
        self.session.id
    }

    /// The number of this connection within its session, from 0.
    pub fn epoch(&self) -> u32 {
        self.session.epoch
    }

    /// Whether the session can go on on another connection.
    pub fn can_resume(&self) -> bool {
        self.session.secret.is_some() || self.session.next.is_some()
    }

    /// Whether the session waits for a connection.
    pub fn is_parked(&self) -> bool {
        self.conn.stage == Stage::Parked
    }

    /// The connection is gone and the session waits for another: SIP waits, datagrams are dropped.
    pub fn park(&mut self, now: Time) {
        self.change(Conn::parked(&self.config, now));
    }

    /// Goes over to another connection. Streams end with the one that was, since bytes of them may be missing; their
    /// lanes are told as closed.
    fn change(&mut self, conn: Conn) {
        let streams: Vec<Lane> = self.streams.lanes().collect();
        for lane in &streams {
            self.streams.remove(*lane);
            self.lanes.remove(*lane);
        }
        self.lanes.cut();
        let mut last = std::mem::replace(&mut self.conn, conn);
        self.conn.closed.append(&mut last.closed);
        self.conn.closed.extend(streams);
    }

    /// At the agent: a new connection is open, and the session wants to go on on it. `false` if it has no
    /// ticket, or the connection no exporter.
    pub fn resume(&mut self, now: Time, exporter: Option<[u8; 32]>) -> bool {
        let (Some(session), Some(exporter)) = (self.session.id, exporter) else { return false };
        let Some(epoch) = self.session.epoch.checked_add(1) else { return false };
        let Some(secret) = &self.session.secret else { return false };
        let era = if self.session.lost { epoch } else { self.sip.era() };
        let received = self.sip.received();
        let claim = Claim { role: Role::Agent, session, epoch, era, received, exporter: &exporter };
        let ask = Resume { session, epoch, era, received, proof: secret.prove(claim) };
        self.session.epoch = epoch;
        self.change(Conn::new(&self.config, now, Some(exporter)));
        self.conn.ask = Some(ask);
        self.say(&Message::Hello(Hello { resume: Some(ask), ..self.config.hello() }));
        true
    }

    /// At the contact point: goes on with the connection of `new`, which has asked for this session
    /// ([`crate::Event::Asked`]). The connection that the session has had is fenced off: nothing more is taken
    /// from it. `new` is left without a connection; where the answer is an error it is as it was.
    pub fn adopt(&mut self, now: Time, new: &mut Self) -> Result<Adopted, Stale> {
        let Some(ask) = new.conn.ask.filter(|_| new.conn.stage == Stage::Deciding) else {
            return Err(Stale::Unknown);
        };
        let Some(exporter) = new.conn.exporter.clone().filter(|_| self.session.id == Some(ask.session))
        else {
            return Err(Stale::Unknown);
        };
        let Resume { session, epoch, era, received, .. } = ask;
        let claim = Claim { role: Role::Agent, session, epoch, era, received, exporter: &exporter.0 };
        let proves = |secret: &Option<Secret>| secret.as_ref().is_some_and(|s| s.verify(claim, &ask.proof));
        let with_next = proves(&self.session.next);
        if !with_next && !proves(&self.session.secret) {
            return Err(Stale::Unknown);
        }
        if epoch <= self.session.epoch {
            return Err(Stale::Replayed);
        }
        let same = !self.session.lost && era == self.sip.era();
        if same {
            self.sip.check(received)?;
        }
        if with_next {
            self.session.secret = self.session.next.take();
        }
        let last_words = self.last_words();
        self.session.epoch = epoch;
        self.peer = new.peer.take();
        let parked = Conn::parked(&self.config, now);
        self.change(std::mem::replace(&mut new.conn, parked));
        self.session.replayed += match same {
            true => self.sip.resume(now, received),
            false => self.sip.restart(epoch),
        };
        let (era, received) = (self.sip.era(), self.sip.received());
        let claim = Claim { role: Role::ContactPoint, era, received, ..claim };
        let proof = self.session.secret.as_ref().map_or(Proof([0; 32]), |secret| secret.prove(claim));
        self.say(&Message::Resumed { era, received, proof });
        if !same {
            self.forget_keys();
        }
        self.go_on();
        Ok(Adopted { peer_lost: !same, last_words })
    }

    /// At the contact point: the session that was asked for does not go on, the connection begins one of its
    /// own. [`crate::Event::Up`] follows.
    pub fn begin_afresh(&mut self, why: Stale) {
        if self.conn.stage == Stage::Deciding {
            self.conn.stage = Stage::Up;
            self.conn.announce = true;
            self.say(&Message::Fresh(why));
        }
    }

    /// At the contact point: makes a ticket for this connection's session, to be sent by
    /// [`Tunnel::send_ticket`] once [`Tunnel::saved`] is kept. `id` names the session where it has no name yet,
    /// `seed` is random; `grace` in seconds. `false` without an exporter.
    pub fn make_ticket(&mut self, id: SessionId, seed: [u8; 32], grace: u16) -> bool {
        let Some(exporter) = self.conn.exporter.as_ref().filter(|_| self.is_up()) else { return false };
        let session = *self.session.id.get_or_insert(id);
        self.session.next = Some(Secret::derive(&exporter.0, &seed, session));
        self.conn.ticket = Some(TicketOut { seed: Secret(seed), grace });
        true
    }

    /// Sends the ticket that was made on this connection, if there is one and it was not sent yet.
    pub fn send_ticket(&mut self) {
        let (Some(ticket), Some(session)) = (self.conn.ticket.take(), self.session.id) else { return };
        let epoch = self.session.epoch;
        self.say(&Message::Ticket { session, epoch, grace: ticket.grace, seed: &ticket.seed.0 });
    }

    /// At the agent: the ticket is on disk; the contact point may forget the one before.
    pub fn ticket_kept(&mut self) {
        if self.is_up() && self.config.role == Role::Agent {
            self.say(&Message::TicketTaken(self.session.epoch));
        }
    }

    /// For how long the contact point keeps the session without a connection, as its ticket says.
    pub fn grace(&self) -> Option<std::time::Duration> {
        self.grace.map(|seconds| std::time::Duration::from_secs(seconds.into()))
    }

    /// What an old connection is told before it is closed.
    fn last_words(&mut self) -> Vec<u8> {
        if self.conn.is_over() {
            return Vec::new();
        }
        let mut words = self.conn.tail.split_off(self.conn.tail_done.min(self.conn.tail.len()));
        self.say(&Message::Goodbye { reason: GoodbyeReason::Replaced, text: "the session has gone on" });
        words.append(&mut self.conn.control_out);
        words
    }

    /// The handshake is done: lanes first, then SIP from where the peer has received it.
    fn go_on(&mut self) {
        self.conn.stage = Stage::Up;
        self.session.lost = false;
        self.session.resumes += 1;
        self.lanes.expect_again(self.config.role.other());
        let own: Vec<(Lane, Kind)> = self.lanes.in_phase(Phase::Open).collect();
        for (lane, kind) in own {
            self.say(&Message::LaneOpen { lane, kind: Ok(kind), token: b"" });
            // A peer that has lost its memory does not know whose it is.
            let user = self.lane_user(lane);
            if user != 0 {
                self.say_key(KeyMessage::Bind { lane, user });
            }
        }
        self.say(&Message::LanesDone);
    }

    /// The contact point says that the session goes on.
    pub(super) fn resumed(&mut self, now: Time, era: u32, received: u64, proof: &Proof) -> Outcome {
        let dead = |fault| Outcome::Dead(Why::Fault(fault));
        let (Some(ask), Some(exporter)) = (self.conn.ask, &self.conn.exporter) else {
            return dead(Fault::NotAsked);
        };
        let Resume { session, epoch, .. } = ask;
        let claim = Claim { role: Role::ContactPoint, session, epoch, era, received, exporter: &exporter.0 };
        if !self.session.secret.as_ref().is_some_and(|secret| secret.verify(claim, proof)) {
            return dead(Fault::Proof);
        }
        let same = !self.session.lost && era == self.sip.era();
        if same && self.sip.check(received).is_err() || !same && (era != epoch || received != 0) {
            return dead(Fault::Ack);
        }
        self.session.replayed += match same {
            true => self.sip.resume(now, received),
            false => self.sip.restart(era),
        };
        if !same {
            self.forget_keys();
        }
        self.go_on();
        Outcome::Resumed { peer_lost: !same }
    }

    /// The contact point says that it does not.
    pub(super) fn fresh(&mut self, why: Stale) -> Outcome {
        let lanes: Vec<Lane> = self.lanes.iter().map(|(lane, _)| lane).collect();
        lanes.into_iter().for_each(|lane| self.lanes.remove(lane));
        self.forget_keys();
        // What is counted is counted for the tunnel, over all its sessions.
        let Session { resumes, replayed, .. } = self.session;
        (self.sip, self.streams) = Default::default();
        self.session = Session { resumes, replayed, ..Session::default() };
        self.conn.ask = None;
        self.conn.stage = Stage::Up;
        self.conn.announce = true;
        Outcome::Fresh(why)
    }

    /// The contact point has sent a ticket.
    pub(super) fn ticket(&mut self, session: SessionId, epoch: u32, grace: u16, seed: &[u8; 32]) -> Outcome {
        let same = self.session.id.is_none_or(|id| id == session) && self.session.epoch == epoch;
        if self.config.role != Role::Agent || !same {
            return Outcome::Dead(Why::Fault(Fault::NotAsked));
        }
        let Some(exporter) = &self.conn.exporter else { return Outcome::Quiet };
        self.session.secret = Some(Secret::derive(&exporter.0, seed, session));
        self.session.id = Some(session);
        self.grace = Some(grace);
        Outcome::Ticket
    }

    /// The agent has kept a ticket.
    pub(super) fn ticket_taken(&mut self, epoch: u32) -> Outcome {
        if self.config.role != Role::ContactPoint || epoch != self.session.epoch {
            return Outcome::Dead(Why::Fault(Fault::NotAsked));
        }
        match self.session.next.take() {
            Some(secret) if self.conn.ticket.is_none() => {
                self.session.secret = Some(secret);
                Outcome::TicketKept
            }
            next => {
                self.session.next = next;
                Outcome::Dead(Why::Fault(Fault::NotAsked))
            }
        }
    }

    /// The peer has opened again what it wants to keep.
    pub(super) fn lanes_done(&mut self) {
        let gone: Vec<Lane> = self.lanes.in_phase(Phase::Stale).map(|(lane, _)| lane).collect();
        for lane in gone {
            self.lanes.remove(lane);
            self.conn.closed.push(lane);
        }
    }
}

impl Why {
    /// Whether the session is over with its connection: the peer has ended it, or one of the two breaks the
    /// protocol and would again.
    pub fn ends_session(&self) -> bool {
        match self {
            Self::Goodbye { reason, .. } => *reason != GoodbyeReason::ShuttingDown,
            Self::Fault(fault) => *fault != Fault::Proof,
            Self::PeerError { .. } => true,
            Self::Handshake | Self::Silent | Self::Deaf => false,
        }
    }
}
