//! A node and what belongs to it.

use super::{Mail, Token};
use crate::authority::Asked;
use crate::group::Membership;
use crate::linelog::LineLog;
use crate::persist::Journal;
use crate::worker::Setup;
use causeway_node::{Flow, Node, Outbox};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::any::Any;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A node that can be looked into and moved to another thread.
pub(crate) trait Hosted: Node + Any + Send {}
impl<N: Node + Any + Send> Hosted for N {}

/// Hashes a flow's number: one multiplication. The numbers are ours, so nobody can make them collide.
#[derive(Default)]
pub(crate) struct FlowHasher(u64);

impl Hasher for FlowHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, n: u32) {
        self.0 = (self.0 ^ u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

pub(crate) type Flows = HashMap<Flow, Token, BuildHasherDefault<FlowHasher>>;

pub(crate) struct Member {
    pub name: String,
    pub node: Box<dyn Hosted>,
    pub out: Outbox,
    pub rng: StdRng,
    pub flows: Flows,
    pub journal: Journal,
    pub authority: Option<Asked>,
    pub server: Option<crate::tls::Server>,
    pub client: Option<crate::tls::Client>,
    /// The last figure told by [`Node::pressure`]: the higher one of the next two.
    pressure: u8,
    /// How full its ports were found.
    of_ports: u8,
    /// How full its lanes in a group were found.
    of_group: u8,
    pub group: Option<Membership>,
    pub lines: Vec<(&'static str, LineLog)>,
    next_accepted: u32,
}

impl Member {
    pub fn new(index: usize, setup: Setup, mail: Mail) -> std::io::Result<Self> {
        if let Some(group) = &setup.group {
            group.sit(mail.clone());
        }
        let mut out = Outbox::default();
        if !tracing::enabled!(tracing::Level::DEBUG) {
            out.listen_from(causeway_node::Level::Info);
        }
        out.keep_journals(setup.lines.iter().map(|(journal, _)| *journal).collect());
        let authority = setup.authority.map(|placed| Asked::new(placed, index, mail.clone())).transpose()?;
        Ok(Self {
            journal: Journal::new(index, &setup.name, setup.persister, mail)?,
            name: setup.name,
            node: setup.node,
            out,
            rng: StdRng::try_from_os_rng().map_err(std::io::Error::other)?,
            flows: Flows::default(),
            authority,
            server: setup.server,
            client: setup.client,
            pressure: 0,
            of_ports: 0,
            of_group: 0,
            group: setup.group,
            lines: setup.lines,
            next_accepted: Flow::ACCEPTED,
        })
    }

    /// The journals that it answers for: those of a group are its first member's.
    pub fn journals(&self) -> &[(&'static str, LineLog)] {
        let answers = self.group.as_ref().is_none_or(|group| group.own() == 0);
        if answers { &self.lines } else { &[] }
    }

    pub fn press_by_ports(&mut self, percent: u8) {
        self.of_ports = percent;
        self.press();
    }

    pub fn press_by_group(&mut self, percent: u8) {
        self.of_group = percent;
        self.press();
    }

    fn press(&mut self) {
        let percent = self.of_ports.max(self.of_group);
        if percent != self.pressure {
            self.pressure = percent;
            self.node.pressure(percent);
        }
    }

    /// An id for an accepted connection; ids return only after two thousand million others.
    pub fn accepted_flow(&mut self) -> Flow {
        loop {
            let flow = Flow(self.next_accepted);
            self.next_accepted = self.next_accepted.checked_add(1).unwrap_or(Flow::ACCEPTED);
            if !self.flows.contains_key(&flow) {
                return flow;
            }
        }
    }
}
