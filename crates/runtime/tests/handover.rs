//! Connections that go from one worker to another.

mod common;

use causeway_node::{Class, Ctx, Flow, Input, Node, Outbox, Time, Transport};
use causeway_runtime::tls::{Client, Server, Trust};
use causeway_runtime::{Handle, Membership, Setup, Worker};
use common::{Thread, connect, counter, end, look, peer, stream, wait};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

const LISTENER: Flow = Flow(1);

/// Echoes what comes on connections whose first byte names this worker, and hands all others over.
struct Desk {
    own: u16,
    at: SocketAddr,
    /// Connections of which nothing has come yet, and those that stay; with their exporters.
    open: HashMap<Flow, (bool, Option<[u8; 32]>)>,
    /// Bytes on connections that are somebody else's: there must be none.
    strays: usize,
}

impl Node for Desk {
    fn handle(&mut self, _: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Start => out.listen(LISTENER, self.at, Transport::Tls, Class::Media),
            Input::Opened { flow, listener: Some(LISTENER), exporter, .. } => {
                self.open.insert(flow, (false, exporter));
            }
            Input::Stream { flow, bytes } => match self.open.get_mut(&flow) {
                None => self.strays += bytes.len(),
                Some((stays, _)) => {
                    let to = u16::from(bytes[0]);
                    if !*stays && to != self.own {
                        self.open.remove(&flow);
                        return out.hand_over(flow, to, bytes);
                    }
                    *stays = true;
                    out.stream(flow, bytes);
                }
            },
            Input::Closed { flow, .. } => drop(self.open.remove(&flow)),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn desks(count: u16, at: SocketAddr, dir: &Path) -> Vec<(Handle, Thread)> {
    let server = Server::self_made(dir).unwrap();
    let start = |(own, place): (usize, Membership)| {
        let desk = Desk { own: own as u16, at, open: HashMap::new(), strays: 0 };
        let setup = Setup::new("desk", desk).server(server.clone());
        let worker = Worker::new(format!("desk-{own}")).node(setup.member(place)).spawn().unwrap();
        worker.0.ready(Duration::from_secs(5)).unwrap();
        worker
    };
    Membership::group(count).into_iter().enumerate().map(start).collect()
}

fn strays(handle: &Handle) -> usize {
    handle.with::<Desk, _>("desk", |desk, _, _| desk.strays).unwrap()
}

#[test]
fn a_connection_moves_with_all_that_is_under_way() {
    const CONNECTIONS: u32 = 40;
    const LENGTH: usize = 500_000;
    let dir = tempfile::tempdir().unwrap();
    let at = free_port();
    let desks = desks(2, at, dir.path());
    let pin = Server::self_made(dir.path()).unwrap().pin();
    let (here, thread) = peer(|setup| setup.client(Client::new(&Trust::Pin(pin)).unwrap()));
    let flow = |n: u32| Flow(100 + n);
    let sent = |n: u32| -> Vec<u8> {
        let noise = (0..LENGTH).map(|i| (i as u32 * 31 + n) as u8);
        std::iter::once((n % 2) as u8).chain(noise).collect()
    };
    for n in 0..CONNECTIONS {
        connect(&here, flow(n), at, Transport::Tls, "");
        // It leaves with the end of the handshake, and goes on while the connection moves.
        stream(&here, flow(n), sent(n));
    }
    for n in 0..CONNECTIONS {
        let expected = sent(n);
        wait(&here, "the echo", move |p| (p.stream(flow(n)).len() >= expected.len()).then_some(()));
        let (heard, expected) = (look(&here, move |p| p.stream(flow(n)).to_vec()), sent(n));
        assert!(heard == expected, "connection {n} came back changed");
    }
    let moved: u64 = desks.iter().map(|(desk, _)| counter(desk, "handed_over")).sum();
    assert!(
        moved > 0 && moved < u64::from(CONNECTIONS),
        "the kernel deals them out: {moved} were at the wrong one"
    );
    let mut exporters: Vec<[u8; 32]> = Vec::new();
    for (desk, _) in &desks {
        assert_eq!(strays(desk), 0);
        let own = desk.with::<Desk, _>("desk", |desk, _, _| {
            desk.open.values().filter_map(|(_, exporter)| *exporter).collect::<Vec<_>>()
        });
        exporters.extend(own.unwrap());
    }
    for n in 0..CONNECTIONS {
        let exporter = look(&here, move |p| p.exporter(flow(n))).unwrap();
        assert!(exporters.contains(&exporter), "the new worker knows the exporter of connection {n}");
    }
    end(&here, thread);
    desks.into_iter().for_each(|(desk, thread)| end(&desk, thread));
}

#[test]
fn a_connection_for_nobody_ends() {
    let dir = tempfile::tempdir().unwrap();
    let at = free_port();
    let desks = desks(1, at, dir.path());
    let pin = Server::self_made(dir.path()).unwrap().pin();
    let (here, thread) = peer(|setup| setup.client(Client::new(&Trust::Pin(pin)).unwrap()));
    for (flow, to) in [(Flow(100), 1), (Flow(101), 9)] {
        connect(&here, flow, at, Transport::Tls, "");
        stream(&here, flow, vec![to]);
        wait(&here, "its end", move |p| p.closed(flow).map(drop));
    }
    assert_eq!(counter(&desks[0].0, "handed_over"), 0);
    assert_eq!(counter(&desks[0].0, "connections"), 0);
    end(&here, thread);
    desks.into_iter().for_each(|(desk, thread)| end(&desk, thread));
}

#[test]
fn the_port_of_somebody_else_is_not_shared() {
    let dir = tempfile::tempdir().unwrap();
    let at = free_port();
    let running = desks(2, at, dir.path());
    let desk = Desk { own: 0, at, open: HashMap::new(), strays: 0 };
    let setup = Setup::new("desk", desk).server(Server::self_made(dir.path()).unwrap());
    let place = Membership::group(2).remove(0);
    let (other, thread) = Worker::new("other").node(setup.member(place)).spawn().unwrap();
    assert!(other.ready(Duration::from_secs(5)).unwrap_err().contains("in use"));
    end(&other, thread);
    running.into_iter().for_each(|(desk, thread)| end(&desk, thread));
}
