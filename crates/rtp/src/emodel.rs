//! The E-model (ITU-T G.107): from delay and loss to what a listener thinks of a call.
//!
//! Everything that is not a field of [`Line`] has the default value of G.107 table 2.

/// One direction of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Delay from mouth to ear in milliseconds: packetisation, network and playout buffer.
    pub delay_ms: f64,
    /// Share of packets not played, 0 to 1: lost, dropped or late.
    pub loss: f64,
    /// Mean length of loss bursts relative to random loss, 1 and up (BurstR).
    pub burst_ratio: f64,
    /// Equipment impairment of the codec without loss (G.113): 0 for G.711.
    pub ie: f64,
    /// Robustness of the codec to loss (G.113): 25.1 for G.711 with concealment, 4.3 without.
    pub bpl: f64,
}

impl Default for Line {
    fn default() -> Self {
        Self { delay_ms: 0.0, loss: 0.0, burst_ratio: 1.0, ie: 0.0, bpl: 25.1 }
    }
}

const SLR: f64 = 8.0;
const RLR: f64 = 2.0;
const OLR: f64 = SLR + RLR;
const STMR: f64 = 15.0;
const LSTR: f64 = 18.0;
const DS: f64 = 3.0;
const TELR: f64 = 65.0;
const WEPL: f64 = 110.0;
const NC: f64 = -70.0;
const NFOR: f64 = -64.0;
const ROOM_NOISE: f64 = 35.0;

fn decibel_sum(levels: &[f64]) -> f64 {
    10.0 * levels.iter().map(|level| 10f64.powf(level / 10.0)).sum::<f64>().log10()
}

impl Line {
    /// The transmission rating R, 0 to 100 (G.107 §7.1).
    pub fn rating(&self) -> f64 {
        let noise = noise();
        let ro = 15.0 - 1.5 * (SLR + noise);
        let codec = self.ie
            + (95.0 - self.ie) * self.loss * 100.0 / (self.loss * 100.0 / self.burst_ratio + self.bpl);
        let rating = ro - simultaneous(ro, noise, self.delay_ms) - delayed(ro, noise, self.delay_ms) - codec;
        rating.clamp(0.0, 100.0)
    }

    /// The mean opinion score, 1 to 4.5 (G.107 annex B).
    pub fn mos(&self) -> f64 {
        let r = self.rating();
        (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
    }
}

/// All circuit noise, in dBm0p (§7.2).
fn noise() -> f64 {
    let sending = ROOM_NOISE - SLR - DS - 100.0 + 0.004 * (ROOM_NOISE - OLR - DS - 14.0).powi(2);
    let effective = ROOM_NOISE + 10.0 * (1.0 + 10f64.powf((10.0 - LSTR) / 10.0)).log10();
    let receiving = RLR - 121.0 + effective + 0.008 * (effective - 35.0).powi(2);
    decibel_sum(&[NC, sending, receiving, NFOR + RLR])
}

/// Is: what disturbs at the same time as the voice (§7.3).
fn simultaneous(ro: f64, noise: f64, delay_ms: f64) -> f64 {
    let loudness = OLR + 0.2 * (64.0 + noise - RLR);
    let too_loud = 20.0 * ((1.0 + (loudness / 8.0).powi(8)).powf(1.0 / 8.0) - loudness / 8.0);
    let sidetone =
        -10.0 * (10f64.powf(-STMR / 10.0) + (-delay_ms / 4.0).exp() * 10f64.powf(-TELR / 10.0)).log10();
    let bad_sidetone = 12.0 * (1.0 + ((sidetone - 13.0) / 6.0).powi(8)).powf(1.0 / 8.0)
        - 28.0 * (1.0 + ((sidetone + 1.0) / 19.4).powi(35)).powf(1.0 / 35.0)
        - 13.0 * (1.0 + ((sidetone - 3.0) / 33.0).powi(13)).powf(1.0 / 13.0)
        + 29.0;
    let q = 37.0; // one quantisation unit: 37 - 15 lg(1)
    let g = 1.07 + 0.258 * q + 0.0602 * q * q;
    let y = (ro - 100.0) / 15.0 + 46.0 / 8.4 - g / 9.0;
    let z = 46.0 / 30.0 - g / 40.0;
    let quantisation = 15.0 * (1.0 + 10f64.powf(y) + 10f64.powf(z)).log10();
    too_loud + bad_sidetone + quantisation
}

/// Id: echo and sheer delay (§7.4).
fn delayed(ro: f64, noise: f64, delay_ms: f64) -> f64 {
    let t = delay_ms;
    let echo_level =
        TELR - 40.0 * ((1.0 + t / 10.0) / (1.0 + t / 150.0)).log10() + 6.0 * (-0.3 * t * t).exp();
    let roe = -1.5 * (noise - RLR);
    let gap = roe - (80.0 + 2.5 * (echo_level - 14.0));
    let talker_echo = (gap / 2.0 + (gap * gap / 4.0 + 100.0).sqrt() - 1.0) * (1.0 - (-t).exp());
    let rle = 10.5 * (WEPL + 7.0) * (2.0 * t + 1.0).powf(-0.25);
    let listener_echo = (ro - rle) / 2.0 + ((ro - rle).powi(2) / 4.0 + 169.0).sqrt();
    let too_long = if t <= 100.0 {
        0.0
    } else {
        let x = (t / 100.0).log2();
        25.0 * ((1.0 + x.powi(6)).powf(1.0 / 6.0) - 3.0 * (1.0 + (x / 3.0).powi(6)).powf(1.0 / 6.0) + 2.0)
    };
    talker_echo + listener_echo + too_long
}

#[cfg(test)]
mod tests {
    use super::*;

    /// G.107 (2015): all defaults give R = 93.2 and a mean opinion score of 4.41.
    #[test]
    fn defaults_give_the_published_rating() {
        let line = Line::default();
        assert!((line.rating() - 93.2).abs() < 0.2, "{}", line.rating());
        assert!((line.mos() - 4.41).abs() < 0.01, "{}", line.mos());
    }

    /// G.113 appendix I: Ie,eff of G.711 with concealment at 1 % random loss is 95 / 26.1.
    #[test]
    fn loss_costs_what_g113_says() {
        let lossy = Line { loss: 0.01, ..Line::default() };
        assert!((Line::default().rating() - lossy.rating() - 95.0 / 26.1).abs() < 1e-9);
    }

    /// G.107 figure: R falls slowly to 150 ms, then faster; at 400 ms it is about 66 to 70 without echo control
    /// beyond TELR 65 dB.
    #[test]
    fn delay_costs_more_the_longer_it_is() {
        let rating = |delay_ms| Line { delay_ms, ..Line::default() }.rating();
        assert!(rating(0.0) > rating(100.0) && rating(100.0) > rating(150.0));
        assert!(rating(150.0) - rating(300.0) > 2.0 * (rating(0.0) - rating(150.0)) - 20.0);
        assert!(rating(400.0) < 80.0 && rating(400.0) > 50.0, "{}", rating(400.0));
    }
}
