//! The text format of Prometheus, version 0.0.4.

use causeway_node::{Metric, Metrics};
use std::collections::HashMap;
use std::fmt::Write;

/// Put before all names that are ours.
const PREFIX: &str = "causeway_";

/// Figures in the making: those of one name together, whoever gives them.
#[derive(Default)]
pub struct Page {
    families: Vec<Family>,
    places: HashMap<String, usize>,
}

struct Family {
    name: String,
    help: String,
    counts: bool,
    samples: String,
}

impl Page {
    /// Adds the figures of one source, which a label names.
    pub fn add(&mut self, label: &str, source: &str, metrics: &Metrics) {
        for metric in metrics.list() {
            let name = format!("{PREFIX}{}", metric.name);
            self.sample(&name, metric, Some((label, source)));
        }
    }

    /// Adds a figure under its own name.
    pub fn plain(&mut self, metric: &Metric) {
        self.sample(metric.name, metric, None);
    }

    fn sample(&mut self, name: &str, metric: &Metric, source: Option<(&str, &str)>) {
        if !is_name(name) {
            tracing::error!("{name:?} is no name of a metric");
            debug_assert!(false, "{name:?} is no name of a metric");
            return;
        }
        let place = *self.places.entry(name.to_owned()).or_insert_with(|| {
            let (help, counts) = (metric.help.to_owned(), metric.counts);
            self.families.push(Family { name: name.to_owned(), help, counts, samples: String::new() });
            self.families.len() - 1
        });
        let Some(family) = self.families.get_mut(place) else { return };
        let own = metric.labels.iter().map(|(name, value)| (*name, value.as_str()));
        let labels: Vec<String> = source
            .into_iter()
            .chain(own)
            .filter(|(name, _)| is_name(name))
            .map(|(name, value)| format!("{name}=\"{}\"", escape(value, true)))
            .collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // Writing to a String cannot fail.
        let _ = writeln!(family.samples, "{name}{labels} {}", number(metric.value));
    }

    /// The page as it is sent.
    pub fn finish(self) -> String {
        let mut page = String::new();
        for family in &self.families {
            let kind = if family.counts { "counter" } else { "gauge" };
            let help = escape(&family.help, false);
            let _ = writeln!(page, "# HELP {0} {help}\n# TYPE {0} {kind}", family.name);
            page.push_str(&family.samples);
        }
        page
    }
}

fn is_name(name: &str) -> bool {
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    begins && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn escape(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

fn number(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stand_together_and_values_are_escaped() {
        let mut page = Page::default();
        for node in ["a", "b\"\\\n"] {
            let mut metrics = Metrics::default();
            metrics.counter("x_total", "First\nline \\", &[("kind", "one")], 1 << 40);
            metrics.gauge("y", "Second", &[], 0.5);
            metrics.gauge("z", "Third", &[], f64::INFINITY);
            page.add("node", node, &metrics);
        }
        let expected = "\
            # HELP causeway_x_total First\\nline \\\\\n# TYPE causeway_x_total counter\n\
            causeway_x_total{node=\"a\",kind=\"one\"} 1099511627776\n\
            causeway_x_total{node=\"b\\\"\\\\\\n\",kind=\"one\"} 1099511627776\n\
            # HELP causeway_y Second\n# TYPE causeway_y gauge\n\
            causeway_y{node=\"a\"} 0.5\ncauseway_y{node=\"b\\\"\\\\\\n\"} 0.5\n\
            # HELP causeway_z Third\n# TYPE causeway_z gauge\n\
            causeway_z{node=\"a\"} +Inf\ncauseway_z{node=\"b\\\"\\\\\\n\"} +Inf\n";
        assert_eq!(page.finish(), expected);
    }
}
