//! How often a watcher is told, and what happens at each limit.

use super::*;

#[test]
fn at_most_one_notify_a_second_and_the_latest_state_wins() {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, BOB, &[]);
    bench.answer(done.notify(), 200, &[]);
    let first = bench.publish(ALICE, &[], &pidf("a", "open"));
    assert!(first.sent.is_empty(), "a NOTIFY has just been sent");
    let etag = header(first.reply(), HeaderId::SipEtag);
    assert!(bench.publish(ALICE, &[("SIP-If-Match", &etag)], &pidf("a", "closed")).sent.is_empty());
    assert!(bench.wait(Duration::from_millis(999)).sent.is_empty());
    let told = bench.wait(Duration::from_millis(1));
    assert_eq!(told.notify().cseq(), 2);
    assert!(told.notify().body().contains("<tuple id=\"a\"><status><basic>closed"));
}

#[test]
fn one_notify_at_a_time() {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, BOB, &[]);
    bench.wait(Duration::from_secs(5));
    assert!(bench.publish(ALICE, &[], &pidf("a", "open")).sent.is_empty());
    let refresh = bench.resubscribe(done.reply(), 8, BOB, &[]);
    assert_eq!((refresh.status(), refresh.sent.len()), (200, 0), "even where the watcher asks");
    let next = bench.answer(done.notify(), 200, &[]);
    assert!(next.notify().body().contains("<tuple id=\"a\">"));
    let end = bench.resubscribe(done.reply(), 9, BOB, &[("Expires", "0")]);
    assert!(end.sent.is_empty());
    assert_eq!(bench.answer(next.notify(), 200, &[]).notify().state(), "terminated;reason=timeout");
}

#[test]
fn a_long_wait_is_cut_and_none_is_not_taken_at_its_word() {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, BOB, &[]);
    bench.answer(done.notify(), 503, &[("Retry-After", "86400")]);
    let again = bench.wait(Events::LONGEST_WAIT);
    assert_eq!(again.notify().cseq(), 2);
    assert!(bench.answer(again.notify(), 503, &[("Retry-After", "0")]).sent.is_empty());
    assert_eq!(bench.wait(Duration::from_secs(1)).notify().cseq(), 3);
}

#[test]
fn subscriptions_of_one_watcher() {
    let mut bench = Bench::new();
    for user in 0..Events::PER_WATCHER {
        assert_eq!(bench.subscribe(&format!("sip:u{user}@example.com"), BOB, &[]).status(), 200);
    }
    assert_eq!(bench.subscribe(ALICE, BOB, &[]).status(), 403);
    assert_eq!(bench.subscribe(ALICE, "sip:carol@example.com", &[]).status(), 200);
}

#[test]
fn subscriptions_to_one_user() {
    let mut bench = Bench::new();
    let mut first = None;
    for watcher in 0..Events::PER_RESOURCE {
        let done = bench.subscribe(ALICE, &format!("sip:w{watcher}@example.com"), &[]);
        assert_eq!(done.status(), 200);
        first.get_or_insert(done);
    }
    let full = bench.subscribe(ALICE, BOB, &[]);
    assert_eq!((full.status(), header(full.reply(), HeaderId::RetryAfter)), (503, "60".into()));
    bench.answer(first.unwrap().notify(), 481, &[]);
    assert_eq!(bench.subscribe(ALICE, BOB, &[]).status(), 200, "one has gone");
}

#[test]
fn publications_of_one_user_give_way_to_newer_ones() {
    let mut bench = Bench::new();
    let first = bench.publish(ALICE, &[("Expires", "100")], &pidf("first", "open"));
    for device in 1..=Events::PUBLICATIONS {
        assert_eq!(
            bench.publish(ALICE, &[("Expires", "200")], &pidf(&format!("d{device}"), "open")).status(),
            200
        );
    }
    assert_eq!(bench.count("publications"), Events::PUBLICATIONS as u64);
    assert_eq!(bench.count("publications_evicted"), 1);
    assert_eq!(bench.disk.len(), Events::PUBLICATIONS);
    let etag = header(first.reply(), HeaderId::SipEtag);
    assert_eq!(
        bench.publish(ALICE, &[("SIP-If-Match", &etag)], "").status(),
        412,
        "its device publishes anew"
    );
}

#[test]
fn nothing_is_left_of_users_who_are_not_watched_any_more() {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, BOB, &[]);
    bench.answer(done.notify(), 481, &[]);
    let events = &bench.events;
    assert!(events.resources.is_empty() && events.watchers.is_empty() && events.by_tag.is_empty());
    assert!(events.under_way.is_empty() && events.timers.is_empty());
}

#[test]
fn tables_show_who_watches_whom() {
    let mut bench = Bench::new();
    bench.subscribe(ALICE, BOB, &[]);
    bench.publish(ALICE, &[], &pidf("a", "open"));
    let table = bench.events.table(BEGIN_MS, "subscriptions", "alice");
    assert_eq!(table["rows"][0]["watcher"], BOB);
    assert_eq!(bench.events.table(BEGIN_MS, "subscriptions", "carol")["rows"].as_array().unwrap().len(), 0);
    assert_eq!(bench.events.table(BEGIN_MS, "publications", "")["rows"][0]["expires"], 3600);
    assert!(bench.events.table(BEGIN_MS, "nonsense", "").is_null());
}
