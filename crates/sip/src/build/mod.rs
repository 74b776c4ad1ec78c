//! Messages from nothing, and from the message that they answer.

mod request;
mod response;

pub use request::{RequestBuilder, ack_for, cancel_for};
pub use response::{ResponseBuilder, response_to};

use crate::bytes::push_number;

/// Appends one header line. CR and LF in the value become blanks, so that no value can add a line.
fn header(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        out.extend_from_slice(value);
    } else {
        out.extend(value.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
    }
    out.extend_from_slice(b"\r\n");
}

/// Ends a message: Content-Type if there is a body, Content-Length in any case, the empty line, the body. Of the `step`
/// that its length is to be a multiple of, blanks before the value of Content-Length make up for the rest.
fn finish(mut out: Vec<u8>, body: &Option<(Vec<u8>, Vec<u8>)>, step: usize) -> Vec<u8> {
    let content = match body {
        Some((kind, content)) => {
            header(&mut out, b"Content-Type", kind);
            content.as_slice()
        }
        None => b"",
    };
    out.extend_from_slice(b"Content-Length: ");
    let digits = content.len().checked_ilog10().unwrap_or(0) as usize + 1;
    let length = out.len() + digits + 4 + content.len();
    out.resize(out.len() + length.next_multiple_of(step) - length, b' ');
    push_number(&mut out, content.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(content);
    out
}
