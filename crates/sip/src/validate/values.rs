//! The rules about single header values.

use super::Found;
use super::grammar;
use super::inspect::{Go, Pass};
use super::rules::Rule;
use crate::bytes::{DIGIT, LWS, TOKEN, VALUE, WORD, all, head, is, number, span, tail};
use crate::headers::HeaderId;
use crate::message::{CSeq, NameAddr, Values, Via};

impl<'a, const WARN: bool, R: FnMut(Found) -> bool> Pass<'a, '_, WARN, R> {
    #[inline]
    pub(super) fn value(&mut self, id: HeaderId, value: &'a [u8]) -> Go {
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
            HeaderId::RetryAfter if number::<u32>(head(value, span(value, DIGIT))).is_none() => {
                self.fault(Rule::Seconds, value)
            }
            HeaderId::ContentType if !grammar::media_type(value) => self.fault(Rule::ContentType, value),
            HeaderId::Warning => {
                for warning in Values::new(value) {
                    if span(warning, DIGIT) != 3 {
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
                self.tidy(address.uri)
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
                self.tidy(address.uri)
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
                self.tidy(address.uri)?;
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
}

fn cseq_method(value: &[u8]) -> &[u8] {
    let digits = span(value, DIGIT);
    let rest = tail(value, digits);
    let blanks = rest.iter().position(|&b| !is(b, LWS)).unwrap_or(rest.len());
    tail(rest, head(rest, blanks).len().min(span(rest, LWS | VALUE)))
}
