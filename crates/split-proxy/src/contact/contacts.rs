//! Contacts on their way to the operator.

use super::ContactPoint;
use super::admission::Denied;
use causeway_node::{Ctx, Outbox};
use causeway_sip::transaction::Transport;
use causeway_sip::{Contact, Msg};

/// The contact that is the path of an agent's requests: it has none of its own.
pub(super) const PATH_CONTACT: &[u8] = b"";
/// Contacts of one message that are looked at.
const MAX_CONTACTS: usize = 16;

impl ContactPoint {
    /// Replaces the contacts of a message from an agent by their tokens; the record to wait for, if any is new.
    pub(super) fn contacts_to_tokens(
        &mut self,
        ctx: &mut Ctx<'_>,
        owner_id: usize,
        msg: Msg<'_>,
        out: &mut Outbox,
    ) -> Result<Option<u64>, Denied> {
        let Some(owner) = self.owners.get(owner_id) else { return Ok(None) };
        let limits = &self.config.limits;
        let most = match owner.is_admitted(ctx.unix_ms) {
            true => limits.contacts,
            false => limits.contacts.min(limits.unregistered_burst as usize),
        };
        let mut last = None;
        for contact in msg.contacts().take(MAX_CONTACTS).flatten() {
            let Contact::Addr(addr) = contact else { continue };
            if !addr.uri().is_some_and(|uri| uri.scheme.is_sip()) {
                continue;
            }
            if !self.tokens.has(owner_id, addr.uri) && !self.tokens.make_room(owner_id, most, out) {
                return Err(Denied::Contacts);
            }
            let (name, seq) = self.tokens.of(ctx, owner_id, owner.instance, addr.uri, out);
            last = seq.or(last);
            let uri = self.token_uri(&name);
            match addr.bracketed {
                true => self.edit.replace(msg, addr.uri, &[&uri]),
                false => self.edit.replace(msg, addr.uri, &[b"<", &uri, b">"]),
            }
        }
        Ok(last)
    }

    fn token_uri(&self, name: &[u8]) -> Vec<u8> {
        let transport: &[u8] = match self.config.upstream_transport {
            Transport::Tcp => b";transport=tcp",
            _ => b"",
        };
        [b"sip:", name, b"@", self.name.as_bytes(), transport].concat()
    }

    /// RFC 3327 §5.1: requests for what is registered shall visit this contact point, with the agent's token.
    pub(super) fn add_path(&mut self, ctx: &mut Ctx<'_>, owner_id: usize, msg: Msg<'_>, out: &mut Outbox) {
        let Some(owner) = self.owners.get(owner_id) else { return };
        let (name, _) = self.tokens.of(ctx, owner_id, owner.instance, PATH_CONTACT, out);
        let uri = self.token_uri(&name);
        self.edit.append(msg, b"Path", &[b"<", &uri, b";lr>"]);
    }
}
