//! The system calls that no safe library offers. The only module of the product with `unsafe` code: each
//! function is safe to call, and keeps its pointers to itself.

mod addr;
mod batch;
mod epoll;

pub(crate) use batch::{BATCH, RecvBatch, SendBatch, Sent};
pub(crate) use epoll::{Epoll, Event, EventFd, IN, OUT};

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Turns the C convention of -1 and errno into a result.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// How many bytes written to a TCP socket have not been sent yet (SIOCOUTQNSD, tcp(7)).
pub(crate) fn unsent(fd: BorrowedFd<'_>) -> io::Result<usize> {
    const SIOCOUTQNSD: libc::c_ulong = 0x894b;
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, to which the pointer is valid for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SIOCOUTQNSD as _, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Sets the permissions of a Unix socket before it is bound: on Linux the file then appears with them.
pub(crate) fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fchmod(fd.as_raw_fd(), mode as libc::mode_t) }).map(drop)
}
