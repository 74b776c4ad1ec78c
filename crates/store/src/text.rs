//! Texts that can lie in one piece of memory.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A text that is not changed any more, and may lie in one piece of memory with others ([`Text::unite`]). Used like a
/// `&str`; a clone shares the memory.
///
/// ```
/// use causeway_store::record::Text;
///
/// let (mut contact, mut call_id) = (Text::from("sip:bob@192.0.2.1"), Text::from("4711"));
/// Text::unite([&mut contact, &mut call_id]);
/// assert_eq!((&*contact, call_id.len()), ("sip:bob@192.0.2.1", 4));
/// ```
#[derive(Clone, Default)]
pub struct Text {
    whole: Arc<str>,
    start: u32,
    end: u32,
}

impl Text {
    /// Brings texts that are used together into one piece of memory: a table of millions is read a hundred to one from memory
    /// that nobody has touched for long, and each piece is a miss of its own.
    pub fn unite<const N: usize>(texts: [&mut Text; N]) {
        let length: usize = texts.iter().map(|text| text.len()).sum();
        if u32::try_from(length).is_err() {
            return;
        }
        let mut whole = String::with_capacity(length);
        texts.iter().for_each(|text| whole.push_str(text));
        let whole: Arc<str> = whole.into();
        let mut start = 0;
        for text in texts {
            let end = start + text.len() as u32;
            *text = Self { whole: whole.clone(), start, end };
            start = end;
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.whole.get(self.start as usize..self.end as usize).unwrap_or(&self.whole)
    }
}

impl<T: Into<Arc<str>>> From<T> for Text {
    /// A text of 4 GiB and more, which nothing here reads, is one by itself.
    fn from(text: T) -> Self {
        let whole = text.into();
        let end = u32::try_from(whole.len()).unwrap_or(u32::MAX);
        Self { whole, start: 0, end }
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
        // Once more, what is together already.
        Text::unite(texts.each_mut());
        assert_eq!(texts, before);
        assert_eq!(Text::default(), Text::from(""));
    }
}
