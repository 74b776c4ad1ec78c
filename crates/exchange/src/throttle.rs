//! Against guessing passwords, without locking out those who share an address.
//!
//! A contact point, an office and a carrier's NAT bring many users behind one address, and an attacker may know
//! any user's name. So neither an address nor an account is ever locked as a whole: whoever has proved himself
//! from an address goes on from there, whatever others do from it or try with his name from elsewhere.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

/// Wrong answers that a newcomer may give for one account from one address within [`WINDOW_MS`].
const PER_PAIR: u32 = 8;
/// Wrong answers for an account from an address where it has proved itself, before they are looked at one per
/// second only: the user gets through, a neighbour who guesses does not get far.
const PER_PROVED: u32 = 60;
/// Wrong answers from one address, by accounts that have not proved themselves from there.
const PER_ADDRESS: u32 = 60;
/// Wrong answers for one account, from addresses where it has not proved itself.
const PER_ACCOUNT: u32 = 60;
/// How long wrong answers count, and how long who has given too many of them waits.
const WINDOW_MS: u64 = 300_000;
/// How long a proof counts.
const PROVED_MS: u64 = 86_400_000;

/// Counts wrong answers.
#[derive(Debug, Default)]
pub struct Throttle {
    proved: HashMap<(u64, IpAddr), u64>,
    pairs: HashMap<(u64, IpAddr), Count>,
    addresses: HashMap<IpAddr, Count>,
    accounts: HashMap<u64, Count>,
    /// When the tables were last searched for what does not count any more.
    swept: u64,
    /// Credentials not even looked at.
    pub refused: u64,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    wrong: u32,
    since: u64,
    /// When one was last looked at although there were too many.
    last: u64,
}

impl Throttle {
    /// Entries per table; when one is full, those that do not count any more go, and if none does, new ones are
    /// not noted: the tables for pairs and accounts still hold.
    pub const ENTRIES: usize = 100_000;

    /// Whether credentials for this account from this address are looked at.
    pub fn admits(&mut self, account: &[u8], address: IpAddr, unix_ms: u64) -> bool {
        let account = hash(account);
        let proved = self.proved.get(&(account, address));
        if proved.is_some_and(|at| unix_ms.saturating_sub(*at) < PROVED_MS) {
            return self.admits_proved((account, address), unix_ms);
        }
        let too_many = over(&self.pairs, &(account, address), PER_PAIR, unix_ms)
            || over(&self.addresses, &address, PER_ADDRESS, unix_ms)
            || over(&self.accounts, &account, PER_ACCOUNT, unix_ms);
        self.refused += u64::from(too_many);
        !too_many
    }

    fn admits_proved(&mut self, pair: (u64, IpAddr), unix_ms: u64) -> bool {
        if !over(&self.pairs, &pair, PER_PROVED, unix_ms) {
            return true;
        }
        let count = self.pairs.get_mut(&pair).filter(|count| unix_ms.saturating_sub(count.last) >= 1000);
        self.refused += u64::from(count.is_none());
        count.map(|count| count.last = unix_ms).is_some()
    }

    /// Makes room in full tables, once a second at most: searching one costs milliseconds.
    fn sweep(&mut self, unix_ms: u64) {
        let largest =
            self.proved.len().max(self.pairs.len()).max(self.addresses.len()).max(self.accounts.len());
        if largest < Self::ENTRIES || unix_ms.saturating_sub(self.swept) < 1000 {
            return;
        }
        self.swept = unix_ms;
        let counts = |count: &mut Count| unix_ms.saturating_sub(count.since) < WINDOW_MS;
        self.proved.retain(|_, at| unix_ms.saturating_sub(*at) < PROVED_MS);
        self.pairs.retain(|_, count| counts(count));
        self.addresses.retain(|_, count| counts(count));
        self.accounts.retain(|_, count| counts(count));
    }

    /// The credentials were right.
    pub fn proved(&mut self, account: &[u8], address: IpAddr, unix_ms: u64) {
        let pair = (hash(account), address);
        self.pairs.remove(&pair);
        self.sweep(unix_ms);
        if self.proved.len() < Self::ENTRIES || self.proved.contains_key(&pair) {
            self.proved.insert(pair, unix_ms);
        }
    }

    /// They were wrong.
    pub fn failed(&mut self, account: &[u8], address: IpAddr, unix_ms: u64) {
        let account = hash(account);
        self.sweep(unix_ms);
        note(&mut self.pairs, (account, address), unix_ms);
        if self.proved.contains_key(&(account, address)) {
            return;
        }
        note(&mut self.addresses, address, unix_ms);
        note(&mut self.accounts, account, unix_ms);
    }
}

fn over<K: Hash + Eq>(table: &HashMap<K, Count>, key: &K, most: u32, unix_ms: u64) -> bool {
    table.get(key).is_some_and(|count| count.wrong >= most && unix_ms.saturating_sub(count.since) < WINDOW_MS)
}

fn note<K: Hash + Eq>(table: &mut HashMap<K, Count>, key: K, unix_ms: u64) {
    if table.len() >= Throttle::ENTRIES && !table.contains_key(&key) {
        return;
    }
    let count = table.entry(key).or_insert(Count { wrong: 0, since: unix_ms, last: 0 });
    if unix_ms.saturating_sub(count.since) >= WINDOW_MS {
        *count = Count { wrong: 0, since: unix_ms, last: 0 };
    }
    count.wrong = count.wrong.saturating_add(1);
}

/// FNV-1a: names need no more, since whoever makes two collide only shares the count with himself.
fn hash(account: &[u8]) -> u64 {
    account
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));

    #[test]
    fn guessing_stops_and_starts_anew_later() {
        let mut throttle = Throttle::default();
        let mut looked_at = 0;
        for n in 0..1000 {
            if throttle.admits(b"bob", ELSEWHERE, n) {
                looked_at += 1;
                throttle.failed(b"bob", ELSEWHERE, n);
            }
        }
        assert_eq!((looked_at, throttle.refused), (PER_PAIR, 1000 - u64::from(PER_PAIR)));
        assert!(throttle.admits(b"bob", ELSEWHERE, WINDOW_MS + 1000));
    }

    #[test]
    fn who_has_proved_himself_goes_on() {
        let mut throttle = Throttle::default();
        throttle.proved(b"alice", AGENT, 0);
        for n in 0..10_000u32 {
            // Somebody behind the same agent tries every name, others try alice's from everywhere.
            throttle.failed(format!("user{n}").as_bytes(), AGENT, 1);
            throttle.failed(b"alice", IpAddr::from(n.to_be_bytes()), 1);
        }
        assert!(throttle.admits(b"alice", AGENT, 2));
        assert!(!throttle.admits(b"carol", AGENT, 2), "newcomers behind it wait");
        assert!(!throttle.admits(b"alice", ELSEWHERE, 2), "and alice cannot be guessed at by turns");
        assert!(throttle.admits(b"carol", ELSEWHERE, 2));
    }

    #[test]
    fn a_neighbour_who_guesses_is_slowed_down_and_the_user_is_not_locked_out() {
        let mut throttle = Throttle::default();
        throttle.proved(b"alice", AGENT, 0);
        let mut looked_at = 0;
        for ms in 10_000..20_000 {
            if throttle.admits(b"alice", AGENT, ms) {
                looked_at += 1;
                throttle.failed(b"alice", AGENT, ms);
            }
        }
        assert_eq!(looked_at, PER_PROVED + 10, "one per second after the first ones");
        assert!(throttle.admits(b"alice", AGENT, 21_000));
        throttle.proved(b"alice", AGENT, 21_000);
        assert!(throttle.admits(b"alice", AGENT, 21_001), "the right answer ends it");
    }

    #[test]
    fn it_stays_small() {
        let mut throttle = Throttle::default();
        for n in 0..150_000u32 {
            throttle.failed(&n.to_be_bytes(), IpAddr::from(n.to_be_bytes()), 1);
        }
        assert!(throttle.pairs.len() <= Throttle::ENTRIES && throttle.addresses.len() <= Throttle::ENTRIES);
    }
}
