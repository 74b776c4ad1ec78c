//! What the simulated network promises.

use causeway_node::{Class, Connect, Flow, Record, Transport};
use causeway_sim::{Cheat, Habit, Heard, Link, Nat, NodeId, Peer, Proto, World, for_each_seed};
use std::net::SocketAddr;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn bind(world: &mut World, id: NodeId, local: &str) {
    world.with::<Peer, _>(id, |_, _, out| out.bind(Flow(0), addr(local), Class::Signalling));
}

fn send(world: &mut World, id: NodeId, to: &str, bytes: &[u8]) {
    world.with::<Peer, _>(id, |_, _, out| out.datagram(Flow(0), addr(to), bytes));
}

fn listen(world: &mut World, id: NodeId, local: &str, transport: Transport) {
    world.with::<Peer, _>(id, |_, _, out| out.listen(Flow(1), addr(local), transport, Class::Signalling));
}

fn connect(world: &mut World, id: NodeId, to: &str, transport: Transport) {
    let connect =
        Connect { to: addr(to), through: None, transport, server_name: "x".into(), class: Class::Signalling };
    world.with::<Peer, _>(id, |_, _, out| out.connect(Flow(2), connect));
}

/// A client and a server with a connection between them; the server's flow.
fn pair(world: &mut World, transport: Transport) -> (NodeId, NodeId, Flow) {
    let (a, b) = (world.host(&["192.0.2.1"]), world.host(&["198.51.100.1"]));
    let (client, server) = (world.add(a, "client", Peer::new()), world.add(b, "server", Peer::new()));
    listen(world, server, "198.51.100.1:443", transport);
    connect(world, client, "198.51.100.1:443", transport);
    world.must(20 * SECOND, "accepted", |w| w.node::<Peer>(server).accepted().len() == 1);
    let flow = world.node::<Peer>(server).accepted()[0];
    (client, server, flow)
}

#[test]
fn loss_duplicates_and_reordering_come_as_often_as_told() {
    let mut world = World::new(7);
    let (a, b) = (world.host(&["192.0.2.1"]), world.host(&["198.51.100.1"]));
    let (alice, bob) = (world.add(a, "alice", Peer::new()), world.add(b, "bob", Peer::new()));
    bind(&mut world, alice, "192.0.2.1:1");
    bind(&mut world, bob, "0.0.0.0:1");
    world.set_default_link(Link {
        loss: 0.2,
        duplicate: 0.1,
        reorder: 0.1,
        ..Link::delay(10 * SECOND / 1000)
    });
    for i in 0..5000u32 {
        send(&mut world, alice, "198.51.100.1:1", &i.to_be_bytes());
        world.run_for(Duration::from_millis(1));
    }
    world.run_for(SECOND);
    let got: Vec<u32> = world
        .node::<Peer>(bob)
        .datagrams()
        .iter()
        .map(|d| u32::from_be_bytes((*d).try_into().unwrap()))
        .collect();
    let mut distinct = got.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!((3850..4150).contains(&distinct.len()), "{} of 5000 arrived", distinct.len());
    assert!((300..500).contains(&(got.len() - distinct.len())), "{} twice", got.len() - distinct.len());
    let overtaken = got.windows(2).filter(|w| w[1] < w[0]).count();
    assert!((300..1300).contains(&overtaken), "{overtaken} overtaken");
}

#[test]
fn streams_arrive_whole_and_in_order_over_a_bad_path() {
    for_each_seed(30, |seed| {
        let mut world = World::new(seed);
        world.set_default_link(Link::bad());
        let (client, server, flow) = pair(&mut world, Transport::Tls);
        let exporter = world.node::<Peer>(client).exporter(Flow(2));
        assert!(exporter.is_some());
        assert_eq!(exporter, world.node::<Peer>(server).exporter(flow));
        let said: Vec<u8> = (0..40_000u32).flat_map(|i| (i as u16).to_be_bytes()).collect();
        world.with::<Peer, _>(client, |_, _, out| {
            out.stream(Flow(2), &said);
            out.close(Flow(2));
        });
        world.must(300 * SECOND, "closed", |w| w.node::<Peer>(server).closed(flow).is_some());
        assert!(world.node::<Peer>(server).stream(flow) == said);
        assert_eq!(world.node::<Peer>(server).closed(flow), Some("closed by the peer"));
        assert_eq!(world.connections(client) + world.connections(server), 0);
    });
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let run = |seed| {
        let mut world = World::new(seed);
        world.set_trace(true);
        world.set_default_link(Link::bad());
        let (client, server, flow) = pair(&mut world, Transport::Tcp);
        world.with::<Peer, _>(client, |_, _, out| out.stream(Flow(2), &[7; 30_000]));
        world.must(60 * SECOND, "all", |w| w.node::<Peer>(server).stream(flow).len() == 30_000);
        (world.digest(), world.trace())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn a_peer_that_does_not_read_fills_the_window_then_the_queue() {
    let mut world = World::new(3);
    let (client, server, flow) = pair(&mut world, Transport::Tcp);
    world.stall(server, true);
    world.node_mut::<Peer>(client).supply.insert(Flow(2), vec![1; 500_000]);
    world.with::<Peer, _>(client, |_, _, out| out.wake(Flow(2)));
    world.run_for(10 * SECOND);
    let left = world.node::<Peer>(client).supply[&Flow(2)].len();
    assert!((500_000 - 65_536..500_000 - 60_000).contains(&left), "fill stops at the window: {left}");
    world.stall(server, false);
    world.run_for(10 * SECOND);
    assert_eq!(world.node::<Peer>(server).stream(flow).len(), 500_000);

    world.stall(server, true);
    for _ in 0..30 {
        world.with::<Peer, _>(client, |_, _, out| out.stream(Flow(2), &[2; 40_000]));
    }
    world.run_for(SECOND);
    assert!(world.node::<Peer>(client).closed(Flow(2)).unwrap().contains("does not read"));
}

#[test]
fn a_refused_a_silent_and_a_badly_certified_server() {
    let mut world = World::new(4);
    let (a, b) = (world.host(&["192.0.2.1"]), world.host(&["198.51.100.1"]));
    let (client, server) = (world.add(a, "client", Peer::new()), world.add(b, "server", Peer::new()));
    listen(&mut world, server, "0.0.0.0:443", Transport::Tls);
    world.refuse_tls("198.51.100.1:443", Some("wrong pin"));
    for (to, transport, why) in [
        ("198.51.100.1:444", Transport::Tcp, "connection refused"),
        ("203.0.113.9:443", Transport::Tcp, "timed out"),
        ("198.51.100.1:443", Transport::Tls, "wrong pin"),
    ] {
        connect(&mut world, client, to, transport);
        world.run_for(11 * SECOND);
        let closed = world.node::<Peer>(client).closed(Flow(2)).unwrap();
        assert!(closed.contains(why), "{closed}");
    }
    assert!(world.node::<Peer>(server).accepted().is_empty());
}

#[test]
fn two_nats_in_a_row_let_answers_in_and_strangers_not() {
    let mut world = World::new(5);
    let carrier = world.nat(Nat::new("203.0.113.1"));
    let home = world.nat_behind(carrier, Nat::new("100.64.0.7"));
    let inside = world.host_behind(home, &["192.168.1.2"]);
    let (server, stranger) = (world.host(&["198.51.100.1"]), world.host(&["198.51.100.66"]));
    let phone = world.add(inside, "phone", Peer::new());
    let (proxy, other) = (world.add(server, "proxy", Peer::new()), world.add(stranger, "other", Peer::new()));
    bind(&mut world, phone, "0.0.0.0:5060");
    bind(&mut world, proxy, "198.51.100.1:5060");
    bind(&mut world, other, "198.51.100.66:5060");
    world.run_for(SECOND);
    send(&mut world, phone, "198.51.100.1:5060", b"hello");
    world.run_for(SECOND);
    let from = world.node::<Peer>(proxy).last_datagram().unwrap().0;
    assert_eq!(from.ip().to_string(), "203.0.113.1");
    assert_eq!((world.mappings(carrier).len(), world.mappings(home).len()), (1, 1));
    assert_eq!(world.mappings(home)[0].inner, addr("192.168.1.2:5060"));
    send(&mut world, proxy, &from.to_string(), b"answer");
    send(&mut world, other, &from.to_string(), b"intruder");
    world.run_for(SECOND);
    assert_eq!(world.node::<Peer>(phone).datagrams(), [b"answer"]);
    assert_eq!(world.node::<Peer>(phone).last_datagram().unwrap().0, addr("198.51.100.1:5060"));
    world.run_for(31 * SECOND);
    send(&mut world, proxy, &from.to_string(), b"too late");
    world.run_for(SECOND);
    assert_eq!(world.node::<Peer>(phone).datagrams().len(), 1, "the mapping is gone");
}

#[test]
fn only_443_passes_a_customers_firewall_and_silence_loses_the_mapping() {
    let mut world = World::new(6);
    let nat = world.nat(Nat { tcp_timeout: 100 * SECOND, ..Nat::only_443("203.0.113.1") });
    let (inside, outside) = (world.host_behind(nat, &["192.168.1.2"]), world.host(&["198.51.100.1"]));
    let (client, server) =
        (world.add(inside, "client", Peer::new()), world.add(outside, "server", Peer::new()));
    listen(&mut world, server, "198.51.100.1:443", Transport::Tls);
    bind(&mut world, server, "198.51.100.1:5060");
    bind(&mut world, client, "192.168.1.2:5060");
    send(&mut world, client, "198.51.100.1:5060", b"by UDP");
    connect(&mut world, client, "198.51.100.1:443", Transport::Tls);
    world.run_for(SECOND);
    assert!(world.node::<Peer>(server).datagrams().is_empty());
    let flow = world.node::<Peer>(server).accepted()[0];
    assert_eq!(world.mappings(nat).iter().filter(|m| m.proto == Proto::Tcp).count(), 1);
    world.run_for(101 * SECOND);
    world.with::<Peer, _>(client, |_, _, out| out.stream(Flow(2), b"after a long silence"));
    world.run_for(61 * SECOND);
    assert!(world.node::<Peer>(server).stream(flow).is_empty());
    assert!(world.node::<Peer>(client).closed(Flow(2)).unwrap().contains("timed out"));
}

#[test]
fn gated_outputs_wait_for_the_disk_and_a_failed_commit_stops_the_node() {
    let mut world = World::new(8);
    let host = world.host(&["192.0.2.1"]);
    let (role, phone) = (world.add(host, "role", Peer::new()), world.add(host, "phone", Peer::new()));
    bind(&mut world, role, "192.0.2.1:1");
    bind(&mut world, phone, "192.0.2.1:2");
    world.set_commit_delay(role, SECOND);
    let promise = |world: &mut World| {
        world.with::<Peer, _>(role, |_, _, out| {
            let seq = out.persist(Record { space: "t", key: b"k".to_vec(), value: Some(b"v".to_vec()) });
            out.gated(seq, |out| out.datagram(Flow(0), addr("192.0.2.1:2"), b"granted"));
            out.datagram(Flow(0), addr("192.0.2.1:2"), b"trying");
        });
    };
    promise(&mut world);
    world.run_for(SECOND / 2);
    assert_eq!(world.node::<Peer>(phone).datagrams(), [b"trying"]);
    assert!(world.records(role).is_empty());
    world.run_for(SECOND);
    assert_eq!(world.node::<Peer>(phone).datagrams().len(), 2);
    assert_eq!(world.records(role)[0].value.as_deref(), Some(b"v".as_slice()));
    assert!(world.node::<Peer>(role).heard.iter().any(|(_, h)| *h == Heard::Persisted { seq: 1 }));

    world.fail_commits(role, true);
    promise(&mut world);
    world.run_for(3 * SECOND);
    assert!(!world.runs(role));
    assert_eq!(world.node::<Peer>(phone).datagrams().len(), 3, "the promise never left");
}

#[test]
fn a_killed_process_resets_and_comes_back_on_its_disk_a_dark_host_says_nothing() {
    let mut world = World::new(9);
    let (client, server, flow) = pair(&mut world, Transport::Tcp);
    world.with::<Peer, _>(server, |_, _, out| {
        out.persist(Record { space: "t", key: vec![1], value: Some(vec![2]) });
    });
    world.run_for(SECOND);
    world.kill(server);
    world.run_for(SECOND);
    assert_eq!(world.node::<Peer>(client).closed(Flow(2)), Some("reset by the peer"));
    assert_eq!(world.records(server).len(), 1);
    world.restart(server, Peer::new());
    listen(&mut world, server, "198.51.100.1:443", Transport::Tcp);
    connect(&mut world, client, "198.51.100.1:443", Transport::Tcp);
    world.run_for(SECOND);
    assert_eq!(world.connections(client), 1);
    assert_ne!(world.node::<Peer>(server).accepted(), [flow], "ids are not used again at once");

    world.isolate("198.51.100.1");
    world.run_for(SECOND);
    assert_eq!(world.connections(client), 1);
    world.with::<Peer, _>(client, |_, _, out| out.stream(Flow(2), b"anybody there?"));
    world.run_for(70 * SECOND);
    assert!(world.node::<Peer>(client).closed(Flow(2)).unwrap().contains("timed out"));
}

#[test]
fn a_cheat_spoils_what_it_sends_and_nothing_else() {
    let mut world = World::new(10);
    let host = world.host(&["192.0.2.1"]);
    let echo = Peer::scripted(|_, heard, out| match heard {
        Heard::Start => out.bind(Flow(0), "192.0.2.1:1".parse().unwrap(), Class::Signalling),
        Heard::Datagram { flow, from, bytes } => out.datagram(*flow, *from, bytes),
        _ => {}
    });
    let habits = [Habit::Flip, Habit::Truncate, Habit::Repeat, Habit::Garbage, Habit::Flood, Habit::Swallow];
    let cheat = world.add(host, "cheat", Cheat::new(echo, &habits, 0.5, 10));
    let honest = world.add(host, "honest", Peer::new());
    bind(&mut world, honest, "192.0.2.1:2");
    for _ in 0..100 {
        send(&mut world, honest, "192.0.2.1:1", b"ping");
        world.run_for(Duration::from_millis(1));
    }
    assert_eq!(world.node::<Cheat<Peer>>(cheat).inner.datagrams().len(), 100, "what it hears is not spoiled");
    let spoiled = world.node::<Cheat<Peer>>(cheat).spoiled;
    assert!((30..70).contains(&spoiled), "{spoiled}");
    let right = world.node::<Peer>(honest).datagrams().iter().filter(|d| **d == b"ping").count();
    assert!(right >= 100 - spoiled as usize);
}
