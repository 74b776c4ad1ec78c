//! Control messages: what the two ends say to each other on lane 0.
//!
//! A control frame holds whole messages: type (u8), body length (u16, big endian), body. Types below 0x80
//! must be understood; unknown ones from 0x80 up are skipped. A body may be longer than this version knows,
//! the surplus is ignored.

use crate::key::KeyMessage;
use crate::proof::{Proof, SessionId};
use crate::{Instance, Kind, Lane, Role};
use thiserror::Error;

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;
/// Bytes of a control message before its body.
pub const MESSAGE_HEADER: usize = 3;
/// The longest leg token of a lane.
pub const MAX_TOKEN: usize = 64;
/// The longest text of a goodbye or an error; longer ones are cut.
pub const MAX_TEXT: usize = 200;

const MAGIC: [u8; 4] = *b"CWTL";
const HELLO: u8 = 0x01;
const LANE_OPEN: u8 = 0x02;
const LANE_CLOSE: u8 = 0x03;
const PING: u8 = 0x04;
const PONG: u8 = 0x05;
const GOODBYE: u8 = 0x06;
const ERROR: u8 = 0x07;
const SIP_ACK: u8 = 0x10;
const TICKET: u8 = 0x20;
const RESUMED: u8 = 0x21;
const FRESH: u8 = 0x22;
const LANES_DONE: u8 = 0x23;
const TICKET_TAKEN: u8 = 0x24;
const STREAM_CREDIT: u8 = 0x11;
const STREAM_BEGIN: u8 = 0x12;
const LEAVING: u8 = 0x80;
/// Unknown message types and Hello parameters from here up may be skipped.
const OPTIONAL: u8 = 0x80;
const HELLO_FIXED: usize = 20;
/// Bytes of the value of [`PARAM_RESUME`].
const RESUME: u8 = 16 + 4 + 4 + 8 + 32;
const PARAM_RESUME: u8 = 0x01;
const PARAM_SOFTWARE: u8 = 0x81;
const PARAM_INSTANCE: u8 = 0x82;

/// The first message of each end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which half the sender is.
    pub role: Role,
    /// How many lanes the sender lets be open at once, whoever opens them. Lane numbers lie below
    /// 16 + 2 × this.
    pub max_lanes: u16,
    /// The longest frame payload that the sender takes, at least [`Hello::MIN_FRAME`].
    pub max_frame: u16,
    /// The sender is heard at least this often, in seconds.
    pub keep_alive: u16,
    /// Feature bits that the other end must know, or refuse. None is defined in version 1.
    pub required: u32,
    /// Feature bits that the sender understands: [`crate::key::FEATURE`].
    pub offered: u32,
    /// What the sender runs, for status pages; at most 64 bytes.
    pub software: String,
    /// Stable identity of this agent or contact point, if it has one.
    pub instance: Option<Instance>,
    /// Of an agent that wants to go on with a session: which, and the proof that it is its own.
    pub resume: Option<Resume>,
}

/// An agent's wish to go on with a session on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Names the session; no secret.
    pub session: SessionId,
    /// Higher than that of every connection that the session has had.
    pub epoch: u32,
    /// From which epoch on SIP is counted: 0, or the last at which an end had lost its memory; [`Resume::epoch`]
    /// if the agent itself has.
    pub era: u32,
    /// How many bytes of SIP the agent has received since.
    pub received: u64,
    /// A MAC that nobody else can make, on no other connection.
    pub proof: Proof,
}

impl Hello {
    /// The least [`Hello::max_frame`] that may be announced: an Ethernet packet fits.
    pub const MIN_FRAME: u16 = 1500;
    const MAX_SOFTWARE: usize = 64;
}

/// Why a lane is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Its medium has ended, or the other end has closed it.
    Ended,
    /// The receiver has too many lanes open.
    TooMany,
    /// The receiver does not know this kind of lane.
    UnknownKind,
    /// A reason that this version does not know.
    Unknown(u8),
}

impl CloseReason {
    const fn code(self) -> u8 {
        match self {
            Self::Ended => 0,
            Self::TooMany => 1,
            Self::UnknownKind => 2,
            Self::Unknown(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Ended,
            1 => Self::TooMany,
            2 => Self::UnknownKind,
            code => Self::Unknown(code),
        }
    }
}

/// Why an end leaves in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoodbyeReason {
    /// Nothing needs the tunnel.
    Idle,
    /// The sender is stopping or restarting; try again.
    ShuttingDown,
    /// The sender has too much to do; try again later.
    Overloaded,
    /// The sender does not want this peer.
    Refused,
    /// The same agent has opened another tunnel, which takes this one's place.
    Replaced,
    /// The two ends do not share one TLS connection: somebody stands between them.
    Intercepted,
    /// A reason that this version does not know.
    Unknown(u8),
}

impl GoodbyeReason {
    const fn code(self) -> u8 {
        match self {
            Self::Idle => 0,
            Self::ShuttingDown => 1,
            Self::Overloaded => 2,
            Self::Refused => 3,
            Self::Replaced => 4,
            Self::Intercepted => 5,
            Self::Unknown(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Idle,
            1 => Self::ShuttingDown,
            2 => Self::Overloaded,
            3 => Self::Refused,
            4 => Self::Replaced,
            5 => Self::Intercepted,
            code => Self::Unknown(code),
        }
    }
}

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The first message of each end.
    Hello(Hello),
    /// Opens a lane for both directions.
    LaneOpen {
        /// A number of the sender's parity that is not in use.
        lane: Lane,
        /// What it carries, as a code: an unknown one is answered by closing the lane.
        kind: Result<Kind, u8>,
        /// What the opener says the lane belongs to; at most [`MAX_TOKEN`] bytes.
        token: &'a [u8],
    },
    /// Closes a lane, or confirms its closing.
    LaneClose {
        /// Which.
        lane: Lane,
        /// Why.
        reason: CloseReason,
    },
    /// The sender has room for so many more bytes of a stream.
    StreamCredit {
        /// Its lane.
        lane: Lane,
        /// How many more.
        bytes: u32,
    },
    /// Somebody has connected at the sender's end of a stream.
    StreamBegin {
        /// Its lane.
        lane: Lane,
    },
    /// Asks for a [`Message::Pong`] with the same bytes.
    Ping([u8; 8]),
    /// The answer to a ping.
    Pong([u8; 8]),
    /// The sender closes the connection after this.
    Goodbye {
        /// Why.
        reason: GoodbyeReason,
        /// For people.
        text: &'a str,
    },
    /// The sender closes the connection because of what it has received.
    Error {
        /// See [`ControlError::code`].
        code: u8,
        /// For people.
        text: &'a str,
    },
    /// About the keys of users.
    Key(KeyMessage),
    /// The sender has handled this many bytes of SIP, counted from the beginning of the session.
    SipAck(u64),
    /// From the contact point: what the agent needs to go on with this session on another connection.
    Ticket {
        /// Names the session.
        session: SessionId,
        /// That of this connection.
        epoch: u32,
        /// For how many seconds without a connection the session is kept.
        grace: u16,
        /// Becomes the resumption secret together with this connection's exporter.
        seed: &'a [u8; 32],
    },
    /// The contact point's answer to [`Hello::resume`]: the session goes on.
    Resumed {
        /// The agent's own where SIP goes on; else this connection's epoch, and both count from 0 again.
        era: u32,
        /// How many bytes of SIP it has received since.
        received: u64,
        /// A MAC that nobody else can make, on no other connection.
        proof: Proof,
    },
    /// Its other answer: a new session begins on this connection.
    Fresh(Stale),
    /// All lanes of the sender that live on are open again.
    LanesDone,
    /// From the agent: the ticket of this epoch is kept, older ones are of no use any more.
    TicketTaken(u32),
    /// From the contact point: it will say goodbye once no call is left on the tunnel, or so many seconds have passed.
    /// From an agent: it has no other contact point and stays until then.
    Leaving(u16),
}

/// Why a session cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Stale {
    /// It is not known (any more), or the proof is not the one that its ticket makes.
    #[error("there is no such session, or the ticket is not its own")]
    Unknown,
    /// The epoch is not higher than the last: the ticket has been used.
    #[error("the ticket has been used before")]
    Replayed,
    /// It claims to have received what was never sent, or to lack what it has acknowledged.
    #[error("the offsets of the SIP lane cannot be")]
    Offsets,
    /// A reason that this version does not know.
    #[error("for reason {0}")]
    Other(u8),
}

impl Stale {
    const fn code(self) -> u8 {
        match self {
            Self::Unknown => 1,
            Self::Replayed => 2,
            Self::Offsets => 3,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Unknown,
            2 => Self::Replayed,
            3 => Self::Offsets,
            code => Self::Other(code),
        }
    }
}

/// What is wrong with a received control message or frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ControlError {
    /// The frame ends inside a message, or the message inside a field.
    #[error("a control message of type {0:#04x} is cut short")]
    Short(u8),
    /// A message type that must be understood and is not.
    #[error("control message type {0:#04x} is unknown and not optional")]
    UnknownType(u8),
    /// A Hello of something else.
    #[error("the peer does not speak the tunnel protocol")]
    Magic,
    /// A Hello of another version.
    #[error("the peer speaks version {0} of the tunnel protocol, not {VERSION}")]
    Version(u8),
    /// A Hello parameter or feature that must be understood and is not.
    #[error("the peer demands a feature that is unknown here ({0:#x})")]
    Feature(u32),
    /// A field has a value that it must not have.
    #[error("a field of control message type {0:#04x} has a value out of range")]
    Value(u8),
    /// The text is not UTF-8.
    #[error("the text of a control message is not UTF-8")]
    Text,
}

impl ControlError {
    /// The code that is sent in [`Message::Error`].
    pub const fn code(self) -> u8 {
        match self {
            Self::Magic | Self::Version(_) => 2,
            Self::UnknownType(_) | Self::Feature(_) => 3,
            Self::Short(_) | Self::Value(_) | Self::Text => 1,
        }
    }
}

impl<'a> Message<'a> {
    /// Appends the message to a control frame's payload.
    pub fn encode(&self, buf: &mut Vec<u8>) {
        let start = buf.len();
        buf.extend_from_slice(&[self.type_code(), 0, 0]);
        match self {
            Self::Hello(hello) => encode_hello(hello, buf),
            Self::LaneOpen { lane, kind, token } => {
                let token = token.get(..MAX_TOKEN).unwrap_or(token);
                buf.extend_from_slice(&lane.0.to_be_bytes());
                buf.push(kind.map_or_else(|code| code, Kind::code));
                buf.push(token.len() as u8);
                buf.extend_from_slice(token);
            }
            Self::LaneClose { lane, reason } => {
                buf.extend_from_slice(&lane.0.to_be_bytes());
                buf.push(reason.code());
            }
            Self::StreamCredit { lane, bytes } => {
                buf.extend_from_slice(&lane.0.to_be_bytes());
                buf.extend_from_slice(&bytes.to_be_bytes());
            }
            Self::StreamBegin { lane } => buf.extend_from_slice(&lane.0.to_be_bytes()),
            Self::Ping(opaque) | Self::Pong(opaque) => buf.extend_from_slice(opaque),
            Self::Goodbye { reason, text } => encode_text(reason.code(), text, buf),
            Self::Error { code, text } => encode_text(*code, text, buf),
            Self::Key(message) => message.put_body(buf),
            Self::SipAck(offset) => buf.extend_from_slice(&offset.to_be_bytes()),
            Self::Ticket { session, epoch, grace, seed } => {
                buf.extend_from_slice(&session.0);
                buf.extend_from_slice(&epoch.to_be_bytes());
                buf.extend_from_slice(&grace.to_be_bytes());
                buf.extend_from_slice(*seed);
            }
            Self::Resumed { era, received, proof } => {
                buf.extend_from_slice(&era.to_be_bytes());
                buf.extend_from_slice(&received.to_be_bytes());
                buf.extend_from_slice(&proof.0);
            }
            Self::Fresh(why) => buf.push(why.code()),
            Self::LanesDone => {}
            Self::TicketTaken(epoch) => buf.extend_from_slice(&epoch.to_be_bytes()),
            Self::Leaving(grace) => buf.extend_from_slice(&grace.to_be_bytes()),
        }
        let len = (buf.len() - start - MESSAGE_HEADER) as u16;
        buf[start + 1..start + MESSAGE_HEADER].copy_from_slice(&len.to_be_bytes());
    }

    /// Takes the first message off `payload`; `None` for one that was unknown and could be skipped.
    pub fn decode(payload: &mut &'a [u8]) -> Result<Option<Self>, ControlError> {
        let mut input = Reader(payload);
        let code = input.u8().ok_or(ControlError::Short(0))?;
        let len = input.u16().ok_or(ControlError::Short(code))?;
        let body = input.take(usize::from(len)).ok_or(ControlError::Short(code))?;
        *payload = input.0;
        Self::decode_body(code, Reader(body))
    }

    fn decode_body(code: u8, mut body: Reader<'a>) -> Result<Option<Self>, ControlError> {
        let short = ControlError::Short(code);
        Ok(Some(match code {
            HELLO => Self::Hello(decode_hello(body)?),
            LANE_OPEN => {
                let lane = Lane(body.u16().ok_or(short)?);
                let kind = body.u8().ok_or(short)?;
                let len = usize::from(body.u8().ok_or(short)?);
                let token = body.take(len).ok_or(short)?;
                if len > MAX_TOKEN {
                    return Err(ControlError::Value(code));
                }
                Self::LaneOpen { lane, kind: Kind::from_code(kind).ok_or(kind), token }
            }
            LANE_CLOSE => Self::LaneClose {
                lane: Lane(body.u16().ok_or(short)?),
                reason: CloseReason::from_code(body.u8().ok_or(short)?),
            },
            STREAM_CREDIT => Self::StreamCredit {
                lane: Lane(body.u16().ok_or(short)?),
                bytes: u32::from_be_bytes(body.array().ok_or(short)?),
            },
            STREAM_BEGIN => Self::StreamBegin { lane: Lane(body.u16().ok_or(short)?) },
            PING => Self::Ping(body.array().ok_or(short)?),
            PONG => Self::Pong(body.array().ok_or(short)?),
            GOODBYE => {
                let reason = GoodbyeReason::from_code(body.u8().ok_or(short)?);
                Self::Goodbye { reason, text: body.text()? }
            }
            ERROR => Self::Error { code: body.u8().ok_or(short)?, text: body.text()? },
            0x30..=0x34 => Self::Key(KeyMessage::read(code, body)?),
            SIP_ACK => Self::SipAck(body.u64().ok_or(short)?),
            TICKET => Self::Ticket {
                session: SessionId(body.array().ok_or(short)?),
                epoch: body.u32().ok_or(short)?,
                grace: body.u16().ok_or(short)?,
                seed: body.take(32).and_then(|seed| seed.try_into().ok()).ok_or(short)?,
            },
            RESUMED => Self::Resumed {
                era: body.u32().ok_or(short)?,
                received: body.u64().ok_or(short)?,
                proof: Proof(body.array().ok_or(short)?),
            },
            FRESH => Self::Fresh(Stale::from_code(body.u8().ok_or(short)?)),
            LANES_DONE => Self::LanesDone,
            TICKET_TAKEN => Self::TicketTaken(body.u32().ok_or(short)?),
            LEAVING => Self::Leaving(body.u16().ok_or(short)?),
            code if code >= OPTIONAL => return Ok(None),
            _ => return Err(ControlError::UnknownType(code)),
        }))
    }

    const fn type_code(&self) -> u8 {
        match self {
            Self::Key(message) => message.type_code(),
            Self::Hello(_) => HELLO,
            Self::LaneOpen { .. } => LANE_OPEN,
            Self::LaneClose { .. } => LANE_CLOSE,
            Self::StreamCredit { .. } => STREAM_CREDIT,
            Self::StreamBegin { .. } => STREAM_BEGIN,
            Self::Ping(_) => PING,
            Self::Pong(_) => PONG,
            Self::Goodbye { .. } => GOODBYE,
            Self::Error { .. } => ERROR,
            Self::SipAck(_) => SIP_ACK,
            Self::Ticket { .. } => TICKET,
            Self::Resumed { .. } => RESUMED,
            Self::Fresh(_) => FRESH,
            Self::LanesDone => LANES_DONE,
            Self::TicketTaken(_) => TICKET_TAKEN,
            Self::Leaving(_) => LEAVING,
        }
    }
}

fn encode_hello(hello: &Hello, buf: &mut Vec<u8>) {
    buf.extend_from_slice(&MAGIC);
    buf.push(VERSION);
    buf.push(hello.role.code());
    buf.extend_from_slice(&hello.max_lanes.to_be_bytes());
    buf.extend_from_slice(&hello.max_frame.to_be_bytes());
    buf.extend_from_slice(&hello.keep_alive.to_be_bytes());
    buf.extend_from_slice(&hello.required.to_be_bytes());
    buf.extend_from_slice(&hello.offered.to_be_bytes());
    let software = cut(&hello.software, Hello::MAX_SOFTWARE);
    if !software.is_empty() {
        buf.extend_from_slice(&[PARAM_SOFTWARE, software.len() as u8]);
        buf.extend_from_slice(software.as_bytes());
    }
    if let Some(Instance(instance)) = &hello.instance {
        buf.extend_from_slice(&[PARAM_INSTANCE, 16]);
        buf.extend_from_slice(instance);
    }
    if let Some(resume) = &hello.resume {
        buf.extend_from_slice(&[PARAM_RESUME, RESUME]);
        buf.extend_from_slice(&resume.session.0);
        buf.extend_from_slice(&resume.epoch.to_be_bytes());
        buf.extend_from_slice(&resume.era.to_be_bytes());
        buf.extend_from_slice(&resume.received.to_be_bytes());
        buf.extend_from_slice(&resume.proof.0);
    }
}

fn decode_resume(bytes: &[u8]) -> Option<Resume> {
    let mut body = Reader(bytes);
    Some(Resume {
        session: SessionId(body.array()?),
        epoch: body.u32()?,
        era: body.u32()?,
        received: body.u64()?,
        proof: Proof(body.array()?),
    })
}

fn decode_hello(mut body: Reader<'_>) -> Result<Hello, ControlError> {
    let short = ControlError::Short(HELLO);
    let value = ControlError::Value(HELLO);
    if body.array::<4>().ok_or(ControlError::Magic)? != MAGIC {
        return Err(ControlError::Magic);
    }
    let version = body.u8().ok_or(short)?;
    if version != VERSION {
        return Err(ControlError::Version(version));
    }
    let mut hello = Hello {
        role: Role::from_code(body.u8().ok_or(short)?).ok_or(value)?,
        max_lanes: body.u16().ok_or(short)?,
        max_frame: body.u16().ok_or(short)?,
        keep_alive: body.u16().ok_or(short)?,
        required: u32::from_be_bytes(body.array().ok_or(short)?),
        offered: u32::from_be_bytes(body.array().ok_or(short)?),
        software: String::new(),
        instance: None,
        resume: None,
    };
    if hello.max_frame < Hello::MIN_FRAME || hello.keep_alive == 0 {
        return Err(value);
    }
    if hello.required != 0 {
        return Err(ControlError::Feature(hello.required));
    }
    while let Some(kind) = body.u8() {
        let len = usize::from(body.u8().ok_or(short)?);
        let bytes = body.take(len).ok_or(short)?;
        match kind {
            PARAM_SOFTWARE if len <= Hello::MAX_SOFTWARE => {
                hello.software = std::str::from_utf8(bytes).map_err(|_| ControlError::Text)?.to_owned();
            }
            PARAM_INSTANCE => hello.instance = Some(Instance(bytes.try_into().map_err(|_| value)?)),
            PARAM_RESUME => hello.resume = Some(decode_resume(bytes).ok_or(value)?),
            PARAM_SOFTWARE => return Err(value),
            OPTIONAL.. => {}
            _ => return Err(ControlError::Feature(u32::from(kind))),
        }
    }
    Ok(hello)
}

fn encode_text(code: u8, text: &str, buf: &mut Vec<u8>) {
    buf.push(code);
    buf.extend_from_slice(cut(text, MAX_TEXT).as_bytes());
}

/// The longest prefix of at most `max` bytes that ends between characters.
fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Result<&'a str, ControlError> {
        let text = std::str::from_utf8(self.0).map_err(|_| ControlError::Text)?;
        Ok(cut(text, MAX_TEXT))
    }
}

const _: () = assert!(HELLO_FIXED == 4 + 1 + 1 + 2 + 2 + 2 + 4 + 4);

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
