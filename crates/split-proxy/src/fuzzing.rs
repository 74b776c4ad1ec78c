//! What the fuzz targets of user keys and MSRP call, so that the tests can replay their corpora.

pub use crate::msrp::fuzz as msrp;

use crate::keys::{Book, KeyLine, KeyPolicy, LineSecret, Told, first_number, header_secret};
use causeway_node::testing::CountingRng;
use causeway_node::{Ctx, Time};
use causeway_sip::digest::{Algorithm, Ha1, NewChallenge, Session, choose};
use causeway_tunnel::key::{Assurance, DropReason, KeyMessage, Offer, derive};
use causeway_tunnel::{Config, Event, HEADER, Kind, Lane, Role, Tunnel};
use std::collections::VecDeque;
use std::sync::Arc;
use zeroize::Zeroizing;

const ALICE: &[u8] = b"sip:alice@example.com";
const ROOM: usize = 1 << 20;
/// Frames that wait at somebody who holds them back.
const MAX_HELD: usize = 64;

/// One end, and what it has sent that has not been let through.
struct End {
    role: Role,
    tunnel: Tunnel,
    book: Book,
    held: VecDeque<Vec<u8>>,
    dead: bool,
    /// Payloads given to it to be sent, and received by it.
    said: Vec<Vec<u8>>,
    heard: Vec<Vec<u8>>,
}

/// Two ends with one secret, and somebody in between who does with their frames what `data` says, without knowing
/// the secret: lets them pass, drops, repeats, reorders and changes them, makes up his own.
///
/// # Panics
/// If either end takes for genuine what the other has not sent: that is what the fuzzer looks for.
pub fn keys(data: &[u8]) {
    let mut middle = Middle::new();
    let mut input = data;
    while let Some((&act, rest)) = input.split_first() {
        input = rest;
        middle.act(act, &mut input);
        if middle.ends.iter().any(|end| end.dead) {
            break;
        }
    }
    for (here, there) in [(0, 1), (1, 0)] {
        for heard in &middle.ends[here].heard {
            assert!(middle.ends[there].said.contains(heard), "what nobody has sent is taken for genuine");
        }
    }
}

struct Middle {
    rng: CountingRng,
    ends: [End; 2],
    lane: Lane,
    credential: Vec<u8>,
    policy: KeyPolicy,
    /// The last frame that was let through, and to which end.
    last: Option<(usize, Vec<u8>)>,
}

impl Middle {
    fn new() -> Self {
        let end = |role| End {
            role,
            tunnel: Tunnel::new(Arc::new(Config::new(role)), Time::ZERO),
            book: Book::default(),
            held: VecDeque::new(),
            dead: false,
            said: Vec::new(),
            heard: Vec::new(),
        };
        let challenge = NewChallenge::new(b"example.com", b"n0nce", Algorithm::MD5).value();
        let chosen = choose([&challenge[..]]).unwrap_or_else(|| unreachable!("a challenge of our own"));
        let mut session = Session::new(&chosen, b"alice", b"secret");
        let mut line = KeyLine::new("sip:alice@example.com")
            .unwrap_or_else(|| unreachable!("a SIP URI with a user and a host"));
        line.secret = Some(LineSecret::Password(Zeroizing::new(b"secret".to_vec())));
        let mut middle = Self {
            rng: CountingRng::default(),
            ends: [end(Role::Agent), end(Role::ContactPoint)],
            lane: Lane(0),
            credential: session.answer(causeway_sip::Method::Register, b"sip:example.com", b"c0ffee"),
            policy: KeyPolicy { least: Assurance::None, lines: vec![line] },
            last: None,
        };
        for end in &mut middle.ends {
            end.book.connected(Some([7; 32]), 0, &mut end.tunnel);
        }
        middle.pass_all();
        let agent = &mut middle.ends[0].tunnel;
        middle.lane = agent.open_lane(Kind::Audio, b"").unwrap_or(Lane(17));
        agent.bind_lane(middle.lane, first_number(ALICE));
        middle.pass_all();
        let lane = middle.lane;
        middle.ends.iter_mut().for_each(|end| end.tunnel.demand(lane, Assurance::Header));
        middle
    }

    fn act(&mut self, act: u8, input: &mut &[u8]) {
        let from = usize::from(act >> 7);
        match act & 0x0f {
            0..4 => self.let_pass(from),
            4 => drop(self.ends[from].held.pop_front()),
            5 => self.ends[from].held.rotate_left(usize::from(self.ends[from].held.len() > 1)),
            6 => {
                let at = take(input, 2);
                if let Some(frame) = self.ends[from].held.front_mut() {
                    let bit = usize::from(u16::from_be_bytes([at[0], at[1]])) % (frame.len() * 8);
                    frame[bit / 8] ^= 1 << (bit % 8);
                }
            }
            7 => {
                if let Some((to, frame)) = self.last.clone() {
                    self.feed(to, &frame);
                }
            }
            8 => {
                let len = usize::from(take(input, 1)[0]);
                let body = take(input, len);
                let head = [&[0, 0, 0][..], &[len as u8]].concat();
                self.feed(1 - from, &[head, body].concat());
            }
            9 => {
                let len = usize::from(take(input, 1)[0]);
                let body = take(input, len);
                let head = [&self.lane.0.to_be_bytes()[..], &[0, len as u8]].concat();
                self.feed(1 - from, &[head, body].concat());
            }
            10 => {
                let payload = vec![from as u8, self.ends[from].said.len() as u8, 0xaa];
                let end = &mut self.ends[from];
                end.said.push(payload.clone());
                let _ = end.tunnel.datagram(Time::ZERO, self.lane, &payload);
            }
            11 => self.ends[from].book.end(&mut self.ends[from].tunnel, ALICE, DropReason::Ended),
            _ => {
                let secrets = self.policy.secrets(ALICE, &self.credential);
                let mut ctx = Ctx { now: Time::ZERO, unix_ms: 0, rng: &mut self.rng };
                let End { book, tunnel, .. } = &mut self.ends[0];
                book.offer(&mut ctx, tunnel, ALICE, &self.credential, secrets);
            }
        }
        self.collect();
    }

    /// What the ends have to send is held back, frame by frame.
    fn collect(&mut self) {
        for end in &mut self.ends {
            let mut wire = Vec::new();
            end.tunnel.fill(Time::ZERO, ROOM, &mut wire);
            let mut rest = wire.as_slice();
            while let Some(head) = rest.first_chunk::<HEADER>() {
                let len = HEADER + usize::from(u16::from_be_bytes([head[2], head[3]]));
                let Some((frame, left)) = rest.split_at_checked(len) else { break };
                rest = left;
                if end.held.len() < MAX_HELD {
                    end.held.push_back(frame.to_vec());
                }
            }
        }
    }

    fn let_pass(&mut self, from: usize) {
        if let Some(frame) = self.ends[from].held.pop_front() {
            self.feed(1 - from, &frame);
            self.last = Some((1 - from, frame));
        }
    }

    fn pass_all(&mut self) {
        self.collect();
        while let Some(from) = (0..2).find(|from| !self.ends[*from].held.is_empty()) {
            self.let_pass(from);
            self.collect();
        }
    }

    fn feed(&mut self, to: usize, bytes: &[u8]) {
        let end = &mut self.ends[to];
        let mut input = bytes;
        let mut offers = Vec::new();
        while let Some(event) = end.tunnel.next(Time::ZERO, &mut input) {
            match event {
                Event::Datagram { payload, .. } => end.heard.push(payload.to_vec()),
                Event::Key(KeyMessage::Bind { .. }) => {}
                Event::Key(message) => match end.book.heard(Time::ZERO, end.role, &mut end.tunnel, message) {
                    Some(Told::Offer(offer)) => offers.push(offer),
                    Some(Told::Intercepted { .. }) => end.dead = true,
                    _ => {}
                },
                Event::Dead(_) => end.dead = true,
                _ => {}
            }
        }
        offers.into_iter().for_each(|offer| self.answer(offer));
    }

    /// The contact point answers, by HA1 where that is offered.
    fn answer(&mut self, offer: Box<Offer>) {
        let mut ctx = Ctx { now: Time::ZERO, unix_ms: 0, rng: &mut self.rng };
        let End { book, tunnel, .. } = &mut self.ends[1];
        let (user, modes) = (offer.user, offer.modes);
        if *offer.aor != *ALICE || book.begin(&mut ctx, tunnel, offer, &self.credential).is_none() {
            return;
        }
        let ha1 = Ha1::new(Algorithm::MD5, b"alice", b"example.com", b"secret");
        let header = header_secret(&self.credential).unwrap_or_default();
        let mode = modes.best_first().next().unwrap_or_default();
        let secret = if mode == Assurance::Digest { ha1.expose_hex() } else { &header };
        let master = book.facts(user, mode).and_then(|(exporter, facts)| derive(exporter, secret, &facts));
        if let Some(master) = master {
            book.accept(tunnel, user, mode, &master);
        }
    }
}

/// The next `len` bytes; zeros where there are no more.
fn take(input: &mut &[u8], len: usize) -> Vec<u8> {
    let (head, rest) = input.split_at(len.min(input.len()));
    *input = rest;
    let mut bytes = head.to_vec();
    bytes.resize(len, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_honest_middle_lets_keys_and_packets_through() {
        let mut middle = Middle::new();
        // Agent offers; all passes; both speak; the key is renewed; both speak again.
        for act in
            [0x0f, 0x00, 0x80, 0x00, 0x80, 0x0a, 0x8a, 0x00, 0x80, 0x0f, 0x00, 0x80, 0x00, 0x80, 0x0a, 0x00]
        {
            middle.act(act, &mut &[][..]);
        }
        assert_eq!(middle.ends.each_ref().map(|end| end.heard.len()), [1, 2]);
        assert!(
            middle
                .ends
                .iter()
                .all(|end| end.book.assurance(first_number(ALICE)) == Assurance::Digest && !end.dead)
        );
    }

    #[test]
    fn a_changed_confirmation_is_taken_for_an_interception() {
        for confirmation in
            [&[0x0f, 0x00, 0x86, 0x02, 0x60, 0x80][..], &[0x0f, 0x00, 0x80, 0x06, 0x00, 0x90, 0x00]]
        {
            let mut middle = Middle::new();
            let mut input = confirmation;
            while let Some((&act, rest)) = input.split_first() {
                input = rest;
                middle.act(act, &mut input);
            }
            assert!(middle.ends.iter().any(|end| end.dead), "{confirmation:x?}");
        }
    }
}
