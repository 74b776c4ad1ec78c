//! What outlives a restart.

use super::*;

#[test]
fn a_dialog_goes_on_after_a_restart() {
    let mut bench = Bench::new();
    let route = ("Record-Route", "<sip:p1.example.com;lr>");
    let done = bench.subscribe(ALICE, BOB, &[("Event", "presence;id=5"), ("Expires", "600"), route]);
    bench.answer(done.notify(), 200, &[]);
    let before = done.notify().message.msg().to_owned();
    bench.contacts.insert(ALICE.into(), vec![contact("sip:a@192.0.2.1", RegEvent::Created)]);
    bench.restart(Duration::from_secs(30));
    let told = bench.wait(Duration::ZERO);
    let after = told.notify();
    let same =
        [HeaderId::From, HeaderId::To, HeaderId::CallId, HeaderId::Route, HeaderId::Event, HeaderId::Contact];
    for id in same {
        assert_eq!(after.header(id), header(&before, id));
    }
    assert_eq!(after.message.msg().request_uri(), before.msg().request_uri());
    assert!(after.cseq() > 1, "CSeq never goes back");
    assert_eq!(after.state(), "active;expires=570");
    assert!(after.body().contains("<basic>open</basic>"), "the full state as it is now");
    assert_eq!(after.received, Some(hop()), "a datagram finds the way that it found before");
    bench.answer(after, 200, &[]);
    let event = ("Event", "presence;id=5");
    assert_eq!(bench.resubscribe(done.reply(), 7, BOB, &[event]).status(), 500, "nor does the watcher's");
    assert_eq!(bench.resubscribe(done.reply(), 8, BOB, &[event]).status(), 200);
}

#[test]
fn sequence_numbers_are_reserved_before_they_are_used_and_not_one_by_one() {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, ALICE, &[("Event", "reg"), ("Expires", "7200")]);
    bench.answer(done.notify(), 200, &[]);
    let begin = bench.writes;
    let mut last = 1;
    for turn in 0..200 {
        bench.wait(Duration::from_secs(2));
        let told = bench.register(ALICE, &[contact("sip:a@192.0.2.1", RegEvent::Refreshed)]);
        let sent = told.notify();
        assert_eq!(sent.cseq(), last + 1);
        last = sent.cseq();
        let stored = bench.disk.iter().find(|((space, _), _)| space == "subscription").unwrap().1;
        let stored = record::Subscription::read(stored).unwrap();
        assert!(stored.reserved >= last, "in turn {turn}");
        let reserving = told.order == ["persist", "send"];
        assert!(reserving || told.order == ["send"]);
        bench.answer(sent, 200, &[]);
    }
    assert!(bench.writes - begin <= 4, "{} writes for 200 NOTIFYs", bench.writes - begin);
    bench.restart(Duration::ZERO);
    let told = bench.wait(Duration::ZERO);
    assert!(told.notify().cseq() > last);
    assert_eq!(told.order, ["persist", "send"], "the numbers of this run are reserved first");
    assert!(told.notify().body().contains(&format!("version=\"{}\"", told.notify().cseq() - 1)));
}

#[test]
fn publications_and_policies_come_back_and_what_has_ended_does_not() {
    let mut bench = Bench::new();
    let policy =
        Some(Policy { others: Decision::Block, watchers: [(BOB.to_owned(), Decision::Allow)].into() });
    bench.with(|events, ctx, actions| events.set_policy(ctx, ALICE.as_bytes(), policy, actions));
    let long = bench.publish(ALICE, &[("Expires", "600")], &pidf("long", "open"));
    bench.publish(ALICE, &[("Expires", "60")], &pidf("short", "open"));
    bench.subscribe(ALICE, BOB, &[("Expires", "60")]);
    assert_eq!(bench.disk.len(), 4);
    bench.restart(Duration::from_secs(100));
    assert_eq!(bench.disk.len(), 2, "what has ended leaves the disk");
    assert_eq!((bench.count("publications"), bench.count("subscriptions")), (1, 0));
    let told = bench.subscribe(ALICE, BOB, &[]);
    assert!(told.notify().body().contains("id=\"long\"") && !told.notify().body().contains("id=\"short\""));
    assert_eq!(bench.subscribe(ALICE, "sip:carol@example.com", &[]).status(), 403);
    let etag = header(long.reply(), HeaderId::SipEtag);
    assert_eq!(bench.publish(ALICE, &[("SIP-If-Match", &etag)], "").status(), 200);
    bench.wait(Duration::from_secs(3600));
    assert_eq!(bench.count("publications"), 0, "its time goes on");
}

#[test]
fn after_a_restart_watchers_are_told_one_after_the_other() {
    let mut bench = Bench::new();
    for watcher in 0..50 {
        bench.subscribe(ALICE, &format!("sip:w{watcher}@example.com"), &[]);
    }
    bench.restart(Duration::ZERO);
    assert_eq!(bench.wait(Duration::ZERO).sent.len(), 1);
    assert_eq!(bench.wait(Duration::from_millis(20)).sent.len(), 10, "500 each second");
    assert_eq!(bench.wait(Duration::from_millis(80)).sent.len(), 39);
}

#[test]
fn what_cannot_be_read_is_counted_and_kept() {
    let rubbish =
        [("subscription", b"tag".to_vec(), b"{}".to_vec()), ("publication", b"x".to_vec(), b"x".to_vec())];
    let events = Events::restore(Config::new("example.com"), rubbish, BEGIN_MS);
    assert_eq!(events.status()["unreadable_records"], 2);
    assert!(events.stale.is_empty());
}
