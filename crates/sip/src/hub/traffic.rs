//! What a hub counts.

use super::Hub;
use crate::transaction::Transport;
use causeway_node::Metrics;

/// What an element did not get to see, for its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Datagrams that are no SIP message at all.
    pub garbage: u64,
    /// Messages answered with an error, or dropped since they were responses.
    pub invalid: u64,
    /// Connections closed because of what came on them.
    pub broken_streams: u64,
}

/// What has gone over one transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// SIP messages that came in, refused ones included.
    pub received: u64,
    /// SIP messages that went out, or wait for their connection.
    pub sent: u64,
    /// SIP messages whose connection was gone or whose queue was full.
    pub dropped: u64,
    /// Connections that peers have opened.
    pub accepted: u64,
    /// Connections that this element has opened, or tried to.
    pub opened: u64,
    /// Connections at present, those being opened included.
    pub connections: usize,
}

/// The traffic of each transport of a hub.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    udp: Traffic,
    tcp: Traffic,
    tls: Traffic,
}

impl Ledger {
    pub fn of(&self, transport: Transport) -> Traffic {
        match transport {
            Transport::Udp => self.udp,
            Transport::Tls => self.tls,
            Transport::Tcp | Transport::Tunnel => self.tcp,
        }
    }

    pub fn entry(&mut self, transport: Transport) -> &mut Traffic {
        match transport {
            Transport::Udp => &mut self.udp,
            Transport::Tls => &mut self.tls,
            Transport::Tcp | Transport::Tunnel => &mut self.tcp,
        }
    }
}

/// The figures of all transports, those of one name together.
pub(super) fn metrics(hub: &Hub, metrics: &mut Metrics) {
    let all = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];
    let all = all.map(|(name, transport)| (name, hub.traffic(transport)));
    for (transport, traffic) in &all {
        for (direction, value) in [("in", traffic.received), ("out", traffic.sent)] {
            let labels = [("transport", *transport), ("direction", direction)];
            metrics.counter("sip_messages_total", "SIP messages", &labels, value);
        }
    }
    for (transport, traffic) in &all {
        let help = "SIP messages whose connection was gone or whose queue was full";
        metrics.counter("sip_messages_dropped_total", help, &[("transport", transport)], traffic.dropped);
    }
    for (transport, traffic) in all.iter().skip(1) {
        for (direction, value) in [("in", traffic.accepted), ("out", traffic.opened)] {
            let labels = [("transport", *transport), ("direction", direction)];
            metrics.counter("sip_connections_total", "Connections since the start", &labels, value);
        }
    }
    for (transport, traffic) in all.iter().skip(1) {
        let value = traffic.connections as f64;
        metrics.gauge("sip_connections", "Connections at present", &[("transport", transport)], value);
    }
    let refused = hub.refused;
    for (reason, value) in
        [("garbage", refused.garbage), ("invalid", refused.invalid), ("framing", refused.broken_streams)]
    {
        let help = "What never reached the element: no SIP, invalid messages, streams that cannot be cut";
        metrics.counter("sip_refused_total", help, &[("reason", reason)], value);
    }
    if let Some(copies) = hub.copies() {
        for (fate, value) in [("sent", copies.sent), ("dropped", copies.dropped)] {
            let help = "Copies of messages for the capture server";
            metrics.counter("sip_copies_total", help, &[("fate", fate)], value);
        }
    }
}
