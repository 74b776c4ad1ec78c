//! What is sent, and in which order.

use super::{KEEP, SIP_CHUNK, SIP_LEAST, Tunnel};
use crate::Lane;
use crate::control::Message;
use crate::frame::{HEADER, put_header};
use causeway_node::Time;

impl Tunnel {
    /// Tells the peer how much SIP has been handled, if it does not know.
    pub(super) fn acknowledge(&mut self) {
        if let Some(offset) = self.sip.tell() {
            self.say(&Message::SipAck(offset));
        }
    }

    /// Queues a control message in a frame of its own.
    pub(super) fn say(&mut self, message: &Message<'_>) {
        let start = self.conn.control_out.len();
        put_header(&mut self.conn.control_out, Lane::CONTROL, 0);
        message.encode(&mut self.conn.control_out);
        let len = (self.conn.control_out.len() - start - HEADER) as u16;
        self.conn.control_out[start + 2..start + HEADER].copy_from_slice(&len.to_be_bytes());
    }

    pub(super) fn fill_tail(&mut self, end: usize, buf: &mut Vec<u8>) {
        let rest = self.conn.tail.get(self.conn.tail_done..).unwrap_or_default();
        let len = rest.len().min(end.saturating_sub(buf.len()));
        buf.extend_from_slice(&rest[..len]);
        self.conn.tail_done += len;
        if self.conn.tail_done == self.conn.tail.len() {
            self.conn.tail.clear();
            self.conn.tail.shrink_to(KEEP);
            self.conn.tail_done = 0;
        }
    }

    pub(super) fn fill_frames(&mut self, now: Time, start: usize, end: usize, buf: &mut Vec<u8>) {
        if self.is_up() {
            while let Some(opaque) = self.conn.pongs.pop_front() {
                self.say(&Message::Pong(opaque));
            }
            if let Some(opaque) = self.conn.pulse.take(now) {
                self.say(&Message::Ping(opaque));
            }
            self.acknowledge();
        }
        if !self.conn.control_out.is_empty() {
            if buf.len() + self.conn.control_out.len() > end {
                std::mem::swap(&mut self.conn.tail, &mut self.conn.control_out);
                return self.fill_tail(end, buf);
            }
            buf.append(&mut self.conn.control_out);
            self.conn.control_out.shrink_to(KEEP);
        }
        if !self.is_up() || !self.fill_sip(end, buf) {
            return;
        }
        if let Some(whole) = self.lanes.fill(&self.config, &mut self.keys, now, end, buf)
            && buf.len() == start
        {
            // Not even one frame fits: it is begun here and ended by the next call.
            let mut tail = std::mem::take(&mut self.conn.tail);
            self.lanes.fill(&self.config, &mut self.keys, now, whole, &mut tail);
            self.conn.tail = tail;
            self.fill_tail(end, buf);
        }
        if self.conn.tail.is_empty() && !self.lanes.has_waiting() {
            let max_frame = self.peer.as_ref().map_or(0, |peer| usize::from(peer.max_frame));
            let (lanes, keys) = (&mut self.lanes, &mut self.keys);
            self.streams.fill(now, (end - start, end), max_frame, (lanes, keys), buf);
            while let Some(lane) = self.streams.take_broken() {
                self.close_lane(lane);
                self.conn.closed.push(lane);
            }
        }
    }

    /// Appends SIP frames; says whether nothing of SIP is left.
    fn fill_sip(&mut self, end: usize, buf: &mut Vec<u8>) -> bool {
        let peer_max = self.peer.as_ref().map_or(SIP_CHUNK, |peer| usize::from(peer.max_frame));
        while self.sip.waiting() > 0 {
            let room = end.saturating_sub(buf.len() + HEADER);
            let len = self.sip.waiting().min(SIP_CHUNK).min(peer_max).min(room);
            if len == 0 || len < self.sip.waiting().min(SIP_LEAST) {
                return false;
            }
            put_header(buf, Lane::SIP, len as u16);
            self.sip.take(len, buf);
            self.sip_sent += len as u64;
        }
        true
    }
}
