//! What is spoken, and whether it was heard.

mod compare;
mod voice;

pub use compare::compare;
pub use voice::{Speaker, speak};

use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Samples per second, everywhere.
pub const RATE: u32 = 8000;

/// Writes 16-bit mono samples.
///
/// # Errors
/// If the file cannot be written.
pub fn write(path: &Path, samples: &[i16]) -> Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).with_context(|| path.display().to_string())?;
    for &sample in samples {
        writer.write_sample(sample)?;
    }
    writer.finalize().with_context(|| path.display().to_string())
}

/// Reads 16-bit mono samples. A header that promises more than there is, as some phones write it, is
/// forgiven.
///
/// # Errors
/// If the file is none, or has another format.
pub fn read(path: &Path) -> Result<Vec<i16>> {
    let mut reader = hound::WavReader::open(path).with_context(|| path.display().to_string())?;
    let spec = reader.spec();
    ensure!(
        spec.channels == 1 && spec.sample_rate == RATE && spec.bits_per_sample == 16,
        "{}: {} channels at {} Hz with {} bits instead of 1 at {RATE} with 16",
        path.display(),
        spec.channels,
        spec.sample_rate,
        spec.bits_per_sample
    );
    Ok(reader.samples::<i16>().map_while(Result::ok).collect())
}
