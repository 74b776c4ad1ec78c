//! G.711: 8,000 samples a second, one byte each.

/// µ-law of linear samples (ITU-T G.711 table 2, in the segment form of G.191).
pub fn encode_ulaw(samples: &[i16]) -> impl Iterator<Item = u8> + '_ {
    samples.iter().map(|&sample| ulaw(sample))
}

/// Linear samples of µ-law bytes.
pub fn decode_ulaw(bytes: &[u8]) -> impl Iterator<Item = i16> + '_ {
    bytes.iter().map(|&byte| linear(byte))
}

fn ulaw(sample: i16) -> u8 {
    const BIAS: i32 = 0x84;
    const CLIP: i32 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(CLIP) + BIAS;
    let exponent = (24 - magnitude.leading_zeros()).min(7) as u8;
    let mantissa = (magnitude >> (exponent + 3) & 0x0f) as u8;
    !(sign | exponent << 4 | mantissa)
}

fn linear(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = ((i16::from(byte & 0x0f) << 3) + 0x84) << (byte >> 4 & 7);
    if byte & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decision and output values of G.711 table 2a/2b, scaled to 16 bits as in G.191.
    #[test]
    fn known_values() {
        for (byte, value) in
            [(0xff, 0), (0x7f, 0), (0x80, 32124), (0x00, -32124), (0x8f, 16764), (0xf0, 120), (0xef, 132)]
        {
            assert_eq!(linear(byte), value, "{byte:#x}");
        }
        assert_eq!(ulaw(0), 0xff);
        assert_eq!(ulaw(i16::MAX), 0x80);
        assert_eq!(ulaw(i16::MIN), 0x00);
    }

    #[test]
    fn every_byte_survives() {
        for byte in 0..=255u8 {
            let back = ulaw(linear(byte));
            assert!(back == byte || (byte == 0x7f && back == 0xff), "{byte:#x} became {back:#x}");
        }
    }
}
