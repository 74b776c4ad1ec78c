//! The scripted far ends: they record what reaches them, and answer it.

use super::wire::{Wire, param};
use anyhow::{Context, Result};
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Addresses of the far ends: what is registered lies at the first, the last stands in a foreign place.
pub const CALLEES: [&str; 3] = ["127.0.7.3", "127.0.7.4", "127.0.7.5"];

/// What reached them: which of them, and the message.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<(usize, Wire)>>>);

impl Seen {
    /// What has come since the last time, for one Call-ID; the rest is from earlier cases and dropped.
    pub fn take(&self, call_id: &str) -> Vec<(usize, Wire)> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken: Vec<(usize, Wire)> = Vec::new();
        for (index, wire) in seen.drain(..) {
            let repeated = |other: &(usize, Wire)| {
                other.0 == index && other.1.start == wire.start && other.1.first("via") == wire.first("via")
            };
            if wire.first("call-id") == call_id && !taken.iter().any(repeated) {
                taken.push((index, wire));
            }
        }
        taken.sort_by_key(|(index, _)| *index);
        taken
    }
}

/// Starts them all.
pub fn start() -> Result<Seen> {
    let seen = Seen::default();
    for (index, address) in CALLEES.iter().enumerate() {
        let socket = UdpSocket::bind((*address, 5060)).with_context(|| (*address).to_owned())?;
        let seen = seen.clone();
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let wire = Wire::read(buffer.get(..length).unwrap_or_default());
                let answers = answers(index, &wire);
                if !wire.method().is_empty() {
                    seen.0.lock().unwrap_or_else(PoisonError::into_inner).push((index, wire));
                }
                for (number, answer) in answers.into_iter().enumerate() {
                    if number > 0 {
                        // Kamailio's workers may overtake one another.
                        thread::sleep(Duration::from_millis(15));
                    }
                    // What is lost is missing in the comparison.
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
    }
    Ok(seen)
}

/// INVITE rings and is picked up, except by `ring` and `busy`; everything else is answered 200.
fn answers(index: usize, wire: &Wire) -> Vec<Vec<u8>> {
    let user = wire.request_uri().split(['@', ':']).nth(1).unwrap_or_default().to_owned();
    match wire.method() {
        "" | "ACK" => Vec::new(),
        "INVITE" if user == "ring" => vec![respond(index, wire, "180 Ringing", "INVITE")],
        "INVITE" if user == "busy" => vec![respond(index, wire, "486 Busy Here", "INVITE")],
        "INVITE" => {
            vec![respond(index, wire, "180 Ringing", "INVITE"), respond(index, wire, "200 OK", "INVITE")]
        }
        "CANCEL" => vec![
            respond(index, wire, "200 OK", "CANCEL"),
            respond(index, wire, "487 Request Terminated", "INVITE"),
        ],
        method => vec![respond(index, wire, "200 OK", method)],
    }
}

fn respond(index: usize, wire: &Wire, status: &str, method: &str) -> Vec<u8> {
    let mut out = format!("SIP/2.0 {status}\r\n");
    let tagged = param(wire.first("to"), "tag").is_some();
    for line in &wire.lines {
        match line.name.as_str() {
            "via" | "from" | "call-id" | "record-route" => {
                out.push_str(&format!("{}: {}\r\n", line.name, line.value));
            }
            "to" if tagged => out.push_str(&format!("To: {}\r\n", line.value)),
            "to" => out.push_str(&format!("To: {};tag=callee{index}\r\n", line.value)),
            _ => {}
        }
    }
    out.push_str(&format!("CSeq: {} {method}\r\n", wire.cseq().0));
    out.push_str(&format!("Contact: <sip:callee@{}:5060>\r\nContent-Length: 0\r\n\r\n", CALLEES[index]));
    out.into_bytes()
}
