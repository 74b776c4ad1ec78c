//! Two ends with owners that do as owners should, on connections that may end at any byte.

use crate::{Config, Event, Kind, Lane, Role, SessionId, Tunnel};
use causeway_node::Time;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const AGENT: usize = 0;
const CONTACT: usize = 1;

/// One end with its owner: messages are words that end with a full stop.
struct End {
    tunnel: Tunnel,
    /// Bytes that are no whole message yet.
    held: Vec<u8>,
    heard: Vec<Vec<u8>>,
    said: Vec<Vec<u8>>,
    lanes: BTreeSet<Lane>,
    /// Bytes on their way from here.
    wire: Vec<u8>,
}

/// An agent and a contact point with one session.
pub struct Pair {
    now: Time,
    configs: [Arc<Config>; 2],
    ends: [End; 2],
    /// A connection at the contact point that has not been adopted.
    incoming: Option<Tunnel>,
    connected: bool,
    serial: u32,
    /// Which ends have lost their memory: what they had said may be lost, what they had heard come twice.
    restarted: [bool; 2],
}

impl Pair {
    /// Both up, the ticket kept.
    #[allow(clippy::new_without_default, reason = "it runs a handshake")]
    pub fn new() -> Self {
        let now = Time::ZERO + Duration::from_secs(1);
        let configs = [Role::Agent, Role::ContactPoint].map(|role| {
            let mut config = Config::new(role);
            config.max_lanes = 16;
            Arc::new(config)
        });
        let ends = [AGENT, CONTACT].map(|side| End {
            tunnel: Tunnel::on(configs[side].clone(), now, Some([9; 32])),
            held: Vec::new(),
            heard: Vec::new(),
            said: Vec::new(),
            lanes: BTreeSet::new(),
            wire: Vec::new(),
        });
        let mut pair =
            Self { now, configs, ends, incoming: None, connected: true, serial: 0, restarted: [false; 2] };
        pair.exchange();
        assert!(pair.ends[AGENT].tunnel.can_resume() && pair.ends[CONTACT].tunnel.can_resume());
        pair
    }

    /// An end, to look at.
    pub fn tunnel(&mut self, side: usize) -> &mut Tunnel {
        &mut self.ends[side].tunnel
    }

    /// A message, `len` bytes and its number.
    pub fn say(&mut self, side: usize, len: usize) {
        self.serial += 1;
        let message = [self.serial.to_string().as_bytes(), &vec![b'x'; len], b"."].concat();
        if self.ends[side].tunnel.sip(&message).is_ok() {
            self.ends[side].said.push(message);
        }
    }

    /// Opens a lane and sends a datagram on it.
    pub fn open(&mut self, side: usize, kind: usize) {
        let end = &mut self.ends[side];
        if let Ok(lane) = end.tunnel.open_lane(Kind::BY_PRIORITY[kind % 4], b"") {
            end.lanes.insert(lane);
            let _ = end.tunnel.datagram(self.now, lane, b"packet");
        }
    }

    /// Closes one of the lanes, whoever has opened it.
    pub fn close(&mut self, side: usize, which: usize) {
        let end = &mut self.ends[side];
        let Some(lane) = end.lanes.iter().nth(which % end.lanes.len().max(1)).copied() else { return };
        end.tunnel.close_lane(lane);
        end.lanes.remove(&lane);
    }

    /// Moves at most so many bytes from one end to the other; says whether there were any.
    pub fn carry(&mut self, from: usize, most: usize) -> bool {
        if !self.connected {
            return false;
        }
        let source = match from {
            CONTACT => self.incoming.as_mut().unwrap_or(&mut self.ends[CONTACT].tunnel),
            _ => &mut self.ends[AGENT].tunnel,
        };
        let mut bytes = Vec::new();
        source.fill(self.now, 1 << 20, &mut bytes);
        self.ends[from].wire.append(&mut bytes);
        let len = most.min(self.ends[from].wire.len());
        let piece: Vec<u8> = self.ends[from].wire.drain(..len).collect();
        self.receive(1 - from, &piece);
        len > 0
    }

    /// Bytes on their way from an end, with those that it would send now.
    pub fn under_way(&mut self, from: usize) -> usize {
        self.carry(from, 0);
        self.ends[from].wire.len()
    }

    /// Both learn that the connection is gone.
    pub fn cut(&mut self) {
        self.connected = false;
        self.incoming = None;
        for end in &mut self.ends {
            end.wire.clear();
            end.tunnel.park(self.now);
        }
    }

    /// A new connection, on which the agent asks for its session.
    pub fn connect(&mut self) {
        self.serial += 1;
        let mut exporter = [0; 32];
        exporter[..4].copy_from_slice(&self.serial.to_be_bytes());
        self.ends.iter_mut().for_each(|end| end.wire.clear());
        assert!(self.ends[AGENT].tunnel.resume(self.now, Some(exporter)));
        self.incoming = Some(Tunnel::on(self.configs[CONTACT].clone(), self.now, Some(exporter)));
        self.connected = true;
    }

    /// An end comes back from what it has kept, with some of its lanes.
    pub fn restart(&mut self, side: usize, which: usize) {
        self.cut();
        self.restarted[side] = true;
        let end = &mut self.ends[side];
        let Some(saved) = end.tunnel.saved() else { panic!("it has a ticket") };
        let before: Vec<(Lane, Kind)> = end.tunnel.lanes().map(|(lane, kind, _)| (lane, kind)).collect();
        end.tunnel = Tunnel::restore(self.configs[side].clone(), self.now, saved);
        end.held.clear();
        end.lanes.clear();
        for (lane, kind) in before.into_iter().skip(which % 3) {
            end.tunnel.restore_lane(lane, kind, 0, crate::key::Assurance::None);
            end.lanes.insert(lane);
        }
    }

    /// Lets everything arrive, on a new connection if need be, and checks.
    ///
    /// # Panics
    /// If a message was lost, came twice or out of order, or the two do not agree on the lanes.
    pub fn settle(&mut self) {
        if !self.connected || !self.ends.iter().all(|end| end.tunnel.is_up()) {
            self.cut();
            self.connect();
        }
        self.exchange();
        self.now += Duration::from_secs(1);
        for end in &mut self.ends {
            assert_eq!(end.tunnel.timeout(self.now), None);
        }
        self.exchange();
        for (from, to) in [(AGENT, CONTACT), (CONTACT, AGENT)] {
            let (said, heard) = (&self.ends[from].said, &self.ends[to].heard);
            if self.restarted == [false; 2] {
                assert_eq!(said, heard);
            } else if !self.restarted[from] {
                assert!(said.iter().all(|message| heard.contains(message)), "{said:?} {heard:?}");
            }
            assert_eq!(self.ends[from].tunnel.stats().unacknowledged_bytes, 0);
            let open = |side: usize| -> Vec<_> {
                self.ends[side].tunnel.lanes().map(|(lane, kind, _)| (lane, kind)).collect()
            };
            assert_eq!(open(from), open(to));
        }
    }

    /// Lets everything arrive that is on its way.
    pub fn exchange(&mut self) {
        for _ in 0..10_000 {
            let moved = [self.carry(AGENT, 1000), self.carry(CONTACT, 1000)];
            if moved == [false, false] {
                return;
            }
        }
        panic!("they talk for ever");
    }

    fn receive(&mut self, side: usize, mut input: &[u8]) {
        loop {
            let (asked, ticket, kept) = self.events(side, &mut input);
            if asked && let Some(mut new) = self.incoming.take() {
                let end = &mut self.ends[CONTACT];
                match end.tunnel.adopt(self.now, &mut new) {
                    Ok(adopted) if adopted.peer_lost => end.held.clear(),
                    Ok(_) => {}
                    Err(why) => panic!("the session is refused: {why}"),
                }
            }
            let end = &mut self.ends[side];
            if ticket {
                assert!(end.tunnel.make_ticket(SessionId([7; 16]), [self.serial as u8; 32], 30));
                end.tunnel.send_ticket();
            }
            if kept {
                end.tunnel.ticket_kept();
            }
            if !asked {
                return;
            }
        }
    }

    /// Takes events until there are no more, or the owner has to decide something.
    fn events(&mut self, side: usize, input: &mut &[u8]) -> (bool, bool, bool) {
        let adopting = side == CONTACT && self.incoming.is_some();
        let (mut ticket, mut kept) = (false, false);
        let End { tunnel, held, heard, lanes, .. } = &mut self.ends[side];
        let tunnel = if adopting { self.incoming.as_mut().unwrap_or(tunnel) } else { tunnel };
        while let Some(event) = tunnel.next(self.now, input) {
            match event {
                Event::Up(_) => ticket |= side == CONTACT,
                Event::Asked(_) => return (true, true, false),
                Event::Ticket => kept = true,
                Event::Resumed { peer_lost: true } => held.clear(),
                Event::Resumed { .. }
                | Event::TicketKept
                | Event::Leaving { .. }
                | Event::Datagram { .. }
                | Event::Key(_) => {}
                Event::Sip(bytes) => held.extend_from_slice(bytes),
                Event::LaneOpened { lane, .. } => drop(lanes.insert(lane)),
                Event::LaneClosed { lane, .. } => drop(lanes.remove(&lane)),
                Event::StreamBegun { .. } | Event::Stream { .. } | Event::StreamEnded { .. } => {
                    panic!("nobody has opened a stream")
                }
                Event::Fresh(why) => panic!("the session is gone: {why}"),
                Event::Dead(why) => panic!("{why}"),
            }
        }
        while let Some(end) = held.iter().position(|byte| *byte == b'.') {
            heard.push(held.drain(..=end).collect());
        }
        tunnel.sip_handled(self.now, held.len());
        (false, ticket, kept)
    }
}
