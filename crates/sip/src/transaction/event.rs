//! What a layer tells its element.

use super::Hop;
use crate::Message;
use std::num::NonZeroU64;

/// A client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub(super) NonZeroU64);

impl From<ClientId> for u64 {
    /// Its serial number.
    fn from(id: ClientId) -> Self {
        id.0.get()
    }
}

/// A server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub(super) NonZeroU64);

impl From<ServerId> for u64 {
    /// Its serial number.
    fn from(id: ServerId) -> Self {
        id.0.get()
    }
}

/// Why a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is the element's own.
    Own,
    /// It is a copy of one that the element has received.
    Copy {
        /// That request.
        of: ServerId,
        /// Which of its copies, counted from 0.
        branch: u32,
    },
    /// It is the CANCEL of another, sent by [`Layer::cancel`](super::Layer::cancel).
    Cancel,
}

/// Why a client transaction ended without a final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer in time: to be taken as a 408 (RFC 3261 §8.1.3.1).
    Timeout,
    /// The connection is gone: to be taken as a 503.
    Transport,
}

/// What an element should know.
#[derive(Debug)]
pub enum Event {
    /// A new request; the element answers it by [`Layer::respond`](super::Layer::respond).
    Request {
        /// Its transaction.
        id: ServerId,
        /// The request, with `received` and `rport` filled in.
        message: Message,
        /// Where it came from.
        from: Hop,
    },
    /// An ACK that belongs to no transaction: it is for a 2xx.
    Ack {
        /// The ACK.
        message: Message,
        /// Where it came from.
        from: Hop,
    },
    /// A CANCEL for this INVITE; it has been answered with 200 already.
    Cancel {
        /// The transaction of the INVITE.
        id: ServerId,
        /// The CANCEL.
        message: Message,
    },
    /// A response: every provisional one, the final one, and further 2xx to an INVITE.
    Response {
        /// Which request it answers.
        id: ClientId,
        /// Why that was sent.
        purpose: Purpose,
        /// The response.
        message: Message,
    },
    /// No final response will come.
    Failed {
        /// Of which request.
        id: ClientId,
        /// Why that was sent.
        purpose: Purpose,
        /// Why.
        why: Failure,
    },
    /// A response that belongs to no transaction.
    Stray {
        /// The response.
        message: Message,
        /// Where it came from.
        from: Hop,
    },
    /// The ACK for a 300–699 never came (timer H).
    Unacknowledged {
        /// The transaction of the INVITE.
        id: ServerId,
    },
    /// A client transaction is over; nothing more comes from it.
    ClientEnded {
        /// Which.
        id: ClientId,
        /// Why its request was sent.
        purpose: Purpose,
    },
    /// A server transaction is over; it can no longer be answered.
    ServerEnded {
        /// Which.
        id: ServerId,
    },
}
