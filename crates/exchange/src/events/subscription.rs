//! One subscription: its dialog, what was granted, and how it is told.

use super::reginfo::{self, RegInfo};
use super::{pidf, text};
use causeway_node::{Flow, Record, Time};
use causeway_sip::transaction::{Hop, Transport};
use causeway_sip::ua::Dialog;
use causeway_sip::{HeaderId, Msg, Params};
use causeway_store::record::{self, Decision, Kind};

/// The event packages that are served here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Package {
    /// RFC 3856.
    Presence,
    /// RFC 3680.
    Reg,
}

impl Package {
    /// The package of this name; names are compared byte by byte (RFC 6665 §8.2.1).
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"presence" => Some(Self::Presence),
            b"reg" => Some(Self::Reg),
            _ => None,
        }
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Reg => "reg",
        }
    }

    /// The media type of its documents.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Presence => pidf::TYPE,
            Self::Reg => reginfo::TYPE,
        }
    }

    /// The duration, in seconds, of a subscription that names none (RFC 3856 §6.4, RFC 3680 §4.4).
    pub(super) fn default_expires(self) -> u64 {
        match self {
            Self::Presence => 3600,
            Self::Reg => 3761,
        }
    }
}

/// An Event header field: the package, and the `id` parameter.
pub(super) fn event<'a>(msg: Msg<'a>) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let value = msg.header(HeaderId::Event)?;
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let (name, params) = value.split_at_checked(end)?;
    Some((name.trim_ascii(), Params::new(params).value(b"id")))
}

/// Why a subscription ends (RFC 6665 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its time is over, or the watcher ended it.
    Timeout,
    /// The user does not want it any more.
    Rejected,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Rejected => "rejected",
        }
    }
}

/// A subscription.
pub(super) struct Subscription {
    pub(super) dialog: Dialog,
    pub(super) package: Package,
    /// The `id` parameter of Event.
    pub(super) event_id: Option<Vec<u8>>,
    pub(super) resource: Vec<u8>,
    pub(super) watcher: Vec<u8>,
    /// Our own Contact value.
    pub(super) contact: Vec<u8>,
    pub(super) decision: Decision,
    /// When it ends, milliseconds since 1970.
    pub(super) expires: u64,
    /// CSeq numbers up to this one are reserved on disk.
    pub(super) reserved: u32,
    /// Where the watcher was last seen.
    pub(super) received: Option<Hop>,
    /// There is something to tell.
    pub(super) changed: bool,
    /// The token of the NOTIFY that has no answer yet.
    pub(super) under_way: Option<u64>,
    /// The next NOTIFY leaves no sooner.
    pub(super) not_before: Time,
    /// It is over; once the final NOTIFY is answered, it is forgotten.
    pub(super) end: Option<Reason>,
    /// The final NOTIFY has been sent.
    pub(super) final_sent: bool,
    /// Of `reg`: contacts that have ended since the last NOTIFY.
    pub(super) ended: Vec<RegInfo>,
}

impl Subscription {
    /// CSeq numbers reserved by one record.
    pub(super) const BLOCK: u32 = 64;
    /// Ended contacts remembered between two NOTIFYs; beyond, the oldest are not told singly: that they are
    /// missing from the full state says it too.
    pub(super) const ENDED: usize = 32;

    /// Whether a request belongs to it.
    pub(super) fn matches(&self, msg: Msg<'_>, package: Package, event_id: Option<&[u8]>) -> bool {
        self.dialog.matches(msg) && self.package == package && self.event_id.as_deref() == event_id
    }

    /// Seconds left.
    pub(super) fn left(&self, unix_ms: u64) -> u64 {
        self.expires.saturating_sub(unix_ms) / 1000
    }

    /// The value of Event in NOTIFY.
    pub(super) fn event(&self) -> Vec<u8> {
        match &self.event_id {
            Some(id) => [self.package.name().as_bytes(), b";id=", id].concat(),
            None => self.package.name().into(),
        }
    }

    /// The value of Subscription-State.
    pub(super) fn state(&self, unix_ms: u64) -> String {
        match (self.end, self.decision) {
            (Some(reason), _) => format!("terminated;reason={}", reason.name()),
            (None, Decision::Confirm) => format!("pending;expires={}", self.left(unix_ms)),
            (None, _) => format!("active;expires={}", self.left(unix_ms)),
        }
    }

    /// Notes what has become of contacts, for the next NOTIFY.
    pub(super) fn note_ended(&mut self, contacts: &[RegInfo]) {
        // A contact that is bound again has not ended.
        self.ended.retain(|old| !contacts.iter().any(|new| new.contact == old.contact));
        self.ended.extend(contacts.iter().filter(|contact| contact.event.ends()).cloned());
        let excess = self.ended.len().saturating_sub(Self::ENDED);
        self.ended.drain(..excess);
    }

    /// The record that keeps it.
    pub(super) fn record(&self) -> Record {
        let datagram = self.received.filter(|hop| hop.transport == Transport::Udp);
        let value = record::Subscription {
            resource: text::kept(&self.resource),
            watcher: text::kept(&self.watcher),
            package: self.package.name().to_owned(),
            event_id: self.event_id.as_deref().map(text::kept),
            decision: self.decision,
            expires: self.expires,
            call_id: text::kept(&self.dialog.call_id),
            local: text::kept(&self.dialog.local),
            remote: text::kept(&self.dialog.remote),
            remote_tag: text::kept(&self.dialog.remote_tag),
            target: text::kept(&self.dialog.target),
            routes: self.dialog.routes.iter().map(|route| text::kept(route)).collect(),
            contact: text::kept(&self.contact),
            reserved: self.reserved,
            remote_cseq: self.dialog.remote_cseq.unwrap_or_default(),
            received: datagram.map(|hop| hop.peer.to_string()).unwrap_or_default(),
        };
        value.record(self.dialog.local_tag.as_slice())
    }

    /// The record that removes it.
    pub(super) fn removal(&self) -> Record {
        record::Subscription::removal(&self.dialog.local_tag)
    }

    /// Reads what was stored under a tag; a datagram to the watcher leaves by `udp`.
    pub(super) fn restore(tag: &[u8], value: &[u8], udp: Flow) -> Option<Self> {
        let stored = record::Subscription::read(value).ok()?;
        let dialog = Dialog {
            call_id: text::bytes(&stored.call_id)?,
            local: text::bytes(&stored.local)?,
            local_tag: tag.to_vec(),
            remote: text::bytes(&stored.remote)?,
            remote_tag: text::bytes(&stored.remote_tag)?,
            target: text::bytes(&stored.target)?,
            routes: stored.routes.iter().map(|route| text::bytes(route)).collect::<Option<_>>()?,
            local_cseq: stored.reserved,
            remote_cseq: Some(stored.remote_cseq),
        };
        let peer = stored.received.parse().ok();
        Some(Self {
            dialog,
            package: Package::of(stored.package.as_bytes())?,
            event_id: match &stored.event_id {
                Some(id) => Some(text::bytes(id)?),
                None => None,
            },
            resource: text::bytes(&stored.resource)?,
            watcher: text::bytes(&stored.watcher)?,
            contact: text::bytes(&stored.contact)?,
            decision: stored.decision,
            expires: stored.expires,
            reserved: stored.reserved,
            received: peer.map(|peer| Hop { flow: udp, peer, transport: Transport::Udp }),
            changed: true,
            under_way: None,
            not_before: Time::ZERO,
            end: None,
            final_sent: false,
            ended: Vec::new(),
        })
    }
}
