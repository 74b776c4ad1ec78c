//! The figures of both halves: right, and never taken back.

mod common;

use causeway_node::{Flow, Metrics, Node};
use causeway_sip::{Method, response_to};
use causeway_split_proxy::{Agent, ContactPoint};
use common::*;
use std::collections::HashMap;
use std::time::Duration;

/// Figures by name and label values: `media_packets_total network`; and which of them count.
type Figures = HashMap<String, (bool, f64)>;

fn figures<N: Node + 'static>(lab: &Lab, id: causeway_sim::NodeId) -> Figures {
    let mut metrics = Metrics::default();
    lab.world.node::<N>(id).metrics(lab.world.now(), &mut metrics);
    let mut all = Figures::new();
    for metric in metrics.list() {
        let values = metric.labels.iter().map(|(_, value)| format!(" {value}"));
        let name = metric.name.to_owned() + &values.collect::<String>();
        assert_eq!(metric.counts, metric.name.ends_with("_total"), "{name}");
        assert!(all.insert(name.clone(), (metric.counts, metric.value)).is_none(), "{name} is given twice");
    }
    all
}

#[track_caller]
fn assert_figures(figures: &Figures, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        assert_eq!(figures.get(*name).map(|(_, value)| *value), Some(*value), "{name}");
    }
}

#[track_caller]
fn assert_only_grown(before: &Figures, after: &Figures) {
    for (name, (counts, value)) in before {
        assert!(!counts || after[name].1 >= *value, "{name} has shrunk from {value} to {}", after[name].1);
    }
}

#[test]
fn what_was_counted_outlives_calls_and_tunnels() {
    let mut lab = Lab::new(1, 2, |_| {});
    lab.register(0, "alice", 600);
    lab.register(1, "bob", 600);
    lab.call(0, "alice", 1, "bob", "counted");
    let to_callee = media_of(lab.phone(0).last(200).unwrap());
    // Two that never come: 3 and 4.
    for sequence in [1, 2, 5] {
        lab.speak(0, to_callee, sequence, b"speech");
    }
    lab.world.run_for(Duration::from_millis(100));
    let contact = figures::<ContactPoint>(&lab, lab.contact);
    assert_figures(
        &contact,
        &[
            ("tunnels up", 2.0),
            ("tunnel_calls confirmed", 2.0),
            ("tunnel_calls_total phone", 1.0),
            ("tunnel_calls_total network", 1.0),
            ("registrations", 2.0),
            ("users none", 2.0),
            ("media_ports_used", 4.0),
            ("tunnel_resumes_total", 0.0),
        ],
    );
    let agent = figures::<Agent>(&lab, lab.agents[0]);
    let heard = [
        ("rtp_packets_received_total network", 3.0),
        ("rtp_packets_expected_total network", 5.0),
        ("rtp_packets_received_total tunnel", 0.0),
    ];
    assert_figures(&agent, &heard);
    assert_figures(
        &agent,
        &[("tunnel_attempts_total", 1.0), ("registrations", 1.0), ("users none", 1.0), ("tunnels up", 1.0)],
    );
    let far = figures::<Agent>(&lab, lab.agents[1]);
    let spoken = [("rtp_packets_received_total tunnel", 3.0), ("rtp_packets_expected_total tunnel", 5.0)];
    assert_figures(&far, &spoken);

    lab.world.reset(lab.agents[0], Flow(1 << 21));
    lab.world.run_for(Duration::from_millis(500));
    let resumed = figures::<Agent>(&lab, lab.agents[0]);
    assert_figures(&resumed, &[("tunnel_resumes_total", 1.0), ("tunnel_attempts_total", 2.0)]);
    assert_only_grown(&agent, &resumed);

    lab.in_dialog_of_caller(0, "alice", Method::Bye, None);
    lab.world.run_for(S);
    let bye = lab.phone(1).last_request(Method::Bye).unwrap().clone();
    lab.say(1, &response_to(bye.msg(), 200, None, None).finish());
    lab.world.run_for(S);
    let over = figures::<Agent>(&lab, lab.agents[0]);
    assert_figures(&over, &heard);
    assert_figures(&over, &[("media_ports_used", 0.0), ("tunnel_calls confirmed", 0.0)]);
    assert_only_grown(&resumed, &over);

    // Sessions end for good.
    let before = figures::<ContactPoint>(&lab, lab.contact);
    assert_only_grown(&contact, &before);
    assert!(before["tunnel_sip_bytes_total in"].1 > 0.0);
    lab.world.isolate("203.0.113.1");
    lab.world.isolate("203.0.113.2");
    lab.world.run_for(Duration::from_secs(180));
    let after = figures::<ContactPoint>(&lab, lab.contact);
    assert_figures(&after, &[("tunnels up", 0.0), ("tunnels parked", 0.0), ("tunnel_resumes_total", 1.0)]);
    assert_only_grown(&before, &after);
}

#[test]
fn a_request_that_is_denied_is_counted_under_its_reason() {
    let mut lab = Lab::new(2, 1, |_| {});
    lab.register(0, "alice", 600);
    lab.request(0, Method::Message, "sip:alice@example.com", "mallory", |r| {
        r.header("From", "<sip:mallory@example.com>;tag=m")
            .header("To", "<sip:alice@example.com>")
            .header("Call-ID", "not-mine")
    });
    lab.world.run_for(S);
    let contact = figures::<ContactPoint>(&lab, lab.contact);
    assert_figures(&contact, &[("requests_denied_total from", 1.0), ("requests_denied_total rate", 0.0)]);
}
