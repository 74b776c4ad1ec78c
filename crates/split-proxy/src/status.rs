//! Tables that both halves show of themselves.

use crate::half::Half;
use crate::legs;
use crate::links::Link;
use causeway_node::{Status, Time};
use causeway_tunnel::LaneStats;
use serde_json::json;

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One tunnel: who is at the other end, since when, how it fares.
pub(crate) fn tunnel(link: &Link, now: Time) -> Status {
    let stats = link.tunnel.stats();
    json!({
        "peer": link.peer.to_string(),
        "software": link.tunnel.peer().map(|hello| hello.software.clone()),
        "up": link.tunnel.is_up(),
        "state": match (link.tunnel.is_up(), link.tunnel.is_parked()) {
            (true, _) => "up",
            (false, true) => "parked",
            (false, false) => "greeting",
        },
        "epoch": stats.epoch,
        "resumes": stats.resumes,
        "replayed_bytes": stats.replayed_bytes,
        "unacknowledged_bytes": stats.unacknowledged_bytes,
        "since_unix_ms": link.since_ms,
        "age_ms": now.since(stats.started).as_millis() as u64,
        "rtt_ms": stats.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
        "silent_ms": now.since(stats.last_heard).as_millis() as u64,
        "calls": link.calls,
        "lanes": stats.lanes,
        "bytes_sent": stats.stream_sent_bytes,
        "bytes_received": stats.stream_received_bytes,
        "sip_bytes_sent": stats.sip_sent_bytes,
        "sip_bytes_received": stats.sip_received_bytes,
        "waiting_bytes": stats.waiting_bytes,
        "datagrams": lane(&stats.datagrams),
        "users": link.keys.status(now, &link.tunnel),
    })
}

fn lane(stats: &LaneStats) -> Status {
    json!({
        "sent": stats.sent_packets,
        "sent_bytes": stats.sent_bytes,
        "received": stats.received_packets,
        "received_bytes": stats.received_bytes,
        "late_dropped": stats.late_dropped,
        "queue_dropped": stats.queue_dropped,
        "withheld": stats.withheld,
        "refused": stats.refused,
    })
}

/// All calls with their media, per `m=` line and port.
pub(crate) fn calls(half: &Half, now: Time) -> Status {
    let legs = half.calls.iter().map(|(_, leg)| {
        let link = half.links.get(leg.link);
        let media = leg.joints.iter().enumerate().flat_map(|(index, joint)| {
            let joint = joint.as_ref();
            let ports = joint.into_iter().flat_map(move |joint| {
                let lanes = [Some(joint.rtp), joint.rtcp];
                lanes.into_iter().enumerate().filter_map(move |(which, lane)| Some((joint, which, lane?)))
            });
            ports.filter_map(move |(joint, which, lane_id)| {
                let slot = 2 * joint.pair + which;
                let joined = half.calls.media.joined(slot)?;
                let pipe = half.calls.media.pipes.get(slot);
                let connection = pipe.map(|pipe| {
                    json!({ "state": pipe.state(), "from_network": pipe.bytes.0, "to_network": pipe.bytes.1 })
                });
                let stats = link.and_then(|link| link.tunnel.lane_stats(lane_id)).unwrap_or_default();
                let legs = (which == 0 && !joint.carriage.is_stream()).then(|| {
                    let beside = half.calls.media.joined(slot + 1).and_then(|rtcp| rtcp.reports.as_deref());
                    let rtt = link.and_then(|link| link.tunnel.stats().rtt);
                    legs::status(half.calls.role(), joined, beside.or(joined.reports.as_deref()), rtt, &stats)
                });
                Some(json!({
                    "line": index,
                    "kind": match which { 0 => format!("{:?}", joint.carriage).to_lowercase(), _ => "rtcp".into() },
                    "port": half.calls.media.port(slot),
                    "lane": lane_id.0,
                    "peer": joined.aim.target.map(|target| target.to_string()),
                    "from_network": { "packets": joined.from_net.packets, "bytes": joined.from_net.bytes,
                        "lost": joined.from_net.lost(), "not_rtp": joined.from_net.odd, "foreign": joined.foreign, "excess": joined.excess[0] },
                    "to_network": { "packets": joined.to_net.packets, "bytes": joined.to_net.bytes,
                        "lost": joined.to_net.lost(), "not_rtp": joined.to_net.odd, "homeless": joined.homeless, "excess": joined.excess[1] },
                    "connection": connection,
                    "legs": legs,
                    "late_dropped": stats.late_dropped,
                    "queue_dropped": stats.queue_dropped,
                }))
            })
        });
        json!({
            "call_id": text(&leg.call_id),
            "direction": if leg.from_phone { "from phone" } else { "to phone" },
            "state": if leg.is_confirmed() { "confirmed" } else { "early" },
            "age_ms": now.since(leg.since).as_millis() as u64,
            "media": media.collect::<Vec<_>>(),
        })
    });
    Status::Array(legs.collect())
}

/// Counters of what did not pass.
pub(crate) fn refused(half: &Half) -> Status {
    json!({
        "garbage_datagrams": half.hub.refused.garbage,
        "invalid_messages": half.hub.refused.invalid,
        "broken_streams": half.hub.refused.broken_streams,
        "garbage_in_tunnels": half.garbage,
        "media_lines": half.calls.refused,
        "stray_datagrams": half.calls.media.stray,
    })
}
