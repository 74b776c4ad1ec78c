//! Many datagrams sent by one call: sendmmsg(2), and those of one length for one address as one bundle, which the
//! kernel takes apart again (UDP_SEGMENT, udp(7)). A bundle passes routing, firewall and queues once.

use super::addr::Raw;
use super::header;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// So many datagrams at least make a bundle. Who captures packets on this very machine sees a bundle as one packet, which
/// at times of little traffic would only puzzle.
const FEWEST: usize = 4;
/// The longest datagram of a bundle, which is not fragmented: what every IPv6 path carries (RFC 8200 §5).
const LONGEST: usize = 1_232;
/// What a bundle may hold: bytes and datagrams (UDP_MAX_SEGMENTS of older systems).
const BUNDLE: usize = 60_000;
const MOST: usize = 64;
/// Datagrams per call: as many as one round of the loop sends as a rule.
const BATCH: usize = 128;

/// The one control message of a bundle: how long each of its datagrams is (cmsg(3)).
#[derive(Clone, Copy)]
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    length: u16,
}

impl Control {
    const LENGTH: usize = size_of::<libc::cmsghdr>() + size_of::<u16>();

    fn new(length: usize) -> Self {
        // SAFETY: all-zero bytes are a valid cmsghdr.
        let mut header: libc::cmsghdr = unsafe { std::mem::zeroed() };
        header.cmsg_len = Self::LENGTH as _;
        header.cmsg_level = libc::SOL_UDP;
        header.cmsg_type = libc::UDP_SEGMENT;
        Self { header, length: length as u16 }
    }
}

/// Datagrams that shall leave by one socket, collected for one sendmmsg.
pub struct SendBatch {
    fd: RawFd,
    bytes: Vec<u8>,
    items: Vec<Item>,
    parcels: Vec<Parcel>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// Whether this system takes bundles; unknown before the first.
    bundles: Option<bool>,
}

/// A datagram: its place in the bytes collected.
struct Item {
    to: SocketAddr,
    start: usize,
    end: usize,
    loose: bool,
}

impl Item {
    fn length(&self) -> usize {
        self.end - self.start
    }

    /// Brings together what may leave as one: the loose ones of one length.
    fn order(&self) -> (SocketAddr, usize) {
        (self.to, if self.loose { self.length() } else { 0 })
    }
}

/// What one header of the call names: a datagram, or a bundle of some.
struct Parcel {
    first: usize,
    count: usize,
    to: (Raw, libc::socklen_t),
    control: Control,
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
        let (items, parcels) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let (iovecs, headers) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        Self { fd: -1, bytes: Vec::new(), items, parcels, iovecs, headers, bundles: None }
    }

    /// Adds a datagram; if it does not belong to what is collected, that leaves first.
    ///
    /// Datagrams for one address leave in this order, but for the `loose` ones; those for different addresses in any. The
    /// caller flushes before it closes `fd`.
    pub fn push(&mut self, fd: BorrowedFd<'_>, to: SocketAddr, bytes: &[u8], loose: bool) -> Sent {
        let fd = fd.as_raw_fd();
        let sent = if fd != self.fd || self.items.len() == BATCH { self.flush() } else { Sent::default() };
        self.fd = fd;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.items.push(Item { to, start, end: self.bytes.len(), loose });
        sent
    }

    /// Sends what is collected.
    pub fn flush(&mut self) -> Sent {
        let result = match self.items.as_slice() {
            [] => return Sent::default(),
            [item] => self.send_one(item),
            _ => {
                self.pack();
                self.send_all()
            }
        };
        self.headers.clear();
        self.parcels.clear();
        self.iovecs.clear();
        self.items.clear();
        self.bytes.clear();
        result
    }

    /// Makes parcels of the items, and headers for the parcels.
    fn pack(&mut self) {
        if self.items.len() >= FEWEST && self.takes_bundles() {
            self.items.sort_by_key(Item::order);
        }
        let mut first = 0;
        while let Some(item) = self.items.get(first) {
            let count = self.alike(first);
            let (to, control) = (Raw::new(item.to), Control::new(item.length()));
            self.parcels.push(Parcel { first, count, to, control });
            first += count;
        }
        let base = self.bytes.as_mut_ptr();
        for item in &self.items {
            // SAFETY: `start` lies within `bytes`, as `push` made it.
            let iov_base = unsafe { base.add(item.start) }.cast();
            self.iovecs.push(libc::iovec { iov_base, iov_len: item.length() });
        }
        let mut iovecs = self.iovecs.as_mut_slice();
        for parcel in &mut self.parcels {
            let (own, rest) = iovecs.split_at_mut(parcel.count);
            iovecs = rest;
            let mut header = header(&raw mut parcel.to.0, parcel.to.1, own.as_mut_ptr());
            header.msg_hdr.msg_iovlen = own.len() as _;
            if parcel.count > 1 {
                header.msg_hdr.msg_control = (&raw mut parcel.control).cast();
                header.msg_hdr.msg_controllen = size_of::<Control>() as _;
            }
            self.headers.push(header);
        }
    }

    /// How many items from here on make one parcel.
    fn alike(&self, first: usize) -> usize {
        let items = self.items.get(first..).unwrap_or_default();
        let Some(head) = items.first().filter(|_| self.bundles == Some(true)) else { return 1 };
        let length = head.length();
        if length == 0 || length > LONGEST {
            return 1;
        }
        let same = |item: &&Item| item.to == head.to && item.length() == length;
        match items.iter().take(MOST.min(BUNDLE / length)).take_while(same).count() {
            few if few < FEWEST => 1,
            count => count,
        }
    }

    /// Whether the system knows bundles: one that does not would send each as a single datagram.
    fn takes_bundles(&mut self) -> bool {
        let fd = self.fd;
        *self.bundles.get_or_insert_with(|| {
            let mut value: libc::c_int = 0;
            let mut length = size_of_val(&value) as libc::socklen_t;
            let place = (&raw mut value).cast();
            // SAFETY: one int is written to `value`, as `length` says.
            unsafe { libc::getsockopt(fd, libc::SOL_UDP, libc::UDP_SEGMENT, place, &raw mut length) == 0 }
        })
    }

    fn send_all(&mut self) -> Sent {
        let mut result = Sent::default();
        let mut at = 0;
        while at < self.headers.len() {
            let rest = &mut self.headers[at..];
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: the headers point into `bytes`, `parcels` and `iovecs`, none of which changes before they are
            // cleared together.
            let n =
                unsafe { libc::sendmmsg(self.fd, rest.as_mut_ptr(), rest.len() as libc::c_uint, flags as _) };
            result.calls += 1;
            let Some(taken) = usize::try_from(n).ok().filter(|taken| *taken > 0) else {
                self.refused(at, &mut result);
                at += 1;
                continue;
            };
            let taken = self.parcels[at..].iter().take(taken);
            at += taken.len();
            result.sent += taken.map(|parcel| parcel.count as u64).sum::<u64>();
        }
        result
    }

    /// The system has not taken a parcel: a datagram is dropped, as the network might have done; of a bundle
    /// each is tried by itself.
    fn refused(&mut self, at: usize, result: &mut Sent) {
        let error = io::Error::last_os_error().raw_os_error();
        let Some(&Parcel { first, count, .. }) = self.parcels.get(at) else { return };
        if count == 1 {
            result.failed += 1;
            return;
        }
        if matches!(error, Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP | libc::ENOPROTOOPT)) {
            // An interface that cannot do it.
            self.bundles = Some(false);
        }
        for item in self.items.iter().skip(first).take(count) {
            let sent = self.send_one(item);
            result.sent += sent.sent;
            result.failed += sent.failed;
            result.calls += sent.calls;
        }
    }

    /// One alone costs less by sendto(2).
    fn send_one(&self, item: &Item) -> Sent {
        let bytes = self.bytes.get(item.start..item.end).unwrap_or_default();
        let (name, length) = Raw::new(item.to);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the bytes and the name outlive the call, and the lengths are theirs.
        let n = unsafe {
            libc::sendto(self.fd, bytes.as_ptr().cast(), bytes.len(), flags, (&raw const name).cast(), length)
        };
        let sent = u64::from(n >= 0);
        Sent { sent, failed: 1 - sent, calls: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::RecvBatch;
    use socket2::{Domain, Socket, Type};
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn a_refused_datagram_does_not_hold_up_the_others() {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = b.local_addr().unwrap();
        let mut batch = SendBatch::new();
        batch.push(a.as_fd(), to, b"one", false);
        batch.push(a.as_fd(), "[2001:db8::1]:9".parse().unwrap(), b"wrong family", false);
        batch.push(a.as_fd(), to, b"two", false);
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
            batch.push(a.as_fd(), b.local_addr().unwrap(), text, false);
            assert_eq!(batch.flush().sent, 1);
        }
        batch.push(a.as_fd(), "[2001:db8::1]:9".parse().unwrap(), b"wrong family", false);
        let refused = batch.flush();
        assert_eq!((refused.sent, refused.failed), (0, 1));
        for text in [&b"first"[..], b"", b"third and longer"] {
            assert_eq!(received.receive(b.as_fd(), 1).unwrap(), 1);
            let got = received.get(0).unwrap();
            assert_eq!((got.bytes, got.from), (text, a.local_addr().unwrap()));
        }
        assert_eq!(received.receive(b.as_fd(), 1).unwrap(), 0);
    }

    /// A socket that receives bundles as they were sent (UDP_GRO, udp(7)).
    fn whole() -> UdpSocket {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        let on: libc::c_int = 1;
        // SAFETY: the option reads one int.
        unsafe { crate::sys::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_GRO, &on) }.unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.into()
    }

    fn lengths(socket: &UdpSocket) -> Vec<usize> {
        let mut received = RecvBatch::new();
        let n = received.receive(socket.as_fd(), 64).unwrap();
        (0..n).map(|i| received.get(i).unwrap().bytes.len()).collect()
    }

    #[test]
    fn datagrams_alike_leave_as_one_and_arrive_as_many() {
        let (from, apart) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let whole = whole();
        let mut batch = SendBatch::new();
        for i in 0..10u8 {
            for to in [&whole, &apart] {
                batch.push(from.as_fd(), to.local_addr().unwrap(), &[i; 100], false);
            }
        }
        batch.push(from.as_fd(), apart.local_addr().unwrap(), &[10; 1_400], false);
        let sent = batch.flush();
        assert_eq!((sent.sent, sent.failed, sent.calls), (21, 0, 1));
        assert_eq!(lengths(&whole), [1_000], "one bundle");
        let mut received = RecvBatch::new();
        assert_eq!(received.receive(apart.as_fd(), 64).unwrap(), 11);
        for i in 0..11u8 {
            let bytes = received.get(i.into()).unwrap().bytes;
            assert!(bytes.len() == if i < 10 { 100 } else { 1_400 } && bytes.iter().all(|byte| *byte == i));
        }
    }

    #[test]
    fn loose_ones_leave_with_their_like_and_the_others_in_order() {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), whole());
        let mut batch = SendBatch::new();
        for i in 0..12 {
            let (length, loose) = [(300, false), (64, true), (200, false), (128, true)][i % 4];
            batch.push(from.as_fd(), to.local_addr().unwrap(), &vec![1; length + i / 8], loose);
        }
        // Two thirds of the loose ones are of a length, but too few of each to make a bundle.
        assert_eq!(batch.flush().sent, 12);
        let ordered: Vec<_> = lengths(&to).into_iter().filter(|length| *length >= 200).collect();
        assert_eq!(ordered, [300, 200, 300, 200, 301, 201]);
        for _ in 0..6 {
            batch.push(from.as_fd(), to.local_addr().unwrap(), &[1; 300], false);
            batch.push(from.as_fd(), to.local_addr().unwrap(), &[1; 64], true);
            batch.push(from.as_fd(), to.local_addr().unwrap(), &[1; 301], false);
        }
        assert_eq!(batch.flush().sent, 18);
        let mut sizes = lengths(&to);
        sizes.sort_unstable();
        assert_eq!(sizes, [300, 300, 300, 300, 300, 300, 301, 301, 301, 301, 301, 301, 384]);
    }

    #[test]
    fn few_long_or_different_ones_leave_by_themselves() {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), whole());
        let mut batch = SendBatch::new();
        for lengths_sent in [[100, 100, 100, 101, 102], [1_300; 5], [100, 200, 100, 200, 100], [0; 5]] {
            for length in lengths_sent {
                batch.push(from.as_fd(), to.local_addr().unwrap(), &vec![1; length], false);
            }
            assert_eq!(batch.flush().sent, 5);
            assert_eq!(lengths(&to), lengths_sent);
        }
    }

    #[test]
    fn a_refused_bundle_is_counted_by_datagrams_and_holds_nothing_up() {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut batch = SendBatch::new();
        for i in 0..5 {
            batch.push(from.as_fd(), "[2001:db8::1]:9".parse().unwrap(), &[i; 9], false);
            batch.push(from.as_fd(), to.local_addr().unwrap(), &[i; 9], false);
        }
        let sent = batch.flush();
        assert_eq!((sent.sent, sent.failed), (5, 5));
        assert_eq!(lengths(&to), [9; 5]);
    }

    #[test]
    fn a_system_without_bundles_is_sent_datagrams() {
        let (from, to) = (UdpSocket::bind("127.0.0.1:0").unwrap(), whole());
        let mut batch = SendBatch::new();
        batch.bundles = Some(false);
        for i in 0..5 {
            batch.push(from.as_fd(), to.local_addr().unwrap(), &[i; 9], false);
        }
        assert_eq!(batch.flush().sent, 5);
        assert_eq!(lengths(&to), [9; 5]);
    }
}
