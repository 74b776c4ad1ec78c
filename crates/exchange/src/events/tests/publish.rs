//! PUBLISH (RFC 3903) and who may watch.

use super::*;

fn etag(done: &Done) -> String {
    assert_eq!(done.status(), 200);
    header(done.reply(), HeaderId::SipEtag)
}

/// Bob watches Alice, and has been told the beginning.
fn watched() -> Bench {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, BOB, &[]);
    bench.answer(done.notify(), 200, &[]);
    bench.wait(Duration::from_secs(2));
    bench
}

#[test]
fn published_refreshed_modified_and_removed() {
    let mut bench = watched();
    let first = bench.publish(ALICE, &[("Expires", "600")], &pidf("a", "open"));
    assert_eq!(first.order, ["persist", "reply", "send"]);
    assert_eq!(header(first.reply(), HeaderId::Expires), "600");
    assert!(first.notify().body().contains("<tuple id=\"a\"><status><basic>open</basic></status></tuple>"));
    bench.answer(first.notify(), 200, &[]);
    bench.wait(Duration::from_secs(2));

    let refreshed = bench.publish(ALICE, &[("SIP-If-Match", &etag(&first))], "");
    assert_ne!(etag(&refreshed), etag(&first), "each 200 has a new entity tag");
    assert!(refreshed.sent.is_empty(), "a refresh changes nothing");
    assert_eq!(bench.publish(ALICE, &[("SIP-If-Match", &etag(&first))], "").status(), 412);

    let modified = bench.publish(ALICE, &[("SIP-If-Match", &etag(&refreshed))], &pidf("a", "closed"));
    assert!(modified.notify().body().contains("<basic>closed</basic>"));
    bench.answer(modified.notify(), 200, &[]);
    bench.wait(Duration::from_secs(2));

    let removed = bench.publish(ALICE, &[("SIP-If-Match", &etag(&modified)), ("Expires", "0")], "");
    assert_eq!((removed.status(), header(removed.reply(), HeaderId::Expires)), (200, "0".into()));
    assert!(removed.notify().body().contains("id=\"registered\""), "only the registration is left");
    assert_eq!((bench.count("publications"), bench.count("published_bytes")), (0, 0));
    assert_eq!(bench.disk.len(), 1, "the subscription");
}

#[test]
fn a_publication_ends_with_its_time() {
    let mut bench = watched();
    let first = bench.publish(ALICE, &[("Expires", "60")], &pidf("a", "open"));
    bench.answer(first.notify(), 200, &[]);
    let over = bench.wait(Duration::from_secs(60));
    assert!(over.notify().body().contains("<basic>closed</basic>"));
    assert_eq!(bench.publish(ALICE, &[("SIP-If-Match", &etag(&first))], "").status(), 412);
    assert_eq!((bench.count("publications"), bench.disk.len()), (0, 1));
}

#[test]
fn what_is_refused() {
    let mut bench = Bench::new();
    let document = pidf("a", "open");
    let brief = bench.publish(ALICE, &[("Expires", "59")], &document);
    assert_eq!((brief.status(), header(brief.reply(), HeaderId::MinExpires)), (423, "60".into()));
    let event = bench.publish(ALICE, &[("Event", "reg")], &document);
    assert_eq!((event.status(), header(event.reply(), HeaderId::AllowEvents)), (489, "presence, reg".into()));
    assert_eq!(bench.publish(ALICE, &[], "").status(), 400, "nothing is published");
    assert_eq!(bench.publish(ALICE, &[], "<presence>").status(), 400);
    assert_eq!(bench.publish(ALICE, &[("SIP-If-Match", "unknown")], &document).status(), 412);
    let long = pidf(&"x".repeat(Events::BODY), "open");
    assert_eq!(bench.publish(ALICE, &[], &long).status(), 413);
    let coded = bench.publish(ALICE, &[("Content-Encoding", "gzip")], &document);
    assert_eq!((coded.status(), header(coded.reply(), HeaderId::AcceptEncoding)), (415, "identity".into()));
    let request = bench.request(Method::Publish, ALICE, ALICE).header("Event", "presence");
    let other = bench.ask(request.body("text/plain", "open"), ALICE, ALICE);
    assert_eq!(
        (other.status(), header(other.reply(), HeaderId::Accept)),
        (415, "application/pidf+xml".into())
    );
    let request = bench.request(Method::Publish, ALICE, BOB).header("Event", "presence");
    assert_eq!(bench.ask(request.body("application/pidf+xml", document), ALICE, BOB).status(), 403);
    assert_eq!((bench.count("publications"), bench.writes), (0, 0));
}

#[test]
fn two_devices_make_one_document() {
    let mut bench = Bench::new();
    bench.publish(ALICE, &[], &pidf("t", "open"));
    let other = ("Via", "SIP/2.0/UDP 192.0.2.8:5062;branch=z9hG4bKx");
    bench.publish(ALICE, &[other], &pidf("t", "closed"));
    let done = bench.subscribe(ALICE, BOB, &[]);
    let body = done.notify().body();
    assert_eq!(body.matches("<tuple ").count(), 2);
    assert!(body.contains("id=\"t\"") && body.contains("id=\"t."), "{body}");
    assert!(!body.contains("registered"), "what is published says it better");
}

/// A phone that has restarted, or publishes twice before it has its entity tag.
#[test]
fn a_device_that_does_not_know_its_entity_tag_takes_its_publication_over() {
    let mut bench = Bench::new();
    let lost = etag(&bench.publish(ALICE, &[], &pidf("t", "open")));
    let present = etag(&bench.publish(ALICE, &[], &pidf("t", "closed")));
    let body = bench.subscribe(ALICE, BOB, &[]).notify().body();
    assert_eq!((body.matches("<tuple ").count(), body.matches("closed").count()), (1, 1), "{body}");
    assert_eq!(bench.publish(ALICE, &[("SIP-If-Match", &lost)], "").status(), 412);
    bench.restart(Duration::from_secs(1));
    bench.publish(ALICE, &[], &pidf("t", "open"));
    assert_eq!(bench.publish(ALICE, &[("SIP-If-Match", &present)], "").status(), 412);
    bench.publish(ALICE, &[], &pidf("another", "open"));
    assert_eq!(bench.count("publications"), 2, "other tuples are something else");
}

/// Some watchers look at the first tuple alone.
#[test]
fn what_was_said_last_stands_first() {
    let mut bench = Bench::new();
    let first = etag(&bench.publish(ALICE, &[], &pidf("first", "open")));
    bench.wait(Duration::from_secs(1));
    bench.publish(ALICE, &[], &pidf("second", "open"));
    let order = |bench: &mut Bench| {
        let body = bench.subscribe(ALICE, BOB, &[("Expires", "0")]).notify().body();
        let at = |id: &str| body.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("{id} in {body}"));
        if at("first") < at("second") { "first" } else { "second" }
    };
    assert_eq!(order(&mut bench), "second");
    bench.wait(Duration::from_secs(1));
    let refreshed = etag(&bench.publish(ALICE, &[("SIP-If-Match", &first)], ""));
    assert_eq!(order(&mut bench), "second", "a refresh says nothing new");
    bench.publish(ALICE, &[("SIP-If-Match", &refreshed)], &pidf("first", "closed"));
    assert_eq!(order(&mut bench), "first");
    bench.restart(Duration::from_secs(1));
    assert_eq!(order(&mut bench), "first");
}

#[test]
fn a_resource_may_choose_who_watches() {
    let mut bench = Bench::new();
    let stranger = "sip:eve@example.net";
    assert_eq!(bench.subscribe(ALICE, stranger, &[]).status(), 403, "by default, the domain");
    let policy = |others, watchers: &[(&str, Decision)]| {
        let watchers = watchers.iter().map(|(name, decision)| ((*name).to_owned(), *decision)).collect();
        Some(Policy { others, watchers })
    };
    let set = |bench: &mut Bench, policy: Option<Policy>| {
        bench.with(|events, ctx, actions| events.set_policy(ctx, ALICE.as_bytes(), policy, actions))
    };
    bench.contacts.insert(ALICE.into(), vec![contact("sip:a@192.0.2.1", RegEvent::Created)]);
    set(&mut bench, policy(Decision::Allow, &[(BOB, Decision::Block)]));
    assert_eq!(bench.subscribe(ALICE, BOB, &[]).status(), 403);
    assert!(bench.subscribe(ALICE, stranger, &[]).notify().body().contains("<basic>open</basic>"));
    set(&mut bench, policy(Decision::Block, &[(BOB, Decision::Polite)]));
    let polite = bench.subscribe(ALICE, BOB, &[]);
    assert!(polite.notify().state().starts_with("active"));
    assert!(polite.notify().body().contains("<basic>closed</basic>"), "told that she is not there");
    assert!(bench.subscribe(ALICE, ALICE, &[]).notify().body().contains("open"), "she may always know");
}

#[test]
fn a_watcher_waits_for_confirmation_and_may_be_sent_away() {
    let mut bench = Bench::new();
    bench.contacts.insert(ALICE.into(), vec![contact("sip:a@192.0.2.1", RegEvent::Created)]);
    let set = |bench: &mut Bench, others| {
        let policy = Some(Policy { others, watchers: Default::default() });
        bench.with(|events, ctx, actions| events.set_policy(ctx, ALICE.as_bytes(), policy, actions))
    };
    set(&mut bench, Decision::Confirm);
    let done = bench.subscribe(ALICE, BOB, &[("Expires", "600")]);
    assert_eq!((done.status(), done.notify().state()), (200, "pending;expires=600".into()));
    assert!(done.notify().body().contains("<basic>closed</basic>"));
    bench.answer(done.notify(), 200, &[]);
    bench.wait(Duration::from_secs(2));
    assert!(bench.publish(ALICE, &[], &pidf("a", "open")).sent.is_empty(), "nothing to know yet");
    let confirmed = set(&mut bench, Decision::Allow);
    assert_eq!(confirmed.notify().state(), "active;expires=598");
    assert!(confirmed.notify().body().contains("<tuple id=\"a\">"));
    bench.answer(confirmed.notify(), 200, &[]);
    let away = set(&mut bench, Decision::Block);
    assert_eq!(away.notify().state(), "terminated;reason=rejected");
    assert_eq!(away.notify().body(), "");
    bench.answer(away.notify(), 200, &[]);
    assert_eq!(bench.count("subscriptions"), 0);
}
