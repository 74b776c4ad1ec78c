//! What came of a script, as fields that can be compared: what is each server's own is left out.

use super::caller::Outcome;
use super::wire::{Wire, list, param, text};
use super::{ADDRESS, SERVER};
use std::collections::BTreeMap;

/// One field of one step in which the two differ.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The script.
    pub script: usize,
    /// Its traits.
    pub traits: Vec<String>,
    /// Method of the step's request.
    pub method: String,
    /// Which field.
    pub field: String,
    /// What Causeway made of it.
    pub ours: String,
    /// What Kamailio made of it.
    pub theirs: String,
    /// Both final statuses of the step, 0 being none: (ours, theirs).
    pub statuses: (u16, u16),
}

impl Difference {
    /// Whether the script has this trait.
    pub fn is(&self, name: &str) -> bool {
        self.traits.iter().any(|its| its == name)
    }
}

type Fields = BTreeMap<String, String>;

/// Compares two runs of a script. Says how many fields were equal. Where the answers differ, nothing else of
/// that step and of the later ones is compared: it would only follow from that.
pub fn compare(
    script: &super::cases::Script,
    ours: &[Outcome],
    theirs: &[Outcome],
) -> (usize, Vec<Difference>) {
    let (mut equal, mut differences) = (0, Vec::new());
    for (one, other) in ours.iter().zip(theirs) {
        let statuses = (status(one), status(other));
        let (one_fields, other_fields) = (fields(one), fields(other));
        let mut names: Vec<&String> = one_fields.keys().chain(other_fields.keys()).collect();
        names.sort();
        names.dedup();
        let decisive = ["status", "reached"];
        let split = decisive.iter().any(|name| one_fields.get(*name) != other_fields.get(*name));
        for name in names {
            let get = |fields: &Fields| fields.get(name).cloned().unwrap_or_default();
            let (a, b) = (get(&one_fields), get(&other_fields));
            if a == b {
                equal += 1;
            } else if !split || decisive.contains(&name.as_str()) {
                differences.push(Difference {
                    script: script.id,
                    traits: script.traits.clone(),
                    method: one.method.clone(),
                    field: name.clone(),
                    ours: a,
                    theirs: b,
                    statuses,
                });
            }
        }
        if split {
            break;
        }
    }
    (equal, differences)
}

fn status(outcome: &Outcome) -> u16 {
    outcome.last.as_ref().and_then(Wire::status).unwrap_or(0)
}

fn fields(outcome: &Outcome) -> Fields {
    let mut fields = Fields::new();
    let mut put = |name: &str, value: String| fields.insert(name.to_owned(), value);
    put("status", status(outcome).to_string());
    put("challenged", outcome.challenged.to_string());
    let mut provisional = outcome.provisional.clone();
    provisional.sort_unstable();
    provisional.dedup();
    put("provisional", format!("{provisional:?}"));
    let reached: Vec<String> =
        outcome.reached.iter().map(|(index, wire)| format!("{index}:{}", wire.method())).collect();
    put("reached", reached.join(" "));
    if let Some(last) = &outcome.last {
        answer(last, &outcome.sent, &mut put);
    }
    for (number, (_, wire)) in outcome.reached.iter().enumerate() {
        // A CANCEL is the server's own message, hop by hop.
        if wire.method() != "CANCEL" {
            forwarded(number, &outcome.sent, wire, &mut put);
        }
    }
    fields
}

fn answer(last: &Wire, sent: &Wire, put: &mut impl FnMut(&str, String) -> Option<String>) {
    put("answer Via", last.values("via").iter().map(|via| squeeze(via, sent)).collect::<Vec<_>>().join(", "));
    put("answer From", last.first("from").to_owned());
    put("answer To", without_tag(last.first("to")));
    put("answer To tag", param(last.first("to"), "tag").is_some().to_string());
    put("answer Call-ID", last.first("call-id").to_owned());
    let as_sent = last.first("cseq") == sent.first("cseq");
    put("answer CSeq", if as_sent { "as sent" } else { last.first("cseq") }.to_owned());
    put("answer Record-Route", routes(last, "record-route"));
    let mut contacts: Vec<String> = last.values("contact").iter().map(|contact| rounded(contact)).collect();
    contacts.sort();
    put("answer Contact", contacts.join(", "));
    for name in ["unsupported", "min-expires", "require", "path"] {
        put(&format!("answer {name}"), last.values(name).join(", "));
    }
    put("answer Allow", last.lines.iter().any(|line| line.name == "allow").to_string());
    put("answer Accept", last.lines.iter().any(|line| line.name == "accept").to_string());
}

fn forwarded(number: usize, sent: &Wire, wire: &Wire, put: &mut impl FnMut(&str, String) -> Option<String>) {
    let mut put = |name: &str, value: String| put(&format!("forwarded {number} {name}"), value);
    put("Request-URI", wire.request_uri().to_owned());
    let vias = wire.values("via");
    put("Vias", vias.len().to_string());
    let top = vias.first().map_or("", |via| via);
    put("own Via", top.split(';').next().unwrap_or("").replace(SERVER, ADDRESS));
    put("sender's Via", vias.get(1).map(|via| squeeze(via, sent)).unwrap_or_default());
    put("other Vias", vias.iter().skip(2).map(|via| squeeze(via, sent)).collect::<Vec<_>>().join(", "));
    put("Max-Forwards", wire.values("max-forwards").join(" and "));
    put("Route", routes(wire, "route"));
    put("Record-Route", routes(wire, "record-route"));
    put("body", text(&wire.body));
    put("credentials", wire.lines.iter().any(|line| line.name.ends_with("authorization")).to_string());
    let kept = |wire: &Wire| -> Vec<Vec<u8>> {
        let own = ["via", "max-forwards", "route", "record-route", "proxy-authorization", "authorization"];
        let lines = wire.lines.iter().filter(|line| !own.contains(&line.name.as_str()));
        lines.map(|line| line.raw.clone()).collect()
    };
    let (before, after) = (kept(sent), kept(wire));
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("-{}", text(line)));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+{}", text(line)));
    let mut changed: Vec<String> = gone.chain(new).collect();
    if changed.is_empty() && before != after {
        changed.push("other order".to_owned());
    }
    put("untouched headers", changed.join(" "));
}

/// A Via without spaces, its parameters sorted; the branch that the caller has chosen for this request is told
/// apart from any other, not compared.
fn squeeze(via: &str, sent: &Wire) -> String {
    let via: String = via.chars().filter(|char| !char.is_whitespace()).collect();
    let branch = sent.values("via").first().and_then(|own| param(own, "branch")).unwrap_or_default();
    let mut parts = via.split(';').map(|part| part.replace(&format!("branch={branch}"), "branch=its"));
    let start = parts.next().unwrap_or_default();
    let mut params: Vec<String> = parts.collect();
    params.sort();
    std::iter::once(start).chain(params).collect::<Vec<_>>().join(";")
}

fn without_tag(value: &str) -> String {
    match param(value, "tag") {
        Some(tag) => value.replace(&format!(";tag={tag}"), ""),
        None => value.to_owned(),
    }
}

/// Routes with the servers' own parameters left out.
fn routes(wire: &Wire, name: &str) -> String {
    let route = |route: &String| {
        let uri = route.trim_matches(['<', '>']);
        let kept: Vec<&str> =
            uri.split(';').filter(|param| !param.starts_with("cw=") && !param.starts_with("ftag=")).collect();
        kept.join(";").replace(SERVER, ADDRESS).replace("lr=on", "lr")
    };
    wire.values(name).iter().map(route).collect::<Vec<_>>().join(", ")
}

/// A contact of a 200 to REGISTER; seconds that have passed meanwhile do not count.
fn rounded(contact: &str) -> String {
    let Some(left) = param(contact, "expires") else { return contact.to_owned() };
    let seconds: u64 = left.parse().unwrap_or(0);
    let params: Vec<String> =
        list(contact).first().map_or("", |first| first).split(';').map(str::to_owned).collect();
    let mut kept: Vec<String> = params.into_iter().filter(|param| !param.starts_with("expires=")).collect();
    kept.push(format!("expires={}", (seconds + 4) / 10 * 10));
    kept.join(";")
}
