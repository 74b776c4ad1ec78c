//! Socket addresses as the kernel wants them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for an IPv4 or an IPv6 address, a quarter of what `sockaddr_storage` takes.
#[derive(Clone, Copy)]
#[repr(C)]
pub union Raw {
    any: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Raw {
    pub const SIZE: libc::socklen_t = size_of::<Self>() as libc::socklen_t;

    pub fn empty() -> Self {
        // SAFETY: all-zero bytes are a valid value of every member.
        unsafe { std::mem::zeroed() }
    }

    /// The kernel's form, and its length.
    pub fn new(address: SocketAddr) -> (Self, libc::socklen_t) {
        let mut raw = Self::empty();
        match address {
            SocketAddr::V4(v4) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                (raw, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(v6) => {
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                (raw, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }

    /// Back; `None` for any other family.
    pub fn read(&self) -> Option<SocketAddr> {
        // SAFETY: every member begins with the family, and all bytes are initialized (`empty`).
        let family = unsafe { self.any };
        if family == libc::AF_INET as libc::sa_family_t {
            // SAFETY: the family says which member was written; any bytes are valid for it.
            let v4 = unsafe { self.v4 };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        } else if family == libc::AF_INET6 as libc::sa_family_t {
            // SAFETY: likewise.
            let v6 = unsafe { self.v6 };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for text in ["192.0.2.7:5060", "[2001:db8::7%3]:443"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Raw::new(address).0.read(), Some(address));
        }
        assert_eq!(Raw::empty().read(), None);
    }
}
