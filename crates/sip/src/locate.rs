//! Where to send a request: from a URI to addresses, ports and transports (RFC 3263 §4).
//!
//! A [`Locator`] is a chain of DNS questions. It knows no resolver and no cache: whoever drives it asks what it
//! says, and gives it the records.
//!
//! ```
//! use causeway_node::{DnsRecord, RecordKind, testing::CountingRng};
//! use causeway_sip::{Uri, locate::{Locator, Progress, Query, Transports}, transaction::Transport};
//!
//! let uri = Uri::parse(b"sip:bob@example.com").unwrap();
//! let (mut locator, mut progress) = Locator::start(&uri, Transports { tls: false }).unwrap();
//! let mut rng = CountingRng::default();
//! let found = loop {
//!     let records = match progress {
//!         Progress::Ask(Query { kind: RecordKind::Address, .. }) => vec![DnsRecord::Address("192.0.2.1".parse().unwrap())],
//!         Progress::Ask(_) => vec![],
//!         Progress::Found(candidates) => break candidates,
//!         Progress::NotFound => unreachable!(),
//!     };
//!     progress = locator.answer(&records, &mut rng);
//! };
//! assert_eq!((found[0].peer.to_string().as_str(), found[0].transport), ("192.0.2.1:5060", Transport::Udp));
//! ```

use crate::Uri;
use crate::transaction::Transport;
use causeway_node::{DnsRecord, RecordKind, RngCore};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Which transports the asker has beside UDP and TCP, which every element must have (RFC 3261 §18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transports {
    /// TLS over TCP.
    pub tls: bool,
}

/// A question for DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The owner name.
    pub name: String,
    /// Which records.
    pub kind: RecordKind,
}

/// One place where the request may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Address and port.
    pub peer: SocketAddr,
    /// What runs there.
    pub transport: Transport,
    /// The domain that a certificate must name (RFC 5922 §7.2): that of the URI, not that of the host found.
    pub domain: Arc<str>,
}

/// How far a location has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Ask DNS this, and give [`Locator::answer`] what it says.
    Ask(Query),
    /// The places, in the order in which to try them; at least one.
    Found(Vec<Candidate>),
    /// The name leads nowhere.
    NotFound,
}

/// Why a URI cannot even be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Neither `sip` nor `sips`: 416.
    Scheme,
    /// A transport that we do not have, or a host that is no name: 502 or 400.
    Transport,
}

#[derive(Clone, Debug)]
enum Stage {
    Naptr,
    Srv(Transport),
    Address { port: u16, transport: Transport },
}

/// One location under way.
#[derive(Clone, Debug)]
pub struct Locator {
    domain: Arc<str>,
    secure: bool,
    have: Transports,
    /// What is used where DNS names no service.
    fallback: Transport,
    stage: Stage,
    /// SRV names still to be asked for.
    services: VecDeque<(String, Transport)>,
    /// Hosts still to be asked for.
    hosts: VecDeque<(String, u16, Transport)>,
    found: Vec<Candidate>,
}

impl Locator {
    /// Services, hosts and addresses that are taken from DNS at most; more are left out.
    pub const MOST: usize = 16;

    /// Begins with what a URI says. An address literal is found at once.
    ///
    /// # Errors
    /// If the URI names what cannot be reached.
    pub fn start(uri: &Uri<'_>, have: Transports) -> Result<(Self, Progress), Unreachable> {
        if !uri.scheme.is_sip() {
            return Err(Unreachable::Scheme);
        }
        let secure = uri.scheme == crate::Scheme::Sips;
        let transport = named_transport(uri, secure)?;
        if !have.tls && (secure || transport == Some(Transport::Tls)) {
            return Err(Unreachable::Transport);
        }
        let host = std::str::from_utf8(uri.target_host()).map_err(|_| Unreachable::Transport)?;
        let fallback = transport.unwrap_or(if secure { Transport::Tls } else { Transport::Udp });
        let mut locator = Self {
            domain: host.trim_end_matches('.').to_ascii_lowercase().into(),
            secure,
            have,
            fallback,
            stage: Stage::Naptr,
            services: VecDeque::new(),
            hosts: VecDeque::new(),
            found: Vec::new(),
        };
        let port = uri.port.unwrap_or(default_port(fallback));
        if let Some(ip) = crate::parse_ip(uri.target_host()) {
            let place = locator.candidate(ip, port, fallback);
            return Ok((locator, Progress::Found(vec![place])));
        }
        let progress = match (uri.port, transport) {
            (Some(_), _) => {
                locator.hosts.push_back((locator.domain.to_string(), port, fallback));
                locator.next_host()
            }
            (None, Some(transport)) => {
                locator.services.push_back((service(transport, secure, &locator.domain), transport));
                locator.next_service()
            }
            (None, None) => {
                Progress::Ask(Query { name: locator.domain.to_string(), kind: RecordKind::Naptr })
            }
        };
        Ok((locator, progress))
    }

    /// Takes the answer to the last question.
    pub fn answer(&mut self, records: &[DnsRecord], rng: &mut dyn RngCore) -> Progress {
        match self.stage {
            Stage::Naptr => {
                self.take_naptr(records);
                self.next_service()
            }
            Stage::Srv(transport) => {
                for (target, port) in in_srv_order(records, rng) {
                    if self.hosts.len() < Self::MOST {
                        self.hosts.push_back((target, port, transport));
                    }
                }
                self.next_service()
            }
            Stage::Address { port, transport } => {
                for record in records {
                    if let DnsRecord::Address(ip) = record {
                        self.add(*ip, port, transport);
                    }
                }
                self.next_host()
            }
        }
    }

    /// §4.1: the services offered, in the order of the domain; where it says nothing, all that we have.
    fn take_naptr(&mut self, records: &[DnsRecord]) {
        let mut offered: Vec<(u16, u16, Transport, &str)> = records
            .iter()
            .filter_map(|record| match record {
                DnsRecord::Naptr { order, preference, flags, service, regexp, replacement } => {
                    let usable = flags.eq_ignore_ascii_case("s") && regexp.is_empty();
                    let transport = self.offered(service).filter(|_| usable)?;
                    Some((*order, *preference, transport, replacement.as_str()))
                }
                _ => None,
            })
            .collect();
        offered.sort_by_key(|(order, preference, ..)| (*order, *preference));
        self.services = offered
            .into_iter()
            .take(Self::MOST)
            .map(|(.., transport, name)| (name.trim_end_matches('.').to_ascii_lowercase(), transport))
            .collect();
        if self.services.is_empty() {
            let all: &[Transport] = match (self.secure, self.have.tls) {
                (true, _) => &[Transport::Tls],
                (false, true) => &[Transport::Udp, Transport::Tcp, Transport::Tls],
                (false, false) => &[Transport::Udp, Transport::Tcp],
            };
            let name = |transport: &Transport| (service(*transport, self.secure, &self.domain), *transport);
            self.services = all.iter().map(name).collect();
        }
    }

    /// The transport of a NAPTR service, if we may use it: for `sips` nothing but TLS.
    fn offered(&self, service: &str) -> Option<Transport> {
        let transport = match service.to_ascii_uppercase().as_str() {
            "SIP+D2U" => Transport::Udp,
            "SIP+D2T" => Transport::Tcp,
            "SIPS+D2T" if self.have.tls => Transport::Tls,
            _ => return None,
        };
        (!self.secure || transport == Transport::Tls).then_some(transport)
    }

    fn next_service(&mut self) -> Progress {
        if let Some((name, transport)) = self.services.pop_front() {
            self.stage = Stage::Srv(transport);
            return Progress::Ask(Query { name, kind: RecordKind::Srv });
        }
        if self.hosts.is_empty() {
            // §4.2: no SRV at all: the host itself, at the default port.
            let transport = self.fallback;
            self.hosts.push_back((self.domain.to_string(), default_port(transport), transport));
        }
        self.next_host()
    }

    fn next_host(&mut self) -> Progress {
        match self.hosts.pop_front() {
            Some((name, port, transport)) => {
                self.stage = Stage::Address { port, transport };
                Progress::Ask(Query { name, kind: RecordKind::Address })
            }
            None if self.found.is_empty() => Progress::NotFound,
            None => Progress::Found(std::mem::take(&mut self.found)),
        }
    }

    fn candidate(&self, ip: IpAddr, port: u16, transport: Transport) -> Candidate {
        Candidate { peer: SocketAddr::new(ip, port), transport, domain: Arc::clone(&self.domain) }
    }

    fn add(&mut self, ip: IpAddr, port: u16, transport: Transport) {
        let candidate = self.candidate(ip, port, transport);
        if self.found.len() < Self::MOST && !self.found.contains(&candidate) {
            self.found.push(candidate);
        }
    }
}

/// The transport that a URI demands (§4.1): by its parameter, or since a `sips` URI or an address leaves no choice.
fn named_transport(uri: &Uri<'_>, secure: bool) -> Result<Option<Transport>, Unreachable> {
    let named = |name: &str| uri.transport().is_some_and(|given| given.eq_ignore_ascii_case(name.as_bytes()));
    match uri.transport() {
        None => Ok(None),
        Some(_) if named("tls") => Ok(Some(Transport::Tls)),
        Some(_) if named("tcp") => Ok(Some(if secure { Transport::Tls } else { Transport::Tcp })),
        Some(_) if named("udp") && !secure => Ok(Some(Transport::Udp)),
        Some(_) => Err(Unreachable::Transport),
    }
}

fn default_port(transport: Transport) -> u16 {
    if transport == Transport::Tls { 5061 } else { 5060 }
}

/// The SRV name of a service (§4.1): TLS is `_sips._tcp`.
fn service(transport: Transport, secure: bool, domain: &str) -> String {
    match transport {
        Transport::Udp => format!("_sip._udp.{domain}"),
        Transport::Tcp if !secure => format!("_sip._tcp.{domain}"),
        _ => format!("_sips._tcp.{domain}"),
    }
}

/// SRV records in the order in which to try them (RFC 2782): by priority, and by lot according to weight within
/// one. A target of `.` means that the service is not offered.
pub fn in_srv_order(records: &[DnsRecord], rng: &mut dyn RngCore) -> Vec<(String, u16)> {
    let mut left: Vec<(u16, u16, String, u16)> = records
        .iter()
        .filter_map(|record| match record {
            DnsRecord::Srv { priority, weight, port, target } => {
                let target = target.trim_end_matches('.').to_ascii_lowercase();
                (!target.is_empty()).then_some((*priority, *weight, target, *port))
            }
            _ => None,
        })
        .take(4 * Locator::MOST)
        .collect();
    // Those of weight 0 first, so that they are drawn now and then (RFC 2782, "Weight").
    left.sort_by_key(|(priority, weight, ..)| (*priority, *weight != 0));
    let mut ordered = Vec::with_capacity(left.len());
    while let Some((priority, ..)) = left.first() {
        let peers = left.iter().take_while(|(other, ..)| other == priority).count();
        let total: u32 = left[..peers].iter().map(|(_, weight, ..)| u32::from(*weight)).sum();
        let lot = rng.next_u32() % (total + 1);
        let mut sum = 0;
        let drawn = left[..peers].iter().position(|(_, weight, ..)| {
            sum += u32::from(*weight);
            sum >= lot
        });
        let (.., target, port) = left.remove(drawn.unwrap_or(0));
        ordered.push((target, port));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use causeway_node::testing::CountingRng;
    use std::collections::BTreeMap;

    type Zone<'a> = BTreeMap<(&'a str, RecordKind), Vec<DnsRecord>>;

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> DnsRecord {
        DnsRecord::Srv { priority, weight, port, target: target.into() }
    }

    fn naptr(order: u16, preference: u16, service: &str, replacement: &str) -> DnsRecord {
        let (flags, regexp) = ("s".into(), String::new());
        let (service, replacement) = (service.into(), replacement.into());
        DnsRecord::Naptr { order, preference, flags, service, regexp, replacement }
    }

    fn a(ip: &str) -> DnsRecord {
        DnsRecord::Address(ip.parse().unwrap())
    }

    /// The candidates as `transport address`, and the names asked for.
    fn locate(uri: &str, tls: bool, zone: &Zone<'_>) -> (Vec<String>, Vec<String>) {
        let uri = Uri::parse(uri.as_bytes()).unwrap();
        let (mut locator, mut progress) = Locator::start(&uri, Transports { tls }).unwrap();
        let (mut rng, mut asked) = (CountingRng::default(), Vec::new());
        loop {
            match progress {
                Progress::Ask(query) => {
                    asked.push(query.name.clone());
                    let records = zone.get(&(query.name.as_str(), query.kind));
                    progress = locator.answer(records.map_or(&[], Vec::as_slice), &mut rng);
                }
                Progress::Found(found) => {
                    let show = |c: &Candidate| format!("{} {}", c.transport.via(), c.peer);
                    return (found.iter().map(show).collect(), asked);
                }
                Progress::NotFound => return (Vec::new(), asked),
            }
        }
    }

    /// The example of RFC 3263 §4.1: NAPTR says TLS, TCP, UDP in this order.
    #[test]
    fn naptr_then_srv_then_addresses() {
        let zone: Zone<'_> = [
            (
                ("example.com", RecordKind::Naptr),
                vec![
                    naptr(90, 50, "SIP+D2U", "_sip._udp.example.com."),
                    naptr(50, 50, "SIPS+D2T", "_sips._tcp.example.com."),
                    naptr(90, 40, "SIP+D2T", "_sip._tcp.example.com."),
                    naptr(10, 10, "E2U+sip", "elsewhere.example.com."),
                ],
            ),
            (("_sips._tcp.example.com", RecordKind::Srv), vec![srv(0, 1, 5061, "server1.example.com.")]),
            (
                ("_sip._tcp.example.com", RecordKind::Srv),
                vec![srv(1, 2, 5062, "server2.example.com."), srv(0, 1, 5060, "server1.example.com")],
            ),
            (("server1.example.com", RecordKind::Address), vec![a("192.0.2.1"), a("2001:db8::1")]),
            (("server2.example.com", RecordKind::Address), vec![a("192.0.2.2")]),
        ]
        .into();
        let (found, _) = locate("sip:bob@example.com", true, &zone);
        let expected = [
            "TLS 192.0.2.1:5061",
            "TLS [2001:db8::1]:5061",
            "TCP 192.0.2.1:5060",
            "TCP [2001:db8::1]:5060",
            "TCP 192.0.2.2:5062",
        ];
        assert_eq!(found, expected);
        let (found, _) = locate("sip:bob@example.com", false, &zone);
        assert_eq!(found, expected[2..], "who has no TLS does not go there");
        let (found, _) = locate("sips:bob@Example.COM.", true, &zone);
        assert_eq!(found, expected[..2], "sips goes nowhere else");
    }

    #[test]
    fn what_the_uri_says_is_not_asked_for() {
        let zone: Zone<'_> = [
            (("_sip._tcp.example.com", RecordKind::Srv), vec![srv(0, 0, 5070, "a.example.com")]),
            (("a.example.com", RecordKind::Address), vec![a("192.0.2.1")]),
            (("example.com", RecordKind::Address), vec![a("192.0.2.9")]),
        ]
        .into();
        for (uri, found, asked) in [
            ("sip:192.0.2.7", "UDP 192.0.2.7:5060", vec![]),
            ("sip:x@[2001:db8::7]:5080;transport=tcp", "TCP [2001:db8::7]:5080", vec![]),
            ("sips:192.0.2.7", "TLS 192.0.2.7:5061", vec![]),
            ("sip:example.com:5090", "UDP 192.0.2.9:5090", vec!["example.com"]),
            ("sip:nowhere.example;maddr=192.0.2.8", "UDP 192.0.2.8:5060", vec![]),
            (
                "sip:example.com;transport=tcp",
                "TCP 192.0.2.1:5070",
                vec!["_sip._tcp.example.com", "a.example.com"],
            ),
            (
                "sip:example.com;transport=udp",
                "UDP 192.0.2.9:5060",
                vec!["_sip._udp.example.com", "example.com"],
            ),
        ] {
            assert_eq!(
                locate(uri, true, &zone),
                (vec![found.to_owned()], asked.iter().map(|n| n.to_string()).collect()),
                "{uri}"
            );
        }
        assert_eq!(locate("sip:example.net", true, &zone).0, Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_reached() {
        for (uri, tls, why) in [
            ("tel:+358", true, Unreachable::Scheme),
            ("sips:example.com", false, Unreachable::Transport),
            ("sip:example.com;transport=tls", false, Unreachable::Transport),
            ("sip:example.com;transport=sctp", true, Unreachable::Transport),
            ("sips:example.com;transport=udp", true, Unreachable::Transport),
        ] {
            let uri = Uri::parse(uri.as_bytes()).unwrap();
            assert_eq!(Locator::start(&uri, Transports { tls }).err(), Some(why));
        }
    }

    /// RFC 2782: within a priority the share of first places follows the weights.
    #[test]
    fn weights_share_the_load() {
        let records = [srv(0, 70, 1, "a"), srv(0, 30, 2, "b"), srv(0, 0, 3, "c"), srv(9, 99, 4, "d")];
        let mut rng = CountingRng::default();
        let mut first = BTreeMap::new();
        for _ in 0..10_000 {
            let order = in_srv_order(&records, &mut rng);
            assert_eq!(order.len(), 4);
            assert_eq!(order[3].0, "d");
            *first.entry(order[0].0.clone()).or_insert(0) += 1;
        }
        let share = |name: &str| first.get(name).copied().unwrap_or(0);
        assert!((6_500..7_300).contains(&share("a")), "{first:?}");
        assert!((2_600..3_300).contains(&share("b")), "{first:?}");
        assert!((1..400).contains(&share("c")), "{first:?}");
    }

    #[test]
    fn a_service_that_is_not_offered_and_endless_answers() {
        let zone: Zone<'_> = [
            (("_sip._udp.example.com", RecordKind::Srv), vec![srv(0, 0, 0, ".")]),
            (
                ("_sip._tcp.example.com", RecordKind::Srv),
                (0..500).map(|n| srv(0, 1, n, "h.example.com")).collect(),
            ),
            (("h.example.com", RecordKind::Address), (0..250).map(|n| a(&format!("192.0.2.{n}"))).collect()),
        ]
        .into();
        let (found, asked) = locate("sip:example.com", false, &zone);
        assert_eq!(found.len(), Locator::MOST);
        assert!(asked.len() <= 3 + Locator::MOST, "{}", asked.len());
    }
}
