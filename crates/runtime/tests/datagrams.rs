//! Datagrams over real sockets, and addresses that no socket has.

mod common;

use causeway_node::{
    Answer, Class, Credential, CredentialParts, Credentials, Flow, Input, Node, Outbox, Question, Time,
};
use causeway_runtime::{Handle, Setup, Worker};
use causeway_sim::{Heard, Peer};
use common::{LONG, bind, counter, end, look, peer, wait};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};

/// Sends every datagram back.
struct Echo(SocketAddr);

impl Node for Echo {
    fn handle(&mut self, _: &mut causeway_node::Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Start => out.bind(Flow(0), self.0, Class::Signalling),
            Input::Datagram { flow, from, bytes } => out.datagram(flow, from, bytes),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

/// Does something while a node holds its worker up.
fn while_busy<N: Node + 'static>(handle: &Handle, node: &'static str, act: impl FnOnce()) {
    let (go, held) = channel::<()>();
    let (entered, inside) = channel();
    let holder = handle.clone();
    let hold = std::thread::spawn(move || {
        holder.with::<N, _>(node, move |_, _, _| {
            entered.send(()).unwrap();
            held.recv().unwrap();
        })
    });
    inside.recv().unwrap();
    act();
    go.send(()).unwrap();
    hold.join().unwrap().unwrap();
}

#[test]
fn what_waits_is_taken_in_at_once_and_answered_by_one_call() {
    let echo = Setup::new("echo", Echo("127.0.0.1:0".parse().unwrap()));
    let (handle, thread) = Worker::new("test").node(echo).spawn().unwrap();
    let to = handle.ready(LONG).unwrap()[0].local;
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();

    // Sixty datagrams arrive while the loop is busy elsewhere.
    while_busy::<Echo>(&handle, "echo", || {
        for i in 0..60u8 {
            client.send_to(&[i; 100], to).unwrap();
        }
        client.send_to(&vec![9; 60_000], to).unwrap();
    });
    let mut buf = vec![0; 65_536];
    for i in 0..60u8 {
        let (n, from) = client.recv_from(&mut buf).unwrap();
        assert_eq!((&buf[..n], from), ([i; 100].as_slice(), to));
    }
    assert_eq!(client.recv(&mut buf).unwrap(), 60_000, "long datagrams arrive whole");
    assert_eq!(counter(&handle, "datagrams_in"), 61);
    assert_eq!(counter(&handle, "datagrams_out"), 61);
    assert_eq!(counter(&handle, "send_calls"), 1);
    end(&handle, thread);
}

/// Counts what it is given from one look at its deadline to the next, which comes after each batch.
struct Counting {
    at: SocketAddr,
    since: AtomicUsize,
    most: Arc<AtomicUsize>,
    taken: Sender<()>,
}

impl Node for Counting {
    fn handle(&mut self, _: &mut causeway_node::Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Start => out.bind(Flow(0), self.at, Class::Signalling),
            Input::Datagram { .. } => {
                self.since.fetch_add(1, Relaxed);
                self.taken.send(()).unwrap();
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.most.fetch_max(self.since.swap(0, Relaxed), Relaxed);
        None
    }
}

/// What a flood causes leaves in portions that the buffers of peers have room for.
#[test]
fn what_follows_from_a_batch_is_carried_out_before_more_is_read() {
    let (most, (taken, counted)) = (Arc::new(AtomicUsize::new(0)), channel());
    let at = "127.0.0.1:0".parse().unwrap();
    let node = Counting { at, since: AtomicUsize::new(0), most: Arc::clone(&most), taken };
    let (handle, thread) = Worker::new("test").node(Setup::new("counting", node)).spawn().unwrap();
    let to = handle.ready(LONG).unwrap()[0].local;
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    while_busy::<Counting>(&handle, "counting", || {
        for _ in 0..150 {
            client.send_to(b"x", to).unwrap();
        }
    });
    for _ in 0..150 {
        counted.recv_timeout(LONG).unwrap();
    }
    end(&handle, thread);
    assert!((64..=72).contains(&most.load(Relaxed)), "{most:?} in one batch");
}

#[test]
fn ipv6_and_a_dead_destination_do_no_harm() {
    let (handle, thread) = peer(|s| s);
    let here = bind(&handle, Flow(0), "[::1]:0", Class::Signalling);
    let client = UdpSocket::bind("[::1]:0").unwrap();
    let nobody = UdpSocket::bind("[::1]:0").unwrap().local_addr().unwrap();
    handle.with::<Peer, _>("peer", move |_, _, out| out.datagram(Flow(0), nobody, b"anyone?")).unwrap();
    client.send_to(b"hello", here).unwrap();
    let from = wait(&handle, "hello", |p| p.last_datagram().map(|d| d.0));
    assert_eq!(from, client.local_addr().unwrap());
    end(&handle, thread);
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _taken = UdpSocket::bind(taken).unwrap();
    let good = Setup::new("good", Echo("127.0.0.1:0".parse().unwrap()));
    let (handle, thread) =
        Worker::new("test").node(good).node(Setup::new("bad", Echo(taken))).spawn().unwrap();
    let error = handle.ready(LONG).unwrap_err();
    assert!(error.contains("bad: udp") && error.contains(&taken.to_string()), "{error}");
    end(&handle, thread);
}

/// One that waits for its disk holds up who has asked it, and nothing else on the thread.
#[test]
fn an_authority_apart_takes_its_time_without_holding_up_the_loop() {
    let (done, wait_for) = channel::<()>();
    let slow = move |_: &Credential| match wait_for.recv() {
        Ok(()) => Credentials::Wrong,
        Err(_) => panic!("it does not come back"),
    };
    let (handle, thread) = peer(|s| s.authority_apart(slow));
    let ask = |id: u64| {
        let credential = Question::Credential(Box::default());
        handle.with::<Peer, _>("peer", move |_, _, out| out.ask(id, credential)).unwrap();
    };
    let answer = |id: u64| {
        wait(&handle, "an answer", move |p| {
            p.heard.iter().find_map(|(_, heard)| match heard {
                Heard::Answer { question, answer } if *question == id => Some(answer.clone()),
                _ => None,
            })
        })
    };
    ask(1);
    let local = bind(&handle, Flow(1), "127.0.0.1:0", Class::Media);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"media", local).unwrap();
    wait(&handle, "the datagram", |p| (!p.datagrams().is_empty()).then_some(()));
    assert!(look(&handle, |p| !p.heard.iter().any(|(_, heard)| matches!(heard, Heard::Answer { .. }))));
    done.send(()).unwrap();
    assert_eq!(answer(1), Answer::Credential(Credentials::Wrong));
    // One that breaks, at whatever question, is one that cannot be asked.
    drop(done);
    ask(2);
    assert_eq!(answer(2), Answer::Credential(Credentials::Unavailable));
    ask(3);
    assert_eq!(answer(3), Answer::Credential(Credentials::Unavailable));
    end(&handle, thread);
}

#[test]
fn questions_are_answered() {
    let right = |c: &Credential| match c.parts().response {
        b"right" => Credentials::Accepted(vec!["sip:a@example.com".into()]),
        _ => Credentials::Wrong,
    };
    let (handle, thread) = peer(|s| s.authority(right));
    let resolve = |host: &str| Question::Resolve { host: host.into(), port: 5060 };
    let credential = Credential::new(CredentialParts { response: b"right", ..CredentialParts::default() });
    let questions = [
        resolve("[2001:db8::1]"),
        resolve("localhost"),
        resolve("no-such-name.invalid"),
        Question::Credential(Box::new(credential)),
    ];
    handle
        .with::<Peer, _>("peer", move |_, _, out| {
            for (id, question) in questions.into_iter().enumerate() {
                out.ask(id as u64, question);
            }
        })
        .unwrap();
    let answer = |id: u64| {
        wait(&handle, "an answer", move |p| {
            p.heard.iter().find_map(|(_, heard)| match heard {
                Heard::Answer { question, answer } if *question == id => Some(answer.clone()),
                _ => None,
            })
        })
    };
    let literal = "[2001:db8::1]:5060".parse().unwrap();
    assert_eq!(answer(0), Answer::Addresses(vec![literal], String::new()));
    let Answer::Addresses(local, _) = answer(1) else { panic!() };
    assert!(local.iter().any(|a| a.ip().is_loopback() && a.port() == 5060), "{local:?}");
    let Answer::Addresses(none, why) = answer(2) else { panic!() };
    assert!(none.is_empty() && why.contains("no-such-name.invalid"), "{why}");
    assert_eq!(answer(3), Answer::Credential(Credentials::Accepted(vec!["sip:a@example.com".into()])));
    end(&handle, thread);
}
