//! Many datagrams received by one call: recvmmsg(2).

use super::addr::Raw;
use super::{BATCH, header};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The longest datagram.
const LONGEST: usize = 65_536;
/// From one buffer to the next: not a power of two, or else all would compete for the same places of the caches.
const STRIDE: usize = LONGEST + 17 * 64;

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
            bytes: vec![0u8; BATCH * STRIDE],
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
        let chunks = self.bytes.chunks_exact_mut(STRIDE).zip(&mut self.names);
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
        let bytes = self.bytes.get(i * STRIDE..i * STRIDE + length)?;
        Some(Received { from: self.names.get(i)?.read()?, bytes })
    }
}
