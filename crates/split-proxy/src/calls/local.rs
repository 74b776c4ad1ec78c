//! Media between two phones behind one agent, which need not leave their LAN.
//!
//! The contact point marks every description that it sends to the operator with a token of the leg. One that comes
//! back by another leg of the same tunnel, with the token and with the very port that was given out for it, has met
//! nobody on its way who wants the media: then the contact point names the lane behind that port, and the agent,
//! who knows both phones, writes the address of one for the other. Whoever could make this up has been offered
//! the media in the same call, and could as well have asked for them at that port. In all other cases, and where it
//! is not certain that the phones reach one another, media keep the way through the tunnel.

use super::{Calls, Passing};
use crate::description::Line;
use crate::links::Links;
use causeway_tunnel::{Lane, Role};
use std::net::{IpAddr, SocketAddr};

/// What a leg's descriptions are known by at the operator's: 96 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct LegToken([u8; 12]);

impl std::fmt::Debug for LegToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LegToken(redacted)")
    }
}

impl LegToken {
    pub(crate) fn new(random: [u8; 12]) -> Self {
        Self(random)
    }

    pub(crate) fn text(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Calls {
    /// The token of a leg, as text, where the domain leaves media on their LAN; made when first asked for.
    pub(super) fn leg_token(&mut self, leg: usize, passing: &Passing<'_>) -> Option<String> {
        if !self.local_media || self.role != Role::ContactPoint {
            return None;
        }
        let entry = self.legs.get_mut(leg)?;
        Some(entry.token.get_or_insert(LegToken::new(passing.nonce)).text())
    }

    /// At the contact point: the lane of the same tunnel that a line leads back to.
    pub(super) fn lane_behind(
        &self,
        leg: usize,
        target: Option<SocketAddr>,
        token: Option<&[u8]>,
    ) -> Option<Lane> {
        let (target, token) = (target.filter(|to| to.ip() == self.ip)?, token?);
        if !self.local_media || self.role != Role::ContactPoint {
            return None;
        }
        let joined = self.media.joined(self.media.pool.slot_of_port(target.port())?)?;
        let (here, there) = (self.legs.get(leg)?, self.legs.get(joined.leg)?);
        let same = joined.leg != leg && here.link == there.link && joined.link == there.link;
        (same && there.token.is_some_and(|known| known.text().as_bytes() == token)).then_some(joined.lane)
    }

    /// At the agent: where the phone behind one of this tunnel's lanes wants its media, RTP and RTCP, if `near`, the
    /// phone that is to send there, can be trusted to reach it.
    pub(super) fn phone_behind(
        &self,
        leg: usize,
        line: &Line,
        near: Option<IpAddr>,
        links: &Links,
    ) -> Option<(SocketAddr, Option<SocketAddr>)> {
        // Connections keep the detour: their roles and the paths of MSRP are settled with the halves.
        let lane = line
            .far_lane
            .filter(|_| self.local_media && self.role == Role::Agent && !line.carriage.is_stream())?;
        let here = self.legs.get(leg)?;
        let slot = links.get(here.link)?.slot(lane)?;
        let joined = self.media.joined(slot)?;
        let there = self.legs.get(joined.leg).filter(|there| there.link == here.link && joined.leg != leg)?;
        let joint = there.joints.iter().flatten().find(|joint| joint.pair == slot / 2)?;
        if joint.carriage != line.carriage || joint.rtp != lane {
            return None;
        }
        let rtp = joined.aim.at_its_source()?;
        let rtcp = self.media.joined(slot + 1).map(|joined| joined.aim.at_its_source());
        // With RTCP elsewhere, or on hold, the detour is the safe way.
        let rtcp = match rtcp {
            Some(None) => return None,
            Some(found) => found.filter(|rtcp| rtcp.ip() == rtp.ip()),
            None => None,
        };
        near.is_some_and(|near| are_neighbours(near, rtp.ip())).then_some((rtp, rtcp))
    }
}

/// Whether two phones may be taken to reach one another: both on this very host, or both in one usual network, 24
/// bits of IPv4 or 64 of IPv6. Between others there may be a router that lets nothing through.
fn are_neighbours(one: IpAddr, other: IpAddr) -> bool {
    if one.is_loopback() || other.is_loopback() {
        return one.is_loopback() && other.is_loopback();
    }
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            // Link-local addresses need a zone that a description cannot carry.
            one.segments()[..4] == other.segments()[..4] && one.segments()[0] & 0xffc0 != 0xfe80
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::are_neighbours;

    #[test]
    fn neighbours() {
        let ask = |one: &str, other: &str| are_neighbours(one.parse().unwrap(), other.parse().unwrap());
        assert!(
            ask("192.168.1.10", "192.168.1.200")
                && ask("127.0.0.1", "127.0.0.2")
                && ask("fd00::1", "fd00::2")
        );
        for (one, other) in [
            ("192.168.1.10", "192.168.2.10"),
            ("127.0.0.1", "192.168.1.10"),
            ("fd00::1", "192.168.1.10"),
            ("fd00::1", "fd00:0:0:1::1"),
            ("fe80::1", "fe80::2"),
        ] {
            assert!(!ask(one, other) && !ask(other, one), "{one} {other}");
        }
    }
}
