//! What an end of a tunnel is told once.

use crate::{Hello, Kind, Role};
use std::fmt;
use std::time::Duration;

/// Stable identity of an agent or contact point: 128 random bits. Whoever presents an agent's takes over its
/// registrations, so that it is a secret: `Debug` does not show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance(pub [u8; 16]);

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instance(redacted)")
    }
}

/// Limits, intervals and the identity of one end. The defaults suit voice and video.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which half this end is.
    pub role: Role,
    /// Told to the peer for its status page; at most 64 bytes of it are sent.
    pub software: String,
    /// Stable identity of this agent or contact point.
    pub instance: Option<Instance>,
    /// How many lanes may be open at once, whoever opened them; at most 32,760. Default 2,048.
    pub max_lanes: u16,
    /// The longest frame payload taken, from 1,500. Default 16,384.
    pub max_frame: u16,
    /// After this much silence in the sending direction a ping is sent. Default 15 s.
    pub keep_alive: Duration,
    /// With lanes open, a ping is also sent after this much silence of the peer. Default 1 s.
    pub probe: Duration,
    /// With lanes open, the round trip is measured this often. Default 5 s.
    pub measure: Duration,
    /// With lanes open: the tunnel is dead when nothing is heard for this long after a ping. Default 2 s: the
    /// session goes on on another connection, which is soon done, while TCP would wait ever longer.
    pub dead_active: Duration,
    /// Without lanes open: likewise. Default 10 s.
    pub dead_idle: Duration,
    /// The peer's Hello must have come within this time. Default 10 s.
    pub handshake: Duration,
    /// How old a packet may be when it is taken for sending.
    pub deadlines: Deadlines,
    /// Packets waiting on one lane; the oldest gives way. Default 64.
    pub lane_packets: usize,
    /// Bytes of packets waiting on one lane; the oldest gives way. Default 128 KiB.
    pub lane_bytes: usize,
    /// Bytes of packets waiting on all lanes together; the least urgent gives way. Default 1 MiB.
    pub total_bytes: usize,
    /// Bytes of SIP waiting to be sent, or sent and not acknowledged; more is refused. Default 1 MiB.
    pub sip_bytes: usize,
    /// An acknowledgement of SIP that nothing else takes along goes after this time. Default 100 ms.
    pub ack_delay: Duration,
    /// Lanes that carry streams, at once, whoever opened them; each may hold [`crate::WINDOW`] bytes on its way in
    /// and twice [`crate::STREAM_QUEUE`] on its way out. Default 64.
    pub max_streams: usize,
    /// Control messages taken per second in the long run. Default 500.
    pub control_rate: u32,
    /// Control messages taken at once. Default 5,000.
    pub control_burst: u32,
    /// Frames per second, in the long run, on lanes that lead nowhere: those that are being closed, and those that the
    /// owner has no use for ([`crate::Tunnel::strays`]). Default 1,000.
    pub stray_rate: u32,
    /// The same at once: what was under way when lanes were closed. Default 20,000.
    pub stray_burst: u32,
    /// Whether this end understands the messages of user keys ([`crate::key`]). Default true.
    pub user_keys: bool,
}

impl Config {
    /// The defaults for one half.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            software: concat!("causeway/", env!("CARGO_PKG_VERSION")).to_owned(),
            instance: None,
            max_lanes: 2048,
            max_frame: 16_384,
            keep_alive: Duration::from_secs(15),
            probe: Duration::from_secs(1),
            measure: Duration::from_secs(5),
            dead_active: Duration::from_secs(2),
            dead_idle: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            deadlines: Deadlines::default(),
            lane_packets: 64,
            lane_bytes: 128 << 10,
            total_bytes: 1 << 20,
            sip_bytes: 1 << 20,
            ack_delay: Duration::from_millis(100),
            max_streams: 64,
            control_rate: 500,
            control_burst: 5000,
            stray_rate: 1000,
            stray_burst: 20_000,
            user_keys: true,
        }
    }

    /// What this end says of itself.
    pub fn hello(&self) -> Hello {
        Hello {
            role: self.role,
            max_lanes: self.max_lanes.min(Self::MAX_LANES),
            max_frame: self.max_frame.max(Hello::MIN_FRAME),
            keep_alive: u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX).max(1),
            required: 0,
            offered: if self.user_keys { crate::key::FEATURE } else { 0 },
            software: self.software.clone(),
            instance: self.instance,
            resume: None,
        }
    }

    /// More lanes than this have no numbers.
    pub const MAX_LANES: u16 = 32_760;
}

/// How old a waiting packet may be when its turn comes; an older one is dropped before it costs bandwidth.
/// `None` lets it wait for as long as the queue holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Default 150 ms.
    pub audio: Option<Duration>,
    /// Default 150 ms.
    pub video: Option<Duration>,
    /// Default 1 s: a report is of use for longer than what it reports.
    pub rtcp: Option<Duration>,
    /// Default 1 s.
    pub other: Option<Duration>,
}

impl Default for Deadlines {
    fn default() -> Self {
        let voice = Some(Duration::from_millis(150));
        let data = Some(Duration::from_secs(1));
        Self { audio: voice, video: voice, rtcp: data, other: data }
    }
}

impl Deadlines {
    /// The deadline of one kind of lane.
    pub fn of(&self, kind: Kind) -> Option<Duration> {
        match kind {
            Kind::Audio => self.audio,
            Kind::Video => self.video,
            Kind::Rtcp => self.rtcp,
            Kind::Other => self.other,
            Kind::Stream => None,
        }
    }
}
