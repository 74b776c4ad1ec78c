//! Many datagrams by one call: recvmmsg(2), sendmmsg(2).

use super::addr::Raw;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Datagrams per call.
pub const BATCH: usize = 64;
/// The longest datagram.
const LONGEST: usize = 65_536;

/// Buffers for one recvmmsg; the pages of buffers that are never reached are never touched.
pub struct RecvBatch {
    bytes: Vec<u8>,
    names: Vec<Raw>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// One datagram of a batch.
pub struct Received<'a> {
    pub from: SocketAddr,
    pub bytes: &'a [u8],
}

impl RecvBatch {
    pub fn new() -> Self {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: LONGEST };
        Self {
            bytes: vec![0u8; BATCH * LONGEST],
            names: vec![Raw::empty(); BATCH],
            iovecs: vec![empty; BATCH],
            headers: vec![header(std::ptr::null_mut(), 0, std::ptr::null_mut()); BATCH],
        }
    }

    /// Takes what is there, at most `limit` datagrams and 64; how many. An empty queue is none.
    pub fn receive(&mut self, fd: BorrowedFd<'_>, limit: usize) -> io::Result<usize> {
        let limit = limit.min(BATCH);
        if limit == 1 {
            return self.receive_one(fd);
        }
        let chunks = self.bytes.chunks_exact_mut(LONGEST).zip(&mut self.names);
        let slots = self.iovecs.iter_mut().zip(&mut self.headers);
        for ((chunk, name), (iovec, header)) in chunks.zip(slots).take(limit) {
            iovec.iov_base = chunk.as_mut_ptr().cast();
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = Raw::SIZE;
            header.msg_hdr.msg_iov = iovec;
        }
        // SAFETY: the first `limit` headers point into `bytes`, `names` and `iovecs`, none of which is touched
        // before the call returns. No timeout.
        let n = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                limit as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                std::ptr::null_mut(),
            )
        };
        match super::check(n) {
            Ok(n) => Ok(n as usize),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// One alone costs less by recvfrom(2): no message header to carry into the kernel and back.
    fn receive_one(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let (Some(name), Some(header)) = (self.names.first_mut(), self.headers.first_mut()) else {
            return Ok(0);
        };
        let mut name_length = Raw::SIZE;
        // SAFETY: room for the longest datagram and for the name, and the lengths say so.
        let n = unsafe {
            libc::recvfrom(
                fd.as_raw_fd(),
                self.bytes.as_mut_ptr().cast(),
                LONGEST,
                libc::MSG_DONTWAIT,
                std::ptr::from_mut(name).cast(),
                &raw mut name_length,
            )
        };
        match usize::try_from(n) {
            Ok(n) => {
                header.msg_len = n as libc::c_uint;
                Ok(1)
            }
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                error => Err(error),
            },
        }
    }

    /// The `i`th datagram of the last batch; `None` if its source is unreadable.
    pub fn get(&self, i: usize) -> Option<Received<'_>> {
        let length = (self.headers.get(i)?.msg_len as usize).min(LONGEST);
        let bytes = self.bytes.get(i * LONGEST..i * LONGEST + length)?;
        Some(Received { from: self.names.get(i)?.read()?, bytes })
    }
}

fn header(name: *mut Raw, length: libc::socklen_t, iovec: *mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid msghdr: no pointers, no lengths.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = name.cast();
    header.msg_hdr.msg_namelen = length;
    header.msg_hdr.msg_iov = iovec;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// Datagrams that shall leave by one socket, collected for one sendmmsg.
pub struct SendBatch {
    fd: RawFd,
    bytes: Vec<u8>,
    items: Vec<Item>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

struct Item {
    to: (Raw, libc::socklen_t),
    start: usize,
    end: usize,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Datagrams the kernel took.
    pub sent: u64,
    /// Datagrams it refused: no route, no permission, buffer full.
    pub failed: u64,
    /// System calls.
    pub calls: u64,
}

impl SendBatch {
    pub fn new() -> Self {
        let (items, headers) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        Self { fd: -1, bytes: Vec::new(), items, iovecs: Vec::with_capacity(BATCH), headers }
    }

    /// Adds a datagram; if it does not belong to what is collected, that leaves first.
    ///
    /// The caller flushes before it closes `fd`.
    pub fn push(&mut self, fd: BorrowedFd<'_>, to: SocketAddr, bytes: &[u8]) -> Sent {
        let fd = fd.as_raw_fd();
        let sent = if fd != self.fd || self.items.len() == BATCH { self.flush() } else { Sent::default() };
        self.fd = fd;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.items.push(Item { to: Raw::new(to), start, end: self.bytes.len() });
        sent
    }

    /// Sends what is collected.
    pub fn flush(&mut self) -> Sent {
        let mut result = Sent::default();
        if self.items.is_empty() {
            return result;
        }
        if let [item] = self.items.as_slice() {
            let sent = self.send_one(item);
            self.items.clear();
            self.bytes.clear();
            return sent;
        }
        let base = self.bytes.as_mut_ptr();
        for item in &self.items {
            // SAFETY: `start` lies within `bytes`, as `push` made it.
            let iov_base = unsafe { base.add(item.start) }.cast();
            self.iovecs.push(libc::iovec { iov_base, iov_len: item.end - item.start });
        }
        for (item, iovec) in self.items.iter_mut().zip(&mut self.iovecs) {
            self.headers.push(header(&raw mut item.to.0, item.to.1, iovec));
        }
        let mut at = 0;
        while at < self.headers.len() {
            let rest = &mut self.headers[at..];
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the headers point into `bytes`, `items` and `iovecs`, none of which changes here.
            let n =
                unsafe { libc::sendmmsg(self.fd, rest.as_mut_ptr(), rest.len() as libc::c_uint, flags as _) };
            result.calls += 1;
            match n {
                1.. => {
                    result.sent += n as u64;
                    at += n as usize;
                }
                // The first one failed: it is dropped, as the network might have done.
                _ => {
                    result.failed += 1;
                    at += 1;
                }
            }
        }
        self.headers.clear();
        self.iovecs.clear();
        self.items.clear();
        self.bytes.clear();
        result
    }

    /// One alone, as on media ports, costs less by sendto(2).
    fn send_one(&self, item: &Item) -> Sent {
        let bytes = self.bytes.get(item.start..item.end).unwrap_or_default();
        let (name, length) = &item.to;
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the bytes and the name outlive the call, and the lengths are theirs.
        let n = unsafe {
            libc::sendto(
                self.fd,
                bytes.as_ptr().cast(),
                bytes.len(),
                flags,
                std::ptr::from_ref(name).cast(),
                *length,
            )
        };
        let sent = u64::from(n >= 0);
        Sent { sent, failed: 1 - sent, calls: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn a_refused_datagram_does_not_hold_up_the_others() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = b.local_addr().unwrap();
        let mut batch = SendBatch::new();
        batch.push(a.as_fd(), to, b"one");
        batch.push(a.as_fd(), "[2001:db8::1]:9".parse().unwrap(), b"wrong family");
        batch.push(a.as_fd(), to, b"two");
        let sent = batch.flush();
        assert_eq!((sent.sent, sent.failed), (2, 1));
        let mut received = RecvBatch::new();
        assert_eq!(received.receive(b.as_fd(), 64).unwrap(), 2);
        let second = received.get(1).unwrap();
        assert_eq!((second.bytes, second.from), (b"two".as_slice(), a.local_addr().unwrap()));
        assert_eq!(received.receive(b.as_fd(), 64).unwrap(), 0);
    }

    #[test]
    fn one_at_a_time() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let (mut batch, mut received) = (SendBatch::new(), RecvBatch::new());
        for text in [&b"first"[..], b"", b"third and longer"] {
            batch.push(a.as_fd(), b.local_addr().unwrap(), text);
            assert_eq!(batch.flush().sent, 1);
        }
        batch.push(a.as_fd(), "[2001:db8::1]:9".parse().unwrap(), b"wrong family");
        let refused = batch.flush();
        assert_eq!((refused.sent, refused.failed), (0, 1));
        for text in [&b"first"[..], b"", b"third and longer"] {
            assert_eq!(received.receive(b.as_fd(), 1).unwrap(), 1);
            let got = received.get(0).unwrap();
            assert_eq!((got.bytes, got.from), (text, a.local_addr().unwrap()));
        }
        assert_eq!(received.receive(b.as_fd(), 1).unwrap(), 0);
    }
}
