//! The session description inside a message body (RFC 2046 §5.1, RFC 5621).

use memchr::memmem;
use std::ops::Range;

/// How deep multipart bodies are followed.
const MAX_DEPTH: usize = 4;
/// How many parts of one multipart body are looked at.
const MAX_PARTS: usize = 32;

/// Where in `body` the first `application/sdp` lies: all of it, or a part of a multipart body (four levels
/// deep, 32 parts each). `None` when there is none, or the boundary is missing.
pub fn find_sdp(content_type: &[u8], body: &[u8]) -> Option<Range<usize>> {
    find(content_type, body, 0, MAX_DEPTH)
}

fn find(content_type: &[u8], body: &[u8], offset: usize, depth: usize) -> Option<Range<usize>> {
    let kind = content_type.split(|&b| b == b';').next()?.trim_ascii();
    if kind.eq_ignore_ascii_case(b"application/sdp") {
        return Some(offset..offset + body.len());
    }
    if depth == 0 || !kind.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/")) {
        return None;
    }
    let boundary = boundary(content_type)?;
    parts(body, boundary).take(MAX_PARTS).find_map(|part| {
        let text = body.get(part.clone())?;
        let (head, content) = split_head(text);
        let kind = header(text.get(..head)?, b"content-type")?;
        find(kind, text.get(content..)?, offset + part.start + content, depth - 1)
    })
}

/// The `boundary` parameter, without quotes: 1 to 70 characters.
fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let params = content_type.split(|&b| b == b';').skip(1);
    let value = params.map(<[u8]>::trim_ascii).find_map(|param| {
        let eq = memchr::memchr(b'=', param)?;
        param[..eq].trim_ascii().eq_ignore_ascii_case(b"boundary").then(|| param[eq + 1..].trim_ascii())
    })?;
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    (1..=70).contains(&value.len()).then_some(value)
}

/// The parts between the delimiters, without the line ends that belong to those.
fn parts<'a>(body: &'a [u8], boundary: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut at = delimiter(body, boundary, 0);
    std::iter::from_fn(move || {
        let (_, after) = at?;
        let rest = body.get(after..)?;
        if rest.starts_with(b"--") {
            at = None;
            return None;
        }
        let start = after + memchr::memchr(b'\n', rest)? + 1;
        // Without the last delimiter the part goes to the end: the sender cut it short.
        let next = delimiter(body, boundary, start);
        at = next;
        Some(start..next.map_or(body.len(), |(end, _)| end.max(start)))
    })
}

/// The next line that begins with `--boundary`: where the text before ends, and where the delimiter ends.
fn delimiter(body: &[u8], boundary: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let found = at + memmem::find(body.get(at..)?, boundary)?;
        let start = found.checked_sub(2).filter(|&start| body.get(start..found) == Some(b"--"));
        match start {
            Some(start)
                if (start == 0 || body.get(start - 1) == Some(&b'\n'))
                    && ends(body, found + boundary.len()) =>
            {
                let lf = start.saturating_sub(1);
                let cr = lf.checked_sub(1).filter(|&cr| body.get(cr) == Some(&b'\r'));
                return Some((cr.unwrap_or(lf).max(from.min(start)), found + boundary.len()));
            }
            _ => at = found + boundary.len(),
        }
    }
}

/// Whether a delimiter ends here: with `--`, or with nothing but blanks to the end of its line.
fn ends(body: &[u8], at: usize) -> bool {
    let rest = body.get(at..).unwrap_or_default();
    let line = rest.split(|&b| b == b'\n').next().unwrap_or_default();
    rest.starts_with(b"--") || line.trim_ascii().is_empty()
}

/// Where the header lines of a part end, and where its content begins.
fn split_head(part: &[u8]) -> (usize, usize) {
    let mut at = 0;
    while let Some(rest) = part.get(at..) {
        let Some(lf) = memchr::memchr(b'\n', rest) else { break };
        if matches!(&rest[..lf], b"" | b"\r") {
            return (at, at + lf + 1);
        }
        at += lf + 1;
    }
    (part.len(), part.len())
}

/// The value of a header field of a part, its continuation lines included.
fn header<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut at = 0;
    while let Some(rest) = head.get(at..).filter(|rest| !rest.is_empty()) {
        let end = unfolded_end(rest);
        let field = rest.get(..end)?;
        if let Some(colon) = memchr::memchr(b':', field)
            && field[..colon].trim_ascii().eq_ignore_ascii_case(name)
        {
            return Some(field[colon + 1..].trim_ascii());
        }
        at += end;
    }
    None
}

/// The length of the first line with those that continue it.
fn unfolded_end(text: &[u8]) -> usize {
    let mut lines = memchr::memchr_iter(b'\n', text).map(|lf| lf + 1);
    lines.find(|&next| !matches!(text.get(next), Some(b' ' | b'\t'))).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(kind: &str, body: &'a str) -> Option<&'a str> {
        find_sdp(kind.as_bytes(), body.as_bytes()).map(|range| &body[range])
    }

    #[test]
    fn plain_and_multipart() {
        assert_eq!(text("Application/SDP ; charset=x", "v=0\r\n"), Some("v=0\r\n"));
        assert_eq!(text("text/plain", "v=0\r\n"), None);
        let body = "preamble --b\r\n--b\r\nContent-Type: text/plain\r\n\r\n--bogus\r\nhi\r\n--b \r\n\
            X: 1\r\n content-type: x\r\ncontent-type :\r\n application/sdp;x=y\r\n\r\nv=0\r\ns=-\r\n\r\n--b--\r\nepilogue";
        assert_eq!(text("multipart/mixed; boundary=\"b\"", body), Some("v=0\r\ns=-\r\n"));
        assert_eq!(text("multipart/mixed", body), None);
    }

    #[test]
    fn nested_and_cut_short() {
        let body = "--o\nContent-Type: multipart/alternative;boundary=i\n\n--i\nContent-Type: application/sdp\n\nv=0\n--i--\n--o--";
        assert_eq!(text("MULTIPART/mixed;boundary=o", body), Some("v=0"));
        let cut = "--o\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns";
        assert_eq!(text("multipart/related;boundary=o", cut), Some("v=0\r\ns"));
        assert_eq!(text("multipart/related;boundary=o", "--o"), None);
        assert_eq!(text("multipart/related;boundary=o", "--o\r\n--o\r\n--o--"), None);
    }

    #[test]
    fn depth_is_bounded() {
        let mut body = String::from("v=0\r\n");
        let mut kind = String::from("application/sdp");
        for level in 0..6 {
            body = format!("--l{level}\r\nContent-Type: {kind}\r\n\r\n{body}\r\n--l{level}--");
            kind = format!("multipart/mixed;boundary=l{level}");
            assert_eq!(text(&kind, &body).is_some(), level < 4, "{level}");
        }
    }
}
