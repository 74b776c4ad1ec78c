//! RTCP as somebody on the way reads it: whether a datagram is a compound packet, and what its reports say
//! (RFC 3550 §6 and appendix A.2, RFC 5506 for compounds that begin with something else than a report).

use crate::Malformed;

/// Sender report.
const SR: u8 = 200;
/// Receiver report.
const RR: u8 = 201;
/// The types of RTCP packets, where they share a port with RTP (RFC 5761 §4).
const TYPES: std::ops::RangeInclusive<u8> = 192..=223;
/// Bytes of one reception report block.
const BLOCK: usize = 24;

/// What a receiver says of one source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The source.
    pub ssrc: u32,
    /// The share lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, from −2²³ to 2²³ − 1: packets that come twice make it smaller.
    pub lost: i32,
    /// The highest sequence number received, with the count of its cycles in the upper 16 bits.
    pub highest: u32,
    /// Interarrival jitter, in units of the payload's clock.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time in the last sender report of the source; 0 if none has come.
    pub last_report: u32,
    /// The time between that report's coming and this block's going, in 65,536ths of a second.
    pub delay: u32,
}

/// What a sender says of itself (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// The source.
    pub ssrc: u32,
    /// Its wall clock: seconds in the upper, their fraction in the lower 32 bits.
    pub ntp: u64,
    /// The same instant in its payload's clock.
    pub timestamp: u32,
}

impl SenderInfo {
    /// What a receiver calls this report by ([`Block::last_report`]).
    pub fn middle(&self) -> u32 {
        (self.ntp >> 16) as u32
    }
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// Its type: 200 is a sender report, 201 a receiver report, 202 a description of sources.
    pub kind: u8,
    /// Of a sender report only.
    pub sender: Option<SenderInfo>,
    blocks: &'a [u8],
}

impl<'a> Report<'a> {
    /// What it says of the sources that it hears: at most 31 blocks, none but in sender and receiver reports.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + 'a {
        self.blocks.chunks_exact(BLOCK).filter_map(block)
    }
}

/// A datagram that is a compound packet throughout, borrowed: its packets, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
    /// Whether it begins with something else than a report (RFC 5506).
    pub reduced: bool,
}

impl<'a> Compound<'a> {
    /// Checks a whole datagram.
    ///
    /// # Errors
    /// [`Malformed`] if any of its packets has not version 2 or no type of RTCP, if their lengths do not add up to that
    /// of the datagram, if a packet before the last is padded, if padding is no multiple of 4 or longer than its
    /// packet, or if a report has less room than blocks. SRTCP is encrypted after 8 bytes, and mostly malformed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = bytes;
        let first = rest.get(1).copied().ok_or(Malformed)?;
        while !rest.is_empty() {
            (_, rest) = cut(rest)?;
        }
        Ok(Self { rest: bytes, reduced: !matches!(first, SR | RR) })
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Report<'a>;

    fn next(&mut self) -> Option<Report<'a>> {
        let (report, rest) = cut(self.rest).ok()?;
        self.rest = rest;
        Some(report)
    }
}

/// The first packet, and what follows it.
fn cut(bytes: &[u8]) -> Result<(Report<'_>, &[u8]), Malformed> {
    let &[first, kind, high, low] = bytes.first_chunk::<4>().ok_or(Malformed)?;
    let len = 4 * (usize::from(u16::from_be_bytes([high, low])) + 1);
    let (packet, rest) = bytes.split_at_checked(len).ok_or(Malformed)?;
    if first >> 6 != 2 || !TYPES.contains(&kind) {
        return Err(Malformed);
    }
    let mut body = packet.get(4..).unwrap_or_default();
    if first & 0x20 != 0 {
        let padding = usize::from(*body.last().ok_or(Malformed)?);
        let fits = rest.is_empty() && padding > 0 && padding.is_multiple_of(4);
        let kept = body.len().checked_sub(padding).filter(|_| fits).ok_or(Malformed)?;
        body = body.get(..kept).unwrap_or_default();
    }
    let (sender, after) = match kind {
        SR => {
            let (info, after) = body.split_first_chunk::<24>().ok_or(Malformed)?;
            (Some(sender(info)), after)
        }
        RR => (None, body.get(4..).ok_or(Malformed)?),
        _ => return Ok((Report { kind, sender: None, blocks: &[] }, rest)),
    };
    let count = usize::from(first & 0x1f);
    let blocks = after.get(..count * BLOCK).ok_or(Malformed)?;
    Ok((Report { kind, sender, blocks }, rest))
}

fn sender(bytes: &[u8; 24]) -> SenderInfo {
    let word = |at: usize| word(bytes, at);
    SenderInfo { ssrc: word(0), ntp: u64::from(word(4)) << 32 | u64::from(word(8)), timestamp: word(12) }
}

fn block(bytes: &[u8]) -> Option<Block> {
    let bytes: &[u8; BLOCK] = bytes.first_chunk()?;
    let word = |at: usize| word(bytes, at);
    Some(Block {
        ssrc: word(0),
        fraction_lost: bytes[4],
        // 24 bits with a sign.
        lost: (word(4) << 8) as i32 >> 8,
        highest: word(8),
        jitter: word(12),
        last_report: word(16),
        delay: word(20),
    })
}

fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.first_chunk()).map_or(0, |word| u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender report with one block, then a description without items.
    fn compound() -> Vec<u8> {
        let mut bytes = vec![0x81, SR, 0, 12, 0, 0, 0, 7];
        bytes.extend([0xe0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0x1f, 0x40, 0, 0, 0, 9, 0, 0, 0, 9]);
        bytes.extend([0, 0, 0, 8, 0x40, 0xff, 0xff, 0xfe, 0, 1, 0, 5, 0, 0, 0, 80]);
        bytes.extend([0, 1, 0x80, 0, 0, 0, 0x80, 0]);
        bytes.extend([0x80, 202, 0, 0]);
        bytes
    }

    #[test]
    fn reports_are_read() {
        let bytes = compound();
        let parsed = Compound::parse(&bytes).unwrap();
        assert!(!parsed.reduced);
        let all: Vec<Report<'_>> = parsed.collect();
        assert_eq!(all.iter().map(|report| report.kind).collect::<Vec<_>>(), [SR, 202]);
        let sender = all[0].sender.unwrap();
        assert_eq!((sender.ssrc, sender.middle(), sender.timestamp), (7, 0x0001_8000, 8000));
        let block = all[0].blocks().next().unwrap();
        assert_eq!((block.ssrc, block.fraction_lost, block.lost, block.highest), (8, 64, -2, 0x0001_0005));
        assert_eq!((block.jitter, block.last_report, block.delay), (80, 0x0001_8000, 0x8000));
        assert_eq!(all[1].blocks().count(), 0);
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        let whole = compound();
        for cut in 0..whole.len() {
            // Without its last packet it is a whole compound still.
            assert_eq!(Compound::parse(&whole[..cut]).is_ok(), cut == whole.len() - 4, "{cut} bytes");
        }
        let change = |at: usize, value: u8| {
            let mut bytes = compound();
            bytes[at] = value;
            Compound::parse(&bytes).is_ok()
        };
        assert!(!change(0, 0x41), "version 1");
        assert!(!change(0, 0x82), "more blocks than there is room for");
        assert!(!change(0, 0xa1), "padding before the last packet");
        assert!(!change(1, 100), "no type of RTCP");
        assert!(!change(3, 14), "a length that ends elsewhere");
    }

    #[test]
    fn padding_belongs_to_the_last_packet() {
        let padded = |padding: &[u8]| {
            let words = (padding.len() / 4 + 1) as u8;
            let bytes = [&[0xa0, RR, 0, words, 0, 0, 0, 1][..], padding].concat();
            Compound::parse(&bytes).is_ok()
        };
        assert!(padded(&[0, 0, 0, 4]) && padded(&[0, 0, 0, 0, 0, 0, 0, 8]));
        assert!(!padded(&[0, 0, 0, 0]) && !padded(&[0, 0, 0, 3]) && !padded(&[0, 0, 0, 12]));
    }

    #[test]
    fn feedback_alone_is_a_reduced_compound() {
        let bytes = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        assert!(Compound::parse(&bytes).unwrap().reduced);
        assert!(Compound::parse(&[]).is_err());
    }
}
