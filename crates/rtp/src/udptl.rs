//! Fax packets over UDP (ITU-T T.38 §9.1): the sequence number, and whether the lengths inside agree.

use crate::Malformed;

/// What stands in a UDPTL packet beside the fax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udptl<'a> {
    /// Sequence number.
    pub sequence: u16,
    /// The primary packet: what the fax says now.
    pub primary: &'a [u8],
    /// Earlier packets said again, the newest first.
    pub secondary: usize,
    /// Parity packets (forward error correction).
    pub parity: usize,
}

impl<'a> Udptl<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`Malformed`] if a length points beyond its end, something follows the last field, or a length is given in
    /// fragments of 16,384 bytes, which no fax needs.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (sequence, mut rest) = bytes.split_first_chunk::<2>().ok_or(Malformed)?;
        let primary = open(&mut rest)?;
        let mut packet = Self { sequence: u16::from_be_bytes(*sequence), primary, secondary: 0, parity: 0 };
        // The first bit of the next byte chooses; PER fills the rest of the byte with zeros.
        match byte(&mut rest)? {
            0x00 => {
                packet.secondary = length(&mut rest)?;
                for _ in 0..packet.secondary {
                    open(&mut rest)?;
                }
            }
            0x80 => {
                // An INTEGER of PER: its length, then itself.
                let span = open(&mut rest)?;
                if span.is_empty() || span.len() > 4 {
                    return Err(Malformed);
                }
                packet.parity = length(&mut rest)?;
                for _ in 0..packet.parity {
                    open(&mut rest)?;
                }
            }
            _ => return Err(Malformed),
        }
        if rest.is_empty() { Ok(packet) } else { Err(Malformed) }
    }
}

fn byte(rest: &mut &[u8]) -> Result<u8, Malformed> {
    let (first, after) = rest.split_first().ok_or(Malformed)?;
    *rest = after;
    Ok(*first)
}

/// A length in aligned PER (ITU-T X.691 §11.9): one byte below 128, two below 16,384.
fn length(rest: &mut &[u8]) -> Result<usize, Malformed> {
    match byte(rest)? {
        short @ 0..=0x7f => Ok(usize::from(short)),
        long @ 0x80..=0xbf => Ok(usize::from(long & 0x3f) << 8 | usize::from(byte(rest)?)),
        _ => Err(Malformed),
    }
}

/// A field with its length before it.
fn open<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let len = length(rest)?;
    let (field, after) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = after;
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redundancy_and_parity_are_read() {
        let redundant = [0, 7, 2, 0xc0, 1, 0, 2, 1, 0x11, 1, 0x22];
        let packet = Udptl::parse(&redundant).unwrap();
        assert_eq!((packet.sequence, packet.primary, packet.secondary), (7, &[0xc0, 1][..], 2));
        let parity = [0, 8, 1, 0xc0, 0x80, 1, 3, 1, 2, 0xaa, 0xbb];
        assert_eq!(Udptl::parse(&parity).map(|packet| packet.parity), Ok(1));
        let mut long = vec![0, 9, 0x80, 200];
        long.extend([1; 200]);
        long.extend([0, 0]);
        assert_eq!(Udptl::parse(&long).map(|packet| packet.primary.len()), Ok(200));
        for packet in [&redundant[..], &parity, &long] {
            for cut in 0..packet.len() {
                assert_eq!(Udptl::parse(&packet[..cut]), Err(Malformed), "{cut} bytes");
            }
            assert!(Udptl::parse(&[packet, &[0]].concat()).is_err(), "something follows");
        }
        assert!(Udptl::parse(&[0, 1, 0xc1, 0, 0, 0]).is_err(), "fragments");
        assert!(Udptl::parse(&[0, 1, 0, 0x40, 0]).is_err(), "padding bits that are set");
    }
}
