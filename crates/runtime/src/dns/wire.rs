//! Queries and replies as they lie on the wire (RFC 1035 §4).

use super::{ALIASES, LONGEST, RECORDS};
use causeway_node::DnsRecord;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, CharacterString, Name, Packet, PacketFlag, QCLASS, QTYPE, RCODE, TYPE};
use simple_dns::{Question, ResourceRecord};
use std::fmt;

/// The records that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    A,
    Aaaa,
    Srv,
    Naptr,
}

impl Kind {
    fn code(self) -> TYPE {
        match self {
            Self::A => TYPE::A,
            Self::Aaaa => TYPE::AAAA,
            Self::Srv => TYPE::SRV,
            Self::Naptr => TYPE::NAPTR,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
            Self::Naptr => "NAPTR",
        })
    }
}

/// What a server has said of a name.
#[derive(Debug)]
pub enum Reply {
    /// Here they are.
    Records { records: Vec<DnsRecord>, ttl: u32 },
    /// Ask for this name instead.
    Alias { name: String, ttl: u32 },
    /// There are none, for so long as its zone says (RFC 2308 §5).
    Nothing { exists: bool, ttl: Option<u32> },
}

/// Why a datagram or answer was not taken.
#[derive(Debug)]
pub enum Unfit {
    /// It is no answer to our question: there may be one behind it.
    Foreign,
    /// The answer did not fit: ask again over TCP.
    Truncated,
    /// The server cannot tell: ask another one.
    Failure(String),
}

/// Whether a name can be asked for.
pub fn check(name: &str) -> Result<(), &'static str> {
    let good = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic());
    match name.len() <= 253 && name.split('.').all(good) {
        true => Ok(()),
        false => Err("is no name that DNS knows"),
    }
}

/// A query that asks a recursive server.
pub fn query(id: u16, name: &str, kind: Kind) -> Result<Vec<u8>, String> {
    let bad = |error: simple_dns::SimpleDnsError| format!("cannot be asked for: {error}");
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new(name).map_err(bad)?;
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind.code()), QCLASS::CLASS(CLASS::IN), false));
    packet.build_bytes_vec().map_err(bad)
}

/// Reads the answer to a query.
pub fn read(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Result<Reply, Unfit> {
    let packet = Packet::parse(bytes).map_err(|_| Unfit::Foreign)?;
    let asked = Name::new(name).map_err(|_| Unfit::Foreign)?;
    let [question] = packet.questions.as_slice() else { return Err(Unfit::Foreign) };
    let ours = packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && question.qname == asked
        && question.qtype == QTYPE::TYPE(kind.code());
    if !ours {
        return Err(Unfit::Foreign);
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Err(Unfit::Truncated);
    }
    match packet.rcode() {
        RCODE::NoError => Ok(answer(&packet, asked, kind)),
        RCODE::NameError => match answer(&packet, asked, kind) {
            // The end of a chain of aliases does not exist.
            Reply::Alias { .. } | Reply::Nothing { .. } => {
                Ok(Reply::Nothing { exists: false, ttl: absence(&packet) })
            }
            found => Ok(found),
        },
        other => Err(Unfit::Failure(format!("the server says {other:?}"))),
    }
}

/// Follows the aliases within an answer, and takes the records at their end.
fn answer(packet: &Packet<'_>, asked: Name<'_>, kind: Kind) -> Reply {
    let (mut owner, mut ttl, mut moved) = (asked, LONGEST, false);
    let in_class = || packet.answers.iter().filter(|record| record.class == CLASS::IN);
    for _ in 0..=ALIASES {
        let here = in_class().filter(|record| record.name == owner);
        let mut records = Vec::new();
        for record in here.clone().filter(|record| record.rdata.type_code() == kind.code()).take(RECORDS) {
            ttl = ttl.min(seconds(record));
            records.extend(convert(&record.rdata));
        }
        if !records.is_empty() {
            return Reply::Records { records, ttl };
        }
        let alias = here.clone().find_map(|record| match &record.rdata {
            RData::CNAME(target) => Some((target.0.clone(), seconds(record))),
            _ => None,
        });
        let Some((target, until)) = alias else { break };
        ttl = ttl.min(until);
        (owner, moved) = (target, true);
    }
    match moved && absence(packet).is_none() {
        true => Reply::Alias { name: owner.to_string(), ttl },
        false => Reply::Nothing { exists: true, ttl: absence(packet) },
    }
}

/// For how long the zone says that there is nothing (RFC 2308 §5).
fn absence(packet: &Packet<'_>) -> Option<u32> {
    packet.name_servers.iter().find_map(|record| match &record.rdata {
        RData::SOA(soa) => Some(seconds(record).min(soa.minimum)),
        _ => None,
    })
}

/// A time to live; one with the top bit set counts as none (RFC 2181 §8).
fn seconds(record: &ResourceRecord<'_>) -> u32 {
    if record.ttl > i32::MAX as u32 { 0 } else { record.ttl.min(LONGEST) }
}

fn convert(data: &RData<'_>) -> Option<DnsRecord> {
    Some(match data {
        RData::A(a) => DnsRecord::Address(std::net::Ipv4Addr::from(a.address).into()),
        RData::AAAA(a) => DnsRecord::Address(std::net::Ipv6Addr::from(a.address).into()),
        RData::SRV(srv) => DnsRecord::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: host(&srv.target),
        },
        RData::NAPTR(naptr) => DnsRecord::Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            service: text(&naptr.services),
            regexp: text(&naptr.regexp),
            replacement: host(&naptr.replacement),
        },
        _ => return None,
    })
}

/// A name without a dot at its end; the root alone is a dot.
fn host(name: &Name<'_>) -> String {
    if name.get_labels().is_empty() { ".".to_owned() } else { name.to_string() }
}

fn text(string: &CharacterString<'_>) -> String {
    String::try_from(string.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    /// An answer to `_sip._udp.example.org SRV`, put together by hand: an alias, two records, an address beside them.
    const REPLY: &[u8] =
        b"\x12\x34\x85\x80\x00\x01\x00\x03\x00\x00\x00\x01\x04_sip\x04_udp\x07example\x03org\0\
        \x00\x21\x00\x01\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x4d\x00\x06\x03alt\xc0\x16\
        \xc0\x33\x00\x21\x00\x01\x00\x00\x00\x4d\x00\x0a\x00\x14\x00\x3c\x13\xc6\x01b\xc0\x16\
        \xc0\x33\x00\x21\x00\x01\x00\x00\x00\x3c\x00\x0a\x00\x0a\x00\x3c\x13\xc4\x01a\xc0\x16\
        \xc0\x61\x00\x01\x00\x01\x00\x00\x00\x4d\x00\x04\xc0\x00\x02\x0a";

    fn read(bytes: &[u8]) -> Result<Reply, Unfit> {
        super::read(bytes, 0x1234, "_sip._udp.EXAMPLE.org", Kind::Srv)
    }

    #[test]
    fn a_reply_with_pointers_is_read() {
        let Ok(Reply::Records { records, ttl }) = read(REPLY) else { panic!("{:?}", read(REPLY)) };
        let srv = |priority, port, target: &str| DnsRecord::Srv {
            priority,
            weight: 60,
            port,
            target: target.into(),
        };
        assert_eq!(records, [srv(20, 5062, "b.example.org"), srv(10, 5060, "a.example.org")]);
        assert_eq!(ttl, 60);
    }

    #[test]
    fn nothing_that_a_server_may_send_panics() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1035);
        for _ in 0..200_000 {
            let mut bytes = REPLY.to_vec();
            for _ in 0..rng.random_range(1..6) {
                let at = rng.random_range(4..bytes.len());
                bytes[at] = if rng.random() { rng.random() } else { [0, 0x0c, 0x3f, 0xc0, 0xff][at % 5] };
            }
            bytes.truncate(rng.random_range(0..=bytes.len() * 2));
            let _ = read(&bytes);
        }
    }
}
