//! The account: registration, clock, keys, and a call that must be heard.

use super::report::{Finding, Report, Verdict};
use crate::account::Account;
use crate::exit::Failure;
use crate::roles;
use causeway_node::Status;
use causeway_phone::{Answering, Config as PhoneConfig, Phone};
use causeway_runtime::tls::Trust;
use causeway_runtime::{Handle, Options, Setup, Worker};
use causeway_sip::ua::{Config as Line, Event, Password};
use causeway_split_proxy::{AgentConfig, ContactAddress, HttpProxy, KeyPolicy};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Addresses inside this process, which no socket of the machine ever sees (TEST-NET-1).
const AGENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const CALLER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const CALLEE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
/// How long the tunnel may take to come up, a registration to be answered, a call to be picked up.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the ends may take to agree on a key.
const AGREEMENT: Duration = Duration::from_secs(3);
/// How long the phones talk.
const TALK: Duration = Duration::from_secs(3);
/// A clock that is off by more than this makes certificates and credentials fail sooner or later.
const SKEW: i64 = 60;

/// Who registers.
pub struct Patient {
    uri: String,
    password: Zeroizing<String>,
}

impl Patient {
    /// Address and password in an account file, if it has both.
    pub fn of(account: &Account) -> Option<Self> {
        let (uri, password) = account.credentials()?;
        Some(Self { uri: uri.to_owned(), password: password.clone() })
    }
}

/// An agent with two phones of one account inside it: one registers, the other calls.
struct Ward {
    handle: Handle,
}

/// Registers, and calls if it is told to; what goes wrong is in the report.
///
/// # Errors
/// If the roots cannot be read, or a thread cannot be started.
pub fn examine(
    patient: &Patient,
    keys: &KeyPolicy,
    contact: &ContactAddress,
    proxy: Option<HttpProxy>,
    trust: &Trust,
    call: Option<&str>,
    report: &mut Report,
) -> Result<(), Failure> {
    let ward = Ward::new(patient, keys, contact, proxy, trust)?;
    if let Some(finding) = ward.register(patient)? {
        report.add(finding);
        return Ok(());
    }
    report.add(Finding::good("account", format!("{} is registered", patient.uri)));
    report.add(ward.clock()?);
    let keys = ward.keys()?;
    let sound = keys.verdict != Verdict::Bad;
    report.add(keys);
    if !sound {
        return Ok(());
    }
    match call {
        None => report.add(Finding::skipped("media", "no call was asked for (--call)")),
        Some(uri) => {
            let uri = if uri.is_empty() { &patient.uri } else { uri };
            report.add(ward.call(uri)?);
        }
    }
    ward.leave()
}

impl Ward {
    fn new(
        patient: &Patient,
        keys: &KeyPolicy,
        contact: &ContactAddress,
        proxy: Option<HttpProxy>,
        trust: &Trust,
    ) -> Result<Self, Failure> {
        let at = |ip: Ipv4Addr| SocketAddr::new(IpAddr::V4(ip), 5060);
        let mut agent = AgentConfig::leading_to(vec![contact.clone()], at(AGENT));
        agent.proxy = proxy;
        // The call shall show that the operator's media ports work.
        agent.local_media = false;
        agent.keys = keys.clone();
        let phone = |ip| {
            let account =
                Line::new(patient.uri.clone(), Password::new(&*patient.password), at(ip), at(AGENT));
            let answering = Answering::After(Duration::from_millis(200));
            Phone::new(PhoneConfig { answering, ..PhoneConfig::new(account) })
        };
        let inside = vec![AGENT.into(), CALLER.into(), CALLEE.into()];
        let worker = Worker::new("doctor")
            .options(Options { inside, ..Options::default() })
            .node(roles::agent("agent", agent, trust, None)?)
            .node(Setup::new("caller", phone(CALLER)))
            .node(Setup::new("callee", phone(CALLEE)));
        let (handle, _thread) = worker.spawn().map_err(|error| Failure::unreachable(error.to_string()))?;
        handle.ready(PATIENCE).map_err(Failure::unreachable)?;
        Ok(Self { handle })
    }

    fn phone<R: Send + 'static>(
        &self,
        name: &'static str,
        act: impl FnOnce(&mut Phone, &mut causeway_node::Ctx<'_>, &mut causeway_node::Outbox) -> R
        + Send
        + 'static,
    ) -> Result<R, Failure> {
        self.handle.with(name, act).map_err(|error| Failure::unreachable(error.to_string()))
    }

    fn agent(&self) -> Result<Status, Failure> {
        let status = self.handle.status(PATIENCE).map_err(|error| Failure::unreachable(error.to_string()))?;
        Ok(status["nodes"]["agent"].clone())
    }

    /// Waits for something that a phone says.
    fn wait<R>(
        &self,
        name: &'static str,
        mut what: impl FnMut(Event) -> Option<R>,
    ) -> Result<Option<R>, Failure> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            for event in
                self.phone(name, |phone, _, _| std::iter::from_fn(|| phone.poll()).collect::<Vec<_>>())?
            {
                if let Some(found) = what(event) {
                    return Ok(Some(found));
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(None)
    }

    /// What is wrong with the registration, if anything.
    fn register(&self, patient: &Patient) -> Result<Option<Finding>, Failure> {
        self.phone("callee", |phone, ctx, out| phone.register(ctx, out))?;
        let answered = self.wait("callee", |event| match event {
            Event::Registered(_) => Some(200),
            Event::RegistrationFailed(status) => Some(status),
            _ => None,
        })?;
        let uri = &patient.uri;
        Ok(match answered {
            Some(200) => None,
            Some(status @ (401 | 403 | 407)) => Some(Finding::bad(
                "account",
                format!("the operator refuses {uri}: {status}, the password is wrong"),
                "check user and password in the account file; the operator can set a new one",
            )),
            Some(404) => Some(Finding::bad(
                "account",
                format!("the operator does not know {uri} (404)"),
                "check user and domain in the account file",
            )),
            Some(status @ (408 | 503 | 504)) => Some(Finding::bad(
                "account",
                format!("the operator's SIP server does not answer ({status})"),
                "the tunnel works, the server behind the contact point does not: ask the operator",
            )),
            Some(status) => Some(Finding::bad(
                "account",
                format!("the operator refuses the registration of {uri}: {status}"),
                "the operator's log says why",
            )),
            None => {
                let agent = self.agent()?;
                let why = agent["last_failure"].as_str().unwrap_or_default();
                Some(Finding::bad(
                    "account",
                    format!("no answer to the registration: {why}"),
                    "ask the operator",
                ))
            }
        })
    }

    fn clock(&self) -> Result<Finding, Failure> {
        let ahead = self.phone("callee", |phone, _, _| phone.registrar_ahead())?;
        Ok(match ahead {
            None => Finding::skipped("clock", "the operator's server does not tell the time"),
            Some(ahead) if ahead.abs() <= SKEW => Finding::good("clock", "agrees with the operator's"),
            Some(ahead) => {
                let (seconds, way) = (ahead.abs(), if ahead > 0 { "behind" } else { "ahead of" });
                Finding::bad(
                    "clock",
                    format!("this machine's clock is {seconds} s {way} the operator's"),
                    "set it, and keep it set (NTP)",
                )
            }
        })
    }

    /// What the user's key on the tunnel is worth.
    fn keys(&self) -> Result<Finding, Failure> {
        const STEP: &str = "keys";
        let until = Instant::now() + AGREEMENT;
        loop {
            let agent = self.agent()?;
            let registration = &agent["registrations"][0];
            let worth = registration["assurance"].as_str().unwrap_or("none");
            let why = agent["last_failure"].as_str().unwrap_or_default();
            if why.contains("do not share one TLS connection") {
                return Ok(Finding::bad(
                    STEP,
                    why.to_owned(),
                    "a device between here and the operator opens TLS: have it let this connection through, or leave \
                     its network",
                ));
            }
            if worth == "none" && Instant::now() < until {
                thread::sleep(Duration::from_millis(50));
                continue;
            }
            let protection = registration["protection"].as_str().unwrap_or_default();
            let found = format!("assurance {worth}: {protection}");
            let note = registration["key_note"].as_str();
            return Ok(if registration["calls_refused"] == true {
                let least = registration["min_assurance"].as_str().unwrap_or_default();
                let advice =
                    note.unwrap_or("ask the operator whether its subscriber database answers for keys");
                Finding::bad(STEP, format!("{found}; the account demands {least}, calls are refused"), advice)
            } else if worth == "digest" {
                Finding::good(STEP, found)
            } else {
                let advice = note.unwrap_or("the contact point has no subscriber database to ask");
                Finding::notable(STEP, found, advice)
            });
        }
    }

    fn call(&self, uri: &str) -> Result<Finding, Failure> {
        let to = uri.to_owned();
        let call = self.phone("caller", move |phone, ctx, out| phone.call(ctx, &to, out))?;
        let Some(call) = call else {
            return Ok(Finding::bad("media", format!("{uri} cannot be called"), "check the address"));
        };
        let answered = self.wait("caller", |event| match event {
            Event::Answered { .. } => Some(None),
            Event::Ended { why, .. } => Some(Some(format!("{why:?}"))),
            _ => None,
        })?;
        match answered {
            Some(None) => {}
            Some(Some(why)) => {
                let advice = "the operator's server refuses the call; its log says why";
                return Ok(Finding::bad("media", format!("the call to {uri} fails: {why}"), advice));
            }
            None => {
                let advice = "nobody picks up: call an address that answers by itself";
                return Ok(Finding::bad("media", format!("{uri} does not answer"), advice));
            }
        }
        thread::sleep(TALK);
        let heard = self.phone("caller", move |phone, _, _| {
            phone.talk(call).map(|talk| (talk.heard.len(), talk.sent_at.len()))
        })?;
        self.phone("caller", move |phone, ctx, out| phone.hang_up(ctx, call, out))?;
        let (heard, sent) = heard.unwrap_or_default();
        Ok(if heard == 0 {
            Finding::bad(
                "media",
                format!("{uri} answers, and no media comes back: {sent} packets sent, none received"),
                "packets do not reach the contact point's media ports, or do not leave them: the operator must check \
                 --media and its firewall (UDP)",
            )
        } else if heard * 10 < sent * 9 {
            Finding::notable(
                "media",
                format!("{sent} packets sent, {heard} received"),
                "the way loses packets: `causeway status` of agent and contact point says on which part",
            )
        } else {
            Finding::good("media", format!("{sent} packets sent, {heard} received"))
        })
    }

    /// Ends the registration, so that nobody calls in vain.
    fn leave(&self) -> Result<(), Failure> {
        self.phone("callee", |phone, ctx, out| phone.unregister(ctx, out))?;
        let _ = self.wait("callee", |event| matches!(event, Event::Unregistered).then_some(()))?;
        self.handle.stop();
        Ok(())
    }
}
