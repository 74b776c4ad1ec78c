//! RTP and RTCP packets, fax over UDP, G.711, reception statistics, a playout buffer, and the E-model.
//!
//! ```
//! use causeway_rtp::{Header, Packet, emodel, g711};
//!
//! let mut packet = Vec::new();
//! let header = Header { payload_type: 0, marker: true, sequence: 7, timestamp: 160, ssrc: 0x1234 };
//! header.write(&mut packet);
//! packet.extend(g711::encode_ulaw(&[0i16; 160]));
//! let read = Packet::parse(&packet).unwrap();
//! assert_eq!((read.header, read.payload.len()), (header, 160));
//!
//! // What a listener thinks of it: 60 ms from mouth to ear, one packet in a hundred lost.
//! let line = emodel::Line { delay_ms: 60.0, loss: 0.01, ..emodel::Line::default() };
//! assert!(line.mos() > 4.2);
//! ```
//!
//! Nothing here does I/O or reads a clock.

pub mod emodel;
#[doc(hidden)]
pub mod fuzzing;
pub mod g711;
mod packet;
mod playout;
mod reception;
pub mod rtcp;
mod trip;
mod udptl;

pub use packet::{Header, Malformed, Packet};
pub use playout::{Playout, Slot};
pub use reception::Reception;
pub use trip::Trip;
pub use udptl::Udptl;
