//! What the phones say: two spoken recordings, G.711 µ-law in WAV files.

use std::sync::Arc;

const ALICE: &[u8] = include_bytes!("../../assets/alice.wav");
const BOB: &[u8] = include_bytes!("../../assets/bob.wav");

/// WAVE_FORMAT_MULAW (RFC 2361).
const MULAW: u16 = 7;

/// The µ-law bytes of both.
///
/// # Errors
/// If a recording is not what it should be.
pub fn both() -> Result<[Arc<[u8]>; 2], String> {
    Ok([read(ALICE)?.into(), read(BOB)?.into()])
}

/// The samples of a µ-law WAV file: chunks of id, length and content, padded to even length.
fn read(file: &[u8]) -> Result<&[u8], String> {
    let mut rest = file.get(12..).filter(|_| file.starts_with(b"RIFF")).ok_or("no WAV file")?;
    let mut format = None;
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let chunk = after.get(..length).ok_or("a chunk of the WAV file is cut short")?;
        match &head[..4] {
            b"fmt " => format = chunk.first_chunk::<2>().map(|code| u16::from_le_bytes(*code)),
            b"data" if format == Some(MULAW) => return Ok(chunk),
            b"data" => return Err(format!("WAV format {format:?}, µ-law expected")),
            _ => {}
        }
        rest = after.get(length + length % 2..).unwrap_or_default();
    }
    Err("no sound in the WAV file".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recordings_hold_speech() {
        for speech in both().unwrap() {
            assert!(speech.len() > 8000 * 10, "at least ten seconds");
            let loud = causeway_rtp::g711::decode_ulaw(&speech)
                .filter(|sample| sample.unsigned_abs() > 3000)
                .count();
            assert!(loud > speech.len() / 20, "it is no silence");
        }
    }
}
