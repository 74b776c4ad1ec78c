//! What the fuzz targets call, so that the tests can replay their corpus.

mod pair;

use crate::{Config, Event, Role, Tunnel};
use causeway_node::Time;
use std::sync::Arc;
use std::time::Duration;

pub use pair::Pair;

/// Lets two ends exchange SIP and datagrams while their connections are cut anywhere, as the bytes say, and
/// checks that each message arrives once and in order, and that both agree on the lanes.
///
/// # Panics
/// If not: that is what the fuzzer looks for.
pub fn resume(data: &[u8]) {
    let mut pair = Pair::new();
    for step in data.chunks_exact(2).take(400) {
        let (what, side, amount) = (step[0] >> 1, usize::from(step[0] & 1), usize::from(step[1]));
        match what % 8 {
            0 => pair.say(side, amount),
            1 | 2 => drop(pair.carry(side, amount * 3)),
            3 => pair.cut(),
            4 => pair.connect(),
            5 => pair.open(side, amount),
            6 => pair.close(side, amount),
            _ => pair.restart(side, amount),
        }
    }
    pair.settle();
}

/// Feeds a peer's bytes to both kinds of end, whole and in pieces of the length given by the first byte, and
/// checks that the pieces change nothing.
///
/// # Panics
/// If they do: that is what the fuzzer looks for.
pub fn frames(data: &[u8]) {
    let Some((&piece, stream)) = data.split_first() else { return };
    for role in [Role::Agent, Role::ContactPoint] {
        let whole = run(role, stream, stream.len().max(1));
        let pieces = run(role, stream, usize::from(piece).max(1));
        assert_eq!(whole, pieces);
    }
}

/// What happens, as text, with neighbouring SIP bytes joined.
fn run(role: Role, stream: &[u8], piece: usize) -> (Vec<String>, Vec<u8>, Vec<u8>) {
    let mut config = Config::new(role);
    config.max_lanes = 32;
    config.control_burst = 200;
    let config = Arc::new(config);
    let now = Time::ZERO + Duration::from_secs(1);
    let mut tunnel = Tunnel::new(config, now);
    let (mut events, mut sip) = (Vec::new(), Vec::new());
    let mut lanes = Vec::new();
    for mut input in stream.chunks(piece) {
        while let Some(event) = tunnel.next(now, &mut input) {
            match event {
                Event::Sip(bytes) => sip.extend_from_slice(bytes),
                Event::LaneOpened { lane, .. } => {
                    lanes.push(lane);
                    events.push(format!("opened {lane}"));
                }
                other => events.push(format!("{other:?}")),
            }
        }
        assert!(input.is_empty(), "all input is consumed");
    }
    for lane in lanes {
        let _ = tunnel.datagram(now, lane, b"echo");
    }
    let _ = tunnel.sip(b"OPTIONS sip:a SIP/2.0\r\n\r\n");
    let mut answer = Vec::new();
    tunnel.fill(now, usize::MAX >> 1, &mut answer);
    assert!(!tunnel.wants_write());
    assert!(tunnel.memory() < 1 << 20);
    let _ = (tunnel.deadline(), tunnel.stats(), tunnel.timeout(now + Duration::from_secs(60)));
    (events, sip, answer)
}
