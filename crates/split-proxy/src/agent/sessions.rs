//! What an agent keeps over a restart: its session with the calls on it, its phones, the key of its branches.

use super::Agent;
use crate::calls::Passing;
use crate::half::{begins_dialog, from_tunnel, via_address};
use crate::keys::LaneKeys;
use crate::links::Link;
use crate::records::{branch_key, put, put_branch_key, read_session, remove, session, value_of};
use causeway_node::{Ctx, Outbox, Record};
use causeway_sip::transaction::{Branch, BranchKey, Hop, Transport};
use causeway_sip::{HeaderId, Message};
use causeway_tunnel::{SessionId, Tunnel};
use serde_json::Value;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

const SESSION: &str = "agent.session";
const KEY: &str = "agent.key";
/// All record spaces of an agent.
pub const SPACES: &[&str] = &[SESSION, KEY, "agent.leg", super::phones::SPACE, super::keys::SPACE];

impl Agent {
    /// Takes up what was on disk.
    pub(super) fn restore(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        let records = std::mem::take(&mut self.restored);
        self.key = branch_key(&records, KEY);
        if self.key.is_none() {
            let key = BranchKey(ctx.random());
            put_branch_key(KEY, &key, out);
            self.key = Some(key);
        }
        let hub = &mut self.half.hub;
        let udp = |peer: SocketAddr, out: &mut Outbox| hub.hop(ctx.now, peer, Transport::Udp, out);
        self.phones.restore(&records, ctx.now, ctx.unix_ms, udp, out);
        self.restore_registrations(ctx, &records, out);
        let mut sessions = HashMap::new();
        if let Some((session, link)) = records.iter().find_map(|record| self.restore_session(ctx, record)) {
            sessions.insert(session, link);
            self.session = Some(link);
            self.uplink.hurry = self.half.links.get(link).and_then(|link| link.until);
        }
        let half = &mut self.half;
        half.calls.restore(&records, &sessions, ctx.now, &mut half.links, out);
    }

    /// A session with the contact point that is still the one to connect to.
    fn restore_session(&mut self, ctx: &Ctx<'_>, record: &Record) -> Option<(SessionId, usize)> {
        let value = value_of(record, SESSION)?;
        let name = value.get("contact").and_then(Value::as_str)?;
        let contact = self.config.contacts.iter().position(|contact| contact.to_string() == name)?;
        let saved = read_session(&value).filter(|_| !self.config.grace.is_zero())?;
        self.uplink.contact = contact;
        let session = saved.session;
        let tunnel = Tunnel::restore(self.half.tunnel_config(), ctx.now, saved);
        // Where it is will be known once it is connected to.
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let mut link = Link::new(None, nowhere, tunnel, ctx.unix_ms);
        (link.durable, link.lost, link.until) = (true, Some(ctx.now), Some(ctx.now + self.config.grace));
        Some((session, self.half.links.insert(link)))
    }

    /// Writes the session of a link; the number of the record.
    fn keep_session(&mut self, id: usize, out: &mut Outbox) -> Option<u64> {
        let contact = self.contact();
        let link = self.half.links.get_mut(id)?;
        let mut value = session(&link.tunnel.saved()?);
        value["contact"] = contact.into();
        if !std::mem::replace(&mut link.durable, true) {
            self.half.calls.keep_link(id);
        }
        Some(put(SESSION, b"", &value, out))
    }

    /// A ticket has come: once it is on disk the contact point may forget the one before.
    pub(super) fn keep_ticket(&mut self, id: usize, out: &mut Outbox) {
        let Some(name) = self.half.links.get(id).map(|link| link.name) else { return };
        if let Some(seq) = self.keep_session(id, out) {
            self.tickets.push_back((seq, name));
        }
    }

    /// The session asks to go on, with a higher epoch than before.
    pub(super) fn keep_epoch(&mut self, id: usize, out: &mut Outbox) {
        self.keep_session(id, out);
    }

    /// Records are on disk: what waited for them goes.
    pub(super) fn persisted(&mut self, seq: u64, out: &mut Outbox) {
        while self.tickets.front().is_some_and(|(awaited, _)| *awaited <= seq) {
            let Some((_, name)) = self.tickets.pop_front() else { return };
            let link = self.half.links.named(name).and_then(|id| self.half.links.get_mut(id));
            if let Some(link) = link {
                link.tunnel.ticket_kept();
                link.wake(out);
            }
        }
    }

    /// The session is over.
    pub(super) fn forget_session(&mut self, id: usize, out: &mut Outbox) {
        if let Some(link) = self.half.links.get_mut(id)
            && std::mem::take(&mut link.durable)
        {
            remove(SESSION, b"", out);
        }
    }

    /// A response whose request is not known any more, because this agent has restarted since: it goes on by its
    /// Via fields, if they prove that the request has passed here (RFC 3261 §16.7).
    pub(super) fn stray(
        &mut self,
        ctx: &mut Ctx<'_>,
        message: &Message,
        from: Hop,
        out: &mut Outbox,
    ) -> Option<()> {
        let msg = message.msg();
        let via = Branch::proves(self.key.as_ref()?, msg)?;
        let link = self.link()?;
        let to_phone = from_tunnel(&from);
        self.edit.clear();
        let hop = if to_phone {
            // A phone's connection has ended with the agent that was.
            let (peer, transport) =
                via_address(&via).filter(|(_, transport)| *transport == Transport::Udp)?;
            let asker = self.half.hub.hop(ctx.now, peer, transport, out);
            self.phone_is_answered(ctx, message, asker, false, out);
            asker
        } else {
            self.phones.learn(ctx.now, msg, from);
            let ours = |value: &[u8]| crate::half::leads_to(value, self.config.listen);
            self.edit.remove_values(msg, HeaderId::RecordRoute, ours);
            self.half.links.get(link).map(Link::hop)?
        };
        let near = Some(if to_phone { hop.peer.ip() } else { from.peer.ip() });
        let passing = Passing {
            now: ctx.now,
            link,
            msg,
            from_phone: to_phone,
            near,
            nonce: [0; 12],
            allowed: &|_| true,
            keys: LaneKeys::default(),
        };
        match self.half.calls.stray(&passing, &mut self.half.links, out) {
            Some(Some(body)) => self.edit.set_body(msg, &body),
            Some(None) => {}
            // An answer to a call that has no leg here would lead media nowhere.
            None if begins_dialog(msg) && !msg.body().is_empty() => return None,
            None => {}
        }
        let (core, mut wire) = self.half.split(out);
        core.forward_stray(message, hop, &mut self.edit, &mut wire);
        Some(())
    }
}
