//! What the RTCP that passes a port tells of the ways to its two ends (RFC 3550 §6.4).

use causeway_node::Time;
use causeway_rtp::Trip;
use causeway_rtp::rtcp::Compound;

/// The two directions of one stream of RTCP; only what passes is read, nothing is sent.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// From here to the party on the network side, and back.
    pub near: Trip,
    /// From here through the tunnel to the far party, and back.
    pub far: Trip,
    /// Datagrams that are no compound of RTCP, SRTCP among them.
    pub odd: u64,
}

impl Reports {
    /// A datagram passes, from the network or from the tunnel.
    pub(crate) fn pass(&mut self, now: Time, bytes: &[u8], from_net: bool) {
        let Ok(compound) = Compound::parse(bytes) else {
            self.odd += 1;
            return;
        };
        let (said_by, goes_to) = match from_net {
            true => (&mut self.near, &mut self.far),
            false => (&mut self.far, &mut self.near),
        };
        for report in compound {
            if let Some(sender) = report.sender {
                goes_to.sent(now, sender);
            }
            for block in report.blocks() {
                said_by.heard(now, block);
            }
        }
    }
}
