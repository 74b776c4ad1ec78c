//! Who of those that share a port receives a datagram: SO_ATTACH_REUSEPORT_CBPF, socket(7).
//!
//! The kernel asks a program of classic BPF, which gets the payload and answers with the place of a socket, in the order
//! in which they were bound. It has no loops; so it is a row of comparisons, one for each word at which a mark may show.

use causeway_node::Mark;
use libc::{
    BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_B, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K,
    BPF_LD, BPF_LDX, BPF_LEN, BPF_MEM, BPF_MISC, BPF_MUL, BPF_RET, BPF_ST, BPF_SUB, BPF_TAX, BPF_TXA, BPF_W,
    BPF_X, sock_filter,
};
use std::io;
use std::os::fd::BorrowedFd;

/// How far into a datagram a mark is looked for: as much as fits into an Ethernet frame.
const FARTHEST: u32 = 1472;
/// The least that is worth a program: the top Via of a response.
const NEAREST: u32 = 128;
/// Bytes between two looks at the length; what is left of a datagram beyond the last is not looked at.
const BLOCK: u32 = 32;
/// The bytes of a word.
const WORD: u32 = 4;
/// No socket's place: the kernel chooses by the addresses, as it would have without a program.
const NOBODY: u32 = u32::MAX;

/// Has a datagram that holds the [`Mark`] of a member go to the socket that was bound as that member's, in the order of
/// their numbers; of several marks the first counts. One without a mark, or with one of a member that there is not, goes
/// where it would go anyway. To be called for the first socket of a group once it is bound.
///
/// # Errors
/// Where the system does not take such programs, be they long or short (`net.core.optmem_max` bounds them).
pub(crate) fn steer_by_mark(fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut far = FARTHEST;
    loop {
        match attach(fd, &mut program(far)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && far > NEAREST => far = far * 3 / 4,
            result => return result,
        }
    }
}

fn attach(fd: BorrowedFd<'_>, program: &mut [sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let given = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: the option reads a sock_fprog and the `len` instructions it points to, which are there for the call.
    unsafe { super::set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &given) }
}

/// Looks for a word of signs at every multiple of four below `far`, and reads the digits behind the last sign.
fn program(far: u32) -> Vec<sock_filter> {
    let signs = u32::from_be_bytes([Mark::SIGNS[0]; WORD as usize]);
    let blocks = far / BLOCK;
    let words = BLOCK / WORD;
    let block_length = 3 + 4 * words;
    let mut program = Vec::new();
    for block in 0..blocks {
        program.push(statement(BPF_LD | BPF_W | BPF_LEN, 0));
        program.push(jump(BPF_JGE, (block + 1) * BLOCK, 1, 0));
        program.push(statement(BPF_RET | BPF_K, NOBODY));
        for word in 0..words {
            let at = block * BLOCK + word * WORD;
            let rest_of_row = (blocks - block) * block_length - 3 - 4 * (word + 1);
            program.push(statement(BPF_LD | BPF_W | BPF_ABS, at));
            program.push(jump(BPF_JEQ, signs, 0, 2));
            program.push(statement(BPF_LDX | BPF_W | BPF_IMM, at + WORD));
            // And over the answer that stands behind the row.
            program.push(statement(BPF_JMP | BPF_JA, rest_of_row + 1));
        }
    }
    program.push(statement(BPF_RET | BPF_K, NOBODY));
    program.extend(read_number());
    program
}

/// Answers with the number in the mark whose first signs end where X says.
fn read_number() -> Vec<sock_filter> {
    let [load_first, load_second] = [0, 1].map(|offset| statement(BPF_LD | BPF_B | BPF_IND, offset));
    let from_digit = statement(BPF_ALU | BPF_SUB | BPF_K, u32::from(b'0'));
    let over_a_sign = [
        load_first,
        jump(BPF_JEQ, u32::from(Mark::SIGNS[0]), 0, 3),
        statement(BPF_MISC | BPF_TXA, 0),
        statement(BPF_ALU | BPF_ADD | BPF_K, 1),
        statement(BPF_MISC | BPF_TAX, 0),
    ];
    let signs_left = Mark::SIGNS.len() - WORD as usize;
    let mut program = over_a_sign.repeat(signs_left);
    // What is no digit makes a place that there is not, or another's; that one hands it on then.
    program.extend([
        load_first,
        from_digit,
        statement(BPF_ALU | BPF_MUL | BPF_K, 10),
        statement(BPF_ST, 0),
        load_second,
        from_digit,
        statement(BPF_LDX | BPF_W | BPF_MEM, 0),
        statement(BPF_ALU | BPF_ADD | BPF_X, 0),
        statement(BPF_RET | BPF_A, 0),
    ]);
    program
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Compares with `k`, and goes over so many instructions if that is true or false.
fn jump(condition: u32, k: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | condition | BPF_K) as u16, jt: if_true, jf: if_false, k }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{SocketAddr, UdpSocket};
    use std::os::fd::AsFd;
    use std::time::Duration;

    /// Members of a group on one port, in their order.
    fn group(count: usize) -> (SocketAddr, Vec<UdpSocket>) {
        let mut at: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut members = Vec::new();
        for number in 0..count {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&at.into()).unwrap();
            let socket = UdpSocket::from(socket);
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            if number == 0 {
                at = socket.local_addr().unwrap();
                steer_by_mark(socket.as_fd()).unwrap();
            }
            members.push(socket);
        }
        (at, members)
    }

    fn arrives(member: &UdpSocket, bytes: &[u8]) {
        let mut heard = [0; 2000];
        let n = member.recv(&mut heard).unwrap();
        assert_eq!(&heard[..n], bytes);
    }

    #[test]
    fn a_marked_datagram_comes_to_its_member_wherever_the_mark_stands() {
        let (at, members) = group(12);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        for place in (0..200).chain(1400..1430) {
            let number = place % 12;
            let mut bytes = vec![b'x'; 1472];
            let mark = Mark(number as u16).to_string();
            bytes[place..place + mark.len()].copy_from_slice(mark.as_bytes());
            // A second one counts for nothing.
            bytes[1440..1449].copy_from_slice(Mark(11).to_string().as_bytes());
            peer.send_to(&bytes, at).unwrap();
            arrives(&members[number], &bytes);
        }
    }

    #[test]
    fn what_is_not_marked_for_a_member_goes_where_its_sender_s_datagrams_always_go() {
        let (at, members) = group(3);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.send_to(b"OPTIONS", at).unwrap();
        let usual = members.iter().find(|member| {
            member.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            member.recv(&mut [0; 10]).is_ok()
        });
        let long = [&[b'x'; 1500][..], Mark(2).to_string().as_bytes()].concat();
        let at_the_end = [&[b'x'; 40][..], b"~~~~~~~"].concat();
        for unmarked in
            [&b""[..], b"~~~~~~~", b"~~~~~~~07 and what follows to fill the block", &at_the_end, &long]
        {
            peer.send_to(unmarked, at).unwrap();
            arrives(usual.unwrap(), unmarked);
        }
    }

    #[test]
    fn programs_of_every_length_are_taken() {
        let (_, members) = group(1);
        for far in [NEAREST, 200, 828, FARTHEST] {
            let mut program = program(far);
            assert!(program.len() <= 4096, "BPF_MAXINSNS: {}", program.len());
            attach(members[0].as_fd(), &mut program).unwrap();
        }
    }
}
