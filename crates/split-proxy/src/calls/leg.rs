//! One crossing of one tunnel by one call.

use super::local::LegToken;
use crate::description::Carriage;
use crate::keys::LaneKeys;
use causeway_node::Time;
use causeway_tunnel::Lane;

/// Bounds on what the calls of one tunnel may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Calls (legs) at once. Default 500.
    pub calls: usize,
    /// Pairs of media ports at once. Default 1,000.
    pub pairs: usize,
    /// Datagrams out of the tunnel in about a second (2³⁰ ns), whatever becomes of them; more end it, since reading them
    /// is what they cost. Default 100,000, which is twice the speech of as many calls in packets of 10 ms.
    pub packets: u32,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { calls: 500, pairs: 1000, packets: 100_000 }
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
pub(super) struct Key {
    pub link: usize,
    pub call_id: Box<[u8]>,
    pub phone_tag: Box<[u8]>,
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
pub(super) struct Dialog {
    pub phone_tag: Box<[u8]>,
    pub far_tag: Box<[u8]>,
}

#[derive(Debug)]
pub(crate) struct Leg {
    /// Names its record.
    pub(super) serial: u64,
    /// A hash of its record as it was written last.
    pub(super) kept: Option<u64>,
    /// It was being set up when this half restarted: until when an answer is waited for.
    pub(super) orphan: Option<Time>,
    pub link: usize,
    pub call_id: Box<[u8]>,
    /// Whether the phone behind the tunnel has called.
    pub from_phone: bool,
    /// What its lanes are sealed with.
    pub lane_keys: LaneKeys,
    pub joints: Vec<Option<Joint>>,
    pub since: Time,
    pub(super) active: Time,
    pub(super) keys: Vec<Box<[u8]>>,
    /// Tags of those on the network side whose descriptions have passed.
    pub(super) parties: Vec<Box<[u8]>>,
    /// By which the contact point knows its descriptions again.
    pub(super) token: Option<LegToken>,
    /// The branch of the INVITE that it was set up for, as it came.
    pub(super) branch: Box<[u8]>,
    /// The Record-Route of the INVITE to the phone.
    pub(super) routes: Vec<Box<[u8]>>,
    /// INVITEs without a final answer.
    pub(super) pending: usize,
    pub(super) confirmed: Vec<Dialog>,
}

impl Leg {
    pub(super) fn is_over(&self) -> bool {
        self.pending == 0 && self.confirmed.is_empty() && self.orphan.is_none()
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        !self.confirmed.is_empty()
    }
}
