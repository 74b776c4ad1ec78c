//! What is wrong with a message, told to a person.

use crate::message::{Index, Msg, ParseError};
use crate::validate::{self, Role, Rule, Severity};
use std::fmt;

/// One fault of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The byte within the line, from 1.
    pub column: usize,
    /// Where the broken rule stands, such as `RFC 3261 §20.14`.
    pub section: &'static str,
    /// Whether the message is refused for it.
    pub severity: Severity,
    /// What is wrong.
    pub text: &'static str,
    /// What stands there: at most 40 bytes of the line, as text, credentials left out.
    pub excerpt: String,
    /// What a server answers to the request; `None` for a warning, and for an ACK or a response, which are
    /// discarded instead.
    pub answer: Option<u16>,
    /// The rule.
    pub rule: Rule,
}

/// All faults of a message, by place; none when it is flawless. Bytes that are no message at all have one.
/// It is judged as a server that has to understand it; what other roles would add, such as the registrar's
/// wish for a SIP URI in To, is not among them.
pub fn check(bytes: &[u8]) -> Vec<Fault> {
    check_as(bytes, Role::Server)
}

/// [`check`], as somebody in particular.
pub fn check_as(bytes: &[u8], role: Role) -> Vec<Fault> {
    let mut index = Index::new();
    if let Err(error) = index.parse(bytes) {
        let rule = match error {
            ParseError::Empty | ParseError::NoStartLine => Rule::NotSip,
            ParseError::HeadTooLong => Rule::HeadTooLong,
            ParseError::TooManyHeaders => Rule::TooManyHeaders,
            ParseError::BodyTooLong => Rule::BodyTooLong,
        };
        return vec![fault(bytes, rule, 0, true)];
    }
    let msg = Msg::new(bytes, &index);
    let answerable = msg.is_request() && msg.method() != crate::Method::Ack;
    validate::all(msg, role)
        .into_iter()
        .map(|found| {
            let mut fault = fault(bytes, found.rule, found.at, answerable);
            let inside = |span: std::ops::Range<usize>| span.contains(&found.at);
            if index.entries.iter().any(|entry| entry.id.is_secret() && inside(entry.value.range())) {
                fault.excerpt = String::from("(redacted)");
            }
            fault
        })
        .collect()
}

fn fault(bytes: &[u8], rule: Rule, at: usize, answerable: bool) -> Fault {
    let before = crate::bytes::head(bytes, at);
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |lf| lf + 1);
    let rest = crate::bytes::tail(bytes, at);
    let end = rest.iter().position(|&b| b == b'\r' || b == b'\n').unwrap_or(rest.len()).min(40);
    Fault {
        line: 1 + memchr::memchr_iter(b'\n', before).count(),
        column: 1 + at.saturating_sub(line_start),
        section: rule.section(),
        severity: rule.severity(),
        text: rule.text(),
        excerpt: String::from_utf8_lossy(crate::bytes::head(rest, end)).into_owned(),
        answer: (answerable && rule.severity() == Severity::Error).then_some(rule.status()),
        rule,
    }
}

/// One line of text: `3:12: error: Malformed Via (RFC 3261 §20.42, §25.1), answer 400: ";;,;,,"`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}: {severity}: {} ({})", self.line, self.column, self.text, self.section)?;
        match (self.answer, self.severity) {
            (Some(status), _) => write!(f, ", answer {status} {}", crate::reason_phrase(status))?,
            (None, Severity::Error) => f.write_str(", discarded")?,
            (None, Severity::Warning) => {}
        }
        if self.excerpt.is_empty() { Ok(()) } else { write!(f, ": {:?}", self.excerpt) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_line_column_section_and_answer() {
        let text =
            b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
            To: \"open <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nMax-Forwards: 300\r\n\r\n";
        let faults = check(text);
        let lines: Vec<_> = faults.iter().map(|fault| fault.to_string()).collect();
        assert_eq!(
            lines,
            [
                "4:5: error: Malformed To (RFC 3261 §20.39, §25.1), answer 400 Bad Request: \"\\\"open <sip:a@b>\"",
                "6:9: error: CSeq method differs from the request's (RFC 3261 §8.1.1.5), answer 400 Bad Request: \"INVITE\"",
                "7:15: warning: Max-Forwards exceeds 255 (RFC 3261 §20.22): \"300\"",
            ]
        );
    }

    #[test]
    fn responses_are_discarded_and_noise_is_no_message() {
        let faults = check(b"SIP/2.0 99 x\r\n\r\n");
        assert_eq!((faults[0].rule, faults[0].answer), (Rule::NoVia, None));
        assert!(faults.iter().any(|fault| fault.rule == Rule::Status));
        assert_eq!(check(b"\r\n\r\n")[0].rule, Rule::NotSip);
        assert_eq!(check(b"")[0].rule, Rule::NotSip);
    }
}
