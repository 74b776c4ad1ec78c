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
