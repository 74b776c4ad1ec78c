//! What an agent shows of itself.

use super::Agent;
use super::uplink::State;
use crate::keys::identity;
use crate::status::{calls, refused, text, tunnel};
use causeway_node::{Status, Time};
use serde_json::json;

pub(super) fn report(agent: &Agent, now: Time) -> Status {
    let state = match agent.uplink.state {
        State::Stopped => "stopped",
        State::Idle => "idle: opened on demand",
        State::Resolving => "resolving",
        State::Connecting { .. } => "connecting",
        State::Open { up: false, .. } => "greeting",
        State::Open { .. } => "up",
        State::Waiting { .. } => "waiting",
    };
    let registrations = agent.phones.iter().filter_map(|(contact, phone)| {
        let (aor, until) = phone.registered.as_ref()?;
        let (has, least, note) = agent.key_state(&identity(aor.as_bytes()).unwrap_or_default());
        Some(json!({
            "aor": aor,
            "assurance": has.name(),
            "min_assurance": least.name(),
            "protection": has.in_words(),
            "calls_refused": has < least,
            "key_note": note,
            "contact": text(contact),
            "phone": phone.hop.peer.to_string(),
            "expires_s": until.since(now).as_secs(),
        }))
    });
    json!({
        "role": "agent",
        "listen": agent.config.listen.to_string(),
        "contact": agent.contact(),
        "state": state,
        "attempts": agent.uplink.attempts,
        "last_failure": agent.uplink.why,
        "tunnels": agent.half.links.iter().map(|(id, link)| {
            let mut shown = tunnel(link, now);
            shown["leaving"] = (agent.leaving() == Some(id)).into();
            shown
        }).collect::<Vec<_>>(),
        "registrations": registrations.collect::<Vec<_>>(),
        "waiting_requests": agent.waiting.len(),
        "transactions": agent.half.core.len(),
        "ports": { "used": 2 * agent.half.calls.media.pool.used(), "of": 2 * agent.half.calls.media.pool.capacity() },
        "calls": calls(&agent.half, now),
        "refused": refused(&agent.half),
    })
}
