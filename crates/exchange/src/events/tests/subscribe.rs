//! SUBSCRIBE and NOTIFY (RFC 6665), the packages presence (RFC 3856) and reg (RFC 3680).

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_subscription_is_granted_and_its_state_told_at_once() {
    let mut bench = Bench::new();
    bench.contacts.insert(ALICE.into(), vec![contact("sip:a@192.0.2.1", RegEvent::Created)]);
    let routes = [("Record-Route", "<sip:p1.example.com;lr>, <sip:p2.example.com;lr>")];
    let done = bench.subscribe(
        ALICE,
        BOB,
        &[&routes[..], &[("Expires", "600"), ("Event", "presence;id=q7")]].concat(),
    );
    assert_eq!(done.order, ["persist", "reply", "send"], "on disk, then promised, then told");
    let ok = done.reply();
    assert_eq!((done.status(), header(ok, HeaderId::Expires)), (200, "600".into()));
    assert_eq!(header(ok, HeaderId::Contact), "<sip:alice@198.51.100.1:5060>");
    assert_eq!(header(ok, HeaderId::RecordRoute), routes[0].1);
    let tag = ok.msg().to_tag().unwrap();
    let notify = done.notify();
    let msg = notify.message.msg();
    assert_eq!((msg.method(), msg.request_uri()), (Method::Notify, &b"sip:w@192.0.2.7:5062"[..]));
    // RFC 3261 §12.1.1: the notifier's route set has the order of Record-Route.
    let routes: Vec<_> = msg.values(HeaderId::Route).collect();
    assert_eq!(routes, [&b"<sip:p1.example.com;lr>"[..], b"<sip:p2.example.com;lr>"]);
    assert_eq!((msg.from_tag(), msg.to_tag()), (Some(tag), ok.msg().from_tag()));
    assert_eq!((msg.call_id(), notify.cseq()), (ok.msg().call_id(), 1));
    assert_eq!(notify.header(HeaderId::Contact), header(ok, HeaderId::Contact));
    assert_eq!(msg.max_forwards(), Some(70));
    assert_eq!(notify.header(HeaderId::Event), "presence;id=q7");
    assert_eq!(notify.state(), "active;expires=600");
    assert_eq!(notify.header(HeaderId::ContentType), "application/pidf+xml");
    assert!(notify.body().contains("entity=\"sip:alice@example.com\""));
    assert!(notify.body().contains("<basic>open</basic>"));
    assert_eq!(notify.received, Some(hop()));
    assert!(msg.top_via().is_none(), "whoever sends it adds Via");
}

#[test]
fn a_refresh_prolongs_and_an_unsubscribe_ends() {
    let mut bench = Bench::new();
    let first = bench.subscribe(ALICE, BOB, &[("Expires", "100")]);
    let ok = first.reply().clone();
    bench.answer(first.notify(), 200, &[]);
    bench.wait(MINUTE);
    let moved = ("Contact", "<sip:w@192.0.2.8>");
    let again = bench.resubscribe(&ok, 8, BOB, &[("Expires", "100"), moved]);
    assert_eq!((again.status(), again.notify().cseq()), (200, 2));
    assert_eq!(
        again.notify().message.msg().request_uri(),
        b"sip:w@192.0.2.8",
        "SUBSCRIBE refreshes the target"
    );
    bench.answer(again.notify(), 200, &[]);
    assert!(bench.wait(MINUTE).sent.is_empty(), "the first time is over, the second is not");
    let end = bench.resubscribe(&ok, 9, BOB, &[("Expires", "0")]);
    assert_eq!((end.status(), header(end.reply(), HeaderId::Expires)), (200, "0".into()));
    assert_eq!(end.notify().state(), "terminated;reason=timeout");
    assert!(end.notify().body().contains("<presence"), "the final NOTIFY tells the state too");
    bench.answer(end.notify(), 200, &[]);
    assert_eq!((bench.count("subscriptions"), bench.disk.len()), (0, 0));
    assert_eq!(bench.resubscribe(&ok, 10, BOB, &[]).status(), 481);
}

#[test]
fn a_fetch_is_answered_by_one_notify_and_leaves_nothing() {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, BOB, &[("Expires", "0")]);
    assert_eq!((done.status(), header(done.reply(), HeaderId::Expires)), (200, "0".into()));
    assert_eq!(done.notify().state(), "terminated;reason=timeout");
    assert!(done.notify().body().contains("<basic>closed</basic>"));
    bench.answer(done.notify(), 0, &[]);
    assert_eq!((bench.count("subscriptions"), bench.writes), (0, 0));
    assert_eq!(bench.events.deadline(), None);
}

#[test]
fn a_subscription_ends_with_its_time() {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, BOB, &[("Expires", "60")]);
    bench.answer(done.notify(), 200, &[]);
    let over = bench.wait(MINUTE);
    assert_eq!(over.notify().state(), "terminated;reason=timeout");
    assert!(bench.disk.is_empty());
    assert_eq!(bench.resubscribe(done.reply(), 8, BOB, &[]).status(), 481, "no way back once it is over");
    bench.answer(over.notify(), 200, &[]);
    assert_eq!(bench.count("subscriptions"), 0);
}

#[test]
fn what_is_refused() {
    let mut bench = Bench::new();
    let unknown = bench.subscribe(ALICE, BOB, &[("Event", "presence.winfo")]);
    assert_eq!(
        (unknown.status(), header(unknown.reply(), HeaderId::AllowEvents)),
        (489, "presence, reg".into())
    );
    assert_eq!(bench.subscribe(ALICE, BOB, &[("Event", "")]).status(), 489);
    assert_eq!(bench.subscribe(ALICE, BOB, &[("Event", "Presence")]).status(), 489, "compared byte by byte");
    let brief = bench.subscribe(ALICE, BOB, &[("Expires", "59")]);
    assert_eq!((brief.status(), header(brief.reply(), HeaderId::MinExpires)), (423, "60".into()));
    assert_eq!(bench.subscribe(ALICE, BOB, &[("Accept", "application/xpidf+xml")]).status(), 406);
    assert_eq!(bench.subscribe(ALICE, BOB, &[("Accept", "application/pidf+xml;q=0")]).status(), 406);
    assert_eq!(bench.subscribe(ALICE, BOB, &[("Contact", "")]).status(), 400);
    assert_eq!(bench.subscribe(ALICE, BOB, &[("Contact", "<tel:+1>")]).status(), 400);
    let extension = bench.subscribe(ALICE, BOB, &[("Require", "eventlist")]);
    assert_eq!(
        (extension.status(), header(extension.reply(), HeaderId::Unsupported)),
        (420, "eventlist".into())
    );
    assert_eq!((bench.count("subscriptions"), bench.writes), (0, 0));
    assert_eq!(bench.count("refused"), 9);
    for accept in ["*/*", "application/*", "text/plain, application/PIDF+xml;q=0.5"] {
        assert_eq!(bench.subscribe(ALICE, BOB, &[("Accept", accept)]).status(), 200, "{accept}");
    }
}

#[test]
fn time_is_never_more_than_was_asked_for() {
    let mut bench = Bench::new();
    let granted = |done: Done| header(done.reply(), HeaderId::Expires);
    assert_eq!(granted(bench.subscribe(ALICE, BOB, &[])), "3600", "RFC 3856 §6.4");
    assert_eq!(granted(bench.subscribe(ALICE, ALICE, &[("Event", "reg")])), "3761", "RFC 3680 §4.4");
    assert_eq!(granted(bench.subscribe(ALICE, BOB, &[("Expires", "90000")])), "7200");
}

#[test]
fn only_its_own_dialog_reaches_a_subscription() {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, BOB, &[("Event", "presence;id=1")]);
    let ok = done.reply().clone();
    let event = ("Event", "presence;id=1");
    assert_eq!(bench.resubscribe(&ok, 8, BOB, &[("Event", "presence;id=2")]).status(), 481);
    assert_eq!(bench.resubscribe(&ok, 8, BOB, &[("Event", "reg;id=1")]).status(), 481);
    assert_eq!(bench.resubscribe(&ok, 8, "sip:mallory@example.com", &[event]).status(), 403);
    assert_eq!(bench.resubscribe(&ok, 7, BOB, &[event]).status(), 500, "RFC 3261 §12.2.2");
    let text = String::from_utf8(ok.into_bytes()).unwrap();
    let other = Message::parse(text.replace("Call-ID: call1", "Call-ID: other")).unwrap();
    assert_eq!(bench.resubscribe(&other, 8, BOB, &[event]).status(), 481);
    let ok = Message::parse(text).unwrap();
    assert_eq!(bench.resubscribe(&ok, 8, BOB, &[event]).status(), 200);
    assert_eq!(bench.resubscribe(&ok, 8, BOB, &[event]).status(), 500);
}

#[test]
fn a_failed_notify_ends_the_subscription_and_a_named_wait_does_not() {
    for (status, headers, ends) in [
        (481, &[][..], true),
        (481, &[("Retry-After", "5")], true),
        (480, &[], true),
        (408, &[], true),
        (500, &[], true),
        (503, &[], true),
        (0, &[], true),
        (503, &[("Retry-After", "30 (busy);duration=3")], false),
    ] {
        let mut bench = Bench::new();
        let done = bench.subscribe(ALICE, BOB, &[]);
        bench.answer(done.notify(), status, headers);
        assert_eq!(bench.count("subscriptions") == 0, ends, "{status} {headers:?}");
        assert_eq!(bench.disk.is_empty(), ends, "{status} {headers:?}");
        if !ends {
            assert!(bench.wait(Duration::from_secs(29)).sent.is_empty());
            assert_eq!(bench.wait(Duration::from_secs(1)).notify().cseq(), 2);
        }
    }
}

#[test]
fn the_answer_to_a_notify_moves_the_target() {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, BOB, &[]);
    bench.answer(done.notify(), 200, &[("Contact", "<sip:w@192.0.2.99>")]);
    let again = bench.resubscribe(done.reply(), 8, BOB, &[("Contact", "")]);
    assert_eq!(again.notify().message.msg().request_uri(), b"sip:w@192.0.2.99", "RFC 3261 §12.2.1.2");
    bench.answer(again.notify(), 200, &[("Contact", "<sip:w@192.0.2.99 SIP/2.0>")]);
    let same = bench.resubscribe(done.reply(), 9, BOB, &[("Contact", "")]);
    assert_eq!(same.notify().message.msg().request_uri(), b"sip:w@192.0.2.99", "what is no URI is none");
}

#[test]
fn a_registration_is_told_in_full_with_versions_that_count() {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, ALICE, &[("Event", "reg")]);
    assert_eq!(done.notify().header(HeaderId::ContentType), "application/reginfo+xml");
    assert!(done.notify().body().contains("version=\"0\" state=\"full\""));
    assert!(done.notify().body().contains("state=\"init\""));
    bench.answer(done.notify(), 200, &[]);
    bench.wait(MINUTE);
    let bound = contact("sip:a@192.0.2.1", RegEvent::Created);
    let told = bench.register(ALICE, std::slice::from_ref(&bound));
    assert!(told.notify().body().contains("version=\"1\""));
    assert!(told.notify().body().contains("state=\"active\" event=\"created\" expires=\"3540\""));
    bench.answer(told.notify(), 200, &[]);
    bench.wait(MINUTE);
    let gone = bench.register(ALICE, &[contact("sip:a@192.0.2.1", RegEvent::Unregistered)]);
    assert!(gone.notify().body().contains("version=\"2\""));
    assert!(gone.notify().body().contains("id=\"r\" state=\"terminated\""));
    assert!(gone.notify().body().contains("state=\"terminated\" event=\"unregistered\""));
    bench.answer(gone.notify(), 200, &[]);
    let later = bench.resubscribe(done.reply(), 8, ALICE, &[("Event", "reg")]);
    assert!(later.notify().body().contains("state=\"init\""), "told once");
}

#[test]
fn a_contact_that_is_bound_again_before_it_was_told_has_not_ended() {
    let mut bench = Bench::new();
    bench.subscribe(ALICE, ALICE, &[("Event", "reg")]);
    let held = bench.register(ALICE, &[contact("sip:a@192.0.2.1", RegEvent::Unregistered)]);
    assert!(held.sent.is_empty(), "the first NOTIFY is still under way");
    bench.register(ALICE, &[contact("sip:a@192.0.2.1", RegEvent::Created)]);
    let first =
        Sent { token: bench.events.serial, message: Message::parse(NOTHING).unwrap(), received: None };
    bench.answer(&first, 200, &[]);
    let told = bench.wait(MINUTE);
    assert!(told.notify().body().contains("event=\"created\""));
    assert!(!told.notify().body().contains("terminated"));
}

const NOTHING: &str = "NOTIFY sip:a SIP/2.0\r\nCSeq: 1 NOTIFY\r\n\r\n";

#[test]
fn nobody_else_learns_of_a_registration() {
    let mut bench = Bench::new();
    assert_eq!(bench.subscribe(ALICE, BOB, &[("Event", "reg")]).status(), 403);
}

#[test]
fn presence_follows_the_registration_but_not_its_refreshes() {
    let mut bench = Bench::new();
    let done = bench.subscribe(ALICE, BOB, &[]);
    bench.answer(done.notify(), 200, &[]);
    bench.wait(MINUTE);
    let here = bench.register(ALICE, &[contact("sip:a@192.0.2.1", RegEvent::Created)]);
    assert!(here.notify().body().contains("<basic>open</basic>"));
    bench.answer(here.notify(), 200, &[]);
    bench.wait(MINUTE);
    let same = bench.register(ALICE, &[contact("sip:a@192.0.2.1", RegEvent::Refreshed)]);
    assert!(same.sent.is_empty(), "nothing has changed for a watcher");
    let gone = bench.register(ALICE, &[contact("sip:a@192.0.2.1", RegEvent::Expired)]);
    assert!(gone.notify().body().contains("<basic>closed</basic>"));
    assert!(bench.register("sip:carol@example.com", &[]).sent.is_empty());
}

#[test]
fn a_second_watcher_learns_the_same_and_the_first_is_left_alone() {
    let mut bench = Bench::new();
    bench.contacts.insert(ALICE.into(), vec![contact("sip:a@192.0.2.1", RegEvent::Created)]);
    bench.subscribe(ALICE, BOB, &[]);
    let second = bench.subscribe(ALICE, "sip:carol@example.com", &[]);
    assert!(second.notify().body().contains("<basic>open</basic>"));
}

#[test]
fn what_is_served_here_and_what_passes_through() {
    for event in ["presence", "presence;id=4", "reg", "presence.winfo", " reg "] {
        assert!(Events::handles(event.as_bytes()), "{event}");
    }
    for event in ["dialog", "message-summary", "refer", "presences", "", "Presence"] {
        assert!(!Events::handles(event.as_bytes()), "{event}");
    }
}
