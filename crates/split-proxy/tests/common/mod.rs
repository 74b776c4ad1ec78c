//! A small world: an operator's server, a contact point, agents behind NATs, phones that do what a test says.
#![allow(dead_code, missing_docs, reason = "a part of it for every test, and no library")]

pub mod users;

use causeway_node::{Class, Flow, Input, Node, Outbox, Time};
use causeway_node::{Ctx, Status};
use causeway_sim::{Nat, NodeId, World};
use causeway_sip::{HeaderId, Message, Method, RequestBuilder, response_to};
use causeway_split_proxy::{Agent, AgentConfig, ContactConfig, ContactPoint};
use causeway_tunnel::Instance;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub const SERVER: &str = "198.51.100.2";
pub const CONTACT: &str = "198.51.100.1";
/// Where the operator's machines are, and what the customers' LANs look like.
#[derive(Clone, Copy)]
pub struct Plan {
    pub server: &'static str,
    /// The contact point towards the server.
    pub sip: &'static str,
    /// The contact point towards the agents.
    pub tunnel: &'static str,
    /// The outer address of a customer, the LAN's prefix: the number of the customer follows.
    pub outer: &'static str,
    pub lan: &'static str,
}

pub const V4: Plan =
    Plan { server: SERVER, sip: CONTACT, tunnel: CONTACT, outer: "203.0.113.", lan: "192.168." };

/// An address with a port, in brackets where it must be.
pub fn with_port(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// A host as in a URI.
pub fn host(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

pub const S: Duration = Duration::from_secs(1);

/// A registrar and proxy as stock ones are: it stores Contact as given, goes to it by Request-URI, inserts a
/// Record-Route if told, and challenges nobody.
#[derive(Default)]
pub struct Server {
    pub ip: String,
    pub bindings: HashMap<String, String>,
    pub seen: Vec<Message>,
    pub record_route: bool,
    pub store_path: bool,
    pub refuse_register: bool,
    /// What it makes of every description, as a server that leads media itself would.
    pub mangle: Option<fn(&str) -> String>,
    paths: HashMap<String, Vec<u8>>,
    pending: HashMap<Vec<u8>, ()>,
    serial: u32,
    expires: u32,
}

impl Server {
    pub fn new() -> Self {
        Self { ip: SERVER.into(), record_route: true, expires: 3600, ..Self::default() }
    }

    pub fn methods(&self) -> Vec<String> {
        let name = |m: &Message| match m.msg().status() {
            Some(status) => status.to_string(),
            None => m.msg().method().to_string(),
        };
        self.seen.iter().map(name).collect()
    }

    pub fn requests(&self, method: Method<'_>) -> Vec<&Message> {
        self.seen.iter().filter(|m| m.msg().is_request() && m.msg().method() == method).collect()
    }

    fn register(&mut self, msg: causeway_sip::Msg<'_>) -> Vec<u8> {
        if self.refuse_register {
            return response_to(msg, 403, None, Some(b"srv")).finish();
        }
        let aor = String::from_utf8_lossy(msg.to().unwrap().uri).into_owned();
        let expires = msg.contact().and_then(|c| c.expires()).or(msg.expires()).unwrap_or(self.expires);
        if let Some(contact) = msg.contact() {
            if expires == 0 {
                self.bindings.remove(&aor);
            } else {
                self.bindings.insert(aor.clone(), String::from_utf8_lossy(contact.uri).into_owned());
            }
        }
        if self.store_path {
            let path: Vec<&[u8]> = msg.values(HeaderId::Path).collect();
            self.paths.insert(aor.clone(), path.join(&b", "[..]));
        }
        let mut answer = response_to(msg, 200, None, Some(b"srv"));
        if let Some(contact) = self.bindings.get(&aor) {
            answer = answer.header("Contact", format!("<{contact}>;expires={expires}"));
        }
        answer.finish()
    }

    fn mangle(&self, edit: &mut causeway_sip::Edit, msg: causeway_sip::Msg<'_>) {
        if let Some(mangle) = self.mangle.filter(|_| !msg.body().is_empty()) {
            edit.set_body(msg, mangle(&String::from_utf8_lossy(msg.body())).as_bytes());
        }
    }

    fn request(&mut self, message: &Message, from: SocketAddr, out: &mut Outbox) {
        let msg = message.msg();
        if msg.method() == Method::Register {
            return out.datagram(Flow(0), from, &self.register(msg));
        }
        let uri = String::from_utf8_lossy(msg.request_uri()).into_owned();
        let target = self.bindings.get(&uri).cloned().unwrap_or(uri.clone());
        let mut edit = causeway_sip::Edit::new();
        edit.set_request_uri(msg, &[target.as_bytes()]);
        self.serial += 1;
        let cookie = msg.top_via().unwrap().branch().unwrap().to_vec();
        let via = format!("SIP/2.0/UDP {}:5060;branch={}x", host(&self.ip), String::from_utf8_lossy(&cookie));
        edit.push_via(msg, &[via.as_bytes()]);
        edit.set_max_forwards(msg, msg.max_forwards().unwrap_or(70) - 1);
        edit.remove_values(msg, HeaderId::Route, |value| {
            value.windows(self.ip.len()).any(|w| w == self.ip.as_bytes())
        });
        if let Some(path) = self.paths.get(&uri).filter(|path| !path.is_empty()) {
            edit.append(msg, b"Route", &[path]);
        }
        self.mangle(&mut edit, msg);
        if self.record_route && msg.method() == Method::Invite {
            let route = format!("<sip:{};lr>", host(&self.ip));
            edit.insert_above(msg, HeaderId::RecordRoute, b"Record-Route", &[route.as_bytes()]);
        }
        let mut bytes = Vec::new();
        edit.apply(msg, &mut bytes);
        let parsed = causeway_sip::Uri::parse(target.as_bytes()).unwrap();
        let Some(ip) = parsed.host_ip() else {
            if msg.method() != Method::Ack {
                let answer = response_to(msg, 404, None, Some(b"srv")).finish();
                out.datagram(Flow(0), from, &answer);
            }
            return;
        };
        out.datagram(Flow(0), SocketAddr::new(ip, parsed.port.unwrap_or(5060)), &bytes);
    }
}

impl Node for Server {
    fn handle(&mut self, _: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Start => out.bind(Flow(0), with_port(&self.ip, 5060), Class::Signalling),
            Input::Datagram { from, bytes, .. } => {
                let message = Message::parse(bytes).unwrap();
                self.seen.push(message.clone());
                let msg = message.msg();
                if msg.is_request() {
                    return self.request(&message, from, out);
                }
                let mut edit = causeway_sip::Edit::new();
                edit.remove_top(msg, HeaderId::Via, 1);
                self.mangle(&mut edit, msg);
                let mut bytes = Vec::new();
                edit.apply(msg, &mut bytes);
                let next = Message::parse(bytes.clone()).unwrap();
                let Some(via) = next.msg().top_via() else { return };
                let to = SocketAddr::new(via.host_ip().unwrap(), via.port.unwrap_or(5060));
                out.datagram(Flow(0), to, &bytes);
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

/// A phone: SIP on port 5060, media wherever it says; it keeps what it hears.
pub struct Phone {
    pub ip: String,
    pub agent: SocketAddr,
    pub heard: Vec<Message>,
    pub media: Vec<(u16, SocketAddr, Vec<u8>)>,
    pub cseq: u32,
    pub serial: u32,
}

impl Phone {
    pub fn contact(&self, user: &str) -> String {
        format!("<sip:{user}@{}:5060>", host(&self.ip))
    }

    pub fn statuses(&self) -> Vec<u16> {
        self.heard.iter().filter_map(|m| m.msg().status()).collect()
    }

    pub fn last(&self, status: u16) -> Option<&Message> {
        self.heard.iter().rev().find(|m| m.msg().status() == Some(status))
    }

    pub fn last_request(&self, method: Method<'_>) -> Option<&Message> {
        self.heard.iter().rev().find(|m| m.msg().is_request() && m.msg().method() == method)
    }

    pub fn send(&self, out: &mut Outbox, bytes: &[u8]) {
        out.datagram(Flow(0), self.agent, bytes);
    }

    pub fn builder(&mut self, method: Method<'static>, uri: &str, user: &str) -> RequestBuilder {
        self.serial += 1;
        RequestBuilder::new(method, uri.as_bytes())
            .header(
                "Via",
                format!("SIP/2.0/UDP {}:5060;branch=z9hG4bK{user}{};rport", host(&self.ip), self.serial),
            )
            .header("Contact", self.contact(user))
    }
}

impl Node for Phone {
    fn handle(&mut self, _: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Start => {
                for port in [5060, 4000, 4001, 6000, 6001] {
                    let flow = Flow(if port == 5060 { 0 } else { u32::from(port) });
                    out.bind(flow, with_port(&self.ip, port), Class::Signalling);
                }
            }
            Input::Datagram { flow: Flow(0), bytes, .. } => {
                let message = Message::parse(bytes).unwrap();
                self.heard.push(message);
            }
            Input::Datagram { flow, from, bytes } => self.media.push((flow.0 as u16, from, bytes.to_vec())),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

/// The whole: `agents[i]` serves `phones[i]`.
pub struct Lab {
    pub world: World,
    pub server: NodeId,
    pub contact: NodeId,
    pub contact_host: causeway_sim::HostId,
    pub agents: Vec<NodeId>,
    pub phones: Vec<NodeId>,
    pub phone_hosts: Vec<causeway_sim::HostId>,
    pub nats: Vec<causeway_sim::NatId>,
    change_agent: fn(&mut AgentConfig),
    pub contact_config: ContactConfig,
    pub agent_configs: Vec<AgentConfig>,
}

pub fn contact_config() -> ContactConfig {
    contact_config_at(V4)
}

pub fn contact_config_at(plan: Plan) -> ContactConfig {
    let mut config = ContactConfig::new(
        with_port(plan.tunnel, 443),
        with_port(plan.sip, 5060),
        with_port(plan.server, 5060),
    );
    config.media.low = 20_000;
    config.media.high = 20_199;
    config.media.ahead = 4;
    config
}

impl Lab {
    pub fn new(seed: u64, customers: usize, change: impl Fn(&mut ContactConfig)) -> Self {
        Self::with(seed, customers, change, |_| {})
    }

    pub fn at(plan: Plan, seed: u64, customers: usize, change: impl Fn(&mut ContactConfig)) -> Self {
        Self::of(plan, seed, customers, change, |_| {})
    }

    pub fn with(
        seed: u64,
        customers: usize,
        change: impl Fn(&mut ContactConfig),
        change_agent: fn(&mut AgentConfig),
    ) -> Self {
        Self::of(V4, seed, customers, change, change_agent)
    }

    fn of(
        plan: Plan,
        seed: u64,
        customers: usize,
        change: impl Fn(&mut ContactConfig),
        change_agent: fn(&mut AgentConfig),
    ) -> Self {
        let mut world = World::new(seed);
        let server_host = world.host(&[plan.server]);
        let mut addresses = vec![plan.tunnel, plan.sip];
        addresses.dedup();
        let contact_host = world.host(&addresses);
        world.name("contact.example.com", &[plan.tunnel]);
        let server = world.add(server_host, "server", Server { ip: plan.server.into(), ..Server::new() });
        let mut config = contact_config_at(plan);
        change(&mut config);
        let contact = world.add(contact_host, "contact", ContactPoint::new(config.clone(), []));
        let mut lab = Self {
            world,
            server,
            contact,
            contact_host,
            agents: Vec::new(),
            phones: Vec::new(),
            phone_hosts: Vec::new(),
            nats: Vec::new(),
            change_agent,
            contact_config: config,
            agent_configs: Vec::new(),
        };
        for n in 0..customers {
            lab.add_customer(plan, n);
        }
        lab.world.must(5 * S, "the tunnels come up", |world| {
            lab.agents.iter().all(|agent| world.node::<Agent>(*agent).is_up())
        });
        lab
    }

    /// One more phone on the LAN of agent `n`; its number.
    pub fn add_phone(&mut self, n: usize, ip: &str) -> usize {
        let nat = self.nats[n];
        let host = self.world.host_behind(nat, &[ip]);
        let agent = self.phone(n).agent;
        let name = format!("phone {ip}");
        let phone = Phone { ip: ip.to_owned(), agent, heard: vec![], media: vec![], cseq: 0, serial: 0 };
        self.phones.push(self.world.add(host, &name, phone));
        self.phone_hosts.push(host);
        self.phones.len() - 1
    }

    fn add_customer(&mut self, plan: Plan, n: usize) {
        self.add_customer_with(plan, n, |_| {});
    }

    /// A customer's network with an agent of other settings and one phone.
    pub fn add_customer_with(&mut self, plan: Plan, n: usize, change: impl FnOnce(&mut AgentConfig)) {
        let nat = self.world.nat(Nat::new(&format!("{}{}", plan.outer, n + 1)));
        self.nats.push(nat);
        let last = if plan.lan.contains(':') { ["::1", "::10"] } else { [".1", ".10"] };
        let [agent_ip, phone_ip] = last.map(|last| format!("{}{n}{last}", plan.lan));
        // An agent with a LAN of IPv6 may still have to leave over IPv4.
        let way_out = format!("10.0.{n}.1");
        let addresses =
            if plan.outer.contains(':') { vec![&agent_ip[..]] } else { vec![&agent_ip[..], &way_out] };
        let host = self.world.host_behind(nat, &addresses);
        let mut config = AgentConfig::new("contact.example.com", 443, with_port(&agent_ip, 5060));
        config.media.ahead = 2;
        config.instance = Some(Instance([n as u8 + 1; 16]));
        (self.change_agent)(&mut config);
        change(&mut config);
        self.agent_configs.push(config.clone());
        let agent = self.world.add(host, &format!("agent{n}"), Agent::new(config, []));
        let host = self.world.host_behind(nat, &[&phone_ip]);
        let agent_at = with_port(&agent_ip, 5060);
        let phone = Phone { ip: phone_ip, agent: agent_at, heard: vec![], media: vec![], cseq: 0, serial: 0 };
        let phone = self.world.add(host, &format!("phone{n}"), phone);
        self.agents.push(agent);
        self.phones.push(phone);
        self.phone_hosts.push(host);
        self.nats.push(nat);
    }

    /// A new process in the place of the contact point, with what the old one had on disk.
    pub fn restart_contact(&mut self) {
        let records = self.world.records(self.contact);
        let contact = ContactPoint::new(self.contact_config.clone(), records);
        self.world.restart(self.contact, contact);
    }

    /// The same for an agent.
    pub fn restart_agent(&mut self, n: usize) {
        let records = self.world.records(self.agents[n]);
        let agent = Agent::new(self.agent_configs[n].clone(), records);
        self.world.restart(self.agents[n], agent);
    }

    pub fn world_host_of_phone(&self, n: usize) -> causeway_sim::HostId {
        self.phone_hosts[n]
    }

    pub fn phone(&self, n: usize) -> &Phone {
        self.world.node(self.phones[n])
    }

    pub fn server(&self) -> &Server {
        self.world.node(self.server)
    }

    pub fn status(&self, id: NodeId) -> Status {
        self.world.status(id)
    }

    /// The phone sends a message as it is.
    pub fn say(&mut self, n: usize, bytes: &[u8]) {
        self.world.with::<Phone, _>(self.phones[n], |phone, _, out| phone.send(out, bytes));
    }

    /// The phone sends a request of its own making.
    pub fn request(
        &mut self,
        n: usize,
        method: Method<'static>,
        uri: &str,
        user: &str,
        more: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) {
        self.world.with::<Phone, _>(self.phones[n], |phone, _, out| {
            phone.cseq += 1;
            let cseq = phone.cseq;
            let request = more(phone.builder(method, uri, user)).cseq(cseq, method).max_forwards(70);
            phone.send(out, &request.finish());
        });
    }

    pub fn register(&mut self, n: usize, user: &str, expires: u32) {
        let before = self.phone(n).heard.len();
        self.request(n, Method::Register, "sip:example.com", user, |r| {
            r.header("From", format!("<sip:{user}@example.com>;tag=reg{user}"))
                .header("To", format!("<sip:{user}@example.com>"))
                .header("Call-ID", format!("reg-{user}"))
                .header("Expires", expires.to_string())
        });
        let phone = self.phones[n];
        self.world.must(5 * S, "the registration is answered", |world| {
            world.node::<Phone>(phone).heard.len() > before
        });
    }

    /// An INVITE with an offer of audio on `port`.
    pub fn invite(&mut self, n: usize, user: &str, to: &str, call_id: &str, port: u16) {
        let sdp = sdp(&self.phone(n).ip, port);
        self.request(n, Method::Invite, &format!("sip:{to}@example.com"), user, |r| {
            r.header("From", format!("<sip:{user}@example.com>;tag=from{user}"))
                .header("To", format!("<sip:{to}@example.com>"))
                .header("Call-ID", call_id)
                .body("application/sdp", sdp)
        });
    }

    /// Cancels the INVITE that this phone has sent last, to `to`.
    pub fn cancel(&mut self, n: usize, user: &str, to: &str, call_id: &str) {
        self.world.with::<Phone, _>(self.phones[n], |phone, _, out| {
            let cancel = RequestBuilder::new(Method::Cancel, format!("sip:{to}@example.com").as_bytes())
                .header(
                    "Via",
                    format!("SIP/2.0/UDP {}:5060;branch=z9hG4bK{user}{};rport", phone.ip, phone.serial),
                )
                .header("From", format!("<sip:{user}@example.com>;tag=from{user}"))
                .header("To", format!("<sip:{to}@example.com>"))
                .header("Call-ID", call_id)
                .cseq(phone.cseq, Method::Cancel)
                .max_forwards(70)
                .finish();
            phone.send(out, &cancel);
        });
    }

    /// Answers the last INVITE that a phone has heard.
    pub fn answer(&mut self, n: usize, user: &str, status: u16, port: Option<u16>) {
        self.world.with::<Phone, _>(self.phones[n], |phone, _, out| {
            let invite = phone.last_request(Method::Invite).unwrap().clone();
            let tag = format!("to{user}");
            let mut response = response_to(invite.msg(), status, None, Some(tag.as_bytes()))
                .record_routes()
                .header("Contact", phone.contact(user));
            if let Some(port) = port {
                response = response.body("application/sdp", sdp(&phone.ip, port));
            }
            phone.send(out, &response.finish());
        });
    }

    /// A request in the dialog that a 2xx (heard by the caller) has made: its route set, its target.
    pub fn in_dialog_of_caller(
        &mut self,
        n: usize,
        user: &str,
        method: Method<'static>,
        body: Option<Vec<u8>>,
    ) {
        // The route set is that of the first 2xx; later ones change the target alone (RFC 3261 §12.2).
        let last = self.phone(n).heard.iter().rev().filter(|m| m.msg().status() == Some(200));
        let last = last.filter(|m| m.msg().method() == Method::Invite).last_of_call();
        let ok = last.unwrap().clone();
        let msg = ok.msg();
        let mut routes: Vec<String> =
            msg.values(HeaderId::RecordRoute).map(|v| String::from_utf8_lossy(v).into_owned()).collect();
        routes.reverse();
        self.in_dialog(
            n,
            user,
            method,
            &msg,
            routes,
            msg.header(HeaderId::From),
            msg.header(HeaderId::To),
            body,
        );
    }

    /// Likewise of the callee, from the INVITE that it has heard.
    pub fn in_dialog_of_callee(
        &mut self,
        n: usize,
        user: &str,
        method: Method<'static>,
        body: Option<Vec<u8>>,
    ) {
        let invite = self.phone(n).last_request(Method::Invite).unwrap().clone();
        let msg = invite.msg();
        let routes =
            msg.values(HeaderId::RecordRoute).map(|v| String::from_utf8_lossy(v).into_owned()).collect();
        let to = format!("{};tag=to{user}", String::from_utf8_lossy(msg.header(HeaderId::To).unwrap()));
        self.in_dialog(n, user, method, &msg, routes, Some(to.as_bytes()), msg.header(HeaderId::From), body);
    }

    #[allow(clippy::too_many_arguments, reason = "a dialog has that many parts")]
    fn in_dialog(
        &mut self,
        n: usize,
        user: &str,
        method: Method<'static>,
        msg: &causeway_sip::Msg<'_>,
        routes: Vec<String>,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
        body: Option<Vec<u8>>,
    ) {
        let target = String::from_utf8_lossy(msg.contact().unwrap().uri).into_owned();
        let call_id = msg.call_id().unwrap().to_vec();
        let (from, to) = (from.unwrap().to_vec(), to.unwrap().to_vec());
        // A phone sends to its first route; ours must be there.
        let agent = self.phone(n).agent;
        assert!(routes.first().is_some_and(|r| r.contains(&agent.to_string())), "{routes:?}");
        self.request(n, method, &target, user, |r| {
            let r = r.header("From", from).header("To", to).header("Call-ID", call_id);
            let r = routes.iter().fold(r, |r, route| r.header("Route", route));
            match body {
                Some(body) => r.body("application/sdp", body),
                None => r,
            }
        });
    }

    /// A call from phone `a` to phone `b` up to the ACK, audio on their port 4000.
    pub fn call(&mut self, a: usize, caller: &str, b: usize, callee: &str, call_id: &str) {
        self.invite(a, caller, callee, call_id, 4000);
        let phone = self.phones[b];
        self.world.must(5 * S, "the INVITE arrives", |world| {
            world
                .node::<Phone>(phone)
                .heard
                .iter()
                .any(|m| m.msg().is_request() && m.msg().call_id() == Some(call_id.as_bytes()))
        });
        self.answer(b, callee, 180, None);
        self.answer(b, callee, 200, Some(4000));
        let phone = self.phones[a];
        self.world.must(5 * S, "the answer arrives", |world| {
            let ok = world.node::<Phone>(phone).last(200);
            ok.is_some_and(|m| m.msg().call_id() == Some(call_id.as_bytes()))
        });
        self.in_dialog_of_caller(a, caller, Method::Ack, None);
        self.world.run_for(S);
    }

    /// Sends one RTP packet from port 4000 of a phone to wherever its peer's description says.
    pub fn speak(&mut self, n: usize, to: SocketAddr, sequence: u16, payload: &[u8]) {
        let packet = rtp(sequence, payload);
        self.world.with::<Phone, _>(self.phones[n], |_, _, out| out.datagram(Flow(4000), to, &packet));
    }

    /// The media address that a description heard by phone `n` leads to.
    pub fn media_of(&self, message: &Message) -> SocketAddr {
        media_of(message)
    }
}

/// Of messages from the newest to the oldest, the oldest of the newest call.
trait LastOfCall<'a> {
    fn last_of_call(self) -> Option<&'a Message>;
}

impl<'a, I: Iterator<Item = &'a Message>> LastOfCall<'a> for I {
    fn last_of_call(mut self) -> Option<&'a Message> {
        let newest = self.next()?;
        Some(self.filter(|m| m.msg().call_id() == newest.msg().call_id()).last().unwrap_or(newest))
    }
}

pub fn media_of(message: &Message) -> SocketAddr {
    let body = String::from_utf8_lossy(message.msg().body()).into_owned();
    let c = body.lines().find_map(|l| l.strip_prefix("c=IN IP4 ").or(l.strip_prefix("c=IN IP6 "))).unwrap();
    let m = body.lines().find_map(|l| l.strip_prefix("m=audio ")).unwrap();
    with_port(c, m.split(' ').next().unwrap().parse().unwrap())
}

pub fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    [&[0x80, 0, high, low, 0, 0, 0, 1, 9, 9, 9, 9], payload].concat()
}

pub fn sdp(ip: &str, port: u16) -> Vec<u8> {
    let family = if ip.contains(':') { "IP6" } else { "IP4" };
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=sendrecv\r\n"
    )
    .into_bytes()
}
