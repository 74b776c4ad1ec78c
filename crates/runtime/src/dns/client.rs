//! Asking name servers (RFC 1035 §4.2, RFC 5452).

use super::Settings;
use super::wire::{self, Kind, Reply, Unfit};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// The longest datagram without EDNS (RFC 1035 §4.2.1), and some more from servers that do not care.
const DATAGRAM: usize = 4096;

/// Asks the servers in turn.
pub struct Client<'a> {
    settings: &'a Settings,
}

impl<'a> Client<'a> {
    pub fn new(settings: &'a Settings) -> Self {
        Self { settings }
    }

    /// The first answer that a server gives; else what the last one has said.
    pub fn ask(&self, name: &str, kind: Kind) -> Result<Reply, String> {
        let mut why = "no name server".to_owned();
        for _ in 0..self.settings.attempts {
            for server in &self.settings.servers {
                match self.ask_one(*server, name, kind) {
                    Ok(reply) => return Ok(reply),
                    Err(error) => why = format!("name server {server}: {error}"),
                }
            }
        }
        Err(why)
    }

    fn ask_one(&self, server: SocketAddr, name: &str, kind: Kind) -> Result<Reply, String> {
        let until = Instant::now() + self.settings.timeout;
        // Identifier and port are both random, so that nobody answers who has not seen the question.
        let id: u16 = rand::random();
        let query = wire::query(id, name, kind)?;
        let read = |bytes: &[u8]| wire::read(bytes, id, name, kind);
        match over_udp(server, &query, until, read).map_err(|error| explain(&error))? {
            Ok(reply) => Ok(reply),
            Err(Unfit::Truncated) => {
                let bytes = over_tcp(server, &query, until).map_err(|error| explain(&error))?;
                read(&bytes).map_err(|unfit| match unfit {
                    Unfit::Failure(why) => why,
                    Unfit::Foreign | Unfit::Truncated => "its answer over TCP makes no sense".to_owned(),
                })
            }
            Err(Unfit::Failure(why)) => Err(why),
            Err(Unfit::Foreign) => Err("its answer makes no sense".to_owned()),
        }
    }
}

/// Waits for a datagram that answers; what does not is passed over.
fn over_udp(
    server: SocketAddr,
    query: &[u8],
    until: Instant,
    read: impl Fn(&[u8]) -> Result<Reply, Unfit>,
) -> io::Result<Result<Reply, Unfit>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    // From now on the kernel passes on what comes from that address and port alone.
    socket.connect(server)?;
    socket.send(query)?;
    let mut buffer = [0; DATAGRAM];
    loop {
        socket.set_read_timeout(Some(left(until)?))?;
        let n = socket.recv(&mut buffer)?;
        match read(buffer.get(..n).unwrap_or_default()) {
            Err(Unfit::Foreign) => {}
            other => return Ok(other),
        }
    }
}

fn over_tcp(server: SocketAddr, query: &[u8], until: Instant) -> io::Result<Vec<u8>> {
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&server, left(until)?)?;
    stream.set_write_timeout(Some(left(until)?))?;
    stream.write_all(&[&length.to_be_bytes(), query].concat())?;
    let mut length = [0; 2];
    receive(&mut stream, &mut length, until)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    receive(&mut stream, &mut answer, until)?;
    Ok(answer)
}

/// Fills the buffer; a server that sends drop by drop has no more time than any other.
fn receive(stream: &mut TcpStream, buffer: &mut [u8], until: Instant) -> io::Result<()> {
    let mut rest = buffer;
    while !rest.is_empty() {
        stream.set_read_timeout(Some(left(until)?))?;
        let n = stream.read(rest)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        rest = rest.get_mut(n..).unwrap_or_default();
    }
    Ok(())
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    }
}
