//! What can be wrong with a message: one row per rule.

/// How much a fault weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The message breaks a rule, and is taken all the same.
    Warning,
    /// The message is refused.
    Error,
}

macro_rules! rules {
    ($($rule:ident $severity:ident $status:literal $section:literal $text:literal;)*) => {
        /// A rule that a message can break. Its documentation is what is told about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule {
            $(#[doc = $text] $rule,)*
        }

        impl Rule {
            /// All rules.
            pub const ALL: &[Rule] = &[$(Rule::$rule,)*];

            /// Whether breaking it refuses the message.
            pub const fn severity(self) -> Severity {
                match self { $(Rule::$rule => Severity::$severity,)* }
            }

            /// What a server answers to a request that breaks it; 0 for a warning. A response is discarded.
            pub const fn status(self) -> u16 {
                match self { $(Rule::$rule => $status,)* }
            }

            /// Where the rule stands.
            pub const fn section(self) -> &'static str {
                match self { $(Rule::$rule => $section,)* }
            }

            /// What is wrong, in a few words without line ends: fit for a reason phrase.
            pub const fn text(self) -> &'static str {
                match self { $(Rule::$rule => $text,)* }
            }
        }
    };
}

rules! {
    NotSip Error 400 "RFC 3261 §7" "Not a SIP message";
    HeadTooLong Error 513 "RFC 3261 §21.5.7" "Header section too long";
    TooManyHeaders Error 513 "RFC 3261 §21.5.7" "Too many header lines";
    BodyTooLong Error 513 "RFC 3261 §21.5.7" "Body too long";

    Version Error 505 "RFC 3261 §7.1, §21.5.6" "SIP version not supported";
    VersionForm Error 400 "RFC 3261 §7.1" "Start line does not name a SIP version";
    StartBlanks Error 400 "RFC 3261 §7.1" "Start line parts are not separated by single spaces";
    MethodToken Error 400 "RFC 3261 §25.1" "Method is not a token";
    RequestUri Error 400 "RFC 3261 §7.1, §19.1.1" "Malformed Request-URI";
    RequestUriHeaders Error 400 "RFC 3261 §19.1.1" "Request-URI carries headers";
    RequestUriScheme Error 416 "RFC 3261 §8.2.2.1, §16.3" "Unsupported URI scheme";
    Status Error 400 "RFC 3261 §7.2" "Status code is not a number from 100 to 699";
    StatusLine Warning 0 "RFC 3261 §7.2" "No space after the status code";

    BareCr Error 400 "RFC 3261 §7" "CR without LF";
    MixedLineEnds Error 400 "RFC 3261 §7" "Some lines end with CRLF, some with LF alone";
    BareLf Warning 0 "RFC 3261 §7" "Lines end with LF alone";
    Unterminated Error 400 "RFC 3261 §7" "No empty line after the header fields";
    HeaderLine Error 400 "RFC 3261 §7.3.1" "Header line without a name and a colon";
    HeaderName Error 400 "RFC 3261 §25.1" "Header name is not a token";
    Repeated Error 400 "RFC 3261 §7.3.1" "Header field occurs more than once";

    NoVia Error 400 "RFC 3261 §8.1.1" "Missing Via";
    NoFrom Error 400 "RFC 3261 §8.1.1" "Missing From";
    NoTo Error 400 "RFC 3261 §8.1.1" "Missing To";
    NoCallId Error 400 "RFC 3261 §8.1.1" "Missing Call-ID";
    NoCSeq Error 400 "RFC 3261 §8.1.1" "Missing CSeq";
    NoMaxForwards Warning 0 "RFC 3261 §8.1.1.6" "Missing Max-Forwards";
    NoContact Warning 0 "RFC 3261 §8.1.1.8" "Missing Contact in a request that makes a dialog";

    Via Error 400 "RFC 3261 §20.42, §25.1" "Malformed Via";
    NoBranch Warning 0 "RFC 3261 §8.1.1.7" "Via without a branch, as in RFC 2543";
    BareCookie Warning 0 "RFC 3261 §8.1.1.7" "Branch has the magic cookie and nothing more";
    BroadcastVia Warning 0 "RFC 4475 §3.3.10" "The response would go on to a broadcast address";
    From Error 400 "RFC 3261 §20.20, §25.1" "Malformed From";
    To Error 400 "RFC 3261 §20.39, §25.1" "Malformed To";
    NoFromTag Warning 0 "RFC 3261 §8.1.1.3" "From without a tag, as in RFC 2543";
    DisplayName Warning 0 "RFC 3261 §25.1" "Display name needs quotes";
    ToScheme Error 400 "RFC 3261 §10.3" "A registrar needs a SIP or SIPS URI in To";
    CallId Error 400 "RFC 3261 §20.8, §25.1" "Malformed Call-ID";
    CSeq Error 400 "RFC 3261 §20.16" "Malformed CSeq, or number beyond 32 bits";
    CSeqRange Warning 0 "RFC 3261 §8.1.1.5" "CSeq number is not below 2**31";
    CSeqMethod Error 400 "RFC 3261 §8.1.1.5" "CSeq method differs from the request's";
    MaxForwards Error 400 "RFC 3261 §20.22" "Max-Forwards is not a number";
    MaxForwardsRange Warning 0 "RFC 3261 §20.22" "Max-Forwards exceeds 255";
    TooManyHops Error 483 "RFC 3261 §16.3" "Too many hops";
    Contact Error 400 "RFC 3261 §20.10, §25.1" "Malformed Contact";
    ContactNeedsBrackets Error 400 "RFC 3261 §20" "URI with a question mark or comma needs angle brackets";
    Route Error 400 "RFC 3261 §20.34, §25.1" "Malformed Route or Record-Route";
    RouteNeedsBrackets Warning 0 "RFC 3261 §25.1" "Route and Record-Route need angle brackets";
    Address Warning 0 "RFC 3261 §25.1" "Malformed address";
    UriCharacters Warning 0 "RFC 3261 §25.1" "A character in the URI should be escaped";
    UriEscape Warning 0 "RFC 3261 §25.1" "Percent sign without two hexadecimal digits";

    ContentLength Error 400 "RFC 3261 §20.14" "Content-Length is not a number";
    BodyShort Error 400 "RFC 3261 §18.3" "Content-Length exceeds the bytes that are there";
    BodyLong Warning 0 "RFC 3261 §18.3" "Bytes after the end of the body are ignored";
    NoContentType Warning 0 "RFC 3261 §20.15" "Body without a Content-Type";
    ContentType Warning 0 "RFC 3261 §20.15" "Malformed Content-Type";
    Date Error 400 "RFC 3261 §20.17" "Date is no RFC 1123 date in GMT";
    Seconds Warning 0 "RFC 3261 §20.19" "Not a number of seconds up to 2**32-1; counts as missing";
    WarningCode Warning 0 "RFC 3261 §20.43" "Warning code has not three digits";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_an_answer_and_warnings_none() {
        for rule in Rule::ALL {
            assert_eq!(rule.severity() == Severity::Error, rule.status() >= 400, "{rule:?}");
            assert!(rule.section().contains('§') && rule.text().is_ascii(), "{rule:?}");
        }
    }
}
