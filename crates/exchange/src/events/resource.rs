//! What is known of one user: publications, contacts, who watches, who may.

use super::config::Derived;
use super::pidf::{self, Presentation};
use super::reginfo::RegInfo;
use causeway_store::record::PresencePolicy;
use std::collections::BTreeSet;

/// One publication.
pub(super) struct Publication {
    /// Its number, for its timer.
    pub(super) id: u64,
    /// Its name in the store and in ids that are made unique.
    pub(super) name: String,
    /// Its present entity tag.
    pub(super) etag: String,
    /// When it ends, milliseconds since 1970.
    pub(super) expires: u64,
    /// When its document was published, milliseconds since 1970.
    pub(super) changed: u64,
    /// Who published it: sent-by of the Via that the device itself has written.
    pub(super) device: String,
    /// As published.
    pub(super) body: Vec<u8>,
    /// The same in pieces.
    pub(super) presentation: Presentation,
}

/// The state of one address of record.
#[derive(Default)]
pub(super) struct Resource {
    /// Subscriptions to it.
    pub(super) watchers: BTreeSet<u64>,
    /// What was published, in the order in which it was said: what has changed last stands at the end.
    pub(super) publications: Vec<Publication>,
    /// The contacts that are bound; kept up only while somebody watches.
    pub(super) contacts: Vec<RegInfo>,
    /// Who may watch, if the user has decided.
    pub(super) policy: Option<PresencePolicy>,
    /// The present document and how many publications did not fit, once they have been asked for.
    composed: Option<(Vec<u8>, usize)>,
}

impl Resource {
    /// Whether there is nothing to remember.
    pub(super) fn is_empty(&self) -> bool {
        self.watchers.is_empty() && self.publications.is_empty() && self.policy.is_none()
    }

    /// The presence document for those who may know.
    pub(super) fn presence(&mut self, aor: &[u8], derived: Derived) -> &[u8] {
        let registered = !self.contacts.is_empty();
        let publications = &self.publications;
        let composed = self.composed.get_or_insert_with(|| {
            let told = match derived {
                Derived::Never => false,
                Derived::Always => true,
                Derived::WhenUnpublished => !publications.iter().any(|p| p.presentation.has_tuples()),
            };
            let list = publications.iter().map(|p| (p.name.as_str(), &p.presentation));
            pidf::compose(&String::from_utf8_lossy(aor), told.then_some(registered), list)
        });
        &composed.0
    }

    /// Changes something of which the presence document is made.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> T) -> T {
        self.composed = None;
        change(self)
    }

    /// How many publications the present document left out for want of room.
    pub(super) fn left_out(&self) -> usize {
        self.composed.as_ref().map_or(0, |composed| composed.1)
    }
}

/// What a watcher is told who may not know: not there.
pub(super) fn absence(aor: &[u8]) -> Vec<u8> {
    pidf::compose(&String::from_utf8_lossy(aor), Some(false), std::iter::empty()).0
}
