//! Registrations and their ends, as fast as they are answered, and what the server has promised by its 200s.

use crate::differential::wire::{Wire, answer_counted};
use crate::kamailio::DOMAIN;
use crate::process::PATIENCE;
use anyhow::{Context, Result, ensure};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Users `s0` to `s<USERS-1>`, password `secret`.
pub const USERS: usize = 40;
/// Each so many promises a user goes to rest, until half of them do.
const REST: u64 = 17;
const CLIENT: &str = "127.0.8.2:5060";

/// What is known of one user's binding.
#[derive(Clone, Copy, Debug, Default)]
struct User {
    /// What the last 200 has promised.
    bound: bool,
    /// A request that has no answer yet: its CSeq, and whether it binds.
    pending: Option<(u32, bool)>,
    /// Leaves it at the last promise for the rest of this storm: who always has a request under way can be
    /// promised nothing that could be checked.
    rests: bool,
}

/// A client that registers and unregisters many users, one request of each at a time.
pub struct Storm {
    socket: UdpSocket,
    server: String,
    challenge: String,
    users: Vec<User>,
    cseq: u32,
    count: u32,
    /// Promises received.
    pub promises: u64,
}

/// What became of the promises.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verdict {
    /// Bindings that a 200 had promised and that are not there.
    pub lost: usize,
    /// Bindings that are there although a 200 had confirmed their end.
    pub risen: usize,
    /// Requests that were under way.
    pub open: usize,
    /// Users with nothing under way, of whom the one promise must hold.
    pub strict: usize,
}

impl Storm {
    pub fn new(server: &str) -> Result<Self> {
        let socket = UdpSocket::bind(CLIENT).context(CLIENT)?;
        socket.connect(server)?;
        let users = vec![User::default(); USERS];
        let (server, challenge) = (server.to_owned(), String::new());
        Ok(Self { socket, server, challenge, users, cseq: 0, count: 0, promises: 0 })
    }

    /// Gets a challenge of the server as it runs now.
    fn prepare(&mut self) -> Result<()> {
        self.socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        let request = self.request(0, "", "");
        self.socket.send(request.as_bytes())?;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            let Some(wire) = self.receive() else { continue };
            if wire.status() == Some(401) {
                self.challenge = wire.first("www-authenticate").to_owned();
                self.count = 0;
                return Ok(());
            }
        }
        anyhow::bail!("{} does not challenge", self.server)
    }

    /// Storms for so long; what is received counts as promised.
    pub fn rage(&mut self, time: Duration) -> Result<()> {
        self.rage_until(|_, spent| spent >= time)
    }

    /// Storms until as many users as that rest at another promise than they began with.
    pub fn rage_until_turned(&mut self, users: usize) -> Result<()> {
        let before: Vec<bool> = self.users.iter().map(|user| user.bound).collect();
        let turned = |storm: &Self| {
            let now = storm.users.iter().zip(&before);
            now.filter(|(user, before)| user.rests && user.bound != **before).count()
        };
        self.rage_until(|storm, spent| turned(storm) >= users || spent >= PATIENCE)?;
        ensure!(turned(self) >= users, "the server has not confirmed enough in {PATIENCE:?}");
        Ok(())
    }

    /// Storms until this says that it is over, given how long it has lasted.
    fn rage_until(&mut self, over: impl Fn(&Self, Duration) -> bool) -> Result<()> {
        self.prepare()?;
        self.socket.set_nonblocking(true)?;
        let begun = Instant::now();
        while !over(self, begun.elapsed()) {
            self.collect();
            for index in 0..USERS {
                let user = self.users[index];
                if user.pending.is_none() && !user.rests {
                    let bind = !user.bound;
                    let contact = format!(
                        "Contact: <sip:s{index}@{CLIENT}>;expires={}\r\n",
                        if bind { 3600 } else { 0 }
                    );
                    let request = self.authorized(index, &contact);
                    self.users[index].pending = Some((self.cseq, bind));
                    self.socket.send(request.as_bytes())?;
                }
            }
        }
        // What is under way now stays so.
        self.socket.set_nonblocking(false)?;
        Ok(())
    }

    /// Takes in the 200s that have arrived; afterwards none is on its way from a server that is dead.
    pub fn settle(&mut self) -> Result<()> {
        self.socket.set_read_timeout(Some(Duration::from_millis(5)))?;
        self.collect();
        Ok(())
    }

    fn collect(&mut self) {
        let mut resting = self.users.iter().filter(|user| user.rests).count();
        while let Some(wire) = self.receive() {
            let number = wire.cseq().0;
            let waits = |user: &&mut User| user.pending.is_some_and(|(cseq, _)| cseq == number);
            let Some(user) = self.users.iter_mut().find(waits) else { continue };
            if let (Some(200), Some((_, bind))) = (wire.status(), user.pending) {
                self.promises += 1;
                let rests = self.promises.is_multiple_of(REST) && resting < USERS / 2;
                resting += usize::from(rests);
                *user = User { bound: bind, pending: None, rests };
            }
        }
    }

    /// Requests under way.
    fn pending(&self) -> usize {
        self.users.iter().filter(|user| user.pending.is_some()).count()
    }

    /// Asks the server for all bindings, compares them with the promises, and goes on from what is there.
    pub fn verify(&mut self) -> Result<Verdict> {
        self.prepare()?;
        let mut verdict = Verdict { open: self.pending(), ..Verdict::default() };
        for index in 0..USERS {
            let there = self.fetch(index)?;
            let user = &mut self.users[index];
            let may_be = [Some(user.bound), user.pending.map(|(_, bind)| bind)];
            if !may_be.contains(&Some(there)) {
                verdict.lost += usize::from(user.bound);
                verdict.risen += usize::from(!user.bound);
            }
            verdict.strict += usize::from(user.pending.is_none());
            *user = User { bound: there, ..User::default() };
        }
        Ok(verdict)
    }

    /// Compares the bindings of a server with given promises: of each user, what it may be.
    pub fn check(&mut self, allowed: &[[Option<bool>; 2]]) -> Result<usize> {
        self.prepare()?;
        let mut wrong = 0;
        for (index, allowed) in allowed.iter().enumerate() {
            wrong += usize::from(!allowed.contains(&Some(self.fetch(index)?)));
        }
        Ok(wrong)
    }

    fn fetch(&mut self, index: usize) -> Result<bool> {
        self.socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        for _ in 0..20 {
            let request = self.authorized(index, "");
            let cseq = self.cseq;
            self.socket.send(request.as_bytes())?;
            while let Some(wire) = self.receive() {
                if wire.cseq().0 == cseq {
                    ensure!(wire.status() == Some(200), "a fetch was answered {}", wire.start);
                    return Ok(!wire.first("contact").is_empty());
                }
            }
        }
        anyhow::bail!("{} does not answer", self.server)
    }

    fn authorized(&mut self, index: usize, contact: &str) -> String {
        self.count += 1;
        let (user, uri) = (format!("s{index}"), format!("sip:{DOMAIN}"));
        let value = answer_counted(&self.challenge, &user, "secret", "REGISTER", &uri, self.count);
        self.request(index, contact, &format!("Authorization: {value}\r\n"))
    }

    fn request(&mut self, index: usize, contact: &str, credentials: &str) -> String {
        self.cseq += 1;
        let cseq = self.cseq;
        format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {CLIENT};branch=z9hG4bKs{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:s{index}@{DOMAIN}>;tag=s\r\nTo: <sip:s{index}@{DOMAIN}>\r\n\
             Call-ID: storm{index}\r\nCSeq: {cseq} REGISTER\r\n{contact}{credentials}Content-Length: 0\r\n\r\n"
        )
    }

    fn receive(&self) -> Option<Wire> {
        let mut buffer = [0; 8192];
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.get(..length).map(Wire::read)
    }
}
