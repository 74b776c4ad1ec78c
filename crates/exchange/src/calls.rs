//! Calls: their legs, their session timers (RFC 4028), and the records that are written of them.
//!
//! A call is the INVITE outside a dialog and all that it leads to; a leg is one place that it was sent to. Each
//! leg leaves one JSON line `"event":"ended"` in the journal [`Calls::JOURNAL`], and one `"answered"` before it if
//! it was answered, so that a call is known even if this process does not live to see its end.

use causeway_node::{Ctx, NumberMap, Outbox, SerialMap, Time, Timers};
use causeway_sip::transaction::ServerId;
use causeway_sip::{HeaderId, Method, Msg};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// Call-ID and the caller's tag, with a NUL between.
type Key = Box<[u8]>;

struct Call {
    key: Key,
    about: About,
    start: u64,
    legs: Vec<Leg>,
    /// The transactions of the INVITE are gone: nobody answers it any more.
    settled: bool,
}

impl Call {
    /// Whether nothing more can come of it: nobody is talking, and nobody can answer any more. Once somebody has, the INVITE
    /// goes nowhere else, so that only those branches count of which no end is known.
    fn is_over(&self) -> bool {
        let any = |test: fn(&Leg) -> bool| self.legs.iter().any(test);
        let answered = any(|leg| !leg.tag.is_empty());
        match self.settled {
            true => !any(Leg::is_answered),
            false => answered && !any(|leg| leg.state != State::Ended),
        }
    }
}

/// What the record says of a whole call, one text after the other in a single piece of memory.
struct About {
    text: Box<str>,
    ends: [u32; About::PARTS],
}

impl About {
    const PARTS: usize = 6;

    fn new(parts: [&[u8]; Self::PARTS]) -> Self {
        let mut text = String::with_capacity(parts.iter().map(|part| part.len()).sum());
        let ends = parts.map(|part| {
            text.push_str(&String::from_utf8_lossy(part));
            u32::try_from(text.len()).unwrap_or(u32::MAX)
        });
        Self { text: text.into(), ends }
    }

    fn part(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(start as usize..self.ends[index] as usize).unwrap_or_default()
    }

    fn call_id(&self) -> &str {
        self.part(0)
    }

    fn from(&self) -> &str {
        self.part(1)
    }

    fn to(&self) -> &str {
        self.part(2)
    }

    fn request_uri(&self) -> &str {
        self.part(3)
    }

    fn account(&self) -> &str {
        self.part(4)
    }

    fn source(&self) -> &str {
        self.part(5)
    }
}

struct Leg {
    target: String,
    tag: Vec<u8>,
    ring: Option<u64>,
    state: State,
    status: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No final response.
    Pending,
    Answered(u64),
    /// Given up then, for want of an answer: as long as its transaction lasts, one may come all the same.
    GivenUp(u64),
    Ended,
}

/// Who or what ended a leg.
#[derive(Clone, Copy)]
enum By {
    Caller,
    Callee,
    /// Nobody refreshed the session in time (RFC 4028 §10).
    SessionTimer,
    /// It was never answered.
    Failure,
    /// It lasted longer than any call may.
    Limit,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
            Self::SessionTimer => "session timer",
            Self::Failure => "failure",
            Self::Limit => "limit",
        }
    }
}

/// All calls under way, each named by the transaction of its INVITE.
#[derive(Default)]
pub struct Calls {
    table: SerialMap<ServerId, Call>,
    by_tags: HashMap<Key, ServerId>,
    refreshes: NumberMap<ServerId, (ServerId, usize)>,
    sessions: Timers<(ServerId, usize)>,
    /// Calls begun, answered, and ended after having been answered.
    pub begun: u64,
    /// Legs answered.
    pub answered: u64,
    /// Sessions that nobody refreshed.
    pub timed_out: u64,
}

impl Calls {
    /// Calls under way at most; an INVITE beyond is answered 503, so that no call goes unrecorded.
    pub const CALLS: usize = 200_000;
    /// Where the records go.
    pub const JOURNAL: &'static str = "cdr";
    /// Legs remembered per call; further forks are not recorded one by one.
    const LEGS: usize = 64;
    /// The shortest session interval, in seconds (RFC 4028 §4): who asks for less does not end his record sooner.
    const MIN_SE: u32 = 90;
    /// A call that nobody has ended by then is taken to be over.
    const LONGEST: Duration = Duration::from_secs(24 * 3600);

    /// Calls under way.
    pub fn under_way(&self) -> usize {
        self.table.len()
    }

    /// Whether another call can begin.
    pub fn has_room(&self) -> bool {
        self.table.len() < Self::CALLS
    }

    /// When [`Calls::timeout`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.sessions.next()
    }

    /// An INVITE outside a dialog goes on its way; `account` is who pays, as proved.
    pub fn begin(&mut self, unix_ms: u64, id: ServerId, msg: Msg<'_>, account: &str, source: &str) {
        let Some(key) = key(msg.call_id(), msg.from_tag()) else { return };
        let call = Call {
            key: key.clone(),
            about: About::new([
                msg.call_id().unwrap_or_default(),
                msg.from().map_or(b"", |from| from.uri),
                msg.to().map_or(b"", |to| to.uri),
                msg.request_uri(),
                account.as_bytes(),
                source.as_bytes(),
            ]),
            start: unix_ms,
            legs: Vec::new(),
            settled: false,
        };
        self.begun += 1;
        self.by_tags.insert(key, id);
        self.table.insert(id, call);
    }

    /// The INVITE has been sent to a place; branches come in the order of the proxy core.
    pub fn branch(&mut self, id: ServerId, target: &[u8]) {
        let Some(call) = self.table.get_mut(id) else { return };
        if call.legs.len() < Self::LEGS {
            let target = text(target);
            // Most calls have one.
            call.legs.reserve_exact(1);
            call.legs.push(Leg { target, tag: Vec::new(), ring: None, state: State::Pending, status: 0 });
        }
    }

    /// A provisional response or a 2xx to the INVITE of a call, or a 2xx to a request that refreshes its session;
    /// `granted` is the session interval that we grant where the callee knows none.
    pub fn response(
        &mut self,
        ctx: &Ctx<'_>,
        (id, branch): (ServerId, usize),
        msg: Msg<'_>,
        granted: Option<u32>,
        out: &mut Outbox,
    ) {
        let status = msg.status().unwrap_or(0);
        if let Some((call, leg)) = self.refreshes.get(&id).copied() {
            let leg_now = self.table.get(call).and_then(|call| call.legs.get(leg));
            // A refresh may be answered after the end.
            if (200..300).contains(&status) && leg_now.is_some_and(Leg::is_answered) {
                self.supervise(ctx.now, (call, leg), msg, granted);
            }
            return;
        }
        let Some(call) = self.table.get_mut(id) else { return };
        let Some(leg) = call.legs.get_mut(branch) else { return };
        match status {
            180..=199 => drop(leg.ring.get_or_insert(ctx.unix_ms)),
            // Also where it had been given up for another place, and answers after all.
            200..=299 if matches!(leg.state, State::Pending | State::GivenUp(_)) => {
                leg.tag = msg.to_tag().unwrap_or_default().to_vec();
                leg.state = State::Answered(ctx.unix_ms);
                leg.status = status;
                self.answered += 1;
                write(out, call, branch, ctx.unix_ms, None);
                self.supervise(ctx.now, (id, branch), msg, granted);
            }
            _ => {}
        }
    }

    /// A branch of an INVITE has failed.
    pub fn refused(&mut self, unix_ms: u64, id: ServerId, branch: usize, status: u16, out: &mut Outbox) {
        let Some(call) = self.table.get_mut(id) else { return };
        if let Some(leg) = call.legs.get_mut(branch).filter(|leg| leg.state == State::Pending) {
            leg.status = status;
            // These stand for no answer as well; a leg has one line about its end.
            if matches!(status, 408 | 503) {
                leg.state = State::GivenUp(unix_ms);
                return;
            }
            leg.state = State::Ended;
            write(out, call, branch, unix_ms, Some(By::Failure));
        }
    }

    /// The INVITE was answered here and went nowhere.
    pub fn rejected(&mut self, unix_ms: u64, id: ServerId, status: u16, out: &mut Outbox) {
        let Some(call) = self.table.get_mut(id) else { return };
        if call.legs.is_empty() {
            call.legs.push(Leg {
                target: String::new(),
                tag: Vec::new(),
                ring: None,
                state: State::Ended,
                status,
            });
            write(out, call, 0, unix_ms, Some(By::Failure));
        }
    }

    /// The transactions of a request are gone.
    pub fn ended(&mut self, id: ServerId, out: &mut Outbox) {
        self.refreshes.remove(&id);
        let Some(call) = self.table.get_mut(id) else { return };
        call.settled = true;
        for leg in 0..call.legs.len() {
            if let State::GivenUp(at) = call.legs[leg].state {
                call.legs[leg].state = State::Ended;
                write(out, call, leg, at, Some(By::Failure));
            }
        }
        self.forget(id);
    }

    /// A request inside a dialog passes: BYE ends a leg, re-INVITE and UPDATE may refresh its session.
    pub fn in_dialog(&mut self, unix_ms: u64, id: ServerId, msg: Msg<'_>, out: &mut Outbox) {
        let Some((call, leg, by)) = self.find(msg) else { return };
        match msg.method() {
            Method::Invite | Method::Update => drop(self.refreshes.insert(id, (call, leg))),
            Method::Bye => self.end(unix_ms, call, leg, by, out),
            _ => {}
        }
    }

    /// Ends the sessions that nobody has refreshed (RFC 4028 §8: a proxy then forgets the call).
    pub fn timeout(&mut self, ctx: &Ctx<'_>, out: &mut Outbox) {
        while let Some((id, leg)) = self.sessions.pop(ctx.now) {
            let old = self.table.get(id).and_then(|call| match call.legs.get(leg)?.state {
                State::Answered(at) => Some(ctx.unix_ms.saturating_sub(at)),
                _ => None,
            });
            let limit = u64::try_from(Self::LONGEST.as_millis()).unwrap_or(u64::MAX);
            let by = if old.is_some_and(|old| old >= limit) { By::Limit } else { By::SessionTimer };
            self.timed_out += 1;
            self.end(ctx.unix_ms, id, leg, by, out);
        }
    }

    /// Calls for a person to look at, at most a thousand.
    pub fn table(&self, filter: &str) -> Value {
        let found = self.table.values().filter(|call| {
            [call.about.call_id(), call.about.from(), call.about.to()]
                .iter()
                .any(|text| text.contains(filter))
        });
        let row = |call: &Call| {
            let legs: Vec<Value> = call.legs.iter().map(|leg| leg.show()).collect();
            let about = &call.about;
            json!({
                "call_id": about.call_id(), "from": about.from(), "to": about.to(), "since": call.start, "legs": legs,
            })
        };
        found.take(1000).map(row).collect()
    }

    /// The leg of a request inside a dialog, and who sent it.
    fn find(&self, msg: Msg<'_>) -> Option<(ServerId, usize, By)> {
        let tags = [(msg.from_tag(), msg.to_tag(), By::Caller), (msg.to_tag(), msg.from_tag(), By::Callee)];
        tags.into_iter().find_map(|(caller, callee, by)| {
            let id = *self.by_tags.get(&key(msg.call_id(), caller)?)?;
            let legs = &self.table.get(id)?.legs;
            let leg =
                legs.iter().position(|leg| Some(leg.tag.as_slice()) == callee && !leg.tag.is_empty())?;
            Some((id, leg, by))
        })
    }

    fn supervise(&mut self, now: Time, leg: (ServerId, usize), msg: Msg<'_>, granted: Option<u32>) {
        let asked = session_expires(msg).or(granted);
        let interval = asked.map(|seconds| Duration::from_secs(u64::from(seconds.max(Self::MIN_SE))));
        self.sessions.set(leg, now + interval.unwrap_or(Self::LONGEST));
    }

    fn end(&mut self, unix_ms: u64, id: ServerId, leg: usize, by: By, out: &mut Outbox) {
        self.sessions.cancel((id, leg));
        let Some(call) = self.table.get_mut(id) else { return };
        if call.legs.get(leg).is_some_and(Leg::is_answered) {
            write(out, call, leg, unix_ms, Some(by));
            if let Some(found) = call.legs.get_mut(leg) {
                found.state = State::Ended;
            }
        }
        self.forget(id);
    }

    fn forget(&mut self, id: ServerId) {
        if !self.table.get(id).is_some_and(Call::is_over) {
            return;
        }
        if let Some(call) = self.table.remove(id)
            && self.by_tags.get(&call.key) == Some(&id)
        {
            self.by_tags.remove(&call.key);
        }
    }
}

impl Leg {
    fn is_answered(&self) -> bool {
        matches!(self.state, State::Answered(_))
    }

    fn show(&self) -> Value {
        let state = match (self.state, self.ring) {
            (State::Answered(_), _) => "answered",
            (State::Ended | State::GivenUp(_), _) => "ended",
            (State::Pending, Some(_)) => "ringing",
            (State::Pending, None) => "trying",
        };
        json!({"target": self.target, "state": state, "status": self.status})
    }
}

/// One line of the journal; times are milliseconds since 1970.
#[derive(Serialize)]
struct Record<'a> {
    v: u32,
    event: &'static str,
    call_id: &'a str,
    leg: usize,
    account: &'a str,
    from: &'a str,
    to: &'a str,
    request_uri: &'a str,
    source: &'a str,
    target: &'a str,
    start: u64,
    ring: Option<u64>,
    answer: Option<u64>,
    end: Option<u64>,
    duration_ms: Option<u64>,
    status: u16,
    ended_by: Option<&'static str>,
}

/// Bytes that most records fit into.
const RECORD: usize = 512;

/// Writes the record of a leg, answered now or ended by somebody.
fn write(out: &mut Outbox, call: &Call, leg: usize, unix_ms: u64, by: Option<By>) {
    if out.keeps(Calls::JOURNAL) {
        out.line(Calls::JOURNAL, record(call, leg, unix_ms, by));
    }
}

fn record(call: &Call, leg: usize, unix_ms: u64, by: Option<By>) -> String {
    let Some(this) = call.legs.get(leg) else { return String::new() };
    let answer = match this.state {
        State::Answered(at) => Some(at),
        _ => None,
    };
    let record = Record {
        v: 1,
        event: if by.is_some() { "ended" } else { "answered" },
        call_id: call.about.call_id(),
        leg,
        account: call.about.account(),
        from: call.about.from(),
        to: call.about.to(),
        request_uri: call.about.request_uri(),
        source: call.about.source(),
        target: &this.target,
        start: call.start,
        ring: this.ring,
        answer,
        end: by.map(|_| unix_ms),
        duration_ms: answer.map(|at| unix_ms.saturating_sub(at)),
        status: this.status,
        ended_by: by.map(By::name),
    };
    let mut line = Vec::with_capacity(RECORD);
    // Strings and numbers always have a form in JSON.
    let _ = serde_json::to_writer(&mut line, &record);
    String::from_utf8(line).unwrap_or_default()
}

/// The session interval that a message asks for or grants, in seconds (RFC 4028 §4).
pub fn session_expires(msg: Msg<'_>) -> Option<u32> {
    let value = msg.header(HeaderId::SessionExpires)?;
    let digits = value.split(|byte| *byte == b';').next()?.trim_ascii();
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn key(call_id: Option<&[u8]>, tag: Option<&[u8]>) -> Option<Key> {
    Some([call_id?, &[0], tag?].concat().into())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
