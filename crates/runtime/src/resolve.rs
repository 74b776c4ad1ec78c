//! Names: asked of the system, on threads of their own, because it may take as long as it likes. Addresses for a
//! connection come from its resolver (getaddrinfo), DNS records from its name servers ([`crate::dns`]).

use crate::dns::{self, Settings};
use crate::engine::{Command, Mail};
use crate::worker::Options;
use causeway_node::{Answer, RecordKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Questions under way at once; so many slow names it takes to hold up the others.
const THREADS: usize = 4;
/// Questions that may wait.
const WAITING: usize = 1024;

/// A few threads that ask the system's resolver.
pub(crate) struct Resolver {
    mail: Mail,
    questions: Option<Sender<Asked>>,
    waiting: Arc<AtomicUsize>,
    dns_servers: Vec<SocketAddr>,
    dns_timeout: Option<Duration>,
}

struct Asked {
    node: usize,
    question: u64,
    what: What,
}

/// What is asked for.
pub(crate) enum What {
    /// Addresses of a host, for a connection to a port.
    Host(String, u16),
    /// DNS records.
    Records(String, RecordKind),
}

impl What {
    /// The answer where there is none.
    fn unknown(&self, why: &str) -> Answer {
        match self {
            Self::Host(host, _) => Answer::Addresses(vec![], format!("{host}: {why}")),
            Self::Records(name, _) => {
                Answer::Records { records: vec![], ttl: 0, why: format!("{name}: {why}") }
            }
        }
    }
}

impl Resolver {
    pub fn new(mail: Mail, options: &Options) -> Self {
        Self {
            mail,
            questions: None,
            waiting: Arc::default(),
            dns_servers: options.dns_servers.clone(),
            dns_timeout: options.dns_timeout,
        }
    }

    /// The answer, if it needs no asking: address literals, brackets allowed.
    pub fn literal(host: &str, port: u16) -> Option<Answer> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let ip: IpAddr = bare.parse().ok()?;
        Some(Answer::Addresses(vec![SocketAddr::new(ip, port)], String::new()))
    }

    /// Asks; the answer comes by mail. An answer at once means that it cannot be asked.
    pub fn ask(&mut self, node: usize, question: u64, what: What) -> Option<Answer> {
        if self.waiting.load(Ordering::Relaxed) >= WAITING {
            return Some(what.unknown("too many names are being resolved"));
        }
        let asked = Asked { node, question, what };
        let questions = match self.questions.take() {
            Some(questions) => questions,
            None => match self.start() {
                Ok(questions) => questions,
                Err(error) => return Some(asked.what.unknown(&format!("cannot be asked: {error}"))),
            },
        };
        let sent = questions.send(asked);
        self.questions = Some(questions);
        match sent {
            Ok(()) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(error) => Some(error.0.what.unknown("the resolver is gone")),
        }
    }

    fn start(&self) -> std::io::Result<Sender<Asked>> {
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..THREADS {
            let (receiver, mail, waiting) =
                (Arc::clone(&receiver), self.mail.clone(), Arc::clone(&self.waiting));
            let (servers, timeout) = (self.dns_servers.clone(), self.dns_timeout);
            thread::Builder::new().name("resolver".into()).spawn(move || {
                serve(&receiver, &mail, &waiting, || Settings::now(&servers, timeout));
            })?;
        }
        Ok(sender)
    }
}

fn serve(
    questions: &Mutex<Receiver<Asked>>,
    mail: &Mail,
    waiting: &AtomicUsize,
    settings: impl Fn() -> Settings,
) {
    loop {
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(asked) = next else { return };
        let ask = || match &asked.what {
            What::Host(host, port) => lookup(host, *port),
            // The system's files are read anew each time: they are small, and may have changed.
            What::Records(name, kind) => dns::records(&settings(), name, *kind),
        };
        // Every question gets its answer, whatever somebody else's reader makes of a reply.
        let answer = catch_unwind(AssertUnwindSafe(ask))
            .unwrap_or_else(|_| asked.what.unknown("its answer could not be read"));
        waiting.fetch_sub(1, Ordering::Relaxed);
        mail.send(Command::Answer { node: asked.node, question: asked.question, answer });
    }
}

fn lookup(host: &str, port: u16) -> Answer {
    match (host, port).to_socket_addrs() {
        Ok(found) => {
            let mut addresses: Vec<SocketAddr> = Vec::new();
            for address in found.take(64) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            let why = if addresses.is_empty() { format!("{host}: has no address") } else { String::new() };
            Answer::Addresses(addresses, why)
        }
        Err(error) => Answer::Addresses(vec![], format!("{host}: {error}")),
    }
}
