//! A million subscribers: how long they take to load, what they cost in memory, what a question costs.
//!
//! `cargo bench -p causeway-subscribers`

#![allow(clippy::print_stdout, reason = "a benchmark answers on standard output")]

use causeway_node::{Credential, CredentialParts, Record};
use causeway_sip::digest::{self, Algorithm, Session};
use causeway_sip::{Method, Uri};
use causeway_store::Store;
use causeway_store::record::{Kind, Subscriber};
use causeway_subscribers::Subscribers;
use std::hint::black_box;
use std::time::Instant;

const USERS: usize = 1_000_000;
const ROUNDS: usize = 200_000;

fn main() {
    let dir = std::env::temp_dir().join(format!("causeway-million-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut store = Store::open(&dir, "subscribers.db").unwrap();
    for start in (0..USERS).step_by(10_000) {
        store.commit(&(start..start + 10_000).map(record).collect::<Vec<_>>()).unwrap();
    }
    drop(store);
    let (before, start) = (resident(), Instant::now());
    let mut known = Subscribers::open(Store::open(&dir, "subscribers.db").unwrap()).unwrap();
    println!("loaded {} in {:.2} s", known.len(), start.elapsed().as_secs_f64());
    println!("memory per subscriber: {} bytes", (resident() - before) / USERS);

    let challenge = digest::NewChallenge::new(b"example.com", b"n0nce", Algorithm::MD5).value();
    let chosen = digest::choose([&challenge[..]]).unwrap();
    let answer =
        Session::new(&chosen, b"user7", b"x").answer(Method::Register, b"sip:example.com", b"c0ffee");
    let question = digest::Credentials::parse(&answer).unwrap().question(Method::Register);
    let each = |what: &str, mut act: Box<dyn FnMut(usize) + '_>| {
        let start = Instant::now();
        (0..ROUNDS).for_each(&mut act);
        println!("{what}: {:.0} ns", start.elapsed().as_nanos() as f64 / ROUNDS as f64);
    };
    let any = |round: usize| round * 7919 % USERS;
    each(
        "check a response (MD5)",
        Box::new(|round| {
            let username = format!("user{}", any(round)).into_bytes();
            let parts = CredentialParts { username: &username, ..question.parts() };
            black_box(known.check(&Credential::new(parts)));
        }),
    );
    each(
        "does he exist",
        Box::new(|round| {
            let aor = format!("sip:user{}@example.com", any(round));
            black_box(known.knows(aor.as_bytes()));
        }),
    );
    each("ask the database for changes", Box::new(|_| known.refresh().unwrap()));
    std::fs::remove_dir_all(&dir).unwrap();
}

fn record(number: usize) -> Record {
    let subscriber = Subscriber {
        username: format!("user{number}"),
        realm: "example.com".into(),
        ha1_md5: format!("{number:032x}"),
        ha1_sha256: format!("{number:064x}"),
        created: 1_700_000_000,
    };
    let uri = format!("sip:user{number}@example.com");
    subscriber.record(Uri::parse(uri.as_bytes()).unwrap().aor())
}

/// Memory in use, bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse::<usize>().unwrap() * 1024
}
