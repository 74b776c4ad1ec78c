//! The pass over one message that applies the rules.

use super::grammar::{self, Stumble};
use super::rules::{Rule, Severity};
use super::{Found, Role};
use crate::bytes::{LWS, TOKEN, URIISH, VALUE, WORD, all, head, is, number, same, span, tail};
use crate::headers::HeaderId;
use crate::message::{CSeq, Entry, Msg, NameAddr, Start, Values, Via};
use crate::method::Method;
use crate::uri::{Scheme, Uri};
use std::net::{IpAddr, Ipv4Addr};

/// The pass; `report` says whether to go on. With `WARN` false, whatever could only warn is left out.
pub(super) struct Pass<'a, 'r, const WARN: bool, R> {
    msg: Msg<'a>,
    role: Role,
    report: &'r mut R,
}

/// Ends the pass when `?` meets it.
pub(super) struct Stop;
type Go = Result<(), Stop>;

impl<'a, 'r, const WARN: bool, R: FnMut(Found) -> bool> Pass<'a, 'r, WARN, R> {
    pub(super) fn run(msg: Msg<'a>, role: Role, report: &'r mut R) {
        // Stopping early is what the caller of `verdict` wants.
        let _ = Pass::<WARN, R> { msg, role, report }.all();
    }

    fn all(&mut self) -> Go {
        self.start_line()?;
        self.line_ends()?;
        self.required()?;
        for (position, entry) in self.msg.index().entries.iter().enumerate() {
            self.header(position, entry)?;
        }
        self.body()?;
        self.policy()
    }

    #[inline]
    fn fault(&mut self, rule: Rule, at: &[u8]) -> Go {
        if !WARN && rule.severity() == Severity::Warning {
            return Ok(());
        }
        let at = (at.as_ptr() as usize).wrapping_sub(self.msg.buffer().as_ptr() as usize);
        if (self.report)(Found { rule, at: at.min(self.msg.buffer().len()) }) { Ok(()) } else { Err(Stop) }
    }

    fn check(&mut self, rule: Rule, outcome: Result<(), Stumble<'_>>) -> Go {
        match outcome {
            Ok(()) => Ok(()),
            Err(at) => self.fault(rule, at),
        }
    }

    fn start_line(&mut self) -> Go {
        let spans = self.msg.index().start;
        let line = spans.line.of(self.msg.buffer());
        match self.msg.start() {
            Start::Request { method, uri, version } => {
                self.version(version)?;
                let length = method.as_bytes().len() + uri.len() + version.len() + 2;
                if line.len() != length || tail(line, line.len() - version.len()) != version {
                    self.fault(Rule::StartBlanks, line)?;
                }
                if !all(method.as_bytes(), TOKEN) {
                    self.fault(Rule::MethodToken, line)?;
                }
                self.request_uri(uri)
            }
            Start::Response { version, status, reason } => {
                self.version(version)?;
                if status == 0 {
                    self.fault(Rule::Status, spans.middle.of(self.msg.buffer()))?;
                }
                if WARN && reason.is_empty() && !line.ends_with(b" ") {
                    self.fault(Rule::StatusLine, tail(line, line.len()))?;
                }
                Ok(())
            }
        }
    }

    #[inline]
    fn version(&mut self, version: &[u8]) -> Go {
        if same(b"SIP/2.0", version) {
            return Ok(());
        }
        let number = tail(version, 4);
        let form = same(b"SIP/", head(version, 4))
            && !number.is_empty()
            && number.iter().all(|b| matches!(b, b'.' | b'0'..=b'9'));
        self.fault(if form { Rule::Version } else { Rule::VersionForm }, version)
    }

    fn request_uri(&mut self, text: &[u8]) -> Go {
        let clean = span(text, URIISH);
        if clean < text.len() {
            return self.fault(Rule::RequestUri, tail(text, clean));
        }
        let uri = match grammar::uri(text) {
            Ok(uri) => uri,
            Err(at) => return self.fault(Rule::RequestUri, at),
        };
        if !uri.headers.is_empty() {
            self.fault(Rule::RequestUriHeaders, uri.headers)?;
        }
        self.tidy(uri)
    }

    #[inline]
    fn tidy(&mut self, uri: Uri<'_>) -> Go {
        if WARN && let Some((rule, at)) = grammar::untidy_uri(uri.raw) {
            self.fault(rule, at)?;
        }
        Ok(())
    }

    fn line_ends(&mut self) -> Go {
        let index = self.msg.index();
        let text = self.msg.head();
        let end = tail(text, index.headers_end as usize);
        if index.bare_lf > 0 {
            let at = memchr::memchr_iter(b'\n', text).find(|&lf| lf == 0 || text.get(lf - 1) != Some(&b'\r'));
            let rule = if index.crlf > 0 { Rule::MixedLineEnds } else { Rule::BareLf };
            self.fault(rule, tail(text, at.unwrap_or_default()))?;
        }
        let from = index.start.line.start as usize;
        // One that ends a line is counted with its LF; counting all is cheaper than looking at each.
        let returns = tail(text, from).iter().filter(|&&b| b == b'\r').count();
        if returns != index.crlf as usize {
            let alone = |&at: &usize| text.get(at + 1) != Some(&b'\n');
            let at = memchr::memchr_iter(b'\r', text).find(|at| *at >= from && alone(at));
            self.fault(Rule::BareCr, tail(text, at.unwrap_or(from)))?;
        }
        if !index.terminated {
            self.fault(Rule::Unterminated, end)?;
        }
        Ok(())
    }

    fn required(&mut self) -> Go {
        const REQUIRED: [(HeaderId, Rule); 5] = [
            (HeaderId::Via, Rule::NoVia),
            (HeaderId::From, Rule::NoFrom),
            (HeaderId::To, Rule::NoTo),
            (HeaderId::CallId, Rule::NoCallId),
            (HeaderId::CSeq, Rule::NoCSeq),
        ];
        let start = self.msg.index().start.line.of(self.msg.buffer());
        for (id, rule) in REQUIRED {
            if !self.msg.has(id) {
                self.fault(rule, start)?;
            }
        }
        if WARN && self.msg.is_request() {
            if !self.msg.has(HeaderId::MaxForwards) {
                self.fault(Rule::NoMaxForwards, start)?;
            }
            let dialog = matches!(self.msg.method(), Method::Invite | Method::Subscribe | Method::Refer);
            if dialog && !self.msg.has(HeaderId::Contact) {
                self.fault(Rule::NoContact, start)?;
            }
        }
        Ok(())
    }

    #[inline]
    fn header(&mut self, position: usize, entry: &Entry) -> Go {
        let header = self.msg.view(entry);
        if entry.id == HeaderId::Other {
            if entry.malformed {
                return self.fault(Rule::HeaderLine, header.line);
            }
            if !all(header.name, TOKEN) {
                self.fault(Rule::HeaderName, header.line)?;
            }
            return Ok(());
        }
        if entry.id.is_single() && self.msg.index().position(entry.id) != Some(position) {
            self.fault(Rule::Repeated, header.line)?;
        }
        self.value(entry.id, header.value)
    }

    #[inline]
    fn value(&mut self, id: HeaderId, value: &'a [u8]) -> Go {
        match id {
            HeaderId::Via => self.via(value),
            HeaderId::From => self.from(value),
            HeaderId::To => self.to(value),
            HeaderId::CSeq => self.cseq(value),
            HeaderId::CallId => self.call_id(value),
            HeaderId::Contact => self.contact(value),
            HeaderId::Route | HeaderId::RecordRoute | HeaderId::Path | HeaderId::ServiceRoute => {
                self.route(value)
            }
            HeaderId::MaxForwards => match number::<u64>(value) {
                None if value.is_empty() || !value.iter().all(u8::is_ascii_digit) => {
                    self.fault(Rule::MaxForwards, value)
                }
                None | Some(256..) => self.fault(Rule::MaxForwardsRange, value),
                Some(_) => Ok(()),
            },
            HeaderId::Date if !grammar::date(value) => self.fault(Rule::Date, value),
            _ if WARN => self.other_value(id, value),
            _ => Ok(()),
        }
    }

    /// Values that nobody is refused for.
    fn other_value(&mut self, id: HeaderId, value: &'a [u8]) -> Go {
        match id {
            HeaderId::Expires | HeaderId::MinExpires if number::<u32>(value).is_none() => {
                self.fault(Rule::Seconds, value)
            }
            HeaderId::RetryAfter
                if number::<u32>(head(value, span(value, crate::bytes::DIGIT))).is_none() =>
            {
                self.fault(Rule::Seconds, value)
            }
            HeaderId::ContentType if !grammar::media_type(value) => self.fault(Rule::ContentType, value),
            HeaderId::Warning => {
                for warning in Values::new(value) {
                    if span(warning, crate::bytes::DIGIT) != 3 {
                        self.fault(Rule::WarningCode, warning)?;
                    }
                }
                Ok(())
            }
            HeaderId::PAssertedIdentity
            | HeaderId::PPreferredIdentity
            | HeaderId::ReferTo
            | HeaderId::ReferredBy
            | HeaderId::ReplyTo
            | HeaderId::PAssociatedUri => {
                for part in Values::new(value) {
                    self.check(Rule::Address, grammar::address(part).map(drop))?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    #[inline]
    fn via(&mut self, value: &'a [u8]) -> Go {
        if value.is_empty() {
            return self.fault(Rule::Via, value);
        }
        for via in Values::new(value) {
            self.check(Rule::Via, grammar::via(via))?;
            if WARN && let Some(parsed) = Via::parse(via) {
                match parsed.branch() {
                    None => self.fault(Rule::NoBranch, via)?,
                    Some(b"z9hG4bK") => self.fault(Rule::BareCookie, via)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn from(&mut self, value: &'a [u8]) -> Go {
        match grammar::address(value) {
            Ok(address) if WARN => {
                if self.msg.from().is_none_or(|from| from.tag().is_none()) {
                    self.fault(Rule::NoFromTag, value)?;
                }
                self.display(value)?;
                self.untidy(address.uri)
            }
            Ok(_) => Ok(()),
            Err(at) => self.fault(Rule::From, at),
        }
    }

    #[inline]
    fn to(&mut self, value: &'a [u8]) -> Go {
        match grammar::address(value) {
            Ok(address) if WARN => {
                self.display(value)?;
                self.untidy(address.uri)
            }
            Ok(_) => Ok(()),
            Err(at) => self.fault(Rule::To, at),
        }
    }

    fn display(&mut self, value: &'a [u8]) -> Go {
        let display = NameAddr::parse(value).map_or(&b""[..], |addr| addr.display);
        if display.starts_with(b"\"") || display.is_ascii() {
            Ok(())
        } else {
            self.fault(Rule::DisplayName, display)
        }
    }

    #[inline]
    fn untidy(&mut self, uri: &[u8]) -> Go {
        match Uri::parse(uri) {
            Some(uri) if WARN => self.tidy(uri),
            _ => Ok(()),
        }
    }

    #[inline]
    fn cseq(&mut self, value: &'a [u8]) -> Go {
        let Some(cseq) = CSeq::parse(value).filter(|cseq| all(cseq.method.as_bytes(), TOKEN)) else {
            return self.fault(Rule::CSeq, value);
        };
        if self.msg.is_request() && cseq.method != self.msg.method() {
            self.fault(Rule::CSeqMethod, cseq_method(value))?;
        }
        if cseq.number >= 1 << 31 {
            self.fault(Rule::CSeqRange, value)?;
        }
        Ok(())
    }

    #[inline]
    fn call_id(&mut self, value: &'a [u8]) -> Go {
        if value.is_empty() || (!all(value, WORD) && grammar::has_blank(value)) {
            return self.fault(Rule::CallId, value);
        }
        Ok(())
    }

    fn contact(&mut self, value: &'a [u8]) -> Go {
        for contact in Values::new(value).filter(|&contact| contact != b"*") {
            let address = match grammar::address(contact) {
                Ok(address) => address,
                Err(at) => {
                    self.fault(Rule::Contact, at)?;
                    continue;
                }
            };
            if !address.bracketed && memchr::memchr2(b'?', b',', address.uri).is_some() {
                self.fault(Rule::ContactNeedsBrackets, address.uri)?;
            }
            if WARN {
                self.untidy(address.uri)?;
                let expires = NameAddr::parse(contact).and_then(|addr| addr.params.value(b"expires"));
                if let Some(seconds) = expires.filter(|seconds| number::<u32>(seconds).is_none()) {
                    self.fault(Rule::Seconds, seconds)?;
                }
            }
        }
        Ok(())
    }

    fn route(&mut self, value: &'a [u8]) -> Go {
        for route in Values::new(value) {
            match grammar::address(route) {
                Ok(address) if WARN && !address.bracketed => self.fault(Rule::RouteNeedsBrackets, route)?,
                Ok(_) => {}
                Err(at) => self.fault(Rule::Route, at)?,
            }
        }
        Ok(())
    }

    fn body(&mut self) -> Go {
        let msg = self.msg;
        let there = msg.buffer().len() - msg.head().len().min(msg.buffer().len());
        if let Some(value) = msg.header(HeaderId::ContentLength) {
            match number::<usize>(value) {
                Some(length) if length > there => self.fault(Rule::BodyShort, value)?,
                Some(length) if length < there => {
                    self.fault(Rule::BodyLong, tail(msg.buffer(), msg.index().end()))?
                }
                Some(_) => {}
                None if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                    self.fault(Rule::BodyShort, value)?
                }
                None => self.fault(Rule::ContentLength, value)?,
            }
        }
        if WARN && !msg.body().is_empty() && !msg.has(HeaderId::ContentType) {
            self.fault(Rule::NoContentType, msg.body())?;
        }
        Ok(())
    }

    /// What depends on who is asked.
    fn policy(&mut self) -> Go {
        let msg = self.msg;
        if !msg.is_request() {
            return self.next_hop();
        }
        if self.role != Role::Relay
            && let Some(uri) = Uri::parse(msg.request_uri())
            && let Scheme::Other(_) = uri.scheme
        {
            self.fault(Rule::RequestUriScheme, uri.raw)?;
        }
        if self.role == Role::Registrar
            && let Some(to) = msg.to()
            && to.uri().is_some_and(|uri| !uri.scheme.is_sip())
        {
            self.fault(Rule::ToScheme, to.uri)?;
        }
        if self.role == Role::Proxy
            && msg.max_forwards() == Some(0)
            && let Some(value) = msg.header(HeaderId::MaxForwards)
        {
            self.fault(Rule::TooManyHops, value)?;
        }
        Ok(())
    }

    /// Where a response would go on to.
    fn next_hop(&mut self) -> Go {
        if WARN
            && let Some(Some(via)) = self.msg.vias().nth(1)
            && via.host_ip() == Some(IpAddr::V4(Ipv4Addr::BROADCAST))
        {
            self.fault(Rule::BroadcastVia, via.raw)?;
        }
        Ok(())
    }
}

fn cseq_method(value: &[u8]) -> &[u8] {
    let digits = span(value, crate::bytes::DIGIT);
    let rest = tail(value, digits);
    let blanks = rest.iter().position(|&b| !is(b, LWS)).unwrap_or(rest.len());
    tail(rest, head(rest, blanks).len().min(span(rest, LWS | VALUE)))
}
