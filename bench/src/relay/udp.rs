//! A side whose packets travel by UDP.

use crate::load::{Packet, Parties, Side};
use anyhow::Result;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Calls that share a socket: what waits in one while the generator is not running must fit.
const PER_SOCKET: usize = 100;

/// Some sockets, and where each call's packets go.
pub struct Udp {
    sockets: Vec<UdpSocket>,
    to: Vec<SocketAddr>,
    buffer: Box<[u8; 2048]>,
}

impl Udp {
    /// Sockets for so many calls.
    pub fn new(ip: IpAddr, calls: usize) -> Result<Self> {
        Self::with_sockets(ip, calls.div_ceil(PER_SOCKET))
    }

    /// So many sockets, which the calls have in turn.
    pub fn with_sockets(ip: IpAddr, count: usize) -> Result<Self> {
        let open = |_| -> Result<UdpSocket> {
            let socket = UdpSocket::bind((ip, 0))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let sockets = (0..count.max(1)).map(open).collect::<Result<_>>()?;
        Ok(Self { sockets, to: Vec::new(), buffer: Box::new([0; 2048]) })
    }

    /// Where each of so many calls wants its packets.
    pub fn addresses(&self, calls: usize) -> Result<Vec<SocketAddr>> {
        let address =
            |call: usize| -> Result<SocketAddr> { Ok(self.sockets[call % self.sockets.len()].local_addr()?) };
        (0..calls).map(address).collect()
    }

    /// Where the packets of each call go.
    pub fn aim(mut self, to: Vec<SocketAddr>) -> Self {
        self.to = to;
        self
    }
}

impl Parties for Udp {
    fn addresses(&self, calls: usize) -> Result<Vec<SocketAddr>> {
        Self::addresses(self, calls)
    }

    fn aim(self: Box<Self>, to: Vec<SocketAddr>) -> Result<Box<dyn Side>> {
        Ok(Box::new(Self::aim(*self, to)))
    }
}

impl Side for Udp {
    fn send(&mut self, call: usize, packet: &Packet) -> Result<()> {
        // What the system does not take is lost, and counted as such.
        let _ = self.sockets[call % self.sockets.len()].send_to(packet, self.to[call]);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        for socket in &self.sockets {
            loop {
                match socket.recv(&mut *self.buffer) {
                    Ok(len) => each(&self.buffer[..len]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // An ICMP error of an earlier packet.
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }
}
