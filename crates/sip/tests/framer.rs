//! Framing on streams: every spelling of Content-Length, everything that has to be refused, keep-alives.

use causeway_sip::{FrameErrorKind, Framed, Framer, Index, MAX_HEAD, Msg};

fn message(headers: &str, body: &str) -> Vec<u8> {
    format!("MESSAGE sip:a@b SIP/2.0\r\n{headers}\r\n{body}").into_bytes()
}

/// The error of a stream, fed whole and byte by byte.
fn refused(stream: &[u8]) -> FrameErrorKind {
    let mut framer = Framer::new();
    framer.push(stream);
    let whole = framer.next().unwrap_err();
    assert_eq!(framer.next().unwrap_err().kind, whole.kind, "an error stays");
    let mut framer = Framer::new();
    for byte in stream {
        framer.push(&[*byte]);
        if let Err(error) = framer.next() {
            assert_eq!(error.kind, whole.kind);
            return error.kind;
        }
    }
    panic!("accepted byte by byte: {:?}", String::from_utf8_lossy(stream));
}

#[test]
fn every_spelling_of_content_length() {
    for line in [
        "Content-Length: 5\r\n",
        "Content-Length : 5\r\n",
        "content-LENGTH\t \t:5\r\n",
        "l:5\r\n",
        "L :  5  \r\n",
        "Content-Length:\r\n 5\r\n",
        "Content-Length:\r\n\t \r\n 0005\r\nX: y\r\n",
        "X: y\r\n Content-Length: 9\r\nl: 5\r\n",
        "Content-Lengthy: 9\r\nlX: 3\r\nl: 5\r\n",
    ] {
        let first = message(line, "hello");
        let stream = [&first[..], &first[..]].concat();
        for size in 1..stream.len() + 1 {
            let mut framer = Framer::new();
            let mut seen = 0;
            for chunk in stream.chunks(size) {
                framer.push(chunk);
                while let Some(framed) = framer.next().unwrap() {
                    assert_eq!(framed, Framed::Message(&first), "{line:?}");
                    seen += 1;
                }
            }
            assert_eq!((seen, framer.pending()), (2, 0), "{line:?} in pieces of {size}");
        }
        let mut index = Index::new();
        index.parse(&stream).unwrap();
        assert_eq!(Msg::new(&stream, &index).body(), b"hello", "the index agrees about {line:?}");
    }
}

#[test]
fn what_is_refused() {
    use FrameErrorKind::*;
    for (line, kind) in [
        ("", NoContentLength),
        ("X: Content-Length: 5\r\n", NoContentLength),
        ("Content-Length\r: 5\r\n", NoContentLength),
        ("Content-Length: -5\r\n", BadContentLength),
        ("Content-Length: +5\r\n", BadContentLength),
        ("Content-Length: 5, 5\r\n", BadContentLength),
        ("Content-Length: 5;x\r\n", BadContentLength),
        ("Content-Length: 0x5\r\n", BadContentLength),
        ("Content-Length: 5 5\r\n", BadContentLength),
        ("Content-Length: 5\r\n 5\r\n", BadContentLength),
        ("Content-Length:\r\n", BadContentLength),
        ("Content-Length: 4000000000\r\n", BodyTooLong),
        ("Content-Length: 99999999999999999999999999\r\n", BodyTooLong),
        ("Content-Length: 1048577\r\n", BodyTooLong),
        ("Content-Length: 5\r\nl: 6\r\n", SeveralContentLengths),
        ("Content-Length: 5\r\nContent-Length : 5\r\n", SeveralContentLengths),
    ] {
        assert_eq!(refused(&message(line, "hello")), kind, "{line:?}");
    }
    assert_eq!(refused(b"\x16\x03\x01\x02\x00\n"), NotSip);
    assert_eq!(refused(b"\rX"), NotSip);
    assert_eq!(NoContentLength.status(), 400);
    assert_eq!(BodyTooLong.status(), 513);
}

#[test]
fn a_refused_request_can_be_answered() {
    let stream = message("Via: SIP/2.0/TCP h;branch=z9hG4bK1\r\n", "hello");
    let mut framer = Framer::new();
    framer.push(&stream);
    let error = framer.next().unwrap_err();
    assert_eq!(error.to_string(), "Content-Length is missing on a stream transport");
    let mut index = Index::new();
    index.parse(&error.head).unwrap();
    let msg = Msg::new(&error.head, &index);
    assert_eq!(msg.top_via().unwrap().branch(), Some(&b"z9hG4bK1"[..]));
}

#[test]
fn keep_alives_whatever_the_pieces() {
    let body = message("l: 2\r\n", "\r\n");
    let stream = [b"\r\n\r\n", &body[..], b"\r\n", &body[..], b"\n\r\n\r\n\r\n"].concat();
    let expected = "pong ping message pong message pong ping pong ";
    for size in 1..stream.len() + 1 {
        let mut framer = Framer::new();
        let mut seen = String::new();
        for chunk in stream.chunks(size) {
            framer.push(chunk);
            while let Some(framed) = framer.next().unwrap() {
                seen += match framed {
                    Framed::Message(_) => "message ",
                    Framed::Ping => "ping ",
                    Framed::Pong => "pong ",
                };
            }
        }
        assert_eq!(seen, expected, "in pieces of {size}");
    }
}

#[test]
fn bounds() {
    let endless = [&b"INVITE sip:a@b SIP/2.0\r\nX: "[..], &vec![b'x'; MAX_HEAD]].concat();
    assert_eq!(refused(&endless), FrameErrorKind::HeadTooLong);
    let lines = [&b"INVITE sip:a@b SIP/2.0\r\n"[..], &b"X: y\r\n".repeat(MAX_HEAD / 6)].concat();
    assert_eq!(refused(&lines), FrameErrorKind::HeadTooLong);
    let mut framer = Framer::with_limit(4);
    framer.push(&message("l: 5\r\n", "hello"));
    assert_eq!(framer.next().unwrap_err().kind, FrameErrorKind::BodyTooLong);
}

/// A slow sender costs no more than a fast one: a megabyte in single bytes, one look at each.
#[test]
fn slow_feeding_is_linear() {
    let body = "x".repeat(1024 * 1024);
    let stream = message("Content-Length: 1048576\r\n", &body);
    let mut framer = Framer::new();
    let mut seen = 0;
    for byte in &stream {
        framer.push(&[*byte]);
        seen += usize::from(framer.next().unwrap().is_some());
    }
    assert_eq!(seen, 1);
}
