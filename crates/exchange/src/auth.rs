//! Challenges, and what to make of the answers (RFC 3261 §22, RFC 7616, RFC 8760).

use crate::Config;
use crate::keys::Keys;
use crate::route;
use crate::shard::{self, Shard};
use causeway_node::{Credential, CredentialParts, Ctx, Mark, NumberMap};
use causeway_sip::digest::{self, Algorithm, Credentials, DigestError, NewChallenge};
use causeway_sip::{HeaderId, Method, Msg};
use std::net::IpAddr;

/// What a request's credentials call for.
pub enum Auth {
    /// None for this realm, or none that are still good: challenge.
    Challenge {
        /// The password may well be right: only the nonce is used up (RFC 7616 §3.3 `stale`).
        stale: bool,
    },
    /// Credentials that cannot be read.
    Malformed,
    /// To be checked by whoever holds the subscribers; if they are right, the ticket must still be good.
    Ask(Box<Credential>, Ticket),
}

/// The right to use a nonce once with a count.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    nonce: u64,
    count: u32,
}

/// Gives out nonces, and sees to it that none is used twice with the same count.
///
/// Of several exchanges with one secret each counts by itself, and takes a nonce of another only where the same
/// credentials cannot be used at a third: where they cover what says whose the request is. That is their user name in
/// a REGISTER of that very user; else the Request-URI (RFC 7616 §3.4.3), where it names a user of the domain. All else,
/// such as what goes to other domains, is challenged anew, as with a nonce that is too old.
pub struct Gatekeeper {
    realm: String,
    algorithms: Vec<Algorithm>,
    life_ms: u64,
    /// The highest count with which each nonce has proved somebody, in this span of time and in the one before;
    /// each lasts as long as a nonce, so that together they know all that are still good.
    counts: [NumberMap<u64, u32>; 2],
    turned: u64,
    shard: Shard,
    /// When this run began: nonces given before have counts that nobody remembers.
    born: u64,
}

impl Gatekeeper {
    /// Nonces remembered per span of time. If more are used, further right credentials are answered as stale, so
    /// that nothing can be used twice; wrong ones take no room.
    pub const NONCES: usize = 4_000_000;

    /// A gatekeeper for an exchange with these settings.
    pub fn new(config: &Config) -> Self {
        Self {
            realm: config.domain.clone(),
            algorithms: config.algorithms.clone(),
            life_ms: u64::try_from(config.nonce_life.as_millis()).unwrap_or(u64::MAX),
            counts: <[NumberMap<u64, u32>; 2]>::default(),
            turned: 0,
            shard: config.shard,
            born: 0,
        }
    }

    /// The beginning of a run.
    pub fn start(&mut self, unix_ms: u64) {
        self.born = unix_ms;
    }

    /// One challenge per algorithm offered, all with one nonce, which is good from the client's address alone: so who
    /// answers has heard it, and nobody guesses passwords in another's name (a sender's address in a datagram is his word).
    pub fn challenges(&self, ctx: &mut Ctx<'_>, keys: &Keys, client: IpAddr, stale: bool) -> Vec<Vec<u8>> {
        let random = ctx.rng.next_u32();
        let random = if self.shard.is_alone() { random } else { Keys::random_of(self.shard.own, random) };
        let nonce = self.shard.mark() + &keys.nonce(ctx.unix_ms, random, client);
        let challenge = |algorithm: &Algorithm| {
            let mut challenge = NewChallenge::new(self.realm.as_bytes(), nonce.as_bytes(), *algorithm);
            challenge.stale = stale;
            challenge.value()
        };
        self.algorithms.iter().map(challenge).collect()
    }

    /// Whether a request brings credentials for this realm, or some that cannot be read.
    pub fn is_given(&self, msg: Msg<'_>) -> bool {
        values(msg).any(|value| self.is_for_us(value))
    }

    /// Whether a header value is meant for this realm, or may be; those for others are none of our business, whatever
    /// they look like (RFC 3261 §22.3).
    fn is_for_us(&self, value: &[u8]) -> bool {
        match digest::realm(value) {
            Ok(realm) => self.is_ours(&realm),
            Err(error) => error != DigestError::Scheme,
        }
    }

    fn is_ours(&self, realm: &[u8]) -> bool {
        realm.eq_ignore_ascii_case(self.realm.as_bytes())
    }

    /// The credentials that [`Gatekeeper::is_given`] speaks of.
    fn given<'a>(&self, msg: Msg<'a>) -> Option<Result<Credentials<'a>, DigestError>> {
        values(msg).find_map(|value| match Credentials::parse(value) {
            Ok(credentials) => self.is_ours(&credentials.realm).then_some(Ok(credentials)),
            Err(error) => self.is_for_us(value).then_some(Err(error)),
        })
    }

    /// Looks at a request's credentials for this realm, which a client brings.
    pub fn examine(&self, unix_ms: u64, config: &Config, keys: &Keys, msg: Msg<'_>, client: IpAddr) -> Auth {
        let credentials = match self.given(msg) {
            None => return Auth::Challenge { stale: false },
            Some(Err(_)) => return Auth::Malformed,
            Some(Ok(credentials)) => credentials,
        };
        let question = credentials.question(msg.method());
        let CredentialParts { username, uri, nonce, .. } = question.parts();
        let fresh = keys
            .read_nonce(Mark::read(nonce).map_or(nonce, |(_, nonce)| nonce), client)
            .filter(|(given, _)| *given >= self.born && unix_ms.saturating_sub(*given) <= self.life_ms)
            .filter(|(_, nonce)| {
                let covered = || match msg.method() {
                    Method::Register => registers(config, msg, username),
                    _ => uri == msg.request_uri() && shard::is_of_uri(config, keys, msg),
                };
                self.shard.is_alone() || Keys::giver(*nonce) == self.shard.own || covered()
            })
            // Without qop there is no count, and a nonce is good for one request.
            .map(|(_, nonce)| Ticket { nonce, count: credentials.count.unwrap_or(u32::MAX) })
            .filter(|ticket| self.is_good(ticket));
        match fresh {
            Some(ticket) => Auth::Ask(Box::new(question), ticket),
            None => Auth::Challenge { stale: true },
        }
    }

    /// Uses a ticket, once its credentials have proved right; false if somebody has been quicker with it.
    pub fn take(&mut self, unix_ms: u64, ticket: Ticket) -> bool {
        if unix_ms.saturating_sub(self.turned) > self.life_ms {
            self.turned = unix_ms;
            self.counts.swap(0, 1);
            self.counts[0].clear();
        }
        let good = self.is_good(&ticket) && self.counts[0].len() < Self::NONCES;
        if good {
            self.counts[0].insert(ticket.nonce, ticket.count);
        }
        good
    }

    fn is_good(&self, ticket: &Ticket) -> bool {
        !self.counts.iter().filter_map(|used| used.get(&ticket.nonce)).any(|last| *last >= ticket.count)
    }
}

/// Where a request of its kind has its credentials for us (RFC 3261 §22.2, §22.3).
fn values(msg: Msg<'_>) -> impl Iterator<Item = &[u8]> {
    let register = msg.method() == Method::Register;
    msg.all(if register { HeaderId::Authorization } else { HeaderId::ProxyAuthorization })
}

/// Whether a REGISTER is for the user of this name, and nobody else.
fn registers(config: &Config, msg: Msg<'_>, username: &[u8]) -> bool {
    let aor = msg.to().and_then(|to| to.uri()).and_then(|uri| route::aor(config, &uri));
    aor.is_some_and(|aor| aor == [b"sip:", username, b"@", config.domain.as_bytes()].concat())
}

/// Whether a credentials header value is for this realm.
pub fn is_for_realm(value: &[u8], realm: &str) -> bool {
    digest::realm(value).is_ok_and(|named| named.eq_ignore_ascii_case(realm.as_bytes()))
}
