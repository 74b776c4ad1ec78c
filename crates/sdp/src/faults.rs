//! What is wrong with a description, told to a person.

use crate::attributes::Rtpmap;
use crate::index::{Index, Line};
use crate::view::{Connection, Origin, Sdp, number};
use std::fmt;

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// Where the broken rule stands.
    pub section: &'static str,
    /// Whether media cannot be set up because of it; otherwise it is tolerated.
    pub fatal: bool,
    /// What is wrong.
    pub text: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.fatal { "error" } else { "warning" };
        write!(f, "{}: {severity}: {} ({})", self.line, self.text, self.section)
    }
}

/// All faults of a description, by line; none when it is flawless.
pub fn check(bytes: &[u8]) -> Vec<Fault> {
    let mut index = Index::new();
    if index.parse(bytes).is_err() {
        let text = "Not a session description, or beyond the limits";
        return vec![Fault { line: 1, section: "RFC 8866 §5", fatal: true, text }];
    }
    let mut pass = Pass { sdp: Sdp::new(bytes, &index), faults: Vec::new() };
    pass.order();
    for (at, line) in index.lines.iter().enumerate() {
        pass.line(at, line);
    }
    pass.connections();
    pass.faults.sort_by_key(|fault| fault.line);
    pass.faults
}

struct Pass<'a> {
    sdp: Sdp<'a>,
    faults: Vec<Fault>,
}

impl Pass<'_> {
    fn fault(&mut self, at: usize, fatal: bool, section: &'static str, text: &'static str) {
        self.faults.push(Fault { line: at + 1, section, fatal, text });
    }

    fn order(&mut self) {
        let kinds: Vec<u8> = self.sdp.index.lines.iter().map(|line| line.kind).collect();
        if kinds.first() != Some(&b'v') {
            self.fault(0, false, "RFC 8866 §5.1", "The first line is not v=");
        }
        let session = self.sdp.session();
        for (kind, section, text) in [
            (b'o', "RFC 8866 §5.2", "No o= line"),
            (b's', "RFC 8866 §5.3", "No s= line"),
            (b't', "RFC 8866 §5.9", "No t= line"),
        ] {
            if session.value(kind).is_none() {
                self.fault(0, false, section, text);
            }
        }
    }

    fn line(&mut self, at: usize, line: &Line) {
        let value = line.value.of(self.sdp.bytes);
        let raw = line.line.of(self.sdp.bytes);
        match line.kind {
            0 if !raw.trim_ascii().is_empty() => {
                self.fault(at, false, "RFC 8866 §5", "Line is not of the form x=value");
            }
            b'v' if value != b"0" => self.fault(at, true, "RFC 8866 §5.1", "Version is not 0"),
            b'o' if Origin::parse(value).is_none() => {
                self.fault(at, false, "RFC 8866 §5.2", "Malformed o=");
            }
            b'c' if Connection::parse(value).is_none() => {
                self.fault(at, true, "RFC 8866 §5.7", "Malformed c=");
            }
            b'a' => self.attribute(at, value),
            b'b' | b'e' | b'i' | b'k' | b'p' | b'r' | b's' | b't' | b'u' | b'z' | b'v' | b'o' | b'c'
            | b'm' | 0 => {}
            _ => self.fault(at, false, "RFC 8866 §5", "Unknown line letter"),
        }
        if line.kind != 0 && raw.get(1) != Some(&b'=') {
            self.fault(at, false, "RFC 8866 §5", "Blanks before the equals sign");
        }
    }

    fn attribute(&mut self, at: usize, value: &[u8]) {
        let attribute = crate::Attribute::parse(value);
        let text = attribute.value.unwrap_or_default();
        match attribute.name {
            b"" => self.fault(at, false, "RFC 8866 §5.13", "Attribute without a name"),
            b"rtpmap" if Rtpmap::parse(text).is_none() => {
                self.fault(at, false, "RFC 8866 §6.6", "Malformed rtpmap");
            }
            b"rtcp" if crate::attributes::rtcp(text).is_none() => {
                self.fault(at, false, "RFC 3605 §2.1", "Malformed rtcp");
            }
            b"ptime" if number::<u16>(text).is_none() => {
                self.fault(at, false, "RFC 8866 §6.4", "Malformed ptime");
            }
            _ => {}
        }
    }

    /// Media lines, and the connection that each needs.
    fn connections(&mut self) {
        for n in 0..self.sdp.media_count() {
            let at = self.sdp.index.section(n + 1).start;
            match self.sdp.media_at(n) {
                None => self.fault(at, true, "RFC 8866 §5.14", "Malformed m="),
                Some(media) => {
                    if media.formats().next().is_none() {
                        self.fault(at, false, "RFC 8866 §5.14", "m= without a format");
                    }
                    if media.connection().is_none() && !media.rejected() {
                        self.fault(at, true, "RFC 8866 §5.7", "No c= line for this media");
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_line() {
        let text = b"v=0\r\no=- 1\r\nc=IN IP4\r\nq=x\r\nm=audio x RTP/AVP 0\r\nm =video 1 RTP/AVP\r\na=rtpmap:300 x\r\n?\r\n";
        let lines: Vec<_> = check(text).iter().map(Fault::to_string).collect();
        assert_eq!(
            lines,
            [
                "1: warning: No s= line (RFC 8866 §5.3)",
                "1: warning: No t= line (RFC 8866 §5.9)",
                "2: warning: Malformed o= (RFC 8866 §5.2)",
                "3: error: Malformed c= (RFC 8866 §5.7)",
                "4: warning: Unknown line letter (RFC 8866 §5)",
                "5: error: Malformed m= (RFC 8866 §5.14)",
                "6: warning: Blanks before the equals sign (RFC 8866 §5)",
                "6: warning: m= without a format (RFC 8866 §5.14)",
                "6: error: No c= line for this media (RFC 8866 §5.7)",
                "7: warning: Malformed rtpmap (RFC 8866 §6.6)",
                "8: warning: Line is not of the form x=value (RFC 8866 §5)",
            ]
        );
    }

    #[test]
    fn flawless_and_hopeless() {
        let good = b"v=0\r\no=- 1 1 IN IP4 192.0.2.5\r\ns=-\r\nt=0 0\r\nm=audio 1 RTP/AVP 0\r\nc=IN IP4 192.0.2.5\r\n";
        assert_eq!(check(good), []);
        assert!(check(b"<audio>\r\n")[0].fatal);
        assert!(check(b"")[0].fatal);
    }
}
