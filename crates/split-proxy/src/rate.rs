//! A bucket of permissions that fills with time.

use causeway_node::Time;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    left: f64,
    at: Time,
}

impl Bucket {
    pub(crate) fn full(burst: u32, now: Time) -> Self {
        Self { left: f64::from(burst), at: now }
    }

    /// Takes one permission, if there is one: `rate` come per second, `burst` are kept at most.
    pub(crate) fn take(&mut self, now: Time, rate: u32, burst: u32) -> bool {
        let gained = now.since(self.at).as_secs_f64() * f64::from(rate);
        self.at = self.at.max(now);
        self.left = (self.left + gained).min(f64::from(burst));
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut now = Time::ZERO;
        let mut bucket = Bucket::full(3, now);
        let taken = (0..10).filter(|_| bucket.take(now, 2, 3)).count();
        assert_eq!(taken, 3);
        now += Duration::from_millis(500);
        assert!(bucket.take(now, 2, 3) && !bucket.take(now, 2, 3));
        now += Duration::from_secs(60);
        assert_eq!((0..10).filter(|_| bucket.take(now, 2, 3)).count(), 3);
    }
}
