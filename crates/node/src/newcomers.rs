//! Who has begun something and not shown yet that he means it, and who gives way when there are too many of them.
//!
//! A new one is always let in, in the place of one that has had its time already: of the same address where that has
//! as many as it may have, else of the address that has most. So whoever begins and leaves it there ends his own, and
//! one that goes on within a few round trips is never among the oldest.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Newcomers, the oldest first. They are few: all is done by looking through them.
#[derive(Debug)]
pub struct Newcomers<T> {
    list: VecDeque<(T, IpAddr)>,
    per_address: HashMap<IpAddr, usize>,
}

impl<T> Default for Newcomers<T> {
    fn default() -> Self {
        Self { list: VecDeque::new(), per_address: HashMap::new() }
    }
}

impl<T: Copy + PartialEq> Newcomers<T> {
    /// One has come.
    pub fn enter(&mut self, who: T, from: IpAddr) {
        self.list.push_back((who, from));
        *self.per_address.entry(from).or_default() += 1;
    }

    /// It is none any more, or gone, whether it ever was one or not.
    pub fn leave(&mut self, who: T) {
        let Some(at) = self.list.iter().position(|(known, _)| *known == who) else { return };
        let Some((_, from)) = self.list.remove(at) else { return };
        if let Some(count) = self.per_address.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&from);
            }
        }
    }

    /// Which one must go before another from `from` may come, if any.
    pub fn gives_way(&self, from: IpAddr, most: usize, most_per_address: usize) -> Option<T> {
        let here = self.per_address.get(&from).copied().unwrap_or(0);
        let whose = if here >= most_per_address.max(1) {
            from
        } else if self.list.len() >= most.max(1) {
            // Of several that have most, the one whose oldest is older.
            let count = |ip: &IpAddr| self.per_address.get(ip).copied().unwrap_or(0);
            let most = self.per_address.values().copied().max().unwrap_or(0);
            self.list.iter().map(|(_, ip)| *ip).find(|ip| count(ip) == most)?
        } else {
            return None;
        };
        self.list.iter().find(|(_, ip)| *ip == whose).map(|(who, _)| *who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    #[test]
    fn the_oldest_of_whoever_has_most_gives_way() {
        let mut newcomers = Newcomers::default();
        for (who, from) in [(1, 1), (2, 66), (3, 66), (4, 66), (5, 2)] {
            newcomers.enter(who, ip(from));
        }
        assert_eq!(newcomers.gives_way(ip(9), 6, 4), None, "there is room");
        assert_eq!(newcomers.gives_way(ip(9), 5, 4), Some(2));
        assert_eq!(newcomers.gives_way(ip(66), 9, 3), Some(2), "he has as many as he may have");
        newcomers.leave(2);
        newcomers.leave(2);
        assert_eq!(newcomers.gives_way(ip(66), 9, 3), None);
        assert_eq!(newcomers.gives_way(ip(9), 4, 9), Some(3));
        newcomers.leave(3);
        assert_eq!(newcomers.gives_way(ip(9), 3, 9), Some(1), "all have one: the oldest");
    }
}
