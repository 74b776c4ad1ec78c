//! What can be told of a stream of RTP by looking at its headers (RFC 3550 §5.1, appendix A.1).

use super::Content;
use causeway_node::Time;
use causeway_rtp::{Trip, Udptl};

/// Packets of one direction of one port.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Receipt {
    pub packets: u64,
    pub bytes: u64,
    /// Packets that are no RTP of version 2: keep-alives, DTLS, garbage. They pass all the same.
    pub odd: u64,
    ssrc: u32,
    started: bool,
    base: u32,
    highest: u32,
    seen: u64,
    received: u64,
    lost_before: u64,
    /// The second, or nearly, that is being counted, and the packets in it.
    window: u64,
    in_window: u32,
}

/// Nanoseconds of a window, as a power of two: 1.07 s.
const WINDOW: u32 = 30;

impl Receipt {
    /// Whether a packet that comes now is one more than `most` in this window.
    #[inline]
    pub(crate) fn exceeds(&mut self, now: Time, most: u32) -> bool {
        let window = now.as_nanos() >> WINDOW;
        if window != self.window {
            (self.window, self.in_window) = (window, 0);
        }
        self.in_window = self.in_window.saturating_add(1);
        self.in_window > most
    }

    /// Counts a packet, as far as it is looked at; says whether it is RTCP.
    #[inline]
    pub(crate) fn take(&mut self, content: Content, bytes: &[u8]) -> bool {
        match content {
            Content::Audio | Content::Video => return self.count_rtp(bytes),
            Content::Fax => self.count_fax(bytes),
            Content::Rtcp | Content::Other => self.count(bytes),
        }
        content == Content::Rtcp
    }

    /// Counts a packet without looking at it.
    #[inline]
    fn count(&mut self, bytes: &[u8]) {
        self.packets += 1;
        self.bytes += bytes.len() as u64;
    }

    /// Counts a packet of fax (T.38 §9.1).
    fn count_fax(&mut self, bytes: &[u8]) {
        self.count(bytes);
        match Udptl::parse(bytes) {
            Ok(packet) => self.note(0, packet.sequence),
            Err(_) => self.odd += 1,
        }
    }

    /// Counts a packet of an RTP port; says whether it is RTCP that shares the port (RFC 5761 §4).
    #[inline]
    fn count_rtp(&mut self, bytes: &[u8]) -> bool {
        self.count(bytes);
        let Some(&[first, second, high, low, _, _, _, _, a, b, c, d]) = bytes.first_chunk::<12>() else {
            self.odd += 1;
            return false;
        };
        if first >> 6 != 2 {
            self.odd += 1;
            return false;
        }
        if (192..=223).contains(&second) {
            return true;
        }
        self.note(u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([high, low]));
        false
    }

    /// A packet with a sequence number has come.
    #[inline]
    fn note(&mut self, ssrc: u32, sequence: u16) {
        self.received += 1;
        if !self.started || self.ssrc != ssrc {
            return self.restart(ssrc, sequence);
        }
        let ahead = sequence.wrapping_sub(self.highest as u16);
        if ahead < 0x8000 {
            if ahead > 3000 {
                return self.restart(ssrc, sequence);
            }
            self.highest = self.highest.wrapping_add(u32::from(ahead));
        } else if ahead.wrapping_neg() > 1000 {
            return self.restart(ssrc, sequence);
        }
        self.seen += 1;
    }

    fn restart(&mut self, ssrc: u32, sequence: u16) {
        self.lost_before = self.lost();
        self.ssrc = ssrc;
        self.started = true;
        self.base = u32::from(sequence);
        self.highest = self.base;
        self.seen = 1;
    }

    /// Packets with a sequence number.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Packets with a sequence number that should have come, as far as those that did can tell. Unlike
    /// [`Receipt::lost`], it never shrinks: one that comes late was expected before.
    pub(crate) fn expected(&self) -> u64 {
        self.received + self.lost()
    }

    /// Packets that were sent before they came here and never did.
    pub(crate) fn lost(&self) -> u64 {
        if !self.started {
            return 0;
        }
        let expected = u64::from(self.highest.wrapping_sub(self.base)) + 1;
        self.lost_before + expected.saturating_sub(self.seen)
    }
}

/// What has passed many ports in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub packets: u64,
    pub bytes: u64,
    /// As [`Receipt::received`] and [`Receipt::expected`].
    pub received: u64,
    pub expected: u64,
    /// Packets that were not passed on: from an address that nobody has negotiated, or with nobody to get them.
    pub unwanted: u64,
    /// Round trips to the end that these packets come from, by RTCP: how many, and microseconds altogether.
    pub trips: u64,
    pub trip_micros: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, receipt: &Receipt, unwanted: u64) {
        self.packets += receipt.packets;
        self.bytes += receipt.bytes;
        self.received += receipt.received();
        self.expected += receipt.expected();
        self.unwanted += unwanted;
    }

    pub(crate) fn add_trip(&mut self, trip: &Trip) {
        self.trips += trip.count;
        self.trip_micros += trip.sum.as_micros() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(ssrc: u8, sequence: u16) -> Vec<u8> {
        let [high, low] = sequence.to_be_bytes();
        vec![0x80, 0, high, low, 0, 0, 0, 0, 0, 0, 0, ssrc, 1, 2, 3]
    }

    #[test]
    fn loss_is_counted_across_the_wrap_and_reordering_is_no_loss() {
        let mut receipt = Receipt::default();
        for sequence in [65_533, 65_535, 65_534, 0, 1, 4] {
            receipt.count_rtp(&rtp(1, sequence));
        }
        assert_eq!((receipt.packets, receipt.lost(), receipt.odd), (6, 2, 0));
        receipt.count_rtp(&rtp(2, 100));
        receipt.count_rtp(&rtp(2, 102));
        assert_eq!(receipt.lost(), 3, "a new source begins anew");
        receipt.count_rtp(&rtp(2, 40_000));
        assert_eq!(receipt.lost(), 3, "so does a jump");
        assert_eq!((receipt.received(), receipt.expected()), (9, 12));
    }

    #[test]
    fn what_is_expected_never_shrinks() {
        let (mut receipt, mut before) = (Receipt::default(), 0);
        for sequence in [10, 13, 11, 12, 12, 14, 40_000, 40_002, 40_001] {
            receipt.count_rtp(&rtp(1, sequence));
            assert!(receipt.expected() >= before, "a packet that comes late was expected before");
            before = receipt.expected();
        }
        assert_eq!((receipt.received(), receipt.expected(), receipt.lost()), (9, 9, 0));
    }

    #[test]
    fn so_many_pass_and_no_more_until_the_next_second() {
        let mut receipt = Receipt::default();
        let passed = |receipt: &mut Receipt, at: u64| {
            (0..100).filter(|_| !receipt.exceeds(Time::from_nanos(at), 30)).count()
        };
        assert_eq!(passed(&mut receipt, 5), 30);
        assert_eq!(passed(&mut receipt, (1 << WINDOW) - 1), 0);
        assert_eq!(passed(&mut receipt, 1 << WINDOW), 30);
    }

    #[test]
    fn what_is_no_rtp_is_counted_apart() {
        let mut receipt = Receipt::default();
        receipt.count_rtp(b"");
        receipt.count_rtp(&[0; 20]);
        receipt.count_rtp(&[0x81, 200, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((receipt.packets, receipt.bytes, receipt.odd, receipt.lost()), (3, 32, 2, 0));
    }
}
