//! What is refused when more comes than can be served (RFC 3261 §21.5.4, RFC 6357): requests that begin something,
//! so that what is under way gets through.

use causeway_sip::{Method, Msg};

/// From this share of the receive queue on, in percent, requests that begin something are answered 503.
const REFUSE: u8 = 30;
/// From here on they are not answered: whoever does not hear from us repeats later and less often, and an answer
/// would take the time that calls under way need.
const IGNORE: u8 = 75;
/// Requests with credentials have been invited to come again; they are refused later than those without.
const INVITED: u8 = 50;
/// Transactions at which requests that begin something are refused whatever the queue says: a bound on memory.
const TRANSACTIONS: usize = 150_000;

/// What to do with a request that begins something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// Serve it.
    No,
    /// Answer 503 with Retry-After.
    Refuse,
    /// Leave it unanswered.
    Ignore,
}

/// How busy we are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// How full the receive queue was found, in percent.
    pub pressure: u8,
    /// Requests under way, those included that only wait for repetitions.
    pub transactions: usize,
}

impl Load {
    /// What becomes of a request that begins something; `invited` if it answers a challenge of ours.
    pub fn shed(&self, invited: bool) -> Shed {
        let refuse = if invited { INVITED } else { REFUSE };
        match self.pressure {
            IGNORE.. => Shed::Ignore,
            pressure if pressure >= refuse || self.transactions >= TRANSACTIONS => Shed::Refuse,
            _ => Shed::No,
        }
    }
}

/// Whether a request begins something that can be put off: all but those inside dialogs, and those that end or
/// acknowledge something.
pub fn begins(msg: Msg<'_>) -> bool {
    let ends = matches!(msg.method(), Method::Ack | Method::Bye | Method::Cancel | Method::Prack);
    msg.is_request() && !ends && msg.to_tag().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invited_are_served_longer() {
        let load = |pressure, transactions| Load { pressure, transactions };
        assert_eq!((load(0, 0).shed(false), load(0, 0).shed(true)), (Shed::No, Shed::No));
        assert_eq!((load(40, 0).shed(false), load(40, 0).shed(true)), (Shed::Refuse, Shed::No));
        assert_eq!((load(60, 0).shed(false), load(60, 0).shed(true)), (Shed::Refuse, Shed::Refuse));
        assert_eq!(load(90, 0).shed(true), Shed::Ignore);
        assert_eq!(load(0, TRANSACTIONS).shed(true), Shed::Refuse);
    }
}
