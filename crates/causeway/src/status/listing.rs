//! A table of a node as a person reads it, whatever its columns are.

use serde_json::{Map, Value};
use std::fmt::Write;

/// Columns that come first, in this order; the others follow by name.
const FIRST: &[&str] = &[
    "aor",
    "call_id",
    "from",
    "to",
    "watcher",
    "event",
    "state",
    "status",
    "contact",
    "callee",
    "q",
    "transport",
    "received",
];

/// Rows as lines, with a heading and their number; `now` is in milliseconds since 1970.
pub fn table(name: &str, rows: &Value, now: u64) -> String {
    let rows: Vec<Map<String, Value>> = rows.as_array().into_iter().flatten().flat_map(flat).collect();
    let shows = |column: &str| rows.iter().any(|row| row.get(column).is_some_and(is_something));
    let mut columns: Vec<&str> = FIRST.iter().copied().filter(|column| shows(column)).collect();
    for name in rows.iter().flat_map(Map::keys) {
        if !columns.contains(&name.as_str()) && shows(name) {
            columns.push(name);
        }
    }
    let mut lines = vec![String::from("  "); rows.len() + 1];
    for column in columns {
        let cells: Vec<String> = std::iter::once(heading(column))
            .chain(rows.iter().map(|row| cell(column, row.get(column).unwrap_or(&Value::Null), now)))
            .collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        for (line, cell) in lines.iter_mut().zip(&cells) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
    }
    let plural = if rows.len() == 1 { "row" } else { "rows" };
    let mut text = format!("{name}: {} {plural}\n", rows.len());
    if !rows.is_empty() {
        lines.iter().for_each(|line| text.push_str(&format!("{}\n", line.trim_end())));
    }
    text
}

/// How a journal fares.
pub fn journal(journal: &Value) -> String {
    let number = |field: &str| journal[field].as_u64().unwrap_or(0);
    let lost = number("dropped") + number("failed");
    let file = journal["file"].as_str().unwrap_or_default();
    let fault = journal["fault"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    format!("journal {file}: {} lines written, {lost} lost{fault}", number("written"))
}

/// A row for each entry of the lists in a row, with what they have in common.
fn flat(row: &Value) -> Vec<Map<String, Value>> {
    let fields = row.as_object().into_iter().flatten();
    let (lists, plain): (Vec<_>, Vec<_>) = fields
        .map(|(name, value)| (name.clone(), value.clone()))
        .partition(|(_, value)| value.as_array().is_some_and(|list| list.iter().any(Value::is_object)));
    let plain: Map<String, Value> = plain.into_iter().collect();
    let parts = lists.iter().flat_map(|(_, list)| list.as_array().into_iter().flatten());
    let joined: Vec<_> = parts
        .filter_map(Value::as_object)
        .map(|part| part.iter().chain(&plain).map(|(name, value)| (name.clone(), value.clone())).collect())
        .collect();
    if joined.is_empty() { vec![plain] } else { joined }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => true,
    }
}

fn heading(column: &str) -> String {
    match column {
        "expires" => "LEFT".to_owned(),
        "since" => "AGE".to_owned(),
        other => other.replace('_', "-").to_uppercase(),
    }
}

fn cell(column: &str, value: &Value, now: u64) -> String {
    match (column, value) {
        ("expires", Value::Number(at)) => {
            format!("{} s", at.as_u64().unwrap_or(0).saturating_sub(now) / 1000)
        }
        ("since", Value::Number(at)) => format!("{} s", now.saturating_sub(at.as_u64().unwrap_or(0)) / 1000),
        (_, Value::Null) => "-".to_owned(),
        (_, Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        (_, Value::String(text)) if text.is_empty() => "-".to_owned(),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Array(list)) => {
            list.iter().map(|value| cell("", value, now)).collect::<Vec<_>>().join(" ")
        }
        (_, other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_contact_has_a_line_and_empty_columns_are_left_out() {
        let rows = json!([
            { "aor": "sip:a@example.com", "contacts": [
                { "contact": "sip:a@192.0.2.1", "q": 1.0, "expires": 61_000, "instance": "", "path": [] },
                { "contact": "sip:a@192.0.2.22:5062", "q": 0.5, "expires": 500, "instance": "", "path": ["<sip:p>"] },
            ] },
            { "aor": "sip:b@example.com", "contacts": [] },
        ]);
        let expected = "exchange: 3 rows\n\
            \x20 AOR                CONTACT                Q    LEFT  PATH\n\
            \x20 sip:a@example.com  sip:a@192.0.2.1        1.0  60 s\n\
            \x20 sip:a@example.com  sip:a@192.0.2.22:5062  0.5  0 s   <sip:p>\n\
            \x20 sip:b@example.com  -                      -    -     -\n";
        assert_eq!(table("exchange", &rows, 1000), expected);
        assert_eq!(table("exchange", &json!([]), 0), "exchange: 0 rows\n");
    }

    #[test]
    fn a_journal_that_cannot_be_written_says_so() {
        let state =
            json!({ "file": "/v/cdr", "written": 5, "dropped": 1, "failed": 2, "fault": "disk full" });
        assert_eq!(journal(&state), "journal /v/cdr: 5 lines written, 3 lost: disk full");
    }
}
