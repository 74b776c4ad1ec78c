//! A connection that belongs to another contact point of several side by side.

use super::{Stage, Tunnel};
use crate::Lane;
use crate::control::Message;
use crate::frame::put_header;

impl Tunnel {
    /// At the contact point, right after the peer's Hello ([`crate::Event::Up`], [`crate::Event::Asked`]) and before
    /// anything was sent: gives the connection up. The frame returned stands for what was taken from it; with the bytes
    /// that follow, another [`Tunnel`] takes the connection's place. `None` where it is too late for that, or too
    /// early.
    pub fn give_away(&mut self) -> Option<Vec<u8>> {
        if self.stream_sent > 0 || !matches!(self.conn.stage, Stage::Up | Stage::Deciding) {
            return None;
        }
        let mut hello = self.peer.as_deref()?.clone();
        hello.resume = self.conn.ask.take();
        let mut payload = Vec::new();
        Message::Hello(hello).encode(&mut payload);
        payload.extend_from_slice(self.conn.control_in.get(self.conn.control_done..).unwrap_or_default());
        let mut frame = Vec::with_capacity(payload.len() + crate::HEADER);
        put_header(&mut frame, Lane::CONTROL, u16::try_from(payload.len()).ok()?);
        frame.extend_from_slice(&payload);
        self.conn.stage = Stage::Over;
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, Event, Instance, Kind, Role, Tunnel};
    use causeway_node::Time;
    use std::sync::Arc;

    #[test]
    fn another_end_goes_on_where_the_hello_was_heard() {
        let now = Time::ZERO;
        let mut config = Config::new(Role::Agent);
        config.instance = Some(Instance([9; 16]));
        let mut agent = Tunnel::new(Arc::new(config), now);
        let contact = || Tunnel::new(Arc::new(Config::new(Role::ContactPoint)), now);
        let mut wire = Vec::new();
        agent.fill(now, 1 << 16, &mut wire);
        let mut second = contact();
        second.fill(now, 1 << 16, &mut Vec::new());
        assert!(second.give_away().is_none(), "its own Hello has left");

        let mut first = contact();
        assert!(first.give_away().is_none(), "nothing has come yet");
        let mut input = wire.as_slice();
        assert!(
            matches!(first.next(now, &mut input), Some(Event::Up(hello)) if hello.instance == Some(Instance([9; 16])))
        );
        let frame = first.give_away().unwrap();
        assert!(first.next(now, &mut wire.as_slice()).is_none(), "it is over");
        let mut second = contact();
        let mut hello = Vec::new();
        second.fill(now, 1 << 16, &mut hello);
        let mut input = hello.as_slice();
        assert!(matches!(agent.next(now, &mut input), Some(Event::Up(_))));
        let lane = agent.open_lane(Kind::Audio, b"call").unwrap();
        agent.datagram(now, lane, b"voice").unwrap();
        let mut rest = frame;
        agent.fill(now, 1 << 16, &mut rest);
        let mut input = rest.as_slice();
        assert!(
            matches!(second.next(now, &mut input), Some(Event::Up(hello)) if hello.instance == Some(Instance([9; 16])))
        );
        assert!(matches!(second.next(now, &mut input), Some(Event::LaneOpened { .. })));
        assert!(matches!(second.next(now, &mut input), Some(Event::Datagram { payload: b"voice", .. })));
    }
}
