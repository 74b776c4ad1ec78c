//! Phones behind NATs that speak to an exchange directly, without an edge proxy and without RFC 5626: their Contacts
//! name addresses that nobody outside can reach, and several of them the same one. What belongs to a call finds them
//! all the same, whoever hangs up.

use causeway_exchange::{Calls, Config as ExchangeConfig, Exchange, Location, Mode, Shard};
use causeway_node::{Credential, Credentials};
use causeway_phone::{Answering, Config, Phone};
use causeway_sim::{Nat, NodeId, World};
use causeway_sip::digest::{self, Algorithm, Ha1};
use causeway_sip::transaction::Transport;
use causeway_sip::ua::{self, End, Event, Password};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// Where every phone believes itself to be.
const PRIVATE: &str = "192.168.1.10";

fn authority(credential: &Credential) -> Credentials {
    let name = String::from_utf8(credential.parts().username.to_vec()).unwrap();
    let ha1 = Ha1::new(Algorithm::MD5, name.as_bytes(), credential.parts().realm, name.as_bytes());
    match digest::prove(credential, &ha1) {
        true => Credentials::Accepted(vec![format!("sip:{name}@example.com")]),
        false => Credentials::Wrong,
    }
}

/// Where a phone is: on the internet or at home, and how it reaches the exchange.
type Place = (bool, Transport);

struct Town {
    world: World,
    exchanges: Vec<NodeId>,
    alice: NodeId,
    bob: NodeId,
}

impl Town {
    fn new(members: u16, mode: Mode, [alice, bob]: [Place; 2]) -> Self {
        let mut world = World::new(11);
        world.authority(authority);
        let operator = world.host(&["198.51.100.1"]);
        let config = ExchangeConfig {
            mode,
            ..ExchangeConfig::new("example.com", "198.51.100.1:5060".parse().unwrap())
        };
        let exchanges: Vec<NodeId> = (0..members)
            .map(|own| {
                let config = ExchangeConfig { shard: Shard { own, of: members }, ..config.clone() };
                let node = Exchange::new(config, None, [1; 32], Location::default());
                world.add(operator, &format!("exchange-{own}"), node)
            })
            .collect();
        if members > 1 {
            world.group(&exchanges);
        }
        let alice = phone(&mut world, "alice", "203.0.113.1", alice);
        let bob = phone(&mut world, "bob", "203.0.113.2", bob);
        for id in [alice, bob] {
            world.run_for(SECOND);
            world.with::<Phone, _>(id, |phone, ctx, out| phone.register(ctx, out));
        }
        world.run_for(2 * SECOND);
        Self { world, exchanges, alice, bob }
    }

    fn calls(&self) -> [usize; 2] {
        [self.alice, self.bob].map(|id| self.world.node::<Phone>(id).calls())
    }

    fn events(&mut self, id: NodeId) -> Vec<Event> {
        std::iter::from_fn(|| self.world.node_mut::<Phone>(id).poll()).collect()
    }

    /// alice calls, the call stands at both ends, and one of them hangs up.
    fn call(&mut self, by_bob: bool) {
        let uri = "sip:bob@example.com";
        let call =
            self.world.with::<Phone, _>(self.alice, |phone, ctx, out| phone.call(ctx, uri, out)).unwrap();
        self.world.run_for(5 * SECOND);
        let heard = self.events(self.bob);
        let confirmed = heard.iter().any(|event| matches!(event, Event::Confirmed { .. }));
        assert!(confirmed, "the ACK has come to bob: {heard:?}");
        let theirs = heard.iter().find_map(|event| match event {
            Event::Incoming { call, .. } => Some(*call),
            _ => None,
        });
        let (who, call, other) = match by_bob {
            true => (self.bob, theirs.unwrap(), self.alice),
            false => (self.alice, call, self.bob),
        };
        self.world.with::<Phone, _>(who, |phone, ctx, out| phone.hang_up(ctx, call, out));
        // The time of a few repetitions and no more: the BYE itself has to arrive.
        self.world.run_for(SECOND);
        let told = self.events(other);
        let ended = told.iter().any(|event| matches!(event, Event::Ended { why: End::ByThem, .. }));
        assert!(ended, "the BYE has come: {told:?}");
        assert_eq!(self.calls(), [0, 0]);
    }
}

fn phone(world: &mut World, user: &str, public: &str, (at_home, transport): Place) -> NodeId {
    let (host, address) = match at_home {
        true => {
            let nat = world.nat(Nat::new(public));
            (world.host_behind(nat, &[PRIVATE]), PRIVATE)
        }
        false => (world.host(&[public]), public),
    };
    let (local, proxy) = (format!("{address}:5060"), "198.51.100.1:5060".parse().unwrap());
    let aor = format!("sip:{user}@example.com");
    let account = ua::Config::new(aor, Password::new(user), local.parse().unwrap(), proxy);
    let account = ua::Config { transport, ..account };
    let answering = Answering::After(SECOND / 2);
    world.add(host, user, Phone::new(Config { answering, ..Config::new(account) }))
}

/// Every pair of places, of which one at least is behind a NAT.
fn pairs() -> impl Iterator<Item = [Place; 2]> {
    let places =
        [(true, Transport::Udp), (true, Transport::Tcp), (false, Transport::Udp), (false, Transport::Tcp)];
    let all = places.into_iter().flat_map(move |alice| places.into_iter().map(move |bob| [alice, bob]));
    all.filter(|[alice, bob]| alice.0 || bob.0)
}

#[test]
fn requests_in_a_call_reach_phones_behind_nats_and_either_may_hang_up() {
    for places in pairs() {
        for by_bob in [false, true] {
            let mut town = Town::new(1, Mode::Call, places);
            town.call(by_bob);
            let lines = town.world.lines(town.exchanges[0], Calls::JOURNAL);
            let who = if by_bob { "callee" } else { "caller" };
            let ended = lines.iter().any(|line| line.contains(&format!("\"ended_by\":\"{who}\"")));
            assert!(ended, "{places:?}: {lines:?}");
        }
    }
}

#[test]
fn so_they_do_without_state_and_with_several_workers() {
    for (members, mode) in [(1, Mode::Stateless), (3, Mode::Call)] {
        for places in pairs() {
            for by_bob in [false, true] {
                Town::new(members, mode, places).call(by_bob);
            }
        }
    }
}
