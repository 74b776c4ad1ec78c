//! What a contact point shows of itself.

use super::{ContactPoint, Mode, Seat};
use crate::half::Ending;
use crate::status::{calls, refused, text, tunnel};
use causeway_node::{Status, Time};
use causeway_tunnel::key::Assurance;
use serde_json::json;

pub(super) fn report(contact: &ContactPoint, now: Time) -> Status {
    let tunnels = contact.half.links.iter().map(|(id, link)| {
        let mut shown = tunnel(link, now);
        let owner = contact.owners.get(link.owner);
        shown["registered"] = owner.map(|owner| owner.registrations().count()).into();
        shown["dialogs"] = owner.map(|owner| owner.dialogs()).into();
        shown["denied"] = contact.gauges.get(&id).map(|gauge| gauge.denied).into();
        shown
    });
    let registrations = contact.tokens.iter().flat_map(|(name, token)| {
        token.bindings.iter().map(move |(aor, until)| {
            let link = contact.owners.get(token.owner).and_then(|owner| owner.link);
            let link = link.and_then(|link| contact.half.links.get(link));
            let has = link.map_or(Assurance::None, |link| link.keys.assurance(link.keys.number(aor)));
            json!({
                "aor": text(aor),
                "assurance": has.name(),
                "protection": has.in_words(),
                "calls_refused": has < contact.config.min_assurance,
                "token": text(name),
                "contact": text(&token.contact),
                "expires_unix_ms": until,
                "tunnel": link.map(|link| link.peer.to_string()),
            })
        })
    });
    let pool = &contact.half.calls.media.pool;
    let mut shown = json!({
        "role": "contact",
        "tunnel_listen": contact.config.tunnel_listen.to_string(),
        "sip": contact.config.sip.to_string(),
        "upstream": contact.config.upstream.to_string(),
        "mode": match contact.config.mode { Mode::Plain => "plain", Mode::Path => "path" },
        "tunnels": tunnels.collect::<Vec<_>>(),
        "registrations": registrations.collect::<Vec<_>>(),
        "min_assurance": contact.config.min_assurance.name(),
        "tokens": contact.tokens.len(),
        "agents": contact.owners.iter().count(),
        "transactions": contact.half.core.len(),
        "ports": { "used": 2 * pool.used(), "of": 2 * pool.capacity() },
        "calls": calls(&contact.half, now),
        "denied": contact.counters.denied.iter().sum::<u64>(),
        "foreign_requests": contact.counters.foreign,
        "draining": contact.drain.as_ref().map(|drain| json!({
            "grace_s": contact.config.drain_grace.as_secs(),
            "left_s": contact.config.drain_grace.saturating_sub(now.since(drain.began)).as_secs(),
            "handed_over": drain.handed_over,
        })),
        "tunnels_lost": Ending::ALL.into_iter().zip(contact.counters.lost)
            .filter(|(_, count)| *count > 0)
            .map(|((_, reason), count)| (reason.to_owned(), count.into()))
            .collect::<serde_json::Map<_, _>>(),
        "tunnels_refused": contact.counters.tunnels_refused,
        "tickets_refused": contact.counters.tickets_refused,
        "stray_responses": contact.counters.strays,
        "refused": refused(&contact.half),
    });
    if contact.config.seat != Seat::default() {
        shown["seat"] = contact.config.seat.own.into();
        shown["handed_over"] = contact.counters.handed_over.into();
    }
    shown
}
