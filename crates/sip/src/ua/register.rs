//! Registration (RFC 3261 §10.2): kept up until it is ended.

use super::agent::{Event, Purpose, UserAgent};
use crate::{Message, Method, RequestBuilder};
use causeway_node::{Ctx, Outbox, Time};
use std::time::Duration;

/// The state of a registration.
#[derive(Debug, Default)]
pub(super) struct Registration {
    call_id: Vec<u8>,
    tag: Vec<u8>,
    cseq: u32,
    /// The binding shall exist.
    wanted: bool,
    under_way: bool,
    challenged: bool,
    due: Option<Time>,
    failures: u32,
    /// By how many seconds the registrar's clock is ahead of ours, as its last Date said.
    pub(super) ahead: Option<i64>,
}

impl Registration {
    /// When the next REGISTER is due.
    pub(super) fn due(&self) -> Option<Time> {
        self.due.filter(|_| !self.under_way)
    }
}

impl UserAgent {
    /// Registers, and keeps the registration alive.
    pub fn register(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        self.registration.wanted = true;
        self.send_register(ctx, None, out);
    }

    /// Ends the registration.
    pub fn unregister(&mut self, ctx: &mut Ctx<'_>, out: &mut Outbox) {
        self.registration.wanted = false;
        self.send_register(ctx, None, out);
    }

    pub(super) fn send_register(
        &mut self,
        ctx: &mut Ctx<'_>,
        authorization: Option<(&'static str, Vec<u8>)>,
        out: &mut Outbox,
    ) {
        let registration = &mut self.registration;
        if registration.call_id.is_empty() {
            registration.call_id = Self::random_token(ctx);
        }
        // A tag of its own for each run of the transaction, so that a restarted registrar sees a new one.
        registration.tag = Self::random_token(ctx);
        registration.cseq += 1;
        registration.due = None;
        registration.under_way = true;
        registration.challenged = authorization.is_some();
        let expires = if registration.wanted { self.config.expires.as_secs() } else { 0 };
        let aor = &self.config.aor;
        let mut request = RequestBuilder::new(Method::Register, &self.registrar())
            .max_forwards(70)
            .header("From", [format!("<{aor}>;tag=").as_bytes(), &self.registration.tag].concat())
            .header("To", format!("<{aor}>"))
            .header("Call-ID", &self.registration.call_id)
            .cseq(self.registration.cseq, Method::Register)
            .header("Contact", self.contact())
            .header("Expires", expires.to_string());
        if let Some((name, value)) = authorization {
            request = request.header(name, value);
        }
        self.send(ctx, request, Purpose::Register, out);
    }

    /// The Request-URI of a REGISTER: the domain alone (§10.2).
    fn registrar(&self) -> Vec<u8> {
        let host = crate::Uri::parse(self.config.aor.as_bytes()).map(|uri| uri.host.to_vec());
        [b"sip:", host.unwrap_or_default().as_slice()].concat()
    }

    pub(super) fn on_register_response(&mut self, ctx: &mut Ctx<'_>, response: &Message, out: &mut Outbox) {
        let msg = response.msg();
        // An answer to an earlier REGISTER of ours says nothing about the present one.
        if msg.cseq().map(|cseq| cseq.number) != Some(self.registration.cseq) {
            return;
        }
        match msg.status().unwrap_or(0) {
            ..200 => {}
            200..300 => self.registered(ctx, response),
            401 | 407 if !self.registration.challenged => {
                let uri = self.registrar();
                match self.authorization(ctx, msg, Method::Register, &uri) {
                    Some(answer) => self.send_register(ctx, Some(answer), out),
                    None => self.registration_failed(ctx, 401),
                }
            }
            423 => match msg.number(crate::HeaderId::MinExpires) {
                Some(min) if u64::from(min) > self.config.expires.as_secs() => {
                    self.config.expires = Duration::from_secs(min.into());
                    self.send_register(ctx, None, out);
                }
                _ => self.registration_failed(ctx, 423),
            },
            status => self.registration_failed(ctx, status),
        }
    }

    fn registered(&mut self, ctx: &Ctx<'_>, response: &Message) {
        self.registration.under_way = false;
        self.registration.failures = 0;
        if !self.registration.wanted {
            return self.events.push_back(Event::Unregistered);
        }
        let msg = response.msg();
        self.registration.ahead = msg.header_named(b"Date").next().and_then(crate::date::parse).map(|date| {
            let (date, now) = (date / 1000, ctx.unix_ms / 1000);
            i64::try_from(date).unwrap_or(i64::MAX) - i64::try_from(now).unwrap_or(i64::MAX)
        });
        let contact = self.contact();
        let own = msg.contacts().flatten().find_map(|contact_of| match contact_of {
            crate::Contact::Addr(addr) if contact.as_bytes()[1..contact.len() - 1] == *addr.uri => {
                addr.expires()
            }
            _ => None,
        });
        let granted = own.or(msg.expires()).unwrap_or(self.config.expires.as_secs() as u32).max(1);
        // Early enough for a refresh that is lost and repeated.
        let refresh = Duration::from_secs(granted.into()).mul_f64(0.5);
        self.registration.due = Some(ctx.now + refresh);
        self.events.push_back(Event::Registered(granted));
    }

    pub(super) fn registration_failed(&mut self, ctx: &Ctx<'_>, status: u16) {
        let registration = &mut self.registration;
        registration.under_way = false;
        if registration.wanted {
            registration.failures += 1;
            let wait = Duration::from_secs(2 << registration.failures.min(5));
            registration.due = Some(ctx.now + wait);
        }
        self.events.push_back(Event::RegistrationFailed(status));
    }
}
