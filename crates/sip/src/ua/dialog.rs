//! Dialogs (RFC 3261 §12): what two user agents remember of one another, and the requests inside.

use crate::{HeaderId, Method, Msg, RequestBuilder, Uri};

/// One dialog, from this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: Vec<u8>,
    /// Local URI with display name, as in From or To, without tag.
    pub local: Vec<u8>,
    /// Tag of this side.
    pub local_tag: Vec<u8>,
    /// Remote URI with display name, without tag.
    pub remote: Vec<u8>,
    /// Tag of the other side.
    pub remote_tag: Vec<u8>,
    /// Where requests go: the other side's Contact.
    pub target: Vec<u8>,
    /// Route values, first hop first.
    pub routes: Vec<Vec<u8>>,
    /// CSeq of the last request sent.
    pub local_cseq: u32,
    /// CSeq of the last request heard; requests with a lower one are out of order (§12.2.2).
    pub remote_cseq: Option<u32>,
}

impl Dialog {
    /// The caller's view, from its request and a response with a To tag (§12.1.2).
    pub fn of_caller(request: Msg<'_>, response: Msg<'_>) -> Option<Self> {
        let mut routes: Vec<Vec<u8>> = response.values(HeaderId::RecordRoute).map(<[u8]>::to_vec).collect();
        routes.reverse();
        Some(Self {
            call_id: request.call_id()?.to_vec(),
            local: without_tag(request.header(HeaderId::From)?),
            local_tag: request.from_tag()?.to_vec(),
            remote: without_tag(response.header(HeaderId::To)?),
            remote_tag: response.to_tag().unwrap_or_default().to_vec(),
            target: response.contact().map_or(request.request_uri(), |contact| contact.uri).to_vec(),
            routes,
            local_cseq: request.cseq()?.number,
            remote_cseq: None,
        })
    }

    /// The callee's view, from the request and the tag that it answers with (§12.1.1).
    pub fn of_callee(request: Msg<'_>, local_tag: &[u8]) -> Option<Self> {
        Some(Self {
            call_id: request.call_id()?.to_vec(),
            local: without_tag(request.header(HeaderId::To)?),
            local_tag: local_tag.to_vec(),
            remote: without_tag(request.header(HeaderId::From)?),
            remote_tag: request.from_tag().unwrap_or_default().to_vec(),
            target: request.contact()?.uri.to_vec(),
            routes: request.values(HeaderId::RecordRoute).map(<[u8]>::to_vec).collect(),
            local_cseq: 0,
            remote_cseq: Some(request.cseq()?.number),
        })
    }

    /// Whether a request belongs to this dialog: its To is this side.
    pub fn matches(&self, request: Msg<'_>) -> bool {
        request.call_id() == Some(&self.call_id)
            && request.to_tag() == Some(&self.local_tag)
            && request.from_tag().unwrap_or_default() == self.remote_tag
    }

    /// A target refresh (§12.2): a re-INVITE or its 2xx brings a new Contact.
    pub fn refresh(&mut self, msg: Msg<'_>) {
        if let Some(contact) = msg.contact() {
            self.target = contact.uri.to_vec();
        }
    }

    /// The next request of this side; the caller of this function adds Via, and ACK repeats the CSeq of its
    /// INVITE (§12.2.1.1).
    pub fn request(&mut self, method: Method<'_>) -> RequestBuilder {
        if method != Method::Ack {
            self.local_cseq += 1;
        }
        self.request_with(method, self.local_cseq)
    }

    /// A request with a given CSeq.
    pub fn request_with(&self, method: Method<'_>, cseq: u32) -> RequestBuilder {
        let (uri, routes) = self.route();
        RequestBuilder::new(method, uri)
            .max_forwards(70)
            .headers("Route", routes)
            .header("From", tagged(&self.local, &self.local_tag))
            .header("To", tagged(&self.remote, &self.remote_tag))
            .header("Call-ID", &self.call_id)
            .cseq(cseq, method)
    }

    /// Request-URI and Route: a first hop that is a strict router takes the Request-URI, and the target goes
    /// to the end (§12.2.1.1).
    fn route(&self) -> (&[u8], Vec<Vec<u8>>) {
        let first = self.routes.first().and_then(|route| crate::NameAddr::parse(route));
        let loose = first.as_ref().and_then(|addr| addr.uri()).is_none_or(|uri| uri.is_loose());
        match first {
            Some(first) if !loose => {
                let mut routes = self.routes[1..].to_vec();
                routes.push([b"<", self.target.as_slice(), b">"].concat());
                (first.uri, routes)
            }
            _ => (&self.target, self.routes.clone()),
        }
    }

    /// The URI of the next hop: the first route, or the target.
    pub fn next_hop(&self) -> &[u8] {
        let first = self.routes.first().and_then(|route| crate::NameAddr::parse(route));
        first.map_or(&self.target, |addr| addr.uri)
    }

    /// The other side's URI, for showing it.
    pub fn remote_uri(&self) -> Option<Uri<'_>> {
        crate::NameAddr::parse(&self.remote)?.uri()
    }
}

fn tagged(addr: &[u8], tag: &[u8]) -> Vec<u8> {
    if tag.is_empty() { addr.to_vec() } else { [addr, b";tag=", tag].concat() }
}

/// A From or To value without its header parameters.
fn without_tag(value: &[u8]) -> Vec<u8> {
    let Some(addr) = crate::NameAddr::parse(value) else { return value.to_vec() };
    let params = addr.params.as_bytes().len();
    let end = value.trim_ascii_end().len().saturating_sub(params);
    value[..end].trim_ascii_end().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    const INVITE: &str = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
        From: \"A\" <sip:alice@example.com>;tag=at\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\n\
        CSeq: 7 INVITE\r\nContact: <sip:alice@192.0.2.1>\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\n\r\n";
    const OK: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n\
        From: \"A\" <sip:alice@example.com>;tag=at\r\nTo: <sip:bob@example.com>;tag=bt\r\nCall-ID: c\r\n\
        CSeq: 7 INVITE\r\nContact: <sip:bob@192.0.2.2>\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\n\r\n";

    #[test]
    fn both_views_agree() {
        let (invite, ok) = (Message::parse(INVITE).unwrap(), Message::parse(OK).unwrap());
        let mut caller = Dialog::of_caller(invite.msg(), ok.msg()).unwrap();
        let callee = Dialog::of_callee(invite.msg(), b"bt").unwrap();
        assert_eq!(caller.routes, [b"<sip:p2;lr>".to_vec(), b"<sip:p1;lr>".to_vec()]);
        assert_eq!(callee.routes, [b"<sip:p1;lr>".to_vec(), b"<sip:p2;lr>".to_vec()]);
        let bye = Message::parse(caller.request(Method::Bye).finish()).unwrap();
        assert!(callee.matches(bye.msg()));
        assert_eq!(bye.msg().cseq().unwrap().number, 8);
        assert_eq!(bye.msg().request_uri(), b"sip:bob@192.0.2.2");
        assert_eq!(bye.msg().header(HeaderId::From), Some(&b"\"A\" <sip:alice@example.com>;tag=at"[..]));
        assert_eq!(caller.next_hop(), b"sip:p2;lr");
    }

    #[test]
    fn a_strict_router_takes_the_request_uri() {
        let (invite, ok) =
            (Message::parse(INVITE).unwrap(), Message::parse(OK.replace("p2;lr", "p2")).unwrap());
        let mut caller = Dialog::of_caller(invite.msg(), ok.msg()).unwrap();
        let bye = Message::parse(caller.request(Method::Bye).finish()).unwrap();
        assert_eq!(bye.msg().request_uri(), b"sip:p2");
        let routes: Vec<_> = bye.msg().values(HeaderId::Route).collect();
        assert_eq!(routes, [&b"<sip:p1;lr>"[..], b"<sip:bob@192.0.2.2>"]);
    }
}
