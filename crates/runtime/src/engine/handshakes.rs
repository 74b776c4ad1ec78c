//! TLS handshakes that others have begun, and who gives way when there are too many.
//!
//! A new one is always let in, in the place of one that has had its time already: of the same address where that has
//! as many as it may have, else of the address that has most. So whoever begins handshakes and leaves them there ends
//! his own, and one that comes to its end within a few round trips is never among the oldest.

use super::Token;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Handshakes under way, the oldest first.
#[derive(Default)]
pub(super) struct Handshakes {
    list: VecDeque<(Token, IpAddr)>,
    per_address: HashMap<IpAddr, usize>,
}

impl Handshakes {
    pub fn enter(&mut self, token: Token, from: IpAddr) {
        self.list.push_back((token, from));
        *self.per_address.entry(from).or_default() += 1;
    }

    /// It is over, in whatever way.
    pub fn leave(&mut self, token: Token) {
        let Some(at) = self.list.iter().position(|(known, _)| *known == token) else { return };
        let Some((_, from)) = self.list.remove(at) else { return };
        if let Some(count) = self.per_address.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&from);
            }
        }
    }

    /// Which one must go before another from `from` may begin, if any.
    pub fn gives_way(&self, from: IpAddr, most: usize, most_per_address: usize) -> Option<Token> {
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
        self.list.iter().find(|(_, ip)| *ip == whose).map(|(token, _)| *token)
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
        let mut handshakes = Handshakes::default();
        for (token, from) in [(1, 1), (2, 66), (3, 66), (4, 66), (5, 2)] {
            handshakes.enter(Token(token), ip(from));
        }
        assert_eq!(handshakes.gives_way(ip(9), 6, 4), None, "there is room");
        assert_eq!(handshakes.gives_way(ip(9), 5, 4), Some(Token(2)));
        assert_eq!(handshakes.gives_way(ip(66), 9, 3), Some(Token(2)), "he has as many as he may have");
        handshakes.leave(Token(2));
        handshakes.leave(Token(2));
        assert_eq!(handshakes.gives_way(ip(66), 9, 3), None);
        assert_eq!(handshakes.gives_way(ip(9), 4, 9), Some(Token(3)));
        handshakes.leave(Token(3));
        assert_eq!(handshakes.gives_way(ip(9), 3, 9), Some(Token(1)), "all have one: the oldest");
    }
}
