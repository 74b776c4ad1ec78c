//! Bytes in records, which are JSON: each byte is the character of its number, so that any are kept and ASCII
//! stays readable.

/// The text that keeps these bytes.
pub fn kept(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes that a text keeps; `None` if no bytes were kept so.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn any_bytes_are_kept() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(super::bytes(&super::kept(&all)), Some(all));
        assert_eq!(super::kept(b"sip:alice"), "sip:alice");
        assert_eq!(super::bytes("\u{100}"), None);
    }
}
