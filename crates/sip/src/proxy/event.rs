//! What the core asks and tells its element.

#[cfg(doc)]
use super::{Core, Manner};
use crate::Message;
#[cfg(doc)]
use crate::transaction::Timing;
use crate::transaction::{ClientId, Failure, Hop, ServerId};

/// What an element should decide or know.
#[derive(Debug)]
pub enum Event {
    /// A new request (neither ACK nor CANCEL): forward it or reply. An INVITE that gets no
    /// other response within [`Timing::trying_after`] is answered 100.
    Request {
        /// Names it from now on.
        id: ServerId,
        /// The request as received, `received` and `rport` filled in.
        message: Message,
        /// Where it came from.
        from: Hop,
    },
    /// A response to go upstream now: provisional, 2xx, or the best of the finals. Edit it and
    /// [`Core::relay`] it; its top Via is still this element's own.
    Response {
        /// The request it answers.
        id: ServerId,
        /// The index of the branch it came on, in the order of [`Core::forward`].
        branch: usize,
        /// The response.
        message: Message,
    },
    /// All branches of a context kept open by [`Core::keep_open`] have failed: forward another, or
    /// [`Core::conclude`].
    Exhausted {
        /// The request.
        id: ServerId,
    },
    /// A branch that was sent with [`Manner::has_alternative`] has not reached anybody: no answer, no connection, a
    /// 503, or a 430 (RFC 3263 §4.3, RFC 5626 §5.3). Forward to the next place and [`Core::supersede`] this branch,
    /// or [`Core::give_up`].
    Unreachable {
        /// The request.
        id: ServerId,
        /// The branch.
        branch: usize,
        /// 408 without any answer, 503 without a connection, else the status received.
        status: u16,
    },
    /// What became of a request of the element's own, sent by [`Core::send_own`]: a response (provisional ones
    /// too), or why none will come.
    Own {
        /// Its transaction.
        client: ClientId,
        /// The response.
        outcome: Result<Message, Failure>,
    },
    /// A response that belongs to no transaction, told only where [`Core::taking_strays`] was asked for: route it by
    /// its Via fields, if [`crate::transaction::Branch::proves`] that they are ours (RFC 3261 §16.7), by
    /// [`Core::forward_stray`].
    Stray {
        /// The response.
        message: Message,
        /// Where it came from.
        from: Hop,
    },
    /// An ACK for a 2xx: route it by [`Core::forward_ack`].
    Ack {
        /// The ACK.
        message: Message,
        /// Where it came from.
        from: Hop,
    },
    /// A branch has come to its end without a 2xx. For the element's own books.
    Refused {
        /// The request.
        id: ServerId,
        /// The branch.
        branch: usize,
        /// Its final status; 408 and 503 also where none was received.
        status: u16,
    },
    /// The caller has cancelled; the branches have been told. For the element's own books.
    Cancelled {
        /// The INVITE.
        id: ServerId,
    },
    /// A final response that the core itself made has gone upstream: a timeout, a failed connection, a
    /// request that no proxy may forward.
    Answered {
        /// The request.
        id: ServerId,
        /// Its status code.
        status: u16,
    },
    /// Nothing more will come of this request, but for repetitions of the 2xx if it was released: forget it.
    Ended {
        /// The request.
        id: ServerId,
    },
}
