//! DNS records: asked of the system's name servers, one question after the other, on the resolver's threads.
//!
//! Bounds: names of 253 bytes, 8 aliases in a row, 256 records in an answer, 65,535 bytes of it.

mod client;
mod files;
mod wire;

pub use files::Settings;

use causeway_node::{Answer, DnsRecord, RecordKind};
use client::Client;
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use wire::{Kind, Reply};

/// Aliases followed in a row.
const ALIASES: usize = 8;
/// Records that one answer hands over.
const RECORDS: usize = 256;
/// The longest time that records may be kept, seconds.
const LONGEST: u32 = 86_400;
/// The longest time for which a name counts as absent (RFC 2308 §5), seconds.
const LONGEST_ABSENCE: u32 = 300;
/// How long a question is left alone that no server could answer (RFC 2308 §7), seconds.
const PAUSE: u32 = 5;
/// How long an entry of the hosts file is good for, which says nothing of that, seconds.
const FROM_FILE: u32 = 60;

/// What there is under a name.
#[derive(Debug)]
struct Found {
    records: Vec<DnsRecord>,
    ttl: u32,
    why: String,
}

impl Found {
    fn nothing(ttl: u32, why: String) -> Self {
        Self { records: Vec::new(), ttl, why }
    }
}

/// Asks for the records of one kind under a name.
pub fn records(settings: &Settings, name: &str, kind: RecordKind) -> Answer {
    let name = name.strip_suffix('.').unwrap_or(name);
    let found = if let (Ok(ip), RecordKind::Address) = (name.parse::<IpAddr>(), kind) {
        Found { records: vec![DnsRecord::Address(ip)], ttl: FROM_FILE, why: String::new() }
    } else if let Err(why) = wire::check(name) {
        Found::nothing(LONGEST_ABSENCE, format!("{name}: {why}"))
    } else {
        search(settings, name, kind)
    };
    Answer::Records { records: found.records, ttl: found.ttl, why: found.why }
}

/// Asks for the name; one of few dots also with the search list behind it, first (resolv.conf(5), `ndots`). One of
/// many is asked for as it is and never otherwise.
fn search(settings: &Settings, name: &str, kind: RecordKind) -> Found {
    let client = Client::new(settings);
    let few = name.bytes().filter(|byte| *byte == b'.').count() < settings.ndots;
    for suffix in settings.search.iter().filter(|_| few) {
        let longer = format!("{name}.{suffix}");
        let found = of_name(settings, &client, &longer, kind);
        if !found.records.is_empty() {
            return found;
        }
    }
    of_name(settings, &client, name, kind)
}

fn of_name(settings: &Settings, client: &Client, name: &str, kind: RecordKind) -> Found {
    match kind {
        RecordKind::Naptr => follow(client, name, Kind::Naptr),
        RecordKind::Srv => follow(client, name, Kind::Srv),
        RecordKind::Address => {
            let known = settings.host(name);
            if !known.is_empty() {
                let records = known.into_iter().map(DnsRecord::Address).collect();
                return by_preference(Found { records, ttl: FROM_FILE, why: String::new() });
            }
            let six = follow(client, name, Kind::Aaaa);
            let four = follow(client, name, Kind::A);
            by_preference(both(six, four))
        }
    }
}

/// The addresses of both families; what one family has not got does not matter where the other has.
fn both(six: Found, four: Found) -> Found {
    match (six.records.is_empty(), four.records.is_empty()) {
        (false, false) => Found {
            ttl: six.ttl.min(four.ttl),
            records: six.records.into_iter().chain(four.records).collect(),
            why: String::new(),
        },
        (false, true) => six,
        (true, false) => four,
        (true, true) => Found { ttl: six.ttl.min(four.ttl), ..four },
    }
}

/// Those that there is a way to come first, IPv6 before IPv4 among them (RFC 6724 §6, rules 1 and 6).
fn by_preference(mut found: Found) -> Found {
    found.records.sort_by_key(|record| match record {
        DnsRecord::Address(ip) => (!has_way(*ip), ip.is_ipv4()),
        _ => (false, false),
    });
    found
}

/// Whether the system knows a way to an address: asked by connecting a port, which sends nothing.
fn has_way(ip: IpAddr) -> bool {
    let any: SocketAddr = if ip.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    UdpSocket::bind(any).and_then(|socket| socket.connect((ip, 9))).is_ok()
}

/// Asks for a name and for what it is an alias of.
fn follow(client: &Client, name: &str, kind: Kind) -> Found {
    let (mut asked, mut ttl, mut seen) = (name.to_owned(), LONGEST, HashSet::new());
    for _ in 0..=ALIASES {
        if !seen.insert(asked.to_ascii_lowercase()) {
            break;
        }
        match client.ask(&asked, kind) {
            Ok(Reply::Records { records, ttl: other }) => {
                return Found { records, ttl: ttl.min(other), why: String::new() };
            }
            Ok(Reply::Alias { name, ttl: other }) => {
                ttl = ttl.min(other);
                asked = name;
            }
            Ok(Reply::Nothing { exists, ttl }) => {
                let what = if exists { format!("has no {kind} record") } else { "does not exist".to_owned() };
                let ttl = ttl.unwrap_or(1).clamp(1, LONGEST_ABSENCE);
                return Found::nothing(ttl, format!("{asked}: {what}"));
            }
            Err(why) => return Found::nothing(PAUSE, format!("{asked}: {why}")),
        }
    }
    Found::nothing(LONGEST_ABSENCE, format!("{name}: its aliases lead nowhere"))
}
