//! Presence and messages between stock phones, at our exchange.

use crate::baresip::{Account, Baresip};
use crate::lab::{CORE, Host};
use crate::linphone::Linphone;
use crate::process::{Mark, PATIENCE, until};
use crate::scene::{Bench, Side};
use anyhow::{Context, Result, bail, ensure};

/// What baresip prints of a contact, in its colours.
const ONLINE: &str = "to \x1b[32mOnline";
const OFFLINE: &str = "to \x1b[31mOffline";

/// What baresip prints before the text of a message from Alice.
const SENDER: &str = "sip:alice@op.example: ";

/// Alice watches Bob (RFC 3856) and writes to him (RFC 3428), whether he is there or not.
pub fn presence(bench: &Bench<'_>) -> Result<String> {
    let exchange = bench.binary.exchange(bench.lab, bench.dir, "[policy]\nkeep-messages = true\n", &[])?;
    for side in [Side::A, Side::B] {
        bench.binary.subscriber(exchange.data(), side.user(), "secret")?;
    }
    let (says, proxy) = (bench.voice(Side::A)?, format!("{CORE}:5060"));
    let watcher = Account { watches: Some("bob"), ..Account::new("alice", &proxy, &says) };
    let silent = Account::new("bob", &proxy, &says);
    let publisher = Account { publishes: true, ..silent.clone() };

    let mut alice = Baresip::registered(bench.lab, bench.dir, Host::InsideA, &watcher)?;
    // baresip announces changes, not what it learns first; that stands in its trace.
    alice.wait("<basic>closed</basic>", Mark::default()).context("before Bob has come")?;

    let mark = alice.mark();
    let bob = Baresip::registered(bench.lab, bench.dir, Host::InsideB, &silent)?;
    alice.wait(ONLINE, mark).context("Bob has registered")?;
    let written = alice.message("good morning")?;
    bob.wait(&format!("{SENDER}{}", quoted("good morning")), Mark::default())?;
    answered(&alice, written, "SIP/2.0 200 ").context("a message to Bob")?;

    let mark = alice.mark();
    drop(bob);
    alice.wait(OFFLINE, mark).context("Bob has gone")?;
    let texts = ["are you there?", "call me back"];
    for text in texts {
        let written = alice.message(text)?;
        answered(&alice, written, "SIP/2.0 202 ").context("a message to nobody")?;
    }

    let mark = alice.mark();
    let mut bob = Baresip::registered(bench.lab, bench.dir, Host::InsideB, &publisher)?;
    bob.wait(&format!("{SENDER}{}", quoted(texts[1])), Mark::default()).context("kept for Bob")?;
    alice.wait(ONLINE, mark).context("Bob is back")?;
    let mark = alice.mark();
    bob.command("presence_offline")?;
    alice.wait(OFFLINE, mark).context("Bob says that he is not there")?;
    let mark = alice.mark();
    bob.command("presence_online")?;
    alice.wait(ONLINE, mark).context("Bob says that he is there")?;
    let printed = bob.printed(Mark::default());
    let got: Vec<&str> = printed.iter().filter_map(|line| line.strip_prefix(SENDER)).collect();
    ensure!(got == texts.map(quoted), "Bob has received {got:?}");
    let mark = alice.mark();
    drop(bob);
    alice.wait(OFFLINE, mark).context("Bob has gone again")?;
    linphone(bench, &mut alice, &proxy)?;
    ensure!(!alice.has("subscriber closed", Mark::default()), "the subscription has ended");
    Ok("online and offline four times, two messages at once, three kept".to_owned())
}

/// linphonec in Bob's place: a message that was kept for him, and one from him.
fn linphone(bench: &Bench<'_>, alice: &mut Baresip, proxy: &str) -> Result<()> {
    let written = alice.message("welcome back")?;
    answered(alice, written, "SIP/2.0 202 ").context("a message to nobody")?;
    let mark = alice.mark();
    let (lab, dir) = (bench.lab, bench.dir);
    let mut bob = Linphone::registered(lab, dir, Host::InsideB, "bob", proxy, &bench.voice(Side::B)?)?;
    alice.wait(ONLINE, mark).context("Bob has registered linphonec")?;
    let got = bob.wait("Message received from ", Mark::default()).context("kept for linphonec")?;
    ensure!(got.contains("sip:alice@op.example") && got.contains("welcome back"), "linphonec prints `{got}`");
    let mark = alice.mark();
    bob.command("chat sip:alice@op.example good night")?;
    alice.wait(&format!("sip:bob@op.example: {}", quoted("good night")), mark).context("from linphonec")?;
    drop(bob);
    alice.wait(OFFLINE, mark).context("linphonec has gone")?;
    Ok(())
}

/// Waits until the trace shows a response to a MESSAGE, which must begin so.
fn answered(phone: &Baresip, mark: Mark, status: &str) -> Result<()> {
    let answer = until(PATIENCE, || {
        let lines = phone.printed(mark);
        let mut first = None;
        for line in &lines {
            if line.starts_with("SIP/2.0 ") {
                first = Some(line);
            } else if line.ends_with(" SIP/2.0") {
                first = None;
            } else if line.starts_with("CSeq: ") && line.ends_with(" MESSAGE") {
                // The first response may be a challenge.
                if let Some(answer) = first.filter(|first| !first.starts_with("SIP/2.0 407 ")) {
                    return Ok(answer.clone());
                }
            }
        }
        bail!("no answer")
    })?;
    ensure!(answer.starts_with(status), "answered `{answer}`");
    Ok(())
}

/// A text as baresip prints it.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
