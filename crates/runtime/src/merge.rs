//! The members of a group report as one: counts are added up, tables joined.

use crate::metrics::Figures;
use crate::worker::Handle;
use causeway_node::Status;

/// Adds what a further member reports to what the others have: numbers are summed, but the fullest queue and the latest
/// tick count alone; rows join their list, and those that differ in numbers alone are one. All else is the first one's.
pub fn add(sum: &mut Status, other: Status) {
    match (sum, other) {
        (Status::Object(sum), Status::Object(other)) => {
            for (name, value) in other {
                match sum.get_mut(&name) {
                    Some(Status::Number(known)) if name == "pressure" || name.contains("max") => {
                        if value.as_f64() > known.as_f64() {
                            sum.insert(name, value);
                        }
                    }
                    Some(known) => add(known, value),
                    None => drop(sum.insert(name, value)),
                }
            }
        }
        (Status::Array(sum), Status::Array(other)) => {
            for row in other {
                match sum.iter_mut().find(|known| is_same(known, &row)) {
                    Some(known) => add(known, row),
                    None => sum.push(row),
                }
            }
        }
        (Status::Number(sum), Status::Number(other)) => {
            let both = sum.as_u64().zip(other.as_u64());
            let float = || Some(sum.as_f64()? + other.as_f64()?).and_then(serde_json::Number::from_f64);
            if let Some(number) = both.map(|(a, b)| a.saturating_add(b).into()).or_else(float) {
                *sum = number;
            }
        }
        _ => {}
    }
}

/// Whether two rows are about the same: they have the same fields, and differ in nothing but numbers.
fn is_same(a: &Status, b: &Status) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
    let same = |(name, value): (&String, &Status)| {
        b.get(name).is_some_and(|other| value == other || value.is_number() && other.is_number())
    };
    a.len() == b.len() && a.iter().all(same)
}

/// What several workers say, as what as many say that are in no group with an earlier one.
///
/// # Errors
/// The first that `ask` gives.
pub fn collect<T, E>(
    workers: &[Handle],
    ask: impl Fn(&Handle) -> Result<T, E>,
    mut add: impl FnMut(&mut T, T),
) -> Result<Vec<T>, E> {
    let mut all: Vec<(Option<&str>, T)> = Vec::new();
    for worker in workers {
        let said = ask(worker)?;
        let group = worker.group();
        match all.iter_mut().find(|(other, _)| group.is_some() && *other == group) {
            Some((_, sum)) => add(sum, said),
            None => all.push((group, said)),
        }
    }
    Ok(all.into_iter().map(|(_, said)| said).collect())
}

/// Adds the figures of a further member; those of its worker stay its own.
pub fn add_figures(sum: &mut Figures, other: Figures) {
    sum.workers.extend(other.workers);
    for (name, metrics) in other.nodes {
        match sum.nodes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => known.merge(&metrics),
            None => sum.nodes.push((name, metrics)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_report_as_one() {
        let mut sum = json!({"domain": "d", "calls": 2, "pressure": 30, "tls": null, "events": {"kept": 1}});
        add(&mut sum, json!({"domain": "d", "calls": 3, "pressure": 10, "tls": null, "events": {"kept": 4}}));
        assert_eq!(
            sum,
            json!({"domain": "d", "calls": 5, "pressure": 30, "tls": null, "events": {"kept": 5}})
        );
        let mut rows = json!([{"transport": "udp", "sent": 1}, {"transport": "tcp", "sent": 2}]);
        add(&mut rows, json!([{"transport": "tcp", "sent": 5}]));
        assert_eq!(rows, json!([{"transport": "udp", "sent": 1}, {"transport": "tcp", "sent": 7}]));
        let mut rows = json!([{"aor": "a", "contacts": []}]);
        add(&mut rows, json!([{"aor": "b", "contacts": []}]));
        assert_eq!(rows.as_array().unwrap().len(), 2);
    }
}
