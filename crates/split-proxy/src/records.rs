//! What lasts longer than the process: how it is written, and what both halves write.
//!
//! Values are JSON. Bytes that need not be text are written as Latin-1, one character each; secrets and numbers that
//! name something as hexadecimal digits. Who reads them back takes what it finds for outside bytes.

use causeway_node::{Outbox, Record};
use causeway_sip::transaction::BranchKey;
use causeway_tunnel::{Saved, Secret, SessionId};
use serde_json::{Value, json};

/// Bytes as text that can be read back: a URI may hold any.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

pub(crate) fn bytes(text: &str) -> Box<[u8]> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    (text.len() == 2 * N).then_some(bytes)
}

/// A list of byte strings, in Latin-1.
pub(crate) fn texts<'a>(list: impl IntoIterator<Item = &'a Box<[u8]>>) -> Value {
    list.into_iter().map(|bytes| Value::String(latin1(bytes))).collect()
}

/// Reads [`texts`] back.
pub(crate) fn read_texts(value: &Value) -> Option<Vec<Box<[u8]>>> {
    value.as_array()?.iter().map(|text| text.as_str().map(bytes)).collect()
}

/// The JSON of a record, if it is one of `space`.
pub(crate) fn value_of(record: &Record, space: &str) -> Option<Value> {
    if record.space != space {
        return None;
    }
    serde_json::from_slice(record.value.as_deref()?).ok()
}

pub(crate) fn put(space: &'static str, key: &[u8], value: &Value, out: &mut Outbox) -> u64 {
    out.persist(Record { space, key: key.to_vec(), value: Some(value.to_string().into_bytes()) })
}

pub(crate) fn remove(space: &'static str, key: &[u8], out: &mut Outbox) -> u64 {
    out.persist(Record { space, key: key.to_vec(), value: None })
}

/// The key of branches, as it was kept.
pub(crate) fn branch_key(records: &[Record], space: &str) -> Option<BranchKey> {
    let record = records.iter().find(|record| record.space == space)?;
    record.value.as_deref()?.try_into().ok().map(BranchKey)
}

pub(crate) fn put_branch_key(space: &'static str, key: &BranchKey, out: &mut Outbox) {
    out.persist(Record { space, key: Vec::new(), value: Some(key.0.to_vec()) });
}

/// A session, to which its half may add.
pub(crate) fn session(saved: &Saved) -> Value {
    let secret = |secret: &Option<Secret>| secret.as_ref().map(|secret| hex(&secret.0));
    json!({
        "session": hex(&saved.session.0),
        "epoch": saved.epoch,
        "secret": secret(&saved.secret),
        "next": secret(&saved.next),
    })
}

/// Reads [`session`] back.
pub(crate) fn read_session(value: &Value) -> Option<Saved> {
    let secret = |name: &str| value.get(name)?.as_str().and_then(unhex).map(Secret);
    let saved = Saved {
        session: SessionId(unhex(value.get("session")?.as_str()?)?),
        epoch: value.get("epoch")?.as_u64()?.try_into().ok()?,
        secret: secret("secret"),
        next: secret("next"),
    };
    (saved.secret.is_some() || saved.next.is_some()).then_some(saved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_back_and_half_of_one_is_not() {
        let saved = Saved {
            session: SessionId([7; 16]),
            epoch: 3,
            secret: Some(Secret([9; 32])),
            next: Some(Secret([0xab; 32])),
        };
        let value = session(&saved);
        assert_eq!(read_session(&value), Some(saved));
        for wrong in [json!({}), json!({ "session": "07", "epoch": 1, "secret": "00", "next": null })] {
            assert_eq!(read_session(&wrong), None);
        }
        let mut without = value;
        (without["secret"], without["next"]) = (Value::Null, "zz".into());
        assert_eq!(read_session(&without), None, "nothing to prove it with");
        assert_eq!(unhex::<1>("abcd"), None);
        assert_eq!(bytes(&latin1(b"\xe9\x00a")), b"\xe9\x00a"[..].into());
    }
}
