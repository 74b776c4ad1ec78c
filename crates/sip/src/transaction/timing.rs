//! The durations that all timers derive from.

use std::time::Duration;

/// RFC 3261 §17 table 4. The defaults are the RFC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Round-trip time estimate, 500 ms. Timers B, F, H, J, L and M run for 64 of it.
    pub t1: Duration,
    /// Longest retransmit interval for non-INVITE requests and INVITE responses, 4 s.
    pub t2: Duration,
    /// Longest time that a message stays in the network, 5 s.
    pub t4: Duration,
    /// How long an INVITE client absorbs repeated final responses over UDP, at least 32 s.
    pub timer_d: Duration,
    /// How long a proxy waits for a final response to INVITE after the last provisional one: more than
    /// 3 minutes (§16.6 item 11).
    pub timer_c: Duration,
    /// How long a proxy waits for a response before it answers an INVITE by 100 itself: at most 200 ms (§17.2.1).
    /// Where the callee is quick the 100 would say nothing.
    pub trying_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            timer_d: Duration::from_secs(32),
            timer_c: Duration::from_secs(181),
            trying_after: Duration::from_millis(200),
        }
    }
}
