//! SDP without I/O: a line index, splices for middleboxes, and offer and answer for telephones (RFC 8866,
//! RFC 3264).
//!
//! A description stays in the buffer it arrived in. [`Index`] notes where its lines lie and judges nothing;
//! [`Sdp`] and [`Media`] are views that are read when asked; [`Edit`] replaces addresses and ports by cuts
//! and inserts, so that what nobody touched leaves exactly as it came. [`check`] says what is wrong with a
//! description. [`find_sdp`] finds it in a multipart body. [`Local::offer`], [`Local::answer`] and
//! [`Local::agree`] are the telephone's side.
//!
//! ```
//! use causeway_sdp::{Description, Rtcp};
//! let offer = Description::parse(*b"v=0\r\no=- 1 1 IN IP4 192.0.2.5\r\ns=-\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\n\
//!     m=audio 49170 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n\
//!     m=video 0 RTP/AVP 31\r\n").unwrap();
//! let media: Vec<_> = offer.sdp().media().map(Option::unwrap).collect();
//! assert_eq!(media[0].target(), "192.0.2.5:49170".parse().ok());
//! assert_eq!(media[0].rtcp(), Rtcp::Next);
//! assert_eq!(media[0].encoding(0).unwrap().encoding, b"PCMU");
//! assert!(media[1].rejected());
//! ```
//!
//! # Bounds
//! 64 KiB, 2048 lines, 64 media sections; multipart bodies four levels deep. Nothing from outside panics.

mod attributes;
mod edit;
mod faults;
mod index;
mod media;
mod mime;
mod negotiate;
mod view;

#[doc(hidden)]
pub mod fuzzing;

pub use attributes::{Attribute, Direction, Rtcp, Rtpmap};
pub use edit::Edit;
pub use faults::{Fault, check};
pub use index::{Index, MAX_LEN, MAX_LINES, MAX_MEDIA, ParseError};
pub use media::Media;
pub use mime::find_sdp;
pub use negotiate::{Agreed, Codec, Local, NegotiationError};
pub use view::{Connection, Description, Origin, Sdp, Section};
