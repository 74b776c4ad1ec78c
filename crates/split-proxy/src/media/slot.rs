//! One bound media port and the lane that it is joined to.

use super::receipt::{Receipt, Totals};
use super::reports::Reports;
use causeway_node::{Dscp, Time};
use causeway_tunnel::Lane;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

/// Addresses negotiated by the early dialogs of one call that are kept at once.
const MAX_REMOTES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    No,
    Opening,
    /// Still being opened, but no longer wanted.
    Doomed,
    Open,
    /// It could not be bound; whoever uses it goes without.
    Failed,
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub port: u16,
    /// How its socket marks what it sends.
    pub dscp: Dscp,
    pub bound: Bound,
    pub joined: Option<Joined>,
}

impl Slot {
    /// Joins the port to nothing; what has passed it is added to `ended`.
    pub(crate) fn leave(&mut self, ended: &mut [Totals; 2]) -> Option<Joined> {
        let joined = self.joined.take();
        joined.iter().for_each(|joined| joined.add_to(ended));
        joined
    }
}

/// What a port in use belongs to.
#[derive(Debug)]
pub(crate) struct Joined {
    pub link: usize,
    pub leg: usize,
    pub lane: Lane,
    /// What its packets are.
    pub content: Content,
    /// Where packets from the tunnel go, and where others may come from.
    pub aim: Aim,
    pub from_net: Receipt,
    pub to_net: Receipt,
    /// What its RTCP tells, once there is any.
    pub reports: Option<Box<Reports>>,
    /// Packets from an address that nobody has negotiated.
    pub foreign: u64,
    /// Packets from the tunnel while nobody was to get them.
    pub homeless: u64,
    /// Packets beyond what its kind may need ([`Content::most`]), from the network and from the tunnel.
    pub excess: [u64; 2],
    pub last: Time,
}

/// What the packets of a port are, as far as they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Audio,
    Video,
    Rtcp,
    /// Fax over UDP (T.38).
    Fax,
    Other,
}

impl Content {
    /// Packets that pass in about a second ([`Receipt::exceeds`]): several times what any codec needs (2.5 ms of speech
    /// each; video of 100 Mbit/s), so that whoever sends without measure does not do it to the party and its line.
    pub(crate) fn most(self) -> u32 {
        match self {
            Self::Audio => 1000,
            Self::Video => 10_000,
            Self::Rtcp => 500,
            Self::Fax | Self::Other => 5000,
        }
    }
}

/// What was negotiated for a port, and what its packets have taught since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aim {
    /// Where packets from the tunnel go.
    pub target: Option<SocketAddr>,
    /// `target` is where a packet has come from, no longer only what was negotiated.
    latched: bool,
    /// It has become so just now.
    news: bool,
    /// What was negotiated last.
    negotiated: Option<SocketAddr>,
    /// What was negotiated with each party, by its number in the leg.
    remotes: Vec<Remote>,
    /// The address that the party's signalling came from, where media may come from as well: an agent knows it.
    /// A phone beside its agent may use any address of the host that they share, the loopback one included.
    near: Option<IpAddr>,
}

/// A party's address, and whether it wants to be sent to: one that holds does not, but may go on sending, music
/// for instance.
#[derive(Clone, Debug)]
struct Remote {
    party: u32,
    address: SocketAddr,
    held: bool,
}

impl Joined {
    pub(crate) fn new(link: usize, leg: usize, lane: Lane, content: Content, now: Time) -> Self {
        Self {
            link,
            leg,
            lane,
            content,
            aim: Aim::default(),
            from_net: Receipt::default(),
            to_net: Receipt::default(),
            reports: None,
            foreign: 0,
            homeless: 0,
            excess: [0; 2],
            last: now,
        }
    }

    /// Adds what has passed from the network, and from the tunnel.
    pub(crate) fn add_to(&self, [net, tunnel]: &mut [Totals; 2]) {
        net.add(&self.from_net, self.foreign + self.excess[0]);
        tunnel.add(&self.to_net, self.homeless + self.excess[1]);
        if let Some(reports) = &self.reports {
            net.add_trip(&reports.near);
            tunnel.add_trip(&reports.far);
        }
    }
}

impl Aim {
    /// What of it lasts longer than the process.
    pub(crate) fn value(&self) -> Value {
        let remote =
            |r: &Remote| json!({ "party": r.party, "address": r.address.to_string(), "held": r.held });
        let text = |address: Option<SocketAddr>| address.map(|address| address.to_string());
        json!({
            "target": text(self.target),
            "latched": self.latched,
            "negotiated": text(self.negotiated),
            "near": self.near.map(|ip| ip.to_string()),
            "remotes": self.remotes.iter().map(remote).collect::<Vec<_>>(),
        })
    }

    /// Takes it up again; what cannot be read is left out.
    pub(crate) fn restore(&mut self, value: &Value) {
        let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
        let address = |value: &Value, name: &str| text(value, name)?.parse().ok();
        let remote = |value: &Value| {
            let party = u32::try_from(value.get("party")?.as_u64()?).ok()?;
            Some(Remote { party, address: address(value, "address")?, held: value.get("held")?.as_bool()? })
        };
        self.target = address(value, "target");
        self.negotiated = address(value, "negotiated");
        self.latched = value.get("latched").and_then(Value::as_bool).unwrap_or(false);
        self.near = text(value, "near").and_then(|ip| ip.parse().ok());
        let remotes = value.get("remotes").and_then(Value::as_array).into_iter().flatten();
        self.remotes = remotes.filter_map(remote).take(MAX_REMOTES).collect();
    }

    /// Whether the last packet has told where to send to; asked once.
    pub(crate) fn has_just_latched(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// A description names the address of a party; it is the one to send to until another description comes.
    /// The same again changes nothing.
    pub(crate) fn negotiate(&mut self, party: u32, address: Option<SocketAddr>, near: Option<IpAddr>) {
        self.near = near;
        match address {
            None => {
                self.remotes.iter_mut().filter(|r| r.party == party).for_each(|remote| remote.held = true);
            }
            Some(address) => {
                self.remotes.retain(|remote| remote.party != party);
                if self.remotes.len() == MAX_REMOTES {
                    self.remotes.remove(0);
                }
                self.remotes.push(Remote { party, address, held: false });
            }
        }
        self.aim(address);
    }

    /// One of several parties has answered for good: packets go to it from now on.
    pub(crate) fn choose(&mut self, party: u32) {
        if let Some(remote) = self.remotes.iter().find(|remote| remote.party == party) {
            let address = (!remote.held).then_some(remote.address);
            self.aim(address);
        }
    }

    /// Whether no description has told of the other end yet.
    pub(crate) fn is_open(&self) -> bool {
        self.negotiated.is_none() && self.remotes.is_empty()
    }

    /// Whether a connection from `ip` may be the party's.
    pub(crate) fn expects(&self, ip: IpAddr) -> bool {
        self.remotes.iter().any(|remote| remote.address.ip() == ip)
            || self.near.is_some_and(|near| near == ip || ip.is_loopback())
    }

    /// What was negotiated last, if signalling comes from the same address: then it is no guess where that is.
    pub(crate) fn at_its_source(&self) -> Option<SocketAddr> {
        self.negotiated.filter(|address| self.near == Some(address.ip()))
    }

    fn aim(&mut self, address: Option<SocketAddr>) {
        if self.negotiated != address {
            self.negotiated = address;
            self.target = address;
            self.latched = false;
        }
    }

    /// Whether a packet from `from` is let through; the first one from the party's address tells where its
    /// packets really come from, and ours go there.
    #[inline]
    pub(crate) fn admits(&mut self, from: SocketAddr) -> bool {
        if self.latched && self.target == Some(from) {
            return true;
        }
        self.admits_slowly(from)
    }

    #[cold]
    fn admits_slowly(&mut self, from: SocketAddr) -> bool {
        if self.remotes.iter().any(|remote| remote.address == from) {
            if self.negotiated == Some(from) {
                self.target = Some(from);
                (self.latched, self.news) = (true, true);
            }
            return true;
        }
        let expected = self.negotiated.is_some_and(|a| a.ip() == from.ip())
            || self.near.is_some_and(|near| near == from.ip() || from.ip().is_loopback());
        if expected && !self.latched && self.negotiated.is_some() {
            self.target = Some(from);
            (self.latched, self.news) = (true, true);
            return true;
        }
        expected && self.negotiated.is_none() && !self.remotes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn joined() -> Aim {
        Joined::new(0, 0, Lane(17), Content::Audio, Time::ZERO).aim
    }

    #[test]
    fn nobody_is_admitted_before_negotiation() {
        assert!(!joined().admits(at("192.0.2.1:4000")));
    }

    #[test]
    fn the_first_packet_latches_within_the_address() {
        let mut slot = joined();
        slot.negotiate(0, Some(at("192.0.2.1:4000")), None);
        assert!(!slot.admits(at("192.0.2.2:4000")), "another host");
        assert!(slot.admits(at("192.0.2.1:61000")), "a translated port");
        assert_eq!(slot.target, Some(at("192.0.2.1:61000")));
        assert!(!slot.admits(at("192.0.2.1:61001")), "once latched no other port");
        slot.negotiate(0, Some(at("192.0.2.1:4000")), None);
        assert_eq!(slot.target, Some(at("192.0.2.1:61000")), "a retransmission changes nothing");
        slot.negotiate(0, Some(at("192.0.2.9:5000")), None);
        assert_eq!(slot.target, Some(at("192.0.2.9:5000")), "a new description does");
        assert!(slot.admits(at("192.0.2.9:5000")));
        assert!(!slot.admits(at("192.0.2.1:61000")));
    }

    #[test]
    fn early_dialogs_share_the_port_and_the_answer_chooses() {
        let mut slot = joined();
        slot.negotiate(1, Some(at("192.0.2.1:4000")), None);
        slot.negotiate(2, Some(at("192.0.2.2:4000")), None);
        assert!(slot.admits(at("192.0.2.1:4000")) && slot.admits(at("192.0.2.2:4000")));
        assert_eq!(slot.target, Some(at("192.0.2.2:4000")));
        slot.choose(1);
        assert_eq!(slot.target, Some(at("192.0.2.1:4000")));
        slot.choose(7);
        assert_eq!(slot.target, Some(at("192.0.2.1:4000")));
    }

    #[test]
    fn what_was_negotiated_and_latched_is_read_back() {
        let mut slot = joined();
        slot.negotiate(1, Some(at("192.0.2.1:4000")), Some("192.0.2.7".parse().unwrap()));
        slot.negotiate(2, Some(at("192.0.2.2:4000")), None);
        assert!(slot.admits(at("192.0.2.2:61000")) && slot.has_just_latched() && !slot.has_just_latched());
        let mut again = joined();
        again.restore(&slot.value());
        assert_eq!(again.value(), slot.value());
        assert!(again.admits(at("192.0.2.2:61000")) && !again.admits(at("192.0.2.2:61001")));
        again.choose(1);
        assert_eq!(again.target, Some(at("192.0.2.1:4000")));
        again.restore(&json!({ "target": 1, "remotes": [{}, { "party": 1 }] }));
        assert_eq!((again.target, again.remotes.len()), (None, 0));
    }

    #[test]
    fn held_media_is_sent_nowhere() {
        let mut slot = joined();
        slot.negotiate(0, Some(at("192.0.2.1:4000")), None);
        assert!(slot.admits(at("192.0.2.1:4000")));
        slot.negotiate(0, None, None);
        assert_eq!(slot.target, None);
        assert!(slot.admits(at("192.0.2.1:4000")), "music on hold comes from where speech came from");
        assert_eq!(slot.target, None);
    }

    #[test]
    fn the_address_of_the_signalling_counts_as_well() {
        let mut slot = joined();
        slot.negotiate(0, Some(at("10.9.9.9:4000")), Some("192.0.2.7".parse().unwrap()));
        assert!(slot.admits(at("192.0.2.7:33000")), "a phone behind a router of the LAN");
        assert_eq!(slot.target, Some(at("192.0.2.7:33000")));
    }

    #[test]
    fn a_phone_on_the_same_host_may_speak_from_its_loopback_address() {
        let mut slot = joined();
        slot.negotiate(0, Some(at("192.0.2.1:4000")), Some("192.0.2.1".parse().unwrap()));
        assert!(slot.admits(at("127.0.0.1:4000")));
        let mut contact = joined();
        contact.negotiate(0, Some(at("192.0.2.1:4000")), None);
        assert!(!contact.admits(at("127.0.0.1:4000")), "only an agent has phones on its own host");
    }
}
