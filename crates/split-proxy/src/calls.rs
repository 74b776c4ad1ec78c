//! Which media belong to which call: legs, and the descriptions that pass through them.
//!
//! A leg is one crossing of one tunnel by one call. It is named by the tunnel, the Call-ID **and the tag of
//! the party behind the tunnel**: a call between two phones crosses a contact point twice, and an agent as
//! well if both are behind it, with the same Call-ID each time. All early dialogs that the far side of a fork
//! opens share the leg, its ports and its lanes.

use crate::description::{self, Carriage, Connection, Line, PLACEHOLDER, Ports};
use crate::links::Links;
use crate::media::{Joined, Media, MediaConfig};
use causeway_node::{Outbox, Time};
use causeway_sip::transaction::ServerId;
use causeway_sip::{HeaderId, Method, Msg};
use causeway_tunnel::{Kind, Lane, Role};
use slab::Slab;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Parties that one leg keeps apart: beyond it further early dialogs share the last one's place.
const MAX_PARTIES: usize = 32;
/// A confirmed call without any packet or message for this long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(2 * 3600);

/// Bounds on what the calls of one tunnel may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Calls (legs) at once. Default 500.
    pub calls: usize,
    /// Pairs of media ports at once. Default 1,000.
    pub pairs: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { calls: 500, pairs: 1000 }
    }
}

/// Why a request cannot pass, with the answer that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("Too Many Calls")]
    Calls,
    #[error("No Media Ports Left")]
    Ports,
    #[error("Media Not Acceptable")]
    Description,
    #[error("Media Address Not Allowed")]
    Address,
}

impl Refusal {
    pub(crate) fn status(self) -> u16 {
        match self {
            // A 503 would become a 500 on its way to the caller (RFC 3261 §16.7 item 6).
            Self::Calls | Self::Ports => 480,
            Self::Description | Self::Address => 488,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    link: usize,
    call_id: Box<[u8]>,
    phone_tag: Box<[u8]>,
}

/// The ports and lanes of one `m=` line.
#[derive(Debug)]
pub(crate) struct Joint {
    pub pair: usize,
    pub carriage: Carriage,
    pub rtp: Lane,
    pub rtcp: Option<Lane>,
}

#[derive(Debug)]
struct Dialog {
    phone_tag: Box<[u8]>,
    far_tag: Box<[u8]>,
}

#[derive(Debug)]
pub(crate) struct Leg {
    pub link: usize,
    pub call_id: Box<[u8]>,
    /// Whether the phone behind the tunnel has called.
    pub from_phone: bool,
    pub joints: Vec<Option<Joint>>,
    pub since: Time,
    active: Time,
    keys: Vec<Box<[u8]>>,
    /// Tags of those on the network side whose descriptions have passed.
    parties: Vec<Box<[u8]>>,
    /// INVITEs without a final answer.
    pending: usize,
    confirmed: Vec<Dialog>,
}

impl Leg {
    fn is_over(&self) -> bool {
        self.pending == 0 && self.confirmed.is_empty()
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        !self.confirmed.is_empty()
    }
}

/// A request that a leg waits to see answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    leg: usize,
    from_phone: bool,
    /// An INVITE whose final answer has not come.
    pending: bool,
}

/// What passes, and in whose name.
pub(crate) struct Passing<'a> {
    pub now: Time,
    pub link: usize,
    pub msg: Msg<'a>,
    /// Whether the request (also of a response: its request) comes from the phone's side.
    pub from_phone: bool,
    /// Where a message from the network side came from.
    pub near: Option<IpAddr>,
    /// Whether media may be sent to an address.
    pub allowed: &'a dyn Fn(SocketAddr) -> bool,
}

/// All legs of one half.
pub(crate) struct Calls {
    role: Role,
    limits: CallLimits,
    pub media: Media,
    ip: IpAddr,
    legs: Slab<Leg>,
    by_key: HashMap<Key, usize>,
    asked: HashMap<ServerId, Asked>,
    /// Descriptions from the tunnel that named lanes they must not, addresses that are not allowed.
    pub refused: u64,
}

impl Calls {
    pub(crate) fn new(role: Role, media: MediaConfig, limits: CallLimits) -> Self {
        Self {
            role,
            limits,
            ip: media.ip,
            media: Media::new(media),
            legs: Slab::new(),
            by_key: HashMap::new(),
            asked: HashMap::new(),
            refused: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.legs.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Leg)> {
        self.legs.iter()
    }

    /// Takes note of a request on its way, and gives the body it goes on with if that changes. `id` is
    /// `None` for an ACK.
    pub(crate) fn request(
        &mut self,
        id: Option<ServerId>,
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let msg = passing.msg;
        let invite = msg.method() == Method::Invite;
        let phone_tag = if passing.from_phone { msg.from_tag() } else { msg.to_tag() };
        let known = self.find(passing.link, msg, phone_tag);
        let leg = match known {
            Some(leg) => leg,
            None if invite => self.new_leg(passing, phone_tag, links)?,
            None => return Ok(None),
        };
        let far_tag = if passing.from_phone { msg.to_tag() } else { msg.from_tag() };
        let body = self.pass(leg, far_tag, passing, passing.from_phone, links, out);
        if let Err(refusal) = body {
            self.release_if_over(leg, links, out);
            return Err(refusal);
        }
        if let (Some(id), Some(entry)) = (id, self.legs.get_mut(leg)) {
            entry.active = passing.now;
            entry.pending += usize::from(invite);
            self.asked.insert(id, Asked { leg, from_phone: passing.from_phone, pending: invite });
        }
        body
    }

    /// The same for a response.
    pub(crate) fn response(
        &mut self,
        id: ServerId,
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Option<Vec<u8>> {
        let asked = *self.asked.get(&id)?;
        let msg = passing.msg;
        let status = msg.status()?;
        let (phone_tag, far_tag) = match asked.from_phone {
            true => (msg.from_tag(), msg.to_tag()),
            false => (msg.to_tag(), msg.from_tag()),
        };
        if !asked.from_phone
            && (101..300).contains(&status)
            && let Some(tag) = phone_tag
        {
            self.add_key(asked.leg, tag);
        }
        let body =
            self.pass(asked.leg, far_tag, passing, !asked.from_phone, links, out).unwrap_or_else(|_| {
                self.refused += 1;
                None
            });
        let method = msg.cseq().map(|cseq| cseq.method);
        if status >= 200 {
            match method {
                Some(Method::Invite) if status < 300 => self.confirm(asked.leg, phone_tag, far_tag),
                Some(Method::Bye) => self.hang_up(asked.leg, phone_tag, far_tag),
                _ => {}
            }
            self.answered(id, links, out);
        }
        body
    }

    /// No (further) response to this request is to come.
    pub(crate) fn ended(&mut self, id: ServerId, links: &mut Links, out: &mut Outbox) {
        self.answered(id, links, out);
        self.asked.remove(&id);
    }

    fn answered(&mut self, id: ServerId, links: &mut Links, out: &mut Outbox) {
        let Some(asked) = self.asked.get_mut(&id) else { return };
        let leg = asked.leg;
        if std::mem::take(&mut asked.pending)
            && let Some(entry) = self.legs.get_mut(leg)
        {
            entry.pending = entry.pending.saturating_sub(1);
        }
        self.release_if_over(leg, links, out);
    }

    /// Ends all legs of a tunnel that is gone.
    pub(crate) fn drop_link(&mut self, link: usize, links: &mut Links, out: &mut Outbox) {
        let gone: Vec<usize> =
            self.legs.iter().filter(|(_, leg)| leg.link == link).map(|(leg, _)| leg).collect();
        for leg in gone {
            self.release(leg, links, out);
        }
    }

    /// Ends legs that nobody has used for long.
    pub(crate) fn sweep(&mut self, now: Time, links: &mut Links, out: &mut Outbox) {
        let media = &self.media;
        let stale = |leg: &Leg| {
            let packets = leg.joints.iter().flatten().flat_map(|joint| [2 * joint.pair, 2 * joint.pair + 1]);
            let last = packets.filter_map(|index| Some(media.joined(index)?.last)).max();
            leg.pending == 0 && now.since(last.map_or(leg.active, |last| last.max(leg.active))) > FORGOTTEN
        };
        let stale: Vec<usize> = self.legs.iter().filter(|(_, leg)| stale(leg)).map(|(id, _)| id).collect();
        for leg in stale {
            self.release(leg, links, out);
        }
    }

    /// The peer has closed a lane: nothing passes on it any more.
    pub(crate) fn lane_closed(&mut self, link: usize, lane: Lane, links: &mut Links) {
        links.set_lane(link, lane, None);
    }

    fn find(&self, link: usize, msg: Msg<'_>, phone_tag: Option<&[u8]>) -> Option<usize> {
        let key = Key { link, call_id: msg.call_id()?.into(), phone_tag: phone_tag?.into() };
        self.by_key.get(&key).copied()
    }

    fn new_leg(
        &mut self,
        passing: &Passing<'_>,
        phone_tag: Option<&[u8]>,
        links: &mut Links,
    ) -> Result<usize, Refusal> {
        let link = links.get_mut(passing.link).ok_or(Refusal::Calls)?;
        if link.calls >= self.limits.calls {
            return Err(Refusal::Calls);
        }
        link.calls += 1;
        let leg = self.legs.insert(Leg {
            link: passing.link,
            call_id: passing.msg.call_id().unwrap_or_default().into(),
            from_phone: passing.from_phone,
            joints: Vec::new(),
            since: passing.now,
            active: passing.now,
            keys: Vec::new(),
            parties: Vec::new(),
            pending: 0,
            confirmed: Vec::new(),
        });
        if let Some(tag) = phone_tag {
            self.add_key(leg, tag);
        }
        Ok(leg)
    }

    fn add_key(&mut self, leg: usize, tag: &[u8]) {
        let Some(entry) = self.legs.get_mut(leg) else { return };
        if entry.keys.len() < MAX_PARTIES && !entry.keys.iter().any(|key| &**key == tag) {
            entry.keys.push(tag.into());
            let key = Key { link: entry.link, call_id: entry.call_id.clone(), phone_tag: tag.into() };
            self.by_key.entry(key).or_insert(leg);
        }
    }

    fn confirm(&mut self, leg: usize, phone_tag: Option<&[u8]>, far_tag: Option<&[u8]>) {
        let Some(entry) = self.legs.get_mut(leg) else { return };
        let (phone, far) = (phone_tag.unwrap_or_default(), far_tag.unwrap_or_default());
        let known = entry.confirmed.iter().any(|d| &*d.phone_tag == phone && &*d.far_tag == far);
        if !known && entry.confirmed.len() < MAX_PARTIES {
            entry.confirmed.push(Dialog { phone_tag: phone.into(), far_tag: far.into() });
        }
        let net_tag = if self.role == Role::Agent { phone } else { far };
        let Some(party) = entry.parties.iter().position(|tag| &**tag == net_tag) else { return };
        for joint in entry.joints.iter().flatten() {
            for index in [2 * joint.pair, 2 * joint.pair + 1] {
                if let Some(joined) = self.media.joined_mut(index) {
                    joined.choose(party as u32);
                }
            }
        }
    }

    fn hang_up(&mut self, leg: usize, phone_tag: Option<&[u8]>, far_tag: Option<&[u8]>) {
        let Some(entry) = self.legs.get_mut(leg) else { return };
        let (phone, far) = (phone_tag.unwrap_or_default(), far_tag.unwrap_or_default());
        entry.confirmed.retain(|d| &*d.phone_tag != phone || &*d.far_tag != far);
    }

    fn release_if_over(&mut self, leg: usize, links: &mut Links, out: &mut Outbox) {
        if self.legs.get(leg).is_some_and(Leg::is_over) {
            self.release(leg, links, out);
        }
    }

    fn release(&mut self, leg: usize, links: &mut Links, out: &mut Outbox) {
        let Some(entry) = self.legs.try_remove(leg) else { return };
        for tag in entry.keys {
            let key = Key { link: entry.link, call_id: entry.call_id.clone(), phone_tag: tag };
            if self.by_key.get(&key) == Some(&leg) {
                self.by_key.remove(&key);
            }
        }
        self.asked.retain(|_, asked| asked.leg != leg);
        for joint in entry.joints.into_iter().flatten() {
            for lane in [Some(joint.rtp), joint.rtcp].into_iter().flatten() {
                links.set_lane(entry.link, lane, None);
                if let Some(link) = links.get_mut(entry.link) {
                    link.tunnel.close_lane(lane);
                    out.wake(link.flow);
                }
            }
            self.media.pool.release(joint.pair, out);
            if let Some(link) = links.get_mut(entry.link) {
                link.pairs = link.pairs.saturating_sub(1);
            }
        }
        if let Some(link) = links.get_mut(entry.link) {
            link.calls = link.calls.saturating_sub(1);
        }
    }

    /// The body that a message of a leg goes on with, if it holds a description. `to_far` says whether it goes
    /// away from the phone.
    fn pass(
        &mut self,
        leg: usize,
        far_tag: Option<&[u8]>,
        passing: &Passing<'_>,
        to_far: bool,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let msg = passing.msg;
        let content_type = msg.header(HeaderId::ContentType).unwrap_or_default();
        let Some(range) = description::find(content_type, msg.body()) else { return Ok(None) };
        let sdp = msg.body().get(range.clone()).unwrap_or_default();
        let lines = description::read(sdp).ok_or(Refusal::Description)?;
        let into_tunnel = (self.role == Role::Agent) == to_far;
        let net_tag = match self.role {
            Role::ContactPoint => far_tag,
            Role::Agent if to_far => {
                if msg.is_request() {
                    msg.from_tag()
                } else {
                    msg.to_tag()
                }
            }
            Role::Agent => None,
        };
        let ports = if into_tunnel {
            self.map_into_tunnel(leg, net_tag.unwrap_or_default(), &lines, passing, links, out)?
        } else {
            self.map_out_of_tunnel(leg, &lines, passing, links, out)?
        };
        let address = if into_tunnel { PLACEHOLDER } else { self.ip };
        let mut body = Vec::with_capacity(msg.body().len() + 64);
        body.extend_from_slice(msg.body().get(..range.start).unwrap_or_default());
        description::rewrite(sdp, address, &ports, &mut body);
        body.extend_from_slice(msg.body().get(range.end..).unwrap_or_default());
        Ok(Some(body))
    }

    /// From the network into the tunnel: ports become lanes, and the addresses are where media goes.
    fn map_into_tunnel(
        &mut self,
        leg: usize,
        tag: &[u8],
        lines: &[Line],
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Result<Vec<Option<Ports>>, Refusal> {
        let party = self.party(leg, tag);
        let mut ports: Vec<Option<Ports>> = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            // Lines that share a port (BUNDLE, RFC 8843 §7.3.3) go on sharing it.
            let same = |other: &Line| {
                line.port != 0 && (other.port, other.connection) == (line.port, line.connection)
            };
            if let Some(first) = lines[..index].iter().position(same) {
                ports.push(ports[first]);
                continue;
            }
            if line.port == 0 || line.carriage == Carriage::None {
                ports.push(None);
                continue;
            }
            let address = match line.connection {
                Connection::At(ip) => Some(ip),
                Connection::Held => None,
                // A name cannot be resolved here; where the signalling came from is the best guess.
                Connection::Unknown => passing.near,
            };
            let target = address.map(|ip| SocketAddr::new(ip, line.port));
            let rtcp_ip = line.rtcp_address.or(address).filter(|_| address.is_some());
            let rtcp = rtcp_ip.zip(line.rtcp()).map(|(ip, port)| SocketAddr::new(ip, port));
            if let Some(bad) = [target, rtcp].into_iter().flatten().find(|a| !(passing.allowed)(*a)) {
                self.refused += 1;
                let text = format!("media to {bad} is not allowed");
                out.notice(causeway_node::Level::Warn, text);
                if passing.msg.is_request() {
                    return Err(Refusal::Address);
                }
                ports.push(None);
                continue;
            }
            let Some(lanes) = self.ensure_open(leg, index, line.carriage, passing, links, out) else {
                if passing.msg.is_request() {
                    return Err(Refusal::Ports);
                }
                ports.push(None);
                continue;
            };
            let near = if self.role == Role::Agent { passing.near } else { None };
            self.negotiate(leg, index, party, target, rtcp, near);
            ports.push(Some(lanes));
        }
        Ok(ports)
    }

    /// Out of the tunnel: lanes become ports of ours.
    fn map_out_of_tunnel(
        &mut self,
        leg: usize,
        lines: &[Line],
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Result<Vec<Option<Ports>>, Refusal> {
        let mut ports: Vec<Option<Ports>> = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            if line.port == 0 || line.carriage == Carriage::None {
                ports.push(None);
                continue;
            }
            let same = |other: &Line| other.port == line.port;
            if let Some(first) = lines[..index].iter().position(same) {
                ports.push(ports[first]);
                continue;
            }
            let rtcp = line.rtcp_port.filter(|_| line.carriage.has_rtcp()).map(Lane);
            let accepted =
                self.accept_lanes(leg, index, line.carriage, Lane(line.port), rtcp, passing, links, out);
            match accepted {
                Ok(port) => ports.push(Some(Ports { port, rtcp: None })),
                Err(refusal) if passing.msg.is_request() => return Err(refusal),
                Err(_) => {
                    self.refused += 1;
                    ports.push(None);
                }
            }
        }
        Ok(ports)
    }

    fn party(&mut self, leg: usize, tag: &[u8]) -> u32 {
        let Some(entry) = self.legs.get_mut(leg) else { return 0 };
        if let Some(known) = entry.parties.iter().position(|party| &**party == tag) {
            return known as u32;
        }
        if entry.parties.len() < MAX_PARTIES {
            entry.parties.push(tag.into());
        }
        entry.parties.len() as u32 - 1
    }

    /// The lanes of a line, opened if it has none yet.
    fn ensure_open(
        &mut self,
        leg: usize,
        index: usize,
        carriage: Carriage,
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Option<Ports> {
        let joint = self.legs.get(leg)?.joints.get(index).and_then(Option::as_ref);
        if let Some(joint) = joint
            && joint.carriage == carriage
            && links.get(passing.link)?.tunnel.is_open(joint.rtp)
        {
            return Some(Ports { port: joint.rtp.0, rtcp: joint.rtcp.map(|lane| lane.0) });
        }
        let link = links.get_mut(passing.link)?;
        if joint.is_none() && link.pairs >= self.limits.pairs {
            return None;
        }
        let token = passing.msg.call_id().unwrap_or_default();
        let token = token.get(..causeway_tunnel::MAX_TOKEN).unwrap_or(token);
        let rtp = link.tunnel.open_lane(kind(carriage), token).ok()?;
        let rtcp = if carriage.has_rtcp() { link.tunnel.open_lane(Kind::Rtcp, token).ok() } else { None };
        if (carriage.has_rtcp() && rtcp.is_none())
            || !self.assign(leg, index, carriage, rtp, rtcp, passing.now, links, out)
        {
            let link = links.get_mut(passing.link)?;
            [Some(rtp), rtcp].into_iter().flatten().for_each(|lane| link.tunnel.close_lane(lane));
            return None;
        }
        Some(Ports { port: rtp.0, rtcp: rtcp.map(|lane| lane.0) })
    }

    /// Joins the lanes that the peer names to ports of ours; the RTP port.
    #[allow(clippy::too_many_arguments, reason = "one line of a description, and where it lies")]
    fn accept_lanes(
        &mut self,
        leg: usize,
        index: usize,
        carriage: Carriage,
        rtp: Lane,
        rtcp: Option<Lane>,
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Result<u16, Refusal> {
        let joint = self.legs.get(leg).and_then(|leg| leg.joints.get(index)?.as_ref());
        if let Some(joint) = joint
            && joint.rtp == rtp
            && (joint.rtcp == rtcp || rtcp.is_none())
        {
            return Ok(self.media.port(2 * joint.pair));
        }
        let link = links.get(passing.link).ok_or(Refusal::Description)?;
        let free = |lane: Lane| link.tunnel.is_open(lane) && link.slot(lane).is_none();
        let own = |lane: Lane| joint.is_some_and(|j| j.rtp == lane || j.rtcp == Some(lane));
        if ![Some(rtp), rtcp].into_iter().flatten().all(|lane| free(lane) || own(lane)) || rtcp == Some(rtp) {
            return Err(Refusal::Description);
        }
        if joint.is_none() && link.pairs >= self.limits.pairs {
            return Err(Refusal::Ports);
        }
        if !self.assign(leg, index, carriage, rtp, rtcp, passing.now, links, out) {
            return Err(Refusal::Ports);
        }
        let joint = self.legs.get(leg).and_then(|leg| leg.joints.get(index)?.as_ref());
        Ok(joint.map_or(0, |joint| self.media.port(2 * joint.pair)))
    }

    /// Gives a line these lanes, and a pair of ports if it has none.
    #[allow(clippy::too_many_arguments, reason = "one line of a description, and where it lies")]
    fn assign(
        &mut self,
        leg: usize,
        index: usize,
        carriage: Carriage,
        rtp: Lane,
        rtcp: Option<Lane>,
        now: Time,
        links: &mut Links,
        out: &mut Outbox,
    ) -> bool {
        let Some(entry) = self.legs.get_mut(leg) else { return false };
        let link_id = entry.link;
        if entry.joints.len() <= index {
            entry.joints.resize_with(index + 1, || None);
        }
        let is_rtp = carriage.has_rtcp();
        match &mut entry.joints[index] {
            Some(joint) => {
                let pair = joint.pair;
                (joint.carriage, joint.rtp, joint.rtcp) = (carriage, rtp, rtcp);
                self.media.rejoin(2 * pair, rtp, links);
                if let Some(rtcp) = rtcp {
                    if self.media.joined(2 * pair + 1).is_some() {
                        self.media.rejoin(2 * pair + 1, rtcp, links);
                    } else {
                        self.media.join(2 * pair + 1, Joined::new(link_id, rtcp, false, now), links);
                    }
                }
            }
            empty => {
                let Some(pair) = self.media.pool.take(out) else { return false };
                *empty = Some(Joint { pair, carriage, rtp, rtcp });
                self.media.join(2 * pair, Joined::new(link_id, rtp, is_rtp, now), links);
                if let Some(rtcp) = rtcp {
                    self.media.join(2 * pair + 1, Joined::new(link_id, rtcp, false, now), links);
                }
                if let Some(link) = links.get_mut(link_id) {
                    link.pairs += 1;
                }
            }
        }
        true
    }

    fn negotiate(
        &mut self,
        leg: usize,
        index: usize,
        party: u32,
        rtp: Option<SocketAddr>,
        rtcp: Option<SocketAddr>,
        near: Option<IpAddr>,
    ) {
        let joint = self.legs.get(leg).and_then(|leg| leg.joints.get(index)?.as_ref());
        let Some(pair) = joint.map(|joint| joint.pair) else { return };
        for (slot, target) in [(2 * pair, rtp), (2 * pair + 1, rtcp)] {
            if let Some(joined) = self.media.joined_mut(slot) {
                joined.negotiate(party, target, near);
            }
        }
    }
}

fn kind(carriage: Carriage) -> Kind {
    match carriage {
        Carriage::Audio => Kind::Audio,
        Carriage::Video => Kind::Video,
        Carriage::OtherRtp | Carriage::Datagrams | Carriage::None => Kind::Other,
    }
}
