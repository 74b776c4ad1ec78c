//! Addresses that no socket has. Alone in its process, so that it can count the sockets.

mod common;

use causeway_node::{Class, Connect, Flow, Transport};
use causeway_runtime::{Handle, Options, Setup, Worker};
use causeway_sim::Peer;
use common::{LONG, bind, counter, end};
use std::net::SocketAddr;

/// How many sockets this process has.
fn sockets() -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
    links
        .filter_map(|e| std::fs::read_link(e.path()).ok())
        .filter(|l| l.to_string_lossy().starts_with("socket:"))
        .count()
}

fn worker() -> (Handle, common::Thread) {
    let options = Options { inside: vec!["192.0.0.8".parse().unwrap()], ..Options::default() };
    let node = |name| Setup::new(name, Peer::new());
    Worker::new("test").options(options).node(node("peer")).node(node("app")).spawn().unwrap()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn nodes_of_one_worker_meet_without_the_kernel() {
    let before = sockets();
    let (handle, thread) = worker();
    handle.ready(LONG).unwrap();
    handle
        .with::<Peer, _>("peer", |_, _, out| out.bind(Flow(0), addr("192.0.0.8:5060"), Class::Signalling))
        .unwrap();
    handle.with::<Peer, _>("app", |_, _, out| out.bind(Flow(7), addr("192.0.0.8:0"), Class::Media)).unwrap();
    let app = handle.with::<Peer, _>("app", |app, _, _| app.local(Flow(7))).unwrap().unwrap();
    assert_eq!(app.ip().to_string(), "192.0.0.8");
    handle
        .with::<Peer, _>("app", |_, _, out| {
            out.datagram(Flow(7), addr("192.0.0.8:5060"), b"one");
            out.datagram(Flow(7), addr("192.0.0.8:5061"), b"to nobody");
            out.datagram(Flow(7), addr("192.0.0.8:5060"), b"two");
            out.datagram(Flow(7), addr("127.0.0.1:9"), b"there is no way out");
        })
        .unwrap();
    let heard = handle.with::<Peer, _>("peer", |p, _, _| p.datagrams().concat()).unwrap();
    assert_eq!(heard, b"onetwo");
    assert_eq!(handle.with::<Peer, _>("peer", |p, _, _| p.last_datagram().unwrap().0).unwrap(), app);
    assert_eq!(counter(&handle, "unroutable"), 2);

    // Connections as well: queued bytes, then what `fill` gives, then the end.
    handle
        .with::<Peer, _>("peer", |_, _, out| {
            out.listen(Flow(1), addr("192.0.0.8:5060"), Transport::Tcp, Class::Signalling);
        })
        .unwrap();
    handle
        .with::<Peer, _>("app", |app, _, out| {
            let to = addr("192.0.0.8:5060");
            let connect = |transport| Connect {
                to,
                through: None,
                transport,
                server_name: String::new(),
                class: Class::Signalling,
            };
            out.connect(Flow(2), connect(Transport::Tcp));
            out.connect(Flow(3), connect(Transport::Tls));
            out.stream(Flow(2), b"queued ");
            app.supply.insert(Flow(2), vec![b'x'; 100_000]);
            out.wake(Flow(2));
        })
        .unwrap();
    let accepted = handle.with::<Peer, _>("peer", |p, _, _| p.accepted()).unwrap()[0];
    let got = handle.with::<Peer, _>("peer", move |p, _, _| p.stream(accepted)).unwrap();
    assert_eq!((&got[..8], got.len()), (b"queued x".as_slice(), 100_007));
    let why = handle.with::<Peer, _>("app", |p, _, _| p.closed(Flow(3)).map(str::to_owned)).unwrap();
    assert!(why.unwrap().contains("no TLS"));
    handle.with::<Peer, _>("app", |_, _, out| out.close(Flow(2))).unwrap();
    assert!(handle.with::<Peer, _>("peer", move |p, _, _| p.closed(accepted).is_some()).unwrap());

    assert_eq!(sockets(), before, "no socket was opened");
    let status = std::fs::read_to_string("/proc/self/net/udp").unwrap();
    assert!(!status.contains("080000C0"), "192.0.0.8 is unknown to the kernel");
    // The control: a bind outside is seen.
    bind(&handle, Flow(9), "127.0.0.1:0", Class::Signalling);
    assert_eq!(sockets(), before + 1);
    end(&handle, thread);
}
