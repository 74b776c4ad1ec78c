//! Frames sealed with AES-128-GCM.
//!
//! A sealed payload is: marker (the low 8 bits of the key's epoch), counter (48 bits), ciphertext, tag (16 bytes).
//! The nonce is the counter, on the right of 96 bits, XORed with the initial value of the direction; lane,
//! marker and counter are authenticated with the ciphertext.

use crate::Lane;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::fmt;
use zeroize::Zeroizing;

/// How much longer a sealed payload is than what it holds.
pub const OVERHEAD: usize = HEAD + TAG;
const HEAD: usize = 7;
const TAG: usize = 16;
const KEY: usize = 16;
const IV: usize = 12;
/// Frames under one key, at most; then it seals no more (NIST SP 800-38D §8.3 allows 2^32 with random nonces,
/// which these are not).
const MAX_FRAMES: u64 = 1 << 32;

/// One direction of one key.
struct Direction {
    key: Option<LessSafeKey>,
    iv: Zeroizing<[u8; IV]>,
    marker: u8,
}

impl Direction {
    /// The first 16 bytes are the key, the next 12 the initial value.
    fn new(secret: &[u8; 32], epoch: u32) -> Self {
        let (key, rest) = secret.split_at(KEY);
        let mut iv = Zeroizing::new([0; IV]);
        iv.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        // 16 bytes always make a key; without one nothing is sealed or opened.
        let key = UnboundKey::new(&AES_128_GCM, key).ok().map(LessSafeKey::new);
        Self { key, iv, marker: epoch as u8 }
    }

    fn nonce(&self, counter: u64) -> Nonce {
        let mut nonce = *self.iv;
        for (byte, part) in nonce[IV - 8..].iter_mut().zip(counter.to_be_bytes()) {
            *byte ^= part;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Lane, marker and counter as they are authenticated; marker and counter as they are sent.
fn head(lane: Lane, marker: u8, counter: u64) -> [u8; 2 + HEAD] {
    let [high, low] = lane.0.to_be_bytes();
    let [_, _, a, b, c, d, e, f] = counter.to_be_bytes();
    [high, low, marker, a, b, c, d, e, f]
}

/// Seals what one end sends for one user, with numbers that never come again.
pub struct Sealer {
    direction: Direction,
    next: u64,
}

impl Sealer {
    pub(super) fn new(secret: &[u8; 32], epoch: u32) -> Self {
        Self { direction: Direction::new(secret, epoch), next: 0 }
    }

    /// Seals the payload that stands in `buf` from `start + 7` on; the seven bytes before it are filled in and
    /// the tag is appended. `false` if the key has served its time: then what is in `buf` must not be sent.
    #[must_use]
    pub fn seal(&mut self, lane: Lane, buf: &mut Vec<u8>, start: usize) -> bool {
        let counter = self.next;
        let Some(key) = self.direction.key.as_ref().filter(|_| counter < MAX_FRAMES) else { return false };
        let head = head(lane, self.direction.marker, counter);
        let Some((place, payload)) = buf.get_mut(start..).and_then(|rest| rest.split_at_mut_checked(HEAD))
        else {
            return false;
        };
        place.copy_from_slice(&head[2..]);
        self.next += 1;
        let nonce = self.direction.nonce(counter);
        match key.seal_in_place_separate_tag(nonce, Aad::from(&head), payload) {
            Ok(tag) => {
                buf.extend_from_slice(tag.as_ref());
                true
            }
            Err(_) => false,
        }
    }

    /// Bytes that stand before the payload.
    pub const fn head_len() -> usize {
        HEAD
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer {{ marker: {}, next: {} }}", self.direction.marker, self.next)
    }
}

/// Opens what the other end sends for one user, each frame once and in order.
pub struct Opener {
    direction: Direction,
    /// The lowest number that has not been used: a tunnel keeps order, so numbers only grow.
    next: u64,
}

impl Opener {
    pub(super) fn new(secret: &[u8; 32], epoch: u32) -> Self {
        Self { direction: Direction::new(secret, epoch), next: 0 }
    }

    /// Opens a sealed payload into `out`. `false` if it is too short, of another epoch, old, or not genuine; then
    /// `out` is empty.
    #[must_use]
    pub fn open(&mut self, lane: Lane, sealed: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        let Some((&[marker, a, b, c, d, e, f], rest)) = sealed.split_first_chunk::<HEAD>() else {
            return false;
        };
        let Some((body, tag)) = rest.split_last_chunk::<TAG>() else { return false };
        let counter = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let Some(key) = &self.direction.key else { return false };
        if marker != self.direction.marker || counter < self.next {
            return false;
        }
        out.resize(body.len(), 0);
        let aad = Aad::from(head(lane, marker, counter));
        let nonce = self.direction.nonce(counter);
        if key.open_separate_gather(nonce, aad, body, tag, out).is_err() {
            out.clear();
            return false;
        }
        self.next = counter + 1;
        true
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener {{ marker: {}, next: {} }}", self.direction.marker, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane(17);

    fn pair(epoch: u32) -> (Sealer, Opener) {
        (Sealer::new(&[7; 32], epoch), Opener::new(&[7; 32], epoch))
    }

    fn seal(sealer: &mut Sealer, lane: Lane, payload: &[u8]) -> Vec<u8> {
        let mut buf = [&b"before"[..], &[0; HEAD], payload].concat();
        assert!(sealer.seal(lane, &mut buf, 6));
        assert_eq!(&buf[..6], b"before");
        buf.split_off(6)
    }

    fn open(opener: &mut Opener, lane: Lane, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"old".to_vec();
        opener.open(lane, sealed, &mut out).then_some(out)
    }

    #[test]
    fn frames_are_opened_once_and_in_order() {
        let (mut sealer, mut opener) = pair(0x0102);
        let frames: Vec<_> = (0..4u8).map(|n| seal(&mut sealer, LANE, &[n; 20])).collect();
        assert_eq!(frames[0].len(), 20 + OVERHEAD);
        assert_eq!(frames[3][..HEAD], [2, 0, 0, 0, 0, 0, 3]);
        assert_eq!(open(&mut opener, LANE, &frames[0]), Some(vec![0; 20]));
        assert_eq!(open(&mut opener, LANE, &frames[0]), None, "a replay");
        assert_eq!(open(&mut opener, LANE, &frames[2]), Some(vec![2; 20]), "a dropped frame is no fault");
        assert_eq!(open(&mut opener, LANE, &frames[1]), None, "out of order");
        assert_eq!(open(&mut opener, LANE, &frames[3]), Some(vec![3; 20]));
        let empty = seal(&mut sealer, LANE, b"");
        assert_eq!(open(&mut opener, LANE, &empty), Some(vec![]));
    }

    #[test]
    fn every_changed_bit_another_lane_epoch_or_key_is_refused() {
        let (mut sealer, mut opener) = pair(1);
        let frame = seal(&mut sealer, LANE, b"speech");
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&mut opener, LANE, &bad), None, "bit {bit}");
        }
        for len in 0..frame.len() {
            assert_eq!(open(&mut opener, LANE, &frame[..len]), None);
        }
        assert_eq!(open(&mut opener, Lane(19), &frame), None, "another lane");
        assert_eq!(open(&mut Opener::new(&[7; 32], 2), LANE, &frame), None, "another epoch");
        assert_eq!(open(&mut Opener::new(&[8; 32], 1), LANE, &frame), None, "another key");
        assert_eq!(open(&mut opener, LANE, &frame), Some(b"speech".to_vec()), "the true one still opens");
    }

    #[test]
    fn a_key_ends_before_its_numbers_do() {
        let (mut sealer, _) = pair(1);
        sealer.next = MAX_FRAMES - 1;
        seal(&mut sealer, LANE, b"last");
        assert!(!sealer.seal(LANE, &mut vec![0; 20], 0));
    }
}
