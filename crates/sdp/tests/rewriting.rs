//! What a middlebox does to descriptions, and what it leaves alone.

use causeway_sdp::{Description, Direction, Edit, Rtcp, Sdp};
use std::net::IpAddr;

fn edited(text: &str, act: impl FnOnce(&mut Edit, Sdp<'_>)) -> String {
    let description = Description::parse(text).unwrap();
    let (mut edit, mut out) = (Edit::new(), Vec::new());
    act(&mut edit, description.sdp());
    edit.apply(description.sdp(), &mut out);
    String::from_utf8(out).unwrap()
}

const V4: &str = "198.51.100.9";
fn v4() -> IpAddr {
    V4.parse().unwrap()
}

/// A browser's offer in miniature: BUNDLE, ICE, rtcp-mux, own connections, odd spacing, unknown lines.
const RICH: &str = "v=0\r\no=- 46117 2 IN IP6 2001:db8::5\r\ns= -\r\nc=IN IP4 10.1.1.1\r\nt=0 0\r\n\
    a=group:BUNDLE a v\r\na=ice-lite\r\nz=odd  line \r\n\
    m=audio 9000/2 RTP/SAVPF 111 0\r\nc=IN IP6 2001:db8::9\r\na=mid:a\r\na=rtcp:9001 IN IP4 10.1.1.2\r\n\
    a=candidate:1 1 udp 2130706431 10.1.1.1 9000 typ host\r\na=ice-ufrag:x\r\na=setup:actpass\r\na=label:L\r\n\
    m=video 9002 RTP/AVP 31\r\ni=pictures\r\na=mid:v\r\na=rtcp-mux\r\na=sendonly\r\n\
    m=application 9 TCP/DTLS/BFCP *\r\na=setup:passive\r\n";

#[test]
fn reading() {
    let description = Description::parse(RICH).unwrap();
    let sdp = description.sdp();
    let [audio, video, app] = [0, 1, 2].map(|n| sdp.media_at(n).unwrap());
    assert_eq!(
        (audio.kind, audio.port, audio.count, audio.proto),
        (&b"audio"[..], 9000, 2, &b"RTP/SAVPF"[..])
    );
    assert_eq!(audio.target(), "[2001:db8::9]:9000".parse().ok());
    assert_eq!(audio.rtcp(), Rtcp::At(9001, "10.1.1.2".parse().ok()));
    assert_eq!(audio.rtcp_target(), "10.1.1.2:9001".parse().ok());
    assert_eq!(
        (audio.setup(), audio.label(), audio.mid()),
        (Some(&b"actpass"[..]), Some(&b"L"[..]), Some(&b"a"[..]))
    );
    assert_eq!(video.target(), "10.1.1.1:9002".parse().ok());
    assert_eq!((video.rtcp(), video.direction()), (Rtcp::Mux, Direction::SendOnly));
    assert_eq!(video.rtcp_target(), video.target());
    assert!(app.is_tcp() && !app.is_rtp() && audio.is_rtp());
    let bundle: Vec<_> = sdp.bundles().next().unwrap().collect();
    assert_eq!(bundle, [b"a", b"v"]);
    assert_eq!(sdp.origin().unwrap().host, b"2001:db8::5");
    assert_eq!(audio.formats().collect::<Vec<_>>(), [&b"111"[..], b"0"]);
}

#[test]
fn everything_to_one_address() {
    let out = edited(RICH, |edit, sdp| {
        edit.set_addresses(sdp, v4());
        edit.set_origin_address(sdp, v4());
        for n in 0..3 {
            edit.set_port(sdp, n, 20000 + 2 * n as u16);
        }
        edit.set_rtcp(sdp, 0, Some(20001));
        edit.remove_ice(sdp);
        edit.remove_attributes(sdp, |media, attribute| media.is_none() && attribute.name == b"group");
    });
    assert_eq!(
        out,
        "v=0\r\no=- 46117 2 IN IP4 198.51.100.9\r\ns= -\r\nc=IN IP4 198.51.100.9\r\nt=0 0\r\nz=odd  line \r\n\
         m=audio 20000 RTP/SAVPF 111 0\r\nc=IN IP4 198.51.100.9\r\na=mid:a\r\na=rtcp:20001\r\n\
         a=setup:actpass\r\na=label:L\r\n\
         m=video 20002 RTP/AVP 31\r\ni=pictures\r\na=mid:v\r\na=rtcp-mux\r\na=sendonly\r\n\
         m=application 20004 TCP/DTLS/BFCP *\r\na=setup:passive\r\n"
    );
}

#[test]
fn one_section_only() {
    let head = "v=0\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\n";
    let out = edited(&format!("{head}m=audio 1 RTP/AVP 0\ni=x\na=y\nm=video 2 RTP/AVP 31"), |edit, sdp| {
        edit.set_media_address(sdp, 0, v4());
        edit.set_media_address(sdp, 1, "2001:db8::1".parse().unwrap());
        edit.set_rtcp(sdp, 0, Some(7));
        edit.add_attribute(sdp, Some(1), b"evil\r\nm=x");
        edit.add_attribute(sdp, None, b"session");
    });
    assert_eq!(
        out,
        format!(
            "{head}a=session\r\nm=audio 1 RTP/AVP 0\ni=x\nc=IN IP4 {V4}\r\na=y\na=rtcp:7\r\n\
             m=video 2 RTP/AVP 31\r\nc=IN IP6 2001:db8::1\r\na=evil  m=x"
        )
    );
}

/// Hold addresses stay what they are; a section without any connection gets one.
#[test]
fn hold_and_missing_connections() {
    let held = "v=0\r\nm=audio 1 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\nm=audio 3 RTP/AVP 0\r\n";
    assert!(Description::parse(held).unwrap().sdp().media_at(0).unwrap().held());
    assert_eq!(Description::parse(held).unwrap().sdp().media_at(0).unwrap().target(), None);
    let out = edited(held, |edit, sdp| edit.set_addresses(sdp, v4()));
    let want =
        format!("v=0\r\nm=audio 1 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\nm=audio 3 RTP/AVP 0\r\nc=IN IP4 {V4}\r\n");
    assert_eq!(out, want);
    let out = edited(held, |edit, sdp| edit.set_media_address(sdp, 0, v4()));
    assert_eq!(out, held);
}

/// RFC 4475 `dblreq` has `m =video`: what another reader might take for media must not escape.
#[test]
fn sloppy_lines_do_not_escape() {
    let out = edited("v=0\r\nm =video 3227 RTP/AVP 31\r\nc\t=IN IP4 10.0.0.1\r\n", |edit, sdp| {
        edit.set_addresses(sdp, v4());
        edit.set_port(sdp, 0, 5);
    });
    assert_eq!(out, format!("v=0\r\nm =video 5 RTP/AVP 31\r\nc\t=IN IP4 {V4}\r\n"));
}

#[test]
fn bounds() {
    use causeway_sdp::{MAX_LEN, MAX_LINES, MAX_MEDIA, ParseError};
    assert_eq!(Description::parse(vec![b'a'; MAX_LEN + 1]).unwrap_err(), ParseError::TooLong);
    assert_eq!(Description::parse(b"a=\n".repeat(MAX_LINES + 1)).unwrap_err(), ParseError::TooManyLines);
    assert_eq!(Description::parse(b"m=\n".repeat(MAX_MEDIA + 1)).unwrap_err(), ParseError::TooManyMedia);
    assert_eq!(Description::parse(*b"<audio>\n").unwrap_err(), ParseError::NotSdp);
    assert!(
        Description::parse(b"m=\n".repeat(MAX_MEDIA)).unwrap().sdp().media().all(|media| media.is_none())
    );
}
