//! A process without file descriptors left. Alone in its process, as the limit holds for all of it.
#![allow(unsafe_code, reason = "getrlimit(2) and setrlimit(2)")]

mod common;

use causeway_node::{Flow, Transport};
use common::{LONG, counter, end, listen, peer, wait};
use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

fn set_limit(soft: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers are valid for the calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        let before = limit.rlim_cur;
        limit.rlim_cur = soft;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
        before
    }
}

#[test]
fn connections_beyond_the_last_descriptor_are_refused_and_the_loop_rests() {
    let (handle, thread) = peer(|s| s);
    let to = listen(&handle, Flow(1), Transport::Tcp);
    let (entered, inside) = std::sync::mpsc::channel();
    let (go, held) = std::sync::mpsc::channel::<()>();
    let holder = handle.clone();
    let hold = std::thread::spawn(move || {
        holder.with::<causeway_sim::Peer, _>("peer", move |_, _, _| {
            entered.send(()).unwrap();
            held.recv().unwrap();
        })
    });
    inside.recv().unwrap();
    let mut clients: Vec<TcpStream> = (0..6).map(|_| TcpStream::connect(to).unwrap()).collect();
    let highest = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let before = set_limit(highest + 1);
    go.send(()).unwrap();
    hold.join().unwrap().unwrap();
    while counter(&handle, "accept_refused") == 0
        || counter(&handle, "accepted") + counter(&handle, "accept_refused") < 6
    {
        std::thread::sleep(Duration::from_millis(2));
    }
    let wakes = counter(&handle, "wakes");
    std::thread::sleep(Duration::from_millis(100));
    assert!(counter(&handle, "wakes") - wakes < 10, "it does not spin");
    set_limit(before);
    let last = clients.last_mut().unwrap();
    last.set_read_timeout(Some(LONG)).unwrap();
    assert!(matches!(last.read(&mut [0]), Ok(0) | Err(_)), "the last one was refused");
    let accepted = wait(&handle, "accepted", |p| Some(p.accepted().len()));
    let _again = TcpStream::connect(to).unwrap();
    wait(&handle, "let in again", move |p| (p.accepted().len() > accepted).then_some(()));
    end(&handle, thread);
}
