//! Legs on disk: their dialogs, ports, lanes, and where their media goes.

use super::leg::{Dialog, Joint, Key, Leg};
use super::local::LegToken;
use super::{Calls, MAX_PARTIES};
use crate::description::Carriage;
use crate::keys::LaneKeys;
use crate::links::Links;
use crate::media::Joined;
use crate::records::{bytes, hex, latin1, put, read_texts, remove, texts, unhex, value_of};
use causeway_node::{Level, Outbox, Record, Time};
use causeway_tunnel::key::Assurance;
use causeway_tunnel::{Kind, Lane, Role, SessionId};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// For how long a call that was being set up when this half restarted may take to be answered.
pub(super) const ORPHAN: Duration = Duration::from_secs(300);

impl Calls {
    /// Writes what has changed since the last time. Legs of tunnels that end with their connection are not kept.
    pub(crate) fn keep(&mut self, links: &Links, out: &mut Outbox) {
        while let Some(slot) = self.media.latched.pop() {
            let pair = slot / 2;
            let leg = self.legs.iter().find(|(_, leg)| leg.joints.iter().flatten().any(|j| j.pair == pair));
            self.changed.extend(leg.map(|(id, _)| id));
        }
        for id in std::mem::take(&mut self.changed) {
            let Some(leg) = self.legs.get(id) else { continue };
            let Some(session) = links.get(leg.link).filter(|l| l.durable).and_then(|l| l.tunnel.session())
            else {
                continue;
            };
            let value = self.value(leg, session);
            let mut hasher = DefaultHasher::new();
            value.to_string().hash(&mut hasher);
            let (serial, hash) = (leg.serial, hasher.finish());
            if leg.kept != Some(hash) {
                put(self.space, &serial.to_be_bytes(), &value, out);
                if let Some(leg) = self.legs.get_mut(id) {
                    leg.kept = Some(hash);
                }
            }
        }
    }

    /// A tunnel is one that goes on after a restart: so do its calls.
    pub(crate) fn keep_link(&mut self, link: usize) {
        self.changed.extend(self.legs.iter().filter(|(_, leg)| leg.link == link).map(|(id, _)| id));
    }

    /// A leg is over.
    pub(super) fn forget(&mut self, leg: &Leg, out: &mut Outbox) {
        if leg.kept.is_some() {
            remove(self.space, &leg.serial.to_be_bytes(), out);
        }
    }

    fn value(&self, leg: &Leg, session: SessionId) -> Value {
        let dialog = |d: &Dialog| json!([latin1(&d.phone_tag), latin1(&d.far_tag)]);
        let joint = |joint: &Joint| {
            let slots = [2 * joint.pair, 2 * joint.pair + 1];
            json!({
                "port": self.media.port(slots[0]),
                "carriage": joint.carriage.name(),
                "rtp": joint.rtp.0,
                "rtcp": joint.rtcp.map(|lane| lane.0),
                "media": slots.map(|slot| self.media.joined(slot).map(|joined| joined.aim.value())),
            })
        };
        json!({
            "session": hex(&session.0),
            "call_id": latin1(&leg.call_id),
            "from_phone": leg.from_phone,
            "branch": latin1(&leg.branch),
            "keys": texts(&leg.keys),
            "parties": texts(&leg.parties),
            "routes": texts(&leg.routes),
            "user": leg.lane_keys.user,
            "least": leg.lane_keys.least.code(),
            "token": leg.token.map(LegToken::text),
            "confirmed": leg.confirmed.iter().map(dialog).collect::<Vec<_>>(),
            "lines": leg.joints.iter().map(|j| j.as_ref().map(joint)).collect::<Vec<_>>(),
        })
    }

    /// Takes up the legs of sessions that were restored; the records of others are removed. Ports are bound again.
    pub(crate) fn restore(
        &mut self,
        records: &[Record],
        sessions: &HashMap<SessionId, usize>,
        now: Time,
        links: &mut Links,
        out: &mut Outbox,
    ) {
        let space = self.space;
        for record in records.iter().filter(|record| record.space == space) {
            let serial = record.key.as_slice().try_into().map_or(0, u64::from_be_bytes);
            self.serial = self.serial.max(serial);
            let value = value_of(record, space);
            if value.and_then(|value| self.restore_leg(serial, &value, sessions, now, links, out)).is_none() {
                remove(space, &record.key, out);
            }
        }
    }

    fn restore_leg(
        &mut self,
        serial: u64,
        value: &Value,
        sessions: &HashMap<SessionId, usize>,
        now: Time,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Option<()> {
        let session = SessionId(unhex(value.get("session")?.as_str()?)?);
        let link = *sessions.get(&session)?;
        let text = |value: &Value| value.as_str().map(bytes);
        let dialog = |d: &Value| Some(Dialog { phone_tag: text(d.get(0)?)?, far_tag: text(d.get(1)?)? });
        let confirmed = value.get("confirmed")?.as_array()?.iter().map(dialog);
        let confirmed: Vec<Dialog> = confirmed.take(MAX_PARTIES).collect::<Option<_>>()?;
        // Without a key that is worth as much as before, nothing is to pass.
        let user = value.get("user").and_then(Value::as_u64).and_then(|user| user.try_into().ok());
        let least = value.get("least").and_then(Value::as_u64).and_then(|code| code.try_into().ok());
        let lane_keys = LaneKeys { user: user?, least: Assurance::from_code(least?)? };
        let orphan = confirmed.is_empty().then_some(now + ORPHAN);
        let leg = Leg {
            serial,
            kept: Some(0),
            orphan,
            link,
            call_id: text(value.get("call_id")?)?,
            from_phone: value.get("from_phone")?.as_bool()?,
            joints: Vec::new(),
            since: now,
            active: now,
            branch: text(value.get("branch")?)?,
            keys: read_texts(value.get("keys")?)?,
            parties: read_texts(value.get("parties")?)?,
            routes: read_texts(value.get("routes")?)?,
            lane_keys,
            token: value.get("token").and_then(Value::as_str).and_then(unhex).map(LegToken::new),
            pending: 0,
            confirmed,
        };
        links.get_mut(link)?.calls += 1;
        let keys = leg.keys.clone();
        let call_id = leg.call_id.clone();
        let id = self.legs.insert(leg);
        for phone_tag in keys {
            self.by_key.entry(Key { link, call_id: call_id.clone(), phone_tag }).or_insert(id);
        }
        let lines = value.get("lines").and_then(Value::as_array).into_iter().flatten();
        for line in lines.take(crate::description::MAX_LINES) {
            let joint = self.restore_joint(id, line, now, links, out);
            if joint.is_none() && !line.is_null() {
                let text = format!("a media port of call {} could not be had again", latin1(&call_id));
                out.notice(Level::Warn, text);
            }
            if let Some(leg) = self.legs.get_mut(id) {
                leg.joints.push(joint);
            }
        }
        self.changed.insert(id);
        self.restored = true;
        Some(())
    }

    fn restore_joint(
        &mut self,
        leg: usize,
        line: &Value,
        now: Time,
        links: &mut Links,
        out: &mut Outbox,
    ) -> Option<Joint> {
        let (link, keys) = self.legs.get(leg).map(|leg| (leg.link, leg.lane_keys))?;
        let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
        let carriage = Carriage::named(line.get("carriage")?.as_str()?)?;
        let rtp = Lane(number(line.get("rtp")?)?);
        let rtcp = number(line.get("rtcp")?).map(Lane);
        let pair = self.media.pool.claim(number(line.get("port")?)?, out)?;
        let entry = links.get_mut(link)?;
        entry.pairs += 1;
        entry.tunnel.restore_lane(rtp, carriage.lane_kind(), keys.user, keys.least);
        rtcp.into_iter().for_each(|lane| entry.tunnel.restore_lane(lane, Kind::Rtcp, keys.user, keys.least));
        let dscp = self.marks.of(carriage.lane_kind());
        for ((half, lane), content) in [Some(rtp), rtcp].into_iter().enumerate().zip(carriage.contents()) {
            let Some(lane) = lane else { continue };
            self.media.mark(2 * pair + half, dscp, out);
            let mut joined = Joined::new(link, leg, lane, content, now);
            joined.aim.restore(line.get("media").and_then(|media| media.get(half)).unwrap_or(&Value::Null));
            self.media.join(2 * pair + half, joined, links);
            self.media.mark(2 * pair + half, self.marks.of(carriage.lane_kind()), out);
        }
        Some(Joint { pair, carriage, rtp, rtcp })
    }

    /// The leg that a response belongs to whose request is not known any more: `from_phone` says where that came
    /// from. A callee that answers for the first time is known by the Via of who has asked.
    pub(super) fn leg_of_stray(
        &mut self,
        link: usize,
        msg: causeway_sip::Msg<'_>,
        from_phone: bool,
    ) -> Option<usize> {
        let phone_tag = if from_phone { msg.from_tag() } else { msg.to_tag() };
        if let Some(leg) = self.find(link, msg, phone_tag) {
            return Some(leg);
        }
        let asked = super::branch_of(msg.vias().nth(1).flatten());
        let leg = self.find_asked(link, msg, asked).filter(|_| !from_phone)?;
        self.add_key(leg, phone_tag?);
        Some(leg)
    }

    /// The record space of a half.
    pub(crate) fn space(role: Role) -> &'static str {
        match role {
            Role::Agent => "agent.leg",
            Role::ContactPoint => "contact.leg",
        }
    }
}
