//! Normalised cross-correlation of what was heard with what was spoken.

use super::RATE;
use std::fmt;
use std::ops::Range;

/// Length of one compared piece: half a second.
const PIECE: usize = RATE as usize / 2;
/// A piece quieter than this (root mean square) is a pause, in which there is nothing to compare.
const QUIET: f64 = 200.0;

/// How much of what was heard was spoken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// Seconds of sound, pauses left out.
    pub seconds: f64,
    /// The median over all pieces of the best normalised cross-correlation, 0–1.
    pub median: f64,
    /// The part of the pieces with 0.9 or better, 0–1.
    pub good: f64,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} over {:.1} s", self.median, self.seconds)
    }
}

/// Aligns every half second of what was heard with the best place of what was spoken.
///
/// Pieces are aligned one by one, since a receiver's playout buffer may shorten or stretch the time between.
pub fn compare(heard: &[i16], spoken: &[i16]) -> Heard {
    let spoken: Vec<f32> = spoken.iter().map(|sample| f32::from(*sample)).collect();
    let energies = energies(&spoken);
    let mut expected = 0usize;
    let mut scores = Vec::new();
    for piece in heard.chunks_exact(PIECE) {
        let piece: Vec<f32> = piece.iter().map(|sample| f32::from(*sample)).collect();
        if (energy(&piece) / PIECE as f64).sqrt() > QUIET {
            let near = expected.saturating_sub(PIECE / 2)..expected + PIECE / 2;
            let mut found = best(&piece, &spoken, &energies, near);
            if found.0 < 0.9 {
                found = best(&piece, &spoken, &energies, 0..spoken.len());
            }
            scores.push(found.0);
            expected = found.1;
        }
        expected += PIECE;
    }
    scores.sort_by(f64::total_cmp);
    let good = scores.iter().filter(|score| **score >= 0.9).count();
    Heard {
        seconds: (scores.len() * PIECE) as f64 / f64::from(RATE),
        median: scores.get(scores.len() / 2).copied().unwrap_or_default(),
        good: good as f64 / scores.len().max(1) as f64,
    }
}

fn energy(piece: &[f32]) -> f64 {
    piece.iter().map(|sample| f64::from(*sample).powi(2)).sum()
}

/// The energy of each piece that begins at a sample.
fn energies(spoken: &[f32]) -> Vec<f64> {
    let mut sums = vec![0.0];
    let mut sum = 0.0;
    for sample in spoken {
        sum += f64::from(*sample).powi(2);
        sums.push(sum);
    }
    sums.windows(PIECE + 1).map(|window| window[PIECE] - window[0]).collect()
}

/// The best score of a piece among these places, and where.
fn best(piece: &[f32], spoken: &[f32], energies: &[f64], places: Range<usize>) -> (f64, usize) {
    let own = energy(piece);
    let floor = QUIET.powi(2) * PIECE as f64 / 4.0;
    let windows = spoken.windows(PIECE).zip(energies).enumerate().skip(places.start).take(places.len());
    let scores = windows.map(|(place, (window, energy))| {
        let score = if *energy < floor { 0.0 } else { product(piece, window) / (own * energy).sqrt() };
        (score, place)
    });
    scores.fold((0.0, 0), |best, other| if other.0 > best.0 { other } else { best })
}

/// The sum of products, in lanes that the compiler can run side by side.
fn product(one: &[f32], other: &[f32]) -> f64 {
    let mut lanes = [0.0f32; 16];
    for (a, b) in one.chunks_exact(16).zip(other.chunks_exact(16)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().map(|lane| f64::from(*lane)).sum()
}

#[cfg(test)]
mod tests {
    use super::super::{Speaker, speak};
    use super::*;

    #[test]
    fn what_was_spoken_is_recognised_late_coarse_and_with_a_gap() {
        let spoken = speak(Speaker::Alice, 4);
        let coarse = |samples: &[i16]| samples.iter().map(|s| s / 256 * 256).collect::<Vec<i16>>();
        let mut heard = vec![0; 1234];
        heard.extend(coarse(&spoken[3000..15_000]));
        heard.extend(coarse(&spoken[15_160..]));
        let result = compare(&heard, &spoken);
        assert!(result.median > 0.95 && result.seconds > 2.0, "{result:?}");
    }

    #[test]
    fn another_voice_silence_and_noise_are_not() {
        let spoken = speak(Speaker::Alice, 4);
        let other = compare(&speak(Speaker::Bob, 4), &spoken);
        assert!(other.median < 0.6 && other.good < 0.1, "{other:?}");
        assert_eq!(compare(&[0; 32_000], &spoken).seconds, 0.0);
        let noise: Vec<i16> =
            (0..32_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 20) as i16 - 2048).collect();
        assert!(compare(&noise, &spoken).median < 0.5);
    }
}
