//! An exchange, and a scripted client on UDP beside it.

#![allow(dead_code, reason = "each test uses its part")]

use causeway_exchange::{Config, Exchange, Location};
use causeway_node::{Class, Credential, Credentials, Flow};
use causeway_sim::{NodeId, Peer, World};
use causeway_sip::digest::{self, Algorithm, Ha1};
use causeway_sip::{HeaderId, Message, Method, RequestBuilder, response_to};
use std::net::SocketAddr;
use std::time::Duration;

pub const EXCHANGE: &str = "198.51.100.1:5060";
pub const CONTACT: (&str, &str) = ("Contact", "<sip:alice@192.0.2.1:5060>");

pub struct Bench {
    pub world: World,
    pub exchange: NodeId,
    pub client: NodeId,
    serial: u32,
}

/// alice and bob exist; each knows his or her name as the password.
pub fn authority(credential: &Credential) -> Credentials {
    let name = String::from_utf8(credential.username.clone()).unwrap();
    if name != "alice" && name != "bob" {
        return Credentials::Unknown;
    }
    let algorithm = Algorithm::of(&credential.algorithm).unwrap();
    let ha1 = Ha1::new(algorithm, name.as_bytes(), &credential.realm, name.as_bytes());
    match digest::prove(credential, &ha1) {
        true => Credentials::Accepted(vec![format!("sip:{name}@example.com")]),
        false => Credentials::Wrong,
    }
}

pub fn config() -> Config {
    Config::new("example.com", EXCHANGE.parse().unwrap())
}

impl Bench {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        let mut world = World::new(7);
        world.authority(authority);
        let operator = world.host(&["198.51.100.1"]);
        let node = Exchange::new(config, None, [1; 32], Location::default());
        let exchange = world.add(operator, "exchange", node);
        let host = world.host(&["192.0.2.1"]);
        let client = world.add(host, "client", Peer::new());
        let local: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        world.with::<Peer, _>(client, |_, _, out| out.bind(Flow(0), local, Class::Signalling));
        world.run_for(Duration::from_millis(100));
        Self { world, exchange, client, serial: 0 }
    }

    pub fn request(&mut self, method: Method<'_>, uri: &str, who: &str) -> RequestBuilder {
        self.serial += 1;
        RequestBuilder::new(method, uri.as_bytes())
            .header("Via", format!("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{}", self.serial))
            .max_forwards(70)
            .header("From", format!("<sip:{who}@example.com>;tag=f"))
            .header("Call-ID", "call")
            .cseq(self.serial, method)
    }

    /// Another scripted host with a SIP port.
    pub fn peer(&mut self, address: &str) -> NodeId {
        let host = self.world.host(&[address]);
        let peer = self.world.add(host, address, Peer::new());
        let local: SocketAddr = format!("{address}:5060").parse().unwrap();
        self.world.with::<Peer, _>(peer, |_, _, out| out.bind(Flow(0), local, Class::Signalling));
        self.world.run_for(Duration::from_millis(1));
        peer
    }

    /// The messages that a peer has heard by datagram.
    pub fn messages(&self, peer: NodeId) -> Vec<Message> {
        let heard = self.world.node::<Peer>(peer).datagrams();
        heard.iter().map(|bytes| Message::parse(*bytes).unwrap()).collect()
    }

    /// The last request with this method that a peer has heard.
    pub fn asked(&self, peer: NodeId, method: Method<'_>) -> Option<Message> {
        let all = self.messages(peer).into_iter().rev();
        all.into_iter().find(|m| m.msg().is_request() && m.msg().method() == method)
    }

    /// A peer answers a request that it has heard.
    pub fn respond(
        &mut self,
        peer: NodeId,
        request: &Message,
        status: u16,
        tag: &str,
        extra: &[(&str, &str)],
    ) {
        let mut response = response_to(request.msg(), status, None, Some(tag.as_bytes())).record_routes();
        for (name, value) in extra {
            response = response.header(name, value);
        }
        let bytes = response.finish();
        let to = EXCHANGE.parse().unwrap();
        self.world.with::<Peer, _>(peer, |_, _, out| out.datagram(Flow(0), to, &bytes));
        self.world.run_for(Duration::from_millis(200));
    }

    /// Statuses that the client has got for a CSeq number.
    pub fn statuses(&self, cseq: u32) -> Vec<u16> {
        let all = self.messages(self.client);
        let of = all.iter().filter(|m| m.msg().cseq().is_some_and(|c| c.number == cseq));
        of.filter_map(|m| m.msg().status()).collect()
    }

    pub fn last_serial(&self) -> u32 {
        self.serial
    }

    /// An INVITE of alice's with credentials, sent; returns its CSeq number.
    pub fn invite(&mut self, uri: &str, headers: &[(&str, &str)]) -> u32 {
        self.call(Method::Invite, uri, headers)
    }

    /// A request of alice's outside a dialog with credentials, sent; returns its CSeq number.
    pub fn call(&mut self, method: Method<'_>, uri: &str, headers: &[(&str, &str)]) -> u32 {
        let bare = self.request(method, uri, "alice").header("To", format!("<{uri}>"));
        let challenge = self.ask(bare);
        assert_eq!(challenge.msg().status(), Some(407));
        let credentials = answer(&challenge, "alice", method, uri.as_bytes());
        let mut request = self
            .request(method, uri, "alice")
            .header("To", format!("<{uri}>"))
            .header("Contact", "<sip:alice@192.0.2.1:5060>")
            .header("Proxy-Authorization", credentials);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let bytes = request.finish();
        self.send(&bytes);
        self.world.run_for(Duration::from_millis(400));
        self.serial
    }

    pub fn heard(&self) -> usize {
        self.world.node::<Peer>(self.client).datagrams().len()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let to = EXCHANGE.parse().unwrap();
        self.world.with::<Peer, _>(self.client, |_, _, out| out.datagram(Flow(0), to, bytes));
    }

    /// Sends a request and returns the last answer to it.
    pub fn ask(&mut self, request: RequestBuilder) -> Message {
        let bytes = request.finish();
        self.send(&bytes);
        self.world.run_for(Duration::from_millis(400));
        let asked = Message::parse(bytes).unwrap();
        let heard = self.world.node::<Peer>(self.client).datagrams();
        let messages = heard.iter().rev().map(|bytes| Message::parse(*bytes).unwrap());
        let mut answers = messages.filter(|message| message.msg().cseq() == asked.msg().cseq());
        answers.next().unwrap_or_else(|| panic!("no answer to {asked:?}"))
    }

    pub fn register(&mut self, who: &str, headers: &[(&str, &str)]) -> RequestBuilder {
        let mut request = self
            .request(Method::Register, "sip:example.com", who)
            .header("To", format!("<sip:{who}@example.com>"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request
    }

    /// Registers with credentials of `user`.
    pub fn register_as(&mut self, user: &str, who: &str, headers: &[(&str, &str)]) -> Message {
        let credentials = self.credentials(user, who);
        let request = self.register(who, headers).header("Authorization", credentials);
        self.ask(request)
    }

    /// Credentials for a REGISTER, by a fresh challenge.
    pub fn credentials(&mut self, user: &str, who: &str) -> Vec<u8> {
        let request = self.register(who, &[]);
        let challenge = self.ask(request);
        assert_eq!(challenge.msg().status(), Some(401));
        answer(&challenge, user, Method::Register, b"sip:example.com")
    }
}

pub fn answer(challenge: &Message, user: &str, method: Method<'_>, uri: &[u8]) -> Vec<u8> {
    let header = match challenge.msg().status() {
        Some(401) => HeaderId::WwwAuthenticate,
        _ => HeaderId::ProxyAuthenticate,
    };
    let offered = digest::choose(challenge.msg().all(header)).unwrap();
    digest::Session::new(&offered, user.as_bytes(), user.as_bytes()).answer(method, uri, b"c0ffee")
}

pub fn contacts(message: &Message) -> Vec<String> {
    message.msg().values(HeaderId::Contact).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
