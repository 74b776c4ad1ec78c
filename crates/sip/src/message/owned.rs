//! A message with its own buffer.

use super::{Index, Msg, ParseError};
use std::fmt;
use std::sync::Arc;

/// A message that owns its bytes. A clone shares them.
///
/// `Debug` prints it as text with the values of Authorization and Proxy-Authorization left out.
#[derive(Clone)]
pub struct Message(Arc<Whole>);

struct Whole {
    bytes: Vec<u8>,
    index: Index,
}

impl Message {
    pub(super) fn from_parts(bytes: Vec<u8>, index: Index) -> Message {
        Message(Arc::new(Whole { bytes, index }))
    }

    /// Takes and indexes the bytes of one message.
    ///
    /// # Errors
    /// [`ParseError`] when they are none.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Message, ParseError> {
        let bytes = bytes.into();
        let mut index = Index::for_one();
        index.parse(&bytes)?;
        Ok(Message(Arc::new(Whole { bytes, index })))
    }

    /// As [`Message::parse`], in the buffers of `spare`, if there is one that nobody shares: for who drops most of what he
    /// takes.
    ///
    /// # Errors
    /// [`ParseError`] when the bytes are no message.
    pub fn parse_in(spare: &mut Option<Message>, bytes: &[u8]) -> Result<Message, ParseError> {
        let Some(mut message) = spare.take() else { return Message::parse(bytes) };
        let Some(whole) = Arc::get_mut(&mut message.0) else { return Message::parse(bytes) };
        whole.bytes.clear();
        whole.bytes.extend_from_slice(bytes);
        match whole.index.parse(&whole.bytes) {
            Ok(()) => Ok(message),
            Err(error) => {
                *spare = Some(message);
                Err(error)
            }
        }
    }

    /// Whether its buffers may serve for another message that is kept, without much room in vain.
    pub(crate) fn is_small(&self) -> bool {
        self.0.bytes.capacity() <= 2048
    }

    /// The borrowed view, which has all the accessors.
    #[inline]
    pub fn msg(&self) -> Msg<'_> {
        Msg::new(&self.0.bytes, &self.0.index)
    }

    /// The bytes, what follows the message included.
    pub fn into_bytes(self) -> Vec<u8> {
        match Arc::try_unwrap(self.0) {
            Ok(whole) => whole.bytes,
            Err(shared) => shared.bytes.clone(),
        }
    }
}

impl<'a> From<&'a Message> for Msg<'a> {
    fn from(message: &'a Message) -> Msg<'a> {
        message.msg()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.msg(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &[u8] =
        b"OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nCall-ID: 1\r\n\r\nbody";
    const SECOND: &[u8] = b"BYE sip:x SIP/2.0\r\nCall-ID: 2\r\n\r\n";

    #[test]
    fn nothing_of_a_message_is_left_in_the_next_one_in_its_buffers() {
        let mut spare = Some(Message::parse(FIRST).unwrap());
        let second = Message::parse_in(&mut spare, SECOND).unwrap();
        assert_eq!((second.msg().bytes(), second.msg().top_via()), (SECOND, None));
        assert_eq!((second.msg().call_id(), second.msg().body()), (Some(&b"2"[..]), &b""[..]));

        spare = Some(second.clone());
        let other = Message::parse_in(&mut spare, FIRST).unwrap();
        assert_eq!(
            (second.msg().bytes(), other.msg().bytes()),
            (SECOND, FIRST),
            "shared ones stay as they are"
        );

        spare = Some(other);
        assert!(Message::parse_in(&mut spare, b"nonsense").is_err() && spare.is_some());
        assert_eq!(Message::parse_in(&mut spare, FIRST).unwrap().msg().bytes(), FIRST);
    }
}
