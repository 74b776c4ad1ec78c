//! Every medium, from far end to far end.

use crate::baresip::{Account, Baresip};
use crate::causeway::{Causeway, Way};
use crate::kamailio::{Kamailio, PathSupport};
use crate::lab::{AGENT, CORE, EDGE_INSIDE, Host, TUNNEL};
use crate::process::{Mark, PATIENCE, Process, until};
use crate::scene::{Bench, Operator, Scene, Side, hang_up, talk};
use crate::ua::Ua;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;

const PLAIN: Operator = Operator::Kamailio(PathSupport::Off);
const MINUTE: Duration = Duration::from_secs(60);

/// The media of a node's first call, of one kind.
fn media(process: &Causeway, node: &str, kind: &str) -> Result<Value> {
    let status = process.status(node)?;
    let lines = status["calls"][0]["media"].as_array().cloned().unwrap_or_default();
    lines.into_iter().find(|line| line["kind"] == kind).with_context(|| format!("no {kind} in {status}"))
}

fn packets(process: &Causeway, node: &str, kind: &str) -> Result<u64> {
    media(process, node, kind)?["to_network"]["packets"].as_u64().context("no count")
}

/// Packets of all calls at the contact point, both ways.
fn anchored(contact: &Causeway) -> Result<u64> {
    let status = contact.status("contact")?;
    let lines =
        status["calls"].as_array().into_iter().flatten().flat_map(|call| call["media"].as_array().cloned());
    let count = |line: &Value, way: &str| line[way]["packets"].as_u64().unwrap_or_default();
    Ok(lines.flatten().map(|line| count(&line, "from_network") + count(&line, "to_network")).sum())
}

/// T.38 over UDPTL in both directions.
pub fn t38(bench: &Bench<'_>) -> Result<String> {
    let Bench { lab, dir, .. } = *bench;
    let scene = Scene::new(bench, PLAIN)?;
    let more = ["--packets", "250", "--talk", "6"];
    let bob = Ua::answers(lab, dir, Side::B.phone(), "bob", "t38", &more)?;
    let alice = Ua::calls(lab, dir, Side::A.phone(), "alice", "bob", "t38", &more)?;
    alice.established()?;
    until(PATIENCE, || {
        let kind = media(&scene.operator, "contact", "fax")?;
        ensure!(kind["to_network"]["packets"].as_u64() > Some(0), "no fax passes: {kind}");
        Ok(())
    })?;
    alice.report(PATIENCE)?;
    bob.report(PATIENCE)?;
    for (listener, speaker) in [(&bob, "alice"), (&alice, "bob")] {
        let (heard, said) = (listener.recorded()?, Ua::sent_by(dir, speaker, "t38", 250)?);
        ensure!(
            said.len() == 250 && heard == said,
            "{} of {} datagrams of {speaker}, or not as sent",
            heard.len(),
            said.len()
        );
    }
    scene.no_calls()?;
    Ok("250 UDPTL datagrams each way, byte by byte as sent".to_owned())
}

/// MSRP between two peers that compare every path.
pub fn msrp(bench: &Bench<'_>) -> Result<String> {
    let Bench { lab, dir, .. } = *bench;
    let scene = Scene::new(bench, PLAIN)?;
    let bob = Ua::answers(lab, dir, Side::B.phone(), "bob", "msrp", &[])?;
    let alice = Ua::calls(lab, dir, Side::A.phone(), "alice", "bob", "msrp", &[])?;
    let reports = [alice.report(MINUTE)?, bob.report(MINUTE)?];
    for (one, other) in [(0, 1), (1, 0)] {
        let (sent, heard) = (&reports[one], &reports[other]);
        ensure!(
            sent["sent"].as_u64() > Some(900_000) && sent["sent_sha256"] == heard["received_sha256"],
            "what one has sent is not what the other has got: {sent} {heard}"
        );
        ensure!(sent["error"].is_null() && sent["responses"].as_u64() > Some(100), "{sent}");
    }
    ensure!(reports[0]["bye"] == 200, "{}", reports[0]);
    scene.no_calls()?;
    Ok(format!(
        "{} bytes each way in {} chunks, every path as agreed",
        reports[0]["sent"], reports[0]["responses"]
    ))
}

/// The callee's network speaks before anybody picks up.
pub fn early(bench: &Bench<'_>) -> Result<String> {
    let Bench { lab, dir, .. } = *bench;
    let scene = Scene::new(bench, PLAIN)?;
    let bob = Ua::answers(lab, dir, Side::B.phone(), "bob", "rtp", &["--early", "100"])?;
    let alice = Ua::calls(lab, dir, Side::A.phone(), "alice", "bob", "rtp", &[])?;
    let (caller, callee) = (alice.report(PATIENCE)?, bob.report(PATIENCE)?);
    ensure!(caller["progress"] == true && callee["sent"] == 200, "{caller} {callee}");
    let (heard, said) = (alice.recorded()?, Ua::sent_by(dir, "bob", "rtp", 200)?);
    let early = caller["early"].as_u64().unwrap_or_default();
    ensure!(
        early == 100 && heard == said,
        "{early} of 100 packets before the answer, {} of 200 in all",
        heard.len()
    );
    ensure!(bob.recorded()?.len() == 100, "{callee}");
    scene.no_calls()?;
    Ok("100 of 100 packets heard before the answer".to_owned())
}

/// Twenty calls with speech at once, and still one entry in each NAT.
pub fn parallel(bench: &Bench<'_>) -> Result<String> {
    const CALLS: usize = 20;
    let Bench { lab, dir, .. } = *bench;
    super::network::forget_connections(bench)?;
    let scene = Scene::new(bench, PLAIN)?;
    let (mut callers, mut callees) = (Vec::new(), Vec::new());
    for n in 0..CALLS {
        let (sip, media) = ((5100 + n).to_string(), (16_000 + 2 * n).to_string());
        let more = ["--port", &sip, "--media-port", &media, "--packets", "600", "--talk", "14"];
        let (caller, callee) = (format!("a{n}"), format!("b{n}"));
        callees.push(Ua::answers(lab, dir, Side::B.phone(), &callee, "rtp", &more)?);
        callers.push(Ua::calls(lab, dir, Side::A.phone(), &caller, &callee, "rtp", &more)?);
    }
    until(PATIENCE, || {
        let status = scene.operator.status("contact")?;
        // Each crosses the contact point twice.
        let calls = status["calls"].as_array().map_or(0, Vec::len);
        ensure!(calls == 2 * CALLS, "{calls} legs at once");
        Ok(())
    })?;
    super::network::one_entry_each(bench)?;
    let mut heard = 0;
    for ua in callers.iter().chain(&callees) {
        let report = ua.report(MINUTE)?;
        let received = report["received"].as_u64().unwrap_or_default();
        ensure!(report["sent"] == 600 && received >= 594, "{report}");
        heard += received;
    }
    scene.no_calls()?;
    Ok(format!(
        "{CALLS} calls at once, {heard} of {} packets heard; 1 entry in each of 3 NATs",
        2 * CALLS * 600
    ))
}

/// Two phones of one user ring; the one that is picked up has the call, the other stops.
pub fn fork(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let mut alice = scene.phone(Side::A)?;
    let mut first = scene.phone_with(Side::B, |account| account.picks_up = false)?;
    let (says, proxy) = (bench.voice(Side::B)?, format!("{AGENT}:5060"));
    let account = Account { port: 5080, picks_up: false, ..Account::new("bob", &proxy, &says) };
    let second_dir = bench.dir.join("second");
    std::fs::create_dir_all(&second_dir)?;
    let second = Baresip::registered(bench.lab, &second_dir, Side::B.phone(), &account)?;
    let (rings, others) = (first.mark(), second.mark());
    let dialled = alice.dial(&first.uri())?;
    first.wait("Incoming call from", rings)?;
    second.wait("Incoming call from", others)?;
    first.command("accept")?;
    alice.established(dialled)?;
    first.established(rings)?;
    second.wait("session closed", others)?;
    ensure!(!second.has("Call established", others), "both phones have the call");
    alice.hears(3)?;
    first.hears(3)?;
    hang_up(&mut alice, &first)?;
    scene.no_calls()?;
    bench.both_understood(&alice, &first)
}

/// Video goes, comes back, and the voice is heard all the time.
pub fn video(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let with_video = |account: &mut Account<'_>| account.video = true;
    let mut alice = scene.phone_with(Side::A, with_video)?;
    let mut bob = scene.phone_with(Side::B, with_video)?;
    talk(&mut alice, &mut bob, 3)?;
    let pictures = || packets(scene.agent(Side::B), "agent", "video");
    let flows = |wanted: bool| {
        until(PATIENCE, || {
            let before = pictures()?;
            std::thread::sleep(Duration::from_millis(700));
            let now = pictures()? - before;
            ensure!((now > 3) == wanted && (wanted || now == 0), "{now} packets of video in 0.7 s");
            Ok(now)
        })
    };
    flows(true)?;
    alice.command("video_dir inactive")?;
    flows(false)?;
    alice.command("video_dir sendrecv")?;
    let again = flows(true)?;
    let voice = packets(scene.agent(Side::B), "agent", "audio")?;
    until(PATIENCE, || {
        ensure!(packets(scene.agent(Side::B), "agent", "audio")? > voice + 50, "the voice has stopped");
        Ok(())
    })?;
    hang_up(&mut alice, &bob)?;
    scene.no_calls()?;
    // baresip does not go on recording after a re-INVITE.
    let heard = bench.both_understood(&alice, &bob)?;
    Ok(format!("{heard}; VP8 both times, {again} packets in 0.7 s, none in between"))
}

/// Phones of one LAN send to one another, and go on while there is no tunnel.
pub fn lan_media(bench: &Bench<'_>) -> Result<String> {
    let mut scene = Scene::new(bench, PLAIN)?;
    let mut alice = scene.phone(Side::A)?;
    let (says, proxy) = (bench.voice(Side::B)?, format!("{AGENT}:5060"));
    // On a host of its own: the agent's.
    let account = Account { port: 5080, ..Account::new("bob", &proxy, &says) };
    let mut bob = Baresip::registered(bench.lab, bench.dir, Side::A.agent(), &account)?;
    talk(&mut alice, &mut bob, 3)?;
    let passed = anchored(&scene.operator)?;
    ensure!(passed == 0, "{passed} packets have passed the contact point");
    crate::process::signal(scene.operator.process().pid(), "-STOP");
    let result = (|| {
        until(PATIENCE, || {
            let status = scene.agent(Side::A).status("agent")?;
            ensure!(status["state"] != "up", "the tunnel is still up");
            Ok(())
        })?;
        std::thread::sleep(Duration::from_secs(1));
        let (before, others) = (alice.recorded_seconds()?, bob.recorded_seconds()?);
        std::thread::sleep(Duration::from_secs(3));
        let gained = (alice.recorded_seconds()? - before, bob.recorded_seconds()? - others);
        ensure!(gained.0 > 2.0 && gained.1 > 2.0, "without the tunnel they have heard {gained:?} s of 3");
        Ok(gained)
    })();
    crate::process::signal(scene.operator.process().pid(), "-CONT");
    let (one, other) = result?;
    // The phones close their recordings; their BYE may find no dialog any more.
    alice.hang_up()?;
    bob.hang_up()?;
    let heard = until(PATIENCE, || bench.both_understood(&alice, &bob))?;
    Ok(format!(
        "{heard}; 0 packets at the contact point; {one:.1} and {other:.1} of 3 s heard without a tunnel"
    ))
}

/// What the packets of each kind are marked with, as tshark sees them.
pub fn dscp(bench: &Bench<'_>) -> Result<String> {
    let scene = Scene::new(bench, PLAIN)?;
    let mut alice = scene.phone(Side::A)?;
    // In the operator's network, so that media cross a wire there.
    let (says, proxy) = (bench.voice(Side::B)?, format!("{CORE}:5060"));
    let mut bob =
        Baresip::registered(bench.lab, bench.dir, Host::InsideB, &Account::new("bob", &proxy, &says))?;
    let watch = |host: Host, interface: &str, filter: &str| {
        let name = format!("tshark-{}-{interface}", host.name());
        let args = [
            "-i",
            interface,
            "-l",
            "-n",
            "-f",
            filter,
            "-a",
            "duration:8",
            "-T",
            "fields",
            "-e",
            "ip.dsfield.dscp",
        ];
        let process = Process::start(bench.lab, host, bench.dir, &name, "tshark", &args)?;
        process.wait("Capturing on", Mark::default(), PATIENCE)?;
        Ok::<_, anyhow::Error>(process)
    };
    let from_edge = format!("src host {EDGE_INSIDE} and udp and ");
    let from_agent = format!("src host {AGENT} and udp and ");
    let mut all = vec![
        ("46", watch(Host::InsideB, "eth0", &format!("{from_edge} portrange 20000-20999"))?),
        ("24", watch(Host::Core, "core", &format!("{from_edge} port 5060"))?),
        ("46", watch(Side::A.agent(), "eth0", &format!("{from_agent} portrange 40000-40999"))?),
        ("24", watch(Side::A.phone(), "eth0", &format!("{from_agent} port 5060"))?),
        ("34", watch(Host::Edge, "wan", "tcp src port 443 and tcp[13] & 8 != 0")?),
        ("34", watch(Host::Internet, "net", "tcp dst port 443 and tcp[13] & 8 != 0")?),
    ];
    talk(&mut alice, &mut bob, 4)?;
    hang_up(&mut alice, &bob)?;
    let mut counts = Vec::new();
    for (code, process) in &mut all {
        process.exit(PATIENCE)?;
        let lines = process.printed();
        let seen: Vec<&String> = lines.iter().filter(|line| line.parse::<u8>().is_ok()).collect();
        let other = seen.iter().find(|line| line.as_str() != *code);
        ensure!(
            seen.len() > 2 && other.is_none(),
            "of {} packets that should bear {code} one bears {other:?}",
            seen.len()
        );
        counts.push(seen.len().to_string());
    }
    Ok(format!("{} packets, all as they should be", counts.join(", ")))
}

/// An operator with nothing but IPv6, customers with nothing but IPv4.
pub fn ipv6(bench: &Bench<'_>) -> Result<String> {
    let Bench { lab, dir, binary, .. } = *bench;
    let (edge, core) = ("fd09::1", "fd09::2");
    let set = |host: Host, interface: &str, address: &str, on: bool| -> Result<()> {
        let off = format!("net.ipv6.conf.all.disable_ipv6={}", i32::from(!on));
        lab.output(host, "sysctl", &["-q", "-w", &off])?;
        if on {
            lab.output(
                host,
                "ip",
                &["-6", "addr", "add", &format!("{address}/64"), "dev", interface, "nodad"],
            )?;
        }
        Ok(())
    };
    let result = (|| {
        set(Host::Edge, "inside", edge, true)?;
        set(Host::Core, "core", core, true)?;
        let listen = format!("[{core}]");
        let kamailio = Kamailio::start(lab, dir, Host::Core, &listen, PathSupport::Off)?;
        let (sip, upstream) = (format!("[{edge}]:5060"), format!("sip:[{core}]:5060"));
        let media = format!("[{edge}]:20000-20999");
        let args = ["contact", "--tunnel", TUNNEL, "--sip", &sip, "--upstream", &upstream, "--media", &media];
        let contact = binary.start(lab, Host::Edge, dir, "contact", &args)?;
        let pin = contact.pin()?;
        let agents = [Side::A, Side::B]
            .map(|side| binary.agent(lab, dir, side.agent(), &format!("{AGENT}:5060"), &pin));
        for agent in &agents {
            agent.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?.up()?;
        }
        let says = [bench.voice(Side::A)?, bench.voice(Side::B)?];
        let proxy = format!("{AGENT}:5060");
        let mut alice =
            Baresip::registered(lab, dir, Side::A.phone(), &Account::new("alice", &proxy, &says[0]))?;
        let mut bob = Baresip::registered(lab, dir, Side::B.phone(), &Account::new("bob", &proxy, &says[1]))?;
        ensure!(
            kamailio.logged(&format!("from {core}")) || kamailio.logged(&format!("from {edge}")),
            "no IPv6 at Kamailio"
        );
        talk(&mut alice, &mut bob, 3)?;
        let calls = contact.status("contact")?["calls"].to_string();
        ensure!(
            calls.contains(&format!("[{edge}]")) || calls.contains("fd09"),
            "media not over IPv6: {calls}"
        );
        hang_up(&mut alice, &bob)?;
        talk(&mut bob, &mut alice, 3)?;
        hang_up(&mut alice, &bob)?;
        bench.both_understood(&alice, &bob)
    })();
    set(Host::Edge, "inside", edge, false)?;
    set(Host::Core, "core", core, false)?;
    result
}

/// A minute in which nobody says anything, under NATs that forget quickly; then speech.
pub fn silent_call(bench: &Bench<'_>) -> Result<String> {
    super::network::forget_connections(bench)?;
    super::network::remember(bench, 30, 10)?;
    let result = with_and_without(bench);
    super::network::remember(bench, 432_000, 30)?;
    result
}

fn with_and_without(bench: &Bench<'_>) -> Result<String> {
    let kept = silent(bench, &[], "kept")?;
    let lost = silent(bench, &["--keep-alive", "0"], "lost");
    ensure!(lost.is_err(), "the control: without keep-alive the connections are kept as well");
    let why = format!("{:#}", lost.err().context("no error")?);
    ensure!(why.contains("holds 0 entries"), "the control has failed for another reason: {why}");
    Ok(format!("{kept}; without keep-alive no NAT remembers the connection"))
}

/// One call with a minute of silence; the options are those of both halves.
fn silent(bench: &Bench<'_>, options: &[&str], name: &str) -> Result<String> {
    let Bench { lab, binary, .. } = *bench;
    let dir = bench.dir.join(name);
    std::fs::create_dir_all(&dir)?;
    let _kamailio = Kamailio::start(lab, &dir, Host::Core, CORE, PathSupport::Off)?;
    let (sip, upstream) = (format!("{EDGE_INSIDE}:5060"), format!("sip:{CORE}:5060"));
    let media = format!("{EDGE_INSIDE}:20000-20999");
    let fixed = ["contact", "--tunnel", TUNNEL, "--sip", &sip, "--upstream", &upstream, "--media", &media];
    let contact = binary.start(lab, Host::Edge, &dir, "contact", &[&fixed, options].concat())?;
    let (pin, listen) = (contact.pin()?, format!("{AGENT}:5060"));
    let mut agents = Vec::new();
    for side in [Side::A, Side::B] {
        let name = format!("agent-{}", side.user());
        let to = TUNNEL.trim_end_matches(":443");
        let way = Way { name: &name, host: side.agent(), listen: &listen, contact: to, pin: &pin, options };
        agents.push(binary.agent_by(lab, &dir, &way)?);
    }
    for agent in &agents {
        agent.up()?;
    }
    let more = ["--silence", "60", "--talk", "4"];
    let bob = Ua::answers(lab, &dir, Side::B.phone(), "bob", "rtp", &more)?;
    let alice = Ua::calls(lab, &dir, Side::A.phone(), "alice", "bob", "rtp", &more)?;
    alice.established()?;
    std::thread::sleep(Duration::from_secs(3));
    let watch = |host: Host, interface: &str, filter: &str| {
        let name = format!("tshark-{interface}");
        let args = [
            "-i",
            interface,
            "-l",
            "-n",
            "-f",
            filter,
            "-a",
            "duration:45",
            "-T",
            "fields",
            "-e",
            "tcp.len",
            "-e",
            "udp.length",
        ];
        Process::start(lab, host, &dir, &name, "tshark", &args)
    };
    let mut outside = watch(Host::Edge, "wan", "tcp port 443")?;
    let mut inside = watch(Host::Edge, "inside", "udp")?;
    for process in [&mut outside, &mut inside] {
        process.exit(MINUTE)?;
    }
    let lengths = |process: &Process| -> Vec<u32> {
        process.printed().iter().filter_map(|line| line.trim().parse().ok()).collect()
    };
    let (tunnel, udp) = (lengths(&outside), lengths(&inside));
    ensure!(udp.is_empty(), "{} datagrams in a silent call", udp.len());
    // A ping or a pong in a TLS record, or a bare acknowledgement.
    let longest = tunnel.iter().max().copied().unwrap_or_default();
    ensure!(longest <= 80, "in silence a segment of {longest} bytes");
    super::network::one_entry_each(bench)?;
    let reports = [alice.report(MINUTE)?, bob.report(MINUTE)?];
    for report in &reports {
        ensure!(report["received"] == 100 && report["first_after"].as_f64() > Some(60.0), "{report}");
    }
    Ok(format!(
        "100 of 100 packets each way after 60 s; before {} segments of at most {longest} bytes, no UDP",
        tunnel.len()
    ))
}
