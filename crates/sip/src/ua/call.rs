//! One call: a session and the dialog that carries it (RFC 3261 §13 to §15), as a state and what it holds.

use super::dialog::Dialog;
use crate::Message;
use crate::transaction::{ClientId, ServerId};
use causeway_node::Time;
use std::time::Duration;

/// Where a call stands. Each state holds just what is known in it.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a call in the large state is what there is most of")]
pub(super) enum State {
    /// We called; no final answer yet.
    Calling {
        client: ClientId,
        invite: Message,
        /// We have hung up: a 2xx that comes all the same is acknowledged and ended at once.
        cancelled: bool,
        /// Credentials have been given; a further challenge is final.
        challenged: bool,
    },
    /// They called; it rings here until then, should nothing more be heard of the caller.
    Ringing { server: ServerId, invite: Message, tag: Vec<u8>, until: Time },
    /// They called, we answered; the 2xx is repeated until the ACK comes (§13.3.1.4).
    Answered {
        server: ServerId,
        dialog: Dialog,
        ok: Vec<u8>,
        invite: Message,
        again: Time,
        interval: Duration,
        give_up: Time,
    },
    /// Both sides talk. `ack` repeats for a repeated 2xx.
    Established { dialog: Dialog, ack: Option<Vec<u8>> },
    /// We sent BYE.
    Leaving,
}

/// A call with what is common to all states.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) state: State,
    /// Our session description, for an INVITE that must be sent again with credentials.
    pub(super) offer: Vec<u8>,
}

impl Call {
    /// The dialog, once there is one.
    pub(super) fn dialog(&self) -> Option<&Dialog> {
        match &self.state {
            State::Answered { dialog, .. } | State::Established { dialog, .. } => Some(dialog),
            _ => None,
        }
    }
}
