//! Globally routable user agent URIs (RFC 5627): names for one device of a user, one public and lasting, others
//! opaque and as short-lived as its registration.

use crate::Config;
use crate::keys::Keys;
use causeway_sip::Uri;
use causeway_store::record::Binding;

/// What a Request-URI of this domain names beyond the address of record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gruu {
    /// The device with this instance id, of the address of record in the URI (§3.1).
    Public(String),
    /// The device whose registration has this seed.
    Temporary(u64),
    /// It carries `gr`, but we never gave it.
    Unknown,
}

/// The user part of temporary GRUUs begins so.
const PREFIX: &[u8] = b"tgruu.";

/// Reads the `gr` parameter of a URI of this domain (§5.1); `None` if there is none.
pub fn read(keys: &Keys, uri: &Uri<'_>) -> Option<Gruu> {
    if !uri.params.has(b"gr") {
        return None;
    }
    if let Some(sealed) = uri.user.and_then(|user| user.strip_prefix(PREFIX)) {
        let seed = keys.open_gruu(sealed);
        return Some(seed.map_or(Gruu::Unknown, Gruu::Temporary));
    }
    let instance = uri.params.value(b"gr").and_then(|value| std::str::from_utf8(value).ok());
    Some(instance.map_or(Gruu::Unknown, |instance| Gruu::Public(format!("\"<{instance}>\""))))
}

/// `;pub-gruu="…";temp-gruu="…"` for a binding with an instance id (§5.3): the temporary one differs at every
/// registration, and all of them hold as long as the device keeps its registration.
pub fn params(config: &Config, keys: &Keys, aor: &[u8], binding: &Binding) -> Option<String> {
    let (public, temporary) = of(config, keys, aor, binding)?;
    Some(format!(";pub-gruu=\"{public}\";temp-gruu=\"{temporary}\""))
}

/// The public GRUU of a binding, and the temporary one of its last registration.
pub fn of(config: &Config, keys: &Keys, aor: &[u8], binding: &Binding) -> Option<(String, String)> {
    let instance = urn(&binding.instance)?;
    let aor = String::from_utf8_lossy(aor);
    let sealed = keys.seal_gruu(binding.gruu, binding.cseq);
    let prefix = String::from_utf8_lossy(PREFIX);
    Some((format!("{aor};gr={instance}"), format!("sip:{prefix}{sealed}@{};gr", config.domain)))
}

/// The URN in an instance id, `"<urn:uuid:…>"`, if it can stand in a URI parameter as it is.
fn urn(instance: &str) -> Option<&str> {
    let urn = instance.strip_prefix("\"<")?.strip_suffix(">\"")?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&b);
    (!urn.is_empty() && urn.bytes().all(plain)).then_some(urn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_known_again() {
        let keys = Keys::new([7; 32]);
        let config = Config::new("example.com", "192.0.2.1:5060".parse().unwrap());
        let binding = Binding {
            contact: "sip:a@192.0.2.9".into(),
            instance: "\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"".into(),
            gruu: 0x0123_4567_89ab_cdef,
            cseq: 7,
            ..Binding::default()
        };
        let given = params(&config, &keys, b"sip:alice@example.com", &binding).unwrap();
        let uris: Vec<&str> = given.split('"').filter(|part| part.starts_with("sip:")).collect();
        assert_eq!(uris[0], "sip:alice@example.com;gr=urn:uuid:00000000-0000-1000-8000-000A95A0E128");
        let read_back = |keys: &Keys, uri: &str| read(keys, &Uri::parse(uri.as_bytes()).unwrap());
        assert_eq!(read_back(&keys, uris[0]), Some(Gruu::Public(binding.instance.to_string())));
        assert_eq!(read_back(&keys, uris[1]), Some(Gruu::Temporary(binding.gruu)));
        assert_eq!(read_back(&Keys::new([8; 32]), uris[1]), Some(Gruu::Unknown));
        assert_eq!(read_back(&keys, "sip:tgruu.x@example.com;gr"), Some(Gruu::Unknown));
        assert_eq!(read_back(&keys, "sip:alice@example.com"), None);
    }

    /// §3.1.2: two of them must not show that they belong together.
    #[test]
    fn temporary_ones_have_nothing_in_common() {
        let keys = Keys::new([7; 32]);
        let (a, b) = (keys.seal_gruu(1, 1), keys.seal_gruu(1, 2));
        let same = a.bytes().zip(b.bytes()).filter(|(a, b)| a == b).count();
        assert!(a != b && same < 10, "{a} {b}");
    }
}
