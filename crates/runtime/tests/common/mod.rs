//! What the tests of this crate share.
#![allow(dead_code, reason = "each test uses its part")]

use causeway_node::{Class, Connect, Flow, Transport};
use causeway_runtime::{Error, Handle, Setup, Worker};
use causeway_sim::Peer;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything here takes, even on a busy machine.
pub const LONG: Duration = Duration::from_secs(20);

pub type Thread = JoinHandle<Result<(), Error>>;

/// A worker with one node that does what the test says.
pub fn peer(setup: impl FnOnce(Setup) -> Setup) -> (Handle, Thread) {
    Worker::new("test").node(setup(Setup::new("peer", Peer::new()))).spawn().unwrap()
}

/// Looks at the node.
pub fn look<R: Send + 'static>(handle: &Handle, view: impl FnOnce(&Peer) -> R + Send + 'static) -> R {
    handle.with::<Peer, R>("peer", |peer, _, _| view(peer)).unwrap()
}

/// Waits until the node gives a value.
#[track_caller]
pub fn wait<R: Send + 'static>(
    handle: &Handle,
    what: &str,
    view: impl Fn(&Peer) -> Option<R> + Clone + Send + 'static,
) -> R {
    let start = Instant::now();
    while start.elapsed() < LONG {
        let view = view.clone();
        if let Some(found) = look(handle, move |peer| view(peer)) {
            return found;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("never came about: {what}; heard {:?}", look(handle, |peer| format!("{:?}", peer.heard)));
}

pub fn bind(handle: &Handle, flow: Flow, local: &str, class: Class) -> SocketAddr {
    let local: SocketAddr = local.parse().unwrap();
    handle.with::<Peer, _>("peer", move |_, _, out| out.bind(flow, local, class)).unwrap();
    wait(handle, "bound", move |peer| peer.local(flow))
}

pub fn listen(handle: &Handle, flow: Flow, transport: Transport) -> SocketAddr {
    let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
    handle
        .with::<Peer, _>("peer", move |_, _, out| out.listen(flow, local, transport, Class::Signalling))
        .unwrap();
    wait(handle, "listening", move |peer| peer.local(flow))
}

pub fn connect(handle: &Handle, flow: Flow, to: SocketAddr, transport: Transport, name: &str) {
    let connect = Connect { to, through: None, transport, server_name: name.to_owned(), class: Class::Media };
    handle.with::<Peer, _>("peer", move |_, _, out| out.connect(flow, connect)).unwrap();
}

pub fn stream(handle: &Handle, flow: Flow, bytes: Vec<u8>) {
    handle.with::<Peer, _>("peer", move |_, _, out| out.stream(flow, &bytes)).unwrap();
}

/// A counter of the worker.
pub fn counter(handle: &Handle, name: &str) -> u64 {
    let status = handle.status(LONG).unwrap();
    status["counters"][name].as_u64().unwrap_or_else(|| panic!("no counter {name} in {status}"))
}

pub fn end(handle: &Handle, thread: Thread) {
    handle.stop();
    thread.join().unwrap().unwrap();
}
