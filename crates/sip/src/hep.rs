//! HEP version 3: copies of SIP messages for a capture server, as Homer and its kin take them ("HEP/EEP
//! Protocol", revision 32).
//!
//! A packet is the word `HEP3`, its whole length, and chunks: vendor, type and length, 16 bits each and all in
//! network order, then the value; the length counts its own six bytes.

use crate::transaction::Transport;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What a packet says of one message.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Where the message came from.
    pub source: SocketAddr,
    /// Where it went.
    pub destination: SocketAddr,
    /// What it went over; TLS counts as TCP.
    pub transport: Transport,
    /// When it was seen, microseconds since 1970.
    pub unix_us: u64,
    /// The number of this capture agent.
    pub agent_id: u32,
    /// The password of the capture server, if it wants one. It travels as it is.
    pub key: Option<&'a [u8]>,
    /// What messages of one call have in common: the Call-ID; empty if it is not known.
    pub correlation: &'a [u8],
    /// The message.
    pub payload: &'a [u8],
}

/// A message that does not fit into a packet, whose length has 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too long for a HEP packet")]
pub struct TooLong;

/// Chunk types of vendor 0.
mod chunk {
    pub const FAMILY: u16 = 1;
    pub const PROTOCOL: u16 = 2;
    pub const IPV4: [u16; 2] = [3, 4];
    pub const IPV6: [u16; 2] = [5, 6];
    pub const PORTS: [u16; 2] = [7, 8];
    pub const SECONDS: u16 = 9;
    pub const MICROSECONDS: u16 = 10;
    pub const PAYLOAD_TYPE: u16 = 11;
    pub const AGENT: u16 = 12;
    pub const KEY: u16 = 14;
    pub const PAYLOAD: u16 = 15;
    pub const CORRELATION: u16 = 17;
}

/// Address families as HEP numbers them: AF_INET and AF_INET6 of Linux.
const FAMILIES: [u8; 2] = [2, 10];
/// Protocol numbers of IANA.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Payload type: SIP.
const SIP: u8 = 1;

impl Packet<'_> {
    /// Puts the packet into `out`, in place of what is in it.
    ///
    /// # Errors
    /// If it would be longer than 65,535 bytes; `out` is empty then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        out.clear();
        out.extend_from_slice(b"HEP3\0\0");
        let written = self.chunks(out).and_then(|()| u16::try_from(out.len()).map_err(|_| TooLong));
        match (written, out.get_mut(4..6)) {
            (Ok(length), Some(place)) => {
                place.copy_from_slice(&length.to_be_bytes());
                Ok(())
            }
            _ => {
                out.clear();
                Err(TooLong)
            }
        }
    }

    fn chunks(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let ends = [self.source, self.destination];
        let protocol = if self.transport == Transport::Udp { UDP } else { TCP };
        match ends.map(|end| end.ip().to_canonical()) {
            [IpAddr::V4(source), IpAddr::V4(destination)] => {
                put(out, chunk::FAMILY, &[FAMILIES[0]])?;
                put(out, chunk::PROTOCOL, &[protocol])?;
                put(out, chunk::IPV4[0], &source.octets())?;
                put(out, chunk::IPV4[1], &destination.octets())?;
            }
            ips => {
                put(out, chunk::FAMILY, &[FAMILIES[1]])?;
                put(out, chunk::PROTOCOL, &[protocol])?;
                for (kind, ip) in chunk::IPV6.into_iter().zip(ips) {
                    put(out, kind, &v6(ip).octets())?;
                }
            }
        }
        for (kind, end) in chunk::PORTS.into_iter().zip(ends) {
            put(out, kind, &end.port().to_be_bytes())?;
        }
        let seconds = u32::try_from(self.unix_us / 1_000_000).unwrap_or(u32::MAX);
        let microseconds = u32::try_from(self.unix_us % 1_000_000).unwrap_or(0);
        put(out, chunk::SECONDS, &seconds.to_be_bytes())?;
        put(out, chunk::MICROSECONDS, &microseconds.to_be_bytes())?;
        put(out, chunk::PAYLOAD_TYPE, &[SIP])?;
        put(out, chunk::AGENT, &self.agent_id.to_be_bytes())?;
        if let Some(key) = self.key {
            put(out, chunk::KEY, key)?;
        }
        if !self.correlation.is_empty() {
            put(out, chunk::CORRELATION, self.correlation)?;
        }
        put(out, chunk::PAYLOAD, self.payload)
    }
}

fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) -> Result<(), TooLong> {
    let length = u16::try_from(value.len() + 6).map_err(|_| TooLong)?;
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}
