//! The load: many calls of G.711, evenly phased, both ways, each packet with the time at which it left.

use anyhow::Result;
use causeway_sip::{HeaderId, Message, Method, RequestBuilder};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

const PACKET_TIME: Duration = Duration::from_millis(20);
/// How often the generator looks what is due and what has come.
const GLANCE: Duration = Duration::from_micros(200);
/// How often what goes into connections is written: the other half of a tunnel batches likewise.
pub const FLUSH: Duration = Duration::from_millis(2);
/// Before a packet is due that leaves by itself the generator sleeps no longer than up to here: waking up takes some time.
const AWAKE: Duration = Duration::from_micros(150);
/// What is still on its way at the end may take so long.
const LAST: Duration = Duration::from_millis(50);

/// A packet of G.711: 12 bytes of RTP header, 160 samples.
pub type Packet = [u8; 172];

/// Where the time of leaving stands in a packet: nanoseconds of [`Clock`], after the header.
const STAMP: std::ops::Range<usize> = 12..20;

/// The time that stamps are told in.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn nanos(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    /// How far this clock is ahead of the time since `start`.
    fn ahead_of(self, start: Instant) -> u64 {
        start.duration_since(self.0).as_nanos() as u64
    }
}

/// Writes the time of leaving into a packet.
pub fn stamp(packet: &mut Packet, nanos: u64) {
    packet[STAMP].copy_from_slice(&nanos.to_be_bytes());
}

/// One side of a relay: many calls' packets leave here, and come out here.
pub trait Side {
    /// Sends a packet of a call, or keeps it for [`Side::flush`].
    fn send(&mut self, call: usize, packet: &Packet) -> Result<()>;

    /// Stamps and writes what waits; every [`FLUSH`].
    fn flush(&mut self) -> Result<()>;

    /// Hands over what has come.
    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<()>;
}

/// The parties on one side before calls are set up with them.
pub trait Parties {
    /// Where each of so many calls wants its packets.
    fn addresses(&self, calls: usize) -> Result<Vec<SocketAddr>>;

    /// Where the packets of each call go.
    fn aim(self: Box<Self>, to: Vec<SocketAddr>) -> Result<Box<dyn Side>>;
}

/// How packets leave the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// What has become due since the last look, one after the other; connections are written every [`FLUSH`].
    Looks,
    /// Each by itself, on both sides, at the moment when it is due: so many phones that know nothing of one another.
    Apart,
}

/// A relay with calls set up through it, and what keeps it running.
pub struct Set {
    pub left: Box<dyn Side>,
    pub right: Box<dyn Side>,
    pub calls: usize,
    pub manner: Manner,
    /// The process that relays.
    pub pid: u32,
    pub clock: Clock,
    pub _keep: Box<dyn std::any::Any>,
}

/// Packets of one run.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// What should have left in this time; less has if the generator is too slow.
    pub due: u64,
    pub sent: u64,
    /// What came out on the left, and on the right: how long each packet took, in nanoseconds.
    pub delays: [Vec<u64>; 2],
}

impl Counted {
    pub fn received(&self) -> u64 {
        self.delays.iter().map(|delays| delays.len() as u64).sum()
    }

    /// The delay below which this share of the packets stayed, of one direction.
    pub fn quantile(&mut self, side: usize, share: f64) -> Duration {
        let delays = &mut self.delays[side];
        if delays.is_empty() {
            return Duration::ZERO;
        }
        let place = ((delays.len() - 1) as f64 * share) as usize;
        Duration::from_nanos(*delays.select_nth_unstable(place).1)
    }
}

/// Sends 50 packets a second on each call and side, and takes what comes out.
pub fn run(set: &mut Set, time: Duration) -> Result<Counted> {
    let mut counted = Counted::default();
    let mut packet: Packet = [0; 172];
    packet[0] = 0x80;
    packet[8..12].copy_from_slice(&0x6265_6e63u32.to_be_bytes());
    // Sequence numbers go on from run to run: they are made of the time.
    let start = Instant::now();
    let first = (set.clock.nanos() / PACKET_TIME.as_nanos() as u64) as u16;
    let step = PACKET_TIME.as_nanos() as u64 / set.calls.max(1) as u64;
    counted.due = 2 * (time.as_nanos() as u64).div_ceil(step);
    let ahead = set.clock.ahead_of(start);
    let (mut index, mut flushed) = (0u64, Duration::ZERO);
    let mut last = None;
    loop {
        let mut now = start.elapsed();
        match last {
            None if now >= time => last = Some(now),
            Some(since) if now - since >= LAST => break,
            _ => {}
        }
        while last.is_none() && now.as_nanos() as u64 >= step * index {
            let (round, call) = (index / set.calls as u64, index as usize % set.calls);
            let sequence = first.wrapping_add(round as u16);
            packet[2..4].copy_from_slice(&sequence.to_be_bytes());
            packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
            stamp(&mut packet, ahead + now.as_nanos() as u64);
            set.left.send(call, &packet)?;
            set.right.send(call, &packet)?;
            counted.sent += 2;
            index += 1;
            now = start.elapsed();
            if set.manner == Manner::Apart || now - flushed >= FLUSH {
                break;
            }
        }
        if now - flushed >= FLUSH {
            flushed += FLUSH * ((now - flushed).as_nanos() / FLUSH.as_nanos()) as u32;
            set.left.flush()?;
            set.right.flush()?;
        }
        take(set, &mut counted)?;
        rest(set.manner, start.elapsed(), Duration::from_nanos(step * index), last.is_some());
    }
    Ok(counted)
}

/// Sleeps until the next look, or until shortly before the next packet is due; who is behind does not.
fn rest(manner: Manner, now: Duration, due: Duration, over: bool) {
    match manner {
        Manner::Looks if over || now < due + FLUSH => thread::sleep(GLANCE),
        Manner::Looks => {}
        Manner::Apart => thread::sleep(due.saturating_sub(now).saturating_sub(AWAKE)),
    }
}

fn take(set: &mut Set, counted: &mut Counted) -> Result<()> {
    let clock = set.clock;
    let [left, right] = &mut counted.delays;
    for (side, delays) in [(&mut set.left, left), (&mut set.right, right)] {
        side.receive(&mut |packet| {
            if let Some(stamp) = packet.get(STAMP).and_then(|bytes| bytes.try_into().ok()) {
                delays.push(clock.nanos().saturating_sub(u64::from_be_bytes(stamp)));
            }
        })?;
    }
    Ok(())
}

/// A session description with one µ-law stream at `address`.
pub fn describe(address: SocketAddr) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=sendrecv\r\n",
        ip = address.ip(),
        port = address.port()
    )
}

/// The ACK for a 200 to the first INVITE of a dialog (RFC 3261 §13.2.2.4), under this Via.
pub fn ack_of(ok: &Message, via: String) -> Vec<u8> {
    let msg = ok.msg();
    let contact = msg.contact().map_or(&b"sip:callee"[..], |contact| contact.uri);
    let mut routes: Vec<&[u8]> = msg.values(HeaderId::RecordRoute).collect();
    routes.reverse();
    RequestBuilder::new(Method::Ack, contact)
        .header("Via", via)
        .max_forwards(70)
        .headers("Route", routes)
        .header("From", msg.header(HeaderId::From).unwrap_or_default())
        .header("To", msg.header(HeaderId::To).unwrap_or_default())
        .header("Call-ID", msg.header(HeaderId::CallId).unwrap_or_default())
        .cseq(1, Method::Ack)
        .finish()
}

/// Where a description with one stream wants its packets.
pub fn target(sdp: &str) -> Option<SocketAddr> {
    let value = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name));
    let ip = value("c=IN IP4 ")?.trim().parse().ok()?;
    let port = value("m=audio ")?.split_whitespace().next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}
