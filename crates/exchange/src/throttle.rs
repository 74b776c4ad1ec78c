//! Against guessing passwords, without locking anybody out.
//!
//! A contact point, an office and a carrier's NAT bring many users behind one address, an attacker may know any
//! user's name, and a phone with a mistyped password tries as fast as it can. So nothing is ever locked: after too
//! many wrong answers the next ones are looked at slowly, one every few seconds. And whoever has proved himself
//! from an address goes on from there, whatever others do from it or try with his name from elsewhere.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

/// Wrong answers that a newcomer may give for one account from one address within [`WINDOW_MS`] at full speed.
const PER_PAIR: u32 = 8;
/// The same for an account that has proved itself from there: a neighbour may be guessing.
const PER_PROVED: u32 = 60;
/// Wrong answers from one address, by accounts that have not proved themselves from there.
const PER_ADDRESS: u32 = 60;
/// Wrong answers for one account, from addresses where it has not proved itself.
const PER_ACCOUNT: u32 = 60;
/// How long wrong answers count.
const WINDOW_MS: u64 = 300_000;
/// Beyond those numbers, one answer is looked at in so long.
pub const PAUSE_MS: u64 = 3000;
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
    /// When one was last looked at.
    last: u64,
}

impl Throttle {
    /// Entries per table; when one is full, those go that do not count any more, and of the others those with the
    /// fewest wrong answers, so that made-up names and strange addresses do not hide who is really being guessed at.
    pub const ENTRIES: usize = 100_000;

    /// Whether credentials for this account from this address are looked at now.
    pub fn admits(&mut self, account: &[u8], address: IpAddr, unix_ms: u64) -> bool {
        let account = hash(account);
        let pair = (account, address);
        let proved = self.proved.get(&pair).is_some_and(|at| unix_ms.saturating_sub(*at) < PROVED_MS);
        let newcomer = !proved;
        let mut slow = [
            over(&mut self.pairs, &pair, if proved { PER_PROVED } else { PER_PAIR }, unix_ms),
            over(&mut self.addresses, &address, PER_ADDRESS, unix_ms).filter(|_| newcomer),
            over(&mut self.accounts, &account, PER_ACCOUNT, unix_ms).filter(|_| newcomer),
        ];
        let admitted = slow.iter().flatten().all(|count| unix_ms.saturating_sub(count.last) >= PAUSE_MS);
        for count in slow.iter_mut().flatten().filter(|_| admitted) {
            count.last = unix_ms;
        }
        self.refused += u64::from(!admitted);
        admitted
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
        thin(&mut self.pairs);
        thin(&mut self.addresses);
        thin(&mut self.accounts);
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

/// The count of a key that is above its limit.
fn over<'a, K: Hash + Eq>(
    table: &'a mut HashMap<K, Count>,
    key: &K,
    most: u32,
    unix_ms: u64,
) -> Option<&'a mut Count> {
    table.get_mut(key).filter(|count| count.wrong >= most && unix_ms.saturating_sub(count.since) < WINDOW_MS)
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
    count.last = unix_ms;
}

/// Makes room for a quarter in a full table.
fn thin<K: Hash + Eq>(table: &mut HashMap<K, Count>) {
    let mut few = 1u32;
    while table.len() >= Throttle::ENTRIES / 4 * 3 {
        table.retain(|_, count| count.wrong > few);
        few = few.saturating_mul(2);
    }
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

    /// How many of these attempts, one per millisecond and all wrong, are looked at.
    fn guess(throttle: &mut Throttle, account: &[u8], address: IpAddr, span: std::ops::Range<u64>) -> u32 {
        let mut looked_at = 0;
        for ms in span {
            if throttle.admits(account, address, ms) {
                looked_at += 1;
                throttle.failed(account, address, ms);
            }
        }
        looked_at
    }

    #[test]
    fn guessing_becomes_slow_and_the_right_answer_ends_that() {
        let mut throttle = Throttle::default();
        let minute = guess(&mut throttle, b"bob", ELSEWHERE, 10_000..70_000);
        assert_eq!(minute, PER_PAIR + 19, "one every three seconds after the first ones");
        throttle.proved(b"bob", ELSEWHERE, 70_000);
        assert_eq!(guess(&mut throttle, b"bob", ELSEWHERE, 70_000..70_010), 10);
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
        assert!(throttle.admits(b"carol", AGENT, 4000), "newcomers behind it take turns");
        assert!(!throttle.admits(b"dave", AGENT, 4001));
        assert!(throttle.admits(b"alice", ELSEWHERE, 4002), "and alice cannot be guessed at by turns");
        assert!(!throttle.admits(b"alice", IpAddr::from([203, 0, 113, 2]), 4003));
        assert!(throttle.admits(b"carol", ELSEWHERE, 4004));
    }

    #[test]
    fn a_neighbour_who_guesses_does_not_keep_the_user_out() {
        let mut throttle = Throttle::default();
        throttle.proved(b"alice", AGENT, 0);
        assert_eq!(guess(&mut throttle, b"alice", AGENT, 10_000..40_000), PER_PROVED + 9);
        assert!(throttle.admits(b"alice", AGENT, 43_000));
    }

    #[test]
    fn made_up_names_and_strange_addresses_do_not_hide_who_is_guessed_at() {
        let mut throttle = Throttle::default();
        let address = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        let mut looked_at = 0;
        for n in 0..200_000u32 {
            let ms = 1_000_000 + u64::from(n) / 4;
            // Nine made-up names for each attempt at alice's, each from an address of its own.
            let name = if n % 10 == 0 { b"alice".to_vec() } else { format!("user{n}").into_bytes() };
            if throttle.admits(&name, address(n), ms) {
                looked_at += u32::from(n % 10 == 0);
                throttle.failed(&name, address(n), ms);
            }
        }
        assert!(looked_at < PER_ACCOUNT + 20, "{looked_at} attempts at alice's password in 50 s");
        assert!(throttle.accounts.len() <= Throttle::ENTRIES && throttle.pairs.len() <= Throttle::ENTRIES);
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
