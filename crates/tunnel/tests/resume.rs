//! Sessions that outlive their connections, and those who would take them over.

use causeway_node::Time;
use causeway_tunnel::fuzzing::{self, Pair};
use causeway_tunnel::*;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const AGENT: usize = 0;
const CONTACT: usize = 1;

/// An exchange with messages and lanes in both directions, ended by a cut after so many bytes of each.
fn cut_after(forth: usize, back: usize) -> Pair {
    let mut pair = Pair::new();
    pair.open(AGENT, 1);
    pair.say(AGENT, 30);
    pair.open(CONTACT, 2);
    pair.say(CONTACT, 20);
    pair.say(AGENT, 3);
    pair.close(CONTACT, 0);
    pair.carry(AGENT, forth);
    pair.carry(CONTACT, back);
    pair.say(CONTACT, 7);
    pair.cut();
    pair
}

#[test]
fn whatever_is_cut_off_comes_once_and_in_order() {
    let mut whole = cut_after(0, 0);
    whole.settle();
    let total = 200;
    for forth in 0..total {
        for back in [0, 1, forth / 2, forth, total - forth, total] {
            cut_after(forth, back).settle();
        }
    }
}

/// The connections that bring the session back are cut as well, at every byte.
#[test]
fn a_handshake_may_be_cut_at_every_byte() {
    for forth in 0..200 {
        for back in [0, 10, 40, 60, 80, 100, 120, 200, 300] {
            let mut pair = cut_after(60, 60);
            pair.connect();
            pair.carry(AGENT, forth);
            pair.carry(CONTACT, back);
            pair.carry(AGENT, forth / 2);
            pair.say(AGENT, 2);
            pair.settle();
            assert!(pair.tunnel(CONTACT).stats().resumes >= 1);
        }
    }
}

#[test]
fn packets_wait_for_no_connection_and_lanes_do() {
    let mut pair = Pair::new();
    pair.open(AGENT, 1);
    pair.exchange();
    pair.cut();
    let now = Time::ZERO + Duration::from_secs(2);
    let (lane, ..) = pair.tunnel(AGENT).lanes().next().unwrap();
    for side in [AGENT, CONTACT] {
        assert!(pair.tunnel(side).is_parked() && pair.tunnel(side).is_open(lane));
    }
    let another = pair.tunnel(AGENT).open_lane(Kind::Video, b"meanwhile").unwrap();
    pair.connect();
    pair.exchange();
    assert!(pair.tunnel(CONTACT).is_open(another) && pair.tunnel(CONTACT).is_open(lane));
    assert_eq!(pair.tunnel(CONTACT).datagram(now, lane, b"again"), Ok(()));
    assert_eq!(pair.tunnel(CONTACT).stats().epoch, 1);
}

#[test]
fn an_end_that_restarts_is_told_again_what_it_had_not_handled() {
    for side in [AGENT, CONTACT] {
        let mut pair = Pair::new();
        pair.say(1 - side, 10);
        pair.carry(1 - side, 8);
        pair.restart(side, 0);
        pair.say(1 - side, 4);
        pair.settle();
        assert_eq!(pair.tunnel(1 - side).stats().unacknowledged_bytes, 0);
    }
}

/// A contact point with a session, its agent, and the next connection of both up to the contact point's decision.
struct Asked {
    now: Time,
    contact: Tunnel,
    new: Tunnel,
    hello: Vec<u8>,
}

fn config(role: Role) -> Arc<Config> {
    Arc::new(Config::new(role))
}

fn bytes_of(tunnel: &mut Tunnel, now: Time) -> Vec<u8> {
    let mut bytes = Vec::new();
    tunnel.fill(now, 1 << 20, &mut bytes);
    bytes
}

fn all(tunnel: &mut Tunnel, now: Time, mut input: &[u8]) -> Vec<String> {
    std::iter::from_fn(|| tunnel.next(now, &mut input).map(|event| format!("{event:?}"))).collect()
}

/// Both ends of a tunnel whose session has a ticket.
fn session() -> (Time, Tunnel, Tunnel) {
    let now = Time::ZERO + Duration::from_secs(1);
    let mut agent = Tunnel::on(config(Role::Agent), now, Some([1; 32]));
    let mut contact = Tunnel::on(config(Role::ContactPoint), now, Some([1; 32]));
    all(&mut agent, now, &bytes_of(&mut contact, now));
    all(&mut contact, now, &bytes_of(&mut agent, now));
    assert!(contact.make_ticket(SessionId([3; 16]), [4; 32], 30));
    contact.send_ticket();
    assert_eq!(all(&mut agent, now, &bytes_of(&mut contact, now)), ["Ticket"]);
    agent.ticket_kept();
    (now, agent, contact)
}

#[test]
fn a_number_whose_end_is_not_told_yet_is_not_used_again() {
    let (now, mut agent, _contact) = session();
    let ended = agent.open_stream(b"one").unwrap();
    agent.park(now);
    let fresh = agent.open_stream(b"two").unwrap();
    assert_ne!(ended, fresh, "its owner still takes the first for open");
}

/// An agent's Hello for its session, on a connection with `exporter`, spoilt by `spoil`; as it arrives on a
/// connection whose exporter is `arrives`.
fn ask(exporter: [u8; 32], arrives: [u8; 32], spoil: impl Fn(&mut Vec<u8>)) -> Asked {
    let (now, mut agent, mut contact) = session();
    agent.sip(b"hello.").unwrap();
    assert_eq!(all(&mut contact, now, &bytes_of(&mut agent, now)).first().unwrap(), "TicketKept");
    contact.sip_handled(now, 0);
    all(&mut agent, now, &bytes_of(&mut contact, now));
    contact.park(now);
    agent.park(now);
    assert!(agent.resume(now, Some(exporter)));
    let mut hello = bytes_of(&mut agent, now);
    spoil(&mut hello);
    let mut new = Tunnel::on(config(Role::ContactPoint), now, Some(arrives));
    let seen = all_until_asked(&mut new, now, &hello);
    assert!(seen, "the wish is understood");
    Asked { now, contact, new, hello }
}

fn all_until_asked(tunnel: &mut Tunnel, now: Time, mut input: &[u8]) -> bool {
    matches!(tunnel.next(now, &mut input), Some(Event::Asked(_)))
}

/// The parameter lies at the end of the Hello: session 16, epoch 4, era 4, offset 8, proof 32.
fn set(hello: &mut [u8], back: usize, bytes: &[u8]) {
    let at = hello.len() - back;
    hello[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn only_the_agent_itself_gets_its_session() {
    let good = ask([2; 32], [2; 32], |_| {});
    let Asked { now, mut contact, mut new, hello } = good;
    assert_eq!(contact.adopt(now, &mut new).map(|adopted| adopted.peer_lost), Ok(false));
    assert!(contact.is_up() && !new.is_up());

    // Its Hello again, on the same exporter and on another.
    for exporter in [[2; 32], [5; 32]] {
        let mut again = Tunnel::on(config(Role::ContactPoint), now, Some(exporter));
        assert!(all_until_asked(&mut again, now, &hello));
        let why = if exporter == [2; 32] { Stale::Replayed } else { Stale::Unknown };
        assert_eq!(contact.adopt(now, &mut again), Err(why));
        assert!(contact.is_up(), "who has the session keeps it");
    }

    type Spoil = fn(&mut Vec<u8>);
    let wrong: [(&str, Spoil); 6] = [
        ("another session", |hello| set(hello, 64, &[9])),
        ("another epoch", |hello| set(hello, 48, &[0, 0, 0, 7])),
        ("another offset", |hello| set(hello, 40, &[0, 0, 0, 0, 0, 0, 0, 1])),
        ("a huge offset", |hello| set(hello, 40, &[0xff; 8])),
        ("a claim of having lost its memory", |hello| set(hello, 44, &[0, 0, 0, 1])),
        ("another proof", |hello| set(hello, 1, &[0x55])),
    ];
    for (what, spoil) in wrong {
        let Asked { now, mut contact, mut new, .. } = ask([2; 32], [2; 32], spoil);
        assert_eq!(contact.adopt(now, &mut new), Err(Stale::Unknown), "{what}");
        assert!(contact.is_parked());
        new.begin_afresh(Stale::Unknown);
        assert!(all(&mut new, now, b"")[0].starts_with("Up"), "it may begin anew");
    }
    let Asked { now, mut contact, mut new, .. } = ask([2; 32], [6; 32], |_| {});
    assert_eq!(contact.adopt(now, &mut new), Err(Stale::Unknown), "seen on another connection");
}

#[test]
fn what_the_owner_does_not_decide_begins_afresh() {
    let Asked { now, mut new, .. } = ask([2; 32], [2; 32], |_| {});
    let seen = all(&mut new, now, &[0, 1, 0, 1, b'x']);
    assert!(seen[0].starts_with("Up") && seen[1].starts_with("Sip"), "{seen:?}");
}

/// Who cannot prove to have made the ticket gets nothing out of an agent.
#[test]
fn a_false_contact_point_is_found_out() {
    let pair = || {
        let mut pair = Pair::new();
        pair.say(AGENT, 5);
        pair.cut();
        pair.connect();
        pair
    };
    let now = Time::ZERO + Duration::from_secs(1);
    let hello = bytes_of(&mut Tunnel::new(config(Role::ContactPoint), now), now);
    let resumed = [&[0, 0, 0, 47, 0x21, 0, 44][..], &[0; 12], &[7; 32]].concat();
    let mut fooled = pair();
    let agent = fooled.tunnel(AGENT);
    let seen = all(agent, now, &[hello.clone(), resumed].concat());
    assert_eq!(seen, [format!("{:?}", Event::Dead(Why::Fault(Fault::Proof)))]);
    assert!(agent.can_resume() && !Why::Fault(Fault::Proof).ends_session(), "it may try again");
    // SIP before the verdict, or a verdict that nobody asked for.
    for early in [&[0, 1, 0, 1, b'x'][..], &[0, 0, 0, 11, 4, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let mut fooled = pair();
        let seen = all(fooled.tunnel(AGENT), now, &[&hello, early].concat());
        assert!(seen.last().unwrap().starts_with("Dead"), "{seen:?}");
    }
    let mut fooled = Pair::new();
    let seen = all(fooled.tunnel(AGENT), now, &[0, 0, 0, 4, 0x22, 0, 1, 1]);
    assert_eq!(seen, [format!("{:?}", Event::Dead(Why::Fault(Fault::NotAsked)))]);
}

#[test]
fn a_session_that_is_gone_takes_everything_with_it() {
    let mut pair = Pair::new();
    pair.open(AGENT, 0);
    pair.say(AGENT, 5);
    pair.cut();
    pair.connect();
    let now = Time::ZERO + Duration::from_secs(1);
    let hello = bytes_of(&mut Tunnel::new(config(Role::ContactPoint), now), now);
    let agent = pair.tunnel(AGENT);
    let seen = all(agent, now, &[&hello[..], &[0, 0, 0, 4, 0x22, 0, 1, 1]].concat());
    assert!(seen[0].starts_with("Fresh(Unknown)") && seen[1].starts_with("Up"), "{seen:?}");
    assert_eq!((agent.lanes().count(), agent.stats().epoch, agent.can_resume()), (0, 0, false));
    assert!(agent.is_up() && agent.stats().waiting_bytes == 0);
}

#[test]
fn the_old_connection_is_told_and_nothing_more_is_taken_from_it() {
    let Asked { now, mut contact, mut new, .. } = ask([2; 32], [2; 32], |_| {});
    // As if it had not noticed that the connection is gone.
    let adopted = contact.adopt(now, &mut new).unwrap();
    assert!(adopted.last_words.is_empty(), "it had none");
    let mut third = Tunnel::on(config(Role::Agent), now, Some([2; 32]));
    let words = {
        let Asked { mut contact, mut new, .. } = ask([8; 32], [8; 32], |_| {});
        contact.adopt(now, &mut new).unwrap();
        contact.goodbye(GoodbyeReason::ShuttingDown, "restart");
        bytes_of(&mut contact, now)
    };
    assert!(!all(&mut third, now, &words).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_cuts_and_restarts(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzzing::resume(&data);
    }

    #[test]
    fn any_sequence_of_cuts(mut data in proptest::collection::vec(any::<u8>(), 0..300)) {
        data.iter_mut().step_by(2).filter(|what| **what >> 1 & 7 == 7).for_each(|what| *what ^= 0x0e);
        fuzzing::resume(&data);
    }
}
