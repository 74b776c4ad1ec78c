//! The media of one call.

use causeway_node::Time;
use causeway_rtp::{Header, Packet, Playout, Reception, Slot, emodel};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Packet time: 160 samples of G.711.
pub(crate) const PACKET: Duration = Duration::from_millis(20);
const SAMPLES: usize = 160;

/// What was said and heard on one call.
#[derive(Clone, Debug)]
pub struct Talk {
    /// Where our packets go.
    pub remote: SocketAddr,
    say: Arc<[u8]>,
    ssrc: u32,
    first_sequence: u16,
    next_send: Time,
    /// When each packet was sent, in order.
    pub sent_at: Vec<Time>,
    /// Sequence number (counted on across wraps), time of arrival and payload of each packet heard.
    pub heard: Vec<(u64, Time, Vec<u8>)>,
    /// Counts and jitter of what was heard.
    pub reception: Reception,
    /// The playout buffer.
    pub playout: Playout,
    /// µ-law bytes as they were played, silence where a packet was missing.
    pub played: Vec<u8>,
    /// When this end left the call, if it has.
    pub ended: Option<Time>,
}

impl Talk {
    /// How long a packet may be under way.
    const UNDER_WAY: Duration = Duration::from_millis(200);
    /// Packets kept in `heard` and `sent_at`: an hour.
    pub const LIMIT: usize = 180_000;

    pub(crate) fn new(remote: SocketAddr, say: Arc<[u8]>, random: u64, now: Time, playout: Duration) -> Self {
        Self {
            remote,
            say,
            ssrc: (random >> 32) as u32,
            first_sequence: random as u16,
            next_send: now,
            sent_at: Vec::new(),
            heard: Vec::new(),
            reception: Reception::default(),
            playout: Playout::new(playout, PACKET),
            played: Vec::new(),
            ended: None,
        }
    }

    /// The payload of the `index`-th packet: what is to be said, over and over.
    pub fn payload(&self, index: usize) -> Vec<u8> {
        let said = self.say.iter().copied().cycle().skip(index * SAMPLES % self.say.len().max(1));
        if self.say.is_empty() { vec![0xff; SAMPLES] } else { said.take(SAMPLES).collect() }
    }

    /// When the packet with this number (modulo 65,536) was sent from here that arrived elsewhere at `at`.
    pub fn sent(&self, number: u64, at: Time) -> Option<Time> {
        let index = usize::from((number as u16).wrapping_sub(self.first_sequence));
        let rounds = (index..self.sent_at.len()).step_by(1 << 16).filter_map(|index| self.sent_at.get(index));
        rounds.take_while(|sent| **sent <= at).last().copied()
    }

    /// Of another end's packets, how many should have been heard here, and how many of those were. What it sent when
    /// this end had left the call already, or was just under way then, is not lost, however late it hears of that.
    pub fn heard_of(&self, speaker: &Self) -> (u64, u64) {
        let counts = |sent: Time| self.ended.is_none_or(|ended| ended.since(sent) > Self::UNDER_WAY);
        let should = speaker.sent_at.iter().filter(|sent| counts(**sent)).count() as u64;
        let heard =
            self.heard.iter().filter(|(number, at, _)| speaker.sent(*number, *at).is_some_and(counts));
        (should, heard.count() as u64)
    }

    /// The sequence number of the first packet sent.
    pub fn first_sequence(&self) -> u16 {
        self.first_sequence
    }

    /// The next packet, if it is due; `None` too after an hour.
    pub(crate) fn next_packet(&mut self, now: Time) -> Option<Vec<u8>> {
        if self.next_send > now || self.sent_at.len() >= Self::LIMIT {
            return None;
        }
        let index = self.sent_at.len();
        let header = Header {
            payload_type: 0,
            marker: index == 0,
            sequence: self.first_sequence.wrapping_add(index as u16),
            timestamp: (index * SAMPLES) as u32,
            ssrc: self.ssrc,
        };
        let mut packet = Vec::with_capacity(Header::LEN + SAMPLES);
        header.write(&mut packet);
        packet.extend(self.payload(index));
        self.sent_at.push(now);
        self.next_send += PACKET;
        Some(packet)
    }

    pub(crate) fn hear(&mut self, now: Time, bytes: &[u8]) {
        let Ok(packet) = Packet::parse(bytes) else { return };
        if packet.header.payload_type != 0 {
            return;
        }
        let number = self.reception.note(&packet.header, now, 8000);
        self.playout.put(number, packet.payload, now);
        if self.heard.len() < Self::LIMIT {
            self.heard.push((number, now, packet.payload.to_vec()));
        }
    }

    pub(crate) fn play(&mut self, now: Time) {
        while let Some(slot) = self.playout.take(now) {
            match slot {
                _ if self.played.len() >= Self::LIMIT * SAMPLES => {}
                Slot::Payload(payload) => self.played.extend(payload),
                Slot::Missing => self.played.extend([0xff; SAMPLES]),
            }
        }
    }

    pub(crate) fn deadline(&self) -> Time {
        self.playout.due().map_or(self.next_send, |due| due.min(self.next_send))
    }

    /// What the listener here thinks of it (E-model): the given network delay plus one packet time and the
    /// playout delay, and all packets that could not be played.
    pub fn line(&self, network: Duration) -> emodel::Line {
        let delay = network + PACKET + self.playout.delay();
        let expected = self.reception.expected().max(1) as f64;
        let unplayed = (self.reception.lost() + self.playout.late) as f64;
        emodel::Line {
            delay_ms: delay.as_secs_f64() * 1e3,
            loss: unplayed / expected,
            ..emodel::Line::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    fn talk() -> Talk {
        let remote = SocketAddr::from(([192, 0, 2, 1], 4000));
        Talk::new(remote, Arc::new([]), 0xffff, ms(0), Duration::from_millis(60))
    }

    /// Two seconds of speech, the tenth packet lost, the listener gone after one.
    #[test]
    fn what_comes_after_the_end_is_not_lost() {
        let (mut speaker, mut listener) = (talk(), talk());
        for index in 0..100 {
            let packet = speaker.next_packet(ms(20 * index)).unwrap();
            if index != 9 && index < 50 {
                listener.hear(ms(20 * index + 30), &packet);
            }
        }
        assert_eq!(listener.heard_of(&speaker), (100, 49), "as long as it listens");
        listener.ended = Some(ms(1000));
        assert_eq!(listener.heard_of(&speaker), (40, 39));
        assert_eq!(speaker.sent(0x1_0000, ms(50)), Some(ms(20)), "numbers wrap");
    }
}
