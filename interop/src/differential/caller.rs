//! The near end: plays a script and notes what came of it.

use super::SERVER;
use super::callee::Seen;
use super::cases::{Script, Step};
use super::wire::{Wire, answer, param};
use anyhow::{Context, Result};
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

/// Where the near end stands.
pub const CALLER: &str = "127.0.7.2:5060";
/// How long an answer may take before it counts as none.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long something may be on its way that is not answered.
const FLIGHT: Duration = Duration::from_millis(40);

/// What came of one step.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Method of the request.
    pub method: String,
    /// The request that counted: after a challenge, the one with credentials.
    pub sent: Wire,
    /// Whether it was challenged first.
    pub challenged: bool,
    /// Provisional answers.
    pub provisional: Vec<u16>,
    /// The final answer.
    pub last: Option<Wire>,
    /// What reached the far ends.
    pub reached: Vec<(usize, Wire)>,
}

/// The near end.
pub struct Caller {
    socket: UdpSocket,
    seen: Seen,
}

/// What later requests of a script take from earlier answers.
#[derive(Default)]
struct Dialog {
    target: String,
    routes: Vec<String>,
    to: String,
    cseq: u32,
    /// Branch and CSeq of the last INVITE, for its CANCEL.
    invite: (String, u32),
}

impl Caller {
    pub fn new(seen: Seen) -> Result<Self> {
        let socket = UdpSocket::bind(CALLER).context(CALLER)?;
        socket.set_read_timeout(Some(Duration::from_millis(5)))?;
        Ok(Self { socket, seen })
    }

    /// Plays a script.
    pub fn play(&self, script: &Script) -> Result<Vec<Outcome>> {
        let mut dialog = Dialog { cseq: 1, ..Dialog::default() };
        let mut outcomes = Vec::new();
        for (number, step) in script.steps.iter().enumerate() {
            let branch = format!("z9hG4bKd{}x{number}", script.id);
            let text = fill(&step.text, &branch, &dialog);
            let outcome = self.step(step, &text, &branch)?;
            if outcome.method == "INVITE" {
                let via = outcome.sent.values("via").first().cloned().unwrap_or_default();
                dialog.invite = (param(&via, "branch").unwrap_or_default(), outcome.sent.cseq().0);
            }
            let (picked_up, last) = (invited(&outcome), outcome.last.clone());
            outcomes.push(outcome);
            if let (true, Some(last)) = (picked_up, last) {
                dialog = after(&last, dialog);
                outcomes.push(self.end(&dialog, &branch, "ACK", script)?);
            }
        }
        if !dialog.target.is_empty() {
            dialog.cseq += 10;
            outcomes.push(self.end(&dialog, &format!("z9hG4bKd{}bye", script.id), "BYE", script)?);
        }
        // What comes late must not count for the next script.
        self.drain();
        Ok(outcomes)
    }

    fn end(&self, dialog: &Dialog, branch: &str, method: &str, script: &Script) -> Result<Outcome> {
        let branch = format!("{branch}{}", method.to_ascii_lowercase());
        let text = format!(
            "{method} {{target}} SIP/2.0\r\nVia: SIP/2.0/UDP {CALLER};branch={{branch}}\r\n{{routes}}\
             Max-Forwards: 70\r\nFrom: <sip:alice@op.example>;tag=a\r\nTo: {{to}}\r\n\
             Call-ID: {}\r\nCSeq: {{cseq}} {method}\r\nContent-Length: 0\r\n\r\n",
            script.call_id()
        );
        let step = Step { text: text.into_bytes(), user: "alice".to_owned() };
        self.step(&step, &fill(&step.text, &branch, dialog), &branch)
    }

    /// Sends a request; after a challenge once more, with credentials.
    fn step(&self, step: &Step, text: &[u8], branch: &str) -> Result<Outcome> {
        let mut outcome = self.send(text)?;
        let status = outcome.last.as_ref().and_then(Wire::status);
        if !matches!(status, Some(401 | 407)) {
            return Ok(outcome);
        }
        let Some(last) = outcome.last.take() else { return Ok(outcome) };
        let (header, challenge) = match status {
            Some(401) => ("Authorization", last.first("www-authenticate")),
            _ => ("Proxy-Authorization", last.first("proxy-authenticate")),
        };
        let uri = outcome.sent.request_uri().to_owned();
        let value = answer(challenge, &step.user, "secret", &outcome.method, &uri);
        let (number, method) = outcome.sent.cseq();
        let cseq = (format!("CSeq: {number} {method}"), format!("CSeq: {} {method}", number + 1));
        let again = replace(text, branch.as_bytes(), format!("{branch}again").as_bytes());
        let again = replace(&again, cseq.0.as_bytes(), cseq.1.as_bytes());
        let end = again.windows(2).position(|part| part == b"\r\n").map_or(0, |at| at + 2);
        let (start, rest) = again.split_at(end);
        let again = [start, format!("{header}: {value}\r\n").as_bytes(), rest].concat();
        outcome = self.send(&again)?;
        outcome.challenged = true;
        Ok(outcome)
    }

    fn send(&self, text: &[u8]) -> Result<Outcome> {
        let sent = Wire::read(text.strip_prefix(b"\r\n\r\n").unwrap_or(text));
        let (method, call_id) = (sent.method().to_owned(), sent.first("call-id").to_owned());
        let mut outcome = Outcome { method: method.clone(), sent, ..Outcome::default() };
        self.socket.send_to(text, SERVER)?;
        let ringing = outcome.sent.request_uri().starts_with("sip:ring@") && method == "INVITE";
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && !done(&outcome) && method != "ACK" {
            let Some(wire) = self.receive() else { continue };
            // What comes late for an earlier script is not this one's.
            if wire.first("call-id") != call_id {
                continue;
            }
            let status = wire.status().unwrap_or(0);
            let its = wire.cseq().1 == outcome.sent.cseq().1 || outcome.sent.cseq().1 != method;
            match status {
                100..200 if its => {
                    outcome.provisional.push(status);
                    if ringing && status == 180 {
                        break;
                    }
                }
                200.. if its => outcome.last = Some(wire),
                // The end of the INVITE that this cancels.
                200.. if method == "CANCEL" => {
                    outcome.provisional.push(status);
                    self.acknowledge(&outcome.sent, &wire)?;
                }
                _ => {}
            }
        }
        if let Some(last) =
            outcome.last.as_ref().filter(|last| method == "INVITE" && last.status() >= Some(300))
        {
            self.acknowledge(&outcome.sent, last)?;
        }
        thread::sleep(if method == "ACK" { FLIGHT } else { FLIGHT / 4 });
        outcome.reached = self.seen.take(&call_id);
        // The server's own ACK of a refusal is its transaction's business, not the request's.
        outcome.reached.retain(|(_, wire)| method == "ACK" || wire.method() != "ACK");
        Ok(outcome)
    }

    /// The ACK of a refusal (RFC 3261 §17.1.1.3).
    fn acknowledge(&self, sent: &Wire, last: &Wire) -> Result<()> {
        let mut ack = format!("ACK {} SIP/2.0\r\n", sent.request_uri());
        let via = sent.lines.iter().find(|line| line.name == "via").map_or("", |line| &line.value);
        ack.push_str(&format!(
            "Via: {}\r\nMax-Forwards: 70\r\n",
            super::wire::list(via).first().map_or("", |v| v)
        ));
        ack.push_str(&format!("From: {}\r\nTo: {}\r\n", sent.first("from"), last.first("to")));
        ack.push_str(&format!("Call-ID: {}\r\nCSeq: {} ACK\r\n", sent.first("call-id"), sent.cseq().0));
        ack.push_str("Content-Length: 0\r\n\r\n");
        self.socket.send_to(ack.as_bytes(), SERVER)?;
        Ok(())
    }

    fn receive(&self) -> Option<Wire> {
        let mut buffer = [0; 65536];
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.get(..length).map(Wire::read)
    }

    fn drain(&self) {
        while self.receive().is_some() {}
    }
}

/// Whether all answers are there: to a CANCEL, that of its INVITE as well.
fn done(outcome: &Outcome) -> bool {
    let status = outcome.last.as_ref().and_then(Wire::status);
    let waits = outcome.method == "CANCEL" && status == Some(200) && outcome.provisional.is_empty();
    status.is_some() && !waits
}

fn invited(outcome: &Outcome) -> bool {
    let status = outcome.last.as_ref().and_then(Wire::status);
    outcome.method == "INVITE" && status == Some(200) && outcome.sent.cseq().1 == "INVITE"
}

/// What a dialog's later requests need (§12.1.2); a re-INVITE changes the target, not the routes (§12.2).
fn after(answer: &Wire, before: Dialog) -> Dialog {
    let contact = answer.first("contact");
    let target = contact.split(['<', '>']).nth(1).unwrap_or(contact).to_owned();
    let mut routes = before.routes;
    if before.target.is_empty() {
        routes = answer.values("record-route");
        // What the caller has put there itself is no hop between it and the server.
        routes.retain(|route| !route.contains("192.0.2.77"));
        routes.reverse();
    }
    Dialog { target, routes, to: answer.first("to").to_owned(), cseq: answer.cseq().0, invite: before.invite }
}

fn fill(text: &[u8], branch: &str, dialog: &Dialog) -> Vec<u8> {
    let routes: String = dialog.routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
    let next = (dialog.cseq + 5).to_string();
    let pairs: [(&str, &str); 8] = [
        ("{invite-branch}", &dialog.invite.0),
        ("{invite-cseq}", &dialog.invite.1.to_string()),
        ("{branch}", branch),
        ("{target}", &dialog.target),
        ("{routes}", &routes),
        ("{to}", &dialog.to),
        ("{cseq}", &dialog.cseq.to_string()),
        ("{next}", &next),
    ];
    pairs.iter().fold(text.to_vec(), |text, (from, to)| replace(&text, from.as_bytes(), to.as_bytes()))
}

/// Replaces every occurrence.
pub fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(from.len().max(1)).position(|part| part == from) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    out.extend_from_slice(rest);
    out
}
