//! One connection over the kernel: plain or TLS, a bounded queue, an end that is clean.

use super::proxy::{self, Asked, Said};
use crate::sys;
use crate::tls::{EXPORTER_LABEL, Terms, proven};
use causeway_node::{Class, Flow, MIN_ROOM, Through};
use rustls::Connection;
use socket2::SockRef;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

/// What a connection holds of what a node gave it by `Outbox::stream`; beyond, it is closed.
pub const QUEUE_LIMIT: usize = 1024 * 1024;
/// TCP_NOTSENT_LOWAT (tcp(7)): the socket counts as writable while less than this is unsent.
const LOW_WATER: u32 = 16 * 1024;
/// Bytes of media connections that nobody acknowledges for so long end them (TCP_USER_TIMEOUT, RFC 5482).
const GIVE_UP: Duration = Duration::from_secs(30);
/// A node is asked for more until this much is unsent: what waits, waits where it can still be dropped.
const UNSENT_LIMIT: usize = 32 * 1024;
/// What is encrypted at once.
const SEAL_AT_ONCE: usize = 32 * 1024;
/// What a TLS record adds to what it holds, and how much that is at most (RFC 8446 §5.1, §5.2).
const SEALING: usize = 22;
const RECORD: usize = 16 * 1024;
/// How often a node is asked in one flush, so that a fast reader does not hold up everybody else.
const FILLS_PER_FLUSH: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The SYN is out.
    Connecting,
    /// An HTTP proxy is asked to lead on.
    Asking,
    /// TCP is up, TLS is not yet.
    Handshake,
    /// The node knows of it.
    Open,
    /// The node has closed it; its queue is still going out.
    Leaving,
    /// Our FIN is out; what still comes in is thrown away until the peer's.
    Shut,
}

/// What flushing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing left to send.
    Idle,
    /// More to send once the socket is writable.
    Waiting,
}

/// What a TLS handshake has proven; nothing for a plain connection.
#[derive(Debug, Default)]
pub struct Secured {
    /// Known to the two ends alone.
    pub exporter: Option<[u8; 32]>,
    /// What the peer's verified certificate names.
    pub names: Vec<String>,
}

/// What one read gave.
#[derive(Debug, Default)]
pub struct Received {
    /// There may be more at once.
    pub more: bool,
    /// Nothing will follow, and why.
    pub end: Option<String>,
    /// The proxy leads on: what was asked for may begin.
    pub through: bool,
}

pub struct Stream {
    pub socket: TcpStream,
    pub class: Class,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// The listener that accepted it.
    pub listener: Option<Flow>,
    pub state: State,
    /// The node wants to be asked for more.
    pub asking: bool,
    /// It stands in the list of those to be flushed.
    pub listed: bool,
    /// The node wants nothing more from it for now.
    pub paused: bool,
    /// The events asked for at present.
    pub interest: u32,
    /// What an HTTP proxy in between is asked for, and what it has said.
    proxy: Option<Box<(Through, Asked)>>,
    tls: Option<Box<Connection>>,
    terms: Terms,
    queue: Vec<u8>,
    head: usize,
}

impl Stream {
    pub fn new(socket: TcpStream, class: Class, peer: SocketAddr, state: State) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        SockRef::from(&socket).set_tcp_notsent_lowat(LOW_WATER)?;
        if class == Class::Media {
            // A tunnel finds a dead peer by itself, within seconds; the kernel shall not hold its bytes for longer.
            SockRef::from(&socket).set_tcp_user_timeout(Some(GIVE_UP))?;
            // Few packets are under way on a voice call: what is lost again is repeated without doubling the wait.
            sys::set_thin(socket.as_fd())?;
        }
        let local = socket.local_addr()?;
        Ok(Self {
            socket,
            class,
            peer,
            local,
            listener: None,
            state,
            asking: false,
            listed: false,
            paused: false,
            interest: 0,
            proxy: None,
            tls: None,
            terms: Terms { alpn: None, names: false },
            queue: Vec::new(),
            head: 0,
        })
    }

    pub fn with_tls(mut self, mut tls: Connection, terms: Terms) -> Self {
        tls.set_buffer_limit(None);
        self.terms = terms;
        self.tls = Some(Box::new(tls));
        self
    }

    /// Sets the congestion control, where the kernel has it.
    pub fn congestion(self, name: &str) -> Self {
        if self.class == Class::Media
            && let Err(error) = SockRef::from(&self.socket).set_tcp_congestion(name.as_bytes())
        {
            tracing::debug!("congestion control {name}: {error}; the system's own serves");
        }
        self
    }

    pub fn through(mut self, through: &Through) -> Self {
        self.proxy = Some(Box::new((through.clone(), Asked::default())));
        self
    }

    /// Asks the proxy, if there is one in between; says whether there is.
    pub fn ask_proxy(&mut self) -> io::Result<bool> {
        let Some((through, _)) = self.proxy.as_deref() else { return Ok(false) };
        // A fresh connection takes some hundred bytes at once.
        self.socket.write_all(&proxy::request(through))?;
        self.state = State::Asking;
        Ok(true)
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Bytes that wait in the queue.
    pub fn queued(&self) -> usize {
        self.queue.len() - self.head
    }

    /// Queues bytes; false if there is no room for them.
    pub fn enqueue(&mut self, bytes: &[u8]) -> bool {
        if self.queued() + bytes.len() > QUEUE_LIMIT {
            return false;
        }
        if self.head > 0 && self.head >= self.queue.len() / 2 {
            self.queue.drain(..self.head);
            self.head = 0;
        }
        self.queue.extend_from_slice(bytes);
        true
    }

    /// Reads once and appends the plain text to `plain`.
    pub fn receive(&mut self, scratch: &mut [u8], plain: &mut Vec<u8>) -> Received {
        let n = match self.socket.read(scratch) {
            Ok(0) => return Received { end: Some(self.at_end()), ..Received::default() },
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Received::default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                return Received { more: true, ..Received::default() };
            }
            Err(e) => return Received { end: Some(reason(&e)), ..Received::default() },
        };
        let more = n == scratch.len();
        let Some(wire) = scratch.get(..n) else { return Received::default() };
        if self.state == State::Asking {
            return Received { more, ..self.hear_proxy(wire, plain) };
        }
        Received { more, ..self.open(wire, plain) }
    }

    fn hear_proxy(&mut self, wire: &[u8], plain: &mut Vec<u8>) -> Received {
        let Some((_, asked)) = self.proxy.as_deref_mut() else { return Received::default() };
        match asked.take(wire) {
            Said::More => Received::default(),
            Said::Refused(why) => Received { end: Some(why), ..Received::default() },
            Said::Through(rest) => {
                self.proxy = None;
                self.state = State::Handshake;
                Received { through: true, ..self.open(&rest, plain) }
            }
        }
    }

    fn open(&mut self, wire: &[u8], plain: &mut Vec<u8>) -> Received {
        let Some(tls) = &mut self.tls else {
            plain.extend_from_slice(wire);
            return Received::default();
        };
        match open(tls, wire, plain) {
            Ok(closed) => {
                let end = closed.then(|| "closed by the peer".to_owned());
                Received { end, ..Received::default() }
            }
            Err(why) => {
                // Let the peer know as well, if the socket takes it.
                let _ = tls.write_tls(&mut self.socket);
                Received { end: Some(why), ..Received::default() }
            }
        }
    }

    fn at_end(&self) -> String {
        match self.state {
            State::Asking => "closed by the HTTP proxy without an answer".to_owned(),
            State::Handshake => "closed by the peer during the TLS handshake".to_owned(),
            _ => "closed by the peer".to_owned(),
        }
    }

    /// Whether the handshake has just come to its end; then what it has proven.
    pub fn handshake_done(&mut self) -> Option<Result<Secured, String>> {
        let tls = self.tls.as_ref()?;
        if self.state != State::Handshake || tls.is_handshaking() {
            return None;
        }
        if let Some(alpn) = self.terms.alpn
            && tls.alpn_protocol() != Some(alpn)
        {
            let alpn = String::from_utf8_lossy(alpn);
            return Some(Err(format!("TLS: the peer does not offer {alpn} (ALPN)")));
        }
        Some(self.secured())
    }

    /// What the handshake has proven.
    pub fn secured(&self) -> Result<Secured, String> {
        let Some(tls) = &self.tls else { return Ok(Secured::default()) };
        let shown = tls.peer_certificates().and_then(<[_]>::first).filter(|_| self.terms.names);
        let names = shown.map(proven).unwrap_or_default();
        let exporter = tls.export_keying_material([0; 32], EXPORTER_LABEL, None);
        let secured = exporter.map(|exporter| Secured { exporter: Some(exporter), names });
        secured.map_err(|error| format!("TLS: no exporter: {error}"))
    }

    /// Sends what is queued; then, while the socket has room, what `fill` gives.
    pub fn flush(
        &mut self,
        buf: &mut Vec<u8>,
        mut fill: impl FnMut(usize, &mut Vec<u8>),
    ) -> Result<Flushed, String> {
        let mut fills = 0;
        // What the socket holds unsent, at most: it was asked once, and has been given more since.
        let mut unsent = None;
        if matches!(self.state, State::Connecting | State::Asking) {
            return Ok(Flushed::Idle);
        }
        loop {
            if !self.write_records()? {
                return Ok(Flushed::Waiting);
            }
            match self.state {
                State::Connecting | State::Asking | State::Handshake | State::Shut => {
                    return Ok(Flushed::Idle);
                }
                State::Open | State::Leaving => {}
            }
            if self.queued() > 0 {
                if !self.write_queue()? {
                    return Ok(Flushed::Waiting);
                }
                continue;
            }
            if self.state == State::Leaving {
                if let Some(tls) = &mut self.tls {
                    tls.send_close_notify();
                    let _ = tls.write_tls(&mut self.socket);
                }
                // An error means that the connection is gone, which reading will tell.
                let _ = self.socket.shutdown(Shutdown::Write);
                self.state = State::Shut;
                return Ok(Flushed::Idle);
            }
            if !self.asking {
                return Ok(Flushed::Idle);
            }
            let mut room = unsent.map_or(0, |unsent| UNSENT_LIMIT.saturating_sub(unsent));
            if room < MIN_ROOM {
                let now = sys::unsent(self.socket.as_fd()).map_err(|e| reason(&e))?;
                unsent = Some(now);
                room = UNSENT_LIMIT.saturating_sub(now);
            }
            if room < MIN_ROOM || fills == FILLS_PER_FLUSH {
                return Ok(Flushed::Waiting);
            }
            fills += 1;
            buf.clear();
            fill(room, buf);
            if buf.is_empty() {
                self.asking = false;
                return Ok(Flushed::Idle);
            }
            self.give(buf)?;
            unsent = unsent.map(|unsent| unsent + buf.len() + SEALING * (1 + buf.len() / RECORD));
        }
    }

    /// Writes what TLS holds ready; false if the socket is full.
    fn write_records(&mut self) -> Result<bool, String> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(reason(&e)),
            }
        }
        Ok(true)
    }

    /// Writes or seals the next part of the queue; false if the socket is full.
    fn write_queue(&mut self) -> Result<bool, String> {
        let end = self.queue.len();
        if let Some(tls) = &mut self.tls {
            let end = end.min(self.head + SEAL_AT_ONCE);
            tls.writer().write_all(&self.queue[self.head..end]).map_err(|e| reason(&e))?;
            self.head = end;
        } else {
            match self.socket.write(&self.queue[self.head..end]) {
                Ok(n) => self.head += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(reason(&e)),
            }
        }
        if self.head == self.queue.len() {
            self.queue.clear();
            self.head = 0;
        }
        Ok(true)
    }

    fn give(&mut self, bytes: &[u8]) -> Result<(), String> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes).map_err(|e| reason(&e)),
            None => {
                self.queue.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

/// Decrypts `wire`; whether the peer has said goodbye.
fn open(tls: &mut Connection, mut wire: &[u8], plain: &mut Vec<u8>) -> Result<bool, String> {
    let mut closed = false;
    while !wire.is_empty() {
        if tls.read_tls(&mut wire).map_err(|e| reason(&e))? == 0 {
            break;
        }
        let state = tls.process_new_packets().map_err(|e| explain(&e))?;
        let ready = state.plaintext_bytes_to_read();
        closed = state.peer_has_closed();
        if ready > 0 {
            let start = plain.len();
            plain.resize(start + ready, 0);
            tls.reader().read_exact(&mut plain[start..]).map_err(|e| reason(&e))?;
        }
        if closed {
            break;
        }
    }
    Ok(closed)
}

/// A TLS error as an operator can use it.
pub fn explain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::General(text) => format!("TLS: {text}"),
        rustls::Error::AlertReceived(alert) => format!("TLS: refused by the peer (alert {alert:?})"),
        rustls::Error::InvalidMessage(_) => format!("TLS: the peer does not speak TLS ({error})"),
        other => format!("TLS: {other}"),
    }
}

/// An I/O error as an operator can use it.
pub fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "reset by the peer".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => format!("{error}; raise the limit of open files"),
            _ => error.to_string(),
        },
    }
}
