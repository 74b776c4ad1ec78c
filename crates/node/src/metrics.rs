//! What a monitoring system reads.

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Name in the manner of Prometheus: `sip_requests_total`; the driver puts `causeway_` before it.
    pub name: &'static str,
    /// What it means, one sentence.
    pub help: &'static str,
    /// Whether it only grows (a counter) or goes up and down (a gauge).
    pub counts: bool,
    /// Labels with their values; the driver adds the node's name.
    pub labels: Vec<(&'static str, String)>,
    /// The figure.
    pub value: f64,
}

/// The figures of one node, in the order in which it gives them. Those of one name stand together.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    list: Vec<Metric>,
}

impl Metrics {
    /// Adds a figure that only grows since the start.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: u64,
    ) {
        self.add(name, help, true, labels, value as f64);
    }

    /// Adds a figure that goes up and down.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        self.add(name, help, false, labels, value);
    }

    /// All figures.
    pub fn list(&self) -> &[Metric] {
        &self.list
    }

    /// Adds the figures of another node of the same kind to these: those of one name and one set of labels are summed.
    pub fn merge(&mut self, other: &Self) {
        for metric in &other.list {
            let same = |known: &&mut Metric| known.name == metric.name && known.labels == metric.labels;
            match self.list.iter_mut().find(same) {
                Some(known) => known.value += metric.value,
                None => self.list.push(metric.clone()),
            }
        }
    }

    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        counts: bool,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.list.push(Metric { name, help, counts, labels, value });
    }
}
