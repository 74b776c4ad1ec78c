//! How a datagram names the member of a group that it is for ([`crate`], "Groups").

/// What a mark is made of. It may stand in a token, in a parameter of a URI and in a quoted string (RFC 3261 §25.1), and
/// hardly anybody writes seven in a row.
const SIGN: u8 = b'~';

/// The mark of a member: text that a node puts into what it sends, and that comes back in what belongs to that member.
///
/// Seven signs and the number in two decimal digits. The length is for packet filters, which can look at a word of four
/// bytes at a time: one of those that begin at a multiple of four holds nothing but signs, wherever the mark stands.
///
/// ```
/// use causeway_node::Mark;
/// let branch = format!("z9hG4bK-1{}-x", Mark(3));
/// assert_eq!(branch, "z9hG4bK-1~~~~~~~03-x");
/// assert_eq!(Mark::read(&branch.as_bytes()[9..]), Some((Mark(3), &b"-x"[..])));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(
    /// The member's number, below 100.
    pub u16,
);

impl Mark {
    /// What announces the digits.
    pub const SIGNS: [u8; 7] = [SIGN; 7];

    /// The mark that `bytes` begins with, and what is behind it.
    pub fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (digits, rest) = bytes.strip_prefix(&Self::SIGNS)?.split_first_chunk::<2>()?;
        let [tens, ones] = digits.map(|digit| digit.wrapping_sub(b'0'));
        (tens < 10 && ones < 10).then(|| (Self(u16::from(tens) * 10 + u16::from(ones)), rest))
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Self::SIGNS.iter().try_for_each(|sign| write!(f, "{}", char::from(*sign)))?;
        write!(f, "{:02}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_written_and_nothing_else_is_one() {
        for number in 0..100 {
            let text = format!("{}~", Mark(number));
            assert_eq!(Mark::read(text.as_bytes()), Some((Mark(number), &b"~"[..])));
        }
        for strange in ["", "~~~~~~07", "~~~~~~~~07", "~~~~~~~7", "~~~~~~~+7", "~~~~~~~7f", "x~~~~~~~07"] {
            assert_eq!(Mark::read(strange.as_bytes()), None, "{strange}");
        }
    }
}
