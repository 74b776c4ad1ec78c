//! What the fuzz targets call, so that the tests can replay their corpora.

use crate::rtcp::Compound;
use crate::{Trip, Udptl};
use causeway_node::Time;
use std::time::Duration;

/// A conversation of two ends as somebody on the way sees it: records of one byte whose upper bit says which end it is
/// from and whose others how many steps of 10 ms have passed, two bytes of length, and a datagram.
///
/// # Panics
/// If a report reads differently the second time, or a round trip is longer than everything has lasted: that is what
/// the fuzzer looks for.
pub fn rtcp(data: &[u8]) {
    let (mut trips, mut now, mut rest) = ([Trip::default(), Trip::default()], Time::ZERO, data);
    while let Some((&[act, high, low], after)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (datagram, left) = after.split_at(len);
        rest = left;
        now += Duration::from_millis(10 * u64::from(act & 0x7f));
        let Ok(compound) = Compound::parse(datagram) else { continue };
        let (from, to) = if act & 0x80 == 0 { (0, 1) } else { (1, 0) };
        assert!(compound.count() > 0, "a compound that is valid has a packet");
        let bytes: usize = 4 * compound.count();
        assert!(bytes <= datagram.len(), "more packets than bytes");
        for report in compound {
            assert!(report.blocks().count() <= 31);
            if let Some(sender) = report.sender {
                trips[to].sent(now, sender);
            }
            for block in report.blocks() {
                assert!((-(1 << 23)..1 << 23).contains(&block.lost), "24 bits");
                if let Some(trip) = trips[from].heard(now, block) {
                    assert!(trip <= now.since(Time::ZERO), "longer than everything has lasted");
                }
            }
        }
    }
    for trip in trips {
        assert_eq!(trip.count > 0, trip.round_trip.is_some());
        let _ = (trip.jitter(), trip.lost());
    }
}

/// One datagram as fax over UDP.
///
/// # Panics
/// If what is read does not lie in the datagram, or the same bytes with a new number are judged otherwise.
pub fn udptl(data: &[u8]) {
    let Ok(packet) = Udptl::parse(data) else { return };
    assert!(packet.primary.len() + packet.secondary + packet.parity + 4 <= data.len());
    assert!(packet.secondary == 0 || packet.parity == 0);
    let renumbered = [&packet.sequence.wrapping_add(1).to_be_bytes()[..], &data[2..]].concat();
    let again = Udptl::parse(&renumbered).map(|again| Udptl { sequence: packet.sequence, ..again });
    assert!(again.is_ok_and(|again| again == packet), "the number decides nothing else");
    for cut in 0..data.len().min(64) {
        assert!(Udptl::parse(&data[..cut]).is_err(), "a part of it is none");
    }
}
