//! Next hops: the DNS answers in hand, the locations under way, the places found dead (RFC 3263).

use causeway_node::{DnsRecord, Question, RngCore, Time};
use causeway_sip::Uri;
use causeway_sip::locate::{Candidate, Locator, Progress, Query, Transports, Unreachable};
use causeway_sip::transaction::Transport;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// How far a location has come without waiting.
#[derive(Debug)]
pub enum Location {
    /// The places, the best first.
    Found(Vec<Candidate>),
    /// The answer to this question is needed: ask, and go on with [`Resolver::go_on`].
    Asks(Question, Box<Pending>),
    /// No such name.
    NotFound,
}

/// A location that waits for an answer.
#[derive(Clone, Debug)]
pub struct Pending {
    locator: Locator,
    query: Query,
}

/// Answers kept as long as DNS allows.
#[derive(Debug)]
pub struct Resolver {
    have: Transports,
    cache: HashMap<Query, (Time, Vec<DnsRecord>)>,
    dead: HashMap<(SocketAddr, Transport), Time>,
}

impl Resolver {
    /// Answers kept at most; when there are more, those that have expired go, then all.
    pub const CACHE: usize = 20_000;
    /// Places remembered as dead; when there are more, all are forgotten.
    const DEAD: usize = 1000;
    /// An answer is never kept longer.
    const LONGEST: Duration = Duration::from_secs(3600);
    /// How long a place that did not answer comes last.
    const DEAD_FOR: Duration = Duration::from_secs(30);

    /// A resolver for an element with these transports.
    pub fn new(have: Transports) -> Self {
        Self { have, cache: HashMap::new(), dead: HashMap::new() }
    }

    /// Begins to locate what a URI names.
    ///
    /// # Errors
    /// If the URI names what cannot be reached.
    pub fn locate(
        &mut self,
        now: Time,
        uri: &Uri<'_>,
        rng: &mut dyn RngCore,
    ) -> Result<Location, Unreachable> {
        let (locator, progress) = Locator::start(uri, self.have)?;
        Ok(self.advance(now, locator, progress, rng))
    }

    /// Goes on with an answer from DNS.
    pub fn go_on(
        &mut self,
        now: Time,
        pending: Pending,
        records: Vec<DnsRecord>,
        ttl: u32,
        rng: &mut dyn RngCore,
    ) -> Location {
        let Pending { mut locator, query } = pending;
        let progress = locator.answer(&records, rng);
        self.keep(now, query, records, ttl);
        self.advance(now, locator, progress, rng)
    }

    /// Nothing came from there: for a while it is tried last.
    pub fn mark_dead(&mut self, now: Time, peer: SocketAddr, transport: Transport) {
        if self.dead.len() >= Self::DEAD {
            self.dead.clear();
        }
        self.dead.insert((peer, transport), now + Self::DEAD_FOR);
    }

    /// DNS answers in hand.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    fn advance(
        &mut self,
        now: Time,
        mut locator: Locator,
        mut progress: Progress,
        rng: &mut dyn RngCore,
    ) -> Location {
        loop {
            match progress {
                Progress::Ask(query) => match self.cache.get(&query).filter(|(until, _)| *until > now) {
                    Some((_, records)) => progress = locator.answer(records, rng),
                    None => {
                        let question = Question::Records { name: query.name.clone(), kind: query.kind };
                        return Location::Asks(question, Box::new(Pending { locator, query }));
                    }
                },
                Progress::Found(mut candidates) => {
                    if !self.dead.is_empty() {
                        candidates.sort_by_key(|c| self.is_dead(now, c.peer, c.transport));
                    }
                    return Location::Found(candidates);
                }
                Progress::NotFound => return Location::NotFound,
            }
        }
    }

    fn is_dead(&self, now: Time, peer: SocketAddr, transport: Transport) -> bool {
        self.dead.get(&(peer, transport)).is_some_and(|until| *until > now)
    }

    fn keep(&mut self, now: Time, query: Query, records: Vec<DnsRecord>, ttl: u32) {
        if ttl == 0 {
            return;
        }
        if self.cache.len() >= Self::CACHE {
            self.cache.retain(|_, (until, _)| *until > now);
        }
        if self.cache.len() >= Self::CACHE {
            self.cache.clear();
        }
        let life = Duration::from_secs(u64::from(ttl)).min(Self::LONGEST);
        self.cache.insert(query, (now + life, records));
    }
}
