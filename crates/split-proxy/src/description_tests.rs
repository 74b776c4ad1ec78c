use super::*;

/// The offer of RFC 3264 §10.1 with a video line and what phones add to it.
const OFFER: &[u8] = b"v=0\r\no=alice 2890844526 2890844526 IN IP4 host.anywhere.com\r\ns= \r\n\
c=IN IP4 192.0.2.5\r\nt=0 0\r\na=ice-lite\r\nm=audio 49170 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n\
a=candidate:1 1 UDP 2130706431 192.0.2.5 49170 typ host\r\na=rtcp:53020 IN IP4 192.0.2.6\r\n\
m=video 51372 RTP/AVP 31\r\nc=IN IP6 2001:db8::7\r\na=rtpmap:31 H261/90000\r\n\
m=image 0 udptl t38\r\nm=message 7394 TCP/MSRP *\r\n";

fn text(body: &[u8], address: &str, ports: &[Option<Ports>]) -> String {
    let mut out = Vec::new();
    let writing = Writing { address: address.parse().unwrap(), ports, token: None };
    rewrite(body, writing, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn reads_what_matters() {
    let lines = read(OFFER).unwrap();
    assert_eq!(lines.len(), 4);
    let v4: IpAddr = "192.0.2.5".parse().unwrap();
    assert_eq!(
        lines[0],
        Line {
            carriage: Carriage::Audio,
            port: 49170,
            connection: Connection::At(v4),
            rtcp_port: Some(53020),
            rtcp_address: Some("192.0.2.6".parse().unwrap()),
            mux_only: false,
            far_lane: None,
            takes_connections: true
        }
    );
    assert_eq!(lines[1].connection, Connection::At("2001:db8::7".parse().unwrap()));
    assert_eq!((lines[1].carriage, lines[1].rtcp()), (Carriage::Video, Some(51373)));
    assert_eq!((lines[2].carriage, lines[2].port), (Carriage::Fax, 0));
    assert_eq!(lines[3].carriage, Carriage::Msrp);
    assert_eq!(read(b"<xml/>"), None);
    assert_eq!(read(b"v=0\r\nm=audio RTP/AVP\r\n"), None);
    let many = [b"v=0\r\n".as_slice(), &b"m=audio 1 RTP/AVP 0\r\n".repeat(17)].concat();
    assert_eq!(read(&many), None);
}

#[test]
fn rewrites_addresses_and_nothing_else() {
    let ports = [Some(Ports::new(17, Some(19))), Some(Ports::new(21, Some(23))), None, None];
    assert_eq!(
        text(OFFER, "192.0.0.8", &ports),
        "v=0\r\no=alice 2890844526 2890844526 IN IP4 host.anywhere.com\r\ns= \r\nc=IN IP4 192.0.0.8\r\nt=0 0\r\n\
m=audio 17 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=rtcp:19\r\nm=video 21 RTP/AVP 31\r\nc=IN IP4 192.0.0.8\r\n\
a=rtpmap:31 H261/90000\r\na=rtcp:23\r\nm=image 0 udptl t38\r\nm=message 0 TCP/MSRP *\r\n"
    );
    let v6 = text(OFFER, "2001:db8::1", &[Some(Ports::new(9000, None)); 4]);
    assert!(v6.contains("c=IN IP6 2001:db8::1\r\nt=0 0\r\nm=audio 9000 RTP/AVP 0\r\na=rtpmap"));
    assert!(!v6.contains("a=rtcp") && v6.contains("m=message 9000 TCP/MSRP *\r\n"));
}

#[test]
fn held_media_stays_held() {
    let body = b"v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 4000/2 RTP/AVP 0\r\na=sendonly\r\n";
    assert_eq!(read(body).unwrap()[0].connection, Connection::Held);
    assert_eq!(
        text(body, "192.0.2.9", &[Some(Ports::new(5000, None))]),
        "v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 5000 RTP/AVP 0\r\na=sendonly\r\n"
    );
}

#[test]
fn line_ends_are_kept_even_the_missing_one() {
    let body = b"v=0\nc=IN IP4 1.2.3.4\nm=audio 4 RTP/AVP 0";
    assert_eq!(
        text(body, "9.9.9.9", &[Some(Ports::new(17, None))]),
        "v=0\nc=IN IP4 9.9.9.9\nm=audio 17 RTP/AVP 0"
    );
}

#[test]
fn multicast_and_names_lead_nowhere() {
    for text in ["c=IN IP4 224.2.1.1/127", "c=IN IP4 phone.example.com", "c=IN IP4", "c="] {
        let body = format!("v=0\r\n{text}\r\nm=audio 4000 RTP/AVP 0\r\n");
        assert_eq!(read(body.as_bytes()).unwrap()[0].connection, Connection::Unknown, "{text}");
    }
}

#[test]
fn the_description_inside_a_multipart_body() {
    let body = b"preamble\r\n--b x\r\nContent-Type: text/plain\r\n\r\nv=0 is not this\r\n--b x\r\n\
Content-Type: application/sdp;charset=x\r\nContent-Disposition: session\r\n\r\nv=0\r\nm=audio 1 RTP/AVP 0\r\n\r\n--b x--\r\n";
    let range = find(b"multipart/mixed ; boundary=\"b x\"", body).unwrap();
    assert_eq!(&body[range], b"v=0\r\nm=audio 1 RTP/AVP 0\r\n");
    assert_eq!(find(b"Application/SDP ; x=y", b"v=0"), Some(0..3));
    assert_eq!(find(b"application/sdp", b""), None);
    assert_eq!(find(b"text/plain", b"v=0"), None);
    assert_eq!(find(b"multipart/mixed", body), None);
    assert_eq!(find(b"multipart/mixed;boundary=zz", body), None);
}

#[test]
fn carriage_by_protocol() {
    let of = |media: &str, proto: &str| {
        read(format!("v=0\r\nm={media} 9 {proto} 0\r\n").as_bytes()).unwrap()[0].carriage
    };
    assert_eq!(of("audio", "UDP/TLS/RTP/SAVPF"), Carriage::Audio);
    assert_eq!(of("text", "RTP/AVP"), Carriage::OtherRtp);
    assert_eq!(of("audio", "TCP/RTP/AVP"), Carriage::Stream);
    assert_eq!(of("image", "udptl"), Carriage::Fax);
    assert_eq!(of("application", "UDP/DTLS/SCTP"), Carriage::Datagrams);
    assert_eq!(of("application", "TCP/DTLS/SCTP"), Carriage::Stream);
    assert_eq!(of("message", "tcp/msrp"), Carriage::Msrp);
    assert_eq!(of("message", "TCP/TLS/MSRP"), Carriage::Stream);
    assert_eq!(of("x", "XYZ"), Carriage::None);
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    fn line() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("v=0".to_owned()),
            (any::<u16>(), "(RTP/AVP|udptl|TCP/MSRP|UDP/TLS/RTP/SAVPF)")
                .prop_map(|(port, proto)| format!("m=audio {port} {proto} 0")),
            "c=IN IP[46] [0-9a-f.:/]{0,16}",
            any::<u16>().prop_map(|port| format!("a=rtcp:{port} IN IP4 192.0.2.1")),
            "a=(candidate:x|ice-ufrag:y|sendrecv|rtcp-mux)",
            "[ -~]{0,40}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_is_read_again(
            lines in proptest::collection::vec(line(), 0..20),
            end in prop_oneof![Just("\r\n"), Just("\n")],
            first in 1000..60_000u16,
        ) {
            let body = format!("v=0{end}{}", lines.iter().map(|l| format!("{l}{end}")).collect::<String>());
            let Some(before) = read(body.as_bytes()) else { return Ok(()) };
            let give = |n: usize| (n % 3 != 2).then_some(Ports::new(first + n as u16, Some(7)));
            let ports: Vec<_> = (0..before.len()).map(give).collect();
            let address: IpAddr = "192.0.2.77".parse().unwrap();
            let mut out = Vec::new();
            rewrite(body.as_bytes(), Writing { address, ports: &ports, token: None }, &mut out);
            let after = read(&out).unwrap();
            prop_assert_eq!(after.len(), before.len());
            for ((line, old), given) in after.iter().zip(&before).zip(&ports) {
                prop_assert_eq!(line.port, given.map_or(0, |given| given.port));
                prop_assert_eq!(line.carriage, old.carriage);
                prop_assert_eq!(line.rtcp_port, given.and_then(|given| given.rtcp));
                prop_assert!(line.connection == old.connection || line.connection == Connection::At(address));
            }
            let mut again = Vec::new();
            rewrite(&out, Writing { address, ports: &ports, token: None }, &mut again);
            prop_assert_eq!(out, again);
        }

        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..200), kind in "[ -~]{0,60}") {
            let _ = read(&body);
            let ports = [Some(Ports::new(1, Some(2)))];
            let writing = Writing { address: PLACEHOLDER, ports: &ports, token: Some("00") };
            rewrite(&body, writing, &mut Vec::new());
            let kinds = [kind.into_bytes(), b"multipart/mixed;boundary=\"-\"".to_vec()];
            for kind in kinds {
                if let Some(range) = find(&kind, &body) {
                    prop_assert!(body.get(range).is_some());
                }
            }
        }
    }
}
