use super::*;
use causeway_node::{Outbox, Output};

fn config(low: u16, high: u16, ahead: usize) -> MediaConfig {
    MediaConfig { ip: "192.0.2.1".parse().unwrap(), low, high, ahead }
}

fn binds(out: &mut Outbox) -> (Vec<(u32, u16)>, Vec<u32>) {
    let (mut bound, mut closed) = (Vec::new(), Vec::new());
    out.drain(|_, output| match output {
        Output::Bind { flow, local, .. } => bound.push((flow.0 - FIRST_FLOW, local.port())),
        Output::Close { flow } => closed.push(flow.0 - FIRST_FLOW),
        _ => {}
    });
    (bound, closed)
}

#[test]
fn ports_are_bound_ahead_in_pairs_and_refilled() {
    let (mut pool, mut out) = (Pool::new(config(20_001, 20_009, 2)), Outbox::default());
    assert_eq!(pool.capacity(), 4, "20002 to 20009");
    pool.refill(&mut out);
    assert_eq!(binds(&mut out).0, [(0, 20_002), (1, 20_003), (2, 20_004), (3, 20_005)]);
    (0..4).for_each(|index| pool.opened(index, &mut out));
    assert_eq!(pool.take(&mut out), Some(0));
    assert_eq!(binds(&mut out).0, [(4, 20_006), (5, 20_007)]);
    assert_eq!(pool.take(&mut out), Some(1));
    assert_eq!(
        pool.take(&mut out),
        Some(2),
        "none is ready: one that is being bound, trusting that it works"
    );
    assert_eq!(pool.used(), 3);
    assert_eq!(pool.take(&mut out), Some(3));
    assert_eq!(pool.take(&mut out), None, "the range is used up");
    binds(&mut out);
    pool.release(1, &mut out);
    let (bound, closed) = binds(&mut out);
    assert_eq!(closed, [2, 3]);
    assert_eq!(bound, [(2, 20_004), (3, 20_005)], "the freed pair is made ready again");
}

#[test]
fn a_port_can_be_had_again_by_its_number() {
    let (mut pool, mut out) = (Pool::new(config(20_001, 20_009, 2)), Outbox::default());
    assert_eq!(pool.claim(20_006, &mut out), Some(0));
    assert_eq!(pool.claim(20_002, &mut out), Some(1));
    for wrong in [20_006, 20_003, 20_000, 20_010, 0, u16::MAX] {
        assert_eq!(pool.claim(wrong, &mut out), None, "{wrong}");
    }
    assert_eq!(binds(&mut out).0, [(0, 20_006), (1, 20_007), (2, 20_002), (3, 20_003)]);
    pool.refill(&mut out);
    assert_eq!(binds(&mut out).0, [(4, 20_004), (5, 20_005), (6, 20_008), (7, 20_009)]);
    assert_eq!(pool.used(), 2);
    pool.opened(0, &mut out);
    pool.opened(1, &mut out);
    pool.release(0, &mut out);
    assert_eq!(binds(&mut out).1, [0, 1]);
}

#[test]
fn a_taken_port_is_passed_over() {
    let (mut pool, mut out) = (Pool::new(config(20_000, 20_099, 1)), Outbox::default());
    pool.refill(&mut out);
    binds(&mut out);
    pool.opened(0, &mut out);
    pool.closed(1, "address in use", &mut out);
    let (bound, closed) = binds(&mut out);
    assert_eq!(closed, [0], "its sister goes as well");
    assert_eq!(bound.iter().map(|b| b.1).collect::<Vec<_>>(), [20_002, 20_003]);
}

#[test]
fn a_pair_of_which_both_ports_are_taken_is_not_reused_before_both_are_known_to_be() {
    let (mut pool, mut out) = (Pool::new(config(20_000, 20_099, 1)), Outbox::default());
    pool.refill(&mut out);
    assert_eq!(binds(&mut out).0, [(0, 20_000), (1, 20_001)]);
    pool.closed(0, "address in use", &mut out);
    let (bound, _) = binds(&mut out);
    assert_eq!(bound, [(2, 20_002), (3, 20_003)], "flow 1 is still being opened");
    pool.closed(1, "address in use", &mut out);
    pool.closed(2, "address in use", &mut out);
    assert_eq!(binds(&mut out).0, [(0, 20_004), (1, 20_005)]);
}

#[test]
fn an_address_that_cannot_be_bound_is_reported_and_not_tried_for_ever() {
    let (mut pool, mut out) = (Pool::new(config(20_000, 29_999, 4)), Outbox::default());
    pool.refill(&mut out);
    let mut tried = 0;
    loop {
        let (bound, _) = binds(&mut out);
        if bound.is_empty() {
            break;
        }
        tried += bound.len();
        for (index, _) in bound.iter().filter(|(index, _)| index % 2 == 0) {
            pool.closed(*index as usize, "no such address", &mut out);
        }
        assert!(tried < 1100, "it gives up");
    }
    assert!(tried >= 8);
}
