//! What is sent: generated from a seed, so that every run sends the same.

/// One request; `{branch}`, `{target}`, `{routes}`, `{to}`, `{cseq}` and others are filled in when it is sent.
#[derive(Clone, Debug)]
pub struct Step {
    pub text: Vec<u8>,
    /// Who answers a challenge.
    pub user: String,
}

/// Requests that belong together.
#[derive(Clone, Debug)]
pub struct Script {
    pub id: usize,
    /// What is peculiar about it, for people and for the table of differences.
    pub traits: Vec<String>,
    pub steps: Vec<Step>,
}

impl Script {
    /// The Call-ID of all its requests.
    pub fn call_id(&self) -> String {
        format!("case{}@caller.example", self.id)
    }
}

/// splitmix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Request-URIs outside a dialog.
const URIS: &[(&str, &str)] = &[
    ("user", "sip:bob@op.example"),
    ("user", "sip:bob@op.example"),
    ("two contacts", "sip:both@op.example"),
    ("busy", "sip:busy@op.example"),
    ("unregistered", "sip:carol@op.example"),
    ("no such user", "sip:nemo@op.example"),
    ("sips", "sips:bob@op.example"),
    ("tel", "tel:+358-9-123"),
    ("escaped", "sip:%62ob@op.example"),
    ("upper-case domain", "sip:bob@OP.Example"),
    ("upper-case user", "sip:Bob@op.example"),
    ("params", "sip:bob@op.example;user=phone;x-y=%41"),
    ("password", "sip:bob:pw@op.example"),
    ("headers", "sip:bob@op.example?Subject=hello"),
    ("address of the server", "sip:bob@127.0.7.1"),
    ("address and port", "sip:bob@127.0.7.1:5060"),
    ("domain and port", "sip:bob@op.example:5060"),
    ("domain and other port", "sip:bob@op.example:5999"),
    ("no user", "sip:op.example"),
    ("foreign address", "sip:dave@127.0.7.5:5060"),
    ("foreign address, params", "sip:dave@127.0.7.5;transport=udp;x=1"),
    ("maddr", "sip:bob@op.example;maddr=127.0.7.5"),
    ("other scheme", "http://op.example/bob"),
    ("transport of its own", "sip:dave@127.0.7.5;transport=sctp"),
];

const METHODS: &[&str] =
    &["INVITE", "INVITE", "MESSAGE", "OPTIONS", "SUBSCRIBE", "INFO", "PUBLISH", "REFER", "PING", "UPDATE"];

/// A change: its name, and what is done to the text of a request.
type Change = (&'static str, fn(String) -> String);

/// How the header is changed.
const CHANGES: &[Change] = &[
    ("Max-Forwards 0", |t| t.replace("Max-Forwards: 70", "Max-Forwards: 0")),
    ("Max-Forwards 1", |t| t.replace("Max-Forwards: 70", "Max-Forwards: 1")),
    ("Max-Forwards 255", |t| t.replace("Max-Forwards: 70", "Max-Forwards: 255")),
    ("Max-Forwards missing", |t| t.replace("Max-Forwards: 70\r\n", "")),
    ("Max-Forwards no number", |t| t.replace("Max-Forwards: 70", "Max-Forwards: seventy")),
    ("Proxy-Require", |t| t.replace("Contact:", "Proxy-Require: nothing-known\r\nContact:")),
    ("Require", |t| t.replace("Contact:", "Require: nothing-known\r\nContact:")),
    ("Supported", |t| t.replace("Contact:", "Supported: 100rel, timer\r\nk: path\r\nContact:")),
    ("rport", |t| t.replace(";branch=", ";rport;branch=")),
    ("other sent-by", |t| t.replace("UDP 127.0.7.2:5060", "UDP caller.example:5060")),
    ("several Vias", |t| {
        t.replace(
            "Max-F",
            "Via: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bK7;received=192.0.2.8, SIP/2.0/UDP 192.0.2.9\r\nMax-F",
        )
    }),
    ("compact Via", |t| t.replace("Via: SIP/2.0/UDP ", "v: SIP / 2.0 / UDP ")),
    ("old branch", |t| t.replace("z9hG4bK", "old")),
    ("compact names", |t| {
        t.replace("From:", "f:")
            .replace("To:", "t:")
            .replace("Call-ID:", "i:")
            .replace("Contact:", "m:")
            .replace("Content-Length:", "l:")
    }),
    ("odd spelling", |t| t.replace("From: ", "fRoM :\t").replace("Call-ID: ", "CALL-ID:")),
    ("fold", |t| t.replace("Contact:", "Subject: one\r\n two\r\n\tthree\r\nContact:")),
    ("folded To", |t| t.replace("To: ", "To:\r\n ")),
    ("unknown headers", |t| t.replace("Contact:", "X-Odd: a;b=\"c,d\"\r\nx_2-3: \u{e9}\u{ff}\r\nContact:")),
    ("Content-Length missing", |t| t.replace("Content-Length: 0\r\n", "")),
    ("Content-Length too large", |t| t.replace("Content-Length: 0", "Content-Length: 100")),
    ("Content-Length no number", |t| t.replace("Content-Length: 0", "Content-Length: -1")),
    ("Content-Length twice", |t| t.replace("Content-Length: 0", "Content-Length: 0\r\nContent-Length: 5")),
    ("text after the body", |t| t + "more than was promised"),
    ("body", |t| {
        t.replace(
            "Content-Length: 0\r\n\r\n",
            "Content-Type: x/y\r\nContent-Length: 9\r\n\r\na\r\n\u{0}\u{ff}b\r\nz",
        )
    }),
    ("Record-Route there", |t| t.replace("Contact:", "Record-Route: <sip:192.0.2.77;lr>\r\nContact:")),
    ("Route to the server", |t| t.replace("Contact:", "Route: <sip:127.0.7.1;lr>\r\nContact:")),
    ("Route to the domain", |t| t.replace("Contact:", "Route: <sip:op.example;lr>\r\nContact:")),
    ("Route elsewhere", |t| t.replace("Contact:", "Route: <sip:127.0.7.4;lr>\r\nContact:")),
    ("Route over the server elsewhere", |t| {
        t.replace("Contact:", "Route: <sip:127.0.7.1;lr>, <sip:127.0.7.4;lr>\r\nContact:")
    }),
    ("no From tag", |t| t.replace(";tag=a", "")),
    ("no Call-ID", |t| t.replace("Call-ID:", "X-Call-ID:")),
    ("no CSeq", |t| t.replace("CSeq:", "X-CSeq:")),
    ("other method in CSeq", |t| t.replace("CSeq: 1 ", "CSeq: 1 X")),
    ("CSeq too large", |t| t.replace("CSeq: 1 ", "CSeq: 4294967296 ")),
    ("two Call-IDs", |t| t.replace("Contact:", "Call-ID: another\r\nContact:")),
    ("SIP/3.0", |t| t.replacen("SIP/2.0", "SIP/3.0", 1)),
    ("empty lines first", |t| format!("\r\n\r\n{t}")),
    ("quoted From", |t| t.replace("From: <", "From: \"A \\\"<;,>\" <")),
    ("From of another domain", |t| t.replace("From: <sip:alice@op.example>", "From: <sip:eve@else.example>")),
    ("From of another user", |t| t.replace("From: <sip:alice@", "From: <sip:bob@")),
];

/// Variants of REGISTER: name, header lines after Call-ID, and whether it is valid after the ones before.
const REGISTERS: &[(&str, &[&str])] = &[
    ("fetch", &["CSeq: 1 REGISTER"]),
    ("one contact", &["CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3>", "CSeq: 7 REGISTER"]),
    (
        "q",
        &[
            "CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3>;q=0.3, <sip:x@127.0.7.4>;q=0.7\r\nExpires: 600",
            "CSeq: 7 REGISTER",
        ],
    ),
    ("expires in Contact", &["CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3>;expires=120\r\nExpires: 600"]),
    ("short", &["CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3>\r\nExpires: 10"]),
    ("long", &["CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3>\r\nExpires: 999999"]),
    ("no expires", &["CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3>"]),
    ("expires no number", &["CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3>;expires=soon"]),
    (
        "one goes",
        &[
            "CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3>, <sip:y@127.0.7.3>",
            "CSeq: 7 REGISTER\r\nContact: <sip:x@127.0.7.3>;expires=0",
        ],
    ),
    (
        "all go",
        &[
            "CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3>, <sip:y@127.0.7.3>",
            "CSeq: 7 REGISTER\r\nContact: *\r\nExpires: 0",
            "CSeq: 12 REGISTER",
        ],
    ),
    ("star without Expires", &["CSeq: 1 REGISTER\r\nContact: *"]),
    ("star with Expires 5", &["CSeq: 1 REGISTER\r\nContact: *\r\nExpires: 5"]),
    ("star and another", &["CSeq: 1 REGISTER\r\nContact: *, <sip:x@127.0.7.3>\r\nExpires: 0"]),
    (
        "CSeq goes back",
        &[
            "CSeq: 9 REGISTER\r\nContact: <sip:x@127.0.7.3>",
            "CSeq: 5 REGISTER\r\nContact: <sip:x@127.0.7.3>;expires=0",
            "CSeq: 20 REGISTER",
        ],
    ),
    (
        "refresh",
        &[
            "CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3>\r\nExpires: 600",
            "CSeq: 7 REGISTER\r\nContact: <sip:x@127.0.7.3>\r\nExpires: 1200",
        ],
    ),
    (
        "equal contact, other spelling",
        &[
            "CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3>",
            "CSeq: 7 REGISTER\r\nContact: <sip:%78@127.0.7.3>",
            "CSeq: 12 REGISTER",
        ],
    ),
    ("contact without brackets", &["CSeq: 1 REGISTER\r\nContact: sip:x@127.0.7.3;expires=300"]),
    (
        "contact params",
        &[
            "CSeq: 1 REGISTER\r\nm: \"X\" <sip:x@127.0.7.3;transport=udp>;+sip.instance=\"<urn:uuid:1>\";x=1",
            "CSeq: 7 REGISTER",
        ],
    ),
    ("tel contact", &["CSeq: 1 REGISTER\r\nContact: <tel:+3589>"]),
    ("unreadable contact", &["CSeq: 1 REGISTER\r\nContact: <sip:x@127.0.7.3"]),
    ("Require", &["CSeq: 1 REGISTER\r\nRequire: nothing-known\r\nContact: <sip:x@127.0.7.3>"]),
    (
        "Path",
        &["CSeq: 1 REGISTER\r\nSupported: path\r\nPath: <sip:127.0.7.4;lr>\r\nContact: <sip:x@127.0.7.3>"],
    ),
    ("seventeen contacts", &[SEVENTEEN]),
];

const SEVENTEEN: &str = "CSeq: 1 REGISTER\r\nContact: <sip:1@h>,<sip:2@h>,<sip:3@h>,<sip:4@h>,<sip:5@h>,<sip:6@h>,\
    <sip:7@h>,<sip:8@h>,<sip:9@h>,<sip:10@h>,<sip:11@h>,<sip:12@h>,<sip:13@h>,<sip:14@h>,<sip:15@h>,<sip:16@h>,<sip:17@h>";

/// Requests within a dialog.
const INSIDE: &[(&str, &str)] = &[
    ("BYE", ""),
    ("INFO", ""),
    ("MESSAGE", ""),
    ("UPDATE", ""),
    ("INVITE", "Contact: <sip:alice@127.0.7.2>\r\n"),
    ("NOTIFY", "Event: x\r\nSubscription-State: active\r\nContact: <sip:alice@127.0.7.2>\r\n"),
    ("REFER", "Refer-To: <sip:x@y>\r\nContact: <sip:alice@127.0.7.2>\r\n"),
    ("PING", ""),
];

/// Requests that belong to nothing: name, method, tag of To, Route.
const OUTSIDE: &[(&str, &str, &str, &str)] = &[
    ("ACK without a dialog", "ACK", ";tag=x", ""),
    ("ACK without a tag", "ACK", "", ""),
    ("ACK with a Route of its own", "ACK", ";tag=x", "Route: <sip:127.0.7.1;lr>\r\n"),
    ("CANCEL of nothing", "CANCEL", "", ""),
    ("BYE without a dialog", "BYE", ";tag=x", ""),
    ("BYE with a Route of its own", "BYE", ";tag=x", "Route: <sip:127.0.7.1;lr>\r\n"),
    ("INFO without a dialog", "INFO", ";tag=x", ""),
    ("INVITE without a dialog", "INVITE", ";tag=x", ""),
    (
        "re-INVITE with a Route elsewhere",
        "INVITE",
        ";tag=x",
        "Route: <sip:127.0.7.1;lr>, <sip:127.0.7.5;lr>\r\n",
    ),
];

/// So many scripts from this seed.
pub fn generate(seed: u64, count: usize) -> Vec<Script> {
    let mut dice = Dice(seed);
    let mut scripts = Vec::with_capacity(count);
    // Every variant once, then whatever the dice say.
    for index in 0..REGISTERS.len() {
        scripts.push(register(scripts.len(), index));
    }
    for index in 0..OUTSIDE.len() {
        scripts.push(outside(scripts.len(), index, &mut dice));
    }
    for (number, (name, _)) in CHANGES.iter().enumerate() {
        let method = if number % 2 == 0 { "INVITE" } else { "MESSAGE" };
        scripts.push(single(scripts.len(), method, URIS[0], &[name]));
    }
    for uri in URIS {
        scripts.push(single(scripts.len(), dice.pick(&["INVITE", "MESSAGE"]), *uri, &[]));
        scripts.push(single(scripts.len(), "OPTIONS", *uri, &[]));
    }
    for (method, extra) in INSIDE {
        scripts.push(inside(scripts.len(), method, extra, &[]));
    }
    for user in ["ring", "bob"] {
        scripts.push(cancelled(scripts.len(), user));
    }
    while scripts.len() < count {
        let (id, changes) = (scripts.len(), [dice.pick(CHANGES).0, dice.pick(CHANGES).0]);
        let changes = &changes[..1 + dice.below(2)];
        let script = match dice.below(10) {
            0 => register(id, dice.below(REGISTERS.len())),
            1 => outside(id, dice.below(OUTSIDE.len()), &mut dice),
            2 | 3 => {
                let (method, extra) = dice.pick(INSIDE);
                inside(id, method, extra, changes)
            }
            _ => single(id, dice.pick(METHODS), dice.pick(URIS), changes),
        };
        scripts.push(script);
    }
    scripts
}

fn request(id: usize, method: &str, uri: &str, to: &str, extra: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.7.2:5060;branch={{branch}}\r\n{extra}Max-Forwards: 70\r\n\
         From: <sip:alice@op.example>;tag=a\r\nTo: {to}\r\nCall-ID: case{id}@caller.example\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:alice@127.0.7.2:5060>\r\nContent-Length: 0\r\n\r\n"
    )
}

fn change(text: String, changes: &[&str]) -> Vec<u8> {
    let change = |text, name: &&str| {
        let found = CHANGES.iter().find(|(its, _)| its == name);
        found.map_or_else(String::new, |(_, change)| change(text))
    };
    latin_1(&changes.iter().fold(text, change))
}

/// Characters up to U+00FF as one byte each.
fn latin_1(text: &str) -> Vec<u8> {
    text.chars().map(|char| u8::try_from(u32::from(char)).unwrap_or(b'?')).collect()
}

fn step(text: Vec<u8>, user: &str) -> Step {
    Step { text, user: user.to_owned() }
}

fn single(id: usize, method: &str, (name, uri): (&str, &str), changes: &[&str]) -> Script {
    let to = if uri.starts_with("sip") && !uri.contains('?') {
        format!("<{uri}>")
    } else {
        "<sip:x@y>".to_owned()
    };
    let event = if method == "SUBSCRIBE" || method == "PUBLISH" { "Event: x-odd\r\n" } else { "" };
    let text = request(id, method, uri, &to, event);
    let traits =
        std::iter::once(method).chain([name]).chain(changes.iter().copied()).map(str::to_owned).collect();
    Script { id, traits, steps: vec![step(change(text, changes), "alice")] }
}

fn register(id: usize, index: usize) -> Script {
    let (name, variants) = REGISTERS[index];
    let user = format!("r{id}");
    let text = |(number, variant): (usize, &&str)| {
        let text = format!(
            "REGISTER sip:op.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.7.2:5060;branch={{branch}}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@op.example>;tag=r{number}\r\nTo: <sip:{user}@op.example>\r\n\
             Call-ID: case{id}@caller.example\r\n{variant}\r\nContent-Length: 0\r\n\r\n"
        );
        step(text.into_bytes(), &user)
    };
    let traits = vec!["REGISTER".to_owned(), format!("REGISTER: {name}")];
    Script { id, traits, steps: variants.iter().enumerate().map(text).collect() }
}

/// The registration of a far end.
pub fn registration(id: usize, user: &str, contacts: &str) -> Script {
    let text = format!(
        "REGISTER sip:op.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.7.2:5060;branch={{branch}}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{user}@op.example>;tag=r\r\nTo: <sip:{user}@op.example>\r\n\
         Call-ID: case{id}@caller.example\r\nCSeq: 1 REGISTER\r\nContact: {contacts}\r\nExpires: 3600\r\n\
         Content-Length: 0\r\n\r\n"
    );
    Script { id, traits: Vec::new(), steps: vec![step(text.into_bytes(), user)] }
}

fn outside(id: usize, index: usize, dice: &mut Dice) -> Script {
    let (name, method, tag, route) = OUTSIDE[index];
    let uri = dice.pick(&["sip:bob@op.example", "sip:dave@127.0.7.5:5060", "sip:callee@127.0.7.3:5060"]);
    let text = request(id, method, uri, &format!("<{uri}>{tag}"), route);
    let traits =
        vec![method.to_owned(), name.to_owned(), format!("to {}", uri.split('@').nth(1).unwrap_or_default())];
    Script { id, traits, steps: vec![step(text.into_bytes(), "alice")] }
}

fn invite(id: usize, user: &str) -> Step {
    let uri = format!("sip:{user}@op.example");
    step(request(id, "INVITE", &uri, &format!("<{uri}>"), "").into_bytes(), "alice")
}

fn inside(id: usize, method: &str, extra: &str, changes: &[&str]) -> Script {
    let text = format!(
        "{method} {{target}} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.7.2:5060;branch={{branch}}\r\n{{routes}}\
         Max-Forwards: 70\r\nFrom: <sip:alice@op.example>;tag=a\r\nTo: {{to}}\r\n\
         Call-ID: case{id}@caller.example\r\nCSeq: {{next}} {method}\r\n{extra}Content-Length: 0\r\n\r\n"
    );
    let traits =
        [method, "within a dialog"].into_iter().chain(changes.iter().copied()).map(str::to_owned).collect();
    Script { id, traits, steps: vec![invite(id, "bob"), step(change(text, changes), "alice")] }
}

fn cancelled(id: usize, user: &str) -> Script {
    let text = format!(
        "CANCEL sip:{user}@op.example SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.7.2:5060;branch={{invite-branch}}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@op.example>;tag=a\r\nTo: <sip:{user}@op.example>\r\n\
         Call-ID: case{id}@caller.example\r\nCSeq: {{invite-cseq}} CANCEL\r\nContent-Length: 0\r\n\r\n"
    );
    let name = if user == "ring" { "CANCEL while it rings" } else { "CANCEL after the answer" };
    let traits = vec!["CANCEL".to_owned(), name.to_owned()];
    Script { id, traits, steps: vec![invite(id, user), step(text.into_bytes(), "alice")] }
}
