//! The response context of one proxied request (RFC 3261 §16.6, §16.7): its branches, and which of their
//! final responses is the best.

use crate::transaction::{ClientId, Hop};
use crate::{HeaderId, Message, Method, Msg};

/// One copy of the request, sent to one target.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) client: ClientId,
    /// Its transaction is over.
    pub(super) ended: bool,
    pub(super) state: BranchState,
    /// The element has another place to try, should this one not be reachable.
    pub(super) has_alternative: bool,
    /// Something has come back, if only a 100.
    pub(super) heard: bool,
    /// To tags of the early dialogs on it that have not been told to be over.
    pub(super) early: Vec<Box<[u8]>>,
}

impl Branch {
    /// Early dialogs noted per branch; further ones are passed on, but their end is not told by a 199.
    const EARLY: usize = 8;

    pub(super) fn new(client: ClientId, has_alternative: bool) -> Self {
        let (state, early) = (BranchState::Pending, Vec::new());
        Self { client, ended: false, state, has_alternative, heard: false, early }
    }

    /// Notes the early dialog that a provisional response opens, or that a 199 ends (RFC 6228 §4).
    pub(super) fn note_early(&mut self, response: Msg<'_>) {
        let Some(tag) = response.to_tag() else { return };
        let known = self.early.iter().position(|early| **early == *tag);
        match (response.status(), known) {
            (Some(199), Some(at)) => drop(self.early.remove(at)),
            (Some(199), None) | (_, Some(_)) => {}
            (_, None) if self.early.len() < Self::EARLY => self.early.push(tag.into()),
            (_, None) => {}
        }
    }
}

/// How far a branch is.
#[derive(Debug)]
pub(super) enum BranchState {
    /// Nothing but 100 so far, or provisional responses.
    Pending,
    /// A 2xx has been passed on.
    Accepted,
    /// A final response of 300–699, kept until the best is chosen; `None` where none came in time.
    Final(Option<Box<Message>>, u16),
    /// It could not be reached; the element has been asked whether it tries another place.
    Deferred(Option<Box<Message>>, u16),
    /// Another branch has taken its place: what came of it counts only if nothing comes of any other.
    Superseded(Option<Box<Message>>, u16),
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Context {
    /// As it was received; gone once a request other than INVITE has been answered, when nothing can come of it
    /// any more, and an INVITE too where nobody asks for it after that.
    pub(super) request: Option<Message>,
    invite: bool,
    pub(super) from: Hop,
    pub(super) branches: Vec<Branch>,
    /// A final response has gone upstream.
    pub(super) answered: bool,
    /// The caller has cancelled: no further branches.
    pub(super) cancelled: bool,
    /// Somebody has answered 6xx: no further branches (§16.7 item 5).
    pub(super) declined: bool,
    /// The element may still add branches: it is told by `Exhausted` instead of the best being chosen.
    pub(super) open: bool,
    /// The server transaction has ended.
    pub(super) server_ended: bool,
}

impl Context {
    pub(super) fn new(request: Message, from: Hop) -> Self {
        Self {
            invite: request.msg().method() == Method::Invite,
            request: Some(request),
            from,
            branches: Vec::new(),
            answered: false,
            cancelled: false,
            declined: false,
            open: false,
            server_ended: false,
        }
    }

    /// Adds a branch; returns its number.
    pub(super) fn add(&mut self, branch: Branch) -> usize {
        let number = self.branches.len();
        // Most requests have one, and many are remembered: no room for four.
        self.branches.reserve_exact(1);
        self.branches.push(branch);
        number
    }

    pub(super) fn is_invite(&self) -> bool {
        self.invite
    }

    /// A final response has gone upstream.
    pub(super) fn set_answered(&mut self) {
        self.answered = true;
        if !self.invite {
            self.request = None;
        }
    }

    /// Whether every branch has come to an end, and there is at least one.
    pub(super) fn exhausted(&self) -> bool {
        !self.branches.is_empty() && !self.under_way()
    }

    /// Whether the caller wants to hear of early dialogs that have ended (RFC 6228 §4).
    pub(super) fn wants_199(&self) -> bool {
        let lists = [HeaderId::Supported, HeaderId::Require];
        self.request
            .as_ref()
            .is_some_and(|request| lists.iter().any(|id| request.msg().has_token(*id, b"199")))
    }

    /// Whether some branch has no end yet.
    pub(super) fn under_way(&self) -> bool {
        let under_way =
            |branch: &Branch| matches!(branch.state, BranchState::Pending | BranchState::Deferred(..));
        self.branches.iter().any(under_way)
    }

    /// The branch with the best final response (§16.7 item 6): a 6xx before all, else the lowest class, and
    /// within 4xx those that let the caller mend the request.
    pub(super) fn best(&self) -> Option<(usize, u16)> {
        let all = self.branches.iter().enumerate().filter_map(|(index, branch)| match &branch.state {
            BranchState::Final(_, status) => Some((false, index, *status)),
            BranchState::Superseded(_, status) => Some((true, index, *status)),
            _ => None,
        });
        let best = all.min_by_key(|(superseded, _, status)| (*superseded, rank(*status)));
        best.map(|(_, index, status)| (index, status))
    }
}

/// Smaller is better. 503 says nothing about other servers and 408 nothing at all, so that they come last
/// in their classes.
fn rank(status: u16) -> (u16, u16) {
    let class = match status / 100 {
        6 => 0,
        class => class,
    };
    let within = match status {
        401 | 407 => 0,
        415 | 420 | 484 => 1,
        408 | 503 => 1000,
        other => 2 + other % 100,
    };
    (class, within)
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn order_of_preference() {
        let mut statuses = [503, 408, 404, 486, 407, 302, 603, 500, 415, 401];
        statuses.sort_by_key(|status| rank(*status));
        assert_eq!(statuses, [603, 302, 407, 401, 415, 404, 486, 408, 500, 503]);
    }
}
