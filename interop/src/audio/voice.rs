//! Speech-like signals, the same at every run: syllables of gliding harmonics through two moving formants,
//! with breathy consonants and pauses between. They never repeat, so there is one way only to align them.

use super::RATE;
use std::f64::consts::TAU;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// A low voice.
    Alice,
    /// A high one.
    Bob,
}

/// Small deterministic random numbers (SplitMix64).
struct Dice(u64);

impl Dice {
    /// From `low` to `high`.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        low + (high - low) * (z >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// So many seconds of a voice.
pub fn speak(speaker: Speaker, seconds: u32) -> Vec<i16> {
    let (seed, pitch) = match speaker {
        Speaker::Alice => (1, 115.0),
        Speaker::Bob => (2, 205.0),
    };
    let wanted = (seconds * RATE) as usize;
    let mut dice = Dice(seed);
    let mut samples = Vec::with_capacity(wanted + RATE as usize);
    while samples.len() < wanted {
        consonant(&mut dice, &mut samples);
        vowel(&mut dice, pitch, &mut samples);
        let pause = dice.between(0.01, 0.08) * f64::from(RATE);
        samples.resize(samples.len() + pause as usize, 0);
    }
    samples.truncate(wanted);
    samples
}

/// A breath of noise.
fn consonant(dice: &mut Dice, samples: &mut Vec<i16>) {
    let length = dice.between(0.02, 0.06) * f64::from(RATE);
    let loud = dice.between(300.0, 1500.0);
    samples.extend((0..length as usize).map(|_| dice.between(-loud, loud) as i16));
}

/// Harmonics of a gliding pitch, each as loud as its distance to two formants lets it be.
fn vowel(dice: &mut Dice, pitch: f64, samples: &mut Vec<i16>) {
    let rate = f64::from(RATE);
    let length = dice.between(0.08, 0.22) * rate;
    let (from, to) = (pitch * dice.between(0.8, 1.3), pitch * dice.between(0.8, 1.3));
    let formants = [dice.between(300.0, 800.0), dice.between(1000.0, 2400.0)];
    let loud = dice.between(4000.0, 9000.0);
    let harmonics = (3400.0 / from.max(to)) as usize;
    let mut phases: Vec<f64> = (0..harmonics).map(|_| dice.between(0.0, TAU)).collect();
    for n in 0..length as usize {
        let done = n as f64 / length;
        let tone = from + (to - from) * done;
        let mut sum = 0.0;
        for (k, phase) in phases.iter_mut().enumerate() {
            let frequency = tone * (k + 1) as f64;
            *phase = (*phase + TAU * frequency / rate) % TAU;
            let near: f64 = formants.iter().map(|f| 1.0 / (1.0 + ((frequency - f) / 120.0).powi(2))).sum();
            sum += near * phase.sin();
        }
        samples
            .push((loud * 0.4 * (std::f64::consts::PI * done).sin() * sum).clamp(-20_000.0, 20_000.0) as i16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_is_the_same_at_every_run_and_neither_silent_nor_clipped() {
        let voice = speak(Speaker::Alice, 5);
        assert_eq!(voice, speak(Speaker::Alice, 5));
        assert_ne!(voice, speak(Speaker::Bob, 5));
        let mean = voice.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / voice.len() as f64;
        assert!((1000.0..6000.0).contains(&mean.sqrt()), "{}", mean.sqrt());
        assert!(voice.iter().all(|sample| sample.unsigned_abs() < 20_000));
    }
}
