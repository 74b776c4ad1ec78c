//! The system calls that no safe library offers. The only module of the product with `unsafe` code: each
//! function is safe to call, and keeps its pointers to itself.

mod addr;
mod epoll;
mod receive;
mod send;
mod steer;

pub(crate) use epoll::{Epoll, Event, EventFd, IN, OUT};
pub(crate) use receive::RecvBatch;
pub(crate) use send::{SendBatch, Sent};
pub(crate) use steer::steer_by_mark;

use addr::Raw;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Datagrams taken by one call.
pub(crate) const BATCH: usize = 64;

/// Turns the C convention of -1 and errno into a result.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// What recvmmsg(2) and sendmmsg(2) take for one datagram.
fn header(name: *mut Raw, length: libc::socklen_t, iovec: *mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid msghdr: no pointers, no lengths.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = name.cast();
    header.msg_hdr.msg_namelen = length;
    header.msg_hdr.msg_iov = iovec;
    header.msg_hdr.msg_iovlen = 1;
    header
}

/// Sets an option of a socket (setsockopt(2)).
///
/// # Safety
/// The option reads a `T`, and what that points to, if anything, is there for the call.
unsafe fn set_option<T>(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let (place, length) = (std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY: `place` is readable for `length` bytes; for the rest the caller answers.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, place, length) }).map(drop)
}

/// How many bytes written to a TCP socket have not been sent yet (SIOCOUTQNSD, tcp(7)).
pub(crate) fn unsent(fd: BorrowedFd<'_>) -> io::Result<usize> {
    const SIOCOUTQNSD: libc::c_ulong = 0x894b;
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, to which the pointer is valid for the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), SIOCOUTQNSD as _, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Sets the size of a socket's receive queue beyond net.core.rmem_max (SO_RCVBUFFORCE, socket(7)), which takes
/// CAP_NET_ADMIN.
pub(crate) fn force_receive_buffer(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    // SAFETY: the option reads one int.
    unsafe { set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes) }
}

/// How many descriptors this process may have open (RLIMIT_NOFILE, getrlimit(2)); the customary 1024 if it may not ask.
pub(crate) fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes one rlimit, to which the pointer is valid.
    match check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }) {
        Ok(_) => limit.rlim_cur,
        Err(_) => 1024,
    }
}

/// Has a connection with few packets under way repeat what is lost at once and at even intervals (tcp(7),
/// TCP_THIN_LINEAR_TIMEOUTS).
pub(crate) fn set_thin(fd: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option reads one int.
    unsafe { set_option(fd, libc::IPPROTO_TCP, libc::TCP_THIN_LINEAR_TIMEOUTS, &on) }
}

/// How full a socket's receive queue is, in percent of its limit (SO_MEMINFO, socket(7)).
pub(crate) fn receive_queue(fd: BorrowedFd<'_>) -> io::Result<u8> {
    const SO_MEMINFO: libc::c_int = 55;
    // SK_MEMINFO_RMEM_ALLOC and SK_MEMINFO_RCVBUF of <linux/sock_diag.h>.
    const USED: usize = 0;
    const LIMIT: usize = 1;
    let mut info = [0u32; 9];
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: at most `length` bytes are written to `info`, which is that long.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    })?;
    let percent = u64::from(info[USED]) * 100 / u64::from(info[LIMIT].max(1));
    Ok(u8::try_from(percent.min(100)).unwrap_or(100))
}

/// Has glibc serve all threads of this process from one heap that grows by a megabyte at a time, and gives back
/// what is free at its end only beyond sixteen. A heap of a thread's own grows page by page, a system call for
/// each; and workers are few and allocate little at once, so that they hardly meet.
#[cfg(target_env = "gnu")]
pub(crate) fn one_heap() {
    const MEGABYTE: libc::c_int = 1 << 20;
    // SAFETY: no pointers. What cannot be set stays as it was.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TOP_PAD, MEGABYTE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 16 * MEGABYTE);
    }
}

/// Other C libraries see to that themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn one_heap() {}

/// Sets the permissions of a Unix socket before it is bound: on Linux the file then appears with them.
pub(crate) fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fchmod(fd.as_raw_fd(), mode as libc::mode_t) }).map(drop)
}
