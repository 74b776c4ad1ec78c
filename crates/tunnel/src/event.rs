//! What a tunnel tells its owner.

use crate::key::KeyMessage;
use crate::key::KeyStats;
use crate::{CloseReason, ControlError, GoodbyeReason, Hello, Kind, Lane, LaneStats, Resume, Stale};
use causeway_node::Time;
use std::time::Duration;
use thiserror::Error;

/// Something that happened on a tunnel.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The peer has said Hello: lanes can be opened.
    Up(&'a Hello),
    /// Further bytes of the stream of SIP messages, cut anywhere.
    Sip(&'a [u8]),
    /// A datagram on an open lane.
    Datagram {
        /// Its lane.
        lane: Lane,
        /// Its payload; may be empty.
        payload: &'a [u8],
    },
    /// Somebody has connected at the other end of a stream.
    StreamBegun {
        /// Its lane.
        lane: Lane,
    },
    /// Further bytes of a stream; whoever hands them on says so by [`crate::Tunnel::consumed`].
    Stream {
        /// Its lane.
        lane: Lane,
        /// At most as many as the peer was told that there is room for.
        bytes: &'a [u8],
    },
    /// The peer will send no more on a stream.
    StreamEnded {
        /// Its lane.
        lane: Lane,
    },
    /// The peer has opened a lane, for both directions.
    LaneOpened {
        /// Its number.
        lane: Lane,
        /// What it carries.
        kind: Kind,
        /// What the peer says it belongs to.
        token: &'a [u8],
    },
    /// The peer has closed a lane (or refused to open it); it can no longer be used.
    LaneClosed {
        /// Its number.
        lane: Lane,
        /// Why.
        reason: CloseReason,
    },
    /// The peer says something about the key of a user. Frames that follow in the input may already be sealed by
    /// it, so that it is to be acted upon before the next call. [`KeyMessage::Bind`] has been obeyed already.
    Key(KeyMessage),
    /// At the contact point: the agent wants to go on with another session. Let the tunnel of that session
    /// [`crate::Tunnel::adopt`] this one, or [`crate::Tunnel::begin_afresh`]. What does neither begins afresh
    /// with the next call of [`crate::Tunnel::next`].
    Asked(Resume),
    /// At the agent: the session goes on. `peer_lost` says that the contact point has restarted since (or the agent
    /// itself has): it knows neither transactions nor the beginning of a message that was cut, and receives from
    /// a whole message on.
    Resumed {
        /// Whether it has.
        peer_lost: bool,
    },
    /// At the agent: the session does not go on. A new one has begun on this connection, without lanes, and
    /// what waited is gone; [`Event::Up`] follows.
    Fresh(Stale),
    /// At the agent: a ticket has come. Keep [`crate::Tunnel::saved`], then call
    /// [`crate::Tunnel::ticket_kept`].
    Ticket,
    /// At the contact point: the agent has kept its ticket, and the one before is void.
    TicketKept,
    /// At the agent: the contact point is going, and says goodbye once no call is left on the tunnel, or this time has
    /// passed; whatever is new should take another way. At the contact point: the agent has no other.
    Leaving {
        /// Whole seconds.
        grace: Duration,
    },
    /// The tunnel is over: send what [`crate::Tunnel::fill`] still gives, then close the connection.
    Dead(Why),
}

/// Why a tunnel is over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Why {
    /// The peer has left in good order.
    #[error("the peer said goodbye ({reason:?}): {text}")]
    Goodbye {
        /// Its reason.
        reason: GoodbyeReason,
        /// Its words.
        text: String,
    },
    /// The peer says that we have broken the protocol.
    #[error("the peer reports error {code}: {text}")]
    PeerError {
        /// 1 malformed, 2 not this protocol or version, 3 unknown feature, 4 state, 5 limit.
        code: u8,
        /// Its words.
        text: String,
    },
    /// The peer has broken the protocol.
    #[error("the peer broke the tunnel protocol: {0}")]
    Fault(Fault),
    /// No Hello came in time.
    #[error("the peer did not say hello in time")]
    Handshake,
    /// The peer has not been heard for too long after a ping.
    #[error("the peer does not answer")]
    Silent,
    /// The peer makes us answer and does not read the answers.
    #[error("the peer does not read")]
    Deaf,
}

/// What a peer has done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// A control message that cannot be understood.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Its first message was not a Hello.
    #[error("the first message is not a Hello")]
    NotHello,
    /// It said Hello again.
    #[error("a second Hello")]
    HelloTwice,
    /// It claims to be the half that we are.
    #[error("both ends claim the same role")]
    SameRole,
    /// A frame is longer than allowed.
    #[error("a frame of {len} bytes on {lane:?}, more than {max}")]
    TooLong {
        /// Its lane.
        lane: Lane,
        /// Its length as announced.
        len: usize,
        /// What is allowed.
        max: usize,
    },
    /// A frame or a close for a lane that is not open.
    #[error("{0:?} is not open")]
    UnknownLane(Lane),
    /// A lane number out of range, of the wrong parity, or in use.
    #[error("{0:?} cannot be opened by the peer")]
    LaneNumber(Lane),
    /// More bytes on a stream than there is room for, or after its end.
    #[error("more on {0:?} than it was given room for")]
    Window(Lane),
    /// More control messages than allowed.
    #[error("too many control messages")]
    Flood,
    /// More frames on lanes that lead nowhere than allowed.
    #[error("too many frames on lanes that lead nowhere")]
    Strays,
    /// More datagrams than its owner lets a peer send.
    #[error("too many packets a second")]
    Pace,
    /// More SIP that is refused than its owner puts up with.
    #[error("too many requests that were refused")]
    Refusals,
    /// An acknowledgement of SIP that was never sent, or one that goes back.
    #[error("SIP is acknowledged that was not sent")]
    Ack,
    /// A message about resumption where none is due.
    #[error("a message about resumption that is not due")]
    NotAsked,
    /// The contact point does not know the secret of the session.
    #[error("the peer cannot prove that it is the one whose session this is")]
    Proof,
}

impl Fault {
    /// The code that is sent in an error message.
    pub const fn code(self) -> u8 {
        match self {
            Self::Control(error) => error.code(),
            Self::NotHello
            | Self::HelloTwice
            | Self::SameRole
            | Self::UnknownLane(_)
            | Self::LaneNumber(_)
            | Self::Ack
            | Self::NotAsked
            | Self::Proof => 4,
            Self::TooLong { .. }
            | Self::Window(_)
            | Self::Flood
            | Self::Strays
            | Self::Pace
            | Self::Refusals => 5,
        }
    }
}

/// The queue for SIP is full ([`crate::Config::sip_bytes`]), or the tunnel is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the tunnel takes no more SIP for now")]
pub struct SipFull;

/// Why a lane cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The peer has not said Hello yet, or the tunnel is over.
    #[error("the tunnel is not up")]
    NotUp,
    /// One of the ends allows no more lanes.
    #[error("the tunnel has as many lanes as it may have")]
    TooMany,
}

/// Counters of a tunnel since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Lanes open now.
    pub lanes: usize,
    /// All datagram lanes together, closed ones included.
    pub datagrams: LaneStats,
    /// What has passed under keys, of all users together, forgotten ones included.
    pub keys: KeyStats,
    /// Bytes of SIP and datagrams that wait to be sent.
    pub waiting_bytes: usize,
    /// Which connection of its session this is: 0 for the first.
    pub epoch: u32,
    /// How often the session has gone on with another connection.
    pub resumes: u32,
    /// Bytes of SIP that were sent again because of that.
    pub replayed_bytes: u64,
    /// Bytes of SIP given to a connection and not acknowledged.
    pub unacknowledged_bytes: u64,
    /// Bytes of SIP given to the connection.
    pub sip_sent_bytes: u64,
    /// Bytes of SIP received.
    pub sip_received_bytes: u64,
    /// All bytes given to the connection, frame headers and control included.
    pub stream_sent_bytes: u64,
    /// All bytes taken from the connection.
    pub stream_received_bytes: u64,
    /// The last measured round trip.
    pub rtt: Option<Duration>,
    /// When the connection was opened.
    pub started: Time,
    /// When something was received last.
    pub last_heard: Time,
    /// When something was sent last.
    pub last_sent: Time,
}
