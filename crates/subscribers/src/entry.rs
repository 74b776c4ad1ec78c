//! A subscriber as he is held in memory.

use causeway_node::Credential;
use causeway_sip::digest::{self, Algorithm, Ha1, Hash};
use causeway_store::record::{Kind, Subscriber};
use zeroize::Zeroize;

/// What proves a subscriber: HA1 in binary, wiped when dropped. His address of record is `sip:` or `sips:` and his
/// login, under which this is found.
pub(super) struct Entry {
    md5: [u8; 16],
    sha256: [u8; 32],
    era: u32,
    secure: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.md5.zeroize();
        self.sha256.zeroize();
    }
}

/// `user@domain` of an address of record.
pub(super) fn login_of(aor: &[u8]) -> &[u8] {
    let colon = aor.iter().position(|byte| *byte == b':');
    colon.and_then(|colon| aor.get(colon + 1..)).unwrap_or_default()
}

impl Entry {
    /// Reads a record: the login, and what proves it. `None` for one that this program has not written.
    pub fn read<'a>(aor: &'a [u8], value: &[u8], era: u32) -> Option<(&'a [u8], Self)> {
        let secure = match aor.split(|byte| *byte == b':').next()? {
            b"sip" => false,
            b"sips" => true,
            _ => return None,
        };
        let login = login_of(aor);
        let mut subscriber = Subscriber::read(value).ok()?;
        let parts = [subscriber.username.as_bytes(), b"@", subscriber.realm.as_bytes()];
        let own = parts.concat() == login;
        let mut entry = Self { md5: [0; 16], sha256: [0; 32], era, secure };
        let whole = from_hex(&subscriber.ha1_md5, &mut entry.md5)
            && from_hex(&subscriber.ha1_sha256, &mut entry.sha256);
        subscriber.ha1_md5.zeroize();
        subscriber.ha1_sha256.zeroize();
        (own && whole).then_some((login, entry))
    }

    /// When it was read.
    pub fn era(&self) -> u32 {
        self.era
    }

    /// The address of record.
    pub fn aor(&self, login: &[u8]) -> String {
        let scheme = if self.secure { "sips:" } else { "sip:" };
        [scheme, &String::from_utf8_lossy(login)].concat()
    }

    /// Whether an address of record has the scheme of this one.
    pub fn is_scheme_of(&self, aor: &[u8]) -> bool {
        aor.starts_with(if self.secure { b"sips:" } else { b"sip:" })
    }

    /// Whether a digest response was made with his password.
    pub fn proves(&self, credential: &Credential) -> bool {
        self.ha1(credential.parts().algorithm).is_some_and(|ha1| digest::prove(credential, &ha1))
    }

    /// HA1 for an algorithm, if it is kept.
    pub fn ha1(&self, algorithm: &[u8]) -> Option<Ha1> {
        let algorithm = Algorithm::of(algorithm)?;
        let secret: &[u8] = match algorithm.hash {
            Hash::Md5 => &self.md5,
            Hash::Sha256 => &self.sha256,
            Hash::Sha512t256 => return None,
        };
        let mut hex = [0; 64];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(secret) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        let ha1 = hex.get(..secret.len() * 2).and_then(|hex| Ha1::from_hex(algorithm.hash, hex));
        hex.zeroize();
        ha1
    }
}

fn digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

fn from_hex(text: &str, out: &mut [u8]) -> bool {
    let nibble = |digit: u8| (digit as char).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    if text.len() != out.len() * 2 {
        return false;
    }
    out.iter_mut().zip(pairs).all(|(byte, pair)| match pair {
        [high, low] => match (nibble(*high), nibble(*low)) {
            (Some(high), Some(low)) => {
                *byte = high << 4 | low;
                true
            }
            _ => false,
        },
        _ => false,
    })
}
