//! The operator's SIP server, as far as calls need one: a registrar that accepts, a proxy to who has registered, and
//! somebody who takes all other calls.

use crate::load::{describe, target};
use anyhow::{Context, Result};
use causeway_sip::{Edit, HeaderId, Message, Method, response_to};
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Where the packets for those who take calls go, by Call-ID: what their offers said.
type Told = Arc<Mutex<HashMap<Vec<u8>, SocketAddr>>>;

/// A running server; it ends with this.
pub struct Operator {
    told: Told,
    /// Where who takes the calls wants his packets, in the order of the calls.
    media: Arc<Mutex<Vec<SocketAddr>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Server {
    socket: UdpSocket,
    local: SocketAddr,
    /// Whether REGISTER needs credentials; any will do.
    challenges: bool,
    bindings: HashMap<Vec<u8>, Vec<u8>>,
    told: Told,
    media: Arc<Mutex<Vec<SocketAddr>>>,
    answers: HashMap<Vec<u8>, Vec<u8>>,
}

impl Operator {
    pub fn start(local: SocketAddr, challenges: bool) -> Result<Self> {
        let socket = UdpSocket::bind(local).with_context(|| local.to_string())?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut operator =
            Self { told: Told::default(), media: Arc::default(), stop: Arc::default(), thread: None };
        let (told, media) = (operator.told.clone(), operator.media.clone());
        let (bindings, answers) = (HashMap::new(), HashMap::new());
        let mut server = Server { socket, local, challenges, bindings, told, media, answers };
        let stop = operator.stop.clone();
        operator.thread = Some(thread::spawn(move || {
            let mut buffer = [0; 65536];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = server.socket.recv_from(&mut buffer) else { continue };
                if let Ok(message) = Message::parse(&buffer[..length]) {
                    // What is lost is asked for again.
                    let _ = server.take(&message, from);
                }
            }
        }));
        Ok(operator)
    }

    /// Where those who take the next calls want their packets.
    pub fn expect(&self, mut media: Vec<SocketAddr>) {
        media.reverse();
        *self.media.lock().unwrap_or_else(PoisonError::into_inner) = media;
    }

    /// Where the packets go for who has called so.
    pub fn told(&self, call: &str) -> Result<SocketAddr> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(call.as_bytes()).copied().with_context(|| format!("the server never saw {call}"))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Its address is free for the next one then.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Server {
    fn take(&mut self, message: &Message, from: SocketAddr) -> Option<()> {
        let msg = message.msg();
        if !msg.is_request() {
            return self.back(message);
        }
        let answer = match msg.method() {
            Method::Register if self.challenges && !msg.has(HeaderId::Authorization) => {
                let challenge = "Digest realm=\"bench.example\", nonce=\"n\", algorithm=MD5, qop=\"auth\"";
                response_to(msg, 401, None, Some(b"server")).header("WWW-Authenticate", challenge).finish()
            }
            Method::Register => {
                let contact = msg.contact()?.uri;
                self.bindings.insert(msg.to()?.uri.to_vec(), contact.to_vec());
                let contact = format!("<{}>;expires=3600", String::from_utf8_lossy(contact));
                response_to(msg, 200, None, Some(b"server")).header("Contact", contact).finish()
            }
            _ => match self.bindings.get(msg.request_uri()).cloned() {
                Some(contact) => return self.forth(message, &contact),
                None if msg.method() == Method::Invite => self.accept(message)?,
                // An ACK in a dialog with one of us, or on its way to a contact.
                None => return self.forth(message, msg.request_uri()),
            },
        };
        self.socket.send_to(&answer, from).ok()?;
        Some(())
    }

    fn accept(&mut self, message: &Message) -> Option<Vec<u8>> {
        let msg = message.msg();
        let call = msg.call_id()?.to_vec();
        if let Some(answer) = self.answers.get(&call) {
            return Some(answer.clone());
        }
        let wanted = target(&String::from_utf8_lossy(msg.body()))?;
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(call.clone(), wanted);
        let media = self.media.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let answer = response_to(msg, 200, None, Some(b"server")).record_routes();
        let answer = answer.header("Contact", format!("<sip:callee@{}>", self.local));
        let answer = answer.body("application/sdp", describe(media)).finish();
        self.answers.insert(call, answer.clone());
        Some(answer)
    }

    fn forth(&self, message: &Message, target: &[u8]) -> Option<()> {
        let msg = message.msg();
        let uri = causeway_sip::Uri::parse(target)?;
        let to = SocketAddr::new(uri.host_ip()?, uri.port.unwrap_or(5060));
        if to == self.local {
            return None;
        }
        let mut edit = Edit::new();
        edit.set_request_uri(msg, &[target]);
        let branch = String::from_utf8_lossy(msg.top_via()?.branch()?).into_owned();
        edit.push_via(msg, &[format!("SIP/2.0/UDP {};branch={branch}x", self.local).as_bytes()]);
        edit.set_max_forwards(msg, msg.max_forwards().unwrap_or(70).saturating_sub(1));
        let mut bytes = Vec::new();
        edit.apply(msg, &mut bytes);
        self.socket.send_to(&bytes, to).ok()?;
        Some(())
    }

    fn back(&self, message: &Message) -> Option<()> {
        let mut edit = Edit::new();
        edit.remove_top(message.msg(), HeaderId::Via, 1);
        let mut bytes = Vec::new();
        edit.apply(message.msg(), &mut bytes);
        let next = Message::parse(bytes.clone()).ok()?;
        let via = next.msg().top_via()?;
        self.socket.send_to(&bytes, SocketAddr::new(via.host_ip()?, via.port.unwrap_or(5060))).ok()?;
        Some(())
    }
}
