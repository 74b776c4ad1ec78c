//! What an agent is told of its users: their secrets, and what they demand.

use super::identity;
use causeway_sip::Method;
use causeway_sip::digest::{Credentials, Ha1, prove};
use causeway_tunnel::key::{Assurance, Modes};
use std::fmt;
use zeroize::Zeroizing;

/// What an agent knows of its users.
#[derive(Clone, Debug, Default)]
pub struct KeyPolicy {
    /// What users demand who have no line of their own. Default none.
    pub least: Assurance,
    /// Users with a line of their own.
    pub lines: Vec<KeyLine>,
}

/// One user.
#[derive(Clone, Debug)]
pub struct KeyLine {
    aor: Vec<u8>,
    /// What he registers with, if it is known.
    pub secret: Option<LineSecret>,
    /// What he demands; `None` for what all do.
    pub least: Option<Assurance>,
}

impl KeyLine {
    /// The user with an address of record; `None` where the text is no SIP URI.
    pub fn new(uri: &str) -> Option<Self> {
        let aor = identity(uri.as_bytes()).filter(|aor| aor.starts_with(b"sip:"))?;
        Some(Self { aor, secret: None, least: None })
    }
}

/// What a user registers with: not printed, wiped when dropped.
#[derive(Clone)]
pub enum LineSecret {
    /// His password.
    Password(Zeroizing<Vec<u8>>),
    /// HA1, of one hash or of several.
    Ha1(Vec<Ha1>),
}

impl fmt::Debug for LineSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineSecret(redacted)")
    }
}

/// The secrets that a registration leaves to an agent.
#[derive(Default)]
pub(crate) struct Secrets {
    header: Zeroizing<Vec<u8>>,
    digest: Option<Ha1>,
    least: Assurance,
    /// What stands in the way of a better assurance.
    pub note: Option<&'static str>,
}

impl Secrets {
    /// The modes that can be offered.
    pub(crate) fn modes(&self) -> Modes {
        let header = if self.header.is_empty() { Modes::NONE } else { Modes::NONE.with(Assurance::Header) };
        let all = if self.digest.is_some() { header.with(Assurance::Digest) } else { header };
        all.at_least(self.least)
    }

    /// The secret of a mode.
    pub(crate) fn of(&self, mode: Assurance) -> Option<&[u8]> {
        match mode {
            Assurance::Header => Some(&self.header),
            Assurance::Digest => self.digest.as_ref().map(Ha1::expose_hex),
            Assurance::None | Assurance::Aka => None,
        }
    }
}

/// The secret of the mode `header`: the response, in lower case.
pub(crate) fn header_secret(credential: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let response = Credentials::parse(credential).ok()?.response().to_ascii_lowercase();
    Some(Zeroizing::new(response))
}

const OTHER_PASSWORD: &str = "the account file has another password than the phone registers with";
const NO_PASSWORD: &str = "the account file has no password or HA1 for it";
const NO_HASH: &str = "the account file has no HA1 of the hash that the phone registers with";

impl KeyPolicy {
    fn line(&self, aor: &[u8]) -> Option<&KeyLine> {
        self.lines.iter().find(|line| line.aor == aor)
    }

    /// What a user demands.
    pub(crate) fn least(&self, aor: &[u8]) -> Assurance {
        self.line(aor).and_then(|line| line.least).unwrap_or(self.least)
    }

    /// What an accepted registration gives: HA1 only where the credential was made with it, so that a password that
    /// has been mistaken is never taken for an interception.
    pub(crate) fn secrets(&self, aor: &[u8], credential: &[u8]) -> Secrets {
        let header = header_secret(credential).unwrap_or_default();
        let mut secrets = Secrets { header, digest: None, least: self.least(aor), note: None };
        let Ok(credentials) = Credentials::parse(credential) else { return secrets };
        let algorithm = credentials.algorithm;
        let ha1 = match self.line(aor).and_then(|line| line.secret.as_ref()) {
            None => Err(NO_PASSWORD),
            Some(LineSecret::Password(password)) => {
                Ok(Ha1::new(algorithm, &credentials.username, &credentials.realm, password))
            }
            Some(LineSecret::Ha1(known)) => {
                known.iter().find(|ha1| ha1.hash() == algorithm.hash).cloned().ok_or(NO_HASH)
            }
        };
        match ha1 {
            Ok(ha1) if prove(&credentials.question(Method::Register), &ha1) => secrets.digest = Some(ha1),
            Ok(_) => secrets.note = Some(OTHER_PASSWORD),
            Err(why) => secrets.note = Some(why),
        }
        secrets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_sip::digest::{Algorithm, NewChallenge, Session, choose};

    fn registered(algorithm: Algorithm, password: &[u8]) -> Vec<u8> {
        let challenge = NewChallenge::new(b"example.com", b"n0nce", algorithm).value();
        let mut client = Session::new(&choose([&challenge[..]]).unwrap(), b"alice", password);
        client.answer(Method::Register, b"sip:example.com", b"c0ffee")
    }

    fn policy(secret: LineSecret) -> KeyPolicy {
        let line = KeyLine::new("sips:alice@Example.com").unwrap();
        KeyPolicy { least: Assurance::None, lines: vec![KeyLine { secret: Some(secret), ..line }] }
    }

    fn password(text: &str) -> LineSecret {
        LineSecret::Password(Zeroizing::new(text.as_bytes().to_vec()))
    }

    const ALICE: &[u8] = b"sip:alice@example.com";

    #[test]
    fn ha1_counts_only_where_the_phone_uses_it() {
        for algorithm in [Algorithm::MD5, Algorithm::SHA256] {
            let secrets = policy(password("secret")).secrets(ALICE, &registered(algorithm, b"secret"));
            let ha1 = Ha1::new(algorithm, b"alice", b"example.com", b"secret");
            assert_eq!(secrets.of(Assurance::Digest), Some(ha1.expose_hex()));
            assert_eq!((secrets.modes().bits(), secrets.note), (0b110, None));
        }
        let other = policy(password("other")).secrets(ALICE, &registered(Algorithm::MD5, b"secret"));
        assert_eq!((other.modes().bits(), other.note), (0b010, Some(OTHER_PASSWORD)));
        let bob =
            policy(password("secret")).secrets(b"sip:bob@example.com", &registered(Algorithm::MD5, b"x"));
        assert_eq!((bob.modes().bits(), bob.note), (0b010, Some(NO_PASSWORD)));
        let md5 = LineSecret::Ha1(vec![Ha1::new(Algorithm::MD5, b"alice", b"example.com", b"secret")]);
        let sha = policy(md5).secrets(ALICE, &registered(Algorithm::SHA256, b"secret"));
        assert_eq!((sha.modes().bits(), sha.note), (0b010, Some(NO_HASH)));
    }

    #[test]
    fn what_is_demanded_limits_what_is_offered() {
        let mut policy = policy(password("secret"));
        policy.lines[0].least = Some(Assurance::Digest);
        assert_eq!((policy.least(ALICE), policy.least(b"sip:b@b")), (Assurance::Digest, Assurance::None));
        assert_eq!(policy.secrets(ALICE, &registered(Algorithm::MD5, b"secret")).modes().bits(), 0b100);
        assert!(policy.secrets(ALICE, &registered(Algorithm::MD5, b"other")).modes().is_empty());
        assert!(policy.secrets(ALICE, b"Digest nonsense").modes().is_empty());
        assert!(KeyLine::new("tel:1").is_none() && KeyLine::new("nonsense").is_none());
        assert!(!format!("{policy:?}").contains("secret\""));
    }
}
