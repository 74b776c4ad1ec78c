//! Cuts the received byte stream into frames, wherever the transport has cut it.

use crate::frame::{HEADER, header};
use crate::{Fault, Lane};

/// The longest payload of a control frame, once the tunnel is up.
pub(crate) const MAX_CONTROL: usize = 4096;
/// The longest payload of the frame that holds the Hello.
pub(crate) const MAX_FIRST: usize = 1024;
/// A buffer that has grown larger than this is given back when it is empty.
const KEEP: usize = 4096;

/// One frame at a time; whole frames are borrowed from the input, only cut ones are copied.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// Header and payload of a frame that is not complete yet, or was handed out last.
    partial: Vec<u8>,
    /// Payload bytes of the current SIP frame still to come: these are handed on as they arrive.
    sip_left: usize,
    /// `partial` was handed out and is of no more use.
    spent: bool,
}

/// What the next bytes are.
pub(crate) enum Step<'a> {
    /// All input is consumed.
    More,
    /// Further bytes of the SIP lane.
    Sip(&'a [u8]),
    /// A whole frame, in the input.
    Whole(Lane, &'a [u8]),
    /// A whole frame, in [`Reader::assembled`].
    Assembled(Lane),
    /// A frame that must not be.
    Bad(Fault),
}

/// What the reader lets through.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Whether the peer's Hello has come.
    pub up: bool,
    /// The longest payload of a frame that is not a control frame.
    pub max_frame: usize,
}

impl Limits {
    fn check(self, lane: Lane, len: usize) -> Result<(), Fault> {
        let max = match lane {
            Lane::CONTROL if self.up => MAX_CONTROL,
            Lane::CONTROL => MAX_FIRST,
            _ if !self.up => return Err(Fault::NotHello),
            Lane::SIP => usize::from(u16::MAX),
            _ => self.max_frame,
        };
        if len > max { Err(Fault::TooLong { lane, len, max }) } else { Ok(()) }
    }
}

impl Reader {
    /// The payload of the frame that was assembled last.
    pub(crate) fn assembled(&self) -> &[u8] {
        self.partial.get(HEADER..).unwrap_or_default()
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.partial.capacity()
    }

    /// Consumes input up to and including the next frame.
    pub(crate) fn step<'a>(&mut self, input: &mut &'a [u8], limits: Limits) -> Step<'a> {
        if self.spent {
            self.spent = false;
            self.partial.clear();
            self.partial.shrink_to(KEEP);
        }
        if self.sip_left > 0 {
            return self.sip(input);
        }
        if self.partial.is_empty()
            && let Some((head, rest)) = input.split_first_chunk::<HEADER>()
        {
            let (lane, len) = header(*head);
            if let Err(fault) = limits.check(lane, len) {
                return Step::Bad(fault);
            }
            if lane == Lane::SIP {
                *input = rest;
                self.sip_left = len;
                return self.sip(input);
            }
            if let Some((payload, rest)) = rest.split_at_checked(len) {
                *input = rest;
                return Step::Whole(lane, payload);
            }
        }
        self.assemble(input, limits)
    }

    fn sip<'a>(&mut self, input: &mut &'a [u8]) -> Step<'a> {
        if input.is_empty() {
            return Step::More;
        }
        let (bytes, rest) = input.split_at(self.sip_left.min(input.len()));
        *input = rest;
        self.sip_left -= bytes.len();
        Step::Sip(bytes)
    }

    /// Copies a frame that arrives in pieces.
    fn assemble<'a>(&mut self, input: &mut &'a [u8], limits: Limits) -> Step<'a> {
        self.pull(input, HEADER);
        let Some(head) = self.partial.first_chunk::<HEADER>() else { return Step::More };
        let (lane, len) = header(*head);
        if let Err(fault) = limits.check(lane, len) {
            return Step::Bad(fault);
        }
        if lane == Lane::SIP {
            self.partial.clear();
            self.sip_left = len;
            return self.sip(input);
        }
        self.pull(input, HEADER + len);
        if self.partial.len() < HEADER + len {
            return Step::More;
        }
        self.spent = true;
        Step::Assembled(lane)
    }

    /// Moves input into `partial` until that holds `len` bytes.
    fn pull(&mut self, input: &mut &[u8], len: usize) {
        let want = len.saturating_sub(self.partial.len()).min(input.len());
        let (bytes, rest) = input.split_at(want);
        self.partial.extend_from_slice(bytes);
        *input = rest;
    }
}
