//! The 49 torture messages of RFC 4475: the verdict that its prose asks for, the values typed by hand from the
//! messages, byte identity after a hop, and equal framing however the stream is cut.

use causeway_sip::validate::{self, Role, Verdict};
use causeway_sip::{Edit, FrameErrorKind, Framed, Framer, HeaderId, Index, Msg};
use std::path::Path;

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rfc4475").join(name).with_extension("dat");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    /// Well-formed, to be worked on.
    Take,
    /// A request to be answered with this status.
    Refuse(u16),
    /// A response to be thrown away.
    Discard,
}
use Expect::{Discard, Refuse, Take};

/// Name, section of RFC 4475, verdict of an element that has to understand the Request-URI.
const VERDICTS: [(&str, &str, Expect); 49] = [
    ("wsinv", "3.1.1.1", Take),
    ("intmeth", "3.1.1.2", Take),
    ("esc01", "3.1.1.3", Take),
    ("escnull", "3.1.1.4", Take),
    ("esc02", "3.1.1.5", Take),
    ("lwsdisp", "3.1.1.6", Take),
    ("longreq", "3.1.1.7", Take),
    ("dblreq", "3.1.1.8", Take),
    ("semiuri", "3.1.1.9", Take),
    ("transports", "3.1.1.10", Take),
    ("mpart01", "3.1.1.11", Take),
    ("unreason", "3.1.1.12", Take),
    ("noreason", "3.1.1.13", Take),
    ("badinv01", "3.1.2.1", Refuse(400)),
    ("clerr", "3.1.2.2", Refuse(400)),
    ("ncl", "3.1.2.3", Refuse(400)),
    ("scalar02", "3.1.2.4", Refuse(400)),
    ("scalarlg", "3.1.2.5", Discard),
    ("quotbal", "3.1.2.6", Refuse(400)),
    ("ltgtruri", "3.1.2.7", Refuse(400)),
    ("lwsruri", "3.1.2.8", Refuse(400)),
    ("lwsstart", "3.1.2.9", Refuse(400)),
    ("trws", "3.1.2.10", Refuse(400)),
    ("escruri", "3.1.2.11", Refuse(400)),
    ("baddate", "3.1.2.12", Refuse(400)),
    ("regbadct", "3.1.2.13", Refuse(400)),
    ("badaspec", "3.1.2.14", Refuse(400)),
    ("baddn", "3.1.2.15", Refuse(400)),
    ("badvers", "3.1.2.16", Refuse(505)),
    ("mismatch01", "3.1.2.17", Refuse(400)),
    ("mismatch02", "3.1.2.18", Refuse(400)),
    ("bigcode", "3.1.2.19", Discard),
    ("badbranch", "3.2.1", Take),
    ("insuf", "3.3.1", Refuse(400)),
    ("unkscm", "3.3.2", Refuse(416)),
    ("novelsc", "3.3.3", Refuse(416)),
    ("unksm2", "3.3.4", Take),
    ("bext01", "3.3.5", Take),
    ("invut", "3.3.6", Take),
    ("regaut01", "3.3.7", Take),
    ("multi01", "3.3.8", Refuse(400)),
    ("mcl01", "3.3.9", Refuse(400)),
    ("bcast", "3.3.10", Take),
    ("zeromf", "3.3.11", Take),
    ("cparam01", "3.3.12", Take),
    ("cparam02", "3.3.13", Take),
    ("regescrt", "3.3.14", Take),
    ("sdp01", "3.3.15", Take),
    ("inv2543", "3.4.1", Take),
];

fn judge(bytes: &[u8], role: Role) -> (Expect, Option<Verdict>) {
    let mut index = Index::new();
    index.parse(bytes).unwrap();
    let msg = Msg::new(bytes, &index);
    match validate::verdict_as(msg, role) {
        Ok(()) => (Take, None),
        Err(verdict) if msg.is_request() => (Refuse(verdict.status), Some(verdict)),
        Err(verdict) => (Discard, Some(verdict)),
    }
}

#[test]
fn verdicts() {
    let mut wrong = Vec::new();
    for (name, section, expected) in VERDICTS {
        let (got, why) = judge(&read(name), Role::Server);
        if got != expected {
            wrong.push(format!("{name} (RFC 4475 §{section}): {got:?} {why:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Each refusal has the reason that the RFC planted there, not some other.
#[test]
fn reasons() {
    use validate::Rule::*;
    for (name, rule) in [
        ("badinv01", Via),
        ("clerr", BodyShort),
        ("ncl", ContentLength),
        ("scalar02", CSeq),
        ("scalarlg", CSeq),
        ("quotbal", To),
        ("ltgtruri", RequestUri),
        ("lwsruri", RequestUri),
        ("lwsstart", StartBlanks),
        ("trws", StartBlanks),
        ("escruri", RequestUriHeaders),
        ("baddate", Date),
        ("regbadct", ContactNeedsBrackets),
        ("badaspec", To),
        ("badvers", Version),
        ("mismatch01", CSeqMethod),
        ("mismatch02", CSeqMethod),
        ("bigcode", Status),
        ("insuf", NoFrom),
        ("unkscm", RequestUriScheme),
        ("novelsc", RequestUriScheme),
        ("multi01", Repeated),
        ("mcl01", Repeated),
    ] {
        let (_, why) = judge(&read(name), Role::Server);
        assert_eq!(why.map(|verdict| verdict.rule), Some(rule), "{name}");
    }
    // The file lacks its empty line besides; the commas in the display names are found all the same.
    let bell = [&read("baddn")[..], b"\r\n"].concat();
    assert_eq!(judge(&bell, Role::Server).1.map(|verdict| verdict.rule), Some(From));
}

/// What depends on who is asked.
#[test]
fn roles() {
    for (name, role, expected) in [
        ("zeromf", Role::Proxy, Refuse(483)),
        ("zeromf", Role::Registrar, Take),
        ("unksm2", Role::Registrar, Refuse(400)),
        ("unksm2", Role::Proxy, Take),
        ("unkscm", Role::Relay, Take),
        ("novelsc", Role::Proxy, Refuse(416)),
    ] {
        assert_eq!(judge(&read(name), role).0, expected, "{name} as {role:?}");
    }
    let bytes = read("bext01");
    let mut index = Index::new();
    index.parse(&bytes).unwrap();
    let msg = Msg::new(&bytes, &index);
    let missing: Vec<_> =
        validate::unsupported(msg, HeaderId::ProxyRequire, &[b"NOPROXIESSUPPORTTHIS"]).collect();
    assert_eq!(missing, [b"norDoAnyProxiesSupportThis"]);
    let missing = validate::unsupported(msg, HeaderId::Require, &[]);
    assert_eq!(missing.count(), 2);
}

struct Values {
    name: &'static str,
    /// Method of the request or of CSeq.
    method: &'static [u8],
    status: Option<u16>,
    branch: Option<&'static [u8]>,
    from_tag: Option<&'static [u8]>,
    to_tag: Option<&'static [u8]>,
    cseq: u32,
    call_id: &'static [u8],
    max_forwards: Option<u32>,
    vias: usize,
    headers: usize,
    body: usize,
}

macro_rules! values {
    ($($name:ident $method:literal $status:expr, $branch:expr, from $from:expr, to $to:expr, $cseq:literal
        $call_id:literal mf $mf:expr, vias $vias:literal headers $headers:literal body $body:literal;)*) => {
        [$(Values {
            name: stringify!($name), method: $method, status: $status, branch: $branch, from_tag: $from,
            to_tag: $to, cseq: $cseq, call_id: $call_id, max_forwards: $mf, vias: $vias, headers: $headers,
            body: $body,
        }),*]
    };
}

const fn some(text: &'static [u8]) -> Option<&'static [u8]> {
    Some(text)
}

#[rustfmt::skip]
const VALUES: [Values; 25] = values! {
    wsinv b"INVITE" None, some(b"390skdjuw"), from some(b"98asjd8"), to some(b"1918181833n"), 9
        b"wsinv.ndaksdj@192.0.2.1" mf Some(68), vias 3 headers 14 body 150;
    intmeth b"!interesting-Method0123456789_*+`.%indeed'~" None, some(b"z9hG4bK-.!%66*_+`'~"),
        from some(b"_token~1'+`*%!-."), to None, 139122385
        b"intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{" mf Some(255), vias 1 headers 8 body 0;
    esc01 b"INVITE" None, some(b"z9hG4bKkdjuw"), from some(b"938"), to None, 234234
        b"esc01.239409asdfakjkn23onasd0-3234" mf Some(87), vias 1 headers 9 body 150;
    escnull b"REGISTER" None, some(b"z9hG4bKkdjuw"), from some(b"839923423"), to None, 14398234
        b"escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd" mf Some(70), vias 1 headers 9 body 0;
    esc02 b"RE%47IST%45R" None, some(b"z9hG4bK209%fzsnel234"), from some(b"f232jadfj23"), to None, 29344
        b"esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf" mf Some(70), vias 1 headers 10 body 0;
    lwsdisp b"OPTIONS" None, some(b"z9hG4bKkdjuw"), from some(b"323"), to None, 60
        b"lwsdisp.1234abcd@funky.example.com" mf Some(70), vias 1 headers 7 body 0;
    dblreq b"REGISTER" None, some(b"z9hG4bKkdjuw23492"), from some(b"43251j3j324"), to None, 8
        b"dblreq.0ha0isndaksdj99sdfafnl3lk233412" mf Some(8), vias 1 headers 8 body 0;
    semiuri b"OPTIONS" None, some(b"z9hG4bKkdjuw"), from some(b"33242"), to None, 8
        b"semiuri.0ha0isndaksdj" mf Some(3), vias 1 headers 8 body 0;
    transports b"OPTIONS" None, some(b"z9hG4bKkdjuw"), from some(b"323"), to None, 60
        b"transports.kijh4akdnaqjkwendsasfdj" mf Some(70), vias 5 headers 12 body 0;
    mpart01 b"MESSAGE" None, some(b"z9hG4bK-d87543-4dade06d0bdb11ee-1--d87543-"), from some(b"2fb0dcc9"), to None, 1
        b"3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA.." mf Some(70), vias 1 headers 14 body 553;
    unreason b"INVITE" Some(200), some(b"z9hG4bK1324923"), from some(b"11141343"), to some(b"2229"), 35
        b"unreason.1234ksdfak3j2erwedfsASdf" mf None, vias 1 headers 8 body 154;
    noreason b"INVITE" Some(100), some(b"z9hG4bK2398ndaoe"), from some(b"39ansfi3"), to some(b"902jndnke3"), 35
        b"noreason.asndj203insdf99223ndf" mf None, vias 1 headers 7 body 0;
    badbranch b"OPTIONS" None, some(b"z9hG4bK"), from some(b"33242"), to None, 8
        b"badbranch.sadonfo23i420jv0as0derf3j3n" mf Some(3), vias 1 headers 8 body 0;
    unksm2 b"REGISTER" None, some(b"z9hG4bKkdjuw"), from some(b"3234233"), to None, 234902
        b"unksm2.daksdj@hyphenated-host.example.com" mf Some(70), vias 1 headers 8 body 0;
    bext01 b"OPTIONS" None, some(b"z9hG4bKkdjuw"), from some(b"242etr"), to None, 8
        b"bext01.0ha0isndaksdj" mf Some(6), vias 1 headers 9 body 0;
    invut b"INVITE" None, some(b"z9hG4bKkdjuw"), from some(b"8392034"), to None, 235448
        b"invut.0ha0isndaksdjadsfij34n23d" mf Some(70), vias 1 headers 9 body 40;
    regaut01 b"REGISTER" None, some(b"z9hG4bKkdjuw"), from some(b"87321hj23128"), to None, 9338
        b"regaut01.0ha0isndaksdj" mf Some(8), vias 1 headers 8 body 0;
    bcast b"INVITE" Some(200), some(b"z9hG4bK1324923"), from some(b"11141343"), to some(b"2229"), 35
        b"bcast.0384840201234ksdfak3j2erwedfsASdf" mf None, vias 2 headers 9 body 154;
    zeromf b"OPTIONS" None, some(b"z9hG4bKkdjuw2349i"), from some(b"3ghsd41"), to None, 39234321
        b"zeromf.jfasdlfnm2o2l43r5u0asdfas" mf Some(0), vias 1 headers 7 body 0;
    cparam01 b"REGISTER" None, some(b"z9hG4bKkdjuw"), from some(b"DkfVgjkrtMwaerKKpe"), to None, 2
        b"cparam01.70710@saturn.example.com" mf Some(70), vias 1 headers 8 body 0;
    cparam02 b"REGISTER" None, some(b"z9hG4bKkdjuw"), from some(b"838293"), to None, 3
        b"cparam02.70710@saturn.example.com" mf Some(70), vias 1 headers 8 body 0;
    regescrt b"REGISTER" None, some(b"z9hG4bKkdjuw"), from some(b"8"), to None, 14398234
        b"regescrt.k345asrl3fdbv@192.0.2.1" mf Some(70), vias 1 headers 8 body 0;
    sdp01 b"INVITE" None, some(b"z9hG4bKkdjuw"), from some(b"234"), to None, 8
        b"sdp01.ndaksdj9342dasdd" mf Some(5), vias 1 headers 10 body 150;
    inv2543 b"INVITE" None, None, from None, to None, 56
        b"inv2543.1717@ift.client.example.com" mf None, vias 1 headers 7 body 105;
    mcl01 b"OPTIONS" None, some(b"z9hG4bK293423"), from some(b"3923942"), to None, 15932
        b"mcl01.fhn2323orihawfdoa3o4r52o3irsdf" mf Some(60), vias 1 headers 9 body 13;
};

#[test]
fn values() {
    for expected in VALUES {
        let bytes = read(expected.name);
        let mut index = Index::new();
        index.parse(&bytes).unwrap();
        let msg = Msg::new(&bytes, &index);
        let name = expected.name;
        assert_eq!(msg.method().as_bytes(), expected.method, "{name}");
        assert_eq!(msg.status(), expected.status, "{name}");
        assert_eq!(msg.top_via().unwrap().branch(), expected.branch, "{name}");
        assert_eq!(msg.from_tag(), expected.from_tag, "{name}");
        assert_eq!(msg.to_tag(), expected.to_tag, "{name}");
        let cseq = msg.cseq().unwrap();
        assert_eq!((cseq.number, cseq.method.as_bytes()), (expected.cseq, expected.method), "{name}");
        assert_eq!(msg.call_id(), Some(expected.call_id), "{name}");
        assert_eq!(msg.max_forwards(), expected.max_forwards, "{name}");
        assert_eq!(msg.vias().map(Option::unwrap).count(), expected.vias, "{name}");
        assert_eq!(msg.headers().count(), expected.headers, "{name}");
        assert_eq!(msg.body().len(), expected.body, "{name}");
    }
}

/// Things that only one of the messages has.
#[test]
fn particulars() {
    let parse = |name| causeway_sip::Message::parse(read(name)).unwrap();

    let wsinv = parse("wsinv");
    let msg = wsinv.msg();
    let vias: Vec<_> = msg.vias().map(Option::unwrap).collect();
    assert_eq!((vias[0].transport, vias[0].host), (&b"UDP"[..], &b"192.0.2.2"[..]));
    assert_eq!((vias[1].transport, vias[1].host), (&b"TCP"[..], &b"spindle.example.com"[..]));
    assert_eq!((vias[2].transport, vias[2].host), (&b"UDP"[..], &b"192.168.255.111"[..]));
    assert_eq!(
        (vias[1].branch(), vias[2].branch()),
        (Some(&b"z9hG4bK9ikj8"[..]), Some(&b"z9hG4bK30239"[..]))
    );
    assert_eq!(&*msg.from().unwrap().display_name(), br#"J Rosenberg \""#);
    let contact = msg.contact().unwrap();
    assert_eq!((&*contact.display_name(), contact.q()), (&b"Quoted string \"\""[..], 330));
    assert_eq!(contact.params.value(b"newparam"), Some(&b"newvalue"[..]));
    assert_eq!(msg.header(HeaderId::Subject), Some(&b""[..]));
    assert!(msg.routes().next().unwrap().unwrap().uri().unwrap().is_loose());
    assert_eq!(msg.content_length(), Some(150));

    let intmeth = parse("intmeth");
    assert_eq!(intmeth.msg().to().unwrap().display, b"\"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f\"");
    let from = intmeth.msg().from().unwrap();
    assert_eq!(from.display, b"token1~` token2'+_ token3*%!.-");
    let russian = "\"работающий\"".as_bytes();
    assert_eq!(from.params.value(b"fromParam''~+*_!.-%"), Some(russian));

    let long = parse("longreq");
    assert_eq!(long.msg().vias().count(), 34);
    let last = long.msg().vias().last().unwrap().unwrap();
    assert_eq!((last.host, last.received()), (&b"host.example.com"[..], Some(&b"192.0.2.5"[..])));
    assert!(last.branch().unwrap().starts_with(b"verylonglong") && !last.has_cookie());
    let tag = long.msg().from_tag().unwrap();
    assert!(tag.starts_with(b"12982982982") && tag.ends_with(b"982424") && tag.len() == 155);
    assert_eq!((long.msg().cseq().unwrap().number, long.msg().body().len()), (3882340, 150));

    let esc01 = parse("esc01");
    let to = esc01.msg().to().unwrap().uri().unwrap().aor();
    assert_eq!(to, b"sip:user@example.com");

    let esc02 = parse("esc02");
    assert_eq!(esc02.msg().contacts().count(), 2, "C%6Fntact is another header");

    let dblreq = parse("dblreq");
    assert!(dblreq.msg().bytes().ends_with(b"Content-Length: 0\r\n\r\n"));

    let semiuri = parse("semiuri");
    let uri = semiuri.msg().request_uri();
    let uri = causeway_sip::Uri::parse(uri).unwrap();
    assert_eq!((uri.user, uri.host), (Some(&b"user;par=u%40example.net"[..]), &b"example.com"[..]));
    assert_eq!(semiuri.msg().values(HeaderId::Accept).count(), 6);

    let cparam01 = parse("cparam01");
    let contact = cparam01.msg().contact().unwrap();
    assert_eq!(
        (contact.uri, contact.params.has(b"unknownparam")),
        (&b"sip:+19725552222@gw1.example.net"[..], true)
    );
    let cparam02 = parse("cparam02");
    let contact = cparam02.msg().contact().unwrap();
    assert!(contact.uri().unwrap().params.has(b"unknownparam") && !contact.params.has(b"unknownparam"));

    let regescrt = parse("regescrt");
    let uri = regescrt.msg().contact().unwrap().uri().unwrap();
    assert_eq!(uri.header_pairs().collect::<Vec<_>>(), [(&b"Route"[..], &b"%3Csip:sip.example.com%3E"[..])]);

    assert_eq!(parse("bigcode").msg().status(), Some(0));
    assert!(parse("unreason").msg().reason().starts_with("= 2**3 * 5**2 но".as_bytes()));
    assert_eq!(parse("noreason").msg().reason(), b"");
}

/// After a hop, only the new Via and the Max-Forwards value differ; every other line, folds, blanks and odd
/// bytes included, and the body are as they came.
#[test]
fn a_hop_leaves_everything_else() {
    let (mut index, mut edit, mut out) = (Index::new(), Edit::new(), Vec::new());
    for (name, _, _) in VERDICTS {
        let bytes = read(name);
        index.parse(&bytes).unwrap();
        let msg = Msg::new(&bytes, &index);
        if !msg.is_request() {
            continue;
        }
        edit.clear();
        out.clear();
        edit.push_via(msg, &[b"SIP/2.0/UDP proxy.example.net;branch=z9hG4bKhop"]);
        if let Some(hops) = msg.max_forwards() {
            edit.set_max_forwards(msg, hops.saturating_sub(1));
        }
        edit.apply(msg, &mut out);

        let mut lines = out.split_inclusive(|&b| b == b'\n').peekable();
        let mut new_vias = 0;
        for line in msg.bytes().split_inclusive(|&b| b == b'\n') {
            let mut forwarded = lines.next().unwrap();
            if forwarded == b"Via: SIP/2.0/UDP proxy.example.net;branch=z9hG4bKhop\r\n" {
                new_vias += 1;
                forwarded = lines.next().unwrap();
            }
            if line.to_ascii_lowercase().starts_with(b"max-forwards") && forwarded != line {
                let hops = msg.max_forwards().unwrap().saturating_sub(1).to_string();
                assert!(forwarded.ends_with(format!(" {hops}\r\n").as_bytes()), "{name}");
                continue;
            }
            assert_eq!(line, forwarded, "{name}: {:?}", String::from_utf8_lossy(line));
        }
        assert_eq!((lines.next(), new_vias), (None, 1), "{name}");
        let mut after = Index::new();
        after.parse(&out).unwrap();
        let branch = Msg::new(&out, &after).top_via().and_then(|via| via.branch());
        assert_eq!(branch, Some(&b"z9hG4bKhop"[..]), "{name}");
    }
}

#[derive(Debug, PartialEq)]
enum Cut {
    Message(Vec<u8>),
    Ping,
    Pong,
    Failed(FrameErrorKind, Vec<u8>),
}

fn frame<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Cut>, usize) {
    let mut framer = Framer::new();
    let mut cuts = Vec::new();
    for chunk in chunks {
        framer.push(chunk);
        loop {
            match framer.next() {
                Ok(Some(Framed::Message(bytes))) => cuts.push(Cut::Message(bytes.to_vec())),
                Ok(Some(Framed::Ping)) => cuts.push(Cut::Ping),
                Ok(Some(Framed::Pong)) => cuts.push(Cut::Pong),
                Ok(None) => break,
                Err(error) => {
                    cuts.push(Cut::Failed(error.kind, error.head));
                    return (cuts, framer.pending());
                }
            }
        }
    }
    (cuts, framer.pending())
}

#[test]
fn framing_is_the_same_byte_by_byte() {
    for (name, _, _) in VERDICTS {
        let bytes = read(name);
        let whole = frame(std::iter::once(&bytes[..]));
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(frame(bytes.chunks(size)), whole, "{name} in pieces of {size}");
        }
        let mut index = Index::new();
        index.parse(&bytes).unwrap();
        let message = Cut::Message(Msg::new(&bytes, &index).bytes().to_vec());
        match name {
            "inv2543" => assert!(matches!(whole.0[..], [Cut::Failed(FrameErrorKind::NoContentLength, _)])),
            "ncl" => assert!(matches!(whole.0[..], [Cut::Failed(FrameErrorKind::BadContentLength, _)])),
            "mcl01" => {
                assert!(matches!(whole.0[..], [Cut::Failed(FrameErrorKind::SeveralContentLengths, _)]))
            }
            // The rest of the body, or of the head, never comes.
            "clerr" | "baddn" => assert_eq!(whole, (vec![], bytes.len())),
            "dblreq" => {
                assert_eq!((whole.0.len(), &whole.0[0], &whole.0[1]), (4, &message, &Cut::Pong));
                assert!(matches!(&whole.0[2], Cut::Message(invite) if invite.starts_with(b"INVITE sip:joe")));
                // Its Content-Length is three short of the body that follows.
                assert_eq!(&whole.0[3], &Cut::Failed(FrameErrorKind::NotSip, vec![]));
            }
            _ => assert_eq!(whole.0.first(), Some(&message), "{name}"),
        }
    }
}
