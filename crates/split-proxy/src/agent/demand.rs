//! Whether anything needs the tunnel, for agents that open it on demand.

use causeway_node::Time;
use causeway_sip::{Method, Msg};
use std::time::Duration;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of the need for a tunnel.
#[derive(Debug, Default)]
pub(super) struct Demand {
    /// Since when nothing has needed it.
    idle_since: Option<Time>,
    /// Until when some phone has subscribed to something (RFC 6665 §4.1).
    subscribed: Time,
    look: Time,
}

impl Demand {
    /// A subscription needs the tunnel for as long as it lasts.
    pub(super) fn learn(&mut self, now: Time, response: Msg<'_>) {
        let subscribe = response.cseq().is_some_and(|cseq| cseq.method == Method::Subscribe);
        if subscribe && response.status().is_some_and(|status| (200..300).contains(&status)) {
            let expires = response.expires().unwrap_or(0);
            self.subscribed = self.subscribed.max(now + Duration::from_secs(expires.into()));
        }
    }

    pub(super) fn deadline(&self) -> Time {
        self.look
    }

    /// Whether it is time to look, and then whether nothing has needed the tunnel for `linger`. `needed` is asked
    /// for all that is not a subscription.
    pub(super) fn is_over(
        &mut self,
        now: Time,
        linger: Duration,
        needed: impl FnOnce() -> bool,
    ) -> Option<bool> {
        if now < self.look {
            return None;
        }
        self.look = now + LOOK;
        if now < self.subscribed || needed() {
            self.idle_since = None;
            return Some(false);
        }
        let since = *self.idle_since.get_or_insert(now);
        Some(now.since(since) >= linger)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_sip::Message;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_over_once_nothing_has_needed_it_for_long_enough() {
        let mut now = Time::ZERO;
        let mut demand = Demand::default();
        assert_eq!(demand.is_over(now, 3 * S, || true), Some(false));
        assert_eq!(
            demand.is_over(now, 3 * S, || unreachable!()),
            None,
            "not every packet is a reason to look"
        );
        let verdicts = (0..5).map(|_| {
            now += S;
            demand.is_over(now, 3 * S, || false)
        });
        assert_eq!(verdicts.collect::<Vec<_>>(), [false, false, false, true, true].map(Some));
    }

    #[test]
    fn a_subscription_needs_it() {
        let mut demand = Demand::default();
        let text = |method: &str| format!("SIP/2.0 200 OK\r\nCSeq: 1 {method}\r\nExpires: 60\r\n\r\n");
        let answer = |method| Message::parse(text(method)).unwrap();
        demand.learn(Time::ZERO, answer("OPTIONS").msg());
        assert_eq!(demand.is_over(Time::ZERO + S, Duration::ZERO, || false), Some(true));
        demand.learn(Time::ZERO, answer("SUBSCRIBE").msg());
        assert_eq!(demand.is_over(Time::ZERO + 59 * S, Duration::ZERO, || false), Some(false));
        assert_eq!(demand.is_over(Time::ZERO + 61 * S, Duration::ZERO, || false), Some(true));
    }
}
