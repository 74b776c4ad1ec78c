//! Starting nodes on a thread, and talking to them.

use crate::authority::Placed;
use crate::engine::{Command, Engine, Hosted, Mail, Member, Ready};
use crate::group::Membership;
use crate::linelog::LineLog;
use crate::metrics::Figures;
use crate::persist::Persister;
use crate::tls;
use causeway_node::{Credential, Credentials, Ctx, DerivedKey, Flow, Lookup, Node, Outbox, Status, UserKey};
use std::any::Any;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Who answers for the subscriber database: from memory, as it is asked inside the loop, unless it is set up by
/// [`Setup::authority_apart`].
pub trait Authority: Send {
    /// Is this digest response right?
    fn check(&mut self, credential: &Credential) -> Credentials;

    /// Is there such a subscriber? Who cannot tell says that there is.
    fn knows(&mut self, aor: &[u8]) -> Lookup {
        let _ = aor;
        Lookup::Known
    }

    /// The key that a user inherits from a registration ([`causeway_node::Question::UserKey`]). Who knows no secrets
    /// has none to give.
    fn user_key(&mut self, asked: &UserKey) -> Option<DerivedKey> {
        let _ = asked;
        None
    }
}

impl<F: FnMut(&Credential) -> Credentials + Send> Authority for F {
    fn check(&mut self, credential: &Credential) -> Credentials {
        self(credential)
    }
}

/// Why a worker has ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A record could not be written; nothing that rests on it has left.
    #[error("{node}: records cannot be written: {why}")]
    Commit {
        /// The node whose record it was.
        node: String,
        /// Why, as the [`Persister`] said.
        why: String,
    },
    /// The system refuses what no worker can do without.
    #[error("{0}: {1}")]
    System(&'static str, String),
}

/// The worker has ended, or does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker does not answer: it has ended or is overloaded")]
pub struct Gone;

/// Limits and manners of a worker.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often media is collected while [`Node::media_active`]: 1 to 5 ms, 2 unless told. Adds half of it to
    /// the delay of each packet on average, and is what makes media cheap.
    pub media_tick: Duration,
    /// Addresses that exist only within this worker, such as 192.0.0.8 (RFC 7600): its nodes bind, listen and
    /// connect there without touching the kernel. TLS is not available on them.
    pub inside: Vec<IpAddr>,
    /// Connections at once, both ways; 10,000 unless told. Further ones are reset.
    pub max_connections: usize,
    /// How long a TLS handshake may take; 10 s unless told.
    pub handshake_timeout: Duration,
    /// TLS handshakes of others under way at once; 256 unless told. One that begins beyond that displaces the oldest
    /// of the address that has most.
    pub max_handshakes: usize,
    /// The same for one remote address, whose own oldest gives way; 32 unless told.
    pub max_handshakes_per_address: usize,
    /// Name servers for DNS records; those of /etc/resolv.conf unless any are given.
    pub dns_servers: Vec<SocketAddr>,
    /// How long each of them has for an answer; as /etc/resolv.conf says unless told.
    pub dns_timeout: Option<Duration>,
    /// The congestion control of connections that carry media, by its name in the kernel (tcp(7), TCP_CONGESTION).
    /// `bbr` unless told: it does not take every lost packet for a full queue. The system's own where the kernel
    /// does not have the one named.
    pub congestion: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            media_tick: Duration::from_millis(2),
            inside: Vec::new(),
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
            max_handshakes: 256,
            max_handshakes_per_address: 32,
            dns_servers: Vec::new(),
            dns_timeout: None,
            congestion: "bbr".to_owned(),
        }
    }
}

impl Options {
    pub(crate) fn tick_nanos(&self) -> u64 {
        let nanos = self.media_tick.clamp(Duration::from_millis(1), Duration::from_millis(5)).as_nanos();
        u64::try_from(nanos).unwrap_or(2_000_000)
    }
}

/// A node and the world as it shall find it.
pub struct Setup {
    pub(crate) name: String,
    pub(crate) node: Box<dyn Hosted>,
    pub(crate) server: Option<tls::Server>,
    pub(crate) client: Option<tls::Client>,
    pub(crate) persister: Option<Box<dyn Persister>>,
    pub(crate) authority: Option<Placed>,
    pub(crate) lines: Vec<(&'static str, LineLog)>,
    pub(crate) group: Option<Membership>,
}

impl Setup {
    /// A node under a name that status and logs show; it must be unique within its worker.
    pub fn new(name: impl Into<String>, node: impl Node + Send + 'static) -> Self {
        let (name, node) = (name.into(), Box::new(node));
        let lines = Vec::new();
        let (server, client, persister, authority, group) = (None, None, None, None, None);
        Self { name, node, server, client, persister, authority, lines, group }
    }

    /// The certificate of its TLS listeners; without one they fail.
    pub fn server(mut self, server: tls::Server) -> Self {
        self.server = Some(server);
        self
    }

    /// What it demands of TLS servers; without it its TLS connections fail.
    pub fn client(mut self, client: tls::Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Where its records are kept. **Without one they count as written at once and are kept nowhere**: right
    /// for a node that has nothing to lose.
    pub fn persister(mut self, persister: impl Persister + 'static) -> Self {
        self.persister = Some(Box::new(persister));
        self
    }

    /// Its place in a group; the members of a group have one name, under which they report together.
    pub fn member(mut self, place: Membership) -> Self {
        self.group = Some(place);
        self
    }

    /// Where the lines go that it writes to a journal ([`causeway_node::Outbox::line`]); those of journals that
    /// are not given go nowhere.
    pub fn journal(mut self, journal: &'static str, log: LineLog) -> Self {
        self.lines.push((journal, log));
        self
    }

    /// Who checks credentials for it; without one the answer is [`Credentials::Unavailable`].
    pub fn authority(mut self, authority: impl Authority + 'static) -> Self {
        self.authority = Some(Placed::Here(Box::new(authority)));
        self
    }

    /// The same, asked on a thread of its own: for one that may have to wait for a disk, before a node whose media must
    /// not.
    pub fn authority_apart(mut self, authority: impl Authority + 'static) -> Self {
        self.authority = Some(Placed::Apart(Box::new(authority)));
        self
    }
}

/// One thread with one loop, and the nodes that it drives.
pub struct Worker {
    name: String,
    options: Options,
    setups: Vec<Setup>,
}

impl Worker {
    /// A worker without nodes; its name is the thread's as well.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), options: Options::default(), setups: Vec::new() }
    }

    /// Sets limits and manners.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Adds a node.
    pub fn node(mut self, setup: Setup) -> Self {
        self.setups.push(setup);
        self
    }

    /// Starts the thread. Join it to learn why it ended: `Ok` after [`Handle::stop`] or a finished
    /// [`Handle::drain`].
    pub fn spawn(self) -> Result<(Handle, JoinHandle<Result<(), Error>>), Error> {
        let system = |what| move |error: std::io::Error| Error::System(what, error.to_string());
        crate::sys::one_heap();
        let mut names: Vec<&str> = self.setups.iter().map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::System("worker", format!("two nodes are called {}", twice[0])));
        }
        let (sender, commands) = channel();
        let mail = Mail::new(sender).map_err(system("eventfd"))?;
        let ready = Arc::new(Ready::default());
        let group = self.setups.iter().find(|setup| setup.group.is_some());
        let handle = Handle {
            name: self.name.clone().into(),
            group: group.map(|setup| setup.name.as_str().into()),
            mail: mail.clone(),
            ready: Arc::clone(&ready),
        };
        let thread = thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || self.run(mail, commands, ready))
            .map_err(system("thread"))?;
        Ok((handle, thread))
    }

    fn run(self, mail: Mail, commands: Receiver<Command>, ready: Arc<Ready>) -> Result<(), Error> {
        let system = |error: std::io::Error| Error::System("worker", error.to_string());
        let nodes = self.setups.into_iter().enumerate();
        let nodes = nodes.map(|(index, setup)| Member::new(index, setup, mail.clone()));
        let nodes = nodes.collect::<Result<Vec<_>, _>>().map_err(system)?;
        Engine::new(self.name, self.options, nodes, mail, commands, ready).map_err(system)?.run()
    }
}

/// A port or listener that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The node that asked for it.
    pub node: String,
    /// Its id there.
    pub flow: Flow,
    /// Its address; the port is the real one where 0 was asked for.
    pub local: SocketAddr,
    /// `udp`, `tcp`, `tls`, `inside udp` or `inside tcp`.
    pub what: &'static str,
}

/// Speaks to a worker from any thread but its own.
#[derive(Clone)]
pub struct Handle {
    name: Arc<str>,
    group: Option<Arc<str>>,
    mail: Mail,
    ready: Arc<Ready>,
}

impl Handle {
    /// The worker's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The group that a node of this worker is a member of, by the name of its members.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// Waits until every port and listener that the nodes asked for at their start is open, and lists them;
    /// else says which could not be opened, and why.
    pub fn ready(&self, timeout: Duration) -> Result<Vec<Bound>, String> {
        self.ready.wait(timeout)
    }

    /// `{"worker": name, "counters": {…}, "nodes": {name: what the node reports, …}}`.
    pub fn status(&self, timeout: Duration) -> Result<Status, Gone> {
        let (reply, answer) = channel();
        self.mail.send(Command::Status(reply));
        answer.recv_timeout(timeout).map_err(|_| Gone)
    }

    /// One table of every node that has it, `{name of the node: rows, …}`; see [`Node::table`].
    pub fn table(&self, table: &str, filter: &str, timeout: Duration) -> Result<Status, Gone> {
        let (reply, answer) = channel();
        self.mail.send(Command::Table { table: table.to_owned(), filter: filter.to_owned(), reply });
        answer.recv_timeout(timeout).map_err(|_| Gone)
    }

    /// What the nodes and the worker itself count.
    pub fn metrics(&self, timeout: Duration) -> Result<Figures, Gone> {
        let (reply, answer) = channel();
        self.mail.send(Command::Metrics(reply));
        answer.recv_timeout(timeout).map_err(|_| Gone)
    }

    /// Gives every node new settings ([`Node::reload`]).
    ///
    /// # Errors
    /// What the nodes say that refuse them; they go on with the old ones.
    pub fn reload(&self, settings: Status, timeout: Duration) -> Result<(), String> {
        let (reply, answer) = channel();
        self.mail.send(Command::Reload { settings, reply });
        answer.recv_timeout(timeout).unwrap_or_else(|_| Err(Gone.to_string()))
    }

    /// Asks every node for a clean end; the worker ends when all of them have drained.
    pub fn drain(&self) {
        self.mail.send(Command::Drain);
    }

    /// Ends the worker at once.
    pub fn stop(&self) {
        self.mail.send(Command::Stop);
    }

    /// Calls a node's own methods in its thread, as the application that embeds it does; what they put out
    /// is carried out before this handle's next command. Waits for the result, so never call it from a node.
    ///
    /// # Errors
    /// [`Gone`] if the worker has ended, or has no node of that name and type.
    pub fn with<N: Node + 'static, R: Send + 'static>(
        &self,
        node: &str,
        act: impl FnOnce(&mut N, &mut Ctx<'_>, &mut Outbox) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (reply, answer) = channel();
        let visit = move |node: &mut dyn Any, ctx: &mut Ctx<'_>, out: &mut Outbox| {
            if let Some(node) = node.downcast_mut::<N>() {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(act(node, ctx, out));
            }
        };
        self.mail.send(Command::Visit { node: node.to_owned(), visit: Box::new(visit) });
        answer.recv_timeout(Duration::from_secs(30)).map_err(|_| Gone)
    }
}
