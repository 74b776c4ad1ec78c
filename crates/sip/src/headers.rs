//! Header field names: an open set with fast ids for the ones that software asks for.

use crate::bytes::same;

macro_rules! headers {
    ($($id:ident $name:literal $($compact:literal)?;)*) => {
        /// Names a header field, whatever its case and whether written in full or in its compact form
        /// (RFC 3261 §7.3.3 and the IANA registry). Names not listed here are [`HeaderId::Other`]: they are
        /// carried, counted and found by [`crate::Msg::header_named`] all the same.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum HeaderId {
            $(#[doc = concat!("`", $name, "`", $(", compact form `", $compact, "`")?)] $id,)*
            /// Any other name, and a line that is no header field at all.
            Other,
        }

        const NAMES: &[(&str, HeaderId)] = &[
            $(($name, HeaderId::$id), $(($compact, HeaderId::$id),)?)*
        ];
        const CANONICAL: &[&str] = &[$($name,)* ""];
    };
}

headers! {
    Via "Via" "v";
    From "From" "f";
    To "To" "t";
    CallId "Call-ID" "i";
    CSeq "CSeq";
    Contact "Contact" "m";
    MaxForwards "Max-Forwards";
    MaxBreadth "Max-Breadth";
    Route "Route";
    RecordRoute "Record-Route";
    Path "Path";
    ServiceRoute "Service-Route";
    ContentLength "Content-Length" "l";
    ContentType "Content-Type" "c";
    ContentEncoding "Content-Encoding" "e";
    ContentDisposition "Content-Disposition";
    ContentLanguage "Content-Language";
    MimeVersion "MIME-Version";
    Expires "Expires";
    MinExpires "Min-Expires";
    Supported "Supported" "k";
    Require "Require";
    ProxyRequire "Proxy-Require";
    Unsupported "Unsupported";
    Allow "Allow";
    AllowEvents "Allow-Events" "u";
    Accept "Accept";
    AcceptEncoding "Accept-Encoding";
    AcceptLanguage "Accept-Language";
    AcceptContact "Accept-Contact" "a";
    RejectContact "Reject-Contact" "j";
    RequestDisposition "Request-Disposition" "d";
    Authorization "Authorization";
    ProxyAuthorization "Proxy-Authorization";
    WwwAuthenticate "WWW-Authenticate";
    ProxyAuthenticate "Proxy-Authenticate";
    AuthenticationInfo "Authentication-Info";
    ProxyAuthenticationInfo "Proxy-Authentication-Info";
    PAssertedIdentity "P-Asserted-Identity";
    PPreferredIdentity "P-Preferred-Identity";
    PAccessNetworkInfo "P-Access-Network-Info";
    PAssociatedUri "P-Associated-URI";
    PCalledPartyId "P-Called-Party-ID";
    PChargingVector "P-Charging-Vector";
    PVisitedNetworkId "P-Visited-Network-ID";
    Privacy "Privacy";
    Identity "Identity" "y";
    IdentityInfo "Identity-Info" "n";
    HistoryInfo "History-Info";
    Diversion "Diversion";
    UserAgent "User-Agent";
    Server "Server";
    Organization "Organization";
    Subject "Subject" "s";
    Priority "Priority";
    Event "Event" "o";
    SubscriptionState "Subscription-State";
    SipEtag "SIP-ETag";
    SipIfMatch "SIP-If-Match";
    RetryAfter "Retry-After";
    Warning "Warning";
    Timestamp "Timestamp";
    Date "Date";
    SessionExpires "Session-Expires" "x";
    MinSe "Min-SE";
    ReferTo "Refer-To" "r";
    ReferredBy "Referred-By" "b";
    ReferSub "Refer-Sub";
    Replaces "Replaces";
    Join "Join";
    TargetDialog "Target-Dialog";
    InReplyTo "In-Reply-To";
    ReplyTo "Reply-To";
    RSeq "RSeq";
    RAck "RAck";
    Reason "Reason";
    ErrorInfo "Error-Info";
    AlertInfo "Alert-Info";
    CallInfo "Call-Info";
    FlowTimer "Flow-Timer";
    SecurityClient "Security-Client";
    SecurityServer "Security-Server";
    SecurityVerify "Security-Verify";
    UserToUser "User-to-User";
    SessionId "Session-ID";
}

/// Slots of the hash table: a power of two, well above the number of names.
const SLOTS: usize = 512;
const EMPTY: u8 = u8::MAX;
static TABLE: [u8; SLOTS] = table();

/// Built by the compiler: open addressing over [`hash`], each slot holding a position in [`NAMES`].
const fn table() -> [u8; SLOTS] {
    let mut table = [EMPTY; SLOTS];
    let mut i = 0;
    while i < NAMES.len() {
        let mut slot = hash(NAMES[i].0.as_bytes());
        while table[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = i as u8;
        i += 1;
    }
    table
}

/// Of the length and three letters without their case bit; never called with the empty name.
#[inline(always)]
const fn hash(name: &[u8]) -> usize {
    let len = name.len();
    let first = (name[0] | 0x20) as usize;
    let middle = (name[len / 2] | 0x20) as usize;
    let last = (name[len - 1] | 0x20) as usize;
    (first * 7 + middle * 31 + last * 113 + len * 17) % SLOTS
}

impl HeaderId {
    /// How many ids there are, [`HeaderId::Other`] included.
    pub const COUNT: usize = HeaderId::Other as usize + 1;

    /// The id of a name, compact or in full, in any case.
    #[inline]
    pub fn of(name: &[u8]) -> HeaderId {
        if name.is_empty() {
            return HeaderId::Other;
        }
        let mut slot = hash(name);
        while let Some(&(known, id)) = NAMES.get(TABLE[slot] as usize) {
            if known.len() == name.len() && same(known.as_bytes(), name) {
                return id;
            }
            slot = (slot + 1) % SLOTS;
        }
        HeaderId::Other
    }

    /// The name in full, as the RFCs spell it; empty for [`HeaderId::Other`].
    pub fn name(self) -> &'static str {
        CANONICAL.get(self as usize).copied().unwrap_or_default()
    }

    /// Whether the value is a comma-separated list, so that several lines mean the same as one
    /// (RFC 3261 §7.3.1). The credentials and challenges are not, though their grammar has commas.
    pub fn is_list(self) -> bool {
        use HeaderId::*;
        matches!(
            self,
            Via | Contact
                | Route
                | RecordRoute
                | Path
                | ServiceRoute
                | ContentEncoding
                | ContentLanguage
                | Supported
                | Require
                | ProxyRequire
                | Unsupported
                | Allow
                | AllowEvents
                | Accept
                | AcceptEncoding
                | AcceptLanguage
                | AcceptContact
                | RejectContact
                | RequestDisposition
                | PAssertedIdentity
                | PPreferredIdentity
                | PAssociatedUri
                | PVisitedNetworkId
                | HistoryInfo
                | Diversion
                | Warning
                | InReplyTo
                | Reason
                | ErrorInfo
                | AlertInfo
                | CallInfo
                | SecurityClient
                | SecurityServer
                | SecurityVerify
        )
    }

    /// Whether a message may carry this field once at most, with one value (RFC 3261 §7.3.1, §20).
    pub fn is_single(self) -> bool {
        use HeaderId::*;
        matches!(
            self,
            From | To
                | CallId
                | CSeq
                | MaxForwards
                | MaxBreadth
                | ContentLength
                | ContentType
                | ContentDisposition
                | MimeVersion
                | Expires
                | MinExpires
                | Event
                | SubscriptionState
                | SipEtag
                | SipIfMatch
                | RetryAfter
                | Timestamp
                | Date
                | SessionExpires
                | MinSe
                | ReferTo
                | ReferredBy
                | Replaces
                | RSeq
                | RAck
                | Subject
                | Priority
                | Organization
                | UserAgent
                | Server
        )
    }

    /// Whether the value proves or holds a secret and must not be shown.
    pub fn is_secret(self) -> bool {
        matches!(self, HeaderId::Authorization | HeaderId::ProxyAuthorization)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for &(name, id) in NAMES {
            assert_eq!(HeaderId::of(name.as_bytes()), id, "{name}");
            assert_eq!(HeaderId::of(name.to_ascii_lowercase().as_bytes()), id, "{name}");
            assert_eq!(HeaderId::of(name.to_ascii_uppercase().as_bytes()), id, "{name}");
        }
        assert_eq!(HeaderId::CallId.name(), "Call-ID");
        assert_eq!(HeaderId::SessionId.name(), "Session-ID");
    }

    #[test]
    fn compact_forms_as_registered() {
        let iana = [
            ("a", "Accept-Contact"),
            ("b", "Referred-By"),
            ("c", "Content-Type"),
            ("d", "Request-Disposition"),
            ("e", "Content-Encoding"),
            ("f", "From"),
            ("i", "Call-ID"),
            ("j", "Reject-Contact"),
            ("k", "Supported"),
            ("l", "Content-Length"),
            ("m", "Contact"),
            ("n", "Identity-Info"),
            ("o", "Event"),
            ("r", "Refer-To"),
            ("s", "Subject"),
            ("t", "To"),
            ("u", "Allow-Events"),
            ("v", "Via"),
            ("x", "Session-Expires"),
            ("y", "Identity"),
        ];
        for (compact, full) in iana {
            assert_eq!(HeaderId::of(compact.as_bytes()).name(), full);
        }
    }

    #[test]
    fn strangers_are_other() {
        for name in [&b""[..], b"X-Foo", b"C%6Fntact", b"Vias", b"Vi", b"z", b"\xff\x00", b"Call_ID"] {
            assert_eq!(HeaderId::of(name), HeaderId::Other);
        }
    }
}
