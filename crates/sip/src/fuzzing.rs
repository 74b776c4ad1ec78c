//! The bodies of the fuzz targets: what must hold of any bytes.

use crate::digest::{self, Algorithm, Challenge, Credentials, Ha1, Session};
use crate::validate::{self, Role};
use crate::{Edit, FrameErrorKind, Framed, Framer, HeaderId, Index, MAX_HEADERS, Method, Msg, Uri, check};

/// Indexes, judges, reads and forwards whatever comes.
pub fn message(data: &[u8]) {
    let faults = check(data);
    let mut index = Index::new();
    if index.parse(data).is_err() {
        assert!(!faults.is_empty());
        return;
    }
    let msg = Msg::new(data, &index);
    let refused = faults.iter().any(|fault| fault.severity == validate::Severity::Error);
    assert_eq!(validate::verdict(msg).is_err(), refused, "the fast path and the thorough one agree");
    for role in [Role::Proxy, Role::Registrar, Role::Relay] {
        let _ = validate::verdict_as(msg, role);
    }
    read(msg);
    forward(msg);
}

fn read(msg: Msg<'_>) {
    let _ = (msg.method(), msg.cseq(), msg.call_id(), msg.max_forwards(), msg.content_type(), msg.reason());
    let _ = (msg.vias().count(), msg.contacts().count(), msg.routes().count(), format!("{msg:?}"));
    for addr in [msg.from(), msg.to(), msg.contact()].into_iter().flatten() {
        let _ = (addr.tag(), addr.display_name(), addr.params.count(), addr.q(), addr.expires());
        uri(addr.uri);
    }
    uri(msg.request_uri());
    let covered: usize = msg.headers().map(|header| header.line.len()).sum();
    let lines = msg.index().headers_end as usize - msg.index().start.line.end as usize;
    assert!(covered <= lines && covered + 2 >= lines, "header lines lie side by side");
}

fn uri(text: &[u8]) {
    let Some(uri) = Uri::parse(text) else { return };
    assert!(Uri::parse(text).is_some_and(|again| again == uri), "a URI equals itself");
    let aor = uri.aor();
    if let Some(again) = Uri::parse(&aor) {
        assert_eq!(again.aor(), aor, "canonical is canonical");
    }
}

/// A Via pushed and taken away again leaves the message as it was.
fn forward(msg: Msg<'_>) {
    let whole = msg.bytes().get(msg.index().start.line.start as usize..).unwrap_or_default();
    let (mut edit, mut out) = (Edit::new(), Vec::new());
    edit.apply(msg, &mut out);
    assert_eq!(out, whole, "without edits nothing changes");
    if !msg.index().terminated || msg.headers().count() == MAX_HEADERS {
        return;
    }
    edit.push_via(msg, &[b"SIP/2.0/UDP us;branch=z9hG4bKus"]);
    out.clear();
    edit.apply(msg, &mut out);
    let mut index = Index::new();
    if index.parse(&out).is_err() {
        return;
    }
    let forwarded = Msg::new(&out, &index);
    assert_eq!(forwarded.top_via().and_then(|via| via.branch()), Some(&b"z9hG4bKus"[..]));
    let (mut back, mut again) = (Edit::new(), Vec::new());
    back.remove_top(forwarded, HeaderId::Via, 1);
    back.apply(forwarded, &mut again);
    assert_eq!(again, whole, "one hop on and one hop back");
}

/// The first byte is the size of the pieces. Cut anyhow, a stream holds the same; and what the framer takes
/// for one message, the index does too: there is no room to hide a second one.
pub fn framer(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else { return };
    let whole = cut(std::iter::once(stream));
    let pieces = cut(stream.chunks(usize::from(size).max(1)));
    assert_eq!(whole, pieces);
    for message in &whole.0 {
        let mut index = Index::new();
        if index.parse(message).is_ok() {
            assert_eq!(index.end(), message.len(), "framer and index see the same end");
        }
    }
}

fn cut<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<FrameErrorKind>) {
    let mut framer = Framer::new();
    let mut seen = Vec::new();
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next() {
                Ok(Some(Framed::Message(bytes))) => seen.push(bytes.to_vec()),
                Ok(Some(Framed::Ping)) => seen.push(b"ping".to_vec()),
                Ok(Some(Framed::Pong)) => seen.push(b"pong".to_vec()),
                Ok(None) => break,
                Err(error) => return (seen, Some(error.kind)),
            }
        }
    }
    (seen, None)
}

/// Reads a header value as challenge and as credentials. Nobody gets in without the password; whoever
/// answers our reading of a challenge does.
pub fn digest(data: &[u8]) {
    let stranger = Ha1::new(Algorithm::MD5, b"a", b"b", b"c");
    if let Ok(credentials) = Credentials::parse(data) {
        assert!(!credentials.prove(&stranger, Method::Register));
        let ha1 = Ha1::new(credentials.algorithm, b"a", b"b", b"another secret");
        assert!(!credentials.prove(&ha1, Method::Register));
        assert!(!digest::prove(&credentials.question(Method::Invite), &ha1));
        let _ = format!("{credentials:?}");
    }
    let Ok(challenge) = Challenge::parse(data) else { return };
    let folded = |text: &[u8]| text.iter().any(|&b| matches!(b, b'\r' | b'\n'));
    if folded(&challenge.realm) || folded(&challenge.nonce) {
        return;
    }
    let header =
        Session::new(&challenge, b"al\"ice", b"secret").answer(Method::Register, b"sip:x", b"c0ffee");
    assert!(!folded(&header), "one line stays one line");
    let credentials = Credentials::parse(&header).expect("our own credentials are readable");
    let ha1 = Ha1::new(challenge.algorithm, b"al\"ice", &challenge.realm, b"secret");
    assert!(credentials.prove(&ha1, Method::Register));
}
