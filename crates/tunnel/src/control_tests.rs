use super::*;
use crate::proof::{Proof, SessionId};

fn decode_all(mut payload: &[u8]) -> Vec<Result<Option<Message<'_>>, ControlError>> {
    let mut all = Vec::new();
    while !payload.is_empty() {
        let message = Message::decode(&mut payload);
        let stop = message.is_err();
        all.push(message);
        if stop {
            break;
        }
    }
    all
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn hello() -> Hello {
    Hello {
        role: Role::Agent,
        max_lanes: 2048,
        max_frame: 16384,
        keep_alive: 15,
        required: 0,
        offered: 0,
        software: "causeway/0.1.0".into(),
        instance: Some(Instance([0x11; 16])),
        resume: None,
    }
}

/// The vectors of docs/tunnel.md, typed there by hand from the tables.
#[test]
fn vectors_of_the_documentation() {
    let vectors: [(&str, Message<'_>); 18] = [
        (
            "01 0036  4357544c 01 01 0800 4000 000f 00000000 00000000
             81 0e 63617573657761792f302e312e30
             82 10 11111111111111111111111111111111",
            Message::Hello(hello()),
        ),
        (
            "02 000a  0011 01 06 63616c6c2d31",
            Message::LaneOpen { lane: Lane(17), kind: Ok(Kind::Audio), token: b"call-1" },
        ),
        ("02 0004  0010 80 00", Message::LaneOpen { lane: Lane(16), kind: Ok(Kind::Stream), token: b"" }),
        ("02 0004  0010 81 00", Message::LaneOpen { lane: Lane(16), kind: Err(0x81), token: b"" }),
        ("11 0006  0011 00004000", Message::StreamCredit { lane: Lane(17), bytes: 16_384 }),
        ("12 0002  0011", Message::StreamBegin { lane: Lane(17) }),
        ("03 0003  0011 00", Message::LaneClose { lane: Lane(17), reason: CloseReason::Ended }),
        ("04 0008  0102030405060708", Message::Ping([1, 2, 3, 4, 5, 6, 7, 8])),
        ("05 0008  0102030405060708", Message::Pong([1, 2, 3, 4, 5, 6, 7, 8])),
        (
            "06 0008  01 72657374617274",
            Message::Goodbye { reason: GoodbyeReason::ShuttingDown, text: "restart" },
        ),
        ("07 0005  04 6c616e65", Message::Error { code: 4, text: "lane" }),
        ("10 0008  0000000000000102", Message::SipAck(0x102)),
        (
            "20 0036  22222222222222222222222222222222 00000001 001e
             3333333333333333333333333333333333333333333333333333333333333333",
            Message::Ticket { session: SessionId([0x22; 16]), epoch: 1, grace: 30, seed: &[0x33; 32] },
        ),
        (
            "21 002c  00000000 0000000000000007
             5555555555555555555555555555555555555555555555555555555555555555",
            Message::Resumed { era: 0, received: 7, proof: Proof([0x55; 32]) },
        ),
        ("22 0001  02", Message::Fresh(Stale::Replayed)),
        ("23 0000", Message::LanesDone),
        ("24 0004  00000001", Message::TicketTaken(1)),
        ("80 0002  001e", Message::Leaving(30)),
    ];
    for (text, message) in vectors {
        let bytes = hex(text);
        let mut encoded = Vec::new();
        message.encode(&mut encoded);
        assert_eq!(encoded, bytes, "{message:?}");
        assert_eq!(decode_all(&bytes), [Ok(Some(message))]);
        for end in 1..bytes.len() {
            let cut = decode_all(&bytes[..end]);
            assert!(matches!(cut[..], [Err(ControlError::Short(_))]), "cut at {end}: {cut:?}");
        }
    }
}

#[test]
fn optional_messages_are_skipped_and_others_are_not() {
    let bytes = hex("81 0002 ffff  04 0008 0000000000000000  ff 0000");
    assert_eq!(decode_all(&bytes), [Ok(None), Ok(Some(Message::Ping([0; 8]))), Ok(None)]);
    assert_eq!(decode_all(&hex("08 0000")), [Err(ControlError::UnknownType(8))]);
    assert_eq!(decode_all(&hex("00 0000")), [Err(ControlError::UnknownType(0))]);
}

#[test]
fn a_longer_body_than_known_is_no_fault() {
    assert_eq!(
        decode_all(&hex("03 0005  0011 00 abcd")),
        [Ok(Some(Message::LaneClose { lane: Lane(17), reason: CloseReason::Ended }))]
    );
}

#[test]
fn hello_refuses_what_it_must() {
    let good = "4357544c 01 02 0001 05dc 0001 00000000 00000000";
    let with = |body: &str| {
        let body = hex(body);
        let mut bytes = vec![1, 0, body.len() as u8];
        bytes.extend_from_slice(&body);
        match decode_all(&bytes).remove(0) {
            Ok(Some(Message::Hello(hello))) => Ok(hello),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    };
    assert_eq!(with(good).unwrap().role, Role::ContactPoint);
    assert_eq!(with(&good.replace("4357", "4358")), Err(ControlError::Magic));
    assert_eq!(with("47455420"), Err(ControlError::Magic));
    assert_eq!(with(""), Err(ControlError::Magic));
    assert_eq!(with(&good.replace("4c 01", "4c 02")), Err(ControlError::Version(2)));
    assert_eq!(with(&good.replace("01 02 0001", "01 03 0001")), Err(ControlError::Value(1)));
    assert_eq!(with(&good.replace("05dc", "05db")), Err(ControlError::Value(1)));
    assert_eq!(with(&good.replace("05dc 0001", "05dc 0000")), Err(ControlError::Value(1)));
    assert_eq!(
        with(&good.replace("00000000 00000000", "00000004 00000000")),
        Err(ControlError::Feature(4)),
        "a required feature"
    );
    assert!(with(&good.replace("00000000 00000000", "00000000 ffffffff")).is_ok(), "offered features");
    assert_eq!(with(&format!("{good} 02 00")), Err(ControlError::Feature(2)), "a required parameter");
    assert!(with(&format!("{good} fe 02 0000")).is_ok(), "an optional parameter");
    assert_eq!(with(&format!("{good} 82 02 0000")), Err(ControlError::Value(1)), "a short instance");
    assert_eq!(with(&format!("{good} 81 05 00")), Err(ControlError::Short(1)), "a parameter cut short");
    assert_eq!(with(&format!("{good} 81 01 ff")), Err(ControlError::Text));
    assert_eq!(with(&format!("{good} 81 41 {}", "61".repeat(65))), Err(ControlError::Value(1)));
}

#[test]
fn long_texts_are_cut_between_characters() {
    let long = "ä".repeat(150);
    let mut bytes = Vec::new();
    Message::Error { code: 1, text: &long }.encode(&mut bytes);
    let mut rest = bytes.as_slice();
    let Ok(Some(Message::Error { text, .. })) = Message::decode(&mut rest) else { panic!() };
    assert_eq!(text, "ä".repeat(100));
    assert_eq!(decode_all(&hex("03 0003 0011 09")).len(), 1);
    let token = [b'x'; 80];
    let mut bytes = Vec::new();
    Message::LaneOpen { lane: Lane(17), kind: Ok(Kind::Other), token: &token }.encode(&mut bytes);
    assert_eq!(bytes.len(), 3 + 4 + 64);
    assert_eq!(
        decode_all(&hex(&format!("02 0045 0011 01 41 {}", "00".repeat(65)))),
        [Err(ControlError::Value(2))]
    );
}
