//! How an agent finds a contact point, changes to another, and does without one.

mod common;

use causeway_node::{DnsRecord, RecordKind};
use causeway_sim::{NodeId, World};
use causeway_sip::Method;
use causeway_split_proxy::{Agent, AgentConfig, ContactAddress, ContactConfig, ContactPoint};
use common::{CONTACT, Lab, Phone, S, at};
use std::time::Duration;

const SECOND: &str = "198.51.100.7";
const LAN: &str = "192.168.9.1:5060";

/// One agent on a host of its own, and contact points on two.
struct Ways {
    world: World,
    contacts: [NodeId; 2],
    agent: NodeId,
}

impl Ways {
    fn new(seed: u64, change: impl FnOnce(&mut AgentConfig)) -> Self {
        let mut world = World::new(seed);
        let hosts = [CONTACT, SECOND].map(|ip| world.host(&[ip]));
        let contacts = [(hosts[0], CONTACT), (hosts[1], SECOND)].map(|(host, ip)| {
            let [tunnel, sip, upstream] = [443, 5060, 5070].map(|port| at(&format!("{ip}:{port}")));
            world.add(host, ip, ContactPoint::new(ContactConfig::new(tunnel, sip, upstream), []))
        });
        world.name("one.example.com", &[CONTACT]);
        world.name("two.example.com", &[SECOND]);
        let host = world.host(&["192.168.9.1", "203.0.113.9"]);
        let mut config = AgentConfig::new("one.example.com", 443, at(LAN));
        change(&mut config);
        let agent = world.add(host, "agent", Agent::new(config, []));
        Self { world, contacts, agent }
    }

    fn tunnels(&self) -> [usize; 2] {
        self.contacts.map(|contact| self.world.node::<ContactPoint>(contact).tunnels())
    }

    fn must_be(&mut self, within: Duration, what: &str, expected: [usize; 2]) {
        let contacts = self.contacts;
        self.world.must(within, what, |world| {
            contacts.map(|contact| world.node::<ContactPoint>(contact).tunnels()) == expected
        });
    }
}

fn srv(priority: u16, port: u16, target: &str) -> DnsRecord {
    DnsRecord::Srv { priority, weight: 1, port, target: target.into() }
}

fn service(host: &str) -> ContactAddress {
    ContactAddress { host: host.into(), port: None }
}

#[test]
fn srv_records_lead_to_the_contact_point_in_their_order() {
    let mut ways = Ways::new(1, |config| config.contacts = vec![service("example.com")]);
    let records =
        [srv(20, 443, "one.example.com"), srv(10, 9, "one.example.com"), srv(15, 443, "two.example.com")];
    ways.world.zone("_causeway._tcp.example.com", RecordKind::Srv, &records, 60);
    // The first is refused: nobody listens on port 9.
    ways.must_be(10 * S, "the second place is taken", [0, 1]);
}

#[test]
fn a_name_without_a_service_is_a_host() {
    let mut ways = Ways::new(2, |config| config.contacts = vec![service("two.example.com")]);
    ways.must_be(5 * S, "port 443 of the host", [0, 1]);
}

#[test]
fn the_name_is_asked_for_again_at_each_attempt() {
    let mut ways = Ways::new(3, |_| {});
    ways.must_be(5 * S, "the first address", [1, 0]);
    ways.world.name("one.example.com", &[SECOND]);
    ways.world.isolate(CONTACT);
    ways.must_be(90 * S, "the name has moved", [0, 1]);
}

#[test]
fn a_second_contact_point_takes_over_when_the_first_is_unreachable() {
    let mut ways = Ways::new(4, |config| {
        config.contacts.push(ContactAddress { host: "two.example.com".into(), port: Some(443) });
    });
    ways.must_be(5 * S, "the first", [1, 0]);
    ways.world.isolate(CONTACT);
    let agent = ways.agent;
    ways.world.must(90 * S, "the second", |world| {
        world.node::<Agent>(agent).is_up() && world.status(agent)["contact"] == "two.example.com:443"
    });
    ways.world.rejoin(CONTACT);
    ways.world.run_for(60 * S);
    assert_eq!(ways.tunnels()[1], 1, "it stays where it is");
}

#[test]
fn a_contact_point_that_goes_hands_its_agents_to_another_at_once() {
    let mut ways = Ways::new(5, |config| {
        config.contacts.push(ContactAddress { host: "two.example.com".into(), port: Some(443) });
    });
    ways.must_be(5 * S, "the first", [1, 0]);
    let first = ways.contacts[0];
    ways.world.drain(first);
    ways.must_be(Duration::from_millis(800), "the second, without waiting", [0, 1]);
}

#[test]
fn on_demand_there_is_a_tunnel_only_while_something_needs_it() {
    let mut lab = Lab::new(6, 0, |_| {});
    lab.add_customer_with(common::V4, 0, |config| config.on_demand = Some(5 * S));
    lab.world.run_for(60 * S);
    let tunnels = |lab: &Lab| lab.world.node::<ContactPoint>(lab.contact).tunnels();
    assert_eq!(tunnels(&lab), 0, "nobody has asked for anything");

    lab.register(0, "alice", 30);
    assert_eq!((lab.phone(0).statuses(), tunnels(&lab)), (vec![200], 1), "the first request opens it");
    lab.world.run_for(28 * S);
    assert_eq!(tunnels(&lab), 1, "a registered phone must be reachable");
    lab.world.run_for(10 * S);
    assert_eq!(tunnels(&lab), 0, "the registration is over");

    lab.register(0, "alice", 600);
    lab.invite(0, "alice", "nobody", "call-1", 4000);
    lab.world.run_for(2 * S);
    assert_eq!(tunnels(&lab), 1);
    lab.register(0, "alice", 0);
    let phone = lab.phones[0];
    lab.world.must(60 * S, "the call is refused", |world| world.node::<Phone>(phone).last(404).is_some());
    lab.request(0, Method::Ack, "sip:nobody@example.com", "alice", |r| r);
    lab.world.must(60 * S, "nothing is left", |world| world.node::<ContactPoint>(lab.contact).tunnels() == 0);
}
