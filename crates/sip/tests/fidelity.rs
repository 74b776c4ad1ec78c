//! Odd but legal messages are forwarded byte by byte as they came, but for what a proxy must change.

use causeway_sip::{Edit, Framed, Framer, HeaderId, Index, Message, Method, Msg, validate};

/// Compact names, two Vias in one line, blanks before the colon, folds, empty headers, Latin-1, bytes that are
/// no text, an unknown method, an unknown scheme in a Contact, lower-case names, a repeated unknown header.
const ODD: &[u8] = b"FROBNICATE*+ sip:bob@example.com SIP/2.0\r\n\
    v : SIP/2.0/UDP one.example.net;branch=z9hG4bK1 ,\r\n  SIP / 2.0 / TCP two.example.net : 5070;branch=z9hG4bK2\r\n\
    mAx-FoRwArDs   :\t 0070 \t\r\n\
    f: caf\xe9 <sip:caf%E9@example.net>;tag=\r\n\t42\r\n\
    t : \"\xff\xfe \\\" , <x>\" <sip:bob@example.com>\r\n\
    i:odd@1\r\n\
    CSeq:   1\r\n FROBNICATE*+\r\n\
    m: <soap.beep://x>,<sip:b@c;ob>;x=\"a,b\" , \"q\"<sip:d@e>\r\n\
    s:\r\n\
    k :\r\n\
    X-Empty :   \r\n\
    x-bin: \x01\x02\x80\xff\r\n\
    X-Bin:again;;,,;\r\n\
    subject2: \xd0\xbd\xd0\xbe\r\n\
    c: application/x-blob\r\n\
    Content-Length : 6\r\n\
    \r\n\
    \x00\r\n\r\n\xff";

#[test]
fn only_via_and_max_forwards_change() {
    let message = Message::parse(ODD).unwrap();
    let msg = message.msg();
    assert_eq!(validate::verdict(msg), Ok(()));

    let (mut edit, mut out) = (Edit::new(), Vec::new());
    edit.push_via(msg, &[b"SIP/2.0/TLS three;branch=z9hG4bK3"]);
    edit.set_max_forwards(msg, msg.max_forwards().unwrap() - 1);
    edit.apply(msg, &mut out);
    let at = ODD.windows(4).position(|part| part == b"v : ").unwrap();
    let hops = ODD.windows(4).position(|part| part == b"0070").unwrap();
    let expected =
        [&ODD[..at], b"Via: SIP/2.0/TLS three;branch=z9hG4bK3\r\n", &ODD[at..hops], b"69", &ODD[hops + 4..]]
            .concat();
    assert_eq!(out, expected);
}

#[test]
fn everything_in_it_is_understood() {
    let message = Message::parse(ODD).unwrap();
    let msg = message.msg();
    assert_eq!(msg.method(), Method::Other(b"FROBNICATE*+"));
    let branches: Vec<_> = msg.vias().map(|via| via.unwrap().branch().unwrap().to_vec()).collect();
    assert_eq!(branches, [b"z9hG4bK1", b"z9hG4bK2"]);
    assert_eq!(msg.vias().nth(1).unwrap().unwrap().port, Some(5070));
    assert_eq!((msg.max_forwards(), msg.from_tag()), (Some(70), Some(&b"42"[..])));
    assert_eq!(&*msg.to().unwrap().display_name(), b"\xff\xfe \" , <x>");
    assert_eq!(msg.cseq().unwrap().method, Method::Other(b"FROBNICATE*+"));
    assert_eq!(msg.contacts().map(Option::unwrap).count(), 3);
    assert_eq!(
        (msg.header(HeaderId::Subject), msg.header(HeaderId::Supported)),
        (Some(&b""[..]), Some(&b""[..]))
    );
    assert_eq!(msg.header_named(b"x-BIN").collect::<Vec<_>>(), [&b"\x01\x02\x80\xff"[..], b"again;;,,;"]);
    assert_eq!(msg.body(), b"\x00\r\n\r\n\xff");
    let mut framer = Framer::new();
    framer.push(ODD);
    assert_eq!(framer.next().unwrap(), Some(Framed::Message(ODD)));
}

fn edited(bytes: &[u8], act: impl FnOnce(&mut Edit, Msg<'_>)) -> String {
    let mut index = Index::new();
    index.parse(bytes).unwrap();
    let (mut edit, mut out) = (Edit::new(), Vec::new());
    act(&mut edit, Msg::new(bytes, &index));
    edit.apply(Msg::new(bytes, &index), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn values_leave_comma_lists_and_folds() {
    let list = b"A a:b SIP/2.0\r\nRoute: <sip:1;lr>,\r\n <sip:2;lr> , <sip:3;lr>\r\nr: x\r\nRoute : <sip:4;lr>\r\n\r\n";
    let pop = |count| edited(list, |edit, msg| edit.remove_top(msg, HeaderId::Route, count));
    assert_eq!(pop(0).as_bytes(), list);
    assert_eq!(
        pop(1),
        "A a:b SIP/2.0\r\nRoute: <sip:2;lr> , <sip:3;lr>\r\nr: x\r\nRoute : <sip:4;lr>\r\n\r\n"
    );
    assert_eq!(pop(2), "A a:b SIP/2.0\r\nRoute: <sip:3;lr>\r\nr: x\r\nRoute : <sip:4;lr>\r\n\r\n");
    assert_eq!(pop(3), "A a:b SIP/2.0\r\nr: x\r\nRoute : <sip:4;lr>\r\n\r\n");
    assert_eq!(pop(9), "A a:b SIP/2.0\r\nr: x\r\n\r\n");
    let middle =
        edited(list, |edit, msg| edit.remove_values(msg, HeaderId::Route, |value| value == b"<sip:2;lr>"));
    assert_eq!(
        middle,
        "A a:b SIP/2.0\r\nRoute: <sip:1;lr>,\r\n <sip:3;lr>\r\nr: x\r\nRoute : <sip:4;lr>\r\n\r\n"
    );
    let last =
        edited(list, |edit, msg| edit.remove_values(msg, HeaderId::Route, |value| value != b"<sip:1;lr>"));
    assert_eq!(last, "A a:b SIP/2.0\r\nRoute: <sip:1;lr>\r\nr: x\r\n\r\n");
}

#[test]
fn the_other_edits() {
    let text = b"INVITE sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5062;rport;branch=z9hG4bK1\r\nRecord-Route: <sip:r;lr>\r\n\
        To: <sip:a@b>\r\nSupported: x\r\nk: y\r\nl: 3\r\n\r\nabcJUNK";
    let out = edited(text, |edit, msg| {
        edit.set_body(msg, b"twelve bytes");
        edit.set_request_uri(msg, &[b"sip:c@", b"192.0.2.7"]);
        edit.set_max_forwards(msg, 70);
        edit.insert_above(msg, HeaderId::RecordRoute, b"Record-Route", &[b"<sip:me;lr>"]);
        edit.mark_received(msg, "192.0.2.9:40000".parse().unwrap());
        edit.add_to_tag(msg, b"t1");
        edit.remove(msg, HeaderId::Supported);
        edit.append(msg, b"X-Last", &[b"1"]);
    });
    assert_eq!(
        out,
        "INVITE sip:c@192.0.2.7 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.0.0.1:5062;rport=40000;branch=z9hG4bK1;received=192.0.2.9\r\n\
         Max-Forwards: 70\r\nRecord-Route: <sip:me;lr>\r\nRecord-Route: <sip:r;lr>\r\n\
         To: <sip:a@b>;tag=t1\r\nl: 12\r\nX-Last: 1\r\n\r\ntwelve bytes"
    );
    let bare = b"BYE sip:a SIP/2.0\r\nX: 1\r\n\r\n";
    let out = edited(bare, |edit, msg| {
        edit.set_body(msg, b"x");
        edit.push_via(msg, &[b"SIP/2.0/UDP v"]);
        edit.set(msg, HeaderId::Expires, &[b"60"]);
    });
    assert_eq!(
        out,
        "BYE sip:a SIP/2.0\r\nVia: SIP/2.0/UDP v\r\nExpires: 60\r\nX: 1\r\nContent-Length: 1\r\n\r\nx"
    );
}

/// A source that is the host of sent-by needs no `received`, an old one is replaced (RFC 3261 §18.2.1).
#[test]
fn received() {
    let via = |value: &str| format!("A sip:a SIP/2.0\r\nVia: SIP/2.0/UDP {value}\r\n\r\n");
    let mark = |value: &str, from: &str| {
        edited(via(value).as_bytes(), |edit, msg| edit.mark_received(msg, from.parse().unwrap()))
    };
    assert_eq!(mark("192.0.2.1;branch=1", "192.0.2.1:9"), via("192.0.2.1;branch=1"));
    assert_eq!(mark("h:1;branch=1", "192.0.2.1:9"), via("h:1;branch=1;received=192.0.2.1"));
    assert_eq!(mark("h;received=1.2.3.4;rport=5", "[2001:db8::1]:9"), via("h;received=2001:db8::1;rport=9"));
}
