//! Responses whose requests are not known any more, because this contact point has restarted since. They go on by
//! their Via fields (RFC 3261 §16.7), but only if the one below our own is the one that ours was made for: else
//! whoever sends us a response could choose who gets it.

use super::owners::DialogKey;
use super::{ContactPoint, admission};
use crate::calls::Passing;
use crate::half::{begins_dialog, from_tunnel, via_address};
use crate::keys::LaneKeys;
use crate::links::Link;
use causeway_node::{Ctx, Outbox};
use causeway_sip::transaction::{Branch, Hop};
use causeway_sip::{HeaderId, Message, Method, Msg};
use std::time::Duration;

/// For how long after a start such responses are passed on: what rings for longer is ended by timer C.
pub(super) const WINDOW: Duration = Duration::from_secs(300);

impl ContactPoint {
    pub(super) fn stray(&mut self, ctx: &mut Ctx<'_>, message: &Message, from: Hop, out: &mut Outbox) {
        if ctx.now.since(self.started) > WINDOW {
            return;
        }
        let msg = message.msg();
        self.edit.clear();
        let passed = match from_tunnel(&from) {
            true => self.stray_of_agent(ctx, message, msg, from, out),
            false => self.stray_of_operator(ctx, message, msg, from, out),
        };
        if passed.is_none() {
            self.counters.strays += 1;
        }
    }

    /// A phone answers the operator.
    fn stray_of_agent(
        &mut self,
        ctx: &mut Ctx<'_>,
        message: &Message,
        msg: Msg<'_>,
        from: Hop,
        out: &mut Outbox,
    ) -> Option<()> {
        let via = Branch::proves(self.key.as_ref()?, msg)?;
        let (peer, transport) = via_address(&via)?;
        let link = self.half.links.of(&from)?;
        let owner_id = self.half.links.get(link)?.owner;
        if !self.is_operator(peer.ip()) && peer != self.config.sip {
            return None;
        }
        let status = msg.status()?;
        admission::strip_response(msg, &mut self.edit);
        let routes = self.half.calls.routes_of_stray(link, msg);
        self.edit.remove_values(msg, HeaderId::RecordRoute, |value| !routes.iter().any(|r| **r == *value));
        let mut seq = None;
        if (101..300).contains(&status) {
            seq = self.contacts_to_tokens(ctx, owner_id, msg, out).unwrap_or_default();
        }
        let config = &self.config;
        let allowed = |to| config.media_allowed(to);
        let passing = Passing {
            now: ctx.now,
            link,
            msg,
            from_phone: false,
            near: None,
            nonce: ctx.random(),
            allowed: &allowed,
            keys: LaneKeys::default(),
        };
        let body = self.half.calls.stray(&passing, &mut self.half.links, out);
        if let Some(Some(body)) = body {
            self.edit.set_body(msg, &body);
        }
        if let Some(key) = DialogKey::of(msg, false) {
            if begins_dialog(msg) && (101..300).contains(&status) && !routes.is_empty() {
                self.note_dialog_with(ctx, owner_id, key, routes, out);
            } else if msg.cseq()?.method == Method::Bye && status >= 200 {
                self.end_dialog(owner_id, &key, out);
            }
        }
        let hop = self.half.hub.hop(ctx.now, peer, transport, out);
        let (half, edit) = (&mut self.half, &mut self.edit);
        let mut forward = |out: &mut Outbox| {
            let (core, mut wire) = half.split(out);
            core.forward_stray(message, hop, edit, &mut wire);
        };
        match seq {
            Some(seq) => out.gated(seq, forward),
            None => forward(out),
        }
        Some(())
    }

    /// The operator answers a call of a phone. Of everything else the agent will send the request again.
    fn stray_of_operator(
        &mut self,
        ctx: &mut Ctx<'_>,
        message: &Message,
        msg: Msg<'_>,
        from: Hop,
        out: &mut Outbox,
    ) -> Option<()> {
        Branch::proves(self.key.as_ref()?, msg)?;
        let link = self.half.calls.link_of_stray(msg)?;
        if !self.is_operator(from.peer.ip()) && from.peer != self.config.sip {
            return None;
        }
        let hop = self.half.links.get(link).map(Link::hop)?;
        self.edit_operators_response(ctx, hop, msg, out);
        let config = &self.config;
        let allowed = |to| config.media_allowed(to);
        let passing = Passing {
            now: ctx.now,
            link,
            msg,
            from_phone: true,
            near: None,
            nonce: ctx.random(),
            allowed: &allowed,
            keys: LaneKeys::default(),
        };
        if let Some(body) = self.half.calls.stray(&passing, &mut self.half.links, out)? {
            self.edit.set_body(msg, &body);
        }
        let (core, mut wire) = self.half.split(out);
        core.forward_stray(message, hop, &mut self.edit, &mut wire);
        Some(())
    }
}
