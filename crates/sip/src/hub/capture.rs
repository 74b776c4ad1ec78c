//! Copies of all messages for a capture server.

use crate::hep::Packet;
use crate::transaction::Transport;
use crate::{Index, Msg};
use causeway_node::{Class, Connect, Flow, Level, Outbox, Time, Transport as Wire};
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use zeroize::Zeroizing;

/// Where a hub sends copies of what it receives and sends, and as whom.
#[derive(Clone)]
pub struct HepConfig {
    /// The capture server.
    pub to: SocketAddr,
    /// UDP, TCP or TLS.
    pub transport: Transport,
    /// The name that the server's certificate must carry, with TLS.
    pub server_name: String,
    /// The number of this capture agent.
    pub agent_id: u32,
    /// The server's password.
    pub key: Option<Zeroizing<Vec<u8>>>,
}

impl fmt::Debug for HepConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HepConfig({:?} {}, agent {})", self.transport, self.to, self.agent_id)
    }
}

/// How copying fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copies {
    /// Copies handed on: over UDP sent, over a connection given to the system.
    pub sent: u64,
    /// Copies given up: the server is slow or gone, or the message is too long.
    pub dropped: u64,
    /// Whether the server can be reached, as far as we know.
    pub up: bool,
}

/// What may wait for a capture server; copies beyond are dropped and counted.
const QUEUE: usize = 1024 * 1024;
/// The longest payload of a UDP datagram over IPv4.
const DATAGRAM: usize = 65_507;
/// The first pause before connecting again, doubled up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

enum State {
    Down { again: Time },
    Opening,
    Up,
}

/// The way to a capture server.
pub(super) struct Capture {
    config: HepConfig,
    flow: Flow,
    state: State,
    pause: Duration,
    queue: VecDeque<Vec<u8>>,
    queued: usize,
    /// How much of the first packet in the queue has been given to the system.
    given: usize,
    index: Index,
    packet: Vec<u8>,
    copies: Copies,
}

/// One message as it was seen.
pub(super) struct Seen<'a> {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub transport: Transport,
    pub unix_us: u64,
    pub bytes: &'a [u8],
}

impl Capture {
    pub fn new(config: HepConfig, flow: Flow) -> Self {
        Self {
            config,
            flow,
            state: State::Opening,
            pause: PAUSE,
            queue: VecDeque::new(),
            queued: 0,
            given: 0,
            index: Index::new(),
            packet: Vec::new(),
            copies: Copies::default(),
        }
    }

    pub fn copies(&self) -> Copies {
        Copies { up: matches!(self.state, State::Up), ..self.copies }
    }

    /// Binds or connects.
    pub fn start(&self, out: &mut Outbox) {
        let any: IpAddr = match self.config.to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let transport = match self.config.transport {
            Transport::Udp => return out.bind(self.flow, SocketAddr::new(any, 0), Class::Signalling),
            Transport::Tls => Wire::Tls,
            Transport::Tcp | Transport::Tunnel => Wire::Tcp,
        };
        let (to, server_name) = (self.config.to, self.config.server_name.clone());
        out.connect(
            self.flow,
            Connect { to, through: None, transport, server_name, class: Class::Signalling },
        );
    }

    pub fn opened(&mut self, out: &mut Outbox) {
        self.state = State::Up;
        self.pause = PAUSE;
        if !self.queue.is_empty() {
            out.wake(self.flow);
        }
    }

    pub fn closed(&mut self, now: Time, why: &str, out: &mut Outbox) {
        // Each loss is told once, not each attempt after it.
        if self.pause == PAUSE {
            out.notice(Level::Warn, format!("no copies reach the capture server: {why}"));
        }
        self.state = State::Down { again: now + self.pause };
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        // The rest of a packet means nothing on the next connection.
        if self.given > 0 {
            self.given = 0;
            self.drop_first();
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Down { again } => Some(again),
            State::Opening | State::Up => None,
        }
    }

    pub fn timeout(&mut self, now: Time, out: &mut Outbox) {
        if let State::Down { again } = self.state
            && again <= now
        {
            self.state = State::Opening;
            self.start(out);
        }
    }

    /// Copies a message.
    pub fn copy(&mut self, seen: &Seen<'_>, out: &mut Outbox) {
        let call_id = match self.index.parse(seen.bytes) {
            Ok(()) => Msg::new(seen.bytes, &self.index).call_id(),
            Err(_) => None,
        };
        let packet = Packet {
            source: seen.source,
            destination: seen.destination,
            transport: seen.transport,
            unix_us: seen.unix_us,
            agent_id: self.config.agent_id,
            key: self.config.key.as_ref().map(|key| key.as_slice()),
            correlation: call_id.unwrap_or_default(),
            payload: seen.bytes,
        };
        if packet.encode(&mut self.packet).is_err() {
            self.copies.dropped += 1;
        } else if self.config.transport == Transport::Udp {
            self.send_datagram(out);
        } else {
            self.enqueue(out);
        }
    }

    fn send_datagram(&mut self, out: &mut Outbox) {
        if matches!(self.state, State::Up) && self.packet.len() <= DATAGRAM {
            out.datagram(self.flow, self.config.to, &self.packet);
            self.copies.sent += 1;
        } else {
            self.copies.dropped += 1;
        }
    }

    fn enqueue(&mut self, out: &mut Outbox) {
        if self.queued + self.packet.len() > QUEUE {
            self.copies.dropped += 1;
            return;
        }
        self.queued += self.packet.len();
        self.queue.push_back(self.packet.clone());
        if matches!(self.state, State::Up) {
            out.wake(self.flow);
        }
    }

    /// The next bytes for the connection.
    pub fn fill(&mut self, room: usize, buf: &mut Vec<u8>) {
        let mut room = room;
        while let Some(first) = self.queue.front() {
            let rest = first.get(self.given..).unwrap_or_default();
            let part = rest.get(..room).unwrap_or(rest);
            buf.extend_from_slice(part);
            room -= part.len();
            if part.len() < rest.len() {
                self.given += part.len();
                return;
            }
            self.given = 0;
            self.queued -= first.len();
            self.queue.pop_front();
            self.copies.sent += 1;
        }
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.queue.pop_front() {
            self.queued -= first.len();
            self.copies.dropped += 1;
        }
    }
}
