//! Figures that both halves give to a monitoring system.
//!
//! Counters only grow: what a tunnel or a port has counted is kept when it ends ([`Links::totals`],
//! [`crate::media::Media::totals`]). Labels have few values each, whatever peers do.

use crate::half::Half;
use crate::legs::own_network;
#[cfg(doc)]
use crate::links::Links;
use causeway_node::Metrics;
use causeway_tunnel::key::Assurance;
use causeway_tunnel::{Dropped, Kind, Tunnel};

/// What many tunnels have counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TunnelTotals {
    resumes: u64,
    replayed: u64,
    /// Bytes on the connections, received and sent.
    bytes: [u64; 2],
    /// Of these SIP.
    sip: [u64; 2],
    /// By [`Kind::BY_PRIORITY`].
    dropped: [Dropped; 4],
    sealed: u64,
    opened: u64,
    refused: u64,
    withheld: u64,
}

impl TunnelTotals {
    pub(crate) fn add(&mut self, tunnel: &Tunnel) {
        let stats = tunnel.stats();
        self.resumes += u64::from(stats.resumes);
        self.replayed += stats.replayed_bytes;
        self.bytes[0] += stats.stream_received_bytes;
        self.bytes[1] += stats.stream_sent_bytes;
        self.sip[0] += stats.sip_received_bytes;
        self.sip[1] += stats.sip_sent_bytes;
        for (sum, (_, dropped)) in self.dropped.iter_mut().zip(tunnel.dropped()) {
            *sum += dropped;
        }
        self.sealed += stats.keys.sealed;
        self.opened += stats.keys.opened;
        self.refused += stats.datagrams.refused;
        self.withheld += stats.datagrams.withheld;
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Audio => "audio",
        Kind::Video => "video",
        Kind::Rtcp => "rtcp",
        Kind::Other => "other",
        Kind::Stream => "stream",
    }
}

/// The figures of one half.
pub(crate) fn measure(half: &Half, metrics: &mut Metrics) {
    tunnels(half, metrics);
    calls(half, metrics);
    media(half, metrics);
    let help = "Requests under way or absorbing retransmissions.";
    metrics.gauge("sip_transactions", help, &[], half.core.len() as f64);
    half.hub.metrics(metrics);
}

fn tunnels(half: &Half, metrics: &mut Metrics) {
    let (mut up, mut parked, mut greeting, mut waiting, mut lanes) = (0, 0, 0, 0, 0);
    for (_, link) in half.links.iter() {
        let stats = link.tunnel.stats();
        (waiting, lanes) = (waiting + stats.waiting_bytes, lanes + stats.lanes);
        match (link.tunnel.is_up(), link.tunnel.is_parked()) {
            (true, _) => up += 1,
            (false, true) => parked += 1,
            (false, false) => greeting += 1,
        }
    }
    for (state, count) in [("up", up), ("parked", parked), ("greeting", greeting)] {
        let help = "Tunnels: in use, without a connection and waiting for one, being set up.";
        metrics.gauge("tunnels", help, &[("state", state)], f64::from(count));
    }
    metrics.gauge("tunnel_lanes", "Lanes open in tunnels.", &[], lanes as f64);
    let help = "Bytes of SIP and media that wait to be sent into tunnels.";
    metrics.gauge("tunnel_waiting_bytes", help, &[], waiting as f64);
    let totals = half.links.totals();
    let help = "Tunnels that went on with another connection.";
    metrics.counter("tunnel_resumes_total", help, &[], totals.resumes);
    let help = "Bytes of SIP sent again because a connection was lost.";
    metrics.counter("tunnel_replayed_bytes_total", help, &[], totals.replayed);
    for (direction, value) in ["in", "out"].into_iter().zip(totals.bytes) {
        let help = "Bytes inside the TLS connections of tunnels, in all.";
        metrics.counter("tunnel_bytes_total", help, &[("direction", direction)], value);
    }
    for (direction, value) in ["in", "out"].into_iter().zip(totals.sip) {
        let help = "Bytes of SIP in tunnels.";
        metrics.counter("tunnel_sip_bytes_total", help, &[("direction", direction)], value);
    }
    for (kind, dropped) in Kind::BY_PRIORITY.into_iter().zip(totals.dropped) {
        for (reason, value) in [("late", dropped.late), ("queue", dropped.queue)] {
            let help =
                "Packets not sent into tunnels: too late when their turn came, or given up by a queue.";
            let labels = [("kind", name(kind)), ("reason", reason)];
            metrics.counter("tunnel_dropped_packets_total", help, &labels, value);
        }
    }
    for (fate, value) in [
        ("sealed", totals.sealed),
        ("opened", totals.opened),
        ("refused", totals.refused),
        ("withheld", totals.withheld),
    ] {
        let help = "Frames under user keys: sealed, opened, refused on receipt, not sent for want of a key.";
        metrics.counter("key_frames_total", help, &[("fate", fate)], value);
    }
    let help = "SIP messages out of tunnels that are none, or break the grammar.";
    metrics.counter("tunnel_sip_garbage_total", help, &[], half.garbage);
}

fn calls(half: &Half, metrics: &mut Metrics) {
    let confirmed = half.calls.iter().filter(|(_, leg)| leg.is_confirmed()).count();
    for (state, count) in [("early", half.calls.len() - confirmed), ("confirmed", confirmed)] {
        let help = "Calls that cross a tunnel; one between two phones here crosses twice.";
        metrics.gauge("tunnel_calls", help, &[("state", state)], count as f64);
    }
    for (from, count) in ["phone", "network"].into_iter().zip(half.calls.begun) {
        let help = "Calls begun, by phones behind tunnels and by the network.";
        metrics.counter("tunnel_calls_total", help, &[("from", from)], count);
    }
}

fn media(half: &Half, metrics: &mut Metrics) {
    let media = &half.calls.media;
    let (used, of) = (2 * media.pool.used(), 2 * media.pool.capacity());
    metrics.gauge("media_ports_used", "Media ports that belong to calls.", &[], used as f64);
    metrics.gauge("media_ports", "Media ports of the range.", &[], of as f64);
    let totals = ["network", "tunnel"].into_iter().zip(media.totals()).collect::<Vec<_>>();
    let mut family = |name, help, value: fn(&crate::media::Totals) -> u64| {
        for (from, totals) in &totals {
            metrics.counter(name, help, &[("from", from)], value(totals));
        }
    };
    family("media_packets_total", "Media packets passed on, RTCP included.", |totals| totals.packets);
    family("media_bytes_total", "Their payload bytes.", |totals| totals.bytes);
    family("rtp_packets_received_total", "RTP packets received.", |totals| totals.received);
    let help = "RTP packets that should have come, as sequence numbers tell; less those received: lost.";
    family("rtp_packets_expected_total", help, |totals| totals.expected);
    let help = "Media packets not passed on: of strange addresses, or with nowhere to go yet.";
    family("media_unwanted_total", help, |totals| totals.unwanted);
    for (leg, totals) in [own_network(half.calls.role()), "far"].into_iter().zip(media.totals()) {
        let help = "Round trips measured by RTCP that passes: to the party on the own network, or through the tunnel.";
        metrics.counter("rtcp_round_trips_total", help, &[("leg", leg)], totals.trips);
        let help = "Microseconds of all of them together.";
        metrics.counter("rtcp_round_trip_microseconds_total", help, &[("leg", leg)], totals.trip_micros);
    }
    let help = "Datagrams on lanes that belong to no port.";
    metrics.counter("media_stray_total", help, &[], media.stray);
    let help = "Descriptions in responses that could not be led through.";
    metrics.counter("media_descriptions_refused_total", help, &[], half.calls.refused);
}

/// Users with a registration, by what their keys are worth.
pub(crate) fn users(assurances: impl Iterator<Item = Assurance>, metrics: &mut Metrics) {
    const ALL: [Assurance; 4] = [Assurance::None, Assurance::Header, Assurance::Digest, Assurance::Aka];
    let mut counts = [0u32; ALL.len()];
    for assurance in assurances {
        let place = ALL.iter().position(|known| *known == assurance);
        if let Some(count) = place.and_then(|place| counts.get_mut(place)) {
            *count += 1;
        }
    }
    for (assurance, count) in ALL.into_iter().zip(counts) {
        let help = "Users that are registered through tunnels, by what their keys are worth.";
        metrics.gauge("users", help, &[("assurance", assurance.name())], f64::from(count));
    }
}
