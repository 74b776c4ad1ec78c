//! From times of sending and hearing to an opinion (ITU-T G.107).

use anyhow::{Context, Result};
use causeway_rtp::emodel::Line;
use serde_json::Value;

/// Packet time in milliseconds: the first sample waits for the last.
const PACKET_MS: f64 = 20.0;
/// The longest playout delay that a listener's buffer would choose.
const LONGEST_MS: f64 = 600.0;

/// What a listener thinks of one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Mean opinion score, 1 to 4.5.
    pub mos: f64,
    /// Mouth to ear, playout buffer included.
    pub delay_ms: f64,
    /// Share of packets that were lost, or later than the buffer waits.
    pub unplayed: f64,
}

/// One end's record.
pub struct Record {
    first: u16,
    sent: Vec<u64>,
    heard: Vec<(u64, u64)>,
}

impl Record {
    /// # Errors
    /// If the text is no record.
    pub fn read(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).context("no record")?;
        let numbers = |name: &str| value[name].as_array().cloned().unwrap_or_default();
        let sent = numbers("sent").iter().filter_map(Value::as_u64).collect();
        let pair = |pair: &Value| Some((pair[0].as_u64()?, pair[1].as_u64()?));
        let heard = numbers("heard").iter().filter_map(pair).collect();
        Ok(Self { first: value["first"].as_u64().unwrap_or(0) as u16, sent, heard })
    }
}

/// What `listener` thinks of what `speaker` said. The playout buffer is the best of fixed length, as an adaptive one
/// finds it in time; losses count as in random order, since what TCP delays is lost in bursts, G.107 leaves them open.
pub fn judge(speaker: &Record, listener: &Record) -> Score {
    // The beginning and the end of the call are not the path's affair.
    let (from, to) = (50, speaker.sent.len().saturating_sub(50));
    let mut delays = vec![f64::INFINITY; speaker.sent.len()];
    for (number, at) in &listener.heard {
        let index = usize::from((*number as u16).wrapping_sub(speaker.first));
        if let (Some(delay), Some(sent)) = (delays.get_mut(index), speaker.sent.get(index)) {
            *delay = delay.min(at.saturating_sub(*sent) as f64 / 1e6);
        }
    }
    let delays = delays.get(from..to).unwrap_or_default();
    let count = delays.len().max(1) as f64;
    let mut best = Score { mos: 1.0, delay_ms: 0.0, unplayed: 1.0 };
    let mut buffer = 40.0;
    while buffer <= LONGEST_MS {
        let unplayed = delays.iter().filter(|delay| **delay > buffer).count() as f64 / count;
        let delay_ms = buffer + PACKET_MS;
        let mos = Line { delay_ms, loss: unplayed, ..Line::default() }.mos();
        if mos > best.mos {
            best = Score { mos, delay_ms, unplayed };
        }
        buffer += 2.0;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sent: impl Iterator<Item = u64>, heard: impl Iterator<Item = (u64, u64)>) -> Record {
        Record { first: 7, sent: sent.collect(), heard: heard.collect() }
    }

    #[test]
    fn a_perfect_path_and_one_that_loses() {
        let ms = 1_000_000;
        let speaker = record((0..1000).map(|n| n * 20 * ms), std::iter::empty());
        let all = record(std::iter::empty(), (0..1000).map(|n| (n + 7, (n * 20 + 40) * ms)));
        let perfect = judge(&speaker, &all);
        assert!(perfect.mos > 4.3 && perfect.unplayed == 0.0 && perfect.delay_ms < 65.0, "{perfect:?}");
        let some = (0..1000).filter(|n| n % 10 != 0).map(|n| (n + 7, (n * 20 + 40) * ms));
        let bad = judge(&speaker, &record(std::iter::empty(), some));
        assert!((bad.unplayed - 0.1).abs() < 0.01 && bad.mos < 3.5, "{bad:?}");
        let late = (0..1000).map(|n| (n + 7, (n * 20 + if n % 10 == 0 { 150 } else { 40 }) * ms));
        let waited = judge(&speaker, &record(std::iter::empty(), late));
        assert!(waited.unplayed == 0.0 && waited.delay_ms > 160.0, "it pays to wait: {waited:?}");
    }
}
