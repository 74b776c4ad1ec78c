//! Names: asked of the system, on threads of their own, because it may take as long as it likes.

use crate::engine::{Command, Mail};
use causeway_node::Answer;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Questions under way at once; so many slow names it takes to hold up the others.
const THREADS: usize = 4;
/// Questions that may wait.
const WAITING: usize = 1024;

/// A few threads that ask the system's resolver.
pub(crate) struct Resolver {
    mail: Mail,
    questions: Option<Sender<Asked>>,
    waiting: Arc<AtomicUsize>,
}

struct Asked {
    node: usize,
    question: u64,
    host: String,
    port: u16,
}

impl Resolver {
    pub fn new(mail: Mail) -> Self {
        Self { mail, questions: None, waiting: Arc::default() }
    }

    /// The answer, if it needs no asking: address literals, brackets allowed.
    pub fn literal(host: &str, port: u16) -> Option<Answer> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let ip: IpAddr = bare.parse().ok()?;
        Some(Answer::Addresses(vec![SocketAddr::new(ip, port)], String::new()))
    }

    /// Asks; the answer comes by mail. An answer at once means that it cannot be asked.
    pub fn ask(&mut self, node: usize, question: u64, host: &str, port: u16) -> Option<Answer> {
        if self.waiting.load(Ordering::Relaxed) >= WAITING {
            return Some(Answer::Addresses(vec![], format!("{host}: too many names are being resolved")));
        }
        let asked = Asked { node, question, host: host.to_owned(), port };
        let sent = match self.questions.take() {
            Some(questions) => Ok(questions),
            None => self.start(),
        }
        .and_then(|questions| {
            let result = questions.send(asked).map_err(|_| std::io::Error::other("the resolver is gone"));
            self.questions = Some(questions);
            result
        });
        match sent {
            Ok(()) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(error) => Some(Answer::Addresses(vec![], format!("{host}: cannot be asked: {error}"))),
        }
    }

    fn start(&self) -> std::io::Result<Sender<Asked>> {
        let (sender, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..THREADS {
            let (receiver, mail, waiting) =
                (Arc::clone(&receiver), self.mail.clone(), Arc::clone(&self.waiting));
            thread::Builder::new()
                .name("resolver".into())
                .spawn(move || serve(&receiver, &mail, &waiting))?;
        }
        Ok(sender)
    }
}

fn serve(questions: &Mutex<Receiver<Asked>>, mail: &Mail, waiting: &AtomicUsize) {
    loop {
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(asked) = next else { return };
        let answer = lookup(&asked.host, asked.port);
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
