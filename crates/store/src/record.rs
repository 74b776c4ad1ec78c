//! What the values mean.

pub use crate::text::Text;
use serde::{Deserialize, Serialize};

/// A kind of record: its space and its JSON form.
pub trait Kind: Serialize + for<'a> Deserialize<'a> {
    /// The space it lives in; never reused for another type.
    const SPACE: &'static str;

    /// The record that stores it under `key`.
    fn record(&self, key: impl Into<Vec<u8>>) -> causeway_node::Record {
        let mut value = Vec::with_capacity(512);
        let written = serde_json::to_writer(&mut value, self);
        debug_assert!(written.is_ok(), "texts and numbers can be written, and a Vec takes them");
        causeway_node::Record { space: Self::SPACE, key: key.into(), value: Some(value) }
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
    pub contact: Text,
    /// Other parameters of the Contact header field, as registered, with their leading `;`.
    #[serde(default)]
    pub params: Text,
    /// Preference, in thousandths.
    pub q: u16,
    /// When it ends, milliseconds since 1970.
    pub expires: u64,
    /// Call-ID of the REGISTER that made it.
    pub call_id: Text,
    /// CSeq of that REGISTER.
    pub cseq: u32,
    /// Path of that REGISTER, one entry per value (RFC 3327).
    #[serde(default)]
    pub path: Vec<String>,
    /// Where the REGISTER came from, for a contact that is reached the way it came.
    #[serde(default)]
    pub received: Text,
    /// On what it came: `udp`, `tcp` or `tls`; empty as long as nobody needs to know.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub transport: Text,
    /// It came from another address than its Via says, so that its contact cannot be reached as written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub behind_nat: bool,
    /// The `+sip.instance` parameter with its quotes (RFC 5626 §4.1); empty without one.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub instance: Text,
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

impl Binding {
    /// Brings its texts into one piece of memory, for who keeps it.
    pub fn unite(&mut self) {
        let Self { contact, params, call_id, received, transport, instance, .. } = self;
        Text::unite([contact, received, transport, instance, params, call_id]);
    }
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

/// What a watcher is granted who asks for somebody's presence (the actions of RFC 5025 §3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Told the truth.
    Allow,
    /// Told that the user is not there, always.
    Polite,
    /// Waits until the user has decided; told that the user is not there meanwhile.
    Confirm,
    /// Refused.
    Block,
}

/// Who may watch a user's presence, under the user's address of record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresencePolicy {
    /// For everybody who is not named.
    pub others: Decision,
    /// For some watchers, by address of record.
    #[serde(default)]
    pub watchers: std::collections::BTreeMap<String, Decision>,
}

impl Kind for PresencePolicy {
    const SPACE: &'static str = "presence-policy";
}

/// A subscription (RFC 6665) with its dialog, under the tag that the notifier gave it. Texts hold bytes, each as
/// the character of its number, so that any are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Whose state is watched: an address of record.
    pub resource: String,
    /// Who watches: an address of record.
    pub watcher: String,
    /// The event package.
    pub package: String,
    /// The `id` parameter of its Event header field.
    #[serde(default)]
    pub event_id: Option<String>,
    /// What the watcher was granted.
    pub decision: Decision,
    /// When it ends, milliseconds since 1970.
    pub expires: u64,
    /// Call-ID of the dialog.
    pub call_id: String,
    /// The notifier's URI with display name: From of its requests, without tag.
    pub local: String,
    /// The watcher's URI with display name: To of those, without tag.
    pub remote: String,
    /// The watcher's tag.
    pub remote_tag: String,
    /// The watcher's Contact URI.
    pub target: String,
    /// Route values, first hop first.
    #[serde(default)]
    pub routes: Vec<String>,
    /// The notifier's Contact URI.
    pub contact: String,
    /// CSeq numbers of NOTIFY up to this one may have been used.
    pub reserved: u32,
    /// CSeq of the watcher's last request.
    pub remote_cseq: u32,
    /// Where that request came from, if it was a datagram.
    #[serde(default)]
    pub received: String,
}

impl Kind for Subscription {
    const SPACE: &'static str = "subscription";
}

/// A publication (RFC 3903), under `AoR NUL name`, where the name stays while the entity tag changes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Its present entity tag.
    pub etag: String,
    /// When it ends, milliseconds since 1970.
    pub expires: u64,
    /// When its document was published, milliseconds since 1970.
    #[serde(alias = "created")]
    pub changed: u64,
    /// The device that published it, as its own Via names it.
    #[serde(default)]
    pub device: String,
    /// The document as published.
    pub body: String,
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Publication({}, {} bytes)", self.etag, self.body.len())
    }
}

impl Kind for Publication {
    const SPACE: &'static str = "publication";
}

/// A MESSAGE kept for somebody who was not there (RFC 3428), under `AoR NUL number`, the number as 8 bytes in
/// network order. Texts hold bytes, each as the character of its number.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// When it came, milliseconds since 1970.
    pub received: u64,
    /// When it is not worth delivering any more, milliseconds since 1970.
    pub expires: u64,
    /// From, as it was.
    pub from: String,
    /// To, as it was.
    pub to: String,
    /// Content-Type; empty without a body.
    pub content_type: String,
    /// The other header lines that go with it: name and value.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl std::fmt::Debug for StoredMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StoredMessage({}, {} bytes)", self.from, self.body.len())
    }
}

impl Kind for StoredMessage {
    const SPACE: &'static str = "message";
}
