//! Two phones and an exchange on a network that loses, repeats and reorders: whatever happens, both ends
//! agree on what became of the call.

use causeway_exchange::{Config as ExchangeConfig, Exchange, Location};
use causeway_node::{Credential, Credentials};
use causeway_phone::{Answering, Config, Phone};
use causeway_sim::{Link, NodeId, World, for_each_seed};
use causeway_sip::digest::{self, Algorithm, Ha1, Hash};
use causeway_sip::ua::{self, CallId, End, Event, Password};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Accepts whoever knows that his password is his name.
fn authority(credential: &Credential) -> Credentials {
    let name = String::from_utf8(credential.parts().username.to_vec()).unwrap();
    let hash = Algorithm::of(credential.parts().algorithm).unwrap();
    let ha1 = Ha1::new(hash, name.as_bytes(), credential.parts().realm, name.as_bytes());
    assert!(matches!(hash.hash, Hash::Sha256), "the stronger challenge is chosen");
    match digest::prove(credential, &ha1) {
        true => Credentials::Accepted(vec![format!("sip:{name}@example.com")]),
        false => Credentials::Wrong,
    }
}

struct Town {
    world: World,
    exchange: NodeId,
    alice: NodeId,
    bob: NodeId,
}

impl Town {
    fn new(seed: u64, link: Link, answering: Answering) -> Self {
        let mut world = World::new(seed);
        world.set_default_link(link);
        world.authority(authority);
        let operator = world.host(&["198.51.100.1"]);
        let mut config = ExchangeConfig::new("example.com", "198.51.100.1:5060".parse().unwrap());
        config.algorithms = vec![Algorithm::SHA256, Algorithm::MD5];
        let exchange =
            world.add(operator, "exchange", Exchange::new(config, None, [1; 32], Location::default()));
        let mut phone = |name: &str, address: &str, answering| {
            let host = world.host(&[address]);
            let account = ua::Config::new(
                format!("sip:{name}@example.com"),
                Password::new(name),
                format!("{address}:5060").parse().unwrap(),
                "198.51.100.1:5060".parse().unwrap(),
            );
            let say: Arc<[u8]> = name.bytes().cycle().take(1600).collect();
            world.add(host, name, Phone::new(Config { answering, say, ..Config::new(account) }))
        };
        let alice = phone("alice", "192.0.2.1", Answering::Rings);
        let bob = phone("bob", "192.0.2.2", answering);
        Self { world, exchange, alice, bob }
    }

    fn register(&mut self) {
        for phone in [self.alice, self.bob] {
            self.world.with::<Phone, _>(phone, |phone, ctx, out| phone.register(ctx, out));
        }
        let (alice, bob, exchange) = (self.alice, self.bob, self.exchange);
        let mut registered = [false; 2];
        self.world.must(600 * SECOND, "both phones register", |world| {
            for (done, phone) in registered.iter_mut().zip([alice, bob]) {
                *done |= events(world, phone).iter().any(|event| matches!(event, Event::Registered(_)));
            }
            registered == [true; 2]
        });
        assert_eq!(self.world.node::<Exchange>(exchange).location().count(), (2, 2));
    }

    fn call(&mut self) -> CallId {
        let to = "sip:bob@example.com";
        self.world.with::<Phone, _>(self.alice, |phone, ctx, out| phone.call(ctx, to, out)).unwrap()
    }

    fn hang_up(&mut self, who: NodeId, call: CallId) {
        self.world.with::<Phone, _>(who, |phone, ctx, out| phone.hang_up(ctx, call, out));
    }
}

fn events(world: &mut World, phone: NodeId) -> Vec<Event> {
    std::iter::from_fn(|| world.node_mut::<Phone>(phone).poll()).collect()
}

fn ended(events: &[Event]) -> Option<&End> {
    events.iter().find_map(|event| match event {
        Event::Ended { why, .. } => Some(why),
        _ => None,
    })
}

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

#[test]
fn a_call_on_a_good_network_is_heard_at_both_ends() {
    let mut town = Town::new(1, Link::delay(Duration::from_millis(20)), Answering::After(SECOND));
    town.register();
    let call = town.call();
    town.world.run_for(12 * SECOND);
    for (phone, other, name) in [(town.alice, town.bob, "bob"), (town.bob, town.alice, "alice")] {
        let talk_of = |phone| town.world.node::<Phone>(phone).talks().next().expect("the call stands");
        let talk = talk_of(phone);
        // Bob's media come straight, his answer by way of the exchange.
        let first = talk.heard.first().map(|(number, ..)| *number as u16);
        assert_eq!(first, Some(talk_of(other).first_sequence()), "the first packet is heard");
        assert!(talk.heard.len() > 400, "{} packets heard", talk.heard.len());
        assert_eq!(talk.reception.lost(), 0);
        let played = String::from_utf8_lossy(&talk.played[..1600]).into_owned();
        assert!(played.contains(name), "{played}");
    }
    town.hang_up(town.alice, call);
    town.world.run_for(SECOND);
    assert_eq!(ended(&events(&mut town.world, town.alice)), Some(&End::ByUs));
    assert_eq!(ended(&events(&mut town.world, town.bob)), Some(&End::ByThem));
}

#[test]
fn registration_and_call_on_a_bad_network() {
    for_each_seed(1000, |seed| {
        let mut town = Town::new(seed, bad(), Answering::After(2 * SECOND));
        town.register();
        let call = town.call();
        // Long enough for every timer that may still be running: 64*T1 on the INVITE, 64*T1 on the ACK, and
        // 64*T1 on the BYE.
        town.world.run_for(120 * SECOND);
        let stands = |phone| town.world.node::<Phone>(phone).calls();
        assert_eq!(stands(town.alice), stands(town.bob), "one side still believes in the call");
        town.hang_up(town.alice, call);
        town.world.run_for(120 * SECOND);
        let (alice, bob) = (events(&mut town.world, town.alice), events(&mut town.world, town.bob));
        let answered = alice.iter().any(|event| matches!(event, Event::Answered { .. }));
        let confirmed = bob.iter().any(|event| matches!(event, Event::Confirmed { .. }));
        assert_eq!(answered, confirmed, "alice: {alice:?}\nbob: {bob:?}");
        assert_eq!(town.world.node::<Phone>(town.alice).calls(), 0);
        assert_eq!(town.world.node::<Phone>(town.bob).calls(), 0);
        assert_eq!(town.world.status(town.exchange)["under_way"], 0, "the exchange forgets everything");
    });
}

#[test]
fn a_cancel_races_the_answer_on_a_bad_network() {
    for_each_seed(300, |seed| {
        let mut town = Town::new(seed, bad(), Answering::After(2 * SECOND));
        town.register();
        let call = town.call();
        town.world.run_for(Duration::from_millis(1500 + seed % 1000));
        town.hang_up(town.alice, call);
        town.world.run_for(200 * SECOND);
        assert_eq!(town.world.node::<Phone>(town.alice).calls(), 0);
        assert_eq!(town.world.node::<Phone>(town.bob).calls(), 0, "bob still believes in the call");
    });
}

#[test]
fn a_busy_phone_refuses() {
    for_each_seed(100, |seed| {
        let mut town = Town::new(seed, bad(), Answering::Refuses(486));
        town.register();
        town.call();
        town.world.run_for(120 * SECOND);
        let alice = events(&mut town.world, town.alice);
        let end = ended(&alice);
        assert!(matches!(end, Some(End::Refused(486) | End::Failed)), "{end:?}");
    });
}
