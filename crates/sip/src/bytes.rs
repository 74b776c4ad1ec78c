//! Small byte helpers that the grammars share: character classes, white space, numbers, quoted strings.

use memchr::{memchr2, memchr3};
use std::net::{IpAddr, SocketAddr};

/// `token` of RFC 3261 §25.1.
pub(crate) const TOKEN: u16 = 1;
/// Space, tab, and the CR and LF of a fold.
pub(crate) const LWS: u16 = 2;
/// `0`–`9`.
pub(crate) const DIGIT: u16 = 4;
/// Letters, digits, `.`, `-` and, as met in the field, `_`: what a host name is made of.
pub(crate) const HOST: u16 = 8;
/// What may stand in a URI: reserved, unreserved, `%`, and the brackets of an IPv6 reference.
pub(crate) const URI: u16 = 16;
/// `word` of RFC 3261 §25.1 plus the `@` of a Call-ID.
pub(crate) const WORD: u16 = 32;
/// Hexadecimal digits.
pub(crate) const HEX: u16 = 64;
/// `unreserved` of RFC 3261 §25.1: letters, digits and marks.
pub(crate) const UNRESERVED: u16 = 128;
/// What an unquoted parameter value may hold if one is generous: anything that delimits nothing.
pub(crate) const VALUE: u16 = 256;
/// What cannot end a URI: anything but white space, controls, quotes and angle brackets.
pub(crate) const URIISH: u16 = 512;

static CLASS: [u16; 256] = classes();

const fn classes() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut c = 0usize;
    while c < 256 {
        let b = c as u8;
        let alnum = b.is_ascii_alphanumeric();
        let mark = contains(b"-_.!~*'()", b);
        let mut bits = 0;
        if alnum || contains(b"-.!%*_+`'~", b) {
            bits |= TOKEN;
        }
        if contains(b" \t\r\n", b) {
            bits |= LWS;
        }
        if b.is_ascii_digit() {
            bits |= DIGIT;
        }
        if alnum || contains(b".-_", b) {
            bits |= HOST;
        }
        if alnum || mark || contains(b";/?:@&=+$,%[]", b) {
            bits |= URI;
        }
        if alnum || contains(b"-.!%*_+`'~()<>:\\\"/[]?{}@", b) {
            bits |= WORD;
        }
        if b.is_ascii_hexdigit() {
            bits |= HEX;
        }
        if alnum || mark {
            bits |= UNRESERVED;
        }
        let delimits = b <= b' ' || b == 127 || contains(b"\"<>", b);
        if !delimits {
            bits |= URIISH;
        }
        if !delimits && !contains(b";,", b) {
            bits |= VALUE;
        }
        table[c] = bits;
        c += 1;
    }
    table
}

const fn contains(set: &[u8], b: u8) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == b {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether `b` belongs to any class of `mask`.
#[inline(always)]
pub(crate) fn is(b: u8, mask: u16) -> bool {
    CLASS[b as usize] & mask != 0
}

/// Whether every byte belongs to a class of `mask`; true of the empty string.
#[inline]
pub(crate) fn all(bytes: &[u8], mask: u16) -> bool {
    bytes.iter().all(|&b| is(b, mask))
}

/// How many bytes at the front belong to a class of `mask`.
#[inline]
pub(crate) fn span(bytes: &[u8], mask: u16) -> usize {
    bytes.iter().position(|&b| !is(b, mask)).unwrap_or(bytes.len())
}

/// The first position of a byte in a short text, eight bytes at a time: cheaper than the set-up of a vectorised
/// search as long as the answer is near.
#[inline(always)]
pub(crate) fn find(text: &[u8], byte: u8) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let pattern = ONES * u64::from(byte);
    let (mut rest, mut at) = (text, 0);
    while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
        // A byte that is equal becomes zero; the lowest zero byte is the lowest with its high bit set here.
        let differing = u64::from_le_bytes(*chunk) ^ pattern;
        let zeros = differing.wrapping_sub(ONES) & !differing & (ONES << 7);
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        (rest, at) = (after, at + 8);
    }
    rest.iter().position(|&b| b == byte).map(|found| at + found)
}

/// `bytes[from..]`, or nothing past the end.
#[inline]
pub(crate) fn tail(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

/// `bytes[..to]`, or all of it.
#[inline]
pub(crate) fn head(bytes: &[u8], to: usize) -> &[u8] {
    bytes.get(..to).unwrap_or(bytes)
}

/// Without leading white space and folds.
#[inline]
pub(crate) fn skip_lws(mut bytes: &[u8]) -> &[u8] {
    while let [b, rest @ ..] = bytes {
        if !is(*b, LWS) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// Without white space and folds at both ends.
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let mut bytes = skip_lws(bytes);
    while let [rest @ .., b] = bytes {
        if !is(*b, LWS) {
            break;
        }
        bytes = rest;
    }
    bytes
}

/// The position after the quoted string that opens at `open`; `None` when it is never closed.
#[inline]
pub(crate) fn quoted_end(bytes: &[u8], open: usize) -> Option<usize> {
    let mut at = open + 1;
    loop {
        let found = at + memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(found) == Some(&b'"') {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

/// Splits at the first comma that stands outside quotes and angle brackets.
#[inline]
pub(crate) fn split_comma(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut at = 0;
    while let Some(step) = bytes.get(at..).and_then(|rest| memchr3(b',', b'"', b'<', rest)) {
        let found = at + step;
        match bytes.get(found) {
            Some(b',') => return (head(bytes, found), Some(tail(bytes, found + 1))),
            Some(b'"') => match quoted_end(bytes, found) {
                Some(end) => at = end,
                None => break,
            },
            _ => match memchr::memchr(b'>', tail(bytes, found)) {
                Some(close) => at = found + close + 1,
                None => break,
            },
        }
    }
    (bytes, None)
}

/// A number of decimal digits and nothing else; `None` too when it does not fit.
#[inline]
pub(crate) fn number<T: TryFrom<u64>>(bytes: &[u8]) -> Option<T> {
    if bytes.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for &b in bytes {
        if !b.is_ascii_digit() {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(b - b'0'))?;
    }
    T::try_from(value).ok()
}

/// Appends a number in decimal.
#[inline]
pub(crate) fn push_number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut left = value;
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (left % 10) as u8;
        left /= 10;
        used += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(tail(&digits, digits.len() - used));
}

/// Appends an address, an IPv6 one without brackets.
pub(crate) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    let IpAddr::V4(v4) = ip else {
        return out.extend_from_slice(ip.to_string().as_bytes());
    };
    for (at, part) in v4.octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        push_number(out, part.into());
    }
}

/// `192.0.2.1:5060` or `[2001:db8::1]:5060`, as [`SocketAddr`] is written, but without the formatting machinery: for what
/// is written with every message.
pub fn addr_text(addr: SocketAddr) -> String {
    if addr.is_ipv6() {
        return addr.to_string();
    }
    let mut out = Vec::with_capacity(24);
    push_ip(&mut out, addr.ip());
    out.push(b':');
    push_number(&mut out, addr.port().into());
    String::from_utf8(out).unwrap_or_default()
}

/// The sixteen lower-case hexadecimal digits of a number.
#[must_use]
pub fn hex16(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    write_hex(&number.to_be_bytes(), &mut digits);
    digits
}

/// Writes two lower-case hexadecimal digits per byte, as far as there is room.
pub fn write_hex(bytes: &[u8], to: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in to.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Equality of a name in the case that we write ourselves and one from outside, whatever its case.
#[inline]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a == b || a.eq_ignore_ascii_case(b)
}

/// The content of a quoted string without its quotes and back-slashes; anything else as it is.
pub(crate) fn unquote(bytes: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = bytes else { return bytes.into() };
    if !inner.contains(&b'\\') {
        return inner.into();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&b) = bytes.next() {
        match b {
            b'\\' => out.extend(bytes.next()),
            _ => out.push(b),
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_only() {
        assert_eq!(number::<u32>(b"0068"), Some(68));
        assert_eq!(number::<u32>(b"4294967296"), None);
        assert_eq!(number::<u64>(b"36893488147419103232"), None);
        assert_eq!(number::<u32>(b"-1"), None);
        assert_eq!(number::<u32>(b""), None);
        let mut out = Vec::new();
        push_number(&mut out, 0);
        push_number(&mut out, u64::MAX);
        assert_eq!(out, b"018446744073709551615");
    }

    #[test]
    fn addresses_are_written_as_the_library_does() {
        for text in ["0.0.0.0:0", "192.0.2.10:5060", "255.255.255.255:65535", "[2001:db8::1]:5060", "[::]:1"]
        {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(addr_text(addr), text);
            let mut ip = Vec::new();
            push_ip(&mut ip, addr.ip());
            assert_eq!(String::from_utf8(ip).unwrap(), addr.ip().to_string());
        }
    }

    #[test]
    fn finding_a_byte() {
        let text: Vec<u8> = (0..=255).chain(0..=255).collect();
        for from in 0..40 {
            for byte in 0..=255 {
                let rest = tail(&text, from);
                assert_eq!(find(rest, byte), rest.iter().position(|&b| b == byte));
                assert_eq!(find(head(rest, from), byte), head(rest, from).iter().position(|&b| b == byte));
            }
        }
    }

    #[test]
    fn commas_in_quotes_and_brackets_do_not_split() {
        let (first, rest) = split_comma(br#""a, \", b" <sip:x,y@z>;q=1, <sip:b>"#);
        assert_eq!(first, br#""a, \", b" <sip:x,y@z>;q=1"#);
        assert_eq!(rest, Some(&b" <sip:b>"[..]));
        assert_eq!(split_comma(b"\"never closed, x").1, None);
    }

    #[test]
    fn unquoting() {
        assert_eq!(&*unquote(br#""J \\\"x""#), br#"J \"x"#);
        assert_eq!(&*unquote(b"token"), b"token");
    }
}
