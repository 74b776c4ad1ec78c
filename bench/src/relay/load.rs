//! The load: many calls of G.711, evenly phased, both ways.

use anyhow::Result;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

const PACKET_TIME: Duration = Duration::from_millis(20);
/// How often the generator looks what is due and what has come.
const GLANCE: Duration = Duration::from_micros(200);

/// Where the packets of one call enter the relay, on either side.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Packets of the caller go here.
    pub left: SocketAddr,
    /// Packets of the callee go here.
    pub right: SocketAddr,
}

/// Packets of one run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub sent: u64,
    pub received: u64,
}

/// One socket for all callers, one for all callees.
pub struct Load {
    left: UdpSocket,
    right: UdpSocket,
    sequence: u16,
}

impl Load {
    pub fn new() -> Result<Self> {
        let open = |address: &str| -> Result<UdpSocket> {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        Ok(Self { left: open("127.0.2.1:0")?, right: open("127.0.3.1:0")?, sequence: 0 })
    }

    /// Where callers want their packets.
    pub fn left(&self) -> Result<SocketAddr> {
        Ok(self.left.local_addr()?)
    }

    /// Where callees want theirs.
    pub fn right(&self) -> Result<SocketAddr> {
        Ok(self.right.local_addr()?)
    }

    /// Sends 50 packets a second on each call and side, and counts what comes out.
    pub fn run(&mut self, calls: &[Call], time: Duration) -> Counted {
        let mut counted = Counted::default();
        let mut packet = [0u8; 172];
        packet[0] = 0x80;
        let start = Instant::now();
        let step = PACKET_TIME / calls.len().max(1) as u32;
        let mut index = 0u64;
        while start.elapsed() < time {
            while start.elapsed() >= step * u32::try_from(index).unwrap_or(u32::MAX) {
                let call = &calls[index as usize % calls.len()];
                if (index as usize).is_multiple_of(calls.len()) {
                    self.sequence = self.sequence.wrapping_add(1);
                    packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
                    packet[4..8].copy_from_slice(&(u32::from(self.sequence) * 160).to_be_bytes());
                }
                for (socket, to) in [(&self.left, call.left), (&self.right, call.right)] {
                    counted.sent += u64::from(socket.send_to(&packet, to).is_ok());
                }
                index += 1;
            }
            counted.received += self.drain();
            thread::sleep(GLANCE);
        }
        // What is still on its way.
        thread::sleep(Duration::from_millis(20));
        counted.received += self.drain();
        counted
    }

    fn drain(&self) -> u64 {
        let mut buffer = [0; 2048];
        let mut received = 0;
        for socket in [&self.left, &self.right] {
            loop {
                match socket.recv(&mut buffer) {
                    Ok(_) => received += 1,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // An ICMP error of an earlier packet.
                    Err(_) => {}
                }
            }
        }
        received
    }
}

/// A session description with one µ-law stream at `address`.
pub fn describe(address: SocketAddr) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=sendrecv\r\n",
        ip = address.ip(),
        port = address.port()
    )
}

/// Where a description with one stream wants its packets.
pub fn target(sdp: &str) -> Option<SocketAddr> {
    let value = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name));
    let ip = value("c=IN IP4 ")?.trim().parse().ok()?;
    let port = value("m=audio ")?.split_whitespace().next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}
