//! What holds for every input.

use causeway_node::Time;
use causeway_tunnel::*;
use proptest::prelude::*;
use std::sync::Arc;

#[derive(Clone, Debug)]
enum Act {
    Sip(Vec<u8>),
    Open(u8),
    Send(usize, Vec<u8>),
    Close(usize),
    Fill(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    prop_oneof![
        bytes(300).prop_map(Act::Sip),
        (0..4u8).prop_map(Act::Open),
        (0..8usize, bytes(200)).prop_map(|(lane, bytes)| Act::Send(lane, bytes)),
        (0..8usize).prop_map(Act::Close),
        (0..400usize).prop_map(Act::Fill),
    ]
}

/// What one end writes when it does all this.
fn perform(acts: &[Act]) -> Vec<u8> {
    let now = Time::ZERO;
    let (mut agent, mut contact) = (
        Tunnel::new(Arc::new(Config::new(Role::Agent)), now),
        Tunnel::new(Arc::new(Config::new(Role::ContactPoint)), now),
    );
    let mut hello = Vec::new();
    contact.fill(now, 10_000, &mut hello);
    let mut input = hello.as_slice();
    while agent.next(now, &mut input).is_some() {}
    let (mut wire, mut lanes) = (Vec::new(), Vec::new());
    for act in acts {
        match act {
            Act::Sip(bytes) => agent.sip(bytes).unwrap(),
            Act::Open(kind) => {
                lanes.push(agent.open_lane(Kind::BY_PRIORITY[usize::from(*kind)], b"t").unwrap())
            }
            Act::Send(i, bytes) => {
                if let Some(lane) = lanes.get(*i) {
                    let _ = agent.datagram(now, *lane, bytes);
                }
            }
            Act::Close(i) => lanes.get(*i).into_iter().for_each(|lane| agent.close_lane(*lane)),
            Act::Fill(room) => {
                let before = wire.len();
                agent.fill(now, *room, &mut wire);
                assert!(wire.len() - before <= *room);
            }
        }
    }
    agent.fill(now, usize::MAX >> 1, &mut wire);
    assert!(!agent.wants_write());
    wire
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_understood_however_it_is_cut(
        acts in proptest::collection::vec(act(), 0..40),
        piece in 1..64u8,
    ) {
        let wire = perform(&acts);
        fuzzing::frames(&[&[piece], wire.as_slice()].concat());
        let now = Time::ZERO;
        let mut contact = Tunnel::new(Arc::new(Config::new(Role::ContactPoint)), now);
        let mut sip = Vec::new();
        for mut input in wire.chunks(usize::from(piece)) {
            while let Some(event) = contact.next(now, &mut input) {
                match event {
                    Event::Sip(bytes) => sip.extend_from_slice(bytes),
                    Event::Dead(why) => panic!("{why}"),
                    _ => {}
                }
            }
        }
        let sent: Vec<u8> =
            acts.iter().flat_map(|a| if let Act::Sip(b) = a { b.clone() } else { vec![] }).collect();
        prop_assert_eq!(sip, sent);
    }

    #[test]
    fn garbage_is_survived(mut data in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzzing::frames(&data);
        // Behind a good Hello, and with headers that are often in range.
        for i in (1..data.len()).step_by(7) {
            data[i] = 0;
        }
        fuzzing::frames(&[&data[..data.len().min(1)], perform(&[]).as_slice(), &data].concat());
    }
}
