//! The paths in MSRP messages that pass through (RFC 4975 §7).
//!
//! A relay that puts its own address into `a=path` must do the same in To-Path and From-Path, since the ends compare
//! them with what was negotiated (RFC 4975 §7.3.1). Nothing else is touched: whatever is no MSRP, or cannot be
//! followed within the bounds here, passes byte by byte from there on.

use memchr::memmem;

/// The longest start or header line that is looked at.
const MAX_LINE: usize = 8192;
/// RFC 4975 §9: a transaction identifier has 4 to 32 characters.
const IDENT: std::ops::RangeInclusive<usize> = 4..=32;
const DASHES: &[u8] = b"-------";

/// One authority (`host:port` of an `msrp:` URI) in the place of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swap<'a> {
    pub old: &'a [u8],
    pub new: &'a [u8],
}

/// What is replaced in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Swaps<'a> {
    pub to: Swap<'a>,
    pub from: Swap<'a>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a start line.
    #[default]
    Start,
    /// Among header lines.
    Head,
    /// In a body, at its very beginning or further on.
    Body { begun: bool },
    /// Beyond understanding.
    Raw,
}

/// One direction of one connection.
#[derive(Debug, Default)]
pub(crate) struct Editor {
    state: State,
    /// Bytes that wait for those that follow: less than [`MAX_LINE`].
    held: Vec<u8>,
    /// The line that ends the message at hand, up to its flag, with the line end before it.
    end: Vec<u8>,
}

impl Editor {
    /// Takes further bytes and appends to `out` what can go on.
    pub(crate) fn push(&mut self, bytes: &[u8], swaps: Swaps<'_>, out: &mut Vec<u8>) {
        if self.state == State::Raw {
            return out.extend_from_slice(bytes);
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let mut rest = held.as_slice();
        while let Some(used) = self.step(rest, swaps, out) {
            rest = rest.get(used..).unwrap_or_default();
        }
        if self.state == State::Raw {
            out.extend_from_slice(rest);
            return;
        }
        let done = held.len() - rest.len();
        held.drain(..done);
        self.held = held;
    }

    /// Nothing will follow: what was held back goes as it is.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    /// One step; how many bytes it has used. `None` if more are needed, or nothing is to be understood any more.
    fn step(&mut self, rest: &[u8], swaps: Swaps<'_>, out: &mut Vec<u8>) -> Option<usize> {
        match self.state {
            State::Raw => None,
            State::Start => {
                let line = self.line(rest)?;
                let Some(ident) = ident(line) else {
                    self.state = State::Raw;
                    return None;
                };
                self.end = [b"\r\n", DASHES, ident].concat();
                out.extend_from_slice(line);
                self.state = State::Head;
                Some(line.len())
            }
            State::Head => {
                let line = self.line(rest)?;
                if line == b"\r\n" {
                    self.state = State::Body { begun: false };
                } else if self.ends(line) == Some(line.len()) {
                    self.state = State::Start;
                }
                match swap_of(line, swaps) {
                    Some(swap) => replace(line, swap, out),
                    None => out.extend_from_slice(line),
                }
                Some(line.len())
            }
            State::Body { begun } => self.body(rest, begun, out),
        }
    }

    /// The next whole line with its end. Gives up on one that is too long.
    fn line<'a>(&mut self, rest: &'a [u8]) -> Option<&'a [u8]> {
        let head = rest.get(..MAX_LINE).unwrap_or(rest);
        match memmem::find(head, b"\r\n") {
            Some(at) => rest.get(..at + 2),
            None => {
                if rest.len() >= MAX_LINE {
                    self.state = State::Raw;
                }
                None
            }
        }
    }

    /// The length of an end line at the start of `text`, if there is one.
    fn ends(&self, text: &[u8]) -> Option<usize> {
        let line = self.end.get(2..)?;
        let flag = text.strip_prefix(line)?;
        matches!(flag, [b'$' | b'+' | b'#', b'\r', b'\n', ..]).then_some(line.len() + 3)
    }

    fn body(&mut self, rest: &[u8], begun: bool, out: &mut Vec<u8>) -> Option<usize> {
        // A body without a byte may lack the line end before the end line.
        if !begun {
            let line = self.end.get(2..).unwrap_or_default();
            let whole = line.len() + 3;
            if rest.len() < whole && line.starts_with(rest.get(..line.len()).unwrap_or(rest)) {
                return None;
            }
            if let Some(len) = self.ends(rest) {
                out.extend_from_slice(rest.get(..len)?);
                self.state = State::Start;
                return Some(len);
            }
            self.state = State::Body { begun: true };
        }
        let end = self.end.as_slice();
        let used = match memmem::find(rest, end) {
            Some(at) if rest.len() < at + end.len() + 3 => at,
            Some(at) => match self.ends(rest.get(at + 2..)?) {
                Some(len) => {
                    self.state = State::Start;
                    at + 2 + len
                }
                None => at + 1,
            },
            None => rest.len() - longest_start(rest, end),
        };
        out.extend_from_slice(rest.get(..used)?);
        (used > 0).then_some(used)
    }
}

/// How many bytes at the end of `text` may be the beginning of `pattern`.
fn longest_start(text: &[u8], pattern: &[u8]) -> usize {
    let most = text.len().min(pattern.len().saturating_sub(1));
    (0..=most).rev().find(|len| text.ends_with(&pattern[..*len])).unwrap_or(0)
}

/// The transaction identifier of a start line: `MSRP ident SEND`, `MSRP ident 200 OK`.
fn ident(line: &[u8]) -> Option<&[u8]> {
    let mut words = line.strip_suffix(b"\r\n")?.split(|byte| *byte == b' ');
    let (name, ident, _) = (words.next()?, words.next()?, words.next()?);
    let known = |byte: &u8| byte.is_ascii_alphanumeric() || b".-+%=".contains(byte);
    (name == b"MSRP" && IDENT.contains(&ident.len()) && ident.iter().all(known)).then_some(ident)
}

fn swap_of<'a>(line: &[u8], swaps: Swaps<'a>) -> Option<Swap<'a>> {
    let name = |name: &[u8]| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    if name(b"To-Path:") {
        Some(swaps.to)
    } else if name(b"From-Path:") {
        Some(swaps.from)
    } else {
        None
    }
}

/// Appends a line with the authority of each URI that has the old one replaced.
fn replace(line: &[u8], swap: Swap<'_>, out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(found) = line.get(at..).and_then(authority) {
        let (start, end) = (at + found.0, at + found.1);
        let Some(old) = line.get(start..end) else { break };
        out.extend_from_slice(line.get(at..start).unwrap_or_default());
        out.extend_from_slice(if old.eq_ignore_ascii_case(swap.old) { swap.new } else { old });
        at = end;
    }
    out.extend_from_slice(line.get(at..).unwrap_or_default());
}

/// Where the next authority of an `msrp:` or `msrps:` URI lies, user part left out.
fn authority(text: &[u8]) -> Option<(usize, usize)> {
    let start = memmem::find(text, b"://")? + 3;
    let rest = text.get(start..)?;
    let len = rest.iter().position(|byte| b"/; \t\r\n".contains(byte)).unwrap_or(rest.len());
    let user = rest.get(..len)?.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
    Some((start + user, start + len))
}

/// Passes `data` through an editor in pieces of a length given by its first byte, with swaps of what its paths may
/// hold, and checks that pieces change nothing and that without a match the bytes are the same.
///
/// # Panics
/// If one of that is not so: that is what the fuzzer looks for.
pub fn fuzz(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    let run = |old: &[u8], piece: usize| {
        let swap = Swap { old, new: b"192.0.0.8:17" };
        let (mut editor, mut out) = (Editor::default(), Vec::new());
        for bytes in stream.chunks(piece.max(1)) {
            editor.push(bytes, Swaps { to: swap, from: swap }, &mut out);
            assert!(editor.held.len() <= MAX_LINE + 64, "bounded");
        }
        editor.finish(&mut out);
        out
    };
    assert_eq!(run(b"no such host:0", usize::from(piece)), stream);
    assert_eq!(run(b"a.example:2855", usize::from(piece)), run(b"a.example:2855", stream.len()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SWAPS: Swaps<'_> = Swaps {
        to: Swap { old: b"10.0.0.1:40000", new: b"[2001:db8::1]:17" },
        from: Swap { old: b"a.example:2855", new: b"192.0.0.8:17" },
    };

    fn edit(text: &[u8], piece: usize) -> Vec<u8> {
        let (mut editor, mut out) = (Editor::default(), Vec::new());
        text.chunks(piece).for_each(|bytes| editor.push(bytes, SWAPS, &mut out));
        editor.finish(&mut out);
        out
    }

    /// Two messages and a response; the body holds what looks like header lines and nearly like an end.
    const TEXT: &str = "MSRP d93kswow SEND\r\nTo-Path: msrp://10.0.0.1:40000/jshA7weztas;tcp\r\n\
From-Path: msrp://A.example:2855/iau39soe2843z;tcp\r\nMessage-ID: 12339sdqwer\r\nByte-Range: 1-*/*\r\n\
Content-Type: text/plain\r\n\r\nTo-Path: msrp://10.0.0.1:40000/x;tcp\r\n-------d93kswo$\r\n-------d93kswow!\r\n\
\r\n-------d93kswow$\r\nMSRP d93kswow 200 OK\r\nTo-Path: msrp://bob@10.0.0.1:40000/x;tcp msrp://10.0.0.1:40000/y;tcp\r\n\
From-Path: msrp://10.0.0.1:40000/jshA7weztas;tcp\r\n-------d93kswow$\r\nMSRP 9a8b SEND\r\nfrom-path: \
msrps://a.example:2855/z;tcp\r\n\r\n-------9a8b+\r\n";

    #[test]
    fn paths_change_and_nothing_else_however_it_is_cut() {
        let expected = TEXT
            .replacen("To-Path: msrp://10.0.0.1:40000/jshA7", "To-Path: msrp://[2001:db8::1]:17/jshA7", 1)
            .replacen("A.example:2855", "192.0.0.8:17", 1)
            .replacen(
                "msrp://bob@10.0.0.1:40000/x;tcp msrp://10.0.0.1:40000/y",
                "msrp://bob@[2001:db8::1]:17/x;tcp msrp://[2001:db8::1]:17/y",
                1,
            )
            .replacen("msrps://a.example:2855", "msrps://192.0.0.8:17", 1);
        for piece in 1..TEXT.len() {
            assert_eq!(
                String::from_utf8(edit(TEXT.as_bytes(), piece)).unwrap(),
                expected,
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn bytes_of_a_body_do_not_wait_for_its_end() {
        let (mut editor, mut out) = (Editor::default(), Vec::new());
        editor.push(b"MSRP abcd SEND\r\nTo-Path: x\r\n\r\nhello\r\nwor", SWAPS, &mut out);
        assert!(out.ends_with(b"hello\r\nwor"));
        editor.push(b"ld\r\n---", SWAPS, &mut out);
        assert!(out.ends_with(b"hello\r\nworld"), "what may be the end line waits");
    }

    #[test]
    fn what_is_no_msrp_passes() {
        for text in [
            &b"GET / HTTP/1.1\r\nTo-Path: msrp://10.0.0.1:40000/x\r\n"[..],
            b"MSRP abc SEND\r\n",
            b"\r\n\r\n",
        ] {
            assert_eq!(edit(text, 3), text);
        }
        let long = [
            b"MSRP abcd SEND\r\nX: ".as_slice(),
            &[b'x'; 20_000],
            b"\r\nTo-Path: msrp://10.0.0.1:40000/x\r\n",
        ]
        .concat();
        assert_eq!(edit(&long, 1000), long, "beyond a line that is too long nothing is understood");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_pass(
            parts in proptest::collection::vec(prop_oneof![
                Just(b"MSRP abcd SEND\r\n".to_vec()),
                Just(b"To-Path: msrp://a.example:2855/x;tcp msrp://b/y\r\n".to_vec()),
                Just(b"\r\n".to_vec()),
                Just(b"\r\n-------abcd$\r\n".to_vec()),
                Just(b"-------abcd".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..40),
            ], 0..30),
            piece in any::<u8>(),
        ) {
            fuzz(&[&[piece][..], &parts.concat()].concat());
        }
    }
}
