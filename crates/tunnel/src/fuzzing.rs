//! What the fuzz targets call, so that the tests can replay their corpus.

use crate::{Config, Event, Role, Tunnel};
use causeway_node::Time;
use std::sync::Arc;
use std::time::Duration;

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
