//! An exchange, and a scripted client on UDP beside it.

#![allow(dead_code, reason = "each test uses its part")]

use causeway_exchange::{Config, Exchange, Keys, Location, Shard};
use causeway_node::{Class, Credential, Credentials, Flow, Status};
use causeway_sim::{NodeId, Peer, World};
use causeway_sip::digest::{self, Algorithm, Ha1};
use causeway_sip::{HeaderId, Message, Method, RequestBuilder, response_to};
use std::net::SocketAddr;
use std::time::Duration;

pub const EXCHANGE: &str = "198.51.100.1:5060";
pub const CONTACT: (&str, &str) = ("Contact", "<sip:alice@192.0.2.1:5060>");

/// How many exchanges share the address: `tests/sharded.rs` runs the other tests once more.
pub const SHARDS: u16 = if matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"sharded") { 3 } else { 1 };

pub struct Bench {
    pub world: World,
    /// The exchange; of several that share its address, the first.
    pub exchange: NodeId,
    pub members: Vec<NodeId>,
    pub client: NodeId,
    serial: u32,
}

/// alice and bob exist; each knows his or her name as the password.
pub fn authority(credential: &Credential) -> Credentials {
    let name = String::from_utf8(credential.parts().username.to_vec()).unwrap();
    if name != "alice" && name != "bob" {
        return Credentials::Unknown;
    }
    let algorithm = Algorithm::of(credential.parts().algorithm).unwrap();
    let ha1 = Ha1::new(algorithm, name.as_bytes(), credential.parts().realm, name.as_bytes());
    match digest::prove(credential, &ha1) {
        true => Credentials::Accepted(vec![format!("sip:{name}@example.com")]),
        false => Credentials::Wrong,
    }
}

fn add(sum: &mut Status, other: &Status) {
    match (sum, other) {
        (Status::Object(sum), Status::Object(other)) => {
            other.iter().for_each(|(name, value)| add(&mut sum[name], value));
        }
        (sum, Status::Number(other)) => *sum = (sum.as_u64().unwrap() + other.as_u64().unwrap()).into(),
        _ => {}
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
        let members: Vec<NodeId> = (0..SHARDS)
            .map(|own| {
                let config = Config { shard: Shard { own, of: SHARDS }, ..config.clone() };
                let node = Exchange::new(config, None, [1; 32], Location::default());
                world.add(operator, &format!("exchange-{own}"), node)
            })
            .collect();
        if SHARDS > 1 {
            world.group(&members);
        }
        let exchange = members[0];
        let host = world.host(&["192.0.2.1"]);
        let client = world.add(host, "client", Peer::new());
        let local: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        world.with::<Peer, _>(client, |_, _, out| out.bind(Flow(0), local, Class::Signalling));
        world.run_for(Duration::from_millis(100));
        Self { world, exchange, members, client, serial: 0 }
    }

    /// The status of the exchange; of several, the sum of their numbers.
    pub fn status(&self) -> Status {
        let mut all = self.members.iter().map(|member| self.world.status(*member));
        let mut sum = all.next().unwrap();
        all.for_each(|other| add(&mut sum, &other));
        sum
    }

    /// Addresses of record with a binding, and bindings.
    pub fn bindings(&self) -> (usize, usize) {
        let counts =
            self.members.iter().map(|member| self.world.node::<Exchange>(*member).location().count());
        counts.fold((0, 0), |sum, of_one| (sum.0 + of_one.0, sum.1 + of_one.1))
    }

    pub fn set_commit_delay(&mut self, delay: Duration) {
        self.members.iter().for_each(|member| self.world.set_commit_delay(*member, delay));
    }

    /// What the exchange has on disk.
    pub fn records(&self) -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
        let all = self.members.iter().flat_map(|member| self.world.records(*member));
        all.filter_map(|record| Some((record.space, record.key, record.value?))).collect()
    }

    /// The lines that it has written to a journal.
    pub fn lines(&self, journal: &str) -> Vec<&str> {
        self.members.iter().flat_map(|member| self.world.lines(*member, journal)).collect()
    }

    /// Calls a method of the exchange, of each if it is several; the result is that of the last.
    pub fn each<R>(&mut self, mut act: impl FnMut(&mut Exchange) -> R) -> R {
        let all = self.members.iter();
        let results = all.map(|member| self.world.with(*member, |exchange, _, _| act(exchange)));
        results.last().unwrap()
    }

    /// A new process on this disk.
    pub fn restart(&mut self, config: &Config, records: &[(&'static str, Vec<u8>, Vec<u8>)]) {
        let of_space = |wanted| records.iter().filter(move |(space, ..)| *space == wanted);
        let keys: [u8; 32] = of_space(Keys::SPACE).next().unwrap().2.clone().try_into().unwrap();
        let bindings = of_space("binding").map(|(_, key, value)| (key.clone(), value.clone()));
        let locations = Location::restore_for(SHARDS, keys, bindings, 0);
        self.members.iter().for_each(|member| self.world.kill(*member));
        let members = self.members.clone().into_iter().zip(locations);
        for ((member, location), own) in members.zip(0..) {
            let config = Config { shard: Shard { own, of: SHARDS }, ..config.clone() };
            let again = Exchange::new(config, Some(keys), [9; 32], location).restore(records.to_vec(), 0);
            self.world.restart(member, again);
        }
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
