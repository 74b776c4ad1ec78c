//! Challenges, and what to make of the answers (RFC 3261 §22, RFC 7616, RFC 8760).

use crate::Config;
use crate::keys::Keys;
use causeway_node::{Credential, Ctx};
use causeway_sip::digest::{Algorithm, Credentials, NewChallenge};
use causeway_sip::{HeaderId, Method, Msg};
use std::collections::HashMap;

/// What a request's credentials call for.
pub enum Auth {
    /// None for this realm, or none that are still good: challenge.
    Challenge {
        /// The password may well be right: only the nonce is used up (RFC 7616 §3.3 `stale`).
        stale: bool,
    },
    /// Credentials that cannot be read.
    Malformed,
    /// To be checked by whoever holds the subscribers.
    Ask(Box<Credential>),
}

/// Gives out nonces, and sees to it that none is used twice with the same count.
pub struct Gatekeeper {
    realm: String,
    algorithms: Vec<Algorithm>,
    life_ms: u64,
    /// The highest nonce count seen of each nonce, with the time the nonce was given.
    counts: HashMap<Vec<u8>, (u64, u32)>,
}

impl Gatekeeper {
    /// Nonces remembered at most. When there are more, the expired ones are forgotten; if none has expired,
    /// the newest credentials are answered as stale, so that nothing can be used twice.
    pub const NONCES: usize = 200_000;

    /// A gatekeeper for an exchange with these settings.
    pub fn new(config: &Config) -> Self {
        Self {
            realm: config.domain.clone(),
            algorithms: config.algorithms.clone(),
            life_ms: u64::try_from(config.nonce_life.as_millis()).unwrap_or(u64::MAX),
            counts: HashMap::new(),
        }
    }

    /// One challenge per algorithm offered, all with one nonce.
    pub fn challenges(&self, ctx: &mut Ctx<'_>, keys: &Keys, stale: bool) -> Vec<Vec<u8>> {
        let nonce = keys.nonce(ctx.unix_ms, ctx.rng.next_u32());
        let challenge = |algorithm: &Algorithm| {
            let mut challenge = NewChallenge::new(self.realm.as_bytes(), nonce.as_bytes(), *algorithm);
            challenge.stale = stale;
            challenge.value()
        };
        self.algorithms.iter().map(challenge).collect()
    }

    /// Looks at a request's credentials for this realm.
    pub fn examine(&mut self, unix_ms: u64, keys: &Keys, msg: Msg<'_>) -> Auth {
        let register = msg.method() == Method::Register;
        let header = if register { HeaderId::Authorization } else { HeaderId::ProxyAuthorization };
        let Some(value) = msg.all(header).find(|value| is_for_realm(value, &self.realm)) else {
            return Auth::Challenge { stale: false };
        };
        let Ok(credentials) = Credentials::parse(value) else { return Auth::Malformed };
        let question = credentials.question(msg.method());
        let fresh = keys
            .nonce_time(&question.nonce)
            .filter(|given| unix_ms.saturating_sub(*given) <= self.life_ms)
            .filter(|given| self.count(unix_ms, *given, &question.nonce, credentials.count));
        match fresh {
            Some(_) => Auth::Ask(Box::new(question)),
            None => Auth::Challenge { stale: true },
        }
    }

    /// Notes the use of a nonce; false if it has been used with this count or a higher one. Without qop there
    /// is no count, and a nonce is good for one request.
    fn count(&mut self, unix_ms: u64, given: u64, nonce: &[u8], count: Option<u32>) -> bool {
        let count = count.unwrap_or(u32::MAX);
        if self.counts.len() >= Self::NONCES {
            let life_ms = self.life_ms;
            self.counts.retain(|_, (given, _)| unix_ms.saturating_sub(*given) <= life_ms);
            if self.counts.len() >= Self::NONCES {
                return false;
            }
        }
        let (_, last) = self.counts.entry(nonce.to_vec()).or_insert((given, 0));
        let higher = count > *last;
        *last = count.max(*last);
        higher
    }
}

/// Whether a credentials header value is for this realm.
pub fn is_for_realm(value: &[u8], realm: &str) -> bool {
    Credentials::parse(value)
        .is_ok_and(|credentials| credentials.realm.eq_ignore_ascii_case(realm.as_bytes()))
}
