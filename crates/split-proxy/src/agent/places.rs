//! Where contact points are: names, services and addresses, asked for anew at each attempt.

use super::config::{AgentConfig, ContactAddress};
use causeway_node::{Answer, Ctx, DnsRecord, Question, RecordKind, Through};
use causeway_sip::locate::in_srv_order;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// The SRV service of contact points (RFC 2782), before the name.
const SERVICE: &str = "_causeway._tcp.";
/// Hosts and addresses of one contact point that are tried in one attempt.
const MOST: usize = 16;

/// A connection that may lead to a contact point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub to: SocketAddr,
    /// The name that its certificate must bear.
    pub name: String,
    pub through: Option<Box<Through>>,
    /// Which of the configured contact points it is.
    pub contact: usize,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for the answer to this question.
    Ask(Question),
    /// Try to connect.
    Try(Place),
    /// All have been tried.
    Over,
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Services(usize),
    Host { contact: usize, name: String, port: u16 },
}

/// The places of one attempt, found on the way: contact points in turn, of each its hosts, of each its addresses.
#[derive(Debug, Default)]
pub(super) struct Places {
    contacts: VecDeque<usize>,
    hosts: VecDeque<(usize, String, u16)>,
    addresses: VecDeque<Place>,
    asked: Option<Asked>,
}

impl Places {
    /// All contact points, beginning with the one numbered `first`.
    pub(super) fn from(config: &AgentConfig, first: usize) -> Self {
        let count = config.contacts.len();
        Self { contacts: (0..count).map(|n| (first + n) % count).collect(), ..Self::default() }
    }

    pub(super) fn next(&mut self, config: &AgentConfig) -> Step {
        if let Some(place) = self.addresses.pop_front() {
            return Step::Try(place);
        }
        if let Some((contact, name, port)) = self.hosts.pop_front() {
            // Behind a proxy names are the proxy's affair.
            let (host, at) = match &config.proxy {
                Some(proxy) => (proxy.host.clone(), proxy.port),
                None => (name.clone(), port),
            };
            self.asked = Some(Asked::Host { contact, name, port });
            return Step::Ask(Question::Resolve { host, port: at });
        }
        let Some(contact) = self.contacts.pop_front() else { return Step::Over };
        let Some(ContactAddress { host, port }) = config.contacts.get(contact) else { return Step::Over };
        match port {
            None if config.proxy.is_none() && host.parse::<std::net::IpAddr>().is_err() => {
                self.asked = Some(Asked::Services(contact));
                Step::Ask(Question::Records { name: format!("{SERVICE}{host}"), kind: RecordKind::Srv })
            }
            _ => {
                self.hosts.push_back((contact, host.clone(), port.unwrap_or(ContactAddress::HTTPS)));
                self.next(config)
            }
        }
    }

    /// Takes the answer to the last question; why it leads nowhere, if it does.
    pub(super) fn answer(
        &mut self,
        ctx: &mut Ctx<'_>,
        config: &AgentConfig,
        answer: Answer,
    ) -> Option<String> {
        match (self.asked.take()?, answer) {
            (Asked::Services(contact), Answer::Records { records, .. }) => {
                self.services(ctx, config, contact, &records);
                None
            }
            (Asked::Host { contact, name, port }, Answer::Addresses(addresses, why)) => {
                if addresses.is_empty() {
                    return Some(match &config.proxy {
                        Some(proxy) => format!("the proxy's name {} cannot be resolved: {why}", proxy.host),
                        None => format!("the contact point's name {name} cannot be resolved: {why}"),
                    });
                }
                let through = config.proxy.as_ref().map(|proxy| {
                    let credentials = proxy.credentials.clone();
                    Box::new(Through { host: name.clone(), port, credentials })
                });
                // RFC 2782, "Usage rules": it is the name asked for that must be certified, not its targets.
                let bears = config.contacts.get(contact).map_or(name, |contact| contact.host.clone());
                let place = |to| Place { to, name: bears.clone(), through: through.clone(), contact };
                self.addresses = addresses.into_iter().take(MOST).map(place).collect();
                None
            }
            _ => Some("the resolver has answered something else".to_owned()),
        }
    }

    /// A name without the service is a host itself.
    fn services(&mut self, ctx: &mut Ctx<'_>, config: &AgentConfig, contact: usize, records: &[DnsRecord]) {
        let found = in_srv_order(records, ctx.rng).into_iter().take(MOST);
        self.hosts = found.map(|(target, port)| (contact, target, port)).collect();
        if self.hosts.is_empty()
            && let Some(address) = config.contacts.get(contact)
        {
            self.hosts.push_back((contact, address.host.clone(), ContactAddress::HTTPS));
        }
    }
}
