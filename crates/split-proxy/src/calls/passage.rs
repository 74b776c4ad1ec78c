//! How a description changes on its way through a leg.

use super::leg::Joint;
use super::undo::inside;
use super::{Calls, MAX_PARTIES, Passing, Refusal};
use crate::description::{self, Carriage, Connection, Line, PLACEHOLDER, Ports, Writing};
use crate::links::Links;
use causeway_node::{Level, Outbox, Time};
use causeway_sip::HeaderId;
use causeway_tunnel::key::Assurance;
use causeway_tunnel::{Kind, Lane, Role};
use std::net::{IpAddr, SocketAddr};

/// One `m=` line of one leg.
#[derive(Clone, Copy)]
struct Place {
    leg: usize,
    index: usize,
}

/// What somebody on the network side says.
#[derive(Clone, Copy)]
struct Told<'a> {
    /// Who it is.
    tag: &'a [u8],
    lines: &'a [Line],
    token: Option<&'a [u8]>,
    /// What each line's party is called in MSRP messages.
    paths: &'a [Option<Vec<u8>>],
}

/// The lanes of a line.
#[derive(Clone, Copy)]
struct Lanes {
    carriage: Carriage,
    rtp: Lane,
    rtcp: Option<Lane>,
}

/// The address that all lines in use have of their own: then it is that of the session as well.
fn common_address(ports: &[Option<Ports>]) -> Option<IpAddr> {
    let mut addresses = ports.iter().flatten().map(|ports| ports.address);
    let first = addresses.next()??;
    addresses.all(|address| address == Some(first)).then_some(first)
}

/// A phone's own ports, for its neighbour.
fn direct((rtp, rtcp): (SocketAddr, Option<SocketAddr>)) -> Ports {
    let rtcp = rtcp.map(|rtcp| rtcp.port()).filter(|port| Some(*port) != rtp.port().checked_add(1));
    Ports { port: rtp.port(), rtcp, address: Some(rtp.ip()), far_lane: None }
}

impl Calls {
    /// The body that a message of a leg goes on with, if it holds a description. `to_far` says whether it goes
    /// away from the phone.
    pub(super) fn pass(
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
        self.changed.insert(leg);
        let ports = if into_tunnel {
            let token = description::token(sdp);
            let (tag, token) = (net_tag.unwrap_or_default(), token.as_deref());
            let paths = description::path_authorities(sdp);
            let told = Told { tag, lines: &lines, token, paths: &paths };
            self.map_into_tunnel(leg, told, passing, links, out)?
        } else {
            self.map_out_of_tunnel(leg, &lines, passing, links, out)?
        };
        let address = if into_tunnel { PLACEHOLDER } else { common_address(&ports).unwrap_or(self.ip) };
        let token = if into_tunnel { None } else { self.leg_token(leg, passing) };
        let mut body = Vec::with_capacity(msg.body().len() + 64);
        body.extend_from_slice(msg.body().get(..range.start).unwrap_or_default());
        let writing = Writing { address, ports: &ports, token: token.as_deref() };
        description::rewrite(sdp, writing, &mut body);
        body.extend_from_slice(msg.body().get(range.end..).unwrap_or_default());
        Ok(Some(body))
    }

    /// From the network into the tunnel: ports become lanes, and the addresses are where media goes.
    fn map_into_tunnel(
        &mut self,
        leg: usize,
        told: Told<'_>,
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Result<Vec<Option<Ports>>, Refusal> {
        let Told { tag, lines, token, paths } = told;
        let party = self.party(leg, tag);
        let near = if self.role == Role::Agent { passing.near } else { None };
        let mut ports: Vec<Option<Ports>> = Vec::with_capacity(lines.len());
        for (index, line) in lines.iter().enumerate() {
            // Lines that share a port (BUNDLE, RFC 8843 §7.3.3) go on sharing it.
            let same = |other: &Line| {
                line.port != 0
                    && !line.carriage.is_stream()
                    && (other.port, other.connection) == (line.port, line.connection)
            };
            if let Some(first) = lines[..index].iter().position(same) {
                ports.push(ports[first]);
                continue;
            }
            if line.port == 0 || line.carriage == Carriage::None {
                // Nothing is to be sent there any more (RFC 3264 §6, §8.2).
                self.negotiate(Place { leg, index }, party, None, None, near);
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
                out.notice(Level::Warn, text);
                if passing.msg.is_request() {
                    return Err(Refusal::Address);
                }
                ports.push(None);
                continue;
            }
            let place = Place { leg, index };
            let Some(lanes) = self.ensure_open(place, line.carriage, passing, links, out) else {
                if passing.msg.is_request() {
                    return Err(Refusal::Ports);
                }
                ports.push(None);
                continue;
            };
            self.negotiate(place, party, target, rtcp, near);
            if let Some(pair) =
                self.joint(place).map(|joint| joint.pair).filter(|_| line.carriage.is_stream())
            {
                self.media.connect_pipe(2 * pair, line.takes_connections);
                if line.carriage == Carriage::Msrp {
                    let party = paths.get(index).cloned().flatten();
                    self.media.name_pipe(2 * pair, inside(Lane(lanes.port)), party);
                }
            }
            let far_lane = self.lane_behind(leg, target, token);
            ports.push(Some(Ports { far_lane, ..lanes }));
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
            let lanes = Lanes { carriage: line.carriage, rtp: Lane(line.port), rtcp };
            match self.accept_lanes(Place { leg, index }, lanes, passing, links, out) {
                Ok(port) => {
                    let phone = self.phone_behind(leg, line, passing.near, links);
                    ports.push(Some(phone.map_or(Ports::new(port, None), direct)));
                }
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
        place: Place,
        carriage: Carriage,
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Option<Ports> {
        let joint = self.joint(place);
        if let Some(joint) = joint
            && joint.carriage == carriage
            && links.get(passing.link)?.tunnel.is_open(joint.rtp)
        {
            return Some(Ports::new(joint.rtp.0, joint.rtcp.map(|lane| lane.0)));
        }
        let link = links.get_mut(passing.link)?;
        if joint.is_none() && link.pairs >= self.limits.pairs {
            return None;
        }
        let token = passing.msg.call_id().unwrap_or_default();
        let token = token.get(..causeway_tunnel::MAX_TOKEN).unwrap_or(token);
        let rtp = match carriage.is_stream() {
            true => link.tunnel.open_stream(token).ok()?,
            false => link.tunnel.open_lane(carriage.lane_kind(), token).ok()?,
        };
        let rtcp = if carriage.has_rtcp() { link.tunnel.open_lane(Kind::Rtcp, token).ok() } else { None };
        let keys = self.legs.get(place.leg).map(|leg| leg.lane_keys).unwrap_or_default();
        for lane in [Some(rtp), rtcp].into_iter().flatten() {
            link.tunnel.bind_lane(lane, keys.user);
            link.tunnel.demand(lane, keys.least);
        }
        let lanes = Lanes { carriage, rtp, rtcp };
        if (carriage.has_rtcp() && rtcp.is_none()) || !self.assign(place, lanes, passing.now, links, out) {
            let link = links.get_mut(passing.link)?;
            [Some(rtp), rtcp].into_iter().flatten().for_each(|lane| link.tunnel.close_lane(lane));
            return None;
        }
        Some(Ports::new(rtp.0, rtcp.map(|lane| lane.0)))
    }

    /// Joins the lanes that the peer names to ports of ours; the RTP port.
    fn accept_lanes(
        &mut self,
        place: Place,
        lanes: Lanes,
        passing: &Passing<'_>,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Result<u16, Refusal> {
        let Lanes { rtp, rtcp, .. } = lanes;
        let joint = self.joint(place);
        if let Some(joint) = joint
            && joint.rtp == rtp
            && (joint.rtcp == rtcp || rtcp.is_none())
            && !self.is_over(joint)
        {
            return Ok(self.media.port(2 * joint.pair));
        }
        let link = links.get(passing.link).ok_or(Refusal::Description)?;
        let is_stream = |lane: Lane| link.tunnel.lane_kind(lane) == Some(Kind::Stream);
        let free = |lane: Lane| {
            is_stream(lane) == lanes.carriage.is_stream()
                && link.tunnel.is_open(lane)
                && link.slot(lane).is_none()
        };
        let own = |lane: Lane| joint.is_some_and(|j| j.rtp == lane || j.rtcp == Some(lane));
        if ![Some(rtp), rtcp].into_iter().flatten().all(|lane| free(lane) || own(lane)) || rtcp == Some(rtp) {
            return Err(Refusal::Description);
        }
        if joint.is_none() && link.pairs >= self.limits.pairs {
            return Err(Refusal::Ports);
        }
        if !self.assign(place, lanes, passing.now, links, out) {
            return Err(Refusal::Ports);
        }
        let least = self.legs.get(place.leg).map_or(Assurance::None, |leg| leg.lane_keys.least);
        if let Some(link) = links.get_mut(passing.link) {
            [Some(rtp), rtcp].into_iter().flatten().for_each(|lane| link.tunnel.demand(lane, least));
        }
        Ok(self.joint(place).map_or(0, |joint| self.media.port(2 * joint.pair)))
    }

    /// Gives a line these lanes, and a pair of ports if it has none.
    fn assign(&mut self, place: Place, lanes: Lanes, now: Time, links: &mut Links, out: &mut Outbox) -> bool {
        let Lanes { carriage, rtp, rtcp } = lanes;
        let index = place.index;
        let Some(entry) = self.legs.get_mut(place.leg) else { return false };
        let link_id = entry.link;
        if entry.joints.len() <= index {
            entry.joints.resize_with(index + 1, || None);
        }
        let pair = match &mut entry.joints[index] {
            Some(joint) => {
                if (joint.rtp, joint.rtcp) != (rtp, rtcp) {
                    self.changes.replaced(index, joint);
                }
                (joint.carriage, joint.rtp, joint.rtcp) = (carriage, rtp, rtcp);
                for slot in [2 * joint.pair, 2 * joint.pair + 1] {
                    if let Some(joined) = self.media.joined(slot) {
                        self.changes.aimed(slot, &joined.aim);
                    }
                }
                joint.pair
            }
            empty => {
                let Some(pair) = self.media.pool.take(out) else { return false };
                *empty = Some(Joint { pair, carriage, rtp, rtcp });
                self.changes.added(index);
                if let Some(link) = links.get_mut(link_id) {
                    link.pairs += 1;
                }
                pair
            }
        };
        self.join_pair(place.leg, pair, carriage, rtp, rtcp, now, links, out);
        true
    }

    fn negotiate(
        &mut self,
        place: Place,
        party: u32,
        rtp: Option<SocketAddr>,
        rtcp: Option<SocketAddr>,
        near: Option<IpAddr>,
    ) {
        let Some(pair) = self.joint(place).map(|joint| joint.pair) else { return };
        for (slot, target) in [(2 * pair, rtp), (2 * pair + 1, rtcp)] {
            if let Some(joined) = self.media.joined(slot) {
                self.changes.aimed(slot, &joined.aim);
                self.media.negotiate(slot, party, target, near);
            }
        }
    }

    /// Whether a line was a connection that has ended: its lane is gone, even if the number is in use again.
    fn is_over(&self, joint: &Joint) -> bool {
        let pipe = self.media.pipes.get(2 * joint.pair);
        joint.carriage.is_stream() && pipe.is_none_or(|pipe| !pipe.is_live())
    }

    fn joint(&self, place: Place) -> Option<&Joint> {
        self.legs.get(place.leg)?.joints.get(place.index)?.as_ref()
    }
}
