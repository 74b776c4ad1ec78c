//! What a person is shown.

use super::{Events, Policy};
use causeway_node::{Metrics, Status};
use serde_json::json;

impl Events {
    /// Rows of a table that are shown at most; `more` says how many there are beyond.
    pub const ROWS: usize = 1000;

    /// Counts.
    pub fn status(&self) -> Status {
        let counters = &self.counters;
        json!({
            "subscriptions": self.subscriptions.len(),
            "publications": self.publishers.len(),
            "published_bytes": self.published,
            "notifies_under_way": self.under_way.len(),
            "notified": counters.notified,
            "notify_failed": counters.failed,
            "refused": counters.refused,
            "publications_evicted": counters.evicted,
            "unreadable_records": counters.unreadable,
        })
    }

    /// Figures for a monitoring system.
    pub fn metrics(&self, metrics: &mut Metrics) {
        let counters = &self.counters;
        let (subscriptions, publications) = (self.subscriptions.len() as f64, self.publishers.len() as f64);
        metrics.gauge("event_subscriptions", "Subscriptions now.", &[], subscriptions);
        metrics.gauge("event_publications", "Publications now.", &[], publications);
        metrics.counter("event_notifies_total", "NOTIFY requests sent.", &[], counters.notified);
        metrics.counter("event_notify_failures_total", "NOTIFY requests that failed.", &[], counters.failed);
        metrics.counter("event_refused_total", "SUBSCRIBE and PUBLISH refused.", &[], counters.refused);
    }

    /// Who may watch a user's presence, if the user has decided.
    pub fn policy(&self, aor: &[u8]) -> Option<&Policy> {
        self.resources.get(aor)?.policy.as_ref()
    }

    /// `subscriptions` or `publications` of users whose address contains `filter`; anything else is no table.
    pub fn table(&self, unix_ms: u64, table: &str, filter: &str) -> Status {
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut rows: Vec<(String, Status)> = Vec::new();
        let mut more = 0usize;
        let mut add = |key: String, row: Status| match rows.len() < Self::ROWS {
            true => rows.push((key, row)),
            false => more += 1,
        };
        let chosen = self.resources.iter().map(|(aor, resource)| (shown(aor), resource));
        let chosen = chosen.filter(|(aor, _)| aor.contains(filter));
        match table {
            "subscriptions" => chosen.for_each(|(aor, resource)| {
                for subscription in resource.watchers.iter().filter_map(|id| self.subscriptions.get(id)) {
                    let row = json!({
                        "aor": aor,
                        "package": subscription.package.name(),
                        "watcher": shown(&subscription.watcher),
                        "decision": subscription.decision,
                        "expires": subscription.left(unix_ms),
                        "target": shown(&subscription.dialog.target),
                        "cseq": subscription.dialog.local_cseq,
                    });
                    add(format!("{aor} {}", shown(&subscription.watcher)), row);
                }
            }),
            "publications" => chosen.for_each(|(aor, resource)| {
                for publication in &resource.publications {
                    let row = json!({
                        "aor": aor,
                        "expires": publication.expires.saturating_sub(unix_ms) / 1000,
                        "bytes": publication.body.len(),
                        "left_out_of_aor": resource.left_out(),
                    });
                    add(aor.clone(), row);
                }
            }),
            _ => return Status::Null,
        }
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let rows: Vec<Status> = rows.into_iter().map(|(_, row)| row).collect();
        json!({ "rows": rows, "more": more })
    }
}
