//! Users with passwords, and agents that know them.

use super::*;
use causeway_sip::digest::{Algorithm, NewChallenge, Session, choose};
use causeway_split_proxy::{KeyLine, LineSecret};
use causeway_store::Store;
use causeway_subscribers::Subscribers;
use causeway_tunnel::key::Assurance;

pub fn line(user: &str, password: &str, least: Option<Assurance>) -> KeyLine {
    let mut line = KeyLine::new(&format!("sip:{user}@example.com")).unwrap();
    line.secret = Some(LineSecret::Password(password.as_bytes().to_vec().into()));
    line.least = least;
    line
}

/// An agent that knows the passwords of alice and bob.
pub fn with_accounts(config: &mut AgentConfig) {
    config.keys.lines = vec![line("alice", "pw-alice", None), line("bob", "pw-bob", None)];
}

pub fn with_database(config: &mut ContactConfig) {
    config.digest_keys = true;
}

/// The operator's subscriber database answers for keys.
fn give_database(lab: &mut Lab) {
    let mut subscribers = Subscribers::open(Store::in_memory().unwrap()).unwrap();
    for user in ["alice", "bob"] {
        subscribers.add(&format!("sip:{user}@example.com"), format!("pw-{user}").as_bytes(), 1).unwrap();
    }
    lab.world.user_keys(move |asked| subscribers.user_key(asked));
}

/// A lab whose operator has a subscriber database, and whose agents are told this of their users.
pub fn lab(
    seed: u64,
    customers: usize,
    contact: impl Fn(&mut ContactConfig),
    agents: fn(&mut AgentConfig),
) -> Lab {
    let mut lab = Lab::new(seed, 0, contact);
    give_database(&mut lab);
    add_customers(&mut lab, customers, agents);
    lab
}

pub fn add_customers(lab: &mut Lab, customers: usize, agents: fn(&mut AgentConfig)) {
    for n in 0..customers {
        lab.add_customer_with(V4, n, agents);
    }
    let agents = lab.agents.clone();
    lab.world.must(5 * S, "the tunnels come up", |world| {
        agents.iter().all(|agent| world.node::<Agent>(*agent).is_up())
    });
}

/// A REGISTER with an Authorization as a phone makes it, and its answer.
pub fn register_now(lab: &mut Lab, n: usize, user: &str, password: &str, expires: u32) {
    let before = lab.phone(n).statuses().len();
    let nonce = format!("nonce{}", lab.phone(n).serial);
    let challenge = NewChallenge::new(b"example.com", nonce.as_bytes(), Algorithm::MD5).value();
    let mut session = Session::new(&choose([&challenge[..]]).unwrap(), user.as_bytes(), password.as_bytes());
    let answer = session.answer(Method::Register, b"sip:example.com", b"c0ffee");
    lab.request(n, Method::Register, "sip:example.com", user, |r| {
        r.header("From", format!("<sip:{user}@example.com>;tag=reg{user}"))
            .header("To", format!("<sip:{user}@example.com>"))
            .header("Call-ID", format!("reg-{user}"))
            .header("Expires", expires.to_string())
            .header("Authorization", answer)
    });
    let phone = lab.phones[n];
    lab.world.must(5 * S, "the registration is answered", |world| {
        world.node::<Phone>(phone).statuses().len() > before
    });
}

/// The same, and time for the ends to agree on a key.
pub fn register(lab: &mut Lab, n: usize, user: &str, password: &str, expires: u32) {
    register_now(lab, n, user, password, expires);
    lab.world.run_for(S);
}
