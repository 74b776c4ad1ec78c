//! The pass over one message that applies the rules.

use super::grammar::{self, Stumble};
use super::rules::{Rule, Severity};
use super::{Found, Role};
use crate::bytes::{TOKEN, URIISH, all, head, number, same, span, tail};
use crate::headers::HeaderId;
use crate::message::{Entry, Msg, Start};
use crate::method::Method;
use std::net::{IpAddr, Ipv4Addr};

/// The pass; `report` says whether to go on. With `WARN` false, whatever could only warn is left out.
pub(super) struct Pass<'a, 'r, const WARN: bool, R> {
    pub(super) msg: Msg<'a>,
    role: Role,
    /// The Request-URI, if its scheme is neither SIP nor telephone.
    foreign: Option<&'a [u8]>,
    report: &'r mut R,
}

/// Ends the pass when `?` meets it.
pub(super) struct Stop;
pub(super) type Go = Result<(), Stop>;

impl<'a, 'r, const WARN: bool, R: FnMut(Found) -> bool> Pass<'a, 'r, WARN, R> {
    pub(super) fn run(msg: Msg<'a>, role: Role, report: &'r mut R) {
        // Stopping early is what the caller of `verdict` wants.
        let _ = Pass::<WARN, R> { msg, role, foreign: None, report }.all();
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
    pub(super) fn fault(&mut self, rule: Rule, at: &[u8]) -> Go {
        if !WARN && rule.severity() == Severity::Warning {
            return Ok(());
        }
        let at = (at.as_ptr() as usize).wrapping_sub(self.msg.buffer().as_ptr() as usize);
        if (self.report)(Found { rule, at: at.min(self.msg.buffer().len()) }) { Ok(()) } else { Err(Stop) }
    }

    pub(super) fn check(&mut self, rule: Rule, outcome: Result<(), Stumble<'_>>) -> Go {
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

    fn request_uri(&mut self, text: &'a [u8]) -> Go {
        let clean = span(text, URIISH);
        if clean < text.len() {
            return self.fault(Rule::RequestUri, tail(text, clean));
        }
        let uri = match grammar::uri(text) {
            Ok(uri) => uri,
            Err(at) => return self.fault(Rule::RequestUri, at),
        };
        if uri.foreign {
            self.foreign = Some(text);
        }
        if let Some(question) = memchr::memchr(b'?', uri.rest) {
            self.fault(Rule::RequestUriHeaders, tail(uri.rest, question))?;
        }
        self.tidy(text)
    }

    #[inline]
    pub(super) fn tidy(&mut self, uri: &[u8]) -> Go {
        if WARN && let Some((rule, at)) = grammar::untidy_uri(uri) {
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
        let returns = memchr::memchr_iter(b'\r', tail(text, from)).count();
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
            && let Some(uri) = self.foreign
        {
            self.fault(Rule::RequestUriScheme, uri)?;
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
