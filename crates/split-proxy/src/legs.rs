//! How a medium fares on each part of its way, as one half can tell: its own network, the tunnel, and all that is
//! beyond.

use crate::media::{Joined, Reports};
use causeway_node::Status;
use causeway_rtp::Trip;
use causeway_tunnel::{LaneStats, Role};
use serde_json::json;
use std::time::Duration;

/// What a half calls the network on its own side.
pub(crate) fn own_network(role: Role) -> &'static str {
    match role {
        Role::Agent => "lan",
        Role::ContactPoint => "operator",
    }
}

/// The parts of one medium's way. Round trips and jitter come from RTCP that passes, the tunnel's from its own pings;
/// what has not been heard of is null. Loss towards an end is what it says to miss, less what was missing here
/// already.
pub(crate) fn status(
    role: Role,
    media: &Joined,
    reports: Option<&Reports>,
    tunnel_rtt: Option<Duration>,
    lane: &LaneStats,
) -> Status {
    let part = |trip: Option<&Trip>, before: u64, after: u64| {
        let missing =
            trip.and_then(Trip::lost).map(|lost| i64::from(lost).saturating_sub_unsigned(before).max(0));
        json!({
            "rtt_ms": trip.and_then(|trip| trip.round_trip).map(millis),
            "jitter_ms": trip.and_then(Trip::jitter).map(millis),
            "lost_from": after,
            "lost_to": missing,
        })
    };
    let (from_net, to_net) = (media.from_net.lost(), media.to_net.lost());
    let mut parts = json!({
        "tunnel": {
            "rtt_ms": tunnel_rtt.map(millis),
            "lost_to": lane.late_dropped + lane.queue_dropped + lane.withheld,
        },
        "far": part(reports.map(|reports| &reports.far), from_net, to_net),
    });
    parts[own_network(role)] = part(reports.map(|reports| &reports.near), to_net, from_net);
    parts
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}
