//! Index bounds and tolerance, messages made from nothing and from others, redaction.

use causeway_sip::{
    HeaderId, Index, MAX_BODY, MAX_HEAD, MAX_HEADERS, Message, Method, Msg, ParseError, RequestBuilder,
    Start, ack_for, cancel_for, check, response_to, validate,
};

const INVITE: &[u8] = b"INVITE sip:bob@biloxi.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff,SIP/2.0/TCP x;branch=z9hG4bK2\r\n\
    v: SIP/2.0/UDP last;branch=z9hG4bK3\r\n\
    To: Bob <sip:bob@biloxi.com>\r\n\
    From: Alice\r\n <sip:alice@atlanta.com>;tag=88sja8x\r\n\
    Max-Forwards: 70\r\n\
    Route: <sip:a;lr>\r\n\
    Route: <sip:b;lr>\r\n\
    Record-Route: <sip:rr1;lr>\r\n\
    Record-Route: <sip:rr2;lr>\r\n\
    Timestamp: 54\r\n\
    Call-ID: 987asjd97y7atg\r\n\
    CSeq: 986759 INVITE\r\n\r\n";

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// RFC 3261 §8.2.6.
#[test]
fn responses() {
    let invite = Message::parse(INVITE).unwrap();
    let head = "Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff,SIP/2.0/TCP x;branch=z9hG4bK2\r\n\
        v: SIP/2.0/UDP last;branch=z9hG4bK3\r\n\
        From: Alice\r\n <sip:alice@atlanta.com>;tag=88sja8x\r\n";
    let tail = "Call-ID: 987asjd97y7atg\r\nCSeq: 986759 INVITE\r\n";
    let trying = text(response_to(invite.msg(), 100, None, None).finish());
    let to = "To: Bob <sip:bob@biloxi.com>";
    assert_eq!(
        trying,
        format!("SIP/2.0 100 Trying\r\n{head}{to}\r\n{tail}Timestamp: 54\r\nContent-Length: 0\r\n\r\n")
    );
    let ok = response_to(invite.msg(), 200, Some("Fine"), Some(b"a6c85cf"))
        .record_routes()
        .header("Contact", "<sip:bob@192.0.2.4>")
        .header("X-Evil", "a\r\nVia: b")
        .body("application/sdp", "v=0\r\n")
        .finish();
    assert_eq!(
        text(ok.clone()),
        format!(
            "SIP/2.0 200 Fine\r\n{head}{to};tag=a6c85cf\r\n{tail}Record-Route: <sip:rr1;lr>\r\n\
             Record-Route: <sip:rr2;lr>\r\nContact: <sip:bob@192.0.2.4>\r\nX-Evil: a  Via: b\r\n\
             Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
        )
    );
    let ok = Message::parse(ok).unwrap();
    assert_eq!(validate::verdict(ok.msg()), Ok(()));
    assert_eq!(ok.msg().start(), Start::Response { version: b"SIP/2.0", status: 200, reason: b"Fine" });
    assert_eq!((ok.msg().method(), ok.msg().body()), (Method::Invite, &b"v=0\r\n"[..]));
}

#[test]
fn answers_of_even_length() {
    let invite = Message::parse(INVITE).unwrap();
    let plain = || response_to(invite.msg(), 503, None, Some(b"t")).header("Retry-After", "7");
    for step in [0, 1, 2, 64, 1000] {
        let even = plain().finish_even(step);
        assert_eq!(even.len() % step.max(1), 0);
        let even = Message::parse(even).unwrap();
        assert_eq!(validate::verdict(even.msg()), Ok(()));
        assert_eq!(even.msg().number(HeaderId::ContentLength), Some(0));
        assert_eq!(text(even.into_bytes()).replace(' ', ""), text(plain().finish()).replace(' ', ""));
    }
    let body = plain().body("text/plain", "abc").finish_even(64);
    assert!(body.len() % 64 == 0 && body.ends_with(b"3\r\n\r\nabc"));
}

/// RFC 3261 §17.1.1.3, with the messages of its example.
#[test]
fn ack_and_cancel() {
    let invite = Message::parse(INVITE).unwrap();
    let busy = response_to(invite.msg(), 486, None, Some(b"a6c85cf")).finish();
    let busy = Message::parse(busy).unwrap();
    let common = "Via: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKkjshdyff\r\nMax-Forwards: 70\r\n\
        Route: <sip:a;lr>\r\nRoute: <sip:b;lr>\r\nFrom: Alice   <sip:alice@atlanta.com>;tag=88sja8x\r\n";
    assert_eq!(
        text(ack_for(invite.msg(), busy.msg()).unwrap()),
        format!(
            "ACK sip:bob@biloxi.com SIP/2.0\r\n{common}To: Bob <sip:bob@biloxi.com>;tag=a6c85cf\r\n\
             Call-ID: 987asjd97y7atg\r\nCSeq: 986759 ACK\r\nContent-Length: 0\r\n\r\n"
        )
    );
    assert_eq!(
        text(cancel_for(invite.msg()).unwrap()),
        format!(
            "CANCEL sip:bob@biloxi.com SIP/2.0\r\n{common}To: Bob <sip:bob@biloxi.com>\r\n\
             Call-ID: 987asjd97y7atg\r\nCSeq: 986759 CANCEL\r\nContent-Length: 0\r\n\r\n"
        )
    );
    let bare = Message::parse(*b"INVITE sip:a SIP/2.0\r\n\r\n").unwrap();
    assert!(ack_for(bare.msg(), busy.msg()).is_none() && cancel_for(bare.msg()).is_none());
}

/// A refusal can be built from a request that lacks nearly everything.
#[test]
fn refusing_a_broken_request() {
    let broken =
        Message::parse(*b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nTo: <sip:a\r\nCSeq").unwrap();
    let refusal = text(response_to(broken.msg(), 400, Some("Malformed To"), Some(b"t")).finish());
    assert_eq!(
        refusal,
        "SIP/2.0 400 Malformed To\r\nVia: SIP/2.0/UDP h\r\nTo: <sip:a\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn requests() {
    let bytes = RequestBuilder::new(Method::Message, b"sip:a@b")
        .headers("Route", ["<sip:1;lr>", "<sip:2;lr>"])
        .header("Via", "SIP/2.0/UDP h;branch=z9hG4bK1")
        .header("From", "<sip:c@d>;tag=1")
        .header("To", "<sip:a@b>")
        .header("Call-ID", "x")
        .cseq(u32::MAX, Method::Message)
        .max_forwards(255)
        .body("text/plain", "hi")
        .finish();
    let message = Message::parse(bytes).unwrap();
    let faults: Vec<_> = check(message.msg().bytes()).iter().map(|fault| fault.rule).collect();
    assert_eq!(faults, [validate::Rule::CSeqRange]);
    assert_eq!((message.msg().body(), message.msg().content_length()), (&b"hi"[..], Some(2)));
}

#[test]
fn index_bounds() {
    let mut index = Index::new();
    let start = b"A a:b SIP/2.0\r\n";
    let lines = |count| [&start[..], &b"X:y\r\n".repeat(count), b"\r\n"].concat();
    assert_eq!(index.parse(&lines(MAX_HEADERS)), Ok(()));
    assert_eq!(index.parse(&lines(MAX_HEADERS + 1)), Err(ParseError::TooManyHeaders));
    let sized =
        |length: usize| [&start[..], b"X:", &vec![b'y'; length - start.len() - 6], b"\r\n\r\n"].concat();
    assert_eq!((sized(MAX_HEAD).len(), index.parse(&sized(MAX_HEAD))), (MAX_HEAD, Ok(())));
    for length in [MAX_HEAD + 1, MAX_HEAD + 2, MAX_HEAD + 3, MAX_HEAD + 4, MAX_HEAD * 2] {
        assert_eq!(index.parse(&sized(length)), Err(ParseError::HeadTooLong), "{length}");
    }
    let body = |length| [&lines(1)[..], &vec![0; length]].concat();
    assert_eq!(index.parse(&body(MAX_BODY)), Ok(()));
    assert_eq!(index.parse(&body(MAX_BODY + 1)), Err(ParseError::BodyTooLong));
    assert_eq!(Msg::new(b"", &index).headers().count(), 0, "a failed index is empty");
    for (bytes, error) in [
        (&b""[..], ParseError::Empty),
        (b"\r\n\r\n", ParseError::Empty),
        (b"OPTIONS\r\n\r\n", ParseError::NoStartLine),
        (b" OPTIONS sip:a SIP/2.0\r\n\r\n", ParseError::NoStartLine),
        (b"\x00\x01\x00\x08", ParseError::NoStartLine),
    ] {
        assert_eq!(index.parse(bytes), Err(error), "{bytes:?}");
    }
}

/// An index meant for other bytes answers nonsense, but answers.
#[test]
fn a_wrong_buffer_does_no_harm() {
    let mut index = Index::new();
    index.parse(INVITE).unwrap();
    for length in 0..INVITE.len() {
        let msg = Msg::new(&INVITE[..length], &index);
        let _ = (msg.top_via(), msg.cseq(), msg.body(), msg.headers().count(), format!("{msg:?}"));
        let _ = validate::verdict(msg);
    }
}

#[test]
fn line_ends() {
    use validate::Rule;
    let crlf = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
        To: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\n\r\n";
    let rules = |text: &str| check(text.as_bytes()).iter().map(|fault| fault.rule).collect::<Vec<_>>();
    assert_eq!(rules(crlf), []);
    assert_eq!(rules(&format!("\r\n\r\n{crlf}")), []);
    assert_eq!(rules(&crlf.replace('\r', "")), [Rule::BareLf]);
    assert_eq!(
        rules(&crlf.replacen("h;branch=z9hG4bK1\r\n", "h;branch=z9hG4bK1\n", 1)),
        [Rule::MixedLineEnds]
    );
    assert_eq!(rules(&crlf.replacen("Call-ID: 1", "Call-ID: 1\rX: y", 1)), [Rule::CallId, Rule::BareCr]);
    assert_eq!(rules(&crlf.replacen("Call-ID: 1", "Subject: 1\rX: y\r\nCall-ID: 1", 1)), [Rule::BareCr]);
    assert_eq!(rules(crlf.strip_suffix("\r\n").unwrap()), [Rule::Unterminated]);
    assert_eq!(rules(&crlf.replacen("Call-ID", "No colon\r\nCall-ID", 1)), [Rule::HeaderLine]);
    assert_eq!(rules(&crlf.replacen("Call-ID", "Bad name: x\r\nCall-ID", 1)), [Rule::HeaderName]);
    assert_eq!(rules(&crlf.replacen("Via", " Via", 1)), [Rule::NoVia, Rule::HeaderLine]);
}

#[test]
fn credentials_are_not_printed() {
    let message = Message::parse(
        *b"REGISTER sip:a SIP/2.0\r\nAuthorization: Digest response=\"s3cret\"\r\nX: shown\r\n\
        Proxy-Authorization: Basic\r\n czNjcmV0\r\nY: too\r\n\r\nbody",
    )
    .unwrap();
    assert_eq!(
        format!("{message:?}"),
        "REGISTER sip:a SIP/2.0\r\nAuthorization: (redacted)\r\nX: shown\r\n\
         Proxy-Authorization: (redacted)\r\nY: too\r\n\r\nbody"
    );
    assert_eq!(message.msg().header(HeaderId::Authorization), Some(&b"Digest response=\"s3cret\""[..]));
}
