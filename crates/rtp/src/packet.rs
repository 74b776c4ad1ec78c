//! The RTP header (RFC 3550 §5.1).

/// The fixed part of an RTP header, version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload type, 0 to 127: 0 is PCMU, 8 is PCMA (RFC 3551).
    pub payload_type: u8,
    /// Marker: for audio, the first packet after silence.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Time of the first sample, in the payload's clock: 8,000 per second for G.711.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// Bytes of the fixed header.
    pub const LEN: usize = 12;

    /// Appends the 12 bytes, without padding, extension or contributing sources.
    pub fn write(&self, to: &mut Vec<u8>) {
        to.push(0x80);
        to.push(u8::from(self.marker) << 7 | self.payload_type & 0x7f);
        to.extend(self.sequence.to_be_bytes());
        to.extend(self.timestamp.to_be_bytes());
        to.extend(self.ssrc.to_be_bytes());
    }
}

/// A packet that is not RTP version 2, or is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A packet, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its fixed header.
    pub header: Header,
    /// Its payload, without contributing sources, extension and padding.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    /// [`Malformed`] if the version is not 2 or a length points beyond the end.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (fixed, mut rest) = bytes.split_first_chunk::<{ Header::LEN }>().ok_or(Malformed)?;
        if fixed[0] >> 6 != 2 {
            return Err(Malformed);
        }
        rest = rest.get(4 * usize::from(fixed[0] & 15)..).ok_or(Malformed)?;
        if fixed[0] & 0x10 != 0 {
            let (extension, after) = rest.split_first_chunk::<4>().ok_or(Malformed)?;
            let words = u16::from_be_bytes([extension[2], extension[3]]);
            rest = after.get(4 * usize::from(words)..).ok_or(Malformed)?;
        }
        if fixed[0] & 0x20 != 0 {
            let padding = usize::from(*rest.last().ok_or(Malformed)?);
            let len = rest.len().checked_sub(padding).filter(|_| padding > 0).ok_or(Malformed)?;
            rest = &rest[..len];
        }
        let header = Header {
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        };
        Ok(Self { header, payload: rest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_csrc_extension_and_padding() {
        // V=2 P X CC=1, M PT=96, seq 0x0102, ts 0x03040506, ssrc 0x0708090a, csrc, extension of 1 word,
        // payload "ab", padding of 2.
        let bytes = [
            0xb1, 0xe0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 1, 1, 1, 0xbe, 0xde, 0, 1, 9, 9, 9, 9, b'a', b'b',
            0, 2,
        ];
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload, b"ab");
        assert_eq!(packet.header.sequence, 0x0102);
        assert_eq!((packet.header.payload_type, packet.header.marker), (96, true));
        for cut in 0..bytes.len() - 2 {
            let _ = Packet::parse(&bytes[..cut]);
        }
        assert_eq!(Packet::parse(&bytes[..20]), Err(Malformed));
        assert_eq!(Packet::parse(&[0x40; 12]), Err(Malformed));
        assert_eq!(Packet::parse(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5]), Err(Malformed));
    }
}
