//! What the exchange tells of itself: status, tables, figures; and how it is told a new policy.

use super::Exchange;
use crate::config::Policy;
use causeway_node::{Metrics, Status};
use causeway_sip::Method;
use causeway_sip::transaction::Transport;
use serde::Deserialize;
use serde_json::json;

/// Rows that a table shows at most.
const ROWS: usize = 1000;

/// What is counted.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) registered: u64,
    pub(super) forwarded: u64,
    pub(super) challenged: u64,
    pub(super) wrong_credentials: u64,
    /// Requests refused or left unanswered under load.
    pub(super) shed: u64,
    refused: u64,
    requests: [u64; METHODS.len() + 1],
    responses: [u64; 7],
}

/// Methods that have a figure of their own.
const METHODS: [&str; 14] = [
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "REGISTER",
    "OPTIONS",
    "MESSAGE",
    "SUBSCRIBE",
    "NOTIFY",
    "PUBLISH",
    "REFER",
    "INFO",
    "UPDATE",
    "PRACK",
];

impl Counters {
    pub(super) fn request(&mut self, method: Method<'_>) {
        let place = METHODS.iter().position(|name| name.as_bytes() == method.as_bytes());
        self.requests[place.unwrap_or(METHODS.len())] += 1;
    }

    /// A response that the exchange itself has made.
    pub(super) fn answered_here(&mut self, status: u16) {
        self.refused += u64::from(status >= 400 && status != 401 && status != 407);
        self.relayed(status);
    }

    pub(super) fn relayed(&mut self, status: u16) {
        self.responses[usize::from(status / 100).min(6)] += 1;
    }
}

impl Exchange {
    pub(super) fn report(&self) -> Status {
        let (aors, bindings) = self.location.count();
        let refused = &self.hub.refused;
        let mut report = json!({
            "role": "exchange",
            "domain": self.config.domain,
            "sip": self.config.sip.to_string(),
            "tls": self.config.tls.map(|tls| tls.to_string()),
            "aors": aors,
            "bindings": bindings,
            "calls": self.calls.under_way(),
            "under_way": self.core.under_way(),
            "transactions": self.core.len(),
            "plans": self.plans.len(),
            "questions": self.waiting.len(),
            "promises": self.promises.len(),
            "own": self.own.len(),
            "connections": self.hub.connections(),
            "registered": self.counters.registered,
            "forwarded": self.counters.forwarded,
            "challenged": self.counters.challenged,
            "refused": self.counters.refused,
            "shed": self.counters.shed,
            "pressure": self.load.pressure,
            "wrong_credentials": self.counters.wrong_credentials,
            "throttled": self.throttle.refused,
            "dns_answers": self.resolver.len(),
            "events": self.events.status(),
            "messages": self.messages.status(),
            "copies": self.hub.copies().map(|copies| {
                json!({"sent": copies.sent, "dropped": copies.dropped, "up": copies.up})
            }),
            "garbage": refused.garbage,
            "invalid": refused.invalid,
            "broken_streams": refused.broken_streams,
        });
        if !self.config.shard.is_alone() {
            report["handed"] = self.hub.handed.into();
        }
        report
    }

    pub(super) fn report_table(&self, table: &str, filter: &str) -> Status {
        match table {
            "aors" => self.aors(filter),
            "calls" => self.calls.table(filter),
            "transports" => self.transports(filter),
            "subscriptions" | "publications" => self.events.table(self.unix_ms, table, filter),
            _ => Status::Null,
        }
    }

    fn aors(&self, filter: &str) -> Status {
        let all = self.location.all().map(|(aor, bindings)| (String::from_utf8_lossy(aor), bindings));
        let found = all.filter(|(aor, _)| aor.contains(filter)).take(ROWS);
        let rows = found.map(|(aor, bindings)| {
            let contacts = bindings.iter().map(|binding| {
                json!({
                    "contact": binding.contact,
                    "q": f64::from(binding.q) / 1000.0,
                    "expires": binding.expires,
                    "received": binding.received,
                    "transport": binding.transport,
                    "path": binding.path,
                    "instance": binding.instance,
                    "reg_id": binding.reg_id,
                })
            });
            json!({"aor": aor, "contacts": contacts.collect::<Status>()})
        });
        rows.collect()
    }

    fn transports(&self, filter: &str) -> Status {
        let all = [("udp", Transport::Udp), ("tcp", Transport::Tcp), ("tls", Transport::Tls)];
        let rows = all.into_iter().filter(|(name, _)| name.contains(filter)).map(|(name, transport)| {
            let traffic = self.hub.traffic(transport);
            json!({
                "transport": name,
                "received": traffic.received,
                "sent": traffic.sent,
                "dropped": traffic.dropped,
                "accepted": traffic.accepted,
                "opened": traffic.opened,
                "connections": traffic.connections,
            })
        });
        rows.collect()
    }

    pub(super) fn measure(&self, metrics: &mut Metrics) {
        let (aors, bindings) = self.location.count();
        let counters = &self.counters;
        let methods = METHODS.iter().copied().chain(["other"]).zip(counters.requests);
        for (method, count) in methods {
            let help = "Requests that began a transaction, by method.";
            metrics.counter("sip_requests_total", help, &[("method", method)], count);
        }
        for (class, count) in (1..=6).zip(&counters.responses[1..]) {
            let help = "Responses sent towards the client, by class.";
            metrics.counter("sip_responses_total", help, &[("class", &format!("{class}xx"))], *count);
        }
        for (name, help, count) in [
            ("registrations_total", "REGISTER requests granted.", counters.registered),
            ("shed_total", "Requests refused or left unanswered under load.", counters.shed),
            ("challenges_total", "Requests answered by a digest challenge.", counters.challenged),
            ("wrong_credentials_total", "Digest responses that were wrong.", counters.wrong_credentials),
            (
                "throttled_total",
                "Digest responses not looked at after too many wrong ones.",
                self.throttle.refused,
            ),
            ("handed_total", "Messages given to the worker whose they are.", self.hub.handed),
            ("calls_total", "Calls begun.", self.calls.begun),
            ("calls_answered_total", "Call legs answered.", self.calls.answered),
            (
                "sessions_timed_out_total",
                "Answered legs that nobody refreshed in time.",
                self.calls.timed_out,
            ),
            ("sip_garbage_total", "Datagrams that are no SIP message.", self.hub.refused.garbage),
            ("sip_invalid_total", "SIP messages that break the grammar.", self.hub.refused.invalid),
        ] {
            metrics.counter(name, help, &[], count);
        }
        for (name, help, value) in [
            ("aors", "Addresses of record with at least one binding.", aors),
            ("bindings", "Bindings.", bindings),
            ("calls", "Calls under way.", self.calls.under_way()),
            ("sip_transactions", "Requests under way or absorbing retransmissions.", self.core.len()),
            ("sip_transactions_under_way", "Transactions under way.", self.core.under_way()),
        ] {
            metrics.gauge(name, help, &[], value as f64);
        }
        self.hub.metrics(metrics);
        self.events.metrics(metrics);
        self.messages.metrics(metrics);
    }

    /// Takes a new policy; what is under way goes on under the old one.
    pub(super) fn reload_policy(&mut self, settings: &Status) -> Result<(), String> {
        let policy = Policy::deserialize(settings).map_err(|error| format!("policy: {error}"))?;
        policy.check()?;
        self.config.policy = policy;
        self.read_policy();
        Ok(())
    }
}
