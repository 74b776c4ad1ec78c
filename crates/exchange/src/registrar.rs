//! REGISTER (RFC 3261 §10.3, RFC 3327, RFC 3608, RFC 5626, RFC 5627).

use crate::config::Config;
use crate::keys::Keys;
use crate::location::{Location, Which};
use crate::{dialog, gruu, shard};
use causeway_node::{Ctx, Record};
use causeway_sip::transaction::{Hop, Transport};
use causeway_sip::{Contact, HeaderId, Msg, NameAddr, ResponseBuilder, Uri, addr_text, response_to};
use causeway_store::record::{Binding, Text};

/// What became of a REGISTER.
pub struct Outcome {
    /// The status of the response.
    pub status: u16,
    /// The response.
    pub response: Vec<u8>,
    /// What must be on disk before the response leaves.
    pub records: Vec<Record>,
}

/// One contact of a request, read and checked.
struct Wanted<'a> {
    addr: NameAddr<'a>,
    expires: u64,
    instance: String,
    /// The flow's number, where outbound is in use.
    reg_id: u32,
}

impl Wanted<'_> {
    fn which(&self) -> Which<'_> {
        let flow = (self.reg_id != 0).then_some((self.instance.as_str(), self.reg_id));
        Which { contact: self.addr.uri, flow }
    }
}

/// Why a request is refused: status, and a header line that says more.
struct Refusal(u16, Option<(&'static str, String)>);

/// Who registers what, and how it came.
pub struct Registration<'a> {
    /// The settings.
    pub config: &'a Config,
    /// For the GRUUs.
    pub keys: &'a Keys,
    /// Whose bindings they are.
    pub aor: &'a [u8],
    /// The REGISTER.
    pub msg: Msg<'a>,
    /// Where it came from.
    pub from: Hop,
}

/// Seconds after which a user agent without keep-alive on its flow counts as lost (RFC 5626 §4.4); told to it in
/// Flow-Timer.
const FLOW_TIMER: u32 = 120;

impl Registration<'_> {
    /// Carries it out. All or nothing: the first fault leaves the bindings as they were.
    pub fn carry_out(&self, ctx: &mut Ctx<'_>, location: &mut Location) -> Outcome {
        match self.update(ctx, location) {
            Ok((records, outbound)) => {
                let response = self.granted(ctx, location, outbound).finish();
                Outcome { status: 200, response, records }
            }
            Err(Refusal(status, header)) => {
                let mut response = response_to(self.msg, status, None, Some(&tag(self.msg)));
                if let Some((name, value)) = header {
                    response = response.header(name, value);
                }
                Outcome { status, response: response.finish(), records: Vec::new() }
            }
        }
    }

    /// The records to store, and whether outbound was used.
    fn update(&self, ctx: &mut Ctx<'_>, location: &mut Location) -> Result<(Vec<Record>, bool), Refusal> {
        let contacts: Vec<Contact<'_>> = self
            .msg
            .contacts()
            .collect::<Option<_>>()
            .ok_or_else(|| Refusal(400, reason("unreadable Contact")))?;
        let call_id = text(self.msg.call_id().unwrap_or_default());
        let cseq = self.msg.cseq().map_or(0, |cseq| cseq.number);
        let late = |known: &Binding| *known.call_id == call_id && cseq <= known.cseq;
        // §10.3 item 7: out of order, so this request must not undo a later one.
        let disorder = || Refusal(500, reason("CSeq not higher than that of an earlier registration"));
        if contacts.iter().any(|contact| matches!(contact, Contact::Star)) {
            if contacts.len() != 1 || self.msg.expires() != Some(0) {
                return Err(Refusal(400, reason("Contact * needs Expires 0 and stands alone")));
            }
            if location.get(self.aor).iter().any(late) {
                return Err(disorder());
            }
            return Ok((location.remove_where(self.aor, |_| true), false));
        }
        let wanted = self.read_contacts(&contacts)?;
        let known = location.get(self.aor);
        if wanted.iter().any(|contact| contact.which().among(known).is_some_and(late)) {
            return Err(disorder());
        }
        let new = wanted.iter().filter(|c| c.expires > 0 && c.which().among(known).is_none());
        if known.len() + new.count() > self.config.policy.contacts {
            return Err(Refusal(403, reason("too many contacts")));
        }
        let outbound = wanted.iter().any(|contact| contact.reg_id != 0);
        let path: Vec<String> = self.msg.values(HeaderId::Path).map(text).collect();
        let mut records = Vec::new();
        for contact in wanted {
            if contact.expires == 0 {
                records.extend(location.remove(self.aor, contact.which()));
                continue;
            }
            let seed = self.seed(ctx, location, &contact.instance, &call_id);
            let [uri, params, call_id, received, transport, instance] = Text::together([
                &String::from_utf8_lossy(contact.addr.uri),
                &kept_params(&contact.addr),
                &call_id,
                &addr_text(self.from.peer),
                transport_name(self.from.transport),
                &contact.instance,
            ]);
            let binding = Binding {
                contact: uri,
                params,
                q: contact.addr.q(),
                expires: ctx.unix_ms + contact.expires * 1000,
                call_id,
                cseq,
                path: path.clone(),
                received,
                transport,
                behind_nat: path.is_empty() && dialog::is_behind_nat(self.msg, self.from.peer.ip()),
                gruu: seed,
                since: ctx.unix_ms,
                instance,
                reg_id: contact.reg_id,
            };
            records.extend(location.set(self.aor, binding));
        }
        Ok((records, outbound))
    }

    /// Checks every contact and how long it wants to stay (§10.3 item 6).
    fn read_contacts<'a>(&self, contacts: &[Contact<'a>]) -> Result<Vec<Wanted<'a>>, Refusal> {
        let mut wanted = Vec::with_capacity(contacts.len());
        let config = self.config;
        for contact in contacts {
            let Contact::Addr(addr) = contact else { continue };
            let readable = Uri::parse(addr.uri).is_some() && std::str::from_utf8(addr.uri).is_ok();
            if !readable {
                return Err(Refusal(400, reason("unreadable Contact URI")));
            }
            let asked = addr.expires().or(self.msg.expires());
            let asked = asked.map_or(config.default_expires.as_secs(), u64::from);
            let (min, max) = (config.min_expires.as_secs(), config.max_expires.as_secs());
            if asked > 0 && asked < min {
                return Err(Refusal(423, Some(("Min-Expires", min.to_string()))));
            }
            let instance = addr.params.value(b"+sip.instance").map(text).unwrap_or_default();
            let reg_id = self.flow_number(addr, &instance)?;
            wanted.push(Wanted { addr: *addr, expires: asked.min(max), instance, reg_id });
        }
        let staying = wanted.iter().filter(|contact| contact.expires > 0).count();
        if staying > 1 && wanted.iter().any(|contact| contact.reg_id != 0) {
            return Err(Refusal(400, reason("a flow is registered alone (RFC 5626 section 6)")));
        }
        Ok(wanted)
    }

    /// The flow's number, if the user agent asks for outbound and the way here allows it (RFC 5626 §6).
    fn flow_number(&self, addr: &NameAddr<'_>, instance: &str) -> Result<u32, Refusal> {
        let given =
            addr.params.value(b"reg-id").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        let supported = self.msg.has_token(HeaderId::Supported, b"outbound");
        let Some(reg_id) = given.filter(|id| *id != 0 && supported && !instance.is_empty()) else {
            return Ok(0);
        };
        let direct = self.msg.vias().count() == 1;
        let edge = self.msg.values(HeaderId::Path).last().and_then(NameAddr::parse);
        let edge_helps = edge.and_then(|path| path.uri()).is_some_and(|uri| uri.params.has(b"ob"));
        match direct || edge_helps {
            true => Ok(reg_id),
            false => Err(Refusal(439, None)),
        }
    }

    /// RFC 5627 §5.3: the temporary GRUUs of a device go on as long as it registers with one Call-ID.
    fn seed(&self, ctx: &mut Ctx<'_>, location: &Location, instance: &str, call_id: &str) -> u64 {
        if instance.is_empty() {
            return 0;
        }
        let same = |binding: &&Binding| *binding.instance == *instance && *binding.call_id == *call_id;
        let known = location.get(self.aor).iter().find(same);
        known.map_or_else(|| shard::seed(self.keys, self.aor, ctx.rng.next_u64()), |binding| binding.gruu)
    }

    /// The 200: all present bindings with the time that they have left, and what else the user agent understands.
    fn granted(&self, ctx: &Ctx<'_>, location: &Location, outbound: bool) -> ResponseBuilder {
        // RFC 3261 §10.3 item 8: so that user agents can set their clocks.
        let mut response = response_to(self.msg, 200, None, Some(&tag(self.msg)))
            .header("Date", causeway_sip::date::rfc1123(ctx.unix_ms));
        let wants_gruu = self.msg.has_token(HeaderId::Supported, b"gruu");
        for binding in location.get(self.aor) {
            let left = binding.expires.saturating_sub(ctx.unix_ms).div_ceil(1000);
            let given = wants_gruu.then(|| gruu::params(self.config, self.keys, self.aor, binding)).flatten();
            let given = given.unwrap_or_default();
            let parts = ["<", &binding.contact, ">", &binding.params, &given, ";expires=", &left.to_string()];
            response = response.header("Contact", parts.concat());
        }
        if self.msg.has_token(HeaderId::Supported, b"path") {
            response = response.headers("Path", self.msg.values(HeaderId::Path));
        }
        if self.config.service_route {
            response = response.header("Service-Route", format!("<sip:{};lr>", self.config.sip));
        }
        if outbound {
            response = response.header("Require", "outbound");
            if !self.msg.has(HeaderId::Path) {
                response = response.header("Flow-Timer", FLOW_TIMER.to_string());
            }
        }
        response
    }
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
        Transport::Tls | Transport::Tunnel => "tls",
    }
}

/// Contact parameters that a fetch shows again: all but expires, which counts down, and the GRUUs, which are given
/// by us (RFC 5627 §4.2).
fn kept_params(addr: &NameAddr<'_>) -> String {
    let mut kept = String::new();
    for param in addr.params {
        let ours = [&b"expires"[..], b"pub-gruu", b"temp-gruu"];
        if ours.iter().any(|name| param.name.eq_ignore_ascii_case(name)) {
            continue;
        }
        kept.push(';');
        kept.push_str(&text(param.name));
        if let Some(value) = param.value {
            kept.push('=');
            kept.push_str(&text(value));
        }
    }
    kept
}

fn reason(text: &str) -> Option<(&'static str, String)> {
    Some(("Warning", format!("399 causeway \"{text}\"")))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A To tag that is the same for every retransmission of a request.
fn tag(msg: Msg<'_>) -> Vec<u8> {
    let branch = msg.top_via().and_then(|via| via.branch()).unwrap_or_default();
    let tail = branch.len().saturating_sub(12);
    [&b"r"[..], &branch[tail..]].concat()
}
