//! A side whose packets are those on a wire: whole IP packets, read from and written to a TUN device. No second IP stack
//! has to receive and send them, as on a machine that has only the contact point's half of the network to carry.

use crate::load::{Packet, Parties, Side};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsFd;

/// Of IPv4 without options, and of UDP.
const HEADERS: usize = 28;
const FIRST_PORT: u16 = 10_000;

/// The far end of the wire: each call's party has a port of its own.
pub struct Wire {
    device: File,
    ip: Ipv4Addr,
    headers: Vec<[u8; HEADERS]>,
    buffer: Box<[u8; 2048]>,
}

impl Wire {
    /// The device is standard input (`wire.py`).
    pub fn new(ip: Ipv4Addr) -> Result<Self> {
        let device = std::io::stdin().as_fd().try_clone_to_owned().context("no wire on standard input")?;
        Ok(Self { device: device.into(), ip, headers: Vec::new(), buffer: Box::new([0; 2048]) })
    }

    fn port(call: usize) -> u16 {
        FIRST_PORT + call as u16
    }
}

impl Parties for Wire {
    fn addresses(&self, calls: usize) -> Result<Vec<SocketAddr>> {
        Ok((0..calls).map(|call| SocketAddrV4::new(self.ip, Self::port(call)).into()).collect())
    }

    fn aim(mut self: Box<Self>, to: Vec<SocketAddr>) -> Result<Box<dyn Side>> {
        for (call, to) in to.into_iter().enumerate() {
            let SocketAddr::V4(to) = to else { anyhow::bail!("an address of IPv4 is needed") };
            self.headers.push(headers(SocketAddrV4::new(self.ip, Self::port(call)), to));
        }
        Ok(self)
    }
}

impl Side for Wire {
    fn send(&mut self, call: usize, packet: &Packet) -> Result<()> {
        let mut whole = [0; HEADERS + size_of::<Packet>()];
        whole[..HEADERS].copy_from_slice(&self.headers[call]);
        whole[HEADERS..].copy_from_slice(packet);
        self.device.write_all(&whole).context("the wire")
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        loop {
            match self.device.read(&mut *self.buffer) {
                // IPv4 and UDP; the system has things of its own to say there.
                Ok(len) if len >= HEADERS && self.buffer[0] == 0x45 && self.buffer[9] == 17 => {
                    each(&self.buffer[HEADERS..len]);
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The headers of all packets of one call (RFC 791, RFC 768); without a checksum over the payload, as IPv4 allows.
fn headers(from: SocketAddrV4, to: SocketAddrV4) -> [u8; HEADERS] {
    let length = |headers: usize| ((headers + size_of::<Packet>()) as u16).to_be_bytes();
    let mut bytes = [0; HEADERS];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&length(HEADERS));
    bytes[6] = 0x40;
    (bytes[8], bytes[9]) = (64, 17);
    bytes[12..16].copy_from_slice(&from.ip().octets());
    bytes[16..20].copy_from_slice(&to.ip().octets());
    let words = bytes[..20].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    bytes[20..22].copy_from_slice(&from.port().to_be_bytes());
    bytes[22..24].copy_from_slice(&to.port().to_be_bytes());
    bytes[24..26].copy_from_slice(&length(8));
    bytes
}
