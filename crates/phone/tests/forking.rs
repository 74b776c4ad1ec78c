//! One caller, three phones of the callee, and an exchange on a network that loses, repeats and reorders: at
//! most one of the three is in the call in the end, and no telephone goes on ringing.

use causeway_exchange::{Config as ExchangeConfig, Exchange, Location, Shard};
use causeway_node::{Credential, Credentials};
use causeway_phone::{Answering, Config, Phone};
use causeway_sim::{Link, NodeId, World, for_each_seed};
use causeway_sip::digest::{self, Algorithm, Ha1};
use causeway_sip::ua::{self, CallId, End, Event, Password};
use causeway_store::record::{Binding, Kind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const BOB: &str = "sip:bob@example.com";

fn authority(credential: &Credential) -> Credentials {
    let name = String::from_utf8(credential.parts().username.to_vec()).unwrap();
    let ha1 = Ha1::new(Algorithm::MD5, name.as_bytes(), credential.parts().realm, name.as_bytes());
    match digest::prove(credential, &ha1) {
        true => Credentials::Accepted(vec![format!("sip:{name}@example.com")]),
        false => Credentials::Wrong,
    }
}

/// How many exchanges share the address: `tests/forking_sharded.rs` runs these tests once more.
const SHARDS: u16 = if matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"forking_sharded") { 2 } else { 1 };

struct Town {
    world: World,
    /// The exchange, or several that share its address.
    exchange: Vec<NodeId>,
    alice: NodeId,
    bobs: Vec<NodeId>,
}

/// How a phone of bob's behaves, and its preference in thousandths.
type Bob = (Answering, u16);

fn bad() -> Link {
    Link {
        delay: Duration::from_millis(30),
        jitter: Duration::from_millis(40),
        loss: 0.2,
        duplicate: 0.05,
        reorder: 0.1,
        ..Link::default()
    }
}

impl Town {
    fn new(seed: u64, link: Link, bobs: &[Bob]) -> Self {
        let mut world = World::new(seed);
        world.set_default_link(link);
        world.authority(authority);
        let operator = world.host(&["198.51.100.1"]);
        let mut config = ExchangeConfig::new("example.com", "198.51.100.1:5060".parse().unwrap());
        config.policy.ring = 10;
        let stored = bobs.iter().enumerate().map(|(n, (_, q))| {
            let contact = format!("sip:bob@192.0.2.{}:5060", 10 + n);
            let binding =
                Binding { contact: contact.as_str().into(), q: *q, expires: u64::MAX, ..Binding::default() };
            let record = binding.record(format!("{BOB}\0{contact}").as_bytes());
            (record.key, record.value.unwrap())
        });
        let exchange: Vec<NodeId> = Location::restore_for(SHARDS, [1; 32], stored, 0)
            .into_iter()
            .zip(0..)
            .map(|(location, own)| {
                let config = ExchangeConfig { shard: Shard { own, of: SHARDS }, ..config.clone() };
                let node = Exchange::new(config, None, [1; 32], location);
                world.add(operator, &format!("exchange-{own}"), node)
            })
            .collect();
        if SHARDS > 1 {
            world.group(&exchange);
        }
        let mut phone = |user: &str, address: &str, answering| {
            let host = world.host(&[address]);
            let (local, proxy) = (format!("{address}:5060"), "198.51.100.1:5060".parse().unwrap());
            let aor = format!("sip:{user}@example.com");
            let account = ua::Config::new(aor, Password::new(user), local.parse().unwrap(), proxy);
            let account = ua::Config { ring: 60 * SECOND, ..account };
            let say: Arc<[u8]> = user.bytes().cycle().take(1600).collect();
            world.add(host, address, Phone::new(Config { answering, say, ..Config::new(account) }))
        };
        let alice = phone("alice", "192.0.2.1", Answering::Rings);
        let addresses = (10..).map(|n| format!("192.0.2.{n}"));
        let bobs =
            bobs.iter().zip(addresses).map(|((answering, _), at)| phone("bob", &at, *answering)).collect();
        Self { world, exchange, alice, bobs }
    }

    fn call(&mut self) -> CallId {
        self.world.run_for(SECOND);
        self.world.with::<Phone, _>(self.alice, |phone, ctx, out| phone.call(ctx, BOB, out)).unwrap()
    }

    fn hang_up(&mut self, call: CallId) {
        self.world.with::<Phone, _>(self.alice, |phone, ctx, out| phone.hang_up(ctx, call, out));
    }

    fn events(&mut self, phone: NodeId) -> Vec<Event> {
        std::iter::from_fn(|| self.world.node_mut::<Phone>(phone).poll()).collect()
    }

    /// Calls that each phone of bob's believes in.
    fn calls(&self) -> Vec<usize> {
        self.bobs.iter().map(|bob| self.world.node::<Phone>(*bob).calls()).collect()
    }

    fn alice_calls(&self) -> usize {
        self.world.node::<Phone>(self.alice).calls()
    }

    /// How the call ended for alice, if it has.
    fn end(&mut self) -> Option<End> {
        let events = self.events(self.alice);
        events.into_iter().find_map(|event| match event {
            Event::Ended { why, .. } => Some(why),
            _ => None,
        })
    }

    /// After a call every part has forgotten it.
    fn is_quiet(&mut self) {
        self.world.run_for(200 * SECOND);
        assert_eq!((self.alice_calls(), self.calls()), (0, vec![0; self.bobs.len()]));
        for exchange in &self.exchange {
            assert_eq!(self.world.status(*exchange)["under_way"], 0, "the exchange forgets everything");
            assert_eq!(self.world.status(*exchange)["calls"], 0);
        }
    }
}

const ANSWERS: Answering = Answering::After(Duration::from_secs(2));

#[test]
fn one_of_three_answers_and_the_others_stop_ringing() {
    for_each_seed(1000, |seed| {
        let mut town =
            Town::new(seed, bad(), &[(Answering::Rings, 1000), (ANSWERS, 1000), (Answering::Rings, 1000)]);
        let call = town.call();
        town.world.run_for(120 * SECOND);
        assert_eq!(town.calls()[0], 0, "the first still rings");
        assert_eq!(town.calls()[2], 0, "the third still rings");
        assert_eq!(town.alice_calls(), town.calls()[1], "one side still believes in the call");
        town.hang_up(call);
        town.is_quiet();
    });
}

#[test]
fn those_of_lower_preference_ring_when_the_others_do_not_answer() {
    for_each_seed(1000, |seed| {
        let mut town = Town::new(
            seed,
            bad(),
            &[(Answering::Rings, 900), (Answering::Refuses(486), 500), (ANSWERS, 100)],
        );
        let call = town.call();
        town.world.run_for(Duration::from_secs(9));
        assert_eq!(town.calls()[2], 0, "it is not its turn");
        town.world.run_for(140 * SECOND);
        assert_eq!(town.calls()[..2], [0, 0]);
        assert_eq!(town.alice_calls(), town.calls()[2], "one side still believes in the call");
        town.hang_up(call);
        town.is_quiet();
    });
}

/// Both 200s reach alice (RFC 3261 §16.7 item 5); she keeps one dialog and ends the other (§13.2.2.4).
#[test]
fn two_answer_at_once() {
    for_each_seed(1000, |seed| {
        let mut town = Town::new(seed, bad(), &[(ANSWERS, 1000), (ANSWERS, 1000)]);
        let call = town.call();
        town.world.run_for(150 * SECOND);
        let calls = town.calls();
        assert_eq!(calls.iter().sum::<usize>(), town.alice_calls(), "{calls:?}");
        town.hang_up(call);
        town.is_quiet();
    });
}

#[test]
fn when_all_are_busy_the_best_response_comes_back() {
    let good = AtomicUsize::new(0);
    for_each_seed(1000, |seed| {
        let refusals = [
            (Answering::Refuses(480), 1000),
            (Answering::Refuses(486), 1000),
            (Answering::Refuses(500), 1000),
        ];
        let mut town = Town::new(seed, bad(), &refusals);
        town.call();
        town.world.run_for(120 * SECOND);
        let end = town.end();
        // Who loses every message has nothing to choose from.
        assert!(matches!(end, Some(End::Refused(480 | 486 | 408) | End::Failed)), "{end:?}");
        good.fetch_add(usize::from(end == Some(End::Refused(480))), Ordering::Relaxed);
        town.is_quiet();
    });
    // Fewer when a single seed is asked for.
    assert!(good.into_inner() > 0);
}

/// RFC 3261 §16.7 item 5: a 6xx ends the search, also among phones that would still answer.
#[test]
fn a_decline_ends_it_everywhere() {
    for_each_seed(1000, |seed| {
        let mut town = Town::new(
            seed,
            Link::delay(20 * SECOND / 1000),
            &[(Answering::Rings, 1000), (Answering::Refuses(603), 1000), (ANSWERS, 500)],
        );
        town.call();
        town.world.run_for(20 * SECOND);
        assert_eq!(town.end(), Some(End::Refused(603)));
        town.is_quiet();
    });
}

#[test]
fn a_cancel_races_the_200_of_one_among_three() {
    for_each_seed(1000, |seed| {
        let mut town =
            Town::new(seed, bad(), &[(Answering::Rings, 1000), (ANSWERS, 1000), (Answering::Rings, 500)]);
        let call = town.call();
        town.world.run_for(Duration::from_millis(1500 + seed % 1500));
        town.hang_up(call);
        town.is_quiet();
    });
}
