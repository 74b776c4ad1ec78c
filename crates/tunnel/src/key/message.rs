//! The control messages of user keys, types 0x30 to 0x34.

use super::{Assurance, Modes};
use crate::Lane;
use crate::control::{ControlError, Reader};
use std::fmt;

/// The longest address of record in an offer.
pub const MAX_AOR: usize = 255;

pub(crate) const OFFER: u8 = 0x30;
pub(crate) const ACCEPT: u8 = 0x31;
pub(crate) const CONFIRM: u8 = 0x32;
pub(crate) const DROP: u8 = 0x33;
pub(crate) const BIND: u8 = 0x34;

/// What the ends say to each other about user keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyMessage {
    /// The agent: a registration was accepted, here is what I can do with it.
    Offer(Box<Offer>),
    /// The contact point: this way, and I have the key.
    Accept(Box<Accept>),
    /// Either: I have the key as well, and from here on I seal with it.
    Confirm(Confirm),
    /// Either: there is no key (any more); from here on I do not seal.
    Drop {
        /// Whose.
        user: u32,
        /// Why.
        reason: DropReason,
    },
    /// The opener of a lane: it belongs to this user.
    Bind {
        /// An open lane that the sender has opened.
        lane: Lane,
        /// A user of an earlier offer, or 0 for none.
        user: u32,
    },
}

/// KeyOffer.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// The number that the agent has given to this user, on this tunnel for good; not 0.
    pub user: u32,
    /// Which key of this user on this tunnel: higher with each offer, from 1.
    pub epoch: u32,
    /// What the agent has a secret for, and would accept.
    pub modes: Modes,
    /// Random bytes of the agent.
    pub fresh: [u8; 32],
    /// Which Authorization it is, see [`super::credential_id`].
    pub credential: [u8; 16],
    /// The address of record in its canonical form, 1 to [`MAX_AOR`] bytes.
    pub aor: Box<[u8]>,
}

/// KeyAccept.
#[derive(Clone, PartialEq, Eq)]
pub struct Accept {
    /// As offered.
    pub user: u32,
    /// As offered.
    pub epoch: u32,
    /// One of those offered.
    pub mode: Assurance,
    /// Random bytes of the contact point.
    pub fresh: [u8; 32],
    /// See [`super::Schedule::accept_mac`].
    pub mac: [u8; 32],
}

/// KeyConfirm.
#[derive(Clone, PartialEq, Eq)]
pub struct Confirm {
    /// As offered.
    pub user: u32,
    /// As offered.
    pub epoch: u32,
    /// See [`super::Schedule::confirm_mac`].
    pub mac: [u8; 32],
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aor = String::from_utf8_lossy(&self.aor);
        write!(
            f,
            "Offer {{ user: {}, epoch: {}, modes: {:?}, aor: {aor} }}",
            self.user, self.epoch, self.modes
        )
    }
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accept {{ user: {}, epoch: {}, mode: {} }}", self.user, self.epoch, self.mode)
    }
}

impl fmt::Debug for Confirm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Confirm {{ user: {}, epoch: {} }}", self.user, self.epoch)
    }
}

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The registration has ended.
    Ended,
    /// None of the modes offered is on offer here, or it is less than is demanded here.
    Mode,
    /// The credential of the offer is not that of a registration known here.
    Unknown,
    /// There are too many users on this tunnel.
    TooMany,
    /// A confirmation was wrong.
    Unconfirmed,
    /// A reason that this version does not know.
    Other(u8),
}

impl DropReason {
    /// In words for people.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Ended => "the registration has ended",
            Self::Mode => "the ends have no assurance in common",
            Self::Unknown => "the other end does not know the registration",
            Self::TooMany => "too many users on this tunnel",
            Self::Unconfirmed => "a confirmation was wrong: the two ends do not share one TLS connection",
            Self::Other(_) => "for a reason that is not known here",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Ended => 0,
            Self::Mode => 1,
            Self::Unknown => 2,
            Self::TooMany => 3,
            Self::Unconfirmed => 4,
            Self::Other(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Ended,
            1 => Self::Mode,
            2 => Self::Unknown,
            3 => Self::TooMany,
            4 => Self::Unconfirmed,
            code => Self::Other(code),
        }
    }
}

impl Offer {
    pub(crate) fn put_body(&self, buf: &mut Vec<u8>) {
        let aor = self.aor.get(..MAX_AOR).unwrap_or(&self.aor);
        buf.extend_from_slice(&self.user.to_be_bytes());
        buf.extend_from_slice(&self.epoch.to_be_bytes());
        buf.push(self.modes.bits());
        buf.extend_from_slice(&self.fresh);
        buf.extend_from_slice(&self.credential);
        buf.push(aor.len() as u8);
        buf.extend_from_slice(aor);
    }
}

impl Accept {
    pub(crate) fn put_body_without_mac(&self, buf: &mut Vec<u8>) {
        buf.extend_from_slice(&self.user.to_be_bytes());
        buf.extend_from_slice(&self.epoch.to_be_bytes());
        buf.push(self.mode.code());
        buf.extend_from_slice(&self.fresh);
    }
}

impl KeyMessage {
    pub(crate) const fn type_code(&self) -> u8 {
        match self {
            Self::Offer(_) => OFFER,
            Self::Accept(_) => ACCEPT,
            Self::Confirm(_) => CONFIRM,
            Self::Drop { .. } => DROP,
            Self::Bind { .. } => BIND,
        }
    }

    pub(crate) fn put_body(&self, buf: &mut Vec<u8>) {
        match self {
            Self::Offer(offer) => offer.put_body(buf),
            Self::Accept(accept) => {
                accept.put_body_without_mac(buf);
                buf.extend_from_slice(&accept.mac);
            }
            Self::Confirm(confirm) => {
                buf.extend_from_slice(&confirm.user.to_be_bytes());
                buf.extend_from_slice(&confirm.epoch.to_be_bytes());
                buf.extend_from_slice(&confirm.mac);
            }
            Self::Drop { user, reason } => {
                buf.extend_from_slice(&user.to_be_bytes());
                buf.push(reason.code());
            }
            Self::Bind { lane, user } => {
                buf.extend_from_slice(&lane.0.to_be_bytes());
                buf.extend_from_slice(&user.to_be_bytes());
            }
        }
    }

    /// Reads the body of one of the types from [`OFFER`] to [`BIND`].
    pub(crate) fn read(code: u8, mut body: Reader<'_>) -> Result<Self, ControlError> {
        Self::take(code, &mut body).ok_or(ControlError::Short(code))?.ok_or(ControlError::Value(code))
    }

    /// `None` where the body is too short, `Some(None)` where a value must not be.
    fn take(code: u8, body: &mut Reader<'_>) -> Option<Option<Self>> {
        if code == BIND {
            let (lane, user) = (Lane(body.u16()?), body.u32()?);
            return Some(Some(Self::Bind { lane, user }));
        }
        let user = body.u32()?;
        if code == DROP {
            let reason = DropReason::from_code(body.u8()?);
            return Some((user != 0).then_some(Self::Drop { user, reason }));
        }
        let epoch = body.u32()?;
        let valid = user != 0 && epoch != 0;
        Some(match code {
            OFFER => {
                let modes = Modes::from_bits(body.u8()?);
                let (fresh, credential) = (body.array()?, body.array()?);
                let len = body.u8()?;
                let aor: Box<[u8]> = body.take(usize::from(len))?.into();
                let offer = Offer { user, epoch, modes, fresh, credential, aor };
                (valid && len > 0).then(|| Self::Offer(Box::new(offer)))
            }
            ACCEPT => {
                let mode = Assurance::from_code(body.u8()?).filter(|mode| *mode != Assurance::None);
                let (fresh, mac) = (body.array()?, body.array()?);
                let accept = mode.map(|mode| Box::new(Accept { user, epoch, mode, fresh, mac }));
                accept.filter(|_| valid).map(Self::Accept)
            }
            _ => {
                let mac = body.array()?;
                valid.then_some(Self::Confirm(Confirm { user, epoch, mac }))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    fn all() -> Vec<KeyMessage> {
        let offer = Offer {
            user: 1,
            epoch: 2,
            modes: Modes::NONE.with(Assurance::Header).with(Assurance::Digest),
            fresh: [0xaa; 32],
            credential: [0xcc; 16],
            aor: b"sip:alice@example.com".as_slice().into(),
        };
        let accept =
            Accept { user: 1, epoch: 2, mode: Assurance::Digest, fresh: [0xbb; 32], mac: [0xdd; 32] };
        vec![
            KeyMessage::Offer(Box::new(offer)),
            KeyMessage::Accept(Box::new(accept)),
            KeyMessage::Confirm(Confirm { user: 1, epoch: 2, mac: [0xee; 32] }),
            KeyMessage::Drop { user: 1, reason: DropReason::Ended },
            KeyMessage::Bind { lane: Lane(17), user: 1 },
        ]
    }

    #[test]
    fn messages_are_read_as_written_and_every_cut_is_noticed() {
        for message in all() {
            let mut bytes = Vec::new();
            Message::Key(message.clone()).encode(&mut bytes);
            let read = Message::decode(&mut bytes.as_slice()).unwrap();
            assert_eq!(read, Some(Message::Key(message.clone())));
            let body = &bytes[crate::MESSAGE_HEADER..];
            for len in 0..body.len() {
                let cut = [&[bytes[0]], &(len as u16).to_be_bytes()[..], &body[..len]].concat();
                let error = ControlError::Short(bytes[0]);
                assert_eq!(Message::decode(&mut cut.as_slice()), Err(error), "{message:?} cut to {len}");
            }
            let len = (body.len() as u16 + 3).to_be_bytes();
            let longer = [&[bytes[0]], &len[..], body, &[1, 2, 3]].concat();
            assert_eq!(Message::decode(&mut longer.as_slice()), Ok(Some(Message::Key(message))));
        }
    }

    #[test]
    fn values_that_must_not_be() {
        let body = |message: &KeyMessage| {
            let mut body = Vec::new();
            message.put_body(&mut body);
            body
        };
        for (index, at, value) in
            [(0, 3, 0), (0, 7, 0), (0, 57, 0), (1, 8, 0), (1, 8, 9), (2, 3, 0), (3, 3, 0)]
        {
            let message = &all()[index];
            let mut bytes = body(message);
            bytes[at] = value;
            let read = KeyMessage::read(message.type_code(), Reader(&bytes));
            assert_eq!(read, Err(ControlError::Value(message.type_code())), "{message:?} {at}");
        }
    }

    #[test]
    fn what_is_random_or_a_proof_is_not_printed() {
        let text = format!("{:?}", all());
        assert!(text.contains("alice") && !text.contains("221") && !text.contains("dd, dd"), "{text}");
    }
}
