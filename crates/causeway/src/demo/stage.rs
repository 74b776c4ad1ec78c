//! The demo's stage: an operator and two customers, on loopback.

use crate::exchange::Plan;
use crate::exit::{Failure, Outcome};
use crate::glue::{random, subscribers, unix_ms};
use crate::reload::Reload;
use crate::roles;
use causeway_exchange::Config as ExchangeConfig;
use causeway_node::Status;
use causeway_phone::{Answering, Config as PhoneConfig, Phone, Talk};
use causeway_runtime::tls::{Pin, Trust};
use causeway_runtime::{Handle, Options, Setup, Worker};
use causeway_sip::ua::{CallId, Config as Account, Event, Password};
use causeway_split_proxy::{AgentConfig, ContactConfig, KeyLine, LineSecret};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub const DOMAIN: &str = "example.com";
/// Addresses inside each customer's process, which no socket of the machine ever sees (TEST-NET-1).
const AGENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PHONE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(10);

/// A phone with its agent, in one worker.
pub struct Customer {
    pub name: &'static str,
    handle: Handle,
}

impl Customer {
    fn start(
        name: &'static str,
        password: &str,
        say: Arc<[u8]>,
        tunnel: SocketAddr,
        pin: Pin,
    ) -> Result<Self, Failure> {
        let inside = |ip: Ipv4Addr| SocketAddr::new(IpAddr::V4(ip), 5060);
        let mut agent = AgentConfig::new(tunnel.ip().to_string(), tunnel.port(), inside(AGENT));
        let uri = format!("sip:{name}@{DOMAIN}");
        agent.keys.lines.extend(KeyLine::new(&uri).map(|mut line| {
            line.secret = Some(LineSecret::Password(password.as_bytes().to_vec().into()));
            line
        }));
        let account = Account::new(uri, Password::new(password), inside(PHONE), inside(AGENT));
        let answering = Answering::After(Duration::from_millis(500));
        let phone = Phone::new(PhoneConfig { say, answering, ..PhoneConfig::new(account) });
        let options = Options { inside: vec![AGENT.into(), PHONE.into()], ..Options::default() };
        let worker = Worker::new(name)
            .options(options)
            .node(roles::agent("agent", agent, &Trust::Pin(pin), None)?)
            .node(Setup::new("phone", phone));
        Ok(Self { name, handle: spawn(worker)? })
    }

    fn phone<R: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Phone, &mut causeway_node::Ctx<'_>, &mut causeway_node::Outbox) -> R
        + Send
        + 'static,
    ) -> Result<R, Failure> {
        self.handle
            .with("phone", act)
            .map_err(|error| Failure::unreachable(format!("{}: {error}", self.name)))
    }

    pub fn register(&self) -> Outcome {
        self.phone(|phone, ctx, out| phone.register(ctx, out))
    }

    pub fn call(&self, uri: &'static str) -> Result<CallId, Failure> {
        self.phone(move |phone, ctx, out| phone.call(ctx, uri, out))?
            .ok_or_else(|| Failure::unreachable(format!("{} has no free line", self.name)))
    }

    pub fn hang_up(&self, call: CallId) -> Outcome {
        self.phone(move |phone, ctx, out| phone.hang_up(ctx, call, out))
    }

    pub fn events(&self) -> Result<Vec<Event>, Failure> {
        self.phone(|phone, _, _| std::iter::from_fn(|| phone.poll()).collect())
    }

    /// The media of the call under way.
    pub fn talk(&self) -> Result<Option<Talk>, Failure> {
        self.phone(|phone, _, _| phone.talks().next().cloned())
    }

    /// The media of the call that is over.
    pub fn finished(&self) -> Result<Option<Talk>, Failure> {
        self.phone(|phone, _, _| phone.finished().last().cloned())
    }

    /// The state of the agent's tunnel.
    pub fn tunnel(&self) -> Result<Status, Failure> {
        let status = self.handle.status(PATIENCE).map_err(|error| Failure::unreachable(error.to_string()))?;
        Ok(status["nodes"]["agent"]["tunnels"][0].clone())
    }
}

/// Everything that the demo runs.
pub struct Stage {
    customers: [Customer; 2],
    /// The operator's workers and its folder live as long as the stage.
    operator: Vec<Handle>,
    data: tempfile::TempDir,
    tunnel: SocketAddr,
    pin: Pin,
}

impl Stage {
    /// Sets the stage.
    ///
    /// # Errors
    /// If a port or a file cannot be opened.
    pub fn set(alice_says: &Arc<[u8]>, bob_says: &Arc<[u8]>, corrupt: bool) -> Result<Self, Failure> {
        let data = tempfile::Builder::new().prefix("causeway-demo-").tempdir();
        let data =
            data.map_err(|error| Failure::unreachable(format!("no folder for the demo's state: {error}")))?;
        let [sip, beside, tunnel] = free_ports()?;
        let server = roles::certificate(None, None, data.path())?;
        let pin = server.pin();
        let passwords = [add_subscriber(data.path(), "alice")?, add_subscriber(data.path(), "bob")?];
        let exchange = Plan::plain(ExchangeConfig::new(DOMAIN, sip));
        let config = ContactConfig::new(tunnel, beside, sip);
        let mut operator = exchange.workers(data.path(), &mut Reload::default())?;
        operator.push(roles::contact(config, server, data.path(), Some(data.path()))?);
        let operator = operator.into_iter().map(spawn).collect::<Result<_, _>>()?;
        let alice_says = if corrupt { flip(alice_says) } else { alice_says.clone() };
        let customers = [
            Customer::start("alice", &passwords[0], alice_says, tunnel, pin)?,
            Customer::start("bob", &passwords[1], bob_says.clone(), tunnel, pin)?,
        ];
        Ok(Self { customers, operator, data, tunnel, pin })
    }

    pub fn customers(&self) -> &[Customer; 2] {
        &self.customers
    }

    pub fn alice(&self) -> &Customer {
        &self.customers[0]
    }

    pub fn bob(&self) -> &Customer {
        &self.customers[1]
    }

    /// The contact point's state.
    pub fn contact(&self) -> Result<Status, Failure> {
        let contact = self.operator.last().map(|handle| handle.status(PATIENCE));
        let status = contact.and_then(Result::ok).unwrap_or_default();
        Ok(status["nodes"]["contact"].clone())
    }

    /// Connections to the tunnel port that the kernel knows, seen from the customers' side.
    pub fn count_tunnels(&self) -> Result<usize, Failure> {
        let table = std::fs::read_to_string("/proc/self/net/tcp")
            .map_err(|error| Failure::unreachable(format!("cannot count connections: {error}")))?;
        let remote = format!("0100007F:{:04X}", self.tunnel.port());
        let established = |line: &&str| {
            let mut fields = line.split_whitespace();
            fields.nth(2) == Some(&remote) && fields.next() == Some("01")
        };
        Ok(table.lines().filter(established).count())
    }

    /// Adds an agent for the user's own phones; returns it with what the user must know.
    ///
    /// # Errors
    /// If that agent cannot be started.
    pub fn invite(&self) -> Result<(Handle, String), Failure> {
        let [listen] = free_ports()?;
        let password = add_subscriber(self.data.path(), "carol")?;
        let config = AgentConfig::new(self.tunnel.ip().to_string(), self.tunnel.port(), listen);
        let agent =
            spawn(Worker::new("agent").node(roles::agent("agent", config, &Trust::Pin(self.pin), None)?))?;
        let text = format!(
            "The operator stays up, with alice and bob at their phones. Point a phone of your own to it:\n\
             \x20 outbound proxy  {listen} (UDP or TCP)\n\
             \x20 account         sip:carol@{DOMAIN}, password {password}\n\
             and call sip:alice@{DOMAIN}, who answers and speaks. Ctrl-C ends it."
        );
        Ok((agent, text))
    }
}

fn spawn(worker: Worker) -> Result<Handle, Failure> {
    let (handle, _thread) = worker.spawn().map_err(|error| Failure::unreachable(error.to_string()))?;
    handle.ready(PATIENCE).map_err(Failure::unreachable)?;
    Ok(handle)
}

/// Adds a subscriber with a password that nobody knows before.
fn add_subscriber(data: &Path, name: &str) -> Result<String, Failure> {
    let password: String = random::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
    subscribers(data)?
        .add(&format!("sip:{name}@{DOMAIN}"), password.as_bytes(), unix_ms() / 1000)
        .map_err(|error| Failure::unreachable(error.to_string()))?;
    Ok(password)
}

/// Loopback ports that are free for UDP and TCP just now, all of them different: none is let go before all are found.
fn free_ports<const N: usize>() -> Result<[SocketAddr; N], Failure> {
    let mut found = Vec::new();
    for _ in 0..100 {
        let listener = TcpListener::bind((LOOPBACK, 0));
        let listener =
            listener.map_err(|error| Failure::unreachable(format!("no free port on loopback: {error}")))?;
        let address = listener.local_addr().map_err(|error| Failure::unreachable(error.to_string()))?;
        if let Ok(socket) = UdpSocket::bind(address) {
            found.push((address, listener, socket));
        }
        if found.len() == N {
            break;
        }
    }
    let addresses: Vec<SocketAddr> = found.iter().map(|(address, ..)| *address).collect();
    let none = |_| Failure::unreachable("no port on loopback is free for both UDP and TCP");
    addresses.try_into().map_err(none)
}

/// The same speech with one bit flipped.
fn flip(speech: &Arc<[u8]>) -> Arc<[u8]> {
    let mut bytes = speech.to_vec();
    bytes[10_000] ^= 1;
    bytes.into()
}
