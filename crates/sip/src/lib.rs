//! SIP without I/O: messages, framing, validation, digest, transactions (RFC 3261 and what grew around it).
//!
//! # One buffer, one index
//! A message stays in the buffer it arrived in. [`Index`] notes in one pass where its header lines lie, and
//! judges nothing: unknown methods, schemes and headers, compact names, folds, Latin-1, binary bodies are all
//! just bytes. [`Msg`] lends both and makes typed views ([`Via`], [`NameAddr`], [`CSeq`], [`Uri`]) when they
//! are asked for. [`validate`] says, apart from that, what a server has to refuse and with which status.
//! [`Edit`] forwards: a list of cuts and inserts applied in one pass, so that what nobody touched leaves
//! exactly as it came. Index, edit and output buffer are used again; a hop allocates nothing.
//!
//! ```
//! use causeway_sip::{Edit, HeaderId, Index, Method, Msg, validate};
//!
//! let datagram = b"INVITE sip:bob@example.com SIP/2.0\r\n\
//!     v: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds\r\n\
//!     Max-Forwards: 70\r\n\
//!     f: \"Alice\" <sip:alice@example.com>;tag=1928301774\r\n\
//!     t: <sip:bob@example.com>\r\n\
//!     i: a84b4c76e66710\r\n\
//!     CSeq: 314159 INVITE\r\n\
//!     X-Fold: kept\r\n \tas it is\r\n\
//!     l: 0\r\n\r\n";
//!
//! let mut index = Index::new();
//! index.parse(datagram).unwrap();
//! let msg = Msg::new(datagram, &index);
//! validate::verdict(msg).unwrap();
//! assert_eq!(msg.method(), Method::Invite);
//! assert_eq!(msg.from_tag(), Some(&b"1928301774"[..]));
//! assert_eq!(msg.cseq().unwrap().number, 314159);
//!
//! let (mut edit, mut out) = (Edit::new(), Vec::new());
//! edit.push_via(msg, &[b"SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKnew"]);
//! edit.set_max_forwards(msg, msg.max_forwards().unwrap() - 1);
//! edit.apply(msg, &mut out);
//! assert!(out.windows(26).any(|part| part == b"X-Fold: kept\r\n \tas it is\r\n"));
//! ```
//!
//! On streams, [`Framer`] cuts the messages out. [`RequestBuilder`] and [`response_to`] make new ones,
//! [`digest`] proves who asks, [`check`] explains to a person what is wrong with a message.
//!
//! # Bounds
//! A head of 64 KiB, 512 header lines, a body of 1 MiB. Nothing that arrives from outside panics.

mod build;
mod bytes;
mod check;
pub mod date;
pub mod digest;
pub mod framer;
#[doc(hidden)]
pub mod fuzzing;
mod headers;
pub mod hep;
pub mod hub;
pub mod locate;
pub mod message;
mod method;
pub mod proxy;
mod status;
pub mod transaction;
pub mod ua;
mod uri;
pub mod validate;

pub use build::{RequestBuilder, ResponseBuilder, ack_for, cancel_for, response_to};
pub use bytes::{addr_text, hex16, write_hex};
pub use check::{Fault, check, check_as};
pub use framer::{FrameError, FrameErrorKind, Framed, Framer};
pub use headers::HeaderId;
pub use message::{
    CSeq, Contact, Edit, Header, Index, MAX_BODY, MAX_HEAD, MAX_HEADERS, Message, Msg, NameAddr, Param,
    Params, ParseError, Start, Values, Via, parse_ip,
};
pub use method::Method;
pub use status::reason_phrase;
pub use uri::{Scheme, Uri, UriParams, escape_user};
