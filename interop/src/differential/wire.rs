//! SIP messages as text, read by nothing of Causeway's: what is compared must not be read by what is tested.

use md5::{Digest, Md5};

/// One header line as it came, folds included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The long name in lower case.
    pub name: String,
    /// The value, unfolded and trimmed.
    pub value: String,
    /// The whole line without its last CRLF.
    pub raw: Vec<u8>,
}

/// A message.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    /// The start line.
    pub start: String,
    /// The header lines.
    pub lines: Vec<Line>,
    /// All after the empty line.
    pub body: Vec<u8>,
}

const COMPACT: &[(&str, &str)] = &[
    ("v", "via"),
    ("f", "from"),
    ("t", "to"),
    ("i", "call-id"),
    ("m", "contact"),
    ("l", "content-length"),
    ("c", "content-type"),
    ("s", "subject"),
    ("k", "supported"),
    ("e", "content-encoding"),
    ("o", "event"),
    ("r", "refer-to"),
    ("u", "allow-events"),
];

impl Wire {
    /// Reads a message; what cannot be read is left out.
    pub fn read(bytes: &[u8]) -> Self {
        let split = bytes.windows(4).position(|part| part == b"\r\n\r\n");
        let (head, body) = match split {
            Some(at) => (&bytes[..at], bytes[at + 4..].to_vec()),
            None => (bytes, Vec::new()),
        };
        let mut raw: Vec<Vec<u8>> = Vec::new();
        for line in head.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match raw.last_mut() {
                Some(last) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                    last.extend_from_slice(b"\r\n");
                    last.extend_from_slice(line);
                }
                _ => raw.push(line.to_vec()),
            }
        }
        let mut raw = raw.into_iter();
        let start = raw.next().map(|line| text(&line)).unwrap_or_default();
        Self { start, lines: raw.map(line).collect(), body }
    }

    /// All values of a header, those of one line apart where commas separate them.
    pub fn values(&self, name: &str) -> Vec<String> {
        let lines = self.lines.iter().filter(|line| line.name == name);
        lines.flat_map(|line| list(&line.value)).collect()
    }

    /// The first line's value.
    pub fn first(&self, name: &str) -> &str {
        self.lines.iter().find(|line| line.name == name).map_or("", |line| &line.value)
    }

    /// Of a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// Of a request.
    pub fn method(&self) -> &str {
        if self.status().is_some() { "" } else { self.start.split(' ').next().unwrap_or_default() }
    }

    /// Of a request.
    pub fn request_uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// CSeq number and method.
    pub fn cseq(&self) -> (u32, &str) {
        let mut words = self.first("cseq").split_whitespace();
        (words.next().and_then(|word| word.parse().ok()).unwrap_or(0), words.next().unwrap_or_default())
    }
}

fn line(raw: Vec<u8>) -> Line {
    let shown = text(&raw).replace("\r\n", " ");
    let (name, value) = shown.split_once(':').unwrap_or((&shown, ""));
    let name = name.trim().to_ascii_lowercase();
    let name = COMPACT.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| (*long).to_owned());
    Line { name, value: value.split_whitespace().collect::<Vec<_>>().join(" "), raw }
}

/// Latin-1, so that every byte stays visible.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Splits at commas outside quotes and angle brackets.
pub fn list(value: &str) -> Vec<String> {
    let (mut quoted, mut depth, mut parts) = (false, 0, vec![String::new()]);
    for char in value.chars() {
        match char {
            '"' => quoted = !quoted,
            '<' if !quoted => depth += 1,
            '>' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(char);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// A parameter of a header value, outside its angle brackets.
pub fn param(value: &str, name: &str) -> Option<String> {
    let outside = value.rsplit_once('>').map_or(value, |(_, rest)| rest);
    outside.split(';').skip(1).find_map(|param| {
        let (its, value) = param.split_once('=').unwrap_or((param, ""));
        its.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

/// An answer to a digest challenge, MD5 with qop auth (RFC 2617); the nonce is used for the first time.
pub fn answer(challenge: &str, user: &str, password: &str, method: &str, uri: &str) -> String {
    answer_counted(challenge, user, password, method, uri, 1)
}

/// The same for the `count`-th use of the nonce.
pub fn answer_counted(
    challenge: &str,
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
    count: u32,
) -> String {
    let get = |name: &str| {
        let at = challenge.find(&format!("{name}=\"")).map(|at| at + name.len() + 2)?;
        challenge.get(at..)?.split('"').next().map(str::to_owned)
    };
    let (realm, nonce) = (get("realm").unwrap_or_default(), get("nonce").unwrap_or_default());
    let ha1 = md5(&format!("{user}:{realm}:{password}"));
    let ha2 = md5(&format!("{method}:{uri}"));
    let response = md5(&format!("{ha1}:{nonce}:{count:08x}:c0ffee:auth:{ha2}"));
    format!(
        "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm=MD5, \
         qop=auth, nc={count:08x}, cnonce=\"c0ffee\", response=\"{response}\""
    )
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
