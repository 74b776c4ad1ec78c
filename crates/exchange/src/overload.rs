//! What is refused when more comes than can be served (RFC 3261 §21.5.4, RFC 6357): requests that begin something,
//! so that what is under way gets through.
//!
//! Of the newcomers a share is refused. It follows the fill of the receive queue and its history, as the PIE of RFC 8033
//! §4.2 does with a queue's delay: what exceeds [`AIM`] raises it, what falls short of it lowers it, so that under steady
//! overload the queue stays short and just as many are let in as can be served to their end.

use causeway_node::Time;
use causeway_sip::{Method, Msg};
use std::time::Duration;

/// How full the receive queue is meant to be under overload, in percent; below it nobody is refused, unless more came
/// just before.
const AIM: f64 = 10.0;
/// The share refused at once for each percent beyond [`AIM`].
const AT_ONCE: f64 = 0.02;
/// By how much the share grows in a second for each percent beyond it.
const PER_SECOND: f64 = 0.1;
/// The share is worked out anew this often; a longer time with a long queue counts as the second.
const PERIOD: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(100);
/// From this fill on, in percent, those are refused as well who have been invited to come again, with credentials: what
/// they have cost already would be in vain.
const INVITED: u8 = 60;
/// From here on nobody is answered: whoever does not hear from us repeats later and less often, and an answer
/// would take the time that calls under way need.
const IGNORE: u8 = 75;
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
    /// What past pressure adds to the share refused.
    grown: f64,
    at: Time,
    /// What is still to be refused of those let in so far: shares of one request.
    owed: f64,
}

impl Load {
    /// Time goes on.
    pub fn pass(&mut self, now: Time) {
        let spent = now.since(self.at);
        if spent >= PERIOD {
            self.at = now;
            let excess = f64::from(self.pressure) - AIM;
            // A queue that was short stays so while nobody comes; of one that was long nobody knows.
            let counted = if excess > 0.0 { spent.min(LONGEST) } else { spent };
            let change = PER_SECOND * excess * counted.as_secs_f64();
            self.grown = (self.grown + change).clamp(0.0, 1.0);
        }
    }

    /// The share of newcomers that are refused.
    fn share(&self) -> f64 {
        (self.grown + AT_ONCE * (f64::from(self.pressure) - AIM)).clamp(0.0, 1.0)
    }

    /// Whether anybody might be refused.
    pub fn is_high(&self, transactions: usize) -> bool {
        self.share() > 0.0 || transactions >= TRANSACTIONS
    }

    /// What becomes of a request that begins something, with so many `transactions` under way; `invited` if it answers a
    /// challenge of ours.
    pub fn shed(&mut self, transactions: usize, invited: bool) -> Shed {
        if self.pressure >= IGNORE {
            return Shed::Ignore;
        }
        let refused = match invited {
            true => self.pressure >= INVITED,
            false => {
                self.owed += self.share();
                let due = self.owed >= 1.0;
                self.owed -= f64::from(u8::from(due));
                due
            }
        };
        if refused || transactions >= TRANSACTIONS { Shed::Refuse } else { Shed::No }
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

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// Of a hundred newcomers, how many are refused.
    fn refused(load: &mut Load) -> usize {
        (0..100).filter(|_| load.shed(0, false) == Shed::Refuse).count()
    }

    #[test]
    fn a_short_queue_refuses_nobody_and_a_long_one_newcomers_first() {
        let load = |pressure| Load { pressure, ..Load::default() };
        assert!(!load(10).is_high(0) && load(11).is_high(0));
        assert_eq!(refused(&mut load(10)), 0);
        assert_eq!(refused(&mut load(35)), 50);
        assert_eq!(refused(&mut load(60)), 100);
        assert_eq!((load(59).shed(0, true), load(60).shed(0, true)), (Shed::No, Shed::Refuse));
        assert_eq!((load(75).shed(0, false), load(75).shed(0, true)), (Shed::Ignore, Shed::Ignore));
        assert_eq!(load(0).shed(TRANSACTIONS, true), Shed::Refuse);
        assert!(load(0).is_high(TRANSACTIONS));
    }

    #[test]
    fn what_lasts_is_refused_more_and_more_and_forgotten_soon() {
        let mut load = Load { pressure: 15, ..Load::default() };
        for millis in 0..=1_000 {
            load.pass(at(millis));
        }
        assert_eq!(refused(&mut load), 60, "half a share in a second, and a tenth at once");
        load.pressure = 10;
        assert_eq!(refused(&mut load), 50, "at the aim it stays");
        load.pressure = 0;
        for millis in 1_000..=1_400 {
            load.pass(at(millis));
        }
        assert_eq!(refused(&mut load), 0);
        // Nor need anybody come for that.
        load.grown = 1.0;
        load.pass(at(2_400));
        assert_eq!(refused(&mut load), 0);
        // Whatever lies between two messages, one look at a long queue does not decide for seconds.
        load.pressure = 60;
        load.pass(at(100_000));
        assert!(load.grown < 0.7);
    }
}
