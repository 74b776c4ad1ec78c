//! The generator's own halves of tunnels: what an agent sends and hears, without the agent, so that nothing but the
//! contact point stands between the two sides.

use crate::connection::Connection;
use crate::load::{Clock, Packet, Side, ack_of, stamp};
use anyhow::{Context, Result, bail};
use causeway_node::Time;
use causeway_sip::{Framed, Framer, Message, Method, RequestBuilder, response_to};
use causeway_tunnel::{ALPN, Config, Event, Instance, Kind, Lane, Role, Tunnel};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EXPORTER: &[u8] = b"EXPORTER-causeway";
const PATIENCE: Duration = Duration::from_secs(20);
/// Room for what one flush writes; a tunnel that has more to say than this is behind.
const ROOM: usize = 4 << 20;

/// One end of one tunnel, with one user registered.
pub struct End {
    connection: Connection,
    tunnel: Tunnel,
    framer: Framer,
    clock: Clock,
    out: Vec<u8>,
    number: usize,
    serial: u32,
    /// What has come and nobody has waited for yet.
    inbox: Vec<Message>,
}

impl End {
    /// Opens a tunnel and registers `user<number>` through it.
    pub fn open(to: SocketAddr, number: usize, clock: Clock) -> Result<Self> {
        let connection = Connection::open(to, Some(ALPN))?;
        let mut config = Config::new(Role::Agent);
        config.instance = Some(Instance(rand::random()));
        let exporter = connection.exporter(EXPORTER)?;
        let tunnel = Tunnel::on(Arc::new(config), Time::from_nanos(clock.nanos()), Some(exporter));
        let (framer, out) = (Framer::new(), Vec::new());
        let mut end = Self { connection, tunnel, framer, clock, out, number, serial: 0, inbox: Vec::new() };
        let uri = "sip:bench.example";
        let to = end.aor();
        let register = end.request(Method::Register, uri, &to, "register").header("Expires", "3600");
        end.say(&register.finish())?;
        end.wait_for("register", 200)?;
        Ok(end)
    }

    pub fn aor(&self) -> String {
        format!("sip:user{}@bench.example", self.number)
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.clock.nanos())
    }

    fn request(&mut self, method: Method<'static>, uri: &str, to: &str, call: &str) -> RequestBuilder {
        self.serial += 1;
        let (n, serial) = (self.number, self.serial);
        RequestBuilder::new(method, uri.as_bytes())
            .header("Via", format!("SIP/2.0/TLS 192.168.1.{}:5060;branch=z9hG4bKbench{n}x{serial}", n % 250))
            .max_forwards(70)
            .header("From", format!("<{}>;tag=c{call}", self.aor()))
            .header("To", format!("<{to}>"))
            .header("Call-ID", call)
            .cseq(1, method)
            .header("Contact", format!("<sip:user{n}@192.168.1.{}>", n % 250))
    }

    /// Invites somebody with a lane for his voice.
    pub fn invite(&mut self, to: &str, call: &str) -> Result<Lane> {
        let lane = self.tunnel.open_lane(Kind::Audio, call.as_bytes())?;
        let invite = self.request(Method::Invite, to, to, call).body("application/sdp", describe(lane));
        self.say(&invite.finish())?;
        Ok(lane)
    }

    /// Acknowledges the 200 to an INVITE.
    pub fn ack(&mut self, ok: &Message) -> Result<()> {
        self.serial += 1;
        let (n, serial) = (self.number, self.serial);
        let via = format!("SIP/2.0/TLS 192.168.1.{}:5060;branch=z9hG4bKack{n}x{serial}", n % 250);
        self.say(&ack_of(ok, via))
    }

    /// Accepts an INVITE on the lane that it offers.
    pub fn accept(&mut self, invite: &Message) -> Result<Lane> {
        let lane = lane_of(invite).context("an offer without a lane")?;
        let contact = format!("<sip:user{n}@192.168.1.{}>", self.number % 250, n = self.number);
        let tag = format!("t{}", self.number);
        let ok = response_to(invite.msg(), 200, None, Some(tag.as_bytes())).record_routes();
        let ok = ok.header("Contact", contact).body("application/sdp", describe(lane));
        self.say(&ok.finish())?;
        Ok(lane)
    }

    fn say(&mut self, message: &[u8]) -> Result<()> {
        self.tunnel.sip(message)?;
        self.flush()
    }

    /// Waits for the answer to what was asked under this Call-ID.
    pub fn wait_for(&mut self, call: &str, status: u16) -> Result<Message> {
        self.wait(|message| {
            let msg = message.msg();
            if msg.call_id() != Some(call.as_bytes()) {
                return Ok(false);
            }
            match msg.status() {
                Some(other) if other >= 300 => bail!("{call} is answered {other}"),
                got => Ok(got == Some(status)),
            }
        })
    }

    /// Waits for a request of this method.
    pub fn wait_for_request(&mut self, method: Method<'_>) -> Result<Message> {
        self.wait(|message| Ok(message.msg().is_request() && message.msg().method() == method))
    }

    fn wait(&mut self, wanted: impl Fn(&Message) -> Result<bool>) -> Result<Message> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            self.receive(&mut |_| {})?;
            for place in 0..self.inbox.len() {
                if wanted(&self.inbox[place])? {
                    return Ok(self.inbox.remove(place));
                }
            }
            self.flush()?;
            std::thread::sleep(Duration::from_micros(200));
        }
        bail!("nothing has come through the tunnel of user{} for {} s", self.number, PATIENCE.as_secs())
    }

    /// Hands over datagrams, and keeps SIP.
    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let now = self.now();
        let mut input = self.connection.read()?;
        while let Some(event) = self.tunnel.next(now, &mut input) {
            match event {
                Event::Datagram { payload, .. } => each(payload),
                Event::Sip(bytes) => self.framer.push(bytes),
                Event::Dead(why) => bail!("a tunnel has ended: {why}"),
                _ => {}
            }
        }
        if let Some(Event::Dead(why)) = self.tunnel.timeout(now) {
            bail!("a tunnel has ended: {why}");
        }
        while let Ok(Some(framed)) = self.framer.next() {
            if let Framed::Message(bytes) = framed {
                self.inbox.push(Message::parse(bytes)?);
            }
        }
        self.tunnel.sip_handled(now, self.framer.pending());
        Ok(())
    }

    /// Keeps the tunnel alive while nobody waits for it.
    pub fn idle(&mut self) -> Result<()> {
        self.receive(&mut |_| {})?;
        self.flush()
    }

    /// Writes what waits: one record for all of it, as an agent does at each tick.
    fn flush(&mut self) -> Result<()> {
        if self.tunnel.wants_write() {
            self.out.clear();
            self.tunnel.fill(self.now(), ROOM, &mut self.out);
            self.connection.write(&self.out)?;
        }
        Ok(())
    }
}

fn describe(lane: Lane) -> String {
    crate::load::describe(SocketAddr::new([192, 0, 0, 8].into(), lane.0))
}

fn lane_of(message: &Message) -> Option<Lane> {
    crate::load::target(&String::from_utf8_lossy(message.msg().body())).map(|target| Lane(target.port()))
}

/// A side whose packets travel in tunnels.
pub struct Tunnels {
    ends: Vec<End>,
    /// The end and the lane of each call.
    calls: Vec<(usize, Lane)>,
    waiting: Vec<(usize, Packet)>,
}

impl Tunnels {
    pub fn new(ends: Vec<End>, calls: Vec<(usize, Lane)>) -> Self {
        Self { ends, calls, waiting: Vec::new() }
    }
}

impl Side for Tunnels {
    fn send(&mut self, call: usize, packet: &Packet) -> Result<()> {
        self.waiting.push((call, *packet));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let Some(now) = self.ends.first().map(End::now) else { return Ok(()) };
        for (call, mut packet) in self.waiting.drain(..) {
            let (end, lane) = self.calls[call];
            // What waited here was no delay of the relay's.
            stamp(&mut packet, now.as_nanos());
            let _ = self.ends[end].tunnel.datagram(now, lane, &packet);
        }
        self.ends.iter_mut().try_for_each(End::flush)
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.ends.iter_mut().try_for_each(|end| end.receive(each))
    }
}
