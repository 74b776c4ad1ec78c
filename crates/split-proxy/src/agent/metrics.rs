//! What an agent counts.

use super::Agent;
use crate::keys::identity;
use crate::metrics;
use causeway_node::{Metrics, Time};
use std::collections::HashSet;

pub(super) fn measure(agent: &Agent, now: Time, out: &mut Metrics) {
    metrics::measure(&agent.half, out);
    let registered = agent.phones.iter().filter(|(_, phone)| phone.is_registered(now));
    let aors = registered.filter_map(|(_, phone)| phone.registered.as_ref()).map(|(aor, _)| aor.as_bytes());
    let aors: Vec<_> = aors.map(|aor| identity(aor).unwrap_or_default()).collect();
    out.gauge("registrations", "Registrations of phones behind tunnels.", &[], aors.len() as f64);
    let users: HashSet<_> = aors.iter().collect();
    metrics::users(users.into_iter().map(|aor| agent.key_state(aor).0), out);
    let rtt = agent.uplink.link().and_then(|id| agent.half.links.get(id)?.tunnel.stats().rtt);
    if let Some(rtt) = rtt {
        out.gauge("tunnel_rtt_seconds", "The last round trip in the tunnel.", &[], rtt.as_secs_f64());
    }
    let help = "Attempts to reach a contact point, the first included.";
    out.counter("tunnel_attempts_total", help, &[], agent.uplink.attempts);
    let help = "Requests of phones that wait for the tunnel.";
    out.gauge("requests_waiting", help, &[], agent.waiting.len() as f64);
}
