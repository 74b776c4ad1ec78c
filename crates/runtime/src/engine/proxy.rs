//! Asking an HTTP proxy to connect to somebody else (RFC 9110 §9.3.6), before anything runs on the connection.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use causeway_node::Through;
use zeroize::Zeroizing;

/// The longest response head that is taken.
const LONGEST: usize = 8 * 1024;

/// A proxy's answer as far as it has come.
#[derive(Debug, Default)]
pub struct Asked {
    head: Vec<u8>,
}

/// What has come of asking.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// The answer is not complete.
    More,
    /// The connection leads on; what came behind the answer is the other end's.
    Through(Vec<u8>),
    /// It does not, and why.
    Refused(String),
}

/// The request. Its bytes hold the password.
pub fn request(through: &Through) -> Zeroizing<Vec<u8>> {
    let host = match through.host.contains(':') {
        true => format!("[{}]:{}", through.host, through.port),
        false => format!("{}:{}", through.host, through.port),
    };
    let mut text = Zeroizing::new(format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n").into_bytes());
    if let Some((user, password)) = &through.credentials {
        let pair = Zeroizing::new(format!("{user}:{password}"));
        let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        text.extend_from_slice(b"Proxy-Authorization: Basic ");
        text.extend_from_slice(encoded.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
    text
}

impl Asked {
    /// Takes bytes from the proxy.
    pub fn take(&mut self, bytes: &[u8]) -> Said {
        self.head.extend_from_slice(bytes);
        let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else {
            return match self.head.len() > LONGEST || !may_be_http(&self.head) {
                true => Said::Refused("what answers is no HTTP proxy".to_owned()),
                false => Said::More,
            };
        };
        let line = self.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        let mut words = line.splitn(3, ' ');
        let version = words.next().unwrap_or_default();
        let status: Option<u16> = words.next().and_then(|status| status.parse().ok());
        match status {
            Some(200..=299) if version.starts_with("HTTP/1.") => Said::Through(self.head.split_off(end + 4)),
            // Some proxies answer 401 to wrong credentials.
            Some(status @ (401 | 407)) if version.starts_with("HTTP/1.") => {
                Said::Refused(format!("the HTTP proxy wants a user and a password, or other ones ({status})"))
            }
            Some(status) if version.starts_with("HTTP/1.") => {
                let reason: String = words.next().unwrap_or_default().chars().take(100).collect();
                Said::Refused(format!("the HTTP proxy refuses: {status} {reason}"))
            }
            _ => Said::Refused("what answers is no HTTP proxy".to_owned()),
        }
    }
}

/// Whether a beginning can be that of a status line.
fn may_be_http(head: &[u8]) -> bool {
    head.iter().zip(b"HTTP/1.").all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(credentials: Option<(&str, &str)>) -> Through {
        let credentials = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
        Through { host: "contact.example.com".into(), port: 443, credentials }
    }

    #[test]
    fn the_request() {
        assert_eq!(
            &*request(&through(None)),
            b"CONNECT contact.example.com:443 HTTP/1.1\r\nHost: contact.example.com:443\r\n\r\n"
        );
        // The example of RFC 7617 §2.
        let text = request(&through(Some(("Aladdin", "open sesame"))));
        let line = "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n";
        assert!(String::from_utf8_lossy(&text).contains(line));
        let v6 = Through { host: "2001:db8::1".into(), ..through(None) };
        assert!(
            request(&v6).starts_with(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n")
        );
        assert!(!format!("{:?}", through(Some(("u", "hunter2")))).contains("hunter2"));
    }

    #[test]
    fn answers_cut_anywhere() {
        let whole = b"HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r\n\x16\x03";
        for cut in 0..whole.len() - 2 {
            let mut asked = Asked::default();
            assert_eq!(asked.take(&whole[..cut]), Said::More, "{cut}");
            assert_eq!(asked.take(&whole[cut..]), Said::Through(vec![0x16, 3]), "{cut}");
        }
    }

    #[test]
    fn refusals() {
        let said = |text: &str| match Asked::default().take(text.as_bytes()) {
            Said::Refused(why) => why,
            other => panic!("{text}: {other:?}"),
        };
        assert!(said("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").contains("password"));
        assert!(said("HTTP/1.1 403 Filtered\r\n\r\n").contains("403 Filtered"));
        assert!(said("HTTP/2 200\r\n\r\n").contains("no HTTP proxy"));
        assert!(said("SSH-2.0-x\r\n").contains("no HTTP proxy"));
        assert!(said("\x15\x03\x03").contains("no HTTP proxy"));
        assert!(said(&format!("HTTP/1.1 200 {}", "x".repeat(9000))).contains("no HTTP proxy"));
        assert!(said("HTTP/1.1 200x\r\n\r\n").contains("no HTTP proxy"));
    }
}
