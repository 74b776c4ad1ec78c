//! Devices and their flows: Path, Service-Route, outbound and GRUU.

mod common;

use causeway_node::{Class, Connect, Flow, Transport};
use causeway_sim::{NodeId, Peer};
use causeway_sip::{HeaderId, Message, Method, NameAddr, RequestBuilder};
use common::{Bench, EXCHANGE, answer, config, contacts};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const BOB: &str = "sip:bob@example.com";
const INSTANCE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"";

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// The value of a quoted parameter of the first contact of a 200.
fn param(ok: &Message, name: &str) -> String {
    let value = ok.msg().values(HeaderId::Contact).next().unwrap();
    let addr = NameAddr::parse(value).unwrap();
    text(addr.params.value(name.as_bytes())).trim_matches('"').to_owned()
}

#[test]
fn a_path_is_kept_and_leads_the_way() {
    let mut bench = Bench::new();
    let edge = bench.peer("192.0.2.50");
    let headers =
        [("Contact", "<sip:bob@10.0.0.1>"), ("Path", "<sip:tok@192.0.2.50;lr>"), ("Supported", "path")];
    let ok = bench.register_as("bob", "bob", &headers);
    assert_eq!(text(ok.msg().header(HeaderId::Path)), "<sip:tok@192.0.2.50;lr>");
    bench.invite(BOB, &[]);
    let invite = bench.asked(edge, Method::Invite).expect("by the first hop of the path");
    assert_eq!(invite.msg().request_uri(), b"sip:bob@10.0.0.1");
    assert_eq!(text(invite.msg().header(HeaderId::Route)), "<sip:tok@192.0.2.50;lr>");
}

#[test]
fn service_route_is_given_where_it_is_wanted() {
    let mut bench = Bench::new();
    assert!(!bench.register_as("bob", "bob", &[]).msg().has(HeaderId::ServiceRoute));
    let mut config = config();
    config.service_route = true;
    let mut bench = Bench::with(config);
    let ok = bench.register_as("bob", "bob", &[]);
    assert_eq!(text(ok.msg().header(HeaderId::ServiceRoute)), format!("<sip:{EXCHANGE};lr>"));
}

#[test]
fn contacts_per_user_are_limited() {
    let mut config = config();
    config.policy.contacts = 2;
    let mut bench = Bench::with(config);
    for (n, expected) in [(1, 200), (2, 200), (3, 403), (2, 200)] {
        let contact = format!("<sip:bob@192.0.2.{n}>");
        let status = bench.register_as("bob", "bob", &[("Contact", &contact)]).msg().status();
        assert_eq!(status, Some(expected), "{contact}");
    }
}

/// RFC 5627 §3, §5: the public GRUU lasts, temporary ones come and go; each reaches this device alone.
#[test]
fn a_gruu_reaches_one_device() {
    let mut bench = Bench::new();
    let contact = format!("<sip:bob@192.0.2.8>;{INSTANCE}");
    let headers = [("Contact", contact.as_str()), ("Supported", "gruu")];
    let first = bench.register_as("bob", "bob", &headers);
    let (public, temporary) = (param(&first, "pub-gruu"), param(&first, "temp-gruu"));
    assert_eq!(public, "sip:bob@example.com;gr=urn:uuid:00000000-0000-1000-8000-000A95A0E128");
    let second = bench.register_as("bob", "bob", &headers);
    assert_eq!(param(&second, "pub-gruu"), public);
    assert_ne!(param(&second, "temp-gruu"), temporary);
    bench.register_as("bob", "bob", &[("Contact", "<sip:bob@192.0.2.9>")]);
    let (device, other) = (bench.peer("192.0.2.8"), bench.peer("192.0.2.9"));
    let mut reached = 0;
    for gruu in [&public, &temporary, &param(&second, "temp-gruu")] {
        bench.invite(gruu, &[]);
        assert!(bench.asked(other, Method::Invite).is_none(), "{gruu}");
        let invites = bench.messages(device).iter().filter(|m| m.msg().method() == Method::Invite).count();
        assert!(invites > reached, "{gruu}");
        reached = invites;
        assert_eq!(bench.asked(device, Method::Invite).unwrap().msg().request_uri(), b"sip:bob@192.0.2.8");
    }
    // §3.2: with another Call-ID the device has begun anew, and its temporary names are void.
    let credentials = bench.credentials("bob", "bob");
    let anew = bench.register("bob", &headers).header("Authorization", credentials).finish();
    let anew = String::from_utf8(anew).unwrap().replace("Call-ID: call", "Call-ID: anew");
    bench.send(anew.as_bytes());
    bench.world.run_for(SECOND);
    let gone = bench.invite(&temporary, &[]);
    assert_eq!(bench.statuses(gone).last(), Some(&404));
    let still = bench.invite(&public, &[]);
    assert!(bench.statuses(still).last() != Some(&404));
    let never = bench.invite("sip:tgruu.00112233445566778899aabbccddeeff@example.com;gr", &[]);
    assert_eq!(bench.statuses(never).last(), Some(&404));
}

/// A phone on TCP that registers one flow per connection.
struct Phone {
    peer: NodeId,
}

impl Phone {
    fn new(bench: &mut Bench) -> Self {
        let host = bench.world.host(&["192.0.2.30"]);
        let peer = bench.world.add(host, "phone", Peer::new());
        Self { peer }
    }

    fn connect(&self, bench: &mut Bench, flow: u32) {
        let to = EXCHANGE.parse().unwrap();
        let connect = Connect {
            to,
            through: None,
            transport: Transport::Tcp,
            server_name: String::new(),
            class: Class::Signalling,
        };
        bench.world.with::<Peer, _>(self.peer, |_, _, out| out.connect(Flow(flow), connect));
        bench.world.run_for(SECOND);
    }

    fn send(&self, bench: &mut Bench, flow: u32, bytes: &[u8]) {
        bench.world.with::<Peer, _>(self.peer, |_, _, out| out.stream(Flow(flow), bytes));
        bench.world.run_for(SECOND);
    }

    /// All that has come on a connection.
    fn heard(&self, bench: &Bench, flow: u32) -> String {
        let peer = bench.world.node::<Peer>(self.peer);
        String::from_utf8_lossy(&peer.stream(Flow(flow))).into_owned()
    }

    /// Sends a request on a connection, and returns what comes of it.
    fn ask(&self, bench: &mut Bench, flow: u32, request: RequestBuilder) -> String {
        let request = String::from_utf8(request.finish())
            .unwrap()
            .replace("SIP/2.0/UDP 192.0.2.1:5060", "SIP/2.0/TCP 192.0.2.30:5060");
        let before = self.heard(bench, flow).len();
        self.send(bench, flow, request.as_bytes());
        self.heard(bench, flow)[before..].to_owned()
    }

    /// Registers the flow.
    fn register(&self, bench: &mut Bench, flow: u32, reg_id: u32) -> String {
        let bare = bench.register("bob", &[]);
        let challenge = Message::parse(self.ask(bench, flow, bare).into_bytes()).unwrap();
        let credentials = answer(&challenge, "bob", Method::Register, b"sip:example.com");
        let contact = format!("<sip:bob@192.0.2.30:5060;transport=tcp>;{INSTANCE};reg-id={reg_id}");
        let headers = [("Contact", contact.as_str()), ("Supported", "path, outbound")];
        let request = bench.register("bob", &headers).header("Authorization", credentials);
        self.ask(bench, flow, request)
    }
}

/// RFC 5626: two flows of one device are one target; when the latest is gone, the other is taken.
#[test]
fn a_flow_that_fails_gives_way_to_the_other() {
    let mut bench = Bench::new();
    let phone = Phone::new(&mut bench);
    for (flow, reg_id) in [(1, 1), (2, 2)] {
        phone.connect(&mut bench, flow);
        let ok = phone.register(&mut bench, flow, reg_id);
        assert!(ok.starts_with("SIP/2.0 200") && ok.contains("Require: outbound"), "{ok}");
        assert!(ok.contains("Flow-Timer: 120"), "{ok}");
    }
    assert_eq!(bench.status()["bindings"], 2);
    bench.invite(BOB, &[]);
    let invites = |bench: &Bench, flow| phone.heard(bench, flow).matches("INVITE sip:bob@192.0.2.30").count();
    assert_eq!((invites(&bench, 1), invites(&bench, 2)), (0, 1), "one device rings once, on its latest flow");
    bench.world.with::<Peer, _>(phone.peer, |_, _, out| out.close(Flow(2)));
    bench.world.run_for(SECOND);
    assert_eq!(invites(&bench, 1), 1, "the call that rang on it rings on the other");
    bench.invite(BOB, &[]);
    assert_eq!(invites(&bench, 1), 2, "which further calls take at once");
    bench.world.with::<Peer, _>(phone.peer, |_, _, out| out.close(Flow(1)));
    bench.world.run_for(SECOND);
    let lost = bench.invite(BOB, &[]);
    assert_eq!(bench.statuses(lost).last(), Some(&430), "RFC 5626 section 5.3: the flows have failed");
}

#[test]
fn outbound_through_an_edge_that_does_not_know_it_is_refused() {
    let mut bench = Bench::new();
    let contact = format!("<sip:bob@10.0.0.1>;{INSTANCE};reg-id=1");
    for (path, expected) in [("<sip:edge.example.com;lr>", 439), ("<sip:edge.example.com;lr;ob>", 200)] {
        let credentials = bench.credentials("bob", "bob");
        let request = bench
            .register("bob", &[("Contact", &contact), ("Supported", "path, outbound"), ("Path", path)])
            .header("Via", "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKfar")
            .header("Authorization", credentials);
        assert_eq!(bench.ask(request).msg().status(), Some(expected), "{path}");
    }
    let fetch = bench.register_as("bob", "bob", &[]);
    assert!(contacts(&fetch)[0].contains("reg-id=1"), "{:?}", contacts(&fetch));
}

/// A phone behind a NAT without outbound, over UDP: its contact cannot be reached as it is written.
#[test]
fn a_contact_behind_a_nat_is_reached_where_it_came_from() {
    let mut bench = Bench::new();
    let credentials = bench.credentials("alice", "alice");
    let request = bench
        .register("alice", &[("Contact", "<sip:alice@10.0.0.7:5060>")])
        .header("Authorization", credentials)
        .finish();
    let request =
        String::from_utf8(request).unwrap().replace("UDP 192.0.2.1:5060;", "UDP 10.0.0.7:5060;rport;");
    bench.send(request.as_bytes());
    bench.world.run_for(SECOND);
    bench.invite("sip:alice@example.com", &[]);
    let invite =
        bench.asked(bench.client, Method::Invite).expect("at 192.0.2.1, where the REGISTER came from");
    assert_eq!(invite.msg().request_uri(), b"sip:alice@10.0.0.7:5060");
}
