//! What is sent, and in which order.

use super::{KEEP, SIP_CHUNK, SIP_LEAST, Tunnel};
use crate::Lane;
use crate::control::Message;
use crate::frame::{HEADER, put_header};
use crate::lanes::append;
use causeway_node::Time;

impl Tunnel {
    /// Queues a control message in a frame of its own.
    pub(super) fn say(&mut self, message: &Message<'_>) {
        let start = self.control_out.len();
        put_header(&mut self.control_out, Lane::CONTROL, 0);
        message.encode(&mut self.control_out);
        let len = (self.control_out.len() - start - HEADER) as u16;
        self.control_out[start + 2..start + HEADER].copy_from_slice(&len.to_be_bytes());
    }

    pub(super) fn fill_tail(&mut self, end: usize, buf: &mut Vec<u8>) {
        let rest = self.tail.get(self.tail_done..).unwrap_or_default();
        let len = rest.len().min(end.saturating_sub(buf.len()));
        buf.extend_from_slice(&rest[..len]);
        self.tail_done += len;
        if self.tail_done == self.tail.len() {
            self.tail.clear();
            self.tail.shrink_to(KEEP);
            self.tail_done = 0;
        }
    }

    pub(super) fn fill_frames(&mut self, now: Time, start: usize, end: usize, buf: &mut Vec<u8>) {
        if self.is_up() {
            while let Some(opaque) = self.pongs.pop_front() {
                self.say(&Message::Pong(opaque));
            }
            if let Some(opaque) = self.pulse.take(now) {
                self.say(&Message::Ping(opaque));
            }
        }
        if !self.control_out.is_empty() {
            if buf.len() + self.control_out.len() > end {
                std::mem::swap(&mut self.tail, &mut self.control_out);
                return self.fill_tail(end, buf);
            }
            buf.append(&mut self.control_out);
            self.control_out.shrink_to(KEEP);
        }
        if !self.is_up() || !self.fill_sip(end, buf) {
            return;
        }
        if let Some(whole) = self.lanes.fill(&self.config, &mut self.keys, now, end, buf)
            && buf.len() == start
        {
            // Not even one frame fits: it is begun here and ended by the next call.
            let mut tail = std::mem::take(&mut self.tail);
            self.lanes.fill(&self.config, &mut self.keys, now, whole, &mut tail);
            self.tail = tail;
            self.fill_tail(end, buf);
        }
        if self.tail.is_empty() && !self.lanes.has_waiting() {
            let max_frame = self.peer.as_ref().map_or(0, |peer| usize::from(peer.max_frame));
            let lanes = &mut self.lanes;
            self.streams.fill(now, end - start, end, max_frame, buf, |lane, len| lanes.count_sent(lane, len));
        }
    }

    /// Appends SIP frames; says whether nothing of SIP is left.
    fn fill_sip(&mut self, end: usize, buf: &mut Vec<u8>) -> bool {
        let peer_max = self.peer.as_ref().map_or(SIP_CHUNK, |peer| usize::from(peer.max_frame));
        while !self.sip_out.is_empty() {
            let room = end.saturating_sub(buf.len() + HEADER);
            let len = self.sip_out.len().min(SIP_CHUNK).min(peer_max).min(room);
            if len == 0 || len < self.sip_out.len().min(SIP_LEAST) {
                return false;
            }
            put_header(buf, Lane::SIP, len as u16);
            append(&mut self.sip_out, len, buf);
            self.sip_sent += len as u64;
        }
        self.sip_out.shrink_to(KEEP);
        true
    }
}
