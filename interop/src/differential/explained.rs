//! Why the two differ, and who is right: every difference must find its explanation here.

use super::compare::Difference;

/// Whose behaviour the RFCs ask for. What is Kamailio's or nobody's is a fault of ours, to be mended.
#[expect(dead_code, reason = "all faults that were found are mended")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Causeway's.
    Ours,
    /// Kamailio's.
    Theirs,
    /// Either is allowed.
    Both,
    /// Neither.
    Neither,
}

/// A class of differences.
pub struct Explained {
    pub id: &'static str,
    pub what: &'static str,
    pub right: Right,
    pub why: &'static str,
    pub is: fn(&Difference) -> bool,
}

const fn class(
    id: &'static str,
    right: Right,
    what: &'static str,
    why: &'static str,
    is: fn(&Difference) -> bool,
) -> Explained {
    Explained { id, what, right, why, is }
}

/// Whether the step's answers were these, the difference being the answer or what comes of it.
fn answered(one: &Difference, ours: u16, theirs: u16) -> bool {
    one.statuses == (ours, theirs) && matches!(one.field.as_str(), "status" | "reached" | "provisional")
}

fn refused_by_us(one: &Difference, status: u16) -> bool {
    answered(one, status, one.statuses.1)
}

/// Whether the only new header lines are those that begin like this.
fn only_new(one: &Difference, names: &[&str]) -> bool {
    one.field.ends_with("untouched headers")
        && one.theirs.is_empty()
        && one
            .ours
            .split(" +")
            .all(|line| names.iter().any(|name| line.trim_start_matches('+').starts_with(name)))
}

use Right::{Both, Ours};

/// All of them; the first that fits counts.
pub const ALL: &[Explained] = &[
    class(
        "cseq-range-400",
        Ours,
        "CSeq 4294967296: 400 from Causeway; Kamailio forwards it",
        "RFC 3261 §8.1.1.5, RFC 4475 §3.1.2.4: the number is below 2**31",
        |one| one.is("CSeq too large") && refused_by_us(one, 400),
    ),
    class(
        "max-breadth",
        Ours,
        "Max-Breadth added, and P-Asserted-Identity for whom has proved who he is",
        "RFC 5393 §5.3.3: 60 where there is none, divided among the branches; RFC 3325 §5. Kamailio's sample does neither",
        |one| only_new(one, &["Max-Breadth:", "P-Asserted-Identity:"]),
    ),
    class(
        "unanswered-fault",
        Ours,
        "Wrong or doubled Content-Length or Call-ID: 400 from Causeway, nothing from Kamailio",
        "RFC 3261 §21.4.1: who sends faults is told so, or repeats them for 32 s",
        |one| answered(one, 400, 0),
    ),
    class(
        "version",
        Ours,
        "SIP/3.0: 505 from Causeway, nothing, or another refusal, from Kamailio",
        "RFC 3261 §21.5.6; RFC 4475 §3.1.2.16",
        |one| one.is("SIP/3.0") && refused_by_us(one, 505),
    ),
    class(
        "max-forwards-text",
        Ours,
        "Max-Forwards is no number: 400 from Causeway, 483 from Kamailio",
        "RFC 3261 §16.3 item 1: a malformed request; it has not been forwarded too often",
        |one| answered(one, 400, 483),
    ),
    class(
        "max-forwards-value",
        Ours,
        "Max-Forwards above 70 is counted down by Causeway, cut to 70 by Kamailio; where it is missing, 70 and 10 are put in",
        "RFC 3261 §16.6 item 3: minus one; a value of 70 where there is none",
        |one| one.field.ends_with("Max-Forwards"),
    ),
    class(
        "body-surplus",
        Ours,
        "Text after the body of a datagram: Causeway leaves it out, Kamailio refuses the message",
        "RFC 3261 §18.3: additional bytes MUST be discarded",
        |one| one.is("text after the body") && one.statuses.1 == 400,
    ),
    class(
        "empty-lines",
        Ours,
        "Empty lines before the start line: taken by Causeway, dropped by Kamailio",
        "RFC 3261 §7.5: robustness against them is asked for",
        |one| one.is("empty lines first") && one.statuses.1 == 0,
    ),
    class(
        "proxy-require",
        Ours,
        "Proxy-Require names what nobody knows: 420 from Causeway; Kamailio's sample does not look at it",
        "RFC 3261 §16.3 item 5",
        |one| one.is("Proxy-Require") && refused_by_us(one, 420),
    ),
    class(
        "uri-headers",
        Ours,
        "A Request-URI with header fields: 400 from Causeway, accepted by Kamailio",
        "RFC 3261 §19.1.1, table 1: not allowed there",
        |one| one.is("headers") && refused_by_us(one, 400),
    ),
    class(
        "scheme",
        Ours,
        "A Request-URI with another scheme: 416 from Causeway; 478, 400, 483 and even 200 from Kamailio",
        "RFC 3261 §16.3 item 2",
        |one| refused_by_us(one, 416),
    ),
    class(
        "transport",
        Both,
        "A transport that neither speaks: 502 from Causeway, 500 from Kamailio",
        "RFC 3261 §16.6 item 7 names no status; §16.9 treats it as a 503 of a branch",
        |one| one.is("transport of its own"),
    ),
    class(
        "unknown-dialog",
        Ours,
        "A request of a dialog that is not known: 481 from Causeway, 404 from Kamailio's sample",
        "RFC 3261 §12.2.2",
        |one| answered(one, 481, 404),
    ),
    class(
        "route-without-proof",
        Both,
        "A request with a To tag whose Route was not given out by the server: refused or, an ACK, dropped by Causeway, \
         followed by Kamailio",
        "Causeway's Record-Route carries a proof, so that strangers cannot send through it; RFC 3261 §26.3.2.4 leaves \
         this to policy",
        |one| {
            let names = [
                "ACK with a Route of its own",
                "BYE with a Route of its own",
                "re-INVITE with a Route elsewhere",
            ];
            names.iter().any(|name| one.is(name))
        },
    ),
    class(
        "preloaded-route",
        Ours,
        "A request that begins nothing yet, with a Route beyond the server: followed by Causeway, thrown away by \
         Kamailio's sample",
        "RFC 3261 §16.6 item 6: the topmost Route decides",
        |one| {
            (one.is("Route elsewhere") || one.is("Route over the server elsewhere"))
                && one.field != "challenged"
        },
    ),
    class(
        "foreign-caller",
        Both,
        "A From of another domain: 403 from Causeway unless a trusted peer brings it; Kamailio lets it through to its users",
        "policy; `foreign = \"anybody\"` does the same",
        |one| one.is("From of another domain") && refused_by_us(one, 403),
    ),
    class(
        "absent",
        Ours,
        "The user exists and is not registered: 480 from Causeway, 404 from Kamailio",
        "RFC 3261 §21.4.18",
        |one| one.is("unregistered") && answered(one, 480, 404),
    ),
    class(
        "user-case",
        Ours,
        "sip:Bob@ is not sip:bob@ for Causeway, but for Kamailio",
        "RFC 3261 §19.1.4: user names are case-sensitive",
        |one| one.is("upper-case user"),
    ),
    class(
        "no-user",
        Both,
        "A request for the domain itself: 404 from Causeway, 484 from Kamailio",
        "RFC 3261 §21.4.5 and §21.4.22 both fit",
        |one| one.is("no user") && answered(one, 404, 484),
    ),
    class(
        "options",
        Ours,
        "The answer to OPTIONS for the server: Allow and Accept from Causeway, neither from Kamailio's sample",
        "RFC 3261 §11.2",
        |one| one.method == "OPTIONS" && matches!(one.field.as_str(), "answer Allow" | "answer Accept"),
    ),
    class(
        "cancel-of-nothing",
        Both,
        "CANCEL of a request that is not known: 481 from Causeway, nothing from Kamailio's sample",
        "RFC 3261 §9.2: 481. §16.10 would forward it statelessly, for proxies that forward INVITE so, which neither does",
        |one| one.is("CANCEL of nothing") && answered(one, 481, 0),
    ),
    class(
        "fork-race",
        Both,
        "Two contacts that both pick up at once: who comes first differs from run to run",
        "RFC 3261 §16.7: the first 2xx or the best answer is the one that came first",
        |one| {
            one.is("two contacts")
                && matches!(one.field.as_str(), "reached" | "answer Contact" | "answer Via")
        },
    ),
    class(
        "notify-record-route",
        Both,
        "NOTIFY within a dialog: Record-Route added by Kamailio's sample",
        "RFC 3261 §16.6 item 4 allows it; it has no effect on a dialog that exists",
        |one| one.method == "NOTIFY" && one.field.contains("Record-Route"),
    ),
    class(
        "second-route-of-its-own",
        Ours,
        "Two Route values of the server on top: Causeway takes both for its own, Kamailio sends to itself, or gives up",
        "RFC 3261 §16.4: what names this proxy is removed",
        |one| one.is("within a dialog") && one.is("Route to the domain"),
    ),
    class(
        "no-tag-in-dialog",
        Ours,
        "Within a dialog, From without the tag that the dialog was begun with: 403 from Causeway, forwarded by Kamailio",
        "RFC 3261 §12.2.1.1: From has the local tag, and without it a request is in no dialog; our Route is good in one",
        |one| one.is("within a dialog") && one.is("no From tag") && refused_by_us(one, 403),
    ),
    class(
        "text-and-absent",
        Ours,
        "Text after the body, for somebody who is not there: see body-surplus",
        "RFC 3261 §18.3",
        |one| one.is("text after the body"),
    ),
    class(
        "no-cseq",
        Both,
        "No CSeq at all: dropped by Causeway, 500 from Kamailio",
        "RFC 3261 §8.2.6.2: no valid answer can be made without it",
        |one| one.is("no CSeq") && refused_by_us(one, 0),
    ),
    class(
        "sips",
        Ours,
        "A SIPS Request-URI for a user with SIP contacts over UDP alone: 480 from Causeway, forwarded by Kamailio",
        "RFC 3261 §26.2.2, RFC 5630 §5.3: a SIPS request goes over TLS or not at all",
        |one| one.is("sips") && refused_by_us(one, 480),
    ),
    class(
        "trying",
        Both,
        "100 from Kamailio at once, from Causeway only where nothing else comes within 200 ms",
        "RFC 3261 §17.2.1: a 100 unless another response comes within 200 ms; it may come at once",
        |one| {
            let hasty = one.theirs.replace("100, ", "").replace("100", "");
            one.field == "provisional" && one.theirs.starts_with("[100") && one.ours == hasty
        },
    ),
    class(
        "late-cancel",
        Ours,
        "CANCEL after the 200 to the INVITE: answered 200 by both; Kamailio then sends a 500 to the INVITE as well",
        "RFC 3261 §9.2: it has no effect on a request that has its final response",
        |one| one.is("CANCEL after the answer") && (one.theirs == "[500]" || one.theirs == "500"),
    ),
    class(
        "publish",
        Ours,
        "PUBLISH of an event package that is not known: 489 from Causeway, which is the presence server of its users; \
         Kamailio's sample forwards it",
        "RFC 3903 §6 item 2",
        |one| one.method == "PUBLISH" && refused_by_us(one, 489),
    ),
    class(
        "register-star",
        Ours,
        "Contact * beside another: 400 from Causeway, accepted by Kamailio",
        "RFC 3261 §10.3 item 6",
        |one| one.is("REGISTER: star and another"),
    ),
    class(
        "register-short",
        Both,
        "A registration for 10 s: 423 from Causeway, made longer by Kamailio",
        "RFC 3261 §10.3 item 7 allows the 423; making it longer is not foreseen, and harmless",
        |one| one.is("REGISTER: short"),
    ),
    class(
        "register-order",
        Both,
        "A CSeq that goes back: 500 from Causeway, 400 from Kamailio",
        "RFC 3261 §10.3 item 7: the request fails; the status is left open (§12.2.2 has 500 for it in dialogs)",
        |one| one.is("REGISTER: CSeq goes back"),
    ),
    class(
        "register-equality",
        Ours,
        "sip:%78@… replaces sip:x@… at Causeway, stands beside it at Kamailio",
        "RFC 3261 §10.3 item 7 with §19.1.4: %78 is x",
        |one| one.is("REGISTER: equal contact, other spelling"),
    ),
    class(
        "register-params",
        Both,
        "Unknown contact parameters come back from Causeway, not from Kamailio",
        "RFC 3261 §10.3 item 8 asks for expires alone",
        |one| one.is("REGISTER: contact params"),
    ),
    class(
        "register-unreadable",
        Both,
        "A Contact that cannot be read: 400 before the challenge at Causeway, after it at Kamailio",
        "RFC 3261 §8.2: authentication comes first, but it is of no use to challenge what is refused anyway",
        |one| one.is("REGISTER: unreadable contact"),
    ),
    class(
        "register-many",
        Both,
        "Seventeen contacts: 403 from Causeway, 503 from Kamailio",
        "the RFCs name no status for a limit of the registrar",
        |one| one.is("REGISTER: seventeen contacts"),
    ),
];
