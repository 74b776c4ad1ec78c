//! Records, gates, and the end of a worker.

mod common;

use causeway_node::{Class, Ctx, Flow, Input, Node, Outbox, Record, Time};
use causeway_runtime::control::{self, Command, Server};
use causeway_runtime::{Error, Gone, Persister, Setup, Worker};
use causeway_sim::{Heard, Peer};
use common::{LONG, bind, end, look, peer, wait};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A disk that writes when the test lets it.
struct Disk {
    go: Receiver<Verdict>,
    begun: Sender<Keys>,
}

impl Persister for Disk {
    fn commit(&mut self, records: &[Record]) -> Result<(), String> {
        self.begun.send(records.iter().map(|r| r.key.clone()).collect()).unwrap();
        self.go.recv().unwrap_or(Ok(()))
    }
}

type Verdict = Result<(), String>;
type Keys = Vec<Vec<u8>>;

fn disk() -> (Disk, Sender<Verdict>, Receiver<Keys>) {
    let (release, go) = channel();
    let (begun, commits) = channel();
    (Disk { go, begun }, release, commits)
}

/// Writes a record with this key and promises it.
fn promise(out: &mut Outbox, to: std::net::SocketAddr, key: u8) {
    let seq = out.persist(Record { space: "t", key: vec![key], value: Some(vec![]) });
    out.gated(seq, |out| out.datagram(Flow(0), to, &[key]));
}

#[test]
fn promises_leave_in_order_after_their_commit_and_all_else_at_once() {
    let (disk, release, commits) = disk();
    let (handle, thread) = peer(|s| s.persister(disk));
    bind(&handle, Flow(0), "127.0.0.1:0", Class::Signalling);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    let to = phone.local_addr().unwrap();
    handle
        .with::<Peer, _>("peer", move |_, _, out| {
            promise(out, to, 1);
            out.datagram(Flow(0), to, &[100]);
            promise(out, to, 2);
        })
        .unwrap();
    let heard = || {
        let mut buf = [0; 10];
        phone.recv(&mut buf).ok().map(|_| buf[0])
    };
    assert_eq!(commits.recv().unwrap(), [[1], [2]], "one commit for the batch");
    assert_eq!((heard(), heard()), (Some(100), None));
    // While the disk is busy more comes along: it goes into the next commit, whole.
    for key in 3..6 {
        handle.with::<Peer, _>("peer", move |_, _, out| promise(out, to, key)).unwrap();
    }
    assert!(look(&handle, |p| !p.heard.iter().any(|(_, h)| matches!(h, Heard::Persisted { .. }))));
    release.send(Ok(())).unwrap();
    assert_eq!((heard(), heard(), heard()), (Some(1), Some(2), None));
    assert_eq!(commits.recv().unwrap(), [[3], [4], [5]]);
    release.send(Ok(())).unwrap();
    assert_eq!((heard(), heard(), heard()), (Some(3), Some(4), Some(5)));
    wait(&handle, "told", |p| p.heard.iter().any(|(_, h)| *h == Heard::Persisted { seq: 5 }).then_some(()));
    end(&handle, thread);
}

#[test]
fn a_failed_commit_ends_the_worker_and_the_promise_never_leaves() {
    let (disk, release, _commits) = disk();
    let (handle, thread) = peer(|s| s.persister(disk));
    bind(&handle, Flow(0), "127.0.0.1:0", Class::Signalling);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let to = phone.local_addr().unwrap();
    handle.with::<Peer, _>("peer", move |_, _, out| promise(out, to, 1)).unwrap();
    release.send(Err("the disk is full".to_owned())).unwrap();
    match thread.join().unwrap() {
        Err(Error::Commit { node, why }) => {
            assert_eq!((node.as_str(), why.as_str()), ("peer", "the disk is full"))
        }
        other => panic!("{other:?}"),
    }
    assert!(phone.recv(&mut [0]).is_err());
    assert_eq!(handle.status(LONG), Err(Gone));
}

#[test]
fn without_a_disk_promises_leave_at_once() {
    let (handle, thread) = peer(|s| s);
    bind(&handle, Flow(0), "127.0.0.1:0", Class::Signalling);
    let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
    phone.set_read_timeout(Some(LONG)).unwrap();
    let to = phone.local_addr().unwrap();
    handle.with::<Peer, _>("peer", move |_, _, out| promise(out, to, 1)).unwrap();
    assert_eq!(phone.recv(&mut [0]).unwrap(), 1);
    end(&handle, thread);
}

/// Has something under way until its time comes; notes when that was.
struct Busy {
    until: Option<Time>,
    rang: Arc<Mutex<Vec<Duration>>>,
}

impl Node for Busy {
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, _: &mut Outbox) {
        match input {
            Input::Drain => self.until = Some(ctx.now + Duration::from_micros(30_300)),
            Input::Timeout => {
                if let Some(until) = self.until.take() {
                    self.rang.lock().unwrap().push(ctx.now - until);
                }
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.until
    }

    fn status(&self, _: Time) -> causeway_node::Status {
        "busy".into()
    }

    fn drained(&self) -> bool {
        self.until.is_none()
    }
}

#[test]
fn the_control_socket_shows_the_state_and_ends_the_worker_cleanly() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert!(matches!(control::request(&data, Command::Status), Err(control::Error::NotRunning(_))));
    let rang = Arc::new(Mutex::new(Vec::new()));
    let busy = Busy { until: None, rang: Arc::clone(&rang) };
    let (handle, thread) = Worker::new("operator").node(Setup::new("busy", busy)).spawn().unwrap();
    let server = Server::start(&data, vec![handle.clone()]).unwrap();
    assert_eq!(std::fs::metadata(server.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Server::start(&data, vec![]), Err(control::Error::Taken(_))));

    let status = control::request(&data, Command::Status).unwrap();
    assert_eq!((&status[0]["worker"], &status[0]["nodes"]["busy"]), (&"operator".into(), &"busy".into()));
    assert_eq!(control::request(&data, Command::Drain).unwrap(), causeway_node::Status::Null);
    thread.join().unwrap().unwrap();
    assert_eq!(rang.lock().unwrap().len(), 1, "it ended when its work was done");
    assert!(matches!(control::request(&data, Command::Status), Err(control::Error::Refused(_))));
    drop(server);
    assert!(matches!(control::request(&data, Command::Status), Err(control::Error::NotRunning(_))));

    // What a dead process left behind does no harm.
    drop(std::os::unix::net::UnixListener::bind(data.join(control::FILE)).unwrap());
    Server::start(&data, vec![]).unwrap();
}
