//! What a worker counts.

use causeway_node::{Metrics, Status};
use serde_json::json;

/// Totals since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    pub wakes: u64,
    pub datagrams_in: u64,
    pub datagrams_out: u64,
    pub send_calls: u64,
    pub send_errors: u64,
    pub receive_errors: u64,
    pub unroutable: u64,
    pub inside: u64,
    pub accepted: u64,
    pub accept_refused: u64,
    pub accept_errors: u64,
    pub handed_over: u64,
    pub handshakes_failed: u64,
    pub handshakes_displaced: u64,
    pub commits: u64,
    pub ticks: u64,
    pub tick_late_us: u64,
    pub tick_late_max_us: u64,
    pub ticks_missed: u64,
}

impl Counters {
    pub fn sent(&mut self, sent: crate::sys::Sent) {
        self.datagrams_out += sent.sent;
        self.send_errors += sent.failed;
        self.send_calls += sent.calls;
    }

    pub fn metrics(&self, connections: usize, metrics: &mut Metrics) {
        for (name, help, value) in [
            ("worker_wakes_total", "Rounds of the loop", self.wakes),
            ("worker_datagrams_received_total", "Datagrams taken in", self.datagrams_in),
            ("worker_datagrams_sent_total", "Datagrams sent", self.datagrams_out),
            ("worker_send_errors_total", "Datagrams that the system refused to send", self.send_errors),
            ("worker_receive_errors_total", "Errors of earlier datagrams, as ICMP says", self.receive_errors),
            ("worker_unroutable_total", "Datagrams between inside and outside addresses", self.unroutable),
            ("worker_accepted_total", "Connections accepted", self.accepted),
            ("worker_accept_refused_total", "Connections refused for want of room", self.accept_refused),
            (
                "worker_accept_errors_total",
                "Connections that failed while being accepted",
                self.accept_errors,
            ),
            ("worker_handed_over_total", "Connections handed to a sibling", self.handed_over),
            (
                "worker_handshakes_failed_total",
                "TLS handshakes of others that came to nothing, those given up and displaced included",
                self.handshakes_failed,
            ),
            (
                "worker_handshakes_displaced_total",
                "TLS handshakes given up since others from there, or too many in all, wanted their place",
                self.handshakes_displaced,
            ),
            ("worker_commits_total", "Commits of records to disk", self.commits),
            ("worker_ticks_total", "Media ticks", self.ticks),
            ("worker_ticks_missed_total", "Media ticks that came too late to count", self.ticks_missed),
        ] {
            metrics.counter(name, help, &[], value);
        }
        metrics.gauge("worker_connections", "Connections at present", &[], connections as f64);
    }

    pub fn status(&self, connections: usize) -> Status {
        let mean = self.tick_late_us.checked_div(self.ticks).unwrap_or(0);
        json!({
            "wakes": self.wakes,
            "datagrams_in": self.datagrams_in,
            "datagrams_out": self.datagrams_out,
            "send_calls": self.send_calls,
            "send_errors": self.send_errors,
            "receive_errors": self.receive_errors,
            "unroutable": self.unroutable,
            "inside": self.inside,
            "connections": connections,
            "accepted": self.accepted,
            "accept_refused": self.accept_refused,
            "accept_errors": self.accept_errors,
            "handed_over": self.handed_over,
            "handshakes_failed": self.handshakes_failed,
            "handshakes_displaced": self.handshakes_displaced,
            "commits": self.commits,
            "ticks": self.ticks,
            "ticks_missed": self.ticks_missed,
            "tick_late_us": {"mean": mean, "max": self.tick_late_max_us},
        })
    }
}
