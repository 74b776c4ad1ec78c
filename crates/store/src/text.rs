//! Texts that can lie in one piece of memory.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text that is not changed any more, and may lie in one piece of memory with others ([`Text::together`]). Used like a
/// `&str`; a clone shares the memory.
///
/// ```
/// use causeway_store::record::Text;
///
/// let [contact, call_id] = Text::together(["sip:bob@192.0.2.1", "4711"]);
/// assert_eq!((&*contact, call_id.len()), ("sip:bob@192.0.2.1", 4));
/// ```
#[derive(Clone, Default)]
pub struct Text {
    whole: Arc<str>,
    start: u32,
    /// Where it ends; [`ALONE`] if it is the whole.
    end: u32,
}

const ALONE: u32 = u32::MAX;

impl Text {
    /// Texts that are used together, in one piece of memory: of a table of millions each entry is cold when it is needed, and
    /// each piece of it a miss of its own. Texts of 4 GiB and more, which nothing here reads, stay apart.
    pub fn together<const N: usize>(texts: [&str; N]) -> [Self; N] {
        let whole: Arc<str> = texts.concat().into();
        if whole.len() >= ALONE as usize {
            return texts.map(Self::from);
        }
        let mut end = 0;
        texts.map(|text| {
            let start = end;
            end += text.len() as u32;
            Self { whole: whole.clone(), start, end }
        })
    }

    /// Brings texts together that may be apart.
    pub fn unite<const N: usize>(texts: [&mut Text; N]) {
        let [first, ..] = texts.as_slice() else { return };
        if texts.iter().all(|text| Arc::ptr_eq(&text.whole, &first.whole)) {
            return;
        }
        let united = Self::together(texts.each_ref().map(|text| &***text));
        for (text, united) in texts.into_iter().zip(united) {
            *text = united;
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        match self.end {
            ALONE => &self.whole,
            end => self.whole.get(self.start as usize..end as usize).unwrap_or_default(),
        }
    }
}

impl<T: Into<Arc<str>>> From<T> for Text {
    fn from(text: T) -> Self {
        Self { whole: text.into(), start: 0, end: ALONE }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_together_reads_as_before() {
        let mut texts = ["sip:b\u{f6}b@host", "", "c", "\"<urn:uuid:1>\""].map(Text::from);
        let before = texts.clone();
        Text::unite(texts.each_mut());
        assert_eq!(texts, before);
        assert!(texts.iter().all(|text| Arc::ptr_eq(&text.whole, &texts[0].whole)));
        let json = serde_json::to_string(&texts).unwrap();
        assert_eq!(json, serde_json::to_string(&before).unwrap());
        assert_eq!(serde_json::from_str::<[Text; 4]>(&json).unwrap(), texts);
        // What is together already stays where it is.
        let first = texts[0].clone();
        Text::unite(texts.each_mut());
        assert!(texts == before && Arc::ptr_eq(&texts[3].whole, &first.whole));
        assert_eq!(Text::default(), Text::from(""));
    }
}
