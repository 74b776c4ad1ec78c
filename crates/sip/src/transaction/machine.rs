//! The four state machines of RFC 3261 §17 (with RFC 6026), as values: a state, and what an event makes of it.
//!
//! A machine knows nothing of messages, addresses or clocks. It is told what happened and answers with
//! [`Step`]: what to do now, which timers to set or stop. The [`Layer`](super::Layer) carries that out.

use super::timing::Timing;
use std::time::Duration;

/// The timers of RFC 3261 table 4 and RFC 6026, by letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// INVITE request retransmit interval, UDP only.
    A,
    /// INVITE transaction timeout.
    B,
    /// Wait for response retransmits, INVITE client.
    D,
    /// Non-INVITE request retransmit interval, UDP only.
    E,
    /// Non-INVITE transaction timeout.
    F,
    /// INVITE response retransmit interval, unreliable transports.
    G,
    /// Wait for the ACK.
    H,
    /// Wait for ACK retransmits.
    I,
    /// Wait for non-INVITE request retransmits.
    J,
    /// Wait for response retransmits, non-INVITE client.
    K,
    /// Wait for accepted-INVITE request retransmits (RFC 6026).
    L,
    /// Wait for retransmission of the 2xx to INVITE, or further 2xx from other branches (RFC 6026).
    M,
}

/// What a machine wants done after an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Send the last message of this side again (the request of a client, the last response of a server).
    pub resend: bool,
    /// Send an ACK for the final response (INVITE client, 300 to 699).
    pub ack: bool,
    /// Give the message to the transaction user.
    pub pass: bool,
    /// Tell the user that no answer came (client), or no ACK (server).
    pub timed_out: bool,
    /// Timers to set, with how long they run from now.
    pub set: [Option<(Timer, Duration)>; 2],
    /// Timers to stop.
    pub stop: &'static [Timer],
    /// The transaction is over and forgotten.
    pub end: bool,
}

impl Step {
    fn set(mut self, timer: Timer, after: Duration) -> Self {
        let free = usize::from(self.set[0].is_some());
        self.set[free] = Some((timer, after));
        self
    }

    fn stop(mut self, timers: &'static [Timer]) -> Self {
        self.stop = timers;
        self
    }

    fn pass(mut self) -> Self {
        self.pass = true;
        self
    }

    fn ack(mut self) -> Self {
        self.ack = true;
        self
    }

    fn resend(mut self) -> Self {
        self.resend = true;
        self
    }

    fn timed_out(mut self) -> Self {
        self.timed_out = true;
        self.end()
    }

    fn end(mut self) -> Self {
        self.end = true;
        self
    }

    /// Runs the timer, or ends at once where it would run for no time (reliable transports).
    fn linger(self, timer: Timer, after: Duration) -> Self {
        if after.is_zero() { self.end() } else { self.set(timer, after) }
    }
}

/// A client transaction: one request sent, responses awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// INVITE sent, nothing heard (§17.1.1.2). `interval` is timer A's present value.
    Calling {
        /// Timer A's present value.
        interval: Duration,
    },
    /// INVITE, a provisional response heard.
    InviteProceeding,
    /// INVITE, a final response 300–699 heard and acknowledged.
    InviteCompleted,
    /// INVITE, a 2xx heard; further ones are passed up (RFC 6026 §8.4).
    Accepted,
    /// Another request sent, nothing heard (§17.1.2.2). `interval` is timer E's present value.
    Trying {
        /// Timer E's present value.
        interval: Duration,
    },
    /// Another request, a provisional response heard.
    Proceeding,
    /// Another request, the final response heard; its retransmissions are absorbed.
    Completed,
}

impl Client {
    /// The state after the request has been sent, and the timers that start with it.
    pub fn start(invite: bool, reliable: bool, t: &Timing) -> (Self, Step) {
        let (state, again, limit) = if invite {
            (Self::Calling { interval: t.t1 }, Timer::A, Timer::B)
        } else {
            (Self::Trying { interval: t.t1 }, Timer::E, Timer::F)
        };
        let step = Step::default().set(limit, t.t1 * 64);
        (state, if reliable { step } else { step.set(again, t.t1) })
    }

    /// Whether the request may still have to be repeated, acknowledged or cancelled.
    pub fn needs_request(self) -> bool {
        !matches!(self, Self::Accepted | Self::Completed)
    }

    /// A response with this status code has come.
    pub fn response(self, status: u16, reliable: bool, t: &Timing) -> (Self, Step) {
        let step = Step::default();
        let provisional = status < 200;
        match self {
            Self::Calling { .. } if provisional => {
                (Self::InviteProceeding, step.pass().stop(&[Timer::A, Timer::B]))
            }
            // Timer B runs here after a CANCEL (§9.1), and who goes on ringing does not stop it.
            Self::InviteProceeding if provisional => (self, step.pass()),
            Self::Calling { .. } | Self::InviteProceeding if status < 300 => {
                (Self::Accepted, step.pass().stop(&[Timer::A, Timer::B]).set(Timer::M, t.t1 * 64))
            }
            Self::Calling { .. } | Self::InviteProceeding => {
                let after = if reliable { Duration::ZERO } else { t.timer_d };
                let step = step.pass().ack().stop(&[Timer::A, Timer::B]).linger(Timer::D, after);
                (Self::InviteCompleted, step)
            }
            Self::InviteCompleted if status >= 300 => (self, step.ack()),
            Self::Accepted if (200..300).contains(&status) => (self, step.pass()),
            Self::Trying { .. } | Self::Proceeding if provisional => (Self::Proceeding, step.pass()),
            Self::Trying { .. } | Self::Proceeding => {
                let after = if reliable { Duration::ZERO } else { t.t4 };
                (Self::Completed, step.pass().stop(&[Timer::E, Timer::F]).linger(Timer::K, after))
            }
            Self::InviteCompleted | Self::Accepted | Self::Completed => (self, step),
        }
    }

    /// A timer has fired.
    pub fn timer(self, timer: Timer, t: &Timing) -> (Self, Step) {
        let step = Step::default();
        match (self, timer) {
            (Self::Calling { interval }, Timer::A) => {
                let interval = interval * 2;
                (Self::Calling { interval }, step.resend().set(Timer::A, interval))
            }
            (Self::Trying { interval }, Timer::E) => {
                let interval = (interval * 2).min(t.t2);
                (Self::Trying { interval }, step.resend().set(Timer::E, interval))
            }
            (Self::Proceeding, Timer::E) => (self, step.resend().set(Timer::E, t.t2)),
            // In InviteProceeding timer B runs only after a CANCEL (§9.1).
            (Self::Calling { .. } | Self::InviteProceeding, Timer::B)
            | (Self::Trying { .. } | Self::Proceeding, Timer::F) => (self, step.timed_out()),
            (Self::InviteCompleted, Timer::D) | (Self::Accepted, Timer::M) | (Self::Completed, Timer::K) => {
                (self, step.end())
            }
            _ => (self, step),
        }
    }
}

/// A server transaction: one request heard, responses sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// INVITE heard, no final response yet (§17.2.1). `replied` says whether a provisional one went out.
    InviteProceeding {
        /// Whether a provisional response went out, so that there is something to repeat.
        replied: bool,
    },
    /// INVITE, a final response 300–699 sent, ACK awaited. `interval` is timer G's present value.
    InviteCompleted {
        /// Timer G's present value.
        interval: Duration,
    },
    /// INVITE, the ACK has come.
    Confirmed,
    /// INVITE, a 2xx sent; the user repeats it until the ACK comes (RFC 6026 §7.1).
    Accepted,
    /// Another request heard (§17.2.2).
    Trying,
    /// Another request, a provisional response sent.
    Proceeding,
    /// Another request, the final response sent.
    Completed,
}

impl Server {
    /// The state after a request has been heard for the first time.
    pub fn start(invite: bool) -> Self {
        if invite { Self::InviteProceeding { replied: false } } else { Self::Trying }
    }

    /// Whether a final response may still be given.
    pub fn open(self) -> bool {
        matches!(self, Self::InviteProceeding { .. } | Self::Trying | Self::Proceeding)
    }

    /// Whether the last response is sent again if the request comes again.
    pub fn repeats(self) -> bool {
        match self {
            Self::InviteProceeding { replied } => replied,
            Self::InviteCompleted { .. } | Self::Proceeding | Self::Completed => true,
            Self::Confirmed | Self::Accepted | Self::Trying => false,
        }
    }

    /// The request has come again.
    pub fn request(self) -> Step {
        if self.repeats() { Step::default().resend() } else { Step::default() }
    }

    /// An ACK has come whose branch is that of the INVITE (§17.2.3), so it is for a 300–699, or for a 2xx of
    /// a client from before RFC 6026.
    pub fn ack(self, reliable: bool, t: &Timing) -> (Self, Step) {
        let step = Step::default();
        match self {
            Self::InviteCompleted { .. } => {
                let after = if reliable { Duration::ZERO } else { t.t4 };
                (Self::Confirmed, step.stop(&[Timer::G, Timer::H]).linger(Timer::I, after))
            }
            Self::Accepted => (self, step.pass()),
            _ => (self, step),
        }
    }

    /// The user responds with this status code; the message has been sent.
    pub fn response(self, status: u16, reliable: bool, t: &Timing) -> (Self, Step) {
        let step = Step::default();
        match self {
            Self::InviteProceeding { .. } if status < 200 => (Self::InviteProceeding { replied: true }, step),
            Self::InviteProceeding { .. } if status < 300 => (Self::Accepted, step.set(Timer::L, t.t1 * 64)),
            Self::InviteProceeding { .. } => {
                let step = step.set(Timer::H, t.t1 * 64);
                let step = if reliable { step } else { step.set(Timer::G, t.t1) };
                (Self::InviteCompleted { interval: t.t1 }, step)
            }
            Self::Trying | Self::Proceeding if status < 200 => (Self::Proceeding, step),
            Self::Trying | Self::Proceeding => {
                let after = if reliable { Duration::ZERO } else { t.t1 * 64 };
                (Self::Completed, step.linger(Timer::J, after))
            }
            _ => (self, step),
        }
    }

    /// A timer has fired.
    pub fn timer(self, timer: Timer, t: &Timing) -> (Self, Step) {
        let step = Step::default();
        match (self, timer) {
            (Self::InviteCompleted { interval }, Timer::G) => {
                let interval = (interval * 2).min(t.t2);
                (Self::InviteCompleted { interval }, step.resend().set(Timer::G, interval))
            }
            (Self::InviteCompleted { .. }, Timer::H) => (self, step.timed_out()),
            (Self::Confirmed, Timer::I) | (Self::Accepted, Timer::L) | (Self::Completed, Timer::J) => {
                (self, step.end())
            }
            _ => (self, step),
        }
    }
}
