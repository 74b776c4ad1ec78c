//! Offer and answer after RFC 3264 and the examples of RFC 4317.

use causeway_sdp::{Codec, Description, Direction, Local, NegotiationError};

fn bob() -> Local {
    Local { session_id: 2808844564, ..Local::new("192.0.2.2:49920".parse().unwrap(), 0) }
}

fn answer(offer: &str, local: &Local) -> Result<(String, causeway_sdp::Agreed), NegotiationError> {
    let offer = Description::parse(offer).unwrap();
    local.answer(offer.sdp()).map(|(answer, agreed)| (String::from_utf8(answer).unwrap(), agreed))
}

/// RFC 4317 §2.1, offer and choice: PCMU of PCMU, PCMA and iLBC, H.261 video declined by a telephone.
#[test]
fn audio_of_audio_and_video() {
    let offer = "v=0\r\no=alice 2890844526 2890844526 IN IP4 host.atlanta.example.com\r\ns=\r\n\
        c=IN IP4 192.0.2.7\r\nt=0 0\r\nm=audio 49170 RTP/AVP 97 0 8\r\na=rtpmap:0 PCMU/8000\r\n\
        a=rtpmap:8 PCMA/8000\r\na=rtpmap:97 iLBC/8000\r\nm=video 51372 RTP/AVP 31 32\r\n\
        a=rtpmap:31 H261/90000\r\na=rtpmap:32 MPV/90000\r\n";
    let (text, agreed) = answer(offer, &bob()).unwrap();
    assert_eq!(
        text,
        "v=0\r\no=- 2808844564 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n\
         m=audio 49920 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=sendrecv\r\n\
         m=video 0 RTP/AVP 31 32\r\n"
    );
    assert_eq!((agreed.codec, agreed.events), (Codec::PCMU, None));
    assert_eq!(agreed.remote, "192.0.2.7:49170".parse().ok());
    assert_eq!(agreed.remote_rtcp, "192.0.2.7:49171".parse().ok());
}

/// The offerer's payload types and order hold, whatever ours would be (RFC 3264 §6.1).
#[test]
fn the_offerers_numbers() {
    let offer = "v=0\r\nc=IN IP6 2001:db8::1\r\nm=audio 7000 RTP/AVP 96 100 0\r\na=rtpmap:96 pcma/8000/1\r\n\
        a=rtpmap:100 TELEPHONE-EVENT/8000\r\na=rtcp-mux\r\na=ptime:30\r\na=mid:x\r\n";
    let (text, agreed) = answer(offer, &bob()).unwrap();
    assert!(text.contains("m=audio 49920 RTP/AVP 96 100 0\r\na=rtpmap:96 PCMA/8000\r\n"), "{text}");
    assert!(text.contains("a=fmtp:100 0-16\r\n") && text.contains("a=rtcp-mux\r\na=mid:x\r\n"), "{text}");
    assert_eq!(agreed.codec, Codec { payload: 96, ..Codec::PCMA });
    assert_eq!((agreed.events, agreed.ptime), (Some(100), Some(30)));
    assert_eq!(agreed.remote_rtcp, agreed.remote);
}

/// RFC 3264 §6.1 and §8.4.
#[test]
fn directions() {
    let both = bob();
    let quiet = Local { direction: Direction::RecvOnly, ..bob() };
    for (address, offered, local, expected) in [
        ("192.0.2.7", "sendrecv", &both, Direction::SendRecv),
        ("192.0.2.7", "sendonly", &both, Direction::RecvOnly),
        ("192.0.2.7", "recvonly", &both, Direction::SendOnly),
        ("192.0.2.7", "inactive", &both, Direction::Inactive),
        ("192.0.2.7", "recvonly", &quiet, Direction::Inactive),
        ("0.0.0.0", "sendrecv", &both, Direction::RecvOnly),
    ] {
        let offer = format!("v=0\r\nc=IN IP4 {address}\r\na={offered}\r\nm=audio 7000 RTP/AVP 0\r\n");
        let (text, agreed) = answer(&offer, local).unwrap();
        assert_eq!(agreed.direction, expected, "{offered} from {address}");
        assert!(text.contains(&format!("a={}\r\n", expected.name())));
        assert_eq!(agreed.remote.is_some(), address != "0.0.0.0");
    }
}

#[test]
fn no_common_ground() {
    let with = |media: &str| answer(&format!("v=0\r\nc=IN IP4 192.0.2.7\r\n{media}"), &bob()).map(drop);
    assert_eq!(with("m=video 1 RTP/AVP 0\r\n"), Err(NegotiationError::NoAudio));
    assert_eq!(with("m=audio 1 RTP/SAVP 0\r\n"), Err(NegotiationError::NoAudio));
    assert_eq!(with("m=audio 0 RTP/AVP 0\r\n"), Err(NegotiationError::NoAudio));
    assert_eq!(with("m=audio x RTP/AVP 0\r\n"), Err(NegotiationError::NoAudio));
    assert_eq!(with("m=audio 1 RTP/AVP 3 99\r\n"), Err(NegotiationError::NoCodec));
    assert_eq!(
        with("m=audio 1 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n"),
        Err(NegotiationError::NoCodec)
    );
    assert_eq!(with("m=audio 1 RTP/AVP 0\r\na=rtpmap:0 PCMU/16000\r\n"), Err(NegotiationError::NoCodec));
}

#[test]
fn the_offerers_side() {
    let alice = Local::new("192.0.2.7:49170".parse().unwrap(), 1);
    let offer = String::from_utf8(alice.offer()).unwrap();
    assert!(
        offer.contains("m=audio 49170 RTP/AVP 0 8 101\r\n") && offer.contains("a=fmtp:101 0-16\r\n"),
        "{offer}"
    );
    assert_eq!(causeway_sdp::check(offer.as_bytes()), []);
    let agree = |answer: &str| alice.agree(Description::parse(answer).unwrap().sdp());
    let agreed = agree(
        "v=0\r\nc=IN IP4 192.0.2.2\r\nm=audio 4 RTP/AVP 8 101\r\na=rtpmap:101 telephone-event/8000\r\na=recvonly\r\n",
    );
    let agreed = agreed.unwrap();
    assert_eq!((agreed.codec, agreed.events), (Codec::PCMA, Some(101)));
    assert_eq!((agreed.direction, agreed.remote), (Direction::SendOnly, "192.0.2.2:4".parse().ok()));
    assert_eq!(agree("v=0\r\nm=audio 0 RTP/AVP 0\r\n"), Err(NegotiationError::Declined));
    assert_eq!(agree("v=0\r\n"), Err(NegotiationError::Mismatch));
    assert_eq!(agree("v=0\r\nc=IN IP4 192.0.2.2\r\nm=audio 4 RTP/AVP 3\r\n"), Err(NegotiationError::NoCodec));
}
