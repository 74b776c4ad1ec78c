//! Account files: who one is, and how the operator is reached. One file serves agent, phone and links alike.

use crate::exit::Failure;
use causeway_sip::digest::{Ha1, Hash};
use causeway_split_proxy::{KeyLine, KeyPolicy, LineSecret};
use causeway_tunnel::key::Assurance;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// An account file. Who registers is the phones' affair; an agent that knows their secrets can agree on keys with the
/// operator that nobody in between has (docs/tunnel.md, User keys).
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub struct Account {
    /// Contact point, `HOST[:PORT]`.
    pub contact: Option<String>,
    /// Pin of its key.
    pub pin: Option<String>,
    /// The least assurance that users accept for their keys, unless their line says otherwise.
    #[serde(default, deserialize_with = "assurance")]
    min_assurance: Option<Assurance>,
    /// Address of record of the only user, or of the first.
    uri: Option<String>,
    password: Option<Secret>,
    ha1: Option<OneOrMore>,
    /// Further users.
    #[serde(default)]
    line: Vec<Line>,
}

/// One user.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
struct Line {
    uri: String,
    password: Option<Secret>,
    ha1: Option<OneOrMore>,
    #[serde(default, deserialize_with = "assurance")]
    min_assurance: Option<Assurance>,
}

/// Not shown, and wiped.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(Secret),
    More(Vec<Secret>),
}

fn assurance<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Assurance>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl Account {
    /// Reads an account file.
    ///
    /// # Errors
    /// If it cannot be read, names something unknown, or demands what this program cannot give.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let shown = file.display();
        let text = std::fs::read_to_string(file).map(Zeroizing::new);
        let text = text.map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
        let account = Self::parse(&text).map_err(|why| Failure::usage(format!("{shown}: {why}")))?;
        let open = std::fs::metadata(file).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0);
        if open && account.has_secrets() {
            tracing::warn!("{shown} holds secrets and is open to others; chmod 600 {shown}");
        }
        Ok(account)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let account: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        account.policy().map(|_| account)
    }

    /// Address and password of the only user, or of the first, if both are told: what one registers with.
    pub fn credentials(&self) -> Option<(&str, &Zeroizing<String>)> {
        Some((self.uri.as_deref()?, &self.password.as_ref()?.0))
    }

    fn has_secrets(&self) -> bool {
        let line = |line: &Line| line.password.is_some() || line.ha1.is_some();
        self.password.is_some() || self.ha1.is_some() || self.line.iter().any(line)
    }

    /// What it says of users and their keys.
    ///
    /// # Errors
    /// If a user has no address, or a secret that is none, or demands what this program cannot give.
    pub fn policy(&self) -> Result<KeyPolicy, String> {
        let mut lines = Vec::new();
        match &self.uri {
            Some(uri) => lines.push(line(uri, self.password.as_ref(), self.ha1.as_ref(), None)?),
            None if self.password.is_some() || self.ha1.is_some() => {
                return Err("a password or ha1 needs the uri that it belongs to".to_owned());
            }
            None => {}
        }
        for own in &self.line {
            lines.push(line(&own.uri, own.password.as_ref(), own.ha1.as_ref(), own.min_assurance)?);
        }
        let demands = self.line.iter().map(|line| line.min_assurance).chain([self.min_assurance]);
        // A demand that can never be met is refused rather than left to refuse every call.
        if demands.flatten().any(|least| least > Assurance::Digest) {
            return Err("min_assurance = \"aka\": this version has no keys from a SIM yet".to_owned());
        }
        Ok(KeyPolicy { least: self.min_assurance.unwrap_or_default(), lines })
    }
}

fn line(
    uri: &str,
    password: Option<&Secret>,
    ha1: Option<&OneOrMore>,
    least: Option<Assurance>,
) -> Result<KeyLine, String> {
    let mut line = KeyLine::new(uri).ok_or_else(|| format!("uri = \"{uri}\" is no SIP address"))?;
    line.least = least;
    line.secret = match (password, ha1) {
        (None, None) => None,
        (Some(password), None) => Some(LineSecret::Password(Zeroizing::new(password.0.as_bytes().to_vec()))),
        (None, Some(OneOrMore::One(ha1))) => Some(LineSecret::Ha1(vec![read_ha1(uri, ha1)?])),
        (None, Some(OneOrMore::More(all))) => {
            let all: Result<_, _> = all.iter().map(|ha1| read_ha1(uri, ha1)).collect();
            Some(LineSecret::Ha1(all?))
        }
        (Some(_), Some(_)) => return Err(format!("{uri}: give a password or ha1, not both")),
    };
    Ok(line)
}

/// 32 hexadecimal digits are MD5, 64 are SHA-256.
fn read_ha1(uri: &str, text: &Secret) -> Result<Ha1, String> {
    let text = text.0.as_bytes();
    let hash = if text.len() == Hash::Md5.digits() { Hash::Md5 } else { Hash::Sha256 };
    Ha1::from_hex(hash, text)
        .ok_or_else(|| format!("{uri}: ha1 must be 32 (MD5) or 64 (SHA-256) hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_their_secrets_and_their_demands() {
        let file = "uri = \"sip:a@b\"\npassword = \"hunter2\"\ncontact = \"c.example\"\npin = \"sha256:00\"\n\
            min_assurance = \"header\"\n[[line]]\nuri = \"sip:c@b\"\nmin_assurance = \"digest\"\n\
            ha1 = [\"7fc33d266ff5f7fe764efb797bd4ba91\"]\n[[line]]\nuri = \"sip:d@b\"\n";
        let account = Account::parse(file).unwrap();
        assert_eq!(account.contact.as_deref(), Some("c.example"));
        let (uri, password) = account.credentials().unwrap();
        assert_eq!((uri, password.as_str()), ("sip:a@b", "hunter2"));
        let policy = account.policy().unwrap();
        assert_eq!((policy.least, policy.lines.len()), (Assurance::Header, 3));
        assert!(matches!(policy.lines[0].secret, Some(LineSecret::Password(_))));
        assert!(matches!(&policy.lines[1].secret, Some(LineSecret::Ha1(all)) if all.len() == 1));
        assert_eq!(policy.lines[1].least, Some(Assurance::Digest));
        assert!(policy.lines[2].secret.is_none() && policy.lines[2].least.is_none());
        let shown = format!("{account:?} {policy:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("7fc33d26"), "secrets are not shown");
    }

    #[test]
    fn what_makes_no_sense_or_cannot_be_met_is_refused() {
        for (file, word) in [
            ("min_assurance = \"aka\"", "SIM"),
            ("min_assurance = \"high\"", "high"),
            ("contcat = \"c\"", "contcat"),
            ("password = \"x\"", "uri"),
            ("uri = \"nobody\"", "nobody"),
            ("[[line]]\nuri = \"sip:a@b\"\nha1 = \"00\"", "hexadecimal"),
            ("[[line]]\nuri = \"sip:a@b\"\nha1 = \"00\"\npassword = \"x\"", "not both"),
        ] {
            let why = Account::parse(file).unwrap_err();
            assert!(why.contains(word), "{file}: {why}");
        }
    }
}
