//! Requests.

use super::{finish, header};
use crate::bytes::push_number;
use crate::headers::HeaderId;
use crate::message::{Msg, Values};
use crate::method::Method;

/// Builds a request line by line. Header lines stand in the order of the calls; Content-Type and
/// Content-Length come last by themselves.
///
/// ```
/// use causeway_sip::{Method, RequestBuilder};
/// let request = RequestBuilder::new(Method::Options, b"sip:example.com")
///     .header("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK776asdhds;rport")
///     .max_forwards(70)
///     .header("From", "<sip:alice@example.com>;tag=1928301774")
///     .header("To", "<sip:example.com>")
///     .header("Call-ID", "a84b4c76e66710")
///     .cseq(1, Method::Options)
///     .finish();
/// assert!(request.ends_with(b"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"));
/// ```
#[derive(Clone, Debug)]
pub struct RequestBuilder {
    out: Vec<u8>,
    body: Option<(Vec<u8>, Vec<u8>)>,
}

impl RequestBuilder {
    /// A request line.
    pub fn new(method: Method<'_>, uri: &[u8]) -> RequestBuilder {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(uri);
        out.extend_from_slice(b" SIP/2.0\r\n");
        RequestBuilder { out, body: None }
    }

    /// Adds a header line. Line ends in the value become blanks.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> RequestBuilder {
        header(&mut self.out, name.as_ref(), value.as_ref());
        self
    }

    /// Adds one line for each value.
    pub fn headers<V: AsRef<[u8]>>(self, name: &str, values: impl IntoIterator<Item = V>) -> RequestBuilder {
        values.into_iter().fold(self, |builder, value| builder.header(name, value))
    }

    /// Adds CSeq.
    pub fn cseq(mut self, number: u32, method: Method<'_>) -> RequestBuilder {
        self.out.extend_from_slice(b"CSeq: ");
        push_number(&mut self.out, number.into());
        self.out.push(b' ');
        self.out.extend_from_slice(method.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds Max-Forwards.
    pub fn max_forwards(mut self, hops: u8) -> RequestBuilder {
        self.out.extend_from_slice(b"Max-Forwards: ");
        push_number(&mut self.out, hops.into());
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Sets the body and its Content-Type.
    pub fn body(mut self, kind: impl Into<Vec<u8>>, body: impl Into<Vec<u8>>) -> RequestBuilder {
        self.body = Some((kind.into(), body.into()));
        self
    }

    /// The whole message.
    pub fn finish(self) -> Vec<u8> {
        finish(self.out, &self.body, 1)
    }
}

/// What ACK and CANCEL take from the request they belong to: the Request-URI and the top Via.
fn of_invite(method: Method<'_>, invite: Msg<'_>) -> Option<RequestBuilder> {
    let via = Values::new(invite.header(HeaderId::Via)?).next()?;
    Some(RequestBuilder::new(method, invite.request_uri()).header("Via", via).max_forwards(70))
}

/// The ACK for a response of 300 to 699 (RFC 3261 §17.1.1.3): Request-URI, top Via, From, Call-ID, CSeq
/// number and Route of the INVITE as it was sent, To of the response. `None` when one of them is missing.
pub fn ack_for(invite: Msg<'_>, response: Msg<'_>) -> Option<Vec<u8>> {
    let builder = of_invite(Method::Ack, invite)?
        .headers("Route", invite.all(HeaderId::Route))
        .header("From", invite.header(HeaderId::From)?)
        .header("To", response.header(HeaderId::To)?)
        .header("Call-ID", invite.header(HeaderId::CallId)?)
        .cseq(invite.cseq()?.number, Method::Ack);
    Some(builder.finish())
}

/// The CANCEL of a request that was sent (RFC 3261 §9.1): Request-URI, top Via, From, To, Call-ID, CSeq
/// number and Route of it. `None` when one of them is missing.
pub fn cancel_for(request: Msg<'_>) -> Option<Vec<u8>> {
    let builder = of_invite(Method::Cancel, request)?
        .headers("Route", request.all(HeaderId::Route))
        .header("From", request.header(HeaderId::From)?)
        .header("To", request.header(HeaderId::To)?)
        .header("Call-ID", request.header(HeaderId::CallId)?)
        .cseq(request.cseq()?.number, Method::Cancel);
    Some(builder.finish())
}
