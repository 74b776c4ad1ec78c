//! A media port that sends to one address for long gets a connected socket beside its own; the node notices nothing.

mod common;

use causeway_node::{Class, Flow};
use causeway_runtime::Handle;
use causeway_sim::{Heard, Peer};
use common::{LONG, bind, counter, end, peer, wait};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const PORT: Flow = Flow(7);
/// More than it takes.
const MANY: usize = 60;

fn client(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

fn send(handle: &Handle, to: SocketAddr, bytes: &'static [u8]) {
    handle.with::<Peer, _>("peer", move |_, _, out| out.datagram(PORT, to, bytes)).unwrap();
}

/// Sends many datagrams to a client, all of which come from the port.
fn send_many(handle: &Handle, to: &UdpSocket, port: SocketAddr) {
    for _ in 0..MANY {
        send(handle, to.local_addr().unwrap(), b"speech");
        assert_eq!(to.recv_from(&mut [0; 16]).unwrap(), (6, port));
    }
}

/// Waits until the node has heard these bytes from there.
#[track_caller]
fn heard(handle: &Handle, from: SocketAddr, bytes: &'static [u8]) {
    wait(handle, "a datagram with its source", move |peer| {
        let wanted = Heard::Datagram { flow: PORT, from, bytes: bytes.to_vec() };
        peer.heard.iter().any(|(_, heard)| *heard == wanted).then_some(())
    });
}

/// Sends from a client, and waits until the node has heard it.
#[track_caller]
fn say(handle: &Handle, client: &UdpSocket, port: SocketAddr, bytes: &'static [u8]) {
    client.send_to(bytes, port).unwrap();
    heard(handle, client.local_addr().unwrap(), bytes);
}

/// How many sockets of this machine are bound to a port, and how many of those are connected.
fn sockets(local: SocketAddr) -> (usize, usize) {
    let table = if local.is_ipv4() { "/proc/net/udp" } else { "/proc/net/udp6" };
    let text = std::fs::read_to_string(table).unwrap();
    let wanted = format!(":{:04X}", local.port());
    let rows = text.lines().filter_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        Some((columns.next()?, columns.next()?))
    });
    let here: Vec<_> = rows.filter(|(local, _)| local.ends_with(&wanted)).collect();
    (here.len(), here.iter().filter(|(_, remote)| !remote.ends_with(":0000")).count())
}

/// Waits until it is so many: the system's table is not read at one moment.
#[track_caller]
fn has_sockets(local: SocketAddr, expected: (usize, usize), why: &str) {
    let start = Instant::now();
    loop {
        let found = sockets(local);
        if found == expected {
            return;
        }
        assert!(start.elapsed() < LONG, "{why}: {found:?} and not {expected:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn all_that_comes_is_heard_with_its_source() {
    for ip in ["127.0.0.1", "::1"] {
        let (handle, thread) = peer(|setup| setup);
        let local = if ip == "::1" { "[::1]:0" } else { "127.0.0.1:0" };
        let port = bind(&handle, PORT, local, Class::Media);
        let (party, stranger) = (client(ip), client(ip));
        has_sockets(port, (1, 0), "at first");
        send_many(&handle, &party, port);
        has_sockets(port, (2, 1), "the party has a socket of its own");
        say(&handle, &party, port, b"answer");
        say(&handle, &stranger, port, b"me too");
        send(&handle, stranger.local_addr().unwrap(), b"once");
        assert_eq!(stranger.recv_from(&mut [0; 16]).unwrap(), (4, port), "others are still sent to");
        say(&handle, &party, port, b"again");

        // The other way from now on.
        send_many(&handle, &stranger, port);
        has_sockets(port, (2, 1), "the same socket leads elsewhere");
        say(&handle, &party, port, b"as before");
        say(&handle, &stranger, port, b"and I");

        // A closed port is free at once.
        handle.with::<Peer, _>("peer", |_, _, out| out.close(PORT)).unwrap();
        let start = Instant::now();
        while UdpSocket::bind(port).is_err() {
            assert!(start.elapsed() < LONG, "{port} is still bound");
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(counter(&handle, "send_errors"), 0);
        end(&handle, thread);
    }
}

#[test]
fn nobody_else_can_share_the_port() {
    let (handle, thread) = peer(|setup| setup);
    let port = bind(&handle, PORT, "127.0.0.1:0", Class::Media);
    let party = client("127.0.0.1");
    send_many(&handle, &party, port);
    let thief = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    thief.set_reuse_address(true).unwrap();
    assert!(thief.bind(&port.into()).is_err());
    end(&handle, thread);
}

#[test]
fn a_party_that_refuses_for_a_while_loses_nothing_afterwards() {
    let (handle, thread) = peer(|setup| setup);
    let port = bind(&handle, PORT, "127.0.0.1:0", Class::Media);
    let party = client("127.0.0.1");
    let address = party.local_addr().unwrap();
    send_many(&handle, &party, port);
    party.send_to(b"the last", port).unwrap();
    drop(party);
    let before = counter(&handle, "datagrams_out");
    for _ in 0..MANY {
        send(&handle, address, b"to nobody");
    }
    heard(&handle, address, b"the last");
    assert_eq!(counter(&handle, "datagrams_out") - before, MANY as u64, "each has left, whatever ICMP says");
    assert_eq!(counter(&handle, "send_errors"), 0);
    // Sending meets an error as often as reading does, and only the latter is told of by the system.
    let start = Instant::now();
    while sockets(port) != (1, 0) {
        assert!(start.elapsed() < LONG, "who refuses has no socket of its own");
        send(&handle, address, b"to nobody");
    }
    let party = UdpSocket::bind(address).unwrap();
    party.set_read_timeout(Some(LONG)).unwrap();
    send_many(&handle, &party, port);
    say(&handle, &party, port, b"back");
    end(&handle, thread);
}

#[test]
fn a_port_of_signalling_or_of_all_addresses_stays_as_it_is() {
    let (handle, thread) = peer(|setup| setup);
    let party = client("127.0.0.1");
    for (local, class) in [("127.0.0.1:0", Class::Signalling), ("0.0.0.0:0", Class::Media)] {
        let port = bind(&handle, PORT, local, class);
        for _ in 0..MANY {
            send(&handle, party.local_addr().unwrap(), b"speech");
            assert_eq!(party.recv_from(&mut [0; 16]).unwrap().1.port(), port.port());
        }
        has_sockets(port, (1, 0), "no other");
        handle.with::<Peer, _>("peer", |_, _, out| out.close(PORT)).unwrap();
        // Its flow may be used again.
        handle.with::<Peer, _>("peer", |peer, _, _| peer.heard.clear()).unwrap();
    }
    end(&handle, thread);
}
