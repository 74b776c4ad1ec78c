//! What a contact point counts.

use super::ContactPoint;
use super::admission::Denied;
use crate::half::Ending;
use crate::metrics;
use causeway_node::Metrics;
use causeway_tunnel::key::Assurance;

pub(super) fn measure(contact: &ContactPoint, out: &mut Metrics) {
    metrics::measure(&contact.half, out);
    let assurances = contact.owners.iter().flat_map(|owner| {
        let link = owner.link.and_then(|link| contact.half.links.get(link));
        owner.registrations().map(move |(aor, _)| {
            link.map_or(Assurance::None, |link| link.keys.assurance(link.keys.number(aor)))
        })
    });
    metrics::users(assurances, out);
    let bindings: usize = contact.tokens.iter().map(|(_, token)| token.bindings.len()).sum();
    out.gauge("registrations", "Registrations of phones behind tunnels.", &[], bindings as f64);
    out.gauge("agents", "Agents that are known.", &[], contact.owners.iter().count() as f64);
    let counters = &contact.counters;
    for ((_, reason), count) in Denied::ALL.into_iter().zip(counters.denied) {
        let help = "Requests of agents refused: what they may not ask, or too much of it.";
        out.counter("requests_denied_total", help, &[("reason", reason)], count);
    }
    for ((_, reason), count) in Ending::ALL.into_iter().zip(counters.lost) {
        let help = "Connections of tunnels that have ended, by why.";
        out.counter("tunnels_lost_total", help, &[("reason", reason)], count);
    }
    for (name, help, count) in [
        ("tunnels_refused_total", "Tunnel connections closed for want of room.", counters.tunnels_refused),
        ("tunnel_tickets_refused_total", "Sessions that could not go on.", counters.tickets_refused),
        ("tunnels_handed_over_total", "Connections given to another worker.", counters.handed_over),
        ("requests_foreign_total", "Requests from the network that may not come here.", counters.foreign),
        ("stray_responses_total", "Responses to requests that are not known here.", counters.strays),
    ] {
        out.counter(name, help, &[], count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_where_they_are_counted() {
        for (at, (denied, _)) in Denied::ALL.into_iter().enumerate() {
            assert_eq!(denied as usize, at);
        }
        for (at, (ending, _)) in Ending::ALL.into_iter().enumerate() {
            assert_eq!(ending as usize, at);
        }
    }
}
