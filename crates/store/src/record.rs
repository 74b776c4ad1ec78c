//! What the values mean.

use serde::{Deserialize, Serialize};

/// A kind of record: its space and its JSON form.
pub trait Kind: Serialize + for<'a> Deserialize<'a> {
    /// The space it lives in; never reused for another type.
    const SPACE: &'static str;

    /// The record that stores it under `key`.
    fn record(&self, key: &[u8]) -> causeway_node::Record {
        let value = serde_json::to_vec(self).unwrap_or_default();
        causeway_node::Record { space: Self::SPACE, key: key.to_vec(), value: Some(value) }
    }

    /// The record that removes what is stored under `key`.
    fn removal(key: &[u8]) -> causeway_node::Record {
        causeway_node::Record { space: Self::SPACE, key: key.to_vec(), value: None }
    }

    /// Reads a stored value.
    ///
    /// # Errors
    /// If it is not what this program writes.
    fn read(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }
}

/// A subscriber, under its address of record.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriber {
    /// Digest user name.
    pub username: String,
    /// Digest realm: the domain.
    pub realm: String,
    /// HA1 with MD5, in hexadecimal (RFC 7616 §3.4.2).
    pub ha1_md5: String,
    /// HA1 with SHA-256, in hexadecimal.
    pub ha1_sha256: String,
    /// When it was added, seconds since 1970.
    pub created: u64,
}

impl std::fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscriber({}@{}, secrets left out)", self.username, self.realm)
    }
}

impl Kind for Subscriber {
    const SPACE: &'static str = "subscriber";
}

/// A registrar's binding of one contact to an address of record (RFC 3261 §10.3), under
/// `AoR NUL contact`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The contact URI as registered.
    pub contact: String,
    /// Other parameters of the Contact header field, as registered, with their leading `;`.
    #[serde(default)]
    pub params: String,
    /// Preference, in thousandths.
    pub q: u16,
    /// When it ends, milliseconds since 1970.
    pub expires: u64,
    /// Call-ID of the REGISTER that made it.
    pub call_id: String,
    /// CSeq of that REGISTER.
    pub cseq: u32,
    /// Path of that REGISTER, one entry per value (RFC 3327).
    #[serde(default)]
    pub path: Vec<String>,
    /// Where the REGISTER came from, for a contact that is reached the way it came.
    #[serde(default)]
    pub received: String,
    /// On what it came: `udp`, `tcp` or `tls`; empty as long as nobody needs to know.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub transport: String,
    /// It came from another address than its Via says, so that its contact cannot be reached as written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub behind_nat: bool,
    /// The `+sip.instance` parameter with its quotes (RFC 5626 §4.1); empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// The flow's number among those of the instance (RFC 5626 §4.2); 0 where the contact was not registered
    /// for outbound.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reg_id: u32,
    /// What the temporary GRUUs of this registration are made of (RFC 5627 §5.3).
    #[serde(default)]
    pub gruu: u64,
    /// When it was last registered, milliseconds since 1970.
    #[serde(default)]
    pub since: u64,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Kind for Binding {
    const SPACE: &'static str = "binding";
}
