//! One message: its index, its borrowed view, its owned form, and the edits that forward it.

mod addr;
mod edit;
mod index;
mod msg;
mod owned;
mod params;
mod start;
mod via;

pub use addr::{Contact, NameAddr};
pub use edit::Edit;
pub use index::{Index, MAX_BODY, MAX_HEAD, MAX_HEADERS, ParseError};
pub use msg::{CSeq, Header, Msg};
pub use owned::Message;
pub use params::{Param, Params, Values};
pub use start::Start;
pub use via::{Via, parse_ip};

pub(crate) use index::Entry;
