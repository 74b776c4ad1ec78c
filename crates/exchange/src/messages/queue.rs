//! What waits for one user.

use super::{Target, goes_along, text};
use causeway_node::{Ctx, Record};
use causeway_sip::{HeaderId, Method, Msg, NameAddr, RequestBuilder};
use causeway_store::record::{Kind, StoredMessage};
use std::collections::VecDeque;

/// One kept message.
pub(super) struct Kept {
    /// Its number: messages are delivered in the order of their numbers.
    pub(super) number: u64,
    /// When it is not worth delivering any more, milliseconds since 1970.
    pub(super) expires: u64,
    /// Bytes of header fields and body.
    pub(super) size: usize,
    received: u64,
    from: Vec<u8>,
    to: Vec<u8>,
    content_type: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    refusals: u32,
}

impl Kept {
    /// What is kept of a request that came at `received`.
    pub(super) fn of(request: Msg<'_>, number: u64, received: u64, expires: u64) -> Self {
        let along = request.headers().filter(|header| goes_along(header.id));
        let mut headers: Vec<(Vec<u8>, Vec<u8>)> =
            along.map(|header| (header.name.to_vec(), header.value.to_vec())).collect();
        if !request.has(HeaderId::Date) {
            headers.push((b"Date".to_vec(), causeway_sip::date::rfc1123(received).into_bytes()));
        }
        let value = |id| request.header(id).unwrap_or_default().to_vec();
        let kept = Self {
            number,
            expires,
            size: 0,
            received,
            from: value(HeaderId::From),
            to: without_params(&value(HeaderId::To)),
            content_type: value(HeaderId::ContentType),
            headers,
            body: request.body().to_vec(),
            refusals: 0,
        };
        kept.measured()
    }

    fn measured(mut self) -> Self {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        self.size = headers + self.from.len() + self.to.len() + self.content_type.len() + self.body.len();
        self
    }

    /// Reads what was stored.
    pub(super) fn read(number: u64, value: &[u8]) -> Option<Self> {
        let stored = StoredMessage::read(value).ok()?;
        let header = |(name, value): &(String, String)| Some((text::bytes(name)?, text::bytes(value)?));
        let kept = Self {
            number,
            expires: stored.expires,
            size: 0,
            received: stored.received,
            from: text::bytes(&stored.from)?,
            to: text::bytes(&stored.to)?,
            content_type: text::bytes(&stored.content_type)?,
            headers: stored.headers.iter().map(header).collect::<Option<_>>()?,
            body: text::bytes(&stored.body)?,
            refusals: 0,
        };
        Some(kept.measured())
    }

    /// The record that keeps it.
    pub(super) fn record(&self, aor: &[u8]) -> Record {
        let header = |(name, value): &(Vec<u8>, Vec<u8>)| (text::kept(name), text::kept(value));
        let value = StoredMessage {
            received: self.received,
            expires: self.expires,
            from: text::kept(&self.from),
            to: text::kept(&self.to),
            content_type: text::kept(&self.content_type),
            headers: self.headers.iter().map(header).collect(),
            body: text::kept(&self.body),
        };
        value.record(key(aor, self.number))
    }

    /// The request that delivers it; a new transaction each time, of a new Call-ID.
    pub(super) fn request(&self, ctx: &mut Ctx<'_>, target: &Target) -> Vec<u8> {
        let call_id: String = ctx.random::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut from = self.from.clone();
        if NameAddr::parse(&from).is_some_and(|addr| addr.tag().is_none()) {
            from.extend_from_slice(b";tag=");
            from.extend_from_slice(call_id.get(..16).unwrap_or_default().as_bytes());
        }
        let request = RequestBuilder::new(Method::Message, &target.uri)
            .max_forwards(70)
            .headers("Route", &target.routes)
            .header("From", from)
            .header("To", &self.to)
            .header("Call-ID", call_id)
            .cseq(1, Method::Message);
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        match self.content_type.is_empty() {
            true if self.body.is_empty() => request.finish(),
            true => request.body("text/plain", self.body.as_slice()).finish(),
            false => request.body(self.content_type.as_slice(), self.body.as_slice()).finish(),
        }
    }
}

/// To without its parameters: the request is one outside any dialog.
fn without_params(value: &[u8]) -> Vec<u8> {
    let Some(addr) = NameAddr::parse(value) else { return value.to_vec() };
    let params = addr.params.as_bytes().len();
    value.get(..value.len().saturating_sub(params)).unwrap_or_default().trim_ascii_end().to_vec()
}

/// The messages for one user, the oldest first.
#[derive(Default)]
pub(super) struct Queue {
    kept: VecDeque<Kept>,
    /// Bytes of all.
    pub(super) bytes: usize,
    /// Where the user was last.
    pub(super) target: Option<Target>,
    /// Token and number of the message that is on its way.
    pub(super) under_way: Option<(u64, u64)>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Kept> {
        self.kept.iter()
    }

    pub(super) fn push(&mut self, kept: Kept) {
        self.bytes += kept.size;
        self.kept.push_back(kept);
    }

    /// Puts messages that were read in any order into theirs.
    pub(super) fn sort(&mut self) {
        self.kept.make_contiguous().sort_by_key(|kept| kept.number);
    }

    pub(super) fn get(&self, number: u64) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.number == number)
    }

    pub(super) fn first_from(&self, number: u64) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.number >= number)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Kept> {
        let at = self.kept.iter().position(|kept| kept.number == number)?;
        let kept = self.kept.remove(at)?;
        self.bytes -= kept.size;
        Some(kept)
    }

    /// Notes that a phone has refused a message, and says how often that was.
    pub(super) fn refused(&mut self, number: u64) -> u32 {
        let Some(kept) = self.kept.iter_mut().find(|kept| kept.number == number) else { return 0 };
        kept.refusals += 1;
        kept.refusals
    }
}

/// The key of a record.
pub(super) fn key(aor: &[u8], number: u64) -> Vec<u8> {
    [aor, &[0], &number.to_be_bytes()[..]].concat()
}

/// Address of record and number of a key.
pub(super) fn read_key(key: &[u8]) -> Option<(&[u8], u64)> {
    let (rest, number) = key.split_last_chunk::<8>()?;
    let (&0, aor) = rest.split_last()? else { return None };
    Some((aor, u64::from_be_bytes(*number)))
}
