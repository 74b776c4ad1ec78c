//! What agent and contact point have in common: transactions, the network side, the tunnels, the calls.

mod sessions;

pub(crate) use sessions::{Ending, Lost};

use crate::calls::{CallLimits, Calls};
use crate::contact::Seat;
use crate::keys::Told;
use crate::links::{Link, Links, Wire};
use crate::marks::Marks;
use crate::media::{FIRST_FLOW, LISTENERS, MediaConfig, slot_of_listener};
use causeway_node::{Ctx, Flow, Input, Level, Outbox, Time};
use causeway_sip::hub::Hub;
use causeway_sip::proxy::Core;
use causeway_sip::transaction::{Hop, Timing, Transport};
use causeway_sip::{
    FrameError, Framed, Framer, HeaderId, Message, Method, Msg, Uri, Via, response_to, validate,
};
use causeway_tunnel::{Config, Event, Fault, GoodbyeReason, Resume, Stale, Tunnel, Why};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Flows of tunnel connections and listeners begin here; those of the hub are below.
pub(crate) const TUNNEL_FLOW: u32 = 1 << 21;
/// How often what nobody uses is looked for.
pub(crate) const SWEEP: Duration = Duration::from_secs(60);

/// How long a TCP connection of a phone, or of the operator's server, may be idle. A phone that sends no keep-alive is
/// reached over the connection that it registered on, and renews that well within this time.
const IDLE: Duration = Duration::from_secs(2 * 3600);

pub(crate) struct Half {
    pub core: Core,
    pub hub: Hub,
    pub links: Links,
    pub calls: Calls,
    /// Messages that wait to be handed to the core, with where they came from.
    pub arrived: Vec<(Hop, Message)>,
    tunnel: Arc<Config>,
    /// The contact point's place among several.
    pub seat: Seat,
    sweep: Time,
    /// Bytes on SIP lanes that were no messages.
    pub garbage: u64,
}

/// What the bytes of a tunnel have meant, apart from SIP and media.
#[derive(Default)]
pub(crate) struct Heard {
    pub up: bool,
    pub dead: Option<Lost>,
    /// The agent wants to go on with a session; the rest of the bytes waits for what becomes of that.
    pub asked: Option<Resume>,
    /// The session goes on; whether the peer has lost its memory.
    pub resumed: Option<bool>,
    /// The session does not go on; the rest of the bytes belongs to a new one.
    pub fresh: Option<Stale>,
    pub ticket: bool,
    pub ticket_kept: bool,
    /// The peer is going, or stays although we are.
    pub leaving: Option<Duration>,
    /// The agent belongs to this other contact point; nothing after its Hello has been taken.
    pub elsewhere: Option<u16>,
    /// What it said of keys.
    pub keys: Vec<Told>,
}

impl Half {
    pub(crate) fn new(
        local: SocketAddr,
        timing: Timing,
        tunnel: Config,
        media: MediaConfig,
        limits: CallLimits,
        marks: Marks,
    ) -> Self {
        Self {
            core: Core::new(timing).taking_strays(),
            hub: Hub::new(0, local).judging_as(validate::Role::Relay).marked(marks.sip).idle_after(IDLE),
            links: Links::default(),
            calls: Calls::new(tunnel.role, media, limits, marks),
            arrived: Vec::new(),
            tunnel: Arc::new(tunnel),
            seat: Seat::default(),
            sweep: Time::ZERO,
            garbage: 0,
        }
    }

    pub(crate) fn start(&mut self, now: Time, out: &mut Outbox) {
        self.hub.start(out);
        self.calls.media.pool.refill(out);
        self.sweep = now + SWEEP;
    }

    pub(crate) fn tunnel_config(&self) -> Arc<Config> {
        self.tunnel.clone()
    }

    /// Writes what has changed of the calls; cheap where nothing has.
    pub(crate) fn keep(&mut self, out: &mut Outbox) {
        self.calls.keep(&self.links, out);
    }

    /// The core, and where it sends to.
    pub(crate) fn split<'a>(&'a mut self, out: &'a mut Outbox) -> (&'a mut Core, Wire<'a>) {
        (&mut self.core, Wire { hub: &mut self.hub, links: &mut self.links, out })
    }

    /// Takes what belongs to media ports and to the network side; says whether it did.
    pub(crate) fn input(&mut self, ctx: &Ctx<'_>, input: &Input<'_>, out: &mut Outbox) -> bool {
        let pool = &mut self.calls.media.pool;
        match *input {
            Input::Datagram { flow, from, bytes } if flow.0 >= FIRST_FLOW => {
                self.calls.media.packet_from_net(ctx.now, flow, from, bytes, &mut self.links, out);
                return true;
            }
            Input::Opened { flow, listener: Some(listener), peer, .. }
                if slot_of_listener(listener).is_some() =>
            {
                let slot = slot_of_listener(listener).unwrap_or_default();
                self.calls.media.pipe_accepted(slot, flow, peer, &mut self.links, out);
            }
            Input::Opened { flow, .. } if self.calls.media.pipes.has(flow) => {
                self.calls.media.pipe_opened(flow, out);
            }
            Input::Opened { flow, .. } if slot_of_listener(flow).is_some() => {}
            Input::Stream { flow, bytes } if self.calls.media.pipes.has(flow) => {
                self.calls.media.pipe_bytes(ctx.now, flow, bytes, &mut self.links, out);
            }
            Input::Closed { flow, .. } if self.calls.media.pipes.has(flow) => {
                self.calls.media.pipe_closed(flow, &mut self.links, out);
            }
            Input::Closed { flow, why } if slot_of_listener(flow).is_some() => {
                out.notice(Level::Warn, format!("TCP media cannot be accepted: {why}"));
            }
            Input::Opened { flow, .. } if is_media(flow) => pool.opened((flow.0 - FIRST_FLOW) as usize, out),
            Input::Closed { flow, why } if is_media(flow) => {
                pool.closed((flow.0 - FIRST_FLOW) as usize, why, out);
            }
            Input::Closed { flow, why } if flow.0 < 2 => {
                let local = self.hub.local();
                let text = format!("SIP cannot be received on {local}: {why}; another program may use it");
                out.notice(Level::Error, text);
            }
            Input::Closed { flow, .. } => {
                if !self.hub.input(ctx, input, out, &mut self.arrived) {
                    return false;
                }
                let (core, mut wire) = self.split(out);
                core.closed(ctx.now, flow, &mut wire);
            }
            _ => return self.hub.input(ctx, input, out, &mut self.arrived),
        }
        true
    }

    /// A tunnel connection is open.
    pub(crate) fn new_link(
        &mut self,
        ctx: &Ctx<'_>,
        flow: Flow,
        peer: SocketAddr,
        exporter: Option<[u8; 32]>,
        out: &mut Outbox,
    ) -> usize {
        let tunnel = Tunnel::on(self.tunnel.clone(), ctx.now, exporter);
        out.mark(flow, self.calls.marks.tunnel);
        // Several contact points hear first whose the connection is.
        if self.seat.is_alone() {
            out.wake(flow);
        }
        let mut link = Link::new(Some(flow), peer, tunnel, ctx.unix_ms);
        link.keys.connected(exporter, 0, &mut link.tunnel);
        self.links.insert(link)
    }

    /// Bytes from a tunnel: media goes on at once, SIP messages wait in [`Half::arrived`]. Some are left in
    /// `input` where something is to be decided first ([`Heard::asked`], [`Heard::fresh`]).
    pub(crate) fn tunnel_bytes(
        &mut self,
        now: Time,
        id: usize,
        input: &mut &[u8],
        out: &mut Outbox,
    ) -> Heard {
        let mut heard = Heard::default();
        let (mut closed, mut begun) = (Vec::new(), Vec::new());
        let most = self.calls.packets();
        if let Some(link) = self.links.get_mut(id) {
            let media = &mut self.calls.media;
            // A slot is looked up beside the tunnel, which the event borrows.
            let seat = self.seat;
            let Link { tunnel, framer, lanes, keys, pace, .. } = link;
            let (mut strays, mut hasty) = (0, false);
            while heard.asked.is_none()
                && heard.elsewhere.is_none()
                && heard.fresh.is_none()
                && !hasty
                && let Some(event) = tunnel.next(now, input)
            {
                match event {
                    Event::Datagram { lane, payload } => {
                        let slot = lanes.get(lane);
                        strays += u32::from(slot.is_none());
                        hasty = pace.exceeds(now, most);
                        media.packet_to_net(now, slot, payload, out)
                    }
                    Event::StreamBegun { lane } => begun.extend(lanes.get(lane)),
                    Event::Stream { lane, bytes } => match lanes.get(lane) {
                        Some(slot) => media.pipe_to_net(now, slot, bytes, out),
                        None => media.stray += 1,
                    },
                    Event::StreamEnded { lane } => {
                        if let Some(slot) = lanes.get(lane) {
                            media.pipe_ended(slot, out);
                        }
                    }
                    Event::Sip(bytes) => framer.push(bytes),
                    Event::Up(hello) => {
                        heard.up = true;
                        heard.elsewhere = seat.elsewhere(hello.instance.as_ref());
                    }
                    Event::LaneOpened { .. } => {}
                    Event::Key(message) => {
                        heard.keys.extend(keys.heard(now, self.tunnel.role, tunnel, message));
                    }
                    Event::LaneClosed { lane, .. } => closed.push(lane),
                    Event::Asked(ask) => heard.asked = Some(ask),
                    Event::Fresh(why) => heard.fresh = Some(why),
                    Event::Resumed { peer_lost } => {
                        heard.resumed = Some(peer_lost);
                        if peer_lost {
                            *framer = Framer::new();
                        }
                    }
                    Event::Ticket => heard.ticket = true,
                    Event::TicketKept => heard.ticket_kept = true,
                    Event::Leaving { grace } => heard.leaving = Some(grace),
                    Event::Dead(why) => heard.dead = Some(why.into()),
                }
            }
            if heard.asked.is_some() {
                heard.elsewhere = seat.elsewhere(tunnel.peer().and_then(|hello| hello.instance.as_ref()));
            }
            let over = if hasty { tunnel.expel(Fault::Pace) } else { tunnel.strays(now, strays) };
            if let Some(Event::Dead(why)) = over {
                heard.dead = Some(why.into());
            }
        }
        self.calls.media.cross(now, &mut self.links, out);
        for slot in begun {
            let dscp = self.calls.marks.other;
            self.calls.media.pipe_begun(slot, dscp, &mut self.links, out);
        }
        for lane in closed {
            self.calls.lane_closed(id, lane, &mut self.links, out);
        }
        if let Some(lost) = self.cut_messages(now, id) {
            heard.dead.get_or_insert(lost);
        }
        self.links.touch(id);
        if heard.elsewhere.is_none()
            && let Some(link) = self.links.get(id).filter(|link| self.may_speak(link))
        {
            link.wake(out);
        }
        heard
    }

    /// Whether a tunnel has something to say, and it is known that it is ours to say it.
    fn may_speak(&self, link: &Link) -> bool {
        link.tunnel.wants_write() && (self.seat.is_alone() || link.tunnel.peer().is_some())
    }

    /// Takes the whole messages out of a tunnel's SIP lane. What cannot be cut ends the tunnel, and too
    /// much that is refused.
    fn cut_messages(&mut self, now: Time, id: usize) -> Option<Lost> {
        let link = self.links.get_mut(id)?;
        let hop = link.hop();
        let (mut refused, mut garbage) = (Vec::new(), 0);
        let error = loop {
            if garbage > 0 && !link.bears(now) {
                self.garbage += garbage;
                let over = link.tunnel.expel(Fault::Refusals);
                return matches!(over, Some(Event::Dead(_))).then(|| Why::Fault(Fault::Refusals).into());
            }
            self.garbage += std::mem::take(&mut garbage);
            match link.framer.next() {
                Ok(None) => break None,
                Ok(Some(Framed::Ping | Framed::Pong)) => {}
                Ok(Some(Framed::Message(bytes))) => match Message::parse(bytes) {
                    Ok(message) => match validate::verdict_as(message.msg(), validate::Role::Relay) {
                        Ok(()) => self.arrived.push((hop, message)),
                        Err(verdict) => {
                            garbage = 1;
                            refused.extend(refusal(message.msg(), verdict.status, verdict.reason));
                        }
                    },
                    Err(_) => garbage = 1,
                },
                Err(FrameError { kind, .. }) => {
                    self.garbage += 1;
                    break Some(Lost::broken(format!("its SIP lane cannot be read: {kind}")));
                }
            }
        };
        // Whole messages are handled before anything else is taken from the tunnel.
        link.tunnel.sip_handled(now, link.framer.pending());
        for answer in refused {
            self.links.queue(id, &answer);
        }
        error
    }

    /// Does what media wait for.
    pub(crate) fn serve(&mut self, now: Time, out: &mut Outbox) {
        self.calls.media.admit_early(now, &mut self.links, out);
        if self.calls.media.pipes.nudged {
            self.calls.media.serve_pipes(&mut self.links, out);
        }
    }

    /// Runs all timers that are due; the tunnels that died of it, and how.
    pub(crate) fn timeout(&mut self, now: Time, out: &mut Outbox) -> Vec<(usize, Lost)> {
        for flow in self.hub.timeout(now, out) {
            let (core, mut wire) = self.split(out);
            core.closed(now, flow, &mut wire);
        }
        let (core, mut wire) = self.split(out);
        core.timeout(now, &mut wire);
        let mut dead = Vec::new();
        while let Some(id) = self.links.due(now) {
            let Some(link) = self.links.get_mut(id) else { continue };
            if let Some(Event::Dead(why)) = link.tunnel.timeout(now) {
                dead.push((id, why.into()));
                self.links.touch(id);
                continue;
            }
            if link.tunnel.is_parked() && link.until.is_none_or(|until| until <= now) {
                dead.push((id, Lost::expired()));
                continue;
            }
            if let Some(link) = self.links.get(id).filter(|link| self.may_speak(link)) {
                link.wake(out);
            }
            self.links.touch(id);
        }
        if now >= self.sweep {
            self.sweep = now + SWEEP;
            self.calls.sweep(now, &mut self.links, out);
        }
        dead
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        // What a fill has made possible waits for a call with an outbox.
        let nudged = self.calls.media.pipes.nudged.then_some(Time::ZERO);
        let below = [self.core.deadline(), self.hub.deadline(), self.links.deadline()];
        below.into_iter().chain([nudged, Some(self.sweep)]).flatten().min()
    }

    pub(crate) fn fill(&mut self, now: Time, flow: Flow, room: usize, buf: &mut Vec<u8>) {
        let Some(id) = self.links.id(flow) else {
            return self.calls.media.pipes.fill(flow, room, buf);
        };
        if let Some(link) = self.links.get_mut(id) {
            link.tunnel.fill(now, room, buf);
        }
        self.links.touch(id);
        self.calls.media.pipes.nudged |= self.calls.media.pipes_wait();
    }
}

fn is_unwanted(why: &Why) -> bool {
    use GoodbyeReason::{Intercepted, Overloaded, Refused, Replaced};
    matches!(why, Why::Goodbye { reason: Intercepted | Overloaded | Refused | Replaced, .. })
}

fn is_leaving(why: &Why) -> bool {
    matches!(why, Why::Goodbye { reason: GoodbyeReason::ShuttingDown, .. })
}

fn is_media(flow: Flow) -> bool {
    (FIRST_FLOW..LISTENERS).contains(&flow.0)
}

/// Whether a message came out of a tunnel.
pub(crate) fn from_tunnel(hop: &Hop) -> bool {
    hop.transport == Transport::Tunnel
}

/// Where a response goes by the Via of who sent its request (RFC 3261 §18.2.2, RFC 3581 §4).
pub(crate) fn via_address(via: &Via<'_>) -> Option<(SocketAddr, Transport)> {
    let transport = match via.transport {
        name if name.eq_ignore_ascii_case(b"UDP") => Transport::Udp,
        name if name.eq_ignore_ascii_case(b"TCP") => Transport::Tcp,
        _ => return None,
    };
    let ip = via.received().and_then(causeway_sip::parse_ip).or_else(|| via.host_ip())?;
    let port = via.rport().flatten().or(via.port).unwrap_or(5060);
    Some((SocketAddr::new(ip, port), transport))
}

/// Requests that begin a dialog, whose route set must lead through here (RFC 3261 §12.1, RFC 6665, RFC 3515).
pub(crate) fn begins_dialog(msg: Msg<'_>) -> bool {
    let method = msg.cseq().map(|cseq| cseq.method);
    matches!(method, Some(Method::Invite | Method::Subscribe | Method::Refer))
}

/// Whether a route value leads to `local`.
pub(crate) fn leads_to(value: &[u8], local: SocketAddr) -> bool {
    let Some(addr) = causeway_sip::NameAddr::parse(value) else { return false };
    addr.uri().is_some_and(|uri| is_at(&uri, local))
}

/// Whether a URI names `local`.
pub(crate) fn is_at(uri: &Uri<'_>, local: SocketAddr) -> bool {
    uri.scheme.is_sip() && uri.host_ip() == Some(local.ip()) && uri.port.unwrap_or(5060) == local.port()
}

/// How many Route values at the top lead to `local`.
pub(crate) fn own_routes(msg: Msg<'_>, local: SocketAddr) -> usize {
    msg.values(HeaderId::Route).take_while(|value| leads_to(value, local)).count()
}

/// The answer to a request that cannot be taken; none to an ACK or a response.
pub(crate) fn refusal(msg: Msg<'_>, status: u16, reason: &str) -> Option<Vec<u8>> {
    let answerable = msg.is_request()
        && msg.method() != Method::Ack
        && msg.top_via().is_some()
        && msg.call_id().is_some()
        && msg.cseq().is_some();
    answerable.then(|| {
        let answer = response_to(msg, status, Some(reason), Some(b"cw-refused"));
        if status == 503 { answer.header("Retry-After", "5") } else { answer }.finish()
    })
}
