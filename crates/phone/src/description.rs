//! The session descriptions of a phone that speaks G.711 µ-law (RFC 8866, RFC 3264).

use std::net::{IpAddr, SocketAddr};

/// An offer or answer with one audio stream at `rtp`.
pub(crate) fn describe(rtp: SocketAddr, session: u64) -> Vec<u8> {
    let family = if rtp.is_ipv4() { "IP4" } else { "IP6" };
    let ip = rtp.ip();
    format!(
        "v=0\r\no=- {session} 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n",
        rtp.port()
    )
    .into_bytes()
}

/// Where the other side wants its audio, if it takes µ-law: the first audio stream with its own or the
/// session's address.
pub(crate) fn audio_target(body: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(body).ok()?;
    let (mut session, mut media, mut port) = (None, None, None);
    for line in text.lines() {
        match line.split_once('=')? {
            ("c", value) if port.is_none() => session = address(value),
            ("c", value) => media = address(value),
            ("m", _) if port.is_some() => break,
            ("m", value) => port = audio_port(value),
            _ => {}
        }
    }
    let ip = media.or(session).filter(|ip| !ip.is_unspecified())?;
    Some(SocketAddr::new(ip, port.filter(|port| *port != 0)?))
}

fn address(connection: &str) -> Option<IpAddr> {
    connection.split_whitespace().nth(2)?.split('/').next()?.parse().ok()
}

fn audio_port(media: &str) -> Option<u16> {
    let mut words = media.split_whitespace();
    let port = (words.next() == Some("audio")).then(|| words.next())??.parse().ok()?;
    words.skip(1).any(|format| format == "0").then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_level_address_wins() {
        let body = b"v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0\r\n\
                     c=IN IP4 192.0.2.2\r\nm=video 5000 RTP/AVP 96\r\nc=IN IP4 192.0.2.3\r\n";
        assert_eq!(audio_target(body), "192.0.2.2:4000".parse().ok());
        assert_eq!(audio_target(&body.map(|b| if b == b'0' { b'9' } else { b })), None);
        let own = describe("192.0.2.7:4002".parse().unwrap(), 1);
        assert_eq!(audio_target(&own), "192.0.2.7:4002".parse().ok());
    }
}
