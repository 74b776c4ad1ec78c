//! What a description changes, and how that is taken back.
//!
//! Offers take effect at once, since whoever makes one must be ready for what it leads to (RFC 3264 §8.3); one
//! that is refused leaves the session as it was (RFC 3261 §14.1, RFC 3311 §5.2), and so it does here.

use super::leg::Joint;
use super::{Calls, Leg};
use crate::description::{Carriage, PLACEHOLDER};
use crate::links::Links;
use crate::media::{Aim, Joined};
use causeway_node::{Outbox, Time};
use causeway_tunnel::Lane;
use std::net::SocketAddr;

/// What one description has changed in its leg.
#[derive(Debug, Default)]
pub(super) struct Changes {
    lines: Vec<(usize, Before)>,
    aims: Vec<(usize, Aim)>,
}

/// What an `m=` line was before.
#[derive(Debug)]
enum Before {
    /// It had no ports.
    Nothing,
    /// It had the same ports and other lanes, which stay open until the change is settled.
    Lanes { carriage: Carriage, rtp: Lane, rtcp: Option<Lane> },
}

impl Changes {
    /// A line has been given ports.
    pub(super) fn added(&mut self, index: usize) {
        self.lines.push((index, Before::Nothing));
    }

    /// A line is about to get other lanes.
    pub(super) fn replaced(&mut self, index: usize, joint: &Joint) {
        let Joint { carriage, rtp, rtcp, .. } = *joint;
        self.lines.push((index, Before::Lanes { carriage, rtp, rtcp }));
    }

    /// A port is about to be aimed elsewhere.
    pub(super) fn aimed(&mut self, slot: usize, aim: &Aim) {
        if self.aims.iter().all(|(known, _)| *known != slot) {
            self.aims.push((slot, aim.clone()));
        }
    }
}

impl Calls {
    /// The description holds: what it has replaced is closed.
    pub(super) fn settle(&mut self, leg: usize, changes: Changes, links: &mut Links, out: &mut Outbox) {
        if let Some(leg) = self.legs.get(leg) {
            close_replaced(leg.link, changes, links, out);
        }
    }

    /// The description does not hold: all is as it was before.
    pub(super) fn revert(
        &mut self,
        now: Time,
        leg: usize,
        changes: Changes,
        links: &mut Links,
        out: &mut Outbox,
    ) {
        let Some(Leg { link, .. }) = self.legs.get(leg) else { return };
        let link = *link;
        for (index, before) in changes.lines.into_iter().rev() {
            let Some(place) = self.legs.get_mut(leg).and_then(|leg| leg.joints.get_mut(index)) else {
                continue;
            };
            match before {
                Before::Nothing => {
                    if let Some(joint) = place.take() {
                        self.drop_joint(link, joint, links, out);
                    }
                }
                Before::Lanes { carriage, rtp, rtcp } => {
                    let Some(joint) = place else { continue };
                    let (pair, newer) = (joint.pair, [Some(joint.rtp), joint.rtcp]);
                    (joint.carriage, joint.rtp, joint.rtcp) = (carriage, rtp, rtcp);
                    self.join_pair(leg, pair, carriage, rtp, rtcp, now, links, out);
                    let newer = newer.map(|lane| lane.filter(|lane| *lane != rtp && Some(*lane) != rtcp));
                    close_lanes(link, newer, links, out);
                }
            }
        }
        for (slot, aim) in changes.aims {
            if let Some(joined) = self.media.joined_mut(slot)
                && joined.link == link
                && self
                    .legs
                    .get(leg)
                    .is_some_and(|leg| leg.joints.iter().flatten().any(|j| j.pair == slot / 2))
            {
                joined.aim = aim;
            }
        }
    }

    /// Joins both ports of a pair to lanes, whatever they were joined to.
    #[allow(clippy::too_many_arguments, reason = "one for each part of a line")]
    pub(super) fn join_pair(
        &mut self,
        leg: usize,
        pair: usize,
        carriage: Carriage,
        rtp: Lane,
        rtcp: Option<Lane>,
        now: Time,
        links: &mut Links,
        out: &mut Outbox,
    ) {
        let Some(link) = self.legs.get(leg).map(|leg| leg.link) else { return };
        let dscp = self.marks.of(carriage.lane_kind());
        let contents = carriage.contents();
        for ((slot, lane), content) in [(2 * pair, Some(rtp)), (2 * pair + 1, rtcp)].into_iter().zip(contents)
        {
            self.media.mark(slot, dscp, out);
            match lane {
                Some(lane) if self.media.joined(slot).is_some() => {
                    self.media.rejoin(slot, lane, content, links)
                }
                Some(lane) => self.media.join(slot, Joined::new(link, leg, lane, content, now), links),
                None => self.media.leave(slot, links),
            }
        }
        let known = self.media.pipes.get(2 * pair).is_some_and(|pipe| pipe.lane() == rtp && pipe.is_live());
        match carriage.is_stream() {
            false => self.media.close_pipe(2 * pair, out),
            true if known => {}
            true => self.media.open_pipe(2 * pair, (link, rtp), dscp, out),
        }
        if carriage == Carriage::Msrp {
            self.media.name_pipe(2 * pair, inside(rtp), None);
        }
    }

    /// Gives up the ports and lanes of a line.
    pub(super) fn drop_joint(&mut self, link: usize, joint: Joint, links: &mut Links, out: &mut Outbox) {
        self.media.close_pipe(2 * joint.pair, out);
        close_lanes(link, [Some(joint.rtp), joint.rtcp], links, out);
        self.media.pool.release(joint.pair, out);
        if let Some(link) = links.get_mut(link) {
            link.pairs = link.pairs.saturating_sub(1);
        }
    }
}

/// Closes the lanes that a description has put others in the place of.
pub(super) fn close_replaced(link: usize, changes: Changes, links: &mut Links, out: &mut Outbox) {
    for (_, before) in changes.lines {
        if let Before::Lanes { rtp, rtcp, .. } = before {
            close_lanes(link, [Some(rtp), rtcp], links, out);
        }
    }
}

/// What MSRP calls both ends of a lane inside the tunnel: the address and port that descriptions have there.
pub(super) fn inside(lane: Lane) -> String {
    SocketAddr::new(PLACEHOLDER, lane.0).to_string()
}

fn close_lanes(link: usize, lanes: [Option<Lane>; 2], links: &mut Links, out: &mut Outbox) {
    for lane in lanes.into_iter().flatten() {
        links.set_lane(link, lane, None);
        if let Some(link) = links.get_mut(link) {
            link.tunnel.close_lane(lane);
            link.wake(out);
        }
    }
}
