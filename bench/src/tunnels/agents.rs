//! Many agents in one node: each a tunnel, and one phone that registers.

use causeway_node::{Class, Connect, Ctx, Flow, Input, Node, Outbox, Time, Transport};
use causeway_tunnel::{Config, Event, Instance, Role, Tunnel};
use std::net::SocketAddr;
use std::sync::Arc;

/// How far they have come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Tunnels up.
    pub up: usize,
    /// Phones whose REGISTER has been answered 200 in their present session.
    pub registered: usize,
    /// Agents whose ticket for the next connection has come on the present one.
    pub tickets: usize,
}

#[derive(Default)]
struct One {
    tunnel: Option<Tunnel>,
    heard: Vec<u8>,
    up: bool,
    registered: bool,
    ticket: bool,
    generation: u32,
}

/// All of them.
pub struct Agents {
    to: SocketAddr,
    all: Vec<One>,
}

impl Agents {
    pub fn new(to: SocketAddr, count: usize) -> Self {
        Self { to, all: std::iter::repeat_with(One::default).take(count).collect() }
    }

    pub fn progress(&self) -> Progress {
        let count = |is: fn(&One) -> bool| self.all.iter().filter(|one| is(one)).count();
        Progress {
            up: count(|one| one.up),
            registered: count(|one| one.up && one.registered),
            tickets: count(|one| one.ticket),
        }
    }

    /// Cuts all connections, and opens others: to go on with their sessions there by their tickets, or to begin anew.
    pub fn again(&mut self, now: Time, go_on: bool, out: &mut Outbox) {
        for index in 0..self.all.len() {
            out.close(self.flow(index));
            let one = &mut self.all[index];
            (one.generation, one.up, one.ticket) = (one.generation + 1, false, false);
            match &mut one.tunnel {
                Some(tunnel) if go_on => tunnel.park(now),
                _ => *one = One { generation: one.generation, ..One::default() },
            }
            self.connect(index, out);
        }
    }

    fn flow(&self, index: usize) -> Flow {
        let turn = self.all.get(index).map_or(0, |one| one.generation);
        Flow(1 + index as u32 + (turn % 2) * self.all.len() as u32)
    }

    fn index(&self, flow: Flow) -> usize {
        (flow.0 as usize - 1) % self.all.len().max(1)
    }

    fn connect(&self, index: usize, out: &mut Outbox) {
        let (to, server_name) = (self.to, String::new());
        let connect =
            Connect { to, through: None, transport: Transport::Tls, server_name, class: Class::Media };
        out.connect(self.flow(index), connect);
    }

    fn stream(&mut self, now: Time, flow: Flow, bytes: &[u8], out: &mut Outbox) {
        let index = self.index(flow);
        let Some(one) = self.all.get_mut(index) else { return };
        let Some(tunnel) = &mut one.tunnel else { return };
        let mut input = bytes;
        let (mut rose, mut ticket) = (false, false);
        while let Some(event) = tunnel.next(now, &mut input) {
            match event {
                Event::Up(_) => rose = true,
                Event::Resumed { .. } => one.up = true,
                Event::Ticket => ticket = true,
                Event::Fresh(why) => eprintln!("agent {index} cannot go on: {why}"),
                Event::Sip(bytes) => one.heard.extend_from_slice(bytes),
                Event::Dead(why) => eprintln!("agent {index}: {why}"),
                _ => {}
            }
        }
        if ticket {
            tunnel.ticket_kept();
            one.ticket = true;
        }
        if rose {
            one.up = true;
            // What does not fit is a fault that the count shows.
            let _ = tunnel.sip(register(index, one.generation).as_bytes());
        }
        one.registered |= one.heard.starts_with(b"SIP/2.0 200");
        tunnel.sip_handled(now, 0);
        if tunnel.wants_write() {
            out.wake(flow);
        }
    }
}

fn register(index: usize, generation: u32) -> String {
    format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/TLS 192.168.1.10:5060;branch=z9hG4bK{generation}x{index}\r\n\
         From: <sip:u{index}@example.com>;tag=1\r\nTo: <sip:u{index}@example.com>\r\nCall-ID: r{index}\r\n\
         CSeq: {} REGISTER\r\nMax-Forwards: 70\r\nContact: <sip:u{index}@192.168.1.10>\r\nExpires: 3600\r\n\
         Content-Length: 0\r\n\r\n",
        generation + 1
    )
}

impl Node for Agents {
    fn handle(&mut self, ctx: &mut Ctx<'_>, input: Input<'_>, out: &mut Outbox) {
        match input {
            Input::Start => (0..self.all.len()).for_each(|index| self.connect(index, out)),
            Input::Opened { flow, exporter, .. } => {
                let index = self.index(flow);
                let mut config = Config::new(Role::Agent);
                let mut instance = [7; 16];
                instance[..8].copy_from_slice(&(index as u64).to_be_bytes());
                config.instance = Some(Instance(instance));
                if let Some(one) = self.all.get_mut(index)
                    && !one.tunnel.as_mut().is_some_and(|tunnel| tunnel.resume(ctx.now, exporter))
                {
                    one.tunnel = Some(Tunnel::on(Arc::new(config), ctx.now, exporter));
                }
                out.wake(flow);
            }
            Input::Stream { flow, bytes } => self.stream(ctx.now, flow, bytes, out),
            Input::Closed { flow, why } => {
                eprintln!("agent {}: {why}", self.index(flow));
                let index = self.index(flow);
                self.connect(index, out);
            }
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        None
    }

    fn fill(&mut self, ctx: &mut Ctx<'_>, flow: Flow, room: usize, buf: &mut Vec<u8>) {
        let index = self.index(flow);
        if let Some(tunnel) = self.all.get_mut(index).and_then(|one| one.tunnel.as_mut()) {
            tunnel.fill(ctx.now, room, buf);
        }
    }
}
