//! The state of a node as a person reads it: one line that says how it is, tables of what it holds, and the
//! counters that are not zero.

use serde_json::Value;
use std::fmt::Write;

/// A column: its heading, and the field that it shows.
type Column = (&'static str, &'static str);

const TUNNELS: &[Column] = &[
    ("PEER", "peer"),
    ("UP", "up"),
    ("AGE", "age_ms"),
    ("RTT", "rtt_ms"),
    ("SILENT", "silent_ms"),
    ("CALLS", "calls"),
    ("LANES", "lanes"),
    ("IN", "bytes_received"),
    ("OUT", "bytes_sent"),
    ("LATE", "datagrams.late_dropped"),
];
const REGISTRATIONS: &[Column] = &[
    ("AOR", "aor"),
    ("CONTACT", "contact"),
    ("PHONE", "phone"),
    ("TUNNEL", "tunnel"),
    ("LEFT", "expires_s"),
    ("KEY", "assurance"),
    ("PROTECTION", "protection"),
    ("NOTE", "key_note"),
];
const USERS: &[Column] = &[
    ("AOR", "aor"),
    ("KEY", "mode"),
    ("EPOCH", "epoch"),
    ("AGE", "age_ms"),
    ("SEALED", "sealed"),
    ("OPENED", "opened"),
    ("REFUSED", "refused"),
    ("WITHHELD", "withheld"),
    ("WHY NONE", "why_none"),
];
const CALLS: &[Column] =
    &[("CALL-ID", "call_id"), ("DIRECTION", "direction"), ("STATE", "state"), ("AGE", "age_ms")];
const MEDIA: &[Column] = &[
    ("MEDIA", "kind"),
    ("PORT", "port"),
    ("LANE", "lane"),
    ("PEER", "peer"),
    ("FROM", "from_network.packets"),
    ("LOST", "from_network.lost"),
    ("TO", "to_network.packets"),
    ("LATE", "late_dropped"),
    ("LAN", "legs.lan.rtt_ms"),
    ("OPERATOR", "legs.operator.rtt_ms"),
    ("TUNNEL", "legs.tunnel.rtt_ms"),
    ("FAR", "legs.far.rtt_ms"),
    ("JITTER TO", "legs.lan.jitter_ms"),
    ("JITTER TO", "legs.operator.jitter_ms"),
    ("LOST TO", "legs.lan.lost_to"),
    ("LOST TO", "legs.operator.lost_to"),
    ("LOST FAR", "legs.far.lost_from"),
];

/// Fields that the first line or the tables show already.
const SHOWN: &[&str] = &["role", "tunnels", "registrations", "calls", "state"];

/// A node with its tables.
pub fn node(name: &str, node: &Value) -> String {
    let mut text = format!("{name}: {}\n", headline(node));
    rows(&mut text, "tunnels", TUNNELS, &node["tunnels"], 2);
    for tunnel in node["tunnels"].as_array().into_iter().flatten() {
        rows(&mut text, "keys of its users", USERS, &tunnel["users"], 4);
    }
    rows(&mut text, "registrations", REGISTRATIONS, &node["registrations"], 2);
    let calls: Vec<&Value> = node["calls"].as_array().into_iter().flatten().collect();
    rows(&mut text, "calls", CALLS, &node["calls"], 2);
    for call in calls {
        rows(&mut text, &plain("call_id", &call["call_id"]), MEDIA, &call["media"], 4);
    }
    let counters: Vec<String> =
        fields("", node).filter(|(_, value)| is_news(value)).map(|(n, v)| format!("{n} {v}")).collect();
    if !counters.is_empty() {
        text.push_str(&format!("  {}\n", counters.join(", ")));
    }
    text
}

fn headline(node: &Value) -> String {
    let count = |field: &str| node[field].as_array().map_or(0, Vec::len);
    let state = node["state"].as_str().map(|state| format!("{state}, ")).unwrap_or_default();
    match node["role"].as_str() {
        Some("agent" | "contact") => format!(
            "{state}{} tunnels, {} registrations, {} calls",
            count("tunnels"),
            count("registrations"),
            count("calls")
        ),
        Some(role) => role.to_owned(),
        None => "no state to show".to_owned(),
    }
}

/// A table with a title, if there is anything in it; columns that no row fills are left out.
fn rows(text: &mut String, title: &str, columns: &[Column], value: &Value, indent: usize) {
    let rows: Vec<&Value> = value.as_array().into_iter().flatten().collect();
    if rows.is_empty() {
        return;
    }
    let filled: Vec<(&str, Vec<String>)> = columns
        .iter()
        .filter(|(_, field)| rows.iter().any(|row| !at(row, field).is_null()))
        .map(|(heading, field)| (*heading, rows.iter().map(|row| plain(field, at(row, field))).collect()))
        .collect();
    let mut lines = vec![String::new(); rows.len() + 1];
    for (heading, cells) in &filled {
        let width = cells.iter().map(|cell| cell.chars().count()).chain([heading.len()]).max().unwrap_or(0);
        for (line, cell) in
            lines.iter_mut().zip(std::iter::once(*heading).chain(cells.iter().map(String::as_str)))
        {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
    }
    let pad = " ".repeat(indent);
    text.push_str(&format!("{pad}{title}\n"));
    lines.iter().for_each(|line| text.push_str(&format!("{pad}  {}\n", line.trim_end())));
}

/// A field, or with a dot one inside it.
fn at<'a>(row: &'a Value, field: &str) -> &'a Value {
    field.split('.').fold(row, |value, part| &value[part])
}

/// The plain fields of a node, those of groups with the group's name before them.
fn fields<'a>(prefix: &'a str, node: &'a Value) -> Box<dyn Iterator<Item = (String, String)> + 'a> {
    let all = node.as_object().into_iter().flatten();
    Box::new(all.filter(|(name, _)| !SHOWN.contains(&name.as_str())).flat_map(move |(name, value)| {
        let named = if prefix.is_empty() { name.clone() } else { format!("{prefix} {name}") };
        match value {
            Value::Object(_) => fields(name, value),
            Value::Array(_) => Box::new(std::iter::empty()),
            value => Box::new(std::iter::once((named.replace('_', " "), plain(name, value)))),
        }
    }))
}

fn is_news(value: &str) -> bool {
    !matches!(value, "" | "0" | "-")
}

/// A value with its unit, by the ending of its name.
fn plain(field: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Number(number) if field.ends_with("rtt_ms") || field.ends_with("jitter_ms") => {
            format!("{:.1} ms", number.as_f64().unwrap_or(0.0))
        }
        Value::Number(number) if field.ends_with("_ms") => {
            format!("{:.0} s", number.as_f64().unwrap_or(0.0) / 1e3)
        }
        Value::Number(number) if field.ends_with("_s") => format!("{number} s"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_told_in_tables() {
        let state = json!({
            "role": "agent", "state": "up", "listen": "192.0.2.1:5060", "waiting": 0,
            "tunnels": [{ "users": [{ "aor": "sip:a@b", "mode": "header", "sealed": 50 }], "peer": "203.0.113.10:443", "up": true, "age_ms": 61000, "rtt_ms": 20.25, "calls": 1,
                "datagrams": { "late_dropped": 3 } }],
            "registrations": [],
            "calls": [{ "call_id": "abc", "direction": "from phone", "media": [
                { "kind": "audio", "lane": 3, "peer": null, "from_network": { "packets": 50 },
                    "legs": { "lan": { "rtt_ms": 4.2, "jitter_ms": 1.5, "lost_to": 7 }, "tunnel": { "rtt_ms": 20.0 } } }] }],
            "refused": { "garbage": 2, "invalid": 0 },
        });
        let text = node("agent", &state);
        assert_eq!(text.lines().next(), Some("agent: up, 1 tunnels, 0 registrations, 1 calls"));
        assert!(text.contains("    203.0.113.10:443  yes  61 s  20.2 ms  1      3"), "{text}");
        assert!(text.contains("listen 192.0.2.1:5060, refused garbage 2"), "{text}");
        assert!(text.contains("LAN     TUNNEL   JITTER TO  LOST TO"), "{text}");
        assert!(text.contains("4.2 ms  20.0 ms  1.5 ms     7"), "{text}");
        assert!(text.contains("      sip:a@b  header  50"), "{text}");
        assert!(!text.contains("registrations\n"), "an empty table is left out: {text}");
    }
}
